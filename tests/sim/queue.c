/* Events in order of true time, messages over the network, drifting clocks. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "tests/sim/sim.h"

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event c = *a;

    *a = *b;
    *b = c;
}

void sim_push(struct sim *sim, uint64_t at_us, enum sim_what what, uint32_t node, uint32_t arg,
              struct sim_message *message)
{
    uint32_t at = sim->heap_count++;

    if (sim->heap_count > sim->heap_size) {
        sim->heap_size = sim->heap_size == 0 ? 1024 : 2 * sim->heap_size;
        sim->heap = realloc(sim->heap, sim->heap_size * sizeof(*sim->heap));
        assert(sim->heap != NULL);
    }
    sim->heap[at] = (struct sim_event){
        .at_us = at_us < sim->now_us ? sim->now_us : at_us,
        .seq = ++sim->seq,
        .what = what,
        .node = node,
        .incarnation = node < SIM_NODES ? sim->nodes[node].incarnation : 0,
        .arg = arg,
        .message = message,
    };
    for (; at > 0 && before(&sim->heap[at], &sim->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&sim->heap[at], &sim->heap[(at - 1) / 2]);
}

bool sim_pop(struct sim *sim, struct sim_event *ret)
{
    uint32_t at = 0;

    if (sim->heap_count == 0)
        return false;
    *ret = sim->heap[0];
    sim->heap[0] = sim->heap[--sim->heap_count];
    for (;;) {
        uint32_t least = at;

        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < sim->heap_count; child++)
            if (before(&sim->heap[child], &sim->heap[least]))
                least = child;
        if (least == at)
            break;
        swap(&sim->heap[at], &sim->heap[least]);
        at = least;
    }
    sim->now_us = ret->at_us;
    sim->digest = ha_hash(sim->digest, &ret->at_us, sizeof(ret->at_us));
    sim->digest = ha_hash(sim->digest, &ret->node, sizeof(ret->node));
    return true;
}

struct sim_message *sim_message_new(enum sim_kind kind, uint32_t from)
{
    struct sim_message *message = calloc(1, sizeof(*message));

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

void sim_send(struct sim *sim, uint32_t from, uint32_t to, struct sim_message *message)
{
    uint64_t delay_us = ha_prng_between(&sim->prng, 100, 1000 * sim->profile.delay_max_ms);

    if (from != to && (!sim_both_reach(sim, from, to) ||
                       ha_prng_chance(&sim->prng, sim->quiet ? 0 : sim->profile.loss_ppm))) {
        free(message);
        return;
    }
    sim_push(sim, sim->now_us + delay_us, SIM_DELIVER, to, 0, message);
}

void sim_answer(struct sim *sim, uint32_t node, uint64_t delay_us, struct sim_message *message)
{
    sim_push(sim, sim->now_us + delay_us, SIM_DELIVER, node, 0, message);
}
