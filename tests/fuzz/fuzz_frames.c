/* A link's bytes cut into frames: the same frames whatever pieces they come in, none over its
 * limit. The first byte says how long the pieces are. */
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/io/frames.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/stub_stream.h"

#define LIMIT 300u /* of type 2 */

struct heard {
    unsigned count;
    uint64_t hash;
    int end; /* code */
};

static void on_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *payload,
                     size_t size)
{
    struct heard *heard = ctx;

    FUZZ_CHECK((type == 1 && size == 0) || (type == 2 && size + 1 <= LIMIT));
    heard->count++;
    heard->hash = ha_hash(heard->hash, &type, 1);
    heard->hash = ha_hash(heard->hash, payload, size);
    if (size > 0 && payload[0] == 'p')
        ha_frames_pause(frames);
    if (size > 0 && payload[0] == 'x')
        FUZZ_CHECK(ha_frames_send(frames, 1, NULL, 0) == HA_OK);
}

static void on_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct heard *heard = ctx;

    (void)frames;
    heard->end = err->code;
}

static const struct ha_frames_hooks hooks = {.on_frame = on_frame, .on_end = on_end};

static void resume(struct ha_frames *frames)
{
    ha_frames_resume(frames);
    if (stub_stream.resumed_cb != NULL)
        stub_stream.resumed_cb(stub_stream.resumed_ctx);
}

static void hear(const uint8_t *data, size_t size, size_t piece, struct heard *ret)
{
    static const uint32_t limits[256] = {[1] = 1, [2] = LIMIT};
    const struct ha_frames_options options = {.type_limits = limits};
    struct ha_frames *frames;

    *ret = (struct heard){.hash = HA_HASH_START};
    FUZZ_CHECK(ha_frames_open(&frames, stub_stream_open(), &options, &hooks, ret) == HA_OK);
    while (size > 0) {
        size_t n = piece < size ? piece : size;

        stub_stream_feed(data, n);
        data += n;
        size -= n;
        while (stub_stream.paused && ha_stream_is_open(&stub_stream))
            resume(frames);
    }
    stub_stream_end(HA_ECLOSED);
    ha_frames_close(frames, 0, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heard whole, parts;

    if (size < 1)
        return 0;
    hear(data + 1, size - 1, size, &whole);
    hear(data + 1, size - 1, data[0] == 0 ? 1 : data[0], &parts);
    FUZZ_CHECK(whole.count == parts.count && whole.hash == parts.hash && whole.end == parts.end);
    return 0;
}
