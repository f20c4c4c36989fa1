/* libraft's io in the daemon: storage, links and time of one node. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "raft/guard_check.h"
#include "raft/message.h"
#include "raft/node_private.h"

static void on_timer(uv_timer_t *timer)
{
    struct ha_raft *raft = timer->data;
    bool is_stalled = ha_disk_is_stalled(&raft->disk);

    if (is_stalled != raft->is_stalled)
        HA_LOG(is_stalled ? HA_LOG_ERROR : HA_LOG_INFO, is_stalled ? "disk-hangs" : "disk-is-back",
               "stalled=%d", is_stalled);
    raft->is_stalled = is_stalled;
    ha_peers_tick(&raft->peers);
    ha_disk_tend(&raft->disk, raft->seat.raft.commit_index, ha_clock_mono_ms());
    /* A candidacy would wait for the disk on the loop, where agents are answered; and who has no
     * room for the log does not lead. */
    if (raft->seat.raft.state == RAFT_LEADER ||
        (!ha_disk_is_slow(&raft->disk) && raft->disk.has_space))
        raft->tick(&raft->io);
}

/* Whether libraft may store a term or a vote before it returns from this message. */
static bool may_store(const struct raft *raft, const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        return message->append_entries.term > raft->current_term;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        return message->append_entries_result.term > raft->current_term;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return message->install_snapshot.term > raft->current_term;
    case RAFT_IO_REQUEST_VOTE:
        return !message->request_vote.pre_vote || message->request_vote.term > raft->current_term;
    default:
        return true; /* words about our own candidacy */
    }
}

static bool brings_entries(const struct raft_message *message)
{
    return message->type == RAFT_IO_INSTALL_SNAPSHOT ||
           (message->type == RAFT_IO_APPEND_ENTRIES && message->append_entries.n_entries > 0);
}

void ha_raft_hear(struct ha_raft *raft, struct raft_message *message)
{
    /* To be asked again is better than to stand still: who asks asks again. Nor is anything
     * gathered for a disk that hangs, for as long as it does. */
    if ((ha_disk_is_slow(&raft->disk) && may_store(&raft->seat.raft, message)) ||
        (ha_disk_is_stalled(&raft->disk) && brings_entries(message))) {
        ha_guard_release(message);
        return;
    }
    raft->recv(&raft->io, message);
}

static struct ha_raft *of(struct raft_io *io)
{
    return io->impl;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static void part_closed(void *arg)
{
    struct ha_raft *raft = arg;

    assert(raft->parts_open > 0);
    raft->parts_open--;
    if (raft->parts_open == 0)
        raft->io_close_cb(&raft->io);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct ha_raft *raft = handle->data;

    assert(raft->handles > 0);
    raft->handles--;
    if (ha_disk_is_idle(&raft->disk))
        part_closed(raft);
    else
        ha_disk_when_idle(&raft->disk, part_closed, raft);
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct ha_raft *raft = of(io);

    raft->io_close_cb = cb;
    raft->parts_open = 2;
    ha_peers_close(&raft->peers, part_closed, raft);
    uv_close((uv_handle_t *)&raft->timer, on_timer_closed);
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote,
                   struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                   size_t *n)
{
    struct ha_store_state *loaded = &of(io)->loaded;

    *term = loaded->term;
    *vote = loaded->vote;
    *snapshot = loaded->snapshot;
    *start = loaded->start;
    *entries = loaded->entries;
    *n = loaded->count;
    memset(loaded, 0, sizeof(*loaded)); /* libraft's now */
    return 0;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct ha_raft *raft = of(io);
    int rv;

    raft->tick = tick;
    raft->recv = recv;
    rv = uv_timer_start(&raft->timer, on_timer, msecs, msecs);
    assert(rv == 0);
    return 0;
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)io;
    (void)conf;
    return RAFT_CANTBOOTSTRAP; /* the store does it when it opens */
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    return ha_disk_set_term(&of(io)->disk, term);
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    return ha_disk_set_vote(&of(io)->disk, id);
}

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                   raft_io_send_cb cb)
{
    struct ha_raft *raft = of(io);
    size_t size = ha_raft_message_size(message);
    void *bytes;
    int code;

    assert(req == NULL && cb == NULL); /* the guard's contract: copied before we return */
    if (size == 0)
        return 0;
    /* A leader whose disk hangs or has no room takes nothing, and nobody else can while it speaks.
     */
    if (ha_disk_is_stalled(&raft->disk) ||
        (raft->seat.raft.state == RAFT_LEADER && !raft->disk.has_space))
        return RAFT_NOCONNECTION;
    bytes = malloc(size);
    if (bytes == NULL)
        return RAFT_NOMEM;
    if (!ha_raft_message_encode(message, bytes, size))
        abort();
    code = ha_peers_send(&raft->peers, (uint32_t)message->server_id, HA_FRAME_RAFT, bytes, size);
    free(bytes);
    return code == HA_OK ? 0 : RAFT_NOCONNECTION;
}

static int io_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    return ha_disk_append(&of(io)->disk, req, entries, n, cb);
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    return ha_disk_truncate(&of(io)->disk, index);
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    return ha_disk_put(&of(io)->disk, trailing, req, snapshot, cb);
}

static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb)
{
    return ha_disk_get(&of(io)->disk, req, cb);
}

static raft_time io_time(struct raft_io *io)
{
    (void)io;
    return ha_clock_mono_ms();
}

static int io_random(struct raft_io *io, int min, int max)
{
    assert(max > min);
    return min + (int)ha_prng_below(&of(io)->prng, (uint64_t)(max - min));
}

void ha_raft_set_up_io(struct ha_raft *raft)
{
    raft->io = (struct raft_io){.version = 1,
                                .impl = raft,
                                .init = io_init,
                                .close = io_close,
                                .load = io_load,
                                .start = io_start,
                                .bootstrap = io_bootstrap,
                                .set_term = io_set_term,
                                .set_vote = io_set_vote,
                                .send = io_send,
                                .append = io_append,
                                .truncate = io_truncate,
                                .snapshot_put = io_snapshot_put,
                                .snapshot_get = io_snapshot_get,
                                .time = io_time,
                                .random = io_random};
}
