/* agents/postgresql/act.h - change a PostgreSQL server: promote, serve, drain, follow, seal.
 *
 * Shell, loop thread only; embedded by the engine's link. An act is a chain of steps under one
 * deadline: a query on the kept connection, one to the upstream, a program, work on a thread, or a
 * short wait. Every act looks first or is harmless to repeat, and ends with a fresh look.
 *
 * PROMOTE: pg_promote(false) on the kept connection, then look until recovery has ended. Before it
 * the epoch is noted beside the data: a server that was promoted under an epoch which never opened
 * has a timeline that another one may have, too, and is rewound to before it. With managed standby
 * names commits wait from the first one on, and that is shown while recovery ends. SERVE: the
 * standby names, in effect for every commit (act_sync.c); the note goes; the other members have
 * slots, which are made to reserve WAL when clients are served. DRAIN: checkpoint, fast
 * stop: the server sends every byte to its standbys before it ends. The sample's position is that
 * of the shutdown checkpoint. FOLLOW (act_follow.c): a running standby of the named upstream, or,
 * without one, of nobody. SEAL (act_sync.c): a standby of nobody, for good; the position is what it
 * has on disk. */
#ifndef HA_AGENTS_POSTGRESQL_ACT_H
#define HA_AGENTS_POSTGRESQL_ACT_H

#include "agents/acts.h"
#include "agents/engine.h"
#include "agents/postgresql/conn.h"
#include "agents/postgresql/facts.h"
#include "agents/postgresql/job.h"
#include "agents/postgresql/lineage.h"
#include "agents/postgresql/promotion.h"
#include "agents/postgresql/server.h"
#include "lib/base/check.h"
#include "lib/core/sync.h"

#define HA_PG_POLL_MS 5u
#define HA_PG_TOOL_MS 20000u /* pg_ctl, pg_controldata */
#define HA_PG_ACT_NAME "hafailover-act"
/* A standby name that no member has: with it no commit is acknowledged. */
#define HA_PG_NOBODY "\"(nobody)\""

struct ha_pg_act;

typedef void (*ha_pg_act_step)(struct ha_pg_act *act);

/* What is done on a thread, with what, and what it finds. */
struct ha_pg_work {
    const struct ha_pg_server *server;
    struct ha_act ask;
    uint32_t timeline; /* whose history is wanted */
    struct ha_err err;
    int32_t pid;                      /* of the postmaster; 0: none */
    struct ha_pg_promotion promotion; /* what is noted of them */
    bool pending;                     /* a rewind was interrupted */
    bool backup;                      /* a base backup that has not been started */
    char *history;                    /* of that timeline; NULL: there is none */
    char *text;                       /* to be written */
    char path[HA_PG_PATH_SIZE + 16];  /* at first of the data */
};
/* Its code is in work->err when it is over. */
typedef int (*ha_pg_work_fn)(struct ha_pg_work *work);
typedef void (*ha_pg_beside_cb)(struct ha_pg_act *act, const struct ha_err *err);

struct ha_pg_act { /* private to act*.c */
    uv_loop_t *loop;
    struct ha_acts acts;
    struct ha_pg_conn conn;  /* to this server, kept open */
    struct ha_pg_conn fresh; /* another one, to see what a new backend sees */
    struct ha_pg_conn up;    /* to an upstream, in the replication protocol */
    struct ha_pg_server *server;
    struct ha_pg_job job;

    _Atomic uint32_t turn;  /* tells what comes late from what is waited for */
    _Atomic uint32_t begun; /* starts and jobs: processes that no earlier sweep may end */
    uv_timer_t poll;

    ha_pg_act_step step, look_step, end_step; /* after the query, program, work or wait */
    const struct ha_pg_answer *answer;        /* for the step after a query; until it returns */
    const struct ha_process_result *result;
    struct ha_process_run *process;
    uint32_t work_timeline;  /* for the next work */
    char *work_text;         /* the same; it goes with it */
    struct ha_pg_work found; /* by the last one */
    uint32_t lent;           /* programs and work under way, also of acts that have ended */
    uint32_t threads;        /* of these, work */
    uint32_t beside;         /* of this act: work that goes on beside its steps */
    void (*idle_cb)(struct ha_pg_act *act);
    struct ha_pg_lineage_cache *cache;

