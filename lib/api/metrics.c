/* The state as Prometheus text: one family after the other, each with its help and type. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/control.h"
#include "lib/api/render.h"
#include "lib/base/check.h"
#include "lib/core/view.h"

static void family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP hafailover_%s %s\n# TYPE hafailover_%s %s\n", name, help, name, type);
}

static void single(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    family(out, name, type, help);
    fprintf(out, "hafailover_%s %" PRIu64 "\n", name, value);
}

static const char *role_of(const struct ha_api_view *view)
{
    for (uint32_t i = 0; i < view->watcher_count; i++)
        if (strcmp(view->watchers[i].name, view->watcher->options.name) == 0)
            return view->watchers[i].role;
    return "unknown";
}

static void put_raft(FILE *out, const struct ha_api_view *view)
{
    single(out, "leader", "gauge", "1 while this watcher leads and may act.", view->acting);
    family(out, "raft_role", "gauge", "The role of this watcher among the watchers.");
    fprintf(out, "hafailover_raft_role{role=\"%s\"} 1\n", role_of(view));
    single(out, "raft_term", "gauge", "Raft term.", view->term);
    single(out, "raft_commit_index", "gauge", "Last committed entry.", view->commit_index);
    single(out, "raft_applied_index", "gauge", "Last applied entry.", view->watcher->cluster.index);
    single(out, "raft_log_bytes", "gauge", "Bytes of the log on disk.", view->log_bytes);
    single(out, "proposals_open", "gauge", "Proposals of this watcher without an outcome.",
           view->proposals_open);
    family(out, "watcher_reachable", "gauge", "1 while this watcher hears that one.");
    for (uint32_t i = 0; i < view->watcher_count; i++)
        fprintf(out, "hafailover_watcher_reachable{watcher=\"%s\"} %d\n", view->watchers[i].name,
                view->watchers[i].reachable);
    single(out, "watchers_heard", "gauge", "Watchers that this one hears, itself among them.",
           ha_view_heard(view->watcher));
}

static void put_cluster(FILE *out, const struct ha_api_view *view)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;

    single(out, "uptime_seconds", "counter", "Since this watcher started.",
           (view->now_ms - view->started_ms) / 1000);
    single(out, "config_version", "gauge", "Version of the configuration.",
           cluster->config_version);
    single(out, "notices_waiting", "gauge", "Notices that a webhook has not taken yet.",
           cluster->notice_count);
    single(out, "notices_dropped_total", "counter", "Notices lost because the outbox was full.",
           cluster->notices_dropped);
    single(out, "notices_total", "counter", "Notices ever made.", cluster->notice_last);
    single(out, "decisions_total", "counter", "Decisions ever made.", cluster->decision_last);
}

/* One line of a service; @member may be NULL. */
static void line(FILE *out, const char *name, const struct ha_service *service, const char *member,
                 uint64_t value)
{
    fprintf(out, "hafailover_%s{service=\"%s\"%s%s%s} %" PRIu64 "\n", name, service->config.name,
            member != NULL ? ",member=\"" : "", member != NULL ? member : "",
            member != NULL ? "\"" : "", value);
}

static uint64_t candidates(const struct ha_api_view *view, const struct ha_service *service)
{
    struct ha_member_view seen;
    uint64_t count = 0;

    for (uint32_t at = 0; ha_view_member(view->watcher, service, at, view->now_ms, &seen); at++)
        count += seen.fit.fitness == HA_FIT_OK || seen.fit.fitness == HA_FIT_RANKED_LOWER ? 1u : 0u;
    return count;
}

static void put_failovers(FILE *out, const struct ha_api_view *view,
                          const struct ha_service *service)
{
    (void)view;
    fprintf(out,
            "hafailover_failovers_total{service=\"%s\",kind=\"failover\"} %" PRIu64 "\n"
            "hafailover_failovers_total{service=\"%s\",kind=\"switchover\"} %" PRIu64 "\n",
            service->config.name, service->failovers, service->config.name, service->switchovers);
}

static void put_epoch(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    (void)view;
    line(out, "service_epoch", service, NULL, service->epoch);
}

