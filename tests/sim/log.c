/* A model of the log: it commits where a majority is connected. What is committed reaches every
 * watcher in order, but not at once, and not while it is cut off. */
#include "tests/sim/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/prng.h"
#include "tests/sim/sim.h"

static bool has_majority(const struct sim *sim, uint32_t node)
{
    uint32_t count = 0;

    if (!sim_runs(sim, node) || !sim->watchers[node].voter)
        return false;
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        count += sim->watchers[i].voter &&
                         (i == node || (sim_runs(sim, i) && sim_both_reach(sim, node, i)))
                     ? 1
                     : 0;
    return count >= sim->profile.watchers / 2 + 1;
}

static void tell_peers(struct sim *sim, uint32_t node)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (i != node && sim_runs(sim, node) && sim->watchers[i].name[0] != '\0')
            sim_tell_peer(sim, node, i, sim_runs(sim, i) && sim_both_reach(sim, i, node));
}

/* Whoever has every committed entry, leads; a new leader has applied them all, as its barrier says.
 */
static void elect(struct sim *sim)
{
    uint32_t best = SIM_NODES;
    uint32_t start = (uint32_t)ha_prng_below(&sim->prng, SIM_WATCHERS_MAX);

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        uint32_t node = (start + i) % SIM_WATCHERS_MAX;

        if (has_majority(sim, node) &&
            (best == SIM_NODES || sim->watchers[node].applied > sim->watchers[best].applied))
            best = node;
    }
    if (best == SIM_NODES)
        return;
    sim->log.leader = best;
    sim->watchers[best].lags_until_us = 0;
    sim->log.term++;
}

/* It may learn what has committed. */
static bool is_linked(const struct sim *sim, uint32_t node)
{
    return sim->log.leader != SIM_NODES && sim_both_reach(sim, node, sim->log.leader) &&
           sim_runs(sim, node) && sim->watchers[node].voter &&
           sim->now_us >= sim->watchers[node].lags_until_us;
}

static void tell_log(struct sim *sim, uint32_t node)
{
    struct sim_log *log = &sim->log;
    struct sim_watcher *watcher = &sim->watchers[node];
    bool linked = is_linked(sim, node);

    /* One that is cut off goes on believing that it leads for a while: it hears nothing else. */
    if (node == log->leader && watcher->applied == log->count)
        sim_tell_role(sim, node, true, log->term);
    else if (node != log->leader && watcher->leads && linked)
        sim_tell_role(sim, node, false, log->term);
    if (linked && watcher->applied < log->count)
        sim_push(sim, sim->now_us + ha_prng_between(&sim->prng, 100, 3000), SIM_APPLY, node, 0,
                 NULL);
    if (linked && watcher->caught_up_at == 0 && sim->watchers[log->leader].leads)
        watcher->caught_up_at = log->count + 1;
    if (watcher->caught_up_at != 0 && !watcher->brain->caught_up && sim_runs(sim, node) &&
        watcher->applied + 1 >= watcher->caught_up_at)
        sim_tell_caught_up(sim, node);
}

static void step(struct sim *sim)
{
    struct sim_log *log = &sim->log;

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        tell_peers(sim, i);
    if (log->leader != SIM_NODES && !has_majority(sim, log->leader)) {
        sim_story(sim, "%s lost its majority", sim_node_name(sim, log->leader));
        log->leader = SIM_NODES;
        log->elect_us = sim->now_us + ha_prng_between(&sim->prng, 300000, 600000);
    }
    if (log->leader == SIM_NODES && sim->now_us >= log->elect_us)
        elect(sim);
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->watchers[i].brain != NULL)
            tell_log(sim, i);
}

/* Its disk: snapshots, and the log that is everybody's */

static void save(struct sim_watcher *watcher, const struct ha_cluster *cluster, uint64_t index)
{
    if (watcher->saved == NULL)
        watcher->saved = malloc(sizeof(*watcher->saved));
    assert(watcher->saved != NULL);
    *watcher->saved = *cluster;
    watcher->saved_index = index;
}

static void forget(struct sim *sim, uint32_t node)
{
    free(sim->watchers[node].saved);
    sim->watchers[node].saved = NULL;
}

static void start(struct sim *sim, uint32_t node)
{
    struct sim_watcher *watcher = &sim->watchers[node];
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_RESTORED);

    watcher->caught_up_at = 0;
    watcher->applied = 0;
    if (watcher->saved == NULL ||
        (watcher->saved->set_id == 7 && ha_prng_chance(&sim->prng, 200000)))
        return; /* the whole log again: the same must come of it */
    watcher->brain->cluster = *watcher->saved;
    watcher->applied = watcher->saved_index;
    (void)sim_watcher_step(sim, node, &event);
}

