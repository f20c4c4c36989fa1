#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

struct hand *hand_new(void)
{
    struct hand *hand = calloc(1, sizeof(*hand));

    assert_non_null(hand);
    hand->a = calloc(1, sizeof(*hand->a));
    hand->out = calloc(1, sizeof(*hand->out));
    assert_true(hand->a != NULL && hand->out != NULL);
    hand->now_ms = 100000;
    hand->index = 10;
    ha_agent_init(hand->a, INSTANCE(B), HA_GATE_BPF);
    hand->a->memory = MEMORY(B);
    return hand;
}

void hand_restart(struct hand *hand)
{
    memset(hand->a, 0, sizeof(*hand->a));
    ha_effects_clear(hand->out);
    ha_agent_init(hand->a, INSTANCE(B), HA_GATE_BPF);
    hand->a->memory = MEMORY(B);
    if (hand->note.service != 0)
        assert_int_equal(ha_agent_load(hand->a, &hand->note), HA_OK);
}

void hand_free(struct hand *hand)
{
    free(hand->out);
    free(hand->a);
    free(hand);
}

const struct ha_held *hand_held(const struct hand *hand)
{
    return ha_agent_held(hand->a, HAND_SERVICE);
}

/* The kernel does at once what it is told. */
static void take_gates(struct hand *hand)
{
    for (uint32_t i = 0; i < hand->out->count; i++)
        if (hand->out->items[i].kind == HA_EFFECT_GATE) {
            hand->gate_until_ms = hand->out->items[i].u.gate.deadline_ms;
            hand->gate_number = hand->out->items[i].u.gate.number;
        }
}

void hand_step(struct hand *hand, struct ha_event *event)
{
    event->now_ms = hand->now_ms;
    ha_effects_clear(hand->out);
    assert_int_equal(ha_agent_step(hand->a, event, hand->out), HA_OK);
    take_gates(hand);
}

void hand_tick(struct hand *hand, uint64_t later_ms)
{
    struct ha_event event = {.kind = HA_EVENT_TICK};

    hand->now_ms += later_ms;
    hand_step(hand, &event);
}

static bool note_asked(const struct hand *hand, struct ha_effect_epochs *ret)
{
    bool asked = false;

    for (uint32_t i = 0; i < hand->out->count; i++) {
        if (hand->out->items[i].kind != HA_EFFECT_PERSIST_EPOCHS)
            continue;
        *ret = hand->out->items[i].u.epochs;
        asked = true;
    }
    return asked;
}

static bool close_asked(const struct hand *hand)
{
    for (uint32_t i = 0; i < hand->out->count; i++)
        if (hand->out->items[i].kind == HA_EFFECT_GATE &&
            hand->out->items[i].u.gate.deadline_ms == 0)
            return true;
    return false;
}

static void answer_note(struct hand *hand, const struct ha_effect_epochs *note)
{
    struct ha_event event = {.kind = HA_EVENT_PERSISTED_EPOCHS};

    hand->note = *note;
    event.u.epochs.service = note->service;
    event.u.epochs.epoch_seen = note->epoch_seen;
    event.u.epochs.given_up = note->given_up;
    event.u.epochs.sealed = note->sealed;
    event.u.epochs.sync_index = note->sync_index;
    event.u.epochs.hold_index = note->hold.index;
    hand_step(hand, &event);
}

void hand_closed_as(struct hand *hand, uint64_t number)
{
    struct ha_event event = {.kind = HA_EVENT_GATE_CLOSED};

    event.u.gate_closed = (struct ha_event_gate_closed){.service = HAND_SERVICE, .number = number};
    hand_step(hand, &event);
}

void hand_noted(struct hand *hand)
{
    struct ha_effect_epochs note;

    assert_true(note_asked(hand, &note));
    answer_note(hand, &note);
}

void hand_closed(struct hand *hand)
{
    hand_closed_as(hand, hand->gate_number);
}

void hand_settle(struct hand *hand)
{
    for (int round = 0; round < 8; round++) {
        struct ha_effect_epochs note;
        bool noting = note_asked(hand, &note), closing = close_asked(hand);

        if (!noting && !closing)
            return;
        if (closing)
            hand_closed(hand);
        if (noting)
            answer_note(hand, &note);
    }
    fail_msg("disk and gate are asked for ever");
}

