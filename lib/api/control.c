#include "lib/api/control.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/call.h"
#include "lib/api/render.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster.h"
#include "lib/core/watcher.h"
#include "lib/wire/config.h"
#include "lib/wire/json.h"
#include "lib/wire/snapshot.h"

#define HISTORY_DEFAULT 20u
#define BODY_MAX 4096u /* of a JSON body; the configuration has its own limit */

enum ha_api_role ha_api_role_of(const char *peer, bool is_local)
{
    if (is_local)
        return HA_API_OPERATE;
    if (strncmp(peer, "ctl/", 4) == 0)
        return HA_API_OPERATE;
    if (strncmp(peer, "view/", 5) == 0 || strncmp(peer, "watcher/", 8) == 0)
        return HA_API_VIEW;
    return HA_API_NOBODY;
}

void ha_reply_json(struct ha_api_reply *reply, int status, json_t *json)
{
    char *body = ha_json_dump(json, JSON_COMPACT); /* whoever reads it has a tool that indents */

    json_decref(json);
    ha_reply_text(reply, status, body);
    reply->type = "application/json";
}

void ha_reply_text(struct ha_api_reply *reply, int status, char *text)
{
    free(reply->body);
    reply->body = text;
    reply->body_size = text != NULL ? strlen(text) : 0;
    reply->status = text != NULL ? status : 500;
    reply->type = "text/plain; charset=utf-8";
}

static int status_of(int code)
{
    switch ((enum ha_code)code) {
    case HA_OK:
        return 200;
    case HA_EINVAL:
    case HA_EPROTO:
        return 400;
    case HA_EAUTH:
        return 401;
    case HA_EDENIED:
    case HA_ESTALE:
    case HA_EEXIST:
        return 409;
    case HA_ENOENT:
        return 404;
    case HA_ETIMEDOUT:
        return 504;
    case HA_ENOTSUP:
        return 405;
    case HA_EBUSY:
    case HA_EFULL:
    case HA_ECANCELED:
    case HA_EUNREACH:
    case HA_EREFUSED:
    case HA_ECLOSED:
    case HA_EIO:
    case HA_ENOMEM:
    case HA_ENOTLEADER:
    case HA_ENOQUORUM:
    case HA_ECORRUPT:
        return 503;
    }
    return 500;
}

static void refuse(struct ha_api_reply *reply, int status, int code, const char *text)
{
    ha_reply_json(reply, status,
                  json_pack("{s:o,s:s}", "error",
                            ha_json_text(text[0] != '\0' ? text : ha_code_text(code)), "code",
                            ha_code_text(code)));
}

void ha_refuse(struct ha_api_reply *reply, int code, const char *text)
{
    refuse(reply, status_of(code), code, text);
}

const char *ha_call_arg(const struct ha_call *call, const char *key)
{
    return call->request->query(call->request->query_ctx, key);
}

void ha_call_author(const struct ha_call *call, char author[HA_NAME_SIZE])
{
    const char *peer = call->request->peer;
    const char *slash = strchr(peer, '/');

    if (peer[0] == '\0')
        peer = ha_call_arg(call, "author") != NULL ? ha_call_arg(call, "author") : "local";
    else if (slash != NULL)
        peer = slash + 1;
    if (ha_text_copy(author, HA_NAME_SIZE, peer) != HA_OK || !ha_text_is_name(peer, HA_NAME_SIZE))
        (void)ha_text_copy(author, HA_NAME_SIZE, "operator");
}

json_t *ha_call_body(const struct ha_call *call)
{
    const struct ha_api_request *request = call->request;
    json_error_t error;
    json_t *json;

    if (request->body_size == 0)
        return json_object();
    if (request->body_size > BODY_MAX) {
        ha_refuse(call->reply, HA_EINVAL, "the body is too long");
        return NULL;
    }
    json = json_loadb(request->body, request->body_size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(json)) {
        json_decref(json);
        ha_refuse(call->reply, HA_EINVAL, "the body is not a JSON object");
        return NULL;
    }
    return json;
}

