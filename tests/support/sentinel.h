/* tests/support/sentinel.h - how a Sentinel-aware client finds its primary.
 *
 * Before each connection the sentinels are asked in turn for the address; a second connection to
 * one of them listens to +switch-master, so that a client whose connection still works is told too.
 * This is what Jedis does; redis-py and others only ask. Blocking with deadlines, one thread. */
#ifndef HA_TESTS_SUPPORT_SENTINEL_H
#define HA_TESTS_SUPPORT_SENTINEL_H

#include <stdbool.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

#define HA_SENTINELS_MAX 7
#define HA_SENTINEL_HOST_SIZE 64

struct ha_sentinels {
    const char *service;
    uint64_t connect_ms, timeout_ms;
    unsigned count, at;
    char hosts[HA_SENTINELS_MAX][HA_SENTINEL_HOST_SIZE];
    uint64_t ports[HA_SENTINELS_MAX];
    redisContext *ask;    /* NULL: not connected */
    redisContext *listen; /* NULL: not connected */
    uint64_t listen_next_ns;
};

/* @list is "ADDRESS:PORT,ADDRESS:PORT"; borrows @service. False: malformed. */
bool ha_sentinels_init(struct ha_sentinels *s, const char *list, const char *service);

/* Where the primary is now; false when no sentinel answers. */
bool ha_sentinels_where(struct ha_sentinels *s, char *ret_host, uint64_t *ret_port);

/* Whether a switch of our service has been told since the last call. Never waits but to connect,
 * and that once a second at most. */
bool ha_sentinels_switched(struct ha_sentinels *s, uint64_t now_ns);

void ha_sentinels_fini(struct ha_sentinels *s);

#endif /* HA_TESTS_SUPPORT_SENTINEL_H */
