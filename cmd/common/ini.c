#include "cmd/common/ini.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/limits.h"

struct reading {
    ha_ini_cb cb;
    void *arg;
    struct ha_err err; /* of the first refused line */
};

static int on_line(void *user, const char *section, const char *key, const char *value)
{
    struct reading *reading = user;
    struct ha_ini_line line = {.kind = section, .name = "", .key = key, .value = value};
    char kind[64];
    char *space;
    struct ha_err err = {0};
    int code;

    if (reading->err.code != HA_OK)
        return 0;
    if (ha_text_copy(kind, sizeof(kind), section) != HA_OK) {
        ha_err_set(&reading->err, HA_EINVAL, "the section's name is too long");
        return 0;
    }
    space = strchr(kind, ' ');
    if (space != NULL) {
        *space = '\0';
        line.name = space + 1;
    }
    line.kind = kind;
    code = reading->cb(reading->arg, &line, &err);
    if (code == HA_OK)
        return 1;
    ha_err_set(&reading->err, code, "[%s] %s: %s", section, key,
               err.text[0] != '\0' ? err.text : ha_code_text(code));
    return 0;
}

int ha_ini_read(const char *path, ha_ini_cb cb, void *arg, struct ha_err *err)
{
    struct reading reading = {.cb = cb, .arg = arg};
    int result;

    errno = 0;
    result = ini_parse(path, on_line, &reading);
    if (result == 0)
        return HA_OK;
    if (result < 0)
        return ha_err_set(err, errno == ENOENT ? HA_ENOENT : HA_EIO, "%s: %s", path,
                          errno != 0 ? strerror(errno) : "cannot be read");
    if (reading.err.code == HA_OK)
        return ha_err_set(err, HA_EINVAL, "%s: line %d: not \"key = value\" or \"[section]\"", path,
                          result);
    return ha_err_set(err, HA_EINVAL, "%s: line %d: %s", path, result, reading.err.text);
}

static int set_value(const struct ha_ini_field *field, const char *value, char *to,
                     struct ha_err *err)
{
    uint64_t number;
    bool truth;
    int code;

    switch (field->type) {
    case HA_INI_NAME:
        if (!ha_text_is_name(value, field->size))
            return ha_err_set(err, HA_EINVAL, "\"%s\" is not a name", value);
        HA_FALLTHROUGH;
    case HA_INI_TEXT:
        if (value[0] == '\0' || ha_text_copy(to, field->size, value) != HA_OK)
            return ha_err_set(err, HA_EINVAL, "empty, or longer than %zu", field->size - 1);
        return HA_OK;
    case HA_INI_DURATION: {
        uint32_t ms;

        code = ha_text_duration(value, HA_DURATION_MAX_MS, &number);
        if (code != HA_OK)
            return ha_err_set(err, code, "\"%s\" is not a duration such as 300ms", value);
        ms = (uint32_t)number;
        memcpy(to, &ms, sizeof(ms));
        return HA_OK;
    }
    case HA_INI_PORT: {
        uint16_t port;

        code = ha_text_u64(value, UINT16_MAX, &number);
        if (code != HA_OK || number == 0)
            return ha_err_set(err, HA_EINVAL, "\"%s\" is not a port", value);
        port = (uint16_t)number;
        memcpy(to, &port, sizeof(port));
        return HA_OK;
    }
    case HA_INI_BOOL:
        if (ha_text_bool(value, &truth) != HA_OK)
            return ha_err_set(err, HA_EINVAL, "\"%s\" is neither yes nor no", value);
        memcpy(to, &truth, sizeof(truth));
        return HA_OK;
    }
    HA_UNREACHABLE();
}

int ha_ini_set(const struct ha_ini_section *section, const struct ha_ini_line *line,
               struct ha_err *err)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct ha_ini_field *field = &section->fields[i];

        if (strcmp(field->key, line->key) != 0)
            continue;
        if ((*section->seen & (1u << i)) != 0)
            return ha_err_set(err, HA_EEXIST, "said twice");
        *section->seen |= 1u << i;
        return set_value(field, line->value, (char *)section->base + field->at, err);
    }
    return ha_err_set(err, HA_ENOENT, "unknown key");
}
