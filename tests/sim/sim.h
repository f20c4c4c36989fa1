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
#include "tests/sim/log.h"

#define SIM_WATCHERS_MAX 6 /* places: some are free for new machines */
#define SIM_HOSTS 3        /* of the members ... */
#define SIM_MACHINES 4     /* ... and one that may be a clone of any of them */
#define SIM_ACKED_MAX 64
#define SIM_LATE 8
#define SIM_NOTES 16
#define SIM_NODES (SIM_WATCHERS_MAX + SIM_MACHINES)
#define SIM_SERVICE_NAME "cache"

enum sim_exit { SIM_PASS = 0, SIM_CRASH = 1, SIM_SAFETY = 2, SIM_LIVENESS = 3 };

/* Bugs planted on purpose, to see that each is told as what it is. */
enum sim_plant { SIM_PLANT_NONE, SIM_PLANT_CRASH, SIM_PLANT_SAFETY, SIM_PLANT_LIVENESS };

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
    bool gates_fail;    /* kernels that let all out; with strict only */
    bool wide_faults;   /* several at a time */
    uint32_t twice_ppm; /* messages that come twice, the second one late */
    uint32_t lease_ms;
    uint64_t budget; /* bytes that a failover may lose, against the log */
    bool has_fence;  /* the service has a command that ends a host */
    bool hold;       /* agents may keep a lease */
    bool again;      /* a primary whose gate fails is made to succeed itself */
    bool changes;    /* people change configuration and watchers */
    bool bursts;     /* clients write for a while, and then not */
    enum ha_gate gates[SIM_HOSTS];
};

enum sim_what {
    SIM_TICK,    /* of a node's process */
    SIM_DELIVER, /* a message or the answer of a local device, to a node's process */
    SIM_APPLY,   /* next log entry to a watcher */
    SIM_LOG,     /* something is due in the log itself */
    SIM_WORLD,   /* databases replicate, clients write, the log looks for a leader */
    SIM_FAULT,
    SIM_HEAL,
    SIM_RESUME,
    SIM_ACT,  /* a database comes to what it was asked to do */
    SIM_JOIN, /* a new watcher's machine is put in place */
};

enum sim_kind {
    SIM_MSG_HELLO,
    SIM_MSG_HEARTBEAT,
    SIM_MSG_PROMISE,
    SIM_MSG_ORDER,
    SIM_MSG_STOPPED,
    SIM_MSG_PROPOSE,
    SIM_MSG_SETTINGS,
    SIM_MSG_LINK,
    SIM_MSG_HOLD_ASK, /* between agents */
    SIM_MSG_HOLD_WORD,
    SIM_MSG_REPEAT, /* a heartbeat: the status as it was told last on this connection */
    SIM_MSG_RENEW,  /* likewise a promise */
    SIM_MSG_TELL,   /* say it in full */
    SIM_DEV_PROBED,
    SIM_DEV_SAMPLED,
    SIM_DEV_ACTED,
    SIM_DEV_NOTED_EPOCHS,
    SIM_DEV_NOTED_PROMISE,
    SIM_DEV_GATE_CLOSED,
    SIM_DEV_VIP,
    SIM_DEV_PROCESS,
    SIM_DEV_CAUGHT_UP,
    SIM_DEV_FENCED, /* the fencing command has ended */
};

