#include "tests/raft/simrun.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "raft/seat.h"
#include "tests/raft/simio.h"

#define TERMS_MAX 65536u
#define ELECTION_MS 300u
#define HEARTBEAT_MS 50u
#define REQUESTS_MAX 200000u

/* What is agreed at an index, by the first node that applied it. */
struct agreed {
    bool is_set;
    uint64_t hash;    /* of the bytes */
    uint64_t request; /* the id inside them */
    uint64_t rolling; /* of all entries up to here */
    uint64_t count;   /* of entries up to here */
    uint64_t at_us;
    bool is_measured;
};

/* The replicated state of one node's application. */
struct app {
    uint64_t rolling;
    uint64_t count;
    uint64_t last_index;
};

struct machine {
    struct sim_voter *node;
    struct seat_box *box; /* of this life */
    struct app app;
    raft_index applied_seen;
    uint64_t restart_at_us;
    bool is_acting;
};

struct seat_box {
    struct ha_seat seat;
    struct machine *machine;
};

struct run {
    const struct simrun_options *options;
    struct simrun_result *result;
    struct sim_world world;
    struct machine machines[SIM_NODES_MAX + 1];
    uint8_t leader_of[TERMS_MAX];
    struct agreed *agreed;
    size_t agreed_size;
    uint64_t max_agreed;
    uint64_t max_acked;
    uint64_t next_request;
    uint8_t *request_state; /* by request: how many outcomes */
    bool are_faults_over;
    bool is_quiet;
    uint32_t snapshot_threshold;
    uint32_t client_gap_us;
};

struct read_probe {
    struct run *run;
    struct machine *machine;
    uint32_t life;
    uint64_t floor; /* acked before it was asked */
};

static void violation(struct sim_world *world, const char *what, uint64_t number)
{
    struct run *run = world->arg;
    struct simrun_result *result = run->result;

    if (result->is_bad)
        return;
    result->is_bad = true;
    result->at_us = world->clock.now_us;
    (void)snprintf(result->what, sizeof(result->what), "%s (%" PRIu64 ")", what, number);
}

static void bad(struct run *run, const char *what, uint64_t number)
{
    violation(&run->world, what, number);
}

static struct run *run_of(const struct machine *machine)
{
    return machine->node->world->arg;
}

static void mix(struct run *run, uint64_t a, uint64_t b)
{
    uint64_t words[2] = {a, b};

    run->world.digest = ha_hash(run->world.digest, words, sizeof(words));
}

static struct agreed *agreed_at(struct run *run, uint64_t index)
{
    while (index >= run->agreed_size) {
        size_t size = run->agreed_size == 0 ? 4096 : run->agreed_size * 2;

        run->agreed = realloc(run->agreed, size * sizeof(*run->agreed));
        assert(run->agreed != NULL);
        memset(run->agreed + run->agreed_size, 0, (size - run->agreed_size) * sizeof(*run->agreed));
        run->agreed_size = size;
    }
    return &run->agreed[index];
}

/* --- the application
 * ---------------------------------------------------------------------- */

static void measure_second(struct run *run, struct agreed *agreed)
{
    if (agreed->is_measured)
        return;
    agreed->is_measured = true;
    run->result->nudge_ms_sum += run->world.clock.now_us - agreed->at_us;
    run->result->nudge_count++;
}

static void on_apply(void *ctx, const struct ha_raft_entry *entry)
{
    struct machine *machine = ((struct seat_box *)ctx)->machine;
    struct run *run = run_of(machine);
    struct agreed *agreed = agreed_at(run, entry->index);
    uint64_t hash = ha_hash(HA_HASH_START, entry->data, entry->size);
    uint64_t request;

    hash = ha_hash(hash, &entry->term, sizeof(entry->term));
    memcpy(&request, entry->data, sizeof(request));
    if (entry->index <= machine->app.last_index)
        bad(run, "R5: applied out of order", entry->index);
    machine->app.rolling = ha_hash(machine->app.rolling, &hash, sizeof(hash));
    machine->app.count++;
    machine->app.last_index = entry->index;
    if (!agreed->is_set) {
        *agreed = (struct agreed){.is_set = true,
                                  .hash = hash,
                                  .request = request,
                                  .rolling = machine->app.rolling,
                                  .count = machine->app.count,
                                  .at_us = run->world.clock.now_us};
        if (entry->index > run->max_agreed)
            run->max_agreed = entry->index;
    } else if (agreed->hash != hash || agreed->rolling != machine->app.rolling ||
               agreed->count != machine->app.count) {
        bad(run, "R2: two nodes applied different entries at one index", entry->index);
    } else {
        measure_second(run, agreed);
    }
    mix(run, entry->index, hash);
}

