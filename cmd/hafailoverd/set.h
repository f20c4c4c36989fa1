/* cmd/hafailoverd/set.h - the set of watchers this daemon speaks for, and its change while it runs.
 *
 * Shell, loop thread. The names in [peers] count for a bootstrap; from then on the data directory
 * knows the set, and [peers] only says where its watchers are. */
#ifndef HA_CMD_HAFAILOVERD_SET_H
#define HA_CMD_HAFAILOVERD_SET_H

#include <stdbool.h>

struct ha_command_replace;
struct ha_daemon;
struct ha_err;
struct ha_raft_entry;
struct ha_raft_set;

/* Before the log is opened: take the set out of the data directory into daemon->set and the peers
 * of the settings. HA_EDENIED: this watcher is not in it. Codes of ha_raft_inspect. */
int ha_set_learn(struct ha_daemon *daemon, struct ha_err *err);

/* The entry that ends the set was applied just now: nothing behind it may be. */
void ha_set_replaced(struct ha_daemon *daemon, const struct ha_raft_entry *entry,
                     const struct ha_command_replace *command);

/* A peer tells that the set has ended; as the hook of ha_raft_hooks. */
void ha_set_over(void *ctx, const struct ha_raft_set *next);

/* Free what a move under way holds. */
void ha_set_free(struct ha_daemon *daemon);

/* Once per loop turn: begin the move that is due. */
void ha_set_turn(struct ha_daemon *daemon);

/* Whether the log is closing for a move: it tells its end itself, by ha_daemon_part_closed. */
bool ha_set_is_moving(const struct ha_daemon *daemon);

/* A set whose watchers before are lost takes no part until their longest promise has run out: true
 * while that is so. Starts the log when it is over. */
bool ha_set_waits(struct ha_daemon *daemon);

#endif /* HA_CMD_HAFAILOVERD_SET_H */
