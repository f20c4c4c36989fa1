/* What agents say to each other, and the cuts that make it matter: the watchers gone, or a part of
 * them and of the hosts on either side. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "tests/sim/sim.h"

/* Of each three seeds one; no number is drawn for it, so that the others stay what they were. */
bool sim_hold_drawn(uint64_t seed)
{
    return seed % 3 == 0;
}

/* An agent without notes, or with those of another boot, remembers nothing. */
void sim_hold_start(struct sim *sim, uint32_t host)
{
    struct sim_host *h = &sim->hosts[host];

    if (h->memory == 0 || h->memory_of != h->instance) {
        h->memory = h->instance ^ 0x5eed;
        h->memory_of = h->instance;
    }
    h->brain->memory = h->memory;
}

void sim_hold_ask(struct sim *sim, uint32_t node, const struct ha_effect_hold_ask *ask)
{
    struct sim_message *message = sim_message_new(SIM_MSG_HOLD_ASK, node);

    /* Its address is that of the host of that name; nobody else is reached there. */
    message->u.ask = ask->ask;
    sim_send(sim, node, SIM_WATCHERS_MAX + (uint32_t)(ask->agent[2] - '1'), message);
}

void sim_hold_word(struct sim *sim, uint32_t node, const struct ha_effect_hold_word *word)
{
    for (uint32_t h = 0; h < SIM_MACHINES; h++) {
        struct sim_message *message;

        if (!sim->hosts[h].exists || sim->hosts[h].instance != word->word.instance)
            continue;
        message = sim_message_new(SIM_MSG_HOLD_WORD, node);
        message->u.word = word->word;
        sim_send(sim, node, SIM_WATCHERS_MAX + h, message);
    }
}

void sim_hold_event(const struct sim *sim, const struct sim_message *message, char agent[8],
                    struct ha_event *event)
{
    (void)ha_text_format(agent, 8, "db%u", sim->hosts[message->from - SIM_WATCHERS_MAX].member + 1);
    if (message->kind == SIM_MSG_HOLD_ASK) {
        event->kind = HA_EVENT_HOLD_ASKED;
        event->u.hold_asked = (struct ha_event_hold_asked){agent, &message->u.ask};
    } else {
        event->kind = HA_EVENT_HOLD_WORD;
        event->u.hold_word = (struct ha_event_hold_word){agent, &message->u.word};
    }
}

void sim_hold_count(struct sim *sim, uint32_t host)
{
    struct sim_host *h = &sim->hosts[host];
    bool kept = false;

    for (uint32_t i = 0; i < h->brain->held_count; i++)
        kept = kept || (h->brain->held[i].used && h->brain->held[i].hold.since_ms != 0);
    if (kept != h->kept)
        sim_story(sim, "the lease of %s %s", sim_node_name(sim, SIM_WATCHERS_MAX + host),
                  kept ? "rests on other agents" : "does not rest on other agents any more");
    sim->kept += kept && !h->kept;
    h->kept = kept;
}

/* True: @a and @b are on different sides of the cut that @sides names, a bit per node. */
static void cut_between(struct sim *sim, uint32_t sides)
{
    for (uint32_t a = 0; a < SIM_NODES; a++)
        for (uint32_t b = 0; b < SIM_NODES; b++)
            if ((sides >> a & 1u) != (sides >> b & 1u))
                sim->reach[a][b] = false;
}

void sim_hold_strike(struct sim *sim, bool all_watchers)
{
    uint32_t sides = (1u << SIM_WATCHERS_MAX) - 1;

    /* All watchers from all hosts, or any cut with the holder and another host on one side. */
    if (!all_watchers) {
        sides = (uint32_t)ha_prng_below(&sim->prng, 1u << SIM_NODES);
        if (ha_prng_chance(&sim->prng, 600000)) {
            uint32_t with = (sim->holder + 1 + (uint32_t)ha_prng_below(&sim->prng, 2)) % SIM_HOSTS;

            sides = 1u << (SIM_WATCHERS_MAX + sim->holder) | 1u << (SIM_WATCHERS_MAX + with);
            if (ha_prng_chance(&sim->prng, 300000)) /* a watcher with them */
                sides |= 1u << ha_prng_below(&sim->prng, SIM_WATCHERS_MAX);
        }
    }
    cut_between(sim, sides);
}
