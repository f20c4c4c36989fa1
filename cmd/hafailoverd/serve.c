#include "cmd/hafailoverd/serve.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailoverd/agents.h"
#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/dispatch.h"
#include "cmd/hafailoverd/set.h"
#include "lib/api/control.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/heap.h"
#include "lib/io/http_server.h"
#include "lib/io/listener.h"
#include "lib/io/log.h"
#include "lib/wire/message.h"

#define WRITE_MAX_MS 5000u
#define PREPARED_SPARE_MS 1000u /* the agent tells a missed deadline itself */
#define WAITING_MAX 256u
#define LARGE ((size_t)256 * 1024) /* an answer about hundreds of services */

/* A write that waits for the log. Its HTTP request may be gone already. */
struct waiting {
    struct waiting *next;
    struct ha_http_request *http; /* NULL: the client left */
    struct ha_api_reply reply;
    uint64_t request; /* the core's, and what an agent is asked with */
    uint64_t index;   /* 0: not committed yet */
    bool preparing;   /* nothing has been asked of the core: an agent makes ready */
    uint64_t deadline_ms;
    struct ha_serve *serve;
};

struct ha_serve {
    struct ha_daemon *daemon;
    struct ha_http_server *http;
    struct ha_listener *local;
    struct waiting *waiting;
    uint32_t waiting_count;
    uint64_t request_last;
    uv_timer_t timer; /* deadlines of writes */
    unsigned open_parts;
    void (*close_cb)(struct ha_daemon *daemon);
};

static void make_view(const struct ha_serve *serve, struct ha_api_view *view)
{
    const struct ha_daemon *daemon = serve->daemon;
    struct ha_raft_status status;

    ha_raft_get_status(daemon->raft, &status);
    *view = (struct ha_api_view){
        .watcher = daemon->core,
        .now_ms = ha_clock_mono_ms(),
        .wall_ms = ha_clock_wall_ms(),
        .started_ms = daemon->started_ms,
        .term = status.term,
        .commit_index = status.commit_index,
        .proposals_open = status.queued,
        .log_bytes = status.log_bytes,
        .beginning = ha_dispatch_beginning(daemon->dispatch),
        .acting = status.role == HA_RAFT_ACTING,
        .leader = "",
        .staleness_ms = UINT64_MAX,
        .watcher_count = daemon->settings->peer_count,
    };
    for (uint32_t i = 0; i < status.peer_count && i < HA_WATCHERS_MAX; i++) {
        const struct ha_raft_peer_status *peer = &status.peers[i];
        uint32_t at = ha_daemon_index_of(peer->id);
        bool heard = ha_daemon_is_heard(daemon, peer);
        bool leads = peer->id == status.leader_id;

        (void)ha_text_copy(view->watchers[at].name, HA_NAME_SIZE, daemon->settings->peers[at].name);
        view->watchers[at].role = leads ? "leader" : heard ? "follower" : "unknown";
        view->watchers[at].reachable = heard;
        view->watchers[at].heard_ago_ms = peer->is_self ? 0 : peer->heard_ago_ms;
        if (leads) {
            view->leader = daemon->settings->peers[at].name;
            view->staleness_ms = peer->is_self ? 0 : peer->heard_ago_ms;
        }
    }
}

static void answer(struct ha_http_request *http, struct ha_api_reply *reply)
{
    static const char no_memory[] = "{\"error\": \"out of memory\", \"code\": \"out of memory\"}";

    if (reply->body != NULL)
        ha_http_reply(http, (unsigned)reply->status, reply->type, reply->body, reply->body_size);
    else
        ha_http_reply(http, 500, "application/json", no_memory, sizeof(no_memory) - 1);
    if (reply->body_size >= LARGE) /* it was made from some ten times as much */
        ha_heap_trim();
}

/* Take @waiting out of the list, answer if somebody still listens, and free it. */
static void end_answered(struct waiting *waiting)
{
    struct ha_serve *serve = waiting->serve;

    for (struct waiting **at = &serve->waiting; *at != NULL; at = &(*at)->next) {
        if (*at == waiting) {
            *at = waiting->next;
            break;
        }
    }
    serve->waiting_count--;
    if (waiting->http != NULL)
        answer(waiting->http, &waiting->reply);
    ha_api_reply_fini(&waiting->reply);
    free(waiting);
}

