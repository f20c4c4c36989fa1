#include "lib/wire/json.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Length of the well-formed UTF-8 sequence at @at (Unicode 15, table 3-7), or 0. */
static size_t sequence(const uint8_t *at)
{
    size_t length;
    uint8_t low = 0x80, high = 0xbf;

    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf)
        length = 2;
    else if (at[0] >= 0xe0 && at[0] <= 0xef)
        length = 3;
    else if (at[0] >= 0xf0 && at[0] <= 0xf4)
        length = 4;
    else
        return 0;
    /* No overlong forms, surrogates or code points past the last. */
    if (at[0] == 0xe0)
        low = 0xa0;
    else if (at[0] == 0xed)
        high = 0x9f;
    else if (at[0] == 0xf0)
        low = 0x90;
    else if (at[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++) {
        if (at[i] < low || at[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

json_t *ha_json_text(const char *text)
{
    json_t *string = json_string(text);
    char *clean;

    if (string != NULL)
        return string;
    clean = strdup(text);
    if (clean == NULL)
        return NULL;
    for (size_t at = 0; clean[at] != '\0';) {
        size_t length = sequence((const uint8_t *)clean + at);

        if (length == 0)
            clean[at] = '?';
        at += length == 0 ? 1 : length;
    }
    string = json_string(clean);
    free(clean);
    return string;
}