static int on_snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    struct machine *machine = ((struct seat_box *)ctx)->machine;

    *ret_size = sizeof(struct app) + 100;
    *ret_data = calloc(1, *ret_size);
    memcpy(*ret_data, &machine->app, sizeof(machine->app));
    run_of(machine)->result->snapshots++;
    return HA_OK;
}

static int on_restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    struct machine *machine = ((struct seat_box *)ctx)->machine;
    struct run *run = run_of(machine);
    const struct agreed *agreed;

    if (size != sizeof(struct app) + 100) {
        bad(run, "a snapshot of another size", size);
        return HA_ECORRUPT;
    }
    memcpy(&machine->app, data, sizeof(machine->app));
    agreed = agreed_at(run, machine->app.last_index);
    if (machine->app.last_index > index ||
        (machine->app.last_index > 0 &&
         (agreed->rolling != machine->app.rolling || agreed->count != machine->app.count)))
        bad(run, "R2: a snapshot differs from what was agreed", machine->app.last_index);
    run->result->installs++;
    return HA_OK;
}

static void on_role(void *ctx, bool is_leader, uint64_t term)
{
    struct machine *machine = ((struct seat_box *)ctx)->machine;
    struct run *run = run_of(machine);
    const struct raft *raft = &machine->box->seat.raft;

    if (is_leader == machine->is_acting)
        bad(run, "role told twice", term);
    machine->is_acting = is_leader;
    if (is_leader && ha_guard_term_of(raft, raft->last_applied) != term)
        bad(run, "R7: acting before an entry of its own term is applied", term);
    mix(run, 77, term);
}

static void on_outcome(void *ctx, uint64_t request, const struct ha_raft_outcome *outcome)
{
    struct machine *machine = ((struct seat_box *)ctx)->machine;
    struct run *run = run_of(machine);
    const struct agreed *agreed;

    if (++run->request_state[request] != 1)
        bad(run, "two outcomes for one request", request);
    if (outcome->result != HA_RAFT_COMMITTED)
        return;
    agreed = agreed_at(run, outcome->index);
    if (!agreed->is_set || agreed->request != request)
        bad(run, "R3: an acknowledged entry is not at its index", outcome->index);
    if (outcome->index > run->max_acked)
        run->max_acked = outcome->index;
    run->result->acked++;
    if (machine->box->seat.raft.state != RAFT_LEADER)
        run->result->forwarded++;
}

static void on_fatal(void *ctx, int code, const char *why)
{
    sim_die(((struct seat_box *)ctx)->machine->node, code, why);
}

/* --- lives
 * --------------------------------------------------------------------------------
 */

static int send_frame(void *ctx, uint32_t peer, enum ha_frame_type type, const void *data,
                      size_t size)
{
    return sim_send_frame(((struct seat_box *)ctx)->machine->node, peer, type, data, size);
}

static void start_seat(void *arg)
{
    struct machine *machine = arg;
    struct run *run = run_of(machine);
    struct ha_seat_options options = {
        .own_id = machine->node->id,
        .peer_count = run->world.node_count,
        .election_ms = ELECTION_MS,
        .heartbeat_ms = HEARTBEAT_MS,
        .snapshot_threshold = run->snapshot_threshold,
        .snapshot_trailing = 1 + run->snapshot_threshold / 4,
        .propose_timeout_ms = 1000,
        .seed = ((uint64_t)machine->node->id << 40) + ((uint64_t)machine->node->life << 20),
        .guard_off = run->options->guard_off,
        .no_pre_vote = (run->options->faults & SIM_NO_PRE_VOTE) != 0,
    };
    const struct ha_raft_hooks hooks = {.ctx = machine->box,
                                        .apply = on_apply,
                                        .snapshot = on_snapshot,
                                        .restore = on_restore,
                                        .role = on_role,
                                        .outcome = on_outcome,
                                        .fatal = on_fatal};

    for (uint32_t i = 0; i < run->world.node_count; i++)
        options.peer_ids[i] = i + 1;
    if (ha_seat_init(&machine->box->seat, &machine->node->io, &options, &hooks, send_frame) !=
            HA_OK ||
        ha_seat_start(&machine->box->seat) != HA_OK)
        bad(run, "a node does not start", machine->node->id);
}

