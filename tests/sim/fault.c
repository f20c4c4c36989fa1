/* What goes wrong, and how it heals. */
#include <stdlib.h>

#include "lib/core/failover.h"
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
    OPERATOR, /* no fault, but people act on bad nights */
    CUT_WATCHER,
    LAG_WATCHER, /* what commits is not learned there */
    STEP_CLOCK,
    WIPE_HOST,
    RESTORE_HOST,
    CLONE_HOST,
    FLUSH_RULES,
    WATCHERS_ALONE, /* all start anew, and hear agents but not each other */
    WIPE_WATCHER,
    CHANGES,
    GATE_FAILS,
    WATCHER_DISK,  /* where the log is on one */
    WATCHERS_GONE, /* cut from all hosts */
    SPLIT,         /* the holder and another host on one side */
    /* not drawn, but set off by what happens */
    SEALED_AGENT, /* dies after it has sealed its database */
    NOTING_AGENT, /* dies while it writes */
    LEADER_GOES,  /* while an epoch is being fenced */
    DB_ENDS,      /* its agent has no other gate */
    AGENT_AWAKES, /* when the watchers have just started */
    FAULTS
};

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
    [LEADER_GOES] = {"leader goes while fencing", 0},
    [DB_ENDS] = {"agent ends its database", 0},
    [AGENT_AWAKES] = {"agent awakes", 0},
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

static uint32_t some_watcher(struct sim *sim)
{
    for (;;) {
        uint32_t node = below(sim, SIM_WATCHERS_MAX);

        if (sim->watchers[node].voter)
            return node;
    }
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

static void heal_in(struct sim *sim, enum fault fault, uint32_t node, uint64_t low_ms,
                    uint64_t high_ms)
{
    sim_push(sim, sim->now_us + 1000 * ha_prng_between(&sim->prng, low_ms, high_ms), SIM_HEAL,
             SIM_NODES, (uint32_t)fault << 8 | node, NULL);
}

static void heal_later(struct sim *sim, enum fault fault, uint32_t node)
{
    /* Some faults outlive the longest lease. */
    uint64_t most_ms = below(sim, 5) == 0 ? 3 * (uint64_t)sim->profile.lease_ms + 6000 : 6000;

    heal_in(sim, fault, node, 20, most_ms);
}

static void pause_node(struct sim *sim, uint32_t node)
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

    if (clone->exists || sim->profile.engine != HA_ENGINE_REDIS)
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
    heal_in(sim, CLONE_HOST, at, 1000, 15000);
}

static void end_clone(struct sim *sim)
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
        end_clone(sim);
    heal_later(sim, REBOOT_HOST, SIM_WATCHERS_MAX + host);
}

void sim_fault_end(struct sim *sim, uint32_t host)
{
    heal_in(sim, DB_ENDS, SIM_WATCHERS_MAX + host, 1, 290);
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
        heal_in(sim, CUT_HOST, i, lease_ms, 4 * lease_ms + 2000);
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        heal_in(sim, AGENT_AWAKES, SIM_WATCHERS_MAX + h, lease_ms / 2, 2 * lease_ms + 1000);
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
    heal_in(sim, WIPE_WATCHER, node, 500, 5000);
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
                   (fault == STEP_CLOCK && below(sim, 2) == 0) ||
                   (fault == CUT_ONE_WAY && below(sim, 3) == 0);

    return watcher ? some_watcher(sim) : SIM_WATCHERS_MAX + host;
}

