/* agents/postgresql/checkpoint.h - a checkpoint before a server is asked to stop.
 *
 * Shell, loop thread only; embedded by the engine's link. With all of memory written, the one that
 * belongs to a stop in order has little to do. It may take minutes, so it has a connection of its
 * own, made for it and ended with it: acts and probes go on meanwhile. */
#ifndef HA_AGENTS_POSTGRESQL_CHECKPOINT_H
#define HA_AGENTS_POSTGRESQL_CHECKPOINT_H

#include "agents/engine.h"
#include "agents/postgresql/conn.h"

struct ha_pg_checkpoint {
    void *data; /* handed to cb */
    struct ha_pg_conn conn;
    uv_timer_t deadline;
    uint32_t deadline_ms;
    ha_link_prepare_cb cb; /* NULL: none is under way */
};

/* The timer and the connection are the owner's to close. */
void ha_pg_checkpoint_init(struct ha_pg_checkpoint *checkpoint, uv_loop_t *loop,
                           const struct ha_pg_target *target, void *data);

/* As ha_engine_ops.prepare. */
int ha_pg_checkpoint_start(struct ha_pg_checkpoint *checkpoint, uint32_t deadline_ms,
                           ha_link_prepare_cb cb);
/* No callback any more. The server goes on with what it has begun. */
void ha_pg_checkpoint_cancel(struct ha_pg_checkpoint *checkpoint);

#endif /* HA_AGENTS_POSTGRESQL_CHECKPOINT_H */
