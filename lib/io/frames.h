/* lib/io/frames.h - typed messages on a stream: u32 size (little-endian), u8 type, payload.
 *
 * Loop thread only. The size counts type and payload. A frame over its limit, or of size 0, ends
 * the connection with HA_EPROTO and a reason. Memory grows only with bytes that arrived, never by
 * an announced size. Hooks are called as those of a stream: never from inside a function of this
 * file. */
#ifndef HA_IO_FRAMES_H
#define HA_IO_FRAMES_H

#include "lib/io/stream.h"

#define HA_FRAMES_HEADER_SIZE 5u
#define HA_FRAMES_PAYLOAD_MAX ((uint32_t)8 * 1024 * 1024)

struct ha_frames; /* opaque */

struct ha_frames_hooks {
    /* @data is borrowed for the call. */
    void (*on_frame)(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size);
    void (*on_drain)(void *ctx, struct ha_frames *frames); /* may be NULL; as stream's */
    void (*on_end)(void *ctx, struct ha_frames *frames, const struct ha_err *err);
};

struct ha_frames_options {
    uint32_t payload_max; /* of one received frame; 0: HA_FRAMES_PAYLOAD_MAX */
    /* NULL, or 256 entries by type: the payload's limit plus one; 0 means that the type is refused.
     * Borrowed for the life. */
    const uint32_t *type_limits;
};

/* Put frames over an open @stream, which it takes (closes with itself). Call it inside on_open or
 * the listener's callback. @hooks and type_limits are borrowed for the life. HA_ENOMEM: @stream is
 * still the caller's. */
int ha_frames_open(struct ha_frames **ret, struct ha_stream *stream,
                   const struct ha_frames_options *options, const struct ha_frames_hooks *hooks,
                   void *ctx);

/* Hand over to another owner, e.g. after a hello frame told who it is; may be called inside
 * on_frame, frames that follow in the same packet go to the new owner. */
void ha_frames_set_hooks(struct ha_frames *frames, const struct ha_frames_options *options,
                         const struct ha_frames_hooks *hooks, void *ctx);

/* Queue one frame whose payload is the slices one after another (at most HA_FRAMES_SLICES_MAX).
 * HA_EFULL: the send queue's limit would be passed; HA_EINVAL: over HA_FRAMES_PAYLOAD_MAX;
 * HA_ECLOSED; HA_ENOMEM. Nothing is queued then. */
#define HA_FRAMES_SLICES_MAX 15u
int ha_frames_send(struct ha_frames *frames, uint8_t type, const struct ha_slice *slices,
                   unsigned count);

void ha_frames_pause(struct ha_frames *frames);
void ha_frames_resume(struct ha_frames *frames);

/* For the getters of stream.h: peer name, address, queue. Borrowed. */
struct ha_stream *ha_frames_stream(struct ha_frames *frames);

/* Exactly once, in any state, also from inside a hook; as ha_stream_close. */
void ha_frames_close(struct ha_frames *frames, uint32_t linger_ms, ha_stream_close_cb cb,
                     void *ctx);

#endif /* HA_IO_FRAMES_H */
