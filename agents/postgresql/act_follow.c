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
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "agents/postgresql/act_follow.h"
#include "agents/postgresql/files.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

#define APPEAR_MS 3000u      /* from a start to the lock file, on a busy host */
#define STILL_MS 500u        /* what is told to lack WAL has not moved for so long */
#define STARTING_POLL_MS 30u /* each look is a connection that it sends away */

static void stop_running(struct ha_pg_act *act, ha_pg_act_step step);
static void told(struct ha_pg_act *act);

/* --- whether the upstream has the WAL --------------------------------------------------------- */

static const char starved[] = "the upstream has removed WAL that it needs";

static void on_starved_stopped(struct ha_pg_act *act)
{
    ha_pg_follow_copy(act, starved, 0, 0);
}

static void on_still(struct ha_pg_act *act)
{
    if (act->facts.lsn != act->missed_lsn) /* it came from elsewhere, or in this moment */
        told(act);
    else if (!act->acts.ask.copy_allowed) /* it goes on with what it has */
        ha_pg_follow_copy(act, starved, 0, 0);
    else
        stop_running(act, on_starved_stopped);
}

static void look_still(struct ha_pg_act *act)
{
    ha_pg_act_look(act, on_still);
}

static void on_missed(struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;

    if (act->answer->code == HA_OK && PQntuples(rows) == 1 &&
        strcmp(PQgetvalue(rows, 0, 0), "t") == 0)
        ha_pg_act_wait(act, STILL_MS, look_still);
    else
        told(act); /* or it cannot be told */
}

/* A slot that was bounded is invalid for good: it is made anew. Then, whether the segment that
 * comes next is there: what a server sends begins with a whole one. At the end of what the upstream
 * has it may not have been made yet. */
static void ask_missed(struct ha_pg_act *act)
{
    uint64_t segment = act->facts.segment_size, number = act->facts.lsn / segment;
    uint64_t next = (number + 1) * segment, per_id = (UINT64_C(1) << 32) / segment;
    char sql[HA_PG_SQL_SIZE], slot[HA_NAME_SIZE + 8];

    act->missed_lsn = act->facts.lsn;
    ha_pg_slot_name(act->acts.ask.member_name, slot, sizeof(slot));
    (void)ha_text_format(
        sql, sizeof(sql),
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE slot_name = '%s' AND wal_status = 'lost' AND NOT active;"
        "SELECT pg_create_physical_replication_slot('%s', NOT pg_is_in_recovery())"
        " WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '%s');"
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
        " ELSE pg_current_wal_flush_lsn() END - '0/0' >= %" PRIu64
        " AND NOT EXISTS (SELECT FROM pg_ls_dir('pg_wal', false, false) f"
        " WHERE length(f) = 24 AND right(f, 16) = '%08X%08X')",
        slot, slot, slot, next, (unsigned)(number / per_id), (unsigned)(number % per_id));
    act->acts.doing = "asking the upstream for its WAL";
    ha_pg_follow_aim(act, false);
    ha_pg_act_query_up(act, sql, on_missed);
}

/* --- a running server ------------------------------------------------------------------------- */

/* A reload takes its time: until then what is seen is how it followed the one before. */
static bool follows_as_told(struct ha_pg_act *act)
{
    char info[1024];

    return act->facts.sample.link_up &&
           ha_pg_follow_conninfo(act->server, &act->acts.ask, info, sizeof(info)) == HA_OK &&
           strcmp(info, act->facts.conninfo) == 0;
}

static void follows(struct ha_pg_act *act)
{
    bool done = !ha_pg_follow_has_upstream(act) || follows_as_told(act);

    act->acts.doing = "waiting for the upstream's WAL";
    if (act->facts.sample.role == HA_ROLE_REPLICA &&
        (done || ha_acts_age_ms(&act->acts) > act->acts.ask.deadline_ms / 2)) {
        if (!done)
            (void)ha_text_append(act->acts.acted.text, sizeof(act->acts.acted.text),
                                 "%sno WAL comes yet", act->acts.acted.text[0] != '\0' ? "; " : "");
        ha_pg_act_done(act);
        return;
    }
    ha_pg_act_wait(act, HA_PG_POLL_MS, ha_pg_follow_look);
}

