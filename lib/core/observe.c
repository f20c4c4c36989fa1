/* This watcher's verdicts about the members, until the log has them. */
#include "lib/core/watcher_parts.h"

enum {
    AGAIN_MS = 1000,
    QUICK_MS = 50, /* while a leader is being elected: it was lost with the last one */
    QUICK_TRIES = 20,
};

static void judge(struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                  uint64_t now_ms)
{
    struct ha_watch *watch = ha_watched_of(w, service, now_ms)->members[at];
    const struct ha_suspect suspect = ha_suspect_of(w, service, at, now_ms);
    enum ha_verdict verdict = ha_detect(watch, &suspect, &service->config, now_ms);

    if (verdict == watch->verdict)
        return;
    watch->verdict = verdict;
    watch->verdict_ms = now_ms;
    watch->proposed_ms = 0;
    watch->refusals = 0;
}

/* Whether the log still has another verdict of this watcher than the one it holds now. */
static bool wants_telling(const struct ha_watcher *w, const struct ha_service *service,
                          const struct ha_watch *watch, uint32_t at, uint64_t now_ms)
{
    if (watch->verdict == HA_VERDICT_UNKNOWN ||
        service->members[at].verdicts[w->self] == watch->verdict)
        return false;
    return watch->proposed_ms == 0 ||
           now_ms - watch->proposed_ms >=
               (watch->refusals > 0 && watch->refusals <= QUICK_TRIES ? QUICK_MS : AGAIN_MS);
}

static struct ha_command_observe *observe_batch(struct ha_watcher *w, struct ha_effects *out)
{
    struct ha_effect *last = out->count == 0 ? NULL : &out->items[out->count - 1];

    if (last == NULL || last->kind != HA_EFFECT_PROPOSE ||
        last->u.command.kind != HA_COMMAND_OBSERVE ||
        last->u.command.u.observe.count == HA_OBSERVE_MAX) {
        last = ha_effects_add(out, HA_EFFECT_PROPOSE);
        last->u.command.kind = HA_COMMAND_OBSERVE;
        last->u.command.wall_ms = w->wall_ms;
        last->u.command.u.observe.watcher = w->self;
    }
    return &last->u.command.u.observe;
}

void ha_observe_tell(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out)
{
    if (w->self >= w->cluster.watcher_count)
        return;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        struct ha_watch *watch = ha_watched_of(w, service, now_ms)->members[i];
        struct ha_command_observe *observe;

        judge(w, service, i, now_ms);
        if (!wants_telling(w, service, watch, i, now_ms))
            continue;
        watch->proposed_ms = now_ms;
        observe = observe_batch(w, out);
        observe->items[observe->count++] = (struct ha_observation){
            .service = service->id, .member = service->members[i].id, .verdict = watch->verdict};
    }
}

void ha_observe_refused(struct ha_watcher *w, const struct ha_command_observe *observe)
{
    for (uint32_t i = 0; i < observe->count; i++) {
        const struct ha_observation *item = &observe->items[i];
        const struct ha_service *service = ha_cluster_service_const(&w->cluster, item->service);
        int at = service == NULL ? -1 : ha_service_member_at(service, item->member);
        struct ha_watched *watched = &w->services[item->service % HA_SERVICES_MAX];

        if (at < 0 || watched->service != item->service ||
            watched->members[at]->verdict != item->verdict)
            continue;
        watched->members[at]->refusals++;
        w->due_ms[item->service % HA_SERVICES_MAX] = 0;
    }
}
