/* lib/core/effect.h - bounded list of everything that can go out of a step.
 *
 * Pure. The shell owns the list, clears it before a step and executes it after, in order, when
 * neither the core nor libraft is on the stack. */
#ifndef HA_CORE_EFFECT_H
#define HA_CORE_EFFECT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/command.h"
#include "lib/core/message.h"

#define HA_EFFECT_MAP(X)                                                                        \
    /* watcher */                                                                               \
    X(HA_EFFECT_PROPOSE, "propose")                                                             \
    X(HA_EFFECT_PROMISE, "promise") /* to the agent whose heartbeat is being answered */        \
    X(HA_EFFECT_ORDER, "order")     /* to an agent, by name */                                  \
    X(HA_EFFECT_STOPPED, "stopped") /* to the leader, which may be this watcher */              \
    X(HA_EFFECT_PERSIST_PROMISE, "persist-promise") /* longest promise; answer with an event */ \
    X(HA_EFFECT_FENCE_COMMAND, "fence-command")     /* run it; answer with an event */          \
    /* agent */                                                                                 \
    X(HA_EFFECT_HEARTBEAT, "heartbeat") /* to every watcher; status of one service */           \
    X(HA_EFFECT_GATE, "gate")           /* set or close */                                      \
    X(HA_EFFECT_PERSIST_EPOCHS, "persist-epochs")                                               \
    X(HA_EFFECT_PROBE, "probe") /* of the local database, now */                                \
    X(HA_EFFECT_ACT, "act")     /* change the local database */                                 \
    X(HA_EFFECT_ACT_CANCEL, "act-cancel")                                                       \
    X(HA_EFFECT_VIP_LOOK, "vip-look") /* whether another host has the address */                \
    X(HA_EFFECT_VIP_CLAIM, "vip-claim")                                                         \
    X(HA_EFFECT_VIP_RELEASE, "vip-release")                                                     \
    X(HA_EFFECT_HOLD_ASK, "hold-ask")   /* of another agent */                                  \
    X(HA_EFFECT_HOLD_WORD, "hold-word") /* the answer to one that asked */
HA_ENUM(effect_kind, HA_EFFECT_MAP)

struct ha_effect_order {
    char agent[HA_NAME_SIZE];
    struct ha_order order;
};

struct ha_effect_fence {
    uint32_t service;
    uint64_t epoch;          /* the claimed one: goes back with the answer */
    uint32_t member;         /* whose host is to be ended ... */
    char name[HA_NAME_SIZE]; /* ... by this command of the watcher's own file */
};

struct ha_effect_gate {
    uint32_t service;
    uint16_t port;
    uint64_t deadline_ms; /* boot clock; 0: close, verify, answer with HA_EVENT_GATE_CLOSED */
    uint64_t number;      /* of this order to the gate; goes back with the answer */
    bool reset_clients;   /* on close: reset established connections too */
};

struct ha_effect_epochs { /* durable facts of an agent about one service */
    uint32_t service;
    uint64_t epoch_seen;
    uint64_t given_up;
    enum ha_verdict given_up_why;
    uint64_t serving_epoch; /* the epoch it holds ... */
    uint64_t serving_run;   /* ... with this run of the database process; without such an epoch, the
                             * run that was sealed, or told to be promoted, in epoch_seen; 0: none */
    uint64_t sealed;        /* it receives nothing of epochs below this one; 0: it may */
    uint64_t sync_epoch;    /* standby names of this epoch were read back effective ... */
    uint64_t sync_index;    /* ... as the log entry of this index says: older ones are void */
    struct ha_hold_terms {  /* whose promises may keep its lease ... */
        uint64_t epoch;     /* ... of this epoch ... */
        uint64_t index;     /* ... as the log entry of this index says: older ones are void */
        struct ha_hold_set set;
    } hold;
    char service_name[HA_NAME_SIZE];
};

struct ha_effect_hold_ask {
    char agent[HA_NAME_SIZE]; /* of whom; nobody else may hear or answer it */
    char host[HA_HOST_SIZE];
    uint16_t port;
    struct ha_hold_ask ask;
};

struct ha_effect_hold_word {
    char agent[HA_NAME_SIZE]; /* who asked */
    struct ha_hold_word word;
};

/* What to do to the local database; answered by HA_EVENT_ACTED with the same ticket. */
struct ha_act {
    uint32_t service;
    uint32_t ticket;
    enum ha_order_kind kind; /* PROMOTE, FOLLOW, SERVE (settings), DRAIN, SEAL */
    uint64_t epoch;
    /* SERVE: HA_ESTALE where another run of the database answers. It may have lost what this one
     * had, and standby names are what lets it acknowledge. 0: any. */
    uint64_t run_id;
    char member_name[HA_NAME_SIZE]; /* whose database it is: with the epoch its standby name */
    uint32_t deadline_ms;
    bool full_copy;
    uint32_t min_replicas;
    /* SERVE: the standby names are managed. HA_OK only after ha_sync_names was read back effective
     * and the replication connections were made anew: a reload alone is not atomic. PROMOTE: before
     * it is primary, the names are set to one that nobody has, until SERVE; FOLLOW does that early.
     */
    bool sync_managed;
    struct ha_sync_set sync;
    char member_names[HA_MEMBERS_MAX + 1][HA_NAME_SIZE]; /* by member id, of those in the set */
    uint16_t upstream_port;
    char upstream_host[HA_HOST_SIZE]; /* FOLLOW; empty: be a replica of nobody */
    bool copy_allowed;                /* FOLLOW: data that cannot be kept may be replaced */
    uint32_t rewind_max_ms, copy_max_ms;
    uint64_t keep_tail_bytes;
    uint32_t peer_count; /* the other members */
    char peer_names[HA_MEMBERS_MAX][HA_NAME_SIZE];
};

struct ha_effect_vip {
    uint32_t service;
    bool probe_first;  /* duplicate detection before it is added */
    uint32_t valid_ms; /* kernel lifetime, rounded up to seconds by the executor */
};

struct ha_effect {
    enum ha_effect_kind kind;
    uint64_t request; /* PROPOSE: who asked, 0: the core itself */
    union {
        struct ha_command command;
        struct ha_promise promise;
        struct ha_effect_order order;
        struct ha_stopped stopped;
        uint32_t persist_ms;
        struct ha_effect_fence fence;
        struct ha_status status;
        struct ha_effect_gate gate;
        struct ha_effect_epochs epochs;
        struct ha_act act;
        struct ha_effect_vip vip;
        struct ha_effect_hold_ask hold_ask;
        struct ha_effect_hold_word hold_word;
        uint32_t service; /* PROBE, ACT_CANCEL, VIP_LOOK */
    } u;
};

struct ha_effects {
    uint32_t count;
    bool overflowed; /* some did not fit: the core says them again at the next tick */
    struct ha_effect items[HA_EFFECTS_MAX];
};

void ha_effects_clear(struct ha_effects *effects);
/* The next free slot, zeroed, with its kind set; a scratch slot when the list is full. */
struct ha_effect *ha_effects_add(struct ha_effects *effects, enum ha_effect_kind kind);

#endif /* HA_CORE_EFFECT_H */
