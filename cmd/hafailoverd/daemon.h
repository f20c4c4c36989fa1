/* cmd/hafailoverd/daemon.h - owns every long-lived object of a watcher, and the one way into the
 * core.
 *
 * Shell. One loop thread. Facts from outside become events through ha_daemon_step; the effects it
 * fills are executed by dispatch.c once per loop turn, never with the core or libraft on the stack.
 * The struct is open to the files of this folder and to nobody else. */
#ifndef HA_CMD_HAFAILOVERD_DAEMON_H
#define HA_CMD_HAFAILOVERD_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "cmd/common/backlog.h"
#include "cmd/hafailoverd/settings.h"
#include "lib/core/watcher.h"
#include "raft/care.h"

struct ha_agents;
struct ha_dispatch;
struct ha_err;
struct ha_fencer;
struct ha_listener;
struct ha_loop;
struct ha_notifier;
struct ha_prober;
struct ha_promise_note;
struct ha_serve;
struct ha_set_move;
struct ha_tls;

struct ha_daemon {
    const struct ha_daemon_settings *settings; /* `live` */
    struct ha_daemon_settings *live;           /* those of main, with the peers of today */
    struct ha_loop *loop;                      /* borrowed from main */
    uv_loop_t *uv;                             /* of `loop` */
    struct ha_tls *tls;                        /* NULL with mode plain */
    uint16_t peer_port;                        /* of this watcher in [peers] */
    struct ha_raft *raft;
    uint64_t set_id;
    struct ha_raft_set set;   /* as the directory remembers it; count 0: that of the settings */
    struct ha_set_move *move; /* to the next set; NULL: none */
    bool retired;             /* this watcher has no part in the log any more */
    uint64_t started_ms;

    struct ha_watcher *core;
    struct ha_backlog backlog;   /* effects, filled by steps, emptied by dispatch */
    struct ha_config *config_in; /* where a committed configuration is decoded */
    bool topology_changed;       /* what prober and agents go by: they must look */
    bool applied;                /* entries, in this turn of the loop */
    uint64_t kept_hash;       /* of the services whose lease agents may keep, as last looked at */
    uint64_t malformed_count; /* entries that could not be decoded */
    bool peer_heard[HA_WATCHERS_MAX];
    bool timers_open;
    bool stopping;
    bool ready; /* told to the service manager */
    int exit_code;

    struct ha_dispatch *dispatch;
    struct ha_promise_note *note;
    struct ha_fencer *fencer;
    struct ha_prober *prober;
    struct ha_agents *agents;
    struct ha_notifier *notifier;
    struct ha_serve *serve;
    struct ha_listener *listener;

    uv_timer_t tick;
    uv_timer_t poll;     /* who is heard; waiting agents; webhooks */
    unsigned open_parts; /* what must close before the loop may end */
};

/* Take one event in; the clocks are stamped here. Result and @err as ha_watcher_step. */
int ha_daemon_step(struct ha_daemon *daemon, struct ha_event *event, struct ha_err *err);

/* Run until a signal or a fatal error; the exit code of the program. @bootstrap: an empty data
 * directory may become a new voter. */
int ha_daemon_run(const struct ha_daemon_settings *settings, bool bootstrap);

/* Stop in order; the loop ends when everything has closed. */
void ha_daemon_stop(struct ha_daemon *daemon, int exit_code);

/* A part that closes by itself has closed. */
void ha_daemon_part_closed(struct ha_daemon *daemon);

/* Ask a leader for an index to catch up with; HA_EVENT_CAUGHT_UP when it has been applied. */
void ha_daemon_catch_up(struct ha_daemon *daemon);

/* Whether a watcher counts as heard: a frame of it came lately; followers, who say nothing to each
 * other while all is well, count a standing link too. */
bool ha_daemon_is_heard(const struct ha_daemon *daemon, const struct ha_raft_peer_status *peer);

/* Tell the core who is heard, where that has changed. */
void ha_daemon_look_at_peers(struct ha_daemon *daemon);

/* Index in the set of watchers of a Raft peer id, and back. */
static inline uint32_t ha_daemon_index_of(uint32_t peer_id)
{
    return peer_id - 1;
}

static inline uint32_t ha_daemon_id_of(uint32_t index)
{
    return index + 1;
}

#endif /* HA_CMD_HAFAILOVERD_DAEMON_H */
