/* The invariants of the design, section 11, held against true time after every event. */
#include <stdio.h>
#include <string.h>

#include "lib/core/failover.h"
#include "lib/wire/snapshot.h"
#include "tests/sim/sim.h"

/* Until the agent has looked, a flushed ruleset lets all out where nothing else is in force. Where
 * no kernel ends a lease, a database that was promoted too late is ended when that is seen; and
 * seals may have ended an epoch: then it is the acknowledgements that count. */
static bool is_excused(const struct sim *sim, uint32_t host)
{
    const struct sim_host *h = &sim->hosts[host];
    bool strict = sim->profile.durability == HA_DURABILITY_STRICT;

    if (h->gate.class == HA_GATE_NFT && h->gate.flushed)
        return true;
    if (h->gate.class == HA_GATE_PROCESS || h->gate.late)
        return strict || (h->gate.class == HA_GATE_PROCESS && h->db.run_id != h->served_run);
    return false;
}

static void check_one_writer(struct sim *sim)
{
    uint32_t first = SIM_MACHINES;

    if (sim->profile.gates_fail)
        return; /* then it is the acknowledgements that count */
    for (uint32_t h = 0; h < SIM_MACHINES; h++) {
        if (!sim_takes_writes(sim, h) || is_excused(sim, h))
            continue;
        if (first != SIM_MACHINES) {
            sim_fail(sim, SIM_SAFETY, "%s and %s both take writes",
                     sim_node_name(sim, SIM_WATCHERS_MAX + first),
                     sim_node_name(sim, SIM_WATCHERS_MAX + h));
            return;
        }
        first = h;
    }
}

static void check_one_address(struct sim *sim)
{
    uint32_t holders = 0;

    for (uint32_t h = 0; h < SIM_MACHINES; h++)
        holders += sim->hosts[h].vip && sim_gate_open(sim, h) && !is_excused(sim, h) &&
                   sim_clock_ms(sim, SIM_WATCHERS_MAX + h) < sim->hosts[h].vip_until_ms;
    if (holders > 1)
        sim_fail(sim, SIM_SAFETY, "%u hosts answer for the address", holders);
}

static const struct ha_service *service_of(const struct sim *sim, uint32_t watcher)
{
    const struct ha_watcher *brain = sim->watchers[watcher].brain;

    return brain == NULL ? NULL : ha_cluster_service_named(&brain->cluster, SIM_SERVICE_NAME);
}

/* Which epoch has opened, and whether what was acknowledged before was promised to be durable. */
static void watch_epochs(struct sim *sim, const struct ha_service *service, uint64_t index)
{
    if (service->open_epoch > sim->open_seen) {
        sim->excused = sim->excused || sim->alone || sim->loss_accepted;
        sim->loss_accepted = false;
    }
    if (service->open_epoch >= sim->open_seen && index >= sim->alone_index) {
        sim->alone = service->sync.alone;
        sim->alone_index = index;
    }
}

/* Whoever begins to serve holds all that clients were told is durable, unless the log said before
 * that this was not promised, or an operator accepted the loss; and whoever acknowledges in another
 * history than before, in the same epoch too. */
void sim_check_acked(struct sim *sim, uint32_t host, bool other_history)
{
    const struct sim_db *db = &sim->hosts[host].db;

    if (db->names_epoch <= sim->served && !other_history)
        return;
    if (db->names_epoch > sim->served) {
        sim->served = db->names_epoch;
        if (sim->excused)
            sim->acked_count = 0;
        sim->excused = false;
    }
    for (uint32_t i = 0; i < sim->acked_count; i++)
        if (!sim_pg_holds(db, &sim->acked[i]))
            sim_fail(sim, SIM_SAFETY,
                     "db%u serves epoch %lu from %lu without acknowledged writes up to %lu",
                     host + 1, (unsigned long)db->names_epoch, (unsigned long)db->position.offset,
                     (unsigned long)sim->acked[i].offset);
}

static uint32_t host_of(const struct ha_service *service, uint32_t member)
{
    int at = ha_service_member_at(service, member);

    return at < 0 ? SIM_HOSTS : (uint32_t)(service->config.members[at].agent[2] - '1');
}

