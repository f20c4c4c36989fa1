#include "cmd/hafailoverd/replica.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/dispatch.h"
#include "cmd/hafailoverd/set.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/log.h"
#include "lib/wire/command.h"
#include "lib/wire/message.h"
#include "lib/wire/snapshot.h"

#define EXIT_HUNG 1  /* the disk: what is stored is sound, and a start finds out more */
#define EXIT_FATAL 3 /* the log can no longer be trusted: do not restart without looking */

static void apply(void *ctx, const struct ha_raft_entry *entry)
{
    struct ha_daemon *daemon = ctx;
    const struct ha_cluster *cluster = &daemon->core->cluster;
    uint64_t version = cluster->config_version;
    uint32_t services = cluster->service_count;
    struct ha_command command = {.kind = HA_COMMAND_NOTHING};
    struct ha_event event = {.kind = HA_EVENT_COMMITTED};
    struct ha_err err = {0};
    int code;

    if (daemon->move != NULL) {
        /* Behind the end of the set: as if it were not there, on every watcher. */
        ha_dispatch_applied(daemon->dispatch, entry->index, HA_ESTALE,
                            "the set of watchers has just changed: ask again");
        return;
    }
    if (ha_command_decode(entry->data, entry->size, &command, daemon->config_in, &err) != HA_OK) {
        /* The same on every watcher: the entry counts and does nothing. */
        daemon->malformed_count++;
        HA_LOG(HA_LOG_ERROR, "entry-malformed", "index=%" PRIu64 " why=%s", entry->index,
               HA_QUOTE(err.text));
        command = (struct ha_command){.kind = HA_COMMAND_NOTHING};
    }
    err = (struct ha_err){0};
    event.u.committed = (struct ha_event_committed){.index = entry->index, .command = &command};
    code = ha_daemon_step(daemon, &event, &err);
    HA_LOG(code == HA_OK ? HA_LOG_DEBUG : HA_LOG_INFO, "applied",
           "index=%" PRIu64 " kind=%s result=%s text=%s", entry->index,
           ha_command_kind_text(command.kind), ha_code_text(code), HA_QUOTE(err.text));
    if (version != cluster->config_version || services != cluster->service_count)
        daemon->topology_changed = true;
    daemon->applied = true;
    ha_dispatch_applied(daemon->dispatch, entry->index, code, err.text);
    if (command.kind == HA_COMMAND_REPLACE && code == HA_OK)
        ha_set_replaced(daemon, entry, &command.u.replace);
}

static int snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    struct ha_daemon *daemon = ctx;
    struct ha_err err = {0};
    size_t size;
    void *data;
    int code;

    /* The entry that ends this set must be met again by a start before the move is done: under a
     * snapshot it would be forgotten, and the state of the next set go on in the log of this one.
     */
    if (daemon->move != NULL)
        return HA_EBUSY;
    size = ha_snapshot_size(&daemon->core->cluster);
    data = size > 0 ? malloc(size) : NULL;
    code = data != NULL ? HA_OK : HA_ENOMEM;
    if (code == HA_OK)
        code = ha_snapshot_encode(&daemon->core->cluster, data, size, &size, &err);
    if (code != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "snapshot-failed", "why=%s",
               err.text[0] != '\0' ? err.text : ha_code_text(code));
        free(data);
        return code;
    }
    *ret_data = data;
    *ret_size = size;
    return HA_OK;
}

static int take_state(struct ha_daemon *daemon, const void *data, size_t size, uint64_t index,
                      struct ha_cluster *state)
{
    struct ha_event event = {.kind = HA_EVENT_RESTORED};
    struct ha_err err = {0};
    int code = ha_snapshot_decode(data, size, state, &err);

