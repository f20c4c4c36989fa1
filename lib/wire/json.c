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

static bool begin(struct text *text)
{
    *text = (struct text){.data = malloc(1024), .room = 1024};
    text->failed = text->data == NULL;
    return !text->failed;
}

static char *finish(struct text *text, bool good)
{
    if (good && !text->failed) {
        text->data[text->size] = '\0';
        return text->data;
    }
    free(text->data);
    return NULL;
}

static bool dump(struct text *text, const json_t *json, size_t flags)
{
    return json != NULL && json_dump_callback(json, take, text, flags) == 0;
}

char *ha_json_dump(const json_t *json, size_t flags)
{
    struct text text;

    return finish(&text, begin(&text) && dump(&text, json, flags));
}

static bool put(struct text *text, const char *string)
{
    return take(string, strlen(string), text) == 0;
}

char *ha_json_dump_list(const json_t *head, const char *name, ha_json_next_cb next, void *ctx)
{
    struct text text;
    bool good = begin(&text) && dump(&text, head, JSON_COMPACT);
    const char *comma = "";
    json_t *item;

    if (good) {
        text.size--; /* the brace that closes it */
        good = put(&text, json_object_size(head) > 0 ? ",\"" : "\"") && put(&text, name) &&
               put(&text, "\":[");
    }
    while (good && next(ctx, &item)) {
        good = put(&text, comma) && dump(&text, item, JSON_COMPACT | JSON_ENCODE_ANY);
        comma = ",";
        json_decref(item);
    }
    return finish(&text, good && put(&text, "]}"));
}
