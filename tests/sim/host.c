/* The shell of an agent around the real brain. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/sim/sim.h"

static void step(struct sim *sim, uint32_t node, const struct ha_event *event);

/* What waits in a hung database comes before any probe that was asked later. */
enum { WAITING_US = 1000, ANSWER_US = 1500 };

/* Acts */

/* The database does it when it comes to it, whether or not the agent that asked is still there; one
 * that is stopped does it when it goes on. */
void sim_act(struct sim *sim, uint32_t node, struct sim_message *message)
{
    uint32_t host = node - SIM_WATCHERS_MAX;
    const struct sim_db *db = &sim->hosts[host].db;
    bool gone = !db->alive || db->pid_start != message->y;

    /* A slow one is a chain of steps of the agent's, which ends with it. */
    if (message->u.order.full_copy && message->incarnation != sim->nodes[node].incarnation) {
        free(message);
        return;
    }
    if (!gone && db->hung) {
        sim_push(sim, sim->now_us + WAITING_US, SIM_ACT, node, 0, message);
        return;
    }
    message->x = gone || (!sim->quiet && ha_prng_chance(&sim->prng, sim->profile.promote_fail_ppm));
    if (message->x == 0 && message->u.order.kind == HA_ORDER_SEAL)
        sim_fault_sealed(sim, node);
    if (message->x == 0)
        sim_db_act(sim, host, &message->u.order);
    if (message->incarnation == sim->nodes[node].incarnation)
        sim_answer(sim, node, 0, message);
    else
        free(message);
}

static void acted(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_ACTED);
    bool failed = message->x != 0;
    struct ha_sample sample;

    sim_db_sample(sim, node - SIM_WATCHERS_MAX, &sample);
    event.u.acted = (struct ha_event_acted){.service = message->b,
                                            .ticket = message->a,
                                            .code = failed ? HA_EIO : HA_OK,
                                            .text = failed ? "the database refused" : "",
                                            .sample = failed ? NULL : &sample};
    step(sim, node, &event);
}

/* Effects */

static void set_gate(struct sim *sim, uint32_t node, const struct ha_effect_gate *gate)
{
    uint32_t host = node - SIM_WATCHERS_MAX;
    struct sim_gate *kernel = &sim->hosts[host].gate;
    struct sim_message *message;
    uint64_t delay_us = ha_prng_between(&sim->prng, 20, 3000);

    if (gate->deadline_ms != 0) {
        sim->hosts[host].gate_epoch = ha_agent_held(sim->hosts[host].brain, gate->service)->epoch;
        sim_gate_set(sim, host, gate->deadline_ms);
        return;
    }
    if (kernel->class != HA_GATE_PROCESS)
        sim_gate_set(sim, host, 0);
    else if (gate->reset_clients && sim->hosts[host].db.role == HA_ROLE_PRIMARY) {
        sim_fault_end(sim, host);
        delay_us = 300000;
    }
    message = sim_message_new(SIM_DEV_GATE_CLOSED, node);
    message->a = gate->service;
    message->x = gate->number;
    sim_answer(sim, node, delay_us, message);
}

static void closed(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_GATE_CLOSED);

    event.u.gate_closed = (struct ha_event_gate_closed){message->a, message->x};
    step(sim, node, &event);
}

static void probe(struct sim *sim, uint32_t node, uint32_t service)
{
    const struct sim_db *db = &sim->hosts[node - SIM_WATCHERS_MAX].db;
    struct sim_message *message = sim_message_new(SIM_DEV_SAMPLED, node);

    message->a = service;
    message->x = db->pid_start;
    sim_answer(sim, node, db->alive && db->hung ? 300000 : ANSWER_US, message);
}

static uint64_t device_delay_us(struct sim *sim)
{
    if (!sim->quiet && ha_prng_chance(&sim->prng, sim->profile.slow_ppm))
        return ha_prng_between(&sim->prng, 100000, 8000000);
    return ha_prng_between(&sim->prng, 200, 20000);
}

