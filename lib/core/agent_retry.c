/* Orders to follow that come to nothing are said again twice a second: a database that cannot
 * start, or ends soon after, is not started that often. The wait doubles with each try in a row and
 * is told; it ends early with an order that says something else. */
#include <inttypes.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/agent_parts.h"

enum {
    FIRST_MS = 500,
    GONE_MAX_MS = 15000,   /* where it has to be started */
    RUNNING_MAX_MS = 2000, /* where it only has to be told */
    STEADY_MS = 10000,     /* it ran for that long: what was before does not count */
};

static void fell(struct ha_held *held, const char *why, uint64_t now_ms)
{
    uint64_t max_ms = held->process == HA_PROCESS_RUNNING ? RUNNING_MAX_MS : GONE_MAX_MS;
    uint64_t wait_ms = (uint64_t)FIRST_MS << (held->falls < 10 ? held->falls : 10);
    char text[HA_TEXT_SIZE];

    held->falls++;
    if (wait_ms > max_ms)
        wait_ms = max_ms;
    held->retry_ms = now_ms + wait_ms;
    (void)ha_text_copy(text, sizeof(text), why);
    if (held->falls > 1) /* a cut sentence is good enough */
        (void)ha_text_format(held->text, sizeof(held->text),
                             "%.150s (%" PRIu32 " times, again after %" PRIu64 " s)", text,
                             held->falls, (wait_ms + 999) / 1000);
    else
        (void)ha_text_format(held->text, sizeof(held->text), "%s", text);
    held->beat_now = true;
}

void ha_held_retry_failed(struct ha_held *held, int code, uint64_t now_ms)
{
    char text[HA_TEXT_SIZE];

    if (held->order.kind != HA_ORDER_FOLLOW || code == HA_ECANCELED) /* made to end */
        return;
    (void)ha_text_copy(text, sizeof(text), held->text);
    fell(held, text, now_ms);
}

void ha_held_retry_process(struct ha_held *held, bool ran, uint64_t now_ms)
{
    if (held->process == HA_PROCESS_RUNNING) {
        held->running_ms = now_ms;
        return;
    }
    /* The end of an act under way, or of an epoch, is told by that. */
    if (!ran || held->order.kind != HA_ORDER_FOLLOW || held->ticket != 0 ||
        now_ms - held->running_ms >= STEADY_MS)
        return;
    held->result = HA_RESULT_FAILED;
    fell(held, "the database ended soon after it was started", now_ms);
}

void ha_held_retry_answered(struct ha_held *held, bool again, uint64_t now_ms)
{
    if (again)
        held->retry_ms = 0; /* what did not answer and failed by that may go better now */
    if (held->falls == 0 || held->result != HA_RESULT_DONE || held->process != HA_PROCESS_RUNNING ||
        now_ms - held->running_ms < STEADY_MS)
        return;
    held->falls = 0;
    held->retry_ms = 0;
}

bool ha_held_retry_waits(const struct ha_held *held, uint64_t now_ms)
{
    return held->result == HA_RESULT_FAILED && now_ms < held->retry_ms;
}
