/* Orders are not stored: each follows from the replicated state and is said again until the agent's
 * heartbeat shows that it is done. So a new leader needs no memory, and a lost frame no retry
 * logic. */
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/core/sync.h"
#include "lib/core/watcher_parts.h"

enum {
    RESEND_MS = 500,
    REPORT_MS = 50,
    RELINK_MS = 500, /* a replica's own time to connect again to where it should */
};

static void send(struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                 const struct ha_order *order, uint64_t now_ms, struct ha_effects *out)
{
    struct ha_watch *watch = ha_watched_of(w, service, now_ms)->members[at];
    struct ha_effect *effect;

    if (watch->order == order->kind && watch->order_epoch == order->epoch &&
        now_ms - watch->ordered_ms < (order->kind == HA_ORDER_REPORT ? REPORT_MS : RESEND_MS))
        return;
    watch->order = order->kind;
    watch->order_epoch = order->epoch;
    watch->ordered_ms = now_ms;
    effect = ha_effects_add(out, HA_EFFECT_ORDER);
    effect->u.order.order = *order;
    effect->u.order.order.service = service->id;
    effect->u.order.order.member = service->members[at].id;
    effect->u.order.order.index = w->cluster.index;
    (void)ha_text_copy(effect->u.order.agent, sizeof(effect->u.order.agent),
                       service->config.members[at].agent);
}

static bool is_done(const struct ha_watch *watch, enum ha_order_kind kind, uint64_t epoch)
{
    return watch->status.order == kind && watch->status.order_epoch == epoch &&
           (watch->status.result == HA_RESULT_DONE || watch->status.result == HA_RESULT_RUNNING);
}

static void order_fence(struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                        uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_status *status = &ha_watched_of(w, service, now_ms)->members[at]->status;
    bool drained = status->order == HA_ORDER_DRAIN && status->order_epoch == service->epoch &&
                   status->result == HA_RESULT_FAILED;
    /* A drain that failed ends in a fence; the old primary then gets the next epoch again. */
    const struct ha_order order = {
        .kind =
            service->reason == HA_REASON_SWITCHOVER && !drained ? HA_ORDER_DRAIN : HA_ORDER_FENCE,
        .epoch = service->epoch,
        .instance = service->open_instance,
    };

    send(w, service, at, &order, now_ms, out);
}

static uint32_t min_replicas_of(const struct ha_service *service)
{
    if (service->config.durability == HA_DURABILITY_ASYNC)
        return 0;
    return service->config.member_count > 1 ? 1 : 0;
}

/* What the agents' promises of the epoch that ended bind; before the first one there were none. */
static void bind_promises(const struct ha_service *service, struct ha_order *order)
{
    order->hold_free = service->fence == HA_FENCE_REPORT || service->fence == HA_FENCE_NEVER_OPENED;
    order->hold_ms = ha_cluster_hold_ms(service);
}

static void order_primary(struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                          uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_watch *watch = ha_watched_of(w, service, now_ms)->members[at];
    enum ha_order_kind kind =
        service->state == HA_STATE_PROMOTING ? HA_ORDER_PROMOTE : HA_ORDER_SERVE;
    struct ha_order order = {
        .kind = kind,
        .epoch = service->epoch,
        .instance = service->instance,
        .vip_free =
            (kind == HA_ORDER_PROMOTE ? service->fence : service->prev_fence) == HA_FENCE_REPORT,
        .min_replicas = min_replicas_of(service),
    };

    if (watch->instance != service->instance)
        return;
    if (kind == HA_ORDER_SERVE && !ha_standby_order(service, &order))
        return; /* the set is in the log before anybody is told of it */
    if (kind == HA_ORDER_PROMOTE)
        bind_promises(service, &order);
    if (is_done(watch, kind, service->epoch) &&
        (kind != HA_ORDER_SERVE || watch->status.result == HA_RESULT_RUNNING ||
         ha_standby_is_told(service, watch)) &&
        (kind == HA_ORDER_PROMOTE || !ha_hold_order(service, watch, &order)))
        return;
    send(w, service, at, &order, now_ms, out);
}

/* The member a replica should follow: its own choice while that one is a replica in order. */
static int upstream_of(const struct ha_watched *watched, const struct ha_service *service,
                       uint32_t at, uint64_t now_ms)
{
    const char *follow = service->config.members[at].follow;
    uint32_t id = follow[0] == '\0' ? HA_MEMBER_NONE : ha_service_member_named(service, follow);
    int via = ha_service_member_at(service, id);

    if (via >= 0 && via != (int)at && id != service->primary) {
        const struct ha_status *status = &watched->members[via]->status;

        /* Of one that has gone the last word stays. */
        if (watched->members[via]->heard &&
            now_ms - watched->members[via]->heard_ms < service->config.down_after_ms &&
            status->process != HA_PROCESS_GONE && status->sample.answer == HA_ANSWER_OK &&
            status->follows == service->primary && status->sample.link_up)
            return via;
    }
    return ha_service_member_at(service, service->primary);
}

/* Whether it follows @upstream, or does what it can: while the primary does not serve there is
 * nothing to connect to, and an order would only keep its agent busy when it is needed most. That
 * its primary is gone is often heard from the replica first; where its name in the set of standbys
 * goes with the order, it is told at once all the same. */
