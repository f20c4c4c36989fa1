#include "raft/guard.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "raft/guard_private.h"

bool ha_guard_on(const struct ha_guard *guard, uint32_t bit)
{
    return (guard->options.off & bit) == 0;
}

void ha_guard_fatal(struct ha_guard *guard, int code, const char *what, uint64_t number)
{
    char why[HA_ERR_TEXT_SIZE];

    (void)snprintf(why, sizeof(why), "%s (%llu)", what, (unsigned long long)number);
    guard->options.fatal(guard->options.arg, code, why);
    abort();
}

struct ha_guard *ha_guard_of(struct raft_io *io)
{
    return io->impl;
}

struct raft *ha_guard_raft(const struct ha_guard *guard)
{
    return guard->io.data;
}

void ha_guard_finish_sends(struct ha_guard *guard, bool is_canceled)
{
    while (guard->sends != NULL) {
        struct ha_guard_send *send = guard->sends;

        guard->sends = send->next;
        if (send->cb != NULL) /* a TimeoutNow has none */
            send->cb(send->req, is_canceled ? RAFT_CANCELED : send->status);
        raft_free(send);
    }
}

static void on_tick(struct raft_io *inner)
{
    struct ha_guard *guard = inner->data;
    struct raft *raft = ha_guard_raft(guard);

    if (guard->is_closing)
        return;
    if (ha_guard_on(guard, HA_GUARD_G(3)) && raft->state == RAFT_FOLLOWER &&
        (guard->appends_pending > 0 || guard->is_installing))
        raft->election_timer_start = guard->inner->time(guard->inner);
    else
        guard->tick(&guard->io);
    ha_guard_check(guard);
}

/* --- the rest of the table ---------------------------------------------------------------- */

static int guard_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    return ha_guard_of(io)->inner->bootstrap(ha_guard_of(io)->inner, conf);
}

static int guard_recover(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)io;
    (void)conf;
    return RAFT_INVALID; /* replacement of a watcher is an offline procedure */
}

static int guard_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick,
                       raft_io_recv_cb recv)
{
    struct ha_guard *guard = ha_guard_of(io);
    int rv;

    guard->tick = tick;
    guard->recv = recv;
    rv = guard->inner->start(guard->inner, msecs, on_tick, ha_guard_recv);
    if (rv == 0)
        guard->is_started = true;
    return rv;
}

static int guard_io_init(struct raft_io *io, raft_id id, const char *address)
{
    return ha_guard_of(io)->inner->init(ha_guard_of(io)->inner, id, address);
}

static void on_closed(struct raft_io *inner)
{
    struct ha_guard *guard = inner->data;

    ha_guard_finish_sends(guard, true);
    guard->close_cb(&guard->io);
}

static void guard_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct ha_guard *guard = ha_guard_of(io);

    guard->is_closing = true;
    guard->close_cb = cb;
    guard->inner->close(guard->inner, on_closed);
}

static raft_time guard_time(struct raft_io *io)
{
    return ha_guard_of(io)->inner->time(ha_guard_of(io)->inner);
}

static int guard_random(struct raft_io *io, int min, int max)
{
    return ha_guard_of(io)->inner->random(ha_guard_of(io)->inner, min, max);
}

void ha_guard_init(struct ha_guard *guard, struct raft_io *inner,
                   const struct ha_guard_options *options)
{
    assert(options->own_id >= 1 && options->own_id <= HA_RAFT_PEERS_MAX);
    assert(options->fatal != NULL);

    *guard = (struct ha_guard){.inner = inner, .options = *options};
    guard->io = (struct raft_io){.version = 1,
                                 .impl = guard,
                                 .init = guard_io_init,
                                 .close = guard_close,
                                 .load = ha_guard_load,
                                 .start = guard_start,
                                 .bootstrap = guard_bootstrap,
                                 .recover = guard_recover,
                                 .set_term = ha_guard_set_term,
                                 .set_vote = ha_guard_set_vote,
                                 .send = ha_guard_send,
                                 .append = ha_guard_append,
                                 .truncate = ha_guard_truncate,
                                 .snapshot_put = ha_guard_snapshot_put,
                                 .snapshot_get = ha_guard_snapshot_get,
                                 .time = guard_time,
                                 .random = guard_random};
    inner->data = guard;
}

