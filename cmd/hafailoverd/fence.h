/* cmd/hafailoverd/fence.h - the fencing commands of this watcher's own file, while it leads.
 *
 * Shell, loop thread. Each is one child with a deadline, at most one for a service; its end becomes
 * HA_EVENT_FENCE_COMMAND with the epoch it was asked for. */
#ifndef HA_CMD_HAFAILOVERD_FENCE_H
#define HA_CMD_HAFAILOVERD_FENCE_H

struct ha_daemon;
struct ha_effect_fence;
struct ha_fencer; /* opaque */

/* HA_ENOMEM. */
int ha_fencer_open(struct ha_daemon *daemon, struct ha_fencer **ret);
/* After the loop has ended. */
void ha_fencer_free(struct ha_fencer *fencer);

/* Run the command; where one for the same service and epoch runs, its end is the answer. What
 * cannot be started is answered at once. */
void ha_fencer_run(struct ha_fencer *fencer, const struct ha_effect_fence *ask);

/* Warn of services whose command this watcher does not have, once for each configuration. */
void ha_fencer_look(struct ha_fencer *fencer);

/* Kill all; nothing is answered any more. */
void ha_fencer_cancel(struct ha_fencer *fencer);

#endif /* HA_CMD_HAFAILOVERD_FENCE_H */
