#include "lib/core/agent.h"

#include <assert.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/agent_parts.h"

enum {
    TICK_EFFECTS_MAX = 24, /* more than one service needs in one tick */
    CLAIM_BEAT_MS = 5,     /* between heartbeats that ask for the first promises of an epoch ... */
    CLAIMS_AT_ONCE = 4,    /* ... for that many epochs; those beyond wait for further turns */
    CLAIM_FAST_MS = 3000,
};

void ha_agent_init(struct ha_agent *a, uint64_t instance, enum ha_gate gate)
{
    assert(instance != HA_INSTANCE_NONE);
    memset(a, 0, sizeof(*a));
    a->instance = instance;
    a->gate = gate;
    a->wake_ms = UINT64_MAX;
}

/* Its place in the table, or HA_SERVICES_MAX. */
static uint32_t place_of(const struct ha_agent *a, uint32_t service)
{
    uint32_t at = a->places[service % HA_SERVICES_MAX];

    if (at < a->held_count && a->held[at].used && a->held[at].settings.service == service)
        return at;
    /* Another one with an id that ends alike was put in last. */
    for (at = 0; at < a->held_count; at++)
        if (a->held[at].used && a->held[at].settings.service == service)
            return at;
    return HA_SERVICES_MAX;
}

static struct ha_held *find(struct ha_agent *a, uint32_t service)
{
    uint32_t at = place_of(a, service);

    return at < HA_SERVICES_MAX ? &a->held[at] : NULL;
}

const struct ha_held *ha_agent_held(const struct ha_agent *a, uint32_t service)
{
    uint32_t at = place_of(a, service);

    return at < HA_SERVICES_MAX ? &a->held[at] : NULL;
}

bool ha_agent_may_forget(const struct ha_agent *a, uint32_t service)
{
    const struct ha_held *held = ha_agent_held(a, service);

    return held == NULL || (held->settings.gone && !held->giving_up && held->ticket == 0 &&
                            held->epoch == HA_EPOCH_NONE && held->gate_until_ms == 0);
}

static struct ha_held *find_or_add(struct ha_agent *a, uint32_t service)
{
    struct ha_held *held = find(a, service);

    /* An unused place first; ids never come again, so what is over with a deleted one may go. */
    for (uint32_t i = 0; held == NULL && i < 2 * HA_SERVICES_MAX; i++) {
        uint32_t at = i % HA_SERVICES_MAX;
        const struct ha_held *place = &a->held[at];

        if (place->used &&
            (i < HA_SERVICES_MAX || !ha_agent_may_forget(a, place->settings.service)))
            continue;
        held = &a->held[at];
        memset(held, 0, sizeof(*held));
        held->used = true;
        held->settings.service = service;
        a->places[service % HA_SERVICES_MAX] = at;
        a->due_ms[at] = 0;
        if (at >= a->held_count)
            a->held_count = at + 1;
    }
    return held;
}

int ha_agent_load(struct ha_agent *a, const struct ha_effect_epochs *epochs)
{
    struct ha_held *held = find_or_add(a, epochs->service);

    if (held == NULL)
        return HA_EFULL;
    held->epoch_seen = held->epoch_seen_durable = epochs->epoch_seen;
    held->given_up = held->given_up_durable = epochs->given_up;
    held->given_up_why = epochs->given_up_why;
    held->serving_epoch = epochs->serving_epoch;
    held->serving_run = epochs->serving_run;
    held->sealed = held->sealed_durable = epochs->sealed;
    held->sync_epoch = epochs->sync_epoch;
    held->sync_index = held->sync_index_durable = epochs->sync_index;
    held->hold.terms = epochs->hold;
    held->hold.index_durable = epochs->hold.index;
    /* A later epoch was taken only after the gate of the one given up was seen closed; otherwise
     * the last run may have ended before that. */
    if (held->serving_epoch > held->given_up)
        held->given_up_told = held->given_up;
    else
        held->giving_up = held->given_up != HA_EPOCH_NONE;
    (void)ha_text_copy(held->settings.service_name, sizeof(held->settings.service_name),
                       epochs->service_name);
    return HA_OK;
}

/* What happens to one service */

static void on_promise(struct ha_agent *a, const struct ha_event_promise *event, uint64_t now_ms,
                       struct ha_effects *out)
{
    struct ha_held *held = find(a, event->promise->service);

    if (held != NULL)
        ha_held_promised(a, held, event, now_ms, out);
}

