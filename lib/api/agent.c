#include "lib/api/agent.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/core/agent.h"
#include "lib/wire/json.h"
#include "lib/wire/notice.h"

/* Questions of one service */

static uint64_t left(uint64_t until_ms, uint64_t now_ms)
{
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

static bool is_known(const struct ha_held *held)
{
    return held->used && held->settings.port != 0 && !held->settings.gone;
}

static bool is_primary(const struct ha_held *held, uint64_t now_ms)
{
    return held->epoch != HA_EPOCH_NONE && held->serving && !held->giving_up &&
           held->sample.role == HA_ROLE_PRIMARY &&
           (ha_held_lease_end_ms(held) > now_ms || ha_held_hold_end_ms(held) > now_ms) &&
           held->lease_until_ms > now_ms && held->gate_until_ms > now_ms;
}

static bool is_answering(const struct ha_held *held, uint64_t now_ms)
{
    return held->process == HA_PROCESS_RUNNING && held->sampled &&
           held->sample.answer == HA_ANSWER_OK &&
           now_ms - held->sampled_ms < held->settings.hang_after_ms;
}

/* Whether its link is up is another question: replicas go on serving when there is no primary. */
static bool is_replica(const struct ha_held *held, uint64_t now_ms)
{
    return is_answering(held, now_ms) && held->epoch == HA_EPOCH_NONE &&
           held->sample.role == HA_ROLE_REPLICA && !held->sample.copying &&
           held->gate_until_ms > now_ms;
}

static uint32_t promises(const struct ha_held *held, uint64_t now_ms)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < HA_WATCHERS_MAX; i++)
        count += held->granted[i].until_ms > now_ms ? 1 : 0;
    return count;
}

static uint32_t linked(const struct ha_agent_view *view)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < view->watcher_count; i++)
        count += view->watchers[i].linked ? 1 : 0;
    return count;
}

/* What it does and why, as a sentence */

/* Of the set that may keep its lease: those who promise now, or do not. */
static bool is_of_hold(const struct ha_held *held, uint32_t peer, bool promising, uint64_t now_ms)
{
    uint32_t id = held->settings.peers[peer].id;

    return id <= HA_MEMBERS_MAX && held->epoch != HA_EPOCH_NONE &&
           held->hold.terms.epoch == held->epoch &&
           (held->hold.terms.set.members >> id & 1u) != 0 &&
           (!promising || held->hold.given_ms[id] > now_ms);
}

static void tell_held(const struct ha_agent_view *view, const struct ha_held *held,
                      char text[HA_TEXT_SIZE])
{
    const char *between = " ";

    (void)ha_text_format(text, HA_TEXT_SIZE,
                         "primary of epoch %" PRIu64 ": takes writes, lease for %" PRIu64
                         " ms, held by agents for want of watchers since %" PRIu64 " s:",
                         held->epoch, left(held->lease_until_ms, view->now_ms),
                         (view->now_ms - held->hold.since_ms) / 1000);
    for (uint32_t i = 0; i < held->settings.peer_count; i++) {
        if (!is_of_hold(held, i, true, view->now_ms))
            continue;
        (void)ha_text_append(text, HA_TEXT_SIZE, "%s%s", between, held->settings.peers[i].agent);
        between = ", ";
    }
}

static void tell_holder(const struct ha_agent_view *view, const struct ha_held *held,
                        char text[HA_TEXT_SIZE])
{
    uint32_t few = view->watcher_count / 2, count = linked(view);

    if (held->giving_up)
        (void)ha_text_format(text, HA_TEXT_SIZE, "ends epoch %" PRIu64 ": closes its gate",
                             held->epoch);
    else if (!is_primary(held, view->now_ms))
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "holds epoch %" PRIu64 " but takes no writes: %" PRIu32 " of %" PRIu32
                             " watchers promise, a majority must",
                             held->epoch, promises(held, view->now_ms), view->watcher_count);
    else if (held->hold.since_ms != 0)
        tell_held(view, held, text);
    else if (count <= few)
        (void)ha_text_format(
            text, HA_TEXT_SIZE,
            "primary of epoch %" PRIu64 " until its lease ends in %" PRIu64 " ms: only %" PRIu32
            " of %" PRIu32 " watchers are linked; it goes on when they are back",
            held->epoch, left(held->lease_until_ms, view->now_ms), count, view->watcher_count);
    else
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "primary of epoch %" PRIu64 ": takes writes, lease for %" PRIu64
                             " ms, promised by %" PRIu32 " watchers",
                             held->epoch, left(held->lease_until_ms, view->now_ms),
                             promises(held, view->now_ms));
}

