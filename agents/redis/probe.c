#include "agents/redis/probe.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "agents/redis/facts.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/loop.h"

/* Enough to outlive a dying process's listener, few enough not to harass a living one. */
#define TRIES 5
/* Not 0: a timer that is due at once would run again before the loop looks at its sockets. */
#define LAST_LOOK_MS 1

/* The only way out; the callback is the last touch. */
static void finish(struct ha_redis_probe *probe, struct ha_probed *probed)
{
    uint64_t took_ms = ha_clock_mono_ms() - probe->start_ms;

    assert(probe->active);
    probed->took_ms = took_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)took_ms;
    probe->active = false;
    probe->batch = NULL;
    if (!uv_is_closing((uv_handle_t *)&probe->timer))
        (void)uv_timer_stop(&probe->timer);
    probe->cb(probe->data, probed);
}

static int ask(struct ha_redis_probe *probe);

static void on_answers(void *data, const struct ha_redis_outcome *outcome)
{
    struct ha_redis_probe *probe = data;
    struct ha_probed probed = {.code = HA_OK};
    struct ha_redis_facts facts;

    /* A process that is killed closes its connections a moment before its listener: whoever comes
     * in between is taken and dropped. Ask again, and the answer is the clearer "refused". */
    probe->batch = NULL;
    if (outcome->code == HA_ECLOSED && probe->fresh && probe->tries_left > 0 && ask(probe) == HA_OK)
        return;
    ha_redis_facts_read(outcome, 0, &facts);
    probed.sample = facts.sample;
    probed.pid = facts.pid;
    finish(probe, &probed);
}

static void on_deadline(uv_timer_t *timer)
{
    struct ha_redis_probe *probe = timer->data;
    struct ha_probed probed = {.code = HA_OK,
                               .sample = {.answer = HA_ANSWER_NONE, .writable = true}};

    /* Timers run before sockets: after a pause of this process the answer may be waiting. Silence
     * is only what is still silent after one look at the socket. */
    if (!probe->last_look && probe->code == HA_OK) {
        probe->last_look = true;
        (void)uv_timer_start(timer, on_deadline, LAST_LOOK_MS, 0);
        return;
    }
    if (probe->code != HA_OK)
        (void)ha_text_format(probed.sample.text, sizeof(probed.sample.text),
                             "the probe could not be sent: %s", ha_code_text(probe->code));
    else
        (void)ha_text_format(
            probed.sample.text, sizeof(probed.sample.text), "%s within %" PRIu32 " ms",
            probe->link->state == HA_REDIS_LINK_OPEN ? "connected, but no answer" : "no connection",
            probe->timeout_ms);
    if (probe->batch != NULL)
        ha_redis_link_give_up(probe->link, probe->batch);
    finish(probe, &probed);
}

void ha_redis_probe_init(struct ha_redis_probe *probe, struct ha_redis_link *link, void *data)
{
    memset(probe, 0, sizeof(*probe));
    probe->link = link;
    probe->data = data;
    probe->timer.data = probe;
    (void)uv_timer_init(link->loop, &probe->timer); /* always 0 */
}

static int ask(struct ha_redis_probe *probe)
{
    struct ha_redis_batch *batch = ha_redis_batch_new(on_answers, probe);
    int rc;

    probe->tries_left--;
    probe->fresh = probe->link->state != HA_REDIS_LINK_OPEN;
    ha_redis_facts_ask(batch);
    rc = ha_redis_link_send(probe->link, batch, probe->timeout_ms);
    if (rc == HA_OK)
        probe->batch = batch;
    return rc;
}

int ha_redis_probe_start(struct ha_redis_probe *probe, uint32_t timeout_ms, ha_link_probe_cb cb)
{
    int rc;

    assert(timeout_ms > 0);
    assert(cb != NULL);

    if (probe->active)
        return HA_EBUSY;
    probe->active = true;
    probe->last_look = false;
    probe->cb = cb;
    probe->timeout_ms = timeout_ms;
    probe->start_ms = ha_clock_mono_ms();
    probe->tries_left = TRIES;
    rc = ask(probe);
    probe->code = rc;
    ha_loop_after(&probe->timer, on_deadline, rc == HA_OK ? timeout_ms : 0);
    return HA_OK;
}

void ha_redis_probe_closed(struct ha_redis_probe *probe)
{
    struct ha_probed probed = {.code = HA_ECANCELED};

    if (probe->active)
        finish(probe, &probed);
}
