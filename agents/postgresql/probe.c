#include "agents/postgresql/probe.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "agents/postgresql/diverged.h"
#include "agents/postgresql/promotion.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/loop.h"
#include "lib/io/pidwatch.h"

/* Enough to outlive a dying server's listener, few enough not to harass a living one. */
#define TRIES 5
/* Not 0: a timer that is due at once would run again before the loop looks at its sockets. */
#define LAST_LOOK_MS 1
#define CHECK_MS 1000u /* between checks of the disk */
#define CHECK_MAX_MS 5000u

/* The only way out; the callback is the last touch. */
static void finish(struct ha_pg_probe *probe, struct ha_probed *probed)
{
    uint64_t took_ms = ha_clock_mono_ms() - probe->start_ms;

    assert(probe->active);
    probed->took_ms = took_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ms;
    probed->sample.diverged = probe->cache->diverged;
    probed->sample.starts = probe->server != NULL && probe->server->data_dir[0] != '\0';
    probe->active = false;
    probe->wanted = false;
    if (!uv_is_closing((uv_handle_t *)&probe->timer))
        (void)uv_timer_stop(&probe->timer);
    probe->cb(probe->data, probed);
}

/* --- whether a primary can write -------------------------------------------------------------- */

static void on_check(uv_work_t *work)
{
    struct ha_pg_probe *probe = work->data;

    probe->ending_new = ha_pg_server_is_ending(probe->server);
    (void)ha_pg_server_try_write(probe->server, &probe->check_new);
}

static void tell_idle(struct ha_pg_probe *probe)
{
    if (probe->idle_cb != NULL && !probe->working && !probe->checking)
        probe->idle_cb(probe);
}

static void on_checked(uv_work_t *work, int status)
{
    struct ha_pg_probe *probe = work->data;

    probe->checking = false;
    if (status == 0) {
        probe->check = probe->check_new;
        probe->ending = probe->ending_new;
    }
    tell_idle(probe);
}

static void forget_check(struct ha_pg_probe *probe)
{
    probe->check = (struct ha_err){0};
    probe->ending = false;
}

/* Reads go on where the disk is full, read-only or does not answer: a file is written beside the
 * data once a second, and how that went is in the next sample. */
static void check_write(struct ha_pg_probe *probe, struct ha_sample *sample)
{
    uint64_t now_ms = ha_clock_mono_ms();

    if (!probe->checking && now_ms - probe->check_ms >= CHECK_MS) {
        probe->check_ms = now_ms;
        probe->check_new = (struct ha_err){0};
        probe->check_work.data = probe;
        probe->checking =
            uv_queue_work(probe->conn.loop, &probe->check_work, on_check, on_checked) == 0;
    }
    if (probe->checking && now_ms - probe->check_ms >= CHECK_MAX_MS)
        (void)ha_err_set(&probe->check, HA_ETIMEDOUT,
                         "its data directory has taken no write for %" PRIu64 " s",
                         (now_ms - probe->check_ms) / 1000);
    /* Our connections are among those it still serves, and keep it from ending. */
    if (probe->ending) {
        sample->answer = HA_ANSWER_STARTING;
        (void)ha_text_format(sample->text, sizeof(sample->text),
                             "it is shutting down: it serves who is connected, and nobody else");
        return;
    }
    if (probe->check.code == HA_OK)
        return;
    sample->writable = false;
    (void)ha_text_format(sample->text, sizeof(sample->text), "%s", probe->check.text);
}

/* Whoever stops the processes of sessions, but not the postmaster, stops all who are connected; who
 * connects anew is served, as the next probe is. Ours was among them, and tells. */
static void note_stuck(struct ha_pg_probe *probe)
{
    int32_t pid = probe->conn.pg != NULL ? PQbackendPID(probe->conn.pg) : 0;

    if (probe->server == NULL || pid <= 1 || ha_pid_start_time(pid, &probe->stuck_start) != HA_OK)
        pid = 0;
    probe->stuck_pid = pid;
}

static void check_stuck(struct ha_pg_probe *probe, struct ha_sample *sample)
{
    if (probe->stuck_pid == 0)
        return;
    if (!ha_pg_server_is_stopped(probe->stuck_pid, probe->stuck_start)) {
        probe->stuck_pid = 0;
        return;
    }
    sample->writable = false;
    (void)ha_text_format(sample->text, sizeof(sample->text),
                         "processes of its sessions are stopped: who is connected hangs");
}

/* An agent that was killed may have asked for it, and a long replay hold it up: such a standby is
 * not one that takes no writes. */
static void check_promotion(const struct ha_pg_probe *probe, struct ha_sample *sample)
{
    if (!probe->seen.may_come)
        return;
    sample->read_only = false;
    (void)ha_text_format(sample->text, sizeof(sample->text),
                         "it was asked to become primary, and may at any time");
}

static void tell(struct ha_pg_probe *probe)
{
    struct ha_probed probed = {.code = HA_OK, .sample = probe->facts.sample};

    if (probed.sample.answer == HA_ANSWER_OK && probed.sample.role == HA_ROLE_PRIMARY)
        check_stuck(probe, &probed.sample);
    if (probed.sample.answer == HA_ANSWER_OK && probed.sample.role == HA_ROLE_REPLICA)
        check_promotion(probe, &probed.sample);
    if (probed.sample.answer == HA_ANSWER_OK && probed.sample.role == HA_ROLE_PRIMARY &&
        probe->server != NULL && probe->server->data_dir[0] != '\0')
        check_write(probe, &probed.sample);
    else
        forget_check(probe);
    probed.pid = probe->conn.server_pid;
    finish(probe, &probed);
}

