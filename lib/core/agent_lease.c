/* What this host holds for an epoch, and how that ends: the lease that promises of watchers add up
 * to, the gate and the virtual IP that follow it, and the word that it was given up for good. */
#include <string.h>

#include "lib/core/agent_parts.h"
#include "lib/core/sync.h"

enum {
    VIP_REFRESH_MS = 500, /* or half of what is left, */
    VIP_FLOOR_MS = 50,    /* but not at every moment of a lease that runs out */
    VIP_AGAIN_MS = 1000,  /* between tries while another host answers for it */
};

/* The majority-th largest end of the promises of one set; 0 where there is no majority. */
static uint64_t end_of_set(const struct ha_held *held, uint64_t set_id, uint32_t set_size)
{
    uint64_t ends[HA_WATCHERS_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < HA_WATCHERS_MAX; i++) {
        uint64_t end_ms = held->granted[i].until_ms;
        uint32_t at = count;

        if (end_ms == 0 || held->granted[i].set_id != set_id)
            continue;
        for (; at > 0 && ends[at - 1] < end_ms; at--)
            ends[at] = ends[at - 1];
        ends[at] = end_ms;
        count++;
    }
    return count < set_size / 2 + 1 ? 0 : ends[set_size / 2];
}

uint64_t ha_held_lease_end_ms(const struct ha_held *held)
{
    uint64_t latest_ms = held->kept_end_ms;

    /* Promises of different sets never add up; what an older set once gave is no obstacle. */
    for (uint32_t i = 0; i < HA_WATCHERS_MAX; i++) {
        const struct ha_granted *granted = &held->granted[i];
        uint64_t end_ms =
            granted->until_ms == 0 ? 0 : end_of_set(held, granted->set_id, granted->set_size);

        if (end_ms > latest_ms)
            latest_ms = end_ms;
    }
    return latest_ms;
}

/* Gate, notes, address */

void ha_held_set_gate(struct ha_held *held, uint64_t deadline_ms, bool reset_clients,
                      struct ha_effects *out)
{
    struct ha_effect *effect = ha_effects_add(out, HA_EFFECT_GATE);

    held->gate_until_ms = deadline_ms;
    held->gate_closed = false;
    held->gate_number++;
    held->unsaid = held->unsaid || (deadline_ms == 0 && out->overflowed);
    effect->u.gate = (struct ha_effect_gate){.service = held->settings.service,
                                             .port = held->settings.port,
                                             .deadline_ms = deadline_ms,
                                             .number = held->gate_number,
                                             .reset_clients = reset_clients};
}

void ha_held_close_gate(struct ha_held *held, struct ha_effects *out)
{
    /* Clients of a primary are sent away; a replica on its way to be primary keeps its own. */
    bool reset_clients = held->serving || held->giving_up;

    held->serving = false;
    ha_held_set_gate(held, 0, reset_clients, out);
}

void ha_held_persist(struct ha_held *held, struct ha_effects *out)
{
    struct ha_effect *effect = ha_effects_add(out, HA_EFFECT_PERSIST_EPOCHS);

    held->unsaid = held->unsaid || out->overflowed;
    effect->u.epochs = (struct ha_effect_epochs){
        .service = held->settings.service,
        .epoch_seen = held->epoch_seen,
        .given_up = held->given_up,
        .given_up_why = held->given_up_why,
        .serving_epoch = held->serving_epoch,
        .serving_run = held->serving_run,
        .sealed = held->sealed,
        .sync_epoch = held->sync_epoch,
        .sync_index = held->sync_index,
        .hold = held->hold.terms,
    };
    memcpy(effect->u.epochs.service_name, held->settings.service_name,
           sizeof(effect->u.epochs.service_name));
}

void ha_held_probe(const struct ha_held *held, struct ha_effects *out)
{
    ha_effects_add(out, HA_EFFECT_PROBE)->u.service = held->settings.service;
}

void ha_held_release_vip(struct ha_held *held, struct ha_effects *out)
{
    if (held->settings.vip[0] == '\0')
        return;
    held->vip_wanted = false;
    ha_effects_add(out, HA_EFFECT_VIP_RELEASE)->u.vip.service = held->settings.service;
}

/* Giving up */

void ha_held_give_up(struct ha_held *held, uint64_t epoch, enum ha_verdict why,
                     struct ha_effects *out)
{
    if (epoch == HA_EPOCH_NONE || epoch <= held->given_up)
        return;
    held->given_up = epoch;
    held->given_up_why = why;
    if (held->epoch_seen < epoch)
        held->epoch_seen = epoch;
    held->giving_up = true;
    held->serving_epoch = HA_EPOCH_NONE;
    held->serving_run = 0;
    held->lease_until_ms = 0;
    memset(held->granted, 0, sizeof(held->granted));
    held->kept_end_ms = 0;
    ha_held_hold_clear(held);
    /* The disk is at work while the gate closes; the report waits for both. */
    ha_held_persist(held, out);
    ha_held_close_gate(held, out);
    ha_held_release_vip(held, out);
}

