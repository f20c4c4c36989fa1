#include "lib/io/stream.h"

#include <assert.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/io/stream_private.h"

#define READ_SIZE ((size_t)64 * 1024)

/* libuv asks for it and hands it back filled in the same turn, so one per thread is enough. */
static _Thread_local uint8_t read_buffer[READ_SIZE];

static int code_of(int status)
{
    switch (status) {
    case UV_ECONNREFUSED:
    case UV_ENOENT: /* no socket file */
        return HA_EREFUSED;
    case UV_EHOSTUNREACH:
    case UV_ENETUNREACH:
    case UV_ENETDOWN:
    case UV_EADDRNOTAVAIL:
    case UV_EPERM: /* this host's packet filter */
    case UV_EACCES:
        return HA_EUNREACH;
    case UV_ETIMEDOUT:
        return HA_ETIMEDOUT;
    case UV_ENOMEM:
        return HA_ENOMEM;
    case UV_EOF:
        return HA_ECLOSED;
    default:
        return HA_EIO;
    }
}

static void fail_uv(struct ha_stream *stream, const char *what, int status)
{
    struct ha_err err;

    (void)ha_err_set(&err, code_of(status), "%s: %s", what,
                     status == UV_EOF ? "closed by the other side" : uv_strerror(status));
    ha_stream_fail(stream, &err);
}

static void on_closed(uv_handle_t *handle)
{
    struct ha_stream *stream = handle->data;
    ha_stream_close_cb cb = stream->close_cb;
    void *ctx = stream->close_ctx;

    assert(stream->open_handles > 0);
    stream->open_handles--;
    if (stream->open_handles > 0)
        return;
    SSL_free(stream->ssl);
    free(stream->session);
    ha_tls_unref(stream->tls);
    if (stream->gone_cb != NULL)
        stream->gone_cb(stream->gone_ctx);
    free(stream);
    if (cb != NULL)
        cb(ctx);
}

/* The only caller of uv_close. */
static void finish(struct ha_stream *stream)
{
    assert(stream->state != HA_STREAM_CLOSING);
    stream->state = HA_STREAM_CLOSING;
    uv_close(&stream->uv.handle, on_closed);
    uv_close((uv_handle_t *)&stream->deadline, on_closed);
    uv_close((uv_handle_t *)&stream->kick, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)handle;
    (void)suggested;
    *ret = uv_buf_init((char *)read_buffer, sizeof(read_buffer));
}

static void on_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *buf)
{
    struct ha_stream *stream = handle->data;

    if (size == 0)
        return;
    if (stream->state == HA_STREAM_LINGER) {
        if (size < 0)
            finish(stream);
        return; /* what comes now is too late to matter */
    }
    if (size < 0)
        fail_uv(stream, stream->state == HA_STREAM_HANDSHAKE ? "in the TLS handshake" : "read",
                (int)size);
    else if (stream->ssl != NULL)
        ha_stream_tls_input(stream, (const uint8_t *)buf->base, (size_t)size);
    else if (stream->hooks->on_data != NULL)
        stream->hooks->on_data(stream->ctx, stream, (const uint8_t *)buf->base, (size_t)size);
}

static void start_reading(struct ha_stream *stream)
{
    int rv = uv_read_start(&stream->uv.stream, on_alloc, on_read);

    if (rv != 0 && rv != UV_EALREADY)
        fail_uv(stream, "read", rv);
}

static void on_kick(uv_timer_t *timer)
{
    struct ha_stream *stream = timer->data;

    if (stream->state == HA_STREAM_HANDSHAKE && stream->ssl == NULL)
        ha_stream_opened(stream);
    else if (stream->state == HA_STREAM_OPEN && !stream->paused && stream->resumed_cb != NULL)
        stream->resumed_cb(stream->resumed_ctx);
    if (stream->state == HA_STREAM_OPEN && stream->ssl != NULL)
        ha_stream_tls_pump(stream); /* what was decrypted or buffered before a pause */
    if ((stream->state == HA_STREAM_OPEN || stream->state == HA_STREAM_HANDSHAKE) &&
        !stream->paused)
        start_reading(stream);
    if (stream->state == HA_STREAM_ENDED && !stream->end_told) {
        stream->end_told = true;
        stream->hooks->on_end(stream->ctx, stream, &stream->end);
    }
}

