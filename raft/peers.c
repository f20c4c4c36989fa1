#include "raft/peers.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "raft/message.h"
#include "raft/set.h"

#define DNS_MS 1000u
#define CONNECT_MS 1000u
#define OVER_LINGER_MS 1000u
#define STEADY_MS 1000u /* a link that lived so long was good: back-off starts anew */

/* Payload limits by type, plus one; 0 refuses the type. */
static const uint32_t hello_limits[256] = {[HA_FRAME_HELLO] = HA_FRAME_HELLO_SIZE + 1};
static const uint32_t peer_limits[256] = {
    [HA_FRAME_RAFT] = HA_RAFT_MESSAGE_SIZE_MAX + 1,
    [HA_FRAME_FORWARD] = HA_FRAME_FORWARD_HEADER_SIZE + HA_RAFT_ENTRY_MAX + 1,
    [HA_FRAME_ANSWER] = 64 + 1,
    [HA_FRAME_READ] = 64 + 1,
    [HA_FRAME_READ_ANSWER] = 64 + 1,
    [HA_FRAME_APP] = HA_RAFT_APP_MAX + 1,
};
static const uint32_t out_limits[256] = {[HA_FRAME_OVER] = HA_SET_SIZE_MAX + 1};

_Static_assert(HA_RAFT_MESSAGE_SIZE_MAX <= HA_FRAMES_PAYLOAD_MAX, "a snapshot fits one frame");
_Static_assert(HA_RAFT_ENTRY_MAX + 4096 <= HA_RAFT_MESSAGE_SIZE_MAX, "an entry fits one message");

static const struct ha_frames_options hello_options = {.payload_max = HA_FRAME_HELLO_SIZE,
                                                       .type_limits = hello_limits};
static const struct ha_frames_options peer_options = {.payload_max = HA_RAFT_MESSAGE_SIZE_MAX,
                                                      .type_limits = peer_limits};
static const struct ha_frames_options out_options = {.payload_max = HA_SET_SIZE_MAX,
                                                     .type_limits = out_limits};

static void finish_close(struct ha_peers *peers)
{
    if (peers->is_closing && peers->open == 0 && peers->close_cb != NULL) {
        void (*cb)(void *arg) = peers->close_cb;

        peers->close_cb = NULL;
        cb(peers->close_arg);
    }
}

static void on_closed(void *ctx)
{
    struct ha_peers *peers = ctx;

    assert(peers->open > 0);
    peers->open--;
    finish_close(peers);
}

static void close_frames(struct ha_peers *peers, struct ha_frames **frames)
{
    if (*frames == NULL)
        return;
    peers->open++;
    ha_frames_close(*frames, 0, on_closed, peers);
    *frames = NULL;
}

static void close_stream(struct ha_peers *peers, struct ha_stream *stream)
{
    peers->open++;
    ha_stream_close(stream, 0, on_closed, peers);
}

/* --- our own links ------------------------------------------------------------------------ */

static void note_error(struct ha_peer *peer, const char *why)
{
    if (strcmp(peer->last_error, why) != 0)
        HA_LOG(HA_LOG_INFO, "watcher-link-down", "peer=%s why=%s", peer->name, HA_QUOTE(why));
    (void)snprintf(peer->last_error, sizeof(peer->last_error), "%s", why);
}

/* The one way down: whatever there is of the link goes, the next try is set. */
static void drop_link(struct ha_peer *peer, const char *why)
{
    struct ha_peers *peers = peer->peers;
    uint64_t now_ms = ha_clock_mono_ms();

    if (peer->state == HA_PEER_UP) {
        peer->was_down = true;
        if (now_ms - peer->up_ms >= STEADY_MS)
            peer->backoff_ms = HA_PEERS_BACKOFF_MIN_MS;
    }
    note_error(peer, why);
    close_frames(peers, &peer->out);
    if (peer->stream != NULL)
        close_stream(peers, peer->stream);
    peer->stream = NULL;
    peer->state = HA_PEER_IDLE;
    peer->retry_ms = now_ms + ha_prng_between(&peers->prng, peer->backoff_ms / 2, peer->backoff_ms);
    peer->backoff_ms *= 2;
    if (peer->backoff_ms > HA_PEERS_BACKOFF_MAX_MS)
        peer->backoff_ms = HA_PEERS_BACKOFF_MAX_MS;
}

