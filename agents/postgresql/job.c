#include "agents/postgresql/job.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/postgresql/diverged.h"
#include "agents/postgresql/files.h"
#include "agents/postgresql/keep.h"
#include "agents/postgresql/lineage.h"
#include "agents/postgresql/promotion.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

/* A rewind that is run again goes from PREPARE to RUN. */
enum { PREPARE, RECOVER, LOOK, KEEP, RENUMBER, RUN, FINISH, CLEAN };

static void end(struct ha_pg_job *job, int code)
{
    job->running = false;
    job->code = code;
    free(job->source);
    job->source = NULL;
    job->ask.source = NULL;
    if (code == HA_OK)
        job->tries = 0;
    else if (job->step == PREPARE && job->ask.kind == HA_PG_JOB_REWIND) {
        job->tries--; /* it did nothing and asked nobody */
        /* Room comes back by itself; other than that only people let it write its own files. */
        if (code != HA_EFULL && code != HA_ECANCELED)
            job->barred++;
    }
    if (job->step != PREPARE)
        job->barred = 0;
    job->end_ms = ha_clock_mono_ms();
    HA_LOG(code == HA_OK        ? HA_LOG_INFO
           : (job->barred <= 1) ? HA_LOG_WARN
                                : HA_LOG_DEBUG,
           "postgresql-job-ended", "kind=%s epoch=%" PRIu64 " result=%s text=%s",
           job->ask.kind == HA_PG_JOB_COPY ? "copy" : "rewind", job->ask.epoch, ha_code_text(code),
           HA_QUOTE(job->err.text));
    if (job->stopping && job->idle_cb != NULL)
        job->idle_cb(job);
}

static void next(struct ha_pg_job *job);

static enum ha_kept save_tail(struct ha_pg_job *job, uint32_t timeline, uint64_t fork)
{
    struct ha_err tail = {0};
    enum ha_kept kept = ha_pg_files_save_tail(job->server, job->ask.epoch, timeline, fork,
                                              job->ask.tail_bytes_max, &tail);

    (void)ha_text_copy(job->tail, sizeof(job->tail), tail.text);
    return kept;
}

/* How much of what it wrote as primary is nobody else's: what the watchers knew of when another one
 * was chosen may be less. */
static void note_diverged(struct ha_pg_job *job, uint32_t timeline, uint64_t fork,
                          enum ha_kept kept)
{
    struct ha_pg_left left = {
        .epoch = job->ask.epoch, .timeline = timeline, .fork = fork, .kept = kept};
    struct ha_err err = {0};

    if (!job->ask.was_primary || job->ask.unopened)
        return; /* nobody was answered by it */
    /* A server that was shut down in order wrote that checkpoint last. */
    left.end = job->ask.at_rest ? job->ask.checkpoint
                                : ha_pg_record_end(job->server, job->control.timeline, job->redone);
    if (left.end == 0) /* with the records of its own recovery */
        left.end = job->control.checkpoint;
    if (ha_pg_diverged_note(job->server, &left, &err) != HA_OK)
        HA_LOG(HA_LOG_WARN, "postgresql-diverged-not-noted", "text=%s", HA_QUOTE(err.text));
}

static int prepare(struct ha_pg_job *job)
{
    const struct ha_pg_server *server = job->server;
    char path[HA_PG_PATH_SIZE * 2];
    int code = ha_pg_files_prepare(server, &job->err);

    job->resumed = ha_pg_keep_pending(server);
    if (code == HA_OK)
        code = ha_pg_files_save_settings(server, &job->err);
    if (code != HA_OK)
        return code;
    if (job->ask.kind == HA_PG_JOB_COPY) {
        if (job->ask.timeline != 0)
            (void)save_tail(job, job->ask.timeline, job->ask.fork);
        return ha_pg_files_begin_copy(server, path, sizeof(path), &job->err);
    }
    ha_pg_files_not_standby(server);
    code = ha_pg_keep_restore(server, &job->err);
    return code == HA_OK ? ha_pg_keep_aim(server, job->source, &job->err) : code;
}