static void end_waiting(struct waiting *waiting, int code, const char *text)
{
    struct ha_api_view view;

    if (waiting->http != NULL) {
        make_view(waiting->serve, &view);
        ha_api_finish(&waiting->reply, &view, waiting->index, code, text);
    }
    end_answered(waiting);
}

/* Nothing has been begun, and the command line must not go on to ask the next watcher. */
static void end_unprepared(struct waiting *waiting, const char *why)
{
    const struct ha_cluster *cluster = &waiting->serve->daemon->core->cluster;
    const struct ha_api_reply *reply = &waiting->reply;
    const struct ha_service *service =
        ha_cluster_service_const(cluster, reply->command.u.begin.ref.service);
    const char *name =
        service != NULL ? ha_service_member_name(service, reply->prepare_member) : "the primary";
    char text[HA_TEXT_SIZE + HA_NAME_SIZE + 64];

    (void)ha_text_format(text, sizeof(text), "nothing was begun, %s is not ready to stop: %s", name,
                         why);
    end_waiting(waiting, HA_EDENIED, text);
}

static bool ask_agent(const struct waiting *waiting, uint32_t deadline_ms)
{
    const struct ha_api_reply *reply = &waiting->reply;
    const struct ha_prepare ask = {.id = waiting->request,
                                   .service = reply->command.u.begin.ref.service,
                                   .member = reply->prepare_member,
                                   .deadline_ms = deadline_ms};

    return ha_agents_prepare(waiting->serve->daemon->agents, reply->prepare_agent, &ask);
}

static void on_gone(void *ctx, struct ha_http_request *http)
{
    struct ha_serve *serve = ctx;

    struct waiting *waiting = serve->waiting;

    while (waiting != NULL && waiting->http != http)
        waiting = waiting->next;
    if (waiting == NULL)
        return;
    waiting->http = NULL; /* a proposal may still happen: its memory stays */
    if (!waiting->preparing)
        return;
    /* Whoever asked has given up before it began. */
    waiting->preparing = false;
    if (!serve->daemon->stopping)
        (void)ask_agent(waiting, 0);
    end_answered(waiting);
}

/* Hand the write to the core, which turns it into a proposal or refuses. */
static void start_write(struct waiting *waiting)
{
    struct ha_event event = {.kind = HA_EVENT_REQUEST};
    struct ha_err err = {0};
    int code;

    event.u.request.request = waiting->request;
    event.u.request.command = &waiting->reply.command;
    waiting->deadline_ms = ha_clock_mono_ms() + WRITE_MAX_MS;
    code = ha_daemon_step(waiting->serve->daemon, &event, &err);
    if (code != HA_OK)
        end_waiting(waiting, code, err.text);
}

static bool is_preparing(const struct ha_serve *serve, uint32_t service)
{
    for (const struct waiting *at = serve->waiting; at != NULL; at = at->next)
        if (at->preparing && at->reply.command.u.begin.ref.service == service)
            return true;
    return false;
}

static void start_prepare(struct waiting *waiting)
{
    const uint32_t ms = waiting->reply.prepare_ms;

    if (is_preparing(waiting->serve, waiting->reply.command.u.begin.ref.service)) {
        end_unprepared(waiting, "it is being made ready for another switchover");
        return;
    }
    HA_LOG(HA_LOG_INFO, "switchover-prepares", "agent=%s id=%" PRIu64 " deadline_ms=%" PRIu32,
           waiting->reply.prepare_agent, waiting->request, ms);
    waiting->deadline_ms = ha_clock_mono_ms() + ms + PREPARED_SPARE_MS;
    /* Where it is lost by being asked, that has not been told yet. */
    if (ask_agent(waiting, ms))
        waiting->preparing = true;
    else
        end_unprepared(waiting, "its agent is not connected to this watcher");
}

/* Takes @reply, a write. */
static void start(struct ha_serve *serve, struct ha_http_request *http, struct ha_api_reply *reply,
                  const struct ha_api_view *view)
{
    struct waiting *waiting = NULL;

    if (serve->waiting_count < WAITING_MAX)
        waiting = calloc(1, sizeof(*waiting));
    if (waiting == NULL) {
        ha_api_finish(reply, view, 0, HA_EFULL, "");
        answer(http, reply);
        ha_api_reply_fini(reply);
        return;
    }
    *waiting = (struct waiting){.next = serve->waiting,
                                .http = http,
                                .reply = *reply,
                                .request = ++serve->request_last,
                                .serve = serve};
    serve->waiting = waiting;
    serve->waiting_count++;
    ha_http_on_gone(http, on_gone, serve);
    if (reply->prepare_ms != 0)
        start_prepare(waiting);
    else
        start_write(waiting);
}