static void put_steady(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    (void)view;
    line(out, "service_steady", service, NULL, service->state == HA_STATE_STEADY);
}

static void put_paused(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    (void)view;
    line(out, "service_paused", service, NULL, service->paused);
}

static void put_ready(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    char why[HA_TEXT_SIZE];

    line(out, "service_ready", service, NULL,
         ha_view_ready(view->watcher, service, view->now_ms, why));
}

static void put_sync(FILE *out, const struct ha_api_view *view, const struct ha_service *service,
                     const char *name, uint64_t (*value)(const struct ha_sync_view *sync))
{
    struct ha_sync_view sync;

    ha_view_sync(view->watcher, service, view->now_ms, &sync);
    if (sync.managed)
        line(out, name, service, NULL, value(&sync));
}

static uint64_t is_alone(const struct ha_sync_view *sync)
{
    return sync->alone;
}

static uint64_t needed(const struct ha_sync_view *sync)
{
    return sync->need;
}

static uint64_t replicating(const struct ha_sync_view *sync)
{
    return (uint64_t)__builtin_popcount(sync->replicating);
}

static uint64_t missing(const struct ha_sync_view *sync)
{
    return sync->missing;
}

static void put_alone(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_sync(out, view, service, "service_alone", is_alone);
}

static void put_hold(FILE *out, const struct ha_api_view *view, const struct ha_service *service,
                     const char *name, bool missing)
{
    struct ha_hold_view hold;

    ha_view_hold(view->watcher, service, view->now_ms, &hold);
    if (!hold.wanted)
        return;
    line(out, name, service, NULL,
         missing ? (uint64_t)__builtin_popcount(hold.members & ~hold.promising) +
                       (hold.in_force ? 0 : 1)
                 : hold.holding);
}

static void put_hold_missing(FILE *out, const struct ha_api_view *view,
                             const struct ha_service *service)
{
    put_hold(out, view, service, "hold_missing", true);
}

static void put_held(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_hold(out, view, service, "lease_held_by_agents", false);
}

static void put_needed(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_sync(out, view, service, "sync_needed", needed);
}

static void put_replicating(FILE *out, const struct ha_api_view *view,
                            const struct ha_service *service)
{
    put_sync(out, view, service, "sync_replicating", replicating);
}

static void put_missing(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_sync(out, view, service, "proof_missing", missing);
}

static void put_candidates(FILE *out, const struct ha_api_view *view,
                           const struct ha_service *service)
{
    line(out, "candidates_ready", service, NULL, candidates(view, service));
}

/* How long each stage of the last finished decision took, from when the fault was noticed. */
static void put_durations(FILE *out, const struct ha_api_view *view,
                          const struct ha_service *service)
{
    const struct ha_decision *decision =
        ha_cluster_decision(&view->watcher->cluster, service->decision);
    const struct ha_stages *stages;

    if (decision == NULL || !decision->done)
        return;
    stages = &decision->stages;
    const struct {
        const char *name;
        uint64_t at_ms;
    } all[] = {{"agreed", stages->agreed_ms}, {"fenced", stages->fenced_ms},
               {"chosen", stages->chosen_ms}, {"promoted", stages->promoted_ms},
               {"opened", stages->opened_ms}, {"done", stages->done_ms}};

    for (size_t i = 0; i < HA_ARRAY_LEN(all); i++) {
        uint64_t ms = all[i].at_ms > stages->noticed_ms ? all[i].at_ms - stages->noticed_ms : 0;

        if (all[i].at_ms != 0)
            fprintf(out,
                    "hafailover_last_decision_seconds{service=\"%s\",stage=\"%s\"} %" PRIu64
                    ".%03" PRIu64 "\n",
                    service->config.name, all[i].name, ms / 1000, ms % 1000);
    }
}

static void put_members(FILE *out, const struct ha_api_view *view, const struct ha_service *service,
                        const char *name,
                        bool (*value)(const struct ha_member_view *seen, uint64_t *ret))
{
    struct ha_member_view seen;
    uint64_t number;

    for (uint32_t at = 0; ha_view_member(view->watcher, service, at, view->now_ms, &seen); at++)
        if (value(&seen, &number))
            line(out, name, service, seen.config->name, number);
}

