/* What goes wrong: drawn by weight. */
#include <stdlib.h>

#include "tests/sim/fault.h"

static const struct {
    const char *name;
    uint32_t weight;
} faults[FAULTS] = {
    [KILL_DB] = {"kill database", 10},
    [HANG_DB] = {"hang database", 10},
    [KILL_AGENT] = {"kill agent", 10},
    [PAUSE_AGENT] = {"pause agent", 12},
    [CUT_HOST] = {"cut host", 10},
    [CUT_ONE_WAY] = {"cut one way", 10},
    [CUT_PAIR] = {"cut pair", 12},
    [KILL_WATCHER] = {"kill watcher", 10},
    [PAUSE_WATCHER] = {"pause watcher", 10},
    [REBOOT_HOST] = {"reboot host", 8},
    [EMPTY_RESTART] = {"empty restart", 6},
    [PAUSE_HOST] = {"pause host", 10},
    [OPERATOR] = {"operator", 12},
    [CUT_WATCHER] = {"cut watcher", 8},
    [LAG_WATCHER] = {"watcher lags", 8},
    [STEP_CLOCK] = {"wall clock stepped", 4},
    [WIPE_HOST] = {"wiped host", 2},
    [RESTORE_HOST] = {"restored host", 3},
    [CLONE_HOST] = {"cloned host", 4},
    [FLUSH_RULES] = {"ruleset flushed", 4},
    [WATCHERS_ALONE] = {"all watchers start anew, alone", 2},
    [WIPE_WATCHER] = {"wiped watcher", 3},
    [CHANGES] = {"people change things", 14},
    [GATE_FAILS] = {"gate fails", 10},
    [WATCHER_DISK] = {"disk of a watcher", 12},
    [WATCHERS_GONE] = {"watchers cut from all hosts", 14},
    [SPLIT] = {"cut through all", 14},
    [SEALED_AGENT] = {"sealed agent dies", 0},
    [NOTING_AGENT] = {"agent dies while it writes", 0},
    [RELEASED_AGENT] = {"agent dies that promises no more", 0},
    [LEADER_GOES] = {"leader goes while fencing", 0},
    [DB_ENDS] = {"agent ends its database", 0},
    [AGENT_AWAKES] = {"agent awakes", 0},
};

const char *sim_fault_name(enum fault fault)
{
    return faults[fault].name;
}

static uint32_t some_host(struct sim *sim)
{
    /* Mostly the one that serves: that is where it hurts. */
    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        if (sim_takes_writes(sim, h) && sim_below(sim, 10) < 6)
            return h;
    return sim_below(sim, SIM_HOSTS);
}

static uint32_t some_watcher(struct sim *sim)
{
    for (;;) {
        uint32_t node = sim_below(sim, SIM_WATCHERS_MAX);

        if (sim->watchers[node].voter)
            return node;
    }
}

void sim_cut(struct sim *sim, uint32_t node, bool to, bool from)
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

void sim_stop(struct sim *sim, uint32_t node)
{
    if (!sim->nodes[node].alive)
        return;
    sim->nodes[node].alive = false;
    sim->nodes[node].paused = false;
    sim->nodes[node].incarnation++; /* whatever was under way to it is lost */
    if (node < SIM_WATCHERS_MAX)
        sim->log.kind->stop(sim, node);
}

void sim_heal_at(struct sim *sim, enum fault fault, uint32_t node, uint64_t in_ms)
{
    sim_push(sim, sim->now_us + 1000 * in_ms, SIM_HEAL, SIM_NODES, (uint32_t)fault << 8 | node,
             NULL);
}

void sim_heal_in(struct sim *sim, enum fault fault, uint32_t node, uint64_t low_ms,
                 uint64_t high_ms)
{
    sim_heal_at(sim, fault, node, ha_prng_between(&sim->prng, low_ms, high_ms));
}

void sim_heal_later(struct sim *sim, enum fault fault, uint32_t node)
{
    /* Some faults outlive the longest lease. */
    uint64_t most_ms = sim_below(sim, 5) == 0 ? 3 * (uint64_t)sim->profile.lease_ms + 6000 : 6000;

    sim_heal_in(sim, fault, node, 20, most_ms);
}

void sim_pause_node(struct sim *sim, uint32_t node)
{
    sim->nodes[node].paused = sim->nodes[node].alive;
}

/* Hosts that are not what they were */

static void turn_off(struct sim *sim, uint32_t host)
{
    sim_stop(sim, SIM_WATCHERS_MAX + host);
    sim_db_kill(sim, host);
    sim_host_boot(sim, host);
}

/* Another machine from the disk of one of ours, under its name; a database is started there too. */
static void clone_host(struct sim *sim, uint32_t host)
{
    const uint32_t at = SIM_HOSTS;
    struct sim_host *clone = &sim->hosts[at];

    if (clone->exists || sim->profile.engine != HA_ENGINE_REDIS || !sim_may_be_cloned(sim))
        return;
    sim_image_take(sim, host);
    clone->exists = true;
    clone->member = host;
    clone->late_count = 0;
    clone->gate.class = sim->hosts[host].gate.class;
    sim_host_boot(sim, at);
    sim_image_use(sim, at, &sim->hosts[host].image);
    sim_db_start(sim, at, false);
    sim_agent_start(sim, SIM_WATCHERS_MAX + at);
    sim_heal_in(sim, CLONE_HOST, at, 1000, 15000);
}