static void on_process(struct ha_agent *a, const struct ha_event_process *event, uint64_t now_ms,
                       struct ha_effects *out)
{
    struct ha_held *held = find(a, event->service);

    if (held != NULL)
        ha_held_process(held, event, now_ms, out);
}

static void on_sampled(struct ha_agent *a, const struct ha_event_sampled *event, uint64_t now_ms,
                       struct ha_effects *out)
{
    struct ha_held *held = find(a, event->service);

    if (held != NULL)
        ha_held_sampled(held, event, now_ms, out);
}

static void on_acted(struct ha_agent *a, const struct ha_event_acted *event, uint64_t now_ms,
                     struct ha_effects *out)
{
    struct ha_held *held = find(a, event->service);

    if (held == NULL || event->ticket != held->ticket || held->ticket == 0)
        return; /* canceled, or of an order that has been superseded */
    held->ticket = 0;
    if (event->sample != NULL)
        ha_held_take_sample(held, event->sample, now_ms, out);
    ha_held_acted(held, event->code, event->text == NULL ? "" : event->text, now_ms, out);
    ha_held_order_next(a, held, now_ms, out);
    ha_held_hold_lease(held, now_ms, out);
}

/* Settings, links, time */

bool ha_agent_is_outdated(const struct ha_agent *a, const struct ha_settings *settings)
{
    if (settings->config_version >= a->version_last)
        return false;
    for (uint32_t i = 0; i < a->held_count; i++) {
        const struct ha_settings *known = &a->held[i].settings;

        /* A service that was removed and made anew has another id and the same database. */
        if (a->held[i].used && settings->config_version < known->config_version &&
            (known->service == settings->service ||
             (!settings->gone && strcmp(known->service_name, settings->service_name) == 0)))
            return true;
    }
    return false;
}

static void on_settings(struct ha_agent *a, const struct ha_settings *settings, uint64_t now_ms,
                        struct ha_effects *out, int *ret)
{
    struct ha_held *held;

    if (ha_agent_is_outdated(a, settings))
        return;
    if (settings->config_version > a->version_last)
        a->version_last = settings->config_version;
    held = find_or_add(a, settings->service);
    if (held == NULL) {
        *ret = HA_EFULL;
        return;
    }
    if (settings->gone) {
        /* Once: the next service of this database has the same port, and this is said again. */
        if (held->settings.port != 0 && (!held->settings.gone || held->gate_until_ms != 0)) {
            ha_held_give_up(held, held->epoch, HA_VERDICT_UNKNOWN, out);
            ha_held_close_gate(held, out);
        }
        held->settings.gone = true;
        held->settings.config_version = settings->config_version;
        return;
    }
    if (held->settings.port == 0) {
        held->settings = *settings;
        held->sampled_ms = now_ms;
        /* Closed until a right to serve is shown; what the last run of this agent left open ends by
         * itself, and cutting its clients off would make an upgrade a failure. */
        if (held->serving_epoch <= held->given_up)
            ha_held_close_gate(held, out);
        ha_held_probe(held, out);
    }
    held->settings = *settings;
    held->beat_now = true;
}

/* The next turn of a period that began @shift_ms before zero. */
static uint64_t turn_ms(uint64_t period_ms, uint64_t shift_ms, uint64_t now_ms)
{
    if (period_ms == 0)
        return now_ms;
    shift_ms %= period_ms;
    return (now_ms + shift_ms) / period_ms * period_ms + period_ms - shift_ms;
}

/* All services of this host together, they share a frame; another host has another moment. */
static uint64_t next_beat_ms(const struct ha_agent *a, const struct ha_held *held, uint64_t now_ms)
{
    return turn_ms(held->settings.heartbeat_ms, a->instance, now_ms);
}

/* The databases of one host are not all asked in the same moment. */
static uint64_t next_probe_ms(const struct ha_held *held, uint64_t now_ms)
{
    enum { MOMENTS = 8 };
    uint64_t period_ms = held->settings.probe_ms;

    return turn_ms(period_ms, held->settings.service % MOMENTS * period_ms / MOMENTS, now_ms);
}

/* Watchers promise as soon as they have applied that the epoch opens: ask until they have. Where
 * many open at once their entries take time, and asking for all of them without a pause would take
 * it from those who apply. */
