#include "raft/guard.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "raft/guard_check.h"

/* An append of libraft on its way through the inner io. */
struct guard_append {
    struct raft_io_append inner;
    struct ha_guard *guard;
    struct raft_io_append *req;
    raft_io_append_cb cb;
    raft_term last_term;
};

struct guard_put {
    struct raft_io_snapshot_put inner;
    struct ha_guard *guard;
    struct raft_io_snapshot_put *req;
    raft_io_snapshot_put_cb cb;
    bool is_install;
    raft_term term;
    raft_index index;
};

struct guard_get {
    struct raft_io_snapshot_get inner;
    struct ha_guard *guard;
    struct raft_io_snapshot_get *req;
    raft_io_snapshot_get_cb cb;
};

struct ha_guard_send {
    struct raft_io_send *req;
    raft_io_send_cb cb;
    int status;
    struct ha_guard_send *next;
};

static bool on(const struct ha_guard *guard, uint32_t bit)
{
    return (guard->options.off & bit) == 0;
}

static void fatal(struct ha_guard *guard, int code, const char *what, uint64_t number)
{
    char why[HA_ERR_TEXT_SIZE];

    (void)snprintf(why, sizeof(why), "%s (%llu)", what, (unsigned long long)number);
    guard->options.fatal(guard->options.arg, code, why);
    abort();
}

/* G5 for calls that answer at once. */
static int checked(struct ha_guard *guard, int rv, const char *what)
{
    if (rv != 0 && on(guard, HA_GUARD_G(5)) && !guard->is_closing)
        fatal(guard, HA_EIO, what, (uint64_t)rv);
    return rv;
}

/* G5 for completions: libraft must not see a failure, except our own cancel while closing. */
static void checked_status(struct ha_guard *guard, int status, const char *what)
{
    if (status == 0 || !on(guard, HA_GUARD_G(5)))
        return;
    if (guard->is_closing && status == RAFT_CANCELED)
        return;
    fatal(guard, HA_EIO, what, (uint64_t)status);
}

static struct ha_guard *of(struct raft_io *io)
{
    return io->impl;
}

static struct raft *raft_of(const struct ha_guard *guard)
{
    return guard->io.data;
}

/* --- storage ----------------------------------------------------------------------------- */

static void on_appended(struct raft_io_append *inner, int status)
{
    struct guard_append *append = inner->data;
    struct ha_guard *guard = append->guard;
    const struct raft *raft = raft_of(guard);

    assert(guard->appends_pending > 0);
    guard->appends_pending--;
    checked_status(guard, status, "append to the log failed");
    if (status == 0 && raft->state == RAFT_LEADER && append->last_term == raft->current_term)
        guard->has_own_stored = true;
    append->cb(append->req, status);
    raft_free(append);
    ha_guard_check(guard);
}

static int guard_append(struct raft_io *io, struct raft_io_append *req,
                        const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct ha_guard *guard = of(io);
    struct guard_append *append = raft_malloc(sizeof(*append));
    int rv;

    assert(n > 0);
    if (append == NULL)
        return checked(guard, RAFT_NOMEM, "no memory to append");
    *append = (struct guard_append){
        .guard = guard, .req = req, .cb = cb, .last_term = entries[n - 1].term};
    append->inner.data = append;
    append->inner.cb = on_appended;
    rv = guard->inner->append(guard->inner, &append->inner, entries, n, on_appended);
    if (rv != 0) {
        raft_free(append);
        return checked(guard, rv, "append to the log refused");
    }
    guard->appends_pending++;
    guard->cause.has_appended = true;
    return 0;
}

static int guard_truncate(struct raft_io *io, raft_index index)
{
    struct ha_guard *guard = of(io);

    if (index <= raft_of(guard)->commit_index)
        fatal(guard, HA_ECORRUPT, "a committed entry would be cut from the log", index);
    return checked(guard, guard->inner->truncate(guard->inner, index), "truncate failed");
}

static int guard_set_term(struct raft_io *io, raft_term term)
{
    struct ha_guard *guard = of(io);
    int rv;

    if (on(guard, HA_GUARD_G(7)) && term < guard->term)
        fatal(guard, HA_ECORRUPT, "the term would go back", term);
    rv = guard->inner->set_term(guard->inner, term);
    if (rv != 0)
        return checked(guard, rv, "storing the term failed");
    if (term != guard->term) {
        guard->vote = 0;
        guard->verified = 0;
    }
    guard->term = term;
    return 0;
}

static int guard_set_vote(struct raft_io *io, raft_id id)
{
    struct ha_guard *guard = of(io);
    int rv;

    if (on(guard, HA_GUARD_G(7)) && guard->vote != 0 && guard->vote != id)
        fatal(guard, HA_ECORRUPT, "a second vote in one term", guard->term);
    rv = guard->inner->set_vote(guard->inner, id);
    if (rv != 0)
        return checked(guard, rv, "storing the vote failed");
    guard->vote = id;
    return 0;
}

