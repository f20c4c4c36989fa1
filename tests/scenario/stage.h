/* tests/scenario/stage.h - a small stage for stories: three watchers, three hosts, one service.
 *
 * The real core of both daemons; everything else is a model that does the same thing each time: a
 * message or an entry of the log takes 1 ms, a disk 2 ms, a database 3 ms for whatever it is told,
 * a fencing command 300 ms. Nothing happens by chance, so that a story can be told word for word.
 */
#ifndef HA_TESTS_SCENARIO_STAGE_H
#define HA_TESTS_SCENARIO_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/check.h"
#include "lib/core/agent.h"
#include "lib/core/watcher.h"

enum { STAGE_WATCHERS = 3, STAGE_HOSTS = 3 };

struct stage_db {
    bool alive, hung;
    bool refuses; /* to be promoted */
    enum ha_role role;
    uint32_t upstream; /* host; STAGE_HOSTS: none */
    uint64_t run_id, pid;
    struct ha_position position;
    /* PostgreSQL */
    struct ha_sync_set names; /* whose word it waits for; need 1 of nobody: as promoted */
    uint64_t names_epoch;     /* the epoch in them */
    uint64_t name_epoch;      /* a standby's own name */
    uint64_t served_epoch;    /* since which it has been looked at */
};

struct stage_host {
    struct ha_agent *brain;
    bool agent_up;
    uint32_t life; /* of the agent's process: what was meant for an earlier one is lost */
    uint64_t instance, gate_until_ms, wake_ms;
    bool gate_broken; /* its kernel lets everything out */
    bool vip, noted;
    struct ha_effect_epochs note;
    struct stage_db db;
};

struct stage_watcher {
    struct ha_watcher *brain;
    bool up, leads;
    uint32_t life, applied, note_ms;
    uint64_t told_settings; /* configuration version last pushed */
};

enum stage_kind {
    STAGE_HEARTBEAT,
    STAGE_PROMISE,
    STAGE_ORDER,
    STAGE_STOPPED,
    STAGE_PROPOSE,
    STAGE_NOTED,
    STAGE_CLOSED,
    STAGE_SAMPLE,
    STAGE_ACTED,
    STAGE_VIP,
    STAGE_PROMISE_NOTED,
    STAGE_FENCED,
};

struct stage_message {
    struct stage_message *next;
    uint64_t due_ms;
    enum stage_kind kind;
    uint32_t from, to; /* watchers 0.., hosts from STAGE_WATCHERS on */
    uint32_t life;     /* of the receiver when it was sent */
    union {
        struct ha_heartbeat heartbeat;
        struct ha_promise promise;
        struct ha_order order;
        struct ha_stopped stopped;
        struct ha_command command;
        struct ha_effect_epochs epochs;
        struct ha_act act;
        uint32_t persist_ms;
        uint64_t gate_number;
        struct ha_event_fence_command fence_command;
        bool held;
    } u;
};

struct stage {
    uint64_t now_ms;
    uint64_t ids;
    struct stage_watcher watchers[STAGE_WATCHERS];
    struct stage_host hosts[STAGE_HOSTS];
    bool cut[STAGE_WATCHERS + STAGE_HOSTS][STAGE_WATCHERS + STAGE_HOSTS];
    struct stage_message *first; /* by due_ms, then by sending */
    struct ha_effects *effects;
    struct ha_config *config;     /* the next one to apply */
    struct ha_config *applied[8]; /* what the log points to */
    uint32_t applied_count;
    enum ha_gate gate; /* class of every host */
    bool power_fails;  /* of the fencing command of every watcher */
    enum ha_engine engine;
    enum ha_durability durability;
    uint64_t acked_lineage, acked_offset; /* the last write that a client was told of */
    bool acked_alone;                     /* nothing was promised of it */
    bool loss_accepted;                   /* by the operator */
    uint32_t leader;                      /* STAGE_WATCHERS: none */
    uint64_t elect_ms, term;
    struct ha_command *log;
    uint32_t log_count, log_size, told; /* entries already in the transcript */
    bool was_open[STAGE_HOSTS];
    const char *was_acked[STAGE_HOSTS]; /* how the host acknowledges */
    enum ha_state was_state;
    bool broken; /* two took writes at once, or what was acknowledged is lost */
    void (*say_cb)(void *ctx, const char *line);
    void *ctx;
};

/* PostgreSQL where writes are to be replicated before they are acknowledged, else Redis. */
void stage_open(struct stage *stage, enum ha_gate gate, enum ha_durability durability,
                void (*say_cb)(void *, const char *), void *ctx);
void stage_close(struct stage *stage);
void stage_say(struct stage *stage, const char *format, ...) HA_PRINTF(2, 3);
void stage_run(struct stage *stage, uint64_t ms);

/* stage.c: the network, the log and the watchers */
struct stage_message *stage_send(struct stage *stage, enum stage_kind kind, uint32_t from,
                                 uint32_t to, uint64_t after_ms);
bool stage_reaches(const struct stage *stage, uint32_t a, uint32_t b);
void stage_cut(struct stage *stage, uint32_t node, uint32_t from, bool cut);
void stage_watcher_up(struct stage *stage, uint32_t watcher);
void stage_watcher_down(struct stage *stage, uint32_t watcher);
void stage_lead(struct stage *stage, uint32_t watcher);
/* Ask for stage->config to be applied. */
void stage_configure(struct stage *stage);
/* An operator asks the leader; what it answers is said. */
void stage_request(struct stage *stage, const struct ha_command *command);
const struct ha_service *stage_service(const struct stage *stage);

/* host.c: agents and databases */
void stage_host_tick(struct stage *stage, uint32_t host);
void stage_host_take(struct stage *stage, uint32_t host, const struct stage_message *message);
void stage_host_settings(struct stage *stage, uint32_t host, const struct ha_settings *settings);
void stage_agent_up(struct stage *stage, uint32_t host);
void stage_db_up(struct stage *stage, uint32_t host, bool empty);
void stage_db_down(struct stage *stage, uint32_t host);
void stage_db_sample(const struct stage *stage, uint32_t host, struct ha_sample *ret);
void stage_db_write(struct stage *stage);
/* postgres.c: the other engine */
void stage_pg_act(struct stage *stage, uint32_t host, const struct ha_act *act);
uint64_t stage_pg_names(const struct stage *stage, uint32_t host);
/* Whose writes are acknowledged now, and whether any that were are lost. */
void stage_pg_look(struct stage *stage);
/* Whether @host replicates from @from now. */
bool stage_db_is_fed(const struct stage *stage, uint32_t host, uint32_t from);
bool stage_gate_is_open(const struct stage *stage, uint32_t host);
bool stage_takes_writes(const struct stage *stage, uint32_t host);

#endif /* HA_TESTS_SCENARIO_STAGE_H */
