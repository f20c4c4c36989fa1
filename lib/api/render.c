#include "lib/api/render.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/control.h"
#include "lib/base/text.h"
#include "lib/core/view.h"
#include "lib/core/watcher.h"
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
    return text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *time_of(uint64_t wall_ms)
{
    char text[HA_TIME_TEXT_SIZE];

    if (wall_ms == 0)
        return json_null();
    ha_time_text(wall_ms, text);
    return json_string(text);
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
    set(one, "reason", json_string(seen->reason));
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
        set(one, "paused_why", json_string(service->paused_why));
        set(one, "paused_until", time_of(service->paused_until_ms));
    }
    set(one, "automatic", json_boolean(config->automatic));
    set(one, "deleting", json_boolean(service->deleting));
    set(one, "ready", json_boolean(ha_view_ready(view->watcher, service, view->now_ms, text)));
    set(one, "ready_reason", json_string(text));
    text[0] = '\0';
    ha_view_why(view->watcher, service, view->now_ms, text);
    set(one, "why", json_string(text));
    set(one, "decision", number_or_null(service->decision, service->decision != 0));
    set(rate, "limit", number(config->rate_count));
    set(rate, "period_ms", number(config->rate_period_ms));
    set(rate, "recent", number(service->recent_count));
    set(one, "rate", rate);
    set_members(one, view, service);
    return one;
}

json_t *ha_render_status(const struct ha_api_view *view, const char *service)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    json_t *status = json_object();
    json_t *services = json_array();

    set(status, "time", time_of(view->wall_ms));
    set(status, "served_by", json_string(view->watcher->options.name));
    set(status, "leader", text_or_null(view->leader));
    set(status, "staleness_ms",
        number_or_null(view->staleness_ms, view->staleness_ms != UINT64_MAX));
    set(status, "index", number(cluster->index));
    set(status, "caught_up", json_boolean(view->watcher->caught_up));
    set(status, "config_version", number(cluster->config_version));
    set(status, "notices_waiting", number(cluster->notice_count));
    set(status, "watchers", ha_render_watchers(view));
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_service *one = &cluster->services[i];

        if (!one->used || (service != NULL && strcmp(service, one->config.name) != 0))
            continue;
        (void)json_array_append_new(services, service_of(view, one));
    }
    set(status, "services", services);
    return status;
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

json_t *ha_render_decision(const struct ha_api_view *view, const struct ha_decision *decision)
{
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
    set(one, "from", text_or_null(decision->from));
    set(one, "to", text_or_null(decision->to));
    set(one, "noticed", time_of(decision->stages.noticed_ms));
    set(one, "noticed_ms", number(decision->stages.noticed_ms));
    set(one, "stages_ms", stages_of(&decision->stages));
    set(one, "lost_bytes", number(decision->lost_bytes));
    set(one, "candidates", fits_of(decision));
    set(one, "text", json_string(decision->text));
    return one;
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

static void metrics_of_service(FILE *out, const struct ha_api_view *view,
                               const struct ha_service *service)
{
    const char *name = service->config.name;
    char text[HA_TEXT_SIZE] = "";
    struct ha_member_view seen;

    fprintf(out, "hafailover_service_epoch{service=\"%s\"} %" PRIu64 "\n", name, service->epoch);
    fprintf(out, "hafailover_service_steady{service=\"%s\"} %d\n", name,
            service->state == HA_STATE_STEADY);
    fprintf(out, "hafailover_service_paused{service=\"%s\"} %d\n", name, service->paused);
    fprintf(out, "hafailover_service_ready{service=\"%s\"} %d\n", name,
            ha_view_ready(view->watcher, service, view->now_ms, text));
    for (uint32_t at = 0; at < service->config.member_count; at++) {
        const char *member = service->config.members[at].name;

        if (!ha_view_member(view->watcher, service, at, view->now_ms, &seen))
            return;
        fprintf(out, "hafailover_member_up{service=\"%s\",member=\"%s\"} %d\n", name, member,
                seen.verdict == HA_VERDICT_UP);
        fprintf(out, "hafailover_member_primary{service=\"%s\",member=\"%s\"} %d\n", name, member,
                seen.role == HA_ROLE_PRIMARY);
        if (seen.lag_known)
            fprintf(out, "hafailover_member_lag_bytes{service=\"%s\",member=\"%s\"} %" PRIu64 "\n",
                    name, member, seen.lag_bytes);
    }
}

char *ha_render_metrics(const struct ha_api_view *view)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL)
        return NULL;
    fprintf(out, "hafailover_leader %d\n", view->acting);
    fprintf(out, "hafailover_raft_term %" PRIu64 "\n", view->term);
    fprintf(out, "hafailover_raft_applied_index %" PRIu64 "\n", cluster->index);
    fprintf(out, "hafailover_raft_commit_index %" PRIu64 "\n", view->commit_index);
    fprintf(out, "hafailover_raft_log_bytes %" PRIu64 "\n", view->log_bytes);
    fprintf(out, "hafailover_proposals_open %" PRIu64 "\n", view->proposals_open);
    fprintf(out, "hafailover_uptime_seconds %" PRIu64 "\n",
            (view->now_ms - view->started_ms) / 1000);
    fprintf(out, "hafailover_config_version %" PRIu64 "\n", cluster->config_version);
    fprintf(out, "hafailover_notices_waiting %" PRIu32 "\n", cluster->notice_count);
    fprintf(out, "hafailover_notices_dropped_total %" PRIu64 "\n", cluster->notices_dropped);
    fprintf(out, "hafailover_decisions_total %" PRIu64 "\n", cluster->decision_last);
    for (uint32_t i = 0; i < view->watcher_count; i++)
        fprintf(out, "hafailover_watcher_reachable{watcher=\"%s\"} %d\n", view->watchers[i].name,
                view->watchers[i].reachable);
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        if (cluster->services[i].used)
            metrics_of_service(out, view, &cluster->services[i]);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
