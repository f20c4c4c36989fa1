/* raft/guard_check.h - the guard's arithmetic on messages and logs. Internal to raft/.
 *
 * Pure but for raft_malloc. */
#ifndef HA_RAFT_GUARD_CHECK_H
#define HA_RAFT_GUARD_CHECK_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>

#include "raft/guard.h"

/* G8: from a configured peer, in a believable term, within limits, static membership. */
bool ha_guard_is_plausible(const struct ha_guard_options *options, raft_term own_term,
                           const struct raft_message *message);

/* G6: give every entry memory of its own; false when there is none (nothing changed then). */
bool ha_guard_repack(struct raft_entry *entries, size_t n);

/* Cut entries off the front that the log has already: libraft would leak them. The message says
 * the same afterwards, since equal index and term mean equal logs up to there. */
void ha_guard_trim(const struct raft *raft, struct raft_append_entries *args);

/* G10: begin a message no earlier than at our commit index, up to where a leader of this term can
 * only repeat what we have. libraft would take entries it has compacted for new ones, and append
 * them at the end of its log. */
void ha_guard_rebase(const struct raft *raft, struct raft_append_entries *args);

/* Free what a received message owns. */
void ha_guard_release(struct raft_message *message);

#endif /* HA_RAFT_GUARD_CHECK_H */
