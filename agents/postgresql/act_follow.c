/* FOLLOW: be a running standby of the named upstream, whatever the server is now.
 *
 *   running standby  its history is compared with the upstream's; the same: primary_conninfo and a
 *                    reload, no restart; diverged: stopped, and as below
 *   running primary  fast stop, and as below
 *   stopped          a standby's data, a backup, or a primary's that was shut down before the fork:
 *                    started; other data of a primary: rewound (job.c) and started; no data, or
 *                    data that cannot be rewound: copied where that is allowed
 *   no upstream      a stopped server is started in recovery, so that its position is known
 *
 * What takes longer than the act (a rewind, replaying) is told with HA_EBUSY; the order comes again
 * and finds it under way or done. */
#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agents/postgresql/act.h"
#include "agents/postgresql/files.h"
#include "lib/base/text.h"
#include "lib/core/address.h"
#include "lib/io/log.h"

#define CHECKPOINT_POLL_MS 50u
#define STARTING_POLL_MS 30u /* each look is a connection that it sends away */

static void look_again(struct ha_pg_act *act);
static void stopped(struct ha_pg_act *act);
static void ask_upstream_control(struct ha_pg_act *act);

static bool has_upstream(const struct ha_pg_act *act)
{
    return act->ask.upstream_host[0] != '\0';
}

static int conninfo(const struct ha_pg_server *server, const struct ha_act *ask, char *to,
                    size_t size)
{
    char name[HA_NAME_SIZE + 32];

    if (ask->upstream_host[0] == '\0') {
        to[0] = '\0';
        return HA_OK;
    }
    /* Who counts as a synchronous standby is said per epoch. */
    (void)ha_text_format(name, sizeof(name), "%s_e%" PRIu64,
                         ask->member_name[0] != '\0' ? ask->member_name : "standby", ask->epoch);
    return ha_pg_server_conninfo(server, ask->upstream_host, ask->upstream_port, name, "", to,
                                 size);
}

/* --- the upstream's history ------------------------------------------------------------------- */

static void on_history(struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;

    if (!ha_pg_act_check(act))
        return;
    if (PQntuples(rows) != 1 || PQnfields(rows) != 2 ||
        ha_text_copy(act->up_history, sizeof(act->up_history), PQgetvalue(rows, 0, 1)) != HA_OK) {
        ha_pg_act_fail(act, HA_EPROTO, "the upstream's history cannot be understood");
        return;
    }
    act->up_step(act);
}

static void on_identity(struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;
    uint64_t timeline = 0;
    char sql[64];

    act->doing = "asking the upstream who it is";
    if (act->answer->code != HA_OK) {
        ha_pg_act_fail(act, ha_pg_code_of(act->answer), "the upstream %s:%u: %s",
                       act->ask.upstream_host, (unsigned)act->ask.upstream_port, act->answer->text);
        return;
    }
    if (PQntuples(rows) != 1 || PQnfields(rows) < 2 ||
        ha_text_u64(PQgetvalue(rows, 0, 0), UINT64_MAX, &act->up_system) != HA_OK ||
        ha_text_u64(PQgetvalue(rows, 0, 1), UINT32_MAX, &timeline) != HA_OK) {
        ha_pg_act_fail(act, HA_EPROTO, "the upstream's identity cannot be understood");
        return;
    }
    act->up_timeline = (uint32_t)timeline;
    act->up_history[0] = '\0';
    if (timeline <= 1) {
        act->up_step(act);
        return;
    }
    act->doing = "asking the upstream for its history";
    (void)ha_text_format(sql, sizeof(sql), "TIMELINE_HISTORY %" PRIu64, timeline);
    ha_pg_act_query_up(act, sql, on_history);
}

static void aim_at_upstream(struct ha_pg_act *act, bool replication)
{
    struct ha_pg_target target = {.port = act->ask.upstream_port, .replication = replication};

    (void)ha_text_copy(target.host, sizeof(target.host), act->ask.upstream_host);
    (void)ha_text_copy(target.user, sizeof(target.user), act->server->replication_user);
    (void)ha_text_copy(target.password, sizeof(target.password), act->server->replication_password);
    ha_pg_conn_retarget(&act->up, &target);
    explicit_bzero(target.password, sizeof(target.password));
}

