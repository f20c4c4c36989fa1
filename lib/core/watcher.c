#include "lib/core/watcher.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/core/failover.h"
#include "lib/core/watcher_parts.h"

enum {
    TICK_MS = 20,
    STILL_MS = 200,  /* without even a tick: this process did not run */
    RAN_MS = 250,    /* between standstills that count, longer than what is read in (watched.c):
                      * one that hardly ever runs has its say all the same */
    AGAIN_MS = 1000, /* between proposals about the set of watchers */
};

void ha_watcher_init(struct ha_watcher *w, const struct ha_watcher_options *options)
{
    memset(w, 0, sizeof(*w));
    ha_watcher_init_zeroed(w, options);
}

void ha_watcher_init_zeroed(struct ha_watcher *w, const struct ha_watcher_options *options)
{
    w->options = *options;
    w->self = HA_WATCHERS_MAX;
    w->promise_durable_ms = options->promise_max_ms;
    w->promise_asked_ms = options->promise_max_ms;
    w->next_tick_ms = options->now_ms;
    if (options->promise_max_ms > 0)
        w->blind_until_ms =
            options->now_ms + options->promise_max_ms + ha_drift_ms(options->promise_max_ms);
}

/* The next tick is then, at the latest. */
static void wake_by(struct ha_watcher *w, uint64_t at_ms)
{
    if (at_ms < w->next_tick_ms)
        w->next_tick_ms = at_ms;
}

/* Everything that may follow for one service after something about it has changed. */
static void consider(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out)
{
    uint32_t count = out->count;

    if (service->state == HA_STATE_FENCING)
        ha_promise_stopped(w, service, now_ms, out);
    ha_decide(w, service, now_ms, out);
    if (w->leader) {
        ha_order_all(w, service, now_ms, out);
        ha_ready_decide(w, service, now_ms, out);
        ha_diverged_decide(w, service, now_ms, out);
    }
    /* Last in line for the log: what a holder says of itself needs nobody's opinion. */
    ha_observe_tell(w, service, now_ms, out);
    w->due_ms[service->id % HA_SERVICES_MAX] =
        out->count != count || out->overflowed ? 0 : ha_calm_until(w, service, now_ms);
    wake_by(w, ha_calm_next(w, service, now_ms));
}

/* Something that concerns all services has changed. */
static void look_at_all(struct ha_watcher *w)
{
    memset(w->due_ms, 0, sizeof(w->due_ms));
}

/* "Who": while the instance in the log is heard, no other one speaks for the primary. */
static bool is_usurper(const struct ha_service *service, const struct ha_watch *watch,
                       const struct ha_heartbeat *heartbeat, uint64_t now_ms)
{
    return ha_state_is_open(service->state) && heartbeat->status.member == service->primary &&
           heartbeat->instance != service->instance && watch->heard &&
           watch->instance == service->instance &&
           now_ms - watch->heard_ms < service->config.down_after_ms;
}

/* Events */

/* After a replacement: the leader collects how long promises under the set before may last, and
 * ends that set in the log when those of a majority of it are over. */
static void settle(struct ha_watcher *w, uint64_t now_ms, struct ha_effects *out)
{
    struct ha_command *command;
    uint32_t moved = 0;

    ha_promise_moved(w, now_ms, out);
    if (!w->leader || (w->settled_ms != 0 && now_ms - w->settled_ms < AGAIN_MS))
        return;
    for (uint32_t i = 0; i < w->cluster.watcher_count; i++)
        if (w->moved_ms[i] != 0 && w->moved_ms[i] <= now_ms)
            moved |= 1u << i;
    if (!ha_cluster_old_stops_suffice(&w->cluster, moved))
        return;
    w->settled_ms = now_ms;
    command = &ha_effects_add(out, HA_EFFECT_PROPOSE)->u.command;
    command->kind = HA_COMMAND_SETTLED;
    command->wall_ms = w->wall_ms;
    command->u.settled = (struct ha_command_settled){.set_id = w->cluster.set_id, .moved = moved};
}

/* As many as one list of effects holds; the others at the next tick, which is at once. */
static void consider_due(struct ha_watcher *w, uint64_t now_ms, struct ha_effects *out)
{
    for (uint32_t i = 0, left = w->cluster.service_count; i < HA_SERVICES_MAX && left > 0; i++) {
        uint32_t at = (w->tick_from + i) % HA_SERVICES_MAX;

        if (!w->cluster.services[at].used)
            continue;
        left--;
        if (now_ms < w->due_ms[at]) {
            wake_by(w, w->due_ms[at]);
            continue;
        }
        if (out->count >= HA_EFFECTS_MAX / 2) {
            w->tick_from = at;
            w->next_tick_ms = now_ms;
            return;
        }
        consider(w, &w->cluster.services[at], now_ms, out);
    }
}

