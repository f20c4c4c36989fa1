#include "lib/api/control.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/render.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster.h"
#include "lib/core/watcher.h"
#include "lib/wire/config.h"

#define HISTORY_DEFAULT 20u
#define BODY_MAX 4096u /* of a JSON body; the configuration has its own limit */

/* Everything one handler needs; handlers fill in `reply`. */
struct call {
    const struct ha_api_request *request;
    const struct ha_api_view *view;
    struct ha_api_reply *reply;
    char name[HA_NAME_SIZE]; /* the variable part of the path */
};

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

static void answer_json(struct ha_api_reply *reply, int status, json_t *json)
{
    char *body = json != NULL ? json_dumps(json, JSON_INDENT(2)) : NULL;

    json_decref(json);
    free(reply->body);
    reply->body = body;
    reply->body_size = body != NULL ? strlen(body) : 0;
    reply->status = body != NULL ? status : 500;
    reply->type = "application/json";
}

static void answer_text(struct ha_api_reply *reply, int status, char *text)
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
    answer_json(reply, status,
                json_pack("{s:s,s:s}", "error", text[0] != '\0' ? text : ha_code_text(code), "code",
                          ha_code_text(code)));
}

static void refuse_code(struct ha_api_reply *reply, int code, const char *text)
{
    refuse(reply, status_of(code), code, text);
}

static const char *arg(const struct call *call, const char *key)
{
    return call->request->query(call->request->query_ctx, key);
}

/* The operator's name for the log: what TLS proved, or who says so on the local socket. */
static void put_author(const struct call *call, char author[HA_NAME_SIZE])
{
    const char *peer = call->request->peer;
    const char *slash = strchr(peer, '/');

    if (peer[0] == '\0')
        peer = arg(call, "author") != NULL ? arg(call, "author") : "local";
    else if (slash != NULL)
        peer = slash + 1;
    if (ha_text_copy(author, HA_NAME_SIZE, peer) != HA_OK || !ha_text_is_name(peer, HA_NAME_SIZE))
        (void)ha_text_copy(author, HA_NAME_SIZE, "operator");
}

/* The JSON object in the body; an empty body is an empty object. NULL: refused already. */
static json_t *body_object(const struct call *call)
{
    const struct ha_api_request *request = call->request;
    json_error_t error;
    json_t *json;

    if (request->body_size == 0)
        return json_object();
    if (request->body_size > BODY_MAX) {
        refuse_code(call->reply, HA_EINVAL, "the body is too long");
        return NULL;
    }
    json = json_loadb(request->body, request->body_size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(json)) {
        json_decref(json);
        refuse_code(call->reply, HA_EINVAL, "the body is not a JSON object");
        return NULL;
    }
    return json;
}

/* Unpack @json by @format, which ends in '!' so that unknown keys are refused. */
#define UNPACK(call, json, ...)                                                              \
    (json_unpack_ex((json), &(json_error_t){0}, JSON_STRICT, __VA_ARGS__) == 0               \
         ? true                                                                              \
         : (refuse_code((call)->reply, HA_EINVAL, "unknown or badly typed key in the body"), \
            false))

static const struct ha_service *service_of(const struct call *call)
{
    const struct ha_service *service =
        ha_cluster_service_named(&call->view->watcher->cluster, call->name);

    if (service == NULL)
        refuse_code(call->reply, HA_ENOENT, "there is no service of that name");
    return service;
}

static struct ha_command *write_command(const struct call *call, enum ha_command_kind kind)
{
    struct ha_command *command = &call->reply->command;

    *command = (struct ha_command){.kind = kind, .wall_ms = call->view->wall_ms};
    call->reply->is_write = true;
    return command;
}

static void get_status(const struct call *call)
{
    answer_json(call->reply, 200, ha_render_status(call->view, arg(call, "service")));
}

static void get_watchers(const struct call *call)
{
    answer_json(call->reply, 200, json_pack("{s:o}", "watchers", ha_render_watchers(call->view)));
}

