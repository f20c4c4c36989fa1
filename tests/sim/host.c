/* The shell of an agent around the real brain, with models of its database and its kernel gate. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/sim/sim.h"

static uint32_t node_of(uint32_t host)
{
    return SIM_WATCHERS_MAX + host;
}

static struct ha_event event_of(const struct sim *sim, uint32_t node, enum ha_event_kind kind)
{
    return (struct ha_event){
        .kind = kind, .now_ms = sim_clock_ms(sim, node), .wall_ms = 1000000 + sim->now_us / 1000};
}

/* Gate and database */

bool sim_gate_open(const struct sim *sim, uint32_t host)
{
    return sim->hosts[host].gate_broken ||
           sim_clock_ms(sim, node_of(host)) < sim->hosts[host].gate_until_ms;
}

bool sim_takes_writes(const struct sim *sim, uint32_t host)
{
    const struct sim_db *db = &sim->hosts[host].db;

    return db->alive && db->role == HA_ROLE_PRIMARY && sim_gate_open(sim, host);
}

uint64_t sim_new_id(struct sim *sim)
{
    return ++sim->ids * 1000 + 7;
}

void sim_db_start(struct sim *sim, uint32_t host, bool empty)
{
    struct sim_db *db = &sim->hosts[host].db;
    struct ha_lineage *lineage = &db->position.lineage;

    db->alive = true;
    db->hung = false;
    db->link_up = db->copying = false;
    db->run_id = sim_new_id(sim);
    db->pid_start = sim_new_id(sim);
    if (empty) {
        db->position.offset = 0;
        *lineage = (struct ha_lineage){.count = 1, .steps = {{sim_new_id(sim), UINT64_MAX}}};
    } else if (sim->profile.engine == HA_ENGINE_REDIS && db->role == HA_ROLE_PRIMARY &&
               lineage->count > 0) {
        /* A restarted primary loads its data under a new replication id, and knows the old one. */
        lineage->steps[1] = (struct ha_lineage_step){lineage->steps[0].id, db->position.offset};
        lineage->steps[0] = (struct ha_lineage_step){sim_new_id(sim), UINT64_MAX};
        lineage->count = 2;
    }
    if (sim->profile.engine == HA_ENGINE_POSTGRESQL)
        sim_pg_start(sim, host, empty);
    sim_story(sim, "database on db%u starts%s as %s", host + 1, empty ? " empty" : "",
              ha_role_text(db->role));
}

void sim_db_kill(struct sim *sim, uint32_t host)
{
    struct sim_host *h = &sim->hosts[host];
    struct sim_message *message;

    if (!h->db.alive)
        return;
    h->db.alive = false;
    h->db.link_up = h->db.copying = false;
    sim_story(sim, "database on db%u dies", host + 1);
    message = sim_message_new(SIM_DEV_PROCESS, node_of(host));
    message->a = HA_PROCESS_GONE;
    message->x = h->db.pid_start;
    sim_answer(sim, node_of(host), 300, message);
}

static bool feeds(const struct sim *sim, uint32_t replica)
{
    const struct sim_db *db = &sim->hosts[replica].db;
    uint32_t up = db->upstream;

    return up < SIM_HOSTS && up != replica && sim->hosts[up].db.alive && !sim->hosts[up].db.hung &&
           sim_gate_open(sim, up) && sim_both_reach(sim, node_of(replica), node_of(up));
}

