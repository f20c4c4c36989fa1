/* Whose word a primary waits for, and a standby that is to hear nobody any more.
 *
 * Standby names are set by ALTER SYSTEM and a reload, which reaches the processes of the server one
 * by one. Three of them matter:
 *   postmaster    what a backend starts with. The kept connection says when its signals are on the
 *                 way, and a connection made after that is one of the new names.
 *   checkpointer  commits wait at all only once it has heard that there are names. Nothing tells
 *                 that but a commit that waits: with a name that nobody has, one is made and seen
 *                 waiting. From then on they wait until the names are emptied.
 *   walsenders    each releases commits by the names it knows. Those that are older than the new
 *                 connection and could count are ended; their standbys come back at once.
 * From a name that nobody has to others, with commits that were seen to wait and no standby
 * connected, there is nothing to prove: who knows the old name releases none, and who comes knows
 * one or the other. So PROMOTE has a commit seen waiting: its session is opened while recovery
 * ends.
 *
 * A standby is sealed when its primary_conninfo is empty for a new backend, no WAL receiver is
 * there, and its startup process, which alone starts one, was seen asleep after the signal: it
 * reads its settings before it does anything else. ALTER SYSTEM is on disk when it returns, so that
 * a server that starts again stays sealed. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "agents/postgresql/act.h"
#include "lib/base/text.h"
#include "lib/core/sync.h"
#include "lib/io/log.h"

#define LOOK_POLL_MS 2u
#define NUDGE_MS 50u /* for the startup process to end its receiver itself */
#define EARLY_LOOKS 10u
/* Connections of standbys, under whatever epoch. */
#define COUNTS "(w.sync_priority > 0 OR a.application_name ~ '_e[0-9]+$')"

static const char fresh_names_sql[] = "SELECT current_setting('synchronous_standby_names'),"
                                      " current_setting('synchronous_commit')";

/* --- sessions that an earlier act left behind ------------------------------------------------- */

static void on_others_ended(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    if (strcmp(PQgetvalue(act->answer->rows, 0, 0), "0") == 0)
        act->alone_step(act);
    else
        ha_pg_act_wait(act, LOOK_POLL_MS, act->others_step);
}

static void end_others(struct ha_pg_act *act)
{
    if (act->lent > act->beside) { /* a program, or work on a thread */
        ha_pg_act_wait(act, LOOK_POLL_MS, end_others);
        return;
    }
    act->acts.doing = "ending what an earlier order left behind";
    act->others_step = end_others;
    ha_pg_act_query(act, ha_pg_act_alone_sql, on_others_ended);
}

/* What was sent for an order that was given up on may still be done later, and undo this one. */
static void be_alone(struct ha_pg_act *act, ha_pg_act_step step)
{
    act->alone_step = step;
    end_others(act);
}

/* --- names ------------------------------------------------------------------------------------ */

static void look_at_names(struct ha_pg_act *act);

static bool are_weak(const char *synchronous_commit)
{
    return strcmp(synchronous_commit, "off") == 0 || strcmp(synchronous_commit, "local") == 0 ||
           strcmp(synchronous_commit, "remote_write") == 0;
}

static void on_reloaded(struct ha_pg_act *act)
{
    act->acts.doing =
        "waiting for the standby names to be in effect (can its configuration be read?)";
    if (ha_pg_act_check(act))
        look_at_names(act);
}

static void on_commit_raised(struct ha_pg_act *act)
{
    if (act->answer->code != HA_OK) {
        ha_pg_act_fail(act, HA_EDENIED,
                       "synchronous_commit is not on by default, so writes are acknowledged before "
                       "a standby has them, and it cannot be set: %s",
                       act->answer->text);
        return;
    }
    HA_LOG(HA_LOG_WARN, "postgresql-synchronous-commit",
           "why=\"its default let commits wait for nobody: set to on\"");
    ha_pg_act_query(act, "SELECT pg_reload_conf()", on_reloaded);
}

