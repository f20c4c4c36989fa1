#include "agents/postgresql/act.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/postgresql/diverged.h"
#include "agents/postgresql/files_parts.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "lib/io/loop.h"

/* Work on threads at a time: of this act, of one that was canceled, and a sweep. On a disk that
 * hangs none comes back, and each try would take another thread from all databases of this host. */
#define THREADS_MAX 3
#define OWED_WAIT_MS 500u /* doubles up to ... */
#define OWED_WAIT_MAX_MS 60000u
#define OWED_TRIES_MAX 60u

/* A program or work under way. It may outlive the act that began it; then nobody waits for it. */
struct task {
    struct ha_pg_act *act;
    uint32_t turn;
    uv_work_t work;
    ha_pg_work_fn fn;   /* NULL: a lineage */
    ha_pg_beside_cb cb; /* of ha_pg_act_beside */
    struct ha_pg_work what;
    struct ha_pg_turn late; /* now NULL: it is never */
    struct ha_pg_lineage_ask where;
    struct ha_lineage lineage;
    struct ha_diverged diverged;
    uint32_t timeline;
    uint64_t run_id;
};

/* Nothing of the act is waited for after this. */
static void put_away(void *owner)
{
    struct ha_pg_act *act = owner;

    act->turn++;
    act->process = NULL; /* goes on by itself, and its end is nobody's */
    if (act->conn.asked)
        ha_pg_conn_drop(&act->conn);
    ha_pg_conn_drop(&act->fresh);
    ha_pg_conn_drop(&act->up);
    if (!act->acts.stopped)
        (void)uv_timer_stop(&act->poll);
}

static void fill(void *owner, struct ha_acted *ret_acted)
{
    struct ha_pg_act *act = owner;

    ret_acted->sample = act->facts.sample;
    ret_acted->sample.diverged = act->cache->diverged;
    ret_acted->sample.starts = act->server->data_dir[0] != '\0';
    ret_acted->pid = act->conn.server_pid;
}

void ha_pg_act_done(struct ha_pg_act *act)
{
    ha_acts_end(&act->acts, HA_OK);
}

void ha_pg_act_fail(struct ha_pg_act *act, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    ha_acts_fail(&act->acts, code, format, args);
    va_end(args);
}

bool ha_pg_act_is_late(const struct ha_pg_act *act)
{
    return ha_acts_age_ms(&act->acts) >= act->acts.ask.deadline_ms / 4 * 3;
}

/* --- steps ------------------------------------------------------------------------------------ */

static void on_answer(void *data, const struct ha_pg_answer *answer)
{
    struct ha_pg_act *act = data;

    if (!act->acts.running)
        return; /* of ha_pg_act_keep_open */
    act->answer = answer;
    act->step(act);
}

const char ha_pg_act_alone_sql[] =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = current_user"
    " AND application_name = '" HA_PG_ACT_NAME "' AND pid <> pg_backend_pid()";

static void ask(struct ha_pg_act *act, struct ha_pg_conn *conn, const char *sql,
                ha_pg_act_step step)
{
    int rc;

    act->step = step;
    if (conn->asked)
        ha_pg_conn_drop(conn);
    rc = ha_pg_conn_ask(conn, sql, on_answer, act);
    if (rc != HA_OK)
        ha_acts_end_later(&act->acts, rc);
}

void ha_pg_act_query(struct ha_pg_act *act, const char *sql, ha_pg_act_step step)
{
    ask(act, &act->conn, sql, step);
}

void ha_pg_act_query_fresh(struct ha_pg_act *act, const char *sql, ha_pg_act_step step)
{
    ask(act, &act->fresh, sql, step);
}

void ha_pg_act_query_up(struct ha_pg_act *act, const char *sql, ha_pg_act_step step)
{
    ask(act, &act->up, sql, step);
}

bool ha_pg_act_check(struct ha_pg_act *act)
{
    if (act->answer->code == HA_OK)
        return true;
    ha_pg_act_fail(act, ha_pg_code_of(act->answer), "%s: %s", act->acts.doing, act->answer->text);
    return false;
}

/* False: nobody waits for it any more. */
static bool take_back(struct task *task)
{
    struct ha_pg_act *act = task->act;

    assert(act->lent > 0);
    act->lent--;
    if (act->acts.stopped) {
        if (act->lent == 0 && act->idle_cb != NULL)
            act->idle_cb(act);
        return false;
    }
    return task->turn == act->turn && act->acts.running;
}

static void on_ran(void *data, const struct ha_process_result *result)
{
    struct task *task = data;
    struct ha_pg_act *act = task->act;
    bool wanted = take_back(task);

    free(task);
    if (!wanted)
        return;
    act->process = NULL;
    act->result = result;
    act->step(act);
}

