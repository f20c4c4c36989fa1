#include "raft/peers.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/dns.h"
#include "lib/io/frames.h"
#include "lib/io/log.h"
#include "raft/frame.h"
#include "raft/message.h"

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 1000,
    DIAL_MS = 2000,   /* name, connect and handshake */
    HELLO_MS = 2000,  /* from the handshake to the hello frame */
    PENDING_MAX = 16, /* accepted links whose hello has not come */
};

enum dial_state { DIAL_WAITING, DIAL_RESOLVING, DIAL_CONNECTING, DIAL_UP };

/* One watcher as this one sees it. */
struct peer {
    struct ha_peers *hub;
    uint32_t id;
    char name[HA_RAFT_NAME_SIZE];
    char host[HA_DNS_HOST_SIZE];
    uint16_t port;
    enum dial_state state;
    uint32_t backoff_ms;
    bool timer_open;
    uv_timer_t timer; /* until the next try */
    bool resolving;
    struct ha_dns_request dns;
    struct ha_stream *stream; /* while connecting */
    struct ha_frames *out;
    struct ha_frames *in;
    uint64_t heard_ms; /* 0: never */
    char last_error[HA_RAFT_REASON_SIZE];
};

/* An accepted link before its hello frame. */
struct pending {
    struct ha_peers *hub;
    struct ha_frames *frames; /* NULL: free */
    uint64_t since_ms;
};

struct ha_peers {
    uv_loop_t *loop;
    struct ha_raft_options options;
    struct ha_peers_hooks hooks;
    uint64_t set_id;
    struct ha_prng prng;
    struct ha_dns *dns;
    bool closing;
    unsigned open; /* handles, requests and streams whose close has not been confirmed */
    void (*close_cb)(void *arg);
    void *close_arg;
    struct peer peers[HA_RAFT_PEERS_MAX];
    struct pending pending[PENDING_MAX];
};

static void dial(struct peer *peer);

static void done(struct ha_peers *hub)
{
    assert(hub->open > 0);
    hub->open--;
    if (hub->open > 0 || !hub->closing)
        return;
    hub->close_cb(hub->close_arg);
    free(hub);
}

static void on_closed(void *ctx)
{
    done(ctx);
}

static void close_frames(struct ha_peers *hub, struct ha_frames **frames)
{
    if (*frames == NULL)
        return;
    hub->open++;
    ha_frames_close(*frames, 0, on_closed, hub);
    *frames = NULL;
}

static void close_stream(struct ha_peers *hub, struct ha_stream **stream)
{
    if (*stream == NULL)
        return;
    hub->open++;
    ha_stream_close(*stream, 0, on_closed, hub);
    *stream = NULL;
}

static struct peer *find(struct ha_peers *hub, uint32_t id)
{
    for (uint32_t i = 0; i < hub->options.peer_count; i++)
        if (hub->peers[i].id == id && id != hub->options.own_id)
            return &hub->peers[i];
    return NULL;
}

/* The outbound link */

static void on_timer(uv_timer_t *timer)
{
    dial(timer->data);
}

/* The link is down, for the reason given; try again after a while that grows. */
static void retry(struct peer *peer, const char *why)
{
    struct ha_peers *hub = peer->hub;
    bool was_up = peer->state == DIAL_UP;
    uint64_t wait_ms;

    close_stream(hub, &peer->stream);
    close_frames(hub, &peer->out);
    peer->state = DIAL_WAITING;
    (void)ha_text_format(peer->last_error, sizeof(peer->last_error), "%s", why);
    if (hub->closing)
        return;
    if (was_up) {
        HA_LOG(HA_LOG_INFO, "watcher-link-down", "peer=%s why=\"%s\"", peer->name, why);
        hub->hooks.link(hub->hooks.ctx, peer->id, false);
    }
    wait_ms = peer->backoff_ms / 2 + ha_prng_below(&hub->prng, peer->backoff_ms);
    peer->backoff_ms =
        peer->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : peer->backoff_ms * 2;
    (void)uv_timer_start(&peer->timer, on_timer, wait_ms, 0);
}

static void out_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                      size_t size)
{
    struct peer *peer = ctx;

    (void)frames;
    (void)type;
    (void)data;
    (void)size;
    retry(peer, "the peer speaks on a link that is ours to speak on");
}