static void on_quicker(struct ha_pg_act *act)
{
    if (act->answer->code != HA_OK)
        HA_LOG(HA_LOG_WARN, "postgresql-retries-slowly", "why=%s", HA_QUOTE(act->answer->text));
    follows(act);
}

static void on_quicker_set(struct ha_pg_act *act)
{
    if (act->answer->code == HA_OK)
        ha_pg_act_query(act, "SELECT pg_reload_conf()", on_quicker);
    else
        on_quicker(act); /* without the right to it, it is as quick as it was */
}

/* One that this agent starts has it in its settings; this is for one that somebody else started. */
static void on_slots(struct ha_pg_act *act)
{
    act->slotted = true; /* slots help when this one is promoted; no more */
    if (act->facts.retries_slowly)
        ha_pg_act_query(act, "ALTER SYSTEM SET wal_retrieve_retry_interval = '" HA_PG_RETRY "'",
                        on_quicker_set);
    else
        follows(act);
}

/* It has been told whom to follow, and is at it meanwhile. */
static void told(struct ha_pg_act *act)
{
    char sql[HA_PG_SQL_SIZE];

    act->acts.doing = "creating replication slots";
    if (!act->slotted && ha_pg_follow_has_upstream(act) &&
        ha_pg_slots_sql(&act->acts.ask, false, sql, sizeof(sql)) == HA_OK)
        ha_pg_act_query(act, sql, on_slots);
    else
        follows(act);
}

static void on_reloaded(struct ha_pg_act *act)
{
    act->acts.doing = "primary_conninfo";
    if (!ha_pg_act_check(act))
        return;
    act->repointed = true;
    ha_pg_act_wait(act, HA_PG_POLL_MS, ha_pg_follow_look);
}

static void on_names_set(struct ha_pg_act *act)
{
    /* A promotion sets them again, and waits for that. */
    ha_pg_act_query(act, "SELECT pg_reload_conf()", on_reloaded);
}

static void on_set(struct ha_pg_act *act)
{
    act->acts.doing = "primary_slot_name";
    if (!ha_pg_act_check(act))
        return;
    if (act->acts.ask.sync_managed && strcmp(act->facts.sync_names, HA_PG_NOBODY) != 0)
        ha_pg_act_query(act, "ALTER SYSTEM SET synchronous_standby_names = '" HA_PG_NOBODY "'",
                        on_names_set);
    else
        on_names_set(act);
}

static void on_conninfo_set(struct ha_pg_act *act)
{
    char sql[256], slot[HA_NAME_SIZE + 8];

    act->acts.doing = "primary_conninfo";
    if (!ha_pg_act_check(act))
        return;
    if (act->acts.ask.member_name[0] == '\0') {
        on_set(act);
        return;
    }
    ha_pg_slot_name(act->acts.ask.member_name, slot, sizeof(slot));
    if (strcmp(slot, act->facts.slot) == 0) { /* it writes a file, and commits may wait for it */
        on_set(act);
        return;
    }
    (void)ha_text_format(sql, sizeof(sql), "ALTER SYSTEM SET primary_slot_name = '%s'", slot);
    ha_pg_act_query(act, sql, on_set);
}

static void repoint(struct ha_pg_act *act)
{
    char info[1024], quoted[1400], sql[1500];
    struct ha_act ask = act->acts.ask;

    if (act->uncompared)
        ha_pg_follow_uncount(&ask);
    if (ha_pg_follow_conninfo(act->server, &ask, info, sizeof(info)) != HA_OK ||
        ha_pg_quote(info, quoted, sizeof(quoted)) != HA_OK) {
        ha_pg_act_fail(act, HA_EFULL, "primary_conninfo is too long");
        return;
    }
    if (strcmp(info, act->facts.conninfo) == 0) {
        act->repointed = true;
        /* It was told so before, and does not stream, or it would not be told again. */
        if (act->acts.ask.member_name[0] != '\0' && act->server->data_dir[0] != '\0' &&
            act->facts.segment_size >= 1u << 20)
            ask_missed(act);
        else
            told(act);
        return;
    }
    act->acts.doing = "primary_conninfo";
    (void)ha_text_format(sql, sizeof(sql), "ALTER SYSTEM SET primary_conninfo = '%s'", quoted);
    ha_pg_act_query(act, sql, on_conninfo_set);
}

static void on_standby_history(struct ha_pg_act *act)
{
    uint64_t fork = 0;
    bool known = ha_pg_follow_fork(act, act->facts.timeline, &fork);

    act->unopened = false;
    ha_pg_follow_rewind(act, known ? act->facts.timeline : 0, fork);
}

