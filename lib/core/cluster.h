/* lib/core/cluster.h - the replicated state and the only function that changes it.
 *
 * Pure, plain data, no allocation; the owner zeroes it and calls ha_cluster_init. Equal index means
 * equal bytes of its encoded snapshot (lib/wire/snapshot) on every watcher. Legality lives here and
 * must never differ between versions that run together; policy lives in decide.h. */
#ifndef HA_CORE_CLUSTER_H
#define HA_CORE_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/command.h"
#include "lib/core/config.h"
#include "lib/core/types.h"

struct ha_err;

struct ha_member_state {
    uint32_t id;                               /* 1..HA_MEMBERS_MAX, stable while the name exists */
    uint64_t unopened_epoch;                   /* promoted under it, and it never opened; 0: none */
    enum ha_verdict verdicts[HA_WATCHERS_MAX]; /* by watcher */
    struct ha_sync_entry sync;
};

/* When each stage of a decision was reached, wall milliseconds; 0: not reached. */
struct ha_stages {
    uint64_t noticed_ms, agreed_ms, fenced_ms, chosen_ms, promoted_ms, opened_ms, done_ms;
};

/* One failover, switchover or refusal, as told by history and explain. */
struct ha_decision {
    uint64_t id;
    uint32_t service;
    char service_name[HA_NAME_SIZE];
    uint64_t epoch_from, epoch; /* the one that ended, the last one claimed */
    enum ha_reason reason;
    enum ha_verdict verdict;
    enum ha_fence fence;
    uint32_t agreeing;  /* bit per watcher */
    uint32_t waited_ms; /* for the fence */
    uint32_t attempts;  /* promotions tried */
    bool done;
    char from[HA_NAME_SIZE], to[HA_NAME_SIZE]; /* members */
    struct ha_stages stages;
    uint64_t lost_bytes;      /* known data the new primary lacks */
    struct ha_diverged found; /* and what `from` really had, once it came back */
    uint32_t fit_count;
    struct {
        char name[HA_NAME_SIZE];
        struct ha_fit fit;
    } fits[HA_MEMBERS_MAX];
    char text[HA_TEXT_SIZE]; /* the evidence, as a sentence */
};

#define HA_HOLD_SETS 2
#define HA_SYNC_SETS 4            /* changes under way at once that are remembered one by one */
#define HA_SYNC_NOBODY UINT64_MAX /* a floor that no successor reaches */

/* Whose word the primary of the last opened epoch may have waited for. Whoever succeeds it must be
 * proven by every set here: between its two entries a change counts as done and as not done. */
struct ha_sync {
    bool in_force;       /* the first set was read back effective, and held by its members */
    bool alone;          /* writes may have been acknowledged by the primary alone */
    uint64_t floor;      /* until a set is in force: what the primary had when it was chosen, or
                          * HA_SYNC_NOBODY */
    uint64_t floor_next; /* the same of the candidate of the epoch that is claimed */
    uint32_t count;
    struct {
        struct ha_sync_set set;
        uint64_t since;   /* index of its entry */
    } sets[HA_SYNC_SETS]; /* oldest first */
};

/* By whose promises the agent of the last opened epoch's primary may keep its lease without the
 * watchers. Until it says that it goes by the newest, each set here may be the one it goes by. */
struct ha_hold {
    uint32_t count;
    struct {
        struct ha_hold_set set;
        uint64_t since;   /* index of its entry */
    } sets[HA_HOLD_SETS]; /* oldest first */
};

struct ha_service {
    bool used;
    bool deleting; /* gone from the configuration; removed once fenced */
    uint32_t id;   /* id % HA_SERVICES_MAX is its slot; never used twice */
    struct ha_service_config config;
    struct ha_member_state members[HA_MEMBERS_MAX]; /* parallel to config.members */

