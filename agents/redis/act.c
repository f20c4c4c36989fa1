#include "agents/redis/act.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "lib/io/loop.h"

/* Not 0: a timer that is due at once would run again before the loop looks at its sockets. */
#define LAST_LOOK_MS 1

static void on_rewritten(void *data, const struct ha_redis_outcome *outcome)
{
    (void)data;
    if (outcome->code != HA_OK)
        HA_LOG(HA_LOG_WARN, "redis-config-rewrite", "why=%s", HA_QUOTE(outcome->text));
    else if (outcome->replies[0]->type == REDIS_REPLY_ERROR)
        HA_LOG(HA_LOG_WARN, "redis-config-rewrite", "why=%s", HA_QUOTE(outcome->replies[0]->str));
}

/* What the server was told must survive its restart. */
static void on_rewrite(uv_timer_t *timer)
{
    struct ha_redis_act *act = timer->data;
    struct ha_redis_batch *batch;

    if (act->running) {
        (void)uv_timer_start(timer, on_rewrite, HA_REDIS_REWRITE_MS, 0);
        return;
    }
    batch = ha_redis_batch_new(on_rewritten, act);
    HA_REDIS_ADD(batch, "CONFIG", "REWRITE");
    (void)ha_redis_link_send(act->link, batch, HA_REDIS_PAUSE_MAX_MS); /* best effort */
}

/* Nothing of the act is under way after this. */
static void put_away(struct ha_redis_act *act)
{
    struct ha_redis_batch *batch = act->batch;

    act->batch = NULL;
    if (batch != NULL)
        ha_redis_link_give_up(act->link, batch);
    if (act->save != NULL)
        ha_redis_save_give_up(act->save);
    act->save = NULL;
    if (!act->stopped)
        (void)uv_timer_stop(&act->poll);
}

static void on_next(uv_timer_t *timer);

/* The only way out. The callback may start or cancel others and close the link. */
static void finish(struct ha_redis_act *act, int code)
{
    struct ha_acted acted = act->acted;
    struct ha_redis_ask ask = act->asks[0];

    assert(act->ask_count > 0);
    put_away(act);
    acted.service = ask.act.service;
    acted.ticket = ask.act.ticket;
    acted.code = code;
    if (code == HA_OK) {
        acted.sampled = true;
        acted.sample = act->facts.sample;
        acted.pid = act->facts.pid;
    } else if (acted.text[0] == '\0') {
        (void)ha_text_format(acted.text, sizeof(acted.text), "%s", ha_code_text(code));
    }
    act->running = false;
    act->acted = (struct ha_acted){0};
    act->ask_count--;
    memmove(act->asks, act->asks + 1, act->ask_count * sizeof(act->asks[0]));
    if (!act->stopped) {
        (void)uv_timer_stop(&act->deadline);
        if (act->ask_count > 0)
            (void)uv_timer_start(&act->deadline, on_next, 0, 0);
        if (act->changed && act->facts.info.config_file[0] != '\0')
            (void)uv_timer_start(&act->rewrite, on_rewrite, HA_REDIS_REWRITE_MS, 0);
    }
    ask.cb(act->data, &acted);
}

/* End from the loop what failed or was canceled inside a call. */
static void on_end(uv_timer_t *timer)
{
    struct ha_redis_act *act = timer->data;

    finish(act, act->end_code);
}

static void end_later(struct ha_redis_act *act, int code)
{
    assert(code != HA_OK);
    act->end_code = code;
    put_away(act);
    (void)uv_timer_start(&act->deadline, on_end, 0, 0); /* fails only without a callback */
}

static void on_deadline(uv_timer_t *timer)
{
    struct ha_redis_act *act = timer->data;

    /* Timers run before sockets: after a pause of this process the answer may be waiting. */
    if (!act->last_look) {
        act->last_look = true;
        (void)uv_timer_start(timer, on_deadline, LAST_LOOK_MS, 0);
        return;
    }
    (void)ha_text_format(act->acted.text, sizeof(act->acted.text),
                         "not done within %" PRIu32 " ms: %s", act->ask.deadline_ms, act->doing);
    finish(act, HA_ETIMEDOUT);
}

static void on_batch(void *data, const struct ha_redis_outcome *outcome)
{
    struct ha_redis_act *act = data;
    ha_redis_act_step step = act->batch_step;

    act->batch = NULL;
    if (outcome->code != HA_OK)
        ha_redis_act_fail(act, outcome->code, "%s", outcome->text);
    else
        step(act, outcome);
}

struct ha_redis_batch *ha_redis_act_batch(struct ha_redis_act *act)
{
    return ha_redis_batch_new(on_batch, act);
}

void ha_redis_act_send(struct ha_redis_act *act, struct ha_redis_batch *batch,
                       ha_redis_act_step step)
{
    int rc;

    assert(act->batch == NULL);
    act->batch_step = step;
    rc = ha_redis_link_send(act->link, batch, act->ask.deadline_ms);
    if (rc == HA_OK)
        act->batch = batch;
    else
        end_later(act, rc);
}

static void on_poll(uv_timer_t *timer)
{
    struct ha_redis_act *act = timer->data;

    act->poll_step(act, NULL);
}

