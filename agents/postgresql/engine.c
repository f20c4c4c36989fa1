#include "agents/postgresql/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agents/postgresql/act.h"
#include "agents/postgresql/checkpoint.h"
#include "agents/postgresql/probe.h"
#include "agents/postgresql/server.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

#define PORT_DEFAULT 5432
#define SOCKET_PREFIX "/.s.PGSQL."

/* What changes a server; it is most of a link's memory. */
struct hands {
    struct ha_pg_server server;
    struct ha_pg_act act;
    struct ha_pg_checkpoint checkpoint;
};

struct ha_link {
    struct ha_pg_lineage_cache cache;
    struct ha_pg_probe probe;
    struct hands *hands; /* NULL: not local, a watcher's, of which there are thousands */
    void *data;
    ha_link_lost_cb lost_cb;
    ha_link_close_cb close_cb;
    bool closing;
    unsigned open_parts; /* timers, connections, and what is lent to threads */
};

static void on_lost(struct ha_pg_conn *conn, int code, const char *text)
{
    struct ha_link *link = conn->data;

    (void)code;
    /* A probe under way tells it itself. */
    if (link->lost_cb != NULL && !link->probe.active && !link->closing)
        link->lost_cb(link->data, HA_ANSWER_CLOSED, text);
}

static void free_link(struct ha_link *link)
{
    if (link->hands != NULL)
        explicit_bzero(&link->hands->server, sizeof(link->hands->server));
    free(link->hands);
    free(link);
}

static void part_closed(struct ha_link *link)
{
    assert(link->open_parts > 0);
    link->open_parts--;
    if (link->open_parts > 0)
        return;
    ha_pg_probe_closed(&link->probe);
    if (link->hands != NULL)
        ha_pg_act_closed(&link->hands->act);
    if (link->close_cb != NULL)
        link->close_cb(link->data);
    free_link(link);
}

static void on_conn_closed(struct ha_pg_conn *conn)
{
    part_closed(conn->data);
}

static void on_timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void on_probe_idle(struct ha_pg_probe *probe)
{
    part_closed(probe->conn.data);
}

static void on_act_idle(struct ha_pg_act *act)
{
    part_closed(act->conn.data);
}

static void on_job_idle(struct ha_pg_job *job)
{
    part_closed(job->data);
}

/* A socket is named by its directory and the port; its whole path does as well. */
static int take_socket(struct ha_pg_target *target, const char *path)
{
    char *name;

    if (path == NULL || path[0] == '\0')
        return HA_OK;
    if (ha_text_copy(target->socket_dir, sizeof(target->socket_dir), path) != HA_OK)
        return HA_EFULL;
    name = strrchr(target->socket_dir, '/');
    if (name != NULL && strncmp(name, SOCKET_PREFIX, strlen(SOCKET_PREFIX)) == 0)
        *name = '\0';
    return target->socket_dir[0] == '/' ? HA_OK : HA_EINVAL;
}

static int make_target(const struct ha_link_spec *spec, struct ha_pg_target *target,
                       struct ha_err *err)
{
    bool has_socket = spec->socket_path != NULL && spec->socket_path[0] != '\0';

    if (!has_socket && (spec->host == NULL || spec->host[0] == '\0'))
        return ha_err_set(err, HA_EINVAL, "neither a socket nor a host");
    target->port = spec->port != 0 ? spec->port : PORT_DEFAULT;
    target->tls = spec->tls != NULL;
    if (take_socket(target, spec->socket_path) != HA_OK ||
        ha_text_copy(target->host, sizeof(target->host), spec->host != NULL ? spec->host : "") !=
            HA_OK ||
        ha_text_copy(target->user, sizeof(target->user), spec->user != NULL ? spec->user : "") !=
            HA_OK ||
        ha_text_copy(target->password, sizeof(target->password),
                     spec->password != NULL ? spec->password : "") != HA_OK)
        return ha_err_set(err, HA_EINVAL, "a socket, host, user or password cannot be used");
    return HA_OK;
}