static void on_out_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                         size_t size)
{
    struct ha_peer *peer = ctx;
    struct ha_peers *peers = peer->peers;
    struct ha_raft_set next;
    struct ha_reader r;

    (void)frames;
    assert(type == HA_FRAME_OVER); /* out_options refuses all others */
    (void)type;
    ha_reader_init(&r, data, size);
    if (!ha_set_get(&r, &next) || !ha_reader_done(&r) || next.from_set != peers->set_id) {
        drop_link(peer, "it tells of the end of another set of watchers");
        return;
    }
    peers->hooks.on_over(peers->hooks.ctx, peer->id, &next);
}

static void on_out_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    (void)frames;
    drop_link(ctx, err->text[0] != '\0' ? err->text : ha_code_text(err->code));
}

static const struct ha_frames_hooks out_hooks = {.on_frame = on_out_frame, .on_end = on_out_end};

static void send_hello(struct ha_peer *peer)
{
    const struct ha_peers *peers = peer->peers;
    const struct ha_frame_hello hello = {.protocol = HA_FRAME_PROTOCOL,
                                         .from_id = (uint16_t)peers->options->own_id,
                                         .to_id = (uint16_t)peer->id,
                                         .cluster_id = peers->options->cluster_id,
                                         .set_id = peers->set_id};
    uint8_t bytes[HA_FRAME_HELLO_SIZE];
    struct ha_slice slice = {.data = bytes};

    slice.size = ha_frame_put_hello(bytes, sizeof(bytes), &hello);
    assert(slice.size == sizeof(bytes));
    if (ha_frames_send(peer->out, HA_FRAME_HELLO, &slice, 1) != HA_OK)
        drop_link(peer, "the hello could not be sent");
}

static void on_open(void *ctx, struct ha_stream *stream)
{
    struct ha_peer *peer = ctx;

    assert(peer->stream == stream);
    if (ha_frames_open(&peer->out, stream, &out_options, &out_hooks, peer) != HA_OK) {
        drop_link(peer, "no memory");
        return;
    }
    peer->stream = NULL; /* the frames own it now */
    peer->state = HA_PEER_UP;
    peer->up_ms = ha_clock_mono_ms();
    peer->last_error[0] = '\0';
    HA_LOG(HA_LOG_INFO, "watcher-link-up", "peer=%s", peer->name);
    send_hello(peer);
}

static void on_stream_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    (void)stream;
    drop_link(ctx, err->text[0] != '\0' ? err->text : ha_code_text(err->code));
}

static const struct ha_stream_hooks stream_hooks = {.on_open = on_open, .on_end = on_stream_end};

static void on_resolved(struct ha_dns_request *request, int code)
{
    struct ha_peer *peer = request->data;
    struct ha_peers *peers = peer->peers;
    struct ha_stream_connect_options options = {
        .tls = peers->options->plain ? NULL : peers->options->tls,
        .server_name = peers->options->plain ? NULL : peer->name,
        .alpn = peers->options->plain ? HA_ALPN_NONE : HA_ALPN_FRAMES,
        .deadline_ms = CONNECT_MS,
        .tuning = {.send_queue_max = 2 * HA_PEERS_QUEUE_MAX + HA_RAFT_MESSAGE_SIZE_MAX + 65536,
                   .user_timeout_ms = 2 * peers->options->election_ms,
                   .keepalive_s = 1}};

    assert(peers->open > 0);
    peers->open--;
    if (peers->is_closing) {
        finish_close(peers);
        return;
    }
    peer->state = HA_PEER_CONNECTING;
    if (code != HA_OK) {
        drop_link(peer, request->err.text[0] != '\0' ? request->err.text : ha_code_text(code));
        return;
    }
    options.addr = request->addrs[peer->next_addr++ % request->addr_count];
    code = ha_stream_connect(&peer->stream, peers->loop, &options, &stream_hooks, peer);
    if (code != HA_OK) {
        peer->stream = NULL;
        drop_link(peer, ha_code_text(code));
    }
}

