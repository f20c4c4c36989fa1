/* agents/postgresql/probe.h - ask a PostgreSQL server how it is, with a deadline.
 *
 * Shell, loop thread only; embedded by the engine's link. */
#ifndef HA_AGENTS_POSTGRESQL_PROBE_H
#define HA_AGENTS_POSTGRESQL_PROBE_H

#include "agents/engine.h"
#include "agents/postgresql/conn.h"
#include "agents/postgresql/facts.h"
#include "agents/postgresql/promotion.h"
#include "agents/postgresql/server.h"

struct ha_pg_probe { /* private */
    struct ha_pg_conn conn;
    struct ha_pg_server *server; /* NULL: a watcher's, which has no files */
    struct ha_pg_lineage_cache *cache;
    void *data;
    ha_link_probe_cb cb;
    uv_timer_t timer;
    bool active, last_look;
    unsigned tries_left;
    uint32_t timeout_ms;
    uint64_t start_ms;
    struct ha_pg_facts facts;
    uv_work_t work;
    bool working;                 /* `work` is lent, also of a probe whose deadline has passed */
    bool wanted;                  /* ... and this one waits for it */
    uint32_t number, work_number; /* of this probe, and of the one that `work` is for */
    bool reads_lineage;
    char real[HA_PG_PATH_SIZE];
    struct ha_pg_promotion promotion, seen; /* the thread's, and this probe's */
    struct ha_pg_lineage_ask where;
    uint64_t where_run;
    struct ha_lineage lineage;
    struct ha_diverged diverged;
    uint32_t timeline;
    uv_work_t check_work; /* of a primary's disk; writes check_new only */
    bool checking;
    uint64_t check_ms;
    struct ha_err check, check_new; /* how the last one went; the one under way */
    bool ending, ending_new;        /* likewise: the server has been told to end */
    int32_t stuck_pid;              /* the server's process of a session of ours that hung */
    uint64_t stuck_start;
    void (*idle_cb)(struct ha_pg_probe *probe);
};

/* The timer and the connection are the owner's to close. */
void ha_pg_probe_init(struct ha_pg_probe *probe, uv_loop_t *loop, struct ha_dns *dns,
                      const struct ha_pg_target *target, struct ha_pg_server *server,
                      struct ha_pg_lineage_cache *cache, void *data);

/* HA_OK: one callback, from the loop; HA_EBUSY: one is under way. */
int ha_pg_probe_start(struct ha_pg_probe *probe, uint32_t timeout_ms, ha_link_probe_cb cb);

/* The link is closing. @idle_cb, at the earliest from inside this call, when no thread works. */
void ha_pg_probe_stop(struct ha_pg_probe *probe, void (*idle_cb)(struct ha_pg_probe *probe));
/* All handles have closed: end what is under way with HA_ECANCELED. */
void ha_pg_probe_closed(struct ha_pg_probe *probe);

#endif /* HA_AGENTS_POSTGRESQL_PROBE_H */
