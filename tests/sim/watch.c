/* The shell of a watcher around the real brain, and a log that commits where a majority is
 * connected. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/wire/settings.h"
#include "tests/sim/sim.h"

static struct ha_event event_of(const struct sim *sim, uint32_t node, enum ha_event_kind kind)
{
    return (struct ha_event){
        .kind = kind, .now_ms = sim_clock_ms(sim, node), .wall_ms = 1000000 + sim->now_us / 1000};
}

static void execute(struct sim *sim, uint32_t node);

static int step(struct sim *sim, uint32_t node, const struct ha_event *event)
{
    int rv;

    ha_effects_clear(sim->effects);
    rv = ha_watcher_step(sim->watchers[node].brain, event, sim->effects, NULL);
    execute(sim, node);
    return rv;
}

/* The log */

static uint32_t majority(const struct sim *sim)
{
    return sim->profile.watchers / 2 + 1;
}

static bool has_majority(const struct sim *sim, uint32_t node)
{
    uint32_t count = 0;

    if (!sim_runs(sim, node))
        return false;
    for (uint32_t i = 0; i < sim->profile.watchers; i++)
        count += i == node || (sim_runs(sim, i) && sim_both_reach(sim, node, i)) ? 1 : 0;
    return count >= majority(sim);
}

static void tell_role(struct sim *sim, uint32_t node, bool leader)
{
    struct ha_event event = event_of(sim, node, HA_EVENT_ROLE);

    if (!sim_runs(sim, node) || sim->watchers[node].leads == leader)
        return;
    sim->watchers[node].leads = leader;
    event.u.role.leader = leader;
    event.u.role.term = sim->log.term;
    sim_story(sim, "w%u %s in term %lu", node + 1, leader ? "leads" : "follows",
              (unsigned long)sim->log.term);
    step(sim, node, &event);
}

static void tell_peers(struct sim *sim, uint32_t node)
{
    for (uint32_t i = 0; i < sim->profile.watchers; i++) {
        struct ha_event event = event_of(sim, node, HA_EVENT_PEER);

        if (i == node || !sim_runs(sim, node))
            continue;
        event.u.peer.watcher = i;
        event.u.peer.heard = sim_runs(sim, i) && sim_both_reach(sim, i, node);
        if (sim->watchers[node].brain->peer_heard[i] != event.u.peer.heard)
            step(sim, node, &event);
    }
}

/* Whoever has every committed entry, leads; a new leader has applied them all, as its barrier says.
 */
static void elect(struct sim *sim)
{
    uint32_t best = SIM_NODES, tries = sim->profile.watchers;
    uint32_t start = (uint32_t)ha_prng_below(&sim->prng, tries);

    for (uint32_t i = 0; i < tries; i++) {
        uint32_t node = (start + i) % tries;

        if (has_majority(sim, node) &&
            (best == SIM_NODES || sim->watchers[node].applied > sim->watchers[best].applied))
            best = node;
    }
    if (best == SIM_NODES)
        return;
    sim->log.leader = best;
    sim->log.term++;
}

void sim_log_step(struct sim *sim)
{
    struct sim_log *log = &sim->log;

    for (uint32_t i = 0; i < sim->profile.watchers; i++)
        tell_peers(sim, i);
    if (log->leader != SIM_NODES && !has_majority(sim, log->leader)) {
        sim_story(sim, "w%u lost its majority", log->leader + 1);
        log->leader = SIM_NODES;
        log->elect_us = sim->now_us + ha_prng_between(&sim->prng, 300000, 600000);
    }
    if (log->leader == SIM_NODES && sim->now_us >= log->elect_us)
        elect(sim);
    for (uint32_t i = 0; i < sim->profile.watchers; i++) {
        struct sim_watcher *watcher = &sim->watchers[i];
        bool linked = log->leader != SIM_NODES && sim_both_reach(sim, i, log->leader);

        /* One that is cut off goes on believing that it leads for a while: it hears nothing else.
         */
        if (i == log->leader && watcher->applied == log->count)
            tell_role(sim, i, true);
        else if (i != log->leader && watcher->leads && linked)
            tell_role(sim, i, false);
        if (linked && sim_runs(sim, i) && watcher->applied < log->count)
            sim_push(sim, sim->now_us + ha_prng_between(&sim->prng, 100, 3000), SIM_APPLY, i, 0,
                     NULL);
        if (linked && sim_runs(sim, i) && watcher->caught_up_at == 0 && log->leader != SIM_NODES &&
            sim->watchers[log->leader].leads)
            watcher->caught_up_at = log->count + 1;
        if (watcher->caught_up_at != 0 && !watcher->brain->caught_up && sim_runs(sim, i) &&
            watcher->applied + 1 >= watcher->caught_up_at) {
            struct ha_event event = event_of(sim, i, HA_EVENT_CAUGHT_UP);

            step(sim, i, &event);
        }
    }
}

