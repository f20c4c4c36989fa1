/* agents/redis/act.h - change a Redis server: promote, serve, drain, follow.
 *
 * Shell, loop thread only; embedded by the engine's link. An act is a chain of steps, each one
 * batch of commands or a short wait; the next step is chosen by what the last one answered. All of
 * it runs under the act's deadline. Every act first looks or is harmless to repeat, and ends with a
 * fresh look at the server.
 *
 * PROMOTE  REPLICAOF NO ONE, CLIENT UNPAUSE: one round trip.
 * SERVE    CLIENT UNPAUSE; min-replicas-to-write and -max-lag where the service manages them.
 * DRAIN    CLIENT PAUSE WRITE, then until every online replica has acknowledged every byte, or
 * three quarters of the deadline have passed. Replicas acknowledge once a second; a paused server
 *          cannot ask them to hurry. The pause ends by itself.
 * FOLLOW   a primary with keys first keeps a snapshot (act_follow.c), then replica-read-only,
 *          REPLICAOF, and its clients are disconnected, or they would go on talking to a replica.
 *
 * CONFIG REWRITE follows after the callback of an act that changed something, where the server has
 * a configuration file: it waits for the disk, and nobody waits for it. */
#ifndef HA_AGENTS_REDIS_ACT_H
#define HA_AGENTS_REDIS_ACT_H

#include "agents/acts.h"
#include "agents/engine.h"
#include "agents/redis/facts.h"
#include "agents/redis/link.h"
#include "agents/redis/save.h"

#define HA_REDIS_MAX_LAG_S "1"       /* with min-replicas-to-write: the shortest there is */
#define HA_REDIS_SAVE_MAX_MS 20000u  /* for a snapshot, over repeated orders of one epoch */
#define HA_REDIS_PAUSE_MAX_MS 60000u /* of CLIENT PAUSE */
#define HA_REDIS_WAIT_MS 100u        /* DRAIN: of writes refused, for replicas that hang */
#define HA_REDIS_CLOSED "2147483647" /* min-replicas-to-write that refuses every write */
#define HA_REDIS_POLL_MS 10u         /* between two looks while something is waited for */
#define HA_REDIS_REWRITE_MS 250u     /* after an act */

struct ha_redis_act;

typedef void (*ha_redis_act_step)(struct ha_redis_act *act, const struct ha_redis_outcome *outcome);

struct ha_redis_act { /* private to act*.c */
    struct ha_redis_link *link;
    struct ha_acts acts;
    char data_dir[HA_REDIS_PATH_SIZE]; /* empty: the server's word */
    uv_timer_t rewrite;
    uv_timer_t poll;
    ha_redis_act_step poll_step; /* called without an outcome */
    struct ha_redis_batch *batch;
    ha_redis_act_step batch_step;
    bool changed;                /* there is something to CONFIG REWRITE */
    struct ha_redis_facts facts; /* of the last look */

    bool drain_closes;     /* DRAIN: writes are refused while WAIT asks */
    uint64_t drain_offset; /* DRAIN: every replica should acknowledge this */
    uint64_t drained_run;  /* run id that was drained to the last byte; 0: none */

    /* FOLLOW: the snapshot before */
    struct ha_redis_save *save;
    uint64_t save_epoch; /* the epoch it was begun, and ... */
    uint64_t save_start_ms;
    bool save_done; /* ... ended for, well or not */
    uint64_t save_since_s;
    bool save_begun; /* BGSAVE was taken by the server */
    char save_dir[HA_REDIS_PATH_SIZE];
    char save_file[256];
};

/* The three timers are the owner's to close: the deadline of acts, poll, rewrite. @data_dir may be
 * NULL. */
void ha_redis_act_init(struct ha_redis_act *act, struct ha_redis_link *link, const char *data_dir,
                       void *data);

/* As ha_acts_start; HA_ENOTSUP: not a kind of ours. */
int ha_redis_act_start(struct ha_redis_act *act, const struct ha_act *ask, ha_link_act_cb cb);

/* The link is closing: nothing is sent any more. */
void ha_redis_act_stop(struct ha_redis_act *act);

/* For act_primary.c and act_follow.c; each step ends in exactly one of the next four. */
/* Send @batch (NULL fails); @step gets the outcome, always HA_OK: failures end the act. */
void ha_redis_act_send(struct ha_redis_act *act, struct ha_redis_batch *batch,
                       ha_redis_act_step step);
/* Call @step with NULL after HA_REDIS_POLL_MS. */
void ha_redis_act_poll(struct ha_redis_act *act, ha_redis_act_step step);
/* End well, with the facts of the last look as the sample. */
void ha_redis_act_done(struct ha_redis_act *act);
/* End with @code and a text. */
void ha_redis_act_fail(struct ha_redis_act *act, int code, const char *format, ...) HA_PRINTF(3, 4);

struct ha_redis_batch *ha_redis_act_batch(struct ha_redis_act *act);
/* Take in the facts at reply @at. False: the act has been ended, because the server is not able. */
bool ha_redis_act_look(struct ha_redis_act *act, const struct ha_redis_outcome *outcome,
                       uint32_t at);
/* False: reply @at is an error and the act has been ended with it. */
bool ha_redis_act_check(struct ha_redis_act *act, const struct ha_redis_outcome *outcome,
                        uint32_t at);

void ha_redis_act_promote(struct ha_redis_act *act);
void ha_redis_act_serve(struct ha_redis_act *act);
void ha_redis_act_drain(struct ha_redis_act *act);
void ha_redis_act_follow(struct ha_redis_act *act);

#endif /* HA_AGENTS_REDIS_ACT_H */