/* The open proposals and reads of a dead process: no outcome will come. */
static void forget_seat(struct machine *machine)
{
    ha_seat_forget(&machine->box->seat);
    free(machine->box);
    machine->box = NULL;
}

static void boot(struct machine *machine)
{
    if (machine->box != NULL)
        forget_seat(machine);
    machine->box = calloc(1, sizeof(*machine->box));
    machine->box->machine = machine;
    machine->app = (struct app){.rolling = HA_HASH_START};
    machine->applied_seen = 0;
    machine->is_acting = false;
    sim_node_boot(machine->node);
    (void)sim_run(machine->node, start_seat, machine);
}

static void note_dead(struct machine *machine)
{
    struct run *run = run_of(machine);

    if (machine->applied_seen > machine->node->applied_ever)
        machine->node->applied_ever = machine->applied_seen;
    machine->restart_at_us = run->world.clock.now_us + 1000 + sim_below(&run->world, 1500000);
}

static void on_died(struct sim_voter *node, int code, const char *why)
{
    struct run *run = node->world->arg;
    struct machine *machine = &run->machines[node->id];

    if (code == HA_EIO && node->had_disk_error) {
        run->result->disk_deaths++;
    } else {
        bad(run, why, node->id);
    }
    note_dead(machine);
}

static void crash(struct machine *machine)
{
    run_of(machine)->result->crashes++;
    sim_node_crash(machine->node);
    note_dead(machine);
}

/* --- invariants after every step
 * ---------------------------------------------------------- */

static void check_leader(struct run *run, const struct machine *machine, const struct raft *raft)
{
    uint8_t *leader;

    if (raft->state != RAFT_LEADER)
        return;
    leader = &run->leader_of[raft->current_term % TERMS_MAX];
    if (*leader == 0)
        run->result->elections++;
    else if (*leader != machine->node->id)
        bad(run, "R1: two leaders in term", raft->current_term);
    *leader = (uint8_t)machine->node->id;
}

static void on_turn(struct sim_voter *node)
{
    struct run *run = node->world->arg;
    struct machine *machine = &run->machines[node->id];
    struct ha_seat *seat = &machine->box->seat;
    const struct raft *raft = &seat->raft;

    if (!seat->is_started)
        return;
    do {
        ha_seat_turn(seat);
    } while (ha_seat_is_busy(seat));
    check_leader(run, machine, raft);
    if (raft->last_applied < machine->applied_seen)
        bad(run, "R5: the applied index went back", raft->last_applied);
    if (raft->last_applied > raft->commit_index && !seat->guard.is_installing)
        bad(run, "R5: applied beyond the commit index", raft->last_applied);
    machine->applied_seen = raft->last_applied;
    if (raft->last_applied > node->applied_ever)
        node->applied_ever = raft->last_applied;
    if (raft->state == RAFT_UNAVAILABLE && (run->options->guard_off & HA_GUARD_G(5)) == 0)
        bad(run, "libraft gave up", node->id);
    run->result->hashes += seat->fsm.checked;
    seat->fsm.checked = 0;
    mix(run, node->id | (uint64_t)raft->state << 8 | (uint64_t)raft->current_term << 16,
        raft->commit_index ^ run->world.clock.now_us << 24);
}

static void on_frame(struct sim_voter *node, uint32_t from, enum ha_frame_type type,
                     const void *data, size_t size)
{
    struct run *run = node->world->arg;

    if (!ha_seat_frame(&run->machines[node->id].box->seat, from, type, data, size))
        bad(run, "a malformed frame", type);
}

/* --- clients
 * ------------------------------------------------------------------------------
 */

struct proposal {
    struct machine *machine;
    uint64_t request;
};

static void propose_one(struct machine *machine)
{
    struct run *run = run_of(machine);
    uint64_t request = run->next_request;
    uint64_t data[16] = {request, request * 3};
    size_t size = 9 + sim_below(&run->world, 100);

    if (request + 1 >= REQUESTS_MAX)
        return;
    if (ha_seat_propose(&machine->box->seat, data, size, request) == HA_OK)
        run->next_request++;
}

