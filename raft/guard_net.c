/* The guard between libraft and the network: G1, G2, G4, G6, G8, G10. */
#include <assert.h>

#include "raft/guard_check.h"
#include "raft/guard_private.h"

static raft_index min_index(raft_index a, raft_index b)
{
    return a < b ? a : b;
}

/* G2, and the results of a role we no longer have. False: do not send. */
static bool fix_append_result(struct ha_guard *guard, struct raft_append_entries_result *result)
{
    const struct raft *raft = ha_guard_raft(guard);
    const struct ha_guard_cause *cause = &guard->cause;

    if (guard->in_snapshot_cb && raft->state != RAFT_FOLLOWER)
        return false;
    if (result->rejected != 0)
        return true;
    if (cause->is_active && cause->term == raft->current_term && raft->state == RAFT_FOLLOWER &&
        cause->upto > guard->verified)
        guard->verified = cause->upto;
    if (ha_guard_on(guard, HA_GUARD_G(2)))
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
        if (ha_guard_on(guard, HA_GUARD_G(4)) && !message->request_vote_result.vote_granted &&
            message->request_vote_result.term < guard->term)
            message->request_vote_result.term = guard->term;
        return true;
    case RAFT_IO_APPEND_ENTRIES:
        note_append_sent(guard, message);
        return true;
    case RAFT_IO_TIMEOUT_NOW:
        return !ha_guard_on(guard, HA_GUARD_TIMEOUT_NOW);
    default:
        return true;
    }
}

int ha_guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                  raft_io_send_cb cb)
{
    struct ha_guard *guard = ha_guard_of(io);
    struct raft_message fixed = *message;
    struct ha_guard_send *send;
    bool wanted = fix_outgoing(guard, &fixed);

    if (wanted && !ha_guard_on(guard, HA_GUARD_G(6)))
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
    const struct raft *raft = ha_guard_raft(guard);

    if (ha_guard_on(guard, HA_GUARD_G(6)) && !ha_guard_repack(args->entries, args->n_entries))
        return false;
    if (ha_guard_on(guard, HA_GUARD_G(6))) {
        if (ha_guard_on(guard, HA_GUARD_REBASE) && !guard->is_installing)
            ha_guard_rebase(raft, args);
        ha_guard_trim(raft, args);
    }
    if (ha_guard_on(guard, HA_GUARD_G(2)))
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
    const struct raft *raft = ha_guard_raft(guard);
    struct ha_guard_peer *peer = &guard->peers[message->server_id];

    if (raft->state != RAFT_LEADER || result->term != raft->current_term)
        return true;
    if (ha_guard_on(guard, HA_GUARD_G(1)) && !guard->has_own_stored)
        return false;
    if (result->rejected == 0 && result->last_log_index > peer->acked)
        peer->acked = result->last_log_index;
    return true;
}

static bool fix_incoming(struct ha_guard *guard, struct raft_message *message)
{
    if (ha_guard_on(guard, HA_GUARD_G(8)) &&
        !ha_guard_is_plausible(&guard->options, guard->term, message))
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
        return !ha_guard_on(guard, HA_GUARD_TIMEOUT_NOW);
    default:
        return true;
    }
}

void ha_guard_recv(struct raft_io *inner, struct raft_message *message)
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
