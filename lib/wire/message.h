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

#define HA_MESSAGE_VERSION 5u
#define HA_MESSAGE_SIZE_MAX 65536u

/* Bytes that may wait on a connection between agent and watcher: settings, orders or heartbeats of
 * a thousand services, in full and in one turn. */
#define HA_MESSAGE_QUEUE_MAX (2u << 20)

#define HA_MESSAGE_MAP(X)                                                                         \
    X(HA_MESSAGE_NONE, "none")                                                                    \
    X(HA_MESSAGE_HELLO_AGENT, "hello-agent")     /* agent to watcher, first */                    \
    X(HA_MESSAGE_HELLO_WATCHER, "hello-watcher") /* watcher to agent, its answer */               \
    X(HA_MESSAGE_SETTINGS, "settings")           /* watcher to agent */                           \
    X(HA_MESSAGE_HEARTBEATS, "heartbeats")       /* agent to watcher, batch */                    \
    X(HA_MESSAGE_PROMISES, "promises")           /* watcher to agent, batch */                    \
    X(HA_MESSAGE_ORDER, "order")                 /* watcher to agent */                           \
    X(HA_MESSAGE_REPORT, "report")               /* agent to watcher, for the log */              \
    X(HA_MESSAGE_STOPPED, "stopped")             /* watcher to watcher */                         \
    X(HA_MESSAGE_REPEAT, "repeat")               /* agent to watcher: statuses hold as said */    \
    X(HA_MESSAGE_RENEW, "renew")                 /* watcher to agent: promises, as said */        \
    X(HA_MESSAGE_TELL, "tell")                   /* watcher to agent: say these statuses anew */  \
    X(HA_MESSAGE_PEERS, "peers")                 /* watcher to agent: who else may speak to it */ \
    X(HA_MESSAGE_HOLD_ASKS, "hold-asks")         /* agent to agent */                             \
    X(HA_MESSAGE_HOLD_WORDS, "hold-words")       /* agent to agent, its answers */                \
    X(HA_MESSAGE_ALL, "all")                     /* watcher to agent: there are no more */        \
    X(HA_MESSAGE_PREPARE, "prepare")             /* watcher to agent */                           \
    X(HA_MESSAGE_PREPARED, "prepared")           /* agent to watcher, its answer */
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

/* Agents that may ask this one for promises, and by what it knows them where keys are derived from
 * a secret that no agent has: HKDF of theirs, see lib/io/tls. In the clear in here. */
#define HA_PEERS_MAX 128
#define HA_PEER_PORTS_MAX 8
struct ha_peers {
    uint64_t config_version; /* an older one is void */
    uint32_t port_count;     /* on which they look for it; 0: nobody does */
    uint16_t ports[HA_PEER_PORTS_MAX];
    uint32_t count;
    struct ha_peer {
        char agent[HA_NAME_SIZE];
        bool keyed;
        uint8_t key[32];
    } all[HA_PEERS_MAX];
};

#define HA_HOLDS_MAX 64 /* of one message */
struct ha_hold_asks {
    uint32_t count;
    struct ha_hold_ask all[HA_HOLDS_MAX];
};

struct ha_hold_words {
    uint32_t count;
    struct ha_hold_word all[HA_HOLDS_MAX];
};

/* Every service that the agent has a member of: one that it knows from before, and that was
 * removed while it was away, is none any more. */
struct ha_all {
    uint64_t config_version; /* says nothing of what is known by a later one */
    uint32_t count;
    uint32_t services[HA_SERVICES_MAX];
};

/* A switchover may begin soon: do now what would make the stop of this primary long. It promises
 * and decides nothing, and the primary serves on. */
struct ha_prepare {
    uint64_t id; /* the watcher's; goes back with the answer */
    uint32_t service;
    uint32_t member;
    uint32_t deadline_ms; /* 0: end the one of this id, no answer is wanted */
};

struct ha_prepared {
    uint64_t id;
    uint32_t service;
    bool done;
    char text[HA_TEXT_SIZE]; /* why it is not, or what is worth knowing */
};

/* Of what was said in full on this connection, in the order in which each service first was. A
 * REPEAT stands for the same statuses, a RENEW for the same promises, word for word, with this
 * stamp. */
#define HA_RANGES_MAX 64
struct ha_repeat {
    uint64_t instance; /* of the agent */
    uint64_t stamp;    /* as of a heartbeat; TELL: 0 */
    uint64_t sum;      /* of the marks of what is named, modulo 2^64; TELL: 0 */
    uint32_t count;
    struct ha_range {
        uint32_t first, count; /* places */
    } ranges[HA_RANGES_MAX];
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
        struct ha_repeat repeat; /* RENEW and TELL too */
        struct ha_peers peers;
        struct ha_hold_asks asks;
        struct ha_hold_words words;
        struct ha_all all;
        struct ha_prepare prepare;
        struct ha_prepared prepared;
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

/* Whether a service known by @version has been removed since. */
bool ha_all_lacks(const struct ha_all *all, uint32_t service, uint64_t version);

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
/* A number for what a status says, never 0, apart from ages and what is left of leases. */
uint64_t ha_status_mark(const struct ha_status *status);
/* Size of the finished message; an empty batch is valid too. */
size_t ha_batch_end(struct ha_batch_writer *b);

#endif /* HA_WIRE_MESSAGE_H */