static void propose(void *arg)
{
    struct machine *machine = arg;
    struct run *run = run_of(machine);
    uint64_t count = 1;

    if ((run->options->faults & SIM_BURST) != 0 && sim_chance(&run->world, 100000))
        count = 1 + sim_below(&run->world, 150);
    while (count-- > 0)
        propose_one(machine);
}

static void on_read(void *arg, int code, uint64_t index)
{
    struct read_probe *probe = arg;
    struct run *run = probe->run;

    if (code == HA_OK && probe->machine->node->life == probe->life) {
        if (index < probe->floor)
            bad(run, "a read index below what was acknowledged before", index);
        if (probe->machine->box->seat.raft.last_applied < index)
            bad(run, "a read index told before it was applied", index);
        run->result->reads++;
    }
    free(probe);
}

static void read_index(void *arg)
{
    struct machine *machine = arg;
    struct run *run = run_of(machine);
    struct read_probe *probe = malloc(sizeof(*probe));

    *probe = (struct read_probe){
        .run = run, .machine = machine, .life = machine->node->life, .floor = run->max_acked};
    if (ha_seat_read_index(&machine->box->seat, 800, on_read, probe) != HA_OK)
        free(probe);
}

static void on_client(void *world_arg, void *arg)
{
    struct sim_world *world = world_arg;
    struct run *run = world->arg;
    struct machine *machine;

    (void)arg;
    if (world->is_ending || run->is_quiet)
        return;
    machine = &run->machines[1 + sim_below(world, world->node_count)];
    if (machine->node->is_up && machine->node->paused_until_us <= world->clock.now_us)
        (void)sim_run(machine->node, sim_chance(world, 50000) ? read_index : propose, machine);
    simclock_after(&world->clock, 1 + sim_below(world, run->client_gap_us), on_client, NULL);
}

/* --- faults
 * -------------------------------------------------------------------------------
 */

static void on_transfer(struct raft_transfer *req)
{
    (void)req; /* goes with the heap of this life */
}

static void transfer(void *arg)
{
    struct machine *machine = arg;
    struct raft *raft = &machine->box->seat.raft;
    struct raft_transfer *req;

    if (raft->state != RAFT_LEADER || raft->transfer != NULL)
        return;
    req = raft_calloc(1, sizeof(*req));
    (void)raft_transfer(raft, req, 0, on_transfer);
}

static void cut(struct run *run)
{
    struct sim_world *world = &run->world;
    uint32_t victim = 1 + (uint32_t)sim_below(world, world->node_count);
    uint64_t how = sim_below(world, 5);

    for (uint32_t i = 1; i <= world->node_count; i++) {
        struct sim_link *out = &world->links[victim][i];
        struct sim_link *in = &world->links[i][victim];

        if (i == victim || sim_chance(world, 250000))
            continue;
        if (how == 0) /* both ways */
            out->is_cut = in->is_cut = true;
        else if (how == 1)
            out->is_cut = true;
        else if (how == 2)
            in->is_cut = true;
        else if (how == 3)
            out->is_held = in->is_held = true;
        else
            out->drop_per_million = in->drop_per_million = 200000;
    }
}

static void heal_some(struct run *run, bool all)
{
    struct sim_world *world = &run->world;

    for (uint32_t i = 1; i <= world->node_count; i++)
        for (uint32_t j = 1; j <= world->node_count; j++)
            if (all || sim_chance(world, 500000))
                sim_heal(world, i, j);
}

static void trouble_disk(struct run *run, struct sim_voter *node)
{
    struct sim_world *world = &run->world;

    if ((run->options->faults & SIM_SLOW_DISK) != 0 && sim_chance(world, 500000))
        node->disk_slow_us = sim_chance(world, 500000) ? 0 : 1000 + sim_below(world, 400000);
    if ((run->options->faults & SIM_BAD_DISK) == 0)
        return;
    node->disk_full = sim_chance(world, 100000);
    node->disk_errors_per_million = sim_chance(world, 300000) ? 5000 : 0;
}