static void out_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    (void)frames;
    retry(ctx, err->text);
}

static void send_hello(struct peer *peer)
{
    struct ha_peers *hub = peer->hub;
    const struct ha_frame_hello hello = {
        .protocol = HA_FRAME_PROTOCOL,
        .from_id = (uint16_t)hub->options.own_id,
        .to_id = (uint16_t)peer->id,
        .cluster_id = hub->options.cluster_id,
        .set_id = hub->set_id,
    };
    uint8_t bytes[HA_FRAME_HELLO_SIZE];
    struct ha_slice slice = {bytes, ha_frame_put_hello(bytes, sizeof(bytes), &hello)};

    (void)ha_frames_send(peer->out, HA_FRAME_HELLO, &slice, 1); /* the queue is empty */
}

static void out_open(void *ctx, struct ha_stream *stream)
{
    static const struct ha_frames_hooks hooks = {.on_frame = out_frame, .on_end = out_end};
    static const struct ha_frames_options options = {.payload_max = 1};
    struct peer *peer = ctx;

    if (ha_frames_open(&peer->out, stream, &options, &hooks, peer) != HA_OK) {
        retry(peer, "out of memory");
        return;
    }
    peer->stream = NULL;
    peer->state = DIAL_UP;
    peer->backoff_ms = BACKOFF_MIN_MS;
    peer->last_error[0] = '\0';
    send_hello(peer);
    HA_LOG(HA_LOG_INFO, "watcher-link-up", "peer=%s", peer->name);
    peer->hub->hooks.link(peer->hub->hooks.ctx, peer->id, true);
}

static void stream_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    (void)stream;
    retry(ctx, err->text);
}

static void connect_to(struct peer *peer, const struct ha_addr *addr)
{
    static const struct ha_stream_hooks hooks = {.on_open = out_open, .on_end = stream_end};
    struct ha_peers *hub = peer->hub;
    const struct ha_stream_connect_options options = {
        .addr = *addr,
        .tls = hub->options.plain ? NULL : hub->options.tls,
        .server_name = peer->name,
        .alpn = HA_ALPN_FRAMES,
        .deadline_ms = DIAL_MS,
        .tuning = {.send_queue_max = HA_PEERS_QUEUE_MAX + HA_MESSAGE_SIZE_MAX,
                   .user_timeout_ms = 2 * hub->options.election_ms},
    };
    int rv = ha_stream_connect(&peer->stream, hub->loop, &options, &hooks, peer);

    if (rv != HA_OK) {
        peer->stream = NULL;
        retry(peer, ha_code_text(rv));
        return;
    }
    peer->state = DIAL_CONNECTING;
}

static void on_resolved(struct ha_dns_request *request, int code)
{
    struct peer *peer = request->data;

    peer->resolving = false;
    if (!peer->hub->closing) {
        if (code == HA_OK && request->addr_count > 0)
            connect_to(peer, &request->addrs[0]);
        else
            retry(peer, request->err.text[0] != '\0' ? request->err.text : ha_code_text(code));
    }
    done(peer->hub);
}

static void dial(struct peer *peer)
{
    struct ha_peers *hub = peer->hub;

    if (hub->closing || peer->resolving)
        return;
    peer->state = DIAL_RESOLVING;
    peer->resolving = true;
    peer->dns.data = peer;
    hub->open++;
    ha_dns_start(hub->dns, &peer->dns, peer->host, peer->port, DIAL_MS, on_resolved);
}

/* The inbound link */

static void in_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size)
{
    struct peer *peer = ctx;
    struct ha_peers *hub = peer->hub;

    peer->heard_ms = ha_clock_mono_ms();
    if (type != HA_FRAME_HELLO && hub->hooks.frame(hub->hooks.ctx, peer->id, type, data, size))
        return;
    if (peer->in != frames)
        return; /* replaced or closed meanwhile */
    HA_LOG(HA_LOG_WARN, "watcher-frame-refused", "peer=%s type=%u size=%zu", peer->name,
           (unsigned)type, size);
    close_frames(hub, &peer->in);
}

static void in_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct peer *peer = ctx;

    (void)frames;
    (void)err; /* our own link to it tells the same */
    close_frames(peer->hub, &peer->in);
}

