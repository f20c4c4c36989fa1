/* The shell of a watcher around the real brain. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/sim/sim.h"

static void execute(struct sim *sim, uint32_t node);

int sim_watcher_step(struct sim *sim, uint32_t node, const struct ha_event *event)
{
    int rv;

    ha_effects_clear(sim->effects);
    rv = ha_watcher_step(sim->watchers[node].brain, event, sim->effects, NULL);
    execute(sim, node);
    return rv;
}

/* Effects */

/* The last order of each kind and epoch, newest at the end. */
static void keep_late(struct sim_host *host, const struct ha_order *order)
{
    struct ha_order *last = host->late_count == 0 ? NULL : &host->late[host->late_count - 1];

    if (order->kind != HA_ORDER_FOLLOW && order->kind != HA_ORDER_SERVE &&
        order->kind != HA_ORDER_PROMOTE)
        return;
    if (last != NULL && last->kind == order->kind && last->epoch == order->epoch &&
        last->sync_index == order->sync_index) {
        *last = *order;
        return;
    }
    if (host->late_count == SIM_LATE) {
        memmove(&host->late[0], &host->late[1], (SIM_LATE - 1) * sizeof(host->late[0]));
        host->late_count--;
    }
    host->late[host->late_count++] = *order;
}

static void send_order(struct sim *sim, uint32_t node, const struct ha_effect_order *order)
{
    uint32_t machine = sim_seat_of(sim, node, (uint32_t)(order->agent[2] - '1'));
    struct sim_message *message;

    sim_story(sim, "%s orders %s: %s epoch %lu", sim_node_name(sim, node), order->agent,
              ha_order_kind_text(order->order.kind), (unsigned long)order->order.epoch);
    sim_check_order(sim, &order->order);
    if (machine == SIM_MACHINES)
        return;
    message = sim_message_new(SIM_MSG_ORDER, node);
    message->u.order = order->order;
    keep_late(&sim->hosts[machine], &message->u.order);
    sim_send(sim, node, SIM_WATCHERS_MAX + machine, message);
}

/* Power is cut, also of another machine of that name, or it is said that it could not be. */
static void run_fence(struct sim *sim, uint32_t node, const struct ha_effect_fence *fence)
{
    const struct ha_service *service =
        ha_cluster_service_const(&sim->watchers[node].brain->cluster, fence->service);
    int at = service == NULL ? -1 : ha_service_member_at(service, fence->member);
    struct sim_message *message = sim_message_new(SIM_DEV_FENCED, node);

    message->a = fence->service;
    message->b = at < 0 ? SIM_HOSTS : (uint32_t)(service->config.members[at].agent[2] - '1');
    message->x = fence->epoch;
    sim_answer(sim, node, ha_prng_between(&sim->prng, 100000, 4000000), message);
}

static void execute_one(struct sim *sim, uint32_t node, const struct ha_effect *effect)
{
    struct sim_message *message;
    uint32_t leader;

    switch (effect->kind) {
    case HA_EFFECT_PROPOSE:
        sim->log.kind->take(sim, node, &effect->u.command);
        return;
    case HA_EFFECT_PROMISE:
        sim_check_promise(sim, node, &effect->u.promise);
        sim_link_promise(sim, node, &effect->u.promise);
        return;
    case HA_EFFECT_ORDER:
        send_order(sim, node, &effect->u.order);
        return;
    case HA_EFFECT_STOPPED:
        leader = sim->log.kind->leader_of(sim, node);
        if (leader == SIM_NODES)
            return;
        message = sim_message_new(SIM_MSG_STOPPED, node);
        message->u.stopped = effect->u.stopped;
        sim_send(sim, node, leader, message);
        return;
    case HA_EFFECT_PERSIST_PROMISE:
        message = sim_message_new(SIM_DEV_NOTED_PROMISE, node);
        message->a = effect->u.persist_ms;
        sim_answer(sim, node, ha_prng_between(&sim->prng, 100, 5000), message);
        return;
    case HA_EFFECT_FENCE_COMMAND:
        run_fence(sim, node, &effect->u.fence);
        return;
    case HA_EFFECT_HEARTBEAT:
    case HA_EFFECT_GATE:
    case HA_EFFECT_PERSIST_EPOCHS:
    case HA_EFFECT_PROBE:
    case HA_EFFECT_ACT:
    case HA_EFFECT_ACT_CANCEL:
    case HA_EFFECT_VIP_LOOK:
    case HA_EFFECT_VIP_CLAIM:
    case HA_EFFECT_VIP_RELEASE:
    case HA_EFFECT_HOLD_ASK:
    case HA_EFFECT_HOLD_WORD:
        abort(); /* an agent's effect from a watcher */
    }
}

static void execute(struct sim *sim, uint32_t node)
{
    /* Effects may step others only through the queue, so the list stays as it is. */
    for (uint32_t i = 0; i < sim->effects->count; i++)
        execute_one(sim, node, &sim->effects->items[i]);
}

/* The process */

void sim_watcher_name(struct sim *sim, uint32_t node)
{
    (void)ha_text_format(sim->watchers[node].name, HA_NAME_SIZE, "w%u", ++sim->names_given);
    sim->watchers[node].named_us = sim->now_us;
    sim->watchers[node].promise_durable_ms = 0;
    sim->watchers[node].promised_epoch = sim->watchers[node].promised_until_ms = 0;
    sim->log.kind->forget(sim, node);
}