void ha_serve_prepared(struct ha_serve *serve, const char *agent,
                       const struct ha_prepared *prepared)
{
    struct waiting *waiting = serve->waiting;
    struct ha_api_view view;

    while (waiting != NULL && !(waiting->preparing && waiting->request == prepared->id &&
                                strcmp(waiting->reply.prepare_agent, agent) == 0))
        waiting = waiting->next;
    if (waiting == NULL)
        return;
    HA_LOG(HA_LOG_INFO, "switchover-prepared", "agent=%s id=%" PRIu64 " done=%s text=%s", agent,
           prepared->id, prepared->done ? "yes" : "no", HA_QUOTE(prepared->text));
    make_view(serve, &view);
    if (!prepared->done)
        end_unprepared(waiting, prepared->text);
    else if (!ha_api_prepared(&waiting->reply, &view))
        end_answered(waiting);
    else {
        waiting->preparing = false;
        start_write(waiting);
    }
}

void ha_serve_agent_gone(struct ha_serve *serve, const char *agent)
{
    for (struct waiting *waiting = serve->waiting, *next; waiting != NULL; waiting = next) {
        next = waiting->next;
        if (waiting->preparing && strcmp(waiting->reply.prepare_agent, agent) == 0)
            end_unprepared(waiting, "its agent went away meanwhile");
    }
}

/* The whole state as a file: of the raft room, which the API does not know. */
static void send_backup(const struct ha_serve *serve, struct ha_http_request *http,
                        const struct ha_api_view *view)
{
    struct ha_raft_seed seed;
    struct ha_err err = {0};
    void *data = NULL;
    size_t size = 0;
    int code = HA_EBUSY;

    if (ha_set_is_moving(serve->daemon))
        (void)ha_err_set(&err, code, "the set of watchers is changing: try again");
    else
        code = ha_raft_export(serve->daemon->raft, &seed, &err);
    if (code == HA_OK) {
        seed.wall_ms = view->wall_ms;
        seed.staleness_ms = view->staleness_ms;
        code = ha_raft_seed_encode(&seed, &data, &size, &err);
        ha_raft_seed_fini(&seed);
    }
    if (code == HA_OK) {
        ha_http_reply(http, 200, "application/octet-stream", data, size);
    } else {
        struct ha_api_reply reply = {0};

        ha_api_finish(&reply, view, 0, code, err.text);
        answer(http, &reply);
        ha_api_reply_fini(&reply);
    }
    free(data);
}

static const char *query(const void *ctx, const char *key)
{
    return ha_http_query(ctx, key);
}

static void on_request(void *ctx, struct ha_http_request *http)
{
    struct ha_serve *serve = ctx;
    struct ha_stream *stream = ha_http_stream(http);
    bool is_local = ha_addr_is_unix(ha_stream_peer_addr(stream));
    struct ha_api_request request = {
        .method = ha_http_method(http),
        .path = ha_http_path(http),
        .query = query,
        .query_ctx = http,
        .peer = ha_stream_peer_name(stream),
    };
    struct ha_api_reply reply;
    struct ha_api_view view;

    request.body = (const char *)ha_http_body(http, &request.body_size);
    request.role = ha_api_role_of(request.peer, is_local);
    make_view(serve, &view);
    if (request.role == HA_API_OPERATE && strcmp(request.path, "/v1/backup") == 0 &&
        strcmp(request.method, "GET") == 0) {
        send_backup(serve, http, &view);
        return;
    }
    ha_api_handle(&request, &view, &reply);
    if (reply.is_write) {
        HA_LOG(HA_LOG_INFO, "api-write", "peer=%s method=%s path=%s",
               is_local ? "local" : request.peer, HA_QUOTE(request.method), HA_QUOTE(request.path));
        start(serve, http, &reply, &view);
        return;
    }
    answer(http, &reply);
    ha_api_reply_fini(&reply);
}