const struct ha_service *ha_call_service(const struct ha_call *call)
{
    const struct ha_service *service =
        ha_cluster_service_named(&call->view->watcher->cluster, call->name);

    if (service == NULL)
        ha_refuse(call->reply, HA_ENOENT, "there is no service of that name; `status` lists them");
    return service;
}

struct ha_command *ha_call_write(const struct ha_call *call, enum ha_command_kind kind)
{
    struct ha_command *command = &call->reply->command;

    *command = (struct ha_command){.kind = kind, .wall_ms = call->view->wall_ms};
    call->reply->is_write = true;
    return command;
}

static void get_status(const struct ha_call *call)
{
    const char *service = ha_call_arg(call, "service");

    if (service != NULL &&
        ha_cluster_service_named(&call->view->watcher->cluster, service) == NULL) {
        ha_refuse(call->reply, HA_ENOENT, "there is no service of that name; `status` lists them");
        return;
    }
    ha_reply_text(call->reply, 200, ha_render_status(call->view, service));
    call->reply->type = "application/json";
}

static void get_watchers(const struct ha_call *call)
{
    const struct ha_cluster *cluster = &call->view->watcher->cluster;
    char digest[17];

    /* Two watchers that name the same index must name the same digest. */
    (void)ha_text_format(digest, sizeof(digest), "%016" PRIx64, ha_snapshot_digest(cluster));
    ha_reply_json(call->reply, 200,
                  json_pack("{s:I,s:s,s:b,s:o}", "index", (json_int_t)cluster->index, "digest",
                            digest, "settling", ha_cluster_is_settling(cluster), "watchers",
                            ha_render_watchers(call->view)));
}

/* Whether there is, or was, a service of that name: what happened outlives it. */
static bool was_ever(const struct ha_cluster *cluster, const char *service)
{
    const uint64_t decisions = cluster->decision_last, notices = cluster->notice_last;

    if (ha_cluster_service_named(cluster, service) != NULL)
        return true;
    for (uint64_t id = decisions; id > 0 && decisions - id < HA_HISTORY_MAX; id--) {
        const struct ha_decision *decision = ha_cluster_decision(cluster, id);

        if (decision != NULL && strcmp(decision->service_name, service) == 0)
            return true;
    }
    for (uint64_t seq = notices; seq > 0 && notices - seq < HA_EVENTS_MAX; seq--) {
        const struct ha_notice *notice = ha_cluster_event(cluster, seq);

        if (notice != NULL && strcmp(notice->service_name, service) == 0)
            return true;
    }
    return false;
}

/* The service whose records are asked for, NULL: all; false: refused already. */
static bool take_service(const struct ha_call *call, const char **ret)
{
    *ret = ha_call_arg(call, "service");
    /* One that has just started knows of few, and who follows must not be sent away. */
    if (*ret == NULL || !call->view->watcher->caught_up ||
        was_ever(&call->view->watcher->cluster, *ret))
        return true;
    ha_refuse(call->reply, HA_ENOENT, "there is no service of that name; `status` lists them");
    return false;
}

/* A number of the query, left alone when it is not given; false: refused already. */
static bool take_number(const struct ha_call *call, const char *key, uint64_t max, uint64_t *ret)
{
    const char *text = ha_call_arg(call, key);
    char why[HA_TEXT_SIZE];

    if (text == NULL || ha_text_u64(text, max, ret) == HA_OK)
        return true;
    (void)ha_text_format(why, sizeof(why), "%s is not a number up to %" PRIu64, key, max);
    ha_refuse(call->reply, HA_EINVAL, why);
    return false;
}

static void get_events(const struct ha_call *call)
{
    uint64_t last = call->view->watcher->cluster.notice_last;
    uint64_t count = HISTORY_DEFAULT, after = UINT64_MAX;
    const char *service;

    if (!take_number(call, "count", HA_EVENTS_MAX, &count) ||
        !take_number(call, "after", INT64_MAX, &after) || !take_service(call, &service))
        return;
    if (after == UINT64_MAX) /* the last ones */
        after = last > count ? last - count : 0;
    ha_reply_json(call->reply, 200, ha_render_events(call->view, service, after, count));
}

