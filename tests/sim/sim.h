/* tests/sim/sim.h - a whole cluster in one process under one seed.
 *
 * The real core on both sides: watchers with their replicated state, agents with their leases.
 * Around it are models: true time and a drifting clock per host, a network that delays, loses and
 * cuts, a log that commits where a majority is connected, databases with the semantics of Redis,
 * kernel gates. After every event the invariants of the design (section 11) are held against true
 * time. */
#ifndef HA_TESTS_SIM_SIM_H
#define HA_TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/prng.h"
#include "lib/core/agent.h"
#include "lib/core/watcher.h"

#define SIM_WATCHERS_MAX 5
#define SIM_HOSTS 3
#define SIM_ACKED_MAX 64
#define SIM_LATE 8
#define SIM_NODES (SIM_WATCHERS_MAX + SIM_HOSTS)
#define SIM_SERVICE_NAME "cache"

enum sim_exit { SIM_PASS = 0, SIM_CRASH = 1, SIM_SAFETY = 2, SIM_LIVENESS = 3 };

/* Faults that are on in a run; drawn from the seed, printed first. */
struct sim_profile {
    uint32_t watchers;
    uint32_t loss_ppm; /* of messages */
    uint32_t delay_max_ms;
    uint32_t fault_every_ms; /* mean time between faults */
    uint32_t promote_fail_ppm;
    uint32_t slow_ppm; /* acts and notes that take long */
    bool drift;
    enum ha_engine engine;
    enum ha_durability durability;
    bool gates_fail;  /* kernels that let all out; with strict only */
    bool nft;         /* gate of every host: relative timeouts instead of absolute deadlines */
    bool wide_faults; /* several at a time */
};

enum sim_what {
    SIM_TICK,    /* of a node's process */
    SIM_DELIVER, /* a message or the answer of a local device, to a node's process */
    SIM_APPLY,   /* next log entry to a watcher */
    SIM_WORLD,   /* databases replicate, clients write, the log looks for a leader */
    SIM_FAULT,
    SIM_HEAL,
    SIM_RESUME,
};

enum sim_kind {
    SIM_MSG_HEARTBEAT,
    SIM_MSG_PROMISE,
    SIM_MSG_ORDER,
    SIM_MSG_STOPPED,
    SIM_MSG_PROPOSE,
    SIM_MSG_SETTINGS,
    SIM_MSG_LINK,
    SIM_DEV_PROBED,
    SIM_DEV_SAMPLED,
    SIM_DEV_ACTED,
    SIM_DEV_NOTED_EPOCHS,
    SIM_DEV_NOTED_PROMISE,
    SIM_DEV_GATE_CLOSED,
    SIM_DEV_VIP,
    SIM_DEV_PROCESS,
    SIM_DEV_CAUGHT_UP,
};

/* One message or device answer; plain data, so that it may wait in a queue. */
struct sim_message {
    enum sim_kind kind;
    uint32_t from;
    uint32_t incarnation; /* of the process it is meant for */
    uint32_t a, b;        /* by kind */
    uint64_t x, y;
    union {
        struct ha_heartbeat heartbeat;
        struct ha_promise promise;
        struct ha_order order;
        struct ha_stopped stopped;
        struct ha_command command;
        struct ha_settings settings;
        struct ha_sample sample;
    } u;
};

struct sim_event {
    uint64_t at_us;
    uint64_t seq;
    enum sim_what what;
    uint32_t node;
    uint32_t incarnation;
    uint32_t arg;
    struct sim_message *message; /* owned by the event */
};

struct sim_node {
    bool watcher;
    bool alive;  /* its daemon's process */
    bool paused; /* stopped, frozen with its clock going on */
    uint32_t incarnation;
    int32_t rate_ppm;
    uint64_t offset_ms;
    struct sim_event *backlog; /* delivered while paused */
    uint32_t backlog_count, backlog_size;
};

struct sim_watcher {
    struct ha_watcher *brain;
    uint64_t applied;
    uint64_t caught_up_at; /* index it waits for, 0: not asked */
    bool leads;            /* believes so */
    uint32_t promise_durable_ms;
    uint64_t probe_due_us;
    uint64_t promised_epoch, promised_instance, promised_until_ms; /* what the checker saw */
};

struct sim_db {
    bool alive, hung;
    enum ha_role role;
    uint32_t upstream; /* host, SIM_HOSTS: none */
    bool link_up, copying;
    uint64_t copy_done_us;
    uint64_t run_id, pid_start;
    struct ha_position position;
    /* PostgreSQL */
    struct ha_sync_set names; /* standby names in effect; need 1 of nobody: as promoted */
    uint64_t names_epoch;     /* the epoch in them */
    uint64_t name_epoch;      /* a standby's own name */
    uint32_t misrouted;       /* its connection ends there ... */
    uint64_t misrouted_us;    /* ... until then */
    uint64_t acked, acked_lineage;
};

struct sim_acked { /* what clients were told is durable: all of a history up to there */
    uint64_t lineage, offset;
};

struct sim_host {
    struct ha_agent *brain;
    uint64_t instance;
    uint64_t gate_until_ms; /* on the host's boot clock */
    bool gate_broken;
    bool vip;
    uint64_t vip_until_ms;
    struct ha_effect_epochs epochs; /* durable */
    bool epochs_known;
    struct ha_order late[SIM_LATE]; /* sent to it before: any may come once more */
    uint32_t late_count;
    struct sim_db db;
};

