/* Path 3 of taking a lease back (design, 6.2): a command that ends the old primary's host, by
 * power, hypervisor or cloud. It is harsh, so the quieter paths come first where they can. */
#include <assert.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/watcher_parts.h"

enum {
    AGAIN_MS = 10000, /* from a failure to the next try */
    GRACE_MS = 500,   /* for the words and entries of the quieter paths, beyond their own times */
};

/* Whether the holder can still say by itself that its gate is closed. */
static bool may_report(const struct ha_watched *watched, const struct ha_service *service, int at,
                       uint64_t now_ms)
{
    const struct ha_watch *watch = watched->members[at];

    return watch->heard && now_ms - watch->heard_ms < service->config.down_after_ms;
}

/* How long the report and the end of the lease may take before the command is due. */
static uint64_t patience_ms(const struct ha_watched *watched, const struct ha_service *service,
                            int at, uint64_t now_ms)
{
    uint64_t lease_ms = service->open_lease_ms + ha_drift_ms(service->open_lease_ms);

    if (!ha_service_expiry_counts(service))
        return may_report(watched, service, at, now_ms) ? lease_ms : 0;
    return lease_ms + ha_service_gate_slack_ms(service) + GRACE_MS;
}

/* Whether a host may be ended for this: not to move a primary that works, nor for a service that
 * nobody wants any more, nor while people asked to leave all as it is. */
static bool is_wanted(const struct ha_service *service)
{
    if (service->config.fence[0] == '\0' || service->deleting ||
        service->reason == HA_REASON_SWITCHOVER)
        return false;
    return !service->paused || service->reason == HA_REASON_OPERATOR;
}

static void propose_fenced(struct ha_watcher *w, const struct ha_service *service,
                           struct ha_watched *watched, uint64_t now_ms, struct ha_effects *out)
{
    struct ha_command *command = ha_decide_propose(w, service, HA_COMMAND_FENCED, now_ms, out);

    command->u.fenced = (struct ha_command_fenced){
        .ref = ha_decide_ref(service),
        .how = HA_FENCE_COMMAND,
        .waited_ms = (uint32_t)(now_ms - watched->state_ms),
    };
    (void)ha_text_copy(command->u.fenced.text, sizeof(command->u.fenced.text), watched->fence.text);
}

void ha_fence_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    struct ha_fence_run *run = &watched->fence;
    int at = ha_service_member_at(service, service->open_member);
    struct ha_effect *effect;

    assert(w->leader && service->state == HA_STATE_FENCING);
    if (run->epoch == service->epoch) {
        if (!run->running && run->code == HA_OK)
            propose_fenced(w, service, watched, now_ms, out);
        if (run->running || run->code == HA_OK || now_ms - run->since_ms < AGAIN_MS)
            return;
    }
    if (at < 0 || !is_wanted(service) ||
        now_ms - watched->state_ms < patience_ms(watched, service, at, now_ms))
        return;
    effect = ha_effects_add(out, HA_EFFECT_FENCE_COMMAND);
    if (out->overflowed)
        return; /* did not fit: at the next tick */
    effect->u.fence = (struct ha_effect_fence){
        .service = service->id, .epoch = service->epoch, .member = service->open_member};
    (void)ha_text_copy(effect->u.fence.name, sizeof(effect->u.fence.name), service->config.fence);
    *run = (struct ha_fence_run){.epoch = service->epoch, .since_ms = now_ms, .running = true};
}

bool ha_fence_answered(struct ha_watcher *w, const struct ha_service *service,
                       const struct ha_event_fence_command *answer, uint64_t now_ms)
{
    struct ha_fence_run *run = &ha_watched_of(w, service, now_ms)->fence;

    /* The same epoch is the same host: who opened it cannot change before it is fenced. */
    if (!w->leader || service->state != HA_STATE_FENCING || !run->running ||
        run->epoch != service->epoch || answer->epoch != service->epoch)
        return false;
    run->running = false;
    run->since_ms = now_ms;
    run->code = answer->code;
    (void)ha_text_format(run->text, sizeof(run->text), "%s", answer->text);
    return true;
}
