/* lib/io/http_private.h - what http_server.c and http_request.c share.
 *
 * Loop thread only. http_server.c owns connections and drives libmicrohttpd; http_request.c is what
 * libmicrohttpd calls, and the request as its owner sees it. */
#ifndef HA_IO_HTTP_PRIVATE_H
#define HA_IO_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <sys/queue.h>

#include "lib/io/http_bridge.h"
#include "lib/io/http_server.h"

#define HA_HTTP_METHOD_SIZE 16
#define HA_HTTP_PATH_SIZE 1024

struct ha_http_header {
    STAILQ_ENTRY(ha_http_header) link;
    char *value; /* points behind the name */
    char name[];
};

STAILQ_HEAD(ha_http_header_list, ha_http_header);

/* libmicrohttpd decides when it dies (ha_http_request_completed). The owner may touch it from the
 * handler's call until `released`. */
struct ha_http_request {
    struct ha_http_conn *conn; /* NULL: the connection is gone */
    struct MHD_Connection *mhd;
    char method[HA_HTTP_METHOD_SIZE];
    char path[HA_HTTP_PATH_SIZE];
    uint8_t *body;
    size_t body_size;
    size_t body_room;
    struct ha_http_header_list headers;
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

struct ha_http_conn {
    TAILQ_ENTRY(ha_http_conn) link;
    struct ha_http_server *server;
    struct ha_http_bridge *bridge; /* NULL: coming down */
    uv_timer_t deadline;           /* for the next request to be whole */
    unsigned open_parts;           /* bridge and timer */
    int mhd_fd;
    struct ha_http_request *request; /* the current one */
};

TAILQ_HEAD(ha_http_conn_list, ha_http_conn);

struct ha_http_server {
    uv_loop_t *loop;
    struct ha_http_server_options options;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
    struct ha_http_conn_list conns; /* newest first, see ha_http_conn_of */
    unsigned conn_count;
    bool closing;
    ha_http_close_cb close_cb;
    void *close_ctx;
};

/* http_server.c: run libmicrohttpd soon (it may be on the stack above us). */
void ha_http_server_kick(struct ha_http_server *server);
/* The connection that libmicrohttpd means; NULL: it is gone. */
struct ha_http_conn *ha_http_conn_of(struct ha_http_server *server, struct MHD_Connection *mhd);
/* From now on the next request has request_ms to be whole. */
void ha_http_conn_expect(struct ha_http_conn *conn);

/* http_request.c: the client left. */
void ha_http_request_lost(struct ha_http_request *request);
/* libmicrohttpd's two callbacks, of its types; @ctx is the server. */
enum MHD_Result ha_http_request_access(void *ctx, struct MHD_Connection *mhd, const char *path,
                                       const char *method, const char *version, const char *data,
                                       size_t *size, void **place);
void ha_http_request_completed(void *ctx, struct MHD_Connection *mhd, void **place,
                               enum MHD_RequestTerminationCode why);

#endif /* HA_IO_HTTP_PRIVATE_H */
