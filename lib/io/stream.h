/* lib/io/stream.h - one connection: TCP or UNIX socket, TLS or plain, the same calls for all.
 *
 * Loop thread only. A stream is born by ha_stream_connect or by a listener and lives until the
 * callback of ha_stream_close, which its owner calls exactly once, in any state, also from inside a
 * hook. No hook is called from inside a function of this file, nor after ha_stream_close.
 *
 *   on_open   at most once: connected, and with TLS authenticated
 *   on_data   bytes came (borrowed for the call); not while paused
 *   on_drain  after a write was refused with HA_EFULL: half of the queue is free again
 *   on_end    at most once, the last hook: the connection is over. Codes:
 *     HA_EREFUSED   nobody listens there           HA_EUNREACH  no route, or not permitted
 *     HA_ETIMEDOUT  no connection or handshake by the deadline, or the peer fell silent
 *     HA_ECLOSED    the peer closed in order       HA_EIO       reset or another socket error
 *     HA_EAUTH      wrong key, name or certificate HA_EPROTO    bytes that are not TLS
 *     HA_ENOMEM     no memory for a TLS record
 *   A server refuses a client's certificate after the client's on_open: HA_EAUTH may follow it. */
#ifndef HA_IO_STREAM_H
#define HA_IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "lib/base/err.h"
#include "lib/io/addr.h"
#include "lib/io/tls.h"

#define HA_STREAM_QUEUE_DEFAULT ((size_t)256 * 1024)

struct ha_stream; /* opaque */

struct ha_slice {
    const void *data;
    size_t size;
};

struct ha_stream_hooks {
    void (*on_open)(void *ctx, struct ha_stream *stream);
    void (*on_data)(void *ctx, struct ha_stream *stream, const uint8_t *data, size_t size);
    void (*on_drain)(void *ctx, struct ha_stream *stream);
    void (*on_end)(void *ctx, struct ha_stream *stream, const struct ha_err *err);
};

typedef void (*ha_stream_close_cb)(void *ctx);

/* What both ends may choose; zeros are good defaults. TCP_NODELAY is always set. */
struct ha_stream_tuning {
    size_t send_queue_max;    /* bytes not yet taken by the kernel; 0: HA_STREAM_QUEUE_DEFAULT */
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT: unacknowledged that long is an end; 0: system */
    uint32_t keepalive_s; /* probe an idle connection after, and then every, so long; 0: never */
};

struct ha_stream_connect_options {
    struct ha_addr addr; /* numeric; plain text only where ha_addr_is_local or allow_plain */
    struct ha_tls *tls;  /* referenced; NULL for plain */
    /* The server we mean: "watcher/w2", or "watcher/" and a star for any watcher; for a foreign
     * context its host name or numeric address. Borrowed. Required with TLS. */
    const char *server_name;
    enum ha_alpn alpn;
    /* A database without TLS is the operator's choice; our own links never set this. */
    bool allow_plain;
    uint32_t deadline_ms; /* for connect and handshake together; required */
    struct ha_stream_tuning tuning;
};

/* Start connecting. Every failure of the network comes through on_end; HA_EINVAL (bad options),
 * HA_EDENIED (plain text to another host) and HA_ENOMEM come at once and make no stream.
 * @hooks is borrowed for the life of the stream (a static const), @ctx is passed to each. */
int ha_stream_connect(struct ha_stream **ret, uv_loop_t *loop,
                      const struct ha_stream_connect_options *options,
                      const struct ha_stream_hooks *hooks, void *ctx);

/* Give the stream another owner; on_open is not repeated. Any hook may be NULL but on_end. Data
 * that came before stays unread until the hook in charge returns, so call it inside on_open. */
void ha_stream_set_hooks(struct ha_stream *stream, const struct ha_stream_hooks *hooks, void *ctx);

/* Queue a copy of the bytes. HA_EFULL: the queue's limit would be passed, nothing was queued;
 * HA_ECLOSED: not open; HA_ENOMEM. Later failures come through on_end. */
int ha_stream_write(struct ha_stream *stream, const void *data, size_t size);
int ha_stream_writev(struct ha_stream *stream, const struct ha_slice *slices, unsigned count);

/* Stop and go on calling on_data; what the peer sends meanwhile stays with the kernel. Also the
 * peer's end is then seen only after resuming. */
void ha_stream_pause(struct ha_stream *stream);
void ha_stream_resume(struct ha_stream *stream);

/* Close and free. With @linger_ms = 0 at once, what is queued is dropped; otherwise what is queued
 * is sent first and the peer's end awaited, for at most so long. @cb may be NULL. */
void ha_stream_close(struct ha_stream *stream, uint32_t linger_ms, ha_stream_close_cb cb,
                     void *ctx);

bool ha_stream_is_open(const struct ha_stream *stream);
size_t ha_stream_queued(const struct ha_stream *stream);
/* The authenticated "ROLE/NAME" of the peer; "" for plain and foreign streams. */
const char *ha_stream_peer_name(const struct ha_stream *stream);
/* HA_ALPN_NONE for plain streams and for clients that did not say. */
enum ha_alpn ha_stream_alpn(const struct ha_stream *stream);
/* The other side's address; of an accepted UNIX connection only the family is known. */
const struct ha_addr *ha_stream_peer_addr(const struct ha_stream *stream);
/* Who is behind a UNIX socket, by the kernel's word. HA_ENOTSUP: not a UNIX socket; HA_EIO. */
int ha_stream_peer_uid(const struct ha_stream *stream, uid_t *ret);
/* Our own address of a TCP connection. HA_ENOTSUP, HA_EIO. */
int ha_stream_local_addr(const struct ha_stream *stream, struct ha_addr *ret);
uv_loop_t *ha_stream_loop(const struct ha_stream *stream);

#endif /* HA_IO_STREAM_H */
