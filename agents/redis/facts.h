/* agents/redis/facts.h - the questions that make a sample, and how their answers are read.
 *
 * Loop thread only, no state. Whether the server can take writes is seen without touching a key:
 * a primary that cannot persist (full disk, read-only file system) answers PING with MISCONF, and
 * INFO tells of an append-only file that cannot be written. */
#ifndef HA_AGENTS_REDIS_FACTS_H
#define HA_AGENTS_REDIS_FACTS_H

#include <stdint.h>

#include "agents/redis/batch.h"
#include "agents/redis/info.h"
#include "lib/core/types.h"

#define HA_REDIS_FACTS_COMMANDS 5u

struct ha_redis_facts {
    struct ha_sample sample;
    int32_t pid;               /* 0: not known */
    struct ha_redis_info info; /* meaningful when sample.answer is OK or STARTING */
};

/* Add the HA_REDIS_FACTS_COMMANDS questions to @batch. */
void ha_redis_facts_ask(struct ha_redis_batch *batch);

/* Read the answers that begin at reply @at. Always gives a sample: trouble is an answer too. */
void ha_redis_facts_read(const struct ha_redis_outcome *outcome, uint32_t at,
                         struct ha_redis_facts *facts);

/* What a failed connection or batch means to the core. Pure. */
enum ha_answer ha_redis_answer(int code, const char *text);

#endif /* HA_AGENTS_REDIS_FACTS_H */