static void claim_sooner(struct ha_agent *a, struct ha_held *held, uint64_t now_ms)
{
    uint64_t wait_ms;

    if (held->epoch == HA_EPOCH_NONE || held->giving_up || held->serving ||
        now_ms - held->order_ms >= CLAIM_FAST_MS)
        return;
    if (now_ms - a->claims_ms >= CLAIM_BEAT_MS) {
        a->claims_ms = now_ms;
        a->claims = 0;
    }
    wait_ms = CLAIM_BEAT_MS * (1 + (uint64_t)a->claims++ / CLAIMS_AT_ONCE);
    held->beat_due_ms =
        now_ms + (wait_ms < held->settings.heartbeat_ms ? wait_ms : held->settings.heartbeat_ms);
}

static void on_tick_one(struct ha_agent *a, struct ha_held *held, uint64_t now_ms,
                        struct ha_effects *out)
{
    if (held->settings.port == 0 || (held->settings.gone && !held->beat_now && !held->unsaid))
        return;
    /* What does not fit stays due: the next tick is at once. */
    if (out->count + TICK_EFFECTS_MAX >= HA_EFFECTS_MAX)
        return;
    if (held->unsaid) {
        held->unsaid = false;
        if (held->gate_until_ms == 0)
            ha_held_close_gate(held, out);
        ha_held_persist(held, out);
    }
    ha_held_order_tick(held, now_ms, out);
    ha_held_order_next(a, held, now_ms, out);
    if (a->noteless)
        ha_held_order_noteless(held, out);
    ha_held_hold_lease(held, now_ms, out);
    /* No gate has ended what the last run left open: it ends here unless a lease comes. */
    if (a->gate == HA_GATE_PROCESS && held->resumed_ms != 0 &&
        now_ms - held->resumed_ms >= held->settings.lease_ms) {
        held->resumed_ms = 0;
        ha_held_give_up(held, held->epoch, HA_VERDICT_UNKNOWN, out);
    }
    if (now_ms >= held->probe_due_ms) {
        held->probe_due_ms = next_probe_ms(held, now_ms);
        ha_held_probe(held, out);
    }
    if (!held->beat_now && now_ms < held->beat_due_ms)
        return;
    held->beat_now = false;
    held->beat_due_ms = next_beat_ms(a, held, now_ms);
    claim_sooner(a, held, now_ms);
    ha_held_tell(a, held, now_ms, out);
    ha_held_hold_ask(a, held, now_ms, out);
}

static void on_gate_closed(struct ha_agent *a, const struct ha_event_gate_closed *event,
                           uint64_t now_ms, struct ha_effects *out)
{
    struct ha_held *held = find(a, event->service);

    /* Of an earlier close: the gate was opened since, and may be open still. */
    if (held == NULL || held->gate_until_ms != 0 || event->number != held->gate_number)
        return;
    held->gate_closed = true;
    ha_held_finish_give_up(held);
    ha_held_order_next(a, held, now_ms, out);
}

static void on_persisted(struct ha_agent *a, const struct ha_effect_epochs_done *epochs,
                         uint64_t now_ms, struct ha_effects *out)
{
    struct ha_held *held = find(a, epochs->service);

    if (held == NULL)
        return;
    if (epochs->epoch_seen > held->epoch_seen_durable)
        held->epoch_seen_durable = epochs->epoch_seen;
    if (epochs->given_up > held->given_up_durable)
        held->given_up_durable = epochs->given_up;
    if (epochs->sealed == held->sealed)
        held->sealed_durable = epochs->sealed;
    if (epochs->sync_index == held->sync_index)
        held->sync_index_durable = epochs->sync_index;
    if (epochs->hold_index == held->hold.terms.index)
        held->hold.index_durable = epochs->hold_index;
    ha_held_hold_noted(held);
    ha_held_finish_give_up(held);
    ha_held_order_settle(held, out);
    ha_held_order_next(a, held, now_ms, out);
    ha_held_hold_lease(held, now_ms, out);
}

static void on_vip(struct ha_agent *a, const struct ha_event_vip *event, struct ha_effects *out)
{
    struct ha_held *held = find(a, event->service);

    if (held == NULL)
        return;
    /* An address nobody here claims: left over by the last run of this agent, which held nothing
     * that may be resumed. */
    if (event->held && !held->vip_wanted && held->serving_epoch == HA_EPOCH_NONE)
        ha_held_release_vip(held, out);
    if (held->vip_held == event->held && held->vip_conflict == event->conflict)
        return;
    if (event->conflict)
        (void)ha_text_copy(held->text, sizeof(held->text),
                           "another host answers for the virtual IP");
    else if (held->vip_conflict)
        held->text[0] = '\0';
    held->vip_held = event->held;
    held->vip_conflict = event->conflict;
    if (!held->giving_up) /* else told with the end of the epoch, in one word */
        held->beat_now = true;
}

