#include "agents/redis/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "agents/redis/act.h"
#include "agents/redis/facts.h"
#include "agents/redis/link.h"
#include "agents/redis/probe.h"
#include "lib/base/check.h"
#include "lib/base/err.h"

#define PORT_DEFAULT 6379

struct ha_link {
    struct ha_redis_link link;
    struct ha_redis_probe probe;
    struct ha_redis_act *act; /* NULL: not local, a watcher's; it would be most of the memory */
    void *data;
    ha_link_lost_cb lost_cb;
    ha_link_close_cb close_cb;
    bool is_local;
    bool closing;
    unsigned open_handles; /* timers, and the link as one */
};

static void on_lost(struct ha_redis_link *redis_link, int code, const char *text)
{
    struct ha_link *link = redis_link->data;

    /* A probe under way tells it itself. */
    if (link->lost_cb != NULL && !link->probe.active && !link->closing)
        link->lost_cb(link->data, ha_redis_answer(code, text), text);
}

static void handle_closed(struct ha_link *link)
{
    assert(link->open_handles > 0);
    link->open_handles--;
    if (link->open_handles > 0)
        return;
    ha_redis_probe_closed(&link->probe);
    if (link->act != NULL)
        ha_acts_closed(&link->act->acts);
    free(link->act);
    if (link->close_cb != NULL)
        link->close_cb(link->data);
    free(link);
}

static void on_link_closed(struct ha_redis_link *redis_link)
{
    handle_closed(redis_link->data);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static int link_open(const struct ha_link_spec *spec, struct ha_link **ret_link, struct ha_err *err)
{
    struct ha_link *link;
    int rc;

    assert(spec != NULL);
    assert(spec->loop != NULL);
    assert(ret_link != NULL);

    link = calloc(1, sizeof(*link));
    if (link == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for a link to Redis");
    link->act = spec->is_local ? calloc(1, sizeof(*link->act)) : NULL;
    rc = spec->is_local && link->act == NULL
             ? ha_err_set(err, HA_ENOMEM, "no memory for a link to Redis")
             : ha_redis_link_init(&link->link, spec, PORT_DEFAULT, err);
    if (rc != HA_OK) {
        free(link->act);
        free(link);
        return rc;
    }
    link->link.data = link;
    link->link.lost_cb = on_lost;
    link->data = spec->data;
    link->lost_cb = spec->lost_cb;
    link->is_local = spec->is_local;
    ha_redis_probe_init(&link->probe, &link->link, link->data);
    if (link->act != NULL)
        ha_redis_act_init(link->act, &link->link, spec->data_dir, link->data);
    *ret_link = link;
    return HA_OK;
}

static int link_probe(struct ha_link *link, uint32_t timeout_ms, ha_link_probe_cb cb)
{
    assert(link != NULL);
    return link->closing ? HA_ECLOSED : ha_redis_probe_start(&link->probe, timeout_ms, cb);
}

static int link_act(struct ha_link *link, const struct ha_act *act, ha_link_act_cb cb)
{
    assert(link != NULL);
    if (link->closing)
        return HA_ECLOSED;
    if (!link->is_local)
        return HA_ENOTSUP;
    return ha_redis_act_start(link->act, act, cb);
}

static void link_act_cancel(struct ha_link *link)
{
    assert(link != NULL);
    if (!link->closing && link->act != NULL)
        ha_acts_cancel(&link->act->acts);
}

static void close_timer(struct ha_link *link, uv_timer_t *timer)
{
    link->open_handles++;
    timer->data = link;
    uv_close((uv_handle_t *)timer, on_timer_closed);
}

static void link_close(struct ha_link *link, ha_link_close_cb cb)
{
    assert(!link->closing);
    link->closing = true;
    link->close_cb = cb;
    link->open_handles = 1;
    close_timer(link, &link->probe.timer);
    if (link->act != NULL) {
        ha_redis_act_stop(link->act);
        close_timer(link, &link->act->acts.deadline);
        close_timer(link, &link->act->poll);
        close_timer(link, &link->act->rewrite);
    }
    ha_redis_link_close(&link->link, on_link_closed);
}

const struct ha_engine_ops ha_engine_redis = {
    .name = "redis",
    .engine = HA_ENGINE_REDIS,
    .port_default = PORT_DEFAULT,
    .acts = HA_ENGINE_ACT(HA_ORDER_PROMOTE) | HA_ENGINE_ACT(HA_ORDER_SERVE) |
            HA_ENGINE_ACT(HA_ORDER_DRAIN) | HA_ENGINE_ACT(HA_ORDER_FOLLOW),
    .open = link_open,
    .probe = link_probe,
    .act = link_act,
    .act_cancel = link_act_cancel,
    .close = link_close,
};