static void one_fault(struct run *run)
{
    struct sim_world *world = &run->world;
    uint32_t faults = run->options->faults;
    struct machine *machine = &run->machines[1 + sim_below(world, world->node_count)];
    uint64_t which = sim_below(world, 8);

    trouble_disk(run, &world->nodes[1 + sim_below(world, world->node_count)]);
    if (which <= 1 && (faults & SIM_CRASH) != 0) {
        for (uint32_t i = 1; i <= world->node_count; i++) {
            struct machine *m = &run->machines[i];
            bool hit = m == machine || (which == 0 && sim_chance(world, 300000));

            if (hit && m->node->is_up)
                crash(m);
        }
    } else if (which <= 3 && (faults & SIM_CUT) != 0) {
        cut(run);
    } else if (which <= 5) {
        /* What was held of the election may still ask the leader for its vote. */
        for (uint32_t i = 1; i <= world->node_count && (faults & SIM_TRANSFER) != 0; i++)
            if (run->machines[i].node->is_up && sim_chance(world, 500000))
                (void)sim_run(run->machines[i].node, transfer, &run->machines[i]);
        heal_some(run, which == 5);
    } else if (which == 6 && (faults & SIM_PAUSE) != 0 &&
               machine->node->paused_until_us <= world->clock.now_us) {
        /* Never shortened: what is put off must stay in order. */
        machine->node->paused_until_us = world->clock.now_us + sim_below(world, 1500000);
    } else if (which == 7 && (faults & SIM_TRANSFER) != 0 && machine->node->is_up) {
        (void)sim_run(machine->node, transfer, machine);
    }
}

static void on_fault(void *world_arg, void *arg)
{
    struct sim_world *world = world_arg;
    struct run *run = world->arg;

    (void)arg;
    if (world->is_ending || run->are_faults_over)
        return;
    one_fault(run);
    simclock_after(&world->clock, 1000 + sim_below(world, 400000), on_fault, NULL);
}

/* The supervisor: a dead process comes back. */
static void on_supervise(void *world_arg, void *arg)
{
    struct sim_world *world = world_arg;
    struct run *run = world->arg;

    (void)arg;
    if (world->is_ending)
        return;
    for (uint32_t i = 1; i <= world->node_count; i++) {
        struct machine *machine = &run->machines[i];

        if (!machine->node->is_up && world->clock.now_us >= machine->restart_at_us)
            boot(machine);
    }
    simclock_after(&world->clock, 5000, on_supervise, NULL);
}

static void end_faults(struct run *run)
{
    struct sim_world *world = &run->world;

    run->are_faults_over = true;
    heal_some(run, true);
    for (uint32_t i = 1; i <= world->node_count; i++) {
        struct sim_voter *node = &world->nodes[i];

        node->disk_slow_us = 0;
        node->disk_full = false;
        node->disk_errors_per_million = 0;
        run->machines[i].restart_at_us = world->clock.now_us;
    }
}

/* --- the story
 * ----------------------------------------------------------------------------
 */

static void run_until(struct run *run, uint64_t until_us)
{
    while (!run->result->is_bad && sim_step(&run->world, until_us))
        continue;
}

/* R9 among as few as may be left: a leader within ten election timeouts, and commits within 2 s of
 * that. */
static uint64_t run_without_some(struct run *run, uint64_t end_us)
{
    struct sim_world *world = &run->world;
    uint32_t first = (uint32_t)sim_below(world, world->node_count);
    uint64_t acked;

    for (uint32_t i = 0; i < (world->node_count - 1) / 2; i++) {
        struct machine *machine = &run->machines[1 + (first + i) % world->node_count];

        if (machine->node->is_up)
            crash(machine);
        machine->restart_at_us = UINT64_MAX;
    }
    run_until(run, end_us + 10 * ELECTION_MS * 1000ull);
    acked = run->result->acked;
    end_us += 10 * ELECTION_MS * 1000ull + 2000000;
    run_until(run, end_us);
    if (run->result->acked == acked)
        bad(run, "R9: nothing commits while a majority is up", run->max_acked);
    for (uint32_t i = 1; i <= world->node_count; i++)
        run->machines[i].restart_at_us = world->clock.now_us;
    return end_us;
}

