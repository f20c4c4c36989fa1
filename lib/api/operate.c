/* What operators order of a service, and what they ask before they do. */
#include <inttypes.h>
#include <string.h>

#include "lib/api/call.h"
#include "lib/api/render.h"
#include "lib/base/text.h"
#include "lib/core/switchover.h"
#include "lib/core/sync.h"
#include "lib/core/watcher.h"

/* The member @name, HA_MEMBER_NONE for ""; false: refused already. */
static bool find_target(const struct ha_call *call, const struct ha_service *service,
                        const char *name, uint32_t *ret)
{
    char text[HA_TEXT_SIZE] = "";

    *ret = name[0] == '\0' ? HA_MEMBER_NONE : ha_service_member_named(service, name);
    if (name[0] == '\0' || *ret != HA_MEMBER_NONE)
        return true;
    (void)ha_text_format(text, sizeof(text), "%s has no member %.31s; it has", service->config.name,
                         name);
    for (uint32_t i = 0; i < service->config.member_count; i++)
        (void)ha_text_append(text, sizeof(text), "%s %s", i == 0 ? "" : ",",
                             service->config.members[i].name);
    ha_refuse(call->reply, HA_ENOENT, text);
    return false;
}

static void put_begin(const struct ha_call *call, const struct ha_service *service,
                      enum ha_reason reason, uint32_t target, bool accept_loss, const char *why)
{
    struct ha_command *command = ha_call_write(call, HA_COMMAND_BEGIN);
    char author[HA_NAME_SIZE];

    ha_call_author(call, author);
    command->u.begin.ref = (struct ha_ref){.service = service->id, .epoch = service->epoch};
    command->u.begin.reason = reason;
    command->u.begin.target = target;
    command->u.begin.noticed_ms = call->view->wall_ms;
    (void)ha_text_format(command->u.begin.text, HA_TEXT_SIZE, "asked for by %s%s%s%.120s", author,
                         accept_loss ? ", who ACCEPTS LOSS" : "", why[0] != '\0' ? ": " : "", why);
    command->u.begin.accept_loss = accept_loss;
}

void ha_post_failover(const struct ha_call *call)
{
    const struct ha_service *service = ha_call_service(call);
    json_t *body = service != NULL ? ha_call_body(call) : NULL;
    const char *to = "", *why = "";
    uint32_t target = HA_MEMBER_NONE;
    int accept_loss = 0;
    char text[HA_TEXT_SIZE];
    struct ha_plan plan;

    if (body == NULL)
        return;
    if (!HA_UNPACK(call, body, "{s?s,s?b,s?s}", "to", &to, "accept_loss", &accept_loss, "why",
                   &why) ||
        !find_target(call, service, to, &target))
        goto out;
    /* What was acknowledged is given up: whoever does that says why, and it is kept. */
    if (accept_loss != 0 && why[0] == '\0' &&
        ha_sync_is_managed(service->config.engine, service->config.durability)) {
        (void)ha_text_format(text, sizeof(text),
                             "%s is %s: to accept the loss of acknowledged writes needs a reason "
                             "(--why)",
                             service->config.name, ha_durability_text(service->config.durability));
        ha_refuse(call->reply, HA_EINVAL, text);
        goto out;
    }
    ha_plan_failover(call->view->watcher, service, target, accept_loss != 0, call->view->now_ms,
                     &plan);
    /* A follower that has just started may not hear every agent yet, and this is an emergency. */
    if (!plan.ok && call->view->acting) {
        (void)ha_text_format(text, sizeof(text),
                             "nothing is done, %s sees nobody to promote: %.140s",
                             call->view->watcher->options.name, plan.text);
        ha_refuse(call->reply, HA_EDENIED, text);
        goto out;
    }
    put_begin(call, service, HA_REASON_OPERATOR, target, accept_loss != 0, why);
out:
    json_decref(body);
}

/* The primary's promises end when a switchover begins: what would make its stop long comes before
 * that, while it serves. */
static void put_prepare(const struct ha_call *call, const struct ha_service *service, uint32_t ms)
{
    int at = ha_service_member_at(service, service->primary);

    if (at < 0 || ms == 0)
        return;
    call->reply->prepare_ms = ms;
    call->reply->prepare_member = service->primary;
    (void)ha_text_copy(call->reply->prepare_agent, HA_NAME_SIZE, service->config.members[at].agent);
}