static struct task *lend(struct ha_pg_act *act)
{
    struct task *task = calloc(1, sizeof(*task));

    if (task == NULL) {
        ha_acts_end_later(&act->acts, HA_ENOMEM);
        return NULL;
    }
    task->act = act;
    task->turn = act->turn;
    task->what = (struct ha_pg_work){
        .server = act->server, .ask = act->acts.ask, .timeline = act->work_timeline};
    (void)ha_text_copy(task->what.path, sizeof(task->what.path), act->server->data_dir);
    task->what.text = act->work_text;
    act->work_text = NULL;
    task->late = (struct ha_pg_turn){&act->turn, task->turn};
    task->work.data = task;
    act->lent++;
    return task;
}

void ha_pg_act_run(struct ha_pg_act *act, const char *const *argv, ha_pg_act_step step)
{
    struct task *task = lend(act);
    int rc;

    if (task == NULL)
        return;
    act->step = step;
    rc = ha_pg_server_run(act->server, &act->process, act->loop, argv, HA_PG_TOOL_MS, on_ran, task);
    if (rc == HA_OK)
        return;
    act->lent--;
    free(task);
    ha_acts_end_later(&act->acts, rc);
}

static void on_work(uv_work_t *work)
{
    struct task *task = work->data;

    if (task->fn == NULL) {
        ha_pg_lineage_read(&task->where, &task->lineage, &task->timeline);
        ha_pg_diverged_read(task->act->server->work_dir, &task->diverged);
        return;
    }
    ha_pg_file_turn(task->late.now != NULL ? &task->late : NULL);
    task->what.err.code = task->fn(&task->what);
    ha_pg_file_turn(NULL);
}

static int end_note(struct ha_pg_work *work)
{
    return ha_pg_promotion_over(work->server, work->ask.epoch, &work->err);
}

static void wait_with_note(struct ha_pg_act *act)
{
    const uint32_t shift = act->owed_tries < 10 ? act->owed_tries : 10;
    const uint64_t wait_ms = (uint64_t)OWED_WAIT_MS << shift;

    act->owed_ms = ha_clock_mono_ms() + (wait_ms < OWED_WAIT_MAX_MS ? wait_ms : OWED_WAIT_MAX_MS);
}

static void on_note_ended(struct ha_pg_act *act, const struct ha_pg_work *what)
{
    act->owed_under_way = false;
    if (act->acts.stopped || what->ask.epoch != act->owed_epoch)
        return;
    act->owed_tries++;
    wait_with_note(act);
    if (what->err.code != HA_OK && act->owed_tries < OWED_TRIES_MAX)
        return;
    HA_LOG(what->err.code == HA_OK ? HA_LOG_INFO : HA_LOG_ERROR, "postgresql-note-ended",
           "epoch=%" PRIu64 " tries=%" PRIu32 " result=%s text=%s", act->owed_epoch,
           act->owed_tries, ha_code_text(what->err.code), HA_QUOTE(what->err.text));
    act->owed_epoch = 0;
}

static void on_worked(uv_work_t *work, int status)
{
    struct task *task = work->data;
    struct ha_pg_act *act = task->act;

    act->threads--;
    free(task->what.text);
    task->what.text = NULL;
    if (status != 0)
        (void)ha_err_set(&task->what.err, HA_ECANCELED, "canceled");
    if (task->fn == end_note)
        on_note_ended(act, &task->what);
    if (!take_back(task)) {
        free(task->what.history);
        free(task);
        return;
    }
    if (task->cb != NULL) {
        act->beside--;
        task->cb(act, &task->what.err);
        free(task);
        return;
    }
    if (task->fn != NULL) {
        free(act->found.history);
        act->found = task->what;
    }
    if (task->fn == NULL && task->lineage.count > 0) {
        act->facts.sample.position.lineage = task->lineage;
        act->facts.timeline = task->timeline;
        *act->cache = (struct ha_pg_lineage_cache){.run_id = task->run_id,
                                                   .system = task->where.system,
                                                   .lsn = task->where.lsn,
                                                   .timeline = task->timeline,
                                                   .lineage = task->lineage,
                                                   .diverged = task->diverged};
    }
    free(task);
    act->step(act);
}

static bool hand_over(struct ha_pg_act *act, struct task *task)
{
    if (act->threads < THREADS_MAX &&
        uv_queue_work(act->loop, &task->work, on_work, on_worked) == 0) {
        act->threads++;
        return true;
    }
    act->lent--;
    free(task->what.text);
    free(task);
    return false;
}

static void queue(struct ha_pg_act *act, struct task *task, ha_pg_act_step step)
{
    act->step = step;
    if (hand_over(act, task))
        return;
    (void)ha_text_format(act->acts.acted.text, sizeof(act->acts.acted.text),
                         "%s: what was asked of its files before has not come back",
                         act->acts.doing);
    ha_acts_end_later(&act->acts, HA_EIO);
}