static void kick(struct ha_stream *stream)
{
    (void)uv_timer_start(&stream->kick, on_kick, 0, 0);
}

void ha_stream_fail(struct ha_stream *stream, const struct ha_err *err)
{
    assert(err->code != HA_OK);
    if (stream->state == HA_STREAM_LINGER) {
        finish(stream); /* nobody is left to tell */
        return;
    }
    if (stream->state >= HA_STREAM_ENDED)
        return;
    stream->state = HA_STREAM_ENDED;
    stream->end = *err;
    (void)uv_read_stop(&stream->uv.stream);
    (void)uv_timer_stop(&stream->deadline);
    kick(stream);
}

void ha_stream_opened(struct ha_stream *stream)
{
    stream->state = HA_STREAM_OPEN;
    (void)uv_timer_stop(&stream->deadline);
    if (stream->paused) /* before it was open */
        (void)uv_read_stop(&stream->uv.stream);
    if (stream->hooks->on_open != NULL)
        stream->hooks->on_open(stream->ctx, stream);
}

static void on_deadline(uv_timer_t *timer)
{
    struct ha_stream *stream = timer->data;
    struct ha_err err;

    if (stream->state == HA_STREAM_LINGER) {
        finish(stream);
        return;
    }
    (void)ha_err_set(&err, HA_ETIMEDOUT, "no %s within %u ms",
                     stream->state == HA_STREAM_CONNECTING ? "connection" : "TLS handshake",
                     stream->deadline_ms);
    ha_stream_fail(stream, &err);
}

static void on_connect(uv_connect_t *request, int status)
{
    struct ha_stream *stream = request->data;

    if (stream->state != HA_STREAM_CONNECTING)
        return;
    if (status != 0) {
        fail_uv(stream, "connect", status);
        return;
    }
    stream->state = HA_STREAM_HANDSHAKE;
    if (stream->ssl != NULL)
        ha_stream_tls_pump(stream); /* the client speaks first */
    else
        ha_stream_opened(stream);
    if (stream->state == HA_STREAM_HANDSHAKE ||
        (stream->state == HA_STREAM_OPEN && !stream->paused))
        start_reading(stream);
}

/* Both kinds of birth. From here on failures leave through on_end. */
static int make(struct ha_stream **ret, uv_loop_t *loop, bool is_unix, int family)
{
    struct ha_stream *stream = calloc(1, sizeof(*stream));
    int rv;

    if (stream == NULL)
        return HA_ENOMEM;
    stream->loop = loop;
    rv = is_unix ? uv_pipe_init(loop, &stream->uv.pipe, 0)
                 : uv_tcp_init_ex(loop, &stream->uv.tcp, (unsigned)family);
    if (rv != 0) {
        free(stream); /* no descriptor left: libuv took the handle back */
        return HA_ENOMEM;
    }
    (void)uv_timer_init(loop, &stream->deadline);
    (void)uv_timer_init(loop, &stream->kick);
    stream->open_handles = 3;
    stream->uv.handle.data = stream->deadline.data = stream->kick.data = stream;
    stream->connect.data = stream->shutdown.data = stream;
    *ret = stream;
    return HA_OK;
}

