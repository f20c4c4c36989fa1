/* tests/raft/simstore.h - what a simulated disk holds, and libraft's view of it
 * on load. */
#ifndef HA_TESTS_RAFT_SIMSTORE_H
#define HA_TESTS_RAFT_SIMSTORE_H

#include "tests/raft/simio.h"

/* Takes the entry's data. An entry that does not follow the log is a violation.
 */
void sim_store_append(struct sim_disk *disk, raft_index index, struct sim_entry *entry);
void sim_store_truncate(struct sim_disk *disk, raft_index index);
/* Takes the snapshot's data; @trailing 0 replaces the whole log. */
void sim_store_put(struct sim_disk *disk, struct sim_snapshot *snapshot, unsigned trailing);
/* A copy for libraft, or NULL. */
struct raft_snapshot *sim_store_snapshot(struct sim_voter *node);
int sim_store_load(struct sim_voter *node, raft_term *term, raft_id *vote,
                   struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                   size_t *n);
void sim_store_fini(struct sim_disk *disk);

#endif /* HA_TESTS_RAFT_SIMSTORE_H */