/* A new backend has started with these. */
static void on_fresh_names(struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;

    if (!ha_pg_act_check(act))
        return;
    if (strcmp(PQgetvalue(rows, 0, 0), act->names) != 0) {
        ha_pg_act_wait(act, LOOK_POLL_MS, look_at_names);
        return;
    }
    if (act->names[0] == '\0' || !are_weak(PQgetvalue(rows, 0, 1))) {
        (void)ha_text_copy(act->names_now, sizeof(act->names_now), act->names);
        act->names_step(act);
        return;
    }
    if (act->raised) {
        ha_pg_act_wait(act, LOOK_POLL_MS, look_at_names);
        act->acts.doing = "synchronous_commit is not on by default, although it was set so";
        return;
    }
    act->raised = true;
    ha_pg_act_query(act, "ALTER SYSTEM SET synchronous_commit = 'on'", on_commit_raised);
}

/* Commits waited for nobody until now, and no standby is there: whoever knows the names before
 * releases none, and whoever comes knows these or those. */
static bool held_until_now(const struct ha_pg_act *act)
{
    return act->names[0] != '\0' && strcmp(act->names_now, HA_PG_NOBODY) == 0 &&
           act->waits_run == act->facts.sample.run_id &&
           strcmp(PQgetvalue(act->answer->rows, 0, 1), "0") == 0;
}

static void on_names(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    if (strcmp(PQgetvalue(act->answer->rows, 0, 0), act->names) != 0) {
        ha_pg_act_wait(act, LOOK_POLL_MS, look_at_names);
        return;
    }
    ha_pg_conn_drop(&act->fresh); /* made after the signals were sent, not before */
    if (held_until_now(act))
        act->names_step(act);
    else
        ha_pg_act_query_fresh(act, fresh_names_sql, on_fresh_names);
}

static void look_at_names(struct ha_pg_act *act)
{
    ha_pg_act_query(act,
                    "SELECT current_setting('synchronous_standby_names'), (SELECT count(*)"
                    " FROM pg_stat_get_activity(NULL) a JOIN pg_stat_get_wal_senders() w"
                    " ON w.pid = a.pid WHERE " COUNTS ")",
                    on_names);
}

static void on_names_set(struct ha_pg_act *act)
{
    if (ha_pg_act_check(act))
        ha_pg_act_query(act, "SELECT pg_reload_conf()", on_reloaded);
}

/* Then @step, with act->fresh open to a backend that started with them. */
static void set_names(struct ha_pg_act *act, const char *names, ha_pg_act_step step)
{
    char quoted[HA_SYNC_NAMES_SIZE * 2], sql[HA_SYNC_NAMES_SIZE * 2 + 64];

    (void)ha_text_copy(act->names, sizeof(act->names), names); /* of that size, as is quoted */
    act->names_step = step;
    act->raised = false;
    act->acts.doing = "synchronous_standby_names";
    if (strcmp(names, act->names_now) == 0) {
        look_at_names(act);
        return;
    }
    (void)ha_pg_quote(names, quoted, sizeof(quoted));
    (void)ha_text_format(sql, sizeof(sql), "ALTER SYSTEM SET synchronous_standby_names = '%s'",
                         quoted);
    ha_pg_act_query(act, sql, on_names_set);
}

/* --- that commits wait ------------------------------------------------------------------------ */

static void commit(struct ha_pg_act *act);
static void look_at_commit(struct ha_pg_act *act);

static void on_waiter_ended(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    ha_pg_conn_drop(&act->fresh);
    act->waits_run = act->facts.sample.run_id;
    act->commit_step(act);
}

static bool is_waiting(const struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;

    return PQntuples(rows) == 1 && strcmp(PQgetvalue(rows, 0, 0), "SyncRep") == 0;
}

static void end_waiter(struct ha_pg_act *act)
{
    char sql[64];

    (void)ha_text_format(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)", act->waiter);
    ha_pg_act_query(act, sql, on_waiter_ended);
}

static void on_commit_seen(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    if (is_waiting(act)) {
        end_waiter(act);
    } else if (act->commit_code != HA_OK) {
        ha_pg_act_fail(act, act->commit_code, "%s: %s", act->acts.doing, act->commit_text);
    } else {
        ha_pg_act_wait(act, LOOK_POLL_MS, act->committed ? commit : look_at_commit);
    }
}

