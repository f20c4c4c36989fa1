/* lib/io/http_server.h - HTTP/1.1 on streams that a listener accepted, by libmicrohttpd.
 *
 * Loop thread only. TLS, limits per source and the peer's name are the stream's business. The
 * handler is called when a request has come whole; it answers at once or later. Every request is
 * answered exactly once by the owner, unless on_gone came first: the client went away, and the
 * request must not be touched again. */
#ifndef HA_IO_HTTP_SERVER_H
#define HA_IO_HTTP_SERVER_H

#include "lib/io/stream.h"

#define HA_HTTP_BODY_MAX ((size_t)1024 * 1024)

struct ha_http_server;  /* opaque */
struct ha_http_request; /* opaque */

typedef void (*ha_http_handler_cb)(void *ctx, struct ha_http_request *request);
typedef void (*ha_http_gone_cb)(void *ctx, struct ha_http_request *request);
typedef void (*ha_http_close_cb)(void *ctx);

struct ha_http_server_options {
    size_t body_max;          /* 0: HA_HTTP_BODY_MAX; a larger one is answered with 413 */
    size_t headers_max;       /* request line and headers; 0: 16 KiB; answered with 431 or 414 */
    unsigned connections_max; /* 0: 256; more are closed at once */
    uint32_t request_ms;      /* from the end of one request to the next one whole; 0: 10000 */
    uint32_t stall_s;         /* a response that the client does not read; 0: 10 */
    ha_http_handler_cb handler;
    void *ctx;
};

/* HA_EIO, HA_ENOMEM. */
int ha_http_server_open(struct ha_http_server **ret, uv_loop_t *loop,
                        const struct ha_http_server_options *options);

/* Serve @stream (open; takes it, closes it also when over a limit). Call it in the listener's
 * callback. */
void ha_http_server_adopt(struct ha_http_server *server, struct ha_stream *stream);

/* Drop all connections (on_gone is called for requests not yet answered), then @cb; frees. */
void ha_http_server_close(struct ha_http_server *server, ha_http_close_cb cb, void *ctx);

/* What was asked; valid until the answer or on_gone. */
const char *ha_http_method(const struct ha_http_request *request);
const char *ha_http_path(const struct ha_http_request *request); /* without the query */
/* NULL: not given; "" when given without a value. The first one counts. */
const char *ha_http_query(const struct ha_http_request *request, const char *key);
const char *ha_http_header(const struct ha_http_request *request, const char *name);
const uint8_t *ha_http_body(const struct ha_http_request *request, size_t *ret_size);
/* The stream below, for peer name, address and uid. Borrowed. */
struct ha_stream *ha_http_stream(const struct ha_http_request *request);

/* To be told when the client leaves before the answer; required for answering later. */
void ha_http_on_gone(struct ha_http_request *request, ha_http_gone_cb cb, void *ctx);
/* Add a header to the answer. HA_ENOMEM. */
int ha_http_set_header(struct ha_http_request *request, const char *name, const char *value);

/* Answer with a copy of @body; @request is gone with this call. */
void ha_http_reply(struct ha_http_request *request, unsigned status, const char *content_type,
                   const void *body, size_t size);

/* Or answer bit by bit: begin, then send any number of times, then end; on_gone is still possible
 * in between. Send: HA_EFULL: the client reads too slowly (256 KiB wait); HA_ENOMEM. */
void ha_http_reply_begin(struct ha_http_request *request, unsigned status,
                         const char *content_type);
int ha_http_reply_send(struct ha_http_request *request, const void *data, size_t size);
void ha_http_reply_end(struct ha_http_request *request);

#endif /* HA_IO_HTTP_SERVER_H */