static void on_hold_asked(struct ha_agent *a, const struct ha_event_hold_asked *event,
                          uint64_t now_ms, struct ha_effects *out)
{
    struct ha_held *held = find(a, event->ask->service);

    if (held != NULL)
        ha_held_hold_asked(a, held, event, now_ms, out);
}

static void on_hold_word(struct ha_agent *a, const struct ha_event_hold_word *event,
                         uint64_t now_ms, struct ha_effects *out)
{
    struct ha_held *held = find(a, event->word->service);

    if (held != NULL && ha_held_hold_word(a, held, event, now_ms))
        ha_held_hold_lease(held, now_ms, out);
}

static void on_order(struct ha_agent *a, const struct ha_order *order, uint64_t now_ms,
                     struct ha_effects *out)
{
    struct ha_held *held = find(a, order->service);

    if (held == NULL || held->settings.port == 0 || order->member != held->settings.member)
        return;
    ha_held_order(a, held, order, now_ms, out);
}

/* When time alone changes something about it; 0: now. */
static uint64_t due_ms(const struct ha_agent *a, const struct ha_held *held)
{
    uint64_t due_ms = held->probe_due_ms;

    if (!held->used || held->settings.port == 0)
        return UINT64_MAX;
    if (held->beat_now || held->unsaid)
        return 0; /* it did not fit into the last step */
    if (held->settings.gone)
        return UINT64_MAX;
    if (a->noteless && held->order.kind == HA_ORDER_PROMOTE && held->result == HA_RESULT_RUNNING)
        return 0;
    if (held->beat_due_ms < due_ms)
        due_ms = held->beat_due_ms;
    if (held->serving && held->lease_until_ms < due_ms)
        due_ms = held->lease_until_ms;
    if (held->serving && held->settings.vip[0] != '\0' && held->vip_refresh_ms < due_ms)
        due_ms = held->vip_refresh_ms;
    if (held->ticket != 0 && ha_held_order_due_ms(held) < due_ms)
        due_ms = ha_held_order_due_ms(held);
    if (ha_held_order_waits_ms(a, held) < due_ms)
        due_ms = ha_held_order_waits_ms(a, held);
    if (a->gate == HA_GATE_PROCESS && held->resumed_ms != 0 &&
        held->resumed_ms + held->settings.lease_ms < due_ms)
        due_ms = held->resumed_ms + held->settings.lease_ms;
    return due_ms;
}

static void look_at(struct ha_agent *a, uint32_t at, bool tick, uint64_t now_ms,
                    struct ha_effects *out)
{
    struct ha_held *held = &a->held[at];

    if (held->used && (tick || held->beat_now))
        on_tick_one(a, held, now_ms, out);
    a->due_ms[at] = due_ms(a, held);
    if (a->due_ms[at] < a->wake_ms)
        a->wake_ms = a->due_ms[at];
}

static void look_at_one(struct ha_agent *a, uint32_t service, uint64_t now_ms,
                        struct ha_effects *out)
{
    uint32_t at = place_of(a, service);

    if (at < HA_SERVICES_MAX)
        look_at(a, at, false, now_ms, out);
}

static void look_at_all(struct ha_agent *a, bool tick, uint64_t now_ms, struct ha_effects *out)
{
    a->wake_ms = UINT64_MAX;
    for (uint32_t i = 0; i < a->held_count; i++) {
        if (!tick || now_ms >= a->due_ms[i] || a->noteless)
            look_at(a, i, tick, now_ms, out);
        else if (a->due_ms[i] < a->wake_ms)
            a->wake_ms = a->due_ms[i];
    }
}

