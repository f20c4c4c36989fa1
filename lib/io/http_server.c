#include "lib/io/http_server.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/io/http_private.h"
#include "lib/io/log.h"

#define HEADERS_DEFAULT ((size_t)16 * 1024)
#define HEADERS_SPARE ((size_t)4 * 1024) /* for the answer's own headers */

static void on_timer(uv_timer_t *timer);

static void run(struct ha_http_server *server)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    (void)MHD_run(server->daemon);
    if (server->closing)
        return;
    if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES)
        (void)uv_timer_start(&server->timer, on_timer, wait_ms, 0);
    else
        (void)uv_timer_stop(&server->timer);
}

void ha_http_server_kick(struct ha_http_server *server)
{
    if (!server->closing)
        (void)uv_timer_start(&server->timer, on_timer, 0, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct ha_http_server *server = poll->data;

    (void)status;
    (void)events;
    if (!server->closing)
        run(server);
}

static void finish_close(struct ha_http_server *server)
{
    ha_http_close_cb cb = server->close_cb;
    void *ctx = server->close_ctx;

    if (server->open_handles > 0 || server->conn_count > 0)
        return;
    free(server);
    if (cb != NULL)
        cb(ctx);
}

static void conn_part_closed(struct ha_http_conn *conn)
{
    struct ha_http_server *server = conn->server;

    assert(conn->open_parts > 0);
    conn->open_parts--;
    if (conn->open_parts > 0)
        return;
    TAILQ_REMOVE(&server->conns, conn, link);
    server->conn_count--;
    free(conn);
    if (server->closing)
        finish_close(server);
}

static void on_deadline_closed(uv_handle_t *handle)
{
    conn_part_closed(handle->data);
}

static void on_bridge_down(void *ctx)
{
    struct ha_http_conn *conn = ctx;

    conn->bridge = NULL;
    uv_close((uv_handle_t *)&conn->deadline, on_deadline_closed);
    if (conn->request != NULL)
        ha_http_request_lost(conn->request);
}

static void on_bridge_closed(void *ctx)
{
    conn_part_closed(ctx);
}

static const struct ha_http_bridge_hooks bridge_hooks = {.on_down = on_bridge_down,
                                                         .on_closed = on_bridge_closed};

static void conn_close(struct ha_http_conn *conn)
{
    if (conn->bridge == NULL)
        return;
    ha_http_bridge_close(conn->bridge, 0);
    on_bridge_down(conn);
}

static void on_deadline(uv_timer_t *timer)
{
    conn_close(timer->data);
}

void ha_http_conn_expect(struct ha_http_conn *conn)
{
    if (conn->bridge != NULL)
        (void)uv_timer_start(&conn->deadline, on_deadline, conn->server->options.request_ms, 0);
}

/* A descriptor number may be used again while an older connection's last bytes are being sent: the
 * newest with that number is the one. */
struct ha_http_conn *ha_http_conn_of(struct ha_http_server *server, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ha_http_conn *conn;

    TAILQ_FOREACH(conn, &server->conns, link)
    {
        if (info != NULL && conn->mhd_fd == info->connect_fd)
            return conn;
    }
    return NULL;
}

static struct ha_http_conn *conn_new(struct ha_http_server *server, struct ha_stream *stream,
                                     int ret_fds[2])
{
    struct ha_http_conn *conn = calloc(1, sizeof(*conn));

    if (conn == NULL)
        return NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_fds) != 0) {
        free(conn);
        return NULL;
    }
    if (ha_http_bridge_open(&conn->bridge, stream, ret_fds[1], &bridge_hooks, conn) != HA_OK) {
        (void)close(ret_fds[0]);
        (void)close(ret_fds[1]);
        free(conn);
        return NULL;
    }
    conn->server = server;
    conn->mhd_fd = ret_fds[0];
    conn->open_parts = 2;
    (void)uv_timer_init(server->loop, &conn->deadline);
    conn->deadline.data = conn;
    TAILQ_INSERT_HEAD(&server->conns, conn, link);
    server->conn_count++;
    return conn;
}