/* Notes */

/* Those up to @seq are on disk; a later one has never been without the earlier ones. */
static void on_disk(struct sim_host *host, uint64_t seq)
{
    uint32_t done = 0;

    for (; done < host->note_count && host->notes[done].seq <= seq; done++) {
        /* Of a service that was deleted nothing needs to be known. */
        if (host->notes[done].epochs.service < host->epochs.service)
            continue;
        host->epochs = host->notes[done].epochs;
        host->epochs_known = true;
    }
    host->note_count -= done;
    memmove(&host->notes[0], &host->notes[done], host->note_count * sizeof(host->notes[0]));
}

/* How far the disk had come when the agent ended is not known. */
static void find_notes(struct sim *sim, struct sim_host *host)
{
    uint32_t kept = (uint32_t)ha_prng_below(&sim->prng, host->note_count + 1);

    if (ha_prng_chance(&sim->prng, 500000))
        kept = 0;
    if (kept > 0)
        on_disk(host, host->notes[kept - 1].seq);
    host->note_count = 0;
}

static void note(struct sim *sim, uint32_t node, const struct ha_effect_epochs *epochs)
{
    struct sim_host *host = &sim->hosts[node - SIM_WATCHERS_MAX];
    struct sim_message *message = sim_message_new(SIM_DEV_NOTED_EPOCHS, node);
    uint64_t delay_us = device_delay_us(sim);

    if (host->note_count == SIM_NOTES)
        on_disk(host, host->notes[0].seq);
    host->notes[host->note_count++] = (struct sim_note){++host->note_seq, *epochs};
    message->x = host->note_seq;
    message->u.epochs = *epochs;
    /* Where it hurts: what a seal was counted for is not on disk when its agent ends. */
    if (sim->profile.gates_fail && epochs->sealed != HA_EPOCH_NONE && !sim->quiet &&
        ha_prng_chance(&sim->prng, 500000))
        delay_us = ha_prng_between(&sim->prng, 20000, 500000);
    sim_answer(sim, node, delay_us, message);
    sim_fault_noting(sim, node);
}

