/* Acts of a primary: become one, serve, drain. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agents/postgresql/act.h"
#include "agents/postgresql/promotion.h"
#include "agents/postgresql/segments.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

#define PROMOTE_POLL_MS 2u
#define JOIN_POLL_MS 1u
#define RESERVE_MS 2000u /* whoever follows has connected, and its slot is in use */
#define RESERVE_TRIES_MAX 60u
#define TELL_MS 5000u /* from the end of a drained server to the word of where it ended */

/* --- PROMOTE ---------------------------------------------------------------------------------- */

static void on_promoted(struct ha_pg_act *act)
{
    act->acts.doing = "waiting for the end of recovery";
    if (act->facts.sample.role != HA_ROLE_PRIMARY)
        ha_pg_act_wait(act, PROMOTE_POLL_MS, ha_pg_act_promote);
    else
        ha_pg_act_end_early(act, ha_pg_act_done);
}

static void on_recovery(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    if (PQntuples(act->answer->rows) == 1 &&
        strcmp(PQgetvalue(act->answer->rows, 0, 0), "f") == 0) {
        ha_pg_act_commit_early(act);
        ha_pg_act_look(act, on_promoted);
    } else {
        ha_pg_act_wait(act, PROMOTE_POLL_MS, ha_pg_act_promote);
    }
}

static void ask_recovery(struct ha_pg_act *act)
{
    act->acts.doing = "waiting for the end of recovery";
    ha_pg_act_query(act, "SELECT pg_is_in_recovery()", on_recovery);
}

static void on_asked(struct ha_pg_act *act)
{
    act->promoted = true;
    /* 55000: it is a primary already, or was promoted a moment ago. */
    if (act->answer->code != HA_OK && strcmp(act->answer->state, "55000") != 0) {
        (void)ha_pg_act_check(act);
        return;
    }
    ha_pg_act_open_early(act);
    ask_recovery(act);
}

static void ask_promotion(struct ha_pg_act *act)
{
    act->acts.doing = "pg_promote";
    ha_pg_act_query(act, "SELECT pg_promote(false)", on_asked);
}

static int note(struct ha_pg_work *work)
{
    return ha_pg_promotion_note(work->server, work->ask.epoch, &work->err);
}

/* What a promotion reads again at its end is to be found. */
static int mend_and_note(struct ha_pg_work *work)
{
    int rc = ha_pg_segments_mend(work->server, &work->err);

    return rc == HA_OK ? note(work) : rc;
}

static void on_noted(struct ha_pg_act *act)
{
    if (act->found.err.code != HA_OK) {
        ha_pg_act_fail(act, act->found.err.code, "%s", act->found.err.text);
        return;
    }
    if (act->acts.ask.sync_managed)
        ha_pg_act_hold_commits(act, ask_promotion);
    else
        ask_promotion(act);
}

/* One that is a primary forks no timeline: a note would make its data look like one that did. */
static void on_role(struct ha_pg_act *act)
{
    const PGresult *rows = act->answer->rows;

    if (!ha_pg_act_check(act))
        return;
    if (PQntuples(rows) == 1 && strcmp(PQgetvalue(rows, 0, 0), "f") == 0) {
        act->promoted = true;
        ha_pg_act_look(act, on_promoted);
    } else if (act->server->data_dir[0] != '\0') {
        bool receives = PQntuples(rows) == 1 && strcmp(PQgetvalue(rows, 0, 1), "t") == 0;

        act->acts.doing = "noting the promotion";
        ha_pg_act_work(act, receives ? note : mend_and_note, on_noted);
    } else {
        act->found.err = (struct ha_err){0};
        on_noted(act);
    }
}

void ha_pg_act_promote(struct ha_pg_act *act)
{
    if (act->promoted) {
        ask_recovery(act);
        return;
    }
    act->acts.doing = "pg_promote";
    ha_pg_act_query(act,
                    "SELECT pg_is_in_recovery(),"
                    " EXISTS (SELECT FROM pg_stat_get_wal_receiver() w WHERE w.pid IS NOT NULL)",
                    on_role);
}

/* --- SERVE ------------------------------------------------------------------------------------ */

static void look_at_served(struct ha_pg_act *act)
{
    ha_pg_act_look(act, ha_pg_act_done);
}

