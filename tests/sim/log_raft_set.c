/* A set of watchers ends with one entry, and each machine moves on to the next: as the daemon does
 * it (cmd/hafailoverd/set.c, care.c, raft/peers.c), without its files and sockets. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "tests/sim/log_raft.h"

struct sim_set *sim_set_newest(const struct sim *sim)
{
    return sim->log.raft->sets[sim->log.raft->set_count - 1];
}

struct sim_set *sim_set_new(struct sim *sim, uint64_t set_id)
{
    struct sim_raft *raft = sim->log.raft;
    struct sim_set *set = calloc(1, sizeof(*set));

    raft->sets = realloc(raft->sets, (raft->set_count + 1) * sizeof(struct sim_set *));
    assert(set != NULL && raft->sets != NULL);
    set->sim = sim;
    set->number = raft->set_count;
    set->set_id = set_id;
    for (uint32_t i = 0; i <= SIM_NODES_MAX; i++)
        set->node_of[i] = SIM_NODES;
    sim_world_init(&set->world, ha_prng_u64(&sim->prng), sim->profile.watchers,
                   &sim_raft_world_hooks);
    set->world.arg = set;
    set->world.has_torn_writes = true;
    raft->sets[raft->set_count++] = set;
    return set;
}

/* The end */

static uint32_t node_named(const struct sim *sim, const char *name)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (strcmp(sim->watchers[i].name, name) == 0)
            return i;
    return SIM_NODES;
}

static uint32_t id_of(const struct sim_set *set, uint32_t node)
{
    for (uint32_t id = 1; id <= set->world.node_count; id++)
        if (set->node_of[id] == node)
            return id;
    return 0;
}

/* The first that moves makes it for all. */
static struct sim_set *next_of(struct sim_box *box, const struct ha_raft_entry *entry,
                               const struct ha_command_replace *command)
{
    struct sim *sim = box->set->sim;
    const struct ha_cluster *cluster = &sim->watchers[box->node].brain->cluster;
    struct sim_set *next = sim_set_newest(sim);

    if (box->set != next) {
        next = sim->log.raft->sets[box->set->number + 1];
        if (next->set_id != cluster->set_id)
            sim_fail(sim, SIM_SAFETY, "a set of watchers ends twice");
        return next;
    }
    next = sim_set_new(sim, cluster->set_id);
    next->from_index = entry->index;
    next->from_term = entry->term;
    for (uint32_t i = 0; i < cluster->watcher_count; i++)
        next->node_of[i + 1] = node_named(sim, cluster->watchers[i]);
    sim_move_set(sim, command);
    return next;
}

void sim_set_replaced(struct sim_box *box, const struct ha_raft_entry *entry,
                      const struct ha_command_replace *command)
{
    struct sim_move *move = calloc(1, sizeof(*move));
    struct sim *sim = box->set->sim;

    assert(move != NULL && box->move == NULL);
    if (ha_seat_export(&box->seat, &move->state, NULL) != HA_OK ||
        move->state.index != entry->index || move->state.term != entry->term) {
        sim_fail(sim, SIM_SAFETY, "%s cannot take the state of the end of its set along",
                 sim_node_name(sim, box->node));
        sim_set_move_free(move);
        return;
    }
    move->next = next_of(box, entry, command);
    move->own_id = id_of(move->next, box->node);
    box->move = move;
}

void sim_set_move_free(struct sim_move *move)
{
    if (move == NULL)
        return;
    free(move->state.data);
    free(move);
}

/* The move */

static struct sim_snapshot snapshot_of(const struct ha_seat_state *state)
{
    return (struct sim_snapshot){.index = state->index,
                                 .term = state->term,
                                 .conf_index = state->index,
                                 .size = state->size,
                                 .data = state->data};
}

static void settle_in(struct sim *sim, uint32_t node, struct sim_set *set, uint32_t id,
                      const struct ha_seat_state *state)
{
    struct sim_machine *machine = &sim->log.raft->machines[node];
    const struct sim_snapshot snapshot = snapshot_of(state);

    machine->set = set;
    machine->id = id;
    sim_disk_sow(sim_raft_voter(machine), &snapshot);
}

static void on_closed(void *arg)
{
    ((struct sim_box *)arg)->is_closed = true;
}

static void close_seat(void *arg)
{
    struct sim_box *box = arg;

    ha_seat_close(&box->seat, on_closed, box);
}

static void begin_move(struct sim *sim, struct sim_box *box)
{
    uint32_t node = box->node;

    if (box->move->own_id == 0) {
        sim_story(sim, "%s has no part in the next set", sim_node_name(sim, node));
        sim_stop(sim, node);
        return;
    }
    box->move->is_closing = true;
    sim_tell_role(sim, node, false, box->seat.raft.current_term);
    if (sim->log.leader == node)
        sim->log.leader = SIM_NODES;
    (void)sim_raft_run(sim, node, close_seat, box);
}

static void forget_peers(struct sim *sim, uint32_t node)
{
    const struct ha_watcher *brain = sim->watchers[node].brain;

    for (uint32_t i = 0; i < HA_WATCHERS_MAX; i++) {
        struct ha_event event = sim_event_of(sim, node, HA_EVENT_PEER);

        event.u.peer.watcher = i;
        if (brain->peer_heard[i])
            (void)sim_watcher_step(sim, node, &event);
    }
}