/* What a person who replaces the wrong watcher, or one that lives, would not have wanted. */
static const char *objection(const struct ha_api_view *view, const char *old_name)
{
    bool is_known = false, others_heard = true;

    for (uint32_t i = 0; i < view->watcher_count; i++) {
        bool is_old = strcmp(view->watchers[i].name, old_name) == 0;

        if (is_old && view->watchers[i].reachable)
            return "that watcher still answers: stop it for good first, and ask another one";
        is_known = is_known || is_old;
        others_heard = others_heard && (is_old || view->watchers[i].reachable);
    }
    if (!is_known)
        return "there is no watcher of that name";
    return others_heard ? NULL
                        : "another watcher is not heard either: start it first, or wait for it";
}

static void post_replace(const struct call *call)
{
    json_t *body = body_object(call);
    const char *old_name, *new_name, *address, *why;
    struct ha_command *command;
    char host[HA_URL_SIZE];
    uint16_t port;

    if (body == NULL)
        return;
    if (!UNPACK(call, body, "{s:s,s:s,s:s}", "old", &old_name, "new", &new_name, "address",
                &address))
        goto out;
    if (!ha_text_is_name(new_name, HA_NAME_SIZE) || strlen(old_name) >= HA_NAME_SIZE ||
        strlen(address) >= HA_URL_SIZE ||
        ha_text_host_port(address, host, sizeof(host), &port, 0) != HA_OK) {
        refuse_code(call->reply, HA_EINVAL, "the new watcher is NAME=HOST:PORT");
        goto out;
    }
    why = objection(call->view, old_name);
    if (why != NULL) {
        refuse_code(call->reply, HA_EDENIED, why);
        goto out;
    }
    command = write_command(call, HA_COMMAND_REPLACE);
    (void)ha_text_copy(command->u.replace.old_name, HA_NAME_SIZE, old_name);
    (void)ha_text_copy(command->u.replace.new_name, HA_NAME_SIZE, new_name);
    (void)ha_text_copy(command->u.replace.address, HA_URL_SIZE, address);
    put_author(call, command->u.replace.author);
out:
    json_decref(body);
}

static void get_history(const struct call *call)
{
    uint64_t count = HISTORY_DEFAULT;

    if (arg(call, "count") != NULL &&
        ha_text_u64(arg(call, "count"), HA_HISTORY_MAX, &count) != 0) {
        refuse_code(call->reply, HA_EINVAL, "count is not a number up to 256");
        return;
    }
    answer_json(call->reply, 200,
                ha_render_history(call->view, arg(call, "service"), (uint32_t)count));
}

static void get_decision(const struct call *call)
{
    const struct ha_decision *decision = NULL;
    uint64_t id;

    if (ha_text_u64(call->name, UINT64_MAX, &id) == HA_OK)
        decision = ha_cluster_decision(&call->view->watcher->cluster, id);
    if (decision == NULL)
        refuse_code(call->reply, HA_ENOENT, "there is no such decision, or it is too old");
    else
        answer_json(call->reply, 200, ha_render_decision(call->view, decision));
}

static void answer_config(const struct call *call, uint64_t version)
{
    const struct ha_cluster *cluster = &call->view->watcher->cluster;
    const char *text = "";
    uint32_t size = 0;

    if (version != 0 && ha_cluster_archived(cluster, version, &text, &size) != HA_OK) {
        refuse_code(call->reply, HA_ENOENT, "that version is not kept");
        return;
    }
    answer_json(
        call->reply, 200,
        json_pack("{s:I,s:s%}", "version", (json_int_t)version, "text", text, (size_t)size));
}

static void get_config(const struct call *call)
{
    answer_config(call, call->view->watcher->cluster.config_version);
}

static void get_config_version(const struct call *call)
{
    uint64_t version;

    if (ha_text_u64(call->name, INT64_MAX, &version) != HA_OK || version == 0)
        refuse_code(call->reply, HA_EINVAL, "a version is a number from 1 on");
    else
        answer_config(call, version);
}

static void get_config_history(const struct call *call)
{
    answer_json(call->reply, 200, ha_render_archive(call->view));
}