static void tell_other(const struct ha_agent_view *view, const struct ha_held *held,
                       char text[HA_TEXT_SIZE])
{
    const struct ha_sample *sample = &held->sample;

    if (held->process == HA_PROCESS_GONE)
        (void)ha_text_copy(text, HA_TEXT_SIZE, "its database does not run: its gate is closed");
    else if (!is_answering(held, view->now_ms))
        (void)ha_text_format(text, HA_TEXT_SIZE, "its database does not answer: %s %.120s",
                             ha_answer_text(sample->answer), sample->text);
    else if (sample->role == HA_ROLE_PRIMARY)
        (void)ha_text_copy(text, HA_TEXT_SIZE,
                           "a primary without an epoch: closed until a watcher says what it is");
    else if (held->gate_until_ms <= view->now_ms)
        (void)ha_text_copy(text, HA_TEXT_SIZE,
                           "a replica, closed until it is seen to refuse writes");
    else
        (void)ha_text_format(text, HA_TEXT_SIZE, "replica of %.100s:%u: serves reads%s",
                             sample->upstream_host, (unsigned)sample->upstream_port,
                             sample->copying   ? ", in the middle of a full copy"
                             : sample->link_up ? ""
                                               : ", though that is not connected");
}

static void tell(const struct ha_agent_view *view, const struct ha_held *held,
                 char text[HA_TEXT_SIZE])
{
    text[0] = '\0';
    if (held->epoch != HA_EPOCH_NONE)
        tell_holder(view, held, text);
    else
        tell_other(view, held, text);
    if (held->given_up > 0 && held->epoch == HA_EPOCH_NONE)
        (void)ha_text_append(
            text, HA_TEXT_SIZE, "; gave up epoch %" PRIu64 "%s%s", held->given_up,
            held->given_up_why != HA_VERDICT_UNKNOWN ? ": " : "",
            held->given_up_why != HA_VERDICT_UNKNOWN ? ha_verdict_text(held->given_up_why) : "");
}

/* Answers */

static void reply_text(struct ha_agent_reply *reply, int status, const char *text)
{
    reply->status = status;
    reply->type = "text/plain; charset=utf-8";
    reply->body = strdup(text);
}

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value);
}