static void tune(struct ha_stream *stream, const struct ha_stream_tuning *tuning)
{
    int user_timeout_ms = (int)tuning->user_timeout_ms;
    int keepalive_s = (int)tuning->keepalive_s;
    int fd;

    stream->queue_max =
        tuning->send_queue_max != 0 ? tuning->send_queue_max : HA_STREAM_QUEUE_DEFAULT;
    if (stream->uv.handle.type != UV_TCP || uv_fileno(&stream->uv.handle, &fd) != 0)
        return;
    /* These are hints: a kernel without one still gives a working connection. */
    (void)uv_tcp_nodelay(&stream->uv.tcp, 1);
    if (user_timeout_ms != 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms,
                         sizeof(user_timeout_ms));
    if (keepalive_s != 0) {
        (void)uv_tcp_keepalive(&stream->uv.tcp, 1, (unsigned)keepalive_s);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &keepalive_s, sizeof(keepalive_s));
    }
}

static int use_tls(struct ha_stream *stream, struct ha_tls *tls, bool is_server,
                   const char *server_name, enum ha_alpn alpn)
{
    int rv;

    stream->session = calloc(1, sizeof(*stream->session));
    if (stream->session == NULL)
        return HA_ENOMEM;
    rv = ha_tls_session_init(stream->session, tls, is_server, server_name, alpn);
    if (rv == HA_OK)
        rv = ha_tls_session_ssl(stream->session, &stream->ssl);
    if (rv == HA_OK)
        stream->tls = ha_tls_ref(tls);
    return rv;
}

static void start_connect(struct ha_stream *stream)
{
    int rv = 0;

    if (ha_addr_is_unix(&stream->peer))
        uv_pipe_connect(&stream->connect, &stream->uv.pipe, stream->peer.un.sun_path, on_connect);
    else
        rv = uv_tcp_connect(&stream->connect, &stream->uv.tcp, &stream->peer.sa, on_connect);
    if (rv != 0)
        fail_uv(stream, "connect", rv);
}

int ha_stream_connect(struct ha_stream **ret, uv_loop_t *loop,
                      const struct ha_stream_connect_options *options,
                      const struct ha_stream_hooks *hooks, void *ctx)
{
    struct ha_stream *stream;
    int rv;

    assert(hooks->on_end != NULL);
    if (options->addr.size == 0 || options->deadline_ms == 0)
        return HA_EINVAL;
    if (options->tls == NULL && !options->allow_plain && !ha_addr_is_local(&options->addr))
        return HA_EDENIED;
    rv = make(&stream, loop, ha_addr_is_unix(&options->addr), options->addr.sa.sa_family);
    if (rv != HA_OK)
        return rv;
    stream->hooks = hooks;
    stream->ctx = ctx;
    stream->peer = options->addr;
    stream->deadline_ms = options->deadline_ms;
    tune(stream, &options->tuning);
    if (options->tls != NULL)
        rv = use_tls(stream, options->tls, false, options->server_name, options->alpn);
    if (rv != HA_OK) {
        finish(stream);
        return rv;
    }
    (void)uv_timer_start(&stream->deadline, on_deadline, options->deadline_ms, 0);
    start_connect(stream);
    *ret = stream;
    return HA_OK;
}

int ha_stream_accept(struct ha_stream **ret, const struct ha_stream_accept_options *options,
                     const struct ha_stream_hooks *hooks, void *ctx)
{
    bool is_unix = options->server->type == UV_NAMED_PIPE;
    int peer_size = (int)sizeof(struct sockaddr_in6);
    struct ha_stream *stream;
    int rv = make(&stream, options->server->loop, is_unix, AF_UNSPEC);

    if (rv != HA_OK)
        return rv;
    stream->state = HA_STREAM_HANDSHAKE;
    stream->hooks = hooks;
    stream->ctx = ctx;
    stream->deadline_ms = options->deadline_ms;
    stream->peer = (struct ha_addr){.sa = {.sa_family = AF_UNIX}, .size = sizeof(sa_family_t)};
    rv = uv_accept(options->server, &stream->uv.stream);
    if (rv == 0 && !is_unix) {
        rv = uv_tcp_getpeername(&stream->uv.tcp, &stream->peer.sa, &peer_size);
        stream->peer.size = (socklen_t)peer_size;
    }
    tune(stream, &options->tuning);
    if (options->tls != NULL && use_tls(stream, options->tls, true, NULL, HA_ALPN_NONE) != HA_OK) {
        finish(stream);
        return HA_ENOMEM;
    }
    stream->gone_cb = options->gone_cb;
    stream->gone_ctx = options->gone_ctx;
    (void)uv_timer_start(&stream->deadline, on_deadline, options->deadline_ms, 0);
    if (rv != 0)
        fail_uv(stream, "accept", rv);
    kick(stream);
    *ret = stream;
    return HA_OK;
}

