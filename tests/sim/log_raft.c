/* The log is libraft itself, under the guard and in the seat of raft/, over the simulated raft_io
 * of tests/raft. True time, network, pauses and clocks are those of the cluster; two queues of
 * events are kept as one by a SIM_LOG for whatever is due next in any world. */
#include "tests/sim/log_raft.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"

#define ELECTION_MS 300u
#define HEARTBEAT_MS 50u
#define READ_INDEX_MAX_MS 2000u
#define HEARD_US (2u * ELECTION_MS * 1000u)
#define REPLACE_US 4000000u /* until then a replacement that was proposed may commit */

struct sim_voter *sim_raft_voter(const struct sim_machine *machine)
{
    return &machine->set->world.nodes[machine->id];
}

/* Two queues, one time */

static void plan(struct sim *sim)
{
    struct sim_raft *raft = sim->log.raft;
    uint64_t due_us = UINT64_MAX;

    for (uint32_t i = 0; i < raft->set_count; i++) {
        uint64_t at_us = simclock_due_us(&raft->sets[i]->world.clock);

        due_us = at_us < due_us ? at_us : due_us;
    }
    if (due_us == UINT64_MAX || due_us - SIM_BASE_US >= raft->planned_us)
        return;
    raft->planned_us = due_us - SIM_BASE_US;
    sim_push(sim, raft->planned_us, SIM_LOG, SIM_NODES, 0, NULL);
}

static void look_at_pauses(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->log.raft->machines[i].set != NULL)
            sim_raft_voter(&sim->log.raft->machines[i])->is_paused = sim->nodes[i].paused;
}

static bool step_world(struct sim *sim)
{
    struct sim_raft *raft = sim->log.raft;
    struct sim_set *first = NULL;
    uint64_t first_us = sim->now_us + SIM_BASE_US + 1;

    for (uint32_t i = 0; i < raft->set_count; i++) {
        uint64_t at_us = simclock_due_us(&raft->sets[i]->world.clock);

        if (at_us >= first_us)
            continue;
        first = raft->sets[i];
        first_us = at_us;
    }
    return first != NULL && sim_step(&first->world, sim->now_us + SIM_BASE_US);
}

static void wake(struct sim *sim)
{
    struct sim_raft *raft = sim->log.raft;

    if (sim->now_us >= raft->planned_us)
        raft->planned_us = UINT64_MAX;
    look_at_pauses(sim);
    while (sim->verdict == SIM_PASS && step_world(sim))
        sim_set_turn(sim);
    plan(sim);
}

/* All that was due before has been handled: the world's clock may be put forward. */
static void enter(struct sim *sim, struct sim_set *set)
{
    assert(simclock_due_us(&set->world.clock) >= sim->now_us + SIM_BASE_US);
    set->world.clock.now_us = sim->now_us + SIM_BASE_US;
}

bool sim_raft_run(struct sim *sim, uint32_t node, void (*fn)(void *arg), void *arg)
{
    struct sim_machine *machine = &sim->log.raft->machines[node];
    bool is_up;

    enter(sim, machine->set);
    is_up = sim_run(sim_raft_voter(machine), fn, arg);
    plan(sim);
    return is_up;
}

/* Lives */

static void on_read(void *arg, int code, uint64_t index)
{
    struct sim_box *box = arg;

    (void)index;
    if (code == HA_ECANCELED)
        return;
    if (code == HA_OK)
        sim_tell_caught_up(box->set->sim, box->node);
    else
        (void)ha_seat_read_index(&box->seat, READ_INDEX_MAX_MS, on_read, box);
}