    if (code != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "restore-failed", "index=%" PRIu64 " why=%s", index, err.text);
        return code;
    }
    if (state->set_id != 0 && state->set_id != daemon->set_id) {
        HA_LOG(HA_LOG_ERROR, "restore-failed",
               "index=%" PRIu64
               " why=\"this is the state of another set of watchers: move the data "
               "directory away and join again with a new backup\"",
               index);
        return HA_ESTALE;
    }
    daemon->core->cluster = *state;
    daemon->topology_changed = true;
    (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
    HA_LOG(HA_LOG_INFO, "restored", "index=%" PRIu64 " config=%" PRIu64, index,
           daemon->core->cluster.config_version);
    return HA_OK;
}

static int restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    struct ha_cluster *state = calloc(1, sizeof(*state)); /* megabytes, needed once in a while */
    int code = state == NULL ? HA_ENOMEM : take_state(ctx, data, size, index, state);

    free(state);
    return code;
}

static void role(void *ctx, bool is_leader, uint64_t term)
{
    struct ha_daemon *daemon = ctx;
    struct ha_event event = {.kind = HA_EVENT_ROLE};

    HA_LOG(HA_LOG_INFO, is_leader ? "leading" : "following", "term=%" PRIu64, term);
    event.u.role.leader = is_leader;
    event.u.role.term = term;
    (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
    ha_daemon_look_at_peers(daemon);
}

static void outcome(void *ctx, uint64_t request, const struct ha_raft_outcome *how)
{
    struct ha_daemon *daemon = ctx;

    ha_dispatch_outcome(daemon->dispatch, request, how);
}

static void app(void *ctx, uint32_t peer, const void *data, size_t size)
{
    struct ha_daemon *daemon = ctx;
    struct ha_event event = {.kind = HA_EVENT_STOPPED};
    struct ha_message message;
    struct ha_err err = {0};

    if (ha_message_decode(data, size, &message, &err) != HA_OK ||
        message.type != HA_MESSAGE_STOPPED) {
        HA_LOG(HA_LOG_WARN, "peer-message-refused", "peer=%u why=%s", peer, HA_QUOTE(err.text));
        return;
    }
    event.u.stopped.watcher = ha_daemon_index_of(peer);
    event.u.stopped.stopped = &message.u.stopped;
    (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
}

static void fatal(void *ctx, int code, const char *why)
{
    (void)ctx;
    HA_LOG(HA_LOG_ERROR, "fatal", "code=%s why=%s", ha_code_text(code), HA_QUOTE(why));
    _exit(code == HA_ETIMEDOUT ? EXIT_HUNG : EXIT_FATAL);
}

uint64_t ha_replica_cluster_id(const struct ha_daemon *daemon)
{
    const char *name = daemon->settings->cluster;

    return ha_hash(HA_HASH_START, name, strlen(name));
}

int ha_replica_open(struct ha_daemon *daemon, bool bootstrap, struct ha_err *err)
{
    const struct ha_daemon_settings *settings = daemon->settings;
    const struct ha_raft_hooks hooks = {
        .ctx = daemon,
        .apply = apply,
        .snapshot = snapshot,
        .restore = restore,
        .role = role,
        .outcome = outcome,
        .app = app,
        .over = ha_set_over,
        .fatal = fatal,
    };
    struct ha_raft_options options;

    ha_raft_options_init(&options);
    options.cluster_id = ha_replica_cluster_id(daemon);
    options.set_id = daemon->set.set_id;
    options.own_id = ha_daemon_id_of(settings->self);
    options.peer_count = settings->peer_count;
    for (uint32_t i = 0; i < settings->peer_count; i++) {
        struct ha_raft_peer *peer = &options.peers[i];

        peer->id = ha_daemon_id_of(i);
        (void)ha_text_format(peer->name, sizeof(peer->name), "watcher/%s", settings->peers[i].name);
        (void)ha_text_copy(peer->address, sizeof(peer->address), settings->peers[i].address);
    }
    options.dir = settings->data_dir;
    options.election_ms = settings->election_ms;
    options.heartbeat_ms = settings->heartbeat_ms;
    options.bootstrap = bootstrap;
    options.plain = daemon->tls == NULL;
    options.tls = daemon->tls;
    daemon->set_id = ha_raft_set_id(&options);
    return ha_raft_open(daemon->uv, &options, &hooks, &daemon->raft, err);
}
