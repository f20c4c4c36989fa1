#include "raft/guard_check.h"

#include <string.h>

static bool is_peer(const struct ha_guard_options *options, raft_id id)
{
    for (uint32_t i = 0; i < options->peer_count; i++)
        if (options->peer_ids[i] == id)
            return id != options->own_id;
    return false;
}

static bool is_known_term(raft_term term, raft_term own_term)
{
    return term <= own_term + HA_GUARD_TERM_JUMP_MAX;
}

static bool is_plausible_append(const struct raft_append_entries *args, raft_term own_term)
{
    raft_term last = args->prev_log_term;

    if (!is_known_term(args->term, own_term) || args->term == 0 || last > args->term ||
        args->n_entries > HA_GUARD_ENTRIES_MAX ||
        args->prev_log_index > UINT64_MAX - HA_GUARD_ENTRIES_MAX ||
        (args->prev_log_index == 0) != (args->prev_log_term == 0))
        return false;
    for (unsigned i = 0; i < args->n_entries; i++) {
        const struct raft_entry *entry = &args->entries[i];

        if (entry->term < last || entry->term == 0 || entry->term > args->term)
            return false;
        if (entry->type != RAFT_COMMAND && entry->type != RAFT_BARRIER &&
            entry->type != RAFT_CHANGE)
            return false;
        /* Membership is fixed: the only change is the first entry. */
        if (entry->type == RAFT_CHANGE && args->prev_log_index + i != 0)
            return false;
        if (entry->buf.len > HA_GUARD_ENTRY_MAX || entry->buf.len % 8 != 0 || entry->buf.len == 0)
            return false;
        last = entry->term;
    }
    return true;
}

static bool is_plausible_snapshot(const struct ha_guard_options *options, raft_term own_term,
                                  const struct raft_install_snapshot *args)
{
    if (!is_known_term(args->term, own_term) || args->last_term > args->term ||
        args->last_index == 0 || args->last_term == 0 || args->data.len == 0 ||
        args->data.len > HA_RAFT_SNAPSHOT_MAX + 4096 || args->conf.n != options->peer_count)
        return false;
    for (unsigned i = 0; i < args->conf.n; i++)
        if (args->conf.servers[i].id != options->peer_ids[i] ||
            args->conf.servers[i].role != RAFT_VOTER)
            return false;
    return true;
}

bool ha_guard_is_plausible(const struct ha_guard_options *options, raft_term own_term,
                           const struct raft_message *message)
{
    if (!is_peer(options, message->server_id))
        return false;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return is_plausible_append(&message->append_entries, own_term);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return is_known_term(message->append_entries_result.term, own_term);
    case RAFT_IO_REQUEST_VOTE:
        return is_known_term(message->request_vote.term, own_term) &&
               message->request_vote.candidate_id == message->server_id &&
               message->request_vote.last_log_term <= message->request_vote.term;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return is_known_term(message->request_vote_result.term, own_term);
    case RAFT_IO_INSTALL_SNAPSHOT:
        return is_plausible_snapshot(options, own_term, &message->install_snapshot);
    case RAFT_IO_TIMEOUT_NOW:
        return is_known_term(message->timeout_now.term, own_term);
    default:
        return false;
    }
}

static bool is_packed(const struct raft_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (entries[i].batch == NULL || entries[i].batch != entries[i].buf.base)
            return false;
    return true;
}

static void free_batches(struct raft_entry *entries, size_t n)
{
    const void *last = NULL;

    for (size_t i = 0; i < n; i++) {
        if (entries[i].batch == NULL)
            raft_free(entries[i].buf.base);
        else if (entries[i].batch != last)
            raft_free(entries[i].batch);
        last = entries[i].batch;
    }
}

bool ha_guard_repack(struct raft_entry *entries, size_t n)
{
    void **copies;

    if (is_packed(entries, n))
        return true;
    copies = raft_calloc(n, sizeof(*copies));
    if (copies == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        copies[i] = raft_malloc(entries[i].buf.len == 0 ? 8 : entries[i].buf.len);
        if (copies[i] == NULL) {
            while (i > 0)
                raft_free(copies[--i]);
            raft_free(copies);
            return false;
        }
        memcpy(copies[i], entries[i].buf.base, entries[i].buf.len);
    }
    free_batches(entries, n);
    for (size_t i = 0; i < n; i++) {
        entries[i].buf.base = copies[i];
        entries[i].batch = copies[i];
    }
    raft_free(copies);
    return true;
}

static void skip(struct raft_append_entries *args, unsigned count)
{
    free_batches(args->entries, count);
    args->n_entries -= count;
    memmove(args->entries, args->entries + count, args->n_entries * sizeof(*args->entries));
    if (args->n_entries == 0) {
        raft_free(args->entries);
        args->entries = NULL;
    }
}

void ha_guard_trim(const struct raft *raft, struct raft_append_entries *args)
{
    unsigned known = 0;

    /* Only behind a point that libraft will find in the log: else it must refuse. */
    if (args->prev_log_index != 0 &&
        ha_guard_term_of(raft, args->prev_log_index) != args->prev_log_term)
        return;
    while (known < args->n_entries &&
           ha_guard_term_of(raft, args->prev_log_index + known + 1) == args->entries[known].term)
        known++;
    if (known == 0)
        return;
    args->prev_log_index += known;
    args->prev_log_term = args->entries[known - 1].term;
    skip(args, known);
}

void ha_guard_rebase(const struct raft *raft, struct raft_append_entries *args)
{
    raft_index base = raft->commit_index;
    raft_term term = ha_guard_term_of(raft, base);
    raft_index below;

    if (args->term < raft->current_term || args->prev_log_index >= base || term == 0)
        return;
    below = base - args->prev_log_index;
    if (args->n_entries > 0)
        skip(args, below < args->n_entries ? (unsigned)below : args->n_entries);
    args->prev_log_index = base;
    args->prev_log_term = term;
}

void ha_guard_release(struct raft_message *message)
{
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        free_batches(message->append_entries.entries, message->append_entries.n_entries);
        raft_free(message->append_entries.entries);
        message->append_entries.entries = NULL;
        message->append_entries.n_entries = 0;
    } else if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
        message->install_snapshot.data.base = NULL;
    }
}

const char *ha_guard_address(uint32_t id)
{
    static const char *const addresses[HA_RAFT_PEERS_MAX + 1] = {"0", "1", "2", "3",
                                                                 "4", "5", "6", "7"};

    return id <= HA_RAFT_PEERS_MAX ? addresses[id] : addresses[0];
}

raft_term ha_guard_term_of(const struct raft *raft, raft_index index)
{
    const struct raft_log *log = &raft->log;
    size_t n = 0;

    if (log->size > 0)
        n = (log->back + log->size - log->front) % log->size;
    if (index > log->offset && index <= log->offset + n)
        return log->entries[(log->front + (size_t)(index - log->offset - 1)) % log->size].term;
    if (index != 0 && index == log->snapshot.last_index)
        return log->snapshot.last_term;
    return 0;
}
