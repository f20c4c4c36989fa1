/* FOLLOW: data that went its own way: rewound, or copied where that is allowed (job.c). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agents/postgresql/act_follow.h"
#include "lib/base/text.h"

#define CHECKPOINT_POLL_MS 50u

static void ask_upstream_control(struct ha_pg_act *act);

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
    if (job->code == HA_EDENIED && job->ask.kind == HA_PG_JOB_REWIND &&
        act->acts.ask.copy_allowed) {
        ha_pg_follow_job(act, HA_PG_JOB_COPY, job->ask.timeline, job->ask.fork);
        return;
    }
    if (job->code != HA_OK) {
        ha_pg_act_fail(act, job->code, "%s", job->err.text);
        return;
    }
    (void)ha_text_format(act->acts.acted.text, sizeof(act->acts.acted.text), "%s", job->tail);
    ha_pg_follow_start(act);
}

/* Rewinding was tried often enough, or a copy has taken its place already. The last try counts only
 * once it has ended. */
static bool is_hopeless(const struct ha_pg_job *job, const struct ha_pg_job_ask *ask)
{
    return !job->running && job->ask.epoch == ask->epoch && job->ask.port == ask->port &&
           strcmp(job->ask.host, ask->host) == 0 &&
           (job->ask.kind == HA_PG_JOB_COPY || job->tries >= HA_PG_TRIES_MAX);
}

void ha_pg_follow_job(struct ha_pg_act *act, enum ha_pg_job_kind kind, uint32_t timeline,
                      uint64_t fork)
{
    struct ha_pg_job_ask ask = {
        .kind = kind,
        .epoch = act->acts.ask.epoch,
        .port = act->acts.ask.upstream_port,
        .up_timeline = act->up_timeline,
        .unopened = act->unopened,
        .was_primary = act->control.was_primary,
        .at_rest = act->control.at_rest,
        .checkpoint = act->control.checkpoint,
        .timeline = timeline,
        .fork = fork,
        .tail_bytes_max = act->acts.ask.keep_tail_bytes,
    };
    char *source = ha_pg_follow_source(act);
    int rc;

    (void)ha_text_copy(ask.host, sizeof(ask.host), act->acts.ask.upstream_host);
    if (kind == HA_PG_JOB_REWIND && act->acts.ask.copy_allowed && is_hopeless(&act->job, &ask))
        ask.kind = HA_PG_JOB_COPY;
    ask.deadline_ms =
        ask.kind == HA_PG_JOB_COPY ? act->acts.ask.copy_max_ms : act->acts.ask.rewind_max_ms;
    ask.source = source;
    act->acts.doing = ask.kind == HA_PG_JOB_COPY ? "copying everything" : "rewinding";
    act->begun++;
    rc = source != NULL ? ha_pg_job_start(&act->job, &ask) : HA_ENOMEM;
    free(source);
    if (rc == HA_OK)
        wait_for_job(act);
    else if (rc == HA_EFULL && act->job.barred > 0)
        ha_pg_act_fail(act, HA_EIO, "a rewind cannot begin, again in %" PRIu64 " s: %s",
                       (ha_pg_job_rest_ms(&act->job) + 999) / 1000, act->job.err.text);
    else if (rc == HA_EFULL)
        ha_pg_act_fail(act, HA_EIO, "tried %" PRIu32 " times, again in %" PRIu64 " s: %s",
                       act->job.tries, (ha_pg_job_rest_ms(&act->job) + 999) / 1000,
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
        ha_pg_follow_job(act, HA_PG_JOB_REWIND, act->rewind_timeline, act->rewind_fork);
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

void ha_pg_follow_rewind(struct ha_pg_act *act, uint32_t timeline, uint64_t fork)
{
    act->rewind_timeline = timeline;
    act->rewind_fork = fork;
    ha_pg_follow_aim(act, false);
    act->acts.doing = "waiting for the upstream's first checkpoint";
    ha_pg_act_query_up(act, "CHECKPOINT", on_upstream_checkpoint);
}

void ha_pg_follow_copy(struct ha_pg_act *act, const char *why, uint32_t timeline, uint64_t fork)
{
    if (act->acts.ask.copy_allowed)
        ha_pg_follow_job(act, HA_PG_JOB_COPY, timeline, fork);
    else
        ha_pg_act_fail(act, HA_EDENIED,
                       "%s: it can only come back by a full copy, and the service "
                       "does not say rejoin_copy = yes",
                       why);
}