static void dial(struct ha_peer *peer)
{
    peer->state = HA_PEER_RESOLVING;
    peer->request.data = peer;
    peer->peers->open++;
    ha_dns_start(peer->peers->dns, &peer->request, peer->host, peer->port, DNS_MS, on_resolved);
}

/* --- links of the others ------------------------------------------------------------------ */

static void on_in_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                        size_t size)
{
    struct ha_peer *peer = ctx;
    struct ha_peers *peers = peer->peers;

    (void)frames;
    peer->has_heard = true;
    peer->heard_ms = ha_clock_mono_ms();
    peers->hooks.on_frame(peers->hooks.ctx, peer->id, (enum ha_frame_type)type, data, size);
}

static void on_in_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct ha_peer *peer = ctx;

    if (err->code != HA_ECLOSED)
        HA_LOG(HA_LOG_INFO, "watcher-inbound-end", "peer=%s why=%s", peer->name,
               HA_QUOTE(err->text));
    assert(peer->in == frames);
    close_frames(peer->peers, &peer->in);
}

static const struct ha_frames_hooks in_hooks = {.on_frame = on_in_frame, .on_end = on_in_end};

static const char *refusal(const struct ha_peers *peers, const struct ha_frame_hello *hello,
                           const char *stream_name)
{
    const struct ha_peer *peer = ha_peers_find(peers, hello->from_id);

    if (hello->protocol != HA_FRAME_PROTOCOL)
        return "another protocol version";
    if (hello->cluster_id != peers->options->cluster_id)
        return "another cluster";
    if (hello->set_id != peers->set_id)
        return "another set of watchers in its settings";
    if (hello->to_id != peers->options->own_id)
        return "it means another watcher";
    if (peer == NULL)
        return "its id is not configured";
    if (!peers->options->plain && strcmp(peer->name, stream_name) != 0)
        return "its name is not that of its id";
    return NULL;
}

/* Somebody who did not see its set end; it may have a place in the next, or none. */
static bool is_of_set_before(const struct ha_peers *peers, const struct ha_frame_hello *hello)
{
    return hello->protocol == HA_FRAME_PROTOCOL &&
           hello->cluster_id == peers->options->cluster_id && hello->set_id != 0 &&
           hello->set_id != peers->set_id && peers->set != NULL && peers->set->count > 0 &&
           hello->set_id == peers->set->from_set;
}

static void tell_over(struct ha_peers *peers, struct ha_frames **frames)
{
    uint8_t bytes[HA_SET_SIZE_MAX];
    struct ha_slice slice = {.data = bytes};
    struct ha_writer w;

    ha_writer_init(&w, bytes, sizeof(bytes));
    ha_set_put(&w, peers->set);
    assert(!w.failed);
    slice.size = w.size;
    (void)ha_frames_send(*frames, HA_FRAME_OVER, &slice, 1); /* it dials again */
    peers->open++;
    ha_frames_close(*frames, OVER_LINGER_MS, on_closed, peers);
    *frames = NULL;
}

static void on_hello(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size)
{
    struct ha_peer_pending *pending = ctx;
    struct ha_peers *peers = pending->peers;
    const char *name = ha_stream_peer_name(ha_frames_stream(frames));
    struct ha_frame_hello hello;
    const char *why = "its hello is malformed";
    struct ha_peer *peer;

    assert(type == HA_FRAME_HELLO);
    if (ha_frame_get_hello(data, size, &hello))
        why = refusal(peers, &hello, name);
    if (why != NULL) {
        HA_LOG(HA_LOG_WARN, "watcher-refused", "peer=%s why=%s", HA_QUOTE(name), HA_QUOTE(why));
        if (is_of_set_before(peers, &hello)) {
            tell_over(peers, &pending->frames);
            return;
        }
        close_frames(peers, &pending->frames);
        return;
    }
    pending->frames = NULL;
    for (peer = peers->peer; peer->id != hello.from_id; peer++)
        assert(peer < peers->peer + peers->count);
    close_frames(peers, &peer->in); /* the newest link of a peer is the one that lives */
    peer->in = frames;
    peer->has_heard = true;
    peer->heard_ms = ha_clock_mono_ms();
    ha_frames_set_hooks(frames, &peer_options, &in_hooks, peer);
    /* It lives: no reason to wait with our own link. */
    if (peer->state == HA_PEER_IDLE) {
        peer->retry_ms = 0;
        peer->backoff_ms = HA_PEERS_BACKOFF_MIN_MS;
    }
}

