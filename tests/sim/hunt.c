/* What is set off by what happens. */
#include "tests/sim/fault.h"

static void part(struct sim *sim, uint32_t one, uint32_t other)
{
    sim->reach[one][other] = sim->reach[other][one] = false;
}

void sim_leader_goes(struct sim *sim)
{
    uint32_t node = sim->log.leader;

    if (sim->quiet || node == SIM_NODES)
        return;
    sim->faults++;
    if (sim_below(sim, 3) == 0) {
        sim_pause_node(sim, node);
        sim_heal_later(sim, PAUSE_WATCHER, node);
    } else {
        sim_stop(sim, node);
        sim_heal_in(sim, KILL_WATCHER, node, 20, 2000);
    }
}

void sim_fault_sealed(struct sim *sim, uint32_t node)
{
    if (!sim->quiet && sim->profile.gates_fail && sim_below(sim, 2) == 0)
        sim_heal_in(sim, SEALED_AGENT, node, 1, 300);
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
    sim_heal_at(sim, CUT_HOST, SIM_WATCHERS_MAX + host, 3000 + sim->seq % 5000);
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
    sim_heal_at(sim, PAUSE_AGENT, SIM_WATCHERS_MAX + host, 900 + sim->seq % 500);
}

/* A primary that will succeed itself: its gate fails, one of its standbys takes its word and hears
 * no watcher, and its database is started anew past its agent. True: so it is, and nothing else
 * goes wrong meanwhile. */
bool sim_fault_again(struct sim *sim)
{
    const uint32_t host = sim->holder, deaf = SIM_WATCHERS_MAX + (host + 1) % SIM_HOSTS;

    if (!sim->profile.again || sim->faults + 4 > sim->faults_max || sim->log.leader == SIM_NODES ||
        !sim_takes_writes(sim, host) || sim->hosts[host].db.hung ||
        !sim->hosts[(host + 1) % SIM_HOSTS].db.link_up ||
        !sim->hosts[(host + 2) % SIM_HOSTS].db.link_up)
        return false;
    sim->faults += 3;
    sim->again = true;
    sim_story(sim, "fault: gate fails, database dies, %s; no watcher hears %s",
              sim_node_name(sim, SIM_WATCHERS_MAX + host), sim_node_name(sim, deaf));
    sim->hosts[host].gate.broken = true;
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        part(sim, i, deaf);
    sim_db_kill(sim, host);
    sim_heal_in(sim, KILL_DB, SIM_WATCHERS_MAX + host, 200, 1500);
    sim_heal_at(sim, CUT_HOST, deaf, 8000);
    sim_heal_at(sim, GATE_FAILS, SIM_WATCHERS_MAX + host, 8000);
    return true;
}

/* It dies as soon as another one has what it had when it was chosen. */
void sim_fault_opened(struct sim *sim, uint32_t host)
{
    if (!sim->again || sim->quiet || host != sim->holder)
        return;
    sim->again = false;
    sim->faults++;
    sim_heal_in(sim, DB_ENDS, SIM_WATCHERS_MAX + host, 20, 150);
}

/* The lease of another one rests on this agent, which is to end its promises: it starts anew when
 * that is noted, and says that none is left. No number is drawn for it. */
void sim_fault_releasing(struct sim *sim, uint32_t host, const struct ha_order *order)
{
    bool rests = false;

    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        rests = rests || (h != host && sim->hosts[h].kept);
    if (!rests || order->kind != HA_ORDER_RELEASE || sim->quiet || sim->faults == sim->faults_max ||
        order->epoch <= sim->released_epoch)
        return;
    sim->released_epoch = order->epoch;
    sim->faults++;
    sim_heal_at(sim, RELEASED_AGENT, SIM_WATCHERS_MAX + host, 20 + sim->seq % 50);
}

void sim_fault_noting(struct sim *sim, uint32_t node)
{
    if (!sim->quiet && sim->faults < sim->faults_max && sim_below(sim, 60) == 0)
        sim_heal_in(sim, NOTING_AGENT, node, 0, 20);
}

void sim_fault_fencing(struct sim *sim)
{
    if (!sim->quiet && sim->faults < sim->faults_max && sim_below(sim, 4) == 0)
        sim_heal_in(sim, LEADER_GOES, 0, 0, sim->profile.lease_ms);
}

static uint32_t deaf_watcher(const struct sim *sim)
{
    uint32_t at = SIM_WATCHERS_MAX;

    while (at > 0 &&
           (at - 1 == sim->log.leader || !sim->watchers[at - 1].voter || !sim_runs(sim, at - 1)))
        at--;
    return at == 0 ? SIM_NODES : at - 1;
}

/* The next leader has heard less of the primary than the log has of it, and so has the replica that
 * is left; both are cut from it when a position is logged, and the rest goes with a later one. No
 * number is drawn for it. */
void sim_fault_logged(struct sim *sim, uint32_t host)
{
    uint32_t node = SIM_WATCHERS_MAX + host, behind = (host + 1) % SIM_HOSTS;
    uint32_t other = (host + 2) % SIM_HOSTS, leader = sim->log.leader, deaf = deaf_watcher(sim);

    if (sim->quiet || sim->profile.budget == UINT64_MAX || sim->faults + 3 > sim->faults_max ||
        leader == SIM_NODES || deaf == SIM_NODES)
        return;
    if (sim->behind_epoch != sim->known_epoch) {
        sim->behind_epoch = sim->known_epoch;
        sim->behind_offset = sim->known.offset;
        sim->faults++;
        sim_story(sim, "fault: %s is cut from %s and %s", sim_node_name(sim, node),
                  sim_node_name(sim, SIM_WATCHERS_MAX + behind), sim_node_name(sim, deaf));
        part(sim, node, SIM_WATCHERS_MAX + behind);
        part(sim, node, deaf);
        return;
    }
    if (sim->reach[node][SIM_WATCHERS_MAX + behind] ||
        sim->known.offset <= sim->behind_offset + sim->profile.budget + 100)
        return;
    sim->behind_offset = UINT64_MAX / 2; /* once */
    sim->faults += 2;
    sim_story(sim, "fault: leader, primary and %s go at once",
              sim_node_name(sim, SIM_WATCHERS_MAX + other));
    sim_stop(sim, leader);
    sim_cut(sim, node, true, true);
    sim_db_kill(sim, other);
    sim_heal_at(sim, KILL_WATCHER, leader, 6000);
    sim_heal_at(sim, KILL_DB, SIM_WATCHERS_MAX + other, 5000 + sim->profile.lease_ms);
    sim_heal_at(sim, CUT_HOST, node, 7000 + sim->profile.lease_ms);
}