static int guard_load(struct raft_io *io, raft_term *term, raft_id *vote,
                      struct raft_snapshot **snapshot, raft_index *start,
                      struct raft_entry *entries[], size_t *n)
{
    struct ha_guard *guard = of(io);
    int rv;

    rv = guard->inner->load(guard->inner, term, vote, snapshot, start, entries, n);
    if (rv != 0)
        return rv;
    guard->term = *term;
    guard->vote = *vote;
    if (on(guard, HA_GUARD_G(6)) && !ha_guard_repack(*entries, *n))
        return RAFT_NOMEM;
    return 0;
}

static void on_put(struct raft_io_snapshot_put *inner, int status)
{
    struct guard_put *put = inner->data;
    struct ha_guard *guard = put->guard;

    checked_status(guard, status, "writing a snapshot failed");
    if (put->is_install) {
        guard->is_installing = false;
        if (status == 0 && put->term == guard->term && put->index > guard->verified)
            guard->verified = put->index;
    }
    guard->in_snapshot_cb = true;
    put->cb(put->req, status);
    guard->in_snapshot_cb = false;
    raft_free(put);
    ha_guard_check(guard);
}

static int guard_snapshot_put(struct raft_io *io, unsigned trailing,
                              struct raft_io_snapshot_put *req,
                              const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct ha_guard *guard = of(io);
    struct guard_put *put = raft_malloc(sizeof(*put));
    int rv;

    if (put == NULL)
        return checked(guard, RAFT_NOMEM, "no memory for a snapshot");
    *put = (struct guard_put){.guard = guard,
                              .req = req,
                              .cb = cb,
                              .is_install = trailing == 0,
                              .term = guard->term,
                              .index = snapshot->index};
    put->inner.data = put;
    rv = guard->inner->snapshot_put(guard->inner, trailing, &put->inner, snapshot, on_put);
    if (rv != 0) {
        raft_free(put);
        return checked(guard, rv, "writing a snapshot refused");
    }
    if (put->is_install)
        guard->is_installing = true;
    return 0;
}

static void on_get(struct raft_io_snapshot_get *inner, struct raft_snapshot *snapshot, int status)
{
    struct guard_get *get = inner->data;
    struct ha_guard *guard = get->guard;

    checked_status(guard, status, "reading a snapshot failed");
    get->cb(get->req, snapshot, status);
    raft_free(get);
    ha_guard_check(guard);
}

static int guard_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                              raft_io_snapshot_get_cb cb)
{
    struct ha_guard *guard = of(io);
    struct guard_get *get = raft_malloc(sizeof(*get));
    int rv;

    if (get == NULL)
        return RAFT_NOMEM;
    *get = (struct guard_get){.guard = guard, .req = req, .cb = cb};
    get->inner.data = get;
    rv = guard->inner->snapshot_get(guard->inner, &get->inner, on_get);
    if (rv != 0)
        raft_free(get);
    return rv;
}

static int guard_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    return of(io)->inner->bootstrap(of(io)->inner, conf);
}

static int guard_recover(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)io;
    (void)conf;
    return RAFT_INVALID; /* replacement of a watcher is an offline procedure */
}

/* --- network ----------------------------------------------------------------------------- */

static raft_index min_index(raft_index a, raft_index b)
{
    return a < b ? a : b;
}

/* G2, and the results of a role we no longer have. False: do not send. */
static bool fix_append_result(struct ha_guard *guard, struct raft_append_entries_result *result)
{
    const struct raft *raft = raft_of(guard);
    const struct ha_guard_cause *cause = &guard->cause;

    if (guard->in_snapshot_cb && raft->state != RAFT_FOLLOWER)
        return false;
    if (result->rejected != 0)
        return true;
    if (cause->is_active && cause->term == raft->current_term && raft->state == RAFT_FOLLOWER &&
        cause->upto > guard->verified)
        guard->verified = cause->upto;
    if (on(guard, HA_GUARD_G(2)))
        result->last_log_index = min_index(result->last_log_index, guard->verified);
    return true;
}

static void note_append_sent(struct ha_guard *guard, const struct raft_message *message)
{
    const struct raft_append_entries *args = &message->append_entries;
    struct ha_guard_peer *peer = &guard->peers[message->server_id];
    raft_index known = min_index(args->leader_commit, args->prev_log_index);

    /* Only what it has acknowledged it will surely not refuse. */
    if (args->prev_log_index <= peer->acked && known > peer->told)
        peer->told = known;
}

