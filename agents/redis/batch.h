/* agents/redis/batch.h - a few commands that travel together, and what became of them.
 *
 * Shell, loop thread only. hiredis formats the commands; link.h carries them. */
#ifndef HA_AGENTS_REDIS_BATCH_H
#define HA_AGENTS_REDIS_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

#define HA_REDIS_BATCH_MAX 12 /* commands in one batch */

/* How a batch ended. Borrowed for the callback. */
struct ha_redis_outcome {
    /* HA_OK: every command was answered. Otherwise none counts: HA_EREFUSED, HA_EUNREACH,
     * HA_ECLOSED (also a reset), HA_ETIMEDOUT, HA_EAUTH, HA_EFULL: too many clients, HA_EBUSY:
     * loading, HA_EPROTO: not the Redis protocol, HA_EIO, HA_ENOMEM. */
    int code;
    const char *text; /* a sentence; empty with HA_OK */
    uint32_t count;   /* of replies, in the order of the commands */
    redisReply *const *replies;
};

typedef void (*ha_redis_batch_cb)(void *data, const struct ha_redis_outcome *outcome);

struct ha_redis_batch {
    ha_redis_batch_cb cb; /* NULL once given up: replies are counted and dropped */
    void *data;
    struct ha_redis_batch *next;
    char *bytes; /* the commands, formatted */
    size_t size;
    uint32_t commands;
    uint32_t replied;
    bool sent;
    bool failed; /* memory ran out while it was built */
    redisReply *replies[HA_REDIS_BATCH_MAX];
};

/* An empty batch, or NULL. Belongs to the caller until it is sent. */
struct ha_redis_batch *ha_redis_batch_new(ha_redis_batch_cb cb, void *data);
void ha_redis_batch_free(struct ha_redis_batch *batch);
/* Add one command of at most 8 words; at most HA_REDIS_BATCH_MAX commands. */
#define HA_REDIS_ADD(batch, ...) ha_redis_batch_add((batch), (const char *[]){__VA_ARGS__, NULL})
/* @words ends with NULL. */
void ha_redis_batch_add(struct ha_redis_batch *batch, const char **words);

/* Add @commands that are formatted already. */
void ha_redis_batch_add_formatted(struct ha_redis_batch *batch, const char *text, size_t size,
                                  uint32_t commands);

/* End it: the callback, unless it was given up, then everything is freed. The callback may send
 * another one or close the link. */
void ha_redis_batch_end(struct ha_redis_batch *batch, int code, const char *text);

/* The code for the text of an error reply: HA_EBUSY (LOADING, BUSY), HA_EFULL, HA_EAUTH (NOAUTH,
 * WRONGPASS and their like), HA_EDENIED (NOPERM), else HA_EIO. Pure. */
int ha_redis_error_code(const char *text);

#endif /* HA_AGENTS_REDIS_BATCH_H */
