/* Disks that are not what they were: cloned, gone back, emptied; and when such a host may be on. */
#include "tests/sim/sim.h"

void sim_image_take(struct sim *sim, uint32_t host)
{
    struct sim_host *h = &sim->hosts[host];

    h->image = (struct sim_image){.taken = true,
                                  .epochs_known = h->epochs_known,
                                  .memory = h->memory,
                                  .memory_of = h->memory_of,
                                  .epochs = h->epochs,
                                  .db = h->db};
}

void sim_image_use(struct sim *sim, uint32_t host, const struct sim_image *image)
{
    struct sim_host *h = &sim->hosts[host];

    h->epochs_known = image->epochs_known;
    h->epochs = image->epochs;
    h->memory = image->memory;
    h->memory_of = image->memory_of;
    h->db = image->db;
    h->db.alive = h->db.hung = h->db.link_up = h->db.copying = false;
    h->db.misrouted_us = 0;
    h->note_count = 0;
}

void sim_image_forget(struct sim *sim, uint32_t host)
{
    struct sim_host *h = &sim->hosts[host];

    h->forgot = true;
    h->epochs_known = false;
    h->epochs = (struct ha_effect_epochs){0};
    h->memory = h->memory_of = 0;
    h->note_count = 0;
}

/* A seal is only as good as the disk it is noted on until the lease of what it ends is over, also
 * while nothing serves under it: a database may still be started there. */
bool sim_leans_on_seals(const struct sim *sim)
{
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        const struct sim_host *host = &sim->hosts[h];
        bool lets_out =
            host->gate.class == HA_GATE_PROCESS ? sim_takes_writes(sim, h) : sim_gate_open(sim, h);

        if (lets_out && host->gate_epoch != HA_EPOCH_NONE && host->gate_epoch < sim->epoch_seen)
            return sim->profile.durability == HA_DURABILITY_STRICT;
    }
    return false;
}

/* What a primary acknowledged and its disk has lost, nobody else can know. But a disk from when it
 * was a replica, with nothing of the history that it last acknowledged in, shows that it is not the
 * one. */
bool sim_may_go_back(const struct sim *sim, uint32_t host)
{
    const struct sim_host *h = &sim->hosts[host];
    const struct ha_lineage *lineage = &h->image.db.position.lineage;
    bool unknown = h->image.db.role != HA_ROLE_REPLICA || h->acked_in == 0;

    for (uint32_t i = 0; i < lineage->count; i++)
        unknown = unknown || lineage->steps[i].id == h->acked_in;
    return sim->profile.durability == HA_DURABILITY_ASYNC || host != sim->holder || !unknown;
}

/* Safety.md leaves it to people that a disk which has forgotten a seal does not come back under it.
 */
bool sim_is_kept_off(const struct sim *sim, uint32_t host)
{
    return sim->hosts[host].forgot && sim_leans_on_seals(sim);
}

/* Safety.md leaves it to people that of two members, where agents may keep a lease, none is cloned.
 */
bool sim_may_be_cloned(const struct sim *sim)
{
    const struct ha_config *newest = sim->configs[sim->config_count - 1];
    bool two = newest->services[0].member_count < SIM_HOSTS;

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        for (uint32_t s = 0; sim_runs(sim, i) && s < HA_SERVICES_MAX; s++) {
            const struct ha_service *service = &sim->watchers[i].brain->cluster.services[s];

            two = two || (service->used && service->config.member_count < SIM_HOSTS);
        }
    return !sim->profile.hold || !two;
}
