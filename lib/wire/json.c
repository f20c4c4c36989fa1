#include "lib/wire/json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"

json_t *ha_json_text(const char *text)
{
    json_t *string = json_string(text);
    char *clean;

    if (string != NULL)
        return string;
    clean = strdup(text);
    if (clean == NULL)
        return NULL;
    for (size_t at = 0, size = strlen(clean); at < size;) {
        size_t length = ha_text_utf8(clean + at, size - at);

        if (length == 0)
            clean[at] = '?';
        at += length == 0 ? 1 : length;
    }
    string = json_string(clean);
    free(clean);
    return string;
}

struct text {
    char *data;
    size_t size, room;
    bool failed; /* once, and for good */
};

static int take(const char *data, size_t size, void *ctx)
{
    struct text *text = ctx;
    size_t room = text->room;
    char *grown;

    if (!text->failed && size >= room - text->size) {
        while (size >= room - text->size)
            room *= 2;
        grown = realloc(text->data, room);
        text->failed = grown == NULL;
        text->data = text->failed ? text->data : grown;
        text->room = text->failed ? text->room : room;
    }
    if (text->failed)
        return -1;
    memcpy(text->data + text->size, data, size);
    text->size += size;
    return 0;
}

char *ha_json_dump(const json_t *json, size_t flags)
{
    struct text text = {.data = malloc(1024), .room = 1024};

    if (json != NULL && text.data != NULL && json_dump_callback(json, take, &text, flags) == 0 &&
        !text.failed) {
        text.data[text.size] = '\0';
        return text.data;
    }
    free(text.data);
    return NULL;
}
