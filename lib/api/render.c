#include "lib/api/render.h"

#include <inttypes.h>
#include <string.h>

#include "lib/api/control.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/switchover.h"
#include "lib/core/view.h"
#include "lib/core/watcher.h"
#include "lib/wire/json.h"
#include "lib/wire/notice.h"

/* JSON has no unsigned 64 bits; nothing real comes near the bound. */
static json_t *number(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *number_or_null(uint64_t value, bool known)
{
    return known ? number(value) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text[0] != '\0' ? ha_json_text(text) : json_null();
}

static json_t *time_of(uint64_t wall_ms)
{
    char text[HA_TIME_TEXT_SIZE];

    if (wall_ms == 0)
        return json_null();
    ha_time_text(wall_ms, text);
    return ha_json_text(text);
}

/* A failed insertion leaves the key out; an object that lacks one is better than no answer. */
static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

json_t *ha_render_watchers(const struct ha_api_view *view)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < view->watcher_count; i++) {
        json_t *one = json_object();

        set(one, "name", json_string(view->watchers[i].name));
        set(one, "role", json_string(view->watchers[i].role));
        set(one, "term", number(view->term));
        set(one, "reachable", json_boolean(view->watchers[i].reachable));
        set(one, "heard_ago_ms",
            number_or_null(view->watchers[i].heard_ago_ms,
                           view->watchers[i].heard_ago_ms != UINT64_MAX));
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *verdicts_of(const struct ha_cluster *cluster, const struct ha_member_state *member)
{
    json_t *all = json_object();

    for (uint32_t i = 0; i < cluster->watcher_count; i++)
        set(all, cluster->watchers[i], json_string(ha_verdict_text(member->verdicts[i])));
    return all;
}

static json_t *member_of(const struct ha_api_view *view, const struct ha_service *service,
                         uint32_t at, const struct ha_member_view *seen)
{
    const struct ha_member_config *config = &service->config.members[at];
    char address[HA_HOST_SIZE + 16];
    json_t *one = json_object();

    (void)ha_text_format(address, sizeof(address),
                         strchr(config->host, ':') != NULL ? "[%s]:%u" : "%s:%u", config->host,
                         (unsigned)config->port);
    set(one, "name", json_string(config->name));
    set(one, "address", json_string(address));
    set(one, "role", json_string(ha_role_text(seen->role)));
    set(one, "verdict", json_string(ha_verdict_text(seen->verdict)));
    set(one, "lag_bytes", number_or_null(seen->lag_bytes, seen->lag_known));
    set(one, "lease_ms_left", number_or_null(seen->lease_left_ms, seen->role == HA_ROLE_PRIMARY));
    set(one, "candidate",
        json_boolean(seen->fit.fitness == HA_FIT_OK || seen->fit.fitness == HA_FIT_CHOSEN ||
                     seen->fit.fitness == HA_FIT_RANKED_LOWER));
    set(one, "reason", ha_json_text(seen->reason));
    set(one, "fitness", json_string(ha_fitness_text(seen->fit.fitness)));
    set(one, "verdicts", verdicts_of(&view->watcher->cluster, &service->members[at]));
    set(one, "agent", text_or_null(config->agent));
    set(one, "agent_heard", json_boolean(seen->agent_heard));
    set(one, "agent_age_ms", number_or_null(seen->agent_age_ms, seen->agent_heard));
    set(one, "process", json_string(ha_process_text(seen->process)));
    set(one, "gate", json_string(ha_gate_text(seen->gate)));
    set(one, "gate_open", json_boolean(seen->gate_open));
    set(one, "vip_held", json_boolean(seen->vip_held));
    set(one, "priority", number(config->priority));
    return one;
}

static void set_members(json_t *one, const struct ha_api_view *view,
                        const struct ha_service *service)
{
    json_t *members = json_array();
    json_t *gates = json_array();
    struct ha_member_view seen;

    for (uint32_t at = 0; at < service->config.member_count; at++) {
        json_t *gate;

        if (!ha_view_member(view->watcher, service, at, view->now_ms, &seen))
            break;
        (void)json_array_append_new(members, member_of(view, service, at, &seen));
        gate = json_object();
        set(gate, "member", json_string(service->config.members[at].name));
        set(gate, "class", json_string(ha_gate_text(seen.gate)));
        set(gate, "open", json_boolean(seen.gate_open));
        (void)json_array_append_new(gates, gate);
    }
    set(one, "gates", gates);
    set(one, "members", members);
}

/* Who serves clients by the log's word: the open epoch's member until that epoch is fenced. */
static const char *primary_name(const struct ha_service *service)
{
    if (service->open_epoch == HA_EPOCH_NONE || service->fence != HA_FENCE_NONE)
        return "";
    return ha_service_member_name(service, service->open_member);
}

static json_t *names_of(const struct ha_service *service, uint32_t members)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < service->config.member_count; i++)
        if ((members >> service->members[i].id & 1u) != 0)
            (void)json_array_append_new(list, json_string(service->config.members[i].name));
    return list;
}

