/* lib/io/dns.h - a name to numeric addresses, off the loop, with a deadline and a memory.
 *
 * Loop thread only. Numeric hosts need no thread. Lookups run on their own detached threads (never
 * on libuv's pool, where a hung resolver would starve the disk), at most HA_DNS_THREADS_MAX at once
 * and one per name. The last good answer of a name is kept: it answers at once while fresh, and it
 * answers also later when the resolver fails or hangs (`stale` is then set). */
#ifndef HA_IO_DNS_H
#define HA_IO_DNS_H

#include <stdbool.h>
#include <uv.h>

#include "lib/base/err.h"
#include "lib/io/addr.h"

#define HA_DNS_ADDRS_MAX 8
#define HA_DNS_HOST_SIZE 256
#define HA_DNS_CACHE_MAX 64
#define HA_DNS_FRESH_MS 10000
#define HA_DNS_THREADS_MAX 4

struct ha_dns; /* opaque */
struct ha_dns_entry;
struct ha_dns_request;

typedef void (*ha_dns_cb)(struct ha_dns_request *request, int code);
typedef void (*ha_dns_close_cb)(void *ctx);

/* Caller's memory, lent from start until the callback. */
struct ha_dns_request {
    void *data; /* the caller's */
    /* The answer, valid from the callback with HA_OK: in the resolver's order, ports filled in. */
    struct ha_addr addrs[HA_DNS_ADDRS_MAX];
    unsigned addr_count;
    bool stale;
    struct ha_err err; /* why not, or why stale */
    /* private */
    struct ha_dns *dns;
    struct ha_dns_entry *entry;
    struct ha_dns_request *next;
    ha_dns_cb cb;
    uv_timer_t timer;
    uint16_t port;
    bool closing;
    int code;
};

/* HA_ENOMEM, HA_EIO. */
int ha_dns_open(struct ha_dns **ret, uv_loop_t *loop);

/* Requests that are still open end with HA_ECANCELED first; a lookup that hangs in its thread is
 * left behind and frees itself. @cb (may be NULL) is the last touch. Frees @dns. */
void ha_dns_close(struct ha_dns *dns, ha_dns_close_cb cb, void *ctx);

/* Resolve @host (name, IPv4 or IPv6 literal; borrows). Exactly one callback, from the loop:
 * HA_OK, HA_EINVAL: not a host, HA_ENOENT: no such name and none remembered, HA_ETIMEDOUT,
 * HA_EFULL: too many names, HA_ECANCELED. */
void ha_dns_start(struct ha_dns *dns, struct ha_dns_request *request, const char *host,
                  uint16_t port, uint32_t deadline_ms, ha_dns_cb cb);

/* The callback still comes, with HA_ECANCELED if it was not on its way. */
void ha_dns_cancel(struct ha_dns_request *request);

#endif /* HA_IO_DNS_H */