void sim_end_clone(struct sim *sim)
{
    if (!sim->hosts[SIM_HOSTS].exists)
        return;
    turn_off(sim, SIM_HOSTS);
    sim->hosts[SIM_HOSTS].exists = false;
}

void sim_fault_power(struct sim *sim, uint32_t host)
{
    turn_off(sim, host);
    if (sim->hosts[SIM_HOSTS].member == host)
        sim_end_clone(sim);
    sim_heal_later(sim, REBOOT_HOST, SIM_WATCHERS_MAX + host);
}

void sim_fault_end(struct sim *sim, uint32_t host)
{
    sim_heal_in(sim, DB_ENDS, SIM_WATCHERS_MAX + host, 1, 290);
}

/* Watchers */

static void all_alone(struct sim *sim)
{
    uint64_t lease_ms = sim->profile.lease_ms;

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        if (!sim->watchers[i].voter || sim->watchers[i].lost || !sim->nodes[i].alive)
            continue;
        sim_stop(sim, i);
        sim_watcher_start(sim, i);
        for (uint32_t k = 0; k < SIM_WATCHERS_MAX; k++)
            sim->reach[i][k] = sim->reach[k][i] = false;
        sim_heal_in(sim, CUT_HOST, i, lease_ms, 4 * lease_ms + 2000);
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        sim_heal_in(sim, AGENT_AWAKES, SIM_WATCHERS_MAX + h, lease_ms / 2, 2 * lease_ms + 1000);
}

static void wipe_watcher(struct sim *sim, uint32_t node)
{
    /* What was asked for may still be on its way to the log. */
    if (sim->replaced_us != 0 && sim->now_us < sim->replaced_us + 5000000)
        return;
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->watchers[i].voter && (sim->watchers[i].lost || sim->watchers[i].brain == NULL ||
                                       ha_cluster_is_settling(&sim->watchers[i].brain->cluster) ||
                                       sim->log.kind->is_ending(sim)))
            return; /* one at a time, also of the set before: a majority stays */
    sim_stop(sim, node);
    sim->watchers[node].lost = true;
    sim->log.kind->forget(sim, node);
    sim_heal_in(sim, WIPE_WATCHER, node, 500, 5000);
}

static void plant(struct sim *sim)
{
    if (sim->faults != 3)
        return;
    if (sim->plant == SIM_PLANT_CRASH)
        abort();
    for (uint32_t h = 0; sim->plant == SIM_PLANT_SAFETY && h < SIM_HOSTS; h++)
        sim->hosts[h].gate.broken = true;
}

/* Where it strikes. */
static uint32_t node_for(struct sim *sim, enum fault fault, uint32_t host)
{
    bool watcher = fault == KILL_WATCHER || fault == PAUSE_WATCHER || fault == CUT_WATCHER ||
                   fault == LAG_WATCHER || fault == WIPE_WATCHER || fault == WATCHER_DISK ||
                   (fault == STEP_CLOCK && sim_below(sim, 2) == 0) ||
                   (fault == CUT_ONE_WAY && sim_below(sim, 3) == 0);

    return watcher ? some_watcher(sim) : SIM_WATCHERS_MAX + host;
}

static void cut_some(struct sim *sim, enum fault fault, uint32_t node)
{
    bool both = fault == CUT_HOST || (fault == CUT_WATCHER && sim_below(sim, 2) == 0);
    bool in = sim_below(sim, 2) == 0;

    if (fault != CUT_PAIR) {
        sim_cut(sim, node, both || in, both || !in);
        return;
    }
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t other = some_watcher(sim);

        if (other != node)
            sim->reach[node][other] = sim->reach[other][node] = false;
    }
}

/* Hosts: true where it heals by itself later. */
static bool strike_host(struct sim *sim, enum fault fault, uint32_t host)
{
    struct sim_host *h = &sim->hosts[host];

    switch ((uint32_t)fault) { /* a part of the list */
    case EMPTY_RESTART:
        sim_db_kill(sim, host);
        sim_db_start(sim, host, true);
        return false;
    case REBOOT_HOST:
        turn_off(sim, host);
        return true;
    case WIPE_HOST:
        turn_off(sim, host);
        if (!sim_leans_on_seals(sim))
            sim_image_forget(sim, host);
        return true;
    case RESTORE_HOST:
        turn_off(sim, host);
        if (h->image.taken && !sim_leans_on_seals(sim) && sim_may_go_back(sim, host)) {
            h->forgot = true;
            sim_image_use(sim, host, &h->image);
        }
        return true;
    case CLONE_HOST:
        clone_host(sim, host);
        return false;
    case FLUSH_RULES:
        /* Alone it cannot close what is flushed: there clients of an old primary may be served
         * until the agent looks, and what they write is lost. */
        h->gate.flushed =
            h->gate.class == HA_GATE_BOTH || sim->profile.durability == HA_DURABILITY_ASYNC;
        h->gate.flushed_us = sim->now_us;
        return false;
    default:
        abort();
    }
}

