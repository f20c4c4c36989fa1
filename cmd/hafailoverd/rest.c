#include "cmd/hafailoverd/rest.h"

#include "cmd/hafailoverd/pace.h"
#include "lib/core/watcher.h"

bool ha_rest_may(const struct ha_rest *rest, const struct ha_watcher *core, uint64_t now_ms)
{
    const struct ha_service *service = ha_cluster_service_const(&core->cluster, rest->service);
    const struct ha_watched *watched = &core->services[rest->service % HA_SERVICES_MAX];
    int at = service != NULL ? ha_service_member_at(service, rest->member) : -1;

    return at >= 0 && watched->service == rest->service && watched->members[at]->heard &&
           now_ms - watched->members[at]->heard_ms < service->config.down_after_ms / 2 &&
           now_ms - rest->probed_ms < ha_pace_rest_ms(rest->unanswered, service->config.probe_ms);
}
