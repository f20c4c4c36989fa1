/* cmd/hafailoverd/underway.h - the proposals that raft has and has not answered.
 *
 * The core proposes again what it has not seen in the log for a while. Where a thousand services
 * have something for the log, what stands in line takes longer than that, and the same put there
 * again and again keeps all of it waiting: so it is known what stands there. Pure; the cost is that
 * of one service's proposals. */
#ifndef HA_CMD_HAFAILOVERD_UNDERWAY_H
#define HA_CMD_HAFAILOVERD_UNDERWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/command.h"

#define HA_UNDERWAY_LISTS 1024u

struct ha_proposal {
    struct ha_proposal *next;
    uint64_t ticket;  /* raft's request */
    uint64_t request; /* the core's: who asked, 0: the core itself */
    uint64_t term;    /* of the leader who proposed it to itself; 0: not the leader */
    struct ha_command command;
};

struct ha_underway { /* all zero: empty */
    struct ha_proposal *lists[HA_UNDERWAY_LISTS];
    uint64_t last;
    uint32_t promotes; /* proposals to promote somebody among them */
};

/* Gives it its ticket. */
void ha_underway_add(struct ha_underway *underway, struct ha_proposal *proposal);

/* The proposal of a ticket, no longer in there; NULL: none. */
struct ha_proposal *ha_underway_take(struct ha_underway *underway, uint64_t ticket);

/* Any one, no longer in there; NULL: none is left. */
struct ha_proposal *ha_underway_take_any(struct ha_underway *underway);

/* Whether this leader's line has the same step of the same epoch of a service: what comes second
 * would be refused. Of what has no epoch the last word counts, so nothing is the same. */
bool ha_underway_has(const struct ha_underway *underway, uint64_t term,
                     const struct ha_command *command);

#endif /* HA_CMD_HAFAILOVERD_UNDERWAY_H */