static void replicate(struct sim *sim, uint32_t replica)
{
    struct sim_db *db = &sim->hosts[replica].db;
    const struct sim_db *up;

    if (!db->alive || db->hung || db->role != HA_ROLE_REPLICA)
        return;
    if (!feeds(sim, replica)) {
        db->link_up = db->copying = false;
        return;
    }
    up = &sim->hosts[db->upstream].db;
    if (db->copying) {
        if (sim->now_us < db->copy_done_us)
            return;
        db->copying = false;
        db->position = up->position;
    }
    if (db->position.lineage.count == 0 ||
        db->position.lineage.steps[0].id != up->position.lineage.steps[0].id) {
        /* A partial synchronization where the upstream's history contains ours. */
        bool partial = up->position.lineage.count > 1 && db->position.lineage.count > 0 &&
                       up->position.lineage.steps[1].id == db->position.lineage.steps[0].id &&
                       db->position.offset <= up->position.lineage.steps[1].end;

        if (!partial) {
            db->copying = true;
            db->link_up = false;
            db->copy_done_us = sim->now_us + ha_prng_between(&sim->prng, 20000, 300000);
            return;
        }
    }
    db->link_up = true;
    db->position = up->position;
}

void sim_db_step(struct sim *sim)
{
    if (sim->profile.engine == HA_ENGINE_POSTGRESQL) {
        sim_pg_step(sim);
        return;
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        struct sim_db *db = &sim->hosts[h].db;

        if (sim_takes_writes(sim, h) && !db->hung) {
            db->position.offset += 10;
            sim->writes++;
        }
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        replicate(sim, h);
}

void sim_db_sample(const struct sim *sim, uint32_t host, struct ha_sample *ret)
{
    const struct sim_db *db = &sim->hosts[host].db;

    memset(ret, 0, sizeof(*ret));
    if (!db->alive)
        ret->answer = HA_ANSWER_REFUSED;
    else if (!db->hung)
        ret->answer = HA_ANSWER_OK;
    if (ret->answer != HA_ANSWER_OK)
        return;
    ret->role = db->role;
    ret->writable = true;
    ret->link_up = db->link_up;
    ret->copying = db->copying;
    ret->read_only = db->role == HA_ROLE_REPLICA;
    ret->run_id = db->run_id;
    ret->position = db->position;
    if (sim->profile.engine == HA_ENGINE_POSTGRESQL && db->role == HA_ROLE_PRIMARY)
        ret->sync_id = sim_pg_names_id(db);
    if (db->role == HA_ROLE_REPLICA && db->upstream < SIM_HOSTS) {
        (void)ha_text_format(ret->upstream_host, sizeof(ret->upstream_host), "10.0.0.%u",
                             db->upstream + 1);
        ret->upstream_port = 6379;
    }
}

/* Acts */

static void promote(struct sim *sim, struct sim_db *db)
{
    struct ha_lineage *lineage = &db->position.lineage;

    if (db->role == HA_ROLE_PRIMARY)
        return;
    db->role = HA_ROLE_PRIMARY;
    db->upstream = SIM_HOSTS;
    db->link_up = db->copying = false;
    memmove(&lineage->steps[1], &lineage->steps[0],
            (HA_LINEAGE_MAX - 1) * sizeof(lineage->steps[0]));
    lineage->steps[1].end = db->position.offset;
    lineage->steps[0] = (struct ha_lineage_step){sim_new_id(sim), UINT64_MAX};
    lineage->count = 2; /* Redis remembers one older replication id */
}

/* Arrives as a message of its own, so that the change happens when the database does it. */
static void act_done(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    uint32_t host = node - SIM_WATCHERS_MAX;
    struct sim_db *db = &sim->hosts[host].db;
    struct ha_event event = event_of(sim, node, HA_EVENT_ACTED);
    struct ha_sample sample;
    bool failed = !db->alive || db->hung ||
                  (!sim->quiet && ha_prng_chance(&sim->prng, sim->profile.promote_fail_ppm));

    if (!failed && message->u.order.kind == HA_ORDER_SEAL)
        sim_fault_sealed(sim, node);
    if (!failed && sim->profile.engine == HA_ENGINE_POSTGRESQL)
        sim_pg_act(sim, host, &message->u.order);
    else if (!failed && message->u.order.kind == HA_ORDER_PROMOTE)
        promote(sim, db);
    else if (!failed && message->u.order.kind == HA_ORDER_FOLLOW) {
        uint32_t up = (uint32_t)(message->u.order.upstream_host[7] - '1');

        db->role = HA_ROLE_REPLICA;
        if (db->upstream != up)
            db->link_up = db->copying = false;
        db->upstream = up;
    }
    sim_db_sample(sim, host, &sample);
    event.u.acted = (struct ha_event_acted){.service = message->b,
                                            .ticket = message->a,
                                            .code = failed ? HA_EIO : HA_OK,
                                            .text = failed ? "the database refused" : "",
                                            .sample = failed ? NULL : &sample};
    ha_effects_clear(sim->effects);
    (void)ha_agent_step(sim->hosts[host].brain, &event, sim->effects);
}

/* Effects */

static void set_gate(struct sim *sim, uint32_t node, const struct ha_effect_gate *gate)
{
    struct sim_host *host = &sim->hosts[node - SIM_WATCHERS_MAX];
    struct sim_message *message;

    host->gate_until_ms = gate->deadline_ms;
    if (gate->deadline_ms != 0)
        return;
    message = sim_message_new(SIM_DEV_GATE_CLOSED, node);
    message->a = gate->service;
    sim_answer(sim, node, 50, message);
}

static void probe(struct sim *sim, uint32_t node, uint32_t service)
{
    const struct sim_db *db = &sim->hosts[node - SIM_WATCHERS_MAX].db;
    struct sim_message *message = sim_message_new(SIM_DEV_SAMPLED, node);

    message->a = service;
    message->x = db->pid_start;
    sim_answer(sim, node, db->alive && db->hung ? 300000 : 500, message);
}

static uint64_t device_delay_us(struct sim *sim)
{
    if (!sim->quiet && ha_prng_chance(&sim->prng, sim->profile.slow_ppm))
        return ha_prng_between(&sim->prng, 100000, 8000000);
    return ha_prng_between(&sim->prng, 200, 20000);
}

static void execute_one(struct sim *sim, uint32_t node, const struct ha_effect *effect)
{
    struct sim_host *host = &sim->hosts[node - SIM_WATCHERS_MAX];
    struct sim_message *message;

    switch (effect->kind) {
    case HA_EFFECT_HEARTBEAT:
        for (uint32_t i = 0; i < sim->profile.watchers; i++) {
            message = sim_message_new(SIM_MSG_HEARTBEAT, node);
            message->u.heartbeat.instance = host->instance;
            message->u.heartbeat.stamp = sim_clock_ms(sim, node);
            message->u.heartbeat.status = effect->u.status;
            sim_send(sim, node, i, message);
        }
        return;
    case HA_EFFECT_GATE:
        set_gate(sim, node, &effect->u.gate);
        return;
    case HA_EFFECT_PERSIST_EPOCHS:
        message = sim_message_new(SIM_DEV_NOTED_EPOCHS, node);
        message->a = effect->u.epochs.service;
        message->x = effect->u.epochs.epoch_seen;
        message->y = effect->u.epochs.given_up;
        message->u.order.epoch = effect->u.epochs.sealed;
        message->u.order.sync_index = effect->u.epochs.sync_index;
        /* Durable when the answer is under way: a crash in between may lose the answer only. */
        host->epochs = effect->u.epochs;
        host->epochs_known = true;
        sim_answer(sim, node, device_delay_us(sim), message);
        return;
    case HA_EFFECT_PROBE:
        probe(sim, node, effect->u.service);
        return;
    case HA_EFFECT_ACT:
        sim_story(sim, "db%u does: %s epoch %lu", node - SIM_WATCHERS_MAX + 1,
                  ha_order_kind_text(effect->u.act.kind), (unsigned long)effect->u.act.epoch);
        message = sim_message_new(SIM_DEV_ACTED, node);
        message->a = effect->u.act.ticket;
        message->b = effect->u.act.service;
        message->u.order.kind = effect->u.act.kind;
        message->u.order.epoch = effect->u.act.epoch;
        message->u.order.sync_managed = effect->u.act.sync_managed;
        message->u.order.sync = effect->u.act.sync;
        memcpy(message->u.order.upstream_host, effect->u.act.upstream_host, HA_HOST_SIZE);
        if (sim->profile.engine == HA_ENGINE_POSTGRESQL)
            sim_pg_early(sim, node - SIM_WATCHERS_MAX, &message->u.order);
        sim_answer(sim, node, device_delay_us(sim), message);
        return;
    case HA_EFFECT_ACT_CANCEL:
        return;
    case HA_EFFECT_VIP_CLAIM:
    case HA_EFFECT_VIP_RELEASE:
        host->vip = effect->kind == HA_EFFECT_VIP_CLAIM;
        host->vip_until_ms = sim_clock_ms(sim, node) + effect->u.vip.valid_ms;
        message = sim_message_new(SIM_DEV_VIP, node);
        message->a = effect->u.vip.service;
        message->b = host->vip ? 1 : 0;
        sim_answer(sim, node, 500, message);
        return;
    case HA_EFFECT_PROPOSE:
    case HA_EFFECT_PROMISE:
    case HA_EFFECT_ORDER:
    case HA_EFFECT_STOPPED:
    case HA_EFFECT_PERSIST_PROMISE:
    case HA_EFFECT_FENCE_COMMAND:
        abort(); /* a watcher's effect from an agent */
    }
}

static void execute(struct sim *sim, uint32_t node)
{
    for (uint32_t i = 0; i < sim->effects->count; i++)
        execute_one(sim, node, &sim->effects->items[i]);
}

static void step(struct sim *sim, uint32_t node, const struct ha_event *event)
{
    ha_effects_clear(sim->effects);
    (void)ha_agent_step(sim->hosts[node - SIM_WATCHERS_MAX].brain, event, sim->effects);
    execute(sim, node);
}

/* The process */

void sim_host_boot(struct sim *sim, uint32_t host)
{
    /* A new boot: a new gate, closed, with a new instance in it. */
    sim->hosts[host].instance = sim_new_id(sim);
    sim->hosts[host].gate_until_ms = 0;
    sim->hosts[host].vip = false;
}

void sim_agent_start(struct sim *sim, uint32_t node)
{
    struct sim_host *host = &sim->hosts[node - SIM_WATCHERS_MAX];

    if (host->brain == NULL)
        host->brain = malloc(sizeof(*host->brain));
    assert(host->brain != NULL);
    ha_agent_init(host->brain, host->instance, HA_GATE_BPF);
    if (host->epochs_known)
        assert(ha_agent_load(host->brain, &host->epochs) == HA_OK);
    sim->nodes[node].alive = true;
    sim->nodes[node].incarnation++;
    sim_story(sim, "agent on db%u starts", node - SIM_WATCHERS_MAX + 1);
    /* A watcher that led once and does not know better may be the first that it hears. */
    if (host->late_count > 0 && !sim->quiet && ha_prng_chance(&sim->prng, 500000)) {
        struct sim_message *late = sim_message_new(SIM_MSG_ORDER, 0);

        /* Mostly of the epoch that is being ended. */
        late->u.order = host->late[ha_prng_chance(&sim->prng, 500000)
                                       ? host->late_count - 1
                                       : (uint32_t)ha_prng_below(&sim->prng, host->late_count)];
        sim_answer(sim, node, ha_prng_between(&sim->prng, 1000, 400000), late);
    }
    sim_push(sim, sim->now_us, SIM_TICK, node, 0, NULL);
}

void sim_agent_tick(struct sim *sim, uint32_t node)
{
    struct ha_event event = event_of(sim, node, HA_EVENT_TICK);
    uint64_t wake_ms, now_ms = sim_clock_ms(sim, node);

    step(sim, node, &event);
    wake_ms = ha_agent_wake_ms(sim->hosts[node - SIM_WATCHERS_MAX].brain);
    if (wake_ms > now_ms + 100)
        wake_ms = now_ms + 100;
    if (wake_ms <= now_ms)
        wake_ms = now_ms + 1;
    sim_push(sim, sim->now_us + 1000 * (wake_ms - now_ms), SIM_TICK, node, 0, NULL);
}

static void sampled(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    uint32_t host = node - SIM_WATCHERS_MAX;
    const struct sim_db *db = &sim->hosts[host].db;
    struct ha_event event;
    struct ha_sample sample;

    /* The shell asks the kernel for the truth about the address as often as the database. */
    event = event_of(sim, node, HA_EVENT_VIP);
    event.u.vip.service = message->a;
    event.u.vip.held =
        sim->hosts[host].vip && sim_clock_ms(sim, node) < sim->hosts[host].vip_until_ms;
    step(sim, node, &event);
    sim_db_sample(sim, host, &sample);
    if (sample.answer == HA_ANSWER_OK) {
        /* The answer names the process, and the shell watches that one from then on. */
        event = event_of(sim, node, HA_EVENT_PROCESS);
        event.u.process = (struct ha_event_process){
            .service = message->a, .process = HA_PROCESS_RUNNING, .pid_start = db->pid_start};
        step(sim, node, &event);
    }
    event = event_of(sim, node, HA_EVENT_SAMPLED);
    event.u.sampled = (struct ha_event_sampled){message->a, db->pid_start, &sample};
    step(sim, node, &event);
}

void sim_agent_event(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    struct ha_event event = event_of(sim, node, HA_EVENT_TICK);

    switch (message->kind) {
    case SIM_MSG_PROMISE:
        event.kind = HA_EVENT_PROMISE;
        event.u.promise = (struct ha_event_promise){message->from, &message->u.promise};
        break;
    case SIM_MSG_ORDER:
        event.kind = HA_EVENT_ORDER;
        event.u.order = &message->u.order;
        break;
    case SIM_MSG_SETTINGS:
        event.kind = HA_EVENT_SETTINGS;
        event.u.settings = &message->u.settings;
        break;
    case SIM_MSG_LINK:
        event.kind = HA_EVENT_LINK;
        event.u.link.watcher = message->from;
        event.u.link.up = true;
        break;
    case SIM_DEV_SAMPLED:
        sampled(sim, node, message);
        return;
    case SIM_DEV_PROCESS:
        event.kind = HA_EVENT_PROCESS;
        event.u.process =
            (struct ha_event_process){.service = sim->hosts[node - SIM_WATCHERS_MAX].epochs.service,
                                      .process = HA_PROCESS_GONE,
                                      .pid_start = message->x};
        for (uint32_t i = 0; i < sim->hosts[node - SIM_WATCHERS_MAX].brain->held_count; i++)
            event.u.process.service =
                sim->hosts[node - SIM_WATCHERS_MAX].brain->held[i].settings.service;
        break;
    case SIM_DEV_ACTED:
        act_done(sim, node, message);
        execute(sim, node);
        return;
    case SIM_DEV_NOTED_EPOCHS:
        event.kind = HA_EVENT_PERSISTED_EPOCHS;
        event.u.epochs.service = message->a;
        event.u.epochs.epoch_seen = message->x;
        event.u.epochs.given_up = message->y;
        event.u.epochs.sealed = message->u.order.epoch;
        event.u.epochs.sync_index = message->u.order.sync_index;
        break;
    case SIM_DEV_GATE_CLOSED:
        event.kind = HA_EVENT_GATE_CLOSED;
        event.u.service = message->a;
        break;
    case SIM_DEV_VIP:
        event.kind = HA_EVENT_VIP;
        event.u.vip.service = message->a;
        event.u.vip.held = message->b != 0;
        break;
    case SIM_MSG_HEARTBEAT:
    case SIM_MSG_STOPPED:
    case SIM_MSG_PROPOSE:
    case SIM_DEV_PROBED:
    case SIM_DEV_NOTED_PROMISE:
    case SIM_DEV_CAUGHT_UP:
        return;
    }
    step(sim, node, &event);
}