static void describe(const struct run *run)
{
    for (uint32_t i = 1; i <= run->world.node_count; i++) {
        const struct machine *machine = &run->machines[i];
        const struct ha_seat *seat = &machine->box->seat;
        const struct raft *raft = &seat->raft;

        printf("# node %u up %d life %u state %d term %llu last %llu commit %llu "
               "applied %llu"
               " snapshot %llu acting %d pending %u installing %d led %llu\n",
               i, machine->node->is_up, machine->node->life, raft->state, raft->current_term,
               raft->last_stored, raft->commit_index, raft->last_applied,
               raft->log.snapshot.last_index, ha_seat_is_acting(seat), seat->guard.appends_pending,
               seat->guard.is_installing, seat->guard.led_term);
        if (raft->state == RAFT_LEADER)
            for (unsigned j = 0; j < raft->configuration.n; j++)
                printf("#   progress %u: state %u next %llu match %llu snapshot %llu\n", j + 1,
                       raft->leader_state.progress[j].state,
                       raft->leader_state.progress[j].next_index,
                       raft->leader_state.progress[j].match_index,
                       raft->leader_state.progress[j].snapshot_index);
    }
}

static void check_live(struct run *run, uint64_t acked_before)
{
    uint64_t applied = 0;

    if (run->result->is_bad)
        return;
    if (run->result->acked == acked_before)
        bad(run, "R9: nothing commits after the faults have ended", run->max_acked);
    for (uint32_t i = 1; i <= run->world.node_count; i++) {
        const struct machine *machine = &run->machines[i];

        if (!machine->node->is_up || machine->app.last_index < run->max_acked)
            bad(run, "R3: a node lacks acknowledged entries at the end", i);
        if (i == 1)
            applied = machine->app.last_index;
        else if (machine->app.last_index != applied)
            bad(run, "R9: nodes differ at rest", machine->app.last_index);
    }
}

static void set_up(struct run *run)
{
    struct sim_world *world = &run->world;
    const struct sim_hooks hooks = {
        .turn = on_turn, .frame = on_frame, .died = on_died, .violation = violation};

    sim_world_init(world, run->options->seed, run->options->nodes, &hooks);
    world->arg = run;
    world->has_torn_writes = (run->options->faults & SIM_TORN) != 0;
    world->send_slow_us = (run->options->faults & SIM_SLOW_SEND) != 0 ? 400000 : 0;
    run->snapshot_threshold = (run->options->faults & SIM_LARGE_SNAPSHOTS) != 0
                                  ? 1500
                                  : 16 + (uint32_t)sim_below(world, 48);
    run->client_gap_us = (run->options->faults & SIM_LARGE_SNAPSHOTS) != 0
                             ? 4000
                             : 4000 + (uint32_t)sim_below(world, 60000);
    for (uint32_t i = 1; i <= world->node_count; i++) {
        run->machines[i].node = &world->nodes[i];
        for (uint32_t j = 1; j <= world->node_count; j++)
            world->links[i][j].delay_us = 100 + sim_below(world, 8000);
        sim_disk_bootstrap(&world->nodes[i]);
        boot(&run->machines[i]);
    }
    simclock_after(&world->clock, 1000, on_client, NULL);
    simclock_after(&world->clock, 1000000, on_fault, NULL);
    simclock_after(&world->clock, 5000, on_supervise, NULL);
}

static void tear_down(struct run *run)
{
    run->result->digest = run->world.digest;
    for (uint32_t i = 1; i <= run->world.node_count; i++)
        if (run->machines[i].node->is_up)
            sim_node_crash(run->machines[i].node);
    for (uint32_t i = 1; i <= run->world.node_count; i++)
        if (run->machines[i].box != NULL)
            forget_seat(&run->machines[i]);
    sim_world_fini(&run->world);
    free(run->agreed);
    free(run->request_state);
    free(run);
}

void simrun(const struct simrun_options *options, struct simrun_result *ret)
{
    struct run *run = calloc(1, sizeof(*run));
    uint64_t end_us;
    uint64_t acked;

    memset(ret, 0, sizeof(*ret));
    run->options = options;
    run->result = ret;
    run->request_state = calloc(REQUESTS_MAX, 1);
    set_up(run);
    end_us = run->world.clock.now_us + options->fault_ms * 1000ull;
    run_until(run, end_us);
    end_faults(run);
    if (sim_chance(&run->world, 500000))
        end_us = run_without_some(run, end_us);
    /* R9: a leader within ten election timeouts, and commits within 2 s of that.
     */
    end_us += 10 * ELECTION_MS * 1000ull;
    run_until(run, end_us);
    acked = ret->acked;
    run_until(run, end_us + 2000000);
    run->is_quiet = true; /* so that all can come to the same index */
    run_until(run, end_us + 3500000);
    check_live(run, acked);
    if (ret->is_bad && options->is_verbose)
        describe(run);
    tear_down(run);
}