/* The body as terminated text and parsed, both owned by the reply; false: refused already. */
static bool take_config(const struct call *call)
{
    const struct ha_api_request *request = call->request;
    struct ha_api_reply *reply = call->reply;
    struct ha_err err = {0};
    uint32_t watchers = call->view->watcher_count;

    if (request->body_size > HA_CONFIG_TEXT_MAX) {
        refuse_code(reply, HA_EINVAL, "the configuration is too long");
        return false;
    }
    reply->text = calloc(1, request->body_size + 1);
    reply->config = calloc(1, sizeof(*reply->config));
    if (reply->text == NULL || reply->config == NULL) {
        refuse_code(reply, HA_ENOMEM, "");
        return false;
    }
    if (request->body_size > 0)
        memcpy(reply->text, request->body, request->body_size);
    if (strlen(reply->text) != request->body_size) {
        refuse_code(reply, HA_EINVAL, "the configuration holds a NUL byte");
        return false;
    }
    if (ha_config_parse(reply->text, request->body_size, watchers, reply->config, &err) != HA_OK) {
        refuse_code(reply, HA_EINVAL, err.text);
        return false;
    }
    return true;
}

static void put_config(const struct call *call)
{
    struct ha_command *command;
    uint64_t base = call->view->watcher->cluster.config_version;

    if (arg(call, "base") != NULL && ha_text_u64(arg(call, "base"), INT64_MAX, &base) != HA_OK) {
        refuse_code(call->reply, HA_EINVAL, "base is not a version");
        return;
    }
    if (!take_config(call))
        return;
    command = write_command(call, HA_COMMAND_CONFIG);
    command->u.config.base_version = base;
    command->u.config.config = call->reply->config;
    command->u.config.text = call->reply->text;
    put_author(call, command->u.config.author);
}

static void add_line(void *arg_list, const char *line)
{
    (void)json_array_append_new(arg_list, json_string(line));
}

static void post_diff(const struct call *call)
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
    answer_json(
        call->reply, 200,
        json_pack("{s:I,s:O}", "version", (json_int_t)cluster->config_version, "lines", lines));
out:
    free(old);
    json_decref(lines);
}

static void post_failover(const struct call *call)
{
    const struct ha_service *service = service_of(call);
    json_t *body = service != NULL ? body_object(call) : NULL;
    const char *to = "", *why = "asked by an operator";
    uint32_t target = HA_MEMBER_NONE;
    struct ha_command *command;
    int accept_loss = 0;

    if (body == NULL)
        return;
    if (!UNPACK(call, body, "{s?s,s?b,s?s}", "to", &to, "accept_loss", &accept_loss, "why", &why))
        goto out;
    if (to[0] != '\0') {
        target = ha_service_member_named(service, to);
        if (target == HA_MEMBER_NONE) {
            refuse_code(call->reply, HA_ENOENT, "the service has no member of that name");
            goto out;
        }
    }
    command = write_command(call, HA_COMMAND_BEGIN);
    command->u.begin.ref = (struct ha_ref){.service = service->id, .epoch = service->epoch};
    command->u.begin.reason = HA_REASON_OPERATOR;
    command->u.begin.target = target;
    command->u.begin.accept_loss = accept_loss != 0;
    command->u.begin.noticed_ms = call->view->wall_ms;
    (void)ha_text_format(command->u.begin.text, HA_TEXT_SIZE, "%s", why);
out:
    json_decref(body);
}

/* pause, resume and lift share their shape. */
static void post_pausing(const struct call *call, enum ha_command_kind kind)
{
    const struct ha_service *service = service_of(call);
    json_t *body = service != NULL ? body_object(call) : NULL;
    struct ha_command *command;
    const char *why = "";
    json_int_t for_ms = 0;

    if (body == NULL)
        return;
    if (!UNPACK(call, body, "{s?s,s?I}", "why", &why, "for_ms", &for_ms))
        goto out;
    if (for_ms < 0 || for_ms > (json_int_t)HA_DURATION_MAX_MS * 366) {
        refuse_code(call->reply, HA_EINVAL, "for_ms is not within a year");
        goto out;
    }
    command = write_command(call, kind);
    command->u.pause.service = service->id;
    if (for_ms > 0)
        command->u.pause.until_ms = call->view->wall_ms + (uint64_t)for_ms;
    put_author(call, command->u.pause.author);
    (void)ha_text_format(command->u.pause.text, HA_TEXT_SIZE, "%s", why);
out:
    json_decref(body);
}