static void on_tick(struct ha_watcher *w, uint64_t now_ms, struct ha_effects *out)
{
    w->next_tick_ms = now_ms + TICK_MS;
    if (w->leader && w->cluster.set_id == 0 && w->options.set_id != 0) {
        struct ha_command *command = &ha_effects_add(out, HA_EFFECT_PROPOSE)->u.command;

        command->kind = HA_COMMAND_WATCHERS;
        command->wall_ms = w->wall_ms;
        command->u.watchers.set_id = w->options.set_id;
        command->u.watchers.count = w->options.watcher_count;
        memcpy(command->u.watchers.names, w->options.watchers, sizeof(w->options.watchers));
        w->next_tick_ms = now_ms + AGAIN_MS;
        return;
    }
    if (ha_cluster_is_settling(&w->cluster))
        settle(w, now_ms, out);
    ha_ready_unheard(w, now_ms, out);
    consider_due(w, now_ms, out);
}

/* "How many": under another set than before, promises of the old one count nowhere and may still
 * stand: as after a start, nothing is promised until the longest has passed. A watcher that meets
 * its next set in the log goes on promising: there a fence needs majorities of both sets. */
static void meet_set(struct ha_watcher *w, bool is_next, uint64_t now_ms)
{
    if (w->set_id != 0 && w->set_id != w->cluster.set_id) {
        w->moved_until_ms = now_ms + w->promise_durable_ms + ha_drift_ms(w->promise_durable_ms);
        if (!is_next)
            w->blind_until_ms = w->moved_until_ms;
        memset(w->moved_ms, 0, sizeof(w->moved_ms));
        for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
            memset(w->services[i].stopped, 0, sizeof(w->services[i].stopped));
    }
    w->set_id = w->cluster.set_id;
    w->self = HA_WATCHERS_MAX;
    for (uint32_t i = 0; i < w->cluster.watcher_count; i++)
        if (strcmp(w->cluster.watchers[i], w->options.name) == 0)
            w->self = i;
}

/* Notes how a service moved, on this watcher's own clock. */
static void note_move(struct ha_watcher *w, const struct ha_service *service, enum ha_state before,
                      uint64_t epoch_before, uint64_t now_ms)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);

    if (service->state == before && service->epoch == epoch_before)
        return;
    watched->state_ms = now_ms;
    watched->stopped_said_ms = 0;
    if (service->state != HA_STATE_SELECTING) {
        watched->fencing_ms = 0;
        watched->noticed_wall_ms = 0;
    }
}

/* Its holder asks already, and has been refused until this entry: as if it asked a moment later. */
static void promise_opened(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                           struct ha_effects *out)
{
    const struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    int at = ha_service_member_at(service, service->primary);
    const struct ha_watch *watch = at < 0 ? NULL : watched->members[at];

    if (watch != NULL && watch->heard)
        ha_promise_answer(w, service,
                          &(struct ha_claim){watch->instance, watch->stamp, &watch->status}, now_ms,
                          out);
}

/* The service a command is about, 0 for those about many or none. */
static uint32_t subject_of(const struct ha_command *command)
{
    switch (command->kind) {
    case HA_COMMAND_GIVE_UP:
        return command->u.give_up.ref.service;
    case HA_COMMAND_BEGIN:
        return command->u.begin.ref.service;
    case HA_COMMAND_FENCED:
        return command->u.fenced.ref.service;
    case HA_COMMAND_PROMOTE:
    case HA_COMMAND_NONE:
        return command->u.promote.ref.service;
    case HA_COMMAND_PROMOTED:
    case HA_COMMAND_FAILED:
    case HA_COMMAND_OPENED:
    case HA_COMMAND_REPOINTED:
        return command->u.outcome.ref.service;
    case HA_COMMAND_GATE:
        return command->u.gate.ref.service;
    case HA_COMMAND_PAUSE:
    case HA_COMMAND_RESUME:
    case HA_COMMAND_LIFT:
        return command->u.pause.service;
    case HA_COMMAND_SYNC_INTEND:
    case HA_COMMAND_SYNC_FORCE:
        return command->u.sync.ref.service;
    case HA_COMMAND_HOLD_INTEND:
    case HA_COMMAND_HOLD_FORCE:
        return command->u.hold.ref.service;
    case HA_COMMAND_NOTHING:
    case HA_COMMAND_WATCHERS:
    case HA_COMMAND_CONFIG:
    case HA_COMMAND_OBSERVE:
    case HA_COMMAND_POSITIONS:
    case HA_COMMAND_NOTICE_DONE:
    case HA_COMMAND_TEST_NOTICE:
    case HA_COMMAND_REPLACE:
    case HA_COMMAND_SETTLED:
    case HA_COMMAND_READY: /* moves nothing */
    case HA_COMMAND_DIVERGED:
    case HA_COMMAND_UNHEARD:
        return 0;
    }
    return 0;
}

