#include "raft/message.h"

#include <string.h>

#include "lib/base/bytes.h"
#include "raft/guard.h"
#include "raft/guard_check.h"
#include "raft/members.h"

#define APPEND_HEADER_SIZE 38u
#define ENTRY_HEADER_SIZE 13u
#define SNAPSHOT_HEADER_SIZE 38u

static unsigned entries_that_fit(const struct raft_append_entries *args, size_t *ret_size)
{
    unsigned n = 0;
    size_t size = 0;

    while (n < args->n_entries && n < HA_GUARD_ENTRIES_MAX) {
        size_t more = ENTRY_HEADER_SIZE + args->entries[n].buf.len;

        if (n > 0 && size + more > HA_MESSAGE_ENTRIES_BYTES_MAX)
            break;
        size += more;
        n++;
    }
    *ret_size = size;
    return n;
}

size_t ha_raft_message_size(const struct raft_message *message)
{
    size_t size;

    switch (message->type) {
    case RAFT_IO_REQUEST_VOTE:
        return 2 + 4 * 8 + 2;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return 2 + 8 + 2;
    case RAFT_IO_APPEND_ENTRIES:
        (void)entries_that_fit(&message->append_entries, &size);
        return APPEND_HEADER_SIZE + size;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return 2 + 3 * 8;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return SNAPSHOT_HEADER_SIZE + message->install_snapshot.data.len;
    default:
        return 0;
    }
}

static void put_append(struct ha_writer *w, const struct raft_append_entries *args)
{
    size_t size;
    unsigned n = entries_that_fit(args, &size);

    ha_put_u64(w, args->term);
    ha_put_u64(w, args->prev_log_index);
    ha_put_u64(w, args->prev_log_term);
    ha_put_u64(w, args->leader_commit);
    ha_put_u32(w, n);
    for (unsigned i = 0; i < n; i++) {
        const struct raft_entry *entry = &args->entries[i];

        ha_put_u64(w, entry->term);
        ha_put_u8(w, (uint8_t)entry->type);
        ha_put_u32(w, (uint32_t)entry->buf.len);
        ha_put_bytes(w, entry->buf.base, entry->buf.len);
    }
}