static void post_pause(const struct call *call)
{
    post_pausing(call, HA_COMMAND_PAUSE);
}

static void post_resume(const struct call *call)
{
    post_pausing(call, HA_COMMAND_RESUME);
}

static void post_lift(const struct call *call)
{
    post_pausing(call, HA_COMMAND_LIFT);
}

static void post_test_notice(const struct call *call)
{
    (void)write_command(call, HA_COMMAND_TEST_NOTICE);
}

static void get_health(const struct call *call)
{
    answer_text(call->reply, 200, strdup("ok\n"));
}

/* Ready: a leader is heard and this watcher has applied what it named. */
static void get_ready(const struct call *call)
{
    if (call->view->leader[0] == '\0')
        answer_text(call->reply, 503, strdup("no leader is known\n"));
    else if (!call->view->watcher->caught_up)
        answer_text(call->reply, 503, strdup("not caught up with the leader yet\n"));
    else
        answer_text(call->reply, 200, strdup("ready\n"));
}

static void get_metrics(const struct call *call)
{
    answer_text(call->reply, 200, ha_render_metrics(call->view));
}

/* First match wins; '*' stands for one path element, which becomes call->name. */
static const struct {
    const char *method, *path;
    enum ha_api_role role;
    void (*handle)(const struct call *call);
} routes[] = {
    {"GET", "/healthz", HA_API_NOBODY, get_health},
    {"GET", "/ready", HA_API_NOBODY, get_ready},
    {"GET", "/metrics", HA_API_VIEW, get_metrics},
    {"GET", "/v1/status", HA_API_VIEW, get_status},
    {"GET", "/v1/watchers", HA_API_VIEW, get_watchers},
    {"POST", "/v1/watchers/replace", HA_API_OPERATE, post_replace},
    {"GET", "/v1/history", HA_API_VIEW, get_history},
    {"GET", "/v1/decisions/*", HA_API_VIEW, get_decision},
    {"GET", "/v1/config", HA_API_VIEW, get_config},
    {"GET", "/v1/config/history", HA_API_VIEW, get_config_history},
    {"GET", "/v1/config/*", HA_API_VIEW, get_config_version},
    {"PUT", "/v1/config", HA_API_OPERATE, put_config},
    {"POST", "/v1/config/diff", HA_API_VIEW, post_diff},
    {"POST", "/v1/services/*/failover", HA_API_OPERATE, post_failover},
    {"POST", "/v1/services/*/pause", HA_API_OPERATE, post_pause},
    {"POST", "/v1/services/*/resume", HA_API_OPERATE, post_resume},
    {"POST", "/v1/services/*/lift", HA_API_OPERATE, post_lift},
    {"POST", "/v1/notices/test", HA_API_OPERATE, post_test_notice},
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
    return true;
}

void ha_api_handle(const struct ha_api_request *request, const struct ha_api_view *view,
                   struct ha_api_reply *reply)
{
    struct call call = {.request = request, .view = view, .reply = reply};
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
        refuse_code(reply, HA_ENOENT, "there is no such path");
}

void ha_api_finish(struct ha_api_reply *reply, const struct ha_api_view *view, uint64_t index,
                   int code, const char *text)
{
    if (code != HA_OK) {
        refuse_code(reply, code, text);
        return;
    }
    answer_json(reply, 200,
                json_pack("{s:b,s:I,s:I,s:s}", "ok", 1, "index", (json_int_t)index,
                          "config_version", (json_int_t)view->watcher->cluster.config_version,
                          "text", text));
}

void ha_api_reply_fini(struct ha_api_reply *reply)
{
    free(reply->body);
    free(reply->text);
    free(reply->config);
    *reply = (struct ha_api_reply){0};
}
