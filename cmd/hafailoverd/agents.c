#include "cmd/hafailoverd/agents.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/common/said.h"
#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/dispatch.h"
#include "cmd/hafailoverd/peers.h"
#include "cmd/hafailoverd/serve.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/effect.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"
#include "lib/io/frames.h"
#include "lib/io/log.h"
#include "lib/wire/message.h"
#include "lib/wire/settings.h"

#define HELLO_MAX_MS 3000u
#define SILENT_MAX_MS 10000u   /* an agent sends something each second */
#define SUSPECT_AFTER_MS 1000u /* a silent connection may lose its place to a waiting one */
#define PEER_PREFIX "agent/"
#define FRAME_TYPE 1u
#define ORDERS_WAIT_MAX (256u << 10) /* bytes */

enum conn_state {
    CONN_HELLO,   /* nothing said yet */
    CONN_WAITING, /* another connection of that name is served */
    CONN_SERVED,
    CONN_CLOSING,
};

struct sent { /* settings as last pushed */
    uint32_t service, member;
    uint64_t hash;
    bool wanted;
};

struct conn {
    struct ha_agents *agents;
    struct conn *next;
    struct ha_frames *frames;
    enum conn_state state;
    char name[HA_NAME_SIZE];
    uint64_t instance;
    uint64_t since_ms, heard_ms;
    uint32_t sent_count, sent_size;
    struct sent *sent;
    uint64_t peers_hash;     /* of the peers as last pushed */
    uint64_t all_hash;       /* likewise, of which services there are */
    struct ha_said statuses; /* that it told */
    struct ha_said promises; /* that it was given */
};

struct ha_agents {
    struct ha_daemon *daemon;
    struct conn *conns;      /* closing ones too */
    struct conn *batch_conn; /* whose promises wait to be sent ... */
    bool batch_renews;       /* ... in `renewed`, else in `batch` */
    struct ha_batch_writer batch;
    struct ha_message renewed;
    uint8_t *batch_data;
    uint8_t *frame_data; /* of single messages; behind it, in one piece */
    void (*close_cb)(struct ha_daemon *daemon);
};

static void finish_close(struct ha_agents *agents)
{
    void (*cb)(struct ha_daemon * daemon) = agents->close_cb;
    struct ha_daemon *daemon = agents->daemon;

    if (cb == NULL || agents->conns != NULL)
        return;
    free(agents->batch_data);
    free(agents);
    cb(daemon);
}

static void on_closed(void *ctx)
{
    struct conn *conn = ctx;
    struct ha_agents *agents = conn->agents;

    for (struct conn **at = &agents->conns; *at != NULL; at = &(*at)->next) {
        if (*at == conn) {
            *at = conn->next;
            break;
        }
    }
    free(conn->sent);
    ha_said_free(&conn->statuses);
    ha_said_free(&conn->promises);
    free(conn);
    finish_close(agents);
}

static void step_agent(struct conn *conn, bool connected)
{
    struct ha_event event = {.kind = HA_EVENT_AGENT};

    event.u.agent = (struct ha_event_agent){
        .agent = conn->name, .instance = conn->instance, .connected = connected};
    (void)ha_daemon_step(conn->agents->daemon, &event, NULL); /* HA_OK for this kind */
}

static void serve(struct conn *conn);

/* The longest waiting connection of @name takes the place that has become free. */
static void serve_waiting(struct ha_agents *agents, const char *name)
{
    struct conn *oldest = NULL;

    for (struct conn *conn = agents->conns; conn != NULL; conn = conn->next) {
        if (conn->state == CONN_WAITING && strcmp(conn->name, name) == 0 &&
            (oldest == NULL || conn->since_ms < oldest->since_ms))
            oldest = conn;
    }
    if (oldest != NULL)
        serve(oldest);
}

static void close_conn(struct conn *conn)
{
    struct ha_agents *agents = conn->agents;
    enum conn_state was = conn->state;

    if (was == CONN_CLOSING)
        return;
    if (agents->batch_conn == conn)
        agents->batch_conn = NULL;
    conn->state = CONN_CLOSING;
    ha_frames_close(conn->frames, 0, on_closed, conn);
    if (was != CONN_SERVED)
        return;
    HA_LOG(HA_LOG_INFO, "agent-gone", "agent=%s instance=%016" PRIx64, conn->name, conn->instance);
    step_agent(conn, false);
    if (agents->close_cb != NULL)
        return;
    ha_serve_agent_gone(agents->daemon->serve, conn->name);
    serve_waiting(agents, conn->name);
}

