#include "cmd/hafailoverd/daemon.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/common/secret.h"
#include "cmd/hafailoverd/agents.h"
#include "cmd/hafailoverd/dispatch.h"
#include "cmd/hafailoverd/fence.h"
#include "cmd/hafailoverd/note.h"
#include "cmd/hafailoverd/notify.h"
#include "cmd/hafailoverd/prober.h"
#include "cmd/hafailoverd/replica.h"
#include "cmd/hafailoverd/serve.h"
#include "cmd/hafailoverd/set.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/effect.h"
#include "lib/io/clock.h"
#include "lib/io/listener.h"
#include "lib/io/log.h"
#include "lib/io/loop.h"
#include "lib/io/notify.h"
#include "lib/io/tls.h"
#include "lib/wire/message.h"

#define TICK_MAX_MS 100u
#define POLL_MS 100u
#define READ_INDEX_MAX_MS 2000u
#define USER_TIMEOUT_MS 3000u
#define KEEPALIVE_S 2u

int ha_daemon_step(struct ha_daemon *daemon, struct ha_event *event, struct ha_err *err)
{
    int code;

    event->now_ms = ha_clock_mono_ms();
    event->wall_ms = ha_clock_wall_ms();
    code = ha_watcher_step(daemon->core, event, daemon->backlog.now, err);
    ha_backlog_stepped(&daemon->backlog);
    return code;
}

bool ha_daemon_is_heard(const struct ha_daemon *daemon, const struct ha_raft_peer_status *peer)
{
    return peer->is_self || peer->heard_ago_ms <= 2 * (uint64_t)daemon->settings->election_ms ||
           (!daemon->core->leader && peer->connected);
}

static void on_tick(uv_timer_t *timer)
{
    struct ha_daemon *daemon = timer->data;
    struct ha_event event = {.kind = HA_EVENT_TICK};

    (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
}

static void set_tick(struct ha_daemon *daemon)
{
    uint64_t now_ms = ha_clock_mono_ms();
    uint64_t wake_ms = ha_watcher_wake_ms(daemon->core);
    uint64_t wait_ms = wake_ms > now_ms ? wake_ms - now_ms : 0;

    uv_update_time(daemon->uv);
    (void)uv_timer_start(&daemon->tick, on_tick, wait_ms < TICK_MAX_MS ? wait_ms : TICK_MAX_MS, 0);
}

/* Of which services agents may keep the lease: it decides what they are told of each other. */
static uint64_t hash_kept(const struct ha_cluster *cluster)
{
    uint64_t hash = HA_HASH_START;

    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_service *service = &cluster->services[i];

        if (service->used && service->hold.count > 0)
            hash = ha_hash(hash, &service->id, sizeof(service->id));
    }
    return hash;
}

/* Once for all entries of a turn: it costs with the number of all services. */
static void look_at_topology(struct ha_daemon *daemon)
{
    uint64_t kept_hash = daemon->kept_hash;

    if (daemon->applied || daemon->topology_changed) /* a snapshot is no entry */
        daemon->kept_hash = hash_kept(&daemon->core->cluster);
    daemon->applied = false;
    if (daemon->topology_changed) {
        daemon->topology_changed = false;
        ha_prober_refresh(daemon->prober);
        ha_agents_refresh(daemon->agents, true);
        ha_fencer_look(daemon->fencer);
    } else if (daemon->kept_hash != kept_hash) {
        ha_agents_refresh(daemon->agents, false);
    }
}

/* Once per loop turn, with neither the core nor libraft on the stack. */
static void on_drain(void *ctx)
{
    struct ha_daemon *daemon = ctx;

    if (daemon->stopping || daemon->raft == NULL)
        return;
    look_at_topology(daemon);
    if (daemon->core->cluster.notice_count > 0)
        ha_notifier_look(daemon->notifier);
    if (ha_dispatch_drain(daemon->dispatch))
        ha_loop_wake(daemon->loop);
    ha_set_turn(daemon);
    if (daemon->stopping)
        return;
    set_tick(daemon);
}