/* What an entry that moved no service may have changed all the same. One for each service, as when
 * many begin, must not have all of them looked at for each. */
static void look_again(struct ha_watcher *w, const struct ha_command *command)
{
    switch (command->kind) {
    case HA_COMMAND_WATCHERS:
    case HA_COMMAND_CONFIG:
    case HA_COMMAND_REPLACE:
    case HA_COMMAND_SETTLED:
    case HA_COMMAND_UNHEARD:
    case HA_COMMAND_NOTHING:
        look_at_all(w);
        return;
    case HA_COMMAND_READY:
        w->due_ms[command->u.ready.service % HA_SERVICES_MAX] = 0;
        return;
    case HA_COMMAND_DIVERGED:
        w->due_ms[command->u.diverged.service % HA_SERVICES_MAX] = 0;
        return;
    case HA_COMMAND_OBSERVE:
    case HA_COMMAND_POSITIONS:
    case HA_COMMAND_NOTICE_DONE:
    case HA_COMMAND_TEST_NOTICE:
    case HA_COMMAND_GIVE_UP:
    case HA_COMMAND_BEGIN:
    case HA_COMMAND_FENCED:
    case HA_COMMAND_PROMOTE:
    case HA_COMMAND_NONE:
    case HA_COMMAND_PROMOTED:
    case HA_COMMAND_FAILED:
    case HA_COMMAND_OPENED:
    case HA_COMMAND_REPOINTED:
    case HA_COMMAND_GATE:
    case HA_COMMAND_PAUSE:
    case HA_COMMAND_RESUME:
    case HA_COMMAND_LIFT:
    case HA_COMMAND_SYNC_INTEND:
    case HA_COMMAND_SYNC_FORCE:
    case HA_COMMAND_HOLD_INTEND:
    case HA_COMMAND_HOLD_FORCE:
        return; /* nothing, or what was considered with it */
    }
}

static int on_committed(struct ha_watcher *w, const struct ha_event_committed *committed,
                        uint64_t now_ms, struct ha_effects *out, struct ha_err *err)
{
    const struct ha_command *command = committed->command;
    uint32_t subject = subject_of(command);
    const struct ha_service *service = ha_cluster_service_const(&w->cluster, subject);
    enum ha_state state = service == NULL ? HA_STATE_STEADY : service->state;
    uint64_t epoch = service == NULL ? HA_EPOCH_NONE : service->epoch;
    int rv = ha_cluster_apply(&w->cluster, committed->index, command, err);

    service = subject == 0 ? NULL : ha_cluster_service_const(&w->cluster, subject);
    if (service != NULL) {
        ha_decide_logged(ha_watched_of(w, service, now_ms), rv != HA_OK, now_ms);
        note_move(w, service, state, epoch, now_ms);
        if (service->state == HA_STATE_OPENING && state != HA_STATE_OPENING)
            promise_opened(w, service, now_ms, out);
        consider(w, service, now_ms, out);
    }
    if (command->kind == HA_COMMAND_WATCHERS || command->kind == HA_COMMAND_REPLACE)
        meet_set(w, command->kind == HA_COMMAND_REPLACE, now_ms);
    if (command->kind == HA_COMMAND_CONFIG)
        ha_watched_realign_all(w, now_ms);
    if (command->kind == HA_COMMAND_WATCHERS || command->kind == HA_COMMAND_CONFIG)
        w->next_tick_ms = now_ms;
    look_again(w, command);
    if (command->kind != HA_COMMAND_OBSERVE)
        return rv;
    for (uint32_t i = 0; i < command->u.observe.count; i++) {
        service = ha_cluster_service_const(&w->cluster, command->u.observe.items[i].service);
        if (service != NULL)
            consider(w, service, now_ms, out);
    }
    return rv;
}

