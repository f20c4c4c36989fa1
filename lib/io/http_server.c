#include "lib/io/http_server.h"

#include <assert.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/io/http_bridge.h"
#include "lib/io/log.h"

#define HEADERS_DEFAULT ((size_t)16 * 1024)
#define HEADERS_SPARE ((size_t)4 * 1024) /* for the answer's own headers */
#define STREAM_QUEUE_MAX ((size_t)256 * 1024)
#define BLOCK_SIZE ((size_t)16 * 1024)
#define METHOD_SIZE 16
#define PATH_SIZE 1024

struct header {
    STAILQ_ENTRY(header) link;
    char *value; /* points behind the name */
    char name[];
};

STAILQ_HEAD(header_list, header);

/* libmicrohttpd decides when it dies (on_completed). The owner may touch it from the handler's call
 * until `released`. */
struct ha_http_request {
    struct conn *conn; /* NULL: the connection is gone */
    struct MHD_Connection *mhd;
    char method[METHOD_SIZE];
    char path[PATH_SIZE];
    uint8_t *body;
    size_t body_size;
    size_t body_room;
    struct header_list headers;
    struct MHD_Response *response;
    unsigned status;
    bool in_mhd;   /* libmicrohttpd called us about this request: it may not be resumed now */
    bool asked;    /* the handler was called */
    bool released; /* the owner answered it, or was told that the client left */
    bool suspended;
    bool gone;
    bool streaming;
    bool stream_ended;
    uint8_t *queue; /* of a streamed answer */
    size_t queue_size;
    ha_http_gone_cb on_gone;
    void *gone_ctx;
};

struct conn {
    TAILQ_ENTRY(conn) link;
    struct ha_http_server *server;
    struct ha_http_bridge *bridge; /* NULL: coming down */
    uv_timer_t deadline;           /* for the next request to be whole */
    unsigned open_parts;           /* bridge and timer */
    int mhd_fd;
    struct ha_http_request *request; /* the current one */
};

TAILQ_HEAD(conn_list, conn);

struct ha_http_server {
    uv_loop_t *loop;
    struct ha_http_server_options options;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
    struct conn_list conns; /* newest first, see conn_of */
    unsigned conn_count;
    bool closing;
    ha_http_close_cb close_cb;
    void *close_ctx;
};

/* ---- driving libmicrohttpd ---- */

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

/* Run it soon: it may be on the stack above us. */
static void kick(struct ha_http_server *server)
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

static void resume(struct ha_http_request *request, struct ha_http_server *server)
{
    if (!request->suspended)
        return;
    request->suspended = false;
    MHD_resume_connection(request->mhd);
    kick(server);
}

static void suspend(struct ha_http_request *request)
{
    assert(!request->suspended);
    request->suspended = true;
    MHD_suspend_connection(request->mhd);
}

/* ---- connections ---- */

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

static void conn_part_closed(struct conn *conn)
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

/* The client left: the owner hears of it before anything of the request goes. */
static void lose_request(struct ha_http_request *request)
{
    struct ha_http_server *server = request->conn->server;

    request->conn->request = NULL;
    request->conn = NULL;
    request->gone = true;
    if (request->asked && !request->released) {
        request->released = true;
        if (request->on_gone != NULL)
            request->on_gone(request->gone_ctx, request);
    }
    resume(request, server); /* so that libmicrohttpd sees the end of its socket */
}

static void on_bridge_down(void *ctx)
{
    struct conn *conn = ctx;

    conn->bridge = NULL;
    uv_close((uv_handle_t *)&conn->deadline, on_deadline_closed);
    if (conn->request != NULL)
        lose_request(conn->request);
}

static void on_bridge_closed(void *ctx)
{
    conn_part_closed(ctx);
}

static const struct ha_http_bridge_hooks bridge_hooks = {.on_down = on_bridge_down,
                                                         .on_closed = on_bridge_closed};

static void conn_close(struct conn *conn)
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

static void start_deadline(struct conn *conn)
{
    if (conn->bridge != NULL)
        (void)uv_timer_start(&conn->deadline, on_deadline, conn->server->options.request_ms, 0);
}

/* A descriptor number may be used again while an older connection's last bytes are being sent: the
 * newest with that number is the one. */
static struct conn *conn_of(struct ha_http_server *server, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *conn;

    TAILQ_FOREACH(conn, &server->conns, link)
    {
        if (info != NULL && conn->mhd_fd == info->connect_fd)
            return conn;
    }
    return NULL;
}

static struct conn *conn_new(struct ha_http_server *server, struct ha_stream *stream,
                             int ret_fds[2])
{
    struct conn *conn = calloc(1, sizeof(*conn));

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
    struct conn *conn;
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
    start_deadline(conn);
    /* It closes its descriptor also when it refuses; our end then reads an end and comes down. */
    (void)MHD_add_connection(server->daemon, fds[0], &addr, sizeof(addr));
    kick(server);
}

