#include "lib/wire/settings.h"

#include <assert.h>
#include <string.h>

static void fill(struct ha_settings *ret, const struct ha_service_config *service,
                 const struct ha_member_config *member)
{
    ret->engine = service->engine;
    ret->durability = service->durability;
    ret->on_quorum_loss = service->on_quorum_loss;
    ret->port = member->port;
    ret->vip_prefix = service->vip_prefix;
    ret->probe_ms = service->probe_ms;
    ret->heartbeat_ms = service->heartbeat_ms;
    ret->hang_after_ms = service->hang_after_ms;
    ret->lease_ms = service->lease_ms;
    ret->promote_deadline_ms = service->promote_deadline_ms;
    ret->rejoin_copy = service->rejoin_copy;
    ret->rewind_max_ms = service->rewind_max_ms;
    ret->copy_max_ms = service->copy_max_ms;
    ret->keep_tail_bytes = service->keep_tail_bytes;
    memcpy(ret->service_name, service->name, sizeof(ret->service_name));
    memcpy(ret->member_name, member->name, sizeof(ret->member_name));
    memcpy(ret->host, member->host, sizeof(ret->host));
    memcpy(ret->vip, service->vip, sizeof(ret->vip));
    memcpy(ret->vip_interface, service->vip_interface, sizeof(ret->vip_interface));
}

static void add_peer(struct ha_settings *ret, uint32_t id, const struct ha_member_config *member)
{
    assert(ret->peer_count < HA_MEMBERS_MAX);
    ret->peers[ret->peer_count].id = id;
    ret->peers[ret->peer_count].port = member->port;
    ret->peers[ret->peer_count].agent_port = member->agent_port;
    memcpy(ret->peers[ret->peer_count].name, member->name, sizeof(member->name));
    memcpy(ret->peers[ret->peer_count].agent, member->agent, sizeof(member->agent));
    memcpy(ret->peers[ret->peer_count].host, member->host, sizeof(member->host));
    ret->peer_count++;
}

void ha_settings_make(struct ha_settings *ret, const struct ha_service *service, uint32_t member,
                      uint64_t config_version)
{
    assert(member != HA_MEMBER_NONE);
    memset(ret, 0, sizeof(*ret)); /* padding too */
    ret->config_version = config_version;
    ret->member = member;
    ret->gone = true;
    if (service == NULL)
        return;
    ret->service = service->id;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        if (service->members[i].id == member) {
            ret->gone = false;
            fill(ret, &service->config, &service->config.members[i]);
        } else {
            add_peer(ret, service->members[i].id, &service->config.members[i]);
        }
    }
    if (ret->gone) {
        ret->peer_count = 0;
        memset(ret->peers, 0, sizeof(ret->peers));
    }
}
