/* Readiness is told before the day it is needed: as a notice when it has changed for good, not for
 * each probe that was missed. What was told is in the log, so a new leader does not tell it anew.
 */
#include "lib/base/text.h"
#include "lib/core/view.h"
#include "lib/core/watcher_parts.h"

enum {
    LOOK_MS = 500,    /* between looks: one costs as much as a choice of a candidate */
    SETTLE_MS = 3000, /* it must differ for that long */
    SAY_MS = 1000,    /* between proposals of the same */
};

void ha_ready_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    struct ha_command *command;
    char text[HA_TEXT_SIZE];
    bool ready;

    /* A failover under way tells its own story. */
    if (service->deleting ||
        (service->state != HA_STATE_STEADY && service->state != HA_STATE_REPOINTING)) {
        watched->ready_since_ms = 0;
        return;
    }
    if (now_ms - watched->ready_looked_ms < LOOK_MS)
        return;
    watched->ready_looked_ms = now_ms;
    ready = ha_view_ready(w, service, now_ms, text);
    if (ready != service->not_ready) {
        watched->ready_since_ms = 0;
        return;
    }
    if (watched->ready_since_ms == 0)
        watched->ready_since_ms = now_ms;
    if (now_ms - watched->ready_since_ms < SETTLE_MS || now_ms - watched->ready_said_ms < SAY_MS)
        return;
    watched->ready_said_ms = now_ms;
    command = &ha_effects_add(out, HA_EFFECT_PROPOSE)->u.command;
    command->kind = HA_COMMAND_READY;
    command->wall_ms = w->wall_ms;
    command->u.ready.service = service->id;
    command->u.ready.ready = ready;
    if (!ready)
        (void)ha_text_copy(command->u.ready.text, sizeof(command->u.ready.text), text);
}

/* Whether the link to a watcher has been as it is for long enough to be told. */
static bool is_settled(const struct ha_watcher *w, uint32_t watcher, uint64_t now_ms)
{
    uint64_t since_ms = w->peer_since_ms[watcher];

    if (since_ms < w->leader_ms)
        since_ms = w->leader_ms;
    return now_ms - since_ms >= SETTLE_MS;
}

void ha_ready_unheard(struct ha_watcher *w, uint64_t now_ms, struct ha_effects *out)
{
    uint32_t unheard = w->cluster.watchers_down;
    struct ha_command *command;

    if (!w->leader || w->self >= w->cluster.watcher_count)
        return;
    for (uint32_t i = 0; i < w->cluster.watcher_count; i++) {
        if (i == w->self || !is_settled(w, i, now_ms))
            continue;
        unheard = w->peer_heard[i] ? unheard & ~(1u << i) : unheard | 1u << i;
    }
    unheard &= ~(1u << w->self);
    if (unheard == w->cluster.watchers_down || now_ms - w->unheard_said_ms < SAY_MS)
        return;
    w->unheard_said_ms = now_ms;
    command = &ha_effects_add(out, HA_EFFECT_PROPOSE)->u.command;
    command->kind = HA_COMMAND_UNHEARD;
    command->wall_ms = w->wall_ms;
    command->u.unheard.set_id = w->cluster.set_id;
    command->u.unheard.watchers = unheard;
}