/* How far the last open epoch was logged, whatever the core makes of it later. */
static void keep_known(struct sim *sim, const struct ha_service *service)
{
    const struct ha_position *now = &service->position;

    if (service->open_epoch == HA_EPOCH_NONE || now->lineage.count == 0)
        return;
    if (service->open_epoch > sim->known_epoch) {
        sim->known_before = sim->known;
        sim->known_epoch = service->open_epoch;
        sim->known = *now;
        sim->judged = false;
    } else if (service->open_epoch == sim->known_epoch && sim->known.lineage.count > 0 &&
               (now->lineage.steps[0].id != sim->known.lineage.steps[0].id ||
                now->offset > sim->known.offset)) {
        sim->known = *now;
        if (service->state == HA_STATE_STEADY &&
            host_of(service, service->open_member) != SIM_HOSTS)
            sim_fault_logged(sim, host_of(service, service->open_member));
    }
}

/* Whoever is about to serve lacks no more of the log's last position than may be lost. */
static void check_budget(struct sim *sim, const struct ha_service *service)
{
    const struct ha_position *before = &sim->known_before;
    uint32_t host = host_of(service, service->open_member);
    uint64_t reach;

    if (sim->judged || service->open_epoch != sim->known_epoch ||
        service->open_epoch != service->epoch)
        return;
    sim->judged = true;
    if (before->lineage.count == 0 || service->accept_loss || sim->loss_accepted ||
        sim->profile.budget == UINT64_MAX || host == SIM_HOSTS)
        return;
    reach = sim_shared(sim, &service->position, before);
    if (reach + sim->profile.budget < before->offset)
        sim_fail(sim, SIM_SAFETY,
                 "epoch %lu of db%u has %lu of %lu that were logged, %lu may be lost",
                 (unsigned long)service->open_epoch, host + 1, (unsigned long)reach,
                 (unsigned long)before->offset, (unsigned long)sim->profile.budget);
}

/* One epoch is meant for one member; nothing is promoted before what was open is fenced. */
static void check_plan(struct sim *sim, const struct ha_service *service)
{
    if (service->state != HA_STATE_PROMOTING)
        return;
    if (service->fence == HA_FENCE_NONE)
        sim_fail(sim, SIM_SAFETY, "epoch %lu is promoted while epoch %lu is not fenced",
                 (unsigned long)service->epoch, (unsigned long)service->open_epoch);
    if (service->epoch == sim->plan_epoch && service->primary != sim->plan_member)
        sim_fail(sim, SIM_SAFETY, "epoch %lu is given to members %u and %u",
                 (unsigned long)service->epoch, sim->plan_member, service->primary);
    if (service->epoch >= sim->plan_epoch) {
        sim->plan_epoch = service->epoch;
        sim->plan_member = service->primary;
    }
}

/* What the log calls fenced takes no writes any more, whether or not there is another already. */
static void check_fenced(struct sim *sim)
{
    if (sim->profile.gates_fail)
        return;
    for (uint32_t h = 0; h < SIM_MACHINES; h++)
        if (sim_takes_writes(sim, h) && sim->hosts[h].gate_epoch <= sim->fenced_epoch &&
            sim->hosts[h].gate_epoch != sim->hosts[h].sealed_epoch && !is_excused(sim, h))
            sim_fail(sim, SIM_SAFETY, "%s takes writes under epoch %lu, epoch %lu is fenced",
                     sim_node_name(sim, SIM_WATCHERS_MAX + h),
                     (unsigned long)sim->hosts[h].gate_epoch, (unsigned long)sim->fenced_epoch);
}

static void note_fence(struct sim *sim, const struct ha_service *service)
{
    bool closed = service->fence == HA_FENCE_REPORT || service->fence == HA_FENCE_EXPIRED ||
                  service->fence == HA_FENCE_COMMAND;

    if (closed && service->open_epoch > sim->fenced_epoch)
        sim->fenced_epoch = service->open_epoch;
    /* There it is the acknowledgements that count, also where the gate opens only now. */
    for (uint32_t h = 0; service->fence == HA_FENCE_SEALED && h < SIM_MACHINES; h++)
        if ((sim->hosts[h].gate_epoch == service->open_epoch ||
             host_of(service, service->open_member) == h) &&
            service->open_epoch > sim->hosts[h].sealed_epoch) /* a watcher may be behind */
            sim->hosts[h].sealed_epoch = service->open_epoch;
}