static void ask_upstream(struct ha_pg_act *act, ha_pg_act_step step)
{
    aim_at_upstream(act, true);
    act->up_step = step;
    act->doing = "connecting to the upstream";
    ha_pg_act_query_up(act, "IDENTIFY_SYSTEM", on_identity);
}

/* Where the upstream left the timeline of our data; false: it never was on it. */
static bool fork_of(const struct ha_pg_act *act, uint32_t timeline, uint64_t *ret)
{
    return ha_pg_history_fork(act->up_timeline, act->up_history, timeline, ret) == HA_OK;
}

static bool is_other_cluster(struct ha_pg_act *act, uint64_t system)
{
    if (act->up_system == system)
        return false;
    ha_pg_act_fail(act, HA_ESTALE,
                   "the upstream is another cluster: system identifier %" PRIu64
                   ", this one's is %" PRIu64,
                   act->up_system, system);
    return true;
}

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
    act->doing = "waiting for the server to answer";
    ha_pg_act_wait(act, HA_PG_POLL_MS, look_again);
}

static void on_standby_written(struct ha_pg_act *act)
{
    const struct ha_pg_server *server = act->server;
    char log[HA_PG_PATH_SIZE + 16], options[HA_PG_PATH_SIZE + 32];
    const char *own[] = {"pg_ctl", "start", "-W",
                         "-s",     "-D",    server->data_dir,
                         "-l",     log,     server->config_file[0] != '\0' ? "-o" : NULL,
                         options,  NULL};
    const char *command[] = {"/bin/sh", "-c", server->start_command, NULL};

    if (act->work_err.code != HA_OK) {
        ha_pg_act_fail(act, act->work_err.code, "%s", act->work_err.text);
        return;
    }
    act->doing = "starting the server";
    (void)snprintf(log, sizeof(log), "%s/server.log", server->work_dir);
    (void)snprintf(options, sizeof(options), "-c config_file=%s", server->config_file);
    ha_pg_act_run(act, server->start_command[0] != '\0' ? command : own, on_start_ran);
}

static int write_standby(const struct ha_pg_server *server, const struct ha_act *ask,
                         struct ha_err *err)
{
    char info[1024], slot[HA_NAME_SIZE + 8] = "";
    int rc = ha_pg_files_prepare(server, err);

    if (rc == HA_OK && conninfo(server, ask, info, sizeof(info)) != HA_OK)
        rc = ha_err_set(err, HA_EFULL, "primary_conninfo is too long");
    if (ask->member_name[0] != '\0')
        ha_pg_slot_name(ask->member_name, slot, sizeof(slot));
    if (rc == HA_OK)
        rc = ha_pg_files_standby(server, info, slot, err);
    return rc;
}

static void start(struct ha_pg_act *act)
{
    act->doing = "writing the settings of a standby";
    ha_pg_act_work(act, write_standby, on_standby_written);
}

/* --- rewinding and copying -------------------------------------------------------------------- */

static void wait_for_job(struct ha_pg_act *act)
{
    const struct ha_pg_job *job = &act->job;
    char text[HA_TEXT_SIZE];

    if (job->running) {
        if (!ha_pg_act_is_late(act)) {
            ha_pg_act_wait(act, HA_PG_POLL_MS, wait_for_job);
            return;
        }
        ha_pg_job_explain(job, text, sizeof(text));
        ha_pg_act_fail(act, HA_EBUSY, "%s", text);
        return;
    }
    if (job->code != HA_OK) {
        ha_pg_act_fail(act, job->code, "%s", job->err.text);
        return;
    }
    (void)ha_text_format(act->acted.text, sizeof(act->acted.text), "%s", job->tail);
    start(act);
}

static void begin_job(struct ha_pg_act *act, enum ha_pg_job_kind kind, uint32_t timeline,
                      uint64_t fork)
{
    struct ha_pg_job_ask ask = {
        .kind = kind,
        .epoch = act->ask.epoch,
        .port = act->ask.upstream_port,
        .timeline = timeline,
        .fork = fork,
        .tail_bytes_max = act->ask.keep_tail_bytes,
        .deadline_ms = kind == HA_PG_JOB_COPY ? act->ask.copy_max_ms : act->ask.rewind_max_ms,
    };
    int rc;

    (void)ha_text_copy(ask.host, sizeof(ask.host), act->ask.upstream_host);
    act->doing = kind == HA_PG_JOB_COPY ? "copying everything" : "rewinding";
    rc = ha_pg_job_start(&act->job, &ask);
    if (rc == HA_OK)
        wait_for_job(act);
    else if (rc == HA_EFULL)
        ha_pg_act_fail(act, HA_EIO, "tried %d times, not again in this epoch: %s", HA_PG_TRIES_MAX,
                       act->job.err.text);
    else
        ha_pg_act_fail(act, rc, "an earlier job has not ended yet");
}

