/* What this watcher knows of the members by itself: nothing of it is replicated. */
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/core/watcher_parts.h"

#define READ_MAX_MS 200u /* after a standstill; a heartbeat, where that is shorter */

static void trade_places(struct ha_watched *watched, uint32_t a, uint32_t b)
{
    struct ha_watch *watch = watched->members[a];
    char name[HA_NAME_SIZE];

    memcpy(name, watched->names[a], HA_NAME_SIZE);
    memcpy(watched->names[a], watched->names[b], HA_NAME_SIZE);
    memcpy(watched->names[b], name, HA_NAME_SIZE);
    watched->members[a] = watched->members[b];
    watched->members[b] = watch;
}

/* Facts stay with the member they are about when the configuration moves it. */
static void realign(struct ha_watched *watched, const struct ha_service *service, uint64_t now_ms)
{
    const struct ha_service_config *config = &service->config;

    for (uint32_t i = 0; i < config->member_count; i++)
        for (uint32_t k = 0; k < HA_MEMBERS_MAX; k++)
            if (k != i && strcmp(watched->names[k], config->members[i].name) == 0)
                trade_places(watched, i, k);
    /* What is left over is free for those that are new. */
    for (uint32_t i = 0; i < HA_MEMBERS_MAX; i++) {
        const char *name = i < config->member_count ? config->members[i].name : "";

        if (strcmp(watched->names[i], name) == 0)
            continue;
        (void)ha_text_copy(watched->names[i], sizeof(watched->names[i]), name);
        if (i < config->member_count)
            *watched->members[i] = (struct ha_watch){.verdict_ms = now_ms};
    }
}

void ha_watched_realign_all(struct ha_watcher *w, uint64_t now_ms)
{
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
        if (w->cluster.services[i].used)
            realign(ha_watched_of(w, &w->cluster.services[i], now_ms), &w->cluster.services[i],
                    now_ms);
}

struct ha_watched *ha_watched_of(struct ha_watcher *w, const struct ha_service *service,
                                 uint64_t now_ms)
{
    uint32_t slot = service->id % HA_SERVICES_MAX;
    struct ha_watched *watched = &w->services[slot];

    if (watched->service == service->id)
        return watched;
    memset(watched, 0, sizeof(*watched));
    watched->service = service->id;
    watched->state_ms = now_ms;
    for (uint32_t i = 0; i < HA_MEMBERS_MAX; i++)
        watched->members[i] = &w->members[i][slot];
    realign(watched, service, now_ms);
    return watched;
}

const struct ha_watched *ha_watched_peek(const struct ha_watcher *w,
                                         const struct ha_service *service)
{
    const struct ha_watched *watched = &w->services[service->id % HA_SERVICES_MAX];

    return watched->service == service->id ? watched : NULL;
}

bool ha_watch_is_heard(const struct ha_watch *watch, const struct ha_service_config *config,
                       uint64_t now_ms)
{
    uint64_t limit_ms = config->down_after_ms;

    return watch->heard && now_ms - watch->heard_ms < limit_ms;
}

/* What the replicas say of their link to the member, through their own agents. */
static bool replicas_hear(const struct ha_watched *watched, const struct ha_service *service,
                          uint32_t primary, uint64_t now_ms)
{
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = watched->members[i];
        const struct ha_sample *sample = &watch->status.sample;
        uint64_t age_ms = now_ms - watch->told_ms + watch->status.answer_age_ms;

        if (watch->heard && watch->status.follows == service->members[primary].id &&
            sample->role == HA_ROLE_REPLICA && sample->link_up &&
            age_ms + sample->link_idle_ms < service->config.down_after_ms)
            return true;
    }
    return false;
}

struct ha_suspect ha_suspect_of(const struct ha_watcher *w, const struct ha_service *service,
                                uint32_t at, uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    bool primary = ha_state_is_open(service->state) && service->members[at].id == service->primary;

    return (struct ha_suspect){
        .has_agent = service->config.members[at].agent[0] != '\0',
        .is_primary = primary,
        .instance = service->instance,
        .lease_ran_out = primary && service->state != HA_STATE_OPENING && watched != NULL &&
                         watched->promise_epoch == service->epoch &&
                         now_ms >= watched->promise_until_ms,
        .replicas_hear = primary && watched != NULL && replicas_hear(watched, service, at, now_ms),
        .unread = w->woke_ms != 0 && now_ms - w->woke_ms < READ_MAX_MS &&
                  now_ms - w->woke_ms < service->config.heartbeat_ms,
    };
}

/* The agent's word is fresh, says that all is well, and our own last look agreed. */
static bool is_well(const struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                    uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    const struct ha_service_config *config = &service->config;
    const struct ha_watch *watch = watched == NULL ? NULL : watched->members[at];
    const struct ha_suspect suspect = ha_suspect_of(w, service, at, now_ms);

    return watch != NULL && suspect.has_agent && !suspect.lease_ran_out &&
           ha_watch_agent_counts(watch, &suspect, config, now_ms) &&
           now_ms - watch->heard_ms < 2 * (uint64_t)config->heartbeat_ms &&
           watch->status.process == HA_PROCESS_RUNNING &&
           watch->status.sample.answer == HA_ANSWER_OK && watch->status.sample.writable &&
           watch->status.answer_age_ms < 2 * (uint64_t)config->probe_ms && watch->probed &&
           watch->sample.answer == HA_ANSWER_OK && watch->verdict == HA_VERDICT_UP;
}

bool ha_watcher_wants_probe(const struct ha_watcher *w, uint32_t service, uint32_t member,
                            uint64_t probed_ms, uint64_t now_ms)
{
    const struct ha_service *found = ha_cluster_service_const(&w->cluster, service);
    int at = found == NULL ? -1 : ha_service_member_at(found, member);

    uint64_t rest_ms;

    if (at < 0)
        return true;
    rest_ms = HA_PROBE_REST * (uint64_t)found->config.probe_ms;
    if (found->state == HA_STATE_STEADY && rest_ms < HA_PROBE_REST_MS)
        rest_ms = HA_PROBE_REST_MS;
    return now_ms - probed_ms >= rest_ms || !is_well(w, found, (uint32_t)at, now_ms);
}
