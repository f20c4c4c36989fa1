/* lib/core/event.h - everything that can come in through the two step functions.
 *
 * Pure. `now_ms` is the caller's clock for measuring (watcher: monotonic, agent: boot time),
 * `wall_ms` only labels. Pointers are borrowed for the step. */
#ifndef HA_CORE_EVENT_H
#define HA_CORE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/command.h"
#include "lib/core/message.h"

#define HA_EVENT_MAP(X)                                                                    \
    X(HA_EVENT_TICK, "tick")                                                               \
    /* watcher */                                                                          \
    X(HA_EVENT_COMMITTED, "committed") /* apply this command */                            \
    X(HA_EVENT_RESTORED, "restored")   /* the cluster was replaced by a snapshot */        \
    X(HA_EVENT_ROLE, "role")           /* leader with its own barrier committed, or not */ \
    X(HA_EVENT_CAUGHT_UP, "caught-up") /* applied what a leader named after this start */  \
    X(HA_EVENT_PERSISTED_PROMISE, "persisted-promise")                                     \
    X(HA_EVENT_FENCE_COMMAND, "fence-command")                                             \
    X(HA_EVENT_PROBED, "probed")       /* this watcher's own probe of a member */          \
    X(HA_EVENT_HEARTBEAT, "heartbeat") /* from an agent */                                 \
    X(HA_EVENT_SAME, "same")           /* a heartbeat that repeats the last status */      \
    X(HA_EVENT_AGENT, "agent")         /* an agent connected or its connection ended */    \
    X(HA_EVENT_STOPPED, "stopped")     /* from a watcher, to the leader */                 \
    X(HA_EVENT_PEER, "peer")           /* a watcher is heard, or not any more */           \
    X(HA_EVENT_PROPOSED, "proposed")   /* the end of a proposal of ours */                 \
    X(HA_EVENT_REQUEST, "request")     /* an operator's command */                         \
    /* agent */                                                                            \
    X(HA_EVENT_SETTINGS, "settings")                                                       \
    X(HA_EVENT_PROMISE, "promise")                                                         \
    X(HA_EVENT_ORDER, "order")                                                             \
    X(HA_EVENT_LINK, "link")       /* to a watcher: up or down */                          \
    X(HA_EVENT_PROCESS, "process") /* the database process appeared or is gone */          \
    X(HA_EVENT_SAMPLED, "sampled") /* local probe's answer */                              \
    X(HA_EVENT_ACTED, "acted")                                                             \
    X(HA_EVENT_GATE_CLOSED, "gate-closed") /* verified by reading back */                  \
    X(HA_EVENT_PERSISTED_EPOCHS, "persisted-epochs")                                       \
    X(HA_EVENT_VIP, "vip")               /* held, released, or taken by another host */    \
    X(HA_EVENT_HOLD_ASKED, "hold-asked") /* by another agent, for a promise */             \
    X(HA_EVENT_HOLD_WORD, "hold-word")   /* of another agent, which promises */
HA_ENUM(event_kind, HA_EVENT_MAP)

struct ha_event_committed {
    uint64_t index;
    const struct ha_command *command;
};

struct ha_event_probed {
    uint32_t service, member;
    const struct ha_sample *sample;
};

struct ha_event_fence_command { /* how a command of ours ended */
    uint32_t service;
    uint64_t epoch;
    int code; /* HA_OK: that host takes no more writes until somebody starts it again */
    const char *text;
};

struct ha_event_heartbeat {
    const char *agent; /* authenticated name */
    const struct ha_heartbeat *heartbeat;
};

/* Word for word the status that this instance told last, as of a new stamp; only its ages are not
 * known: the database answered within two periods of its probe. */
struct ha_event_same {
    const char *agent; /* authenticated name */
    uint32_t service, member;
    uint64_t instance, stamp;
};

struct ha_event_agent {
    const char *agent;
    uint64_t instance;
    bool connected;
};

struct ha_event_peer {
    uint32_t watcher; /* index in the set */
    bool heard;
};

struct ha_event_proposed {
    uint64_t request;
    int code; /* HA_OK: committed; else not, or not known */
    const struct ha_command *command;
};

struct ha_event_request {
    uint64_t request;
    const struct ha_command *command;
};

struct ha_event_promise {
    uint32_t watcher; /* index of the link it came on */
    const struct ha_promise *promise;
};

struct ha_event_process {
    uint32_t service;
    enum ha_process process;
    uint64_t pid_start; /* tells one process from the next */
};

struct ha_event_sampled {
    uint32_t service;
    uint64_t pid_start; /* of the process that answered */
    const struct ha_sample *sample;
};

struct ha_event_acted {
    uint32_t service, ticket;
    int code;
    const char *text;               /* why it failed */
    const struct ha_sample *sample; /* taken right after, or NULL */
};

struct ha_event_gate_closed {
    uint32_t service;
    uint64_t number; /* of the close that was verified: an older one says nothing about the last */
};

struct ha_event_vip {
    uint32_t service;
    bool held;
    bool conflict; /* another host answers for it */
};

struct ha_event_hold_asked {
    const char *agent; /* authenticated name */
    const struct ha_hold_ask *ask;
};

struct ha_event_hold_word {
    const char *agent; /* authenticated name */
    const struct ha_hold_word *word;
};

struct ha_event {
    enum ha_event_kind kind;
    uint64_t now_ms;
    uint64_t wall_ms;
    union {
        struct ha_event_committed committed;
        struct {
            bool leader;
            uint64_t term;
        } role;
        uint32_t persisted_ms;
        struct ha_event_fence_command fence_command;
        struct ha_event_probed probed;
        struct ha_event_heartbeat heartbeat;
        struct ha_event_same same;
        struct ha_event_agent agent;
        struct {
            uint32_t watcher; /* index of the sender */
            const struct ha_stopped *stopped;
        } stopped;
        struct ha_event_peer peer;
        struct ha_event_proposed proposed;
        struct ha_event_request request;
        const struct ha_settings *settings;
        struct ha_event_promise promise;
        const struct ha_order *order;
        struct {
            uint32_t watcher;
            bool up;
        } link;
        struct ha_event_process process;
        struct ha_event_sampled sampled;
        struct ha_event_acted acted;
        struct ha_event_gate_closed gate_closed;
        struct ha_effect_epochs_done {
            uint32_t service;
            uint64_t epoch_seen, given_up, sealed, sync_index, hold_index;
        } epochs;
        struct ha_event_vip vip;
        struct ha_event_hold_asked hold_asked;
        struct ha_event_hold_word hold_word;
    } u;
};

#endif /* HA_CORE_EVENT_H */
