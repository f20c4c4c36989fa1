/* What a seat asks of its watcher: entries and snapshots into the real core, as the daemon does it
 * (cmd/hafailoverd/replica.c, dispatch.c), and what must hold of the log itself. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/wire/command.h"
#include "lib/wire/snapshot.h"
#include "tests/sim/log_raft.h"

#define RETRANSMIT_US 200000u

/* Entries */

/* R2: one entry at one index, whoever applies it. */
static void check_same(struct sim *sim, const struct ha_raft_entry *entry)
{
    struct sim_raft *raft = sim->log.raft;
    uint64_t hash = ha_hash(HA_HASH_START, entry->data, entry->size);

    while (entry->index >= raft->hash_count) {
        size_t count = raft->hash_count == 0 ? 1024 : 2 * raft->hash_count;

        raft->hashes = realloc(raft->hashes, count * sizeof(*raft->hashes));
        assert(raft->hashes != NULL);
        memset(raft->hashes + raft->hash_count, 0,
               (count - raft->hash_count) * sizeof(*raft->hashes));
        raft->hash_count = count;
    }
    hash = ha_hash(hash, &entry->term, sizeof(entry->term));
    if (raft->hashes[entry->index] == 0)
        raft->hashes[entry->index] = hash;
    else if (raft->hashes[entry->index] != hash)
        sim_fail(sim, SIM_SAFETY, "two entries are committed at index %lu",
                 (unsigned long)entry->index);
}

static void on_apply(void *ctx, const struct ha_raft_entry *entry)
{
    struct sim_box *box = ctx;
    struct sim *sim = box->set->sim;
    struct sim_watcher *watcher = &sim->watchers[box->node];
    struct ha_event event = sim_event_of(sim, box->node, HA_EVENT_COMMITTED);
    struct ha_command command = {.kind = HA_COMMAND_NOTHING};
    int rv;

    if (box->move != NULL)
        return; /* behind the end of the set: as if it were not there */
    check_same(sim, entry);
    if (entry->index <= watcher->applied)
        sim_fail(sim, SIM_SAFETY, "%s applies index %lu after %lu", watcher->name,
                 (unsigned long)entry->index, (unsigned long)watcher->applied);
    if (ha_command_decode(entry->data, entry->size, &command, sim->log.raft->config_in, NULL) !=
        HA_OK)
        sim_fail(sim, SIM_SAFETY, "entry %lu is malformed", (unsigned long)entry->index);
    if (entry->index > sim->log.count) {
        sim->log.count = (uint32_t)entry->index;
        sim_meet_entry(sim, box->node, entry->index, &command);
    }
    watcher->applied = entry->index;
    event.u.committed = (struct ha_event_committed){.index = entry->index, .command = &command};
    rv = sim_watcher_step(sim, box->node, &event);
    if (command.kind == HA_COMMAND_REPLACE && rv == HA_OK)
        sim_set_replaced(box, entry, &command.u.replace);
}

static int on_snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    const struct sim_box *box = ctx;
    struct sim *sim = box->set->sim;
    const struct ha_cluster *cluster = &sim->watchers[box->node].brain->cluster;
    size_t size = ha_snapshot_size(cluster);

    if (box->move != NULL)
        return HA_EBUSY; /* a start must meet the entry again that ended the set */
    *ret_data = malloc(size);
    assert(*ret_data != NULL);
    return ha_snapshot_encode(cluster, *ret_data, size, ret_size, NULL);
}

static int on_restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    struct sim_box *box = ctx;
    struct sim *sim = box->set->sim;
    struct sim_watcher *watcher = &sim->watchers[box->node];
    struct ha_event event = sim_event_of(sim, box->node, HA_EVENT_RESTORED);
    struct ha_cluster *state = calloc(1, sizeof(*state));
    int code;

    assert(state != NULL);
    code = ha_snapshot_decode(data, size, state, NULL);
    if (code == HA_OK && state->set_id != 0 && state->set_id != box->set->set_id)
        code = HA_ESTALE;
    if (code == HA_OK && index < watcher->applied)
        sim_fail(sim, SIM_SAFETY, "%s goes back from index %lu to %lu", watcher->name,
                 (unsigned long)watcher->applied, (unsigned long)index);
    if (code == HA_OK) {
        sim_story(sim, "%s takes the state of index %lu", watcher->name, (unsigned long)index);
        watcher->brain->cluster = *state;
        watcher->applied = index;
        (void)sim_watcher_step(sim, box->node, &event);
    }
    free(state);
    return code;
}

