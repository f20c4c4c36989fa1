/* lib/core/command.h - everything that can be in the log: results and their evidence.
 *
 * Pure, plain data. A command names the epoch it was made for; ha_cluster_apply refuses it when the
 * state has moved on. Encoded by lib/wire/command. */
#ifndef HA_CORE_COMMAND_H
#define HA_CORE_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include "lib/core/config.h"
#include "lib/core/types.h"

#define HA_COMMAND_MAP(X)                                                                        \
    X(HA_COMMAND_NOTHING, "nothing")                                                             \
    X(HA_COMMAND_WATCHERS, "watchers")     /* the set of watchers and its id */                  \
    X(HA_COMMAND_CONFIG, "config")         /* a whole new configuration */                       \
    X(HA_COMMAND_OBSERVE, "observe")       /* changed verdicts of one watcher */                 \
    X(HA_COMMAND_GIVE_UP, "give-up")       /* an instance ended its epoch, gate closed */        \
    X(HA_COMMAND_BEGIN, "failover-begin")  /* end the open epoch, claim the next */              \
    X(HA_COMMAND_FENCED, "fenced")         /* the last opened epoch can no longer serve */       \
    X(HA_COMMAND_PROMOTE, "promote")       /* this member, under this epoch */                   \
    X(HA_COMMAND_NONE, "no-candidate")     /* nobody, and why */                                 \
    X(HA_COMMAND_PROMOTED, "promoted")     /* it is primary; its lease may be promised */        \
    X(HA_COMMAND_FAILED, "promote-failed") /* it is not; its epoch never opened */               \
    X(HA_COMMAND_OPENED, "opened")         /* it holds lease, gate and address */                \
    X(HA_COMMAND_REPOINTED, "repointed")   /* the others follow, or the time for it is over */   \
    X(HA_COMMAND_POSITIONS, "positions")   /* how far primaries are, now and then */             \
    X(HA_COMMAND_PAUSE, "pause")                                                                 \
    X(HA_COMMAND_RESUME, "resume")                                                               \
    X(HA_COMMAND_LIFT, "lift-rate-limit")                                                        \
    X(HA_COMMAND_NOTICE_DONE, "notice-done") /* a webhook took it */                             \
    X(HA_COMMAND_TEST_NOTICE, "test-notice")                                                     \
    X(HA_COMMAND_REPLACE, "replace-watcher")  /* the last entry of its set of watchers */        \
    X(HA_COMMAND_SETTLED, "watchers-settled") /* nothing of the set before counts any more */    \
    X(HA_COMMAND_READY, "readiness")          /* whether somebody could take over has changed */ \
    X(HA_COMMAND_UNHEARD, "unheard")          /* which watchers the leader does not hear */      \
    X(HA_COMMAND_GATE, "gate-changed")        /* that of the open epoch's holder */              \
    X(HA_COMMAND_SYNC_INTEND, "sync-intend")  /* whose word the primary is to wait for */        \
    X(HA_COMMAND_SYNC_FORCE, "sync-in-force") /* it does, and they have what went before */      \
    X(HA_COMMAND_HOLD_INTEND, "hold-intend")  /* whose promises may keep the primary's lease */  \
    X(HA_COMMAND_HOLD_FORCE, "hold-in-force") /* its agent says that only those do */            \
    X(HA_COMMAND_DIVERGED, "diverged")        /* what an old primary had that nobody else has */
HA_ENUM(command_kind, HA_COMMAND_MAP)

/* A service and the epoch the sender believed in. */
struct ha_ref {
    uint32_t service; /* id */
    uint64_t epoch;
};

struct ha_command_watchers {
    uint64_t set_id;
    uint32_t count;
    char names[HA_WATCHERS_MAX][HA_NAME_SIZE];
};

struct ha_command_replace {
    char old_name[HA_NAME_SIZE];
    char new_name[HA_NAME_SIZE];
    char address[HA_URL_SIZE]; /* of the new one, "host:port": for the watchers themselves */
    char author[HA_NAME_SIZE];
};

struct ha_command_settled {
    uint64_t set_id; /* the set in force */
    uint32_t moved;  /* bit per watcher of it whose promises under the set before are over */
};

struct ha_command_config {
    uint64_t base_version; /* the version it was made from; another current one refuses it */
    char author[HA_NAME_SIZE];
    const struct ha_config *config; /* borrowed */
    const char *text;               /* borrowed, terminated; what the operator wrote */
};

struct ha_observation {
    uint32_t service;
    uint32_t member;
    enum ha_verdict verdict;
};

struct ha_command_observe {
    uint32_t watcher; /* index in the set, from 0 */
    uint32_t count;
    struct ha_observation items[HA_OBSERVE_MAX];
};

struct ha_command_give_up {
    struct ha_ref ref; /* the epoch that ends */
    uint32_t member;
    uint64_t instance;
    enum ha_verdict verdict;
    uint64_t noticed_ms;         /* wall time at the watcher that heard it first */
    struct ha_position position; /* last known; offset 0 with no lineage: unknown */
    char text[HA_TEXT_SIZE];
};