/* The upstream's control file tells pg_rewind which timeline it is on, and that file only knows
 * from the first checkpoint after a promotion on. */
static void on_upstream_control(struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;
    uint64_t timeline = 0;

    if (!ha_pg_act_check(act))
        return;
    if (PQntuples(rows) == 1 &&
        ha_text_u64(PQgetvalue(rows, 0, 0), UINT32_MAX, &timeline) == HA_OK &&
        timeline == act->up_timeline) {
        begin_job(act, HA_PG_JOB_REWIND, act->rewind_timeline, act->rewind_fork);
        return;
    }
    if (ha_pg_act_is_late(act))
        ha_pg_act_fail(act, HA_EBUSY, "waiting for the upstream's first checkpoint");
    else
        ha_pg_act_wait(act, CHECKPOINT_POLL_MS, ask_upstream_control);
}

static void ask_upstream_control(struct ha_pg_act *act)
{
    ha_pg_act_query_up(act, "SELECT timeline_id FROM pg_control_checkpoint()", on_upstream_control);
}

static void on_upstream_checkpoint(struct ha_pg_act *act)
{
    ask_upstream_control(act); /* without the right to, it comes by itself, later */
}

static void begin_rewind(struct ha_pg_act *act, uint32_t timeline, uint64_t fork)
{
    act->rewind_timeline = timeline;
    act->rewind_fork = fork;
    aim_at_upstream(act, false);
    act->doing = "waiting for the upstream's first checkpoint";
    ha_pg_act_query_up(act, "CHECKPOINT", on_upstream_checkpoint);
}

/* Only by a copy can it follow again. */
static void copy_or_say(struct ha_pg_act *act, const char *why, uint32_t timeline, uint64_t fork)
{
    if (act->ask.copy_allowed)
        begin_job(act, HA_PG_JOB_COPY, timeline, fork);
    else
        ha_pg_act_fail(act, HA_EDENIED,
                       "%s: it can only come back by a full copy, and the service "
                       "does not say rejoin_copy = yes",
                       why);
}

static int look_at_notes(const struct ha_pg_server *server, const struct ha_act *ask,
                         struct ha_err *err)
{
    /* The code is the answer: a promotion of that epoch began and did not open. */
    (void)ask;
    (void)err;
    return ha_pg_files_promotion(server) != 0 ? HA_ESTALE : HA_OK;
}

/* A primary's data, and what the upstream is. */
static void on_notes(struct ha_pg_act *act)
{
    const struct ha_pg_control *control = &act->control;
    bool unopened = act->work_err.code == HA_ESTALE;
    uint64_t fork = 0;
    bool known = fork_of(act, control->timeline, &fork);

    /* Its timeline may be the upstream's by number and fork, and be another one. */
    if (unopened && known) {
        copy_or_say(act, "it was promoted under an epoch that never opened", control->timeline, 0);
        return;
    }
    if (known && fork == UINT64_MAX) {
        copy_or_say(act, "it wrote the same timeline as the upstream", control->timeline, 0);
        return;
    }
    if (control->clean && known && control->checkpoint < fork) {
        start(act); /* it wrote nothing after the fork */
        return;
    }
    begin_rewind(act, known ? control->timeline : 0, fork);
}

static void on_upstream_of_stopped(struct ha_pg_act *act)
{
    if (!is_other_cluster(act, act->control.system))
        ha_pg_act_work(act, look_at_notes, on_notes);
}

static int look_for_backup(const struct ha_pg_server *server, const struct ha_act *ask,
                           struct ha_err *err)
{
    (void)ask;
    (void)err;
    return ha_pg_files_is_backup(server) ? HA_EEXIST : HA_OK;
}