static int make_hands(struct ha_link *link, const struct ha_link_spec *spec,
                      const struct ha_pg_target *target, struct ha_err *err)
{
    struct hands *hands = calloc(1, sizeof(*hands));
    int rc;

    if (hands == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for a link to PostgreSQL");
    link->hands = hands;
    rc = ha_pg_server_init(&hands->server, spec, err);
    if (rc != HA_OK)
        return rc;
    if (target->socket_dir[0] != '\0')
        (void)ha_text_format(hands->server.socket_lock, sizeof(hands->server.socket_lock),
                             "%s%s%u.lock", target->socket_dir, SOCKET_PREFIX,
                             (unsigned)target->port);
    ha_pg_act_init(&hands->act, spec->loop, &hands->server, target, &link->cache, spec->data);
    ha_pg_checkpoint_init(&hands->checkpoint, spec->loop, target, spec->data);
    hands->act.conn.data = hands->act.fresh.data = hands->act.up.data = link;
    hands->act.job.data = hands->checkpoint.conn.data = link;
    return HA_OK;
}

static int make_link(const struct ha_link_spec *spec, const struct ha_pg_target *target,
                     struct ha_link **ret_link, struct ha_err *err)
{
    struct ha_link *link = calloc(1, sizeof(*link));
    int rc;

    if (link == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for a link to PostgreSQL");
    rc = spec->is_local ? make_hands(link, spec, target, err) : HA_OK;
    if (rc != HA_OK) {
        free_link(link);
        return rc;
    }
    link->data = spec->data;
    link->lost_cb = spec->lost_cb;
    ha_pg_probe_init(&link->probe, spec->loop, spec->dns, target,
                     link->hands != NULL ? &link->hands->server : NULL, &link->cache, spec->data);
    link->probe.conn.data = link;
    link->probe.conn.lost_cb = on_lost;
    *ret_link = link;
    return HA_OK;
}

static int link_open(const struct ha_link_spec *spec, struct ha_link **ret_link, struct ha_err *err)
{
    struct ha_pg_target target = {0};
    int rc = make_target(spec, &target, err);

    assert(spec->loop != NULL);
    assert(ret_link != NULL);

    if (rc == HA_OK)
        rc = make_link(spec, &target, ret_link, err);
    explicit_bzero(target.password, sizeof(target.password));
    return rc;
}

static int link_probe(struct ha_link *link, uint32_t timeout_ms, ha_link_probe_cb cb)
{
    int rc;

    assert(link != NULL);
    if (link->closing)
        return HA_ECLOSED;
    rc = ha_pg_probe_start(&link->probe, timeout_ms, cb);
    /* Not on the day it is needed: a promotion finds its connection open. */
    if (rc == HA_OK && link->hands != NULL && link->probe.conn.state == HA_PG_OPEN)
        ha_pg_act_keep_open(&link->hands->act);
    return rc;
}

static int link_act(struct ha_link *link, const struct ha_act *act, ha_link_act_cb cb)
{
    assert(link != NULL);
    if (link->closing)
        return HA_ECLOSED;
    if (link->hands == NULL)
        return HA_ENOTSUP;
    return ha_pg_act_start(&link->hands->act, act, cb);
}

static void link_act_cancel(struct ha_link *link)
{
    assert(link != NULL);
    if (!link->closing && link->hands != NULL)
        ha_acts_cancel(&link->hands->act.acts);
}

static int link_prepare(struct ha_link *link, uint32_t deadline_ms, ha_link_prepare_cb cb)
{
    assert(link != NULL);
    if (link->closing)
        return HA_ECLOSED;
    if (link->hands == NULL)
        return HA_ENOTSUP;
    return ha_pg_checkpoint_start(&link->hands->checkpoint, deadline_ms, cb);
}

static void link_prepare_cancel(struct ha_link *link)
{
    assert(link != NULL);
    if (!link->closing && link->hands != NULL)
        ha_pg_checkpoint_cancel(&link->hands->checkpoint);
}

static void link_halt(struct ha_link *link, int32_t pid)
{
    ha_pg_server_end(pid);
    if (!link->closing && link->hands != NULL)
        ha_pg_act_sweep(&link->hands->act);
}

static void close_timer(struct ha_link *link, uv_timer_t *timer)
{
    link->open_parts++;
    uv_close((uv_handle_t *)timer, on_timer_closed);
}

static void close_conn(struct ha_link *link, struct ha_pg_conn *conn)
{
    link->open_parts++;
    conn->closed_cb = on_conn_closed;
    ha_pg_conn_close(conn);
}

/* Some parts close inside these calls; what is lent to threads holds the link until the last. */
static void close_hands(struct ha_link *link)
{
    struct hands *hands = link->hands;

    ha_pg_checkpoint_cancel(&hands->checkpoint);
    link->open_parts += 2;
    hands->act.job.idle_cb = on_job_idle;
    close_timer(link, &hands->act.acts.deadline);
    close_timer(link, &hands->act.poll);
    close_timer(link, &hands->checkpoint.deadline);
    ha_pg_act_stop(&hands->act, on_act_idle);
    ha_pg_job_stop(&hands->act.job);
    hands->act.acts.deadline.data = hands->act.poll.data = hands->checkpoint.deadline.data = link;
    close_conn(link, &hands->act.conn);
    close_conn(link, &hands->act.fresh);
    close_conn(link, &hands->act.up);
    close_conn(link, &hands->checkpoint.conn);
}

static void link_close(struct ha_link *link, ha_link_close_cb cb)
{
    assert(!link->closing);
    link->closing = true;
    link->close_cb = cb;
    link->open_parts = 1; /* the probe's work on a thread */
    close_timer(link, &link->probe.timer);
    if (link->hands != NULL)
        close_hands(link);
    ha_pg_probe_stop(&link->probe, on_probe_idle);
    link->probe.timer.data = link;
    close_conn(link, &link->probe.conn);
}

const struct ha_engine_ops ha_engine_postgresql = {
    .name = "postgresql",
    .engine = HA_ENGINE_POSTGRESQL,
    .port_default = PORT_DEFAULT,
    .acts = HA_ENGINE_ACT(HA_ORDER_PROMOTE) | HA_ENGINE_ACT(HA_ORDER_SERVE) |
            HA_ENGINE_ACT(HA_ORDER_DRAIN) | HA_ENGINE_ACT(HA_ORDER_FOLLOW) |
            HA_ENGINE_ACT(HA_ORDER_SEAL),
    .open = link_open,
    .probe = link_probe,
    .act = link_act,
    .act_cancel = link_act_cancel,
    .prepare = link_prepare,
    .prepare_cancel = link_prepare_cancel,
    .halt = link_halt,
    .close = link_close,
};
