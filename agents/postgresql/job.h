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

/* So many of one job for one epoch and upstream at once; then one after each rest, which doubles up
 * to an hour. What was in the way may pass (a full disk, an upstream that was cut off), and a copy
 * that fails for ever must not keep the upstream busy. A rewind that could not begin, since its own
 * files take no write, keeps nobody busy and is no try: where its disk has no room it begins with
 * each order; what else is in the way is said once, and looked at again after a rest or with
 * another epoch or upstream. */
#define HA_PG_TRIES_MAX 3
#define HA_PG_REST_MS 60000u
#define HA_PG_REST_DOUBLED_MAX 6u

enum ha_pg_job_kind { HA_PG_JOB_NONE, HA_PG_JOB_REWIND, HA_PG_JOB_COPY };

struct ha_pg_job_ask {
    enum ha_pg_job_kind kind;
    uint64_t epoch;
    char host[HA_HOST_SIZE]; /* where from */
    uint16_t port;
    uint32_t timeline; /* COPY: of the own data, and where the other left it; 0: keep no tail */
    uint64_t fork;
    const char *source;   /* REWIND: who that is; a line, and the history of ... */
    uint32_t up_timeline; /* ... this timeline. Borrowed for the call */
    bool unopened;        /* REWIND: its epoch never opened: nothing of its timeline is shared */
    bool was_primary;     /* REWIND: its data is a primary's, and no standby's */
    bool at_rest;         /* REWIND: the data was shut down in order ... */
    uint64_t checkpoint;  /* ... and this is its last one */
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
    uint32_t barred;             /* REWIND: so often its own files took no write, and had room */
    uint64_t start_ms, end_ms;
    uv_work_t work;
    bool working;                 /* `work` is lent */
    char *source;                 /* of the ask */
    bool resumed;                 /* an earlier one was interrupted */
    struct ha_pg_control control; /* REWIND: as it was recovered */
    uint64_t redone;              /* REWIND: the last record of a server that crashed */
    uint32_t apart; /* what was written after this timeline was left is nobody else's; 0: not so */
    bool is_twin;   /* its timeline has the number of the source's, and is another one */
    int step;
    struct ha_process_run *process;
    void (*idle_cb)(struct ha_pg_job *job); /* told once after a stop, when nothing is lent */
    void *data;
};

void ha_pg_job_init(struct ha_pg_job *job, uv_loop_t *loop, const struct ha_pg_server *server);

/* Begin, or join the one of the same kind, epoch and source. HA_EBUSY: another one is still being
 * canceled; HA_EFULL: it was tried often, or is barred, and rests; `err` says how the last try
 * ended. */
int ha_pg_job_start(struct ha_pg_job *job, const struct ha_pg_job_ask *ask);
/* Until it may be tried once more. */
uint64_t ha_pg_job_rest_ms(const struct ha_pg_job *job);

void ha_pg_job_cancel(struct ha_pg_job *job);

/* What it does and for how long, for people. */
void ha_pg_job_explain(const struct ha_pg_job *job, char *to, size_t size);

/* End it for good; idle_cb when nothing of the loop's points here any more, at the earliest from
 * inside this call. */
void ha_pg_job_stop(struct ha_pg_job *job);

#endif /* HA_AGENTS_POSTGRESQL_JOB_H */
