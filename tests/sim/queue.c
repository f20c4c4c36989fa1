/* Events in order of true time, messages over the network, drifting clocks. */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

void sim_push(struct sim *sim, uint64_t at_us, enum sim_what what, uint32_t node, uint32_t arg,
              struct sim_message *message)
{
    uint32_t at = sim->heap_count++;
    struct sim_event event;

    if (sim->heap_count > sim->heap_size) {
        sim->heap_size = sim->heap_size == 0 ? 1024 : 2 * sim->heap_size;
        sim->heap = realloc(sim->heap, sim->heap_size * sizeof(*sim->heap));
        assert(sim->heap != NULL);
    }
    event = (struct sim_event){
        .at_us = at_us < sim->now_us ? sim->now_us : at_us,
        .seq = ++sim->seq,
        .what = what,
        .node = node,
        .incarnation = node < SIM_NODES ? sim->nodes[node].incarnation : 0,
        .arg = arg,
        .message = message,
    };
    for (; at > 0 && before(&event, &sim->heap[(at - 1) / 2]); at = (at - 1) / 2)
        sim->heap[at] = sim->heap[(at - 1) / 2];
    sim->heap[at] = event;
}

bool sim_pop(struct sim *sim, struct sim_event *ret)
{
    const struct sim_event *last;
    uint32_t at = 0;

    if (sim->heap_count == 0)
        return false;
    *ret = sim->heap[0];
    last = &sim->heap[--sim->heap_count];
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child + 1 < sim->heap_count && before(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (child >= sim->heap_count || !before(&sim->heap[child], last))
            break;
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = *last;
    sim->now_us = ret->at_us;
    sim->digest = (sim->digest ^ (ret->at_us << 8 | ret->node)) * 0x9e3779b97f4a7c15u;
    sim->digest ^= sim->digest >> 32;
    return true;
}

/* Of what this kind fills in: the union is as large as the largest entry of the log. */
static size_t size_of(enum sim_kind kind)
{
    static const struct sim_message *const message;
    size_t size = 0;

    switch (kind) {
    case SIM_MSG_REPEAT:
        size = offsetof(struct ha_heartbeat, status);
        break;
    case SIM_MSG_HEARTBEAT:
        size = sizeof(message->u.heartbeat);
        break;
    case SIM_MSG_PROMISE:
    case SIM_MSG_RENEW:
        size = sizeof(message->u.promise);
        break;
    case SIM_MSG_ORDER:
    case SIM_DEV_ACTED:
        size = sizeof(message->u.order);
        break;
    case SIM_MSG_HOLD_ASK:
        size = sizeof(message->u.ask);
        break;
    case SIM_MSG_HOLD_WORD:
        size = sizeof(message->u.word);
        break;
    case SIM_MSG_STOPPED:
        size = sizeof(message->u.stopped);
        break;
    case SIM_MSG_PROPOSE:
        size = sizeof(message->u.command);
        break;
    case SIM_MSG_SETTINGS:
        size = sizeof(message->u.settings);
        break;
    case SIM_DEV_PROBED:
        size = sizeof(message->u.sample);
        break;
    case SIM_DEV_NOTED_EPOCHS:
        size = sizeof(message->u.epochs);
        break;
    case SIM_MSG_HELLO:
    case SIM_MSG_LINK:
    case SIM_MSG_TELL:
    case SIM_DEV_SAMPLED:
    case SIM_DEV_NOTED_PROMISE:
    case SIM_DEV_GATE_CLOSED:
    case SIM_DEV_VIP:
    case SIM_DEV_PROCESS:
    case SIM_DEV_CAUGHT_UP:
    case SIM_DEV_FENCED:
        break;
    }
    return offsetof(struct sim_message, u) + size;
}

struct sim_message *sim_message_new(enum sim_kind kind, uint32_t from)
{
    struct sim_message *message = calloc(1, size_of(kind));

    assert(message != NULL);
    message->kind = kind;
    message->from = from;
    return message;
}

uint64_t sim_clock_ms(const struct sim *sim, uint32_t node)
{
    int64_t us = (int64_t)sim->now_us;

    return sim->nodes[node].offset_ms +
           (uint64_t)((us + us * sim->nodes[node].rate_ppm / 1000000) / 1000);
}

bool sim_both_reach(const struct sim *sim, uint32_t a, uint32_t b)
{
    return sim->reach[a][b] && sim->reach[b][a];
}

bool sim_runs(const struct sim *sim, uint32_t node)
{
    return sim->nodes[node].alive && !sim->nodes[node].paused;
}

const char *sim_node_name(const struct sim *sim, uint32_t node)
{
    static const char *const hosts[SIM_MACHINES] = {"db1", "db2", "db3", "clone"};

    return node < SIM_WATCHERS_MAX ? sim->watchers[node].name : hosts[node - SIM_WATCHERS_MAX];
}

bool sim_send(struct sim *sim, uint32_t from, uint32_t to, struct sim_message *message)
{
    uint64_t delay_us = ha_prng_between(&sim->prng, 100, 1000 * sim->profile.delay_max_ms);
    uint64_t late_us = message->kind == SIM_MSG_PROPOSE ? 4000000 : 200000;

    if (from != to && (!sim_both_reach(sim, from, to) ||
                       ha_prng_chance(&sim->prng, sim->quiet ? 0 : sim->profile.loss_ppm))) {
        free(message);
        return false;
    }
    /* What leans on what was said before cannot come twice: it is said on a connection. */
    if (message->kind != SIM_MSG_HEARTBEAT && message->kind != SIM_MSG_REPEAT &&
        message->kind != SIM_MSG_RENEW && message->kind != SIM_MSG_TELL && !sim->quiet &&
        ha_prng_chance(&sim->prng, sim->profile.twice_ppm)) {
        struct sim_message *again = sim_message_new(message->kind, from);

        memcpy(again, message, size_of(message->kind));
        again->link = 0; /* nor does a renewal lean on it */
        sim_push(sim, sim->now_us + ha_prng_between(&sim->prng, 100, late_us), SIM_DELIVER, to, 0,
                 again);
    }
    sim_push(sim, sim->now_us + delay_us, SIM_DELIVER, to, 0, message);
    return true;
}

void sim_answer(struct sim *sim, uint32_t node, uint64_t delay_us, struct sim_message *message)
{
    sim_push(sim, sim->now_us + delay_us, SIM_DELIVER, node, 0, message);
}

struct ha_event sim_event_of(const struct sim *sim, uint32_t node, enum ha_event_kind kind)
{
    int64_t wall_ms = 100000000 + (int64_t)(sim->now_us / 1000) + sim->nodes[node].wall_off_ms;

    return (struct ha_event){
        .kind = kind, .now_ms = sim_clock_ms(sim, node), .wall_ms = (uint64_t)wall_ms};
}
