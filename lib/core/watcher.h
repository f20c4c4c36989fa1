/* lib/core/watcher.h - the only door into the watcher's brain.
 *
 * Pure, no allocation: the owner gives the memory (about 20 MB, of which a small cluster touches
 * little: take it from the heap once), zeroed, and never moves it. Two shelves: `cluster` is
 * replicated and changes only through HA_EVENT_COMMITTED (or is replaced, followed by
 * HA_EVENT_RESTORED); the rest is volatile, and losing it costs time, never safety. One thread.
 * `now_ms` of events is the monotonic clock. */
#ifndef HA_CORE_WATCHER_H
#define HA_CORE_WATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/cluster.h"
#include "lib/core/effect.h"
#include "lib/core/event.h"

struct ha_err;

/* How long a probe of what is well may be left out: at least that many periods, and that long. */
#define HA_PROBE_REST 10u
#define HA_PROBE_REST_MS 10000u

/* What this watcher itself saw of one member. */
struct ha_watch {
    /* the agent's word */
    bool heard; /* a heartbeat of this connection has come */
    uint64_t instance;
    uint64_t heard_ms;       /* when the last heartbeat came ... */
    uint64_t stamp;          /* ... and its stamp, which a promise echoes */
    uint64_t heard_since_ms; /* since when they have come without a gap */
    uint64_t told_ms;        /* when the last one came that said `status` in full */
    uint64_t position_ms;    /* when the database had its position, at the earliest */
    uint64_t unlinked_ms;    /* replica: since when its link is told as down */
    uint64_t said_since_ms;  /* since this instance reports the same kind of answer */
    struct ha_status status;
    /* its own probe */
    bool probed;
    uint64_t answered_ms;      /* last answer that proves the database process lives */
    uint64_t refused_since_ms; /* 0: not refused */
    uint64_t state_since_ms;   /* since the probe gives the same kind of answer */
    struct ha_sample sample;
    /* its opinion */
    enum ha_verdict verdict;
    uint64_t verdict_ms;
    struct ha_watch_ended { /* leader, fencing: when its agent's promises have surely ended */
        uint64_t epoch;     /* the claimed one, below which they were; HA_EPOCH_NONE: not known */
        uint64_t memory;    /* whose word that is */
        uint64_t until_ms;
    } ended;
    uint64_t streamed_ms; /* leader: when it last replicated from the primary; 0: never seen */
    uint64_t proposed_ms; /* when it was last proposed; 0: not in flight */
    uint32_t refusals;    /* how often that did not get into the log */
    uint64_t diverged_ms, diverged_done; /* leader: when what it found was proposed; of this epoch
                                            it has nothing new to tell */
    uint64_t ordered_ms;                 /* leader: when the last order was sent */
    uint64_t order_epoch;
    enum ha_order_kind order;
};

/* What this watcher promised, and as leader what it heard of the others' promises. */
struct ha_watched {
    uint32_t service; /* id this slot's facts belong to */
    uint64_t promise_epoch;
    uint64_t promise_instance;
    uint64_t promise_until_ms; /* drift included */
    uint64_t state_ms;         /* when the service entered its state, as applied here */
    uint64_t noticed_wall_ms;
    uint64_t stopped_said_ms; /* when this watcher last told the leader that it stopped */
    struct {
        uint64_t epoch; /* claimed epoch it stopped for */
        uint64_t until_ms;
    } stopped[HA_WATCHERS_MAX];
    struct ha_fence_run { /* leader: its fencing command for the present epoch */
        uint64_t epoch;
        uint64_t since_ms; /* when it was started, or when it ended */
        bool running;
        int code; /* how it ended */
        char text[HA_TEXT_SIZE];
    } fence;
    uint64_t fencing_ms;  /* leader: when it began to ask */
    uint64_t looked_ms;   /* leader: where nobody was fit, when it last looked again */
    uint64_t proposed_ms; /* a move of this service is in flight since; 0: none */
    uint64_t position_ms; /* leader: when a position was last logged */
    uint64_t sync_since;  /* leader: the set that the primary was first seen with ... */
    uint64_t sync_offset; /* ... and where it was by then */
    /* leader: when it last looked whether somebody could take over, since when that differs from
     * what the log has (0: it does not), when it last said so */
    uint64_t ready_looked_ms, ready_since_ms, ready_said_ms;
    /* whom `members` is about; realigned with the configuration */
    char names[HA_MEMBERS_MAX][HA_NAME_SIZE];
    struct ha_watch *members[HA_MEMBERS_MAX]; /* of those named, the others are nobody's */
};

