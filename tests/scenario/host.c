/* The shell of an agent around the real brain, its gate and its database. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/scenario/stage.h"

static uint32_t node_of(uint32_t host)
{
    return STAGE_WATCHERS + host;
}

bool stage_gate_is_open(const struct stage *stage, uint32_t host)
{
    return stage->hosts[host].gate_broken || stage->now_ms < stage->hosts[host].gate_until_ms;
}

bool stage_takes_writes(const struct stage *stage, uint32_t host)
{
    const struct stage_db *db = &stage->hosts[host].db;

    return db->alive && !db->hung && db->role == HA_ROLE_PRIMARY && stage_gate_is_open(stage, host);
}

/* Replicas are at once where their primary is; the rest of a database's life is not of interest. */
static bool is_fed(const struct stage *stage, uint32_t host)
{
    const struct stage_db *db = &stage->hosts[host].db;
    const struct stage_db *up;

    if (!db->alive || db->hung || db->role != HA_ROLE_REPLICA || db->upstream >= STAGE_HOSTS)
        return false;
    up = &stage->hosts[db->upstream].db;
    return up->alive && !up->hung && stage_gate_is_open(stage, db->upstream) &&
           stage_reaches(stage, node_of(host), node_of(db->upstream));
}

bool stage_db_is_fed(const struct stage *stage, uint32_t host, uint32_t from)
{
    return stage->hosts[host].db.upstream == from && is_fed(stage, host);
}

void stage_db_write(struct stage *stage)
{
    for (uint32_t h = 0; h < STAGE_HOSTS; h++)
        if (stage_takes_writes(stage, h))
            stage->hosts[h].db.position.offset += 10;
    for (uint32_t h = 0; h < STAGE_HOSTS; h++)
        if (is_fed(stage, h))
            stage->hosts[h].db.position = stage->hosts[stage->hosts[h].db.upstream].db.position;
}

void stage_db_sample(const struct stage *stage, uint32_t host, struct ha_sample *ret)
{
    const struct stage_db *db = &stage->hosts[host].db;

    memset(ret, 0, sizeof(*ret));
    ret->answer = db->alive ? db->hung ? HA_ANSWER_NONE : HA_ANSWER_OK : HA_ANSWER_REFUSED;
    if (ret->answer != HA_ANSWER_OK)
        return;
    ret->role = db->role;
    ret->writable = true;
    ret->read_only = db->role == HA_ROLE_REPLICA;
    ret->link_up = is_fed(stage, host);
    ret->run_id = db->run_id;
    ret->position = db->position;
    if (stage->engine == HA_ENGINE_POSTGRESQL)
        ret->sync_id = stage_pg_names(stage, host);
    if (db->role != HA_ROLE_REPLICA || db->upstream >= STAGE_HOSTS)
        return;
    ret->upstream_port = 6379;
    (void)ha_text_format(ret->upstream_host, sizeof(ret->upstream_host), "10.0.0.%u",
                         db->upstream + 1);
}

static uint64_t new_id(struct stage *stage)
{
    return ++stage->ids;
}

static struct ha_event event_of(const struct stage *stage, enum ha_event_kind kind)
{
    return (struct ha_event){.kind = kind, .now_ms = stage->now_ms, .wall_ms = stage->now_ms};
}

static void execute(struct stage *stage, uint32_t host);

static void step(struct stage *stage, uint32_t host, const struct ha_event *event)
{
    if (!stage->hosts[host].agent_up)
        return;
    ha_effects_clear(stage->effects);
    assert(ha_agent_step(stage->hosts[host].brain, event, stage->effects) == HA_OK);
    assert(!stage->effects->overflowed);
    execute(stage, host);
}

static void tell_process(struct stage *stage, uint32_t host, enum ha_process process)
{
    struct ha_event event = event_of(stage, HA_EVENT_PROCESS);

    event.u.process = (struct ha_event_process){.service = stage->hosts[host].note.service,
                                                .process = process,
                                                .pid_start = stage->hosts[host].db.pid};
    step(stage, host, &event);
}

void stage_db_up(struct stage *stage, uint32_t host, bool empty)
{
    struct stage_db *db = &stage->hosts[host].db;
    struct ha_lineage *lineage = &db->position.lineage;

    db->alive = true;
    db->hung = false;
    db->run_id = new_id(stage);
    db->pid = new_id(stage);
    if (empty) {
        db->position =
            (struct ha_position){.lineage = {.count = 1, .steps = {{new_id(stage), UINT64_MAX}}}};
    } else if (db->role == HA_ROLE_PRIMARY && lineage->count > 0 &&
               stage->engine == HA_ENGINE_REDIS) {
        /* A primary that starts anew has a history of its own that continues the old one. */
        lineage->steps[1] = (struct ha_lineage_step){lineage->steps[0].id, db->position.offset};
        lineage->steps[0] = (struct ha_lineage_step){new_id(stage), UINT64_MAX};
        lineage->count = 2;
    }
    tell_process(stage, host, HA_PROCESS_RUNNING);
}

