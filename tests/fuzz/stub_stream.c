#include "tests/fuzz/stub_stream.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

struct ha_stream stub_stream;
bool stub_stream_is_open;
size_t stub_stream_written;

struct ha_stream *stub_stream_open(void)
{
    memset(&stub_stream, 0, sizeof(stub_stream));
    stub_stream.state = HA_STREAM_OPEN;
    stub_stream_is_open = true;
    stub_stream_written = 0;
    return &stub_stream;
}

int ha_stream_connect(struct ha_stream **ret, uv_loop_t *loop,
                      const struct ha_stream_connect_options *options,
                      const struct ha_stream_hooks *hooks, void *ctx)
{
    (void)loop;
    (void)options;
    FUZZ_CHECK(!stub_stream_is_open);
    *ret = stub_stream_open();
    stub_stream.state = HA_STREAM_CONNECTING;
    ha_stream_set_hooks(&stub_stream, hooks, ctx);
    return HA_OK;
}

void ha_stream_set_hooks(struct ha_stream *stream, const struct ha_stream_hooks *hooks, void *ctx)
{
    FUZZ_CHECK(hooks->on_end != NULL);
    stream->hooks = hooks;
    stream->ctx = ctx;
}

bool ha_stream_is_open(const struct ha_stream *stream)
{
    return stream->state == HA_STREAM_OPEN;
}

int ha_stream_writev(struct ha_stream *stream, const struct ha_slice *slices, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        stub_stream_written += slices[i].size;
    return ha_stream_is_open(stream) ? HA_OK : HA_ECLOSED;
}

int ha_stream_write(struct ha_stream *stream, const void *data, size_t size)
{
    const struct ha_slice slice = {data, size};

    return ha_stream_writev(stream, &slice, 1);
}

void ha_stream_pause(struct ha_stream *stream)
{
    stream->paused = true;
}

void ha_stream_resume(struct ha_stream *stream)
{
    stream->paused = false;
}

void ha_stream_fail(struct ha_stream *stream, const struct ha_err *err)
{
    FUZZ_CHECK(err->code != HA_OK && err->text[0] != '\0');
    if (stream->state == HA_STREAM_ENDED)
        return;
    stream->state = HA_STREAM_ENDED;
    stream->end = *err;
}

void ha_stream_close(struct ha_stream *stream, uint32_t linger_ms, ha_stream_close_cb cb, void *ctx)
{
    (void)linger_ms;
    FUZZ_CHECK(stub_stream_is_open);
    stub_stream_is_open = false;
    stream->state = HA_STREAM_CLOSING;
    if (cb != NULL)
        cb(ctx);
}

void stub_stream_opened(void)
{
    if (!stub_stream_is_open || stub_stream.state != HA_STREAM_CONNECTING)
        return;
    stub_stream.state = HA_STREAM_OPEN;
    stub_stream.hooks->on_open(stub_stream.ctx, &stub_stream);
}

void stub_stream_end(int code)
{
    if (!stub_stream_is_open || stub_stream.end_told)
        return;
    if (stub_stream.state != HA_STREAM_ENDED)
        (void)ha_err_set(&stub_stream.end, code, "the peer is gone");
    stub_stream.state = HA_STREAM_ENDED;
    stub_stream.end_told = true;
    stub_stream.hooks->on_end(stub_stream.ctx, &stub_stream, &stub_stream.end);
}

void stub_stream_feed(const uint8_t *data, size_t size)
{
    /* Memory of its own and no longer than the call, as with the real one; not from malloc(), which
     * a test may let fail. */
    uint8_t *copy;

    if (!stub_stream_is_open || stub_stream.state != HA_STREAM_OPEN || stub_stream.paused ||
        size == 0)
        return;
    copy = aligned_alloc(1, size);
    FUZZ_CHECK(copy != NULL);
    memcpy(copy, data, size);
    stub_stream.hooks->on_data(stub_stream.ctx, &stub_stream, copy, size);
    free(copy);
    if (stub_stream_is_open && stub_stream.state == HA_STREAM_ENDED)
        stub_stream_end(HA_EIO);
}
