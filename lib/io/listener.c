#include "lib/io/listener.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/log.h"
#include "lib/io/stream_private.h"

#define RETRY_MS 10

struct conn {
    TAILQ_ENTRY(conn) link; /* in pending or open */
    struct ha_listener *listener;
    struct ha_stream *stream;
    struct ha_addr addr;
    bool is_open;
};

TAILQ_HEAD(conn_list, conn);

union socket {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct ha_listener {
    uv_loop_t *loop;
    struct ha_listener_options options;
    union socket sockets[HA_LISTENER_ADDRS_MAX];
    bool stalled[HA_LISTENER_ADDRS_MAX]; /* that socket's offer was not taken for want of memory */
    unsigned socket_count;
    uv_timer_t anchor; /* accepts again after memory ran out; a handle to close in any case */
    unsigned open_handles;
    unsigned refs; /* the owner until closed, and each connection */
    bool closing;
    struct conn_list pending; /* oldest first */
    struct conn_list open;
    struct ha_listener_stats stats;
    ha_listener_close_cb close_cb;
    void *close_ctx;
};

static void unref(struct ha_listener *listener)
{
    assert(listener->refs > 0);
    listener->refs--;
    if (listener->refs > 0)
        return;
    ha_tls_unref(listener->options.tls);
    free(listener);
}

static void drop_from_list(struct conn *conn)
{
    struct ha_listener *listener = conn->listener;

    if (conn->is_open) {
        TAILQ_REMOVE(&listener->open, conn, link);
        listener->stats.open--;
    } else {
        TAILQ_REMOVE(&listener->pending, conn, link);
        listener->stats.pending--;
    }
}

/* Its memory is going; it stays counted until then, because it holds a descriptor until then. */
static void on_gone(void *ctx)
{
    struct conn *conn = ctx;
    struct ha_listener *listener = conn->listener;

    if (conn->stream != NULL)
        drop_from_list(conn);
    free(conn);
    unref(listener);
}

/* Close a pending one that will not be missed. */
static void drop_pending(struct conn *conn)
{
    struct ha_stream *stream = conn->stream;

    assert(!conn->is_open);
    drop_from_list(conn);
    conn->stream = NULL;
    ha_stream_close(stream, 0, NULL, NULL);
}

/* Those that are closing hold a descriptor still, but have no name to be counted by. */
static bool name_is_full(const struct ha_listener *listener, const struct ha_stream *stream)
{
    const char *name = ha_stream_peer_name(stream);
    const struct conn *conn;
    unsigned count = 0;

    if (name[0] == '\0') /* plain */
        return false;
    TAILQ_FOREACH(conn, &listener->open, link)
    {
        if (strcmp(ha_stream_peer_name(conn->stream), name) == 0)
            count++;
    }
    return count >= listener->options.per_name_max;
}

static void on_pending_open(void *ctx, struct ha_stream *stream)
{
    struct conn *conn = ctx;
    struct ha_listener *listener = conn->listener;

    if (listener->stats.open >= listener->options.connections_max ||
        name_is_full(listener, stream)) {
        listener->stats.refused++;
        HA_LOG(HA_LOG_WARN, "connections-full", "open=%u peer=%s", listener->stats.open,
               HA_QUOTE(ha_stream_peer_name(stream)));
        drop_pending(conn);
        return;
    }
    drop_from_list(conn);
    conn->is_open = true;
    TAILQ_INSERT_TAIL(&listener->open, conn, link);
    listener->stats.open++;
    listener->options.on_stream(listener->options.ctx, stream);
}

static void on_pending_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    struct conn *conn = ctx;
    char text[HA_ADDR_TEXT_SIZE];

    (void)stream;
    conn->listener->stats.failed++;
    HA_LOG(err->code == HA_EAUTH ? HA_LOG_WARN : HA_LOG_INFO, "connection-refused",
           "from=%s reason=%s", ha_addr_text(&conn->addr, text), HA_QUOTE(err->text));
    drop_pending(conn);
}

static const struct ha_stream_hooks pending_hooks = {.on_open = on_pending_open,
                                                     .on_end = on_pending_end};

static unsigned count_source(const struct conn_list *list, const struct ha_addr *addr)
{
    const struct conn *conn;
    unsigned count = 0;

    TAILQ_FOREACH(conn, list, link)
    {
        if (ha_addr_same_source(&conn->addr, addr))
            count++;
    }
    return count;
}

static bool source_is_full(const struct ha_listener *listener, const struct ha_addr *addr)
{
    unsigned max = listener->options.per_source_max;

    return max != 0 && !ha_addr_is_unix(addr) &&
           count_source(&listener->open, addr) + count_source(&listener->pending, addr) >= max;
}

/* Who makes room for a newcomer from @addr: the oldest, but of a source that has taken a quarter of
 * the places its own oldest. */
