/* FOLLOW: a server that does not run: what its data is decides how it is started. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agents/postgresql/act_follow.h"
#include "agents/postgresql/diverged.h"
#include "agents/postgresql/files.h"
#include "agents/postgresql/keep.h"
#include "agents/postgresql/segments.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

#define BE_ORDINARY                                                                \
    "echo 0 >/proc/self/oom_score_adj; renice 0 $$ >/dev/null; exec \"$0\" \"$@\"" \
    " 2>&1"

/* --- starting --------------------------------------------------------------------------------- */

static void on_start_ran(struct ha_pg_act *act)
{
    const struct ha_process_result *result = act->result;

    if (result->code != HA_OK || result->exit_status != 0) {
        ha_pg_act_fail(act, HA_EIO, "the server does not start: %.120s (see %s/server.log)",
                       result->code != HA_OK ? result->err.text : result->output,
                       act->server->work_dir);
        return;
    }
    act->started = true;
    act->started_ms = ha_clock_mono_ms();
    act->acts.doing = "waiting for the server to answer";
    ha_pg_act_wait(act, HA_PG_POLL_MS, ha_pg_follow_look);
}

static void on_standby_written(struct ha_pg_act *act)
{
    const struct ha_pg_server *server = act->server;
    char log[HA_PG_PATH_SIZE + 16], options[HA_PG_PATH_SIZE + 32], pg_ctl[HA_PG_PATH_SIZE + 8];
    /* The agent is spared by the kernel and runs before others; what it starts is like any server.
     */
    const char *own[] = {"/bin/sh", "-c",    BE_ORDINARY,
                         pg_ctl,    "start", "-W",
                         "-s",      "-D",    server->data_dir,
                         "-l",      log,     server->config_file[0] != '\0' ? "-o" : NULL,
                         options,   NULL};
    const char *command[] = {"/bin/sh", "-c", server->start_command, NULL};

    if (act->found.err.code != HA_OK) {
        ha_pg_act_fail(act, act->found.err.code, "%s", act->found.err.text);
        return;
    }
    act->acts.doing = "starting the server";
    act->begun++;
    (void)snprintf(pg_ctl, sizeof(pg_ctl), "%s/pg_ctl", server->bin_dir);
    (void)snprintf(log, sizeof(log), "%s/server.log", server->work_dir);
    (void)snprintf(options, sizeof(options), "-c config_file=%s", server->config_file);
    ha_pg_act_run(act, server->start_command[0] != '\0' ? command : own, on_start_ran);
}

static int write_standby(struct ha_pg_work *work, const struct ha_act *ask)
{
    const struct ha_pg_server *server = work->server;
    struct ha_err *err = &work->err;
    char info[1024], slot[HA_NAME_SIZE + 8] = "";
    int rc = ha_pg_files_prepare(server, err);

    /* Of a copy that took its place when its agent was killed: the settings are still the other's.
     */
    if (rc == HA_OK)
        rc = ha_pg_files_restore_settings(server, err);
    if (rc == HA_OK && ha_pg_follow_conninfo(server, ask, info, sizeof(info)) != HA_OK)
        rc = ha_err_set(err, HA_EFULL, "primary_conninfo is too long");
    if (ask->member_name[0] != '\0')
        ha_pg_slot_name(ask->member_name, slot, sizeof(slot));
    if (rc == HA_OK)
        rc = ha_pg_files_standby(server, info, slot, ask->sync_managed ? HA_PG_NOBODY : "", err);
    return rc;
}

static int write_compared(struct ha_pg_work *work)
{
    return write_standby(work, &work->ask);
}

int ha_pg_follow_write_uncompared(struct ha_pg_work *work)
{
    struct ha_act ask = work->ask;

    ha_pg_follow_uncount(&ask);
    return write_standby(work, &ask);
}

static int mend(struct ha_pg_work *work)
{
    return ha_pg_segments_mend(work->server, &work->err);
}

static void on_mended(struct ha_pg_act *act)
{
    if (act->found.err.code != HA_OK) {
        ha_pg_act_fail(act, act->found.err.code, "%s", act->found.err.text);
        return;
    }
    act->acts.doing = "writing the settings of a standby";
    ha_pg_act_work(act, act->uncompared ? ha_pg_follow_write_uncompared : write_compared,
                   on_standby_written);
}

void ha_pg_follow_start(struct ha_pg_act *act)
{
    act->acts.doing = "looking for WAL that ends before its timeline";
    ha_pg_act_work(act, mend, on_mended);
}

/* --- its data ----------------------------------------------------------------------------------
 */

static int note_nothing_lost(struct ha_pg_work *work)
{
    const struct ha_pg_left left = {.epoch = work->ask.epoch, .kept = HA_KEPT_WHOLE};

    return ha_pg_diverged_note(work->server, &left, &work->err);
}