static bool fix_outgoing(struct ha_guard *guard, struct raft_message *message)
{
    if (message->server_id == 0 || message->server_id > HA_RAFT_PEERS_MAX)
        return false;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return fix_append_result(guard, &message->append_entries_result);
    case RAFT_IO_REQUEST_VOTE_RESULT:
        if (on(guard, HA_GUARD_G(4)) && !message->request_vote_result.vote_granted &&
            message->request_vote_result.term < guard->term)
            message->request_vote_result.term = guard->term;
        return true;
    case RAFT_IO_APPEND_ENTRIES:
        note_append_sent(guard, message);
        return true;
    case RAFT_IO_TIMEOUT_NOW:
        return !on(guard, HA_GUARD_TIMEOUT_NOW);
    default:
        return true;
    }
}

static int guard_send(struct raft_io *io, struct raft_io_send *req,
                      const struct raft_message *message, raft_io_send_cb cb)
{
    struct ha_guard *guard = of(io);
    struct raft_message fixed = *message;
    struct ha_guard_send *send;
    bool wanted = fix_outgoing(guard, &fixed);

    if (wanted && !on(guard, HA_GUARD_G(6)))
        return guard->inner->send(guard->inner, req, &fixed, cb);
    send = raft_malloc(sizeof(*send));
    if (send == NULL)
        return RAFT_NOMEM;
    *send = (struct ha_guard_send){.req = req, .cb = cb, .next = guard->sends};
    /* Told by the callback, never by the return value: libraft frees the entries of a message
     * twice when it cannot answer it. */
    if (wanted)
        send->status = guard->inner->send(guard->inner, NULL, &fixed, NULL);
    guard->sends = send;
    return 0;
}

static void drop(struct ha_guard *guard, struct raft_message *message)
{
    guard->dropped++;
    ha_guard_release(message);
}

/* What libraft would otherwise leak, commit too early, or free twice. False: drop it. */
static bool fix_append_entries(struct ha_guard *guard, struct raft_append_entries *args)
{
    const struct raft *raft = raft_of(guard);

    if (on(guard, HA_GUARD_G(6)) && !ha_guard_repack(args->entries, args->n_entries))
        return false;
    if (on(guard, HA_GUARD_G(6))) {
        if (on(guard, HA_GUARD_REBASE) && !guard->is_installing)
            ha_guard_rebase(raft, args);
        ha_guard_trim(raft, args);
    }
    if (on(guard, HA_GUARD_G(2)))
        args->leader_commit =
            min_index(args->leader_commit, args->prev_log_index + args->n_entries);
    if (guard->is_installing)
        args->leader_commit = 0; /* there is no log to apply from yet */
    guard->cause.term = args->term;
    guard->cause.upto = args->prev_log_index + args->n_entries;
    return true;
}

/* G1, and what the nudge needs to know. False: drop it. */
static bool note_append_result(struct ha_guard *guard, const struct raft_message *message)
{
    const struct raft_append_entries_result *result = &message->append_entries_result;
    const struct raft *raft = raft_of(guard);
    struct ha_guard_peer *peer = &guard->peers[message->server_id];

    if (raft->state != RAFT_LEADER || result->term != raft->current_term)
        return true;
    if (on(guard, HA_GUARD_G(1)) && !guard->has_own_stored)
        return false;
    if (result->rejected == 0 && result->last_log_index > peer->acked)
        peer->acked = result->last_log_index;
    return true;
}

static bool fix_incoming(struct ha_guard *guard, struct raft_message *message)
{
    if (on(guard, HA_GUARD_G(8)) && !ha_guard_is_plausible(&guard->options, guard->term, message))
        return false;
    message->server_address = ha_guard_address((uint32_t)message->server_id);
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return fix_append_entries(guard, &message->append_entries);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return note_append_result(guard, message);
    case RAFT_IO_INSTALL_SNAPSHOT:
        guard->cause.term = message->install_snapshot.term;
        guard->cause.upto = message->install_snapshot.last_index;
        return true;
    case RAFT_IO_TIMEOUT_NOW:
        return !on(guard, HA_GUARD_TIMEOUT_NOW);
    default:
        return true;
    }
}

static void on_recv(struct raft_io *inner, struct raft_message *message)
{
    struct ha_guard *guard = inner->data;
    struct ha_guard_cause *cause = &guard->cause;

    if (guard->is_closing || !guard->is_started) {
        ha_guard_release(message);
        return;
    }
    *cause = (struct ha_guard_cause){0};
    if (!fix_incoming(guard, message)) {
        drop(guard, message);
        return;
    }
    cause->is_active =
        message->type == RAFT_IO_APPEND_ENTRIES || message->type == RAFT_IO_INSTALL_SNAPSHOT;
    cause->has_appended = false;
    guard->recv(&guard->io, message);
    /* An append under way means that the log matched up to its end. */
    if (cause->is_active && cause->has_appended && cause->term == guard->term &&
        cause->upto > guard->verified)
        guard->verified = cause->upto;
    *cause = (struct ha_guard_cause){0};
    ha_guard_check(guard);
}