struct ha_watcher_options {
    char name[HA_NAME_SIZE];
    uint64_t set_id; /* of the configured set; proposed once when the log has none */
    uint32_t watcher_count;
    char watchers[HA_WATCHERS_MAX][HA_NAME_SIZE];
    uint32_t promise_max_ms; /* longest promise the last run may have left, from its durable note;
                              * HA_LEASE_MAX_MS when the note is missing */
    uint64_t now_ms;
};

struct ha_watcher {
    struct ha_cluster cluster;

    struct ha_watcher_options options;
    uint64_t set_id; /* as last seen in the log; 0: none yet */
    uint32_t self;   /* index in the set; HA_WATCHERS_MAX until the log names it */
    bool leader;     /* its own barrier has committed */
    uint64_t term;
    uint64_t leader_ms;                 /* since */
    bool caught_up;                     /* applied what a leader named after this start */
    uint64_t blind_until_ms;            /* promises of the last run may be outstanding until then */
    uint64_t moved_until_ms;            /* and of this run under the set before until then */
    uint64_t moved_said_ms;             /* when the leader was last told */
    uint64_t settled_ms;                /* leader: when it last proposed that the old set is over */
    uint64_t moved_ms[HA_WATCHERS_MAX]; /* leader: the same end of the others; 0: not told */
    uint32_t promise_durable_ms;        /* durably noted: the longest it may give */
    uint32_t promise_asked_ms;          /* note on its way */
    bool peer_heard[HA_WATCHERS_MAX];
    uint64_t peer_since_ms[HA_WATCHERS_MAX];
    uint64_t unheard_said_ms; /* leader: when it last said whom it does not hear */
    uint64_t wall_ms;         /* of the event under way */
    uint64_t stepped_ms;      /* the last event */
    uint64_t woke_ms;         /* when this process went on after a standstill; 0: it had none */
    uint64_t next_tick_ms;
    uint32_t tick_from;               /* slot at which the next tick goes on */
    uint64_t due_ms[HA_SERVICES_MAX]; /* by slot: until then nothing of it depends on the time */
    struct ha_watched services[HA_SERVICES_MAX];
    /* The first members of all services, the second ones, ...: most services have three, and what
     * is never touched costs no page. */
    struct ha_watch members[HA_MEMBERS_MAX][HA_SERVICES_MAX];
};

void ha_watcher_init(struct ha_watcher *w, const struct ha_watcher_options *options);

/* Caught up, and no promise of its last run can stand; one of the set promises by now. The next one
 * may be restarted. */
bool ha_watcher_is_ready(const struct ha_watcher *w, uint64_t now_ms);

/* The same where the memory is zero already: what no service needs stays untouched, and costs a
 * small cluster no page. */
void ha_watcher_init_zeroed(struct ha_watcher *w, const struct ha_watcher_options *options);

/* Take one event in; *out is filled, not cleared. For HA_EVENT_COMMITTED the result is that of
 * ha_cluster_apply with *err telling why it was refused; for HA_EVENT_REQUEST it is HA_OK when a
 * proposal for it is in *out, else the refusal; for HA_EVENT_HEARTBEAT and HA_EVENT_SAME
 * HA_ENOENT: it is about no member of this agent's, or nothing was told that could be the same;
 * HA_OK for all others. @err may be NULL. */
int ha_watcher_step(struct ha_watcher *w, const struct ha_event *event, struct ha_effects *out,
                    struct ha_err *err);

/* When HA_EVENT_TICK is wanted next, monotonic. */
uint64_t ha_watcher_wake_ms(const struct ha_watcher *w);

/* Whether a member's probe is due after @probed_ms, when the last one began; asked at the pace of
 * the service. While its agent is heard and reports a database that answers, and our own last probe
 * said so too, one in a while is enough: the rest would say again what the heartbeats say, and cost
 * a connection's worth of traffic each. Any doubt brings the full pace back. */
bool ha_watcher_wants_probe(const struct ha_watcher *w, uint32_t service, uint32_t member,
                            uint64_t probed_ms, uint64_t now_ms);

/* The settings of the member that runs under @agent, for the n-th service that has one; false when
 * there are no more. Walk with *cursor starting at 0. */
bool ha_watcher_hosted(const struct ha_watcher *w, const char *agent, uint32_t *cursor,
                       uint32_t *ret_service, uint32_t *ret_member);

#endif /* HA_CORE_WATCHER_H */
