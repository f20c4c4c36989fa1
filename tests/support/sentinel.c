#include "tests/support/sentinel.h"

#include <poll.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

#define LISTEN_AGAIN_NS 1000000000ull

static struct timeval to_timeval(uint64_t ms)
{
    return (struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
}

static bool add_one(struct ha_sentinels *s, const char *text, size_t size)
{
    const char *colon = memchr(text, ':', size);
    char port[8];
    size_t host_size, port_size;

    if (colon == NULL || s->count == HA_SENTINELS_MAX)
        return false;
    host_size = (size_t)(colon - text);
    port_size = size - host_size - 1;
    if (host_size >= HA_SENTINEL_HOST_SIZE || port_size >= sizeof(port))
        return false;
    memcpy(s->hosts[s->count], text, host_size);
    memcpy(port, colon + 1, port_size);
    port[port_size] = '\0';
    return ha_text_u64(port, UINT16_MAX, &s->ports[s->count++]) == HA_OK;
}

bool ha_sentinels_init(struct ha_sentinels *s, const char *list, const char *service)
{
    memset(s, 0, sizeof(*s));
    s->service = service;
    s->connect_ms = 50;
    s->timeout_ms = 100;
    while (*list != '\0') {
        size_t size = strcspn(list, ",");

        if (!add_one(s, list, size))
            return false;
        list += size + (list[size] == ',' ? 1 : 0);
    }
    return s->count > 0;
}

/* Gives a connection (redisFree), or NULL. */
static redisContext *dial(const struct ha_sentinels *s)
{
    redisContext *link =
        redisConnectWithTimeout(s->hosts[s->at], (int)s->ports[s->at], to_timeval(s->connect_ms));

    if (link != NULL &&
        (link->err != 0 || redisSetTimeout(link, to_timeval(s->timeout_ms)) != REDIS_OK)) {
        redisFree(link);
        link = NULL;
    }
    return link;
}

static void drop(redisContext **link)
{
    if (*link != NULL)
        redisFree(*link);
    *link = NULL;
}

static bool is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

static bool ask_one(struct ha_sentinels *s, char *ret_host, uint64_t *ret_port)
{
    redisReply *reply;
    bool good = false;

    if (s->ask == NULL)
        s->ask = dial(s);
    if (s->ask == NULL)
        return false;
    reply = redisCommand(s->ask, "SENTINEL get-master-addr-by-name %s", s->service);
    if (reply == NULL) {
        drop(&s->ask);
        return false;
    }
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && is_text(reply->element[0]) &&
        is_text(reply->element[1]))
        good = ha_text_copy(ret_host, HA_SENTINEL_HOST_SIZE, reply->element[0]->str) == HA_OK &&
               ha_text_u64(reply->element[1]->str, UINT16_MAX, ret_port) == HA_OK;
    freeReplyObject(reply);
    return good;
}

bool ha_sentinels_where(struct ha_sentinels *s, char *ret_host, uint64_t *ret_port)
{
    for (unsigned tries = 0; tries < s->count; tries++) {
        if (ask_one(s, ret_host, ret_port))
            return true;
        drop(&s->ask);
        s->at = (s->at + 1) % s->count;
    }
    return false;
}

static void start_listening(struct ha_sentinels *s, uint64_t now_ns)
{
    if (now_ns < s->listen_next_ns)
        return;
    s->listen_next_ns = now_ns + LISTEN_AGAIN_NS;
    s->listen = dial(s);
    if (s->listen != NULL) {
        redisReply *reply = redisCommand(s->listen, "SUBSCRIBE +switch-master");

        if (reply == NULL)
            drop(&s->listen);
        else
            freeReplyObject(reply);
    }
}

/* ["message", channel, "<service> <old ip> <old port> <new ip> <new port>"] */
static bool is_our_switch(const struct ha_sentinels *s, const redisReply *reply)
{
    size_t size = strlen(s->service);

    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && is_text(reply->element[0]) &&
           strcmp(reply->element[0]->str, "message") == 0 && is_text(reply->element[2]) &&
           reply->element[2]->len > size && memcmp(reply->element[2]->str, s->service, size) == 0 &&
           reply->element[2]->str[size] == ' ';
}

bool ha_sentinels_switched(struct ha_sentinels *s, uint64_t now_ns)
{
    bool switched = false;

    if (s->listen == NULL)
        start_listening(s, now_ns);
    while (s->listen != NULL) {
        struct pollfd poll_fd = {.fd = s->listen->fd, .events = POLLIN};
        void *reply = NULL;

        if (poll(&poll_fd, 1, 0) <= 0)
            break;
        if (redisBufferRead(s->listen) != REDIS_OK) {
            drop(&s->listen);
            break;
        }
        while (s->listen != NULL && redisGetReplyFromReader(s->listen, &reply) == REDIS_OK &&
               reply != NULL) {
            switched = is_our_switch(s, reply) || switched;
            freeReplyObject(reply);
            reply = NULL;
        }
    }
    return switched;
}

void ha_sentinels_fini(struct ha_sentinels *s)
{
    drop(&s->ask);
    drop(&s->listen);
}
