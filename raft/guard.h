/* raft/guard.h - the rules between libraft 0.15 and any raft_io: what the library gets wrong, held.
 *
 * Shell without a loop: it only runs inside calls of libraft and of the inner raft_io. libraft is
 * given ha_guard_io(); the guard passes on to the inner raft_io, whose contract differs from
 * libraft's in two points: send() with a NULL callback copies the message before it returns, and
 * no completion is ever called from inside the function that started it.
 *
 * The rules (G9, the chain of applied entries, lives in raft/fsm.h):
 *   G1  a new leader submits a barrier at once and counts no acknowledgement before an entry of
 *       its own term is stored here
 *   G2  a follower acknowledges and commits only what this term's leader has checked
 *   G3  no candidacy while appends or a snapshot install are under way; no TimeoutNow
 *   G4  a refused vote never carries a term below our own
 *   G5  a storage error, or a library that gave up, ends the process before libraft hears of it
 *   G6  one allocation per entry; sends are copied and complete in the same turn
 *   G7  one vote per term, terms only grow
 *   G8  only configured peers under their authenticated id, plausible terms and sizes
 *   G10 no entry below our commit index reaches libraft again: it appends what it has compacted
 * and the commit nudge: an empty AppendEntries as soon as a follower may apply more. */
#ifndef HA_RAFT_GUARD_H
#define HA_RAFT_GUARD_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "raft/node.h"

/* Bits for ha_guard_options.off; only tests set them. */
#define HA_GUARD_G(n) (1u << (n))
#define HA_GUARD_NUDGE (1u << 10)
#define HA_GUARD_TIMEOUT_NOW (1u << 11) /* the part of G3 that drops TimeoutNow */
#define HA_GUARD_REBASE (1u << 12)      /* G10 */

#define HA_GUARD_TERM_JUMP_MAX 1000000u
#define HA_GUARD_ENTRIES_MAX 4096u                  /* of one message */
#define HA_GUARD_ENTRY_MAX (HA_RAFT_ENTRY_MAX + 64) /* bytes, with our envelope */

struct ha_guard_options {
    uint32_t own_id;
    uint32_t peer_count; /* ids of all voters, own one too */
    uint32_t peer_ids[HA_RAFT_PEERS_MAX];
    uint32_t off;
    void *arg;
    /* Must not return. */
    void (*fatal)(void *arg, int code, const char *why);
};

struct ha_guard_peer {
    raft_index acked; /* by it in the term we lead: its log equals ours up to here */
    raft_index told;  /* commit index it can know */
};

/* What the call of libraft under way was caused by. */
struct ha_guard_cause {
    bool is_active;
    bool has_appended;
    raft_term term;
    raft_index upto; /* what a success of it verifies */
};

struct ha_guard {
    struct raft_io io; /* libraft's; io.data is its struct raft */
    struct raft_io *inner;
    struct ha_guard_options options;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb close_cb;
    raft_term term;
    raft_id vote;
    raft_index verified; /* in this term, by its leader */
    struct ha_guard_cause cause;
    uint32_t appends_pending;
    bool is_installing;
    bool in_snapshot_cb;
    bool is_started;
    bool is_closing;
    raft_term led_term;    /* the last term we saw ourselves lead */
    raft_term acting_term; /* the last whose barrier we saw applied */
    bool has_own_stored;
    struct ha_guard_send *sends; /* of libraft, to complete when it has returned */
    struct ha_guard_peer peers[HA_RAFT_PEERS_MAX + 1]; /* by id */
    uint64_t dropped;                                  /* messages refused by G8 */
};

/* @inner is borrowed until the io has closed. */
void ha_guard_init(struct ha_guard *guard, struct raft_io *inner,
                   const struct ha_guard_options *options);

struct raft_io *ha_guard_io(struct ha_guard *guard);

/* After every call into libraft that did not come through the io: finish sends, notice a new term
 * of ours, die where the library gave up. */
void ha_guard_check(struct ha_guard *guard);

/* Once per loop turn: tell followers of a commit index they can use and do not know. */
void ha_guard_nudge(struct ha_guard *guard);

/* True while we lead and have applied our own barrier. */
bool ha_guard_is_acting(const struct ha_guard *guard);

/* The constant address that libraft knows id by; real ones are the network's business. */
const char *ha_guard_address(uint32_t id);

/* Term of @index in @raft's log or its snapshot's last entry, 0 where it is not known. */
raft_term ha_guard_term_of(const struct raft *raft, raft_index index);

#endif /* HA_RAFT_GUARD_H */