    enum ha_state state;
    uint64_t epoch;    /* highest claimed; grows only */
    uint32_t primary;  /* member that holds or is to hold `epoch`; NONE while none is chosen */
    uint64_t instance; /* its instance */
    enum ha_gate gate; /* its gate, as reported when it was chosen */

    uint64_t open_epoch; /* the last epoch that opened; HA_EPOCH_NONE: never */
    uint32_t open_member;
    uint64_t open_instance;
    enum ha_gate open_gate;
    uint32_t open_lease_ms;      /* longest length it may have been promised for */
    enum ha_fence fence;         /* how open_epoch ended; HA_FENCE_NONE while it has not */
    uint64_t prev_epoch;         /* the epoch that was open before open_epoch ... */
    enum ha_fence prev_fence;    /* ... and how it ended */
    struct ha_position position; /* last known of the open epoch's primary */
    struct ha_sync sync;
    struct ha_hold hold;

    enum ha_reason reason; /* of the failover under way, or of the last one */
    uint32_t target;
    bool accept_loss;
    uint32_t failed_members; /* bit per member id whose promotion failed in this failover */
    uint64_t decision;       /* its record, 0: none */

    bool paused;
    uint64_t paused_until_ms; /* wall */
    char paused_by[HA_NAME_SIZE];
    char paused_why[HA_TEXT_SIZE];
    uint32_t recent_count;
    uint64_t recent_ms[HA_RECENT_MAX]; /* wall times of successful failovers, newest first */
    uint64_t failovers, switchovers;   /* that opened an epoch, ever */

    bool not_ready; /* told: nobody could take over */
    char not_ready_why[HA_TEXT_SIZE];
};

#define HA_NOTICE_MAP(X)                                                                     \
    X(HA_NOTICE_TEST, "test")                                                                \
    X(HA_NOTICE_CONFIG, "config-applied")                                                    \
    X(HA_NOTICE_MEMBER_DOWN, "member-down")                                                  \
    X(HA_NOTICE_MEMBER_UP, "member-up")                                                      \
    X(HA_NOTICE_FAILOVER_BEGIN, "failover-begin")                                            \
    X(HA_NOTICE_FENCED, "fenced")                                                            \
    X(HA_NOTICE_PROMOTED, "promoted") /* lease, gate and address are with the new primary */ \
    X(HA_NOTICE_PROMOTE_FAILED, "promote-failed")                                            \
    X(HA_NOTICE_NO_CANDIDATE, "no-candidate")                                                \
    X(HA_NOTICE_STEADY, "failover-done")                                                     \
    X(HA_NOTICE_PAUSED, "paused")                                                            \
    X(HA_NOTICE_RESUMED, "resumed")                                                          \
    X(HA_NOTICE_WATCHER_DOWN, "watcher-down")                                                \
    X(HA_NOTICE_WATCHER_UP, "watcher-up")                                                    \
    X(HA_NOTICE_NOT_READY, "not-ready") /* nobody could take over now */                     \
    X(HA_NOTICE_READY, "ready")                                                              \
    X(HA_NOTICE_GATE, "gate-changed")    /* what ends the lease of the primary */            \
    X(HA_NOTICE_ALONE, "not-replicated") /* sync: the primary acknowledges alone */          \
    X(HA_NOTICE_REPLICATED, "replicated")                                                    \
    X(HA_NOTICE_REPLACED, "watcher-replaced")                                                \
    X(HA_NOTICE_DIVERGED, "diverged") /* what an old primary had that nobody else has */
HA_ENUM(notice_kind, HA_NOTICE_MAP)

struct ha_notice {
    uint64_t seq;  /* cluster-wide, grows by one */
    uint32_t owed; /* bit per webhook that has not taken it */
    enum ha_notice_kind kind;
    uint64_t wall_ms;
    uint32_t service; /* id, 0: none */
    char service_name[HA_NAME_SIZE];
    uint64_t epoch;
    uint64_t decision;
    char from[HA_NAME_SIZE], to[HA_NAME_SIZE];
    uint64_t lost_bytes; /* known at the failover; DIVERGED: found since */
    char text[HA_TEXT_SIZE];
};