static void refuse(struct conn *conn, const char *why)
{
    HA_LOG(HA_LOG_WARN, "agent-refused", "agent=%s why=%s", HA_QUOTE(conn->name), HA_QUOTE(why));
    close_conn(conn);
}

static struct conn *served_of(const struct ha_agents *agents, const char *name)
{
    for (struct conn *conn = agents->conns; conn != NULL; conn = conn->next) {
        if (conn->state == CONN_SERVED && strcmp(conn->name, name) == 0)
            return conn;
    }
    return NULL;
}

static void send_bytes(struct conn *conn, const void *data, size_t size)
{
    struct ha_slice slice = {.data = data, .size = size};
    int code;

    if (conn->state == CONN_CLOSING)
        return;
    code = ha_frames_send(conn->frames, FRAME_TYPE, &slice, 1);
    if (code != HA_OK) {
        HA_LOG(HA_LOG_WARN, "agent-slow", "agent=%s why=%s", conn->name, ha_code_text(code));
        close_conn(conn); /* it connects again, and nothing it missed is repeated too late */
    }
}

static void send_message(struct conn *conn, const struct ha_message *message)
{
    struct ha_agents *agents = conn->agents;
    struct ha_err err = {0};
    size_t size;

    if (ha_message_encode(message, agents->frame_data, HA_MESSAGE_SIZE_MAX, &size, &err) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "message-not-sent", "agent=%s type=%s why=%s", conn->name,
               ha_message_type_text(message->type), err.text);
        return;
    }
    send_bytes(conn, agents->frame_data, size);
}

/* The record of what was last pushed for a member; NULL when out of memory. */
static struct sent *sent_of(struct conn *conn, uint32_t service, uint32_t member)
{
    struct sent *grown;

    for (uint32_t i = 0; i < conn->sent_count; i++) {
        if (conn->sent[i].service == service && conn->sent[i].member == member)
            return &conn->sent[i];
    }
    if (conn->sent_count == conn->sent_size) {
        uint32_t size = conn->sent_size == 0 ? 8 : conn->sent_size * 2;

        grown = reallocarray(conn->sent, size, sizeof(*grown));
        if (grown == NULL)
            return NULL;
        conn->sent = grown;
        conn->sent_size = size;
    }
    grown = &conn->sent[conn->sent_count++];
    *grown = (struct sent){.service = service, .member = member};
    return grown;
}

static void push_gone(struct conn *conn)
{
    uint64_t version = conn->agents->daemon->core->cluster.config_version;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < conn->sent_count; i++) {
        struct ha_message message = {.type = HA_MESSAGE_SETTINGS};

        if (conn->sent[i].wanted) {
            conn->sent[kept++] = conn->sent[i];
            continue;
        }
        ha_settings_make(&message.u.settings, NULL, conn->sent[i].member, version);
        message.u.settings.service = conn->sent[i].service;
        send_message(conn, &message);
    }
    conn->sent_count = kept;
}

/* Before the settings: an agent keeps both, and what it does by these needs them. */
static void push_peers(struct conn *conn)
{
    const struct ha_daemon *daemon = conn->agents->daemon;
    struct ha_message message = {.type = HA_MESSAGE_PEERS};
    uint64_t hash;

    ha_peers_make(&message.u.peers, &daemon->core->cluster, conn->name, daemon->tls);
    hash = ha_hash(HA_HASH_START, &message.u.peers, sizeof(message.u.peers));
    /* Also that there are none: what it knows may be older. */
    if (hash != conn->peers_hash) {
        conn->peers_hash = hash;
        send_message(conn, &message);
    }
    ha_file_wipe(&message, sizeof(message));
}