void ha_stream_set_hooks(struct ha_stream *stream, const struct ha_stream_hooks *hooks, void *ctx)
{
    assert(hooks->on_end != NULL);
    stream->hooks = hooks;
    stream->ctx = ctx;
}

struct ha_stream_write *ha_stream_write_new(size_t size)
{
    struct ha_stream_write *write = malloc(sizeof(*write) + size);

    if (write != NULL)
        write->size = size;
    return write;
}

static void end_lingering(struct ha_stream *stream);

static void on_written(uv_write_t *request, int status)
{
    struct ha_stream_write *write = request->data;
    struct ha_stream *stream = request->handle->data;

    assert(stream->queued >= write->size);
    stream->queued -= write->size;
    free(write);
    if (stream->state == HA_STREAM_CLOSING)
        return;
    if (status != 0) {
        fail_uv(stream, "write", status);
        return;
    }
    if (stream->state == HA_STREAM_LINGER)
        end_lingering(stream);
    if (stream->state != HA_STREAM_OPEN || !stream->drain_wanted ||
        stream->queued > stream->queue_max / 2)
        return;
    stream->drain_wanted = false;
    if (stream->hooks->on_drain != NULL)
        stream->hooks->on_drain(stream->ctx, stream);
}

void ha_stream_write_send(struct ha_stream *stream, struct ha_stream_write *write)
{
    uv_buf_t buf = uv_buf_init((char *)write->data, (unsigned)write->size);
    /* What the kernel takes at once costs no turn of the loop and no call for its poll; whatever
     * goes wrong is told by the request. */
    int rv = uv_try_write(&stream->uv.stream, &buf, 1);

    if (rv == (int)write->size) {
        free(write);
        return;
    }
    if (rv > 0) {
        buf = uv_buf_init(buf.base + rv, (unsigned)write->size - (unsigned)rv);
        write->size -= (size_t)rv;
    }
    write->request.data = write;
    stream->queued += write->size;
    rv = uv_write(&write->request, &stream->uv.stream, &buf, 1, on_written);
    if (rv == 0)
        return;
    stream->queued -= write->size;
    free(write);
    fail_uv(stream, "write", rv);
}

static int write_plain(struct ha_stream *stream, const struct ha_slice *slices, unsigned count,
                       size_t size)
{
    struct ha_stream_write *write = ha_stream_write_new(size);
    size_t at = 0;

    if (write == NULL)
        return HA_ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        if (slices[i].size > 0)
            memcpy(write->data + at, slices[i].data, slices[i].size);
        at += slices[i].size;
    }
    ha_stream_write_send(stream, write);
    return stream->state == HA_STREAM_OPEN ? HA_OK : HA_ECLOSED;
}

int ha_stream_writev(struct ha_stream *stream, const struct ha_slice *slices, unsigned count)
{
    size_t size = 0;

    if (stream->state != HA_STREAM_OPEN)
        return HA_ECLOSED;
    for (unsigned i = 0; i < count; i++) {
        if (slices[i].size > stream->queue_max - size) {
            stream->drain_wanted = true;
            return HA_EFULL;
        }
        size += slices[i].size;
    }
    if (stream->queued > stream->queue_max - size) {
        stream->drain_wanted = true;
        return HA_EFULL;
    }
    if (size == 0)
        return HA_OK;
    if (stream->ssl != NULL)
        return ha_stream_tls_write(stream, slices, count);
    return write_plain(stream, slices, count, size);
}