struct ha_archived { /* one version of the configuration text */
    uint64_t version;
    uint64_t wall_ms;
    char author[HA_NAME_SIZE];
    uint32_t at, size; /* in archive bytes */
};

struct ha_cluster {
    uint64_t index; /* of the last applied command */
    uint64_t wall_ms;
    uint64_t set_id; /* of the set of watchers; 0: not yet in the log */
    uint32_t watcher_count;
    char watchers[HA_WATCHERS_MAX][HA_NAME_SIZE];
    uint32_t spoke;        /* bit per watcher that has said something in this set */
    uint32_t old_seats;    /* after a replacement: bit per watcher that was in the set before ... */
    uint32_t old_majority; /* ... and how many of it must have stopped; 0: that set has settled */
    uint32_t watchers_down; /* bit per watcher: told that the leader does not hear it */

    uint64_t config_version;
    uint32_t webhook_count;
    struct ha_webhook_config webhooks[HA_WEBHOOKS_MAX];
    uint32_t id_last;     /* highest service id ever given */
    uint64_t epoch_floor; /* every epoch of a deleted service is at or below it */
    uint32_t service_count;
    struct ha_service services[HA_SERVICES_MAX];

    uint64_t decision_last; /* ring: decision id i sits at i % HA_HISTORY_MAX */
    struct ha_decision decisions[HA_HISTORY_MAX];
    uint64_t notice_last;
    uint64_t notices_dropped; /* the outbox was full: told in metrics */
    uint32_t notice_count;
    struct ha_notice notices[HA_OUTBOX_MAX]; /* oldest first */
    struct ha_notice events[HA_EVENTS_MAX];  /* ring of all: seq s sits at s % HA_EVENTS_MAX */

    uint32_t archive_count;
    uint32_t archive_size;
    struct ha_archived archived[HA_ARCHIVE_MAX]; /* oldest first */
    char archive[HA_ARCHIVE_SIZE];
};

void ha_cluster_init(struct ha_cluster *cluster);

/* Not from the log: make *cluster the first state of a new set of watchers, of which all before are
 * gone for good and every promise has run out. Entries may have been forgotten: services claim
 * epochs, and index and version go on, far above all that could have been given; what is open is
 * fenced. */
#define HA_INDEXES_FORGOTTEN 1000000000u
void ha_cluster_rebuild(struct ha_cluster *cluster, const struct ha_command_watchers *set,
                        const char *why);

/* Apply the command committed at @index. Every watcher calls it with equal arguments in equal order
 * and gets an equal result. A refused command changes nothing but index and wall time:
 *   HA_EINVAL  it makes no sense          HA_ESTALE  the state or epoch has moved on
 *   HA_ENOENT  no such service or member  HA_EFULL   a limit is reached
 *   HA_EDENIED it would break a rule (design, section 6.3)
 * *err (may be NULL) says it in a sentence for whoever asked. */
int ha_cluster_apply(struct ha_cluster *cluster, uint64_t index, const struct ha_command *command,
                     struct ha_err *err);

/* Look-ups; NULL or 0 when there is none. Pointers live until the next apply. */
struct ha_service *ha_cluster_service(struct ha_cluster *cluster, uint32_t id);
const struct ha_service *ha_cluster_service_const(const struct ha_cluster *cluster, uint32_t id);
const struct ha_service *ha_cluster_service_named(const struct ha_cluster *cluster,
                                                  const char *name);
const struct ha_decision *ha_cluster_decision(const struct ha_cluster *cluster, uint64_t id);
const struct ha_notice *ha_cluster_event(const struct ha_cluster *cluster, uint64_t seq);
/* The last decision that took the primary away from @member before it came back under @epoch. */
const struct ha_decision *ha_cluster_left(const struct ha_cluster *cluster,
                                          const struct ha_service *service, uint32_t member,
                                          uint64_t epoch);