static void check_service(struct sim *sim, const struct ha_service *service, uint64_t index,
                          uint32_t node)
{
    if (service->epoch > sim->epoch_seen) {
        sim->epoch_seen = service->epoch;
        if (service->state == HA_STATE_FENCING)
            sim_fault_fencing(sim);
    }
    if (service->epoch < sim->watchers[node].epoch_seen)
        sim_fail(sim, SIM_SAFETY, "%s: the epoch went back from %lu to %lu",
                 sim_node_name(sim, node), (unsigned long)sim->watchers[node].epoch_seen,
                 (unsigned long)service->epoch);
    sim->watchers[node].epoch_seen = service->epoch;
    note_fence(sim, service);
    if (service->open_epoch > sim->open_seen) {
        sim->failovers++;
        sim_fault_opened(sim, host_of(service, service->open_member));
    }
    if (sim->profile.durability != HA_DURABILITY_ASYNC)
        watch_epochs(sim, service, index);
    if (service->open_epoch > sim->open_seen)
        sim->open_seen = service->open_epoch;
    if (ha_state_is_open(service->state) && service->fence != HA_FENCE_NONE)
        sim_fail(sim, SIM_SAFETY, "%s: epoch %lu is open and fenced", sim_node_name(sim, node),
                 (unsigned long)service->epoch);
    if (index < sim->index_checked)
        return;
    if (service->id != sim->known_service) {
        sim->known = sim->known_before = (struct ha_position){0};
        if (service->epoch <= sim->epoch_last)
            sim_fail(sim, SIM_SAFETY,
                     "a service that was made anew begins with epoch %lu, not above %lu",
                     (unsigned long)service->epoch, (unsigned long)sim->epoch_last);
    }
    sim->epoch_last = service->epoch;
    check_plan(sim, service);
    keep_known(sim, service);
    check_budget(sim, service);
    sim->known_service = service->id;
    if (sim->profile.budget != UINT64_MAX && ha_state_is_open(service->state) &&
        !service->accept_loss)
        sim->loss_accepted = false;
}

static void check_digest(struct sim *sim, uint32_t node)
{
    const struct ha_cluster *cluster = &sim->watchers[node].brain->cluster;
    uint64_t digest = 0;

    /* What cannot be written ends every watcher at its next snapshot, and is not digested. */
    if (cluster->index != sim->index_digest[0] && ha_snapshot_size(cluster) == 0)
        sim_fail(sim, SIM_SAFETY, "%s: no snapshot can be made of index %lu",
                 sim_node_name(sim, node), (unsigned long)cluster->index);
    digest = ha_snapshot_digest(cluster);
    if (cluster->index == sim->index_digest[0] && digest != sim->index_digest[1])
        sim_fail(sim, SIM_SAFETY, "equal index %lu, other digest on %s",
                 (unsigned long)cluster->index, sim_node_name(sim, node));
    sim->index_digest[0] = cluster->index;
    sim->index_digest[1] = digest;
}

/* After each event only what it has changed is looked at: a watcher that applied an entry. */
static void check_state(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        struct sim_watcher *watcher = &sim->watchers[i];
        const struct ha_service *service;

        if (!sim->nodes[i].alive || watcher->brain->cluster.index == watcher->index_seen)
            continue;
        service = service_of(sim, i);
        watcher->index_seen = watcher->brain->cluster.index;
        if (service != NULL)
            check_service(sim, service, watcher->index_seen, i);
        else
            watcher->epoch_seen = 0;
        if (watcher->index_seen % 8 == 0)
            check_digest(sim, i);
        if (watcher->index_seen > sim->index_checked)
            sim->index_checked = watcher->index_seen;
    }
}

void sim_check_order(struct sim *sim, const struct ha_order *order)
{
    if (order->kind != HA_ORDER_PROMOTE)
        return;
    if (order->epoch == sim->ordered_epoch && order->member != sim->ordered_member)
        sim_fail(sim, SIM_SAFETY, "members %u and %u are ordered to take epoch %lu",
                 sim->ordered_member, order->member, (unsigned long)order->epoch);
    sim->ordered_epoch = order->epoch;
    sim->ordered_member = order->member;
}

/* Most data first: nobody who is fit has more than who is chosen. */
void sim_check_entry(struct sim *sim, uint32_t node, const struct ha_command *command)
{
    const struct ha_command_promote *c = &command->u.promote;
    const struct ha_service *service = service_of(sim, node);
    uint64_t most = 0, chosen = 0;

    /* A first epoch goes to the member that is primary already; what comes late is refused. */
    if (command->kind != HA_COMMAND_PROMOTE || service == NULL ||
        service->open_epoch == HA_EPOCH_NONE || c->ref.epoch != service->epoch ||
        ha_state_is_open(service->state))
        return;
    for (uint32_t i = 0; i < c->fit_count; i++) {
        if (c->fits[i].fitness == HA_FIT_RANKED_LOWER && c->fits[i].offset > most)
            most = c->fits[i].offset;
        if (c->fits[i].member == c->member)
            chosen = c->fits[i].offset;
    }
    if (most > chosen && sim->profile.durability == HA_DURABILITY_ASYNC)
        sim_fail(sim, SIM_SAFETY, "member %u with %lu bytes is chosen before one with %lu",
                 c->member, (unsigned long)chosen, (unsigned long)most);
}