/* Whose word the primary waits for; null where it waits for nobody. */
static json_t *sync_of(const struct ha_api_view *view, const struct ha_service *service)
{
    struct ha_sync_view sync;
    json_t *one;

    ha_view_sync(view->watcher, service, view->now_ms, &sync);
    if (!sync.managed)
        return json_null();
    one = json_object();
    set(one, "needed", number(sync.need));
    set(one, "members", names_of(service, sync.members));
    set(one, "replicating", names_of(service, sync.replicating));
    set(one, "in_force", json_boolean(sync.in_force));
    set(one, "alone", json_boolean(sync.alone));
    set(one, "missing", number(sync.missing));
    set(one, "text", ha_json_text(sync.text));
    return one;
}

/* Whose promises keep the lease when the watchers are lost; null where it is fenced then. */
static json_t *hold_of(const struct ha_api_view *view, const struct ha_service *service)
{
    struct ha_hold_view hold;
    json_t *one;

    ha_view_hold(view->watcher, service, view->now_ms, &hold);
    if (!hold.wanted)
        return json_null();
    one = json_object();
    set(one, "members", names_of(service, hold.members));
    set(one, "promising", names_of(service, hold.promising));
    set(one, "in_force", json_boolean(hold.in_force));
    set(one, "holding", json_boolean(hold.holding));
    set(one, "holding_ms", number_or_null(hold.holding_ms, hold.holding));
    set(one, "text", ha_json_text(hold.text));
    return one;
}

/* What it waits for; whose turn it is the core does not know. True: that is what it waits for. */
static bool awaits_turn(const struct ha_api_view *view, const struct ha_service *service,
                        char text[HA_TEXT_SIZE])
{
    ha_view_why(view->watcher, service, view->now_ms, text);
    if (text[0] != '\0' || view->beginning == 0 || service->state != HA_STATE_SELECTING ||
        service->open_epoch != HA_EPOCH_NONE)
        return false;
    (void)ha_text_format(text, HA_TEXT_SIZE,
                         "waiting for its turn: it never had a primary, and %" PRIu32
                         " services are being given one",
                         view->beginning);
    return true;
}

