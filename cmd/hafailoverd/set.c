#include "cmd/hafailoverd/set.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hafailoverd/agents.h"
#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/replica.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

#define EXIT_REPLACED 2 /* a person must look: do not restart */

#define DRIFT_MS (HA_LEASE_MAX_MS / 100) /* of clocks, over the longest lease */

enum stage { MOVE_NONE, MOVE_DUE, MOVE_CLOSING };

struct ha_set_move {
    enum stage stage;
    uint32_t own_id; /* in the next set; 0: none */
    struct ha_raft_seed seed;
};

/* "watcher/w1" is w1. */
static const char *short_name(const struct ha_raft_peer *peer)
{
    const char *slash = strchr(peer->name, '/');

    return slash == NULL ? peer->name : slash + 1;
}

static const struct ha_watcher_setting *setting_of(const struct ha_daemon_settings *settings,
                                                   const char *name)
{
    for (uint32_t i = 0; i < settings->peer_count; i++)
        if (strcmp(settings->peers[i].name, name) == 0)
            return &settings->peers[i];
    return NULL;
}

/* Make the peers of the settings those of @set. What the settings say of an address is newer than
 * what the set remembers. False: this watcher is not in it. */
static bool take_peers(struct ha_daemon *daemon, const struct ha_raft_set *set)
{
    struct ha_daemon_settings *settings = daemon->live;
    const struct ha_daemon_settings before = *settings;
    bool is_in = false, is_outdated = set->count != before.peer_count;

    settings->peer_count = set->count;
    for (uint32_t i = 0; i < set->count; i++) {
        const char *name = short_name(&set->peers[i]);
        const struct ha_watcher_setting *known = setting_of(&before, name);
        struct ha_watcher_setting *peer = &settings->peers[i];

        memset(peer, 0, sizeof(*peer));
        (void)ha_text_copy(peer->name, sizeof(peer->name), name);
        (void)ha_text_copy(peer->address, sizeof(peer->address),
                           known != NULL ? known->address : set->peers[i].address);
        is_outdated = is_outdated || known == NULL;
        if (strcmp(name, settings->name) == 0) {
            settings->self = i;
            is_in = true;
        }
    }
    if (is_outdated && is_in)
        HA_LOG(HA_LOG_WARN, "settings-outdated",
               "why=\"the set of watchers has changed: name the same ones in [peers]\"");
    return is_in;
}

int ha_set_learn(struct ha_daemon *daemon, struct ha_err *err)
{
    const struct ha_daemon_settings *settings = daemon->settings;
    struct ha_raft_set set;
    uint32_t own_id;
    int code =
        ha_raft_inspect(settings->data_dir, ha_replica_cluster_id(daemon), &set, &own_id, err);

    if (code == HA_ENOENT)
        return HA_OK; /* a bootstrap, or refused by the log itself */
    if (code != HA_OK || set.count == 0)
        return code;
    if (!take_peers(daemon, &set) || daemon->settings->self + 1 != own_id)
        return ha_err_set(err, HA_EDENIED,
                          "%s belongs to another watcher than %s: give this one its own directory",
                          settings->data_dir, settings->name);
    daemon->set = set;
    return HA_OK;
}

/* --- the next set ----------------------------------------------------------------------------- */

static void name_next(const struct ha_daemon *daemon, const struct ha_raft_entry *entry,
                      const struct ha_command_replace *command, struct ha_raft_set *ret)
{
    const struct ha_cluster *cluster = &daemon->core->cluster;

    *ret = (struct ha_raft_set){.set_id = cluster->set_id,
                                .from_set = daemon->set_id,
                                .from_index = entry->index,
                                .from_term = entry->term,
                                .count = cluster->watcher_count};
    (void)ha_text_format(ret->gone, sizeof(ret->gone), "watcher/%s", command->old_name);
    for (uint32_t i = 0; i < ret->count; i++) {
        const char *name = cluster->watchers[i];
        const struct ha_watcher_setting *known = setting_of(daemon->settings, name);

        ret->peers[i].id = i + 1;
        (void)ha_text_format(ret->peers[i].name, sizeof(ret->peers[i].name), "watcher/%s", name);
        (void)ha_text_copy(ret->peers[i].address, sizeof(ret->peers[i].address),
                           known != NULL ? known->address : command->address);
    }
}

static uint32_t own_id_in(const struct ha_daemon *daemon, const struct ha_raft_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (strcmp(short_name(&set->peers[i]), daemon->settings->name) == 0)
            return i + 1;
    return 0;
}

void ha_set_replaced(struct ha_daemon *daemon, const struct ha_raft_entry *entry,
                     const struct ha_command_replace *command)
{
    struct ha_set_move *move = calloc(1, sizeof(*move));
    struct ha_raft_set next;
    struct ha_err err = {0};

    assert(daemon->move == NULL);
    name_next(daemon, entry, command, &next);
    /* The log still holds the entry: what follows from here does so again after a restart. */
    if (move == NULL || ha_raft_export(daemon->raft, &move->seed, &err) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "move-failed", "why=%s", move == NULL ? "no memory" : err.text);
        _exit(1);
    }
    assert(move->seed.index == entry->index && move->seed.term == entry->term);
    move->seed.set = next;
    move->own_id = own_id_in(daemon, &next);
    move->stage = MOVE_DUE;
    daemon->move = move;
    HA_LOG(HA_LOG_WARN, "watcher-replaced", "old=%s new=%s address=%s index=%" PRIu64,
           command->old_name, command->new_name, HA_QUOTE(command->address), entry->index);
}

