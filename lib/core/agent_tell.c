/* What an agent says of a service in a heartbeat. */
#include <string.h>

#include "lib/core/agent_parts.h"

bool ha_held_is_settled(const struct ha_held *held)
{
    return held->epoch != HA_EPOCH_NONE && held->serving &&
           (held->settings.vip[0] == '\0' || held->vip_held);
}

void ha_held_tell(const struct ha_agent *a, const struct ha_held *held, uint64_t now_ms,
                  struct ha_effects *out)
{
    struct ha_status *status = &ha_effects_add(out, HA_EFFECT_HEARTBEAT)->u.status;
    uint64_t age_ms = held->sampled_ms == 0 ? UINT32_MAX : now_ms - held->sampled_ms;

    status->service = held->settings.service;
    status->member = held->settings.member;
    status->epoch = held->giving_up ? HA_EPOCH_NONE : held->epoch;
    status->given_up = held->given_up_told;
    status->epoch_seen = held->epoch_seen_durable;
    status->sealed = ha_held_is_sealed(held) ? held->sealed : HA_EPOCH_NONE;
    status->noteless = a->noteless;
    status->given_up_why = held->given_up_why;
    status->process = held->process;
    status->answer_age_ms = age_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)age_ms;
    status->sample = held->sample;
    for (uint32_t i = 0; i < held->settings.peer_count; i++)
        if (held->sample.upstream_port == held->settings.peers[i].port &&
            strcmp(held->sample.upstream_host, held->settings.peers[i].host) == 0)
            status->follows = held->settings.peers[i].id;
    status->gate = a->gate;
    status->gate_open = held->gate_until_ms > now_ms;
    status->gate_left_ms = status->gate_open ? (uint32_t)(held->gate_until_ms - now_ms) : 0;
    status->lease_left_ms =
        held->lease_until_ms > now_ms ? (uint32_t)(held->lease_until_ms - now_ms) : 0;
    status->vip_held = held->vip_held;
    status->settled = ha_held_is_settled(held);
    status->order = held->order.kind;
    status->order_epoch = held->order.epoch;
    status->result = held->result;
    status->sync_index =
        held->sync_epoch == held->epoch && held->sync_index_durable == held->sync_index
            ? held->sync_index
            : 0;
    ha_held_hold_tell(a, held, now_ms, status);
    memcpy(status->text, held->text, sizeof(status->text));
}

/* Durable, done, and nothing comes in: a database that was made to receive again proves nothing. */
bool ha_held_is_sealed(const struct ha_held *held)
{
    return held->sealed != HA_EPOCH_NONE && held->sealed_durable == held->sealed &&
           held->epoch_seen_durable >= held->sealed && held->seal_done && held->sampled &&
           !held->sample.link_up;
}
