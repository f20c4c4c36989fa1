/* raft/read.h - read indexes: proof of leadership by a barrier, then wait to have applied it.
 * Internal to raft/; part of a seat. */
#ifndef HA_RAFT_READ_H
#define HA_RAFT_READ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "raft/node.h"

#define HA_READS_MAX 512u

struct ha_frame_read;
struct ha_read;
struct ha_seat;

TAILQ_HEAD(ha_read_list, ha_read);

struct ha_reads {
    struct ha_read_list open;
    uint32_t count;
    uint64_t next_seq;
    bool has_barrier; /* one of ours is in libraft */
    bool is_dirty;
};

void ha_reads_init(struct ha_reads *reads, uint64_t first_seq);
int ha_reads_add(struct ha_seat *seat, uint32_t deadline_ms, ha_raft_read_cb cb, void *arg);
void ha_reads_asked(struct ha_seat *seat, uint32_t peer, const struct ha_frame_read *asked);
void ha_reads_answered(struct ha_seat *seat, const struct ha_frame_read *answered);
void ha_reads_turn(struct ha_seat *seat);
void ha_reads_close(struct ha_seat *seat);
/* Free and tell nobody. */
void ha_reads_forget(struct ha_seat *seat);

#endif /* HA_RAFT_READ_H */
