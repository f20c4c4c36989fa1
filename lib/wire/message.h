/* lib/wire/message.h - what watchers and agents send each other, as bytes.
 *
 * Pure, no allocation. A message is the payload of one frame (lib/io/frames) or of one application
 * frame between watchers (raft/node.h): a version byte, a type byte, the fields. It says what it is
 * by itself, so the frame's own type adds nothing. Several statuses or promises share a message of
 * at most HA_MESSAGE_SIZE_MAX; the batch below says when the next one must begin.
 *
 * The first message on a connection of an agent is HELLO_AGENT; the watcher answers HELLO_WATCHER.
 * A message of another version is refused with a sentence to log and to close with. */
#ifndef HA_WIRE_MESSAGE_H
#define HA_WIRE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/core/message.h"
#include "lib/wire/codec.h"

struct ha_err;

#define HA_MESSAGE_VERSION 2u
#define HA_MESSAGE_SIZE_MAX 65536u

#define HA_MESSAGE_MAP(X)                                                            \
    X(HA_MESSAGE_NONE, "none")                                                       \
    X(HA_MESSAGE_HELLO_AGENT, "hello-agent")     /* agent to watcher, first */       \
    X(HA_MESSAGE_HELLO_WATCHER, "hello-watcher") /* watcher to agent, its answer */  \
    X(HA_MESSAGE_SETTINGS, "settings")           /* watcher to agent */              \
    X(HA_MESSAGE_HEARTBEATS, "heartbeats")       /* agent to watcher, batch */       \
    X(HA_MESSAGE_PROMISES, "promises")           /* watcher to agent, batch */       \
    X(HA_MESSAGE_ORDER, "order")                 /* watcher to agent */              \
    X(HA_MESSAGE_REPORT, "report")               /* agent to watcher, for the log */ \
    X(HA_MESSAGE_STOPPED, "stopped")             /* watcher to watcher */
HA_ENUM(message_type, HA_MESSAGE_MAP)

struct ha_hello_agent {
    char name[HA_NAME_SIZE]; /* must be the name that TLS proved */
    uint64_t instance;
    char software[HA_NAME_SIZE]; /* its version, for people */
};

struct ha_hello_watcher {
    char name[HA_NAME_SIZE];
    uint32_t index; /* in the set, from 0 */
    uint32_t set_size;
    uint64_t set_id; /* 0: not yet in the log */
    char software[HA_NAME_SIZE];
};

/* Something an agent tells people; nothing is decided on it. */
struct ha_report {
    uint32_t service; /* id, 0: the host itself */
    uint32_t member;
    uint64_t wall_ms;
    char text[HA_TEXT_SIZE];
};

/* The items of a decoded batch. Already checked as a whole; borrows the decoded bytes. */
struct ha_batch {
    uint32_t left;
    uint64_t instance, stamp; /* heartbeats */
    struct ha_codec codec;
};

struct ha_message {
    enum ha_message_type type;
    union {
        struct ha_hello_agent hello_agent;
        struct ha_hello_watcher hello_watcher;
        struct ha_settings settings;
        struct ha_batch heartbeats;
        struct ha_batch promises;
        struct ha_order order;
        struct ha_report report;
        struct ha_stopped stopped;
    } u;
};

/* Encode any type but the two batches. HA_EINVAL: out of range, or a batch. HA_EFULL: @size_max. */
int ha_message_encode(const struct ha_message *message, void *data, size_t size_max,
                      size_t *ret_size, struct ha_err *err);

/* Decode one whole message. A batch is checked to its end before anything of it is given out. On
 * failure *ret is untouched:
 *   HA_EPROTO   malformed
 *   HA_ENOTSUP  another version: the sentence names both */
int ha_message_decode(const void *data, size_t size, struct ha_message *ret, struct ha_err *err);

/* The next item of a decoded batch; false when there are no more. */
bool ha_batch_next_heartbeat(struct ha_batch *batch, struct ha_heartbeat *ret);
bool ha_batch_next_promise(struct ha_batch *batch, struct ha_promise *ret);

/* Writes a batch: begin, add until HA_EFULL, end, send, begin again with the same item. @data must
 * hold HA_MESSAGE_SIZE_MAX bytes and is lent until end. */
struct ha_batch_writer {
    enum ha_message_type type;
    uint32_t count;
    struct ha_codec codec;
};

void ha_batch_begin_heartbeats(struct ha_batch_writer *b, void *data, uint64_t instance,
                               uint64_t stamp);
void ha_batch_begin_promises(struct ha_batch_writer *b, void *data);
/* HA_EFULL: not added, the message is full. HA_EINVAL: not added, it is out of range. */
int ha_batch_add_status(struct ha_batch_writer *b, const struct ha_status *status);
int ha_batch_add_promise(struct ha_batch_writer *b, const struct ha_promise *promise);
/* Size of the finished message; an empty batch is valid too. */
size_t ha_batch_end(struct ha_batch_writer *b);

#endif /* HA_WIRE_MESSAGE_H */