static void on_forgotten(struct ha_pg_act *act, const struct ha_err *err)
{
    if (err->code == HA_OK) {
        act->owed_epoch = 0;
        return;
    }
    /* It serves all the same: with the note its data would only be rewound further back. */
    HA_LOG(HA_LOG_WARN, "postgresql-note-kept", "why=%s", HA_QUOTE(err->text));
    ha_pg_act_owe_end(act, act->acts.ask.epoch);
}

static int forget(struct ha_pg_work *work)
{
    return ha_pg_promotion_over(work->server, work->ask.epoch, &work->err);
}

static void wait_forgotten(struct ha_pg_act *act)
{
    act->acts.doing = "removing the note of its promotion";
    if (act->beside > 0)
        ha_pg_act_wait(act, JOIN_POLL_MS, wait_forgotten);
    else
        look_at_served(act);
}

/* At growing intervals, of up to a minute. */
static void wait_with_slots(struct ha_pg_act *act)
{
    const uint32_t shift = act->slots_tries < 5 ? act->slots_tries : 5;

    act->slots_due_ms = ha_clock_mono_ms() + ((uint64_t)RESERVE_MS << shift);
}

static void on_slots(struct ha_pg_act *act)
{
    if (act->answer->code != HA_OK) /* replicas can follow without, while their WAL is there */
        (void)ha_text_format(act->acts.acted.text, sizeof(act->acts.acted.text), "slots: %s",
                             act->answer->text);
    act->slots_tries = 0;
    wait_with_slots(act);
    act->slots_ask = act->acts.ask;
    wait_forgotten(act);
}

static int add_slots(const struct ha_act *ask, bool reserve, char *sql, size_t size)
{
    char slot[HA_NAME_SIZE + 8];
    int rc = ha_text_append(sql, size, "SELECT 1");

    for (uint32_t i = 0; rc == HA_OK && i < ask->peer_count; i++) {
        ha_pg_slot_name(ask->peer_names[i], slot, sizeof(slot));
        rc = ha_text_append(
            sql, size,
            ", (SELECT pg_create_physical_replication_slot('%s', %s)::text WHERE NOT EXISTS"
            " (SELECT FROM pg_replication_slots WHERE slot_name = '%s'))",
            slot, reserve ? "true" : "false", slot);
    }
    return rc;
}

/* One that was made on a standby reserves nothing yet; what a primary of an earlier epoch kept for
 * the others would stay for ever on a standby, and what a removed member had on a primary. Two
 * statements: the second sees what the first has dropped. */
int ha_pg_slots_sql(const struct ha_act *ask, bool reserve, char *sql, size_t size)
{
    char slot[HA_NAME_SIZE + 8];
    int rc = ha_text_format(sql, size,
                            "SELECT count(pg_drop_replication_slot(slot_name)) FROM"
                            " pg_replication_slots WHERE slot_name LIKE 'ha\\_%%' AND NOT active"
                            " AND slot_type = 'physical' AND (%s slot_name NOT IN (''",
                            reserve ? "restart_lsn IS NULL OR" : "restart_lsn IS NOT NULL OR");

    for (uint32_t i = 0; rc == HA_OK && i < ask->peer_count; i++) {
        ha_pg_slot_name(ask->peer_names[i], slot, sizeof(slot));
        rc = ha_text_append(sql, size, ", '%s'", slot);
    }
    if (rc == HA_OK)
        rc = ha_text_append(sql, size, ")); ");
    return rc == HA_OK ? add_slots(ask, reserve, sql, size) : rc;
}

static void on_reserved(void *data, const struct ha_pg_answer *answer)
{
    struct ha_pg_act *act = data;

    act->slots_due_ms = 0;
    if (answer->code == HA_OK)
        return;
    HA_LOG(HA_LOG_WARN, "postgresql-slots", "why=%s", HA_QUOTE(answer->text));
    /* A slot that came into use meanwhile is enough for that; others may be dropped by then, and
     * whoever has none cannot connect. */
    if (++act->slots_tries < RESERVE_TRIES_MAX)
        wait_with_slots(act);
}