static bool is_up(const struct ha_member_view *seen, uint64_t *ret)
{
    *ret = seen->verdict == HA_VERDICT_UP;
    return true;
}

static bool is_primary(const struct ha_member_view *seen, uint64_t *ret)
{
    *ret = seen->role == HA_ROLE_PRIMARY;
    return true;
}

static bool is_agent_heard(const struct ha_member_view *seen, uint64_t *ret)
{
    *ret = seen->agent_heard;
    return true;
}

static bool lag(const struct ha_member_view *seen, uint64_t *ret)
{
    *ret = seen->lag_bytes;
    return seen->lag_known;
}

static bool lease(const struct ha_member_view *seen, uint64_t *ret)
{
    *ret = seen->lease_left_ms;
    return seen->role == HA_ROLE_PRIMARY;
}

static void put_up(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_members(out, view, service, "member_up", is_up);
}

static void put_primary(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_members(out, view, service, "member_primary", is_primary);
}

static void put_agent(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_members(out, view, service, "agent_heard", is_agent_heard);
}

static void put_lag(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_members(out, view, service, "member_lag_bytes", lag);
}

static void put_lease(FILE *out, const struct ha_api_view *view, const struct ha_service *service)
{
    put_members(out, view, service, "lease_left_milliseconds", lease);
}

static const struct {
    const char *name, *type, *help;
    void (*put)(FILE *out, const struct ha_api_view *view, const struct ha_service *service);
} families[] = {
    {"failovers_total", "counter", "Epochs opened after a failover or a switchover.",
     put_failovers},
    {"last_decision_seconds", "gauge",
     "Of the last finished decision: from the moment the fault was noticed to each stage.",
     put_durations},
    {"service_epoch", "gauge", "Epoch of the service.", put_epoch},
    {"service_steady", "gauge", "1 while nothing is under way.", put_steady},
    {"service_paused", "gauge", "1 while an operator's pause is in force.", put_paused},
    {"service_ready", "gauge", "1 while somebody could take over.", put_ready},
    {"service_alone", "gauge", "1 while writes are, or were, acknowledged by the primary alone.",
     put_alone},
    {"sync_needed", "gauge", "Replicas that must have a write before it is acknowledged.",
     put_needed},
    {"sync_replicating", "gauge", "Replicas that count and replicate now.", put_replicating},
    {"proof_missing", "gauge",
     "Replicas that are missing to show what was acknowledged, were the primary lost now.",
     put_missing},
    {"candidates_ready", "gauge", "Members that could be promoted now.", put_candidates},
    {"member_up", "gauge", "1 while most watchers say that it is up.", put_up},
    {"member_primary", "gauge", "1 for a member that is a primary.", put_primary},
    {"agent_heard", "gauge", "1 while this watcher hears the member's agent.", put_agent},
    {"member_lag_bytes", "gauge", "Bytes behind the primary.", put_lag},
    {"lease_left_milliseconds", "gauge", "What is left of the primary's lease.", put_lease},
    {"hold_missing", "gauge",
     "Agents whose promise is missing to keep the lease, were the watchers lost now.",
     put_hold_missing},
    {"lease_held_by_agents", "gauge", "1 while the lease rests on other agents, not on watchers.",
     put_held},
};

char *ha_render_metrics(const struct ha_api_view *view)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL)
        return NULL;
    family(out, "build_info", "gauge", "The version of this program.");
    fprintf(out, "hafailover_build_info{version=\"%s\"} 1\n", HA_VERSION);
    put_raft(out, view);
    put_cluster(out, view);
    for (size_t i = 0; i < HA_ARRAY_LEN(families); i++) {
        family(out, families[i].name, families[i].type, families[i].help);
        for (uint32_t at = 0; at < HA_SERVICES_MAX; at++)
            if (cluster->services[at].used)
                families[i].put(out, view, &cluster->services[at]);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