int ha_stream_write(struct ha_stream *stream, const void *data, size_t size)
{
    struct ha_slice slice = {data, size};

    return ha_stream_writev(stream, &slice, 1);
}

void ha_stream_pause(struct ha_stream *stream)
{
    stream->paused = true;
    if (stream->state == HA_STREAM_OPEN)
        (void)uv_read_stop(&stream->uv.stream);
}

void ha_stream_resume(struct ha_stream *stream)
{
    if (!stream->paused)
        return;
    stream->paused = false;
    if (stream->state == HA_STREAM_OPEN)
        kick(stream);
}

static void on_shut(uv_shutdown_t *request, int status)
{
    struct ha_stream *stream = request->data;

    if (status != 0 && stream->state == HA_STREAM_LINGER)
        finish(stream);
}

/* Our end goes out after the last byte; then only the peer's end is waited for: closing a socket
 * with unread bytes would send a reset that may overtake what we sent. */
static void end_lingering(struct ha_stream *stream)
{
    if (stream->queued > 0 || stream->shut)
        return;
    stream->shut = true;
    if (uv_shutdown(&stream->shutdown, &stream->uv.stream, on_shut) != 0)
        finish(stream);
}

void ha_stream_close(struct ha_stream *stream, uint32_t linger_ms, ha_stream_close_cb cb, void *ctx)
{
    assert(stream->state < HA_STREAM_LINGER);
    stream->close_cb = cb;
    stream->close_ctx = ctx;
    if (stream->state != HA_STREAM_OPEN || linger_ms == 0) {
        finish(stream);
        return;
    }
    stream->state = HA_STREAM_LINGER;
    (void)uv_timer_stop(&stream->kick);
    (void)uv_timer_start(&stream->deadline, on_deadline, linger_ms, 0);
    if (stream->ssl != NULL)
        ha_stream_tls_goodbye(stream);
    if (stream->state == HA_STREAM_LINGER)
        start_reading(stream);
    if (stream->state == HA_STREAM_LINGER)
        end_lingering(stream);
}

bool ha_stream_is_open(const struct ha_stream *stream)
{
    return stream->state == HA_STREAM_OPEN;
}

size_t ha_stream_queued(const struct ha_stream *stream)
{
    return stream->queued;
}

const char *ha_stream_peer_name(const struct ha_stream *stream)
{
    bool proven = stream->state >= HA_STREAM_OPEN && stream->tls != NULL &&
                  stream->tls->kind != HA_TLS_KIND_FOREIGN && SSL_is_init_finished(stream->ssl);

    return proven ? stream->session->peer_name : "";
}

enum ha_alpn ha_stream_alpn(const struct ha_stream *stream)
{
    return stream->ssl == NULL ? HA_ALPN_NONE : ha_tls_alpn_of(stream->ssl);
}

const struct ha_addr *ha_stream_peer_addr(const struct ha_stream *stream)
{
    return &stream->peer;
}

int ha_stream_peer_uid(const struct ha_stream *stream, uid_t *ret)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);
    int fd;

    if (!ha_addr_is_unix(&stream->peer))
        return HA_ENOTSUP;
    if (uv_fileno(&stream->uv.handle, &fd) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0)
        return HA_EIO;
    *ret = cred.uid;
    return HA_OK;
}

int ha_stream_local_addr(const struct ha_stream *stream, struct ha_addr *ret)
{
    struct ha_addr addr = {.size = sizeof(struct sockaddr_in6)};
    int fd;

    if (ha_addr_is_unix(&stream->peer))
        return HA_ENOTSUP;
    if (uv_fileno(&stream->uv.handle, &fd) != 0 || getsockname(fd, &addr.sa, &addr.size) != 0)
        return HA_EIO;
    *ret = addr;
    return HA_OK;
}

uv_loop_t *ha_stream_loop(const struct ha_stream *stream)
{
    return stream->loop;
}
