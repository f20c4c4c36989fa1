/* What is said on the connections between agents and watchers: a status or a promise in full, and
 * in a word while it stays the same (cmd/common/said.h). Both ends forget all of it when the
 * connection ends; whatever is lost ends it. */
#include <string.h>

#include "cmd/common/said.h"
#include "lib/base/err.h"
#include "lib/wire/message.h"
#include "tests/sim/sim.h"

static uint32_t node_of(uint32_t machine)
{
    return SIM_WATCHERS_MAX + machine;
}

static struct sim_mouth *link_of(struct sim *sim, uint32_t machine, uint32_t watcher)
{
    return &sim->hosts[machine].links[watcher];
}

static struct sim_ear *ear_of(struct sim *sim, uint32_t watcher, uint32_t machine)
{
    return &sim->watchers[watcher].ears[machine];
}

void sim_link_break(struct sim *sim, uint32_t machine, uint32_t watcher)
{
    struct sim_mouth *link = link_of(sim, machine, watcher);

    *link = (struct sim_mouth){.number = link->number + 1};
}

/* The agent */

/* As in the agent's shell: what is older is said in full each time. */
static bool is_fresh(const struct sim *sim, uint32_t machine, const struct ha_status *status)
{
    const struct ha_held *held = ha_agent_held(sim->hosts[machine].brain, status->service);

    return held != NULL && status->sample.answer == HA_ANSWER_OK &&
           status->answer_age_ms < 2 * held->settings.probe_ms &&
           2 * (uint64_t)status->answer_age_ms < held->settings.hang_after_ms;
}

static struct sim_message *beat_new(struct sim *sim, uint32_t machine, enum sim_kind kind,
                                    const struct sim_mouth *link)
{
    const struct sim_host *host = &sim->hosts[machine];
    struct sim_message *message = sim_message_new(kind, node_of(machine));

    message->a = host->member;
    message->b = host->boot;
    message->link = link->number;
    message->mark = link->mark;
    message->u.heartbeat.instance = host->instance;
    message->u.heartbeat.stamp = sim_clock_ms(sim, node_of(machine));
    return message;
}

void sim_link_beat(struct sim *sim, uint32_t machine, const struct ha_status *status)
{
    uint64_t mark = ha_status_mark(status);
    bool fresh = is_fresh(sim, machine, status);

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        struct sim_mouth *link = link_of(sim, machine, i);
        struct sim_message *message;

        if (sim->watchers[i].name[0] == '\0')
            continue; /* a place where there never was a machine */
        if (link->service == status->service && link->mark == mark && link->fresh && fresh) {
            message = beat_new(sim, machine, SIM_MSG_REPEAT, link);
            sim->repeats++;
        } else {
            link->service = status->service;
            link->mark = mark;
            link->fresh = fresh;
            message = beat_new(sim, machine, SIM_MSG_HEARTBEAT, link);
            message->u.heartbeat.status = *status;
        }
        if (!sim_send(sim, node_of(machine), i, message))
            sim_link_break(sim, machine, i);
    }
}

bool sim_link_promised(struct sim *sim, uint32_t machine, const struct sim_message *message,
                       struct ha_promise *ret)
{
    struct sim_mouth *link = link_of(sim, machine, message->from);

    if (message->kind == SIM_MSG_PROMISE) {
        *ret = message->u.promise;
        if (message->link == link->number)
            link->promise = *ret;
        return true;
    }
    if (message->link != link->number)
        return false;
    if (message->mark != ha_said_promise_mark(&link->promise)) {
        sim_link_break(sim, machine, message->from);
        return false;
    }
    *ret = link->promise;
    ret->stamp = message->u.promise.stamp;
    return true;
}

void sim_link_told(struct sim *sim, uint32_t machine, const struct sim_message *message)
{
    if (message->link == link_of(sim, machine, message->from)->number)
        link_of(sim, machine, message->from)->fresh = false;
}