/* True where it heals by itself later. */
static bool strike_at(struct sim *sim, enum fault fault, uint32_t host, uint32_t node)
{
    switch ((uint32_t)fault) { /* a part of the list */
    case OPERATOR:
        sim_operator(sim, some_watcher(sim), sim_below(sim, SIM_HOSTS + 1), sim_below(sim, 3) != 0);
        return false;
    case CHANGES:
        sim_operator_changes(sim);
        return false;
    case KILL_DB:
        sim_db_kill(sim, host);
        return true;
    case HANG_DB:
        sim->hosts[host].db.hung = true;
        return true;
    case KILL_AGENT:
    case KILL_WATCHER:
        sim_stop(sim, node);
        return true;
    case PAUSE_HOST:
        sim->hosts[host].db.hung = true;
        sim_pause_node(sim, node);
        return true;
    case PAUSE_AGENT:
    case PAUSE_WATCHER:
        sim_pause_node(sim, node);
        return true;
    case CUT_HOST:
    case CUT_ONE_WAY:
    case CUT_PAIR:
    case CUT_WATCHER:
        cut_some(sim, fault, node);
        return true;
    case LAG_WATCHER:
        sim->watchers[node].lags_until_us =
            sim->now_us + 1000 * ha_prng_between(&sim->prng, 100, 3000);
        return false;
    case STEP_CLOCK:
        sim->nodes[node].wall_off_ms = (int64_t)sim_below(sim, 20000) - 10000;
        return false;
    case WATCHERS_ALONE:
        all_alone(sim);
        return false;
    case WIPE_WATCHER:
        wipe_watcher(sim, node);
        return false;
    case WATCHER_DISK:
        sim->log.kind->trouble(sim, node, (enum sim_trouble)(SIM_DISK_SLOW + sim_below(sim, 3)));
        return true;
    case WATCHERS_GONE:
    case SPLIT:
        sim_hold_strike(sim, fault == WATCHERS_GONE);
        return true;
    case GATE_FAILS:
        sim->hosts[host].gate.broken = true;
        /* Where it hurts: its agent cannot end it either. */
        if (sim_below(sim, 2) == 0 && sim->nodes[node].alive) {
            sim->nodes[node].paused = true;
            sim_heal_later(sim, PAUSE_AGENT, node);
        }
        return sim_below(sim, 2) != 0;
    default:
        return strike_host(sim, fault, host);
    }
}

static void strike(struct sim *sim, enum fault fault)
{
    uint32_t host = some_host(sim), node = node_for(sim, fault, host);

    sim->faults++;
    plant(sim);
    sim_story(sim, "fault: %s, %s", faults[fault].name, sim_node_name(sim, node));
    if (strike_at(sim, fault, host, node))
        sim_heal_later(sim, fault, node);
}

static bool is_possible(const struct sim *sim, enum fault fault)
{
    if (fault == GATE_FAILS)
        return sim->profile.gates_fail;
    if (fault == WATCHER_DISK)
        return sim->log.kind->trouble != NULL;
    if (fault == WATCHERS_GONE || fault == SPLIT)
        return sim->profile.hold;
    if (fault == RESTORE_HOST || fault == WIPE_HOST)
        return !sim->profile.gates_fail; /* there all leans on seals */
    if (fault == CHANGES || fault == WIPE_WATCHER)
        return sim->profile.changes;
    return true;
}

static enum fault draw(struct sim *sim)
{
    uint32_t all = 0, at;

    for (uint32_t i = 0; i < FAULTS; i++)
        all += is_possible(sim, (enum fault)i) ? faults[i].weight : 0;
    at = sim_below(sim, all);
    for (uint32_t i = 0; i < FAULTS; i++) {
        uint32_t weight = is_possible(sim, (enum fault)i) ? faults[i].weight : 0;

        if (at < weight)
            return (enum fault)i;
        at -= weight;
    }
    abort();
}

void sim_fault(struct sim *sim)
{
    uint32_t count = sim->profile.wide_faults ? 1 + sim_below(sim, 3) : 1;

    if (sim->quiet)
        return;
    if (sim_fault_again(sim)) {
        sim_push(sim, sim->now_us + 6000000, SIM_FAULT, SIM_NODES, 0, NULL);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        enum fault fault = draw(sim);

        if (sim->faults >= sim->faults_max)
            return;
        if (sim_below(sim, 10) == 0)
            sim_image_take(sim, sim_below(sim, SIM_HOSTS));
        /* A disk that is replaced is rarer than a process that is started again. */
        if (fault == EMPTY_RESTART && sim->profile.engine == HA_ENGINE_POSTGRESQL &&
            sim_below(sim, 4) != 0)
            fault = KILL_DB;
        strike(sim, fault);
    }
    sim_push(sim,
             sim->now_us + 1000 * ha_prng_between(&sim->prng, 50, 2 * sim->profile.fault_every_ms),
             SIM_FAULT, SIM_NODES, 0, NULL);
}
