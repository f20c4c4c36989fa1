#include "lib/core/detect.h"

#include <inttypes.h>

#include "lib/base/check.h"
#include "lib/base/text.h"

static uint64_t since(uint64_t now_ms, uint64_t then_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

/* An answer that proves a living database process, whatever it says. */
static bool is_alive(enum ha_answer answer)
{
    switch (answer) {
    case HA_ANSWER_OK:
    case HA_ANSWER_STARTING:
    case HA_ANSWER_BUSY:
    case HA_ANSWER_FULL:
    case HA_ANSWER_DENIED:
        return true;
    case HA_ANSWER_NONE:
    case HA_ANSWER_REFUSED:
    case HA_ANSWER_CLOSED:
    case HA_ANSWER_UNREACHABLE:
        return false;
    }
    HA_UNREACHABLE();
}

void ha_watch_probed(struct ha_watch *watch, const struct ha_sample *sample, uint64_t now_ms)
{
    if (!watch->probed || watch->sample.answer != sample->answer)
        watch->state_since_ms = now_ms;
    if (is_alive(sample->answer))
        watch->answered_ms = now_ms;
    if (sample->answer != HA_ANSWER_REFUSED)
        watch->refused_since_ms = 0;
    else if (watch->refused_since_ms == 0)
        watch->refused_since_ms = now_ms;
    watch->probed = true;
    watch->sample = *sample;
}

static void alive(struct ha_watch *watch, uint64_t now_ms)
{
    enum { GAP_MS = 1000 };

    if (!watch->heard || since(now_ms, watch->heard_ms) >= GAP_MS)
        watch->heard_since_ms = now_ms;
    watch->heard_ms = now_ms;
}

void ha_watch_heard(struct ha_watch *watch, const struct ha_heartbeat *heartbeat, uint64_t now_ms)
{
    if (!watch->heard || watch->instance != heartbeat->instance ||
        watch->status.sample.answer != heartbeat->status.sample.answer)
        watch->said_since_ms = now_ms;
    if (!watch->heard || watch->status.sample.link_up)
        watch->unlinked_ms = now_ms;
    alive(watch, now_ms);
    watch->heard = true;
    watch->instance = heartbeat->instance;
    watch->stamp = heartbeat->stamp;
    watch->told_ms = now_ms;
    watch->status = heartbeat->status;
    if (heartbeat->status.sample.answer == HA_ANSWER_OK && heartbeat->status.answer_age_ms < now_ms)
        watch->position_ms = now_ms - heartbeat->status.answer_age_ms;
}

void ha_watch_repeated(struct ha_watch *watch, const struct ha_service_config *config,
                       uint64_t now_ms)
{
    uint64_t age_ms = 2 * (uint64_t)config->probe_ms;

    alive(watch, now_ms);
    if (watch->status.sample.answer == HA_ANSWER_OK && now_ms > age_ms &&
        now_ms - age_ms > watch->position_ms)
        watch->position_ms = now_ms - age_ms;
}

bool ha_watch_agent_counts(const struct ha_watch *watch, const struct ha_suspect *suspect,
                           const struct ha_service_config *config, uint64_t now_ms)
{
    if (!watch->heard || since(now_ms, watch->heard_ms) >= config->down_after_ms)
        return false;
    return !suspect->is_primary || watch->instance == suspect->instance;
}

/* Alive for now; the longest it may stay so without being able to work. */
static enum ha_verdict alive_but(enum ha_answer answer, uint64_t lasting_ms,
                                 const struct ha_service_config *config)
{
    switch (answer) {
    case HA_ANSWER_STARTING:
        return lasting_ms < config->starting_max_ms ? HA_VERDICT_STARTING : HA_VERDICT_HUNG;
    case HA_ANSWER_BUSY:
        return lasting_ms < config->busy_max_ms ? HA_VERDICT_BUSY : HA_VERDICT_HUNG;
    case HA_ANSWER_FULL:
        return HA_VERDICT_FULL;
    case HA_ANSWER_OK:
    case HA_ANSWER_DENIED:
    case HA_ANSWER_NONE:
    case HA_ANSWER_REFUSED:
    case HA_ANSWER_CLOSED:
    case HA_ANSWER_UNREACHABLE:
        return HA_VERDICT_UP;
    }
    HA_UNREACHABLE();
}

static enum ha_verdict by_agent(const struct ha_watch *watch,
                                const struct ha_service_config *config, uint64_t now_ms)
{
    const struct ha_status *status = &watch->status;

    if (status->process == HA_PROCESS_GONE)
        return HA_VERDICT_CRASHED;
    /* As it said then: what it would say since is silence, which has a limit of its own. */
    if (status->answer_age_ms >= config->hang_after_ms) {
        /* The agent cannot get an answer; our own probe may show that it is the agent's fault. */
        if (watch->probed && is_alive(watch->sample.answer) &&
            since(now_ms, watch->answered_ms) < config->hang_after_ms)
            return alive_but(watch->sample.answer, since(now_ms, watch->state_since_ms), config);
        return HA_VERDICT_HUNG;
    }
    if (status->sample.answer == HA_ANSWER_OK && !status->sample.writable)
        return HA_VERDICT_UNWRITABLE;
    return alive_but(status->sample.answer, since(now_ms, watch->said_since_ms), config);
}

static enum ha_verdict by_probe(const struct ha_watch *watch, const struct ha_suspect *suspect,
                                const struct ha_service_config *config, uint64_t now_ms)
{
    /* "Who": the word of another instance is no sign of life of the primary. */
    bool own = !suspect->is_primary || watch->instance == suspect->instance;
    /* Behind a gate whose lease has run out an answer of the database is no service to anyone, nor
     * is that of a replica, where the holder's own agent does not speak for it. */
    bool serves = !suspect->lease_ran_out &&
                  (own || !suspect->has_agent || watch->sample.answer != HA_ANSWER_OK ||
                   watch->sample.role != HA_ROLE_REPLICA);
    uint64_t answered_ms = serves ? watch->answered_ms : 0;
    uint64_t contact_ms = own && watch->heard_ms > answered_ms ? watch->heard_ms : answered_ms;

    if (answered_ms != 0 && since(now_ms, answered_ms) < config->down_after_ms &&
        is_alive(watch->sample.answer))
        return alive_but(watch->sample.answer, since(now_ms, watch->state_since_ms), config);
    /* The time that has passed is not theirs. */
    if (suspect->unread)
        return watch->verdict;
    if (watch->refused_since_ms != 0 &&
        since(now_ms, watch->refused_since_ms) >= config->refused_confirm_ms)
        return HA_VERDICT_REFUSED;
    if (contact_ms == 0)
        contact_ms = watch->verdict_ms; /* never heard: count from when we began to look */
    if (since(now_ms, contact_ms) < config->down_after_ms)
        return watch->verdict;
    /* Silent to us but not to its replicas: the network between is the likelier cause. Its lease
     * bounds the wait where it has one; where it has none, its replicas' word decides. */
    if (suspect->replicas_hear && serves)
        return watch->verdict;
    return HA_VERDICT_SILENT;
}

enum ha_verdict ha_detect(const struct ha_watch *watch, const struct ha_suspect *suspect,
                          const struct ha_service_config *config, uint64_t now_ms)
{
    if (suspect->has_agent && ha_watch_agent_counts(watch, suspect, config, now_ms))
        return by_agent(watch, config, now_ms);
    return by_probe(watch, suspect, config, now_ms);
}

/* Alive, but for longer than it may: what it says of itself. False: it says nothing. */
static bool explain_unable(const struct ha_watch *watch, uint64_t now_ms, char text[HA_TEXT_SIZE])
{
    const struct ha_sample *said = watch->heard ? &watch->status.sample : &watch->sample;
    uint64_t since_ms = watch->heard ? watch->said_since_ms : watch->state_since_ms;

    if (said->answer != HA_ANSWER_STARTING && said->answer != HA_ANSWER_BUSY)
        return false;
    (void)ha_text_format(text, HA_TEXT_SIZE, "has been %s for %" PRIu64 " ms: %.120s",
                         ha_answer_text(said->answer), since(now_ms, since_ms), said->text);
    return true;
}

void ha_detect_explain(const struct ha_watch *watch, enum ha_verdict verdict, uint64_t now_ms,
                       char text[HA_TEXT_SIZE])
{
    text[0] = '\0';
    switch (verdict) {
    case HA_VERDICT_CRASHED:
        (void)ha_text_copy(text, HA_TEXT_SIZE,
                           "the agent reports that the database process is gone");
        return;
    case HA_VERDICT_REFUSED:
        (void)ha_text_format(text, HA_TEXT_SIZE, "connections refused for %" PRIu64 " ms",
                             since(now_ms, watch->refused_since_ms));
        return;
    case HA_VERDICT_SILENT:
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "no heartbeat for %" PRIu64 " ms, no answer for %" PRIu64 " ms",
                             since(now_ms, watch->heard_ms), since(now_ms, watch->answered_ms));
        return;
    case HA_VERDICT_HUNG:
        if (explain_unable(watch, now_ms, text))
            return;
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "the agent is alive, the database has not answered it for %" PRIu64
                             " ms",
                             (uint64_t)watch->status.answer_age_ms);
        return;
    case HA_VERDICT_UNWRITABLE:
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "answers, but fails the agent's write check: %.120s",
                             watch->status.sample.text);
        return;
    case HA_VERDICT_UNKNOWN:
    case HA_VERDICT_UP:
    case HA_VERDICT_STARTING:
    case HA_VERDICT_BUSY:
    case HA_VERDICT_FULL:
        (void)ha_text_copy(text, HA_TEXT_SIZE, watch->sample.text);
        return;
    }
    HA_UNREACHABLE();
}