/* The service an event is about; 0: all of them. */
static uint32_t service_of(const struct ha_event *event)
{
    switch (event->kind) {
    case HA_EVENT_SETTINGS:
        return event->u.settings->service;
    case HA_EVENT_PROMISE:
        return event->u.promise.promise->service;
    case HA_EVENT_ORDER:
        return event->u.order->service;
    case HA_EVENT_PROCESS:
        return event->u.process.service;
    case HA_EVENT_SAMPLED:
        return event->u.sampled.service;
    case HA_EVENT_ACTED:
        return event->u.acted.service;
    case HA_EVENT_GATE_CLOSED:
        return event->u.gate_closed.service;
    case HA_EVENT_PERSISTED_EPOCHS:
        return event->u.epochs.service;
    case HA_EVENT_VIP:
        return event->u.vip.service;
    case HA_EVENT_HOLD_ASKED:
        return event->u.hold_asked.ask->service;
    case HA_EVENT_HOLD_WORD:
        return event->u.hold_word.word->service;
    case HA_EVENT_TICK:
    case HA_EVENT_LINK:
    case HA_EVENT_COMMITTED:
    case HA_EVENT_RESTORED:
    case HA_EVENT_ROLE:
    case HA_EVENT_CAUGHT_UP:
    case HA_EVENT_PERSISTED_PROMISE:
    case HA_EVENT_FENCE_COMMAND:
    case HA_EVENT_PROBED:
    case HA_EVENT_HEARTBEAT:
    case HA_EVENT_SAME:
    case HA_EVENT_AGENT:
    case HA_EVENT_STOPPED:
    case HA_EVENT_PEER:
    case HA_EVENT_PROPOSED:
    case HA_EVENT_REQUEST:
        return 0;
    }
    HA_UNREACHABLE();
}

int ha_agent_step(struct ha_agent *a, const struct ha_event *event, struct ha_effects *out)
{
    uint64_t now_ms = event->now_ms;
    int rv = HA_OK;

    if (a->since_ms == 0)
        a->since_ms = now_ms;
    switch (event->kind) {
    case HA_EVENT_TICK:
        break;
    case HA_EVENT_SETTINGS:
        on_settings(a, event->u.settings, now_ms, out, &rv);
        break;
    case HA_EVENT_PROMISE:
        on_promise(a, &event->u.promise, now_ms, out);
        break;
    case HA_EVENT_ORDER:
        on_order(a, event->u.order, now_ms, out);
        break;
    case HA_EVENT_LINK:
        if (event->u.link.watcher < HA_WATCHERS_MAX)
            a->link_up[event->u.link.watcher] = event->u.link.up;
        for (uint32_t i = 0; event->u.link.up && i < a->held_count; i++)
            a->held[i].beat_now = true;
        break;
    case HA_EVENT_PROCESS:
        on_process(a, &event->u.process, now_ms, out);
        break;
    case HA_EVENT_SAMPLED:
        on_sampled(a, &event->u.sampled, now_ms, out);
        break;
    case HA_EVENT_ACTED:
        on_acted(a, &event->u.acted, now_ms, out);
        break;
    case HA_EVENT_GATE_CLOSED:
        on_gate_closed(a, &event->u.gate_closed, now_ms, out);
        break;
    case HA_EVENT_PERSISTED_EPOCHS:
        on_persisted(a, &event->u.epochs, now_ms, out);
        break;
    case HA_EVENT_VIP:
        on_vip(a, &event->u.vip, out);
        break;
    case HA_EVENT_HOLD_ASKED:
        on_hold_asked(a, &event->u.hold_asked, now_ms, out);
        break;
    case HA_EVENT_HOLD_WORD:
        on_hold_word(a, &event->u.hold_word, now_ms, out);
        break;
    case HA_EVENT_COMMITTED:
    case HA_EVENT_RESTORED:
    case HA_EVENT_ROLE:
    case HA_EVENT_CAUGHT_UP:
    case HA_EVENT_PERSISTED_PROMISE:
    case HA_EVENT_FENCE_COMMAND:
    case HA_EVENT_PROBED:
    case HA_EVENT_HEARTBEAT:
    case HA_EVENT_SAME:
    case HA_EVENT_AGENT:
    case HA_EVENT_STOPPED:
    case HA_EVENT_PEER:
    case HA_EVENT_PROPOSED:
    case HA_EVENT_REQUEST:
        return HA_EINVAL; /* events of watchers */
    }
    if (event->kind == HA_EVENT_TICK || event->kind == HA_EVENT_LINK)
        look_at_all(a, event->kind == HA_EVENT_TICK, now_ms, out);
    else
        look_at_one(a, service_of(event), now_ms, out);
    return rv;
}

uint64_t ha_agent_wake_ms(const struct ha_agent *a)
{
    return a->wake_ms;
}
