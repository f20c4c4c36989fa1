/* lib/core/agent.h - the only door into the agent's brain: lease, gate, orders, address.
 *
 * Pure, no allocation; memory zeroed by the owner. One thread. `now_ms` of events is CLOCK_BOOTTIME
 * in milliseconds, the same clock the gate compares with. Effects name services by id; the shell
 * maps ids to its [database] sections by the names in the settings. */
#ifndef HA_CORE_AGENT_H
#define HA_CORE_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/effect.h"
#include "lib/core/event.h"

/* One watcher's promises for one service. */
struct ha_granted {
    uint64_t set_id;
    uint32_t set_size;
    uint64_t until_ms; /* stamp of the heartbeat it answered + length */
};

/* Promises between agents, see agent_hold.c. */
struct ha_held_hold {
    /* of the others, for the lease held here */
    struct ha_hold_terms terms;            /* durable ... */
    uint64_t index_durable;                /* ... when this is its index */
    uint64_t given_ms[HA_MEMBERS_MAX + 1]; /* stamp of what was asked + length, by member id */
    uint64_t rests_until_ms;               /* the last end of a lease that rested on them */
    uint64_t since_ms;                     /* it rests on them since; 0: it does not */
    /* to others */
    uint64_t until_ms; /* of the promise that ends last, drift included */
    uint64_t released; /* somebody waits to hear that this epoch is noted; 0: nobody */
};

struct ha_held { /* one service this host has a member of */
    bool used;
    struct ha_settings settings;

    /* durable, and what of it is on disk already */
    uint64_t epoch_seen, given_up;
    enum ha_verdict given_up_why;
    uint64_t epoch_seen_durable, given_up_durable;
    uint64_t serving_epoch, serving_run;     /* what the last run of this agent held */
    uint64_t sealed, sealed_durable;         /* receives nothing below this epoch; 0: not sealed */
    bool seal_done;                          /* the database was told in this run of the agent */
    uint64_t sync_epoch;                     /* standby names of this epoch are in effect ... */
    uint64_t sync_index, sync_index_durable; /* ... as this log entry says */

    /* the epoch it acts for */
    uint64_t epoch;         /* promoted for, lease claimed; HA_EPOCH_NONE */
    uint64_t given_up_told; /* gate closed and note durable: what heartbeats say */
    bool giving_up;         /* gate closing or note not yet durable: not reported yet */
    bool unsaid;            /* a close or a note did not fit among the effects */
    uint64_t gate_number;   /* of the last order to the gate */
    bool gate_closed;       /* verified for the close of that number */
    uint64_t lease_until_ms;
    struct ha_granted granted[HA_WATCHERS_MAX];
    uint64_t kept_end_ms; /* lease of this epoch from promises that those of a newer set replaced */
    struct ha_held_hold hold;
    uint64_t gate_until_ms; /* last deadline set, 0: closed */
    bool serving;           /* gate opened under the lease of `epoch` */
    uint64_t resumed_ms;    /* went on with what the last run held, no lease since; 0: no */

    /* the database process */
    enum ha_process process;
    uint64_t pid_start;      /* the process that is watched */
    bool drained_away;       /* it has ended under a drain, which tells it with its own end */
    uint64_t verified_start; /* the process whose role, run id and position were seen as wanted */
    uint64_t verified_run;
    bool sampled;
    struct ha_sample sample;
    uint32_t replica_seen; /* probes in a row that found this process a read-only replica */
    uint64_t sampled_ms;   /* when it last answered; before that, since when it is asked */
    uint64_t probe_due_ms;

    /* the order under way or last ended */
    struct ha_order order;
    struct ha_order waits; /* for what is under way to end; kind NONE: nothing does */
    enum ha_result result;
    uint32_t ticket; /* of the act under way; 0: none */
    uint64_t order_ms;
    uint32_t falls;      /* orders to follow in a row that came to nothing */
    uint64_t retry_ms;   /* the next of them is not done before */
    uint64_t running_ms; /* since when the process runs */
    uint64_t index_seen;
    char text[HA_TEXT_SIZE];

    /* the virtual IP */
    bool vip_wanted, vip_held, vip_conflict;
    uint64_t vip_refresh_ms;

    uint64_t beat_due_ms;
    bool beat_now;
};

struct ha_agent {
    uint64_t instance;
    enum ha_gate gate; /* class */
    bool noteless;     /* set by the shell: notes do not reach the disk now */
    uint64_t
        memory; /* set by the shell, see struct ha_status; 0: it promises other agents nothing */
    uint64_t since_ms; /* its first event */
    bool link_up[HA_WATCHERS_MAX];
    uint32_t ticket_last;
    uint32_t held_count;
    uint32_t places[HA_SERVICES_MAX]; /* by service id, modulo: where it was put in `held` */
    uint64_t due_ms[HA_SERVICES_MAX]; /* parallel to held: until then only an event changes it */
    uint64_t wake_ms;                 /* the earliest of them */
    uint64_t claims_ms;               /* since then ... */
    uint32_t claims;                  /* ... so many asked for the first promises of an epoch */
    uint64_t version_last;            /* of any configuration it has settings from */
    struct ha_held held[HA_SERVICES_MAX];
};

void ha_agent_init(struct ha_agent *a, uint64_t instance, enum ha_gate gate);

/* Before the first step, for each line of the durable note. HA_EFULL. */
int ha_agent_load(struct ha_agent *a, const struct ha_effect_epochs *epochs);

/* Take one event in; *out is filled, not cleared. Always HA_OK but for a full table: HA_EFULL. */
int ha_agent_step(struct ha_agent *a, const struct ha_event *event, struct ha_effects *out);

/* When HA_EVENT_TICK is wanted next. */
uint64_t ha_agent_wake_ms(const struct ha_agent *a);

/* Whether @settings come from a watcher that lags: newer ones of that service were taken before. */
bool ha_agent_is_outdated(const struct ha_agent *a, const struct ha_settings *settings);

/* Whether nothing of the service has to be remembered: it was deleted, and all of it is over. */
bool ha_agent_may_forget(const struct ha_agent *a, uint32_t service);

const struct ha_held *ha_agent_held(const struct ha_agent *a, uint32_t service);

/* When the lease of @held ends: the majority-th largest end of the promises of one set of watchers
 * (design, section 6.1). 0: no lease. */
uint64_t ha_held_lease_end_ms(const struct ha_held *held);
/* When the first promise of other agents that may keep it ends; 0: one is missing, or they may not
 * (design, section 6.6). */
uint64_t ha_held_hold_end_ms(const struct ha_held *held);

#endif /* HA_CORE_AGENT_H */
