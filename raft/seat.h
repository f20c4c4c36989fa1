/* raft/seat.h - libraft, guard, state machine and proposals as one thing without a loop.
 *
 * Pure but for the raft_io it is given: no clock, socket or thread of its own, so the daemon
 * (raft/node.h) and the simulators run the same code. The owner calls ha_seat_turn after every
 * batch of events of this seat, and at least each heartbeat; hooks other than apply, snapshot,
 * restore and fatal are only called from there. */
#ifndef HA_RAFT_SEAT_H
#define HA_RAFT_SEAT_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/frame.h"
#include "raft/fsm.h"
#include "raft/guard.h"
#include "raft/node.h"
#include "raft/propose.h"
#include "raft/read.h"

struct ha_err;

struct ha_seat_options {
    uint32_t own_id;
    uint32_t peer_count; /* own one too */
    uint32_t peer_ids[HA_RAFT_PEERS_MAX];
    uint32_t election_ms;
    uint32_t heartbeat_ms;
    uint32_t snapshot_threshold;
    uint32_t snapshot_trailing; /* at least 1 */
    uint32_t propose_timeout_ms;
    uint64_t seed;      /* of sequence numbers; differs between lives of one node */
    uint32_t guard_off; /* tests only */
    bool no_pre_vote;   /* tests only */
};

/* Send a frame of ours to a peer; 0, or non-zero where there is no link or no room. */
typedef int (*ha_seat_send_cb)(void *ctx, uint32_t peer, enum ha_frame_type type, const void *data,
                               size_t size);

struct ha_seat {
    struct ha_seat_options options;
    struct ha_raft_hooks hooks;
    ha_seat_send_cb send; /* with hooks.ctx */
    struct raft raft;
    struct raft_io *inner;
    struct ha_guard guard;
    struct ha_fsm fsm;
    struct ha_propose propose;
    struct ha_reads reads;
    bool has_role; /* role(true) was the last word */
    uint64_t role_term;
    bool is_started;
    bool is_closing;
    const char *refusal; /* why this node takes no proposals now, or NULL; static text */
    void (*close_cb)(void *arg);
    void *close_arg;
};

/* @inner is borrowed until closed; @send may be NULL for a single voter. HA_EINVAL, HA_ENOMEM. */
int ha_seat_init(struct ha_seat *seat, struct raft_io *inner, const struct ha_seat_options *options,
                 const struct ha_raft_hooks *hooks, ha_seat_send_cb send);

/* Load, restore, begin. */
int ha_seat_start(struct ha_seat *seat);

/* Ends what is open; @cb is the last touch, the memory is the caller's again. */
void ha_seat_close(struct ha_seat *seat, void (*cb)(void *arg), void *arg);

/* A simulated process has died: free what is ours, call nothing; libraft's memory is its heap's. */
void ha_seat_forget(struct ha_seat *seat);

/* As in raft/node.h. */
int ha_seat_propose(struct ha_seat *seat, const void *data, size_t size, uint64_t request);
int ha_seat_read_index(struct ha_seat *seat, uint32_t deadline_ms, ha_raft_read_cb cb, void *arg);

/* A frame of an authenticated peer, FORWARD to READ_ANSWER; malformed ones return false. */
bool ha_seat_frame(struct ha_seat *seat, uint32_t peer, enum ha_frame_type type, const void *data,
                   size_t size);

/* The link to @peer broke: what was forwarded over it is unknown. */
void ha_seat_link_down(struct ha_seat *seat, uint32_t peer);

/* The entry at @index of @term ended our set of watchers and is committed, says @peer, who moved
 * on. Where our log has it, libraft is told so; false: it has not, and never will. */
bool ha_seat_over(struct ha_seat *seat, uint32_t peer, uint64_t index, uint64_t term);

/* What everything applied so far made, in our own wrapping. */
struct ha_seat_state {
    uint64_t index, term; /* of the last entry that counts in it */
    void *data;           /* from malloc() */
    size_t size;
};

/* Gives *ret (free its data). HA_EBUSY: not started, closing, nothing applied yet, or the hook says
 * so; HA_ENOMEM. */
int ha_seat_export(const struct ha_seat *seat, struct ha_seat_state *ret, struct ha_err *err);

/* Everything that was put off while libraft was on the stack. */
void ha_seat_turn(struct ha_seat *seat);

/* Anything to do that does not wait for an event or a deadline? */
bool ha_seat_is_busy(const struct ha_seat *seat);

uint32_t ha_seat_leader(const struct ha_seat *seat); /* 0: unknown */
bool ha_seat_is_acting(const struct ha_seat *seat);
uint64_t ha_seat_now(const struct ha_seat *seat);
void ha_seat_get_status(const struct ha_seat *seat, struct ha_raft_status *ret);

#endif /* HA_RAFT_SEAT_H */