static void on_standby_control(struct ha_pg_act *act)
{
    ha_pg_follow_read_history(act, act->facts.timeline, on_standby_history);
}

static void on_standby_stopped(struct ha_pg_act *act)
{
    ha_pg_act_read_control(act, on_standby_control);
}

static void stop_running(struct ha_pg_act *act, ha_pg_act_step step)
{
    /* Only a UNIX socket tells; else it is who was seen as it answered. */
    act->pid = act->conn.server_pid != 0 ? act->conn.server_pid : act->seen_pid;
    if (act->pid == 0)
        ha_pg_act_fail(act, HA_EIO, "its process is not known");
    else
        ha_pg_act_stop_server(act, step);
}

static int write_history(struct ha_pg_work *work)
{
    return ha_pg_files_write_history(work->server, work->timeline, work->text, &work->err);
}

static void on_startup_known(struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;
    uint64_t pid = 0;

    /* At once: what primary_conninfo says next is read when it has looked. */
    if (act->answer->code == HA_OK && PQntuples(rows) == 1 &&
        ha_text_u64(PQgetvalue(rows, 0, 0), INT32_MAX, &pid) == HA_OK && pid > 1)
        (void)kill((pid_t)pid, SIGHUP);
    repoint(act);
}

static void on_history_written(struct ha_pg_act *act)
{
    if (act->found.err.code == HA_OK) {
        ha_pg_act_query(
            act, "SELECT a.pid FROM pg_stat_get_activity(NULL) a WHERE a.backend_type = 'startup'",
            on_startup_known);
        return;
    }
    HA_LOG(HA_LOG_WARN, "postgresql-history-not-written", "why=%s", HA_QUOTE(act->found.err.text));
    repoint(act);
}

/* A standby that does not know the new timeline asks for its own once more first, from the
 * beginning of the segment on, and only then for the new one, from there on again. Its startup
 * process looks for histories when it is woken and has nobody to receive from. One that lacks
 * something of its own must take both ways: then a history that is new is what spares it a wait. */
static void announce(struct ha_pg_act *act, uint64_t fork)
{
    act->work_text = act->facts.timeline + 1 == act->up_timeline && act->facts.lsn == fork &&
                             !act->facts.receiver && act->server->data_dir[0] != '\0'
                         ? strdup(act->up_history)
                         : NULL;
    if (act->work_text == NULL) {
        repoint(act);
        return;
    }
    act->work_timeline = act->up_timeline;
    act->acts.doing = "writing the history of the upstream";
    ha_pg_act_work(act, write_history, on_history_written);
}