static void on_tick(struct raft_io *inner)
{
    struct ha_guard *guard = inner->data;
    struct raft *raft = raft_of(guard);

    if (guard->is_closing)
        return;
    if (on(guard, HA_GUARD_G(3)) && raft->state == RAFT_FOLLOWER &&
        (guard->appends_pending > 0 || guard->is_installing))
        raft->election_timer_start = guard->inner->time(guard->inner);
    else
        guard->tick(&guard->io);
    ha_guard_check(guard);
}

/* --- the rest of the table ---------------------------------------------------------------- */

static int guard_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick,
                       raft_io_recv_cb recv)
{
    struct ha_guard *guard = of(io);
    int rv;

    guard->tick = tick;
    guard->recv = recv;
    rv = guard->inner->start(guard->inner, msecs, on_tick, on_recv);
    if (rv == 0)
        guard->is_started = true;
    return rv;
}

static int guard_io_init(struct raft_io *io, raft_id id, const char *address)
{
    return of(io)->inner->init(of(io)->inner, id, address);
}

static void on_closed(struct raft_io *inner)
{
    struct ha_guard *guard = inner->data;

    while (guard->sends != NULL) {
        struct ha_guard_send *send = guard->sends;

        guard->sends = send->next;
        if (send->cb != NULL)
            send->cb(send->req, RAFT_CANCELED);
        raft_free(send);
    }
    guard->close_cb(&guard->io);
}

static void guard_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct ha_guard *guard = of(io);

    guard->is_closing = true;
    guard->close_cb = cb;
    guard->inner->close(guard->inner, on_closed);
}

static raft_time guard_time(struct raft_io *io)
{
    return of(io)->inner->time(of(io)->inner);
}

static int guard_random(struct raft_io *io, int min, int max)
{
    return of(io)->inner->random(of(io)->inner, min, max);
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
                                 .load = guard_load,
                                 .start = guard_start,
                                 .bootstrap = guard_bootstrap,
                                 .recover = guard_recover,
                                 .set_term = guard_set_term,
                                 .set_vote = guard_set_vote,
                                 .send = guard_send,
                                 .append = guard_append,
                                 .truncate = guard_truncate,
                                 .snapshot_put = guard_snapshot_put,
                                 .snapshot_get = guard_snapshot_get,
                                 .time = guard_time,
                                 .random = guard_random};
    inner->data = guard;
}

struct raft_io *ha_guard_io(struct ha_guard *guard)
{
    return &guard->io;
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
    struct raft *raft = raft_of(guard);
    struct guard_barrier *barrier;
    int rv;

    guard->led_term = raft->current_term;
    guard->has_own_stored = false;
    for (size_t i = 0; i <= HA_RAFT_PEERS_MAX; i++)
        guard->peers[i] = (struct ha_guard_peer){0};
    if (!on(guard, HA_GUARD_G(1))) {
        guard->acting_term = raft->current_term;
        return;
    }
    barrier = raft_malloc(sizeof(*barrier));
    if (barrier == NULL)
        fatal(guard, HA_ENOMEM, "no memory for the barrier of term", raft->current_term);
    *barrier = (struct guard_barrier){.guard = guard, .term = raft->current_term};
    barrier->req.data = barrier;
    rv = raft_barrier(raft, &barrier->req, on_barrier);
    if (rv != 0)
        fatal(guard, HA_EIO, "libraft refused the barrier", (uint64_t)rv);
}

static void finish_sends(struct ha_guard *guard)
{
    while (guard->sends != NULL) {
        struct ha_guard_send *send = guard->sends;

        guard->sends = send->next;
        if (send->cb != NULL) /* a TimeoutNow has none */
            send->cb(send->req, send->status);
        raft_free(send);
    }
}

void ha_guard_check(struct ha_guard *guard)
{
    struct raft *raft = raft_of(guard);

    finish_sends(guard);
    if (guard->is_closing || !guard->is_started)
        return;
    if (raft->state == RAFT_UNAVAILABLE && on(guard, HA_GUARD_G(5)))
        fatal(guard, HA_EIO, "libraft gave up", raft->current_term);
    if (raft->state == RAFT_LEADER && guard->led_term != raft->current_term) {
        begin_term(guard);
        finish_sends(guard);
    }
}

void ha_guard_nudge(struct ha_guard *guard)
{
    struct raft *raft = raft_of(guard);

    if (guard->is_closing || !guard->is_started || raft->state != RAFT_LEADER ||
        guard->led_term != raft->current_term || !on(guard, HA_GUARD_NUDGE))
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
    const struct raft *raft = raft_of(guard);

    return guard->is_started && !guard->is_closing && raft->state == RAFT_LEADER &&
           guard->acting_term == raft->current_term;
}