static json_t *service_of(const struct ha_api_view *view, const struct ha_service *service)
{
    const struct ha_service_config *config = &service->config;
    char text[HA_TEXT_SIZE] = "";
    json_t *one = json_object();
    json_t *rate = json_object();

    set(one, "name", json_string(config->name));
    set(one, "engine", json_string(ha_engine_text(config->engine)));
    set(one, "durability", json_string(ha_durability_text(config->durability)));
    set(one, "state", json_string(ha_state_text(service->state)));
    set(one, "epoch", number(service->epoch));
    set(one, "open_epoch", number(service->open_epoch));
    set(one, "primary", text_or_null(primary_name(service)));
    set(one, "vip", text_or_null(config->vip));
    set(one, "fence", json_string(ha_view_fence(view->watcher, service)));
    set(one, "paused", json_boolean(service->paused));
    if (service->paused) {
        set(one, "paused_by", json_string(service->paused_by));
        set(one, "paused_why", ha_json_text(service->paused_why));
        set(one, "paused_until", time_of(service->paused_until_ms));
    }
    set(one, "sync", sync_of(view, service));
    set(one, "hold", hold_of(view, service));
    set(one, "automatic", json_boolean(config->automatic));
    set(one, "deleting", json_boolean(service->deleting));
    set(one, "ready", json_boolean(ha_view_ready(view->watcher, service, view->now_ms, text)));
    set(one, "ready_reason", ha_json_text(text));
    (void)awaits_turn(view, service, text);
    set(one, "why", ha_json_text(text));
    set(one, "decision", number_or_null(service->decision, service->decision != 0));
    set(rate, "limit", number(config->rate_count));
    set(rate, "period_ms", number(config->rate_period_ms));
    set(rate, "recent", number(service->recent_count));
    set(one, "rate", rate);
    set_members(one, view, service);
    return one;
}

/* Names of the webhooks whose notices go unencrypted. */
static json_t *in_the_clear(const struct ha_cluster *cluster)
{
    json_t *list = json_array();

    for (uint32_t at = 0; at < cluster->webhook_count; at++)
        if (ha_webhook_is_in_the_clear(&cluster->webhooks[at]))
            (void)json_array_append_new(list, json_string(cluster->webhooks[at].name));
    return list;
}

struct each { /* service that is asked for */
    const struct ha_api_view *view;
    const char *name; /* NULL: all */
    uint32_t slot;    /* the next to be looked at */
};

static bool next_service(void *ctx, json_t **ret)
{
    struct each *each = ctx;

    while (each->slot < HA_SERVICES_MAX) {
        const struct ha_service *one = &each->view->watcher->cluster.services[each->slot++];

        if (!one->used || (each->name != NULL && strcmp(each->name, one->config.name) != 0))
            continue;
        *ret = service_of(each->view, one);
        return true;
    }
    return false;
}

char *ha_render_status(const struct ha_api_view *view, const char *service)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    struct each each = {.view = view, .name = service};
    json_t *status = json_object();
    char *text;

    set(status, "time", time_of(view->wall_ms));
    set(status, "served_by", json_string(view->watcher->options.name));
    set(status, "leader", text_or_null(view->leader));
    set(status, "staleness_ms",
        number_or_null(view->staleness_ms, view->staleness_ms != UINT64_MAX));
    set(status, "index", number(cluster->index));
    set(status, "caught_up", json_boolean(view->watcher->caught_up));
    set(status, "promises",
        json_boolean(view->watcher->caught_up && view->now_ms >= view->watcher->blind_until_ms));
    set(status, "config_version", number(cluster->config_version));
    set(status, "notices_waiting", number(cluster->notice_count));
    set(status, "webhooks_in_the_clear", in_the_clear(cluster));
    set(status, "watchers", ha_render_watchers(view));
    text = ha_json_dump_list(status, "services", next_service, &each);
    json_decref(status);
    return text;
}

/* Milliseconds after the decision was noticed; null where the stage was not reached. */
static json_t *stage(const struct ha_stages *stages, uint64_t at_ms)
{
    if (at_ms == 0)
        return json_null();
    return json_integer((json_int_t)at_ms - (json_int_t)stages->noticed_ms);
}

static json_t *stages_of(const struct ha_stages *stages)
{
    json_t *all = json_object();

    set(all, "agreed", stage(stages, stages->agreed_ms));
    set(all, "fenced", stage(stages, stages->fenced_ms));
    set(all, "chosen", stage(stages, stages->chosen_ms));
    set(all, "promoted", stage(stages, stages->promoted_ms));
    set(all, "opened", stage(stages, stages->opened_ms));
    set(all, "done", stage(stages, stages->done_ms));
    return all;
}

