/* Redis: SET prefix:number. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <hiredis/hiredis.h>

#include "tests/support/sentinel.h"
#include "tests/support/writer.h"

struct link {
    redisContext *redis;
    bool fresh;
    char server[256];
};

static char reason[160];
static struct ha_sentinels sentinels; /* of the one writer of this process */
static bool asking;

static struct timeval to_timeval(uint64_t ms)
{
    return (struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
}

static void *dial(const struct writer_options *options, const char **why)
{
    char host[HA_SENTINEL_HOST_SIZE];
    uint64_t port = options->port;
    struct link *link = NULL;
    redisContext *redis;

    if (options->sentinels == NULL) {
        (void)snprintf(host, sizeof(host), "%s", options->host);
    } else if (!asking &&
               !(asking = ha_sentinels_init(&sentinels, options->sentinels, options->service))) {
        *why = "not a list of addresses";
        return NULL;
    } else if (!ha_sentinels_where(&sentinels, host, &port)) {
        *why = "no sentinel answers";
        return NULL;
    }
    redis = redisConnectWithTimeout(host, (int)port, to_timeval(options->connect_ms));

    if (redis != NULL && redis->err == 0 &&
        redisSetTimeout(redis, to_timeval(options->timeout_ms)) == REDIS_OK)
        link = calloc(1, sizeof(*link));
    if (link == NULL) {
        (void)snprintf(reason, sizeof(reason), "%s", redis != NULL ? redis->errstr : "no memory");
        *why = reason;
        redisFree(redis);
        return NULL;
    }
    link->redis = redis;
    link->fresh = true;
    return link;
}

/* The next reply of a pipeline (freeReplyObject), or NULL after a broken link. */
static redisReply *take_reply(struct link *link, const char **why)
{
    void *reply = NULL;

    if (redisGetReply(link->redis, &reply) == REDIS_OK)
        return reply;
    *why = link->redis->errstr;
    return NULL;
}

/* A server is known by its data directory: every host of a lab has one of its own. */
static bool identify(struct link *link, const char **why)
{
    redisReply *reply = take_reply(link, why);
    const char *name = "?";

    if (reply == NULL)
        return false;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING)
        name = reply->element[1]->str;
    (void)snprintf(link->server, sizeof(link->server), "%s", name);
    freeReplyObject(reply);
    return true;
}

static enum writer_end write_one(void *arg, const struct writer_options *options, uint64_t number,
                                 const char **server, const char **why)
{
    struct link *link = arg;
    redisReply *reply;
    bool ok;

    /* Sent together with the first write, so that asking costs that write nothing. */
    if (link->fresh)
        (void)redisAppendCommand(link->redis, "CONFIG GET dir");
    if (options->read_only)
        (void)redisAppendCommand(link->redis, "GET %s:0", options->prefix);
    else
        (void)redisAppendCommand(link->redis, "SET %s:%" PRIu64 " %" PRIu64, options->prefix,
                                 number, number);
    if (link->fresh && !identify(link, why))
        return WRITER_BROKEN;
    if (link->fresh)
        *server = link->server;
    link->fresh = false;
    reply = take_reply(link, why);
    if (reply == NULL)
        return WRITER_BROKEN;
    ok = reply->type != REDIS_REPLY_ERROR;
    if (!ok) {
        (void)snprintf(reason, sizeof(reason), "%s", reply->str);
        *why = reason;
    }
    freeReplyObject(reply);
    return ok ? WRITER_OK : WRITER_REFUSED;
}

static bool moved(uint64_t now_ns)
{
    return asking && ha_sentinels_switched(&sentinels, now_ns);
}

static void close_link(void *arg)
{
    struct link *link = arg;

    redisFree(link->redis);
    free(link);
}

const struct writer_engine writer_redis = {
    .name = "redis",
    .port = 6379,
    .connect_ms = 10,
    .timeout_ms = 50,
    .dial = dial,
    .write = write_one,
    .close = close_link,
    .moved = moved,
};