struct ha_command_begin {
    struct ha_ref ref; /* the epoch that ends */
    enum ha_reason reason;
    uint32_t target;     /* member to promote, or HA_MEMBER_NONE */
    bool accept_loss;    /* operator's word: loss budget and lineage do not bind */
    uint32_t agreeing;   /* bit per watcher whose verdict counted */
    uint64_t noticed_ms; /* wall */
    char text[HA_TEXT_SIZE];
};

struct ha_command_fenced {
    struct ha_ref ref; /* the claimed epoch; what is fenced is the open one below it */
    enum ha_fence how;
    uint64_t instance; /* HA_FENCE_REPORT: who reported */
    uint32_t stopped;  /* HA_FENCE_EXPIRED: bit per watcher that stopped */
    uint32_t sealed;   /* HA_FENCE_SEALED: bit per member whose seal counts */
    /* EXPIRED, SEALED, where agents may have kept the lease: bit per member whose agent ended its
     * promises, the rest of them passed ... */
    uint32_t released;
    uint32_t renewed; /* ... likewise, but it remembers nothing of what the set names */
    uint32_t waited_ms;
    struct ha_position position; /* HA_FENCE_REPORT: where the old primary ended, if known */
    char text[HA_TEXT_SIZE];     /* HA_FENCE_COMMAND: what it said */
};

struct ha_fit {
    uint32_t member;
    enum ha_fitness fitness;
    uint64_t offset;
    uint64_t behind; /* bytes short of the last known position */
};

struct ha_command_promote { /* also HA_COMMAND_NONE, with member HA_MEMBER_NONE */
    struct ha_ref ref;
    uint32_t member;
    uint64_t instance;
    enum ha_gate gate;
    uint64_t lost_bytes; /* against the last known position */
    uint32_t proof;      /* bit per member whose position shows what was acknowledged */
    uint32_t fit_count;
    struct ha_fit fits[HA_MEMBERS_MAX];
};

struct ha_command_outcome { /* PROMOTED, FAILED, OPENED, REPOINTED */
    struct ha_ref ref;
    struct ha_position position; /* PROMOTED: of the new primary */
    char text[HA_TEXT_SIZE];     /* FAILED: why; REPOINTED: who does not follow yet */
};

struct ha_command_position {
    struct ha_ref ref;
    struct ha_position position;
};

struct ha_command_positions {
    uint32_t count;
    struct ha_command_position items[HA_POSITIONS_MAX];
};

struct ha_command_gate {
    struct ha_ref ref; /* the open epoch */
    uint64_t instance; /* its holder */
    enum ha_gate gate; /* what that holds it with now */
};

struct ha_command_pause { /* also RESUME and LIFT */
    uint32_t service;
    uint64_t until_ms; /* wall; 0: until resumed */
    char author[HA_NAME_SIZE];
    char text[HA_TEXT_SIZE];
};

struct ha_command_notice {
    uint64_t seq; /* NOTICE_DONE */
    char webhook[HA_NAME_SIZE];
};

struct ha_command_ready {
    uint32_t service; /* id */
    bool ready;
    char text[HA_TEXT_SIZE]; /* why not */
};

struct ha_command_unheard {
    uint64_t set_id;
    uint32_t watchers; /* bit per watcher of that set */
};

struct ha_command_sync {
    struct ha_ref ref;
    struct ha_sync_set set;
    uint32_t entering; /* SYNC_INTEND: bit per member that enters anew ... */
    struct ha_sync_entry entries[HA_MEMBERS_MAX + 1]; /* ... as what; by id, without `since` */
    uint64_t offset;  /* SYNC_FORCE: of the primary, after it was read back effective */
    uint32_t holding; /* SYNC_FORCE: bit per member that has everything up to there */
};

struct ha_command_hold {
    struct ha_ref ref;
    struct ha_hold_set set; /* HOLD_INTEND */
    uint64_t since;         /* HOLD_FORCE: index of its entry */
};

struct ha_command_diverged {
    uint32_t service; /* id */
    uint32_t member;
    struct ha_diverged found;
};

struct ha_command {
    enum ha_command_kind kind;
    uint64_t wall_ms; /* the proposer's wall clock: a label, clamped by apply */
    union {
        struct ha_command_watchers watchers;
        struct ha_command_replace replace;
        struct ha_command_settled settled;
        struct ha_command_config config;
        struct ha_command_observe observe;
        struct ha_command_give_up give_up;
        struct ha_command_begin begin;
        struct ha_command_fenced fenced;
        struct ha_command_promote promote;
        struct ha_command_outcome outcome;
        struct ha_command_positions positions;
        struct ha_command_gate gate;
        struct ha_command_pause pause;
        struct ha_command_notice notice;
        struct ha_command_ready ready;
        struct ha_command_unheard unheard;
        struct ha_command_sync sync;
        struct ha_command_hold hold;
        struct ha_command_diverged diverged;
    } u;
};

#endif /* HA_CORE_COMMAND_H */
