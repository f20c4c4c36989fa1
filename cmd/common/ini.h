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

/* "[kind]", whose fields are in the settings themselves; or "[kind NAME]", whose fields are in the
 * element of a list that begins with that name. */
struct ha_ini_section {
    const char *kind;
    const struct ha_ini_field *fields;
    size_t field_count;
    size_t seen; /* where, in the same struct as the fields, a uint32_t has a bit per field set */
    struct ha_ini_list {
        size_t at, max; /* where the elements are in the settings, and how many; max 0: no list */
        size_t count;   /* where the uint32_t is that counts them */
        size_t size;    /* of an element, which begins with char[HA_NAME_SIZE] */
        const void *fresh; /* what a new element is copied from; NULL: zeroes */
    } list;
};

/* Set line->key of the section of @sections that line->kind and line->name say. HA_ENOENT: no such
 * section or key. HA_EEXIST: said twice. HA_EFULL: too many names. HA_EINVAL: bad name or value. */
int ha_ini_take(const struct ha_ini_section *sections, size_t count, void *settings,
                const struct ha_ini_line *line, struct ha_err *err);

#define HA_INI_FIELD(type, owner, member, key)                                                \
    {                                                                                         \
        (key), (type), offsetof(struct owner, member), sizeof(((struct owner *)NULL)->member) \
    }

#define HA_INI_LIST(owner, member, counter, new_element)                                   \
    .list = {offsetof(struct owner, member), HA_ARRAY_LEN(((struct owner *)NULL)->member), \
             offsetof(struct owner, counter), sizeof(((struct owner *)NULL)->member[0]),   \
             (new_element)}

#endif /* HA_CMD_COMMON_INI_H */
