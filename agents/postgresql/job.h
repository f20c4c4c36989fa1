/* agents/postgresql/job.h - work on a stopped server's files that outlasts an act.
 *
 * Shell, loop thread only. A rewind or a full copy may take minutes; the order that began it is
 * told that it goes on and comes again. A job ends by itself, by its deadline or by a cancel, and
 * what an interrupted one left is found by the next. */
#ifndef HA_AGENTS_POSTGRESQL_JOB_H
#define HA_AGENTS_POSTGRESQL_JOB_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agents/postgresql/server.h"

#define HA_PG_TRIES_MAX 3 /* of one job for one epoch and upstream; then a person must look */

enum ha_pg_job_kind { HA_PG_JOB_NONE, HA_PG_JOB_REWIND, HA_PG_JOB_COPY };

struct ha_pg_job_ask {
    enum ha_pg_job_kind kind;
    uint64_t epoch;
    char host[HA_HOST_SIZE]; /* where from */
    uint16_t port;
    uint32_t timeline; /* REWIND: of the own data, and where the other left it; 0: keep no tail */
    uint64_t fork;
    uint64_t tail_bytes_max;
    uint32_t deadline_ms;
};

struct ha_pg_job { /* embedded; private but for the results */
    uv_loop_t *loop;
    const struct ha_pg_server *server;
    struct ha_pg_job_ask ask;
    bool running;
    bool stopping; /* no steps any more */
    bool canceled;
    int code; /* of the last that ended */
    struct ha_err err;
    char tail[HA_ERR_TEXT_SIZE]; /* where the diverged tail is */
    uint32_t tries;              /* for this ask */
    uint64_t start_ms;
    uv_work_t work;
    bool working; /* `work` is lent */
    int step;
    struct ha_process_run *process;
    void (*idle_cb)(struct ha_pg_job *job); /* told once after a stop, when nothing is lent */
    void *data;
};

void ha_pg_job_init(struct ha_pg_job *job, uv_loop_t *loop, const struct ha_pg_server *server);

/* Begin, or join the one of the same kind, epoch and source. HA_EBUSY: another one is still being
 * canceled; HA_EFULL: it was tried often enough, `err` says how the last try ended. */
int ha_pg_job_start(struct ha_pg_job *job, const struct ha_pg_job_ask *ask);

void ha_pg_job_cancel(struct ha_pg_job *job);

/* What it does and for how long, for people. */
void ha_pg_job_explain(const struct ha_pg_job *job, char *to, size_t size);

/* End it for good; idle_cb when nothing of the loop's points here any more, at the earliest from
 * inside this call. */
void ha_pg_job_stop(struct ha_pg_job *job);

#endif /* HA_AGENTS_POSTGRESQL_JOB_H */