struct shared {        /* with the source */
    uint32_t timeline; /* the last one; 0: nothing */
    uint64_t fork;
};

static int find_shared(struct ha_pg_job *job, char *ours, struct shared *ret)
{
    const struct ha_pg_job_ask *ask = &job->ask;
    const struct ha_pg_server *server = job->server;
    const char *theirs = strchr(job->source, '\n');
    bool known = ha_pg_history_read(server->data_dir, job->control.timeline, ours);

    *ret = (struct shared){0};
    if (known && ask->unopened && job->apart == 0) {
        /* By number and fork its timeline may be one of theirs, and is another one. */
        if (ha_pg_history_parent(ours, &ret->timeline, &ret->fork) == HA_OK)
            job->apart = ret->timeline;
    } else if (known && theirs != NULL) {
        (void)ha_pg_history_common(job->control.timeline, ours, ask->up_timeline, theirs + 1,
                                   &ret->timeline, &ret->fork);
    }
    job->is_twin = job->control.timeline == ask->up_timeline;
    if (job->is_twin && (ret->timeline == 0 || ret->fork == UINT64_MAX))
        return ha_err_set(&job->err, HA_EDENIED,
                          "it wrote the same timeline as the upstream: only a full copy helps");
    return HA_OK;
}

/* pg_rewind shall not take what is nobody else's for shared. */
static int set_apart(struct ha_pg_job *job, const char *ours)
{
    const char *theirs = strchr(job->source, '\n');
    char *text = malloc(HA_PG_HISTORY_SIZE);
    int code = HA_OK;

    if (text == NULL)
        code = ha_err_set(&job->err, HA_ENOMEM, "no memory for a history");
    else if (ha_pg_history_set_apart(ours, job->apart, theirs != NULL ? theirs + 1 : "", text,
                                     HA_PG_HISTORY_SIZE) != HA_OK)
        code = ha_err_set(&job->err, HA_EFULL, "its history is too long");
    else
        code = ha_pg_files_write_history(job->server, job->control.timeline, text, &job->err);
    free(text);
    return code;
}

/* Only now, recovered, does it say on which timeline it is. */
static int keep(struct ha_pg_job *job)
{
    const struct ha_pg_job_ask *ask = &job->ask;
    const struct ha_pg_server *server = job->server;
    char *ours = malloc(HA_PG_HISTORY_SIZE);
    struct shared shared;
    int code = ours != NULL ? find_shared(job, ours, &shared)
                            : ha_err_set(&job->err, HA_ENOMEM, "no memory for a history");

    if (code == HA_OK && shared.timeline != 0 && job->tail[0] == '\0')
        note_diverged(job, shared.timeline, shared.fork,
                      save_tail(job, shared.timeline, shared.fork));
    if (code == HA_OK && job->is_twin) {
        /* pg_rewind goes by the number, and would find nothing to do. */
        code = ha_pg_files_new_timeline(server, &job->err);
    } else if (code == HA_OK) {
        if (job->apart != 0)
            code = set_apart(job, ours);
        /* What both share ends at the fork, so this is the last checkpoint of both. */
        if (code == HA_OK)
            code = ha_pg_keep_begin(server, ask->checkpoint <= shared.fork ? ask->checkpoint : 0,
                                    job->control.checkpoint, ask->tail_bytes_max, &job->err);
        if (code == HA_OK)
            code = ha_pg_keep_aim(server, job->source, &job->err);
    }
    free(ours);
    return code;
}

