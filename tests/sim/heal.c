/* How it heals. */
#include "tests/sim/fault.h"

void sim_fault_ended(struct sim *sim, uint32_t node)
{
    sim->nodes[node].alive = false;
    sim->nodes[node].paused = false;
    sim->nodes[node].incarnation++;
    sim_heal_in(sim, KILL_WATCHER, node, 20, 2000);
}

static void start_daemon(struct sim *sim, uint32_t node)
{
    if (sim->nodes[node].alive ||
        (node >= SIM_WATCHERS_MAX && (!sim->hosts[node - SIM_WATCHERS_MAX].exists ||
                                      sim_is_kept_off(sim, node - SIM_WATCHERS_MAX))))
        return;
    if (node >= SIM_WATCHERS_MAX)
        sim_agent_start(sim, node);
    else if (!sim->watchers[node].lost && sim->watchers[node].voter &&
             sim->log.kind->has_disk(sim, node))
        sim_watcher_start(sim, node);
}

static void join(struct sim *sim, uint32_t node)
{
    for (uint32_t i = 0; i < SIM_NODES; i++)
        sim->reach[i][node] = sim->reach[node][i] = true;
}

static void turn_on(struct sim *sim, enum fault fault, uint32_t host)
{
    uint32_t empty = sim->profile.engine == HA_ENGINE_REDIS ? 2 : 12;

    if (sim_is_kept_off(sim, host)) {
        if (fault == WIPE_HOST || fault == RESTORE_HOST)
            sim_heal_in(sim, fault, SIM_WATCHERS_MAX + host, 100, 500);
        return;
    }
    sim->hosts[host].forgot = false;
    if (!sim->hosts[host].db.alive)
        sim_db_start(sim, host,
                     fault == WIPE_HOST || (fault != RESTORE_HOST && sim_below(sim, empty) == 0));
    start_daemon(sim, SIM_WATCHERS_MAX + host);
}

/* The way back of what is not over with the fault itself. */
static void mend_other(struct sim *sim, enum fault fault, uint32_t node)
{
    switch ((uint32_t)fault) { /* a part of the list */
    case SEALED_AGENT:
    case NOTING_AGENT:
        sim_stop(sim, node);
        /* Back at once, while the old primary may still be connected to. */
        sim_heal_in(sim, KILL_AGENT, node, 1, sim_below(sim, 2) == 0 ? 200 : 6000);
        return;
    case RELEASED_AGENT:
        sim_stop(sim, node);
        sim_heal_at(sim, KILL_AGENT, node, 10);
        return;
    case LEADER_GOES:
        sim_leader_goes(sim);
        return;
    case CLONE_HOST:
        sim_end_clone(sim);
        return;
    case DB_ENDS:
        sim_db_kill(sim, node - SIM_WATCHERS_MAX);
        sim_heal_in(sim, KILL_DB, node, 100, 4000);
        return;
    case WIPE_WATCHER:
        if (!sim->watchers[node].voter || !sim->watchers[node].lost || sim->quiet)
            return;
        sim_operator_replaces(sim, node);
        sim_heal_in(sim, WIPE_WATCHER, node, 1000, 2000);
        return;
    default:
        return;
    }
}

void sim_mend(struct sim *sim, uint32_t arg)
{
    enum fault fault = (enum fault)(arg >> 8);
    uint32_t node = arg & 255u;
    uint32_t host = node < SIM_WATCHERS_MAX ? 0 : node - SIM_WATCHERS_MAX;

    sim_story(sim, "heals or follows: %s, %s", sim_fault_name(fault), sim_node_name(sim, node));
    switch ((uint32_t)fault) { /* a part of the list */
    case KILL_DB:
    case REBOOT_HOST:
    case WIPE_HOST:
    case RESTORE_HOST:
        turn_on(sim, fault, host);
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
    case AGENT_AWAKES:
        sim_push(sim, sim->now_us, SIM_RESUME, node, 0, NULL);
        return;
    case CUT_HOST:
    case CUT_ONE_WAY:
    case CUT_PAIR:
    case CUT_WATCHER:
        join(sim, node);
        return;
    case WATCHERS_GONE:
    case SPLIT:
        for (uint32_t i = 0; i < SIM_NODES; i++)
            join(sim, i);
        return;
    case GATE_FAILS:
        sim->hosts[host].gate.broken = false;
        return;
    case WATCHER_DISK:
        sim->log.kind->trouble(sim, node, SIM_DISK_WELL);
        return;
    default:
        mend_other(sim, fault, node);
    }
}

void sim_heal_all(struct sim *sim)
{
    sim->quiet = true;
    sim->quiet_us = sim->now_us;
    sim_end_clone(sim);
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        if (i < SIM_WATCHERS_MAX && !sim->watchers[i].voter) {
            sim_stop(sim, i); /* replaced, and switched off at last */
            continue;
        }
        if (i == SIM_WATCHERS_MAX + SIM_HOSTS)
            continue;
        join(sim, i);
        sim->watchers[i < SIM_WATCHERS_MAX ? i : 0].lags_until_us = 0;
        if (i < SIM_WATCHERS_MAX && sim->log.kind->trouble != NULL)
            sim->log.kind->trouble(sim, i, SIM_DISK_WELL);
        if (sim->nodes[i].paused)
            sim_push(sim, sim->now_us, SIM_RESUME, i, 0, NULL);
        start_daemon(sim, i);
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        sim->hosts[h].db.hung = false;
        sim->hosts[h].gate.broken = false;
        sim->hosts[h].db.misrouted_us = 0;
        if (!sim->hosts[h].db.alive && !sim_is_kept_off(sim, h))
            sim_db_start(sim, h, false);
    }
}
