/* raft/propose.h - bounded queue of proposals, each ended exactly once. Internal to raft/.
 *
 * Part of a seat. The leader hands them to libraft, a few at a time, never from inside one of its
 * callbacks; a follower forwards them, and takes them back only where the other certainly did
 * nothing. */
#ifndef HA_RAFT_PROPOSE_H
#define HA_RAFT_PROPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define HA_PROPOSE_FLIGHT_MAX 64u /* handed to libraft and not yet applied */
#define HA_PROPOSE_FLIGHT_BYTES_MAX (256u * 1024)
#define HA_PROPOSE_BYTES_MAX (16u << 20) /* of all that are open */
#define HA_PROPOSE_RETRY_MS 20u
#define HA_PROPOSE_PUBLISH_GAP_MS 1000u

struct ha_frame_answer;
struct ha_frame_forward;
struct ha_proposal;
struct ha_seat;

TAILQ_HEAD(ha_proposals, ha_proposal);

struct ha_propose {
    struct ha_proposals open;
    uint32_t count;
    size_t bytes;
    uint32_t in_flight;
    size_t in_flight_bytes;
    uint64_t next_seq;
    bool is_publishing; /* a chain hash is in flight */
    uint64_t publish_after_ms;
    bool is_dirty; /* something changed since the last turn */
};

void ha_propose_init(struct ha_propose *propose, uint64_t first_seq);
int ha_propose_add(struct ha_seat *seat, const void *data, size_t size, uint64_t request);
void ha_propose_forwarded(struct ha_seat *seat, uint32_t peer,
                          const struct ha_frame_forward *forward);
void ha_propose_answered(struct ha_seat *seat, uint32_t peer, const struct ha_frame_answer *answer);
void ha_propose_link_down(struct ha_seat *seat, uint32_t peer);
void ha_propose_turn(struct ha_seat *seat);
/* libraft is gone: end what is left as unknown, without answers to peers. */
void ha_propose_close(struct ha_seat *seat);
/* Free and tell nobody. */
void ha_propose_forget(struct ha_seat *seat);

#endif /* HA_RAFT_PROPOSE_H */