/* One message or device answer; plain data, so that it may wait in a queue. */
struct sim_message {
    enum sim_kind kind;
    uint32_t from;
    uint32_t incarnation; /* of the process it is meant for */
    uint32_t a, b;        /* by kind */
    uint32_t link;        /* the connection between an agent and a watcher */
    uint64_t mark;        /* of what is said on it, or said again */
    uint64_t x, y;
    union {
        struct ha_heartbeat heartbeat;
        struct ha_promise promise;
        struct ha_order order;
        struct ha_stopped stopped;
        struct ha_command command;
        struct ha_settings settings;
        struct ha_hold_ask ask;
        struct ha_hold_word word;
        struct ha_sample sample;
        struct ha_effect_epochs epochs;
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
    int64_t wall_off_ms;       /* of its wall clock, which people step */
    struct sim_event *backlog; /* delivered while paused */
    uint32_t backlog_count, backlog_size;
};

struct sim_mouth { /* an agent's connection to a watcher, and what was said on it */
    uint32_t number;
    uint32_t service;
    uint64_t mark; /* of the status that was told; 0: none */
    bool fresh;
    struct ha_promise promise;
};

struct sim_ear { /* the other end of it */
    uint32_t number;
    uint32_t service, member;
    uint64_t mark;
    bool taken;
    uint64_t given; /* mark of the promise that was given; 0: none */
};

struct sim_seat { /* the connection that a watcher serves under an agent's name */
    bool taken;
    uint32_t machine, boot;
    uint64_t instance, heard_us;
};

struct sim_watcher {
    struct ha_watcher *brain;
    char name[HA_NAME_SIZE];
    uint64_t named_us;        /* since when the machine has this name */
    bool voter;               /* in the set that the log goes on with */
    bool lost;                /* its disk is gone: only a replacement helps */
    bool awaited;             /* it is in the set and has not joined yet */
    struct ha_cluster *saved; /* its last snapshot, NULL: none ... */
    uint64_t saved_index;     /* ... of this index */
    uint64_t lags_until_us;   /* it does not learn what has committed */
    struct sim_seat seats[SIM_HOSTS];
    struct sim_ear ears[SIM_MACHINES];
    uint64_t applied;
    uint64_t caught_up_at; /* index it waits for, 0: not asked */
    bool leads;            /* believes so */
    uint32_t promise_durable_ms;
    uint64_t probe_due_us;
    uint64_t index_seen, epoch_seen;
    uint32_t promised_service;
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
    bool fresh; /* emptied, and made nobody's copy and no primary since: another cluster */
};

struct sim_note { /* on its way to the disk: an agent that ends before may find it or not */
    uint64_t seq;
    struct ha_effect_epochs epochs;
};

struct sim_acked { /* what clients were told is durable: all of a history up to there */
    uint64_t lineage, offset;
};

struct sim_gate {
    enum ha_gate class;
    uint64_t until_ms; /* on the host's boot clock */
    bool broken;       /* lets all out, whatever it is told */
    bool flushed;      /* nft: the rules are gone until the agent looks */
    uint64_t flushed_us;
    bool late;          /* nft: open for longer than was asked for */
    bool in_call;       /* nft: the agent was stopped inside the renewal ... */
    uint64_t left_ms;   /* ... that gives this much ... */
    uint64_t wanted_ms; /* ... should end then ... */
    uint64_t guard_ms;  /* ... and fails after that */
};

struct sim_image { /* of a host's disk, to clone it or go back to it */
    bool taken, epochs_known;
    uint64_t memory, memory_of;
    struct ha_effect_epochs epochs;
    struct sim_db db;
};

struct sim_host {
    struct ha_agent *brain;
    bool exists;
    bool forgot;     /* off, and its disk has lost what it noted */
    uint32_t member; /* under whose name its agent speaks */
    uint32_t boot;
    uint64_t hello_us;
    uint64_t instance;
    struct sim_gate gate;
    struct sim_image image;
    bool vip;
    uint64_t vip_until_ms;
    struct sim_mouth links[SIM_WATCHERS_MAX];
    struct ha_effect_epochs epochs; /* durable */
    uint64_t memory, memory_of;     /* likewise: of the notes, and of whose they are */
    bool kept;                      /* its lease rests on other agents */
    bool epochs_known;
    struct sim_note notes[SIM_NOTES]; /* oldest first */
    uint32_t note_count;
    uint64_t note_seq;
    uint64_t served_run;            /* the database that last served under an epoch */
    uint64_t gate_epoch;            /* under which its gate was last opened, or it served at last */
    uint64_t sealed_epoch;          /* the last of these that seals ended, whatever the gate does */
    uint64_t acked_in;              /* the history in which it last acknowledged, as primary */
    struct ha_order late[SIM_LATE]; /* sent to it before: any may come once more */
    uint32_t late_count;
    struct sim_db db;
};

struct sim_raft;

struct sim_log {
    const struct sim_log_kind *kind;
    uint32_t count;  /* the highest index that was ever seen */
    uint32_t leader; /* node, SIM_NODES: none; one that was cut off may believe it still is */
    uint64_t term;   /* of that leader */
    uint64_t second, second_count; /* of true time, and entries in it */
    uint32_t full_seconds;         /* on end, of too many */
    uint32_t decided[64];          /* of that second's, by kind: what leaders decided */
    uint32_t guard_off;            /* rules of the guard around libraft: planted bugs */
    struct sim_raft *raft;         /* all of libraft's kind; what follows is the model's */
    struct ha_command *entries;
    uint32_t size;
    uint64_t elect_us;
    uint32_t ends; /* the entry that may end this set of watchers, 0: none */
};

struct sim_fork { /* truth: history @id left @parent at @at */
    uint64_t parent, at;
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
    struct sim_host hosts[SIM_MACHINES];
    struct sim_log log;
    struct ha_config **configs; /* every one that was ever applied for: entries point at them */
    uint32_t config_count;
    struct ha_effects *effects;
    uint32_t faults, faults_max; /* struck, and how many may */
    uint32_t names_given;        /* of watchers */
    uint64_t services_seen[8];   /* ids, newest first */
    struct sim_fork *forks;      /* by id / 1000 */
    uint64_t fork_size;
    uint64_t told_last;     /* the highest notice that the webhook has taken */
    uint64_t plan_epoch;    /* the last epoch of which PROMOTING was seen ... */
    uint32_t plan_member;   /* ... and who was to be promoted */
    uint64_t ordered_epoch; /* likewise of the orders to promote */
    uint32_t ordered_member;
    struct ha_position known;        /* of the last open epoch, the furthest that was logged ... */
    struct ha_position known_before; /* ... and of the one before */
    uint64_t known_epoch;
    uint64_t behind_epoch, behind_offset; /* in which somebody was left behind there on purpose */
    uint32_t known_service;
    uint64_t holder_epoch; /* the highest that somebody served under ... */
    uint32_t holder;       /* ... and who */
    uint64_t epoch_last;   /* of that service */
    bool judged;           /* what the last open epoch has */
    uint64_t index_checked;
    bool again;              /* its database was ended for that */
    uint64_t released_epoch; /* of which somebody died that had ended its promises */
    uint64_t hunted_epoch;   /* its fencing was disturbed on purpose, or not */
    uint64_t events;
    enum sim_plant plant;
    bool quiet;   /* no faults any more */
    bool verbose; /* print the story */
    uint64_t ids;
    uint64_t failovers;    /* epochs that opened */
    uint64_t kept;         /* leases that came to rest on other agents */
    uint64_t fenced_epoch; /* the last open one of which the log says that it is over */
    uint64_t replaced_us;  /* when people last asked for another watcher */
    uint64_t acks, losses_accepted, quiet_us;
    uint64_t open_seen; /* highest epoch that opened, in any watcher's state */
    bool alone;         /* in its state: acknowledged alone */
    uint64_t alone_index;
    bool loss_accepted; /* by the operator, since */
    bool excused;       /* of what is acknowledged some may be lost */
    uint64_t served;    /* highest epoch whose primary was seen to take writes */
    uint32_t acked_count;
    uint64_t acked_us; /* when the last write was acknowledged */
    struct sim_acked acked[SIM_ACKED_MAX];
    uint64_t writes, repeats;
    uint64_t epoch_seen;
    uint64_t index_digest[2]; /* index and digest last compared */
    enum sim_exit verdict;
    char why[256];
};

/* What runs may be asked for: other seeds are passed over. */
enum sim_trait {
    SIM_ONLY_REDIS = 1,
    SIM_ONLY_SYNC = 2, /* PostgreSQL, sync or strict */
    SIM_ONLY_STRICT = 4,
    SIM_ONLY_HOLD = 8,
    SIM_ONLY_CHANGES = 16,
    SIM_ONLY_FENCE = 32,
    SIM_ONLY_BUDGET = 64,
    SIM_ONLY_AGAIN = 128,
};

struct sim_options {
    bool raft; /* libraft itself for a log */
    uint32_t guard_off;
    uint32_t only; /* traits, all of which a run must have */
    uint32_t seconds, faults_max;
    bool verbose, silent;
    enum sim_plant plant;
};

struct sim_totals {
    uint64_t failovers, writes, acks, losses, faults, kept, repeats;
    uint64_t done;        /* seeds that were good ... */
    uint64_t passed_over; /* ... of which these were not run */
    uint64_t seed;        /* the last one that was begun */
};

/* run.c */
enum sim_exit sim_run_seed(uint64_t seed, const struct sim_options *options,
                           struct sim_totals *totals);
/* Whether the run of @seed has all of @only. */
bool sim_seed_has(uint64_t seed, uint32_t only);
void sim_story(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_fail(struct sim *sim, enum sim_exit verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A copy of the newest configuration, which the next entry may point at. */
struct ha_config *sim_config_new(struct sim *sim);

/* hold.c: agents among themselves */
bool sim_hold_drawn(uint64_t seed);
void sim_hold_start(struct sim *sim, uint32_t host);
void sim_hold_ask(struct sim *sim, uint32_t node, const struct ha_effect_hold_ask *ask);
void sim_hold_word(struct sim *sim, uint32_t node, const struct ha_effect_hold_word *word);
void sim_hold_event(const struct sim *sim, const struct sim_message *message, char agent[8],
                    struct ha_event *event);
void sim_hold_count(struct sim *sim, uint32_t host);
void sim_hold_strike(struct sim *sim, bool all_watchers);

/* image.c */
void sim_image_take(struct sim *sim, uint32_t host);
void sim_image_use(struct sim *sim, uint32_t host, const struct sim_image *image);
/* Its agent knows nothing any more. */
void sim_image_forget(struct sim *sim, uint32_t host);
/* The lease of an epoch that is being ended, or has been, still lets clients in. */
bool sim_leans_on_seals(const struct sim *sim);
bool sim_is_kept_off(const struct sim *sim, uint32_t host);
bool sim_may_go_back(const struct sim *sim, uint32_t host);
bool sim_may_be_cloned(const struct sim *sim);

/* queue.c */
void sim_push(struct sim *sim, uint64_t at_us, enum sim_what what, uint32_t node, uint32_t arg,
              struct sim_message *message);
bool sim_pop(struct sim *sim, struct sim_event *ret);
struct sim_message *sim_message_new(enum sim_kind kind, uint32_t from);
/* Over the network: lost, delayed, twice, or never where the link is cut. Takes @message. False:
 * it will not arrive. */
bool sim_send(struct sim *sim, uint32_t from, uint32_t to, struct sim_message *message);
/* From a device of the node itself, after @delay_us. Takes @message. */
void sim_answer(struct sim *sim, uint32_t node, uint64_t delay_us, struct sim_message *message);
uint64_t sim_clock_ms(const struct sim *sim, uint32_t node);
struct ha_event sim_event_of(const struct sim *sim, uint32_t node, enum ha_event_kind kind);
bool sim_both_reach(const struct sim *sim, uint32_t a, uint32_t b);
bool sim_runs(const struct sim *sim, uint32_t node);
const char *sim_node_name(const struct sim *sim, uint32_t node);

/* watch.c: the shell of a watcher */
void sim_watcher_name(struct sim *sim, uint32_t node);
void sim_watcher_start(struct sim *sim, uint32_t node);
int sim_watcher_step(struct sim *sim, uint32_t node, const struct ha_event *event);
void sim_watcher_event(struct sim *sim, uint32_t node, const struct sim_message *message);
void sim_watcher_tick(struct sim *sim, uint32_t node);

/* agents.c: the connections that a watcher has with agents */
/* Whether a word of machine @machine under its name counts at watcher @node. */
bool sim_seat_hears(struct sim *sim, uint32_t node, uint32_t machine);
/* The machine that is served under the name of @member; SIM_MACHINES: none. */
uint32_t sim_seat_of(const struct sim *sim, uint32_t node, uint32_t member);
void sim_seat_settings(struct sim *sim, uint32_t node);
void sim_seat_probe(struct sim *sim, uint32_t node);

/* links.c: what is said on these connections, in full or in a word */
void sim_link_beat(struct sim *sim, uint32_t machine, const struct ha_status *status);
/* The promise that @message stands for; false: for none. */
bool sim_link_promised(struct sim *sim, uint32_t machine, const struct sim_message *message,
                       struct ha_promise *ret);
void sim_link_told(struct sim *sim, uint32_t machine, const struct sim_message *message);
void sim_link_heard(struct sim *sim, uint32_t watcher, const struct sim_message *message);
void sim_link_repeated(struct sim *sim, uint32_t watcher, const struct sim_message *message);
void sim_link_promise(struct sim *sim, uint32_t watcher, const struct ha_promise *promise);
void sim_link_break(struct sim *sim, uint32_t machine, uint32_t watcher);
/* Clients write now. */
bool sim_clients_write(const struct sim *sim);

/* people.c: operators and the webhook */
void sim_operator_first(struct sim *sim);
void sim_operator_helps(struct sim *sim);
/* Somebody asks watcher @node for a switchover or a failover; @member 0: to whomever. */
void sim_operator(struct sim *sim, uint32_t node, uint32_t member, bool switchover);
void sim_operator_changes(struct sim *sim);
void sim_operator_replaces(struct sim *sim, uint32_t old);
void sim_operator_calms(struct sim *sim);
void sim_notify_step(struct sim *sim);

/* host.c: the shell of an agent */
void sim_agent_start(struct sim *sim, uint32_t node);
void sim_agent_event(struct sim *sim, uint32_t node, const struct sim_message *message);
void sim_act(struct sim *sim, uint32_t node, struct sim_message *message);
void sim_agent_tick(struct sim *sim, uint32_t node);
void sim_host_boot(struct sim *sim, uint32_t host);

/* gate.c: what the kernel of a host lets out */
bool sim_gate_open(const struct sim *sim, uint32_t host);
void sim_gate_set(struct sim *sim, uint32_t host, uint64_t deadline_ms);
/* The agent of @host goes on; true: and stopped again inside the call. */
bool sim_gate_resume(struct sim *sim, uint32_t host);
/* The agent looks whether its rules are still there. */
void sim_gate_look(struct sim *sim, uint32_t host);

/* db.c: Redis, and what both engines share */
void sim_db_start(struct sim *sim, uint32_t host, bool empty);
void sim_db_kill(struct sim *sim, uint32_t host);
void sim_db_step(struct sim *sim);
/* What a client anywhere would get: a write acknowledged. */
bool sim_takes_writes(const struct sim *sim, uint32_t host);
void sim_db_sample(const struct sim *sim, uint32_t host, struct ha_sample *ret);
void sim_db_act(struct sim *sim, uint32_t host, const struct ha_order *order);
uint64_t sim_new_id(struct sim *sim);
/* A new history that leaves @parent at @at. */
uint64_t sim_new_history(struct sim *sim, uint64_t parent, uint64_t at);
/* Truth: how much two databases have in common. */
uint64_t sim_shared(const struct sim *sim, const struct ha_position *a,
                    const struct ha_position *b);

/* postgres.c: the other engine */
void sim_pg_start(struct sim *sim, uint32_t host, bool empty);
void sim_pg_step(struct sim *sim);
void sim_pg_early(struct sim *sim, uint32_t host, const struct ha_order *order, bool is_meant);
void sim_pg_act(struct sim *sim, uint32_t host, const struct ha_order *order);
uint64_t sim_pg_names_id(const struct sim_db *db, uint32_t member);
bool sim_pg_holds(const struct sim_db *db, const struct sim_acked *acked);

/* fault.c */
void sim_fault(struct sim *sim);
void sim_fault_sealed(struct sim *sim, uint32_t node);
/* The service is being fenced: now a leader that goes hurts most. */
void sim_fault_fencing(struct sim *sim);
/* Watcher @old is replaced: it and another one that does not know it yet may be all that a primary
 * hears, and what they promise keeps its lease. */
void sim_fault_replaced(struct sim *sim, uint32_t old);
/* The position of the primary on @host was logged. */
void sim_fault_logged(struct sim *sim, uint32_t host);
/* An epoch of the database on @host has opened. */
void sim_fault_opened(struct sim *sim, uint32_t host);
/* An order waits for an agent that is stopped. */
void sim_fault_serving(struct sim *sim, uint32_t host, const struct ha_order *order);
/* An order comes to an agent whose promises may keep another's lease. */
void sim_fault_releasing(struct sim *sim, uint32_t host, const struct ha_order *order);
/* An agent writes its note: one that dies now may have said what it will not remember. */
void sim_fault_noting(struct sim *sim, uint32_t node);
/* The host was switched off; it comes back later. */
/* The agent has no other gate than the end of its database. */
void sim_fault_end(struct sim *sim, uint32_t host);
void sim_fault_power(struct sim *sim, uint32_t host);
void sim_mend(struct sim *sim, uint32_t arg);
void sim_heal_all(struct sim *sim);
void sim_stop(struct sim *sim, uint32_t node);
/* The process at @node has ended by itself; somebody starts it again. */
void sim_fault_ended(struct sim *sim, uint32_t node);

/* check.c */
void sim_check(struct sim *sim);
void sim_check_promise(struct sim *sim, uint32_t watcher, const struct ha_promise *promise);
void sim_check_order(struct sim *sim, const struct ha_order *order);
/* As watcher @node has it before it is applied. */
void sim_check_entry(struct sim *sim, uint32_t node, const struct ha_command *command);
/* The webhook takes a notice. */
void sim_check_notice(struct sim *sim, uint64_t seq, uint64_t dropped);
void sim_check_acked(struct sim *sim, uint32_t host, bool other_history);
bool sim_is_well(struct sim *sim, char why[256]);

#endif /* HA_TESTS_SIM_SIM_H */