static int put_in_order(struct ha_pg_job *job)
{
    const struct ha_pg_server *server = job->server;
    int code = HA_OK;

    if (job->ask.kind == HA_PG_JOB_COPY)
        code = ha_pg_files_take_copy(server, &job->err);
    else if (job->resumed && !ha_pg_files_is_backup(server))
        code = ha_err_set(&job->err, HA_EIO,
                          "pg_rewind found nothing to do, although an earlier one was interrupted");
    if (code == HA_OK) {
        ha_pg_files_drop_strays(server);
        code = ha_pg_files_restore_settings(server, &job->err);
    }
    if (code == HA_OK)
        code = ha_pg_files_standby(server, "", "", "", &job->err);
    if (code == HA_OK)
        code = ha_pg_promotion_over(server, job->ask.epoch, &job->err);
    return code == HA_OK ? ha_pg_keep_end(server, &job->err) : code;
}

static void begin_work(struct ha_pg_job *job, int step);

/* A copy that came to nothing does not wait on the disk for the next try. */
static void fail(struct ha_pg_job *job, int code)
{
    job->code = code;
    if (job->ask.kind == HA_PG_JOB_COPY && !job->stopping)
        begin_work(job, CLEAN);
    else
        end(job, code);
}

/* On a worker thread; the loop does not touch the job meanwhile but to look at `ask`. */
static void on_work(uv_work_t *work)
{
    struct ha_pg_job *job = work->data;

    if (job->step == CLEAN)
        ha_pg_files_drop_copy(job->server); /* and it ends as it has failed */
    else
        job->code = job->step == PREPARE ? prepare(job)
                    : job->step == KEEP  ? keep(job)
                                         : put_in_order(job);
}

static void on_worked(uv_work_t *work, int status)
{
    struct ha_pg_job *job = work->data;

    job->working = false;
    if (job->stopping || job->canceled || status != 0)
        end(job, HA_ECANCELED);
    else if (job->step == CLEAN)
        end(job, job->code);
    else if (job->code != HA_OK)
        fail(job, job->code);
    else if (job->step == FINISH)
        end(job, HA_OK);
    else
        next(job);
}

static void begin_work(struct ha_pg_job *job, int step)
{
    job->step = step;
    job->work.data = job;
    job->working = uv_queue_work(job->loop, &job->work, on_work, on_worked) == 0;
    if (!job->working)
        end(job, ha_err_set(&job->err, HA_EIO, "no worker thread"));
}

/* The last line that says what went wrong. */
static void tell_output(struct ha_pg_job *job, const struct ha_process_result *result)
{
    const char *program = job->step == RECOVER              ? "postgres --single"
                          : job->step == LOOK               ? "pg_controldata"
                          : job->ask.kind == HA_PG_JOB_COPY ? "pg_basebackup"
                                                            : "pg_rewind";
    const char *at = result->output != NULL ? strstr(result->output, "error: ") : NULL;
    const char *fatal = result->output != NULL ? strstr(result->output, "FATAL: ") : NULL;

    if (fatal == NULL && result->output != NULL)
        fatal = strstr(result->output, "PANIC: ");
    if (fatal != NULL) /* of the server that it ran: the cause */
        at = fatal;
    if (result->code != HA_OK)
        (void)ha_err_set(&job->err, result->code, "%s: %s", program, result->err.text);
    else if (at != NULL)
        (void)ha_err_set(&job->err, HA_EIO, "%s: %.*s", program, (int)strcspn(at, "\n"), at);
    else if (result->signal != 0)
        (void)ha_err_set(&job->err, HA_EIO, "%s was ended by signal %d", program, result->signal);
    else
        (void)ha_err_set(&job->err, HA_EIO, "%s ended with status %d", program,
                         result->exit_status);
}