static void on_compared(struct ha_pg_act *act)
{
    uint64_t fork = 0;

    /* It shares the history up to where it is. */
    if (ha_pg_follow_fork(act, act->facts.timeline, &fork) && act->facts.lsn <= fork) {
        announce(act, fork);
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

/* It has been told of this upstream, by whatever name. */
static bool is_pointed(const struct ha_pg_act *act)
{
    struct ha_act uncounted = act->acts.ask;
    char info[1024];

    ha_pg_follow_uncount(&uncounted);
    return (ha_pg_follow_conninfo(act->server, &act->acts.ask, info, sizeof(info)) == HA_OK &&
            strcmp(info, act->facts.conninfo) == 0) ||
           (ha_pg_follow_conninfo(act->server, &uncounted, info, sizeof(info)) == HA_OK &&
            strcmp(info, act->facts.conninfo) == 0);
}

/* What comes from elsewhere after it was looked at would be compared with nothing. */
static bool may_receive(const struct ha_pg_act *act)
{
    return act->acts.ask.sync_managed && (act->facts.receiver || act->facts.conninfo[0] != '\0') &&
           !is_pointed(act);
}

static void on_upstream_of_standby(struct ha_pg_act *act)
{
    if (ha_pg_follow_is_other_cluster(act, act->facts.system))
        return;
    act->uncompared = act->facts.timeline == 0; /* its position is not known yet */
    if (act->uncompared)
        repoint(act);
    else if (may_receive(act))
        ha_pg_act_cut_off(act, ha_pg_follow_look);
    else
        ha_pg_follow_read_history(act, act->facts.timeline, on_compared);
}

/* It was started, and has not got as far as its lock file. */
static bool is_about_to_appear(const struct ha_pg_act *act)
{
    return act->started && !act->appeared && ha_clock_mono_ms() - act->started_ms < APPEAR_MS;
}

/* Nobody listens: about to, or to end, or gone. */
static void on_silent(struct ha_pg_act *act)
{
    act->pid = act->found.pid;
    act->appeared = act->appeared || (act->started && act->pid != 0);
    if (act->pid == 0 && !is_about_to_appear(act))
        ha_pg_follow_stopped(act);
    else
        ha_pg_act_wait(act, HA_PG_POLL_MS, ha_pg_follow_look);
}

static void on_answering(struct ha_pg_act *act)
{
    const struct ha_sample *sample = &act->facts.sample;

    act->seen_pid = act->found.pid;
    if (act->found.err.code != HA_OK)
        ha_pg_act_fail(act, act->found.err.code, "%s", act->found.err.text);
    else if (sample->role == HA_ROLE_PRIMARY && act->server->data_dir[0] == '\0')
        ha_pg_act_fail(act, HA_ESTALE, "it is a primary, and the agent's file has no data_dir");
    /* What an earlier order asked for must not happen after this one: only a stop forgets it. */
    else if (sample->role == HA_ROLE_PRIMARY || act->found.promotion.may_come)
        stop_running(act, ha_pg_follow_stopped);
    else if (!ha_pg_follow_has_upstream(act) || act->repointed ||
             (act->started && !act->uncompared))
        told(act);
    else
        ha_pg_follow_ask_upstream(act, on_upstream_of_standby);
}

/* Its files are read on a thread: on a mount that hangs only this act waits. */
static int look_at_server(struct ha_pg_work *work)
{
    if (work->server->data_dir[0] == '\0')
        return HA_OK;
    work->pid = ha_pg_server_pid(work->server);
    return ha_pg_promotion_read(work->server->work_dir, &work->promotion, &work->err);
}

/* It may start only once it gets what its own WAL lacks, and takes no orders before. A history that
 * it left refuses to stream to it; once it answers, it is looked at like any other. */
static int point(struct ha_pg_work *work)
{
    work->pid = ha_pg_server_pid(work->server);
    return ha_pg_files_is_standby(work->server) ? ha_pg_follow_write_uncompared(work) : HA_OK;
}

static void on_pointed(struct ha_pg_act *act)
{
    if (act->found.err.code != HA_OK)
        HA_LOG(HA_LOG_WARN, "postgresql-not-pointed", "why=%s", HA_QUOTE(act->found.err.text));
    else if (act->found.pid > 1)
        (void)kill((pid_t)act->found.pid, SIGHUP);
    ha_pg_follow_look(act);
}

/* It is about to answer, or to end. */
static void on_starting(struct ha_pg_act *act)
{
    if (ha_pg_follow_has_upstream(act) && !act->started && !act->pointed &&
        act->server->data_dir[0] != '\0') {
        act->pointed = true;
        ha_pg_act_work(act, point, on_pointed);
    } else if (!ha_pg_act_is_late(act)) {
        ha_pg_act_wait(act, STARTING_POLL_MS, ha_pg_follow_look);
    } else {
        ha_pg_act_fail(act, HA_EBUSY, "%s", act->facts.sample.text);
    }
}

static void on_seen(struct ha_pg_act *act)
{
    const struct ha_sample *sample = &act->facts.sample;

    switch (sample->answer) {
    case HA_ANSWER_OK:
        ha_pg_act_work(act, look_at_server, on_answering);
        return;
    case HA_ANSWER_REFUSED:
        ha_pg_act_work(act, look_at_server, on_silent);
        return;
    case HA_ANSWER_STARTING:
    case HA_ANSWER_CLOSED:
        on_starting(act);
        return;
    case HA_ANSWER_NONE:
    case HA_ANSWER_BUSY:
    case HA_ANSWER_FULL:
    case HA_ANSWER_DENIED:
    case HA_ANSWER_UNREACHABLE:
        break;
    }
    ha_pg_act_fail(act, ha_pg_code_of(act->answer), "%s", sample->text);
}

void ha_pg_follow_look(struct ha_pg_act *act)
{
    ha_pg_act_try_look(act, on_seen);
}

void ha_pg_act_follow(struct ha_pg_act *act)
{
    ha_pg_follow_look(act);
}