void ha_pg_act_work(struct ha_pg_act *act, ha_pg_work_fn fn, ha_pg_act_step step)
{
    struct task *task = lend(act);

    if (task == NULL)
        return;
    task->fn = fn;
    queue(act, task, step);
}

bool ha_pg_act_beside(struct ha_pg_act *act, ha_pg_work_fn fn, ha_pg_beside_cb cb)
{
    struct task *task = lend(act);

    if (task == NULL)
        return true; /* the act has ended with that */
    task->fn = fn;
    task->cb = cb;
    if (!hand_over(act, task))
        return false;
    act->beside++;
    return true;
}

static void on_poll(uv_timer_t *timer)
{
    struct ha_pg_act *act = timer->data;

    act->step(act);
}

void ha_pg_act_wait(struct ha_pg_act *act, uint32_t ms, ha_pg_act_step step)
{
    act->step = step;
    ha_loop_after(&act->poll, on_poll, ms);
}

/* --- looking ---------------------------------------------------------------------------------- */

static void on_look(struct ha_pg_act *act)
{
    struct ha_pg_lineage_ask where = {0};
    struct task *task;

    ha_pg_facts_read(act->answer, &act->facts);
    where = (struct ha_pg_lineage_ask){.system = act->facts.system,
                                       .timeline = act->facts.timeline,
                                       .lsn = act->facts.lsn,
                                       .segment_size = act->facts.segment_size};
    (void)ha_text_copy(where.data_dir, sizeof(where.data_dir), act->server->data_dir);
    if (act->facts.sample.answer != HA_ANSWER_OK || where.data_dir[0] == '\0' ||
        ha_pg_lineage_find(act->cache, act->facts.sample.run_id, &where,
                           &act->facts.sample.position.lineage)) {
        if (act->facts.timeline == 0)
            act->facts.timeline = act->cache->timeline;
        act->look_step(act);
        return;
    }
    task = lend(act);
    if (task == NULL)
        return;
    task->where = where;
    task->run_id = act->facts.sample.run_id;
    queue(act, task, act->look_step);
}

void ha_pg_act_try_look(struct ha_pg_act *act, ha_pg_act_step step)
{
    act->look_step = step;
    ha_pg_act_query(act, ha_pg_facts_local_sql, on_look);
}

static void on_must_look(struct ha_pg_act *act)
{
    const struct ha_sample *sample = &act->facts.sample;

    if (sample->answer == HA_ANSWER_OK) {
        act->step = act->look_step = NULL;
        act->end_step(act);
        return;
    }
    ha_pg_act_fail(act,
                   sample->answer == HA_ANSWER_NONE       ? HA_EPROTO
                   : sample->answer == HA_ANSWER_STARTING ? HA_EBUSY
                                                          : ha_pg_code_of(act->answer),
                   "%s", sample->text);
}

void ha_pg_act_look(struct ha_pg_act *act, ha_pg_act_step step)
{
    act->end_step = step;
    ha_pg_act_try_look(act, on_must_look);
}

/* --- for the engine --------------------------------------------------------------------------- */

static void do_it(struct ha_pg_act *act)
{
    act->acts.doing = "looking at the server";
    if (act->acts.ask.kind == HA_ORDER_PROMOTE)
        ha_pg_act_promote(act);
    else if (act->acts.ask.kind == HA_ORDER_SERVE)
        ha_pg_act_serve(act);
    else if (act->acts.ask.kind == HA_ORDER_DRAIN)
        ha_pg_act_drain(act);
    else if (act->acts.ask.kind == HA_ORDER_SEAL)
        ha_pg_act_seal(act);
    else
        ha_pg_act_follow(act);
}

/* A probe that finds it first changes the server's own meanwhile. */
static int find_data(struct ha_pg_work *work)
{
    char data_dir[HA_PG_PATH_SIZE];

    (void)ha_text_copy(data_dir, sizeof(data_dir), work->path); /* as large */
    ha_pg_server_find(data_dir, work->path);
    return HA_OK;
}

static void on_data_found(struct ha_pg_act *act)
{
    ha_pg_server_found(act->server, act->found.path);
    do_it(act);
}

static void begin(void *owner)
{
    struct ha_pg_act *act = owner;

    act->turn++;
    act->started = act->appeared = act->repointed = act->promoted = act->slotted = false;
    act->pointed = act->early = act->uncompared = false;
    act->beside = 0;
    if (act->acts.ask.kind != HA_ORDER_SERVE)
        act->slots_due_ms = 0;
    act->acts.doing = "finding its data";
    if (act->conn.asked) /* of ha_pg_act_keep_open: its answer would be taken for this one's step */
        ha_pg_conn_drop(&act->conn);
    if (act->acts.ask.kind == HA_ORDER_PROMOTE)
        act->owed_epoch = 0;
    /* What a job does to the files is only for the order that began it. */
    if (act->acts.ask.kind != HA_ORDER_FOLLOW && act->job.running)
        ha_pg_job_cancel(&act->job);
    if (act->server->resolved)
        do_it(act);
    else
        ha_pg_act_work(act, find_data, on_data_found);
}

