/* lib/wire/parts.h - the walks of what several encodings have in common.
 *
 * Pure. See codec.h: each lists the fields of one struct, once, for every direction. Numbers that
 * index or count are bounded here; whether values make sense is for the core to say. Used inside
 * lib/wire only. */
#ifndef HA_WIRE_PARTS_H
#define HA_WIRE_PARTS_H

#include <stdint.h>

#include "lib/core/command.h"
#include "lib/core/config.h"
#include "lib/core/types.h"

struct ha_codec;

/* A member id or HA_MEMBER_NONE. */
void ha_walk_member(struct ha_codec *c, uint32_t *member);
/* A bit per watcher. */
void ha_walk_watcher_bits(struct ha_codec *c, uint32_t *bits);
void ha_walk_position(struct ha_codec *c, struct ha_position *position);
void ha_walk_diverged(struct ha_codec *c, struct ha_diverged *diverged);
void ha_walk_sample(struct ha_codec *c, struct ha_sample *sample);
void ha_walk_sync_set(struct ha_codec *c, struct ha_sync_set *set);
void ha_walk_hold_set(struct ha_codec *c, struct ha_hold_set *set);
void ha_walk_sync_entry(struct ha_codec *c, struct ha_sync_entry *entry);
void ha_walk_fit(struct ha_codec *c, struct ha_fit *fit);
void ha_walk_service_config(struct ha_codec *c, struct ha_service_config *service);
void ha_walk_webhook_config(struct ha_codec *c, struct ha_webhook_config *webhook);
/* A count of names and the names. */
void ha_walk_names(struct ha_codec *c, uint32_t *count, char (*names)[HA_NAME_SIZE], uint32_t max);

#endif /* HA_WIRE_PARTS_H */
