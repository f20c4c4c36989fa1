#include "lib/io/frames.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/io/stream_private.h"

#define KEEP_SIZE ((size_t)64 * 1024) /* a larger buffer is given back after its frame */

struct ha_frames {
    struct ha_stream *stream;
    const struct ha_frames_hooks *hooks;
    void *ctx;
    uint32_t payload_max;
    const uint32_t *type_limits;
    bool paused;
    bool closed;
    uint8_t *partial; /* the start of a frame that has not come whole */
    size_t partial_room;
    size_t partial_size;
    uint8_t *rest; /* came in the packet in which we were paused */
    size_t rest_size;
    ha_stream_close_cb close_cb;
    void *close_ctx;
};

static void fail(struct ha_frames *frames, int code, const char *text, uint32_t size, uint8_t type)
{
    struct ha_err err;

    (void)ha_err_set(&err, code, "frame of type %u and size %u: %s", type, size, text);
    ha_stream_fail(frames->stream, &err);
}

static bool is_live(const struct ha_frames *frames)
{
    return !frames->closed && ha_stream_is_open(frames->stream);
}

/* The whole size of the frame that starts at @data (a full header); 0: refused, and failed. */
static size_t check_header(struct ha_frames *frames, const uint8_t *data)
{
    struct ha_reader r;
    uint32_t size;
    uint8_t type;

    ha_reader_init(&r, data, HA_FRAMES_HEADER_SIZE);
    size = ha_get_u32(&r);
    type = ha_get_u8(&r);
    assert(ha_reader_done(&r));
    if (size == 0)
        fail(frames, HA_EPROTO, "no type", size, type);
    else if (frames->type_limits != NULL && frames->type_limits[type] == 0)
        fail(frames, HA_EPROTO, "unknown type", size, type);
    else if (size - 1 > frames->payload_max ||
             (frames->type_limits != NULL && size > frames->type_limits[type]))
        fail(frames, HA_EPROTO, "over its limit", size, type);
    else
        return (size_t)size + 4;
    return 0;
}

static void deliver(struct ha_frames *frames, const uint8_t *frame, size_t size)
{
    frames->hooks->on_frame(frames->ctx, frames, frame[4], frame + HA_FRAMES_HEADER_SIZE,
                            size - HA_FRAMES_HEADER_SIZE);
}

static bool grow(struct ha_frames *frames, size_t size)
{
    size_t room = frames->partial_room == 0 ? 256 : frames->partial_room;
    uint8_t *data;

    while (room < size)
        room *= 2;
    if (room == frames->partial_room)
        return true;
    data = realloc(frames->partial, room);
    if (data == NULL) {
        fail(frames, HA_ENOMEM, "out of memory", (uint32_t)size, 0);
        return false;
    }
    frames->partial = data;
    frames->partial_room = room;
    return true;
}

/* Move what the partial frame still needs out of @data; returns how much that was. */
static size_t complete(struct ha_frames *frames, const uint8_t *data, size_t size)
{
    size_t want = HA_FRAMES_HEADER_SIZE;
    size_t n;

    if (frames->partial_size >= HA_FRAMES_HEADER_SIZE)
        want = check_header(frames, frames->partial);
    assert(want > frames->partial_size);
    n = want - frames->partial_size < size ? want - frames->partial_size : size;
    if (!grow(frames, frames->partial_size + n))
        return size;
    memcpy(frames->partial + frames->partial_size, data, n);
    frames->partial_size += n;
    if (frames->partial_size == HA_FRAMES_HEADER_SIZE)
        want = check_header(frames, frames->partial);
    if (want != frames->partial_size || !is_live(frames))
        return n;
    frames->partial_size = 0;
    deliver(frames, frames->partial, want);
    if (frames->partial_room > KEEP_SIZE) {
        free(frames->partial);
        frames->partial = NULL;
        frames->partial_room = 0;
    }
    return n;
}

static void keep_rest(struct ha_frames *frames, const uint8_t *data, size_t size)
{
    assert(frames->rest == NULL);
    frames->rest = malloc(size);
    if (frames->rest == NULL) {
        fail(frames, HA_ENOMEM, "out of memory", (uint32_t)size, 0);
        return;
    }
    memcpy(frames->rest, data, size);
    frames->rest_size = size;
}