    struct ha_pg_facts facts; /* of the last look */
    struct ha_pg_control control;
    int32_t pid; /* being stopped */
    uint64_t pid_start;
    bool started; /* FOLLOW: by this act, at ... */
    uint64_t started_ms;
    uint64_t missed_lsn; /* FOLLOW: where it was when the upstream was asked for its WAL */
    int32_t seen_pid;    /* FOLLOW: of the server that answers */
    bool appeared;       /* ... and its postmaster has been seen since */
    bool repointed, pointed, slotted; /* FOLLOW */
    bool uncompared; /* FOLLOW: its history, with the upstream's: it must not count there yet */
    bool promoted;   /* PROMOTE: asked for */
    bool early;      /* PROMOTE: act->fresh is open, its commits will wait for nobody */
    uint32_t early_looks;    /* ... and how often more to look whether one does */
    uint64_t slots_due_ms;   /* SERVE has been done, and slots may reserve no WAL yet:
                                then they are made to; 0: nothing to do */
    uint32_t slots_tries;    /* ... that failed */
    struct ha_act slots_ask; /* ... whose they are */
    ha_pg_act_step up_step;
    uint32_t rewind_timeline; /* FOLLOW: what begin_job will get */
    uint64_t rewind_fork;
    bool unopened; /* FOLLOW: the data is of an epoch that never opened */

    char names[HA_SYNC_NAMES_SIZE]; /* standby names that are being set */
    char names_now[1024];           /* those in effect before, of any length */
    bool raised;                    /* synchronous_commit was set by this act */
    ha_pg_act_step alone_step, others_step, names_step, commit_step, serve_step, sealed_step;
    int waiter; /* the backend whose commit shall wait; where it does not: */
    bool committed;
    int commit_code;
    char commit_text[HA_TEXT_SIZE];
    uint64_t replayed;  /* SEAL: at the first look; UINT64_MAX: none yet */
    uint64_t waits_run; /* in this run of the server commits wait while there are names */
    uint64_t told_run;  /* in this run all of the server knows the names `told` */
    char told[HA_SYNC_NAMES_SIZE];

    uint64_t owed_epoch; /* it serves, which could not be noted yet; 0: nothing is owed */
    uint32_t owed_tries;
    uint64_t owed_ms; /* when it is tried again */
    bool owed_under_way;

    uint64_t up_system; /* the upstream's */
    uint32_t up_timeline;
    char up_history[HA_PG_HISTORY_SIZE];
};

/* The deadline of acts, poll, conn, fresh and up are the owner's to close. */
void ha_pg_act_init(struct ha_pg_act *act, uv_loop_t *loop, struct ha_pg_server *server,
                    const struct ha_pg_target *target, struct ha_pg_lineage_cache *cache,
                    void *data);

/* As ha_acts_start; HA_ENOTSUP: not a kind of ours. */
int ha_pg_act_start(struct ha_pg_act *act, const struct ha_act *ask, ha_link_act_cb cb);
/* Where nothing is asked: have the connection open for the next act. */
void ha_pg_act_keep_open(struct ha_pg_act *act);
/* The note of a promotion whose epoch has opened could not be ended: that is tried again when
 * nothing is asked, within a bound. */
void ha_pg_act_owe_end(struct ha_pg_act *act, uint64_t epoch);
/* On a worker thread, whatever acts are under way: what is left of a server that has gone. */
void ha_pg_act_sweep(struct ha_pg_act *act);
/* The link is closing: nothing is begun any more. @idle_cb, at the earliest from inside this call,
 * when nothing is lent any more. */
void ha_pg_act_stop(struct ha_pg_act *act, void (*idle_cb)(struct ha_pg_act *act));
/* All handles have closed: end what is under way with HA_ECANCELED. */
void ha_pg_act_closed(struct ha_pg_act *act);