static void execute_one(struct sim *sim, uint32_t node, const struct ha_effect *effect)
{
    struct sim_host *host = &sim->hosts[node - SIM_WATCHERS_MAX];
    struct sim_message *message;
    uint64_t delay_us;

    switch (effect->kind) {
    case HA_EFFECT_HEARTBEAT:
        sim_link_beat(sim, node - SIM_WATCHERS_MAX, &effect->u.status);
        return;
    case HA_EFFECT_GATE:
        set_gate(sim, node, &effect->u.gate);
        return;
    case HA_EFFECT_PERSIST_EPOCHS:
        note(sim, node, &effect->u.epochs);
        return;
    case HA_EFFECT_PROBE:
        probe(sim, node, effect->u.service);
        return;
    case HA_EFFECT_ACT:
        sim_story(sim, "%s does: %s epoch %lu", sim_node_name(sim, node),
                  ha_order_kind_text(effect->u.act.kind), (unsigned long)effect->u.act.epoch);
        message = sim_message_new(SIM_DEV_ACTED, node);
        message->a = effect->u.act.ticket;
        message->b = effect->u.act.service;
        message->u.order.kind = effect->u.act.kind;
        message->u.order.epoch = effect->u.act.epoch;
        message->u.order.sync_managed = effect->u.act.sync_managed;
        message->u.order.sync = effect->u.act.sync;
        memcpy(message->u.order.upstream_host, effect->u.act.upstream_host, HA_HOST_SIZE);
        message->y = host->db.pid_start;
        if (effect->u.act.run_id != 0 && effect->u.act.run_id != host->db.run_id)
            message->y = 0; /* meant for the run before: this one is left as it is */
        if (sim->profile.engine == HA_ENGINE_POSTGRESQL)
            sim_pg_early(sim, node - SIM_WATCHERS_MAX, &message->u.order, message->y != 0);
        message->incarnation = sim->nodes[node].incarnation;
        delay_us = device_delay_us(sim);
        message->u.order.full_copy = delay_us > 20000;
        sim_push(sim, sim->now_us + delay_us, SIM_ACT, node, 0, message);
        return;
    case HA_EFFECT_ACT_CANCEL:
    case HA_EFFECT_VIP_LOOK:
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
    case HA_EFFECT_HOLD_ASK:
        sim_hold_ask(sim, node, &effect->u.hold_ask);
        return;
    case HA_EFFECT_HOLD_WORD:
        sim_hold_word(sim, node, &effect->u.hold_word);
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
    if (sim->profile.hold)
        sim_hold_count(sim, node - SIM_WATCHERS_MAX);
    execute(sim, node);
}

/* The process */

void sim_host_boot(struct sim *sim, uint32_t host)
{
    struct sim_host *h = &sim->hosts[host];

    /* A new boot: a new gate, closed, with a new instance in it. */
    h->instance = sim_new_id(sim);
    h->boot++;
    h->gate = (struct sim_gate){.class = h->gate.class, .broken = h->gate.broken};
    h->vip = false;
}

/* A watcher that led once and does not know better may be the first that it hears. */
static void come_late(struct sim *sim, uint32_t node)
{
    struct sim_host *host = &sim->hosts[node - SIM_WATCHERS_MAX];
    struct sim_message *late;

    if (host->late_count == 0 || sim->quiet ||
        !ha_prng_chance(&sim->prng, sim->profile.gates_fail ? 800000 : 500000))
        return;
    late = sim_message_new(SIM_MSG_ORDER, 0);
    /* Mostly of the epoch that is being ended. */
    late->u.order = host->late[ha_prng_chance(&sim->prng, 700000)
                                   ? host->late_count - 1
                                   : (uint32_t)ha_prng_below(&sim->prng, host->late_count)];
    sim_answer(
        sim, node,
        ha_prng_between(&sim->prng, 1000, ha_prng_chance(&sim->prng, 500000) ? 50000 : 400000),
        late);
}

void sim_agent_start(struct sim *sim, uint32_t node)
{
    struct sim_host *host = &sim->hosts[node - SIM_WATCHERS_MAX];

    if (host->brain == NULL)
        host->brain = malloc(sizeof(*host->brain));
    assert(host->brain != NULL);
    find_notes(sim, host);
    ha_agent_init(host->brain, host->instance, host->gate.class);
    host->gate.in_call = false;
    sim_hold_start(sim, node - SIM_WATCHERS_MAX);
    if (host->epochs_known)
        assert(ha_agent_load(host->brain, &host->epochs) == HA_OK);
    sim->nodes[node].alive = true;
    sim->nodes[node].incarnation++;
    sim_story(sim, "agent on %s starts", sim_node_name(sim, node));
    host->hello_us = 0;
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        sim_link_break(sim, node - SIM_WATCHERS_MAX, i);
    come_late(sim, node);
    sim_push(sim, sim->now_us, SIM_TICK, node, 0, NULL);
}

/* It connects again and again, and says something to whom it is connected. */
static void say_hello(struct sim *sim, uint32_t node)
{
    struct sim_host *host = &sim->hosts[node - SIM_WATCHERS_MAX];

    if (sim->now_us < host->hello_us)
        return;
    host->hello_us = sim->now_us + 300000;
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        struct sim_message *message;

        if (sim->watchers[i].name[0] == '\0')
            continue;
        message = sim_message_new(SIM_MSG_HELLO, node);
        message->b = host->boot;
        sim_send(sim, node, i, message);
    }
}

