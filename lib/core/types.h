/* lib/core/types.h - the nouns both daemons share: roles, verdicts, positions, states.
 *
 * Pure, plain data. Each enumeration is one list that gives values and the words people see; values
 * are on the wire and in the log, so a list only grows at its end. */
#ifndef HA_CORE_TYPES_H
#define HA_CORE_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/limits.h"

#define HA_MEMBER_NONE 0u /* member ids start at 1 and are stable for a member's name */
#define HA_EPOCH_NONE 0u
#define HA_INSTANCE_NONE 0u

/* Declares the enumeration, its count and `const char *ha_<name>_text(enum)`. */
#define HA_ENUM(name, MAP)                                                                  \
    enum ha_##name{MAP(HA_ENUM_VALUE)};                                                     \
    const char *ha_##name##_text(enum ha_##name value);                                     \
    /* False for a number that is no enumerator: what came from outside is checked here. */ \
    bool ha_##name##_valid(uint32_t value);
#define HA_ENUM_VALUE(symbol, text) symbol,

/* Defines the two functions; once per enumeration, in a .c file. No enumerator has the text "?". */
#define HA_ENUM_DEFINE(name, MAP)                                              \
    static const char *const name##_texts[] = {MAP(HA_ENUM_TEXT)};             \
    const char *ha_##name##_text(enum ha_##name value)                         \
    {                                                                          \
        return ha_##name##_valid((uint32_t)value) ? name##_texts[value] : "?"; \
    }                                                                          \
    bool ha_##name##_valid(uint32_t value)                                     \
    {                                                                          \
        return value < sizeof(name##_texts) / sizeof(name##_texts[0]);         \
    }
#define HA_ENUM_TEXT(symbol, text) text,

#define HA_ROLE_MAP(X)            \
    X(HA_ROLE_UNKNOWN, "unknown") \
    X(HA_ROLE_PRIMARY, "primary") \
    X(HA_ROLE_REPLICA, "replica")
HA_ENUM(role, HA_ROLE_MAP)

/* One watcher's opinion of one member (design, section 5). */
#define HA_VERDICT_MAP(X)                  \
    X(HA_VERDICT_UNKNOWN, "unknown")       \
    X(HA_VERDICT_UP, "up")                 \
    X(HA_VERDICT_STARTING, "starting")     \
    X(HA_VERDICT_BUSY, "busy")             \
    X(HA_VERDICT_FULL, "too-many-clients") \
    X(HA_VERDICT_UNWRITABLE, "unwritable") \
    X(HA_VERDICT_CRASHED, "crashed")       \
    X(HA_VERDICT_REFUSED, "refused")       \
    X(HA_VERDICT_SILENT, "silent")         \
    X(HA_VERDICT_HUNG, "hung")
HA_ENUM(verdict, HA_VERDICT_MAP)

/* True for the verdicts that speak for a failover by themselves. */
bool ha_verdict_is_down(enum ha_verdict verdict);

/* States of the failover machine (design, section 7). */
#define HA_STATE_MAP(X)                  \
    X(HA_STATE_STEADY, "STEADY")         \
    X(HA_STATE_FENCING, "FENCING")       \
    X(HA_STATE_SELECTING, "SELECTING")   \
    X(HA_STATE_PROMOTING, "PROMOTING")   \
    X(HA_STATE_OPENING, "OPENING")       \
    X(HA_STATE_REPOINTING, "REPOINTING") \
    X(HA_STATE_NO_CANDIDATE, "NO_CANDIDATE")
HA_ENUM(state, HA_STATE_MAP)

/* What ended the last opened epoch (design, section 6.2). */
#define HA_FENCE_MAP(X)                                                                         \
    X(HA_FENCE_NONE, "none")                                                                    \
    X(HA_FENCE_REPORT, "report")             /* its own instance reported the gate closed */    \
    X(HA_FENCE_EXPIRED, "expired")           /* a majority stopped and the remainders passed */ \
    X(HA_FENCE_COMMAND, "command")           /* a fencing command reported success */           \
    X(HA_FENCE_NEVER_OPENED, "never-opened") /* no promise was ever given for it */             \
    X(HA_FENCE_SEALED, "sealed")             /* strict: nobody is left who could acknowledge */
HA_ENUM(fence, HA_FENCE_MAP)

/* How strongly a host can hold the right to serve (design, section 6.4). */
#define HA_GATE_MAP(X)                                                                 \
    X(HA_GATE_NONE, "none")       /* no agent, or not yet known */                     \
    X(HA_GATE_PROCESS, "process") /* the agent can only stop or demote the database */ \
    X(HA_GATE_NFT, "nft")         /* kernel, relative timeout */                       \
    X(HA_GATE_BPF, "bpf")         /* kernel, absolute deadline */                      \
    X(HA_GATE_BOTH, "bpf+nft")
HA_ENUM(gate, HA_GATE_MAP)

#define HA_ENGINE_MAP(X)        \
    X(HA_ENGINE_REDIS, "redis") \
    X(HA_ENGINE_POSTGRESQL, "postgresql")
HA_ENUM(engine, HA_ENGINE_MAP)

#define HA_DURABILITY_MAP(X)        \
    X(HA_DURABILITY_ASYNC, "async") \
    X(HA_DURABILITY_SYNC, "sync")   \
    X(HA_DURABILITY_STRICT, "strict")
HA_ENUM(durability, HA_DURABILITY_MAP)

/* What a crash of the primary's database leads to first. */
#define HA_CRASH_POLICY_MAP(X)       \
    X(HA_CRASH_FAILOVER, "failover") \
    X(HA_CRASH_RESTART, "restart")
HA_ENUM(crash_policy, HA_CRASH_POLICY_MAP)

/* What a primary does when the watchers are lost (design, 6.6). */
#define HA_QUORUM_LOSS_MAP(X)        \
    X(HA_QUORUM_LOSS_FENCE, "fence") \
    X(HA_QUORUM_LOSS_HOLD, "hold") /* the other agents may keep its lease */
HA_ENUM(quorum_loss, HA_QUORUM_LOSS_MAP)

/* Why an epoch was ended. */
#define HA_REASON_MAP(X)                                                         \
    X(HA_REASON_NONE, "none")                                                    \
    X(HA_REASON_FIRST, "first-primary") /* a new service gets its first epoch */ \
    X(HA_REASON_DOWN, "primary-down")   /* a quorum of watchers says so */       \
    X(HA_REASON_GIVE_UP, "given-up")    /* the holder's own agent ended it */    \
    X(HA_REASON_OPEN_FAILED, "open-failed")                                      \
    X(HA_REASON_OPERATOR, "operator")                                            \
    X(HA_REASON_SWITCHOVER, "switchover")                                        \
    X(HA_REASON_DELETED, "service-deleted")                                      \
    X(HA_REASON_PROMOTE_FAILED, "promote-failed")                                \
    X(HA_REASON_REBUILT, "watchers-rebuilt") /* restored or recovered */
HA_ENUM(reason, HA_REASON_MAP)

/* Why a member was or was not chosen as the candidate. */
#define HA_FITNESS_MAP(X)                                                                      \
    X(HA_FIT_OK, "could be promoted")                                                          \
    X(HA_FIT_CHOSEN, "chosen")                                                                 \
    X(HA_FIT_RANKED_LOWER, "another member has more data, higher priority or an earlier name") \
    X(HA_FIT_NEVER, "its priority is never")                                                   \
    X(HA_FIT_UNHEARD, "its agent is not heard")                                                \
    X(HA_FIT_NOT_RUNNING, "its database does not run")                                         \
    X(HA_FIT_NOT_ANSWERING, "its database does not answer")                                    \
    X(HA_FIT_STARTING, "its database is still starting")                                       \
    X(HA_FIT_NO_POSITION, "its replication position is not known")                             \
    X(HA_FIT_STRAY, "its data is not from the history of the last primary")                    \
    X(HA_FIT_DIVERGED, "its data went its own way after the history it shares")                \
    X(HA_FIT_BEHIND, "it lacks more than loss_budget_bytes of the last known position")        \
    X(HA_FIT_FAILED, "its promotion failed in this failover")                                  \
    X(HA_FIT_COPYING, "it is in the middle of a full copy")                                    \
    X(HA_FIT_NOT_TARGET, "another member was named as the target")                             \
    X(HA_FIT_NO_GATE, "its host has no gate and the service does not accept that")             \
    X(HA_FIT_UNPROVEN, "it is not proven to hold every acknowledged write")                    \
    X(HA_FIT_PRIMARY, "it is the primary")                                                     \
    X(HA_FIT_UNSEEN, "a majority of watchers finds it silent: it could not get a lease")       \
    X(HA_FIT_AHEAD, "its agent was told of a later epoch than these watchers know: they were " \
                    "made anew")                                                               \
    X(HA_FIT_NO_NOTE, "its agent cannot write its state to disk")                              \
    X(HA_FIT_NO_RIGHTS, "its agent's role in the database lacks rights that it needs")
HA_ENUM(fitness, HA_FITNESS_MAP)

/* What a watcher asks of an agent. */
#define HA_ORDER_MAP(X)                                                                           \
    X(HA_ORDER_NONE, "none")                                                                      \
    X(HA_ORDER_REPORT, "report") /* probe and send a heartbeat now */                             \
    X(HA_ORDER_FENCE, "fence")   /* close the gate, give up every epoch below this one */         \
    X(HA_ORDER_DRAIN, "drain")   /* switchover: stop writes, let replicas catch up, then fence */ \
    X(HA_ORDER_PROMOTE, "promote") /* become primary of this epoch; the gate stays closed */      \
    X(HA_ORDER_SERVE, "serve")     /* this epoch is open: hold its lease, keep its settings */    \
    X(HA_ORDER_FOLLOW, "follow")   /* replicate from the named upstream */                        \
    X(HA_ORDER_SEAL, "seal") /* stop receiving until told to follow under this epoch or later */  \
    X(HA_ORDER_HOLD, "hold") /* whose promises may keep your lease from now on */                 \
    X(HA_ORDER_RELEASE, "release") /* end your promises for epochs below this one, durably */
HA_ENUM(order_kind, HA_ORDER_MAP)

#define HA_RESULT_MAP(X)            \
    X(HA_RESULT_NONE, "none")       \
    X(HA_RESULT_RUNNING, "running") \
    X(HA_RESULT_DONE, "done")       \
    X(HA_RESULT_FAILED, "failed")
HA_ENUM(result, HA_RESULT_MAP)

/* What the agent knows of the database process on its own host. */
#define HA_PROCESS_MAP(X)            \
    X(HA_PROCESS_UNKNOWN, "unknown") \
    X(HA_PROCESS_RUNNING, "running") \
    X(HA_PROCESS_GONE, "gone")
HA_ENUM(process, HA_PROCESS_MAP)

/* How a database answered when it was asked. */
#define HA_ANSWER_MAP(X)                                                                  \
    X(HA_ANSWER_NONE, "no answer") /* deadline passed */                                  \
    X(HA_ANSWER_OK, "ok")                                                                 \
    X(HA_ANSWER_STARTING, "starting") /* loading, recovering, shutting down */            \
    X(HA_ANSWER_BUSY, "busy")         /* alive, cannot run commands now */                \
    X(HA_ANSWER_FULL, "too many clients")                                                 \
    X(HA_ANSWER_DENIED, "access denied") /* alive; our credentials or rights are wrong */ \
    X(HA_ANSWER_REFUSED, "refused")      /* nothing listens */                            \
    X(HA_ANSWER_CLOSED, "closed")        /* an open connection broke */                   \
    X(HA_ANSWER_UNREACHABLE, "unreachable")
HA_ENUM(answer, HA_ANSWER_MAP)

/* A history of data: the lineage being written and those it grew out of, newest first. For Redis an
 * id is a hash of the replication id, for PostgreSQL of system identifier, timeline and its fork.
 */
struct ha_lineage_step {
    uint64_t id;  /* never 0 */
    uint64_t end; /* offset at which the next lineage forked off; UINT64_MAX while it is current */
};

struct ha_lineage {
    uint32_t count; /* 0: not known */
    struct ha_lineage_step steps[HA_LINEAGE_MAX];
};

/* Members whose word a primary must wait for before it acknowledges a write. */
struct ha_sync_set {
    uint32_t need;    /* so many of them; 0: it waits for nobody */
    uint32_t members; /* bit per member id */
};

/* Whose agents must all promise for a primary to keep its lease without the watchers. */
struct ha_hold_set {
    uint32_t members;                    /* bit per member id; 0: nobody, it is fenced */
    uint32_t lease_ms;                   /* no promise is longer */
    uint64_t memory[HA_MEMBERS_MAX + 1]; /* by member id: of its agent, see struct ha_status */
};

/* As what a member entered a set: another instance or other data proves nothing. */
struct ha_sync_entry {
    uint64_t since; /* index of the entry that let it in; 0: it is not in, or nobody knew it */
    uint64_t instance;
    uint64_t lineage; /* id; one of its history */
    uint64_t offset;  /* it had at least that */
};

/* How much data a member has. Engine-neutral: only ever compared. */
struct ha_position {
    uint64_t offset; /* bytes of its current lineage it has and would serve after a promotion */
    struct ha_lineage lineage;
};

/* Whether what only it has is still there to be looked at, beside its data. */
#define HA_KEPT_MAP(X)         \
    X(HA_KEPT_NOT, "not kept") \
    X(HA_KEPT_PART, "in part") \
    X(HA_KEPT_WHOLE, "kept")
HA_ENUM(kept, HA_KEPT_MAP)

/* What an old primary had written when the others went on without it, found when it came back. */
struct ha_diverged {
    uint64_t epoch; /* it came back under this one; HA_EPOCH_NONE: nothing was found */
    uint64_t bytes; /* of its history after the place where it was left */
    enum ha_kept kept;
};

/* One answer of one database: facts, no judgement. Filled in by an engine's probe. */
struct ha_sample {
    enum ha_answer answer;
    enum ha_role role;
    bool writable;         /* false only after a failed write check of the agent */
    bool link_up;          /* replica: connected to its upstream */
    bool copying;          /* replica: a full copy from upstream is in progress */
    bool read_only;        /* replica: refuses writes from clients */
    bool starts;           /* agent: it can start this database where it does not run */
    bool lacks_rights;     /* agent: its own role could not promote or lead this database */
    uint64_t run_id;       /* changes with every start of the process; 0 unknown */
    uint32_t link_idle_ms; /* replica: since the upstream was last heard */
    uint32_t replicas;     /* primary: connected replicas */
    uint64_t sync_id;      /* primary: ha_sync_id of the standby names in effect; replica: of the
                              name under which it replicates; 0: none */
    uint16_t upstream_port;
    char upstream_host[HA_HOST_SIZE]; /* replica: what it follows, as configured there */
    struct ha_position position;
    struct ha_diverged diverged; /* agent */
    char text[HA_TEXT_SIZE];     /* error text for people, or empty */
};

#endif /* HA_CORE_TYPES_H */