/* ---- requests ---- */

static void free_request(struct ha_http_request *request)
{
    struct header *header;

    while ((header = STAILQ_FIRST(&request->headers)) != NULL) {
        STAILQ_REMOVE_HEAD(&request->headers, link);
        free(header);
    }
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    free(request->body);
    free(request->queue);
    free(request);
}

static void on_completed(void *ctx, struct MHD_Connection *mhd, void **place,
                         enum MHD_RequestTerminationCode why)
{
    struct ha_http_request *request = *place;
    struct conn *conn;

    (void)ctx;
    (void)mhd;
    (void)why;
    if (request == NULL)
        return;
    *place = NULL;
    conn = request->conn;
    if (conn != NULL) {
        conn->request = NULL;
        start_deadline(conn);
    }
    if (request->asked && !request->released && request->on_gone != NULL)
        request->on_gone(request->gone_ctx, request);
    free_request(request);
}

static enum MHD_Result send_empty(struct MHD_Connection *mhd, unsigned status)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result rv;

    if (response == NULL)
        return MHD_NO;
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    rv = MHD_queue_response(mhd, status, response);
    MHD_destroy_response(response);
    return rv;
}

static bool announces_too_much(struct MHD_Connection *mhd, size_t body_max)
{
    const char *text =
        MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t size;

    return text != NULL && ha_text_u64(text, body_max, &size) != HA_OK;
}

static enum MHD_Result begin_request(struct ha_http_server *server, struct MHD_Connection *mhd,
                                     const char *path, const char *method, void **place)
{
    struct conn *conn = conn_of(server, mhd);
    struct ha_http_request *request;

    if (conn == NULL || conn->bridge == NULL)
        return MHD_NO;
    if (announces_too_much(mhd, server->options.body_max))
        return send_empty(mhd, MHD_HTTP_CONTENT_TOO_LARGE);
    if (strlen(path) >= PATH_SIZE)
        return send_empty(mhd, MHD_HTTP_URI_TOO_LONG);
    if (strlen(method) >= METHOD_SIZE)
        return send_empty(mhd, MHD_HTTP_NOT_IMPLEMENTED);
    request = calloc(1, sizeof(*request));
    if (request == NULL)
        return MHD_NO;
    STAILQ_INIT(&request->headers);
    (void)ha_text_copy(request->path, sizeof(request->path), path);
    (void)ha_text_copy(request->method, sizeof(request->method), method);
    request->mhd = mhd;
    request->conn = conn;
    conn->request = request;
    *place = request;
    return MHD_YES;
}

static enum MHD_Result take_body(struct ha_http_request *request, const char *data, size_t size,
                                 size_t body_max)
{
    size_t need = request->body_size + size;

    if (size > body_max - request->body_size)
        return MHD_NO; /* without an announced length: the connection goes */
    if (need > request->body_room) {
        size_t room = need > 2 * request->body_room ? need : 2 * request->body_room;
        uint8_t *grown = realloc(request->body, room);

        if (grown == NULL)
            return MHD_NO;
        request->body = grown;
        request->body_room = room;
    }
    memcpy(request->body + request->body_size, data, size);
    request->body_size = need;
    return MHD_YES;
}

static enum MHD_Result answer(struct ha_http_server *server, struct ha_http_request *request)
{
    if (!request->asked && !request->gone) {
        request->asked = true;
        (void)uv_timer_stop(&request->conn->deadline);
        request->in_mhd = true;
        server->options.handler(server->options.ctx, request);
        request->in_mhd = false;
    }
    if (request->gone)
        return MHD_NO;
    if (request->response != NULL)
        return MHD_queue_response(request->mhd, request->status, request->response);
    if (request->released || request->streaming)
        return MHD_NO; /* there was no memory for the answer */
    suspend(request);
    return MHD_YES;
}

/* Called with the headers, for each piece of the body, at its end, and again after each resumption.
 */
static enum MHD_Result on_access(void *ctx, struct MHD_Connection *mhd, const char *path,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **place)
{
    struct ha_http_server *server = ctx;
    struct ha_http_request *request = *place;

    (void)version;
    if (request == NULL)
        return begin_request(server, mhd, path, method, place);
    if (*size > 0) {
        enum MHD_Result rv = take_body(request, data, *size, server->options.body_max);

        *size = 0;
        return rv;
    }
    return answer(server, request);
}

const char *ha_http_method(const struct ha_http_request *request)
{
    return request->method;
}

const char *ha_http_path(const struct ha_http_request *request)
{
    return request->path;
}

