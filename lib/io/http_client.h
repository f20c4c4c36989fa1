/* lib/io/http_client.h - one HTTP request, one deadline, one callback, by libcurl.
 *
 * Loop thread only. Names are resolved by dns.h (with its memory), redirects are never followed,
 * proxies of the environment are ignored, connections are not reused. */
#ifndef HA_IO_HTTP_CLIENT_H
#define HA_IO_HTTP_CLIENT_H

#include <uv.h>

#include "lib/base/err.h"
#include "lib/io/dns.h"
#include "lib/io/tls.h"

#define HA_HTTP_HEADERS_MAX 16

struct ha_http_client; /* opaque */
struct ha_http_call;   /* opaque */

struct ha_http_ask {
    const char *method;                       /* "GET", "POST", ... */
    const char *url;                          /* http:// or https:// */
    const char *headers[HA_HTTP_HEADERS_MAX]; /* "Name: value"; up to the first NULL */
    const void *body;                         /* copied; NULL: none */
    size_t body_size;
    uint32_t deadline_ms;    /* for everything; required */
    size_t answer_max;       /* of the answer's body; 0: 1 MiB */
    const char *unix_socket; /* path, or NULL */
    /* https to our own daemons (a PSK or certificate context with server_name as in stream.h) or to
     * others (a foreign context; host name from the URL). NULL: the system's CAs. Referenced. */
    struct ha_tls *tls;
    const char *server_name;
};

struct ha_http_answer {
    /* HA_OK: an answer came, whatever its status. HA_EREFUSED, HA_EUNREACH, HA_ENOENT: no such
     * host, HA_ETIMEDOUT, HA_EAUTH: TLS says no, HA_EFULL: larger than answer_max, HA_ECLOSED: cut
     * short, HA_EPROTO: not HTTP, HA_ECANCELED, HA_EIO. */
    int code;
    long status;      /* 200, 404, ..., also of an answer that failed later; 0: none came */
    const char *body; /* borrowed for the callback; NUL after it */
    size_t body_size;
    struct ha_err err;
};

typedef void (*ha_http_call_cb)(void *ctx, const struct ha_http_answer *answer);
typedef void (*ha_http_client_close_cb)(void *ctx);

/* @dns may be NULL: only numeric hosts and UNIX sockets then. HA_ENOMEM, HA_EIO. */
int ha_http_client_open(struct ha_http_client **ret, uv_loop_t *loop, struct ha_dns *dns);

/* Open calls end with HA_ECANCELED, then @cb; frees. Close @dns only after that. */
void ha_http_client_close(struct ha_http_client *client, ha_http_client_close_cb cb, void *ctx);

/* Start; everything in @ask is borrowed. Exactly one @cb, from the loop. *ret (may be NULL) is for
 * cancel and valid until the callback. HA_EINVAL, HA_ENOMEM: not started, no callback. */
int ha_http_call_start(struct ha_http_client *client, const struct ha_http_ask *ask,
                       struct ha_http_call **ret, ha_http_call_cb cb, void *ctx);
void ha_http_call_cancel(struct ha_http_call *call);

#endif /* HA_IO_HTTP_CLIENT_H */