void hand_settings(struct hand *hand)
{
    struct ha_settings settings = {.config_version = 1,
                                   .service = HAND_SERVICE,
                                   .member = B,
                                   .service_name = "cache",
                                   .member_name = "b",
                                   .host = "10.0.0.2",
                                   .port = 6379,
                                   .probe_ms = PROBE,
                                   .heartbeat_ms = 200,
                                   .hang_after_ms = 1000,
                                   .lease_ms = LEASE,
                                   .promote_deadline_ms = 5000,
                                   .peer_count = 1};
    struct ha_event event = {.kind = HA_EVENT_SETTINGS, .u.settings = &settings};

    settings.peers[0].id = A;
    settings.peers[0].port = 6379;
    (void)ha_text_copy(settings.peers[0].host, sizeof(settings.peers[0].host), "10.0.0.1");
    hand_step(hand, &event);
}

void hand_process(struct hand *hand, enum ha_process process, uint64_t pid)
{
    struct ha_event event = {
        .kind = HA_EVENT_PROCESS,
        .u.process = {.service = HAND_SERVICE, .process = process, .pid_start = pid}};

    hand_step(hand, &event);
}

struct ha_sample hand_sample_of(enum ha_role role)
{
    return (struct ha_sample){
        .answer = HA_ANSWER_OK,
        .role = role,
        .writable = true,
        .read_only = role == HA_ROLE_REPLICA,
        .link_up = role == HA_ROLE_REPLICA,
        .run_id = RUN,
        .position = {.offset = HEAD, .lineage = {.count = 1, .steps = {{LINEAGE, UINT64_MAX}}}}};
}

void hand_sampled(struct hand *hand, uint64_t pid, const struct ha_sample *sample)
{
    struct ha_event event = {
        .kind = HA_EVENT_SAMPLED,
        .u.sampled = {.service = HAND_SERVICE, .pid_start = pid, .sample = sample}};

    hand_step(hand, &event);
}

void hand_order(struct hand *hand, enum ha_order_kind kind, uint64_t epoch)
{
    struct ha_order order = {.service = HAND_SERVICE,
                             .member = B,
                             .kind = kind,
                             .epoch = epoch,
                             .index = ++hand->index,
                             .instance = INSTANCE(B),
                             .upstream = A,
                             .upstream_port = 6379};
    struct ha_event event = {.kind = HA_EVENT_ORDER, .u.order = &order};

    hand_step(hand, &event);
}

void hand_acted(struct hand *hand, int code, enum ha_role role)
{
    const struct ha_sample sample = hand_sample_of(role);
    struct ha_event event = {.kind = HA_EVENT_ACTED,
                             .u.acted = {.service = HAND_SERVICE,
                                         .ticket = hand_held(hand)->ticket,
                                         .code = code,
                                         .text = "because",
                                         .sample = &sample}};

    hand_step(hand, &event);
}

void hand_promise(struct hand *hand, uint32_t watcher, uint64_t epoch, uint64_t stamp_ms)
{
    const struct ha_promise promise = {.service = HAND_SERVICE,
                                       .epoch = epoch,
                                       .instance = INSTANCE(B),
                                       .stamp = stamp_ms,
                                       .set_id = SET,
                                       .set_size = 3,
                                       .length_ms = LEASE};
    struct ha_event event = {.kind = HA_EVENT_PROMISE,
                             .u.promise = {.watcher = watcher, .promise = &promise}};

    hand_step(hand, &event);
}

const struct ha_status *hand_told(const struct hand *hand)
{
    const struct ha_effect *last = NULL;

    for (uint32_t i = 0; i < hand->out->count; i++)
        if (hand->out->items[i].kind == HA_EFFECT_HEARTBEAT)
            last = &hand->out->items[i];
    assert_non_null(last);
    return &last->u.status;
}

const struct ha_status *hand_asks(struct hand *hand)
{
    hand_tick(hand, 250);
    return hand_told(hand);
}

void hand_as_replica(struct hand *hand)
{
    const struct ha_sample sample = hand_sample_of(HA_ROLE_REPLICA);

    hand_settings(hand);
    hand_settle(hand);
    hand_process(hand, HA_PROCESS_RUNNING, PID);
    hand_settle(hand);
    for (int i = 0; i < 3; i++)
        hand_sampled(hand, PID, &sample);
}

void hand_as_holder(struct hand *hand, uint64_t epoch)
{
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, epoch);
    hand_settle(hand);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_settle(hand);
    assert_int_equal(hand_held(hand)->epoch, epoch);
    hand_promise(hand, 0, epoch, hand->now_ms);
    hand_promise(hand, 1, epoch, hand->now_ms);
    assert_true(hand_held(hand)->serving);
}

bool hand_gate_is_open(const struct hand *hand)
{
    return hand->gate_until_ms > hand->now_ms;
}