/* Index of a member in config.members, or -1. */
int ha_service_member_at(const struct ha_service *service, uint32_t member);
uint32_t ha_service_member_named(const struct ha_service *service, const char *name);
/* Members whose word counts for what the last opened epoch acknowledged, bit per id. */
uint32_t ha_cluster_sync_members(const struct ha_service *service);
/* Whether who succeeds the last opened epoch must be proven to hold what it acknowledged: by what
 * the log says of its sets, so a durability that was lowered binds until nobody is waited for. */
bool ha_cluster_sync_binds(const struct ha_service *service);
bool ha_hold_set_is_equal(const struct ha_hold_set *a, const struct ha_hold_set *b);
/* Members of the sets by which the last opened epoch's lease may have been kept, bit per id. */
uint32_t ha_cluster_hold_members(const struct ha_service *service);
/* The longest promise under these sets; 0: there are none. */
uint32_t ha_cluster_hold_ms(const struct ha_service *service);
/* Whether no set can keep that lease any more: of each one member's agent has ended its promises
 * (@released), or all that are left of it have that remember nothing (@renewed): one of those alone
 * may be a clone. */
bool ha_cluster_hold_is_over(const struct ha_service *service, uint32_t released, uint32_t renewed);
/* Name of a member id, "" for none. */
const char *ha_service_member_name(const struct ha_service *service, uint32_t member);
uint32_t ha_cluster_majority(const struct ha_cluster *cluster);
/* Whether the watchers in @mask share one with every majority whose promises may still make a
 * lease: a majority of the set, and, until that is over, of the set before it. */
bool ha_cluster_stops_suffice(const struct ha_cluster *cluster, uint32_t mask);
/* The same of the set before alone; true where there is none. */
bool ha_cluster_old_stops_suffice(const struct ha_cluster *cluster, uint32_t mask);
/* Whether promises of the set before this may still stand. */
bool ha_cluster_is_settling(const struct ha_cluster *cluster);
/* Whether @watcher (its index) was in the set before this: it went on promising without a word in
 * the log. One that joins with an empty directory has forgotten that, and waits as long as any
 * promise lasts. */
bool ha_cluster_was_before(const struct ha_cluster *cluster, uint32_t watcher);
/* Whether the log has a word of @watcher in this set: it never joins this set again. */
bool ha_cluster_has_spoken(const struct ha_cluster *cluster, uint32_t watcher);
/* Watchers that must agree that a primary is down. */
uint32_t ha_service_quorum(const struct ha_cluster *cluster, const struct ha_service *service);
/* Text of a kept configuration version: *ret_text is not terminated. HA_ENOENT. */
int ha_cluster_archived(const struct ha_cluster *cluster, uint64_t version, const char **ret_text,
                        uint32_t *ret_size);

/* Whether a watcher whose applied state this is may promise @epoch to @instance (design, 6.1, 6.3).
 */
bool ha_service_may_promise(const struct ha_service *service, uint32_t member, uint64_t epoch,
                            uint64_t instance);

/* Whether the end of its lease proves that the holder of the open epoch has stopped: only where a
 * kernel enforces it, or the service accepts less (design, 6.4). */
bool ha_service_expiry_counts(const struct ha_service *service);

/* How far the clocks of two hosts may part while one counts @length_ms: rates are within 2e-3 of
 * true time on either side (reliability: assumption A1), and both round to milliseconds. */
uint32_t ha_drift_ms(uint32_t length_ms);

/* How long the gate of the open epoch's holder may stay open after the end of its lease: a relative
 * one that was renewed by a process paused in the call may last one lease longer, as long as any
 * that was promised in that epoch. */
uint32_t ha_service_gate_slack_ms(const struct ha_service *service);

#endif /* HA_CORE_CLUSTER_H */