void sim_check_notice(struct sim *sim, uint64_t seq, uint64_t dropped)
{
    if (seq > sim->told_last + 1 && sim->told_last != 0 && dropped == 0)
        sim_fail(sim, SIM_SAFETY, "notice %lu comes after %lu", (unsigned long)seq,
                 (unsigned long)sim->told_last);
    if (seq > sim->told_last)
        sim->told_last = seq;
}

void sim_check_promise(struct sim *sim, uint32_t watcher, const struct ha_promise *promise)
{
    struct sim_watcher *w = &sim->watchers[watcher];
    const struct ha_service *service = service_of(sim, watcher);
    uint64_t now_ms = sim_clock_ms(sim, watcher);
    bool excused = service != NULL && service->prev_epoch == w->promised_epoch &&
                   service->prev_fence == HA_FENCE_REPORT;

    /* One that was made anew begins above what was fenced of the last. */
    excused = excused || w->promised_service != promise->service;
    if (w->promised_epoch != promise->epoch && now_ms < w->promised_until_ms && !excused)
        sim_fail(sim, SIM_SAFETY, "w%u promises epoch %lu over an unexpired promise of %lu",
                 watcher + 1, (unsigned long)promise->epoch, (unsigned long)w->promised_epoch);
    if (w->promised_epoch == promise->epoch && w->promised_instance != promise->instance)
        sim_fail(sim, SIM_SAFETY, "w%u promises epoch %lu to two instances", watcher + 1,
                 (unsigned long)promise->epoch);
    if (promise->length_ms > w->promise_durable_ms)
        sim_fail(sim, SIM_SAFETY, "w%u promises longer than it noted", watcher + 1);
    if (w->promised_service != promise->service || w->promised_epoch != promise->epoch)
        w->promised_until_ms = 0;
    w->promised_service = promise->service;
    w->promised_epoch = promise->epoch;
    w->promised_instance = promise->instance;
    if (now_ms + promise->length_ms > w->promised_until_ms)
        w->promised_until_ms = now_ms + promise->length_ms;
}

void sim_check(struct sim *sim)
{
    check_one_writer(sim);
    check_one_address(sim);
    check_state(sim);
    check_fenced(sim);
}

/* The watcher that knows most. */
static uint32_t best_watcher(const struct sim *sim)
{
    uint32_t best = SIM_NODES;

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->watchers[i].voter && sim_runs(sim, i) &&
            (best == SIM_NODES || sim->watchers[i].applied > sim->watchers[best].applied))
            best = i;
    return best;
}

static const char *what_lacks(const struct sim *sim, const struct ha_service *service,
                              const struct ha_cluster *cluster)
{
    uint32_t writers = 0;

    for (uint32_t h = 0; h < SIM_MACHINES; h++)
        writers += sim_takes_writes(sim, h) ? 1 : 0;
    if (service->state != HA_STATE_STEADY || writers == 0)
        return "is not served";
    if (writers > 1)
        return "is served twice";
    if (service->paused || service->config.member_count != SIM_HOSTS)
        return "was not calmed";
    if (sim->profile.durability != HA_DURABILITY_ASYNC &&
        (!service->sync.in_force || service->sync.count != 1 || service->sync.alone))
        return "has no set in force";
    if (sim->profile.durability != HA_DURABILITY_ASYNC && sim->now_us - sim->acked_us > 5000000)
        return "acknowledges no writes";
    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        if (!sim_takes_writes(sim, h) && !sim->hosts[h].db.link_up)
            return "has a member that does not follow";
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->watchers[i].voter && !sim_runs(sim, i))
            return "lacks a watcher";
    if (cluster->notice_count != 0)
        return "has notices that nobody took";
    if (ha_cluster_is_settling(cluster))
        return "has a set of watchers that is not settled";
    return sim->log.kind->lacks(sim);
}

bool sim_is_well(struct sim *sim, char why[256])
{
    uint32_t best = best_watcher(sim);
    const struct ha_service *service = best == SIM_NODES ? NULL : service_of(sim, best);
    const char *lacks;

    if (service == NULL) {
        (void)snprintf(why, 256, "no service, or nobody who knows it");
        return false;
    }
    lacks = what_lacks(sim, service, &sim->watchers[best].brain->cluster);
    if (lacks == NULL)
        return true;
    (void)snprintf(why, 256, "the service %s: state %s, epoch %lu", lacks,
                   ha_state_text(service->state), (unsigned long)service->epoch);
    return false;
}