/* After the settings: it may know one from before this connection that is no more. */
static void push_all(struct conn *conn)
{
    struct ha_message message = {.type = HA_MESSAGE_ALL};
    struct ha_all *all = &message.u.all;
    uint64_t hash;

    all->config_version = conn->agents->daemon->core->cluster.config_version;
    for (uint32_t i = 0; i < conn->sent_count && all->count < HA_SERVICES_MAX; i++)
        all->services[all->count++] = conn->sent[i].service;
    hash = ha_hash(HA_HASH_START, all, sizeof(*all));
    if (hash == conn->all_hash)
        return;
    conn->all_hash = hash;
    send_message(conn, &message);
}

static void push_settings(struct conn *conn)
{
    const struct ha_watcher *core = conn->agents->daemon->core;
    uint32_t cursor = 0, service, member;

    for (uint32_t i = 0; i < conn->sent_count; i++)
        conn->sent[i].wanted = false;
    while (conn->state == CONN_SERVED &&
           ha_watcher_hosted(core, conn->name, &cursor, &service, &member)) {
        struct ha_message message = {.type = HA_MESSAGE_SETTINGS};
        struct sent *sent = sent_of(conn, service, member);
        uint64_t hash;

        if (sent == NULL)
            return;
        ha_settings_make(&message.u.settings, ha_cluster_service_const(&core->cluster, service),
                         member, core->cluster.config_version);
        hash = ha_hash(HA_HASH_START, &message.u.settings, sizeof(message.u.settings));
        sent->wanted = true;
        if (hash == sent->hash)
            continue;
        sent->hash = hash;
        send_message(conn, &message);
    }
    if (conn->state == CONN_SERVED)
        push_gone(conn);
    if (conn->state == CONN_SERVED)
        push_all(conn);
}

static void say_hello(struct conn *conn)
{
    const struct ha_daemon *daemon = conn->agents->daemon;
    struct ha_message message = {.type = HA_MESSAGE_HELLO_WATCHER};
    struct ha_hello_watcher *hello = &message.u.hello_watcher;

    (void)ha_text_copy(hello->name, sizeof(hello->name), daemon->settings->name);
    (void)ha_text_copy(hello->software, sizeof(hello->software), HA_VERSION);
    hello->index = daemon->settings->self;
    hello->set_size = daemon->settings->peer_count;
    hello->set_id = daemon->core->cluster.set_id;
    send_message(conn, &message);
}

static void serve(struct conn *conn)
{
    HA_LOG(HA_LOG_INFO, "agent-connected", "agent=%s instance=%016" PRIx64, conn->name,
           conn->instance);
    conn->state = CONN_SERVED;
    step_agent(conn, true);
    push_peers(conn);
    push_settings(conn);
}

static void on_hello(struct conn *conn, const struct ha_hello_agent *hello)
{
    const char *peer = ha_stream_peer_name(ha_frames_stream(conn->frames));

    if (conn->state != CONN_HELLO) {
        refuse(conn, "a second hello");
        return;
    }
    (void)ha_text_copy(conn->name, sizeof(conn->name), hello->name);
    conn->instance = hello->instance;
    if (peer[0] != '\0' && (strncmp(peer, PEER_PREFIX, strlen(PEER_PREFIX)) != 0 ||
                            strcmp(peer + strlen(PEER_PREFIX), hello->name) != 0)) {
        refuse(conn, "the name is not the one that its key proves");
        return;
    }
    if (hello->instance == HA_INSTANCE_NONE) {
        refuse(conn, "no instance");
        return;
    }
    say_hello(conn);
    if (conn->state == CONN_CLOSING)
        return;
    if (served_of(conn->agents, conn->name) == NULL) {
        serve(conn);
        return;
    }
    HA_LOG(HA_LOG_INFO, "agent-waits", "agent=%s instance=%016" PRIx64, conn->name, conn->instance);
    conn->state = CONN_WAITING;
}

/* A frame may be about more services than one list of effects holds. */
static void make_room(struct ha_agents *agents)
{
    if (agents->daemon->backlog.count > 0)
        (void)ha_dispatch_drain(agents->daemon->dispatch); /* once more at the end of the turn */
}