static json_t *number(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

/* Whose promises may keep its lease, and what it promised others. */
static json_t *hold_of(const struct ha_held *held, uint64_t now_ms)
{
    json_t *one = json_object(), *members = json_array(), *promising = json_array();

    for (uint32_t i = 0; i < held->settings.peer_count; i++) {
        const char *name = held->settings.peers[i].name;

        if (is_of_hold(held, i, false, now_ms))
            (void)json_array_append_new(members, json_string(name));
        if (is_of_hold(held, i, true, now_ms))
            (void)json_array_append_new(promising, json_string(name));
    }
    set(one, "members", members);
    set(one, "promising", promising);
    set(one, "holding", json_boolean(held->hold.since_ms != 0));
    set(one, "holding_ms",
        held->hold.since_ms != 0 ? number(now_ms - held->hold.since_ms) : json_null());
    set(one, "promised_ms", number(left(held->hold.until_ms, now_ms)));
    return one;
}

static json_t *service_of(const struct ha_agent_view *view, const struct ha_held *held)
{
    uint64_t now_ms = view->now_ms;
    char text[HA_TEXT_SIZE];
    json_t *one = json_object();

    tell(view, held, text);
    set(one, "service", json_string(held->settings.service_name));
    set(one, "member", json_string(held->settings.member_name));
    set(one, "engine", json_string(ha_engine_text(held->settings.engine)));
    set(one, "text", ha_json_text(text));
    set(one, "primary", json_boolean(is_primary(held, now_ms)));
    set(one, "replica", json_boolean(is_replica(held, now_ms)));
    set(one, "role", json_string(ha_role_text(held->sample.role)));
    set(one, "process", json_string(ha_process_text(held->process)));
    set(one, "answer", json_string(ha_answer_text(held->sample.answer)));
    set(one, "answer_age_ms", held->sampled ? number(now_ms - held->sampled_ms) : json_null());
    set(one, "epoch", number(held->epoch));
    set(one, "epoch_seen", number(held->epoch_seen));
    set(one, "given_up", number(held->given_up));
    set(one, "lease_left_ms", number(left(held->lease_until_ms, now_ms)));
    set(one, "promises", number(promises(held, now_ms)));
    set(one, "hold", hold_of(held, now_ms));
    set(one, "gate_open", json_boolean(held->gate_until_ms > now_ms));
    set(one, "gate_left_ms", number(left(held->gate_until_ms, now_ms)));
    set(one, "vip", json_string(held->settings.vip));
    set(one, "vip_held", json_boolean(held->vip_held));
    set(one, "upstream_host", ha_json_text(held->sample.upstream_host));
    set(one, "upstream_port", number(held->sample.upstream_port));
    set(one, "link_up", json_boolean(held->sample.link_up));
    set(one, "order", json_string(ha_order_kind_text(held->order.kind)));
    set(one, "order_epoch", number(held->order.epoch));
    set(one, "order_result", json_string(ha_result_text(held->result)));
    set(one, "order_text", ha_json_text(held->text));
    return one;
}

static void answer_status(const struct ha_agent_view *view, struct ha_agent_reply *reply)
{
    json_t *answer = json_object(), *watchers = json_array(), *services = json_array();
    char time[HA_TIME_TEXT_SIZE];

    ha_time_text(view->wall_ms, time);
    set(answer, "agent", json_string(view->name));
    set(answer, "version", json_string(HA_VERSION));
    set(answer, "time", json_string(time));
    set(answer, "gate", json_string(ha_gate_text(view->agent->gate)));
    set(answer, "watchers_linked", number(linked(view)));
    for (uint32_t i = 0; i < view->watcher_count; i++) {
        json_t *one = json_object();

        set(one, "name", json_string(view->watchers[i].name));
        set(one, "linked", json_boolean(view->watchers[i].linked));
        (void)json_array_append_new(watchers, one);
    }
    for (uint32_t i = 0; i < view->agent->held_count; i++)
        if (is_known(&view->agent->held[i]))
            (void)json_array_append_new(services, service_of(view, &view->agent->held[i]));
    set(answer, "watchers", watchers);
    set(answer, "services", services);
    reply->status = 200;
    reply->type = "application/json";
    reply->body = ha_json_dump(answer, JSON_INDENT(2));
    json_decref(answer);
}

static uint64_t value_primary(const struct ha_held *held, uint64_t now_ms)
{
    return is_primary(held, now_ms);
}

static uint64_t value_replica(const struct ha_held *held, uint64_t now_ms)
{
    return is_replica(held, now_ms);
}

static uint64_t value_answering(const struct ha_held *held, uint64_t now_ms)
{
    return is_answering(held, now_ms);
}

static uint64_t value_epoch(const struct ha_held *held, uint64_t now_ms)
{
    (void)now_ms;
    return held->epoch;
}

static uint64_t value_lease(const struct ha_held *held, uint64_t now_ms)
{
    return left(held->lease_until_ms, now_ms);
}

static uint64_t value_gate(const struct ha_held *held, uint64_t now_ms)
{
    return left(held->gate_until_ms, now_ms);
}

static uint64_t value_vip(const struct ha_held *held, uint64_t now_ms)
{
    (void)now_ms;
    return held->vip_held;
}

static uint64_t value_held(const struct ha_held *held, uint64_t now_ms)
{
    return is_primary(held, now_ms) && held->hold.since_ms != 0;
}

static const struct {
    const char *name, *help;
    uint64_t (*value)(const struct ha_held *held, uint64_t now_ms);
} families[] = {
    {"primary", "1 while it takes writes under a lease.", value_primary},
    {"replica", "1 while it is open for reads as a replica.", value_replica},
    {"answering", "1 while the database answers its agent.", value_answering},
    {"epoch", "The epoch it holds; 0: none.", value_epoch},
    {"lease_left_milliseconds", "What is left of its lease.", value_lease},
    {"lease_held_by_agents", "1 while its lease rests on other agents, not on watchers.",
     value_held},
    {"gate_left_milliseconds", "How long its port stays open.", value_gate},
    {"vip_held", "1 while the virtual IP is here.", value_vip},
};

static void answer_metrics(const struct ha_agent_view *view, struct ha_agent_reply *reply)
{
    size_t size = 0;
    FILE *out = open_memstream(&reply->body, &size);

    if (out == NULL)
        return;
    fprintf(out,
            "# HELP hafailover_agent_watchers_linked Watchers that this agent is connected to.\n"
            "# TYPE hafailover_agent_watchers_linked gauge\n"
            "hafailover_agent_watchers_linked %" PRIu32 "\n",
            linked(view));
    for (size_t i = 0; i < HA_ARRAY_LEN(families); i++) {
        fprintf(out, "# HELP hafailover_agent_%s %s\n# TYPE hafailover_agent_%s gauge\n",
                families[i].name, families[i].help, families[i].name);
        for (uint32_t k = 0; k < view->agent->held_count; k++) {
            const struct ha_held *held = &view->agent->held[k];

            if (is_known(held))
                fprintf(out, "hafailover_agent_%s{service=\"%s\",member=\"%s\"} %" PRIu64 "\n",
                        families[i].name, held->settings.service_name, held->settings.member_name,
                        families[i].value(held, view->now_ms));
        }
    }
    if (fclose(out) != 0) {
        free(reply->body);
        reply->body = NULL;
        return;
    }
    reply->status = 200;
    reply->type = "text/plain; charset=utf-8";
}

static void answer_ready(const struct ha_agent_view *view, struct ha_agent_reply *reply)
{
    char text[HA_TEXT_SIZE + 64];
    uint32_t known = 0;

    if (linked(view) <= view->watcher_count / 2) {
        (void)ha_text_format(text, sizeof(text), "%" PRIu32 " of %" PRIu32 " watchers are linked\n",
                             linked(view), view->watcher_count);
        reply_text(reply, 503, text);
        return;
    }
    for (uint32_t i = 0; i < view->agent->held_count; i++) {
        const struct ha_held *held = &view->agent->held[i];

        if (!is_known(held))
            continue;
        known++;
        if (is_answering(held, view->now_ms))
            continue;
        (void)ha_text_format(text, sizeof(text), "the database of %s does not answer\n",
                             held->settings.service_name);
        reply_text(reply, 503, text);
        return;
    }
    reply_text(reply, known > 0 ? 200 : 503,
               known > 0 ? "ready\n" : "no watcher has said what is here to do\n");
}

/* The service that is meant; NULL: answered already. */
static const struct ha_held *find(const struct ha_agent_request *request,
                                  const struct ha_agent_view *view, struct ha_agent_reply *reply)
{
    const struct ha_held *found = NULL;
    uint32_t count = 0;

    for (uint32_t i = 0; i < view->agent->held_count; i++) {
        const struct ha_held *held = &view->agent->held[i];

        if (!is_known(held) || (request->service != NULL &&
                                strcmp(request->service, held->settings.service_name) != 0))
            continue;
        found = held;
        count++;
    }
    if (count == 1)
        return found;
    if (count > 1)
        reply_text(reply, 400, "this host has several services: say ?service=NAME\n");
    else if (request->service != NULL)
        reply_text(reply, 404, "no such service here\n");
    else
        reply_text(reply, 503, "no watcher has said what is here to do\n");
    return NULL;
}

static bool is_either(const struct ha_held *held, uint64_t now_ms)
{
    return is_primary(held, now_ms) || is_replica(held, now_ms);
}

static const struct {
    const char *path;
    bool (*is)(const struct ha_held *held, uint64_t now_ms);
} checks[] = {{"/primary", is_primary},
              {"/read-write", is_primary},
              {"/replica", is_replica},
              {"/read-only", is_either},
              {"/health", is_answering}};

static const struct {
    const char *path;
    void (*answer)(const struct ha_agent_view *view, struct ha_agent_reply *reply);
} pages[] = {{"/status", answer_status}, {"/metrics", answer_metrics}, {"/ready", answer_ready}};

void ha_agent_answer(const struct ha_agent_request *request, const struct ha_agent_view *view,
                     struct ha_agent_reply *reply)
{
    char text[HA_TEXT_SIZE + 1];
    const struct ha_held *held;

    *reply = (struct ha_agent_reply){.status = 500, .type = "text/plain"};
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0 &&
        strcmp(request->method, "OPTIONS") != 0) {
        reply_text(reply, 405, "an agent only answers questions: ask a watcher to change things\n");
        return;
    }
    for (size_t i = 0; i < HA_ARRAY_LEN(checks); i++) {
        if (strcmp(request->path, checks[i].path) != 0)
            continue;
        held = find(request, view, reply);
        if (held == NULL)
            return;
        tell(view, held, text);
        (void)ha_text_append(text, sizeof(text), "\n");
        reply_text(reply, checks[i].is(held, view->now_ms) ? 200 : 503, text);
        return;
    }
    for (size_t i = 0; i < HA_ARRAY_LEN(pages); i++) {
        if (strcmp(request->path, pages[i].path) == 0) {
            pages[i].answer(view, reply);
            return;
        }
    }
    if (strcmp(request->path, "/healthz") == 0)
        reply_text(reply, 200, "ok\n");
    else
        reply_text(reply, 404,
                   "there are /primary /replica /read-only /health /healthz /ready /status "
                   "/metrics\n");
}