static bool follows(const struct ha_watch *watch, const struct ha_service_config *config,
                    uint32_t upstream, bool is_served, uint64_t now_ms)
{
    const struct ha_sample *sample = &watch->status.sample;
    bool relinks = !ha_sync_is_managed(config->engine, config->durability) &&
                   now_ms - watch->unlinked_ms < RELINK_MS;

    return sample->role == HA_ROLE_REPLICA && watch->status.follows == upstream &&
           (!is_served || relinks || sample->link_up || sample->copying ||
            sample->answer == HA_ANSWER_STARTING);
}

/* Members that are busy with a full copy: `parallel_syncs` bounds them. */
static uint32_t copying(const struct ha_watched *watched, const struct ha_service *service)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < service->config.member_count; i++)
        if (watched->members[i]->heard && watched->members[i]->status.sample.copying)
            count++;
    return count;
}

static bool needs_copy(const struct ha_watch *watch, const struct ha_service *service)
{
    uint64_t offset;

    return ha_kinship_of(&watch->status.sample.position, &service->position.lineage, &offset) !=
           HA_KIN_SAME;
}

static void order_replica(struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                          uint64_t now_ms, struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    const struct ha_watch *watch = watched->members[at];
    int upstream = upstream_of(watched, service, at, now_ms);
    int lead = ha_service_member_at(service, service->primary);
    bool is_served = lead >= 0 && watched->members[lead]->status.epoch == service->epoch &&
                     watched->members[lead]->status.gate_open &&
                     now_ms - watched->members[lead]->heard_ms < service->config.down_after_ms;
    bool is_gone = watch->status.process == HA_PROCESS_GONE, is_named;
    struct ha_order order = {.kind = HA_ORDER_FOLLOW, .epoch = service->epoch, .full_copy = true};

    /* While it opens, from its own word on that it has: whoever waits for a replica's word waits
     * for no entry of the log, and behind a closed gate there is nothing to connect to. In async
     * nobody waits, and the gate opens before the slots are there. */
    if (upstream < 0 || (is_gone && !watch->status.sample.starts) ||
        (service->state == HA_STATE_OPENING &&
         (!is_served || service->config.durability == HA_DURABILITY_ASYNC)))
        return;
    order.upstream = service->members[upstream].id;
    /* A primary that was promoted anew finds standbys under the name of the epoch before. */
    is_named =
        !is_served || !watch->status.sample.link_up || ha_standby_is_named(service, at, watch);
    if (!is_gone && is_named && follows(watch, &service->config, order.upstream, is_served, now_ms))
        return;
    if (needs_copy(watch, service) && copying(watched, service) >= service->config.parallel_syncs)
        return;
    order.upstream_port = service->config.members[upstream].port;
    memcpy(order.upstream_host, service->config.members[upstream].host,
           sizeof(order.upstream_host));
    send(w, service, at, &order, now_ms, out);
}

/* Where nobody runs that could be promoted: a database that its agent can start tells its position,
 * and may become the candidate. */
static void order_standby(struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                          uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_status *status = &ha_watched_of(w, service, now_ms)->members[at]->status;
    const struct ha_order order = {.kind = HA_ORDER_FOLLOW, .epoch = service->epoch};

    if (status->process == HA_PROCESS_GONE && status->sample.starts)
        send(w, service, at, &order, now_ms, out);
}

/* A new service waits until all its members are heard, which may take seconds where there are many
 * new ones; who has told its position meanwhile has nothing to add, since nobody writes yet. */
static bool has_told(const struct ha_watched *watched, const struct ha_service *service,
                     uint32_t at)
{
    return service->open_epoch == HA_EPOCH_NONE && service->state == HA_STATE_SELECTING &&
           watched->members[at]->position_ms >= watched->state_ms;
}

void ha_order_report(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out)
{
    const struct ha_order order = {.kind = HA_ORDER_REPORT, .epoch = service->epoch};
    const struct ha_watched *watched = ha_watched_of(w, service, now_ms);

    for (uint32_t i = 0; i < service->config.member_count; i++)
        if (watched->members[i]->heard && !has_told(watched, service, i) &&
            !ha_proof_seals(service, watched->members[i], i))
            send(w, service, i, &order, now_ms, out);
}

void ha_order_all(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                  struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        uint32_t id = service->members[i].id;
        bool restarts = service->state == HA_STATE_SELECTING && id == service->open_member &&
                        ha_select_restarts(w, service);

        if (!watched->members[i]->heard)
            continue;
        if (service->state == HA_STATE_FENCING && id == service->open_member)
            order_fence(w, service, i, now_ms, out);
        else if (!restarts && ha_proof_seals(service, watched->members[i], i))
            send(w, service, i, &(struct ha_order){.kind = HA_ORDER_SEAL, .epoch = service->epoch},
                 now_ms, out);
        else if (!restarts && ha_hold_releases(service, watched->members[i], i))
            send(w, service, i,
                 &(struct ha_order){.kind = HA_ORDER_RELEASE, .epoch = service->epoch}, now_ms,
                 out);
        else if (restarts || service->state == HA_STATE_NO_CANDIDATE ||
                 (service->state == HA_STATE_SELECTING && service->open_epoch == HA_EPOCH_NONE))
            order_standby(w, service, i, now_ms, out);
        else if (id == service->primary)
            order_primary(w, service, i, now_ms, out);
        else if (ha_state_is_open(service->state))
            order_replica(w, service, i, now_ms, out);
    }
}