void sim_watcher_apply(struct sim *sim, uint32_t node)
{
    struct sim_watcher *watcher = &sim->watchers[node];
    struct ha_event event = event_of(sim, node, HA_EVENT_COMMITTED);

    if (watcher->applied >= sim->log.count)
        return;
    event.u.committed.command = &sim->log.entries[watcher->applied];
    event.u.committed.index = ++watcher->applied;
    step(sim, node, &event);
    if (watcher->applied < sim->log.count)
        sim_push(sim, sim->now_us, SIM_APPLY, node, 0, NULL);
}

void sim_propose(struct sim *sim, uint32_t node, const struct ha_command *command)
{
    struct sim_log *log = &sim->log;

    if (log->leader == SIM_NODES || !has_majority(sim, log->leader) ||
        !sim_both_reach(sim, node, log->leader))
        return;
    if (log->count == log->size) {
        log->size = log->size == 0 ? 256 : 2 * log->size;
        log->entries = realloc(log->entries, log->size * sizeof(*log->entries));
        assert(log->entries != NULL);
    }
    log->entries[log->count++] = *command;
    sim_story(sim, "entry %u: %s", log->count, ha_command_kind_text(command->kind));
    if (command->kind == HA_COMMAND_SYNC_INTEND || command->kind == HA_COMMAND_SYNC_FORCE)
        sim_story(sim, "  any %u of %x, entering %x, holding %x of %lu", command->u.sync.set.need,
                  command->u.sync.set.members, command->u.sync.entering, command->u.sync.holding,
                  (unsigned long)command->u.sync.offset);
    if (command->kind == HA_COMMAND_PROMOTE)
        sim_story(sim, "  member %u, proof %x", command->u.promote.member,
                  command->u.promote.proof);
    for (uint32_t i = 0; i < sim->profile.watchers; i++)
        if (sim_both_reach(sim, i, log->leader))
            sim_push(sim, sim->now_us + ha_prng_between(&sim->prng, 300, 4000), SIM_APPLY, i, 0,
                     NULL);
}

/* Effects */

static uint32_t host_of(const struct sim *sim, const char *agent)
{
    (void)sim;
    return (uint32_t)(agent[2] - '1'); /* agents are named db1, db2, db3 */
}

