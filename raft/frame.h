/* raft/frame.h - what watchers say to each other beside Raft's own messages. Internal to raft/.
 *
 * Pure. Types share one number space on a link; payloads are little-endian, fixed size but for
 * the forwarded bytes. Decoders take the whole payload or nothing. */
#ifndef HA_RAFT_FRAME_H
#define HA_RAFT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/node.h"

#define HA_FRAME_PROTOCOL 1u
#define HA_FRAME_HELLO_SIZE 28u
#define HA_FRAME_FORWARD_HEADER_SIZE 8u

enum ha_frame_type {
    HA_FRAME_HELLO = 1,
    HA_FRAME_RAFT = 2,        /* raft/message.h */
    HA_FRAME_FORWARD = 3,     /* a proposal for the leader */
    HA_FRAME_ANSWER = 4,      /* what became of it */
    HA_FRAME_READ = 5,        /* ask the leader for a read index */
    HA_FRAME_READ_ANSWER = 6, /* the index, or not the leader */
    HA_FRAME_APP = 7,         /* the application's own */
    HA_FRAME_OVER = 8,        /* in answer to a hello: that set has ended, this is the next */
};

/* First frame of a link, from its dialler. */
struct ha_frame_hello {
    uint16_t protocol;
    uint16_t from_id;
    uint16_t to_id;
    uint64_t cluster_id;
    uint64_t set_id;
};

struct ha_frame_forward {
    uint64_t seq;
    const void *data; /* borrowed */
    size_t size;
};

struct ha_frame_answer {
    uint64_t seq;
    enum ha_raft_result result;
    int code;
    uint64_t index;
};

struct ha_frame_read {
    uint64_t seq;
    bool is_known; /* in an answer: false means not the leader */
    uint64_t index;
};

/* Encoders return the size written, 0 when @size_max is too small. */
size_t ha_frame_put_hello(void *to, size_t size_max, const struct ha_frame_hello *hello);
bool ha_frame_get_hello(const void *data, size_t size, struct ha_frame_hello *ret);
size_t ha_frame_put_forward(void *to, size_t size_max, const struct ha_frame_forward *forward);
bool ha_frame_get_forward(const void *data, size_t size, struct ha_frame_forward *ret);
size_t ha_frame_put_answer(void *to, size_t size_max, const struct ha_frame_answer *answer);
bool ha_frame_get_answer(const void *data, size_t size, struct ha_frame_answer *ret);
size_t ha_frame_put_read(void *to, size_t size_max, const struct ha_frame_read *read);
bool ha_frame_get_read(const void *data, size_t size, struct ha_frame_read *ret);

#endif /* HA_RAFT_FRAME_H */