static void on_nothing_lost(struct ha_pg_act *act)
{
    if (act->found.err.code != HA_OK) /* it is only told then */
        HA_LOG(HA_LOG_WARN, "postgresql-diverged-not-noted", "text=%s",
               HA_QUOTE(act->found.err.text));
    ha_pg_follow_start(act);
}

/* A primary's data, and what the upstream is. */
static void on_notes(struct ha_pg_act *act)
{
    const struct ha_pg_control *control = &act->control;
    bool unopened = act->found.promotion.unopened;
    uint64_t fork = 0;
    bool known = !unopened && ha_pg_follow_fork(act, control->timeline, &fork);

    if (act->found.err.code != HA_OK) {
        ha_pg_act_fail(act, act->found.err.code, "%s", act->found.err.text);
        return;
    }
    if (known && fork == UINT64_MAX) {
        ha_pg_follow_copy(act, "it wrote the same timeline as the upstream", control->timeline, 0);
        return;
    }
    if (control->clean && known && control->checkpoint < fork) { /* it wrote nothing after it */
        if (act->found.pending)
            ha_pg_follow_copy(
                act, "a rewind of it was interrupted, and the upstream has another history",
                control->timeline, 0);
        else
            ha_pg_act_work(act, note_nothing_lost, on_nothing_lost);
        return;
    }
    act->unopened = unopened;
    ha_pg_follow_rewind(act, known ? control->timeline : 0, fork);
}

static void on_upstream_of_stopped(struct ha_pg_act *act)
{
    if (!ha_pg_follow_is_other_cluster(act, act->control.system))
        ha_pg_follow_read_history(act, act->control.timeline, on_notes);
}

static int look_for_backup(struct ha_pg_work *work)
{
    work->backup = ha_pg_files_is_backup(work->server);
    return HA_OK;
}

static void on_backup(struct ha_pg_act *act)
{
    if (act->found.backup || !act->control.was_primary || !ha_pg_follow_has_upstream(act)) {
        act->uncompared = ha_pg_follow_has_upstream(act) && act->acts.ask.sync_managed;
        ha_pg_follow_start(act);
    } else {
        ha_pg_follow_ask_upstream(act, on_upstream_of_stopped);
    }
}

static void on_stopped_control(struct ha_pg_act *act)
{
    bool pending = act->found.pending; /* as the control file was read */

    if (pending && !ha_pg_follow_has_upstream(act))
        ha_pg_act_fail(act, HA_ESTALE,
                       "a rewind of it was interrupted: in part it is another's data, and starts "
                       "only after the rest was fetched");
    else if (pending && act->control.exists)
        ha_pg_follow_ask_upstream(act, on_upstream_of_stopped);
    else if (act->control.exists)
        ha_pg_act_work(act, look_for_backup, on_backup);
    else if (!ha_pg_follow_has_upstream(act))
        ha_pg_act_fail(act, HA_ENOENT, "there is no data in %s", act->server->data_dir);
    else
        ha_pg_follow_copy(act, "there is no data", 0, 0);
}

static int sweep(struct ha_pg_work *work)
{
    return ha_err_set(&work->err, ha_pg_server_sweep(work->server),
                      "its lock file cannot be removed");
}

static void on_swept(struct ha_pg_act *act)
{
    if (act->found.err.code == HA_EBUSY && !ha_pg_act_is_late(act))
        ha_pg_act_wait(act, HA_PG_POLL_MS, ha_pg_follow_stopped);
    else if (act->found.err.code == HA_EBUSY)
        ha_pg_act_fail(act, HA_EBUSY, "the last server has not gone yet");
    else if (act->found.err.code == HA_EEXIST)
        ha_pg_act_wait(act, HA_PG_POLL_MS, ha_pg_follow_look); /* somebody started it */
    else if (act->found.err.code != HA_OK)
        ha_pg_act_fail(act, act->found.err.code, "%s", act->found.err.text);
    else
        ha_pg_act_read_control(act, on_stopped_control);
}

void ha_pg_follow_stopped(struct ha_pg_act *act)
{
    if (act->server->data_dir[0] == '\0') {
        ha_pg_act_fail(act, HA_EREFUSED, "nothing listens, and the agent's file has no data_dir");
        return;
    }
    if (act->job.running) { /* of an earlier order, which this one goes on with or ends */
        ha_pg_follow_job(act, act->job.ask.kind, act->job.ask.timeline, act->job.ask.fork);
        return;
    }
    if (act->started) {
        ha_pg_act_fail(act, HA_EIO, "the server ended after it was started: see %s/server.log",
                       act->server->work_dir);
        return;
    }
    act->acts.doing = "ending what is left of the last server";
    ha_pg_act_work(act, sweep, on_swept);
}