static void feed(struct ha_frames *frames, const uint8_t *data, size_t size)
{
    while (size > 0 && is_live(frames)) {
        size_t whole = 0;
        size_t n;

        if (frames->paused) {
            keep_rest(frames, data, size);
            return;
        }
        if (frames->partial_size == 0 && size >= HA_FRAMES_HEADER_SIZE) {
            whole = check_header(frames, data);
            if (whole == 0)
                return;
        }
        if (whole > 0 && whole <= size) {
            n = whole;
            deliver(frames, data, whole);
        } else {
            n = complete(frames, data, size);
        }
        data += n;
        size -= n;
    }
}

static void on_data(void *ctx, struct ha_stream *stream, const uint8_t *data, size_t size)
{
    (void)stream;
    feed(ctx, data, size);
}

static void on_resumed(void *ctx)
{
    struct ha_frames *frames = ctx;
    uint8_t *rest = frames->rest;
    size_t size = frames->rest_size;

    if (rest == NULL)
        return;
    frames->rest = NULL;
    frames->rest_size = 0;
    feed(frames, rest, size);
    free(rest);
}

static void on_drain(void *ctx, struct ha_stream *stream)
{
    struct ha_frames *frames = ctx;

    (void)stream;
    if (frames->hooks->on_drain != NULL)
        frames->hooks->on_drain(frames->ctx, frames);
}

static void on_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    struct ha_frames *frames = ctx;

    (void)stream;
    frames->hooks->on_end(frames->ctx, frames, err);
}

static const struct ha_stream_hooks stream_hooks = {
    .on_data = on_data, .on_drain = on_drain, .on_end = on_end};

int ha_frames_open(struct ha_frames **ret, struct ha_stream *stream,
                   const struct ha_frames_options *options, const struct ha_frames_hooks *hooks,
                   void *ctx)
{
    struct ha_frames *frames = calloc(1, sizeof(*frames));

    if (frames == NULL)
        return HA_ENOMEM;
    frames->stream = stream;
    ha_frames_set_hooks(frames, options, hooks, ctx);
    stream->resumed_cb = on_resumed;
    stream->resumed_ctx = frames;
    ha_stream_set_hooks(stream, &stream_hooks, frames);
    *ret = frames;
    return HA_OK;
}

void ha_frames_set_hooks(struct ha_frames *frames, const struct ha_frames_options *options,
                         const struct ha_frames_hooks *hooks, void *ctx)
{
    uint32_t payload_max = options->payload_max;

    assert(hooks->on_frame != NULL && hooks->on_end != NULL);
    assert(payload_max <= HA_FRAMES_PAYLOAD_MAX);
    frames->payload_max = payload_max != 0 ? payload_max : HA_FRAMES_PAYLOAD_MAX;
    frames->type_limits = options->type_limits;
    frames->hooks = hooks;
    frames->ctx = ctx;
}

int ha_frames_send(struct ha_frames *frames, uint8_t type, const struct ha_slice *slices,
                   unsigned count)
{
    struct ha_slice all[HA_FRAMES_SLICES_MAX + 1];
    uint8_t header[HA_FRAMES_HEADER_SIZE];
    struct ha_writer w;
    size_t size = 0;

    assert(count <= HA_FRAMES_SLICES_MAX);
    assert(!frames->closed);
    for (unsigned i = 0; i < count; i++) {
        if (slices[i].size > HA_FRAMES_PAYLOAD_MAX - size)
            return HA_EINVAL;
        size += slices[i].size;
        all[i + 1] = slices[i];
    }
    ha_writer_init(&w, header, sizeof(header));
    ha_put_u32(&w, (uint32_t)size + 1);
    ha_put_u8(&w, type);
    all[0] = (struct ha_slice){header, sizeof(header)};
    return ha_stream_writev(frames->stream, all, count + 1);
}

void ha_frames_pause(struct ha_frames *frames)
{
    frames->paused = true;
    ha_stream_pause(frames->stream);
}

void ha_frames_resume(struct ha_frames *frames)
{
    frames->paused = false;
    ha_stream_resume(frames->stream);
}

struct ha_stream *ha_frames_stream(struct ha_frames *frames)
{
    return frames->stream;
}

static void on_stream_closed(void *ctx)
{
    struct ha_frames *frames = ctx;
    ha_stream_close_cb cb = frames->close_cb;
    void *close_ctx = frames->close_ctx;

    free(frames->partial);
    free(frames->rest);
    free(frames);
    if (cb != NULL)
        cb(close_ctx);
}

void ha_frames_close(struct ha_frames *frames, uint32_t linger_ms, ha_stream_close_cb cb, void *ctx)
{
    assert(!frames->closed);
    frames->closed = true;
    frames->close_cb = cb;
    frames->close_ctx = ctx;
    ha_stream_close(frames->stream, linger_ms, on_stream_closed, frames);
}