/* The last order of each kind and epoch, newest at the end. */
static void keep_late(struct sim_host *host, const struct ha_order *order)
{
    struct ha_order *last = host->late_count == 0 ? NULL : &host->late[host->late_count - 1];

    if (order->kind != HA_ORDER_FOLLOW && order->kind != HA_ORDER_SERVE)
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

static void execute_one(struct sim *sim, uint32_t node, const struct ha_effect *effect)
{
    struct sim_message *message;

    switch (effect->kind) {
    case HA_EFFECT_PROPOSE:
        message = sim_message_new(SIM_MSG_PROPOSE, node);
        message->u.command = effect->u.command;
        if (sim->log.leader == SIM_NODES)
            free(message);
        else
            sim_send(sim, node, sim->log.leader, message);
        return;
    case HA_EFFECT_PROMISE:
        sim_check_promise(sim, node, &effect->u.promise);
        for (uint32_t h = 0; h < SIM_HOSTS; h++) {
            if (sim->hosts[h].instance != effect->u.promise.instance)
                continue;
            message = sim_message_new(SIM_MSG_PROMISE, node);
            message->u.promise = effect->u.promise;
            sim_send(sim, node, SIM_WATCHERS_MAX + h, message);
        }
        return;
    case HA_EFFECT_ORDER:
        sim_story(sim, "w%u orders %s: %s epoch %lu", node + 1, effect->u.order.agent,
                  ha_order_kind_text(effect->u.order.order.kind),
                  (unsigned long)effect->u.order.order.epoch);
        message = sim_message_new(SIM_MSG_ORDER, node);
        message->u.order = effect->u.order.order;
        keep_late(&sim->hosts[host_of(sim, effect->u.order.agent)], &message->u.order);
        sim_send(sim, node, SIM_WATCHERS_MAX + host_of(sim, effect->u.order.agent), message);
        return;
    case HA_EFFECT_STOPPED:
        message = sim_message_new(SIM_MSG_STOPPED, node);
        message->u.stopped = effect->u.stopped;
        if (sim->log.leader == SIM_NODES)
            free(message);
        else
            sim_send(sim, node, sim->log.leader, message);
        return;
    case HA_EFFECT_PERSIST_PROMISE:
        message = sim_message_new(SIM_DEV_NOTED_PROMISE, node);
        message->a = effect->u.persist_ms;
        sim_answer(sim, node, ha_prng_between(&sim->prng, 100, 5000), message);
        return;
    case HA_EFFECT_FENCE_COMMAND:
        return; /* no service of the simulator has one */
    case HA_EFFECT_HEARTBEAT:
    case HA_EFFECT_GATE:
    case HA_EFFECT_PERSIST_EPOCHS:
    case HA_EFFECT_PROBE:
    case HA_EFFECT_ACT:
    case HA_EFFECT_ACT_CANCEL:
    case HA_EFFECT_VIP_CLAIM:
    case HA_EFFECT_VIP_RELEASE:
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

void sim_watcher_start(struct sim *sim, uint32_t node)
{
    struct sim_watcher *watcher = &sim->watchers[node];
    struct ha_watcher_options options = {.set_id = 7,
                                         .watcher_count = sim->profile.watchers,
                                         .promise_max_ms = watcher->promise_durable_ms,
                                         .now_ms = sim_clock_ms(sim, node)};

    for (uint32_t i = 0; i < sim->profile.watchers; i++)
        (void)ha_text_format(options.watchers[i], HA_NAME_SIZE, "w%u", i + 1);
    (void)ha_text_format(options.name, HA_NAME_SIZE, "w%u", node + 1);
    if (watcher->brain == NULL)
        watcher->brain = malloc(sizeof(*watcher->brain));
    assert(watcher->brain != NULL);
    ha_watcher_init(watcher->brain, &options);
    sim->nodes[node].alive = true;
    sim->nodes[node].incarnation++;
    watcher->applied = 0;
    watcher->caught_up_at = 0;
    watcher->leads = false;
    if (sim->log.leader == node)
        sim->log.leader = SIM_NODES;
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        struct sim_message *link = sim_message_new(SIM_MSG_LINK, node);

        sim_send(sim, node, SIM_WATCHERS_MAX + h, link);
    }
    sim_push(sim, sim->now_us, SIM_TICK, node, 0, NULL);
}

static void send_settings(struct sim *sim, uint32_t node)
{
    const struct ha_cluster *cluster = &sim->watchers[node].brain->cluster;
    const struct ha_service *service = ha_cluster_service_named(cluster, SIM_SERVICE_NAME);

    for (uint32_t h = 0; service != NULL && h < SIM_HOSTS; h++) {
        struct sim_message *message = sim_message_new(SIM_MSG_SETTINGS, node);

        ha_settings_make(&message->u.settings, service, service->members[h].id,
                         cluster->config_version);
        sim_send(sim, node, SIM_WATCHERS_MAX + h, message);
    }
}

static void probe_databases(struct sim *sim, uint32_t node)
{
    const struct ha_cluster *cluster = &sim->watchers[node].brain->cluster;
    const struct ha_service *service = ha_cluster_service_named(cluster, SIM_SERVICE_NAME);

    for (uint32_t h = 0; service != NULL && h < SIM_HOSTS; h++) {
        const struct sim_db *db = &sim->hosts[h].db;
        struct sim_message *message = sim_message_new(SIM_DEV_PROBED, node);

        message->a = service->id;
        message->b = service->members[h].id;
        if (!sim_both_reach(sim, node, SIM_WATCHERS_MAX + h))
            message->u.sample.answer = HA_ANSWER_NONE;
        else if (!db->alive || !sim_gate_open(sim, h))
            message->u.sample.answer = HA_ANSWER_REFUSED;
        else
            sim_db_sample(sim, h, &message->u.sample);
        sim_answer(sim, node, message->u.sample.answer == HA_ANSWER_NONE ? 150000 : 1000, message);
    }
}

void sim_watcher_tick(struct sim *sim, uint32_t node)
{
    struct ha_event event = event_of(sim, node, HA_EVENT_TICK);

    step(sim, node, &event);
    if (sim->now_us >= sim->watchers[node].probe_due_us) {
        sim->watchers[node].probe_due_us = sim->now_us + 200000;
        probe_databases(sim, node);
        send_settings(sim, node);
    }
    sim_push(sim, sim->now_us + 20000, SIM_TICK, node, 0, NULL);
}

void sim_watcher_event(struct sim *sim, uint32_t node, const struct sim_message *message)
{
    struct ha_event event = event_of(sim, node, HA_EVENT_TICK);
    char agent[8];

    switch (message->kind) {
    case SIM_MSG_HEARTBEAT:
        (void)ha_text_format(agent, sizeof(agent), "db%u", message->from - SIM_WATCHERS_MAX + 1);
        event.kind = HA_EVENT_HEARTBEAT;
        event.u.heartbeat.agent = agent;
        event.u.heartbeat.heartbeat = &message->u.heartbeat;
        break;
    case SIM_MSG_STOPPED:
        event.kind = HA_EVENT_STOPPED;
        event.u.stopped.watcher = message->from;
        event.u.stopped.stopped = &message->u.stopped;
        break;
    case SIM_MSG_PROPOSE:
        if (sim->log.leader == node)
            sim_propose(sim, node, &message->u.command);
        return;
    case SIM_DEV_PROBED:
        event.kind = HA_EVENT_PROBED;
        event.u.probed = (struct ha_event_probed){message->a, message->b, &message->u.sample};
        break;
    case SIM_DEV_NOTED_PROMISE:
        sim->watchers[node].promise_durable_ms = message->a;
        event.kind = HA_EVENT_PERSISTED_PROMISE;
        event.u.persisted_ms = message->a;
        break;
    case SIM_MSG_PROMISE:
    case SIM_MSG_ORDER:
    case SIM_MSG_SETTINGS:
    case SIM_MSG_LINK:
    case SIM_DEV_SAMPLED:
    case SIM_DEV_ACTED:
    case SIM_DEV_NOTED_EPOCHS:
    case SIM_DEV_GATE_CLOSED:
    case SIM_DEV_VIP:
    case SIM_DEV_PROCESS:
    case SIM_DEV_CAUGHT_UP:
        return;
    }
    step(sim, node, &event);
}

void sim_operator(struct sim *sim, uint32_t node, uint32_t member, bool switchover)
{
    struct ha_event event = event_of(sim, node, HA_EVENT_REQUEST);
    struct ha_command command = {.kind = HA_COMMAND_BEGIN, .wall_ms = event.wall_ms};

    if (!sim_runs(sim, node))
        return;
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_service *service = &sim->watchers[node].brain->cluster.services[i];

        if (!service->used || member > service->config.member_count)
            continue;
        command.u.begin = (struct ha_command_begin){
            .ref = {.service = service->id, .epoch = service->epoch},
            .reason = switchover ? HA_REASON_SWITCHOVER : HA_REASON_OPERATOR,
            .target = member == 0 ? HA_MEMBER_NONE : service->members[member - 1].id};
        event.u.request = (struct ha_event_request){.request = 1, .command = &command};
        (void)step(sim, node, &event); /* apply may refuse it: that is for the log to say */
        return;
    }
}
