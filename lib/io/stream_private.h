/* lib/io/stream_private.h - what stream.c, stream_tls.c and listener.c share of a stream.
 *
 * Loop thread only. */
#ifndef HA_IO_STREAM_PRIVATE_H
#define HA_IO_STREAM_PRIVATE_H

#include "lib/io/stream.h"
#include "lib/io/tls_session.h"

enum ha_stream_state {
    HA_STREAM_CONNECTING,
    HA_STREAM_HANDSHAKE, /* of TLS; also an accepted plain stream before its first loop turn */
    HA_STREAM_OPEN,
    HA_STREAM_ENDED,   /* on_end was or will be called; the owner has still to close */
    HA_STREAM_LINGER,  /* closed by the owner, the last bytes are on their way */
    HA_STREAM_CLOSING, /* nothing but close callbacks comes any more */
};

struct ha_stream {
    uv_loop_t *loop;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    uv_timer_t deadline; /* of connect and handshake, later of lingering */
    uv_timer_t kick;     /* "from the loop, not from inside a call" */
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    unsigned open_handles;
    enum ha_stream_state state;
    uint32_t deadline_ms;
    bool paused;
    bool drain_wanted;
    bool end_told;
    bool shut; /* lingering: our end was sent */
    struct ha_err end;
    const struct ha_stream_hooks *hooks;
    void *ctx;
    struct ha_tls *tls; /* NULL: plain */
    SSL *ssl;
    struct ha_tls_session *session; /* with ssl; else NULL: thousands speak no TLS */
    /* frames: the pause is over, take what you kept before more is read; NULL: nobody. */
    ha_stream_close_cb resumed_cb;
    void *resumed_ctx;
    size_t queued;
    size_t queue_max;
    struct ha_addr peer;
    ha_stream_close_cb close_cb;
    void *close_ctx;
    ha_stream_close_cb gone_cb; /* the listener's: memory is going */
    void *gone_ctx;
};

struct ha_stream_accept_options {
    uv_stream_t *server;
    struct ha_tls *tls; /* referenced; NULL: plain */
    uint32_t deadline_ms;
    struct ha_stream_tuning tuning;
    ha_stream_close_cb gone_cb; /* called before the close callback of the owner */
    void *gone_ctx;
};

/* Take one connection that waits on @options->server. HA_ENOMEM. */
int ha_stream_accept(struct ha_stream **ret, const struct ha_stream_accept_options *options,
                     const struct ha_stream_hooks *hooks, void *ctx);

/* End the stream: on_end follows from the loop. The first reason wins. */
void ha_stream_fail(struct ha_stream *stream, const struct ha_err *err);
/* The peer is who it should be. */
void ha_stream_opened(struct ha_stream *stream);
/* Hand bytes to libuv. @take fills in @size bytes at @data. HA_ENOMEM: nothing was sent. */
struct ha_stream_write {
    uv_write_t request;
    size_t size;
    uint8_t data[];
};
struct ha_stream_write *ha_stream_write_new(size_t size);
void ha_stream_write_send(struct ha_stream *stream, struct ha_stream_write *write);

/* stream_tls.c: bytes came from the network; go on after a pause; say goodbye. */
void ha_stream_tls_input(struct ha_stream *stream, const uint8_t *data, size_t size);
void ha_stream_tls_pump(struct ha_stream *stream);
int ha_stream_tls_write(struct ha_stream *stream, const struct ha_slice *slices, unsigned count);
void ha_stream_tls_goodbye(struct ha_stream *stream);

#endif /* HA_IO_STREAM_PRIVATE_H */