static bool has_disk(const struct sim *sim, uint32_t node)
{
    return sim->watchers[node].brain != NULL;
}

/* The set of watchers: one entry ends it, and the log goes on among the next */

static void join(struct sim *sim, uint32_t node)
{
    struct sim_watcher *watcher = &sim->watchers[node];
    uint32_t from = SIM_NODES;

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (i != node && sim->watchers[i].voter && sim_runs(sim, i) &&
            sim_rank(sim, i, node) < HA_WATCHERS_MAX &&
            sim->watchers[i].brain->cluster.watcher_count > 0)
            from = i;
    if (sim->nodes[node].alive || !watcher->voter)
        return;
    if (from == SIM_NODES) {
        sim_push(sim, sim->now_us + 500000, SIM_JOIN, node, 0, NULL);
        return;
    }
    /* With the state of one that has moved: what committed before is in every majority. */
    save(watcher, &sim->watchers[from].brain->cluster, sim->watchers[from].applied);
    watcher->promise_durable_ms = 0;
    watcher->lost = false;
    sim_watcher_start(sim, node);
}

static void apply(struct sim *sim, uint32_t node)
{
    struct sim_watcher *watcher = &sim->watchers[node];
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_COMMITTED);
    uint64_t set_before = watcher->brain->cluster.set_id;

    if (watcher->applied >= sim->log.count || !watcher->voter)
        return;
    if (sim->now_us < watcher->lags_until_us)
        return;
    event.u.committed.command = &sim->log.entries[watcher->applied];
    event.u.committed.index = ++watcher->applied;
    (void)sim_watcher_step(sim, node, &event);
    if (sim->log.ends == watcher->applied) {
        sim->log.ends = 0;
        if (watcher->brain->cluster.set_id != set_before)
            sim_move_set(sim, &event.u.committed.command->u.replace);
    }
    if (ha_prng_chance(&sim->prng, 30000))
        save(watcher, &watcher->brain->cluster, watcher->applied);
    if (watcher->applied < sim->log.count)
        sim_push(sim, sim->now_us, SIM_APPLY, node, 0, NULL);
}

static bool is_ending(const struct sim *sim)
{
    return sim->log.ends != 0;
}

/* Proposals */

static uint32_t leader_of(const struct sim *sim, uint32_t node)
{
    (void)node;
    return sim->log.leader;
}

static void take(struct sim *sim, uint32_t node, const struct ha_command *command)
{
    struct sim_message *message;

    if (sim->log.leader == SIM_NODES)
        return;
    message = sim_message_new(SIM_MSG_PROPOSE, node);
    message->u.command = *command;
    sim_send(sim, node, sim->log.leader, message);
}

static void propose(struct sim *sim, uint32_t node, const struct ha_command *command)
{
    struct sim_log *log = &sim->log;

    if (log->leader != node || !has_majority(sim, node) || log->ends != 0)
        return;
    if (log->count == log->size) {
        log->size = log->size == 0 ? 256 : 2 * log->size;
        log->entries = realloc(log->entries, log->size * sizeof(*log->entries));
        assert(log->entries != NULL);
    }
    log->entries[log->count++] = *command;
    if (command->kind == HA_COMMAND_REPLACE)
        log->ends = log->count;
    sim_meet_entry(sim, node, log->count, command);
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->watchers[i].voter && sim_both_reach(sim, i, log->leader))
            sim_push(sim, sim->now_us + ha_prng_between(&sim->prng, 300, 4000), SIM_APPLY, i, 0,
                     NULL);
}

/* The rest of the table */

static void open_log(struct sim *sim)
{
    (void)sim;
}

static void ignore(struct sim *sim, uint32_t node)
{
    (void)sim;
    (void)node;
}

static void close_log(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        forget(sim, i);
    free(sim->log.entries);
}

static const char *lacks(const struct sim *sim)
{
    (void)sim;
    return NULL;
}

const struct sim_log_kind sim_log_model = {
    .open = open_log,
    .close = close_log,
    .start = start,
    .stop = ignore,
    .resume = ignore,
    .has_disk = has_disk,
    .forget = forget,
    .join = join,
    .step = step,
    .apply = apply,
    .take = take,
    .propose = propose,
    .leader_of = leader_of,
    .is_ending = is_ending,
    .lacks = lacks,
};