static void on_pending_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct ha_peer_pending *pending = ctx;

    HA_LOG(HA_LOG_INFO, "watcher-inbound-end", "peer=%s why=%s",
           HA_QUOTE(ha_stream_peer_name(ha_frames_stream(frames))), HA_QUOTE(err->text));
    close_frames(pending->peers, &pending->frames);
}

static const struct ha_frames_hooks pending_hooks = {.on_frame = on_hello,
                                                     .on_end = on_pending_end};

static struct ha_peer_pending *pending_slot(struct ha_peers *peers)
{
    struct ha_peer_pending *oldest = &peers->pending[0];

    for (size_t i = 0; i < HA_PEERS_PENDING_MAX; i++) {
        struct ha_peer_pending *pending = &peers->pending[i];

        if (pending->frames == NULL)
            return pending;
        if (pending->deadline_ms < oldest->deadline_ms)
            oldest = pending;
    }
    close_frames(peers, &oldest->frames);
    return oldest;
}

void ha_peers_adopt(struct ha_peers *peers, struct ha_stream *stream)
{
    const char *name = ha_stream_peer_name(stream);
    struct ha_peer_pending *pending;
    bool is_known = peers->options->plain || ha_peers_find_name(peers, name) != NULL ||
                    (name[0] != '\0' && peers->set != NULL && strcmp(peers->set->gone, name) == 0);

    if (peers->is_closing || !is_known) {
        if (!peers->is_closing)
            HA_LOG(HA_LOG_WARN, "watcher-refused", "peer=%s why=unknown", HA_QUOTE(name));
        close_stream(peers, stream);
        return;
    }
    pending = pending_slot(peers);
    pending->peers = peers;
    pending->deadline_ms = ha_clock_mono_ms() + HA_PEERS_HELLO_MS;
    if (ha_frames_open(&pending->frames, stream, &hello_options, &pending_hooks, pending) !=
        HA_OK) {
        pending->frames = NULL;
        close_stream(peers, stream);
    }
}

/* --- all of them -------------------------------------------------------------------------- */

int ha_peers_init(struct ha_peers *peers, uv_loop_t *loop, const struct ha_raft_options *options,
                  const struct ha_peers_hooks *hooks, struct ha_err *err)
{
    memset(peers, 0, sizeof(*peers));
    peers->loop = loop;
    peers->options = options;
    peers->set_id = ha_raft_set_id(options);
    peers->hooks = *hooks;
    ha_prng_seed(&peers->prng, options->seed ^ 0x70656572u);
    for (uint32_t i = 0; i < options->peer_count; i++) {
        const struct ha_raft_peer *from = &options->peers[i];
        struct ha_peer *peer = &peers->peer[peers->count];

        if (from->id == options->own_id)
            continue;
        peer->peers = peers;
        peer->id = from->id;
        peer->backoff_ms = HA_PEERS_BACKOFF_MIN_MS;
        memcpy(peer->name, from->name, sizeof(peer->name));
        if (ha_text_host_port(from->address, peer->host, sizeof(peer->host), &peer->port, 0) !=
            HA_OK)
            return ha_err_set(err, HA_EINVAL, "watcher %s: address \"%s\" is not host:port",
                              from->name, from->address);
        peers->count++;
    }
    if (ha_dns_open(&peers->dns, loop) != HA_OK)
        return ha_err_set(err, HA_EIO, "the resolver cannot be set up");
    return HA_OK;
}

void ha_peers_remember(struct ha_peers *peers, const struct ha_raft_set *set)
{
    peers->set = set;
}

void ha_peers_start(struct ha_peers *peers)
{
    for (uint32_t i = 0; i < peers->count; i++)
        dial(&peers->peer[i]);
}