void stage_db_down(struct stage *stage, uint32_t host)
{
    stage->hosts[host].db.alive = false;
    tell_process(stage, host, HA_PROCESS_GONE);
}

/* Effects */

static bool act(struct stage *stage, uint32_t host, const struct ha_act *act)
{
    struct stage_db *db = &stage->hosts[host].db;
    struct ha_lineage *lineage = &db->position.lineage;

    if (!db->alive || db->hung || (db->refuses && act->kind == HA_ORDER_PROMOTE))
        return false;
    if (stage->engine == HA_ENGINE_POSTGRESQL)
        stage_pg_act(stage, host, act);
    if (act->kind == HA_ORDER_PROMOTE && db->role != HA_ROLE_PRIMARY) {
        db->role = HA_ROLE_PRIMARY;
        db->upstream = STAGE_HOSTS;
        lineage->steps[1] = (struct ha_lineage_step){lineage->steps[0].id, db->position.offset};
        lineage->steps[0] = (struct ha_lineage_step){new_id(stage), UINT64_MAX};
        lineage->count = 2;
    } else if (act->kind == HA_ORDER_FOLLOW) {
        db->role = HA_ROLE_REPLICA;
        db->upstream =
            act->upstream_host[0] == '\0' ? STAGE_HOSTS : (uint32_t)(act->upstream_host[7] - '1');
    }
    return true;
}

static void acted(struct stage *stage, uint32_t host, const struct ha_act *what)
{
    struct ha_event event = event_of(stage, HA_EVENT_ACTED);
    bool done = act(stage, host, what);
    struct ha_sample sample;

    stage_db_sample(stage, host, &sample);
    event.u.acted = (struct ha_event_acted){.service = what->service,
                                            .ticket = what->ticket,
                                            .code = done ? HA_OK : HA_EIO,
                                            .text = done ? "" : "the database refused",
                                            .sample = &sample};
    step(stage, host, &event);
}

static void beat(struct stage *stage, uint32_t host, const struct ha_status *status)
{
    for (uint32_t w = 0; w < STAGE_WATCHERS; w++) {
        struct stage_message *message = stage_send(stage, STAGE_HEARTBEAT, node_of(host), w, 1);

        message->u.heartbeat = (struct ha_heartbeat){
            .instance = stage->hosts[host].instance, .stamp = stage->now_ms, .status = *status};
    }
}

static void execute_one(struct stage *stage, uint32_t host, const struct ha_effect *effect)
{
    struct stage_host *h = &stage->hosts[host];
    uint32_t self = node_of(host);

    switch (effect->kind) {
    case HA_EFFECT_HEARTBEAT:
        beat(stage, host, &effect->u.status);
        return;
    case HA_EFFECT_GATE:
        h->gate_until_ms = effect->u.gate.deadline_ms;
        if (effect->u.gate.deadline_ms == 0)
            stage_send(stage, STAGE_CLOSED, self, self, 1)->u.gate_number = effect->u.gate.number;
        return;
    case HA_EFFECT_PERSIST_EPOCHS:
        stage_send(stage, STAGE_NOTED, self, self, 2)->u.epochs = effect->u.epochs;
        return;
    case HA_EFFECT_PROBE:
        (void)stage_send(stage, STAGE_SAMPLE, self, self, h->db.hung ? 100 : 1);
        return;
    case HA_EFFECT_ACT:
        stage_say(stage, "agent %c: %s epoch %lu", (char)('a' + host),
                  ha_order_kind_text(effect->u.act.kind), (unsigned long)effect->u.act.epoch);
        stage_send(stage, STAGE_ACTED, self, self, 3)->u.act = effect->u.act;
        return;
    case HA_EFFECT_VIP_CLAIM:
    case HA_EFFECT_VIP_RELEASE:
        stage_send(stage, STAGE_VIP, self, self, 1)->u.held = effect->kind == HA_EFFECT_VIP_CLAIM;
        return;
    case HA_EFFECT_ACT_CANCEL:
    case HA_EFFECT_VIP_LOOK:
        return;
    case HA_EFFECT_HOLD_ASK:
    case HA_EFFECT_HOLD_WORD:
    case HA_EFFECT_PROPOSE:
    case HA_EFFECT_PROMISE:
    case HA_EFFECT_ORDER:
    case HA_EFFECT_STOPPED:
    case HA_EFFECT_PERSIST_PROMISE:
    case HA_EFFECT_FENCE_COMMAND:
        abort(); /* a watcher's effect from an agent */
    }
}

