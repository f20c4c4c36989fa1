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

/* The element of that name, a new one if there is none yet; NULL and *err when it cannot be. */
static void *find_element(const struct ha_ini_list *list, void *settings,
                          const struct ha_ini_line *line, struct ha_err *err)
{
    char *first = (char *)settings + list->at, *element;
    uint32_t count;

    if (!ha_text_is_name(line->name, HA_NAME_SIZE)) {
        ha_err_set(err, HA_EINVAL, "the section wants a name: [%s NAME]", line->kind);
        return NULL;
    }
    memcpy(&count, (char *)settings + list->count, sizeof(count));
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(first + i * list->size, line->name) == 0)
            return first + i * list->size;
    }
    if (count == list->max) {
        ha_err_set(err, HA_EFULL, "more than %zu of them", list->max);
        return NULL;
    }
    element = first + count++ * list->size;
    memcpy((char *)settings + list->count, &count, sizeof(count));
    if (list->fresh != NULL)
        memcpy(element, list->fresh, list->size);
    (void)ha_text_copy(element, HA_NAME_SIZE, line->name);
    return element;
}

static int take_field(const struct ha_ini_section *section, char *base,
                      const struct ha_ini_line *line, struct ha_err *err)
{
    uint32_t seen;

    memcpy(&seen, base + section->seen, sizeof(seen));
    for (size_t i = 0; i < section->field_count; i++) {
        const struct ha_ini_field *field = &section->fields[i];

        if (strcmp(field->key, line->key) != 0)
            continue;
        if ((seen & (1u << i)) != 0)
            return ha_err_set(err, HA_EEXIST, "said twice");
        seen |= 1u << i;
        memcpy(base + section->seen, &seen, sizeof(seen));
        return set_value(field, line->value, base + field->at, err);
    }
    return ha_err_set(err, HA_ENOENT, "unknown key");
}

int ha_ini_take(const struct ha_ini_section *sections, size_t count, void *settings,
                const struct ha_ini_line *line, struct ha_err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct ha_ini_section *section = &sections[i];
        void *base = settings;

        if (strcmp(section->kind, line->kind) != 0)
            continue;
        if (section->list.max > 0)
            base = find_element(&section->list, settings, line, err);
        return base != NULL ? take_field(section, base, line, err) : err->code;
    }
    return ha_err_set(err, HA_ENOENT, "unknown section");
}