static void ask_waits(struct ha_pg_act *act, ha_pg_act_step step)
{
    char sql[96];

    /* 0: the connection has ended, and on_commit told why. */
    if (act->fresh.pg != NULL)
        act->waiter = PQbackendPID(act->fresh.pg);
    (void)ha_text_format(sql, sizeof(sql), "SELECT wait_event FROM pg_stat_get_activity(%d)",
                         act->waiter);
    ha_pg_act_query(act, sql, step);
}

static void look_at_commit(struct ha_pg_act *act)
{
    ask_waits(act, on_commit_seen);
}

static void on_commit(void *data, const struct ha_pg_answer *answer)
{
    struct ha_pg_act *act = data;

    act->committed = true;
    act->commit_code = ha_pg_code_of(answer);
    if (answer->code != HA_OK)
        (void)ha_text_format(act->commit_text, sizeof(act->commit_text), "%s", answer->text);
}

static int ask_commit(struct ha_pg_act *act)
{
    act->committed = false;
    act->commit_code = HA_OK;
    return ha_pg_conn_ask(&act->fresh,
                          "SELECT set_config('synchronous_commit', 'on', true),"
                          " pg_logical_emit_message(true, 'hafailover', '')",
                          on_commit, act);
}

static void commit(struct ha_pg_act *act)
{
    int rc;

    act->acts.doing = "waiting until commits wait for a standby";
    rc = ask_commit(act);
    if (rc != HA_OK)
        ha_pg_act_fail(act, rc, "%s: %s", act->acts.doing, ha_code_text(rc));
    else
        look_at_commit(act);
}

/* --- SERVE ------------------------------------------------------------------------------------ */

static void bounce(struct ha_pg_act *act);

static void names_are_told(struct ha_pg_act *act)
{
    act->told_run = act->facts.sample.run_id;
    (void)ha_text_copy(act->told, sizeof(act->told), act->names);
    if (act->names[0] == '\0')
        act->waits_run = 0;
    ha_pg_conn_drop(&act->fresh);
    act->serve_step(act);
}

static void on_bounced(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    if (strcmp(PQgetvalue(act->answer->rows, 0, 0), "0") == 0)
        names_are_told(act);
    else
        ha_pg_act_wait(act, LOOK_POLL_MS, bounce);
}

static void bounce(struct ha_pg_act *act)
{
    act->acts.doing = "ending the connections of standbys, which know the names before";
    ha_pg_act_query_fresh(
        act,
        "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_get_activity(NULL) a"
        " JOIN pg_stat_get_wal_senders() w ON w.pid = a.pid WHERE a.backend_start <"
        " (SELECT b.backend_start FROM pg_stat_get_activity(pg_backend_pid()) b) AND " COUNTS,
        on_bounced);
}

static void on_names_in_effect(struct ha_pg_act *act)
{
    /* Without names whoever still knows some only makes commits wait; without a new connection
     * there is nobody to end. */
    if (act->names[0] == '\0' || act->fresh.state != HA_PG_OPEN)
        names_are_told(act);
    else
        bounce(act);
}

static void set_wanted(struct ha_pg_act *act)
{
    char names[HA_SYNC_NAMES_SIZE];

    ha_sync_names(names, &act->acts.ask.sync,
                  (const char(*)[HA_NAME_SIZE])act->acts.ask.member_names, act->acts.ask.epoch);
    set_names(act, names, on_names_in_effect);
}

static void on_nobody_in_effect(struct ha_pg_act *act)
{
    act->commit_step = set_wanted;
    commit(act);
}

static void set_nobody(struct ha_pg_act *act)
{
    set_names(act, HA_PG_NOBODY, on_nobody_in_effect);
}

void ha_pg_act_serve_names(struct ha_pg_act *act, ha_pg_act_step step)
{
    uint64_t run = act->facts.sample.run_id;
    char names[HA_SYNC_NAMES_SIZE];

    act->serve_step = step;
    ha_sync_names(names, &act->acts.ask.sync,
                  (const char(*)[HA_NAME_SIZE])act->acts.ask.member_names, act->acts.ask.epoch);
    if (!act->acts.ask.sync_managed ||
        (strcmp(names, act->facts.sync_names) == 0 &&
         (names[0] == '\0' || (act->told_run == run && strcmp(act->told, names) == 0)))) {
        step(act);
        return;
    }
    act->told_run = 0;
    (void)ha_text_copy(act->names_now, sizeof(act->names_now), act->facts.sync_names);
    if (names[0] == '\0' || (act->waits_run == run && act->facts.sync_names[0] != '\0'))
        be_alone(act, set_wanted);
    else
        be_alone(act, set_nobody);
}