struct raft_io *ha_guard_io(struct ha_guard *guard)
{
    return &guard->io;
}

static raft_index min_index(raft_index a, raft_index b)
{
    return a < b ? a : b;
}

/* --- leadership --------------------------------------------------------------------------- */

struct guard_barrier {
    struct raft_barrier req;
    struct ha_guard *guard;
    raft_term term;
};

static void on_barrier(struct raft_barrier *req, int status)
{
    struct guard_barrier *barrier = req->data;

    if (status == 0)
        barrier->guard->acting_term = barrier->term;
    raft_free(barrier);
}

/* G1: old entries commit only under one of this term, and nobody acts before it is applied. */
static void begin_term(struct ha_guard *guard)
{
    struct raft *raft = ha_guard_raft(guard);
    struct guard_barrier *barrier;
    int rv;

    guard->led_term = raft->current_term;
    guard->has_own_stored = false;
    for (size_t i = 0; i <= HA_RAFT_PEERS_MAX; i++)
        guard->peers[i] = (struct ha_guard_peer){0};
    if (!ha_guard_on(guard, HA_GUARD_G(1))) {
        guard->acting_term = raft->current_term;
        return;
    }
    barrier = raft_malloc(sizeof(*barrier));
    if (barrier == NULL)
        ha_guard_fatal(guard, HA_ENOMEM, "no memory for the barrier of term", raft->current_term);
    *barrier = (struct guard_barrier){.guard = guard, .term = raft->current_term};
    barrier->req.data = barrier;
    rv = raft_barrier(raft, &barrier->req, on_barrier);
    if (rv != 0)
        ha_guard_fatal(guard, HA_EIO, "libraft refused the barrier", (uint64_t)rv);
}

void ha_guard_check(struct ha_guard *guard)
{
    struct raft *raft = ha_guard_raft(guard);

    ha_guard_finish_sends(guard, false);
    if (guard->is_closing || !guard->is_started)
        return;
    if (raft->state == RAFT_UNAVAILABLE && ha_guard_on(guard, HA_GUARD_G(5)))
        ha_guard_fatal(guard, HA_EIO, "libraft gave up", raft->current_term);
    if (raft->state == RAFT_LEADER && guard->led_term != raft->current_term) {
        begin_term(guard);
        ha_guard_finish_sends(guard, false);
    }
}

void ha_guard_nudge(struct ha_guard *guard)
{
    struct raft *raft = ha_guard_raft(guard);

    if (guard->is_closing || !guard->is_started || raft->state != RAFT_LEADER ||
        guard->led_term != raft->current_term || !ha_guard_on(guard, HA_GUARD_NUDGE))
        return;
    for (uint32_t i = 0; i < guard->options.peer_count; i++) {
        uint32_t id = guard->options.peer_ids[i];
        struct ha_guard_peer *peer = &guard->peers[id];
        raft_index usable = min_index(raft->commit_index, peer->acked);
        struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES,
                                       .server_id = id,
                                       .server_address = ha_guard_address(id)};

        if (id == guard->options.own_id || usable <= peer->told)
            continue;
        message.append_entries.term = raft->current_term;
        message.append_entries.prev_log_index = peer->acked;
        message.append_entries.prev_log_term = ha_guard_term_of(raft, peer->acked);
        message.append_entries.leader_commit = raft->commit_index;
        if (message.append_entries.prev_log_term == 0)
            continue;
        /* Lost? Then the next heartbeat says the same. */
        (void)guard->inner->send(guard->inner, NULL, &message, NULL);
        peer->told = usable;
    }
}

bool ha_guard_is_acting(const struct ha_guard *guard)
{
    const struct raft *raft = ha_guard_raft(guard);

    return guard->is_started && !guard->is_closing && raft->state == RAFT_LEADER &&
           guard->acting_term == raft->current_term;
}