void ha_daemon_look_at_peers(struct ha_daemon *daemon)
{
    struct ha_raft_status status;

    ha_raft_get_status(daemon->raft, &status);
    for (uint32_t i = 0; i < status.peer_count; i++) {
        const struct ha_raft_peer_status *peer = &status.peers[i];
        uint32_t at = ha_daemon_index_of(peer->id);
        bool heard = ha_daemon_is_heard(daemon, peer);
        struct ha_event event = {.kind = HA_EVENT_PEER};

        if (at >= HA_WATCHERS_MAX || heard == daemon->peer_heard[at])
            continue;
        daemon->peer_heard[at] = heard;
        HA_LOG(HA_LOG_INFO, heard ? "watcher-heard" : "watcher-silent", "watcher=%s",
               daemon->settings->peers[at].name);
        event.u.peer = (struct ha_event_peer){.watcher = at, .heard = heard};
        (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
    }
}

/* The service manager goes on to the next watcher when this one promises again: one that has caught
 * up does not before every promise of its last run has ended, and two of them would be a majority.
 */
static void tell_ready(struct ha_daemon *daemon)
{
    if (daemon->ready || !ha_watcher_is_ready(daemon->core, ha_clock_mono_ms()))
        return;
    daemon->ready = true;
    HA_LOG(HA_LOG_INFO, "ready", "after_ms=%" PRIu64, ha_clock_mono_ms() - daemon->started_ms);
    (void)ha_notify("READY=1\nSTATUS=caught up, and promises");
}

static void on_poll(uv_timer_t *timer)
{
    struct ha_daemon *daemon = timer->data;

    tell_ready(daemon);
    if (daemon->stopping || ha_set_waits(daemon))
        return;
    ha_daemon_look_at_peers(daemon);
    ha_agents_poll(daemon->agents);
    ha_notifier_look(daemon->notifier);
}

/* Until a leader has named an index to this very run, the core promises nothing. */
static void on_read_index(void *arg, int code, uint64_t index)
{
    struct ha_daemon *daemon = arg;
    struct ha_event event = {.kind = HA_EVENT_CAUGHT_UP};

    if (daemon->stopping || code == HA_ECANCELED)
        return;
    if (code != HA_OK) {
        ha_daemon_catch_up(daemon);
        return;
    }
    HA_LOG(HA_LOG_INFO, "caught-up", "index=%" PRIu64, index);
    (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
}

void ha_daemon_catch_up(struct ha_daemon *daemon)
{
    int code = ha_raft_read_index(daemon->raft, READ_INDEX_MAX_MS, on_read_index, daemon);

    if (code != HA_OK)
        HA_LOG(HA_LOG_ERROR, "read-index-failed", "why=%s", ha_code_text(code));
}

/* One port serves watchers, agents and operators: the key proves who it is, ALPN what it speaks.
 * Plain text proves nothing, so there the address in [peers] is for watchers and others for agents.
 */
static void on_stream(void *ctx, struct ha_stream *stream)
{
    struct ha_daemon *daemon = ctx;
    const char *name = ha_stream_peer_name(stream);
    struct ha_addr local;

    if (daemon->tls == NULL) {
        bool is_peer = ha_stream_local_addr(stream, &local) == HA_OK &&
                       ha_addr_port(&local) == daemon->peer_port;

        if (is_peer)
            ha_raft_adopt(daemon->raft, stream);
        else
            ha_agents_adopt(daemon->agents, stream);
    } else if (ha_stream_alpn(stream) == HA_ALPN_HTTP) {
        ha_serve_adopt(daemon->serve, stream);
    } else if (ha_raft_is_peer(daemon->raft, name)) {
        ha_raft_adopt(daemon->raft, stream);
    } else if (strncmp(name, "agent/", 6) == 0) {
        ha_agents_adopt(daemon->agents, stream);
    } else {
        HA_LOG(HA_LOG_WARN, "stream-refused", "peer=%s", HA_QUOTE(name));
        ha_stream_close(stream, 0, NULL, NULL);
    }
}

static int open_listener(struct ha_daemon *daemon, struct ha_err *err)
{
    struct ha_listener_options options = {
        .tls = daemon->tls,
        .tuning = {.user_timeout_ms = USER_TIMEOUT_MS,
                   .keepalive_s = KEEPALIVE_S,
                   .send_queue_max = HA_MESSAGE_QUEUE_MAX},
        .on_stream = on_stream,
        .ctx = daemon,
    };
    int code = ha_listener_open(&daemon->listener, daemon->uv, &options);

    if (code != HA_OK)
        return ha_err_set(err, code, "listener: %s", ha_code_text(code));
    for (uint32_t i = 0; i < daemon->settings->listen_count; i++) {
        struct ha_addr addr;

        code = ha_addr_parse(daemon->settings->listen[i], 0, &addr);
        if (code != HA_OK)
            return ha_err_set(err, code, "listen = %s is not a numeric address and port",
                              daemon->settings->listen[i]);
        code = ha_listener_bind(daemon->listener, &addr, 0, NULL, err);
        if (code != HA_OK)
            return ha_err_prefix(err, code, "listen on %s", daemon->settings->listen[i]);
    }
    return HA_OK;
}

static int open_core(struct ha_daemon *daemon, uint32_t promise_max_ms)
{
    struct ha_watcher_options options = {
        .set_id = daemon->set_id,
        .watcher_count = daemon->settings->peer_count,
        .promise_max_ms = promise_max_ms,
        .now_ms = ha_clock_mono_ms(),
    };

    daemon->core = calloc(1, sizeof(*daemon->core));
    daemon->config_in = calloc(1, sizeof(*daemon->config_in));
    if (daemon->core == NULL || daemon->config_in == NULL ||
        ha_backlog_open(&daemon->backlog) != HA_OK)
        return HA_ENOMEM;
    (void)ha_text_copy(options.name, sizeof(options.name), daemon->settings->name);
    for (uint32_t i = 0; i < daemon->settings->peer_count; i++)
        (void)ha_text_copy(options.watchers[i], HA_NAME_SIZE, daemon->settings->peers[i].name);
    ha_watcher_init_zeroed(daemon->core, &options);
    return HA_OK;
}

static void open_timers(struct ha_daemon *daemon)
{
    (void)uv_timer_init(daemon->uv, &daemon->tick); /* cannot fail */
    (void)uv_timer_init(daemon->uv, &daemon->poll);
    daemon->tick.data = daemon;
    daemon->poll.data = daemon;
    (void)uv_timer_start(&daemon->poll, on_poll, POLL_MS, POLL_MS);
    daemon->timers_open = true;
}

/* Everything in the order in which it is needed; what was opened before a failure is closed by
 * ha_daemon_stop. */
static int open_all(struct ha_daemon *daemon, bool bootstrap, struct ha_err *err)
{
    char name[HA_TLS_NAME_SIZE];
    uint32_t promise_max_ms = HA_LEASE_MAX_MS;
    int code;

    (void)ha_text_format(name, sizeof(name), "watcher/%s", daemon->settings->name);
    code = ha_security_tls_new(&daemon->settings->security, name, true, &daemon->tls, err);
    if (code == HA_OK && !bootstrap)
        code = ha_set_learn(daemon, err);
    if (code == HA_OK)
        code = ha_replica_open(daemon, bootstrap, err);
    if (code == HA_OK)
        code = ha_promise_note_open(daemon, bootstrap, &daemon->note, &promise_max_ms, err);
    if (code != HA_OK)
        return code;
    code = open_core(daemon, promise_max_ms);
    if (code == HA_OK)
        code = ha_dispatch_open(daemon, &daemon->dispatch);
    if (code == HA_OK)
        code = ha_fencer_open(daemon, &daemon->fencer);
    if (code == HA_OK)
        code = ha_agents_open(daemon, &daemon->agents);
    if (code != HA_OK)
        return ha_err_set(err, code, "%s", ha_code_text(code));
    code = ha_prober_open(daemon, &daemon->prober, err);
    if (code == HA_OK)
        code = ha_notifier_open(daemon, &daemon->notifier, err);
    if (code == HA_OK)
        code = ha_serve_open(daemon, &daemon->serve, err);
    if (code != HA_OK)
        return code;
    open_timers(daemon);
    if (!daemon->set.must_wait)
        code = ha_raft_start(daemon->raft, err);
    if (code == HA_OK)
        code = open_listener(daemon, err);
    return code;
}

void ha_daemon_part_closed(struct ha_daemon *daemon)
{
    assert(daemon->open_parts > 0);
    daemon->open_parts--;
}

static void on_raft_closed(void *arg)
{
    ha_daemon_part_closed(arg);
}

static void on_listener_closed(void *ctx)
{
    ha_daemon_part_closed(ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
    ha_daemon_part_closed(handle->data);
}

static unsigned count_parts(const struct ha_daemon *daemon)
{
    const void *const parts[] = {daemon->listener, daemon->raft,   daemon->serve, daemon->notifier,
                                 daemon->prober,   daemon->agents, daemon->note};
    unsigned count = daemon->timers_open ? 2 : 0;

    for (size_t i = 0; i < HA_ARRAY_LEN(parts); i++)
        count += parts[i] != NULL;
    return count;
}

/* Each part reports its own end; none relies on the order in which they end. */
void ha_daemon_stop(struct ha_daemon *daemon, int exit_code)
{
    if (daemon->stopping)
        return;
    daemon->stopping = true;
    daemon->exit_code = exit_code;
    (void)ha_notify("STOPPING=1");
    daemon->open_parts = count_parts(daemon);
    if (daemon->timers_open) {
        uv_close((uv_handle_t *)&daemon->tick, on_timer_closed);
        uv_close((uv_handle_t *)&daemon->poll, on_timer_closed);
    }
    if (daemon->listener != NULL)
        ha_listener_close(daemon->listener, on_listener_closed, daemon);
    if (daemon->raft != NULL && !ha_set_is_moving(daemon)) /* it tells its own end */
        ha_raft_close(daemon->raft, on_raft_closed, daemon);
    if (daemon->serve != NULL)
        ha_serve_close(daemon->serve, ha_daemon_part_closed);
    if (daemon->notifier != NULL)
        ha_notifier_close(daemon->notifier, ha_daemon_part_closed);
    if (daemon->prober != NULL)
        ha_prober_close(daemon->prober, ha_daemon_part_closed);
    if (daemon->agents != NULL)
        ha_agents_close(daemon->agents, ha_daemon_part_closed);
    if (daemon->note != NULL)
        ha_promise_note_close(daemon->note, ha_daemon_part_closed);
    if (daemon->fencer != NULL)
        ha_fencer_cancel(daemon->fencer);
}

static void on_signal(void *ctx, int signal)
{
    HA_LOG(HA_LOG_INFO, "stopping", "signal=%d", signal);
    ha_daemon_stop(ctx, 0);
}

static void on_reload(void *ctx)
{
    const struct ha_daemon *daemon = ctx;

    ha_security_reload(daemon->tls);
}

static void free_all(struct ha_daemon *daemon)
{
    ha_set_free(daemon);
    ha_dispatch_free(daemon->dispatch);
    ha_fencer_free(daemon->fencer);
    ha_tls_unref(daemon->tls);
    free(daemon->core);
    ha_backlog_free(&daemon->backlog);
    free(daemon->config_in);
}

int ha_daemon_run(const struct ha_daemon_settings *settings, bool bootstrap)
{
    struct ha_loop loop;
    struct ha_daemon_settings live = *settings;
    struct ha_daemon daemon = {.settings = &live, .live = &live, .loop = &loop, .uv = &loop.uv};
    struct ha_loop_hook hook = {.cb = on_drain, .ctx = &daemon};
    char host[HA_ADDRESS_SIZE];
    struct ha_err err = {0};

    if (ha_loop_init(&loop) != HA_OK)
        return 1;
    daemon.started_ms = ha_clock_mono_ms();
    (void)ha_text_host_port(settings->peers[settings->self].address, host, sizeof(host),
                            &daemon.peer_port, 0); /* checked when it was read */
    ha_loop_on_drain(&loop, &hook);
    if (ha_loop_on_stop(&loop, on_signal, &daemon) != HA_OK ||
        ha_loop_on_reload(&loop, on_reload, &daemon) != HA_OK ||
        open_all(&daemon, bootstrap, &err) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "start-failed", "why=%s", HA_QUOTE(err.text));
        ha_daemon_stop(&daemon, 1);
    } else {
        HA_LOG(HA_LOG_INFO, "started", "name=%s version=%s set=%016" PRIx64, settings->name,
               HA_VERSION, daemon.set_id);
        (void)ha_notify("STATUS=waits for a majority, and for the end of its last run's promises");
        if (daemon.set.must_wait)
            HA_LOG(HA_LOG_WARN, "waiting",
                   "why=\"the watchers before are lost: what they promised must run out first\" "
                   "ms=%u",
                   HA_LEASE_MAX_MS);
        else
            ha_daemon_catch_up(&daemon);
    }
    ha_loop_run(&loop);
    if (ha_loop_fini(&loop) != HA_OK)
        _exit(daemon.exit_code != 0 ? daemon.exit_code : 1); /* memory still belongs to the loop */
    free_all(&daemon);
    return daemon.exit_code;
}