static void on_role(struct ha_watcher *w, bool leader, uint64_t term, uint64_t now_ms)
{
    w->leader = leader;
    w->term = term;
    w->leader_ms = now_ms;
    w->next_tick_ms = now_ms;
    w->moved_said_ms = 0;
    w->settled_ms = 0;
    memset(w->moved_ms, 0, sizeof(w->moved_ms));
    look_at_all(w);
    /* A new leader begins with an empty memory: all it needs is asked again. */
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        struct ha_watched *watched = &w->services[i];

        if (watched->service == 0)
            continue; /* never used */
        watched->proposed_ms = 0;
        watched->state_ms = now_ms;
        watched->stopped_said_ms = 0;
        watched->ready_since_ms = 0;
        memset(watched->stopped, 0, sizeof(watched->stopped));
        memset(&watched->fence, 0, sizeof(watched->fence));
        for (uint32_t m = 0; m < HA_MEMBERS_MAX && watched->names[m][0] != '\0'; m++) {
            watched->members[m]->order = HA_ORDER_NONE;
            watched->members[m]->proposed_ms = 0;
        }
    }
}

static int on_heartbeat(struct ha_watcher *w, const struct ha_event_heartbeat *beat,
                        uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_status *status = &beat->heartbeat->status;
    const struct ha_claim claim = {beat->heartbeat->instance, beat->heartbeat->stamp, status};
    const struct ha_service *service = ha_cluster_service_const(&w->cluster, status->service);
    int at = service == NULL ? -1 : ha_service_member_at(service, status->member);
    struct ha_watch *watch;

    /* The agent speaks for the members that the configuration gives it, and for no others. */
    if (at < 0 || strcmp(service->config.members[at].agent, beat->agent) != 0)
        return HA_ENOENT;
    watch = ha_watched_of(w, service, now_ms)->members[at];
    if (is_usurper(service, watch, beat->heartbeat, now_ms))
        return HA_ENOENT;
    ha_watch_heard(watch, beat->heartbeat, now_ms);
    ha_promise_answer(w, service, &claim, now_ms, out);
    consider(w, service, now_ms, out);
    return HA_OK;
}

/* Everything that follows from a heartbeat follows from its repetition; what was told is what this
 * watcher keeps of it, and it is held against the state applied by now. */
static int on_same(struct ha_watcher *w, const struct ha_event_same *same, uint64_t now_ms,
                   struct ha_effects *out)
{
    const struct ha_service *service = ha_cluster_service_const(&w->cluster, same->service);
    int at = service == NULL ? -1 : ha_service_member_at(service, same->member);
    struct ha_claim claim = {same->instance, same->stamp, NULL};
    struct ha_watch *watch;

    if (at < 0 || strcmp(service->config.members[at].agent, same->agent) != 0)
        return HA_ENOENT;
    watch = ha_watched_of(w, service, now_ms)->members[at];
    if (!watch->heard || watch->instance != same->instance)
        return HA_ENOENT;
    ha_watch_repeated(watch, &service->config, now_ms);
    watch->stamp = same->stamp;
    claim.status = &watch->status;
    ha_promise_answer(w, service, &claim, now_ms, out);
    if (now_ms >= w->due_ms[service->id % HA_SERVICES_MAX])
        consider(w, service, now_ms, out);
    return HA_OK;
}

static void on_agent(struct ha_watcher *w, const struct ha_event_agent *agent, uint64_t now_ms)
{
    uint32_t cursor = 0, id, member;

    while (ha_watcher_hosted(w, agent->agent, &cursor, &id, &member)) {
        const struct ha_service *service = ha_cluster_service_const(&w->cluster, id);
        struct ha_watch *watch =
            ha_watched_of(w, service, now_ms)->members[ha_service_member_at(service, member)];

        /* What an ended connection said stays as a last word, but orders are due anew. */
        watch->order = HA_ORDER_NONE;
        w->due_ms[id % HA_SERVICES_MAX] = 0;
    }
}

static void on_probed(struct ha_watcher *w, const struct ha_event_probed *probed, uint64_t now_ms,
                      struct ha_effects *out)
{
    const struct ha_service *service = ha_cluster_service_const(&w->cluster, probed->service);
    int at = service == NULL ? -1 : ha_service_member_at(service, probed->member);

    if (at < 0)
        return;
    ha_watch_probed(ha_watched_of(w, service, now_ms)->members[at], probed->sample, now_ms);
    consider(w, service, now_ms, out);
}