/* Leadership */

static void on_role(void *ctx, bool is_leader, uint64_t term)
{
    struct sim_box *box = ctx;
    struct sim *sim = box->set->sim;
    const struct raft *raft = &box->seat.raft;

    if (is_leader && ha_guard_term_of(raft, raft->last_applied) != term)
        sim_fail(sim, SIM_SAFETY, "%s acts in term %lu before an entry of it is applied",
                 sim_node_name(sim, box->node), (unsigned long)term);
    sim_tell_role(sim, box->node, is_leader, term);
    if (is_leader && box->set == sim_set_newest(sim) &&
        (sim->log.leader == SIM_NODES || term >= sim->log.term ||
         sim->log.raft->machines[sim->log.leader].set != box->set)) {
        sim->log.leader = box->node;
        sim->log.term = term;
    }
    if (!is_leader && sim->log.leader == box->node)
        sim->log.leader = SIM_NODES;
}

/* R1: one leader in a term. */
static void check_leader(struct sim_box *box)
{
    const struct raft *raft = &box->seat.raft;
    uint8_t *led_by = &box->set->led_by[raft->current_term % SIM_TERMS];

    if (raft->state != RAFT_LEADER)
        return;
    if (*led_by != 0 && *led_by != box->voter->id)
        sim_fail(box->set->sim, SIM_SAFETY, "two leaders in term %lu",
                 (unsigned long)raft->current_term);
    *led_by = (uint8_t)box->voter->id;
}

/* Proposals */

static void on_outcome(void *ctx, uint64_t request, const struct ha_raft_outcome *outcome)
{
    struct sim_box *box = ctx;
    struct sim *sim = box->set->sim;
    struct ha_event event = sim_event_of(sim, box->node, HA_EVENT_PROPOSED);
    struct sim_asked **at = &box->asked;
    struct sim_asked *asked;

    while (*at != NULL && (*at)->ticket != request)
        at = &(*at)->next;
    if (*at == NULL) {
        sim_fail(sim, SIM_SAFETY, "a second outcome of one proposal");
        return;
    }
    asked = *at;
    *at = asked->next;
    event.u.proposed.code =
        outcome->result == HA_RAFT_COMMITTED ? HA_OK : HA_ETIMEDOUT; /* or not known */
    event.u.proposed.command = &asked->command;
    if (outcome->result == HA_RAFT_REFUSED)
        event.u.proposed.code = HA_ENOQUORUM;
    (void)sim_watcher_step(sim, box->node, &event);
    free(asked);
}

struct proposal {
    struct sim_box *box;
    struct sim_asked *asked;
    void *data;
    size_t size;
    int code;
};

static void hand_over(void *arg)
{
    struct proposal *p = arg;

    p->code = ha_seat_propose(&p->box->seat, p->data, p->size, p->asked->ticket);
    if (p->code != HA_OK)
        return;
    p->asked->next = p->box->asked;
    p->box->asked = p->asked;
    p->asked = NULL;
}

void sim_raft_ask(struct sim *sim, uint32_t node, const struct ha_command *command)
{
    struct proposal p = {.box = sim->log.raft->machines[node].box, .code = HA_ECLOSED};

    p.size = ha_command_size(command);
    p.data = malloc(p.size);
    p.asked = calloc(1, sizeof(*p.asked));
    assert(p.size > 0 && p.data != NULL && p.asked != NULL);
    if (ha_command_encode(command, p.data, p.size, &p.size, NULL) != HA_OK)
        sim_fail(sim, SIM_SAFETY, "a command cannot be encoded");
    p.asked->ticket = ++sim->log.raft->ticket;
    p.asked->command = *command;
    (void)sim_raft_run(sim, node, hand_over, &p);
    free(p.asked);
    free(p.data);
}