static const struct ha_frames_hooks in_hooks = {.on_frame = in_frame, .on_end = in_end};
static const struct ha_frames_options in_options = {.payload_max = HA_MESSAGE_SIZE_MAX};

static void refuse(struct pending *pending, const char *why)
{
    const char *name = ha_stream_peer_name(ha_frames_stream(pending->frames));

    HA_LOG(HA_LOG_WARN, "watcher-refused", "name=%s why=\"%s\"", name, why);
    close_frames(pending->hub, &pending->frames);
}

/* Whom the hello says it is from, if everything in it is as it should be. */
static struct peer *check_hello(struct pending *pending, const struct ha_frame_hello *hello,
                                const char **ret_why)
{
    struct ha_peers *hub = pending->hub;
    struct peer *peer = find(hub, hello->from_id);
    const char *name = ha_stream_peer_name(ha_frames_stream(pending->frames));

    *ret_why = NULL;
    if (hello->protocol != HA_FRAME_PROTOCOL)
        *ret_why = "it speaks another version of the protocol";
    else if (hello->cluster_id != hub->options.cluster_id)
        *ret_why = "it belongs to another cluster";
    else if (hello->set_id != hub->set_id)
        *ret_why = "its configuration names other watchers";
    else if (hello->to_id != hub->options.own_id)
        *ret_why = "it means another watcher";
    else if (peer == NULL)
        *ret_why = "no such watcher is configured";
    else if (!hub->options.plain && strcmp(peer->name, name) != 0)
        *ret_why = "its key or certificate is another watcher's";
    return *ret_why == NULL ? peer : NULL;
}

static void pending_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                          size_t size)
{
    struct pending *pending = ctx;
    struct ha_frame_hello hello;
    struct peer *peer;
    const char *why;

    if (type != HA_FRAME_HELLO || !ha_frame_get_hello(data, size, &hello)) {
        refuse(pending, "its first frame is no hello");
        return;
    }
    peer = check_hello(pending, &hello, &why);
    if (peer == NULL) {
        refuse(pending, why);
        return;
    }
    pending->frames = NULL;
    close_frames(peer->hub, &peer->in); /* the newest link is the one that counts */
    peer->in = frames;
    peer->heard_ms = ha_clock_mono_ms();
    ha_frames_set_hooks(frames, &in_options, &in_hooks, peer);
    /* It is there: no need to wait for our own next try. */
    if (peer->state == DIAL_WAITING) {
        (void)uv_timer_stop(&peer->timer);
        dial(peer);
    }
}

static void pending_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct pending *pending = ctx;

    (void)frames;
    (void)err;
    close_frames(pending->hub, &pending->frames);
}

/* A free place; those whose hello is late make room. */
static struct pending *free_pending(struct ha_peers *hub)
{
    uint64_t now_ms = ha_clock_mono_ms();
    struct pending *place = NULL;

    for (unsigned i = 0; i < PENDING_MAX; i++) {
        struct pending *pending = &hub->pending[i];

        if (pending->frames != NULL && now_ms - pending->since_ms >= HELLO_MS)
            refuse(pending, "its hello is late");
        if (pending->frames == NULL)
            place = pending;
    }
    return place;
}

void ha_peers_adopt(struct ha_peers *hub, struct ha_stream *stream)
{
    static const struct ha_frames_hooks hooks = {.on_frame = pending_frame, .on_end = pending_end};
    static const struct ha_frames_options options = {.payload_max = HA_FRAME_HELLO_SIZE + 1};
    struct pending *pending = hub->closing ? NULL : free_pending(hub);

    if (pending == NULL ||
        ha_frames_open(&pending->frames, stream, &options, &hooks, pending) != HA_OK) {
        if (pending != NULL)
            pending->frames = NULL;
        close_stream(hub, &stream);
        return;
    }
    pending->hub = hub;
    pending->since_ms = ha_clock_mono_ms();
}

/* The hub */

static int open_peer(struct ha_peers *hub, struct peer *peer, const struct ha_raft_peer *from)
{
    int rv;

    peer->hub = hub;
    peer->id = from->id;
    peer->backoff_ms = BACKOFF_MIN_MS;
    memcpy(peer->name, from->name, sizeof(peer->name));
    rv = ha_text_host_port(from->address, peer->host, sizeof(peer->host), &peer->port, 0);
    if (rv != HA_OK || peer->id == hub->options.own_id)
        return rv;
    (void)uv_timer_init(hub->loop, &peer->timer);
    peer->timer.data = peer;
    peer->timer_open = true;
    return HA_OK;
}