static struct conn *victim_of(const struct ha_listener *listener, const struct ha_addr *addr)
{
    struct conn *conn;

    if (!ha_addr_is_unix(addr) &&
        count_source(&listener->pending, addr) > listener->options.pending_max / 4) {
        TAILQ_FOREACH(conn, &listener->pending, link)
        {
            if (ha_addr_same_source(&conn->addr, addr))
                return conn;
        }
    }
    return TAILQ_FIRST(&listener->pending);
}

static void admit(struct ha_listener *listener, struct conn *conn)
{
    bool full;

    conn->addr = *ha_stream_peer_addr(conn->stream);
    full = source_is_full(listener, &conn->addr);
    if (listener->stats.pending >= listener->options.pending_max) {
        listener->stats.evicted++;
        drop_pending(victim_of(listener, &conn->addr));
    }
    TAILQ_INSERT_TAIL(&listener->pending, conn, link);
    listener->stats.pending++;
    if (full) {
        listener->stats.refused++;
        drop_pending(conn);
    }
}

static void on_retry(uv_timer_t *timer);

/* libuv offers a connection once, and no other before it was taken. */
static void retry_later(struct ha_listener *listener, const uv_stream_t *server)
{
    for (unsigned i = 0; i < listener->socket_count; i++)
        listener->stalled[i] = listener->stalled[i] || &listener->sockets[i].stream == server;
    HA_LOG(HA_LOG_ERROR, "accept-failed", "reason=%s", ha_code_text(HA_ENOMEM));
    (void)uv_timer_start(&listener->anchor, on_retry, RETRY_MS, 0);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct ha_listener *listener = server->data;
    struct ha_stream_accept_options accept = {
        .server = server,
        .tls = listener->options.tls,
        .deadline_ms = listener->options.handshake_ms,
        .tuning = listener->options.tuning,
        .gone_cb = on_gone,
    };
    struct conn *conn;

    if (status != 0) {
        HA_LOG(HA_LOG_WARN, "accept-failed", "reason=%s", uv_strerror(status));
        return;
    }
    conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        retry_later(listener, server);
        return;
    }
    conn->listener = listener;
    accept.gone_ctx = conn;
    if (ha_stream_accept(&conn->stream, &accept, &pending_hooks, conn) != HA_OK) {
        free(conn);
        retry_later(listener, server);
        return;
    }
    listener->stats.accepted++;
    listener->refs++;
    admit(listener, conn);
}

