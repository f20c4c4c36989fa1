/* What both kinds of log tell watchers and the reader of a story. */
#include <string.h>

#include "lib/base/prng.h"
#include "tests/sim/sim.h"

/* In a second, three times on end: a process that goes on after a pause says a lot at once, but not
 * for long. */
#define ENTRIES_MAX 100u
#define SECONDS_MAX 3u
/* Of one kind, of what a leader decides: good runs have three, and none has many at once. */
#define DECIDED_MAX 50u

uint32_t sim_rank(const struct sim *sim, uint32_t by, uint32_t node)
{
    const struct ha_cluster *cluster = &sim->watchers[by].brain->cluster;

    for (uint32_t i = 0; i < cluster->watcher_count; i++)
        if (strcmp(cluster->watchers[i], sim->watchers[node].name) == 0)
            return i;
    /* The set is not in the log yet: as the settings say. */
    return cluster->watcher_count == 0 ? node : HA_WATCHERS_MAX;
}

void sim_tell_role(struct sim *sim, uint32_t node, bool leader, uint64_t term)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_ROLE);

    if (!sim_runs(sim, node) || sim->watchers[node].leads == leader)
        return;
    sim->watchers[node].leads = leader;
    event.u.role.leader = leader;
    event.u.role.term = term;
    sim_story(sim, "%s %s in term %lu", sim_node_name(sim, node), leader ? "leads" : "follows",
              (unsigned long)term);
    (void)sim_watcher_step(sim, node, &event);
}

void sim_tell_peer(struct sim *sim, uint32_t node, uint32_t other, bool heard)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_PEER);

    event.u.peer.watcher = sim_rank(sim, node, other);
    event.u.peer.heard = heard;
    if (event.u.peer.watcher < HA_WATCHERS_MAX &&
        sim->watchers[node].brain->peer_heard[event.u.peer.watcher] != heard)
        (void)sim_watcher_step(sim, node, &event);
}

void sim_tell_caught_up(struct sim *sim, uint32_t node)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_CAUGHT_UP);

    (void)sim_watcher_step(sim, node, &event);
}

/* Entries */

static void say_fits(struct sim *sim, const struct ha_command_promote *c)
{
    sim_story(sim, "  member %u, proof %x", c->member, c->proof);
    for (uint32_t i = 0; i < c->fit_count; i++)
        sim_story(sim, "  member %u: %s, %lu bytes, %lu behind", c->fits[i].member,
                  ha_fitness_text(c->fits[i].fitness), (unsigned long)c->fits[i].offset,
                  (unsigned long)c->fits[i].behind);
}

static void say_entry(struct sim *sim, uint64_t index, const struct ha_command *command)
{
    sim_story(sim, "entry %lu: %s", (unsigned long)index, ha_command_kind_text(command->kind));
    if (command->kind == HA_COMMAND_SYNC_INTEND || command->kind == HA_COMMAND_SYNC_FORCE)
        sim_story(sim, "  any %u of %x, entering %x, holding %x of %lu", command->u.sync.set.need,
                  command->u.sync.set.members, command->u.sync.entering, command->u.sync.holding,
                  (unsigned long)command->u.sync.offset);
    if (command->kind == HA_COMMAND_PROMOTE || command->kind == HA_COMMAND_NONE)
        say_fits(sim, &command->u.promote);
    if (command->kind == HA_COMMAND_BEGIN)
        sim_story(sim, "  %s: %s", ha_reason_text(command->u.begin.reason), command->u.begin.text);
    for (uint32_t i = 0; command->kind == HA_COMMAND_OBSERVE && i < command->u.observe.count; i++)
        sim_story(sim, "  watcher %u: member %u is %s", command->u.observe.watcher,
                  command->u.observe.items[i].member,
                  ha_verdict_text(command->u.observe.items[i].verdict));
    if (command->kind == HA_COMMAND_FENCED)
        sim_story(sim, "  %s", ha_fence_text(command->u.fenced.how));
}

/* A proposal that changes nothing, or is refused, and is made again and again. */
static void count_decision(struct sim *sim, const struct ha_command *command)
{
    /* Said by each watcher: what could not be committed for a while comes all at once. */
    bool told = command->kind == HA_COMMAND_OBSERVE || command->kind == HA_COMMAND_GIVE_UP ||
                command->kind == HA_COMMAND_POSITIONS || command->kind == HA_COMMAND_NOTICE_DONE ||
                command->kind == HA_COMMAND_WATCHERS; /* the first, until it is there */

    if (!told && ++sim->log.decided[command->kind % 64] > DECIDED_MAX)
        sim_fail(sim, SIM_LIVENESS, "the log fills: %u times %s in a second", DECIDED_MAX,
                 ha_command_kind_text(command->kind));
}

void sim_meet_entry(struct sim *sim, uint32_t node, uint64_t index,
                    const struct ha_command *command)
{
    struct sim_log *log = &sim->log;

    say_entry(sim, index, command);
    if (log->second != sim->now_us / 1000000) {
        if (log->second + 1 != sim->now_us / 1000000 || log->second_count <= ENTRIES_MAX)
            log->full_seconds = 0;
        log->second_count = 0;
        memset(log->decided, 0, sizeof(log->decided));
    }
    count_decision(sim, command);
    log->second = sim->now_us / 1000000;
    if (++log->second_count == ENTRIES_MAX + 1 && ++log->full_seconds == SECONDS_MAX)
        sim_fail(sim, SIM_LIVENESS, "%u entries a second, the last is %s", ENTRIES_MAX,
                 ha_command_kind_text(command->kind));
    sim_check_entry(sim, node, command);
}

void sim_move_set(struct sim *sim, const struct ha_command_replace *replace)
{
    uint32_t old = SIM_NODES;

    sim_story(sim, "%s takes the place of %s", replace->new_name, replace->old_name);
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        if (strcmp(sim->watchers[i].name, replace->old_name) == 0) {
            sim->watchers[i].voter = false;
            old = i;
        }
        if (strcmp(sim->watchers[i].name, replace->new_name) != 0)
            continue;
        sim->watchers[i].voter = sim->watchers[i].awaited = true;
        sim_push(sim, sim->now_us + ha_prng_between(&sim->prng, 10000, 2000000), SIM_JOIN, i, 0,
                 NULL);
    }
    /* Where seals may end an epoch before its lease, and the lease counts. */
    if (old != SIM_NODES && sim->profile.durability == HA_DURABILITY_STRICT &&
        !sim->profile.gates_fail)
        sim_fault_replaced(sim, old);
}
