/* lib/wire/config_keys.h - the keys of services.conf: one table each that parser, renderer and diff
 * share.
 *
 * Pure, no allocation. Used inside lib/wire only. */
#ifndef HA_WIRE_CONFIG_KEYS_H
#define HA_WIRE_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/core/config.h"

struct ha_err;
struct ha_config_key;

/* The keys of one kind of section; their fields are in one struct, the "section" below. */
struct ha_config_keys {
    const struct ha_config_key *keys;
    size_t count;
};

extern const struct ha_config_keys ha_service_keys; /* struct ha_service_config */
extern const struct ha_config_keys ha_member_keys;  /* struct ha_member_config */
extern const struct ha_config_keys ha_webhook_keys; /* struct ha_webhook_config */

#define HA_CONFIG_KEYS_MAX 64u    /* of one section */
#define HA_CONFIG_VALUE_SIZE 264u /* of any value's text, with terminator */

/* Index of @name, or -1. */
int ha_config_key_find(const struct ha_config_keys *keys, const char *name);
const char *ha_config_key_name(const struct ha_config_keys *keys, size_t at);
/* True where a section without it is refused. */
bool ha_config_key_required(const struct ha_config_keys *keys, size_t at);

/* Value text into the section's fields. HA_EINVAL: *err says what is wrong with it. */
int ha_config_key_read(const struct ha_config_keys *keys, size_t at, void *section,
                       const char *text, struct ha_err *err);
/* The reverse: text that reads back as the same; empty where there is none. */
void ha_config_key_write(const struct ha_config_keys *keys, size_t at, const void *section,
                         char text[HA_CONFIG_VALUE_SIZE]);

#endif /* HA_WIRE_CONFIG_KEYS_H */
