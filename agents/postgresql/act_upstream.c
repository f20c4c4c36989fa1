/* FOLLOW: who the upstream is, and where its history left ours. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/postgresql/act_follow.h"
#include "agents/postgresql/keep.h"
#include "lib/base/text.h"

bool ha_pg_follow_has_upstream(const struct ha_pg_act *act)
{
    return act->acts.ask.upstream_host[0] != '\0';
}

int ha_pg_follow_conninfo(const struct ha_pg_server *server, const struct ha_act *ask, char *to,
                          size_t size)
{
    char name[HA_NAME_SIZE + 32];

    if (ask->upstream_host[0] == '\0') {
        to[0] = '\0';
        return HA_OK;
    }
    /* Who counts as a synchronous standby is said per epoch. */
    (void)ha_text_format(name, sizeof(name), "%s",
                         ask->member_name[0] != '\0' ? ask->member_name : "standby");
    if (ask->epoch != HA_EPOCH_NONE)
        (void)ha_text_append(name, sizeof(name), "_e%" PRIu64, ask->epoch);
    return ha_pg_server_conninfo(server, ask->upstream_host, ask->upstream_port, name, "", to,
                                 size);
}

void ha_pg_follow_uncount(struct ha_act *ask)
{
    if (ask->sync_managed)
        ask->epoch = HA_EPOCH_NONE;
}

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

    act->acts.doing = "asking the upstream who it is";
    if (act->answer->code != HA_OK) {
        ha_pg_act_fail(act, ha_pg_code_of(act->answer), "the upstream %s:%u: %s",
                       act->acts.ask.upstream_host, (unsigned)act->acts.ask.upstream_port,
                       act->answer->text);
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
    act->acts.doing = "asking the upstream for its history";
    (void)ha_text_format(sql, sizeof(sql), "TIMELINE_HISTORY %" PRIu64, timeline);
    ha_pg_act_query_up(act, sql, on_history);
}

void ha_pg_follow_aim(struct ha_pg_act *act, bool replication)
{
    struct ha_pg_target target = {.port = act->acts.ask.upstream_port, .replication = replication};

    (void)ha_text_copy(target.host, sizeof(target.host), act->acts.ask.upstream_host);
    (void)ha_text_copy(target.user, sizeof(target.user), act->server->replication_user);
    (void)ha_text_copy(target.password, sizeof(target.password), act->server->replication_password);
    ha_pg_conn_retarget(&act->up, &target);
    explicit_bzero(target.password, sizeof(target.password));
}

void ha_pg_follow_ask_upstream(struct ha_pg_act *act, ha_pg_act_step step)
{
    ha_pg_follow_aim(act, true);
    act->up_step = step;
    act->acts.doing = "connecting to the upstream";
    ha_pg_act_query_up(act, "IDENTIFY_SYSTEM", on_identity);
}

static int read_history(struct ha_pg_work *work)
{
    int rc = ha_pg_promotion_read(work->server->work_dir, &work->promotion, &work->err);

    work->pending = ha_pg_keep_pending(work->server);
    work->history = malloc(HA_PG_HISTORY_SIZE);
    if (work->history != NULL &&
        !ha_pg_history_read(work->server->data_dir, work->timeline, work->history)) {
        free(work->history);
        work->history = NULL;
    }
    return rc;
}

void ha_pg_follow_read_history(struct ha_pg_act *act, uint32_t timeline, ha_pg_act_step step)
{
    act->work_timeline = timeline;
    act->acts.doing = "reading its history";
    ha_pg_act_work(act, read_history, step);
}

bool ha_pg_follow_fork(const struct ha_pg_act *act, uint32_t timeline, uint64_t *ret)
{
    uint32_t common = 0;

    if (act->found.history == NULL)
        return ha_pg_history_fork(act->up_timeline, act->up_history, timeline, ret) == HA_OK;
    return ha_pg_history_common(timeline, act->found.history, act->up_timeline, act->up_history,
                                &common, ret) == HA_OK &&
           common == timeline;
}

bool ha_pg_follow_is_other_cluster(struct ha_pg_act *act, uint64_t system)
{
    if (act->up_system == system)
        return false;
    ha_pg_act_fail(act, HA_ESTALE,
                   "the upstream is another cluster: system identifier %" PRIu64
                   ", this one's is %" PRIu64,
                   act->up_system, system);
    return true;
}

char *ha_pg_follow_source(const struct ha_pg_act *act)
{
    size_t size = strlen(act->up_history) + HA_HOST_SIZE + 64;
    char *text = malloc(size);

    if (text != NULL)
        (void)snprintf(text, size, "%s:%u %" PRIu64 " %" PRIu32 "\n%s", act->acts.ask.upstream_host,
                       (unsigned)act->acts.ask.upstream_port, act->up_system, act->up_timeline,
                       act->up_history);
    return text;
}