struct sim_log {
    struct ha_command *entries;
    uint32_t count, size;
    uint32_t leader; /* node, SIM_NODES: none */
    uint64_t term;
    uint64_t elect_us;
};

struct sim {
    struct sim_profile profile;
    struct ha_prng prng;
    uint64_t now_us;
    uint64_t seq;
    uint64_t digest; /* of the trace: equal seeds give equal digests */
    struct sim_event *heap;
    uint32_t heap_count, heap_size;
    struct sim_node nodes[SIM_NODES];
    bool reach[SIM_NODES][SIM_NODES];
    struct sim_watcher watchers[SIM_WATCHERS_MAX];
    struct sim_host hosts[SIM_HOSTS];
    struct sim_log log;
    struct ha_config *config;
    struct ha_effects *effects;
    bool quiet;   /* no faults any more */
    bool verbose; /* print the story */
    uint64_t ids;
    uint64_t failovers;
    uint64_t acks, losses_accepted, quiet_us;
    uint64_t open_seen; /* highest epoch that opened, in any watcher's state */
    bool alone;         /* in its state: acknowledged alone */
    uint64_t alone_index;
    bool loss_accepted; /* by the operator, since */
    bool excused;       /* of what is acknowledged some may be lost */
    uint64_t served;    /* highest epoch whose primary was seen to take writes */
    uint32_t acked_count;
    struct sim_acked acked[SIM_ACKED_MAX];
    uint64_t writes;
    uint64_t epoch_seen;
    uint64_t index_digest[2]; /* index and digest last compared */
    enum sim_exit verdict;
    char why[256];
};

/* main.c */
void sim_story(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_fail(struct sim *sim, enum sim_exit verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* queue.c */
void sim_push(struct sim *sim, uint64_t at_us, enum sim_what what, uint32_t node, uint32_t arg,
              struct sim_message *message);
bool sim_pop(struct sim *sim, struct sim_event *ret);
struct sim_message *sim_message_new(enum sim_kind kind, uint32_t from);
/* Over the network: lost, delayed, or never where the link is cut. Takes @message. */
void sim_send(struct sim *sim, uint32_t from, uint32_t to, struct sim_message *message);
/* From a device of the node itself, after @delay_us. Takes @message. */
void sim_answer(struct sim *sim, uint32_t node, uint64_t delay_us, struct sim_message *message);
uint64_t sim_clock_ms(const struct sim *sim, uint32_t node);
bool sim_both_reach(const struct sim *sim, uint32_t a, uint32_t b);
bool sim_runs(const struct sim *sim, uint32_t node);

/* watch.c: the shell of a watcher, and the log */
void sim_watcher_start(struct sim *sim, uint32_t node);
/* Somebody asks watcher @node for a switchover or a failover; @member 0: to whomever. */
void sim_operator(struct sim *sim, uint32_t node, uint32_t member, bool switchover);
void sim_watcher_event(struct sim *sim, uint32_t node, const struct sim_message *message);
void sim_watcher_tick(struct sim *sim, uint32_t node);
void sim_watcher_apply(struct sim *sim, uint32_t node);
void sim_log_step(struct sim *sim);
void sim_propose(struct sim *sim, uint32_t node, const struct ha_command *command);

/* host.c: the shell of an agent, its database and its gate */
void sim_agent_start(struct sim *sim, uint32_t node);
void sim_agent_event(struct sim *sim, uint32_t node, const struct sim_message *message);
void sim_agent_tick(struct sim *sim, uint32_t node);
void sim_host_boot(struct sim *sim, uint32_t host);
void sim_db_start(struct sim *sim, uint32_t host, bool empty);
void sim_db_kill(struct sim *sim, uint32_t host);
void sim_db_step(struct sim *sim);
bool sim_gate_open(const struct sim *sim, uint32_t host);
/* What a client anywhere would get: a write acknowledged. */
bool sim_takes_writes(const struct sim *sim, uint32_t host);
void sim_db_sample(const struct sim *sim, uint32_t host, struct ha_sample *ret);

uint64_t sim_new_id(struct sim *sim);

/* postgres.c: the other engine */
void sim_pg_start(struct sim *sim, uint32_t host, bool empty);
void sim_pg_step(struct sim *sim);
void sim_pg_early(struct sim *sim, uint32_t host, const struct ha_order *order);
void sim_pg_act(struct sim *sim, uint32_t host, const struct ha_order *order);
uint64_t sim_pg_names_id(const struct sim_db *db);
bool sim_pg_holds(const struct sim_db *db, const struct sim_acked *acked);

/* fault.c */
void sim_fault(struct sim *sim);
void sim_fault_sealed(struct sim *sim, uint32_t node);
void sim_heal_all(struct sim *sim);

/* check.c */
void sim_check(struct sim *sim);
void sim_check_promise(struct sim *sim, uint32_t watcher, const struct ha_promise *promise);
void sim_check_acked(struct sim *sim, uint32_t host);
bool sim_is_well(struct sim *sim, char why[256]);

#endif /* HA_TESTS_SIM_SIM_H */
