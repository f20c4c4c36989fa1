#include "agents/redis/batch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/io/file.h"

#define WORDS_MAX 8

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

int ha_redis_error_code(const char *text)
{
    static const struct {
        const char *prefix;
        int code;
    } table[] = {
        {"LOADING", HA_EBUSY},
        {"BUSY ", HA_EBUSY},
        {"ERR max number of clients", HA_EFULL},
        {"NOAUTH", HA_EAUTH},
        {"WRONGPASS", HA_EAUTH},
        {"ERR AUTH", HA_EAUTH},
        {"ERR Client sent AUTH", HA_EAUTH},
        {"ERR invalid password", HA_EAUTH},
        {"ERR wrong number of arguments for 'auth'", HA_EAUTH},
        {"NOPERM", HA_EDENIED},
        {"DENIED", HA_EDENIED}, /* protected mode */
    };

    for (size_t i = 0; i < HA_ARRAY_LEN(table); i++) {
        if (has_prefix(text, table[i].prefix))
            return table[i].code;
    }
    return HA_EIO;
}

struct ha_redis_batch *ha_redis_batch_new(ha_redis_batch_cb cb, void *data)
{
    struct ha_redis_batch *batch = calloc(1, sizeof(*batch));

    assert(cb != NULL);
    if (batch != NULL) {
        batch->cb = cb;
        batch->data = data;
    }
    return batch;
}

void ha_redis_batch_free(struct ha_redis_batch *batch)
{
    if (batch == NULL)
        return;
    for (uint32_t i = 0; i < batch->replied; i++)
        freeReplyObject(batch->replies[i]);
    if (batch->bytes != NULL)
        ha_file_wipe(batch->bytes, batch->size); /* may hold a password */
    free(batch->bytes);
    free(batch);
}

void ha_redis_batch_add_formatted(struct ha_redis_batch *batch, const char *text, size_t size,
                                  uint32_t commands)
{
    char *bytes;

    if (batch == NULL || batch->failed)
        return; /* told by ha_redis_link_send */
    assert(batch->commands + commands <= HA_REDIS_BATCH_MAX);
    /* A plain realloc could leave a copy of a password behind. */
    bytes = malloc(batch->size + size);
    if (bytes == NULL) {
        batch->failed = true;
        return;
    }
    if (batch->size > 0) {
        memcpy(bytes, batch->bytes, batch->size);
        ha_file_wipe(batch->bytes, batch->size);
    }
    memcpy(bytes + batch->size, text, size);
    free(batch->bytes);
    batch->bytes = bytes;
    batch->size += size;
    batch->commands += commands;
}

static void add_words(struct ha_redis_batch *batch, int count, const char **words)
{
    char *command = NULL;
    long long size = redisFormatCommandArgv(&command, count, words, NULL);

    if (size <= 0) {
        batch->failed = true;
        return;
    }
    ha_redis_batch_add_formatted(batch, command, (size_t)size, 1);
    ha_file_wipe(command, (size_t)size);
    redisFreeCommand(command);
}

void ha_redis_batch_add(struct ha_redis_batch *batch, const char **words)
{
    int count = 0;

    if (batch == NULL || batch->failed)
        return; /* told by ha_redis_link_send */
    while (words[count] != NULL)
        count++;
    assert(count > 0 && count <= WORDS_MAX);
    add_words(batch, count, words);
}

void ha_redis_batch_end(struct ha_redis_batch *batch, int code, const char *text)
{
    struct ha_redis_outcome outcome = {
        .code = code, .text = text, .count = batch->replied, .replies = batch->replies};

    if (batch->cb != NULL)
        batch->cb(batch->data, &outcome);
    ha_redis_batch_free(batch);
}