static void start_seat(void *arg)
{
    struct sim_box *box = arg;
    struct sim *sim = box->set->sim;
    struct ha_seat_options options = {
        .own_id = box->voter->id,
        .peer_count = box->set->world.node_count,
        .election_ms = ELECTION_MS,
        .heartbeat_ms = HEARTBEAT_MS,
        .snapshot_threshold = sim->log.raft->threshold,
        .snapshot_trailing = 1 + sim->log.raft->threshold / 4,
        .propose_timeout_ms = 2000,
        .seed = ha_prng_u64(&sim->prng) >> 1,
        .guard_off = sim->log.guard_off,
    };
    const struct ha_raft_hooks hooks = sim_raft_seat_hooks(box);

    for (uint32_t i = 0; i < options.peer_count; i++)
        options.peer_ids[i] = i + 1;
    if (ha_seat_init(&box->seat, &box->voter->io, &options, &hooks, sim_raft_send) != HA_OK ||
        ha_seat_start(&box->seat) != HA_OK) {
        sim_fail(sim, SIM_SAFETY, "%s: its log does not start", sim_node_name(sim, box->node));
        return;
    }
    if (!sim->watchers[box->node].brain->caught_up)
        (void)ha_seat_read_index(&box->seat, READ_INDEX_MAX_MS, on_read, box);
}

void sim_raft_begin(struct sim *sim, uint32_t node)
{
    struct sim_machine *machine = &sim->log.raft->machines[node];
    struct sim_box *box = calloc(1, sizeof(*box));

    assert(box != NULL && machine->set != NULL && machine->box == NULL);
    box->set = machine->set;
    box->node = node;
    box->voter = sim_raft_voter(machine);
    box->voter->rate_ppm = sim->nodes[node].rate_ppm;
    machine->box = box;
    enter(sim, machine->set);
    sim_node_boot(box->voter);
    (void)sim_raft_run(sim, node, start_seat, box);
}

void sim_raft_end(struct sim *sim, uint32_t node)
{
    struct sim_machine *machine = &sim->log.raft->machines[node];
    struct sim_box *box = machine->box;

    if (box == NULL)
        return;
    machine->box = NULL;
    if (box->voter->is_up) {
        enter(sim, box->set);
        sim_node_crash(box->voter);
        plan(sim);
    }
    ha_seat_forget(&box->seat);
    sim_raft_forget_asked(box);
    sim_set_move_free(box->move);
    free(box);
}

static void start(struct sim *sim, uint32_t node)
{
    sim_raft_end(sim, node); /* what a dead one left */
    sim->watchers[node].applied = 0;
    sim_raft_begin(sim, node);
    sim_set_turn(sim);
}

static void stop(struct sim *sim, uint32_t node)
{
    sim_raft_end(sim, node);
    sim->watchers[node].leads = false;
    if (sim->log.leader == node)
        sim->log.leader = SIM_NODES;
}

static void resume(struct sim *sim, uint32_t node)
{
    struct sim_machine *machine = &sim->log.raft->machines[node];

    if (machine->set == NULL)
        return;
    enter(sim, machine->set);
    sim_voter_resume(sim_raft_voter(machine));
    plan(sim);
}

/* Disks */

static bool has_disk(const struct sim *sim, uint32_t node)
{
    return sim->log.raft->machines[node].set != NULL;
}

static void forget(struct sim *sim, uint32_t node)
{
    struct sim_machine *machine;

    if (sim->log.raft == NULL)
        return; /* names come first */
    machine = &sim->log.raft->machines[node];
    sim_raft_end(sim, node);
    if (machine->set != NULL)
        sim_disk_wipe(sim_raft_voter(machine));
    machine->set = NULL;
}

static void trouble(struct sim *sim, uint32_t node, enum sim_trouble what)
{
    const struct sim_machine *machine = &sim->log.raft->machines[node];
    struct sim_voter *voter;

    if (machine->set == NULL)
        return;
    voter = sim_raft_voter(machine);
    voter->disk_slow_us = what == SIM_DISK_SLOW ? ha_prng_between(&sim->prng, 1000, 400000) : 0;
    voter->disk_errors_per_million = what == SIM_DISK_ERRORS ? 50000 : 0;
    voter->disk_full = what == SIM_DISK_FULL;
}

/* The cluster's steps */

static bool is_heard(const struct sim *sim, const struct sim_machine *machine, uint32_t id)
{
    const struct sim_world *world = &machine->set->world;
    uint64_t heard_us = world->links[id][machine->id].heard_us;
    uint32_t node = machine->box->node, other = machine->set->node_of[id];

    if (heard_us != 0 && sim->now_us + SIM_BASE_US <= heard_us + HEARD_US)
        return true;
    return !sim->watchers[node].brain->leader && other != SIM_NODES && sim_runs(sim, other) &&
           sim_both_reach(sim, other, node);
}

