/* raft/io_disk.h - the storage half of the daemon's raft_io: ordered jobs on a worker thread.
 *
 * Loop thread. Appends, truncations and snapshots are copied, queued, and done in order by
 * uv_queue_work; what has gathered meanwhile shares one transaction. Term and vote are waited for
 * on the loop, since libraft wants them durable on return; they are rare, nobody asks for them
 * while the worker is slow, and a disk that hangs then ends the process. After the first error
 * nothing is written any more and every completion carries it. */
#ifndef HA_RAFT_IO_DISK_H
#define HA_RAFT_IO_DISK_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "lib/base/err.h"
#include "raft/store.h"

struct ha_disk_job;

STAILQ_HEAD(ha_disk_jobs, ha_disk_job);

struct ha_disk {
    uv_loop_t *loop;
    struct ha_store *store;
    uv_mutex_t lock;            /* around the store: worker against set_term and set_vote */
    struct ha_disk_jobs queued; /* not yet given to the worker */
    struct ha_disk_jobs doing;  /* the worker's */
    bool is_working;
    uint64_t working_ms; /* since when, by the loop's clock */
    uv_work_t work;
    int work_code;     /* of the worker's batch */
    struct ha_err err; /* the first error ever */
    struct ha_err work_err;
    uint64_t work_size_bytes; /* what the loop may read of it only when the batch is done */
    bool work_has_space;
    raft_index next_index; /* of the next append, after all that is queued */
    raft_index marked;     /* watermark on disk or on its way */
    uint64_t marked_ms;
    uint64_t size_bytes; /* of the database, as last seen by the worker */
    bool has_space;
    uint64_t looked_ms;
    uint32_t wait_max_ms;       /* for a term or a vote: longer is an error, HA_ETIMEDOUT */
    void (*idle_cb)(void *arg); /* once, when nothing is queued any more */
    void *idle_arg;
};

/* Takes @store. */
void ha_disk_init(struct ha_disk *disk, uv_loop_t *loop, struct ha_store *store);
/* When ha_disk_is_idle; closes the store. */
void ha_disk_fini(struct ha_disk *disk);

int ha_disk_load(struct ha_disk *disk, struct ha_store_state *ret);
int ha_disk_set_term(struct ha_disk *disk, raft_term term);
int ha_disk_set_vote(struct ha_disk *disk, raft_id vote);
int ha_disk_append(struct ha_disk *disk, struct raft_io_append *req,
                   const struct raft_entry entries[], unsigned n, raft_io_append_cb cb);
int ha_disk_truncate(struct ha_disk *disk, raft_index index);
int ha_disk_put(struct ha_disk *disk, unsigned trailing, struct raft_io_snapshot_put *req,
                const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int ha_disk_get(struct ha_disk *disk, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);

/* Once in a while: note the commit index, look at the free space. Returns at once. */
void ha_disk_tend(struct ha_disk *disk, raft_index committed, uint64_t now_ms);

/* What the worker does takes so long that nothing should be waited for on the loop now. */
bool ha_disk_is_slow(const struct ha_disk *disk);
/* What the worker does takes so long that the disk must be taken for dead, until it is done. */
bool ha_disk_is_stalled(const struct ha_disk *disk);

bool ha_disk_is_idle(const struct ha_disk *disk);
/* Call @cb from the loop when all jobs are done; not from inside. */
void ha_disk_when_idle(struct ha_disk *disk, void (*cb)(void *arg), void *arg);

#endif /* HA_RAFT_IO_DISK_H */