void ha_serve_committed(struct ha_serve *serve, uint64_t request, uint64_t index)
{
    for (struct waiting *waiting = serve->waiting; waiting != NULL; waiting = waiting->next) {
        if (waiting->request == request)
            waiting->index = index;
    }
}

void ha_serve_failed(struct ha_serve *serve, uint64_t request, int code, const char *text)
{
    for (struct waiting *waiting = serve->waiting; waiting != NULL; waiting = waiting->next) {
        if (waiting->request == request) {
            end_waiting(waiting, code, text);
            return;
        }
    }
}

void ha_serve_applied(struct ha_serve *serve, uint64_t index, int code, const char *text)
{
    for (struct waiting *waiting = serve->waiting; waiting != NULL; waiting = waiting->next) {
        if (waiting->index == index) {
            end_waiting(waiting, code, text);
            return;
        }
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct ha_serve *serve = timer->data;
    uint64_t now_ms = ha_clock_mono_ms();

    for (struct waiting *waiting = serve->waiting, *next; waiting != NULL; waiting = next) {
        next = waiting->next;
        if (now_ms < waiting->deadline_ms)
            continue;
        if (waiting->preparing)
            end_unprepared(waiting, "its agent has not answered in time");
        else
            end_waiting(waiting, HA_ETIMEDOUT,
                        "no answer from the log in time: it may still be applied");
    }
}

static void on_local_stream(void *ctx, struct ha_stream *stream)
{
    struct ha_serve *serve = ctx;

    ha_http_server_adopt(serve->http, stream);
}

void ha_serve_adopt(struct ha_serve *serve, struct ha_stream *stream)
{
    ha_http_server_adopt(serve->http, stream);
}

static void on_part_closed(void *ctx)
{
    struct ha_serve *serve = ctx;
    void (*cb)(struct ha_daemon * daemon) = serve->close_cb;
    struct ha_daemon *daemon = serve->daemon;

    assert(serve->open_parts > 0);
    if (--serve->open_parts > 0 || cb == NULL)
        return;
    while (serve->waiting != NULL)
        end_waiting(serve->waiting, HA_ECANCELED, "");
    free(serve);
    cb(daemon);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

void ha_serve_close(struct ha_serve *serve, void (*cb)(struct ha_daemon *daemon))
{
    serve->close_cb = cb;
    uv_close((uv_handle_t *)&serve->timer, on_timer_closed);
    if (serve->local != NULL)
        ha_listener_close(serve->local, on_part_closed, serve);
    ha_http_server_close(serve->http, on_part_closed, serve);
}

static int open_local(struct ha_serve *serve, struct ha_err *err)
{
    struct ha_listener_options options = {.on_stream = on_local_stream, .ctx = serve};
    char text[HA_PATH_SIZE + 8];
    struct ha_addr addr;
    int code;

    (void)ha_text_format(text, sizeof(text), "unix:%s", serve->daemon->settings->api_socket);
    code = ha_addr_parse(text, 0, &addr);
    if (code != HA_OK)
        return ha_err_set(err, code, "api_socket %s: %s", text, ha_code_text(code));
    code = ha_listener_open(&serve->local, serve->daemon->uv, &options);
    if (code != HA_OK)
        return ha_err_set(err, code, "%s", ha_code_text(code));
    serve->open_parts++;
    return ha_listener_bind(serve->local, &addr, 0660, NULL, err);
}

static void nothing(struct ha_daemon *daemon)
{
    (void)daemon;
}

int ha_serve_open(struct ha_daemon *daemon, struct ha_serve **ret, struct ha_err *err)
{
    struct ha_serve *serve = calloc(1, sizeof(*serve));
    struct ha_http_server_options options = {.handler = on_request, .ctx = serve};
    int code;

    if (serve == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the API");
    serve->daemon = daemon;
    code = ha_http_server_open(&serve->http, daemon->uv, &options);
    if (code != HA_OK) {
        free(serve);
        return ha_err_set(err, code, "the API: %s", ha_code_text(code));
    }
    (void)uv_timer_init(daemon->uv, &serve->timer); /* cannot fail */
    serve->timer.data = serve;
    serve->open_parts = 2;
    (void)uv_timer_start(&serve->timer, on_timer, 250, 250);
    code = open_local(serve, err);
    if (code != HA_OK) {
        ha_serve_close(serve, nothing);
        return code;
    }
    *ret = serve;
    return HA_OK;
}
