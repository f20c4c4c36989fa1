/* What goes wrong, and how it heals. */
#include <stdlib.h>

#include "tests/sim/sim.h"

enum fault {
    KILL_DB,
    HANG_DB,
    KILL_AGENT,
    PAUSE_AGENT,
    CUT_HOST,
    CUT_ONE_WAY,
    CUT_PAIR,
    KILL_WATCHER,
    PAUSE_WATCHER,
    REBOOT_HOST,
    EMPTY_RESTART,
    PAUSE_HOST,
    GATE_FAILS,
    OPERATOR,     /* no fault, but people act on bad nights */
    SEALED_AGENT, /* is not drawn: it dies after it has sealed its database */
    FAULTS
};

static const char *const names[FAULTS] = {
    "kill database", "hang database", "kill agent",   "pause agent",   "cut host",
    "cut one way",   "cut pair",      "kill watcher", "pause watcher", "reboot host",
    "empty restart", "pause host",    "gate fails",   "operator",      "sealed agent",
};

static uint32_t below(struct sim *sim, uint64_t bound)
{
    return (uint32_t)ha_prng_below(&sim->prng, bound);
}

static uint32_t some_host(struct sim *sim)
{
    /* Mostly the one that serves: that is where it hurts. */
    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        if (sim_takes_writes(sim, h) && below(sim, 10) < 6)
            return h;
    return below(sim, SIM_HOSTS);
}

static void cut(struct sim *sim, uint32_t node, bool to, bool from)
{
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        if (i == node)
            continue;
        if (to)
            sim->reach[i][node] = false;
        if (from)
            sim->reach[node][i] = false;
    }
}

static void stop_daemon(struct sim *sim, uint32_t node)
{
    if (!sim->nodes[node].alive)
        return;
    sim->nodes[node].alive = false;
    sim->nodes[node].paused = false;
    sim->nodes[node].incarnation++; /* whatever was under way to it is lost */
}

static void heal_later(struct sim *sim, enum fault fault, uint32_t node)
{
    uint64_t after_us = 1000 * ha_prng_between(&sim->prng, 20, 6000);

    sim_push(sim, sim->now_us + after_us, SIM_HEAL, SIM_NODES, fault << 8 | node, NULL);
}

static void strike(struct sim *sim, enum fault fault)
{
    uint32_t host = some_host(sim), node = SIM_WATCHERS_MAX + host, other;

    if (fault == KILL_WATCHER || fault == PAUSE_WATCHER)
        node = below(sim, sim->profile.watchers);
    if (fault == CUT_ONE_WAY && below(sim, 3) == 0)
        node = below(sim, sim->profile.watchers);
    sim_story(sim, "fault: %s, %s%u", names[fault], node < SIM_WATCHERS_MAX ? "w" : "db",
              node < SIM_WATCHERS_MAX ? node + 1 : node - SIM_WATCHERS_MAX + 1);
    switch (fault) {
    case OPERATOR:
        sim_operator(sim, below(sim, sim->profile.watchers), below(sim, SIM_HOSTS + 1),
                     below(sim, 3) != 0);
        return;
    case KILL_DB:
        sim_db_kill(sim, host);
        break;
    case EMPTY_RESTART:
        sim_db_kill(sim, host);
        sim_db_start(sim, host, true);
        return;
    case HANG_DB:
        sim->hosts[host].db.hung = true;
        break;
    case KILL_AGENT:
    case KILL_WATCHER:
        stop_daemon(sim, node);
        break;
    case PAUSE_AGENT:
    case PAUSE_WATCHER:
        sim->nodes[node].paused = sim->nodes[node].alive;
        break;
    case PAUSE_HOST:
        sim->nodes[node].paused = sim->nodes[node].alive;
        sim->hosts[host].db.hung = true;
        break;
    case CUT_HOST:
        cut(sim, node, true, true);
        break;
    case CUT_ONE_WAY:
        if (below(sim, 2) == 0)
            cut(sim, node, true, false);
        else
            cut(sim, node, false, true);
        break;
    case CUT_PAIR:
        other = below(sim, sim->profile.watchers);
        sim->reach[node][other] = sim->reach[other][node] = false;
        other = below(sim, sim->profile.watchers);
        sim->reach[node][other] = sim->reach[other][node] = false;
        break;
    case REBOOT_HOST:
        stop_daemon(sim, node);
        sim_db_kill(sim, host);
        sim_host_boot(sim, host);
        break;
    case GATE_FAILS:
        sim->hosts[host].gate_broken = true;
        /* Where it hurts: its agent cannot end it either. */
        if (below(sim, 2) == 0 && sim->nodes[node].alive) {
            sim->nodes[node].paused = true;
            heal_later(sim, PAUSE_AGENT, node);
        }
        if (below(sim, 2) == 0)
            return;
        break;
    case SEALED_AGENT:
    case FAULTS:
        abort();
    }
    heal_later(sim, fault, node);
}

