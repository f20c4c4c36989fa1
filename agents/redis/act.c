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

    if (act->acts.running) {
        (void)uv_timer_start(timer, on_rewrite, HA_REDIS_REWRITE_MS, 0);
        return;
    }
    batch = ha_redis_batch_new(on_rewritten, act);
    HA_REDIS_ADD(batch, "CONFIG", "REWRITE");
    (void)ha_redis_link_send(act->link, batch, HA_REDIS_PAUSE_MAX_MS); /* best effort */
}

/* Nothing of the act is under way after this. */
static void put_away(void *owner)
{
    struct ha_redis_act *act = owner;
    struct ha_redis_batch *batch = act->batch;

    act->batch = NULL;
    if (batch != NULL)
        ha_redis_link_give_up(act->link, batch);
    if (act->save != NULL)
        ha_redis_save_give_up(act->save);
    act->save = NULL;
    if (act->acts.stopped)
        return;
    (void)uv_timer_stop(&act->poll);
    if (act->changed && act->facts.info.config_file[0] != '\0')
        (void)uv_timer_start(&act->rewrite, on_rewrite, HA_REDIS_REWRITE_MS, 0);
}

static void fill(void *owner, struct ha_acted *ret_acted)
{
    struct ha_redis_act *act = owner;

    ret_acted->sample = act->facts.sample;
    ret_acted->pid = act->facts.pid;
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
    rc = ha_redis_link_send(act->link, batch, act->acts.ask.deadline_ms);
    if (rc == HA_OK)
        act->batch = batch;
    else
        ha_acts_end_later(&act->acts, rc);
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
    ha_acts_end(&act->acts, HA_OK);
}

void ha_redis_act_fail(struct ha_redis_act *act, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    ha_acts_fail(&act->acts, code, format, args);
    va_end(args);
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
    ha_redis_act_fail(act, ha_redis_error_code(reply->str), "%s: %s", act->acts.doing, reply->str);
    return false;
}

static void begin(void *owner)
{
    struct ha_redis_act *act = owner;

    act->changed = false;
    if (act->acts.ask.kind == HA_ORDER_PROMOTE)
        ha_redis_act_promote(act);
    else if (act->acts.ask.kind == HA_ORDER_SERVE)
        ha_redis_act_serve(act);
    else if (act->acts.ask.kind == HA_ORDER_DRAIN)
        ha_redis_act_drain(act);
    else
        ha_redis_act_follow(act);
}

static const struct ha_acts_ops ops = {begin, put_away, fill};

void ha_redis_act_init(struct ha_redis_act *act, struct ha_redis_link *link, const char *data_dir,
                       void *data)
{
    memset(act, 0, sizeof(*act));
    act->link = link;
    act->poll.data = act;
    act->rewrite.data = act;
    /* One that is too long stays empty: then the server is asked. */
    if (data_dir != NULL)
        (void)ha_text_copy(act->data_dir, sizeof(act->data_dir), data_dir);
    ha_acts_init(&act->acts, link->loop, &ops, act, data);
    (void)uv_timer_init(link->loop, &act->poll); /* always 0 */
    (void)uv_timer_init(link->loop, &act->rewrite);
}

int ha_redis_act_start(struct ha_redis_act *act, const struct ha_act *ask, ha_link_act_cb cb)
{
    if (ask->kind != HA_ORDER_PROMOTE && ask->kind != HA_ORDER_SERVE &&
        ask->kind != HA_ORDER_DRAIN && ask->kind != HA_ORDER_FOLLOW)
        return HA_ENOTSUP;
    return ha_acts_start(&act->acts, ask, cb);
}

void ha_redis_act_stop(struct ha_redis_act *act)
{
    act->batch = NULL; /* the link frees its batches without callbacks */
    ha_acts_stop(&act->acts);
}
