#include "lib/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/text.h"

const char *ha_code_text(int code)
{
    switch (code) {
    case HA_OK:
        return "ok";
#define X(name, value, text) \
    case name:               \
        return text;
        HA_CODE_MAP(X)
#undef X
    default:
        return "unknown error";
    }
}

int ha_err_set(struct ha_err *err, int code, const char *format, ...)
{
    va_list args;

    if (err == NULL)
        return code;
    err->code = code;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args); /* cut on purpose */
    va_end(args);
    return code;
}

int ha_err_prefix(struct ha_err *err, int code, const char *format, ...)
{
    char inner[HA_ERR_TEXT_SIZE];
    va_list args;

    if (err == NULL)
        return code;
    memcpy(inner, err->text, sizeof(inner));
    inner[sizeof(inner) - 1] = '\0';
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args); /* cut on purpose */
    va_end(args);
    (void)ha_text_append(err->text, sizeof(err->text), ": %s", inner); /* cut on purpose */
    return err->code;
}
