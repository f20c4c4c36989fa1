/* Most services are well most of the time, and then only the passing of time can change what is to
 * be done about them: the tick leaves them alone until it could. Whatever happens to a service is
 * considered at once, as ever; a service in any doubt is looked at with every tick. */
#include "lib/core/watcher_parts.h"

enum {
    LOOK_MS = 500,   /* between looks at what is well: readiness, positions for the log */
    QUIET_MS = 1000, /* after an order; twice what it takes until one is repeated */
};

/* Its agent says that all is well, and so does the log. */
static bool member_is_calm(const struct ha_watcher *w, const struct ha_service *service,
                           const struct ha_watched *watched, uint32_t at, uint64_t now_ms)
{
    const struct ha_service_config *config = &service->config;
    const struct ha_watch *watch = watched->members[at];
    const struct ha_suspect suspect = ha_suspect_of(w, service, at, now_ms);

    if (!suspect.has_agent || !ha_watch_agent_counts(watch, &suspect, config, now_ms) ||
        watch->verdict != HA_VERDICT_UP || watch->status.process != HA_PROCESS_RUNNING ||
        watch->status.sample.answer != HA_ANSWER_OK || !watch->status.sample.writable)
        return false;
    /* One that does not replicate gets some time for it, and then an order. */
    if (service->members[at].id != service->primary && !watch->status.sample.link_up)
        return false;
    if (watch->order != HA_ORDER_NONE && now_ms - watch->ordered_ms < QUIET_MS)
        return false;
    /* Opinions of watchers that are not heard may come to count, or not to count any more. */
    for (uint32_t i = 0; i < w->cluster.watcher_count; i++)
        if (service->members[at].verdicts[i] != HA_VERDICT_UP &&
            (i == w->self || service->members[at].verdicts[i] != HA_VERDICT_UNKNOWN))
            return false;
    return true;
}

static bool primary_is_calm(const struct ha_service *service, const struct ha_watched *watched)
{
    int at = ha_service_member_at(service, service->primary);
    const struct ha_status *status;

    if (at < 0)
        return false;
    status = &watched->members[at]->status;
    return status->epoch == service->epoch && status->given_up < service->epoch &&
           status->settled && status->gate == service->open_gate;
}

uint64_t ha_calm_until(const struct ha_watcher *w, const struct ha_service *service,
                       uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    /* At the turn of a period, so that what many services have for the log shares an entry. */
    uint64_t until_ms = (now_ms / LOOK_MS + 1) * LOOK_MS;

    if (watched == NULL || w->self >= w->cluster.watcher_count ||
        service->state != HA_STATE_STEADY || service->deleting || service->paused ||
        service->config.durability != HA_DURABILITY_ASYNC || watched->proposed_ms != 0 ||
        watched->noticed_wall_ms != 0 || watched->ready_since_ms != 0 ||
        !primary_is_calm(service, watched) || !ha_hold_is_calm(w, service))
        return 0;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        uint64_t silent_ms = watched->members[i]->heard_ms + service->config.down_after_ms;

        if (!member_is_calm(w, service, watched, i, now_ms))
            return 0;
        if (silent_ms < until_ms)
            until_ms = silent_ms;
    }
    return until_ms;
}

static void sooner(uint64_t *next_ms, uint64_t since_ms, uint64_t limit_ms, uint64_t now_ms)
{
    if (since_ms != 0 && since_ms + limit_ms > now_ms && since_ms + limit_ms < *next_ms)
        *next_ms = since_ms + limit_ms;
}

uint64_t ha_calm_next(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    const struct ha_service_config *config = &service->config;
    uint64_t next_ms = UINT64_MAX;
    int at = ha_service_member_at(service, service->primary);

    if (watched == NULL)
        return next_ms;
    if (w->leader)
        sooner(&next_ms, ha_decide_expiry_ms(w, service), 0, now_ms);
    if (at < 0)
        return next_ms;
    sooner(&next_ms, watched->promise_until_ms, 0, now_ms);
    sooner(&next_ms, watched->members[at]->heard_ms, config->down_after_ms, now_ms);
    sooner(&next_ms, watched->members[at]->answered_ms, config->down_after_ms, now_ms);
    sooner(&next_ms, watched->members[at]->refused_since_ms, config->refused_confirm_ms, now_ms);
    return next_ms;
}