/* --- PROMOTE ---------------------------------------------------------------------------------- */

static void on_nobody_set(struct ha_pg_act *act)
{
    ha_pg_conn_drop(&act->fresh);
    act->serve_step(act);
}

static void on_names_before(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    act->names_now[0] = '\0';
    if (strcmp(PQgetvalue(act->answer->rows, 0, 0), HA_PG_NOBODY) == 0)
        act->serve_step(act);
    else
        set_names(act, HA_PG_NOBODY, on_nobody_set);
}

void ha_pg_act_hold_commits(struct ha_pg_act *act, ha_pg_act_step step)
{
    act->serve_step = step;
    act->acts.doing = "looking at the standby names";
    ha_pg_act_query(act, "SELECT current_setting('synchronous_standby_names')", on_names_before);
}

static void on_early(void *data, const struct ha_pg_answer *answer)
{
    struct ha_pg_act *act = data;

    act->early = answer->code == HA_OK &&
                 strcmp(PQgetvalue(answer->rows, 0, 0), HA_PG_NOBODY) == 0 &&
                 !are_weak(PQgetvalue(answer->rows, 0, 1)) &&
                 (act->early_looks == 0 || ask_commit(act) == HA_OK);
}

void ha_pg_act_open_early(struct ha_pg_act *act)
{
    act->early_looks = 0; /* recovery has not ended */
    if (act->acts.ask.sync_managed && act->fresh.state == HA_PG_IDLE)
        (void)ha_pg_conn_ask(&act->fresh, fresh_names_sql, on_early, act);
}

void ha_pg_act_commit_early(struct ha_pg_act *act)
{
    act->early_looks = EARLY_LOOKS;
    if (!act->fresh.asked) /* else as soon as it is open */
        act->early = act->early && act->fresh.state == HA_PG_OPEN && ask_commit(act) == HA_OK;
}

static void look_early(struct ha_pg_act *act);

static void on_early_seen(struct ha_pg_act *act)
{
    bool may_come = act->answer->code == HA_OK && act->fresh.asked && act->early_looks-- > 1;

    if (act->answer->code == HA_OK && act->early && is_waiting(act))
        end_waiter(act);
    else if (may_come)
        ha_pg_act_wait(act, LOOK_POLL_MS, look_early);
    else
        act->commit_step(act);
}

static void look_early(struct ha_pg_act *act)
{
    ask_waits(act, on_early_seen);
}

void ha_pg_act_end_early(struct ha_pg_act *act, ha_pg_act_step step)
{
    act->commit_step = step;
    if (act->fresh.asked)
        look_early(act);
    else
        step(act);
}

/* --- SEAL ------------------------------------------------------------------------------------- */

static void look_at_receiver(struct ha_pg_act *act);

static void look_at_position(struct ha_pg_act *act);

/* The position after the end of the receiver, which flushes what it has when it ends. */
static void on_sealed(struct ha_pg_act *act)
{
    const struct ha_sample *sample = &act->facts.sample;

    if (sample->answer == HA_ANSWER_STARTING && !ha_pg_act_is_late(act))
        ha_pg_act_wait(act, LOOK_POLL_MS, look_at_position); /* until it is final */
    else if (sample->answer != HA_ANSWER_OK)
        ha_pg_act_fail(act, sample->answer == HA_ANSWER_STARTING ? HA_EBUSY : HA_EIO, "%s",
                       sample->text);
    else if (sample->role != HA_ROLE_REPLICA)
        ha_pg_act_fail(act, HA_ESTALE, "it is not a standby");
    else if (act->facts.receiver || act->facts.conninfo[0] != '\0')
        ha_pg_act_fail(act, HA_EIO, "it receives again: somebody set primary_conninfo");
    else
        act->sealed_step(act);
}

static void look_at_position(struct ha_pg_act *act)
{
    ha_pg_act_try_look(act, on_sealed);
}

/* Whether the startup process has read its settings since the first look, or will before it does
 * anything else: it does so between two records, and when it wakes. */
