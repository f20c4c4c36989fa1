#include "raft/seat.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "raft/code.h"
#include "raft/guard_private.h"

static void on_fatal(void *arg, int code, const char *why)
{
    struct ha_seat *seat = arg;

    seat->hooks.fatal(seat->hooks.ctx, code, why);
}

int ha_seat_init(struct ha_seat *seat, struct raft_io *inner, const struct ha_seat_options *options,
                 const struct ha_raft_hooks *hooks, ha_seat_send_cb send)
{
    struct ha_guard_options guard = {.own_id = options->own_id,
                                     .peer_count = options->peer_count,
                                     .off = options->guard_off,
                                     .arg = seat,
                                     .fatal = on_fatal};
    int rv;

    assert(options->snapshot_trailing >= 1);
    memset(seat, 0, sizeof(*seat));
    seat->options = *options;
    seat->hooks = *hooks;
    seat->send = send;
    seat->inner = inner;
    memcpy(guard.peer_ids, options->peer_ids, sizeof(guard.peer_ids));
    ha_guard_init(&seat->guard, inner, &guard);
    ha_fsm_init(&seat->fsm, &seat->raft, &seat->hooks);
    ha_propose_init(&seat->propose, options->seed);
    ha_reads_init(&seat->reads, options->seed);
    rv = raft_init(&seat->raft, ha_guard_io(&seat->guard), &seat->fsm.fsm, options->own_id,
                   ha_guard_address(options->own_id));
    if (rv != 0)
        return ha_raft_code(rv);
    raft_set_election_timeout(&seat->raft, options->election_ms);
    raft_set_heartbeat_timeout(&seat->raft, options->heartbeat_ms);
    /* A snapshot lost with its link is tried again soon; libraft would wait 30 s. */
    raft_set_install_snapshot_timeout(&seat->raft, 10 * options->election_ms);
    raft_set_snapshot_threshold(&seat->raft, options->snapshot_threshold);
    raft_set_snapshot_trailing(&seat->raft, options->snapshot_trailing);
    raft_set_pre_vote(&seat->raft, !options->no_pre_vote);
    return HA_OK;
}

int ha_seat_start(struct ha_seat *seat)
{
    int rv = raft_start(&seat->raft);

    if (rv != 0)
        return ha_raft_code(rv);
    seat->is_started = true;
    ha_guard_check(&seat->guard);
    return HA_OK;
}

static void on_closed(struct raft *raft)
{
    struct ha_seat *seat = raft->data;

    ha_propose_close(seat);
    ha_reads_close(seat);
    seat->close_cb(seat->close_arg);
}

void ha_seat_close(struct ha_seat *seat, void (*cb)(void *arg), void *arg)
{
    assert(!seat->is_closing);
    seat->is_closing = true;
    seat->close_cb = cb;
    seat->close_arg = arg;
    seat->raft.data = seat;
    /* Before libraft fails its requests: those callbacks must find us closing. */
    seat->guard.is_closing = true;
    raft_close(&seat->raft, on_closed);
}

void ha_seat_forget(struct ha_seat *seat)
{
    ha_propose_forget(seat);
    ha_reads_forget(seat);
}

int ha_seat_propose(struct ha_seat *seat, const void *data, size_t size, uint64_t request)
{
    if (!seat->is_started || seat->is_closing)
        return HA_ECLOSED;
    return ha_propose_add(seat, data, size, request);
}

int ha_seat_read_index(struct ha_seat *seat, uint32_t deadline_ms, ha_raft_read_cb cb, void *arg)
{
    if (!seat->is_started || seat->is_closing)
        return HA_ECLOSED;
    return ha_reads_add(seat, deadline_ms, cb, arg);
}

bool ha_seat_frame(struct ha_seat *seat, uint32_t peer, enum ha_frame_type type, const void *data,
                   size_t size)
{
    struct ha_frame_forward forward;
    struct ha_frame_answer answer;
    struct ha_frame_read read;

    if (!seat->is_started || seat->is_closing)
        return true;
    switch (type) {
    case HA_FRAME_FORWARD:
        if (!ha_frame_get_forward(data, size, &forward))
            return false;
        ha_propose_forwarded(seat, peer, &forward);
        return true;
    case HA_FRAME_ANSWER:
        if (!ha_frame_get_answer(data, size, &answer))
            return false;
        ha_propose_answered(seat, peer, &answer);
        return true;
    case HA_FRAME_READ:
        if (!ha_frame_get_read(data, size, &read))
            return false;
        ha_reads_asked(seat, peer, &read);
        return true;
    case HA_FRAME_READ_ANSWER:
        if (!ha_frame_get_read(data, size, &read))
            return false;
        ha_reads_answered(seat, &read);
        return true;
    case HA_FRAME_HELLO:
    case HA_FRAME_RAFT:
    case HA_FRAME_APP:
    case HA_FRAME_OVER:
        return false;
    }
    return false;
}

void ha_seat_link_down(struct ha_seat *seat, uint32_t peer)
{
    if (seat->is_started && !seat->is_closing)
        ha_propose_link_down(seat, peer);
}

