#include "raft/message.h"

#include <assert.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "raft/guard.h"

/* Sizes on the wire: type; then per type. */
enum {
    ENTRY_HEADER = 8 + 1 + 4, /* term, type, size */
    SERVER_SIZE = 8 + 1,      /* id, role */
    SERVERS_MAX = HA_RAFT_PEERS_MAX,
};

static size_t append_size(const struct raft_append_entries *args)
{
    size_t size = 1 + 4 * 8 + 4;

    for (unsigned i = 0; i < args->n_entries; i++)
        size += ENTRY_HEADER + args->entries[i].buf.len;
    return size;
}

size_t ha_message_size(const struct raft_message *message)
{
    size_t size;

    switch (message->type) {
    case RAFT_IO_REQUEST_VOTE:
        size = 1 + 4 * 8 + 1;
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        size = 1 + 8 + 1 + 1;
        break;
    case RAFT_IO_APPEND_ENTRIES:
        size = append_size(&message->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        size = 1 + 3 * 8;
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        size = 1 + 4 * 8 + 1 + message->install_snapshot.conf.n * SERVER_SIZE + 4 +
               message->install_snapshot.data.len;
        break;
    default:
        return 0;
    }
    return size > HA_MESSAGE_SIZE_MAX ? 0 : size;
}

static void put_append(struct ha_writer *w, const struct raft_append_entries *args)
{
    ha_put_u64(w, args->term);
    ha_put_u64(w, args->prev_log_index);
    ha_put_u64(w, args->prev_log_term);
    ha_put_u64(w, args->leader_commit);
    ha_put_u32(w, args->n_entries);
    for (unsigned i = 0; i < args->n_entries; i++) {
        ha_put_u64(w, args->entries[i].term);
        ha_put_u8(w, (uint8_t)args->entries[i].type);
        ha_put_u32(w, (uint32_t)args->entries[i].buf.len);
        ha_put_bytes(w, args->entries[i].buf.base, args->entries[i].buf.len);
    }
}

static void put_snapshot(struct ha_writer *w, const struct raft_install_snapshot *args)
{
    ha_put_u64(w, args->term);
    ha_put_u64(w, args->last_index);
    ha_put_u64(w, args->last_term);
    ha_put_u64(w, args->conf_index);
    ha_put_u8(w, (uint8_t)args->conf.n);
    for (unsigned i = 0; i < args->conf.n; i++) {
        ha_put_u64(w, args->conf.servers[i].id);
        ha_put_u8(w, (uint8_t)args->conf.servers[i].role);
    }
    ha_put_u32(w, (uint32_t)args->data.len);
    ha_put_bytes(w, args->data.base, args->data.len);
}

void ha_message_encode(const struct raft_message *message, void *to, size_t size)
{
    const struct raft_request_vote *vote = &message->request_vote;
    struct ha_writer w;

    ha_writer_init(&w, to, size);
    ha_put_u8(&w, (uint8_t)message->type);
    switch (message->type) {
    case RAFT_IO_REQUEST_VOTE:
        ha_put_u64(&w, vote->term);
        ha_put_u64(&w, vote->candidate_id);
        ha_put_u64(&w, vote->last_log_index);
        ha_put_u64(&w, vote->last_log_term);
        ha_put_u8(&w, (uint8_t)((vote->disrupt_leader ? 1 : 0) | (vote->pre_vote ? 2 : 0)));
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        ha_put_u64(&w, message->request_vote_result.term);
        ha_put_u8(&w, message->request_vote_result.vote_granted ? 1 : 0);
        ha_put_u8(&w, (uint8_t)message->request_vote_result.pre_vote);
        break;
    case RAFT_IO_APPEND_ENTRIES:
        put_append(&w, &message->append_entries);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        ha_put_u64(&w, message->append_entries_result.term);
        ha_put_u64(&w, message->append_entries_result.rejected);
        ha_put_u64(&w, message->append_entries_result.last_log_index);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        put_snapshot(&w, &message->install_snapshot);
        break;
    default:
        assert(!"size is 0 for such a message");
    }
    assert(!w.failed && w.size == size);
}

static int get_vote(struct ha_reader *r, struct raft_request_vote *vote)
{
    uint8_t flags;

    vote->term = ha_get_u64(r);
    vote->candidate_id = ha_get_u64(r);
    vote->last_log_index = ha_get_u64(r);
    vote->last_log_term = ha_get_u64(r);
    flags = ha_get_u8(r);
    vote->disrupt_leader = (flags & 1u) != 0;
    vote->pre_vote = (flags & 2u) != 0;
    return ha_reader_done(r) && flags <= 3 ? HA_OK : HA_EPROTO;
}

static int get_vote_result(struct ha_reader *r, struct raft_request_vote_result *result)
{
    uint8_t pre_vote;

    result->term = ha_get_u64(r);
    result->vote_granted = ha_get_bool(r);
    pre_vote = ha_get_u8(r);
    result->pre_vote = (raft_tribool)pre_vote;
    return ha_reader_done(r) && pre_vote <= raft_tribool_unknown ? HA_OK : HA_EPROTO;
}

static int get_append_result(struct ha_reader *r, struct raft_append_entries_result *result)
{
    result->term = ha_get_u64(r);
    result->rejected = ha_get_u64(r);
    result->last_log_index = ha_get_u64(r);
    return ha_reader_done(r) ? HA_OK : HA_EPROTO;
}

static void free_entries(struct raft_entry *entries, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        raft_free(entries[i].batch);
    raft_free(entries);
}

static int get_entry(struct ha_reader *r, struct raft_entry *entry)
{
    uint64_t term = ha_get_u64(r);
    uint8_t type = ha_get_u8(r);
    uint32_t size = ha_get_u32(r);

    if (r->failed || size > ha_reader_left(r) || size > HA_GUARD_ENTRY_MAX ||
        (type != RAFT_COMMAND && type != RAFT_BARRIER && type != RAFT_CHANGE))
        return HA_EPROTO;
    *entry = (struct raft_entry){.term = term, .type = type};
    entry->batch = raft_malloc(size == 0 ? 1 : size);
    if (entry->batch == NULL)
        return HA_ENOMEM;
    entry->buf.base = entry->batch;
    entry->buf.len = size;
    ha_get_bytes(r, entry->buf.base, size);
    return HA_OK;
}

static int get_entries(struct ha_reader *r, struct raft_append_entries *args)
{
    int rv = HA_OK;
    unsigned i;

    args->entries = raft_malloc(args->n_entries * sizeof(*args->entries));
    if (args->entries == NULL)
        return HA_ENOMEM;
    for (i = 0; i < args->n_entries && rv == HA_OK; i++)
        rv = get_entry(r, &args->entries[i]);
    if (rv == HA_OK && ha_reader_done(r))
        return HA_OK;
    free_entries(args->entries, rv == HA_OK ? i : i - 1);
    return rv == HA_OK ? HA_EPROTO : rv;
}

static int get_append(struct ha_reader *r, struct raft_append_entries *args)
{
    args->term = ha_get_u64(r);
    args->prev_log_index = ha_get_u64(r);
    args->prev_log_term = ha_get_u64(r);
    args->leader_commit = ha_get_u64(r);
    args->n_entries = ha_get_u32(r);
    /* A count is believed only as far as the bytes that came can hold it. */
    if (r->failed || args->n_entries > HA_GUARD_ENTRIES_MAX ||
        args->n_entries > ha_reader_left(r) / ENTRY_HEADER)
        return HA_EPROTO;
    args->entries = NULL;
    if (args->n_entries == 0)
        return ha_reader_done(r) ? HA_OK : HA_EPROTO;
    return get_entries(r, args);
}

static int get_configuration(struct ha_reader *r, struct raft_configuration *conf)
{
    uint8_t count = ha_get_u8(r);

    raft_configuration_init(conf);
    if (r->failed || count == 0 || count > SERVERS_MAX)
        return HA_EPROTO;
    for (uint8_t i = 0; i < count; i++) {
        uint64_t id = ha_get_u64(r);
        uint8_t role = ha_get_u8(r);

        if (r->failed || id == 0 || id > HA_RAFT_PEERS_MAX ||
            (role != RAFT_VOTER && role != RAFT_STANDBY && role != RAFT_SPARE) ||
            raft_configuration_add(conf, id, ha_guard_address((uint32_t)id), role) != 0) {
            raft_configuration_close(conf);
            return HA_EPROTO;
        }
    }
    return HA_OK;
}

static int get_snapshot(struct ha_reader *r, struct raft_install_snapshot *args)
{
    uint32_t size;
    int rv;

    args->term = ha_get_u64(r);
    args->last_index = ha_get_u64(r);
    args->last_term = ha_get_u64(r);
    args->conf_index = ha_get_u64(r);
    rv = get_configuration(r, &args->conf);
    if (rv != HA_OK)
        return rv;
    size = ha_get_u32(r);
    /* libraft takes an empty snapshot for a programming error and dies of it. */
    if (r->failed || size == 0 || size != ha_reader_left(r)) {
        raft_configuration_close(&args->conf);
        return HA_EPROTO;
    }
    args->data.base = raft_malloc(size);
    if (args->data.base == NULL) {
        raft_configuration_close(&args->conf);
        return HA_ENOMEM;
    }
    args->data.len = size;
    ha_get_bytes(r, args->data.base, size);
    return HA_OK;
}

int ha_message_decode(const void *data, size_t size, raft_id from, struct raft_message *ret)
{
    struct raft_message message = {.server_id = from,
                                   .server_address = ha_guard_address((uint32_t)from)};
    struct ha_reader r;
    int rv = HA_EPROTO;

    if (size == 0 || size > HA_MESSAGE_SIZE_MAX)
        return HA_EPROTO;
    ha_reader_init(&r, data, size);
    message.type = ha_get_u8(&r);
    if (message.type == RAFT_IO_REQUEST_VOTE)
        rv = get_vote(&r, &message.request_vote);
    else if (message.type == RAFT_IO_REQUEST_VOTE_RESULT)
        rv = get_vote_result(&r, &message.request_vote_result);
    else if (message.type == RAFT_IO_APPEND_ENTRIES)
        rv = get_append(&r, &message.append_entries);
    else if (message.type == RAFT_IO_APPEND_ENTRIES_RESULT)
        rv = get_append_result(&r, &message.append_entries_result);
    else if (message.type == RAFT_IO_INSTALL_SNAPSHOT)
        rv = get_snapshot(&r, &message.install_snapshot);
    if (rv == HA_OK)
        *ret = message;
    return rv;
}

void ha_message_free(struct raft_message *message)
{
    if (message->type == RAFT_IO_APPEND_ENTRIES && message->append_entries.n_entries > 0) {
        free_entries(message->append_entries.entries, message->append_entries.n_entries);
        message->append_entries.n_entries = 0;
    } else if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
        message->install_snapshot.data.base = NULL;
    }
}
