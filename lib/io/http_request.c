/* lib/io/http_request.c - one request: what libmicrohttpd tells of it, and what its owner answers.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/io/http_private.h"

#define STREAM_QUEUE_MAX ((size_t)256 * 1024)
#define BLOCK_SIZE ((size_t)16 * 1024)

static void resume(struct ha_http_request *request, struct ha_http_server *server)
{
    if (!request->suspended)
        return;
    request->suspended = false;
    MHD_resume_connection(request->mhd);
    ha_http_server_kick(server);
}

static void suspend(struct ha_http_request *request)
{
    assert(!request->suspended);
    request->suspended = true;
    MHD_suspend_connection(request->mhd);
}

/* The client left: the owner hears of it before anything of the request goes. */
void ha_http_request_lost(struct ha_http_request *request)
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

static void free_request(struct ha_http_request *request)
{
    struct ha_http_header *header;

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

void ha_http_request_completed(void *ctx, struct MHD_Connection *mhd, void **place,
                               enum MHD_RequestTerminationCode why)
{
    struct ha_http_request *request = *place;
    struct ha_http_conn *conn;

    (void)ctx;
    (void)mhd;
    (void)why;
    if (request == NULL)
        return;
    *place = NULL;
    conn = request->conn;
    if (conn != NULL) {
        conn->request = NULL;
        ha_http_conn_expect(conn);
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
    struct ha_http_conn *conn = ha_http_conn_of(server, mhd);
    struct ha_http_request *request;

    if (conn == NULL || conn->bridge == NULL)
        return MHD_NO;
    if (announces_too_much(mhd, server->options.body_max))
        return send_empty(mhd, MHD_HTTP_CONTENT_TOO_LARGE);
    if (strlen(path) >= HA_HTTP_PATH_SIZE)
        return send_empty(mhd, MHD_HTTP_URI_TOO_LONG);
    if (strlen(method) >= HA_HTTP_METHOD_SIZE)
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
enum MHD_Result ha_http_request_access(void *ctx, struct MHD_Connection *mhd, const char *path,
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
    struct ha_http_header *header = malloc(sizeof(*header) + name_size + value_size);

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
    const struct ha_http_header *header;

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