static void retire(struct ha_daemon *daemon, const struct ha_raft_set *next)
{
    HA_LOG(HA_LOG_ERROR, "replaced", "why=\"%s\" set=%016" PRIx64 " index=%" PRIu64 " dir=%s",
           own_id_in(daemon, next) == 0
               ? "another watcher has taken this one's place: it has no part in the cluster any "
                 "more; disable the service, and remove its data directory"
               : "the others went on to another set of watchers with entries that this one lacks: "
                 "move its data directory away and join again with a new backup",
           next->set_id, next->from_index, daemon->settings->data_dir);
    daemon->retired = true;
}

void ha_set_over(void *ctx, const struct ha_raft_set *next)
{
    struct ha_daemon *daemon = ctx;

    if (!daemon->retired)
        retire(daemon, next);
}

/* --- the move --------------------------------------------------------------------------------- */

static void forget_peers(struct ha_daemon *daemon)
{
    for (uint32_t i = 0; i < HA_WATCHERS_MAX; i++) {
        struct ha_event event = {.kind = HA_EVENT_PEER};

        event.u.peer.watcher = i;
        if (daemon->peer_heard[i])
            (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
        daemon->peer_heard[i] = false;
    }
}

static int reopen(struct ha_daemon *daemon, struct ha_err *err)
{
    const struct ha_set_move *move = daemon->move;
    uint32_t seat = daemon->settings->self;
    int code = ha_raft_transplant(daemon->settings->data_dir, move->own_id, &move->seed, err);

    if (code != HA_OK)
        return code;
    daemon->set = move->seed.set;
    (void)take_peers(daemon, &daemon->set); /* we are in it: own_id */
    code = ha_replica_open(daemon, false, err);
    if (code == HA_OK)
        code = ha_raft_start(daemon->raft, err);
    if (code != HA_OK)
        return code;
    forget_peers(daemon);
    ha_daemon_look_at_peers(daemon);
    /* Agents count promises by seat, and learn ours with the hello only. */
    if (seat != daemon->settings->self)
        ha_agents_reconnect(daemon->agents);
    if (!daemon->core->caught_up)
        ha_daemon_catch_up(daemon);
    return HA_OK;
}

void ha_set_free(struct ha_daemon *daemon)
{
    if (daemon->move == NULL)
        return;
    ha_raft_seed_fini(&daemon->move->seed);
    free(daemon->move);
    daemon->move = NULL;
}

static void on_closed(void *arg)
{
    struct ha_daemon *daemon = arg;
    struct ha_err err = {0};
    int code;

    daemon->raft = NULL;
    if (daemon->stopping) {
        ha_daemon_part_closed(daemon); /* the next start meets the entry again */
        return;
    }
    code = reopen(daemon, &err);
    if (code != HA_OK) {
        /* The directory is of the set before or of the next: a restart goes on from either. */
        HA_LOG(HA_LOG_ERROR, "move-failed", "why=%s", HA_QUOTE(err.text));
        _exit(1);
    }
    HA_LOG(HA_LOG_INFO, "moved", "set=%016" PRIx64 " index=%" PRIu64, daemon->set_id,
           daemon->move->seed.index);
    ha_set_free(daemon);
}

void ha_set_turn(struct ha_daemon *daemon)
{
    struct ha_event event = {.kind = HA_EVENT_ROLE};

    if (daemon->move != NULL && daemon->move->own_id == 0 && !daemon->retired)
        retire(daemon, &daemon->move->seed.set);
    if (daemon->retired) {
        ha_daemon_stop(daemon, EXIT_REPLACED);
        return;
    }
    if (daemon->move == NULL || daemon->move->stage != MOVE_DUE)
        return;
    daemon->move->stage = MOVE_CLOSING;
    if (daemon->core->leader)
        (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
    ha_raft_close(daemon->raft, on_closed, daemon);
}

bool ha_set_is_moving(const struct ha_daemon *daemon)
{
    return daemon->move != NULL && daemon->move->stage == MOVE_CLOSING;
}

bool ha_set_waits(struct ha_daemon *daemon)
{
    uint64_t end_ms = daemon->started_ms + HA_LEASE_MAX_MS + DRIFT_MS;
    struct ha_err err = {0};
    int code;

    if (!daemon->set.must_wait)
        return false;
    if (ha_clock_mono_ms() < end_ms)
        return true;
    code = ha_raft_waited(daemon->raft, &err);
    if (code == HA_OK)
        code = ha_raft_start(daemon->raft, &err);
    if (code != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "start-failed", "why=%s", HA_QUOTE(err.text));
        _exit(1);
    }
    daemon->set.must_wait = false;
    HA_LOG(HA_LOG_INFO, "promises-over", "set=%016" PRIx64, daemon->set_id);
    ha_daemon_catch_up(daemon);
    return false;
}