static void on_backup(struct ha_pg_act *act)
{
    if (act->work_err.code == HA_EEXIST || !act->control.was_primary || !has_upstream(act))
        start(act);
    else
        ask_upstream(act, on_upstream_of_stopped);
}

static void on_stopped_control(struct ha_pg_act *act)
{
    if (act->control.exists)
        ha_pg_act_work(act, look_for_backup, on_backup);
    else if (!has_upstream(act))
        ha_pg_act_fail(act, HA_ENOENT, "there is no data in %s", act->server->data_dir);
    else
        copy_or_say(act, "there is no data", 0, 0);
}

static int sweep(const struct ha_pg_server *server, const struct ha_act *ask, struct ha_err *err)
{
    (void)ask;
    return ha_err_set(err, ha_pg_server_sweep(server), "its lock file cannot be removed");
}

static void on_swept(struct ha_pg_act *act)
{
    if (act->work_err.code == HA_EBUSY && !ha_pg_act_is_late(act))
        ha_pg_act_wait(act, HA_PG_POLL_MS, stopped);
    else if (act->work_err.code == HA_EBUSY)
        ha_pg_act_fail(act, HA_EBUSY, "the last server has not gone yet");
    else if (act->work_err.code == HA_EEXIST)
        ha_pg_act_wait(act, HA_PG_POLL_MS, look_again); /* somebody started it */
    else if (act->work_err.code != HA_OK)
        ha_pg_act_fail(act, act->work_err.code, "%s", act->work_err.text);
    else
        ha_pg_act_read_control(act, on_stopped_control);
}

static void stopped(struct ha_pg_act *act)
{
    if (act->server->data_dir[0] == '\0') {
        ha_pg_act_fail(act, HA_EREFUSED, "nothing listens, and the agent's file has no data_dir");
        return;
    }
    if (act->job.running) { /* of an earlier order, which this one goes on with or ends */
        begin_job(act, act->job.ask.kind, act->job.ask.timeline, act->job.ask.fork);
        return;
    }
    if (act->started) {
        ha_pg_act_fail(act, HA_EIO, "the server ended after it was started: see %s/server.log",
                       act->server->work_dir);
        return;
    }
    act->doing = "ending what is left of the last server";
    ha_pg_act_work(act, sweep, on_swept);
}

/* --- a running server ------------------------------------------------------------------------- */

static void follows(struct ha_pg_act *act)
{
    const struct ha_sample *sample = &act->facts.sample;

    act->doing = "waiting for the upstream's WAL";
    if (sample->role == HA_ROLE_REPLICA && (!has_upstream(act) || sample->link_up ||
                                            ha_pg_act_age_ms(act) > act->ask.deadline_ms / 2)) {
        if (has_upstream(act) && !sample->link_up)
            (void)ha_text_append(act->acted.text, sizeof(act->acted.text), "%sno WAL comes yet",
                                 act->acted.text[0] != '\0' ? "; " : "");
        ha_pg_act_done(act);
        return;
    }
    ha_pg_act_wait(act, HA_PG_POLL_MS, look_again);
}

static void on_reloaded(struct ha_pg_act *act)
{
    act->doing = "primary_conninfo";
    if (!ha_pg_act_check(act))
        return;
    act->repointed = true;
    ha_pg_act_wait(act, HA_PG_POLL_MS, look_again);
}

static void on_set(struct ha_pg_act *act)
{
    act->doing = "primary_slot_name";
    if (ha_pg_act_check(act))
        ha_pg_act_query(act, "SELECT pg_reload_conf()", on_reloaded);
}

static void on_conninfo_set(struct ha_pg_act *act)
{
    char sql[256], slot[HA_NAME_SIZE + 8];

    act->doing = "primary_conninfo";
    if (!ha_pg_act_check(act))
        return;
    if (act->ask.member_name[0] == '\0') {
        on_set(act);
        return;
    }
    ha_pg_slot_name(act->ask.member_name, slot, sizeof(slot));
    (void)ha_text_format(sql, sizeof(sql), "ALTER SYSTEM SET primary_slot_name = '%s'", slot);
    ha_pg_act_query(act, sql, on_set);
}