/* The state as the log keeps it: the shell answers before it comes here. */
static void get_backup(const struct ha_call *call)
{
    ha_refuse(call->reply, HA_EBUSY, "there is no backup now: try again");
}

static void get_webhooks(const struct ha_call *call)
{
    ha_reply_json(call->reply, 200, ha_render_webhooks(call->view));
}

static void get_history(const struct ha_call *call)
{
    uint64_t count = HISTORY_DEFAULT;
    const char *service;

    if (!take_number(call, "count", HA_HISTORY_MAX, &count) || !take_service(call, &service))
        return;
    ha_reply_json(call->reply, 200, ha_render_history(call->view, service, (uint32_t)count));
}

static void get_decision(const struct ha_call *call)
{
    const struct ha_decision *decision = NULL;
    uint64_t id;

    if (ha_text_u64(call->name, UINT64_MAX, &id) == HA_OK)
        decision = ha_cluster_decision(&call->view->watcher->cluster, id);
    if (decision == NULL)
        ha_refuse(call->reply, HA_ENOENT,
                  "there is no such decision, or it is too old; `history` lists them");
    else
        ha_reply_json(call->reply, 200, ha_render_explanation(call->view, decision));
}

static void answer_config(const struct ha_call *call, uint64_t version)
{
    const struct ha_cluster *cluster = &call->view->watcher->cluster;
    const char *text = "";
    uint32_t size = 0;

    if (version != 0 && ha_cluster_archived(cluster, version, &text, &size) != HA_OK) {
        ha_refuse(call->reply, HA_ENOENT, "that version is not kept");
        return;
    }
    ha_reply_json(
        call->reply, 200,
        json_pack("{s:I,s:s%}", "version", (json_int_t)version, "text", text, (size_t)size));
}

/* A watcher that has just started may lack the configuration in force: what is made from its own
 * would be refused for the wrong reason. */
static bool refuse_behind(const struct ha_call *call)
{
    if (call->view->watcher->caught_up)
        return false;
    ha_refuse(call->reply, HA_EBUSY,
              "this watcher has just started and does not know the state in force yet: try again");
    return true;
}

static void get_config(const struct ha_call *call)
{
    if (!refuse_behind(call))
        answer_config(call, call->view->watcher->cluster.config_version);
}

static void get_config_version(const struct ha_call *call)
{
    uint64_t version;

    if (ha_text_u64(call->name, INT64_MAX, &version) != HA_OK || version == 0)
        ha_refuse(call->reply, HA_EINVAL, "a version is a number from 1 on");
    else
        answer_config(call, version);
}

static void get_config_history(const struct ha_call *call)
{
    ha_reply_json(call->reply, 200, ha_render_archive(call->view));
}

/* The body as terminated text and parsed, both owned by the reply; false: refused already. */
static bool take_config(const struct ha_call *call)
{
    const struct ha_api_request *request = call->request;
    struct ha_api_reply *reply = call->reply;
    struct ha_err err = {0};
    uint32_t watchers = call->view->watcher_count;

    if (refuse_behind(call))
        return false;
    if (request->body_size > HA_CONFIG_TEXT_MAX) {
        ha_refuse(reply, HA_EINVAL, "the configuration is too long");
        return false;
    }
    reply->text = calloc(1, request->body_size + 1);
    reply->config = calloc(1, sizeof(*reply->config));
    if (reply->text == NULL || reply->config == NULL) {
        ha_refuse(reply, HA_ENOMEM, "");
        return false;
    }
    if (request->body_size > 0)
        memcpy(reply->text, request->body, request->body_size);
    if (strlen(reply->text) != request->body_size) {
        ha_refuse(reply, HA_EINVAL, "the configuration holds a NUL byte");
        return false;
    }
    if (ha_config_parse(reply->text, request->body_size, watchers, reply->config, &err) != HA_OK) {
        ha_refuse(reply, HA_EINVAL, err.text);
        return false;
    }
    return true;
}