void ha_held_finish_give_up(struct ha_held *held)
{
    if (!held->giving_up || !held->gate_closed || held->given_up_durable < held->given_up)
        return;
    held->giving_up = false;
    held->given_up_told = held->given_up;
    ha_held_drained(held); /* one word: earlier it would look like a crash under the switchover */
    if (held->epoch <= held->given_up)
        held->epoch = HA_EPOCH_NONE;
    held->beat_now = true;
}

/* Serving */

bool ha_held_is_same_process(const struct ha_held *held)
{
    return held->process == HA_PROCESS_RUNNING && held->verified_start == held->pid_start &&
           held->pid_start != 0;
}

bool ha_held_names_are_set(const struct ha_held *held)
{
    return !ha_sync_is_managed(held->settings.engine, held->settings.durability) || held->serving ||
           held->sync_epoch == held->epoch;
}

/* Whether this host may act as the primary of its epoch, lease apart. */
static bool is_fit_to_serve(const struct ha_held *held)
{
    return held->epoch != HA_EPOCH_NONE && !held->giving_up && held->epoch > held->given_up &&
           held->epoch_seen_durable >= held->epoch && ha_held_is_same_process(held) &&
           ha_held_names_are_set(held) && held->sample.role == HA_ROLE_PRIMARY;
}

static void keep_vip(struct ha_held *held, uint64_t now_ms, struct ha_effects *out)
{
    const uint32_t valid_ms = (uint32_t)(held->lease_until_ms - now_ms);
    uint32_t again_ms = valid_ms / 2 < VIP_REFRESH_MS ? valid_ms / 2 : VIP_REFRESH_MS;
    struct ha_effect *effect;

    if (held->settings.vip[0] == '\0')
        return;
    if (held->vip_wanted && now_ms < held->vip_refresh_ms)
        return;
    effect = ha_effects_add(out, HA_EFFECT_VIP_CLAIM);
    effect->u.vip = (struct ha_effect_vip){
        .service = held->settings.service,
        .probe_first = !held->vip_held && !held->order.vip_free,
        .valid_ms = valid_ms,
    };
    held->vip_wanted = true;
    /* Whoever holds the lease is the address's only rightful host: it is kept in spite of another
     * that answers, and one that could not be had is asked for again. */
    if (again_ms < VIP_FLOOR_MS)
        again_ms = VIP_FLOOR_MS;
    if (held->vip_conflict && !held->vip_held)
        again_ms = VIP_AGAIN_MS;
    held->vip_refresh_ms = now_ms + again_ms;
}

void ha_held_hold_lease(struct ha_held *held, uint64_t now_ms, struct ha_effects *out)
{
    uint64_t end_ms =
        is_fit_to_serve(held) ? ha_held_hold_rest(held, ha_held_lease_end_ms(held), now_ms) : 0;

    held->lease_until_ms = end_ms;
    if (end_ms > now_ms) {
        if (end_ms != held->gate_until_ms)
            ha_held_set_gate(held, end_ms, false, out);
        if (!held->serving)
            held->beat_now = true;
        held->serving = true;
        held->resumed_ms = 0;
        keep_vip(held, now_ms, out);
        return;
    }
    if (!held->serving)
        return;
    /* The kernel has closed the gate at that instant; this says so and cleans up behind it. */
    ha_held_close_gate(held, out);
    ha_held_release_vip(held, out);
    held->beat_now = true;
}

void ha_held_promised(const struct ha_agent *a, struct ha_held *held,
                      const struct ha_event_promise *event, uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_promise *promise = event->promise;
    struct ha_granted *granted;
    uint64_t until_ms = promise->stamp + promise->length_ms;

    if (event->watcher >= HA_WATCHERS_MAX || promise->instance != a->instance ||
        promise->epoch != held->epoch || held->giving_up)
        return;
    if (promise->stamp > now_ms || promise->length_ms > HA_LEASE_MAX_MS || promise->set_size == 0 ||
        promise->set_size > HA_WATCHERS_MAX)
        return; /* no answer to anything we sent */
    granted = &held->granted[event->watcher];
    if (granted->set_id == promise->set_id && granted->until_ms >= until_ms)
        return;
    /* A majority of the set before gave that much, and knows it, whatever comes now. */
    if (granted->set_id != promise->set_id)
        held->kept_end_ms = ha_held_lease_end_ms(held);
    *granted = (struct ha_granted){promise->set_id, promise->set_size, until_ms};
    ha_held_hold_lease(held, now_ms, out);
}
