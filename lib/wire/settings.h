/* lib/wire/settings.h - what an agent must know of a service it hosts, out of the replicated state.
 *
 * Pure, no allocation. */
#ifndef HA_WIRE_SETTINGS_H
#define HA_WIRE_SETTINGS_H

#include <stdint.h>

#include "lib/core/cluster.h"
#include "lib/core/message.h"

/* Fill *ret for @member of @service. A member that @service does not have (any more), and NULL
 * @service, give `gone` with the ids; the caller sets ret->service where @service is NULL. Peers
 * are the other members, in their order. Equal input gives equal bytes, so memcmp tells whether a
 * push is due. */
void ha_settings_make(struct ha_settings *ret, const struct ha_service *service, uint32_t member,
                      uint64_t config_version);

#endif /* HA_WIRE_SETTINGS_H */