static const char *look_up(const struct ha_http_request *request, enum MHD_ValueKind kind,
                           const char *key)
{
    const char *value = NULL;
    size_t size;

    if (MHD_lookup_connection_value_n(request->mhd, kind, key, strlen(key), &value, &size) !=
        MHD_YES)
        return NULL;
    return value != NULL ? value : "";
}

const char *ha_http_query(const struct ha_http_request *request, const char *key)
{
    return look_up(request, MHD_GET_ARGUMENT_KIND, key);
}

const char *ha_http_header(const struct ha_http_request *request, const char *name)
{
    return look_up(request, MHD_HEADER_KIND, name);
}

const uint8_t *ha_http_body(const struct ha_http_request *request, size_t *ret_size)
{
    *ret_size = request->body_size;
    return request->body;
}

struct ha_stream *ha_http_stream(const struct ha_http_request *request)
{
    assert(request->conn != NULL && request->conn->bridge != NULL);
    return ha_http_bridge_stream(request->conn->bridge);
}

void ha_http_on_gone(struct ha_http_request *request, ha_http_gone_cb cb, void *ctx)
{
    request->on_gone = cb;
    request->gone_ctx = ctx;
}

int ha_http_set_header(struct ha_http_request *request, const char *name, const char *value)
{
    size_t name_size = strlen(name) + 1;
    size_t value_size = strlen(value) + 1;
    struct header *header = malloc(sizeof(*header) + name_size + value_size);

    if (header == NULL)
        return HA_ENOMEM;
    memcpy(header->name, name, name_size);
    header->value = header->name + name_size;
    memcpy(header->value, value, value_size);
    STAILQ_INSERT_TAIL(&request->headers, header, link);
    return HA_OK;
}

/* Without a response (no memory) the connection is closed. */
static void respond(struct ha_http_request *request, unsigned status, const char *content_type,
                    struct MHD_Response *response)
{
    const struct header *header;

    assert(request->asked && request->response == NULL && !request->gone);
    request->response = response;
    request->status = status;
    if (response != NULL) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
        STAILQ_FOREACH(header, &request->headers, link)
        {
            (void)MHD_add_response_header(response, header->name, header->value);
        }
    }
    if (!request->in_mhd)
        resume(request, request->conn->server);
}

void ha_http_reply(struct ha_http_request *request, unsigned status, const char *content_type,
                   const void *body, size_t size)
{
    void *copy = malloc(size + 1);
    struct MHD_Response *response = NULL;

    assert(!request->released);
    request->released = true;
    if (copy != NULL) {
        if (size > 0)
            memcpy(copy, body, size);
        response = MHD_create_response_from_buffer(size, copy, MHD_RESPMEM_MUST_FREE);
        if (response == NULL)
            free(copy);
    }
    respond(request, status, content_type, response);
}

/* ---- answers bit by bit ---- */

static ssize_t on_more(void *ctx, uint64_t pos, char *buf, size_t size_max)
{
    struct ha_http_request *request = ctx;
    size_t n = request->queue_size < size_max ? request->queue_size : size_max;

    (void)pos;
    if (request->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n > 0) {
        memcpy(buf, request->queue, n);
        memmove(request->queue, request->queue + n, request->queue_size - n);
        request->queue_size -= n;
        return (ssize_t)n;
    }
    if (request->stream_ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    suspend(request);
    return 0;
}

void ha_http_reply_begin(struct ha_http_request *request, unsigned status, const char *content_type)
{
    struct MHD_Response *response = NULL;

    assert(!request->released && !request->streaming);
    request->streaming = true;
    request->queue = malloc(STREAM_QUEUE_MAX);
    if (request->queue != NULL)
        response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_SIZE, on_more, request, NULL);
    respond(request, status, content_type, response);
}

int ha_http_reply_send(struct ha_http_request *request, const void *data, size_t size)
{
    assert(request->streaming && !request->stream_ended);
    if (request->response == NULL)
        return HA_ENOMEM;
    if (size > STREAM_QUEUE_MAX - request->queue_size)
        return HA_EFULL;
    memcpy(request->queue + request->queue_size, data, size);
    request->queue_size += size;
    if (!request->in_mhd)
        resume(request, request->conn->server);
    return HA_OK;
}

void ha_http_reply_end(struct ha_http_request *request)
{
    assert(request->streaming && !request->stream_ended);
    request->stream_ended = true;
    request->released = true;
    if (!request->in_mhd)
        resume(request, request->conn->server);
}

/* ---- the server itself ---- */

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
    struct conn *conn;

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
                            0, NULL, NULL, on_access, server, MHD_OPTION_NOTIFY_COMPLETED,
                            on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
                            o->connections_max + 16u, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            o->headers_max + HEADERS_SPARE, MHD_OPTION_CONNECTION_TIMEOUT,
                            (unsigned)o->stall_s, MHD_OPTION_END);
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
