#include "agents/postgresql/job.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agents/postgresql/files.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

enum { PREPARE, RUN, FINISH };

static void end(struct ha_pg_job *job, int code)
{
    job->running = false;
    job->code = code;
    if (code == HA_OK)
        job->tries = 0;
    HA_LOG(code == HA_OK ? HA_LOG_INFO : HA_LOG_WARN, "postgresql-job-ended",
           "kind=%s epoch=%" PRIu64 " result=%s text=%s",
           job->ask.kind == HA_PG_JOB_COPY ? "copy" : "rewind", job->ask.epoch, ha_code_text(code),
           HA_QUOTE(job->err.text));
    if (job->stopping && job->idle_cb != NULL)
        job->idle_cb(job);
}

static void run(struct ha_pg_job *job);

/* On a worker thread; the loop does not touch the job meanwhile but to look at `ask`. */
static void on_work(uv_work_t *work)
{
    struct ha_pg_job *job = work->data;
    const struct ha_pg_server *server = job->server;
    struct ha_err tail = {0};
    char path[HA_PG_PATH_SIZE * 2];
    int code;

    if (job->step == PREPARE) {
        code = ha_pg_files_prepare(server, &job->err);
        if (code == HA_OK)
            code = ha_pg_files_save_settings(server, &job->err);
        if (code == HA_OK && job->ask.timeline != 0) {
            ha_pg_files_save_tail(server, job->ask.epoch, job->ask.timeline, job->ask.fork,
                                  job->ask.tail_bytes_max, &tail);
            (void)ha_text_copy(job->tail, sizeof(job->tail), tail.text);
        }
        if (code == HA_OK && job->ask.kind == HA_PG_JOB_REWIND)
            ha_pg_files_not_standby(server);
        if (code == HA_OK && job->ask.kind == HA_PG_JOB_COPY)
            code = ha_pg_files_begin_copy(server, path, sizeof(path), &job->err);
        job->code = code;
        return;
    }
    code = job->ask.kind == HA_PG_JOB_COPY ? ha_pg_files_take_copy(server, &job->err) : HA_OK;
    if (code == HA_OK)
        code = ha_pg_files_restore_settings(server, &job->err);
    if (code == HA_OK)
        code = ha_pg_files_standby(server, "", "", &job->err);
    if (code == HA_OK)
        code = ha_pg_files_note_promotion(server, 0, &job->err);
    job->code = code;
}

static void on_worked(uv_work_t *work, int status)
{
    struct ha_pg_job *job = work->data;

    job->working = false;
    if (job->stopping || job->canceled || status != 0)
        end(job, HA_ECANCELED);
    else if (job->code != HA_OK || job->step == FINISH)
        end(job, job->code);
    else
        run(job);
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
    const char *program = job->ask.kind == HA_PG_JOB_COPY ? "pg_basebackup" : "pg_rewind";
    const char *at = result->output != NULL ? strstr(result->output, "error: ") : NULL;
    const char *fatal = result->output != NULL ? strstr(result->output, "FATAL: ") : NULL;

    if (fatal != NULL) /* of the server that it ran: the cause */
        at = fatal;
    if (result->code != HA_OK)
        (void)ha_err_set(&job->err, result->code, "%s: %s", program, result->err.text);
    else if (at != NULL)
        (void)ha_err_set(&job->err, HA_EIO, "%s: %.*s", program, (int)strcspn(at, "\n"), at);
    else
        (void)ha_err_set(&job->err, HA_EIO, "%s ended with status %d", program,
                         result->exit_status);
}

static void on_ran(void *data, const struct ha_process_result *result)
{
    struct ha_pg_job *job = data;

    job->process = NULL;
    if (result->output_size > 0)
        HA_LOG(HA_LOG_INFO, "postgresql-job-said", "text=%s", HA_QUOTE(result->output));
    if (result->code == HA_OK && result->exit_status == 0 && result->signal == 0 &&
        !job->stopping && !job->canceled) {
        begin_work(job, FINISH);
        return;
    }
    tell_output(job, result);
    end(job, result->code == HA_OK ? HA_EIO : result->code);
}

static void run(struct ha_pg_job *job)
{
    const struct ha_pg_server *server = job->server;
    char source[1024], config[HA_PG_PATH_SIZE + 16], to[HA_PG_PATH_SIZE + 8];
    const char *rewind[] = {"pg_rewind",
                            "-D",
                            server->data_dir,
                            "--source-server",
                            source,
                            server->config_file[0] != '\0' ? config : NULL,
                            NULL};
    const char *copy[] = {"pg_basebackup", "-D", to, "-d", source, "-X", "stream", "-c", "fast",
                          "--no-password", NULL};
    bool is_copy = job->ask.kind == HA_PG_JOB_COPY;
    int rc;

    job->step = RUN;
    (void)snprintf(config, sizeof(config), "--config-file=%s", server->config_file);
    (void)snprintf(to, sizeof(to), "%s/copy", server->work_dir);
    rc = ha_pg_server_conninfo(server, job->ask.host, job->ask.port, "hafailover",
                               is_copy ? "" : "dbname=postgres", source, sizeof(source));
    if (rc == HA_OK)
        rc = ha_pg_server_run(server, &job->process, job->loop, is_copy ? copy : rewind,
                              job->ask.deadline_ms, on_ran, job);
    if (rc != HA_OK)
        end(job, ha_err_set(&job->err, rc, "it could not be started: %s", ha_code_text(rc)));
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
        job->tries = 0;
    if (job->tries >= HA_PG_TRIES_MAX)
        return HA_EFULL;
    job->tries++;
    job->ask = *ask;
    job->running = true;
    job->canceled = false;
    job->code = HA_OK;
    job->err = (struct ha_err){0};
    job->tail[0] = '\0';
    job->start_ms = ha_clock_mono_ms();
    HA_LOG(HA_LOG_INFO, "postgresql-job-begun", "kind=%s epoch=%" PRIu64 " from=%s:%u try=%" PRIu32,
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