void ha_post_switchover(const struct ha_call *call)
{
    const struct ha_service *service = ha_call_service(call);
    json_t *body = service != NULL ? ha_call_body(call) : NULL;
    const char *to = "", *why = "";
    uint32_t target = HA_MEMBER_NONE;
    struct ha_plan plan;
    json_int_t prepare_ms = HA_API_PREPARE_DEFAULT_MS;
    int dry_run = 0;

    if (body == NULL)
        return;
    if (!HA_UNPACK(call, body, "{s?s,s?b,s?s,s?I}", "to", &to, "dry_run", &dry_run, "why", &why,
                   "checkpoint_timeout_ms", &prepare_ms) ||
        !find_target(call, service, to, &target))
        goto out;
    if (prepare_ms < 0 || prepare_ms > HA_API_PREPARE_MAX_MS) {
        ha_refuse(call->reply, HA_EINVAL, "checkpoint_timeout_ms is not within an hour");
        goto out;
    }
    ha_plan_switchover(call->view->watcher, service, target, call->view->now_ms, &plan);
    if (dry_run != 0 || !plan.ok) {
        ha_reply_json(call->reply, plan.ok ? 200 : 409, ha_render_plan(call->view, service, &plan));
        goto out;
    }
    put_begin(call, service, HA_REASON_SWITCHOVER, target, false, why);
    put_prepare(call, service, (uint32_t)prepare_ms);
out:
    json_decref(body);
}

bool ha_api_prepared(struct ha_api_reply *reply, const struct ha_api_view *view)
{
    struct ha_command_begin *begin = &reply->command.u.begin;
    const struct ha_service *service =
        ha_cluster_service_const(&view->watcher->cluster, begin->ref.service);
    struct ha_plan plan;

    if (service == NULL || service->epoch != begin->ref.epoch) {
        ha_refuse(reply, HA_ESTALE,
                  "the service has changed while its primary made ready: nothing was begun");
        return false;
    }
    ha_plan_switchover(view->watcher, service, begin->target, view->now_ms, &plan);
    if (!plan.ok) {
        ha_reply_json(reply, 409, ha_render_plan(view, service, &plan));
        return false;
    }
    /* It begins now: the time of making ready is none of its length. */
    reply->command.wall_ms = begin->noticed_ms = view->wall_ms;
    return true;
}

/* pause, resume and lift share their shape. */
static void post_pausing(const struct ha_call *call, enum ha_command_kind kind)
{
    const struct ha_service *service = ha_call_service(call);
    json_t *body = service != NULL ? ha_call_body(call) : NULL;
    struct ha_command *command;
    const char *why = "";
    json_int_t for_ms = 0;

    if (body == NULL)
        return;
    if (!HA_UNPACK(call, body, "{s?s,s?I}", "why", &why, "for_ms", &for_ms))
        goto out;
    if (for_ms < 0 || for_ms > (json_int_t)HA_DURATION_MAX_MS * 366) {
        ha_refuse(call->reply, HA_EINVAL, "for_ms is not within a year");
        goto out;
    }
    command = ha_call_write(call, kind);
    command->u.pause.service = service->id;
    if (for_ms > 0)
        command->u.pause.until_ms = call->view->wall_ms + (uint64_t)for_ms;
    ha_call_author(call, command->u.pause.author);
    (void)ha_text_format(command->u.pause.text, HA_TEXT_SIZE, "%s", why);
out:
    json_decref(body);
}

void ha_post_pause(const struct ha_call *call)
{
    post_pausing(call, HA_COMMAND_PAUSE);
}

void ha_post_resume(const struct ha_call *call)
{
    post_pausing(call, HA_COMMAND_RESUME);
}

void ha_post_lift(const struct ha_call *call)
{
    post_pausing(call, HA_COMMAND_LIFT);
}

void ha_post_webhook_test(const struct ha_call *call)
{
    struct ha_command *command = ha_call_write(call, HA_COMMAND_TEST_NOTICE);

    (void)ha_text_copy(command->u.notice.webhook, HA_NAME_SIZE, call->name);
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

void ha_post_replace(const struct ha_call *call)
{
    json_t *body = ha_call_body(call);
    const char *old_name, *new_name, *address, *why;
    struct ha_command *command;
    char host[HA_URL_SIZE];
    uint16_t port;

    if (body == NULL)
        return;
    if (!HA_UNPACK(call, body, "{s:s,s:s,s:s}", "old", &old_name, "new", &new_name, "address",
                   &address))
        goto out;
    if (!ha_text_is_name(new_name, HA_NAME_SIZE) || strlen(old_name) >= HA_NAME_SIZE ||
        strlen(address) >= HA_URL_SIZE ||
        ha_text_host_port(address, host, sizeof(host), &port, 0) != HA_OK) {
        ha_refuse(call->reply, HA_EINVAL, "the new watcher is NAME=HOST:PORT");
        goto out;
    }
    why = objection(call->view, old_name);
    if (why != NULL) {
        ha_refuse(call->reply, HA_EDENIED, why);
        goto out;
    }
    command = ha_call_write(call, HA_COMMAND_REPLACE);
    (void)ha_text_copy(command->u.replace.old_name, HA_NAME_SIZE, old_name);
    (void)ha_text_copy(command->u.replace.new_name, HA_NAME_SIZE, new_name);
    (void)ha_text_copy(command->u.replace.address, HA_URL_SIZE, address);
    ha_call_author(call, command->u.replace.author);
out:
    json_decref(body);
}

void ha_get_why_not(const struct ha_call *call)
{
    const struct ha_service *service = ha_call_service(call);

    if (service != NULL)
        ha_reply_json(call->reply, 200, ha_render_why_not(call->view, service));
}