static void put_config(const struct ha_call *call)
{
    struct ha_command *command;
    uint64_t base = call->view->watcher->cluster.config_version;

    if (ha_call_arg(call, "base") != NULL &&
        ha_text_u64(ha_call_arg(call, "base"), INT64_MAX, &base) != HA_OK) {
        ha_refuse(call->reply, HA_EINVAL, "base is not a version");
        return;
    }
    if (!take_config(call))
        return;
    command = ha_call_write(call, HA_COMMAND_CONFIG);
    command->u.config.base_version = base;
    command->u.config.config = call->reply->config;
    command->u.config.text = call->reply->text;
    ha_call_author(call, command->u.config.author);
}

static void add_line(void *arg_list, const char *line)
{
    (void)json_array_append_new(arg_list, json_string(line));
}

static void post_diff(const struct ha_call *call)
{
    const struct ha_cluster *cluster = &call->view->watcher->cluster;
    struct ha_config *old = calloc(1, sizeof(*old));
    json_t *lines = json_array();
    const char *text;
    uint32_t size;

    if (old == NULL || !take_config(call))
        goto out;
    if (cluster->config_version != 0 &&
        ha_cluster_archived(cluster, cluster->config_version, &text, &size) == HA_OK) {
        /* It was accepted once; a text that does not parse any more shows as all new. */
        (void)ha_config_parse(text, size, 0, old, NULL);
    }
    (void)ha_config_diff(old, call->reply->config, add_line, lines);
    ha_reply_json(
        call->reply, 200,
        json_pack("{s:I,s:O}", "version", (json_int_t)cluster->config_version, "lines", lines));
out:
    free(old);
    json_decref(lines);
}

static void get_health(const struct ha_call *call)
{
    ha_reply_text(call->reply, 200, strdup("ok\n"));
}

/* Ready: a leader is heard, and this watcher has applied what it named and promises. Who restarts
 * one after another goes on then: two that do not promise are a lease that ends. */
static void get_ready(const struct ha_call *call)
{
    const struct ha_watcher *watcher = call->view->watcher;

    if (call->view->leader[0] == '\0')
        ha_reply_text(call->reply, 503, strdup("no leader is known\n"));
    else if (!watcher->caught_up)
        ha_reply_text(call->reply, 503, strdup("not caught up with the leader yet\n"));
    else if (call->view->now_ms < watcher->blind_until_ms)
        ha_reply_text(call->reply, 503,
                      strdup("promises of the last run may be outstanding: none is given yet\n"));
    else
        ha_reply_text(call->reply, 200, strdup("ready\n"));
}

static void get_metrics(const struct ha_call *call)
{
    ha_reply_text(call->reply, 200, ha_render_metrics(call->view));
}

/* First match wins; '*' stands for one path element, which becomes call->name. */
static const struct {
    const char *method, *path;
    enum ha_api_role role;
    void (*handle)(const struct ha_call *call);
} routes[] = {
    {"GET", "/healthz", HA_API_NOBODY, get_health},
    {"GET", "/ready", HA_API_NOBODY, get_ready},
    {"GET", "/metrics", HA_API_VIEW, get_metrics},
    {"GET", "/v1/status", HA_API_VIEW, get_status},
    {"GET", "/v1/watchers", HA_API_VIEW, get_watchers},
    {"POST", "/v1/watchers/replace", HA_API_OPERATE, ha_post_replace},
    {"GET", "/v1/backup", HA_API_OPERATE, get_backup},
    {"GET", "/v1/history", HA_API_VIEW, get_history},
    {"GET", "/v1/decisions/*", HA_API_VIEW, get_decision},
    {"GET", "/v1/config", HA_API_VIEW, get_config},
    {"GET", "/v1/config/history", HA_API_VIEW, get_config_history},
    {"GET", "/v1/config/*", HA_API_VIEW, get_config_version},
    {"PUT", "/v1/config", HA_API_OPERATE, put_config},
    {"POST", "/v1/config/diff", HA_API_VIEW, post_diff},
    {"GET", "/v1/events", HA_API_VIEW, get_events},
    {"GET", "/v1/webhooks", HA_API_VIEW, get_webhooks},
    {"GET", "/v1/services/*/why-not", HA_API_VIEW, ha_get_why_not},
    {"POST", "/v1/services/*/failover", HA_API_OPERATE, ha_post_failover},
    {"POST", "/v1/services/*/switchover", HA_API_OPERATE, ha_post_switchover},
    {"POST", "/v1/services/*/pause", HA_API_OPERATE, ha_post_pause},
    {"POST", "/v1/services/*/resume", HA_API_OPERATE, ha_post_resume},
    {"POST", "/v1/services/*/lift", HA_API_OPERATE, ha_post_lift},
    {"POST", "/v1/webhooks/*/test", HA_API_OPERATE, ha_post_webhook_test},
};

