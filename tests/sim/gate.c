/* What the kernel of a host lets out: absolute deadlines (bpf), relative timeouts (nft), both, or
 * only the end of the database (process). Design, section 6.4. */
#include "tests/sim/sim.h"

#define TICKET_MS 100u

static uint32_t node_of(uint32_t host)
{
    return SIM_WATCHERS_MAX + host;
}

bool sim_gate_open(const struct sim *sim, uint32_t host)
{
    const struct sim_gate *gate = &sim->hosts[host].gate;

    if (gate->broken || gate->class == HA_GATE_PROCESS)
        return true;
    if (gate->class == HA_GATE_NFT && gate->flushed)
        return true;
    return sim_clock_ms(sim, node_of(host)) < gate->until_ms;
}

static void put(struct sim_gate *gate, uint64_t now_ms, uint64_t deadline_ms)
{
    gate->in_call = gate->late = false;
    gate->until_ms = deadline_ms > now_ms ? deadline_ms : 0;
}

static void stop_inside(struct sim *sim, uint32_t host, uint64_t most_ms)
{
    sim_story(sim, "the agent of %s is stopped inside a renewal",
              sim_node_name(sim, node_of(host)));
    sim->nodes[node_of(host)].paused = true;
    sim_push(sim, sim->now_us + 1000 * ha_prng_between(&sim->prng, 1, most_ms), SIM_RESUME,
             node_of(host), 0, NULL);
}

/* Renewal is delete and add in one batch, which fails once the old element has expired; where
 * nothing is open yet, a ticket stands in for what is to be deleted (agents/host/gate_nft.c).
 * Either way one that failed is tried again by the clock of then. */
void sim_gate_set(struct sim *sim, uint32_t host, uint64_t deadline_ms)
{
    struct sim_gate *gate = &sim->hosts[host].gate;
    uint64_t now_ms = sim_clock_ms(sim, node_of(host));
    bool opens = gate->until_ms <= now_ms;

    if (gate->class != HA_GATE_NFT || deadline_ms <= now_ms || sim->quiet ||
        !ha_prng_chance(&sim->prng, opens ? 10000 : 500)) {
        put(gate, now_ms, deadline_ms);
        return;
    }
    gate->in_call = true;
    gate->left_ms = deadline_ms - now_ms;
    gate->wanted_ms = deadline_ms;
    gate->guard_ms = opens ? now_ms + TICKET_MS : gate->until_ms;
    stop_inside(sim, host,
                opens && ha_prng_chance(&sim->prng, 500000)
                    ? 3 * TICKET_MS / 2
                    : 2 * (uint64_t)sim->profile.lease_ms + 2000);
}

bool sim_gate_resume(struct sim *sim, uint32_t host)
{
    struct sim_gate *gate = &sim->hosts[host].gate;
    uint64_t now_ms = sim_clock_ms(sim, node_of(host));

    if (!gate->in_call)
        return false;
    if (gate->left_ms != 0 && now_ms < gate->guard_ms) {
        gate->until_ms = now_ms + gate->left_ms;
        gate->left_ms = 0;
        gate->late = true;
        /* Between the call and the look at the clock. */
        if (!sim->quiet && ha_prng_chance(&sim->prng, 500000)) {
            stop_inside(sim, host, (uint64_t)sim->profile.lease_ms + 1000);
            return true;
        }
    }
    put(gate, now_ms, gate->wanted_ms);
    return false;
}

void sim_gate_look(struct sim *sim, uint32_t host)
{
    struct sim_gate *gate = &sim->hosts[host].gate;

    if (!gate->flushed || sim->now_us < gate->flushed_us + 1000000)
        return;
    sim_story(sim, "the rules of %s are put back", sim_node_name(sim, node_of(host)));
    gate->flushed = false;
}
