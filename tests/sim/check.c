/* The invariants of the design, section 11, held against true time after every event. */
#include <stdio.h>
#include <string.h>

#include "lib/core/failover.h"
#include "lib/wire/snapshot.h"
#include "tests/sim/sim.h"

static void check_one_writer(struct sim *sim)
{
    uint32_t first = SIM_HOSTS;

    if (sim->profile.gates_fail)
        return; /* then it is the acknowledgements that count */
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        if (!sim_takes_writes(sim, h))
            continue;
        if (first != SIM_HOSTS) {
            sim_fail(sim, SIM_SAFETY, "db%u and db%u both take writes", first + 1, h + 1);
            return;
        }
        first = h;
    }
}

static void check_one_address(struct sim *sim)
{
    uint32_t holders = 0;

    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        holders += sim->hosts[h].vip && sim_gate_open(sim, h) &&
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
        sim->open_seen = service->open_epoch;
        sim->excused = sim->excused || sim->alone || sim->loss_accepted;
        sim->loss_accepted = false;
    }
    if (service->open_epoch == sim->open_seen && index >= sim->alone_index) {
        sim->alone = service->sync.alone;
        sim->alone_index = index;
    }
}

/* Whoever begins to serve holds all that clients were told is durable, unless the log said before
 * that this was not promised, or an operator accepted the loss. */
void sim_check_acked(struct sim *sim, uint32_t host)
{
    const struct sim_db *db = &sim->hosts[host].db;

    if (db->names_epoch <= sim->served)
        return;
    sim->served = db->names_epoch;
    if (sim->excused)
        sim->acked_count = 0;
    sim->excused = false;
    for (uint32_t i = 0; i < sim->acked_count; i++)
        if (!sim_pg_holds(db, &sim->acked[i]))
            sim_fail(sim, SIM_SAFETY,
                     "db%u serves epoch %lu from %lu without acknowledged writes up to %lu",
                     host + 1, (unsigned long)db->names_epoch, (unsigned long)db->position.offset,
                     (unsigned long)sim->acked[i].offset);
}

static void check_state(struct sim *sim)
{
    uint64_t index = 0, digest = 0;

    for (uint32_t i = 0; i < sim->profile.watchers; i++) {
        const struct ha_cluster *cluster = &sim->watchers[i].brain->cluster;
        const struct ha_service *service = service_of(sim, i);

        if (!sim->nodes[i].alive)
            continue;
        if (service != NULL && service->epoch > sim->epoch_seen)
            sim->epoch_seen = service->epoch;
        if (service != NULL && sim->profile.durability != HA_DURABILITY_ASYNC)
            watch_epochs(sim, service, cluster->index);
        if (service != NULL && ha_state_is_open(service->state) && service->fence != HA_FENCE_NONE)
            sim_fail(sim, SIM_SAFETY, "w%u: epoch %lu is open and fenced", i + 1,
                     (unsigned long)service->epoch);
        if (index == 0) {
            index = cluster->index;
            continue;
        }
        if (cluster->index != index || index == sim->index_digest[0])
            continue;
        for (uint32_t k = 0; digest == 0 && k < i; k++)
            if (sim->nodes[k].alive && sim->watchers[k].brain->cluster.index == index)
                digest = ha_snapshot_digest(&sim->watchers[k].brain->cluster);
        /* What cannot be written ends every watcher at its next snapshot, and is not digested. */
        if (digest != 0 && ha_snapshot_size(cluster) == 0)
            sim_fail(sim, SIM_SAFETY, "w%u: no snapshot can be made of index %lu", i + 1,
                     (unsigned long)index);
        if (digest != 0 && ha_snapshot_digest(cluster) != digest)
            sim_fail(sim, SIM_SAFETY, "equal index %lu, other digest on w%u", (unsigned long)index,
                     i + 1);
        sim->index_digest[0] = index;
    }
}

void sim_check_promise(struct sim *sim, uint32_t watcher, const struct ha_promise *promise)
{
    struct sim_watcher *w = &sim->watchers[watcher];
    const struct ha_service *service = service_of(sim, watcher);
    uint64_t now_ms = sim_clock_ms(sim, watcher);
    bool excused = service != NULL && service->prev_epoch == w->promised_epoch &&
                   service->prev_fence == HA_FENCE_REPORT;

    if (w->promised_epoch != promise->epoch && now_ms < w->promised_until_ms && !excused)
        sim_fail(sim, SIM_SAFETY, "w%u promises epoch %lu over an unexpired promise of %lu",
                 watcher + 1, (unsigned long)promise->epoch, (unsigned long)w->promised_epoch);
    if (w->promised_epoch == promise->epoch && w->promised_instance != promise->instance)
        sim_fail(sim, SIM_SAFETY, "w%u promises epoch %lu to two instances", watcher + 1,
                 (unsigned long)promise->epoch);
    if (promise->length_ms > w->promise_durable_ms)
        sim_fail(sim, SIM_SAFETY, "w%u promises longer than it noted", watcher + 1);
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
}

bool sim_is_well(struct sim *sim, char why[256])
{
    const struct ha_service *service = service_of(sim, 0);
    uint32_t writers = 0;

    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        writers += sim_takes_writes(sim, h) ? 1 : 0;
    if (service != NULL && sim->profile.durability != HA_DURABILITY_ASYNC &&
        (!service->sync.in_force || service->sync.count != 1 || service->sync.alone)) {
        (void)snprintf(why, 256, "state %s, no set in force, of %u intended",
                       ha_state_text(service->state), service->sync.count);
        return false;
    }
    if (service != NULL && service->state == HA_STATE_STEADY && writers == 1) {
        for (uint32_t h = 0; h < SIM_HOSTS; h++)
            if (!sim_takes_writes(sim, h) && !sim->hosts[h].db.link_up) {
                (void)snprintf(why, 256, "db%u does not follow", h + 1);
                return false;
            }
        return true;
    }
    (void)snprintf(why, 256, "%u writers, state %s epoch %lu", writers,
                   service == NULL ? "none" : ha_state_text(service->state),
                   service == NULL ? 0 : (unsigned long)service->epoch);
    return false;
}