static bool path_matches(const char *pattern, const char *path, char name[HA_NAME_SIZE])
{
    const char *star = strchr(pattern, '*');
    size_t head, size;

    if (star == NULL)
        return strcmp(pattern, path) == 0;
    head = (size_t)(star - pattern);
    if (strncmp(pattern, path, head) != 0)
        return false;
    size = strcspn(path + head, "/");
    if (size == 0 || size >= HA_NAME_SIZE || strcmp(star + 1, path + head + size) != 0)
        return false;
    memset(name, 0, HA_NAME_SIZE);
    memcpy(name, path + head, size);
    return ha_text_is_name(name, HA_NAME_SIZE); /* numbers are too */
}

void ha_api_handle(const struct ha_api_request *request, const struct ha_api_view *view,
                   struct ha_api_reply *reply)
{
    struct ha_call call = {.request = request, .view = view, .reply = reply};
    bool known = false;

    *reply = (struct ha_api_reply){.status = 500, .type = "application/json"};
    for (size_t i = 0; i < HA_ARRAY_LEN(routes); i++) {
        if (!path_matches(routes[i].path, request->path, call.name))
            continue;
        known = true;
        if (strcmp(routes[i].method, request->method) != 0)
            continue;
        if (request->role < routes[i].role) {
            refuse(reply, 403, HA_EDENIED, "this name may not do that");
            return;
        }
        routes[i].handle(&call);
        return;
    }
    if (known)
        refuse(reply, 405, HA_ENOTSUP, "this path does not take that method");
    else
        ha_refuse(reply, HA_ENOENT, "there is no such path");
}

void ha_api_finish(struct ha_api_reply *reply, const struct ha_api_view *view, uint64_t index,
                   int code, const char *text)
{
    const struct ha_cluster *cluster = &view->watcher->cluster;
    const struct ha_service *service = NULL;
    json_t *json;

    if (code == HA_ENOQUORUM || code == HA_ENOTLEADER)
        text = "no leader took it, nothing was done: too few watchers hear each other, or an "
               "election is on; `watchers` tells, then try again";
    if (code != HA_OK) {
        ha_refuse(reply, code, text);
        return;
    }
    json = json_pack("{s:b,s:I,s:I,s:I,s:o}", "ok", 1, "index", (json_int_t)index, "config_version",
                     (json_int_t)cluster->config_version, "seq", (json_int_t)cluster->notice_last,
                     "text", ha_json_text(text));
    /* What to follow: the record that this entry has opened. */
    if (reply->command.kind == HA_COMMAND_BEGIN)
        service = ha_cluster_service_const(cluster, reply->command.u.begin.ref.service);
    if (service != NULL)
        (void)json_object_set_new(json, "decision", json_integer((json_int_t)service->decision));
    ha_reply_json(reply, 200, json);
}

void ha_api_reply_fini(struct ha_api_reply *reply)
{
    free(reply->body);
    free(reply->text);
    free(reply->config);
    *reply = (struct ha_api_reply){0};
}
