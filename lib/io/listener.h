/* lib/io/listener.h - accept streams on several addresses, within limits.
 *
 * Loop thread only. The owner sees a connection only when it is open: with TLS, authenticated.
 * Those that are not yet (pending) have handshake_ms and a limit of their own; when that is reached
 * the oldest pending one is dropped for the newest, and a source with a quarter of the places pays
 * for its next ones itself, so that idle connections, however many, cannot keep an honest one out.
 * Nor can the holder of one key: each name has its limit. A listener may be closed while its
 * streams live on. */
#ifndef HA_IO_LISTENER_H
#define HA_IO_LISTENER_H

#include <sys/types.h>
#include <uv.h>

#include "lib/base/err.h"
#include "lib/io/addr.h"
#include "lib/io/stream.h"

#define HA_LISTENER_ADDRS_MAX 16
#define HA_LISTENER_BACKLOG 64

struct ha_listener; /* opaque */

/* Gives an open stream: call ha_stream_set_hooks and keep it, or ha_stream_close it, before
 * returning. Peer name, ALPN and address are known. */
typedef void (*ha_listener_cb)(void *ctx, struct ha_stream *stream);
typedef void (*ha_listener_close_cb)(void *ctx);

struct ha_listener_options {
    struct ha_tls *tls;       /* referenced; NULL: plain */
    unsigned connections_max; /* open at once; 0: 1024 */
    unsigned pending_max;     /* in their handshake at once; 0: 256 */
    unsigned per_name_max;    /* open and of one authenticated name; 0: 64 */
    unsigned per_source_max;  /* open and pending from one host; 0: no limit */
    uint32_t handshake_ms;    /* 0: 2000 */
    struct ha_stream_tuning tuning;
    ha_listener_cb on_stream;
    void *ctx;
};

struct ha_listener_stats {
    unsigned open;
    unsigned pending;
    uint64_t accepted;
    uint64_t refused; /* over connections_max, per_name_max or per_source_max */
    uint64_t evicted; /* pending ones that made room */
    uint64_t failed;  /* handshakes that did not succeed */
};

/* HA_EINVAL, HA_ENOMEM. */
int ha_listener_open(struct ha_listener **ret, uv_loop_t *loop,
                     const struct ha_listener_options *options);

/* Listen on @addr too; port 0 takes a free one, told through @ret_bound (may be NULL). A UNIX
 * socket gets @mode and replaces a dead socket file; plain TCP is refused off loopback unless the
 * listener has TLS. HA_EDENIED, HA_EEXIST: address in use, HA_EUNREACH: not our address or kind,
 * HA_EFULL, HA_EIO. */
int ha_listener_bind(struct ha_listener *listener, const struct ha_addr *addr, mode_t mode,
                     struct ha_addr *ret_bound, struct ha_err *err);

/* Use @tls (referenced) for connections from now on; kind must match what was opened. */
void ha_listener_set_tls(struct ha_listener *listener, struct ha_tls *tls);

void ha_listener_stats(const struct ha_listener *listener, struct ha_listener_stats *ret);

/* Stop listening, drop pending ones, remove UNIX socket files; streams that were given live on.
 * @cb (may be NULL) is the last touch. */
void ha_listener_close(struct ha_listener *listener, ha_listener_close_cb cb, void *ctx);

#endif /* HA_IO_LISTENER_H */