/* As a leader might: an AppendEntries that brings nothing but the commit index. */
bool ha_seat_over(struct ha_seat *seat, uint32_t peer, uint64_t index, uint64_t term)
{
    struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = peer};

    if (!seat->is_started || seat->is_closing || seat->raft.state == RAFT_LEADER)
        return true;
    if (ha_guard_term_of(&seat->raft, index) != term)
        return false;
    message.append_entries = (struct raft_append_entries){.term = seat->raft.current_term,
                                                          .prev_log_index = index,
                                                          .prev_log_term = term,
                                                          .leader_commit = index};
    ha_guard_recv(seat->inner, &message);
    return true;
}

int ha_seat_export(const struct ha_seat *seat, struct ha_seat_state *ret, struct ha_err *err)
{
    struct ha_seat_state state = {.index = seat->fsm.applied};
    struct ha_fsm *fsm;
    int code;

    if (!seat->is_started || seat->is_closing)
        return ha_err_set(err, HA_EBUSY, "this watcher takes no part in the log now: try again");
    state.term = ha_guard_term_of(&seat->raft, state.index);
    if (state.term == 0 || state.index < seat->raft.log.snapshot.last_index) {
        /* Nothing but barriers since the last snapshot. */
        state.index = seat->raft.log.snapshot.last_index;
        state.term = seat->raft.log.snapshot.last_term;
    }
    if (state.index == 0 || state.term == 0)
        return ha_err_set(err, HA_EBUSY, "nothing has been applied yet: try again");
    fsm = malloc(sizeof(*fsm)); /* what it counts is not ours to change */
    if (fsm == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the state");
    *fsm = seat->fsm;
    fsm->fsm.data = fsm;
    code = ha_fsm_export(fsm, &state.data, &state.size, err);
    free(fsm);
    if (code == HA_OK)
        *ret = state;
    return code;
}

static void tell_role(struct ha_seat *seat)
{
    bool is_acting = ha_seat_is_acting(seat);
    uint64_t term = seat->raft.current_term;

    if (seat->has_role && (!is_acting || term != seat->role_term)) {
        seat->has_role = false;
        seat->hooks.role(seat->hooks.ctx, false, seat->role_term);
    }
    if (!seat->has_role && is_acting) {
        seat->has_role = true;
        seat->role_term = term;
        seat->hooks.role(seat->hooks.ctx, true, term);
    }
}

void ha_seat_turn(struct ha_seat *seat)
{
    if (!seat->is_started || seat->is_closing)
        return;
    ha_guard_check(&seat->guard);
    tell_role(seat);
    ha_propose_turn(seat);
    ha_reads_turn(seat);
    ha_guard_check(&seat->guard);
    ha_guard_nudge(&seat->guard);
}

bool ha_seat_is_busy(const struct ha_seat *seat)
{
    return seat->is_started && !seat->is_closing &&
           (seat->propose.is_dirty || seat->reads.is_dirty ||
            seat->has_role != ha_seat_is_acting(seat));
}

uint32_t ha_seat_leader(const struct ha_seat *seat)
{
    const struct raft *raft = &seat->raft;

    if (raft->state == RAFT_LEADER)
        return seat->options.own_id;
    if (raft->state == RAFT_FOLLOWER)
        return (uint32_t)raft->follower_state.current_leader.id;
    return 0;
}

bool ha_seat_is_acting(const struct ha_seat *seat)
{
    return ha_guard_is_acting(&seat->guard);
}

uint64_t ha_seat_now(const struct ha_seat *seat)
{
    return seat->inner->time(seat->inner);
}

static enum ha_raft_role role_of(const struct ha_seat *seat)
{
    if (ha_seat_is_acting(seat))
        return HA_RAFT_ACTING;
    if (seat->raft.state == RAFT_LEADER)
        return HA_RAFT_LEADER;
    return seat->raft.state == RAFT_CANDIDATE ? HA_RAFT_CANDIDATE : HA_RAFT_FOLLOWER;
}

void ha_seat_get_status(const struct ha_seat *seat, struct ha_raft_status *ret)
{
    const struct raft *raft = &seat->raft;

    memset(ret, 0, sizeof(*ret));
    ret->role = role_of(seat);
    ret->term = raft->current_term;
    ret->leader_id = ha_seat_leader(seat);
    ret->commit_index = raft->commit_index;
    ret->applied_index = raft->last_applied;
    ret->snapshot_index = raft->log.snapshot.last_index;
    ret->last_index = raft->last_stored;
    ret->chain_hash = seat->fsm.chain;
    ret->queued = seat->propose.count;
    ret->peer_count = seat->options.peer_count;
    for (uint32_t i = 0; i < seat->options.peer_count; i++) {
        struct ha_raft_peer_status *peer = &ret->peers[i];

        peer->id = seat->options.peer_ids[i];
        peer->is_self = peer->id == seat->options.own_id;
        if (raft->state == RAFT_LEADER)
            peer->match_index =
                peer->is_self ? raft->last_stored : seat->guard.peers[peer->id].acked;
    }
}