static void on_heartbeats(struct conn *conn, struct ha_batch *batch)
{
    struct ha_heartbeat heartbeat;

    while ((conn->state == CONN_SERVED || conn->state == CONN_WAITING) &&
           ha_batch_next_heartbeat(batch, &heartbeat)) {
        struct ha_event event = {.kind = HA_EVENT_HEARTBEAT};
        struct ha_said_entry *told = ha_said_make(&conn->statuses, heartbeat.status.service);

        if (heartbeat.instance != conn->instance) {
            refuse(conn, "a heartbeat of another instance than the hello named");
            return;
        }
        if (told == NULL) {
            refuse(conn, "too many services");
            return;
        }
        event.u.heartbeat =
            (struct ha_event_heartbeat){.agent = conn->name, .heartbeat = &heartbeat};
        told->member = heartbeat.status.member;
        told->mark = ha_status_mark(&heartbeat.status);
        /* Those of a waiting connection count for nothing; they are asked for again in its turn. */
        told->taken = conn->state == CONN_SERVED &&
                      ha_daemon_step(conn->agents->daemon, &event, NULL) == HA_OK;
        make_room(conn->agents);
    }
}

/* What was told to a watcher whose state lagged may mean something to it by now. */
static void ask_anew(struct conn *conn, struct ha_message *tell)
{
    if (tell->u.repeat.count > 0)
        send_message(conn, tell);
    tell->u.repeat.count = 0;
}

static void on_repeat(struct conn *conn, const struct ha_repeat *repeat)
{
    struct ha_message tell = {.type = HA_MESSAGE_TELL};

    if (conn->state != CONN_SERVED)
        return;
    if (repeat->instance != conn->instance || !ha_said_matches(&conn->statuses, repeat)) {
        refuse(conn, "it repeats what it has not told");
        return;
    }
    for (uint32_t i = 0; i < repeat->count; i++) {
        const struct ha_range *range = &repeat->ranges[i];

        for (uint32_t k = 0; k < range->count && conn->state == CONN_SERVED; k++) {
            struct ha_said_entry *told = &conn->statuses.entries[range->first + k];
            struct ha_event event = {.kind = HA_EVENT_SAME};

            event.u.same = (struct ha_event_same){.agent = conn->name,
                                                  .service = told->service,
                                                  .member = told->member,
                                                  .instance = repeat->instance,
                                                  .stamp = repeat->stamp};
            if (told->taken)
                told->taken = ha_daemon_step(conn->agents->daemon, &event, NULL) == HA_OK;
            if (!told->taken && !ha_repeat_add(&tell.u.repeat, range->first + k, 0)) {
                ask_anew(conn, &tell);
                (void)ha_repeat_add(&tell.u.repeat, range->first + k, 0); /* there is room now */
            }
            make_room(conn->agents);
        }
    }
    if (conn->state == CONN_SERVED)
        ask_anew(conn, &tell);
}

static void on_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size)
{
    struct conn *conn = ctx;
    struct ha_message message;
    struct ha_err err = {0};

    (void)frames;
    if (conn->state == CONN_CLOSING)
        return;
    conn->heard_ms = ha_clock_mono_ms();
    if (type != FRAME_TYPE || ha_message_decode(data, size, &message, &err) != HA_OK) {
        refuse(conn, err.text);
        return;
    }
    switch (message.type) {
    case HA_MESSAGE_HELLO_AGENT:
        on_hello(conn, &message.u.hello_agent);
        return;
    case HA_MESSAGE_HEARTBEATS:
        on_heartbeats(conn, &message.u.heartbeats);
        return;
    case HA_MESSAGE_REPEAT:
        on_repeat(conn, &message.u.repeat);
        return;
    case HA_MESSAGE_REPORT:
        HA_LOG(HA_LOG_INFO, "agent-report", "agent=%s text=%s", conn->name,
               HA_QUOTE(message.u.report.text));
        return;
    case HA_MESSAGE_PREPARED:
        if (conn->state == CONN_SERVED)
            ha_serve_prepared(conn->agents->daemon->serve, conn->name, &message.u.prepared);
        return;
    case HA_MESSAGE_NONE:
    case HA_MESSAGE_HELLO_WATCHER:
    case HA_MESSAGE_SETTINGS:
    case HA_MESSAGE_PROMISES:
    case HA_MESSAGE_ORDER:
    case HA_MESSAGE_STOPPED:
    case HA_MESSAGE_RENEW:
    case HA_MESSAGE_TELL:
    case HA_MESSAGE_PEERS:
    case HA_MESSAGE_HOLD_ASKS:
    case HA_MESSAGE_HOLD_WORDS:
    case HA_MESSAGE_ALL:
    case HA_MESSAGE_PREPARE:
        refuse(conn, "a message that no agent sends");
        return;
    }
    HA_UNREACHABLE();
}