void ha_redis_act_poll(struct ha_redis_act *act, ha_redis_act_step step)
{
    act->poll_step = step;
    (void)uv_timer_start(&act->poll, on_poll, HA_REDIS_POLL_MS, 0);
}

void ha_redis_act_done(struct ha_redis_act *act)
{
    finish(act, HA_OK);
}

void ha_redis_act_fail(struct ha_redis_act *act, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    /* A cut sentence is good enough. */
    (void)vsnprintf(act->acted.text, sizeof(act->acted.text), format, args);
    va_end(args);
    finish(act, code);
}

bool ha_redis_act_look(struct ha_redis_act *act, const struct ha_redis_outcome *outcome,
                       uint32_t at)
{
    ha_redis_facts_read(outcome, at, &act->facts);
    switch (act->facts.sample.answer) {
    case HA_ANSWER_OK:
        return true;
    case HA_ANSWER_STARTING:
    case HA_ANSWER_BUSY:
        ha_redis_act_fail(act, HA_EBUSY, "%s", act->facts.sample.text);
        return false;
    case HA_ANSWER_DENIED:
        ha_redis_act_fail(act, HA_EDENIED, "%s", act->facts.sample.text);
        return false;
    case HA_ANSWER_NONE:
    case HA_ANSWER_FULL:
    case HA_ANSWER_REFUSED:
    case HA_ANSWER_CLOSED:
    case HA_ANSWER_UNREACHABLE:
        ha_redis_act_fail(act, HA_EPROTO, "%s", act->facts.sample.text);
        return false;
    }
    HA_UNREACHABLE();
}

bool ha_redis_act_check(struct ha_redis_act *act, const struct ha_redis_outcome *outcome,
                        uint32_t at)
{
    const redisReply *reply = outcome->replies[at];

    assert(at < outcome->count);
    if (reply->type != REDIS_REPLY_ERROR)
        return true;
    ha_redis_act_fail(act, ha_redis_error_code(reply->str), "%s: %s", act->doing, reply->str);
    return false;
}

uint32_t ha_redis_act_age_ms(const struct ha_redis_act *act)
{
    uint64_t age_ms = ha_clock_mono_ms() - act->start_ms;

    return age_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)age_ms;
}

void ha_redis_act_init(struct ha_redis_act *act, struct ha_redis_link *link, const char *data_dir,
                       void *data)
{
    memset(act, 0, sizeof(*act));
    act->link = link;
    act->data = data;
    act->deadline.data = act;
    act->poll.data = act;
    act->rewrite.data = act;
    /* One that is too long stays empty: then the server is asked. */
    if (data_dir != NULL)
        (void)ha_text_copy(act->data_dir, sizeof(act->data_dir), data_dir);
    (void)uv_timer_init(link->loop, &act->deadline); /* always 0 */
    (void)uv_timer_init(link->loop, &act->poll);
    (void)uv_timer_init(link->loop, &act->rewrite);
}

static void begin(struct ha_redis_act *act)
{
    act->ask = act->asks[0].act;
    act->running = true;
    act->start_ms = ha_clock_mono_ms();
    act->last_look = false;
    act->changed = false;
    act->doing = "looking at the server";
    ha_loop_after(&act->deadline, on_deadline, act->ask.deadline_ms);
    if (act->ask.kind == HA_ORDER_PROMOTE)
        ha_redis_act_promote(act);
    else if (act->ask.kind == HA_ORDER_SERVE)
        ha_redis_act_serve(act);
    else if (act->ask.kind == HA_ORDER_DRAIN)
        ha_redis_act_drain(act);
    else
        ha_redis_act_follow(act);
}

static void on_next(uv_timer_t *timer)
{
    struct ha_redis_act *act = timer->data;

    if (act->asks[0].canceled)
        finish(act, HA_ECANCELED);
    else
        begin(act);
}

int ha_redis_act_start(struct ha_redis_act *act, const struct ha_act *ask, ha_link_act_cb cb)
{
    assert(ask != NULL);
    assert(cb != NULL);
    assert(ask->deadline_ms > 0);

    if (ask->kind != HA_ORDER_PROMOTE && ask->kind != HA_ORDER_SERVE &&
        ask->kind != HA_ORDER_DRAIN && ask->kind != HA_ORDER_FOLLOW)
        return HA_ENOTSUP;
    if (act->ask_count == HA_REDIS_ASKS_MAX ||
        (act->ask_count > 0 && !act->asks[act->ask_count - 1].canceled))
        return HA_EBUSY;
    act->asks[act->ask_count++] = (struct ha_redis_ask){.act = *ask, .cb = cb};
    if (act->ask_count == 1)
        begin(act);
    return HA_OK;
}

void ha_redis_act_cancel(struct ha_redis_act *act)
{
    struct ha_redis_ask *last;

    if (act->ask_count == 0)
        return;
    last = &act->asks[act->ask_count - 1];
    if (last->canceled)
        return;
    last->canceled = true;
    if (act->ask_count == 1 && act->running)
        end_later(act, HA_ECANCELED);
}

void ha_redis_act_stop(struct ha_redis_act *act)
{
    act->stopped = true;
    act->batch = NULL; /* the link frees its batches without callbacks */
    put_away(act);
}

void ha_redis_act_closed(struct ha_redis_act *act)
{
    assert(act->stopped);
    while (act->ask_count > 0)
        finish(act, HA_ECANCELED);
}