static void ignore(void *arg)
{
    (void)arg;
}

int ha_peers_open(struct uv_loop_s *loop, const struct ha_raft_options *options,
                  const struct ha_peers_hooks *hooks, struct ha_peers **ret)
{
    struct ha_peers *hub = calloc(1, sizeof(*hub));
    int rv;

    if (hub == NULL)
        return HA_ENOMEM;
    hub->loop = loop;
    hub->options = *options;
    hub->hooks = *hooks;
    hub->set_id = ha_raft_set_id(options);
    ha_prng_seed(&hub->prng, options->seed ^ options->own_id);
    rv = ha_dns_open(&hub->dns, loop);
    if (rv != HA_OK) {
        free(hub);
        return rv;
    }
    for (uint32_t i = 0; i < options->peer_count && rv == HA_OK; i++)
        rv = open_peer(hub, &hub->peers[i], &options->peers[i]);
    if (rv != HA_OK) {
        ha_peers_close(hub, ignore, NULL);
        return rv;
    }
    *ret = hub;
    return HA_OK;
}

void ha_peers_start(struct ha_peers *hub)
{
    for (uint32_t i = 0; i < hub->options.peer_count; i++)
        if (hub->peers[i].id != hub->options.own_id)
            dial(&hub->peers[i]);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;

    done(peer->hub);
}

void ha_peers_close(struct ha_peers *hub, void (*cb)(void *arg), void *arg)
{
    assert(!hub->closing);
    hub->closing = true;
    hub->close_cb = cb;
    hub->close_arg = arg;
    for (unsigned i = 0; i < PENDING_MAX; i++)
        if (hub->pending[i].frames != NULL)
            close_frames(hub, &hub->pending[i].frames);
    for (uint32_t i = 0; i < HA_RAFT_PEERS_MAX; i++) {
        struct peer *peer = &hub->peers[i];

        close_stream(hub, &peer->stream);
        close_frames(hub, &peer->out);
        close_frames(hub, &peer->in);
        if (!peer->timer_open)
            continue;
        hub->open++;
        uv_close((uv_handle_t *)&peer->timer, on_timer_closed);
    }
    hub->open++;
    ha_dns_close(hub->dns, on_closed, hub);
}

int ha_peers_send(struct ha_peers *hub, uint32_t id, uint8_t type, const void *data, size_t size)
{
    struct peer *peer = find(hub, id);
    struct ha_slice slice = {data, size};
    size_t queued;
    int rv;

    if (peer == NULL || peer->out == NULL)
        return HA_EUNREACH;
    /* What is queued is bounded; one large message into an empty queue is not refused for it. */
    queued = ha_stream_queued(ha_frames_stream(peer->out));
    rv = queued > 0 && queued + size > HA_PEERS_QUEUE_MAX
             ? HA_EFULL
             : ha_frames_send(peer->out, type, &slice, size == 0 ? 0 : 1);
    if (rv == HA_EFULL)
        retry(peer, "it does not take what is sent to it");
    return rv;
}

bool ha_peers_is_peer(const struct ha_peers *hub, const char *name)
{
    for (uint32_t i = 0; i < hub->options.peer_count; i++)
        if (hub->peers[i].id != hub->options.own_id && strcmp(hub->peers[i].name, name) == 0)
            return true;
    return false;
}

void ha_peers_get_status(const struct ha_peers *hub, struct ha_raft_peer_status *ret)
{
    for (uint32_t i = 0; i < hub->options.peer_count; i++) {
        const struct peer *peer = &hub->peers[i];

        if (peer->id != ret->id)
            continue;
        ret->is_self = peer->id == hub->options.own_id;
        ret->connected = ret->is_self || peer->state == DIAL_UP;
        ret->heard_ago_ms = ret->is_self          ? 0
                            : peer->heard_ms == 0 ? UINT64_MAX
                                                  : ha_clock_mono_ms() - peer->heard_ms;
        memcpy(ret->last_error, peer->last_error, sizeof(ret->last_error));
        return;
    }
}