static void on_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct conn *conn = ctx;

    (void)frames;
    HA_LOG(HA_LOG_DEBUG, "agent-connection-ended", "agent=%s why=%s", HA_QUOTE(conn->name),
           HA_QUOTE(err->text));
    close_conn(conn);
}

static const struct ha_frames_hooks hooks = {.on_frame = on_frame, .on_end = on_end};
static const struct ha_frames_options frames_options = {.payload_max = HA_MESSAGE_SIZE_MAX};

void ha_agents_adopt(struct ha_agents *agents, struct ha_stream *stream)
{
    struct conn *conn = calloc(1, sizeof(*conn));

    if (conn == NULL || agents->close_cb != NULL ||
        ha_frames_open(&conn->frames, stream, &frames_options, &hooks, conn) != HA_OK) {
        free(conn);
        ha_stream_close(stream, 0, NULL, NULL);
        return;
    }
    conn->agents = agents;
    conn->since_ms = ha_clock_mono_ms();
    conn->heard_ms = conn->since_ms;
    conn->next = agents->conns;
    agents->conns = conn;
}

void ha_agents_flush(struct ha_agents *agents)
{
    struct conn *conn = agents->batch_conn;

    if (conn == NULL)
        return;
    agents->batch_conn = NULL;
    if (agents->batch_renews)
        send_message(conn, &agents->renewed);
    else
        send_bytes(conn, agents->batch_data, ha_batch_end(&agents->batch));
}

/* The same promise as before on this connection: named by its place. */
static void renew(struct ha_agents *agents, struct conn *conn, const struct ha_promise *promise,
                  const struct ha_said_entry *given)
{
    struct ha_repeat *repeat = &agents->renewed.u.repeat;
    uint32_t place = ha_said_place(&conn->promises, given);

    for (unsigned tries = 0; tries < 2; tries++) {
        if (agents->batch_conn != conn || !agents->batch_renews ||
            repeat->stamp != promise->stamp) {
            ha_agents_flush(agents);
            agents->renewed.type = HA_MESSAGE_RENEW;
            *repeat = (struct ha_repeat){.instance = promise->instance, .stamp = promise->stamp};
            agents->batch_conn = conn;
            agents->batch_renews = true;
        }
        if (ha_repeat_add(repeat, place, given->mark))
            return;
        ha_agents_flush(agents);
    }
}

static int promise_in_full(struct ha_agents *agents, struct conn *conn,
                           const struct ha_promise *promise)
{
    int code = HA_EFULL;

    for (unsigned tries = 0; tries < 2; tries++) {
        if (agents->batch_conn != conn || agents->batch_renews) {
            ha_agents_flush(agents);
            ha_batch_begin_promises(&agents->batch, agents->batch_data);
            agents->batch_conn = conn;
            agents->batch_renews = false;
        }
        code = ha_batch_add_promise(&agents->batch, promise);
        if (code != HA_EFULL)
            break;
        ha_agents_flush(agents);
    }
    return code;
}

void ha_agents_promise(struct ha_agents *agents, const struct ha_promise *promise)
{
    uint64_t mark = ha_said_promise_mark(promise);
    struct conn *conn = agents->conns;
    struct ha_said_entry *given;

    while (conn != NULL && (conn->state != CONN_SERVED || conn->instance != promise->instance))
        conn = conn->next;
    if (conn == NULL)
        return;
    given = ha_said_find(&conn->promises, promise->service);
    if (given != NULL && given->mark == mark) {
        /* Two heartbeats of one millisecond: the same promise in every respect. */
        if (given->stamp != promise->stamp)
            renew(agents, conn, promise, given);
        given->stamp = promise->stamp;
        return;
    }
    /* What waits to be renewed goes out first: it is proven by the marks as they were. */
    if (promise_in_full(agents, conn, promise) != HA_OK || conn->state == CONN_CLOSING)
        return;
    given = ha_said_make(&conn->promises, promise->service);
    if (given == NULL) {
        refuse(conn, "too many services");
        return;
    }
    given->mark = mark;
    given->stamp = promise->stamp;
}

