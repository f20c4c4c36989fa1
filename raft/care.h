/* raft/care.h - directories of watchers: made from a seed, moved to the next set, read back.
 *
 * Blocking, on directories that no running watcher has open, but for ha_raft_export. A set of
 * watchers is a log of its own: terms, votes and entries of one set mean nothing in another, and
 * every link says which set it speaks for. A set ends with one entry of its own log; what that log
 * built up to there is the first snapshot of the next. See raft/README.md, "Caring for watchers".
 */
#ifndef HA_RAFT_CARE_H
#define HA_RAFT_CARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/node.h"

struct ha_err;

/* A set of watchers as a directory remembers it, once it is not the one of the settings. */
struct ha_raft_set {
    uint64_t set_id;
    /* The entry that ended the set before; from_set 0: that set is lost. */
    uint64_t from_set, from_index, from_term;
    char gone[HA_RAFT_NAME_SIZE]; /* who was in that set and is not in this one; "": nobody */
    /* Promises of a lost set may be outstanding: nothing is done before the longest has passed. */
    bool must_wait;
    uint32_t count;
    struct ha_raft_peer peers[HA_RAFT_PEERS_MAX]; /* ids 1 to count */
};

/* A state of the log, and whose it is: what a backup holds and a directory begins with. */
struct ha_raft_seed {
    uint64_t cluster_id;
    struct ha_raft_set set;
    uint64_t index, term;
    uint64_t wall_ms;      /* when it was taken; a label */
    uint64_t staleness_ms; /* age of the leader's last word then; UINT64_MAX: no leader */
    void *data;            /* from malloc(); the state in our own wrapping */
    size_t size;
};

#define HA_RAFT_SEED_SIZE_MAX (HA_RAFT_SNAPSHOT_MAX + 8192u)

void ha_raft_seed_fini(struct ha_raft_seed *seed);

/* The state everything applied so far made. Gives *ret (ha_raft_seed_fini). HA_EBUSY: not started,
 * or closing; HA_ENOMEM. */
int ha_raft_export(const struct ha_raft *raft, struct ha_raft_seed *ret, struct ha_err *err);

/* To and from a file's bytes. encode gives *ret_data from malloc().
 *   HA_ECORRUPT  damaged or cut
 *   HA_ENOTSUP   written by a later version
 *   HA_EINVAL    something else altogether */
int ha_raft_seed_encode(const struct ha_raft_seed *seed, void **ret_data, size_t *ret_size,
                        struct ha_err *err);
int ha_raft_seed_decode(const void *data, size_t size, struct ha_raft_seed *ret,
                        struct ha_err *err);

/* The application's part of the state, borrowed from @seed. HA_ECORRUPT. */
int ha_raft_seed_state(const struct ha_raft_seed *seed, const void **ret_state, size_t *ret_size,
                       struct ha_err *err);
/* Put another in its place, as if it had been applied at @index. */
int ha_raft_seed_replace(struct ha_raft_seed *seed, const void *state, size_t size, uint64_t index,
                         struct ha_err *err);

/* Who owns @dir. *ret_set has count 0 where the directory is of the set it was bootstrapped for;
 * set_id is always filled in. HA_ENOENT: it is empty. Others as ha_raft_open. */
int ha_raft_inspect(const char *dir, uint64_t cluster_id, struct ha_raft_set *ret_set,
                    uint32_t *ret_own_id, struct ha_err *err);

/* Make the empty @dir that of watcher @own_id of the seed's set. HA_EEXIST: it is not empty. */
int ha_raft_sow(const char *dir, uint32_t own_id, const struct ha_raft_seed *seed,
                struct ha_err *err);

/* Make @dir, which belongs to a watcher of another set, that of @own_id of the seed's set, in one
 * step that either happens or not. What it held is forgotten: the caller knows that the seed holds
 * all that counts of it. */
int ha_raft_transplant(const char *dir, uint32_t own_id, const struct ha_raft_seed *seed,
                       struct ha_err *err);

/* Everything in @dir's log, committed or not, applied through @hooks (restore, apply, snapshot,
 * fatal), as a seed of the set it belongs to. */
int ha_raft_replay(const char *dir, uint64_t cluster_id, const struct ha_raft_hooks *hooks,
                   struct ha_raft_seed *ret, struct ha_err *err);

/* The longest promise of a lost set has passed: note so for ever. HA_EIO and so on. */
int ha_raft_waited(struct ha_raft *raft, struct ha_err *err);

#endif /* HA_RAFT_CARE_H */