void ha_http_server_adopt(struct ha_http_server *server, struct ha_stream *stream)
{
    const struct sockaddr addr = {.sa_family = AF_UNIX};
    struct ha_http_conn *conn;
    int fds[2];

    if (server->closing || server->conn_count >= server->options.connections_max) {
        HA_LOG(HA_LOG_WARN, "http-full", "connections=%u", server->conn_count);
        ha_stream_close(stream, 0, NULL, NULL);
        return;
    }
    conn = conn_new(server, stream, fds);
    if (conn == NULL) {
        HA_LOG(HA_LOG_WARN, "http-refused", "reason=%s", ha_code_text(HA_ENOMEM));
        ha_stream_close(stream, 0, NULL, NULL);
        return;
    }
    ha_http_conn_expect(conn);
    /* It closes its descriptor also when it refuses; our end then reads an end and comes down. */
    (void)MHD_add_connection(server->daemon, fds[0], &addr, sizeof(addr));
    ha_http_server_kick(server);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ha_http_server *server = handle->data;

    assert(server->open_handles > 0);
    server->open_handles--;
    finish_close(server);
}

/* From the loop, so that nothing of libmicrohttpd is on the stack. */
static void stop(struct ha_http_server *server)
{
    struct ha_http_conn *conn;

    TAILQ_FOREACH(conn, &server->conns, link)
    {
        conn_close(conn);
    }
    (void)MHD_run(
        server->daemon); /* lets what was resumed end: a suspended one may not be stopped */
    uv_close((uv_handle_t *)&server->poll, on_handle_closed);
    uv_close((uv_handle_t *)&server->timer, on_handle_closed);
    MHD_stop_daemon(server->daemon);
}

static void on_timer(uv_timer_t *timer)
{
    struct ha_http_server *server = timer->data;

    if (server->closing)
        stop(server);
    else
        run(server);
}

void ha_http_server_close(struct ha_http_server *server, ha_http_close_cb cb, void *ctx)
{
    assert(!server->closing);
    server->closing = true;
    server->close_cb = cb;
    server->close_ctx = ctx;
    (void)uv_timer_start(&server->timer, on_timer, 0, 0);
}

static struct MHD_Daemon *start_daemon(struct ha_http_server *server)
{
    const struct ha_http_server_options *o = &server->options;

    return MHD_start_daemon((unsigned)MHD_USE_EPOLL | (unsigned)MHD_USE_NO_LISTEN_SOCKET |
                                (unsigned)MHD_ALLOW_SUSPEND_RESUME,
                            0, NULL, NULL, ha_http_request_access, server,
                            MHD_OPTION_NOTIFY_COMPLETED, ha_http_request_completed, NULL,
                            MHD_OPTION_CONNECTION_LIMIT, o->connections_max + 16u,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, o->headers_max + HEADERS_SPARE,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)o->stall_s, MHD_OPTION_END);
}

static void set_defaults(struct ha_http_server_options *options)
{
    if (options->body_max == 0)
        options->body_max = HA_HTTP_BODY_MAX;
    if (options->headers_max == 0)
        options->headers_max = HEADERS_DEFAULT;
    if (options->connections_max == 0)
        options->connections_max = 256;
    if (options->request_ms == 0)
        options->request_ms = 10000;
    if (options->stall_s == 0)
        options->stall_s = 10;
}

int ha_http_server_open(struct ha_http_server **ret, uv_loop_t *loop,
                        const struct ha_http_server_options *options)
{
    struct ha_http_server *server = calloc(1, sizeof(*server));
    const union MHD_DaemonInfo *info;

    assert(options->handler != NULL);
    if (server == NULL)
        return HA_ENOMEM;
    server->loop = loop;
    server->options = *options;
    set_defaults(&server->options);
    TAILQ_INIT(&server->conns);
    server->daemon = start_daemon(server);
    if (server->daemon == NULL) {
        free(server);
        return HA_EIO;
    }
    info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(loop, &server->poll, info->epoll_fd) != 0) {
        MHD_stop_daemon(server->daemon);
        free(server);
        return HA_EIO;
    }
    (void)uv_timer_init(loop, &server->timer);
    server->poll.data = server->timer.data = server;
    server->open_handles = 2;
    (void)uv_poll_start(&server->poll, UV_READABLE, on_poll);
    *ret = server;
    return HA_OK;
}
