/* agents/redis/save.h - keep a snapshot file from being replaced by a full copy.
 *
 * A full copy from the new primary renames its own snapshot over the old one. A second name for the
 * same file costs nothing, whatever its size, and survives that. The work runs on a worker thread
 * on a copy of its input; the callback comes on the loop. */
#ifndef HA_AGENTS_REDIS_SAVE_H
#define HA_AGENTS_REDIS_SAVE_H

#include <stdint.h>
#include <uv.h>

#include "lib/base/err.h"

#define HA_REDIS_SAVED_KEPT 3 /* files; older epochs are removed, or they would fill the disk */
#define HA_REDIS_SAVED_PREFIX "hafailover-saved-"

struct ha_redis_save;

/* @err: HA_OK, and what was done; otherwise why the data could not be saved. */
typedef void (*ha_redis_save_cb)(void *data, const struct ha_err *err);

struct ha_redis_save_ask {
    const char *dir;  /* of the server */
    const char *file; /* its snapshot, without a folder */
    uint64_t epoch;
};

/* Give dir/file the second name dir/hafailover-saved-EPOCH.rdb and keep only the newest few of
 * those. One that exists already is left as it is: the first of an epoch holds the most.
 * HA_EINVAL: a name that is not plain or too long; HA_ENOMEM; HA_EIO. */
int ha_redis_save_start(struct ha_redis_save **ret, uv_loop_t *loop,
                        const struct ha_redis_save_ask *ask, ha_redis_save_cb cb, void *data);

/* No callback any more; the work ends by itself and frees @save. */
void ha_redis_save_give_up(struct ha_redis_save *save);

#endif /* HA_AGENTS_REDIS_SAVE_H */
