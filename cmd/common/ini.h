/* cmd/common/ini.h - a daemon's own INI file, strictly.
 *
 * Blocking, for start-up only. A section is "[kind]" or "[kind name]". Every key must be known to
 * the caller and, but for lists, said once; errors name file, line, section and key. */
#ifndef HA_CMD_COMMON_INI_H
#define HA_CMD_COMMON_INI_H

#include <stddef.h>
#include <stdint.h>

struct ha_err;

#define HA_PATH_SIZE 256

struct ha_ini_line {
    const char *kind; /* of the section */
    const char *name; /* of the section, "" without one */
    const char *key, *value;
};

/* Take one line in; HA_OK, or a code with *err telling what is wrong with key or value. */
typedef int (*ha_ini_cb)(void *arg, const struct ha_ini_line *line, struct ha_err *err);

/* HA_ENOENT: no such file. HA_EINVAL: the first wrong line. */
int ha_ini_read(const char *path, ha_ini_cb cb, void *arg, struct ha_err *err);

enum ha_ini_type {
    HA_INI_TEXT,     /* char[size] */
    HA_INI_NAME,     /* char[size], a name */
    HA_INI_DURATION, /* uint32_t milliseconds */
    HA_INI_PORT,     /* uint16_t, not 0 */
    HA_INI_BOOL,     /* bool */
};

/* One key of a section and where its value goes. */
struct ha_ini_field {
    const char *key;
    enum ha_ini_type type;
    size_t at, size; /* in the struct of the section */
};

/* What a section may hold, and where it goes. */
struct ha_ini_section {
    const struct ha_ini_field *fields;
    size_t count;
    void *base;     /* struct of the section */
    uint32_t *seen; /* a bit per field already set */
};

/* Set line->key in the section. HA_ENOENT: no such key. HA_EEXIST: said twice. HA_EINVAL: bad
 * value. */
int ha_ini_set(const struct ha_ini_section *section, const struct ha_ini_line *line,
               struct ha_err *err);

#define HA_INI_FIELD(type, owner, member, key)                                                \
    {                                                                                         \
        (key), (type), offsetof(struct owner, member), sizeof(((struct owner *)NULL)->member) \
    }

#endif /* HA_CMD_COMMON_INI_H */