/* For act*.c; each step ends in exactly one of these. */
void ha_pg_act_query(struct ha_pg_act *act, const char *sql, ha_pg_act_step step);
void ha_pg_act_query_up(struct ha_pg_act *act, const char *sql, ha_pg_act_step step);
/* How many other sessions of acts there are: their end is asked for. */
extern const char ha_pg_act_alone_sql[];
/* On a connection that is made by the first query after it was dropped. */
void ha_pg_act_query_fresh(struct ha_pg_act *act, const char *sql, ha_pg_act_step step);
void ha_pg_act_run(struct ha_pg_act *act, const char *const *argv, ha_pg_act_step step);
/* @fn runs on a worker thread; what it found is in act->found. */
void ha_pg_act_work(struct ha_pg_act *act, ha_pg_work_fn fn, ha_pg_act_step step);
/* The same while steps go on; @cb where the act still runs then. False: nobody is free for it. */
bool ha_pg_act_beside(struct ha_pg_act *act, ha_pg_work_fn fn, ha_pg_beside_cb cb);
void ha_pg_act_wait(struct ha_pg_act *act, uint32_t ms, ha_pg_act_step step);
/* Ask for the facts and their lineage; where the server does not answer with both, the act ends. */
void ha_pg_act_look(struct ha_pg_act *act, ha_pg_act_step step);
/* The same, and the step also gets what is no answer: see facts.sample.answer. */
void ha_pg_act_try_look(struct ha_pg_act *act, ha_pg_act_step step);
void ha_pg_act_done(struct ha_pg_act *act); /* with the facts of the last look */
void ha_pg_act_fail(struct ha_pg_act *act, int code, const char *format, ...) HA_PRINTF(3, 4);
/* False: the answer is an error and the act has ended with it. */
bool ha_pg_act_check(struct ha_pg_act *act);
/* Three quarters of the time are over: rather say how far it is than be cut off. */
bool ha_pg_act_is_late(const struct ha_pg_act *act);
/* Stop process act->pid and go on once it has gone. */
void ha_pg_act_stop_server(struct ha_pg_act *act, ha_pg_act_step step);
void ha_pg_act_read_control(struct ha_pg_act *act, ha_pg_act_step step);

/* Slots of the other members: there, and reserving WAL or not; those that do otherwise and nobody
 * uses are dropped, as are those of members that are no more. HA_EFULL. */
int ha_pg_slots_sql(const struct ha_act *ask, bool reserve, char *sql, size_t size);

/* What SERVE leaves for when nothing is asked: on the kept connection, until it is done. */
void ha_pg_act_reserve_slots(struct ha_pg_act *act);

void ha_pg_act_promote(struct ha_pg_act *act);
void ha_pg_act_serve(struct ha_pg_act *act);
void ha_pg_act_drain(struct ha_pg_act *act);
void ha_pg_act_follow(struct ha_pg_act *act);
void ha_pg_act_seal(struct ha_pg_act *act);
/* A running standby receives nothing any more, and its position is final: then @step. */
void ha_pg_act_cut_off(struct ha_pg_act *act, ha_pg_act_step step);

/* act_sync.c, for SERVE and PROMOTE. Make the standby names of act->ask those of every commit;
 * after a look. */
void ha_pg_act_serve_names(struct ha_pg_act *act, ha_pg_act_step step);
/* Commits wait for nobody who exists. */
void ha_pg_act_hold_commits(struct ha_pg_act *act, ha_pg_act_step step);
/* That they do is seen by one that waits: a session for it is opened while recovery ends, the
 * commit made after that, and looked at last. Where it comes to nothing SERVE sees to it. */
void ha_pg_act_open_early(struct ha_pg_act *act);
void ha_pg_act_commit_early(struct ha_pg_act *act);
void ha_pg_act_end_early(struct ha_pg_act *act, ha_pg_act_step step);

#endif /* HA_AGENTS_POSTGRESQL_ACT_H */
