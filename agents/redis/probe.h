/* agents/redis/probe.h - ask a Redis server how it is, with a deadline.
 *
 * Shell, loop thread only; embedded by the engine's link. */
#ifndef HA_AGENTS_REDIS_PROBE_H
#define HA_AGENTS_REDIS_PROBE_H

#include "agents/engine.h"
#include "agents/redis/link.h"

struct ha_redis_probe { /* private */
    struct ha_redis_link *link;
    void *data;
    ha_link_probe_cb cb;
    struct ha_redis_batch *batch; /* under way */
    uv_timer_t timer;
    bool active;
    bool last_look; /* the deadline passed; one more turn of the loop */
    bool fresh;     /* the connection was made for this probe */
    unsigned tries_left;
    uint32_t timeout_ms;
    uint64_t start_ms;
    int code; /* HA_OK, or why it could not be sent */
};

/* @data goes to the callbacks. The timer is the owner's to close. */
void ha_redis_probe_init(struct ha_redis_probe *probe, struct ha_redis_link *link, void *data);

/* HA_OK: one callback, from the loop; HA_EBUSY: one is under way. */
int ha_redis_probe_start(struct ha_redis_probe *probe, uint32_t timeout_ms, ha_link_probe_cb cb);

/* The link and the timer have closed: end what is under way with HA_ECANCELED. */
void ha_redis_probe_closed(struct ha_redis_probe *probe);

#endif /* HA_AGENTS_REDIS_PROBE_H */
