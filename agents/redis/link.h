/* agents/redis/link.h - one connection to a Redis server that carries batches of commands.
 *
 * Shell, loop thread only. hiredis formats commands and parses replies; the bytes travel over our
 * own stream. The connection is made by the first batch, authenticates itself, and is made again by
 * the next batch after it ended. Deadlines belong to the owner of a batch: whoever lost patience
 * calls ha_redis_link_give_up. What a server sends is bounded: a reply by HA_REDIS_REPLY_MAX bytes
 * and HA_REDIS_ELEMENTS_MAX elements per array, so a hostile one costs a connection, not memory. */
#ifndef HA_AGENTS_REDIS_LINK_H
#define HA_AGENTS_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <hiredis/hiredis.h>

#include "agents/redis/batch.h"
#include "lib/base/err.h"
#include "lib/core/types.h"
#include "lib/io/dns.h"
#include "lib/io/stream.h"

struct ha_link_spec;

#define HA_REDIS_REPLY_MAX ((size_t)256 * 1024)
#define HA_REDIS_ELEMENTS_MAX 1024
#define HA_REDIS_BATCHES_MAX 16 /* of one link, with those given up and not yet answered */
#define HA_REDIS_SECRET_SIZE 256

enum ha_redis_link_state {
    HA_REDIS_LINK_IDLE,
    HA_REDIS_LINK_RESOLVING,
    HA_REDIS_LINK_CONNECTING,
    HA_REDIS_LINK_LISTENING, /* connected; hear first whether the server sends us away */
    HA_REDIS_LINK_OPEN,
};

struct ha_redis_link;

/* An open, authenticated connection ended, not by us. Called before the batches under way end. */
typedef void (*ha_redis_lost_cb)(struct ha_redis_link *link, int code, const char *text);
typedef void (*ha_redis_link_close_cb)(struct ha_redis_link *link);

struct ha_redis_link { /* embedded by its owner; fields are private but for data */
    void *data;
    ha_redis_lost_cb lost_cb;
    ha_redis_link_close_cb close_cb;
    uv_loop_t *loop;
    struct ha_dns *dns;
    struct ha_tls *tls;
    char *host, *user, *password; /* may be empty */
    uint16_t port;
    enum ha_redis_link_state state;
    bool authenticated;
    bool closing;
    struct ha_addr addr; /* of a socket or a numeric host; others have the request's */
    unsigned addr_count, addr_next;
    uint32_t attempt_ms;            /* per address */
    struct ha_dns_request *request; /* of a host that is a name, else NULL */
    bool resolving;                 /* the request is lent */
    struct ha_stream *stream;
    unsigned open_handles; /* streams not yet closed and the timer */
    uv_timer_t kick;       /* brings failures of a call to the loop; ends LISTENING */
    int kick_code;
    const char *kick_text;
    redisReader *reader;
    redisReplyObjectFunctions functions;    /* the reader's, with bounded arrays */
    redisReplyObjectFunctions *functions_0; /* hiredis's own */
    size_t reply_size;                      /* bytes taken for the reply under way */
    struct ha_redis_batch *first, *last;
    uint32_t batch_count;
};

/* Copies what it needs of @spec; does not connect. HA_EINVAL: also a string that is too long;
 * HA_ENOMEM. Then nothing is left to close. */
int ha_redis_link_init(struct ha_redis_link *link, const struct ha_link_spec *spec,
                       uint16_t port_default, struct ha_err *err);

/* Takes @batch (NULL is HA_ENOMEM). Its callback comes exactly once, later, unless it is given up.
 * @timeout_ms is what the caller has for it; it only divides the time between addresses.
 * HA_EFULL: too many batches; HA_ENOMEM; HA_ECLOSED: the link is closing. Then it is freed and
 * there is no callback. */
int ha_redis_link_send(struct ha_redis_link *link, struct ha_redis_batch *batch,
                       uint32_t timeout_ms);

/* No callback for @batch any more. When nobody waits for anything on this connection, it is
 * dropped: it owes answers for too long, and a new one shows at once when the server is back. */
void ha_redis_link_give_up(struct ha_redis_link *link, struct ha_redis_batch *batch);

/* Frees all batches without callbacks; @cb when nothing of the loop's points here any more. */
void ha_redis_link_close(struct ha_redis_link *link, ha_redis_link_close_cb cb);

#endif /* HA_AGENTS_REDIS_LINK_H */