static json_t *fits_of(const struct ha_decision *decision)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < decision->fit_count && i < HA_MEMBERS_MAX; i++) {
        const struct ha_fit *fit = &decision->fits[i].fit;
        json_t *one = json_object();

        set(one, "member", json_string(decision->fits[i].name));
        set(one, "fitness", json_string(ha_fitness_text(fit->fitness)));
        set(one, "chosen", json_boolean(fit->fitness == HA_FIT_CHOSEN));
        set(one, "offset", number(fit->offset));
        set(one, "behind_bytes", number(fit->behind));
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *agreeing_of(const struct ha_cluster *cluster, uint32_t agreeing)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < cluster->watcher_count; i++) {
        if ((agreeing & (1u << i)) != 0)
            (void)json_array_append_new(list, json_string(cluster->watchers[i]));
    }
    return list;
}

/* How it ended, or that it has not. */
static const char *outcome_of(const struct ha_cluster *cluster, const struct ha_decision *decision)
{
    const struct ha_service *service = ha_cluster_service_const(cluster, decision->service);

    if (decision->done)
        return decision->from[0] != '\0' && strcmp(decision->from, decision->to) == 0 ? "undone"
                                                                                      : "done";
    if (service == NULL)
        return decision->reason == HA_REASON_DELETED ? "done" : "superseded";
    if (service->decision != decision->id)
        return "superseded";
    return service->state == HA_STATE_NO_CANDIDATE ? "no-candidate" : "under-way";
}

/* Null until the old primary came back. */
static json_t *found_of(const struct ha_diverged *found)
{
    json_t *one;

    if (found->epoch == HA_EPOCH_NONE)
        return json_null();
    one = json_object();
    set(one, "lost_bytes", number(found->bytes));
    set(one, "epoch", number(found->epoch));
    set(one, "kept", json_string(ha_kept_text(found->kept)));
    return one;
}

json_t *ha_render_decision(const struct ha_api_view *view, const struct ha_decision *decision)
{
    const struct ha_service *service =
        ha_cluster_service_const(&view->watcher->cluster, decision->service);
    json_t *one = json_object();

    set(one, "id", number(decision->id));
    set(one, "service", json_string(decision->service_name));
    set(one, "epoch_from", number(decision->epoch_from));
    set(one, "epoch", number(decision->epoch));
    set(one, "reason", json_string(ha_reason_text(decision->reason)));
    set(one, "verdict", json_string(ha_verdict_text(decision->verdict)));
    set(one, "fence", json_string(ha_fence_text(decision->fence)));
    set(one, "agreeing", agreeing_of(&view->watcher->cluster, decision->agreeing));
    set(one, "waited_ms", number(decision->waited_ms));
    set(one, "attempts", number(decision->attempts));
    set(one, "done", json_boolean(decision->done));
    set(one, "outcome", json_string(outcome_of(&view->watcher->cluster, decision)));
    set(one, "state",
        service != NULL && service->decision == decision->id
            ? json_string(ha_state_text(service->state))
            : json_null());
    set(one, "from", text_or_null(decision->from));
    set(one, "to", text_or_null(decision->to));
    set(one, "noticed", time_of(decision->stages.noticed_ms));
    set(one, "noticed_ms", number(decision->stages.noticed_ms));
    set(one, "stages_ms", stages_of(&decision->stages));
    set(one, "lost_bytes", number(decision->lost_bytes));
    set(one, "found", found_of(&decision->found));
    set(one, "candidates", fits_of(decision));
    set(one, "text", ha_json_text(decision->text));
    return one;
}

/* Names of the webhooks that have not taken it. */
static json_t *owed_of(const struct ha_cluster *cluster, uint64_t seq)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < cluster->notice_count; i++) {
        for (uint32_t at = 0; cluster->notices[i].seq == seq && at < cluster->webhook_count; at++)
            if ((cluster->notices[i].owed >> at & 1u) != 0)
                (void)json_array_append_new(list, json_string(cluster->webhooks[at].name));
    }
    return list;
}

