/* How far the primary is and which history it writes, for the log: what a failover compares the
 * candidates with. */
#include "lib/core/watcher_parts.h"

enum {
    NAME_MS = 100,            /* between entries that name the history a primary writes */
    POSITION_MS = 10000,      /* between entries that only say how far a primary is */
    POSITION_STEP = 1 << 20,  /* bytes of progress that are worth an entry earlier */
    POSITION_IDLE_MS = 60000, /* the same when it is next to nothing: an idle primary's pings */
    POSITION_IDLE = 1 << 10,
};

/* Of the proposals of this step, one of positions with room for another; NULL: none. */
static struct ha_command_positions *positions_batch(struct ha_effects *out)
{
    for (uint32_t i = out->count; i > 0; i--) {
        struct ha_effect *effect = &out->items[i - 1];

        if (effect->kind == HA_EFFECT_PROPOSE && effect->u.command.kind == HA_COMMAND_POSITIONS &&
            effect->u.command.u.positions.count < HA_POSITIONS_MAX)
            return &effect->u.command.u.positions;
    }
    return NULL;
}

/* At the turn of each period by the leader's clock: so those of many services share an entry. */
static bool is_turn(uint64_t period_ms, uint64_t last_ms, uint64_t now_ms)
{
    return now_ms / period_ms != last_ms / period_ms;
}

static bool position_is_due(const struct ha_watched *watched,
                            const struct ha_service_config *config, uint64_t progress,
                            uint64_t now_ms)
{
    /* Where few bytes decide who may succeed, few bytes are worth an entry. */
    bool exact =
        config->durability != HA_DURABILITY_ASYNC || config->loss_budget_bytes < POSITION_IDLE;

    if (progress >= POSITION_STEP)
        return is_turn(POSITION_MS / 10, watched->position_ms, now_ms);
    return is_turn(exact || progress >= POSITION_IDLE ? POSITION_MS : POSITION_IDLE_MS,
                   watched->position_ms, now_ms);
}

/* The furthest of those who replicate from the primary, while the log knows no history or one that
 * nobody has received: Redis gives it another name when the first replica comes, and the primary's
 * own sample may be older than that. What they have is the primary's; NULL: nobody has any. */
static const struct ha_position *received(const struct ha_watcher *w,
                                          const struct ha_service *service, uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    const struct ha_position *best = NULL;

    if (watched == NULL || (service->position.lineage.count > 0 && service->position.offset > 0))
        return NULL;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = watched->members[i];
        const struct ha_sample *sample = &watch->status.sample;

        if (service->members[i].id == service->primary ||
            !ha_watch_is_heard(watch, &service->config, now_ms) || sample->answer != HA_ANSWER_OK ||
            sample->role != HA_ROLE_REPLICA || !sample->link_up ||
            watch->status.follows != service->primary || sample->position.lineage.count == 0)
            continue;
        if (sample->position.offset > (best == NULL ? 0 : best->offset))
            best = &sample->position;
    }
    return best;
}

bool ha_position_is_named(const struct ha_watcher *w, const struct ha_service *service,
                          uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->primary);

    if (service->position.lineage.count > 0 || at < 0 || watched == NULL)
        return true;
    return watched->members[at]->status.sample.position.lineage.count == 0 &&
           received(w, service, now_ms) == NULL;
}

void ha_position_log(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     bool at_once, struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    int at = ha_service_member_at(service, service->primary);
    const struct ha_position *position = received(w, service, now_ms), *own;
    struct ha_command_positions *batch;
    uint64_t progress;

    if (at < 0)
        return;
    /* Only of the process that holds the epoch: one that has started anew claims none. */
    own = &watched->members[at]->status.sample.position;
    if (watched->members[at]->instance == service->instance &&
        watched->members[at]->status.epoch == service->epoch &&
        (position == NULL || own->offset >= position->offset))
        position = own;
    if (position == NULL || position->lineage.count == 0)
        return;
    if (position->offset < service->position.offset)
        return;
    progress = position->offset - service->position.offset;
    /* Its first data, or its history has got another name (Redis does that when the first replica
     * comes): those who follow it would look like strays until the log knows. */
    if (service->position.lineage.count == 0 ||
        service->position.lineage.steps[0].id != position->lineage.steps[0].id)
        at_once = at_once || now_ms - watched->position_ms >= NAME_MS;
    else if (progress == 0)
        return;
    if (!at_once && !position_is_due(watched, &service->config, progress, now_ms))
        return;
    watched->position_ms = now_ms;
    batch = at_once ? NULL : positions_batch(out);
    if (batch == NULL) {
        struct ha_command *command = &ha_effects_add(out, HA_EFFECT_PROPOSE)->u.command;

        command->kind = HA_COMMAND_POSITIONS;
        command->wall_ms = w->wall_ms;
        batch = &command->u.positions;
        batch->count = 0;
    }
    batch->items[batch->count++] =
        (struct ha_command_position){.ref = ha_decide_ref(service), .position = *position};
}
