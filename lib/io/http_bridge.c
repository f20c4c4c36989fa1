#include "lib/io/http_bridge.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE ((size_t)8 * 1024)
#define QUEUE_HIGH ((size_t)64 * 1024) /* towards the library */
#define LINGER_MS 5000

struct ha_http_bridge {
    struct ha_stream *stream;
    uv_pipe_t pipe;
    unsigned open_parts; /* stream and pipe */
    bool closing;
    bool stream_paused;
    char chunk[CHUNK_SIZE]; /* read from the library; while held_size > 0 waiting for the stream */
    size_t held_size;
    const struct ha_http_bridge_hooks *hooks;
    void *ctx;
};

struct write {
    uv_write_t request;
    struct ha_http_bridge *bridge;
    size_t size;
    char data[];
};

static void part_closed(struct ha_http_bridge *bridge)
{
    const struct ha_http_bridge_hooks *hooks = bridge->hooks;
    void *ctx = bridge->ctx;

    assert(bridge->open_parts > 0);
    bridge->open_parts--;
    if (bridge->open_parts > 0)
        return;
    free(bridge);
    hooks->on_closed(ctx);
}

static void on_pipe_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void on_stream_closed(void *ctx)
{
    part_closed(ctx);
}

void ha_http_bridge_close(struct ha_http_bridge *bridge, uint32_t linger_ms)
{
    if (bridge->closing)
        return;
    bridge->closing = true;
    uv_close((uv_handle_t *)&bridge->pipe, on_pipe_closed);
    ha_stream_close(bridge->stream, linger_ms, on_stream_closed, bridge);
}

static void down(struct ha_http_bridge *bridge, uint32_t linger_ms)
{
    if (bridge->closing)
        return;
    ha_http_bridge_close(bridge, linger_ms);
    bridge->hooks->on_down(bridge->ctx);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct ha_http_bridge *bridge = handle->data;

    (void)suggested;
    *ret = uv_buf_init(bridge->chunk, sizeof(bridge->chunk));
}

static void on_pipe_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *buf)
{
    struct ha_http_bridge *bridge = handle->data;
    int rv;

    if (size == 0 || bridge->closing)
        return;
    if (size < 0) {
        down(bridge, LINGER_MS); /* the library is done: what it wrote last is on its way */
        return;
    }
    rv = ha_stream_write(bridge->stream, buf->base, (size_t)size);
    if (rv == HA_EFULL) {
        (void)uv_read_stop(handle);
        bridge->held_size = (size_t)size;
    } else if (rv != HA_OK) {
        down(bridge, 0);
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct write *write = request->data;
    struct ha_http_bridge *bridge = write->bridge;

    free(write);
    if (bridge->closing)
        return;
    if (status != 0) {
        down(bridge, LINGER_MS);
        return;
    }
    if (bridge->stream_paused && bridge->pipe.write_queue_size <= QUEUE_HIGH / 2) {
        bridge->stream_paused = false;
        ha_stream_resume(bridge->stream);
    }
}

static void on_data(void *ctx, struct ha_stream *stream, const uint8_t *data, size_t size)
{
    struct ha_http_bridge *bridge = ctx;
    struct write *write;
    uv_buf_t buf;

    if (bridge->closing)
        return;
    write = malloc(sizeof(*write) + size);
    if (write == NULL) {
        down(bridge, 0);
        return;
    }
    write->bridge = bridge;
    write->request.data = write;
    memcpy(write->data, data, size);
    buf = uv_buf_init(write->data, (unsigned)size);
    if (uv_write(&write->request, (uv_stream_t *)&bridge->pipe, &buf, 1, on_written) != 0) {
        free(write);
        down(bridge, LINGER_MS);
        return;
    }
    if (bridge->pipe.write_queue_size > QUEUE_HIGH) {
        bridge->stream_paused = true;
        ha_stream_pause(stream);
    }
}

static void on_drain(void *ctx, struct ha_stream *stream)
{
    struct ha_http_bridge *bridge = ctx;
    size_t size = bridge->held_size;

    if (bridge->closing || size == 0)
        return;
    bridge->held_size = 0;
    if (ha_stream_write(stream, bridge->chunk, size) != HA_OK)
        down(bridge, 0);
    else
        (void)uv_read_start((uv_stream_t *)&bridge->pipe, on_alloc, on_pipe_read);
}

static void on_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    (void)stream;
    (void)err;
    down(ctx, 0);
}

static const struct ha_stream_hooks stream_hooks = {
    .on_data = on_data, .on_drain = on_drain, .on_end = on_end};

static void free_unopened(uv_handle_t *handle)
{
    free(handle->data);
}

int ha_http_bridge_open(struct ha_http_bridge **ret, struct ha_stream *stream, int fd,
                        const struct ha_http_bridge_hooks *hooks, void *ctx)
{
    struct ha_http_bridge *bridge = calloc(1, sizeof(*bridge));

    if (bridge == NULL)
        return HA_ENOMEM;
    (void)uv_pipe_init(ha_stream_loop(stream), &bridge->pipe, 0);
    bridge->pipe.data = bridge;
    if (uv_pipe_open(&bridge->pipe, fd) != 0) {
        uv_close((uv_handle_t *)&bridge->pipe, free_unopened);
        return HA_EIO;
    }
    bridge->open_parts = 2;
    bridge->stream = stream;
    bridge->hooks = hooks;
    bridge->ctx = ctx;
    (void)uv_read_start((uv_stream_t *)&bridge->pipe, on_alloc, on_pipe_read);
    ha_stream_set_hooks(stream, &stream_hooks, bridge);
    *ret = bridge;
    return HA_OK;
}

struct ha_stream *ha_http_bridge_stream(struct ha_http_bridge *bridge)
{
    return bridge->stream;
}