void ha_pg_act_reserve_slots(struct ha_pg_act *act)
{
    char sql[HA_PG_SQL_SIZE];

    if (ha_pg_slots_sql(&act->slots_ask, true, sql, sizeof(sql)) != HA_OK ||
        ha_pg_conn_ask(&act->conn, sql, on_reserved, act) != HA_OK)
        act->slots_due_ms = 0; /* too many members for one query: told before */
}

/* A standby needs its slot in order to connect. That those which were made while this one was a
 * standby reserve WAL can wait until clients are served: it is all there until a checkpoint. */
static void on_names_served(struct ha_pg_act *act)
{
    char sql[HA_PG_SQL_SIZE] = "";

    act->acts.doing = "creating replication slots";
    if (add_slots(&act->acts.ask, true, sql, sizeof(sql)) != HA_OK)
        ha_pg_act_fail(act, HA_EFULL, "too many members for one query");
    else
        ha_pg_act_query(act, sql, on_slots);
}

static void on_serve_seen(struct ha_pg_act *act)
{
    if (act->facts.sample.role != HA_ROLE_PRIMARY)
        ha_pg_act_fail(act, HA_ESTALE, "it is not a primary");
    else if (act->acts.ask.run_id != 0 && act->facts.sample.run_id != act->acts.ask.run_id)
        ha_pg_act_fail(act, HA_ESTALE, "it was started anew since it was promoted");
    else if (act->server->data_dir[0] != '\0' && !ha_pg_act_beside(act, forget, on_forgotten))
        ha_pg_act_fail(act, HA_EIO, "what was asked of its files before has not come back");
    else
        ha_pg_act_serve_names(act, on_names_served);
}

void ha_pg_act_serve(struct ha_pg_act *act)
{
    ha_pg_act_look(act, on_serve_seen);
}

/* --- DRAIN ------------------------------------------------------------------------------------ */

static void on_drained(struct ha_pg_act *act)
{
    struct ha_sample *sample = &act->facts.sample;

    if (!act->control.exists || !act->control.clean) {
        ha_pg_act_fail(act, HA_EIO, "it did not shut down in order");
        return;
    }
    /* Every commit is before the shutdown checkpoint: who has that position lacks nothing. */
    if (act->control.checkpoint > sample->position.offset)
        sample->position.offset = act->control.checkpoint;
    (void)ha_text_format(act->acts.acted.text, sizeof(act->acts.acted.text),
                         "shut down at %" PRIX64 "/%" PRIX64, sample->position.offset >> 32,
                         sample->position.offset & UINT32_MAX);
    ha_pg_act_done(act);
}

static void on_gone(struct ha_pg_act *act)
{
    /* All is done, and the gate closed: a late word of it holds nobody up longer than a crash. */
    ha_acts_prolong(&act->acts, TELL_MS);
    ha_pg_act_read_control(act, on_drained);
}

static int find_pid(struct ha_pg_work *work)
{
    work->pid = ha_pg_server_pid(work->server);
    return HA_OK;
}

static void on_pid(struct ha_pg_act *act)
{
    act->pid = act->conn.server_pid != 0 ? act->conn.server_pid : act->found.pid;
    if (act->pid == 0)
        ha_pg_act_fail(act, HA_EIO, "its process is not known");
    else
        ha_pg_act_stop_server(act, on_gone);
}

static void on_checkpoint(struct ha_pg_act *act)
{
    /* Without the right to, the shutdown's own takes longer; nothing else changes. */
    ha_pg_act_work(act, find_pid, on_pid);
}

static void on_drain_seen(struct ha_pg_act *act)
{
    if (act->facts.sample.role != HA_ROLE_PRIMARY) {
        ha_pg_act_fail(act, HA_ESTALE, "it is not a primary");
        return;
    }
    if (act->facts.sample.replicas == 0) {
        ha_pg_act_fail(act, HA_EIO, "no standby streams from it");
        return;
    }
    /* Short where one has just been made before this order (checkpoint.h). Clients still write
     * during this one, and not during the shutdown's; a failover by hand has no other. */
    act->acts.doing = "checkpoint";
    ha_pg_act_query(act, "CHECKPOINT", on_checkpoint);
}

void ha_pg_act_drain(struct ha_pg_act *act)
{
    ha_pg_act_look(act, on_drain_seen);
}