static void execute(struct stage *stage, uint32_t host)
{
    /* What is executed steps nobody: it only sends. */
    for (uint32_t i = 0; i < stage->effects->count; i++)
        execute_one(stage, host, &stage->effects->items[i]);
    stage->hosts[host].wake_ms = ha_agent_wake_ms(stage->hosts[host].brain);
}

static void sampled(struct stage *stage, uint32_t host)
{
    struct ha_event event = event_of(stage, HA_EVENT_SAMPLED);
    struct ha_sample sample;

    stage_db_sample(stage, host, &sample);
    if (sample.answer == HA_ANSWER_OK)
        tell_process(stage, host, HA_PROCESS_RUNNING);
    event.u.sampled = (struct ha_event_sampled){.service = stage->hosts[host].note.service,
                                                .pid_start = stage->hosts[host].db.pid,
                                                .sample = &sample};
    step(stage, host, &event);
}

void stage_host_take(struct stage *stage, uint32_t host, const struct stage_message *message)
{
    struct stage_host *h = &stage->hosts[host];
    struct ha_event event = event_of(stage, HA_EVENT_TICK);

    switch (message->kind) {
    case STAGE_PROMISE:
        event.kind = HA_EVENT_PROMISE;
        event.u.promise = (struct ha_event_promise){message->from, &message->u.promise};
        break;
    case STAGE_ORDER:
        event.kind = HA_EVENT_ORDER;
        event.u.order = &message->u.order;
        break;
    case STAGE_NOTED:
        h->note = message->u.epochs;
        h->noted = true;
        event.kind = HA_EVENT_PERSISTED_EPOCHS;
        event.u.epochs.service = h->note.service;
        event.u.epochs.epoch_seen = h->note.epoch_seen;
        event.u.epochs.given_up = h->note.given_up;
        event.u.epochs.sealed = h->note.sealed;
        event.u.epochs.sync_index = h->note.sync_index;
        event.u.epochs.hold_index = h->note.hold.index;
        break;
    case STAGE_CLOSED:
        event.kind = HA_EVENT_GATE_CLOSED;
        event.u.gate_closed = (struct ha_event_gate_closed){.service = h->note.service,
                                                            .number = message->u.gate_number};
        break;
    case STAGE_SAMPLE:
        sampled(stage, host);
        return;
    case STAGE_ACTED:
        acted(stage, host, &message->u.act);
        return;
    case STAGE_VIP:
        h->vip = message->u.held;
        event.kind = HA_EVENT_VIP;
        event.u.vip = (struct ha_event_vip){.service = h->note.service, .held = h->vip};
        break;
    case STAGE_HEARTBEAT:
    case STAGE_STOPPED:
    case STAGE_PROPOSE:
    case STAGE_PROMISE_NOTED:
    case STAGE_FENCED:
        abort(); /* not for agents */
    }
    step(stage, host, &event);
}

void stage_host_settings(struct stage *stage, uint32_t host, const struct ha_settings *settings)
{
    struct ha_event event = event_of(stage, HA_EVENT_SETTINGS);

    stage->hosts[host].note.service = settings->service;
    event.u.settings = settings;
    step(stage, host, &event);
}

void stage_host_tick(struct stage *stage, uint32_t host)
{
    struct ha_event event = event_of(stage, HA_EVENT_TICK);

    if (stage->hosts[host].agent_up && stage->now_ms >= stage->hosts[host].wake_ms)
        step(stage, host, &event);
}

void stage_agent_up(struct stage *stage, uint32_t host)
{
    struct stage_host *h = &stage->hosts[host];

    if (h->brain == NULL)
        h->brain = malloc(sizeof(*h->brain));
    assert(h->brain != NULL);
    ha_agent_init(h->brain, h->instance, stage->gate);
    if (h->noted)
        assert(ha_agent_load(h->brain, &h->note) == HA_OK);
    h->agent_up = true;
    h->life++;
    h->wake_ms = 0;
    for (uint32_t w = 0; w < STAGE_WATCHERS; w++)
        stage->watchers[w].told_settings = 0; /* each tells it anew */
}
