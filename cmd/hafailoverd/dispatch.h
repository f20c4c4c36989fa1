/* cmd/hafailoverd/dispatch.h - one switch: effect to shell call; and the proposals under way.
 *
 * Shell, loop thread. Effects are executed once per loop turn, in order. Executing one may step the
 * core again (a refused proposal, a word to oneself); what that adds is executed in the same turn,
 * within a bound. */
#ifndef HA_CMD_HAFAILOVERD_DISPATCH_H
#define HA_CMD_HAFAILOVERD_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

struct ha_daemon;
struct ha_dispatch; /* opaque */
struct ha_err;
struct ha_raft_outcome;

/* HA_ENOMEM. */
int ha_dispatch_open(struct ha_daemon *daemon, struct ha_dispatch **ret);
void ha_dispatch_free(struct ha_dispatch *dispatch);

/* Execute what is queued. True: something is left for the next turn. */
bool ha_dispatch_drain(struct ha_dispatch *dispatch);

/* Raft's word about a proposal. */
void ha_dispatch_outcome(struct ha_dispatch *dispatch, uint64_t ticket,
                         const struct ha_raft_outcome *outcome);

/* What apply said of the entry at @index, for whoever asked for it. */
void ha_dispatch_applied(struct ha_dispatch *dispatch, uint64_t index, int code, const char *text);

/* How many services are being promoted, where those that never had a primary wait for them; 0: none
 * of them waits. */
uint32_t ha_dispatch_beginning(const struct ha_dispatch *dispatch);

#endif /* HA_CMD_HAFAILOVERD_DISPATCH_H */