static void on_stopped(struct ha_watcher *w, uint32_t watcher, const struct ha_stopped *stopped,
                       uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_service *service = ha_cluster_service_const(&w->cluster, stopped->service);
    uint64_t until_ms = now_ms + stopped->remainder_ms + ha_drift_ms(stopped->remainder_ms);
    struct ha_watched *watched;

    if (!w->leader || watcher >= w->cluster.watcher_count || stopped->set_id != w->cluster.set_id)
        return;
    if (stopped->service == 0) {
        if (w->moved_ms[watcher] == 0 || until_ms < w->moved_ms[watcher])
            w->moved_ms[watcher] = until_ms;
        return;
    }
    if (service == NULL || stopped->epoch != service->epoch)
        return;
    watched = ha_watched_of(w, service, now_ms);
    /* Each word is safe by itself, since it is counted from its receipt: the earliest end holds. */
    if (watched->stopped[watcher].epoch == stopped->epoch &&
        watched->stopped[watcher].until_ms <= until_ms)
        return;
    watched->stopped[watcher].epoch = stopped->epoch;
    watched->stopped[watcher].until_ms = until_ms;
    consider(w, service, now_ms, out);
}

static void on_fence_command(struct ha_watcher *w, const struct ha_event_fence_command *answer,
                             uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_service *service = ha_cluster_service_const(&w->cluster, answer->service);

    if (service != NULL && ha_fence_answered(w, service, answer, now_ms))
        consider(w, service, now_ms, out);
}

/* An operator's command is checked against a copy of nothing: apply decides; this only refuses
 * early what cannot be encoded or makes no sense without a leader. */
static int on_request(struct ha_watcher *w, const struct ha_event_request *request,
                      struct ha_effects *out, struct ha_err *err)
{
    struct ha_effect *effect;

    switch (request->command->kind) {
    case HA_COMMAND_BEGIN:
        if (request->command->u.begin.reason != HA_REASON_OPERATOR &&
            request->command->u.begin.reason != HA_REASON_SWITCHOVER)
            return ha_err_set(err, HA_EDENIED, "%s is not for people to say",
                              ha_reason_text(request->command->u.begin.reason));
        break;
    case HA_COMMAND_CONFIG:
    case HA_COMMAND_PAUSE:
    case HA_COMMAND_RESUME:
    case HA_COMMAND_LIFT:
    case HA_COMMAND_NOTICE_DONE:
    case HA_COMMAND_TEST_NOTICE:
    case HA_COMMAND_REPLACE:
        break;
    case HA_COMMAND_NOTHING:
    case HA_COMMAND_WATCHERS:
    case HA_COMMAND_OBSERVE:
    case HA_COMMAND_GIVE_UP:
    case HA_COMMAND_FENCED:
    case HA_COMMAND_PROMOTE:
    case HA_COMMAND_NONE:
    case HA_COMMAND_PROMOTED:
    case HA_COMMAND_FAILED:
    case HA_COMMAND_OPENED:
    case HA_COMMAND_REPOINTED:
    case HA_COMMAND_POSITIONS:
    case HA_COMMAND_SETTLED:
    case HA_COMMAND_READY:
    case HA_COMMAND_UNHEARD:
    case HA_COMMAND_GATE:
    case HA_COMMAND_SYNC_INTEND:
    case HA_COMMAND_SYNC_FORCE:
    case HA_COMMAND_HOLD_INTEND:
    case HA_COMMAND_HOLD_FORCE:
    case HA_COMMAND_DIVERGED:
        return ha_err_set(err, HA_EDENIED, "%s is not for people to say",
                          ha_command_kind_text(request->command->kind));
    }
    effect = ha_effects_add(out, HA_EFFECT_PROPOSE);
    effect->request = request->request;
    effect->u.command = *request->command;
    effect->u.command.wall_ms = w->wall_ms;
    return HA_OK;
}

static void on_proposed(struct ha_watcher *w, const struct ha_event_proposed *proposed)
{
    const struct ha_service *service;

    if (proposed->code == HA_OK || proposed->command == NULL)
        return;
    if (proposed->command->kind == HA_COMMAND_OBSERVE)
        ha_observe_refused(w, &proposed->command->u.observe);
    /* It did not get into the log: look again at the next tick. */
    service = ha_cluster_service_const(&w->cluster, subject_of(proposed->command));
    if (service != NULL && ha_watched_peek(w, service) != NULL)
        w->services[service->id % HA_SERVICES_MAX].proposed_ms = 0;
}