/* The directory changes its set in one step. */
static void finish_move(struct sim *sim, struct sim_box *box)
{
    struct sim_machine *machine = &sim->log.raft->machines[box->node];
    struct sim_voter *old = box->voter, *next;
    struct sim_move *move = box->move;
    uint32_t node = box->node;
    raft_term term = old->disk.term;

    box->move = NULL;
    sim_raft_end(sim, node);
    sim_disk_wipe(old);
    settle_in(sim, node, move->next, move->own_id, &move->state);
    sim_set_move_free(move);
    next = sim_raft_voter(machine);
    if (next->disk.term < term)
        next->disk.term = term;
    next->disk_slow_us = old->disk_slow_us; /* it is the same disk */
    next->disk_full = old->disk_full;
    next->disk_errors_per_million = old->disk_errors_per_million;
    sim_story(sim, "%s moves to set %u", sim_node_name(sim, node), machine->set->number);
    forget_peers(sim, node);
    sim_raft_begin(sim, node);
}

void sim_set_turn(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        struct sim_box *box = sim->log.raft->machines[i].box;

        if (box == NULL || box->move == NULL || !box->voter->is_up)
            continue;
        if (box->is_closed)
            finish_move(sim, box);
        else if (!box->move->is_closing)
            begin_move(sim, box);
    }
}

/* Those that missed it */

/* Its log is of no use any more. Where it has a place in the newest set, somebody empties its
 * directory and lets it join with the state of another. */
static void retire(struct sim *sim, uint32_t node)
{
    sim_story(sim, "%s is left behind by its set", sim_node_name(sim, node));
    sim_stop(sim, node);
    sim->log.kind->forget(sim, node);
    if (sim->watchers[node].voter && !sim->watchers[node].lost)
        sim_push(sim, sim->now_us + ha_prng_between(&sim->prng, 10000, 2000000), SIM_JOIN, node, 0,
                 NULL);
}

/* Somebody of the next set that can tell @node; SIM_NODES: nobody now. */
static uint32_t teller_for(const struct sim *sim, uint32_t node, bool *ret_is_stuck)
{
    const struct sim_set *set = sim->log.raft->machines[node].set;

    /* Where nobody has moved yet, the next leader of the old set will. */
    *ret_is_stuck = sim_set_newest(sim)->number > set->number + 1;
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        const struct sim_machine *other = &sim->log.raft->machines[i];

        if (other->set == NULL || other->set->number != set->number + 1)
            continue;
        *ret_is_stuck = false;
        if (id_of(set, i) != 0 && sim_runs(sim, i) && other->box != NULL &&
            sim_both_reach(sim, i, node))
            return i;
    }
    return SIM_NODES;
}

struct telling {
    struct sim_box *box;
    uint32_t by; /* its id in the set that has ended */
    const struct sim_set *next;
    bool is_known;
};

static void tell(void *arg)
{
    struct telling *t = arg;

    t->is_known = ha_seat_over(&t->box->seat, t->by, t->next->from_index, t->next->from_term);
}

static void tell_one(struct sim *sim, uint32_t node)
{
    const struct sim_machine *machine = &sim->log.raft->machines[node];
    bool is_stuck;
    uint32_t by = teller_for(sim, node, &is_stuck);
    struct telling t = {.box = machine->box, .is_known = true};

    if (by != SIM_NODES) {
        t.by = id_of(machine->set, by);
        t.next = sim->log.raft->sets[machine->set->number + 1];
        if (sim_raft_run(sim, node, tell, &t) && !t.is_known)
            retire(sim, node);
    } else if (is_stuck) {
        retire(sim, node);
    }
}

void sim_set_tell_over(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        const struct sim_machine *machine = &sim->log.raft->machines[i];

        if (machine->box != NULL && machine->box->move == NULL && sim_runs(sim, i) &&
            machine->set != sim_set_newest(sim))
            tell_one(sim, i);
    }
    sim_set_turn(sim);
}

/* New machines */

struct exporting {
    struct sim_box *box;
    struct ha_seat_state state;
    int code;
};

static void take_backup(void *arg)
{
    struct exporting *e = arg;

    e->code = ha_seat_export(&e->box->seat, &e->state, NULL);
}

static uint32_t somebody_of(const struct sim *sim, const struct sim_set *set)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        const struct sim_machine *machine = &sim->log.raft->machines[i];

        if (machine->set == set && machine->box != NULL && machine->box->move == NULL &&
            sim_runs(sim, i) && sim->watchers[i].brain->cluster.set_id == set->set_id)
            return i;
    }
    return SIM_NODES;
}

void sim_set_join(struct sim *sim, uint32_t node)
{
    struct sim_set *set = sim_set_newest(sim);
    struct sim_watcher *watcher = &sim->watchers[node];
    struct exporting e = {.code = HA_EBUSY};
    const struct ha_cluster *cluster;
    uint32_t id = id_of(set, node), from = somebody_of(sim, set);

    if (sim->nodes[node].alive || !watcher->voter || id == 0)
        return;
    if (from != SIM_NODES) {
        e.box = sim->log.raft->machines[from].box;
        (void)sim_raft_run(sim, from, take_backup, &e);
    }
    if (e.code != HA_OK) {
        sim_push(sim, sim->now_us + 500000, SIM_JOIN, node, 0, NULL);
        return;
    }
    cluster = &sim->watchers[from].brain->cluster;
    if (ha_cluster_has_spoken(cluster, id - 1)) {
        sim_story(sim, "%s took part in this set before: it is replaced", watcher->name);
        watcher->lost = true;
    } else {
        sim_story(sim, "%s joins with the state of index %lu", watcher->name,
                  (unsigned long)e.state.index);
        settle_in(sim, node, set, id, &e.state);
        watcher->promise_durable_ms = ha_cluster_was_before(cluster, id - 1) ? HA_LEASE_MAX_MS : 0;
        watcher->lost = false;
        sim_watcher_start(sim, node);
    }
    free(e.state.data);
}
