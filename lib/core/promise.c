/* The watcher's side of leases: design, sections 6.1 to 6.3. */
#include <assert.h>

#include "lib/core/watcher_parts.h"

/* "One promise": the next epoch is promised over an unexpired one only where the log shows that the
 * promise is void: its own instance reported, or its epoch never opened. */
static bool is_free(const struct ha_watcher *w, const struct ha_watched *watched,
                    const struct ha_service *service, uint64_t now_ms)
{
    /* Promises of the last run are not remembered: any of them may still stand. */
    if (now_ms < w->blind_until_ms)
        return false;
    if (watched->promise_epoch == service->epoch || now_ms >= watched->promise_until_ms)
        return true;
    return watched->promise_epoch == service->prev_epoch && service->prev_fence == HA_FENCE_REPORT;
}

/* Until the set before has settled its promises may stand, also of an epoch that seals ended, for
 * which nobody waited. A majority that leaves out whoever is new shares a watcher with that set's,
 * and "One promise" holds there. Whoever is new also speaks in the log before it promises: from
 * then on it cannot join once more, and have forgotten what it promised. */
static bool may_add(const struct ha_watcher *w)
{
    return ha_cluster_was_before(&w->cluster, w->self) ||
           (!ha_cluster_is_settling(&w->cluster) && ha_cluster_has_spoken(&w->cluster, w->self));
}

bool ha_watcher_is_ready(const struct ha_watcher *w, uint64_t now_ms)
{
    bool sits = w->cluster.set_id != 0 && w->self < w->cluster.watcher_count;

    return w->caught_up && now_ms >= w->blind_until_ms && (!sits || may_add(w));
}

static void ask_for_note(struct ha_watcher *w, uint32_t length_ms, struct ha_effects *out)
{
    if (w->promise_asked_ms >= length_ms)
        return;
    ha_effects_add(out, HA_EFFECT_PERSIST_PROMISE)->u.persist_ms = length_ms;
    if (!out->overflowed) /* else with the next heartbeat */
        w->promise_asked_ms = length_ms;
}

void ha_promise_answer(struct ha_watcher *w, const struct ha_service *service,
                       const struct ha_claim *claim, uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_status *status = claim->status;
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    uint32_t length_ms = service->config.lease_ms;
    struct ha_effect *effect;
    uint64_t until_ms;

    if (!w->caught_up || w->cluster.set_id == 0 || w->self >= w->cluster.watcher_count ||
        !may_add(w))
        return;
    if (!ha_service_may_promise(service, status->member, status->epoch, claim->instance))
        return;
    if (status->given_up >= status->epoch || !is_free(w, watched, service, now_ms))
        return;
    /* The longest promise that may be outstanding is on disk before the first such promise. */
    if (length_ms > w->promise_durable_ms) {
        ask_for_note(w, length_ms, out);
        length_ms = w->promise_durable_ms;
    }
    if (length_ms == 0)
        return;
    until_ms = now_ms + length_ms + ha_drift_ms(length_ms);
    if (watched->promise_epoch != service->epoch) {
        watched->promise_epoch = service->epoch;
        watched->promise_until_ms = 0;
    }
    watched->promise_instance = claim->instance;
    if (until_ms > watched->promise_until_ms)
        watched->promise_until_ms = until_ms;
    effect = ha_effects_add(out, HA_EFFECT_PROMISE);
    effect->u.promise = (struct ha_promise){
        .service = service->id,
        .epoch = service->epoch,
        .instance = claim->instance,
        .stamp = claim->stamp,
        .set_id = w->cluster.set_id,
        .set_size = w->cluster.watcher_count,
        .length_ms = length_ms,
    };
}

uint32_t ha_promise_remainder_ms(const struct ha_watcher *w, const struct ha_service *service,
                                 uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    uint64_t until_ms = w->blind_until_ms;

    if (watched != NULL && watched->promise_until_ms > until_ms)
        until_ms = watched->promise_until_ms;
    return until_ms > now_ms ? (uint32_t)(until_ms - now_ms) : 0;
}

void ha_promise_stopped(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                        struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    struct ha_effect *effect;

    assert(service->state == HA_STATE_FENCING);
    if (watched->stopped_said_ms != 0 && now_ms - watched->stopped_said_ms < 100)
        return;
    watched->stopped_said_ms = now_ms;
    effect = ha_effects_add(out, HA_EFFECT_STOPPED);
    effect->u.stopped = (struct ha_stopped){
        .set_id = w->cluster.set_id,
        .service = service->id,
        .epoch = service->epoch,
        .remainder_ms = ha_promise_remainder_ms(w, service, now_ms),
    };
}

void ha_promise_moved(struct ha_watcher *w, uint64_t now_ms, struct ha_effects *out)
{
    uint64_t until_ms =
        w->moved_until_ms > w->blind_until_ms ? w->moved_until_ms : w->blind_until_ms;
    struct ha_effect *effect;

    if (w->self >= w->cluster.watcher_count ||
        (w->moved_said_ms != 0 && now_ms - w->moved_said_ms < 500))
        return;
    w->moved_said_ms = now_ms;
    effect = ha_effects_add(out, HA_EFFECT_STOPPED);
    effect->u.stopped = (struct ha_stopped){
        .set_id = w->cluster.set_id,
        .remainder_ms = until_ms > now_ms ? (uint32_t)(until_ms - now_ms) : 0,
    };
}