static void cut_some(struct sim *sim, enum fault fault, uint32_t node)
{
    bool both = fault == CUT_HOST || (fault == CUT_WATCHER && below(sim, 2) == 0);
    bool in = below(sim, 2) == 0;

    if (fault != CUT_PAIR) {
        cut(sim, node, both || in, both || !in);
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
        /* What a primary acknowledged and its disk has lost, nobody else can know. */
        if (h->image.taken && !sim_leans_on_seals(sim) &&
            (sim->profile.durability == HA_DURABILITY_ASYNC || host != sim->holder)) {
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
        sim_operator(sim, some_watcher(sim), below(sim, SIM_HOSTS + 1), below(sim, 3) != 0);
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
        pause_node(sim, node);
        return true;
    case PAUSE_AGENT:
    case PAUSE_WATCHER:
        pause_node(sim, node);
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
        sim->nodes[node].wall_off_ms = (int64_t)below(sim, 20000) - 10000;
        return false;
    case WATCHERS_ALONE:
        all_alone(sim);
        return false;
    case WIPE_WATCHER:
        wipe_watcher(sim, node);
        return false;
    case WATCHER_DISK:
        sim->log.kind->trouble(sim, node, (enum sim_trouble)(SIM_DISK_SLOW + below(sim, 3)));
        return true;
    case WATCHERS_GONE:
    case SPLIT:
        sim_hold_strike(sim, fault == WATCHERS_GONE);
        return true;
    case GATE_FAILS:
        sim->hosts[host].gate.broken = true;
        /* Where it hurts: its agent cannot end it either. */
        if (below(sim, 2) == 0 && sim->nodes[node].alive) {
            sim->nodes[node].paused = true;
            heal_later(sim, PAUSE_AGENT, node);
        }
        return below(sim, 2) != 0;
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
        heal_later(sim, fault, node);
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
    at = below(sim, all);
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
    uint32_t count = sim->profile.wide_faults ? 1 + below(sim, 3) : 1;

    if (sim->quiet)
        return;
    for (uint32_t i = 0; i < count; i++) {
        enum fault fault = draw(sim);

        if (sim->faults >= sim->faults_max)
            return;
        if (below(sim, 10) == 0)
            sim_image_take(sim, below(sim, SIM_HOSTS));
        /* A disk that is replaced is rarer than a process that is started again. */
        if (fault == EMPTY_RESTART && sim->profile.engine == HA_ENGINE_POSTGRESQL &&
            below(sim, 4) != 0)
            fault = KILL_DB;
        strike(sim, fault);
    }
    sim_push(sim,
             sim->now_us + 1000 * ha_prng_between(&sim->prng, 50, 2 * sim->profile.fault_every_ms),
             SIM_FAULT, SIM_NODES, 0, NULL);
}

/* Healing */

void sim_fault_ended(struct sim *sim, uint32_t node)
{
    sim->nodes[node].alive = false;
    sim->nodes[node].paused = false;
    sim->nodes[node].incarnation++;
    heal_in(sim, KILL_WATCHER, node, 20, 2000);
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
            heal_in(sim, fault, SIM_WATCHERS_MAX + host, 100, 500);
        return;
    }
    sim->hosts[host].forgot = false;
    if (!sim->hosts[host].db.alive)
        sim_db_start(sim, host,
                     fault == WIPE_HOST || (fault != RESTORE_HOST && below(sim, empty) == 0));
    start_daemon(sim, SIM_WATCHERS_MAX + host);
}

static void leader_goes(struct sim *sim)
{
    uint32_t node = sim->log.leader;

    if (sim->quiet || node == SIM_NODES)
        return;
    sim->faults++;
    if (below(sim, 3) == 0) {
        pause_node(sim, node);
        heal_later(sim, PAUSE_WATCHER, node);
    } else {
        sim_stop(sim, node);
        heal_in(sim, KILL_WATCHER, node, 20, 2000);
    }
}

/* The way back of what is not over with the fault itself. */
static void mend_other(struct sim *sim, enum fault fault, uint32_t node)
{
    switch ((uint32_t)fault) { /* a part of the list */
    case SEALED_AGENT:
    case NOTING_AGENT:
        sim_stop(sim, node);
        /* Back at once, while the old primary may still be connected to. */
        heal_in(sim, KILL_AGENT, node, 1, below(sim, 2) == 0 ? 200 : 6000);
        return;
    case LEADER_GOES:
        leader_goes(sim);
        return;
    case CLONE_HOST:
        end_clone(sim);
        return;
    case DB_ENDS:
        sim_db_kill(sim, node - SIM_WATCHERS_MAX);
        heal_in(sim, KILL_DB, node, 100, 4000);
        return;
    case WIPE_WATCHER:
        if (!sim->watchers[node].voter || !sim->watchers[node].lost || sim->quiet)
            return;
        sim_operator_replaces(sim, node);
        heal_in(sim, WIPE_WATCHER, node, 1000, 2000);
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

    sim_story(sim, "heals or follows: %s, %s", faults[fault].name, sim_node_name(sim, node));
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

void sim_fault_sealed(struct sim *sim, uint32_t node)
{
    if (!sim->quiet && sim->profile.gates_fail && below(sim, 2) == 0)
        heal_in(sim, SEALED_AGENT, node, 1, 300);
}

/* No number is drawn for it, so that other runs stay what they were. */
void sim_fault_replaced(struct sim *sim, uint32_t old)
{
    uint32_t keeps = 0, host = 0;

    while (host < SIM_HOSTS && !sim_takes_writes(sim, host))
        host++;
    while (keeps < SIM_WATCHERS_MAX && (keeps == old || keeps == sim->log.leader ||
                                        !sim->watchers[keeps].voter || !sim_runs(sim, keeps)))
        keeps++;
    if (sim->quiet || sim->faults >= sim->faults_max || host == SIM_HOSTS ||
        keeps == SIM_WATCHERS_MAX || !sim_runs(sim, old))
        return;
    sim->faults++;
    sim_story(sim, "fault: %s is left to %s and %s", sim_node_name(sim, SIM_WATCHERS_MAX + host),
              sim_node_name(sim, old), sim_node_name(sim, keeps));
    sim->watchers[old].lags_until_us = sim->watchers[keeps].lags_until_us = sim->now_us + 6000000;
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (i != old && i != keeps)
            sim->reach[i][SIM_WATCHERS_MAX + host] = sim->reach[SIM_WATCHERS_MAX + host][i] = false;
    sim_push(sim, sim->now_us + 3000000 + 1000 * (sim->seq % 5000), SIM_HEAL, SIM_NODES,
             (uint32_t)CUT_HOST << 8 | (SIM_WATCHERS_MAX + host), NULL);
}

/* A stopped agent will hear of other standby names before it hears that its database was started
 * anew, without its data; nor has the standby that may follow it any. No number is drawn for it. */
void sim_fault_serving(struct sim *sim, uint32_t host, const struct ha_order *order)
{
    const struct sim_db *db = &sim->hosts[host].db;
    uint32_t other = host == 0 ? 1 : 0;

    if (order->kind != HA_ORDER_SERVE || !order->sync_managed || !sim->hosts[host].gate.broken ||
        sim->quiet || sim->faults + 2 > sim->faults_max || !db->alive || db->fresh ||
        order->epoch != db->names_epoch || order->sync.members == db->names.members)
        return;
    if (sim->hosts[other].db.role == HA_ROLE_PRIMARY)
        other++;
    if (other == host)
        other++;
    sim->faults += 2;
    sim_story(sim, "fault: two disks are emptied, of %s and %s",
              sim_node_name(sim, SIM_WATCHERS_MAX + host),
              sim_node_name(sim, SIM_WATCHERS_MAX + other));
    sim_db_kill(sim, host);
    sim_db_start(sim, host, true);
    sim_db_kill(sim, other);
    sim_db_start(sim, other, true);
    /* It goes on when that one has copied what there is, and mostly before the gate works again. */
    sim_push(sim, sim->now_us + 900000 + 1000 * (sim->seq % 500), SIM_HEAL, SIM_NODES,
             (uint32_t)PAUSE_AGENT << 8 | (SIM_WATCHERS_MAX + host), NULL);
}

void sim_fault_noting(struct sim *sim, uint32_t node)
{
    if (!sim->quiet && sim->faults < sim->faults_max && below(sim, 60) == 0)
        heal_in(sim, NOTING_AGENT, node, 0, 20);
}

void sim_fault_fencing(struct sim *sim)
{
    if (!sim->quiet && sim->faults < sim->faults_max && below(sim, 4) == 0)
        heal_in(sim, LEADER_GOES, 0, 0, sim->profile.lease_ms);
}

void sim_heal_all(struct sim *sim)
{
    sim->quiet = true;
    sim->quiet_us = sim->now_us;
    end_clone(sim);
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
