/* Acts of a primary: become one, serve, drain. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agents/postgresql/act.h"
#include "agents/postgresql/files.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#define PROMOTE_POLL_MS 2u

/* --- PROMOTE ---------------------------------------------------------------------------------- */

static void on_promoted(struct ha_pg_act *act)
{
    act->doing = "waiting for the end of recovery";
    if (act->facts.sample.role != HA_ROLE_PRIMARY)
        ha_pg_act_wait(act, PROMOTE_POLL_MS, ha_pg_act_promote);
    else
        ha_pg_act_done(act);
}

static void on_recovery(struct ha_pg_act *act)
{
    if (!ha_pg_act_check(act))
        return;
    if (PQntuples(act->answer->rows) == 1 && strcmp(PQgetvalue(act->answer->rows, 0, 0), "f") == 0)
        ha_pg_act_look(act, on_promoted);
    else
        ha_pg_act_wait(act, PROMOTE_POLL_MS, ha_pg_act_promote);
}

static void ask_recovery(struct ha_pg_act *act)
{
    act->doing = "waiting for the end of recovery";
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
    ask_recovery(act);
}

static int note(const struct ha_pg_server *server, const struct ha_act *ask, struct ha_err *err)
{
    return ha_pg_files_note_promotion(server, ask->epoch, err);
}

static void on_noted(struct ha_pg_act *act)
{
    if (act->work_err.code != HA_OK) {
        ha_pg_act_fail(act, act->work_err.code, "%s", act->work_err.text);
        return;
    }
    act->doing = "pg_promote";
    ha_pg_act_query(act, "SELECT pg_promote(false)", on_asked);
}

void ha_pg_act_promote(struct ha_pg_act *act)
{
    if (act->promoted) {
        ask_recovery(act);
    } else if (act->server->data_dir[0] != '\0') {
        act->doing = "noting the promotion";
        ha_pg_act_work(act, note, on_noted);
    } else {
        act->work_err = (struct ha_err){0};
        on_noted(act);
    }
}

/* --- SERVE ------------------------------------------------------------------------------------ */

static void on_served(struct ha_pg_act *act)
{
    if (act->work_err.code != HA_OK)
        HA_LOG(HA_LOG_WARN, "postgresql-note-kept", "why=%s", HA_QUOTE(act->work_err.text));
    ha_pg_act_done(act);
}

static int forget(const struct ha_pg_server *server, const struct ha_act *ask, struct ha_err *err)
{
    (void)ask;
    return ha_pg_files_note_promotion(server, 0, err);
}

static void on_slots(struct ha_pg_act *act)
{
    if (act->answer->code != HA_OK) /* replicas can follow without, while their WAL is there */
        (void)ha_text_format(act->acted.text, sizeof(act->acted.text), "slots: %s",
                             act->answer->text);
    if (act->server->data_dir[0] != '\0')
        ha_pg_act_work(act, forget, on_served);
    else
        ha_pg_act_done(act);
}

/* Slots for every other member: those that are there and reserve nothing yet begin to. */
int ha_pg_slots_sql(const struct ha_act *ask, bool reserve, char *sql, size_t size)
{
    int rc = ha_text_format(sql, size, "SELECT ");

    if (ask->peer_count == 0)
        return ha_text_format(sql, size, "SELECT 1");
    for (uint32_t i = 0; rc == HA_OK && i < ask->peer_count; i++) {
        char slot[HA_NAME_SIZE + 8];

        ha_pg_slot_name(ask->peer_names[i], slot, sizeof(slot));
        rc = ha_text_append(
            sql, size,
            "%s(SELECT pg_create_physical_replication_slot('%s', %s)::text WHERE NOT EXISTS"
            " (SELECT FROM pg_replication_slots WHERE slot_name = '%s'))",
            i > 0 ? ", " : "", slot, reserve ? "true" : "false", slot);
    }
    return rc;
}

static void on_serve_seen(struct ha_pg_act *act)
{
    char sql[HA_PG_SQL_SIZE];

    if (act->facts.sample.role != HA_ROLE_PRIMARY) {
        ha_pg_act_fail(act, HA_ESTALE, "it is not a primary");
        return;
    }
    act->doing = "creating replication slots";
    if (ha_pg_slots_sql(&act->ask, true, sql, sizeof(sql)) != HA_OK)
        ha_pg_act_fail(act, HA_EFULL, "too many members for one query");
    else
        ha_pg_act_query(act, sql, on_slots);
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
    (void)ha_text_format(act->acted.text, sizeof(act->acted.text),
                         "shut down at %" PRIX64 "/%" PRIX64, sample->position.offset >> 32,
                         sample->position.offset & UINT32_MAX);
    ha_pg_act_done(act);
}

static void on_gone(struct ha_pg_act *act)
{
    ha_pg_act_read_control(act, on_drained);
}

static void on_checkpoint(struct ha_pg_act *act)
{
    /* Without the right to, the shutdown's own takes longer; nothing else changes. */
    act->pid = act->conn.server_pid != 0 ? act->conn.server_pid : ha_pg_server_pid(act->server);
    if (act->pid == 0)
        ha_pg_act_fail(act, HA_EIO, "its process is not known");
    else
        ha_pg_act_stop_server(act, on_gone);
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
    act->doing = "checkpoint";
    ha_pg_act_query(act, "CHECKPOINT", on_checkpoint);
}

void ha_pg_act_drain(struct ha_pg_act *act)
{
    ha_pg_act_look(act, on_drain_seen);
}
