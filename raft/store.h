/* raft/store.h - log, term, vote and snapshots of one watcher in SQLite. Internal to raft/.
 *
 * Blocking. One caller at a time: the owner serialises calls, from whatever thread. Every write is
 * durable when it returns (write-ahead log, synchronous=FULL). After an error the store must not
 * be used again: the process ends. Files in the directory:
 *   log.db      everything below, one transaction per change
 *   identity    cluster, id and set of watchers; written once, when the directory is bootstrapped
 *   watermark   an index known to be committed, about once a second: a log that ends before it
 *               has been cut, rolled back or replaced */
#ifndef HA_RAFT_STORE_H
#define HA_RAFT_STORE_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "raft/care.h"

struct ha_store; /* opaque */

struct ha_store_options {
    const char *dir; /* borrowed for the call */
    uint64_t cluster_id;
    uint32_t own_id;
    uint64_t set_id;
    const uint32_t *ids; /* of all voters, for the configurations libraft wants */
    uint32_t id_count;
    uint64_t free_min_bytes;
    bool bootstrap;
    uint32_t page_max; /* tests: PRAGMA max_page_count; 0: none */
};

/* What libraft asks for at start; memory from raft_malloc, the caller's. */
struct ha_store_state {
    raft_term term;
    raft_id vote;
    struct raft_snapshot *snapshot; /* or NULL */
    raft_index start;
    struct raft_entry *entries;
    size_t count;
};

/* Open, bootstrap where asked, and check all that does not need the entries. Codes and sentences
 * as ha_raft_open promises. */
int ha_store_open(struct ha_store **ret, const struct ha_store_options *options,
                  struct ha_err *err);

/* Read and verify everything: checksums, chain, gaps, end. HA_ECORRUPT, HA_EIO, HA_ENOMEM. */
int ha_store_load(struct ha_store *store, struct ha_store_state *ret, struct ha_err *err);

/* Free a state that libraft never took. */
void ha_store_state_fini(struct ha_store_state *state);

int ha_store_set_term(struct ha_store *store, raft_term term, struct ha_err *err);
int ha_store_set_vote(struct ha_store *store, raft_id vote, struct ha_err *err);

/* Changes of the log between begin and commit are one transaction. HA_EFULL: no space. */
int ha_store_begin(struct ha_store *store, struct ha_err *err);
int ha_store_append(struct ha_store *store, raft_index index, const struct raft_entry *entries,
                    size_t count, struct ha_err *err);
int ha_store_truncate(struct ha_store *store, raft_index index, struct ha_err *err);
/* @trailing 0: the snapshot replaces the whole log. */
int ha_store_put(struct ha_store *store, const struct raft_snapshot *snapshot, unsigned trailing,
                 struct ha_err *err);
int ha_store_commit(struct ha_store *store, struct ha_err *err);

/* The newest snapshot, *ret from raft_malloc, or NULL when there is none. */
int ha_store_get(struct ha_store *store, struct raft_snapshot **ret, struct ha_err *err);

int ha_store_mark(struct ha_store *store, raft_index committed, struct ha_err *err);

/* Who owns @dir, without opening it as a voter; codes of ha_store_open. */
struct ha_store_owner {
    uint64_t cluster_id;
    uint32_t own_id;
    struct ha_raft_set set; /* count 0: only set_id is known */
};
int ha_store_peek(const char *dir, struct ha_store_owner *ret, struct ha_err *err);

/* One transaction: from now on the directory is that of @own_id of the seed's set, and begins with
 * the seed. Closes nothing; the store must not be used for anything else any more. */
int ha_store_transplant(struct ha_store *store, uint32_t own_id, const struct ha_raft_seed *seed,
                        struct ha_err *err);
/* The same for an empty directory. HA_EEXIST. */
int ha_store_sow(const char *dir, uint32_t own_id, const struct ha_raft_seed *seed,
                 struct ha_err *err);
/* What is remembered of the set; count 0: nothing. */
int ha_store_read_set(struct ha_store *store, struct ha_raft_set *ret, struct ha_err *err);
/* Its longest promise has passed: note so. */
int ha_store_set_waited(struct ha_store *store, struct ha_err *err);

/* Of the database files; free space of the directory. */
uint64_t ha_store_size(const struct ha_store *store);
bool ha_store_has_space(const struct ha_store *store);

void ha_store_close(struct ha_store *store); /* accepts NULL */

#endif /* HA_RAFT_STORE_H */