static json_t *event_of(const struct ha_cluster *cluster, const struct ha_notice *notice)
{
    json_t *one = json_object();

    set(one, "seq", number(notice->seq));
    set(one, "time", time_of(notice->wall_ms));
    set(one, "kind", json_string(ha_notice_kind_text(notice->kind)));
    set(one, "service", text_or_null(notice->service_name));
    set(one, "epoch", number_or_null(notice->epoch, notice->service != 0));
    set(one, "decision", number_or_null(notice->decision, notice->decision != 0));
    set(one, "from", text_or_null(notice->from));
    set(one, "to", text_or_null(notice->to));
    set(one, "lost_bytes", number(notice->lost_bytes));
    set(one, "text", ha_json_text(notice->text));
    set(one, "owed_to", owed_of(cluster, notice->seq));
    return one;
}

json_t *ha_render_explanation(const struct ha_api_view *view, const struct ha_decision *decision)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    json_t *one = ha_render_decision(view, decision);
    json_t *list = json_array();

    for (uint64_t back = HA_EVENTS_MAX; back > 0; back--) {
        uint64_t seq = cluster->notice_last >= back ? cluster->notice_last - back + 1 : 0;
        const struct ha_notice *notice = ha_cluster_event(cluster, seq);

        if (notice != NULL && notice->decision == decision->id &&
            notice->service == decision->service)
            (void)json_array_append_new(list, event_of(cluster, notice));
    }
    set(one, "notices", list);
    return one;
}

json_t *ha_render_events(const struct ha_api_view *view, const char *service, uint64_t after,
                         uint64_t count)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    uint64_t last = cluster->notice_last;
    uint64_t oldest = last >= HA_EVENTS_MAX ? last - HA_EVENTS_MAX + 1 : 1;
    uint64_t next = after < last ? after + 1 : last + 1;
    json_t *answer = json_object();
    json_t *list = json_array();

    set(answer, "oldest", number(oldest));
    set(answer, "last", number(last));
    /* How many of those asked for are not kept any more. */
    set(answer, "missed", number(next < oldest ? oldest - next : 0));
    if (next < oldest)
        next = oldest;
    for (; next <= last && json_array_size(list) < count; next++) {
        const struct ha_notice *notice = ha_cluster_event(cluster, next);

        if (notice != NULL && (service == NULL || strcmp(service, notice->service_name) == 0))
            (void)json_array_append_new(list, event_of(cluster, notice));
    }
    /* What to ask with next; a watcher that has just started may know fewer than the asker. */
    set(answer, "next_after", number(after > last ? after : next - 1));
    set(answer, "events", list);
    return answer;
}

json_t *ha_render_webhooks(const struct ha_api_view *view)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    json_t *answer = json_object();
    json_t *list = json_array();

    for (uint32_t at = 0; at < cluster->webhook_count; at++) {
        json_t *one = json_object();
        uint64_t waiting = 0;

        for (uint32_t i = 0; i < cluster->notice_count; i++)
            waiting += cluster->notices[i].owed >> at & 1u;
        set(one, "name", json_string(cluster->webhooks[at].name));
        set(one, "service", text_or_null(cluster->webhooks[at].service));
        set(one, "waiting", number(waiting));
        set(one, "in_the_clear", json_boolean(ha_webhook_is_in_the_clear(&cluster->webhooks[at])));
        (void)json_array_append_new(list, one);
    }
    set(answer, "webhooks", list);
    return answer;
}

static json_t *judged_of(const struct ha_service *service, const struct ha_plan *plan)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_fit *fit = &plan->fits[i];
        char why[HA_TEXT_SIZE];
        json_t *one = json_object();

        ha_view_fit(service, fit, why);
        set(one, "member", json_string(service->config.members[i].name));
        set(one, "could",
            json_boolean(fit->fitness == HA_FIT_CHOSEN || fit->fitness == HA_FIT_RANKED_LOWER));
        set(one, "offset", number_or_null(fit->offset, fit->offset != 0));
        set(one, "reason", ha_json_text(why));
        (void)json_array_append_new(list, one);
    }
    return list;
}