/* Machines stand still, several at the same moment when they are backed up. Whoever goes on would
 * take that time for silence: what came meanwhile is read first. */
static void note_standstill(struct ha_watcher *w, uint64_t now_ms)
{
    bool stood_still = w->stepped_ms != 0 && now_ms - w->stepped_ms >= STILL_MS;

    if (stood_still && (w->woke_ms == 0 || w->stepped_ms - w->woke_ms >= RAN_MS))
        w->woke_ms = now_ms;
    w->stepped_ms = now_ms;
}

int ha_watcher_step(struct ha_watcher *w, const struct ha_event *event, struct ha_effects *out,
                    struct ha_err *err)
{
    uint64_t now_ms = event->now_ms;

    note_standstill(w, now_ms);
    w->wall_ms = event->wall_ms;
    switch (event->kind) {
    case HA_EVENT_TICK:
        on_tick(w, now_ms, out);
        return HA_OK;
    case HA_EVENT_COMMITTED:
        return on_committed(w, &event->u.committed, now_ms, out, err);
    case HA_EVENT_RESTORED:
        meet_set(w, false, now_ms);
        ha_watched_realign_all(w, now_ms);
        look_at_all(w);
        w->next_tick_ms = now_ms;
        return HA_OK;
    case HA_EVENT_ROLE:
        on_role(w, event->u.role.leader, event->u.role.term, now_ms);
        return HA_OK;
    case HA_EVENT_CAUGHT_UP:
        w->caught_up = true;
        return HA_OK;
    case HA_EVENT_PERSISTED_PROMISE:
        if (event->u.persisted_ms > w->promise_durable_ms)
            w->promise_durable_ms = event->u.persisted_ms;
        return HA_OK;
    case HA_EVENT_FENCE_COMMAND:
        on_fence_command(w, &event->u.fence_command, now_ms, out);
        return HA_OK;
    case HA_EVENT_PROBED:
        on_probed(w, &event->u.probed, now_ms, out);
        return HA_OK;
    case HA_EVENT_HEARTBEAT:
        return on_heartbeat(w, &event->u.heartbeat, now_ms, out);
    case HA_EVENT_SAME:
        return on_same(w, &event->u.same, now_ms, out);
    case HA_EVENT_AGENT:
        on_agent(w, &event->u.agent, now_ms);
        return HA_OK;
    case HA_EVENT_STOPPED:
        on_stopped(w, event->u.stopped.watcher, event->u.stopped.stopped, now_ms, out);
        return HA_OK;
    case HA_EVENT_PEER:
        if (event->u.peer.watcher < HA_WATCHERS_MAX) {
            w->peer_heard[event->u.peer.watcher] = event->u.peer.heard;
            w->peer_since_ms[event->u.peer.watcher] = now_ms;
        }
        look_at_all(w);
        return HA_OK;
    case HA_EVENT_PROPOSED:
        on_proposed(w, &event->u.proposed);
        return HA_OK;
    case HA_EVENT_REQUEST:
        return on_request(w, &event->u.request, out, err);
    case HA_EVENT_SETTINGS:
    case HA_EVENT_PROMISE:
    case HA_EVENT_ORDER:
    case HA_EVENT_LINK:
    case HA_EVENT_PROCESS:
    case HA_EVENT_SAMPLED:
    case HA_EVENT_ACTED:
    case HA_EVENT_GATE_CLOSED:
    case HA_EVENT_PERSISTED_EPOCHS:
    case HA_EVENT_VIP:
    case HA_EVENT_HOLD_ASKED:
    case HA_EVENT_HOLD_WORD:
        return ha_err_set(err, HA_EINVAL, "%s is an event of agents",
                          ha_event_kind_text(event->kind));
    }
    HA_UNREACHABLE();
}

uint64_t ha_watcher_wake_ms(const struct ha_watcher *w)
{
    return w->next_tick_ms;
}

bool ha_watcher_hosted(const struct ha_watcher *w, const char *agent, uint32_t *cursor,
                       uint32_t *ret_service, uint32_t *ret_member)
{
    for (; *cursor < HA_SERVICES_MAX; (*cursor)++) {
        const struct ha_service *service = &w->cluster.services[*cursor];

        for (uint32_t i = 0; service->used && i < service->config.member_count; i++) {
            if (strcmp(service->config.members[i].agent, agent) != 0)
                continue;
            *ret_service = service->id;
            *ret_member = service->members[i].id;
            (*cursor)++;
            return true;
        }
    }
    return false;
}