bool ha_raft_message_encode(const struct raft_message *message, void *to, size_t size)
{
    const struct raft_request_vote *vote = &message->request_vote;
    const struct raft_request_vote_result *voted = &message->request_vote_result;
    const struct raft_append_entries_result *appended = &message->append_entries_result;
    const struct raft_install_snapshot *install = &message->install_snapshot;
    struct ha_writer w;

    ha_writer_init(&w, to, size);
    ha_put_u16(&w, message->type);
    switch (message->type) {
    case RAFT_IO_REQUEST_VOTE:
        ha_put_u64(&w, vote->term);
        ha_put_u64(&w, vote->candidate_id);
        ha_put_u64(&w, vote->last_log_index);
        ha_put_u64(&w, vote->last_log_term);
        ha_put_u8(&w, vote->disrupt_leader);
        ha_put_u8(&w, vote->pre_vote);
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        ha_put_u64(&w, voted->term);
        ha_put_u8(&w, voted->vote_granted);
        ha_put_u8(&w, (uint8_t)voted->pre_vote);
        break;
    case RAFT_IO_APPEND_ENTRIES:
        put_append(&w, &message->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        ha_put_u64(&w, appended->term);
        ha_put_u64(&w, appended->rejected);
        ha_put_u64(&w, appended->last_log_index);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        ha_put_u64(&w, install->term);
        ha_put_u64(&w, install->last_index);
        ha_put_u64(&w, install->last_term);
        ha_put_u64(&w, install->conf_index);
        ha_put_u32(&w, (uint32_t)install->data.len);
        ha_put_bytes(&w, install->data.base, install->data.len);
        break;
    default:
        return false;
    }
    return !w.failed && w.size == size;
}

static bool get_entry(struct ha_reader *r, struct raft_entry *entry)
{
    size_t size;

    entry->term = ha_get_u64(r);
    entry->type = ha_get_u8(r);
    size = ha_get_u32(r);
    if (r->failed || size == 0 || size % 8 != 0 || size > HA_GUARD_ENTRY_MAX ||
        size > ha_reader_left(r))
        return false;
    entry->buf.base = raft_malloc(size);
    if (entry->buf.base == NULL)
        return false;
    entry->buf.len = size;
    entry->batch = entry->buf.base;
    ha_get_bytes(r, entry->buf.base, size);
    return true;
}

static bool get_append(struct ha_reader *r, struct raft_append_entries *args)
{
    uint32_t n;

    args->term = ha_get_u64(r);
    args->prev_log_index = ha_get_u64(r);
    args->prev_log_term = ha_get_u64(r);
    args->leader_commit = ha_get_u64(r);
    n = ha_get_u32(r);
    args->entries = NULL;
    args->n_entries = 0;
    /* Every entry has at least a header and eight bytes: the count is no lie we would pay for. */
    if (r->failed || n > HA_GUARD_ENTRIES_MAX || n > ha_reader_left(r) / (ENTRY_HEADER_SIZE + 8))
        return false;
    if (n == 0)
        return true;
    args->entries = raft_calloc(n, sizeof(*args->entries));
    if (args->entries == NULL)
        return false;
    while (args->n_entries < n) {
        if (!get_entry(r, &args->entries[args->n_entries]))
            return false;
        args->n_entries++;
    }
    return true;
}

static bool get_snapshot(struct ha_reader *r, const uint32_t *ids, uint32_t id_count,
                         struct raft_install_snapshot *install)
{
    size_t size;

    memset(install, 0, sizeof(*install));
    install->term = ha_get_u64(r);
    install->last_index = ha_get_u64(r);
    install->last_term = ha_get_u64(r);
    install->conf_index = ha_get_u64(r);
    size = ha_get_u32(r);
    if (r->failed || size == 0 || size != ha_reader_left(r) || size > HA_RAFT_MESSAGE_SIZE_MAX)
        return false;
    if (ha_members_build(&install->conf, ids, id_count) != 0)
        return false;
    install->data.base = raft_malloc(size);
    if (install->data.base == NULL)
        return false;
    install->data.len = size;
    ha_get_bytes(r, install->data.base, size);
    return true;
}

static bool get_vote_result(struct ha_reader *r, struct raft_request_vote_result *voted)
{
    uint8_t pre_vote;

    voted->term = ha_get_u64(r);
    voted->vote_granted = ha_get_bool(r);
    pre_vote = ha_get_u8(r);
    voted->pre_vote = pre_vote == raft_tribool_true    ? raft_tribool_true
                      : pre_vote == raft_tribool_false ? raft_tribool_false
                                                       : raft_tribool_unknown;
    return pre_vote <= raft_tribool_false;
}

static bool get_body(struct ha_reader *r, const uint32_t *ids, uint32_t id_count,
                     struct raft_message *ret)
{
    struct raft_request_vote *vote = &ret->request_vote;
    struct raft_append_entries_result *appended = &ret->append_entries_result;

    switch (ret->type) {
    case RAFT_IO_REQUEST_VOTE:
        vote->term = ha_get_u64(r);
        vote->candidate_id = ha_get_u64(r);
        vote->last_log_index = ha_get_u64(r);
        vote->last_log_term = ha_get_u64(r);
        vote->disrupt_leader = ha_get_bool(r);
        vote->pre_vote = ha_get_bool(r);
        return true;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        return get_vote_result(r, &ret->request_vote_result);
    case RAFT_IO_APPEND_ENTRIES:
        return get_append(r, &ret->append_entries);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        appended->term = ha_get_u64(r);
        appended->rejected = ha_get_u64(r);
        appended->last_log_index = ha_get_u64(r);
        return true;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return get_snapshot(r, ids, id_count, &ret->install_snapshot);
    default:
        return false;
    }
}

bool ha_raft_message_decode(const void *data, size_t size, uint32_t from, const uint32_t *ids,
                            uint32_t id_count, struct raft_message *ret)
{
    struct ha_reader r;
    bool is_good;

    memset(ret, 0, sizeof(*ret));
    ha_reader_init(&r, data, size);
    ret->server_id = from;
    ret->server_address = ha_guard_address(from);
    ret->type = ha_get_u16(&r);
    is_good = get_body(&r, ids, id_count, ret) && ha_reader_done(&r);
    if (!is_good)
        ha_guard_release(ret);
    return is_good;
}
