#include "agents/acts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/loop.h"

/* Not 0: a timer that is due at once would run again before the loop looks at its sockets. */
#define LAST_LOOK_MS 1

static void on_next(uv_timer_t *timer);

void ha_acts_end(struct ha_acts *acts, int code)
{
    struct ha_acted acted = acts->acted;
    ha_link_act_cb cb = acts->asked[0].cb;

    assert(acts->count > 0);
    acts->ops->put_away(acts->owner);
    acted.service = acts->asked[0].act.service;
    acted.ticket = acts->asked[0].act.ticket;
    acted.code = code;
    if (code == HA_OK) {
        acted.sampled = true;
        acts->ops->fill(acts->owner, &acted);
    } else if (acted.text[0] == '\0') {
        (void)ha_text_format(acted.text, sizeof(acted.text), "%s", ha_code_text(code));
    }
    acts->running = false;
    acts->acted = (struct ha_acted){0};
    acts->count--;
    memmove(acts->asked, acts->asked + 1, acts->count * sizeof(acts->asked[0]));
    if (!acts->stopped) {
        (void)uv_timer_stop(&acts->deadline);
        if (acts->count > 0)
            (void)uv_timer_start(&acts->deadline, on_next, 0, 0);
    }
    cb(acts->data, &acted);
}

static void on_end(uv_timer_t *timer)
{
    struct ha_acts *acts = timer->data;

    ha_acts_end(acts, acts->end_code);
}

void ha_acts_end_later(struct ha_acts *acts, int code)
{
    assert(code != HA_OK);
    acts->end_code = code;
    acts->ops->put_away(acts->owner);
    (void)uv_timer_start(&acts->deadline, on_end, 0, 0); /* fails only without a callback */
}

void ha_acts_fail(struct ha_acts *acts, int code, const char *format, va_list args)
{
    (void)vsnprintf(acts->acted.text, sizeof(acts->acted.text), format, args);
    ha_acts_end(acts, code);
}

static void on_deadline(uv_timer_t *timer)
{
    struct ha_acts *acts = timer->data;

    /* Timers run before sockets: after a pause of this process the answer may be waiting. */
    if (!acts->last_look) {
        acts->last_look = true;
        (void)uv_timer_start(timer, on_deadline, LAST_LOOK_MS, 0);
        return;
    }
    (void)ha_text_format(acts->acted.text, sizeof(acts->acted.text),
                         "not done within %" PRIu32 " ms: %s", acts->ask.deadline_ms, acts->doing);
    ha_acts_end(acts, HA_ETIMEDOUT);
}

void ha_acts_prolong(struct ha_acts *acts, uint32_t ms)
{
    acts->last_look = false;
    ha_loop_after(&acts->deadline, on_deadline, ms);
}

uint32_t ha_acts_age_ms(const struct ha_acts *acts)
{
    uint64_t age_ms = ha_clock_mono_ms() - acts->start_ms;

    return age_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)age_ms;
}

void ha_acts_init(struct ha_acts *acts, uv_loop_t *loop, const struct ha_acts_ops *ops, void *owner,
                  void *data)
{
    memset(acts, 0, sizeof(*acts));
    acts->ops = ops;
    acts->owner = owner;
    acts->data = data;
    acts->deadline.data = acts;
    (void)uv_timer_init(loop, &acts->deadline); /* always 0 */
}

static void begin(struct ha_acts *acts)
{
    acts->ask = acts->asked[0].act;
    acts->running = true;
    acts->start_ms = ha_clock_mono_ms();
    acts->doing = "looking at the server";
    ha_acts_prolong(acts, acts->ask.deadline_ms);
    acts->ops->begin(acts->owner);
}

static void on_next(uv_timer_t *timer)
{
    struct ha_acts *acts = timer->data;

    if (acts->asked[0].canceled)
        ha_acts_end(acts, HA_ECANCELED);
    else
        begin(acts);
}

int ha_acts_start(struct ha_acts *acts, const struct ha_act *ask, ha_link_act_cb cb)
{
    assert(ask != NULL);
    assert(cb != NULL);
    assert(ask->deadline_ms > 0);

    if (acts->count == HA_ACTS_MAX || (acts->count > 0 && !acts->asked[acts->count - 1].canceled))
        return HA_EBUSY;
    acts->asked[acts->count].act = *ask;
    acts->asked[acts->count].cb = cb;
    acts->asked[acts->count].canceled = false;
    acts->count++;
    if (acts->count == 1)
        begin(acts);
    return HA_OK;
}

void ha_acts_cancel(struct ha_acts *acts)
{
    if (acts->count == 0 || acts->asked[acts->count - 1].canceled)
        return;
    acts->asked[acts->count - 1].canceled = true;
    if (acts->count == 1 && acts->running)
        ha_acts_end_later(acts, HA_ECANCELED);
}

void ha_acts_stop(struct ha_acts *acts)
{
    acts->stopped = true;
    acts->ops->put_away(acts->owner);
}

void ha_acts_closed(struct ha_acts *acts)
{
    assert(acts->stopped);
    while (acts->count > 0)
        ha_acts_end(acts, HA_ECANCELED);
}