static void on_retry(uv_timer_t *timer)
{
    struct ha_listener *listener = timer->data;

    for (unsigned i = 0; i < listener->socket_count; i++) {
        if (!listener->stalled[i])
            continue;
        listener->stalled[i] = false;
        on_connection(&listener->sockets[i].stream, 0);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ha_listener *listener = handle->data;
    ha_listener_close_cb cb = listener->close_cb;
    void *ctx = listener->close_ctx;

    assert(listener->open_handles > 0);
    listener->open_handles--;
    if (listener->open_handles > 0 || !listener->closing)
        return;
    unref(listener);
    if (cb != NULL)
        cb(ctx);
}

int ha_listener_open(struct ha_listener **ret, uv_loop_t *loop,
                     const struct ha_listener_options *options)
{
    struct ha_listener *listener;

    if (options->on_stream == NULL ||
        (options->tls != NULL && options->tls->kind == HA_TLS_KIND_FOREIGN))
        return HA_EINVAL;
    listener = calloc(1, sizeof(*listener));
    if (listener == NULL)
        return HA_ENOMEM;
    listener->loop = loop;
    listener->options = *options;
    if (options->tls != NULL)
        (void)ha_tls_ref(options->tls);
    if (options->connections_max == 0)
        listener->options.connections_max = 1024;
    if (options->per_name_max == 0)
        listener->options.per_name_max = 64;
    if (options->pending_max == 0)
        listener->options.pending_max = 256;
    if (options->handshake_ms == 0)
        listener->options.handshake_ms = 2000;
    TAILQ_INIT(&listener->pending);
    TAILQ_INIT(&listener->open);
    (void)uv_timer_init(loop, &listener->anchor);
    listener->anchor.data = listener;
    listener->open_handles = 1;
    listener->refs = 1;
    *ret = listener;
    return HA_OK;
}

static int code_of(int status)
{
    switch (status) {
    case UV_EADDRINUSE:
        return HA_EEXIST;
    case UV_EADDRNOTAVAIL:
    case UV_EAFNOSUPPORT:
        return HA_EUNREACH;
    case UV_EACCES:
    case UV_EPERM:
        return HA_EDENIED;
    default:
        return HA_EIO;
    }
}

/* A socket file nobody listens behind is left over from a crash. */
static int remove_dead_socket(const struct ha_addr *addr)
{
    struct stat st;
    int fd;
    int rv;

    if (lstat(addr->un.sun_path, &st) != 0)
        return HA_OK; /* nothing there, or bind tells better */
    if (!S_ISSOCK(st.st_mode))
        return HA_EEXIST;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return HA_EIO;
    rv = connect(fd, &addr->sa, addr->size) != 0 && errno == ECONNREFUSED ? HA_OK : HA_EEXIST;
    (void)close(fd);
    if (rv == HA_OK && unlink(addr->un.sun_path) != 0)
        rv = HA_EDENIED;
    return rv;
}

/* The file is never wider than @mode, not even for a moment. */
static int bind_unix(union socket *sock, const struct ha_addr *addr, mode_t mode)
{
    mode_t old = umask(0177);
    int rv = uv_pipe_bind(&sock->pipe, addr->un.sun_path);

    (void)umask(old);
    if (rv == 0 && chmod(addr->un.sun_path, mode) != 0)
        rv = uv_translate_sys_error(errno);
    return rv;
}

static int bound_addr(union socket *sock, const struct ha_addr *addr, struct ha_addr *ret)
{
    int size = (int)sizeof(struct sockaddr_in6);
    int rv;

    *ret = *addr;
    if (ha_addr_is_unix(addr))
        return 0;
    rv = uv_tcp_getsockname(&sock->tcp, &ret->sa, &size);
    ret->size = (socklen_t)size;
    return rv;
}

static int bind_socket(struct ha_listener *listener, union socket *sock, const struct ha_addr *addr,
                       mode_t mode, struct ha_addr *ret_bound)
{
    bool is_unix = ha_addr_is_unix(addr);
    unsigned flags = addr->sa.sa_family == AF_INET6 ? (unsigned)UV_TCP_IPV6ONLY : 0;
    int rv = is_unix ? uv_pipe_init(listener->loop, &sock->pipe, 0)
                     : uv_tcp_init(listener->loop, &sock->tcp);

    assert(rv == 0); /* neither opens a descriptor yet */
    sock->handle.data = listener;
    listener->open_handles++;
    listener->socket_count++;
    rv = is_unix ? bind_unix(sock, addr, mode) : uv_tcp_bind(&sock->tcp, &addr->sa, flags);
    if (rv == 0)
        rv = uv_listen(&sock->stream, HA_LISTENER_BACKLOG, on_connection);
    if (rv == 0)
        rv = bound_addr(sock, addr, ret_bound);
    return rv;
}

int ha_listener_bind(struct ha_listener *listener, const struct ha_addr *addr, mode_t mode,
                     struct ha_addr *ret_bound, struct ha_err *err)
{
    char text[HA_ADDR_TEXT_SIZE];
    struct ha_addr bound;
    int rv;

    assert(!listener->closing);
    (void)ha_addr_text(addr, text);
    if (addr->size == 0)
        return ha_err_set(err, HA_EINVAL, "no address to listen on");
    if (listener->socket_count == HA_LISTENER_ADDRS_MAX)
        return ha_err_set(err, HA_EFULL, "too many addresses to listen on");
    if (listener->options.tls == NULL && !ha_addr_is_local(addr))
        return ha_err_set(err, HA_EDENIED, "listen on %s: not without TLS", text);
    if (ha_addr_is_unix(addr)) {
        rv = remove_dead_socket(addr);
        if (rv != HA_OK)
            return ha_err_set(err, rv, "listen on %s: the path is taken", text);
    }
    /* A failed one keeps its slot until close: the handle lives there. */
    rv = bind_socket(listener, &listener->sockets[listener->socket_count], addr, mode, &bound);
    if (rv != 0)
        return ha_err_set(err, code_of(rv), "listen on %s: %s", text, uv_strerror(rv));
    if (ret_bound != NULL)
        *ret_bound = bound;
    return HA_OK;
}

void ha_listener_set_tls(struct ha_listener *listener, struct ha_tls *tls)
{
    assert(tls != NULL && listener->options.tls != NULL);
    assert(tls->kind != HA_TLS_KIND_FOREIGN);
    (void)ha_tls_ref(tls);
    ha_tls_unref(listener->options.tls);
    listener->options.tls = tls;
}

void ha_listener_stats(const struct ha_listener *listener, struct ha_listener_stats *ret)
{
    *ret = listener->stats;
}

void ha_listener_close(struct ha_listener *listener, ha_listener_close_cb cb, void *ctx)
{
    assert(!listener->closing);
    listener->closing = true;
    listener->close_cb = cb;
    listener->close_ctx = ctx;
    while (!TAILQ_EMPTY(&listener->pending))
        drop_pending(TAILQ_FIRST(&listener->pending));
    for (unsigned i = 0; i < listener->socket_count; i++)
        uv_close(&listener->sockets[i].handle, on_handle_closed); /* removes socket files */
    uv_close((uv_handle_t *)&listener->anchor, on_handle_closed);
}