void sim_fault(struct sim *sim)
{
    uint32_t count = sim->profile.wide_faults ? 1 + below(sim, 3) : 1;

    if (sim->quiet)
        return;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t fault = below(sim, sim->profile.gates_fail ? SEALED_AGENT : GATE_FAILS);

        /* A disk that is replaced is rarer than a process that is started again. */
        if (fault == EMPTY_RESTART && sim->profile.engine == HA_ENGINE_POSTGRESQL &&
            below(sim, 4) != 0)
            fault = KILL_DB;

        strike(sim, (enum fault)fault);
    }
    sim_push(sim,
             sim->now_us + 1000 * ha_prng_between(&sim->prng, 50, 2 * sim->profile.fault_every_ms),
             SIM_FAULT, SIM_NODES, 0, NULL);
}

static void start_daemon(struct sim *sim, uint32_t node)
{
    if (sim->nodes[node].alive)
        return;
    if (node < SIM_WATCHERS_MAX)
        sim_watcher_start(sim, node);
    else
        sim_agent_start(sim, node);
}

static void join(struct sim *sim, uint32_t node)
{
    for (uint32_t i = 0; i < SIM_NODES; i++)
        sim->reach[i][node] = sim->reach[node][i] = true;
}

void sim_heal(struct sim *sim, uint32_t arg);

void sim_heal(struct sim *sim, uint32_t arg)
{
    enum fault fault = (enum fault)(arg >> 8);
    uint32_t node = arg & 255u;
    uint32_t host = node < SIM_WATCHERS_MAX ? 0 : node - SIM_WATCHERS_MAX;

    sim_story(sim, "heals: %s", names[fault]);
    switch (fault) {
    case KILL_DB:
    case REBOOT_HOST:
        if (!sim->hosts[host].db.alive)
            sim_db_start(sim, host,
                         below(sim, sim->profile.engine == HA_ENGINE_REDIS ? 2 : 12) == 0);
        start_daemon(sim, node);
        return;
    case HANG_DB:
        sim->hosts[host].db.hung = false;
        return;
    case KILL_AGENT:
    case KILL_WATCHER:
        start_daemon(sim, node);
        return;
    case PAUSE_HOST:
        sim->hosts[host].db.hung = false;
        sim_push(sim, sim->now_us, SIM_RESUME, node, 0, NULL);
        return;
    case PAUSE_AGENT:
    case PAUSE_WATCHER:
        sim_push(sim, sim->now_us, SIM_RESUME, node, 0, NULL);
        return;
    case CUT_HOST:
    case CUT_ONE_WAY:
    case CUT_PAIR:
        join(sim, node);
        return;
    case GATE_FAILS:
        sim->hosts[host].gate_broken = false;
        return;
    case SEALED_AGENT:
        stop_daemon(sim, node);
        heal_later(sim, KILL_AGENT, node);
        return;
    case EMPTY_RESTART:
    case OPERATOR:
    case FAULTS:
        return;
    }
}

void sim_fault_sealed(struct sim *sim, uint32_t node)
{
    if (!sim->quiet && sim->profile.gates_fail && below(sim, 4) == 0)
        sim_push(sim, sim->now_us + 1000 * ha_prng_between(&sim->prng, 30, 300), SIM_HEAL,
                 SIM_NODES, SEALED_AGENT << 8 | node, NULL);
}

void sim_heal_all(struct sim *sim)
{
    sim->quiet = true;
    sim->quiet_us = sim->now_us;
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        if (i >= sim->profile.watchers && i < SIM_WATCHERS_MAX)
            continue;
        join(sim, i);
        if (sim->nodes[i].paused)
            sim_push(sim, sim->now_us, SIM_RESUME, i, 0, NULL);
        start_daemon(sim, i);
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        sim->hosts[h].db.hung = false;
        sim->hosts[h].gate_broken = false;
        sim->hosts[h].db.misrouted_us = 0;
        if (!sim->hosts[h].db.alive)
            sim_db_start(sim, h, false);
    }
}