static bool has_heard(struct ha_pg_act *act, const PGresult *rows)
{
    uint64_t replayed = 0;

    (void)ha_text_u64(PQgetvalue(rows, 0, 3), UINT64_MAX, &replayed);
    if (act->replayed == UINT64_MAX)
        act->replayed = replayed;
    return replayed > act->replayed || strcmp(PQgetvalue(rows, 0, 1), "t") == 0;
}

static void on_receiver(struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;
    uint64_t pid = 0;
    bool heard;

    if (!ha_pg_act_check(act))
        return;
    heard = has_heard(act, rows) && strcmp(PQgetvalue(rows, 0, 0), "t") == 0;
    (void)ha_text_u64(PQgetvalue(rows, 0, 2), INT32_MAX, &pid);
    if (heard && pid == 0) {
        ha_pg_conn_drop(&act->fresh);
        look_at_position(act);
        return;
    }
    /* The startup process may be kept from ending it by a long replay, a paused or a delayed one,
     * or a conflict with a reader. */
    if (heard && pid > 1 && ha_acts_age_ms(&act->acts) > NUDGE_MS)
        (void)kill((pid_t)pid, SIGTERM);
    ha_pg_act_wait(act, LOOK_POLL_MS, look_at_receiver);
}

/* On a connection that was made after the signals were sent. */
static void look_at_receiver(struct ha_pg_act *act)
{
    ha_pg_act_query_fresh(
        act,
        "SELECT current_setting('primary_conninfo') = '',"
        " (SELECT a.wait_event_type IN ('Timeout', 'IPC', 'Lock', 'BufferPin')"
        " FROM pg_stat_get_activity(NULL) a WHERE a.backend_type = 'startup'),"
        " (SELECT a.pid FROM pg_stat_get_activity(NULL) a WHERE a.backend_type = 'walreceiver'),"
        " pg_last_wal_replay_lsn() - '0/0'",
        on_receiver);
}

static void look_at_conninfo(struct ha_pg_act *act);

static void on_conninfo(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    if (PQgetvalue(act->answer->rows, 0, 0)[0] != '\0') {
        ha_pg_act_wait(act, LOOK_POLL_MS, look_at_conninfo);
        return;
    }
    act->acts.doing = "waiting for the end of its WAL receiver";
    act->replayed = UINT64_MAX;
    ha_pg_conn_drop(&act->fresh); /* made after the signals were sent, not before */
    look_at_receiver(act);
}

static void look_at_conninfo(struct ha_pg_act *act)
{
    ha_pg_act_query(act, "SELECT current_setting('primary_conninfo')", on_conninfo);
}

static void on_conninfo_reloaded(struct ha_pg_act *act)
{
    act->acts.doing = "waiting for primary_conninfo to be empty (can its configuration be read?)";
    if (ha_pg_act_check(act))
        look_at_conninfo(act);
}

static void on_conninfo_set(struct ha_pg_act *act)
{
    if (ha_pg_act_check(act))
        ha_pg_act_query(act, "SELECT pg_reload_conf()", on_conninfo_reloaded);
}

static void on_seal_seen(struct ha_pg_act *act)
{
    const struct ha_sample *sample = &act->facts.sample;

    if (sample->answer != HA_ANSWER_OK && sample->answer != HA_ANSWER_STARTING) {
        ha_pg_act_fail(act, ha_pg_code_of(act->answer), "%s", sample->text);
    } else if (sample->answer == HA_ANSWER_OK && sample->role != HA_ROLE_REPLICA) {
        ha_pg_act_fail(act, HA_ESTALE, "it is not a standby");
    } else {
        act->acts.doing = "primary_conninfo";
        ha_pg_act_query(act, "ALTER SYSTEM SET primary_conninfo = ''", on_conninfo_set);
    }
}

static void look_before_seal(struct ha_pg_act *act)
{
    ha_pg_act_try_look(act, on_seal_seen);
}

void ha_pg_act_cut_off(struct ha_pg_act *act, ha_pg_act_step step)
{
    act->sealed_step = step;
    be_alone(act, look_before_seal);
}

void ha_pg_act_seal(struct ha_pg_act *act)
{
    ha_pg_act_cut_off(act, ha_pg_act_done);
}