static void tell_peers(struct sim *sim, uint32_t node)
{
    const struct sim_machine *machine = &sim->log.raft->machines[node];

    if (!sim_runs(sim, node) || machine->box == NULL || machine->box->move != NULL)
        return;
    for (uint32_t id = 1; id <= machine->set->world.node_count; id++) {
        uint32_t other = machine->set->node_of[id];

        if (id != machine->id && other != SIM_NODES)
            sim_tell_peer(sim, node, other, is_heard(sim, machine, id));
    }
}

static void step(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        tell_peers(sim, i);
    if (sim->now_us % 200000 < 10000)
        sim_set_tell_over(sim);
}

static void take(struct sim *sim, uint32_t node, const struct ha_command *command)
{
    struct sim_message *message = sim_message_new(SIM_MSG_PROPOSE, node);

    message->u.command = *command;
    sim_answer(sim, node, 0, message);
}

static uint32_t leader_of(const struct sim *sim, uint32_t node)
{
    const struct sim_machine *machine = &sim->log.raft->machines[node];
    uint32_t id = machine->box == NULL || !machine->box->seat.is_started
                      ? 0
                      : ha_seat_leader(&machine->box->seat);

    return id == 0 ? SIM_NODES : machine->set->node_of[id];
}

static void propose(struct sim *sim, uint32_t node, const struct ha_command *command)
{
    if (!sim_runs(sim, node) || sim->log.raft->machines[node].box == NULL)
        return;
    if (command->kind == HA_COMMAND_REPLACE)
        sim->log.raft->replace_us = sim->now_us;
    sim_raft_ask(sim, node, command);
    sim_set_turn(sim);
}

static bool has_moved(const struct sim *sim, uint32_t node)
{
    const struct sim_machine *machine = &sim->log.raft->machines[node];

    return machine->set == sim_set_newest(sim);
}

static bool is_ending(const struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->watchers[i].voter && !sim->watchers[i].lost && !has_moved(sim, i))
            return true;
    return sim->log.raft->replace_us != 0 && sim->now_us < sim->log.raft->replace_us + REPLACE_US;
}

static const char *lacks(const struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        if (!sim->watchers[i].voter)
            continue;
        if (!has_moved(sim, i))
            return "has a watcher of a set that has ended";
        if (!sim->watchers[i].brain->caught_up)
            return "has a watcher that has not caught up";
    }
    return NULL;
}

static void open_log(struct sim *sim)
{
    struct sim_raft *raft = calloc(1, sizeof(*raft));
    struct sim_set *first;

    assert(raft != NULL);
    sim->log.raft = raft;
    raft->planned_us = UINT64_MAX;
    raft->threshold = 16 + (uint32_t)ha_prng_below(&sim->prng, 48);
    raft->config_in = malloc(sizeof(*raft->config_in));
    assert(raft->config_in != NULL);
    first = sim_set_new(sim, 7);
    for (uint32_t i = 0; i < sim->profile.watchers; i++) {
        first->node_of[i + 1] = i;
        raft->machines[i].set = first;
        raft->machines[i].id = i + 1;
        sim_disk_bootstrap(&first->world.nodes[i + 1]);
    }
}

static void close_log(struct sim *sim)
{
    struct sim_raft *raft = sim->log.raft;

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        sim_raft_end(sim, i);
    for (uint32_t i = 0; i < raft->set_count; i++) {
        sim_world_fini(&raft->sets[i]->world);
        free(raft->sets[i]);
    }
    free(raft->sets);
    free(raft->hashes);
    free(raft->config_in);
    free(raft);
    sim->log.raft = NULL;
}

const struct sim_log_kind sim_log_raft = {
    .open = open_log,
    .close = close_log,
    .start = start,
    .stop = stop,
    .resume = resume,
    .has_disk = has_disk,
    .forget = forget,
    .join = sim_set_join,
    .step = step,
    .wake = wake,
    .take = take,
    .propose = propose,
    .leader_of = leader_of,
    .is_ending = is_ending,
    .trouble = trouble,
    .lacks = lacks,
    /* Somebody who joins again waits, and then the old set settles. */
    .patience_ms = HA_LEASE_MAX_MS + HA_LEASE_MAX_MS / 100,
};