void sim_raft_forget_asked(struct sim_box *box)
{
    while (box->asked != NULL) {
        struct sim_asked *asked = box->asked;

        box->asked = asked->next;
        free(asked);
    }
}

/* The end of a process from inside */

static void on_fatal(void *ctx, int code, const char *why)
{
    sim_die(((struct sim_box *)ctx)->voter, code, why);
}

static void on_died(struct sim_voter *voter, int code, const char *why)
{
    struct sim_set *set = voter->world->arg;
    struct sim *sim = set->sim;
    uint32_t node = set->node_of[voter->id];

    sim_story(sim, "%s ends itself: %s", sim_node_name(sim, node), why);
    if (code != HA_EIO || !voter->had_disk_error)
        sim_fail(sim, SIM_SAFETY, "%s ends itself: %s", sim_node_name(sim, node), why);
    sim->watchers[node].leads = false;
    if (sim->log.leader == node)
        sim->log.leader = SIM_NODES;
    sim_fault_ended(sim, node);
}

struct ha_raft_hooks sim_raft_seat_hooks(struct sim_box *box)
{
    return (struct ha_raft_hooks){.ctx = box,
                                  .apply = on_apply,
                                  .snapshot = on_snapshot,
                                  .restore = on_restore,
                                  .role = on_role,
                                  .outcome = on_outcome,
                                  .fatal = on_fatal};
}

/* The world around it */

static struct sim_box *box_of(const struct sim_voter *voter)
{
    const struct sim_set *set = voter->world->arg;

    return set->sim->log.raft->machines[set->node_of[voter->id]].box;
}

static void on_turn(struct sim_voter *voter)
{
    struct sim_box *box = box_of(voter);
    struct ha_seat *seat = &box->seat;

    if (!seat->is_started || box->is_closed)
        return;
    do
        ha_seat_turn(seat);
    while (ha_seat_is_busy(seat));
    check_leader(box);
}

static void on_frame(struct sim_voter *voter, uint32_t from, enum ha_frame_type type,
                     const void *data, size_t size)
{
    struct sim_set *set = voter->world->arg;

    if (!ha_seat_frame(&box_of(voter)->seat, from, type, data, size))
        sim_fail(set->sim, SIM_SAFETY, "a malformed frame of type %d", (int)type);
}

int sim_raft_send(void *ctx, uint32_t peer, enum ha_frame_type type, const void *data, size_t size)
{
    return sim_send_frame(((struct sim_box *)ctx)->voter, peer, type, data, size);
}

/* One connection each way, in order: what is lost comes late or never. */
static bool on_route(struct sim_world *world, uint32_t from, uint32_t to, uint64_t *ret_at_us)
{
    const struct sim_set *set = world->arg;
    struct sim *sim = set->sim;
    uint32_t a = set->node_of[from], b = set->node_of[to];
    uint64_t at_us =
        sim->now_us + ha_prng_between(&sim->prng, 100, 1000 * sim->profile.delay_max_ms);

    if (a == SIM_NODES || b == SIM_NODES || !sim->reach[a][b])
        return false;
    if (!sim->quiet && ha_prng_chance(&sim->prng, sim->profile.loss_ppm)) {
        if (ha_prng_chance(&sim->prng, 500000))
            return false;
        at_us += RETRANSMIT_US;
    }
    if (at_us < sim->watchers[b].lags_until_us)
        at_us = sim->watchers[b].lags_until_us;
    *ret_at_us = at_us + SIM_BASE_US;
    return true;
}

static void on_violation(struct sim_world *world, const char *what, uint64_t number)
{
    const struct sim_set *set = world->arg;

    sim_fail(set->sim, SIM_SAFETY, "%s (%lu)", what, (unsigned long)number);
}

const struct sim_hooks sim_raft_world_hooks = {
    .turn = on_turn,
    .frame = on_frame,
    .died = on_died,
    .route = on_route,
    .violation = on_violation,
};