static const struct ha_acts_ops ops = {begin, put_away, fill};

void ha_pg_act_init(struct ha_pg_act *act, uv_loop_t *loop, struct ha_pg_server *server,
                    const struct ha_pg_target *target, struct ha_pg_lineage_cache *cache,
                    void *data)
{
    struct ha_pg_target as_act = *target;

    as_act.name = HA_PG_ACT_NAME;
    as_act.reserved = true; /* commits that wait for a standby may fill every other place */
    memset(act, 0, sizeof(*act));
    act->loop = loop;
    act->server = server;
    act->cache = cache;
    act->poll.data = act;
    ha_pg_conn_init(&act->conn, loop, NULL, &as_act);
    as_act.as_client = true;
    ha_pg_conn_init(&act->fresh, loop, NULL, &as_act);
    explicit_bzero(as_act.password, sizeof(as_act.password));
    ha_pg_conn_init(&act->up, loop, NULL, target);
    ha_pg_job_init(&act->job, loop, server);
    ha_acts_init(&act->acts, loop, &ops, act, data);
    (void)uv_timer_init(loop, &act->poll); /* always 0 */
}

int ha_pg_act_start(struct ha_pg_act *act, const struct ha_act *ask, ha_link_act_cb cb)
{
    if (ask->kind != HA_ORDER_PROMOTE && ask->kind != HA_ORDER_SERVE &&
        ask->kind != HA_ORDER_DRAIN && ask->kind != HA_ORDER_FOLLOW && ask->kind != HA_ORDER_SEAL)
        return HA_ENOTSUP;
    return ha_acts_start(&act->acts, ask, cb);
}

/* For work that nobody waits for; where there is no room for it now, it is left out. */
static bool queue_unwaited(struct ha_pg_act *act, ha_pg_work_fn fn, uint64_t epoch,
                           struct ha_pg_turn late)
{
    struct task *task = act->threads < THREADS_MAX ? calloc(1, sizeof(*task)) : NULL;

    if (task == NULL)
        return false;
    task->act = act;
    task->turn = act->turn - 1;
    task->late = late;
    task->fn = fn;
    task->what.server = act->server;
    task->what.ask.epoch = epoch;
    task->work.data = task;
    if (uv_queue_work(act->loop, &task->work, on_work, on_worked) != 0) {
        free(task);
        return false;
    }
    act->lent++;
    act->threads++;
    return true;
}

void ha_pg_act_owe_end(struct ha_pg_act *act, uint64_t epoch)
{
    if (epoch != act->owed_epoch)
        act->owed_tries = 0;
    act->owed_epoch = epoch;
    wait_with_note(act);
}

void ha_pg_act_keep_open(struct ha_pg_act *act)
{
    if (act->acts.count > 0 || act->conn.asked)
        return;
    /* Too late once anything else has begun: watchers that began anew give small epochs again. */
    if (act->owed_epoch != 0 && !act->owed_under_way && ha_clock_mono_ms() >= act->owed_ms)
        act->owed_under_way = queue_unwaited(act, end_note, act->owed_epoch,
                                             (struct ha_pg_turn){&act->turn, act->turn});
    if (act->conn.state == HA_PG_IDLE)
        (void)ha_pg_conn_ask(&act->conn, ha_pg_act_alone_sql, on_answer, act);
    else if (act->slots_due_ms != 0 && ha_clock_mono_ms() >= act->slots_due_ms &&
             act->conn.state == HA_PG_OPEN)
        ha_pg_act_reserve_slots(act);
}

static int sweep(struct ha_pg_work *work)
{
    return ha_pg_server_sweep(work->server);
}

void ha_pg_act_sweep(struct ha_pg_act *act)
{
    if (act->server->data_dir[0] != '\0' && act->server->resolved)
        (void)queue_unwaited(act, sweep, 0, (struct ha_pg_turn){&act->begun, act->begun});
}

void ha_pg_act_stop(struct ha_pg_act *act, void (*idle_cb)(struct ha_pg_act *act))
{
    if (act->process != NULL)
        ha_process_cancel(act->process);
    act->idle_cb = idle_cb;
    ha_acts_stop(&act->acts);
    if (act->lent == 0)
        idle_cb(act);
}

void ha_pg_act_closed(struct ha_pg_act *act)
{
    ha_acts_closed(&act->acts);
    free(act->found.history);
    act->found.history = NULL;
}