static void repoint(struct ha_pg_act *act)
{
    char info[1024], quoted[1400], sql[1500];

    if (conninfo(act->server, &act->ask, info, sizeof(info)) != HA_OK ||
        ha_pg_quote(info, quoted, sizeof(quoted)) != HA_OK) {
        ha_pg_act_fail(act, HA_EFULL, "primary_conninfo is too long");
        return;
    }
    if (strcmp(info, act->facts.conninfo) == 0) {
        act->repointed = true;
        follows(act);
        return;
    }
    act->doing = "primary_conninfo";
    (void)ha_text_format(sql, sizeof(sql), "ALTER SYSTEM SET primary_conninfo = '%s'", quoted);
    ha_pg_act_query(act, sql, on_conninfo_set);
}

static void on_standby_stopped(struct ha_pg_act *act)
{
    uint64_t fork = 0;
    bool known = fork_of(act, act->facts.timeline, &fork);

    begin_rewind(act, known ? act->facts.timeline : 0, fork);
}

static void stop_running(struct ha_pg_act *act, ha_pg_act_step step)
{
    act->pid = act->conn.server_pid != 0 ? act->conn.server_pid : ha_pg_server_pid(act->server);
    if (act->pid == 0)
        ha_pg_act_fail(act, HA_EIO, "its process is not known");
    else
        ha_pg_act_stop_server(act, step);
}

static void on_upstream_of_standby(struct ha_pg_act *act)
{
    uint64_t fork = 0;

    if (is_other_cluster(act, act->facts.system))
        return;
    /* Its position is not known yet, or it shares the history up to where it is. */
    if (act->facts.timeline == 0 ||
        (fork_of(act, act->facts.timeline, &fork) && act->facts.lsn <= fork)) {
        repoint(act);
        return;
    }
    if (act->server->data_dir[0] == '\0') {
        ha_pg_act_fail(act, HA_ESTALE, "its data diverged from the upstream's");
        return;
    }
    HA_LOG(HA_LOG_WARN, "postgresql-standby-diverged",
           "timeline=%" PRIu32 " lsn=%" PRIX64 " upstream_timeline=%" PRIu32, act->facts.timeline,
           act->facts.lsn, act->up_timeline);
    stop_running(act, on_standby_stopped);
}

static void on_slots(struct ha_pg_act *act)
{
    ask_upstream(act, on_upstream_of_standby); /* slots help when this one is promoted; no more */
}

static void on_seen(struct ha_pg_act *act)
{
    const struct ha_sample *sample = &act->facts.sample;
    char sql[HA_PG_SQL_SIZE];

    switch (sample->answer) {
    case HA_ANSWER_OK:
        break;
    case HA_ANSWER_REFUSED:
        act->pid = ha_pg_server_pid(act->server);
        if (act->pid == 0 && !(act->started && ha_pg_act_age_ms(act) < 1000)) {
            stopped(act);
            return;
        }
        ha_pg_act_wait(act, HA_PG_POLL_MS, look_again); /* about to listen, or to end */
        return;
    case HA_ANSWER_STARTING:
    case HA_ANSWER_CLOSED:
        if (!ha_pg_act_is_late(act))
            ha_pg_act_wait(act, STARTING_POLL_MS, look_again);
        else
            ha_pg_act_fail(act, HA_EBUSY, "%s", sample->text);
        return;
    case HA_ANSWER_NONE:
    case HA_ANSWER_BUSY:
    case HA_ANSWER_FULL:
    case HA_ANSWER_DENIED:
    case HA_ANSWER_UNREACHABLE:
        ha_pg_act_fail(act, ha_pg_code_of(act->answer), "%s", sample->text);
        return;
    }
    if (sample->role == HA_ROLE_PRIMARY) {
        if (act->server->data_dir[0] == '\0')
            ha_pg_act_fail(act, HA_ESTALE, "it is a primary, and the agent's file has no data_dir");
        else
            stop_running(act, stopped);
        return;
    }
    if (!has_upstream(act) || act->repointed || act->started) {
        follows(act);
        return;
    }
    act->doing = "creating replication slots";
    if (ha_pg_slots_sql(&act->ask, false, sql, sizeof(sql)) != HA_OK)
        ask_upstream(act, on_upstream_of_standby);
    else
        ha_pg_act_query(act, sql, on_slots);
}

static void look_again(struct ha_pg_act *act)
{
    ha_pg_act_try_look(act, on_seen);
}

void ha_pg_act_follow(struct ha_pg_act *act)
{
    look_again(act);
}