/* The watcher */

/* The other end's connection: one that it has left is closed, and nothing more is heard of it. */
static bool is_heard_on(struct sim *sim, uint32_t watcher, const struct sim_message *message)
{
    uint32_t machine = message->from - SIM_WATCHERS_MAX;
    struct sim_ear *ear = ear_of(sim, watcher, machine);

    if (message->b != sim->hosts[machine].boot ||
        message->link != link_of(sim, machine, watcher)->number)
        return false;
    if (ear->number != message->link)
        *ear = (struct sim_ear){.number = message->link};
    return true;
}

static void ask_anew(struct sim *sim, uint32_t watcher, const struct sim_message *message)
{
    struct sim_message *tell = sim_message_new(SIM_MSG_TELL, watcher);

    tell->link = message->link;
    if (!sim_send(sim, watcher, message->from, tell))
        sim_link_break(sim, message->from - SIM_WATCHERS_MAX, watcher);
}

void sim_link_heard(struct sim *sim, uint32_t watcher, const struct sim_message *message)
{
    uint32_t machine = message->from - SIM_WATCHERS_MAX;
    struct ha_event event = sim_event_of(sim, watcher, HA_EVENT_HEARTBEAT);
    struct sim_ear *ear = ear_of(sim, watcher, machine);

    event.u.heartbeat.agent = sim_node_name(sim, node_of(message->a));
    event.u.heartbeat.heartbeat = &message->u.heartbeat;
    if (!is_heard_on(sim, watcher, message))
        return;
    ear->service = message->u.heartbeat.status.service;
    ear->member = message->u.heartbeat.status.member;
    ear->mark = message->mark;
    /* Those of a connection that waits count for nothing. */
    ear->taken =
        sim_seat_hears(sim, watcher, machine) && sim_watcher_step(sim, watcher, &event) == HA_OK;
}

void sim_link_repeated(struct sim *sim, uint32_t watcher, const struct sim_message *message)
{
    uint32_t machine = message->from - SIM_WATCHERS_MAX;
    struct ha_event event = sim_event_of(sim, watcher, HA_EVENT_SAME);
    struct sim_ear *ear = ear_of(sim, watcher, machine);

    if (!is_heard_on(sim, watcher, message) || !sim_seat_hears(sim, watcher, machine))
        return;
    if (message->mark != ear->mark) {
        sim_link_break(sim, machine, watcher);
        return;
    }
    event.u.same = (struct ha_event_same){.agent = sim_node_name(sim, node_of(message->a)),
                                          .service = ear->service,
                                          .member = ear->member,
                                          .instance = message->u.heartbeat.instance,
                                          .stamp = message->u.heartbeat.stamp};
    if (ear->taken)
        ear->taken = sim_watcher_step(sim, watcher, &event) == HA_OK;
    if (!ear->taken)
        ask_anew(sim, watcher, message);
}

void sim_link_promise(struct sim *sim, uint32_t watcher, const struct ha_promise *promise)
{
    uint64_t mark = ha_said_promise_mark(promise);

    for (uint32_t k = 0; k < SIM_HOSTS; k++) {
        uint32_t machine = sim_seat_of(sim, watcher, k);
        struct sim_message *message;
        struct sim_ear *ear;

        if (machine == SIM_MACHINES ||
            sim->watchers[watcher].seats[k].instance != promise->instance)
            continue;
        ear = ear_of(sim, watcher, machine);
        message = sim_message_new(ear->given == mark ? SIM_MSG_RENEW : SIM_MSG_PROMISE, watcher);
        message->link = ear->number;
        message->mark = ear->given = mark;
        message->u.promise.stamp = promise->stamp;
        if (message->kind == SIM_MSG_PROMISE)
            message->u.promise = *promise;
        if (!sim_send(sim, watcher, node_of(machine), message))
            sim_link_break(sim, machine, watcher);
    }
}