void ha_agents_order(struct ha_agents *agents, const struct ha_effect_order *order)
{
    struct conn *conn = served_of(agents, order->agent);
    struct ha_message message = {.type = HA_MESSAGE_ORDER};

    /* Behind so much that it has not read it would come late, and the core repeats it. */
    if (conn == NULL || ha_stream_queued(ha_frames_stream(conn->frames)) > ORDERS_WAIT_MAX)
        return;
    HA_LOG(HA_LOG_DEBUG, "order", "agent=%s service=%u kind=%s epoch=%" PRIu64, order->agent,
           order->order.service, ha_order_kind_text(order->order.kind), order->order.epoch);
    message.u.order = order->order;
    send_message(conn, &message);
}

bool ha_agents_prepare(struct ha_agents *agents, const char *agent, const struct ha_prepare *ask)
{
    struct conn *conn = served_of(agents, agent);
    struct ha_message message = {.type = HA_MESSAGE_PREPARE};

    message.u.prepare = *ask;
    if (conn != NULL)
        send_message(conn, &message);
    return conn != NULL && conn->state == CONN_SERVED;
}

void ha_agents_refresh(struct ha_agents *agents, bool settings)
{
    for (struct conn *conn = agents->conns; conn != NULL; conn = conn->next) {
        if (conn->state == CONN_SERVED)
            push_peers(conn);
        if (conn->state == CONN_SERVED && settings)
            push_settings(conn);
    }
}

/* Whether something this watcher promised to @instance may still be unexpired. */
static bool is_promised(const struct ha_watcher *core, uint64_t instance, uint64_t now_ms)
{
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_watched *watched = &core->services[i];

        if (watched->promise_instance == instance && now_ms < watched->promise_until_ms)
            return true;
    }
    return false;
}

void ha_agents_poll(struct ha_agents *agents)
{
    uint64_t now_ms = ha_clock_mono_ms();

    for (struct conn *conn = agents->conns; conn != NULL; conn = conn->next) {
        struct conn *first;

        if (conn->state == CONN_CLOSING)
            continue;
        if (conn->state == CONN_HELLO && now_ms - conn->since_ms > HELLO_MAX_MS) {
            refuse(conn, "no hello in time");
        } else if (now_ms - conn->heard_ms > SILENT_MAX_MS) {
            refuse(conn, "silent");
        } else if (conn->state == CONN_WAITING) {
            first = served_of(agents, conn->name);
            /* Closing the first serves the longest waiting one, which may be this. */
            if (first == NULL)
                serve_waiting(agents, conn->name);
            else if (now_ms - first->heard_ms >= SUSPECT_AFTER_MS &&
                     !is_promised(agents->daemon->core, first->instance, now_ms))
                close_conn(first);
        }
    }
}

int ha_agents_open(struct ha_daemon *daemon, struct ha_agents **ret)
{
    struct ha_agents *agents = calloc(1, sizeof(*agents));

    if (agents == NULL)
        return HA_ENOMEM;
    agents->daemon = daemon;
    agents->batch_data = malloc((size_t)2 * HA_MESSAGE_SIZE_MAX);
    if (agents->batch_data == NULL) {
        free(agents);
        return HA_ENOMEM;
    }
    agents->frame_data = agents->batch_data + HA_MESSAGE_SIZE_MAX;
    *ret = agents;
    return HA_OK;
}

void ha_agents_reconnect(struct ha_agents *agents)
{
    for (struct conn *conn = agents->conns; conn != NULL; conn = conn->next)
        close_conn(conn);
}

void ha_agents_close(struct ha_agents *agents, void (*cb)(struct ha_daemon *daemon))
{
    assert(cb != NULL && agents->close_cb == NULL);
    agents->close_cb = cb;
    for (struct conn *conn = agents->conns; conn != NULL; conn = conn->next)
        close_conn(conn);
    if (agents->conns == NULL)
        finish_close(agents);
}