void ha_peers_tick(struct ha_peers *peers)
{
    uint64_t now_ms = ha_clock_mono_ms();

    if (peers->is_closing)
        return;
    for (uint32_t i = 0; i < peers->count; i++)
        if (peers->peer[i].state == HA_PEER_IDLE && now_ms >= peers->peer[i].retry_ms)
            dial(&peers->peer[i]);
    for (size_t i = 0; i < HA_PEERS_PENDING_MAX; i++) {
        struct ha_peer_pending *pending = &peers->pending[i];

        if (pending->frames == NULL || now_ms < pending->deadline_ms)
            continue;
        HA_LOG(HA_LOG_WARN, "watcher-refused", "why=%s", HA_QUOTE("no hello in time"));
        close_frames(peers, &pending->frames);
    }
}

void ha_peers_turn(struct ha_peers *peers)
{
    for (uint32_t i = 0; i < peers->count && !peers->is_closing; i++) {
        struct ha_peer *peer = &peers->peer[i];
        bool is_up = peer->state == HA_PEER_UP;

        if (peer->was_down && peer->is_told_up) {
            peer->is_told_up = false;
            peers->hooks.on_link(peers->hooks.ctx, peer->id, false);
        }
        peer->was_down = false;
        if (is_up && !peer->is_told_up) {
            peer->is_told_up = true;
            peers->hooks.on_link(peers->hooks.ctx, peer->id, true);
        }
    }
}

void ha_peers_close(struct ha_peers *peers, void (*cb)(void *arg), void *arg)
{
    assert(!peers->is_closing);
    peers->is_closing = true;
    peers->close_cb = cb;
    peers->close_arg = arg;
    for (uint32_t i = 0; i < peers->count; i++) {
        struct ha_peer *peer = &peers->peer[i];

        if (peer->stream != NULL)
            close_stream(peers, peer->stream);
        peer->stream = NULL;
        close_frames(peers, &peer->out);
        close_frames(peers, &peer->in);
    }
    for (size_t i = 0; i < HA_PEERS_PENDING_MAX; i++)
        close_frames(peers, &peers->pending[i].frames);
    peers->open++;
    ha_dns_close(peers->dns, on_closed, peers); /* ends lookups first, through on_resolved */
}

/* One message may be larger than the queue's limit (a snapshot, a large entry): it is let in when
 * the queue is short, and the limit is that much higher until it has drained again. */
static int check_room(struct ha_peer *peer, enum ha_frame_type type, size_t size)
{
    size_t queued = ha_stream_queued(ha_frames_stream(peer->out));

    if (queued <= HA_PEERS_QUEUE_MAX)
        peer->queue_max = HA_PEERS_QUEUE_MAX + (size > HA_PEERS_QUEUE_MAX ? size : 0);
    else if (size > HA_PEERS_QUEUE_MAX)
        return HA_EFULL; /* later; Raft asks again */
    if (type == HA_FRAME_APP && queued > HA_PEERS_APP_QUEUE_MAX)
        return HA_EFULL;
    if (queued > peer->queue_max) {
        drop_link(peer, "it does not take what is sent: queue full");
        return HA_EFULL;
    }
    return HA_OK;
}

int ha_peers_send(struct ha_peers *peers, uint32_t id, enum ha_frame_type type, const void *data,
                  size_t size)
{
    struct ha_peer *peer = peers->peer;
    struct ha_slice slice = {.data = data, .size = size};
    int code;

    while (peer < peers->peer + peers->count && peer->id != id)
        peer++;
    if (peer == peers->peer + peers->count || peer->state != HA_PEER_UP || peers->is_closing)
        return HA_EUNREACH;
    code = check_room(peer, type, size);
    if (code != HA_OK)
        return code;
    code = ha_frames_send(peer->out, (uint8_t)type, &slice, 1);
    if (code != HA_OK)
        drop_link(peer, ha_code_text(code));
    return code;
}

const struct ha_peer *ha_peers_find(const struct ha_peers *peers, uint32_t id)
{
    for (uint32_t i = 0; i < peers->count; i++)
        if (peers->peer[i].id == id)
            return &peers->peer[i];
    return NULL;
}

const struct ha_peer *ha_peers_find_name(const struct ha_peers *peers, const char *name)
{
    for (uint32_t i = 0; i < peers->count; i++)
        if (strcmp(peers->peer[i].name, name) == 0)
            return &peers->peer[i];
    return NULL;
}