void sim_watcher_start(struct sim *sim, uint32_t node)
{
    struct sim_watcher *watcher = &sim->watchers[node];
    struct ha_watcher_options options = {.set_id = 7,
                                         .watcher_count = sim->profile.watchers,
                                         .promise_max_ms = watcher->promise_durable_ms,
                                         .now_ms = sim_clock_ms(sim, node)};

    for (uint32_t i = 0; i < sim->profile.watchers; i++)
        (void)ha_text_format(options.watchers[i], HA_NAME_SIZE, "w%u", i + 1);
    memcpy(options.name, watcher->name, HA_NAME_SIZE);
    if (watcher->brain == NULL)
        watcher->brain = malloc(sizeof(*watcher->brain));
    assert(watcher->brain != NULL);
    ha_watcher_init(watcher->brain, &options);
    watcher->awaited = false;
    sim->nodes[node].alive = true;
    sim->nodes[node].incarnation++;
    watcher->lags_until_us = 0;
    watcher->leads = false;
    watcher->index_seen = watcher->epoch_seen = 0;
    memset(watcher->seats, 0, sizeof(watcher->seats));
    memset(watcher->ears, 0, sizeof(watcher->ears));
    for (uint32_t h = 0; h < SIM_MACHINES; h++)
        sim_link_break(sim, h, node);
    sim->log.kind->start(sim, node);
    if (sim->log.leader == node)
        sim->log.leader = SIM_NODES;
    for (uint32_t h = 0; h < SIM_MACHINES; h++) {
        struct sim_message *link = sim_message_new(SIM_MSG_LINK, node);

        sim_send(sim, node, SIM_WATCHERS_MAX + h, link);
    }
    sim_push(sim, sim->now_us, SIM_TICK, node, 0, NULL);
}

void sim_watcher_tick(struct sim *sim, uint32_t node)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_TICK);

    (void)sim_watcher_step(sim, node, &event);
    if (sim->now_us >= sim->watchers[node].probe_due_us) {
        sim->watchers[node].probe_due_us = sim->now_us + 200000;
        sim_seat_probe(sim, node);
        sim_seat_settings(sim, node);
    }
    sim_push(sim, sim->now_us + 20000, SIM_TICK, node, 0, NULL);
}

static void fenced(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_FENCE_COMMAND);
    bool works = message->b < SIM_HOSTS && (sim->quiet || ha_prng_chance(&sim->prng, 700000));

    if (works) {
        sim_story(sim, "the command ends db%u", message->b + 1);
        sim_fault_power(sim, message->b);
    }
    event.u.fence_command = (struct ha_event_fence_command){.service = message->a,
                                                            .epoch = message->x,
                                                            .code = works ? HA_OK : HA_EIO,
                                                            .text = works ? "off" : "no answer"};
    (void)sim_watcher_step(sim, node, &event);
}

void sim_watcher_event(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_TICK);

    switch (message->kind) {
    case SIM_MSG_HEARTBEAT:
        sim_link_heard(sim, node, message);
        return;
    case SIM_MSG_REPEAT:
        sim_link_repeated(sim, node, message);
        return;
    case SIM_MSG_HELLO:
        if (message->b == sim->hosts[message->from - SIM_WATCHERS_MAX].boot)
            (void)sim_seat_hears(sim, node, message->from - SIM_WATCHERS_MAX);
        return;
    case SIM_MSG_STOPPED:
        event.kind = HA_EVENT_STOPPED;
        event.u.stopped.watcher = sim_rank(sim, node, message->from);
        event.u.stopped.stopped = &message->u.stopped;
        break;
    case SIM_MSG_PROPOSE:
        sim->log.kind->propose(sim, node, &message->u.command);
        return;
    case SIM_DEV_PROBED:
        event.kind = HA_EVENT_PROBED;
        event.u.probed = (struct ha_event_probed){message->a, message->b, &message->u.sample};
        break;
    case SIM_DEV_NOTED_PROMISE:
        /* Notes are written in the order in which they were asked for. */
        if (sim->watchers[node].promise_durable_ms < message->a)
            sim->watchers[node].promise_durable_ms = message->a;
        event.kind = HA_EVENT_PERSISTED_PROMISE;
        event.u.persisted_ms = message->a;
        break;
    case SIM_DEV_FENCED:
        fenced(sim, node, message);
        return;
    case SIM_MSG_PROMISE:
    case SIM_MSG_RENEW:
    case SIM_MSG_TELL:
    case SIM_MSG_ORDER:
    case SIM_MSG_SETTINGS:
    case SIM_MSG_LINK:
    case SIM_MSG_HOLD_ASK:
    case SIM_MSG_HOLD_WORD:
    case SIM_DEV_SAMPLED:
    case SIM_DEV_ACTED:
    case SIM_DEV_NOTED_EPOCHS:
    case SIM_DEV_GATE_CLOSED:
    case SIM_DEV_VIP:
    case SIM_DEV_PROCESS:
    case SIM_DEV_CAUGHT_UP:
        return;
    }
    (void)sim_watcher_step(sim, node, &event);
}
