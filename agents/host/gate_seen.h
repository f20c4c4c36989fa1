/* agents/host/gate_seen.h - what the nft tables say of the guarded ports; private to this room.
 *
 * Shell, synchronous, one thread. */
#ifndef HA_AGENTS_HOST_GATE_SEEN_H
#define HA_AGENTS_HOST_GATE_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/host/gate_known.h"

struct ha_err;

struct ha_seen {
    uint16_t port;
    bool guarded;
    uint64_t open_ns; /* the latest instant at which it closes; 0: it is closed */
};

struct ha_seen_ports {
    enum ha_nft_set set; /* under way */
    size_t count;
    struct ha_seen ports[HA_GATE_PORTS_MAX]; /* by port */
};

/* All guarded ports, in two questions however many they are: this is asked each second and at each
 * shut. HA_EBUSY: others change their rulesets all the time; the ports are listed all the same, for
 * ha_seen_one. HA_EIO, HA_EDENIED. */
int ha_seen_all(struct ha_gates *gates, struct ha_seen_ports *all, struct ha_err *err);
/* NULL: not guarded when they were listed. */
struct ha_seen *ha_seen_of(struct ha_seen_ports *all, uint16_t port);
/* Asks for one that is listed. HA_EIO, HA_EDENIED. */
int ha_seen_one(struct ha_gates *gates, struct ha_seen *seen, struct ha_err *err);

#endif /* HA_AGENTS_HOST_GATE_SEEN_H */