void sim_agent_tick(struct sim *sim, uint32_t node)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_TICK);
    uint64_t wake_ms, now_ms = sim_clock_ms(sim, node);

    sim_gate_look(sim, node - SIM_WATCHERS_MAX);
    say_hello(sim, node);
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
    event = sim_event_of(sim, node, HA_EVENT_VIP);
    event.u.vip.service = message->a;
    event.u.vip.held =
        sim->hosts[host].vip && sim_clock_ms(sim, node) < sim->hosts[host].vip_until_ms;
    step(sim, node, &event);
    sim_db_sample(sim, host, &sample);
    if (sample.answer == HA_ANSWER_OK) {
        /* The answer names the process, and the shell watches that one from then on. */
        event = sim_event_of(sim, node, HA_EVENT_PROCESS);
        event.u.process = (struct ha_event_process){
            .service = message->a, .process = HA_PROCESS_RUNNING, .pid_start = db->pid_start};
        step(sim, node, &event);
    }
    event = sim_event_of(sim, node, HA_EVENT_SAMPLED);
    event.u.sampled = (struct ha_event_sampled){message->a, db->pid_start, &sample};
    step(sim, node, &event);
}

static void ended(const struct sim_host *host, const struct sim_message *message,
                  struct ha_event *event)
{
    event->kind = HA_EVENT_PROCESS;
    event->u.process = (struct ha_event_process){
        .service = host->epochs.service, .process = HA_PROCESS_GONE, .pid_start = message->x};
    for (uint32_t i = 0; i < host->brain->held_count; i++)
        event->u.process.service = host->brain->held[i].settings.service;
}

static void noted(struct sim_host *host, const struct sim_message *message, struct ha_event *event)
{
    event->kind = HA_EVENT_PERSISTED_EPOCHS;
    on_disk(host, message->x);
    event->u.epochs.service = message->u.epochs.service;
    event->u.epochs.epoch_seen = message->u.epochs.epoch_seen;
    event->u.epochs.given_up = message->u.epochs.given_up;
    event->u.epochs.sealed = message->u.epochs.sealed;
    event->u.epochs.sync_index = message->u.epochs.sync_index;
    event->u.epochs.hold_index = message->u.epochs.hold.index;
}

void sim_agent_event(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_TICK);
    char agent[8];
    struct ha_promise promise;

    switch (message->kind) {
    case SIM_MSG_HOLD_ASK:
    case SIM_MSG_HOLD_WORD:
        sim_hold_event(sim, message, agent, &event);
        break;
    case SIM_MSG_PROMISE:
    case SIM_MSG_RENEW:
        if (!sim_link_promised(sim, node - SIM_WATCHERS_MAX, message, &promise))
            return;
        event.kind = HA_EVENT_PROMISE;
        event.u.promise = (struct ha_event_promise){message->from, &promise};
        break;
    case SIM_MSG_TELL:
        sim_link_told(sim, node - SIM_WATCHERS_MAX, message);
        return;
    case SIM_MSG_ORDER:
        sim_fault_releasing(sim, node - SIM_WATCHERS_MAX, &message->u.order);
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
        ended(&sim->hosts[node - SIM_WATCHERS_MAX], message, &event);
        break;
    case SIM_DEV_ACTED:
        acted(sim, node, message);
        return;
    case SIM_DEV_NOTED_EPOCHS:
        noted(&sim->hosts[node - SIM_WATCHERS_MAX], message, &event);
        break;
    case SIM_DEV_GATE_CLOSED:
        closed(sim, node, message);
        return;
    case SIM_DEV_VIP:
        event.kind = HA_EVENT_VIP;
        event.u.vip.service = message->a;
        event.u.vip.held = message->b != 0;
        break;
    case SIM_MSG_HEARTBEAT:
    case SIM_MSG_REPEAT:
    case SIM_MSG_HELLO:
    case SIM_MSG_STOPPED:
    case SIM_MSG_PROPOSE:
    case SIM_DEV_PROBED:
    case SIM_DEV_NOTED_PROMISE:
    case SIM_DEV_CAUGHT_UP:
    case SIM_DEV_FENCED:
        return;
    }
    step(sim, node, &event);
}