json_t *ha_render_why_not(const struct ha_api_view *view, const struct ha_service *service)
{
    char reasons[HA_REASONS_MAX][HA_TEXT_SIZE], turn[HA_TEXT_SIZE];
    uint32_t count = ha_view_why_not(view->watcher, service, view->now_ms, reasons);
    json_t *answer = json_object();
    json_t *list = json_array();
    struct ha_plan plan;

    ha_plan_failover(view->watcher, service, HA_MEMBER_NONE, false, view->now_ms, &plan);
    for (uint32_t i = 0; i < count; i++)
        (void)json_array_append_new(list, ha_json_text(reasons[i]));
    if (awaits_turn(view, service, turn))
        (void)json_array_append_new(list, ha_json_text(turn));
    set(answer, "service", json_string(service->config.name));
    set(answer, "served_by", json_string(view->watcher->options.name));
    set(answer, "state", json_string(ha_state_text(service->state)));
    set(answer, "primary", text_or_null(primary_name(service)));
    set(answer, "sync", sync_of(view, service));
    set(answer, "due", json_boolean(count == 0));
    set(answer, "reasons", list);
    set(answer, "would_promote", text_or_null(ha_service_member_name(service, plan.target)));
    set(answer, "members", judged_of(service, &plan));
    return answer;
}

json_t *ha_render_plan(const struct ha_api_view *view, const struct ha_service *service,
                       const struct ha_plan *plan)
{
    json_t *answer = json_object();
    json_t *list = json_array();

    for (uint32_t i = 0; i < plan->check_count; i++) {
        json_t *one = json_object();

        set(one, "check", json_string(plan->checks[i].name));
        set(one, "ok", json_boolean(plan->checks[i].ok));
        set(one, "text", ha_json_text(plan->checks[i].text));
        (void)json_array_append_new(list, one);
    }
    if (!plan->ok) {
        set(answer, "error", ha_json_text(plan->text));
        set(answer, "code", json_string(ha_code_text(HA_EDENIED)));
    }
    set(answer, "ok", json_boolean(plan->ok));
    set(answer, "service", json_string(service->config.name));
    set(answer, "served_by", json_string(view->watcher->options.name));
    set(answer, "from", text_or_null(ha_service_member_name(service, service->primary)));
    set(answer, "to", text_or_null(ha_service_member_name(service, plan->target)));
    set(answer, "text", ha_json_text(plan->text));
    set(answer, "checks", list);
    set(answer, "members", judged_of(service, plan));
    return answer;
}

json_t *ha_render_history(const struct ha_api_view *view, const char *service, uint32_t count)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    json_t *answer = json_object();
    json_t *list = json_array();

    for (uint64_t id = cluster->decision_last; id > 0 && json_array_size(list) < count; id--) {
        const struct ha_decision *decision = ha_cluster_decision(cluster, id);

        if (decision == NULL)
            break; /* the ring holds no older one */
        if (service == NULL || strcmp(service, decision->service_name) == 0)
            (void)json_array_append_new(list, ha_render_decision(view, decision));
    }
    set(answer, "decisions", list);
    return answer;
}

json_t *ha_render_archive(const struct ha_api_view *view)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    json_t *answer = json_object();
    json_t *list = json_array();

    set(answer, "version", number(cluster->config_version));
    for (uint32_t i = cluster->archive_count; i > 0; i--) {
        const struct ha_archived *archived = &cluster->archived[i - 1];
        json_t *one = json_object();

        set(one, "version", number(archived->version));
        set(one, "time", time_of(archived->wall_ms));
        set(one, "author", json_string(archived->author));
        set(one, "size", number(archived->size));
        (void)json_array_append_new(list, one);
    }
    set(answer, "versions", list);
    return answer;
}
