#include "agents/postgresql/probe.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/io/clock.h"

/* Enough to outlive a dying server's listener, few enough not to harass a living one. */
#define TRIES 5
/* Not 0: a timer that is due at once would run again before the loop looks at its sockets. */
#define LAST_LOOK_MS 1

/* The only way out; the callback is the last touch. */
static void finish(struct ha_pg_probe *probe, struct ha_probed *probed)
{
    uint64_t took_ms = ha_clock_mono_ms() - probe->start_ms;

    assert(probe->active);
    probed->took_ms = took_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ms;
    probed->sample.starts = probe->server != NULL && probe->server->data_dir[0] != '\0';
    probe->active = false;
    probe->wanted = false;
    if (!uv_is_closing((uv_handle_t *)&probe->timer))
        (void)uv_timer_stop(&probe->timer);
    probe->cb(probe->data, probed);
}

static void tell(struct ha_pg_probe *probe)
{
    struct ha_probed probed = {.code = HA_OK, .sample = probe->facts.sample};

    probed.pid = probe->conn.server_pid;
    finish(probe, &probed);
}

static void on_work(uv_work_t *work)
{
    struct ha_pg_probe *probe = work->data;

    ha_pg_lineage_read(&probe->where, &probe->lineage, &probe->timeline);
}

static void begin_lineage(struct ha_pg_probe *probe);

static void on_worked(uv_work_t *work, int status)
{
    struct ha_pg_probe *probe = work->data;

    probe->working = false;
    if (probe->idle_cb != NULL) {
        probe->idle_cb(probe);
        return;
    }
    if (status == 0 && probe->lineage.count > 0)
        *probe->cache = (struct ha_pg_lineage_cache){.run_id = probe->where_run,
                                                     .system = probe->where.system,
                                                     .lsn = probe->where.lsn,
                                                     .timeline = probe->timeline,
                                                     .lineage = probe->lineage};
    if (!probe->wanted)
        return;
    if (probe->where.lsn != probe->facts.lsn || probe->where_run != probe->facts.sample.run_id) {
        begin_lineage(probe); /* it was the last probe's question */
        return;
    }
    if (status == 0)
        probe->facts.sample.position.lineage = probe->lineage;
    tell(probe);
}

static void begin_lineage(struct ha_pg_probe *probe)
{
    const struct ha_pg_facts *facts = &probe->facts;
    struct ha_pg_lineage_ask where = {.system = facts->system,
                                      .timeline = facts->timeline,
                                      .lsn = facts->lsn,
                                      .segment_size = facts->segment_size};

    if (ha_pg_lineage_find(probe->cache, facts->sample.run_id, &where,
                           &probe->facts.sample.position.lineage)) {
        tell(probe);
        return;
    }
    probe->wanted = true;
    if (probe->working)
        return; /* goes on when the last one has come back */
    probe->where = where;
    (void)ha_text_copy(probe->where.data_dir, sizeof(probe->where.data_dir),
                       probe->server->data_dir);
    probe->where_run = facts->sample.run_id;
    probe->work.data = probe;
    probe->working = uv_queue_work(probe->conn.loop, &probe->work, on_work, on_worked) == 0;
    if (!probe->working)
        tell(probe);
}

static void ask(struct ha_pg_probe *probe);

static void on_answer(void *data, const struct ha_pg_answer *answer)
{
    struct ha_pg_probe *probe = data;

    /* A server that is killed closes its connections a moment before its listener: whoever comes
     * in between is taken and dropped. Ask again, and the answer is the clearer "refused". */
    if (answer->code == HA_ECLOSED && answer->state[0] == '\0' && answer->fresh &&
        probe->tries_left > 0) {
        ask(probe);
        return;
    }
    ha_pg_facts_read(answer, &probe->facts);
    if (probe->facts.sample.answer == HA_ANSWER_OK && probe->server != NULL &&
        probe->server->data_dir[0] != '\0')
        begin_lineage(probe);
    else
        tell(probe);
}

static void on_deadline(uv_timer_t *timer)
{
    struct ha_pg_probe *probe = timer->data;
    struct ha_probed probed = {.code = HA_OK,
                               .sample = {.answer = HA_ANSWER_NONE, .writable = true}};

    /* Timers run before sockets: after a pause of this process the answer may be waiting. Silence
     * is only what is still silent after one look at the socket. */
    if (!probe->last_look) {
        probe->last_look = true;
        (void)uv_timer_start(timer, on_deadline, LAST_LOOK_MS, 0);
        return;
    }
    (void)ha_text_format(probed.sample.text, sizeof(probed.sample.text), "%s within %" PRIu32 " ms",
                         probe->wanted                     ? "its files cannot be read"
                         : probe->conn.state == HA_PG_OPEN ? "connected, but no answer"
                                                           : "no connection",
                         probe->timeout_ms);
    ha_pg_conn_drop(&probe->conn);
    finish(probe, &probed);
}

void ha_pg_probe_init(struct ha_pg_probe *probe, uv_loop_t *loop, struct ha_dns *dns,
                      const struct ha_pg_target *target, const struct ha_pg_server *server,
                      struct ha_pg_lineage_cache *cache, void *data)
{
    memset(probe, 0, sizeof(*probe));
    probe->server = server;
    probe->cache = cache;
    probe->data = data;
    probe->timer.data = probe;
    ha_pg_conn_init(&probe->conn, loop, dns, target);
    (void)uv_timer_init(loop, &probe->timer); /* always 0 */
}

static void ask(struct ha_pg_probe *probe)
{
    probe->tries_left--;
    /* The text fits and nothing is asked: only a closing link refuses. */
    (void)ha_pg_conn_ask(&probe->conn, ha_pg_facts_sql, on_answer, probe);
}

int ha_pg_probe_start(struct ha_pg_probe *probe, uint32_t timeout_ms, ha_link_probe_cb cb)
{
    assert(timeout_ms > 0);
    assert(cb != NULL);

    if (probe->active)
        return HA_EBUSY;
    probe->active = true;
    probe->last_look = false;
    probe->wanted = false;
    probe->cb = cb;
    probe->timeout_ms = timeout_ms;
    probe->start_ms = ha_clock_mono_ms();
    probe->tries_left = TRIES;
    ask(probe);
    uv_update_time(probe->conn.loop); /* the loop's clock is as old as its turn */
    (void)uv_timer_start(&probe->timer, on_deadline, timeout_ms, 0);
    return HA_OK;
}

void ha_pg_probe_stop(struct ha_pg_probe *probe, void (*idle_cb)(struct ha_pg_probe *probe))
{
    probe->idle_cb = idle_cb;
    if (!probe->working)
        idle_cb(probe);
}

void ha_pg_probe_closed(struct ha_pg_probe *probe)
{
    struct ha_probed probed = {.code = HA_ECANCELED};

    if (probe->active)
        finish(probe, &probed);
}