static void on_ran(void *data, const struct ha_process_result *result)
{
    struct ha_pg_job *job = data;

    job->process = NULL;
    if (result->output_size > 0 && job->step != LOOK)
        HA_LOG(HA_LOG_INFO, "postgresql-job-said", "text=%s", HA_QUOTE(result->output));
    if (result->code != HA_OK || result->exit_status != 0 || result->signal != 0) {
        tell_output(job, result);
        fail(job, result->code == HA_OK ? HA_EIO : result->code);
    } else if (job->stopping || job->canceled) {
        end(job, HA_ECANCELED);
    } else if (job->step == LOOK && (ha_pg_control_parse(result->output, &job->control) != HA_OK ||
                                     !job->control.at_rest)) {
        end(job, ha_err_set(&job->err, HA_EIO, "it could not be shut down in order"));
    } else {
        if (job->step == RECOVER)
            job->redone = ha_pg_redone(result->output, job->ask.checkpoint);
        next(job);
    }
}

static void run(struct ha_pg_job *job, const char *const *argv)
{
    int rc = ha_pg_server_run(job->server, &job->process, job->loop, argv, job->ask.deadline_ms,
                              on_ran, job);

    if (rc != HA_OK)
        end(job, ha_err_set(&job->err, rc, "it could not be started: %s", ha_code_text(rc)));
}

static void run_tool(struct ha_pg_job *job)
{
    const struct ha_pg_server *server = job->server;
    char source[1024], config[HA_PG_PATH_SIZE + 16], to[HA_PG_PATH_SIZE + 8];
    const char *rewind[] = {"pg_rewind",
                            "-D",
                            server->data_dir,
                            "--source-server",
                            source,
                            "--no-ensure-shutdown",
                            server->config_file[0] != '\0' ? config : NULL,
                            NULL};
    const char *copy[] = {"pg_basebackup", "-D", to, "-d", source, "-X", "stream", "-c", "fast",
                          "--no-password", NULL};
    bool is_copy = job->ask.kind == HA_PG_JOB_COPY;
    int rc;

    (void)snprintf(config, sizeof(config), "--config-file=%s", server->config_file);
    (void)snprintf(to, sizeof(to), "%s/copy", server->work_dir);
    rc = ha_pg_server_conninfo(server, job->ask.host, job->ask.port, "hafailover",
                               is_copy ? "" : "dbname=postgres", source, sizeof(source));
    if (rc == HA_OK)
        run(job, is_copy ? copy : rewind);
    else
        end(job, ha_err_set(&job->err, rc, "its source's address is too long"));
}

/* What pg_rewind would do itself; but what is kept must be from after it and on disk, and the WAL
 * still be there. */
static void recover(struct ha_pg_job *job)
{
    const struct ha_pg_server *server = job->server;
    char keep_wal[48], config[HA_PG_PATH_SIZE + 16] = "log_checkpoints=off";
    const char *argv[] = {"postgres",  "--single",
                          "-D",        server->data_dir,
                          "-c",        keep_wal,
                          "-c",        config,
                          "-c",        "lc_messages=C", /* where it ends is read from them */
                          "-c",        "log_min_messages=log",
                          "-c",        "log_destination=stderr",
                          "-c",        "restore_command=/bin/false",
                          "-c",        "recovery_target_timeline=current",
                          "template1", NULL};

    (void)snprintf(keep_wal, sizeof(keep_wal), "wal_keep_size=%" PRIu64 "MB",
                   job->ask.tail_bytes_max >> 20 < INT32_MAX ? job->ask.tail_bytes_max >> 20
                                                             : INT32_MAX);
    if (server->config_file[0] != '\0')
        (void)snprintf(config, sizeof(config), "config_file=%s", server->config_file);
    run(job, argv);
}

static void look(struct ha_pg_job *job)
{
    const char *argv[] = {"pg_controldata", "-D", job->server->data_dir, NULL};

    run(job, argv);
}

static int step_after(const struct ha_pg_job *job)
{
    if (job->step == PREPARE && (job->ask.kind == HA_PG_JOB_COPY || job->resumed))
        return RUN;
    if (job->step == PREPARE)
        return job->ask.at_rest ? LOOK : RECOVER;
    if (job->step == KEEP)
        return job->is_twin ? RENUMBER : RUN;
    if (job->step == RENUMBER)
        return LOOK;
    return job->step + 1;
}