/* Its files: on a mount that hangs only this database's probes wait. */
static void on_work(uv_work_t *work)
{
    struct ha_pg_probe *probe = work->data;
    char work_dir[HA_PG_PATH_SIZE + 16];

    ha_pg_server_find(probe->where.data_dir, probe->real);
    (void)ha_text_copy(probe->where.data_dir, sizeof(probe->where.data_dir), probe->real);
    (void)ha_text_format(work_dir, sizeof(work_dir), "%s-hafailover", probe->real);
    if (probe->reads_lineage) {
        ha_pg_lineage_read(&probe->where, &probe->lineage, &probe->timeline);
        ha_pg_diverged_read(work_dir, &probe->diverged);
    }
    (void)ha_pg_promotion_read(work_dir, &probe->promotion, NULL); /* then it may come */
}

static void begin_files(struct ha_pg_probe *probe);

static void take_lineage(struct ha_pg_probe *probe)
{
    if (probe->reads_lineage && probe->lineage.count > 0)
        *probe->cache = (struct ha_pg_lineage_cache){.run_id = probe->where_run,
                                                     .system = probe->where.system,
                                                     .lsn = probe->where.lsn,
                                                     .timeline = probe->timeline,
                                                     .lineage = probe->lineage,
                                                     .diverged = probe->diverged};
}

static void on_worked(uv_work_t *work, int status)
{
    struct ha_pg_probe *probe = work->data;

    probe->working = false;
    if (probe->idle_cb != NULL) {
        tell_idle(probe);
        return;
    }
    if (status == 0) {
        ha_pg_server_found(probe->server, probe->real);
        take_lineage(probe);
    }
    if (!probe->wanted)
        return;
    if (probe->number != probe->work_number) {
        begin_files(probe); /* it was the last probe's question */
        return;
    }
    if (status == 0 && probe->reads_lineage)
        probe->facts.sample.position.lineage = probe->lineage;
    probe->seen = probe->promotion;
    tell(probe);
}

static void begin_files(struct ha_pg_probe *probe)
{
    const struct ha_pg_facts *facts = &probe->facts;
    struct ha_pg_lineage_ask where = {.system = facts->system,
                                      .timeline = facts->timeline,
                                      .lsn = facts->lsn,
                                      .segment_size = facts->segment_size};
    bool is_known = ha_pg_lineage_find(probe->cache, facts->sample.run_id, &where,
                                       &probe->facts.sample.position.lineage);

    probe->seen = (struct ha_pg_promotion){0};
    if (is_known && facts->sample.role != HA_ROLE_REPLICA) {
        tell(probe);
        return;
    }
    probe->wanted = true;
    if (probe->working)
        return; /* goes on when the last one has come back */
    probe->reads_lineage = !is_known;
    probe->where = where;
    (void)ha_text_copy(probe->where.data_dir, sizeof(probe->where.data_dir),
                       probe->server->data_dir);
    probe->where_run = facts->sample.run_id;
    probe->work_number = probe->number;
    probe->work.data = probe;
    probe->working = uv_queue_work(probe->conn.loop, &probe->work, on_work, on_worked) == 0;
    if (!probe->working) {
        probe->seen.may_come = true; /* not known is not no */
        tell(probe);
    }
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
        begin_files(probe);
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
    if (probe->stuck_pid == 0)
        note_stuck(probe);
    ha_pg_conn_drop(&probe->conn);
    finish(probe, &probed);
}

void ha_pg_probe_init(struct ha_pg_probe *probe, uv_loop_t *loop, struct ha_dns *dns,
                      const struct ha_pg_target *target, struct ha_pg_server *server,
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
    (void)ha_pg_conn_ask(&probe->conn,
                         probe->server != NULL ? ha_pg_facts_local_sql : ha_pg_facts_sql, on_answer,
                         probe);
}

int ha_pg_probe_start(struct ha_pg_probe *probe, uint32_t timeout_ms, ha_link_probe_cb cb)
{
    assert(timeout_ms > 0);
    assert(cb != NULL);

    if (probe->active)
        return HA_EBUSY;
    probe->active = true;
    probe->number++;
    probe->last_look = false;
    probe->wanted = false;
    probe->cb = cb;
    probe->timeout_ms = timeout_ms;
    probe->start_ms = ha_clock_mono_ms();
    probe->tries_left = TRIES;
    ask(probe);
    ha_loop_after(&probe->timer, on_deadline, timeout_ms);
    return HA_OK;
}

void ha_pg_probe_stop(struct ha_pg_probe *probe, void (*idle_cb)(struct ha_pg_probe *probe))
{
    probe->idle_cb = idle_cb;
    tell_idle(probe);
}

void ha_pg_probe_closed(struct ha_pg_probe *probe)
{
    struct ha_probed probed = {.code = HA_ECANCELED};

    if (probe->active)
        finish(probe, &probed);
}