/* One step is done. */
static void next(struct ha_pg_job *job)
{
    job->step = step_after(job);
    if (job->step == RECOVER || job->step == RENUMBER)
        recover(job);
    else if (job->step == LOOK)
        look(job);
    else if (job->step == RUN)
        run_tool(job);
    else
        begin_work(job, job->step);
}

void ha_pg_job_init(struct ha_pg_job *job, uv_loop_t *loop, const struct ha_pg_server *server)
{
    memset(job, 0, sizeof(*job));
    job->loop = loop;
    job->server = server;
}

static bool is_same(const struct ha_pg_job_ask *a, const struct ha_pg_job_ask *b)
{
    return a->kind == b->kind && a->epoch == b->epoch && a->port == b->port &&
           strcmp(a->host, b->host) == 0;
}

uint64_t ha_pg_job_rest_ms(const struct ha_pg_job *job)
{
    uint64_t since_ms = ha_clock_mono_ms() - job->end_ms;
    uint32_t doubled = job->tries > HA_PG_TRIES_MAX ? job->tries - HA_PG_TRIES_MAX : 0;
    uint64_t rest_ms = (uint64_t)HA_PG_REST_MS
                       << (doubled < HA_PG_REST_DOUBLED_MAX ? doubled : HA_PG_REST_DOUBLED_MAX);

    return since_ms < rest_ms ? rest_ms - since_ms : 0;
}

int ha_pg_job_start(struct ha_pg_job *job, const struct ha_pg_job_ask *ask)
{
    if (job->stopping)
        return HA_ECLOSED;
    if (job->running) {
        if (is_same(&job->ask, ask))
            return HA_OK;
        ha_pg_job_cancel(job);
        return HA_EBUSY;
    }
    if (!is_same(&job->ask, ask))
        job->tries = job->barred = 0;
    if ((job->tries >= HA_PG_TRIES_MAX || job->barred > 0) && ha_pg_job_rest_ms(job) > 0)
        return HA_EFULL;
    job->source = ask->source != NULL ? strdup(ask->source) : NULL;
    if (ask->source != NULL && job->source == NULL)
        return HA_ENOMEM;
    job->tries++;
    job->ask = *ask;
    job->ask.source = job->source;
    job->running = true;
    job->canceled = false;
    job->code = HA_OK;
    job->err = (struct ha_err){0};
    job->tail[0] = '\0';
    job->resumed = job->is_twin = false;
    job->apart = 0;
    job->redone = 0;
    job->control = (struct ha_pg_control){0};
    job->start_ms = ha_clock_mono_ms();
    HA_LOG(job->barred == 0 ? HA_LOG_INFO : HA_LOG_DEBUG, "postgresql-job-begun",
           "kind=%s epoch=%" PRIu64 " from=%s:%u try=%" PRIu32,
           ask->kind == HA_PG_JOB_COPY ? "copy" : "rewind", ask->epoch, ask->host,
           (unsigned)ask->port, job->tries);
    begin_work(job, PREPARE);
    return HA_OK;
}

void ha_pg_job_cancel(struct ha_pg_job *job)
{
    job->canceled = true;
    if (job->process != NULL)
        ha_process_cancel(job->process);
}

void ha_pg_job_explain(const struct ha_pg_job *job, char *to, size_t size)
{
    (void)ha_text_format(to, size, "%s from %s:%u, for %" PRIu64 " s",
                         job->ask.kind == HA_PG_JOB_COPY ? "copying everything" : "rewinding",
                         job->ask.host, (unsigned)job->ask.port,
                         (ha_clock_mono_ms() - job->start_ms) / 1000);
}

void ha_pg_job_stop(struct ha_pg_job *job)
{
    job->stopping = true;
    if (job->running)
        ha_pg_job_cancel(job);
    else if (job->idle_cb != NULL)
        job->idle_cb(job);
}
