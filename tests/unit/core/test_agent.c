/* The agent's half of the rules that keep two primaries apart (design, 6.1 to 6.4). */
#include <string.h>

#include "lib/base/check.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

static struct ha_promise promise_of(uint64_t epoch, uint64_t stamp_ms)
{
    return (struct ha_promise){.service = HAND_SERVICE,
                               .epoch = epoch,
                               .instance = INSTANCE(B),
                               .stamp = stamp_ms,
                               .set_id = SET,
                               .set_size = 3,
                               .length_ms = LEASE};
}

static void give(struct hand *hand, uint32_t watcher, const struct ha_promise *promise)
{
    struct ha_event event = {.kind = HA_EVENT_PROMISE,
                             .u.promise = {.watcher = watcher, .promise = promise}};

    hand_step(hand, &event);
}

/* "Promises from a majority" */

static void test_lease_counts_from_the_sending(void **state)
{
    struct hand *hand = hand_new();
    uint64_t sent_ms;

    (void)state;
    hand_as_holder(hand, 5);
    sent_ms = hand->now_ms;
    hand->now_ms += 700; /* the answers take that long */
    hand_promise(hand, 0, 5, sent_ms);
    hand_promise(hand, 1, 5, sent_ms);
    assert_int_equal(hand->gate_until_ms, sent_ms + LEASE);
    hand_free(hand);
}

static void test_gate_ends_with_the_lease(void **state)
{
    struct hand *hand = hand_new();
    uint64_t end_ms;

    (void)state;
    hand_as_holder(hand, 5);
    end_ms = hand->now_ms + LEASE;
    assert_int_equal(hand->gate_until_ms, end_ms);
    hand_promise(hand, 2, 5, hand->now_ms + 0);
    assert_int_equal(hand->gate_until_ms, end_ms);
    hand->now_ms += 1000;
    hand_promise(hand, 0, 5, hand->now_ms); /* one watcher prolongs nothing */
    assert_int_equal(hand->gate_until_ms, end_ms);
    hand_tick(hand, 500);
    assert_false(hand_gate_is_open(hand));
    assert_false(hand_held(hand)->serving);
    hand_free(hand);
}

static void test_one_watcher_counts_once(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    hand_settle(hand);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_settle(hand);
    hand_promise(hand, 0, 5, hand->now_ms - 2);
    hand_promise(hand, 0, 5, hand->now_ms - 1);
    hand_promise(hand, 0, 5, hand->now_ms);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_promises_that_answer_nothing_are_void(void **state)
{
    struct ha_promise bad[6];
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand->now_ms += LEASE;
    hand_tick(hand, 0);
    for (size_t i = 0; i < HA_ARRAY_LEN(bad); i++)
        bad[i] = promise_of(5, hand->now_ms);
    bad[0].stamp = hand->now_ms + 1; /* of a heartbeat not sent yet */
    bad[1].length_ms = HA_LEASE_MAX_MS + 1;
    bad[2].instance = INSTANCE(A);
    bad[3].epoch = 4;
    bad[4].epoch = 6;
    bad[5].set_size = HA_WATCHERS_MAX + 1;
    for (size_t i = 0; i < HA_ARRAY_LEN(bad); i++) {
        for (uint32_t watcher = 0; watcher < 3; watcher++)
            give(hand, watcher, &bad[i]);
        print_message("# promise %zu\n", i);
        assert_false(hand_gate_is_open(hand));
    }
    hand_free(hand);
}

/* "How many" */

static void test_how_many_promises_of_two_sets_do_not_add_up(void **state)
{
    struct hand *hand = hand_new();
    struct ha_promise other = promise_of(5, 0);

    (void)state;
    hand_as_holder(hand, 5);
    hand->now_ms += LEASE;
    hand_tick(hand, 0);
    other.stamp = hand->now_ms;
    other.set_id = SET + 1;
    hand_promise(hand, 0, 5, hand->now_ms);
    give(hand, 1, &other);
    assert_false(hand_gate_is_open(hand));
    hand_promise(hand, 2, 5, hand->now_ms); /* the second of the same set */
    assert_true(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_how_many_size_comes_with_the_set(void **state)
{
    struct hand *hand = hand_new();
    struct ha_promise promise = promise_of(5, 0);

    (void)state;
    hand_as_holder(hand, 5);
    hand->now_ms += LEASE;
    hand_tick(hand, 0);
    promise.stamp = hand->now_ms;
    promise.set_id = SET + 1;
    promise.set_size = 5;
    give(hand, 0, &promise);
    give(hand, 1, &promise);
    assert_false(hand_gate_is_open(hand)); /* two of five */
    give(hand, 2, &promise);
    assert_true(hand_gate_is_open(hand));
    hand_free(hand);
}

/* "Who": a restarted agent that finds its gate goes on; whatever else it finds is over. */

static void test_who_restarted_agent_goes_on(void **state)
{
    struct hand *hand = hand_new();
    const struct ha_sample sample = hand_sample_of(HA_ROLE_PRIMARY);
    uint64_t gate_ms;

    (void)state;
    hand_as_holder(hand, 5);
    gate_ms = hand->gate_until_ms;
    hand_restart(hand);
    hand_settings(hand);
    hand_settle(hand);
    hand_process(hand, HA_PROCESS_RUNNING, PID);
    assert_int_equal(hand->gate_until_ms, gate_ms); /* no client is cut off by an upgrade */
    hand_sampled(hand, PID, &sample);
    assert_int_equal(hand_asks(hand)->epoch, 5);
    hand_promise(hand, 0, 5, hand->now_ms);
    hand_promise(hand, 1, 5, hand->now_ms);
    assert_int_equal(hand->gate_until_ms, hand->now_ms + LEASE);
    hand_free(hand);
}

static void test_who_restarted_agent_gives_up_another_run(void **state)
{
    struct hand *hand = hand_new();
    struct ha_sample sample = hand_sample_of(HA_ROLE_PRIMARY);

    (void)state;
    hand_as_holder(hand, 5);
    hand_restart(hand);
    hand_settings(hand);
    sample.run_id = RUN + 1;
    hand_sampled(hand, PID + 1, &sample);
    assert_false(hand_gate_is_open(hand));
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->epoch, HA_EPOCH_NONE);
    assert_int_equal(hand_told(hand)->given_up, 5);
    hand_free(hand);
}

static void test_who_restarted_agent_gives_up_a_dead_database(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_restart(hand);
    hand_settings(hand);
    hand_process(hand, HA_PROCESS_GONE, 0);
    assert_false(hand_gate_is_open(hand));
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    hand_free(hand);
}

static void test_who_restarted_agent_gives_up_what_is_no_primary(void **state)
{
    struct hand *hand = hand_new();
    const struct ha_sample sample = hand_sample_of(HA_ROLE_REPLICA);

    (void)state;
    hand_as_holder(hand, 5);
    hand_restart(hand);
    hand_settings(hand);
    hand_sampled(hand, PID, &sample);
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    hand_free(hand);
}

static void test_orders_for_another_instance_are_not_taken(void **state)
{
    static const enum ha_order_kind kinds[] = {HA_ORDER_PROMOTE, HA_ORDER_SERVE, HA_ORDER_FENCE,
                                               HA_ORDER_DRAIN};
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    for (size_t i = 0; i < HA_ARRAY_LEN(kinds); i++) {
        struct ha_order order = {.service = HAND_SERVICE,
                                 .member = B,
                                 .kind = kinds[i],
                                 .epoch = 6,
                                 .index = 1000 + i,
                                 .instance = INSTANCE(A)};
        struct ha_event event = {.kind = HA_EVENT_ORDER, .u.order = &order};

        hand_step(hand, &event);
        assert_null(effects_find(hand->out, HA_EFFECT_ACT));
        assert_true(hand_gate_is_open(hand));
        assert_int_equal(hand_held(hand)->epoch, 5);
    }
    hand_free(hand);
}

/* It has not been asked for long: no reason to call the database hung. */
static void test_age_of_answers_counts_from_the_asking(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_restart(hand);
    hand_settings(hand);
    assert_int_equal(hand_told(hand)->answer_age_ms, 0);
    assert_int_equal(hand_asks(hand)->answer_age_ms, 250);
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_settle(hand);
    hand->now_ms += 5000;
    hand_process(hand, HA_PROCESS_RUNNING, PID + 1);
    assert_int_equal(hand_told(hand)->answer_age_ms, 0);
    hand_free(hand);
}

/* "Giving up" */

/* The note is handed to the disk before the gate is closed, and written meanwhile; nothing is said
 * of either until both are done. */
static void test_giving_up_closes_and_notes_in_one_step(void **state)
{
    struct hand *hand = hand_new();
    uint32_t gate = UINT32_MAX, note = UINT32_MAX;

    (void)state;
    hand_as_holder(hand, 5);
    hand_process(hand, HA_PROCESS_GONE, PID);
    for (uint32_t i = 0; i < hand->out->count; i++) {
        if (hand->out->items[i].kind == HA_EFFECT_GATE && gate == UINT32_MAX)
            gate = i;
        if (hand->out->items[i].kind == HA_EFFECT_PERSIST_EPOCHS)
            note = i;
    }
    assert_true(note < gate);
    assert_true(gate < hand->out->count);
    assert_null(effects_find(hand->out, HA_EFFECT_HEARTBEAT));
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_giving_up_is_durable_before_it_is_reported(void **state)
{
    struct hand *hand = hand_new();
    struct ha_effect_epochs note;

    (void)state;
    hand_as_holder(hand, 5);
    hand_process(hand, HA_PROCESS_GONE, PID);
    note = effects_find(hand->out, HA_EFFECT_PERSIST_EPOCHS)->u.epochs;
    assert_int_equal(note.given_up, 5);
    assert_int_equal(note.serving_epoch, HA_EPOCH_NONE);
    hand_closed(hand);
    assert_int_equal(hand_asks(hand)->given_up, 0);
    assert_int_equal(hand_told(hand)->epoch, HA_EPOCH_NONE); /* but it claims nothing any more */
    {
        struct ha_event event = {.kind = HA_EVENT_PERSISTED_EPOCHS};

        event.u.epochs.service = HAND_SERVICE;
        event.u.epochs.epoch_seen = 5;
        event.u.epochs.given_up = 5;
        hand_step(hand, &event);
    }
    assert_int_equal(hand_told(hand)->given_up, 5); /* at once */
    hand_free(hand);
}

static void test_giving_up_is_reported_only_of_a_closed_gate(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_noted(hand);
    assert_int_equal(hand_asks(hand)->given_up, 0);
    hand_closed(hand);
    assert_int_equal(hand_told(hand)->given_up, 5);
    hand_free(hand);
}

/* The gate is closed for a promotion, opened with its lease and closed again to give the epoch up:
 * the answer to the first close comes last, and says nothing about the gate as it is now. */
static void test_giving_up_is_not_reported_by_a_late_answer_to_an_earlier_close(void **state)
{
    struct hand *hand = hand_new();
    uint64_t first;

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    first = hand->gate_number;
    hand_noted(hand);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_noted(hand);
    hand_promise(hand, 0, 5, hand->now_ms);
    hand_promise(hand, 1, 5, hand->now_ms);
    assert_true(hand_gate_is_open(hand));
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_noted(hand);
    hand_closed_as(hand, first);
    assert_int_equal(hand_asks(hand)->given_up, 0);
    hand_closed(hand);
    assert_int_equal(hand_told(hand)->given_up, 5);
    hand_free(hand);
}

/* The agent died between its note and the end of the gate: a restart must not report what the last
 * run only wanted. */
static void test_giving_up_is_not_reported_by_a_restart_before_the_gate_is_closed(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_noted(hand);
    assert_int_equal(hand->note.given_up, 5);
    hand_restart(hand);
    hand_settings(hand);
    assert_non_null(effects_find(hand->out, HA_EFFECT_GATE));
    assert_int_equal(hand_told(hand)->given_up, 0);
    hand_closed(hand);
    assert_int_equal(hand_told(hand)->given_up, 5);
    hand_free(hand);
}

static void test_giving_up_is_repeated_in_each_heartbeat(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_settle(hand);
    for (int i = 0; i < 20; i++)
        assert_int_equal(hand_asks(hand)->given_up, 5);
    hand_restart(hand);
    hand_settings(hand);
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    hand_free(hand);
}

static void test_giving_up_late_promises_do_not_revive(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_promise(hand, 0, 5, hand->now_ms); /* the gate is closing */
    hand_promise(hand, 1, 5, hand->now_ms);
    assert_false(hand_gate_is_open(hand));
    hand_settle(hand);
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_promise(hand, 0, 5, hand->now_ms);
    hand_promise(hand, 1, 5, hand->now_ms);
    hand_tick(hand, 10);
    assert_false(hand_gate_is_open(hand));
    assert_int_equal(hand_asks(hand)->epoch, HA_EPOCH_NONE);
    hand_free(hand);
}

/* The same with a database that is all right: it was told to end. */
static void test_giving_up_late_promises_do_not_revive_a_fenced_one(void **state)
{
    const struct ha_sample sample = hand_sample_of(HA_ROLE_PRIMARY);
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_order(hand, HA_ORDER_FENCE, 6);
    for (uint32_t watcher = 0; watcher < 3; watcher++) {
        hand_promise(hand, watcher, 5, hand->now_ms);
        hand_sampled(hand, PID, &sample);
        assert_false(hand_gate_is_open(hand));
    }
    hand_free(hand);
}

static void test_giving_up_no_order_revives(void **state)
{
    const struct ha_sample sample = hand_sample_of(HA_ROLE_PRIMARY);
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_order(hand, HA_ORDER_FENCE, 6);
    hand_settle(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    hand_order(hand, HA_ORDER_SERVE, 5);
    hand_sampled(hand, PID, &sample);
    hand_promise(hand, 0, 5, hand->now_ms);
    hand_promise(hand, 1, 5, hand->now_ms);
    assert_false(hand_gate_is_open(hand));
    assert_int_equal(hand_held(hand)->epoch, HA_EPOCH_NONE);
    hand_free(hand);
}

/* Nor after a crash, when the same epoch is the highest the agent has heard of. */
static void test_giving_up_no_order_revives_after_a_crash(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_settle(hand);
    hand_restart(hand);
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    assert_int_equal(hand_told(hand)->result, HA_RESULT_FAILED);
    assert_int_equal(hand_asks(hand)->epoch, HA_EPOCH_NONE);
    hand_free(hand);
}

static void test_giving_up_same_member_may_get_the_next_epoch(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_order(hand, HA_ORDER_FENCE, 6);
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    hand_order(hand, HA_ORDER_PROMOTE, 6);
    hand_settle(hand);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_settle(hand);
    assert_false(hand_gate_is_open(hand));
    hand_promise(hand, 0, 6, hand->now_ms);
    hand_promise(hand, 1, 6, hand->now_ms);
    assert_true(hand_gate_is_open(hand));
    assert_int_equal(hand_asks(hand)->epoch, 6);
    assert_int_equal(hand_told(hand)->given_up, 5);
    hand_free(hand);
}

static void test_giving_up_after(void **state)
{
    static const struct {
        const char *what;
        uint64_t run_id;
        enum ha_role role;
    } cases[] = {{"the database has started anew", RUN + 1, HA_ROLE_PRIMARY},
                 {"somebody made it a replica", RUN, HA_ROLE_REPLICA}};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct hand *hand = hand_new();
        struct ha_sample sample = hand_sample_of(cases[i].role);

        print_message("# %s\n", cases[i].what);
        hand_as_holder(hand, 5);
        sample.run_id = cases[i].run_id;
        hand_sampled(hand, PID, &sample);
        assert_false(hand_gate_is_open(hand));
        hand_settle(hand);
        assert_int_equal(hand_asks(hand)->given_up, 5);
        hand_free(hand);
    }
}

/* "Opening": the gate of a candidate is closed from the order to its first lease. */

static void test_opening_nothing_goes_out_before_the_lease(void **state)
{
    const struct ha_sample replica = hand_sample_of(HA_ROLE_REPLICA);
    const struct ha_sample primary = hand_sample_of(HA_ROLE_PRIMARY);
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    assert_true(hand_gate_is_open(hand));
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    assert_false(hand_gate_is_open(hand));
    hand_settle(hand);
    for (int i = 0; i < 3; i++)
        hand_sampled(hand, PID, &replica); /* asked before it happened */
    assert_false(hand_gate_is_open(hand));
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_settle(hand);
    for (int i = 0; i < 3; i++)
        hand_sampled(hand, PID, &primary);
    hand_promise(hand, 0, 5, hand->now_ms);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_opening_epoch_is_durable_before_it_is_claimed(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    assert_int_equal(effects_find(hand->out, HA_EFFECT_PERSIST_EPOCHS)->u.epochs.epoch_seen, 5);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY); /* the disk is slow */
    assert_int_equal(hand_asks(hand)->epoch, HA_EPOCH_NONE);
    assert_int_equal(hand_told(hand)->result, HA_RESULT_RUNNING);
    hand_promise(hand, 0, 5, hand->now_ms);
    hand_promise(hand, 1, 5, hand->now_ms);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_opening_failed_candidate_holds_nothing(void **state)
{
    static const struct {
        int code;
        enum ha_role role;
    } ends[] = {{HA_ETIMEDOUT, HA_ROLE_REPLICA},
                {HA_EIO, HA_ROLE_PRIMARY},
                {HA_OK, HA_ROLE_REPLICA}}; /* it says yes and is no primary */

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(ends); i++) {
        struct hand *hand = hand_new();

        hand_as_replica(hand);
        hand_order(hand, HA_ORDER_PROMOTE, 5);
        hand_settle(hand);
        hand_acted(hand, ends[i].code, ends[i].role);
        hand_settle(hand);
        assert_int_equal(hand_asks(hand)->result, HA_RESULT_FAILED);
        assert_int_equal(hand_told(hand)->given_up, 5);
        hand_promise(hand, 0, 5, hand->now_ms);
        hand_promise(hand, 1, 5, hand->now_ms);
        assert_false(hand_gate_is_open(hand));
        hand_free(hand);
    }
}

static void test_accepted_later_epoch_takes_nothing_earlier(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_FOLLOW, 7);
    hand_noted(hand);
    hand_acted(hand, HA_OK, HA_ROLE_REPLICA);
    hand_order(hand, HA_ORDER_PROMOTE, 6);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    hand_order(hand, HA_ORDER_FOLLOW, 6);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    hand_restart(hand); /* nor after a restart */
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 6);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    hand_order(hand, HA_ORDER_PROMOTE, 7);
    assert_non_null(effects_find(hand->out, HA_EFFECT_ACT));
    hand_free(hand);
}

static void test_late_orders_of_an_older_state_are_void(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand->index = 0; /* a leader that does not know yet that it is none */
    hand_order(hand, HA_ORDER_FENCE, 6);
    assert_true(hand_gate_is_open(hand));
    assert_int_equal(hand_held(hand)->given_up, 0);
    hand_free(hand);
}

/* "Replicas" */

static void test_replicas_gate_is_timed(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    assert_true(hand_gate_is_open(hand));
    assert_true(hand->gate_until_ms <= hand->now_ms + 3 * PROBE);
    hand->now_ms += 3 * PROBE; /* no answer since */
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_replicas_gate_needs_a_read_only_replica(void **state)
{
    static const struct {
        const char *what;
        enum ha_role role;
        bool read_only;
        enum ha_answer answer;
    } cases[] = {{"a primary", HA_ROLE_PRIMARY, false, HA_ANSWER_OK},
                 {"a replica that takes writes", HA_ROLE_REPLICA, false, HA_ANSWER_OK},
                 {"no answer", HA_ROLE_REPLICA, true, HA_ANSWER_NONE},
                 {"loading", HA_ROLE_REPLICA, true, HA_ANSWER_STARTING}};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct hand *hand = hand_new();
        struct ha_sample sample = hand_sample_of(cases[i].role);

        print_message("# %s\n", cases[i].what);
        sample.read_only = cases[i].read_only;
        sample.answer = cases[i].answer;
        hand_settings(hand);
        hand_settle(hand);
        hand_process(hand, HA_PROCESS_RUNNING, PID);
        hand_settle(hand);
        for (int n = 0; n < 4; n++)
            hand_sampled(hand, PID, &sample);
        assert_false(hand_gate_is_open(hand));
        hand_free(hand);
    }
}

static void test_replicas_gate_closes_when_it_becomes_a_primary(void **state)
{
    const struct ha_sample sample = hand_sample_of(HA_ROLE_PRIMARY);
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_sampled(hand, PID, &sample); /* promoted by hand, behind the agent's back */
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_replicas_gate_closes_at_each_start(void **state)
{
    const struct ha_sample sample = hand_sample_of(HA_ROLE_REPLICA);
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_process(hand, HA_PROCESS_GONE, PID);
    assert_false(hand_gate_is_open(hand));
    hand_process(hand, HA_PROCESS_RUNNING, PID + 1);
    assert_non_null(effects_find(hand->out, HA_EFFECT_GATE));
    for (int i = 0; i < 4; i++)
        hand_sampled(hand, PID, &sample); /* the last words of the one before */
    assert_false(hand_gate_is_open(hand));
    for (int i = 0; i < 4; i++)
        hand_sampled(hand, PID + 1, &sample);
    assert_true(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_replicas_gate_needs_a_watched_process(void **state)
{
    const struct ha_sample sample = hand_sample_of(HA_ROLE_REPLICA);
    struct hand *hand = hand_new();

    (void)state;
    hand_settings(hand);
    hand_settle(hand);
    for (int i = 0; i < 4; i++)
        hand_sampled(hand, PID, &sample);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

/* A promotion that was given up on may still happen after the database answered as a replica. */
static void test_replicas_gate_waits_after_a_failed_promotion(void **state)
{
    const struct ha_sample sample = hand_sample_of(HA_ROLE_REPLICA);
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    hand_settle(hand);
    hand_acted(hand, HA_ETIMEDOUT, HA_ROLE_REPLICA);
    hand_settle(hand);
    hand_sampled(hand, PID, &sample);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

/* Nor does it open while one is under way whose epoch has been given up. */
static void test_replicas_gate_waits_for_a_promotion_under_way(void **state)
{
    const struct ha_sample sample = hand_sample_of(HA_ROLE_REPLICA);
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    hand_settle(hand);
    hand_order(hand, HA_ORDER_FENCE, 6);
    hand_settle(hand);
    assert_true(hand_held(hand)->ticket != 0 && hand_held(hand)->given_up == 5);
    for (int i = 0; i < 3; i++)
        hand_sampled(hand, PID, &sample);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_first_settings_close_the_gate(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand->gate_until_ms = hand->now_ms + 1000; /* left over */
    hand_settings(hand);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

/* The primary serves only as the process whose role and run were seen. */
static void test_gate_is_of_one_process(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_process(hand, HA_PROCESS_RUNNING, PID + 1); /* it has been replaced unseen */
    assert_false(hand_gate_is_open(hand));
    hand_promise(hand, 0, 5, hand->now_ms);
    hand_promise(hand, 1, 5, hand->now_ms);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

/* Orders */

static void test_orders_are_done_once(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    assert_int_equal(effects_count(hand->out, HA_EFFECT_ACT), 1);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    assert_int_equal(effects_count(hand->out, HA_EFFECT_ACT), 0);
    hand_free(hand);
}

/* The database may have been started anew, with other data, before its agent hears of it. */
static void test_serving_is_for_the_run_that_was_promoted(void **state)
{
    struct hand *hand = hand_new();
    const struct ha_effect *act;

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    assert_int_equal(effects_find(hand->out, HA_EFFECT_ACT)->u.act.run_id, 0);
    hand_settle(hand);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_settle(hand);
    hand_order(hand, HA_ORDER_SERVE, 5);
    act = effects_find(hand->out, HA_EFFECT_ACT);
    assert_non_null(act);
    assert_int_equal(act->u.act.kind, HA_ORDER_SERVE);
    assert_int_equal(act->u.act.run_id, RUN);
    hand_free(hand);
}

static void test_holder_told_to_follow_gives_up_first(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_order(hand, HA_ORDER_FOLLOW, 7);
    assert_false(hand_gate_is_open(hand));
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    assert_int_equal(hand_told(hand)->order, HA_ORDER_FOLLOW); /* then it is done */
    assert_int_equal(hand_told(hand)->order_epoch, 7);
    assert_true(hand_held(hand)->ticket != 0);
    hand_free(hand);
}

static void test_holder_told_of_the_next_epoch_gives_up_first(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_order(hand, HA_ORDER_PROMOTE, 6);
    assert_false(hand_gate_is_open(hand));
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    assert_int_equal(hand_told(hand)->order, HA_ORDER_PROMOTE);
    assert_int_equal(hand_told(hand)->order_epoch, 6);
    assert_true(hand_held(hand)->ticket != 0);
    hand_free(hand);
}

/* Half a second of a failover: the candidate was busy with an order of the old epoch. */
static void test_order_waits_for_the_act_under_way_and_no_longer(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_FOLLOW, 5);
    hand_order(hand, HA_ORDER_PROMOTE, 6);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    assert_non_null(effects_find(hand->out, HA_EFFECT_ACT_CANCEL));
    hand_acted(hand, HA_ECANCELED, HA_ROLE_REPLICA);
    assert_int_equal(effects_find(hand->out, HA_EFFECT_ACT)->u.act.kind, HA_ORDER_PROMOTE);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

/* Who follows a primary that has gone waits for nothing; who comes next waits for its word. */
static void test_report_does_not_wait_for_an_outlived_follow(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_FOLLOW, 5);
    hand_order(hand, HA_ORDER_REPORT, 5); /* of the same epoch it waits */
    assert_null(effects_find(hand->out, HA_EFFECT_ACT_CANCEL));
    hand_order(hand, HA_ORDER_REPORT, 6);
    assert_non_null(effects_find(hand->out, HA_EFFECT_ACT_CANCEL));
    hand_acted(hand, HA_ECANCELED, HA_ROLE_REPLICA);
    assert_non_null(effects_find(hand->out, HA_EFFECT_PROBE));
    hand_settle(hand);
    hand_tick(hand, 1000);
    assert_int_equal(hand_held(hand)->order.kind, HA_ORDER_REPORT);
    assert_int_equal(hand_held(hand)->order.epoch, 6);
    hand_free(hand);
}

/* What waits is overtaken like any late order. */
static void test_order_that_waited_may_have_been_overtaken(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_FOLLOW, 5);
    hand_order(hand, HA_ORDER_PROMOTE, 6);
    hand_order(hand, HA_ORDER_FENCE, 7);
    hand_settle(hand);
    hand_acted(hand, HA_ECANCELED, HA_ROLE_REPLICA);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    assert_int_equal(hand_asks(hand)->given_up, 6);
    assert_int_equal(hand_held(hand)->ticket, 0);
    hand_free(hand);
}

/* How often it is tried within @ms, where each try fails at once. */
static unsigned tries(struct hand *hand, uint64_t ms)
{
    unsigned count = 0;

    for (uint64_t at = 0; at < ms; at += 100) {
        hand_tick(hand, 100);
        hand_order(hand, HA_ORDER_FOLLOW, 5);
        if (effects_find(hand->out, HA_EFFECT_ACT) == NULL)
            continue;
        count++;
        hand_acted(hand, HA_EIO, HA_ROLE_REPLICA);
    }
    return count;
}

static void test_what_fails_is_not_tried_without_a_pause(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_process(hand, HA_PROCESS_GONE, 0);
    assert_in_range(tries(hand, 60000), 5, 9);
    assert_non_null(strstr(hand_asks(hand)->text, "because ("));
    assert_non_null(strstr(hand_asks(hand)->text, "times, again after 15 s)"));
    /* Another order is done at once. */
    hand_order(hand, HA_ORDER_FOLLOW, 7);
    assert_non_null(effects_find(hand->out, HA_EFFECT_ACT));
    hand_acted(hand, HA_OK, HA_ROLE_REPLICA);
    assert_int_equal(hand_asks(hand)->result, HA_RESULT_DONE);
    hand_free(hand);
}

static void test_what_goes_on_is_asked_for_again(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_process(hand, HA_PROCESS_GONE, 0);
    for (int i = 0; i < 5; i++) { /* a rewind of minutes, order by order */
        hand_order(hand, HA_ORDER_FOLLOW, 5);
        assert_non_null(effects_find(hand->out, HA_EFFECT_ACT));
        hand_acted(hand, HA_EBUSY, HA_ROLE_REPLICA);
        hand_tick(hand, 10);
    }
    hand_free(hand);
}

/* Each start works, and the database dies a moment later. */
static void test_what_dies_after_its_start_is_not_started_without_a_pause(void **state)
{
    struct hand *hand = hand_new();
    struct ha_sample sample;
    unsigned starts = 0;

    (void)state;
    hand_as_replica(hand);
    hand_process(hand, HA_PROCESS_GONE, 0);
    for (uint64_t at = 0; at < 60000; at += 100) {
        hand_tick(hand, 100);
        hand_order(hand, HA_ORDER_FOLLOW, 5);
        if (effects_find(hand->out, HA_EFFECT_ACT) == NULL)
            continue;
        starts++;
        hand_process(hand, HA_PROCESS_RUNNING, 1000 + starts);
        hand_acted(hand, HA_OK, HA_ROLE_REPLICA);
        hand_process(hand, HA_PROCESS_GONE, 0);
    }
    assert_in_range(starts, 5, 9);
    assert_int_equal(hand_asks(hand)->result, HA_RESULT_FAILED);
    assert_non_null(strstr(hand_asks(hand)->text, "ended soon after it was started"));
    /* One that stays is as good as new. */
    hand_tick(hand, 20000);
    hand_order(hand, HA_ORDER_FOLLOW, 5);
    hand_process(hand, HA_PROCESS_RUNNING, 5000);
    hand_acted(hand, HA_OK, HA_ROLE_REPLICA);
    hand_tick(hand, 20000);
    sample = hand_sample_of(HA_ROLE_REPLICA);
    hand_sampled(hand, 5000, &sample);
    assert_int_equal(hand_held(hand)->falls, 0);
    hand_free(hand);
}

static void test_drain_ends_in_a_report(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_order(hand, HA_ORDER_DRAIN, 6);
    assert_int_equal(effects_find(hand->out, HA_EFFECT_ACT)->u.act.kind, HA_ORDER_DRAIN);
    assert_int_equal(effects_find(hand->out, HA_EFFECT_ACT)->u.act.deadline_ms, LEASE * 3 / 4);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    assert_false(hand_gate_is_open(hand));
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    hand_free(hand);
}

/* A database that has stopped for a hand-over that nobody took: one word tells both, and it is that
 * of an order, since a crash would end the switchover. */
static void test_drain_that_fails_with_its_database_down(void **state)
{
    struct hand *hand = hand_new();
    const struct ha_status *told;

    (void)state;
    hand_as_holder(hand, 5);
    hand_order(hand, HA_ORDER_DRAIN, 6);
    hand_process(hand, HA_PROCESS_GONE, 0);
    hand_settle(hand);
    hand_acted(hand, HA_ETIMEDOUT, HA_ROLE_PRIMARY);
    assert_int_equal(hand_held(hand)->process, HA_PROCESS_RUNNING);
    hand_settle(hand);
    told = hand_asks(hand);
    assert_int_equal(told->process, HA_PROCESS_GONE);
    assert_int_equal(told->given_up, 5);
    assert_int_equal(told->given_up_why, HA_VERDICT_UNKNOWN);
    assert_int_equal(told->result, HA_RESULT_FAILED);
    hand_free(hand);
}

/* The switchover has become a failover meanwhile, and its fence ended the epoch first: that the
 * database has stopped is told all the same. */
static void test_drain_that_was_overtaken_by_a_fence(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct hand *hand = hand_new();

        hand_as_holder(hand, 5);
        hand_order(hand, HA_ORDER_DRAIN, 6);
        hand_order(hand, HA_ORDER_FENCE, 6);
        hand_settle(hand);
        assert_int_equal(hand_asks(hand)->given_up, 5);
        hand_process(hand, HA_PROCESS_GONE, 0);
        hand_settle(hand);
        hand_acted(hand, fails == 1 ? HA_ETIMEDOUT : HA_OK, HA_ROLE_PRIMARY);
        assert_int_equal(hand_asks(hand)->process, HA_PROCESS_GONE);
        hand_free(hand);
    }
}

static void test_removed_service_ends_its_epoch(void **state)
{
    struct ha_settings gone = {.service = HAND_SERVICE, .config_version = 2, .gone = true};
    struct ha_event event = {.kind = HA_EVENT_SETTINGS, .u.settings = &gone};
    const struct ha_sample replica = hand_sample_of(HA_ROLE_REPLICA);
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_step(hand, &event);
    assert_false(hand_gate_is_open(hand));
    hand_settle(hand);
    hand_settings(hand); /* version 1, from a watcher that lags */
    assert_true(hand_held(hand)->settings.gone);
    /* Said again it closes nothing: by then the port may be that of another service. */
    hand_settle(hand);
    hand_step(hand, &event);
    assert_null(effects_find(hand->out, HA_EFFECT_GATE));
    for (unsigned i = 0; i < 3; i++) { /* nor do answers that were under way open it */
        hand_sampled(hand, PID, &replica);
        assert_null(effects_find(hand->out, HA_EFFECT_GATE));
    }
    hand_free(hand);
}

/* The clock of the loop: what is due is asked for, and nothing that is not. */
static void test_wake_is_in_the_future(void **state)
{
    struct ha_settings settings;
    struct ha_event event = {.kind = HA_EVENT_SETTINGS, .u.settings = &settings};
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    settings = hand_held(hand)->settings;
    memcpy(settings.vip, "10.0.0.9", 9);
    hand_step(hand, &event);
    event = (struct ha_event){.kind = HA_EVENT_VIP,
                              .u.vip = {.service = HAND_SERVICE, .conflict = true}};
    hand_step(hand, &event);
    hand_order(hand, HA_ORDER_SERVE, 5); /* never answered */
    for (int i = 0; i < 100; i++) {
        hand_tick(hand, 100);
        hand_promise(hand, 0, 5, hand->now_ms);
        hand_promise(hand, 1, 5, hand->now_ms);
        assert_true(ha_agent_wake_ms(hand->a) > hand->now_ms);
    }
    hand_free(hand);
}

static void hand_vip(struct hand *hand, bool held, bool conflict)
{
    struct ha_event event = {.kind = HA_EVENT_VIP};

    event.u.vip = (struct ha_event_vip){HAND_SERVICE, held, conflict};
    hand_step(hand, &event);
}

/* Half a second later, under promises that go on: is the address claimed or refreshed? */
static bool hand_claims(struct hand *hand)
{
    uint32_t claims = 0;

    hand_promise(hand, 0, 5, hand->now_ms);
    hand_promise(hand, 1, 5, hand->now_ms);
    for (int i = 0; i < 5; i++) {
        hand_tick(hand, 100);
        claims += effects_count(hand->out, HA_EFFECT_VIP_CLAIM);
    }
    return claims > 0;
}

/* One frame of a stranger must not cost the service its address. */
static void test_address_is_kept_in_spite_of_another_host(void **state)
{
    struct ha_settings settings;
    struct ha_event event = {.kind = HA_EVENT_SETTINGS, .u.settings = &settings};
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    settings = hand_held(hand)->settings;
    memcpy(settings.vip, "10.0.0.9", 9);
    hand_step(hand, &event);
    hand_vip(hand, true, false);
    hand_vip(hand, true, true);
    for (int i = 0; i < 4; i++)
        assert_true(hand_claims(hand)); /* the kernel ends what is not refreshed */
    assert_string_equal(hand_asks(hand)->text, "another host answers for the virtual IP");
    hand_vip(hand, true, false);
    assert_string_equal(hand_asks(hand)->text, "");
    /* It was lost, and duplicate detection finds the other: asked for again, not left to it. */
    hand_vip(hand, false, true);
    assert_true(hand_claims(hand) || hand_claims(hand) || hand_claims(hand));
    hand_vip(hand, false, true);
    assert_true(hand_claims(hand) || hand_claims(hand) || hand_claims(hand));
    hand_free(hand);
}

static uint64_t claimed_until_ms(const struct hand *hand, uint64_t before_ms)
{
    for (uint32_t i = 0; i < hand->out->count; i++)
        if (hand->out->items[i].kind == HA_EFFECT_VIP_CLAIM)
            return hand->now_ms + hand->out->items[i].u.vip.valid_ms;
    return before_ms;
}

/* Announcements stop where the right to it ends. */
static void test_the_right_to_an_address_lasts_as_long_as_a_short_lease(void **state)
{
    struct ha_settings settings;
    struct ha_event event = {.kind = HA_EVENT_SETTINGS, .u.settings = &settings};
    struct hand *hand = hand_new();
    uint64_t right_ms;

    (void)state;
    hand_as_holder(hand, 5);
    settings = hand_held(hand)->settings;
    memcpy(settings.vip, "10.0.0.9", 9);
    hand_step(hand, &event);
    right_ms = claimed_until_ms(hand, 0);
    hand_vip(hand, true, false);
    for (int i = 0; i < 100; i++) {
        assert_true(hand_held(hand)->serving);
        assert_true(right_ms > hand->now_ms);
        assert_true(ha_agent_wake_ms(hand->a) > hand->now_ms);
        hand_tick(hand, 50);
        right_ms = claimed_until_ms(hand, right_ms);
        for (uint32_t w = 0; w < 2; w++) { /* after the first promises such as have 400 ms left */
            hand_promise(hand, w, 5, hand->now_ms - LEASE + 400);
            right_ms = claimed_until_ms(hand, right_ms);
        }
    }
    /* The last moments of a lease that runs out are not spent on claims. */
    for (uint32_t claims = 0; hand_held(hand)->serving;) {
        hand_tick(hand, 1);
        claims += effects_count(hand->out, HA_EFFECT_VIP_CLAIM);
        assert_true(claims < 10);
    }
    hand_free(hand);
}

/* Where nobody reported it released, another host may have it: looked for while the database is
 * promoted, not after. */
static void test_address_is_looked_for_during_the_promotion(void **state)
{
    (void)state;
    for (int has_vip = 0; has_vip < 2; has_vip++) {
        for (int vip_free = 0; vip_free < 2; vip_free++) {
            struct hand *hand = hand_new();
            struct ha_settings settings;
            struct ha_order order = {.service = HAND_SERVICE,
                                     .member = B,
                                     .kind = HA_ORDER_PROMOTE,
                                     .epoch = 5,
                                     .index = 100,
                                     .instance = INSTANCE(B),
                                     .vip_free = vip_free != 0};
            struct ha_event event = {.kind = HA_EVENT_SETTINGS, .u.settings = &settings};

            hand_as_replica(hand);
            settings = hand_held(hand)->settings;
            memcpy(settings.vip, has_vip != 0 ? "10.0.0.9" : "", has_vip != 0 ? 9 : 1);
            hand_step(hand, &event);
            event = (struct ha_event){.kind = HA_EVENT_ORDER, .u.order = &order};
            hand_step(hand, &event);
            assert_non_null(effects_find(hand->out, HA_EFFECT_ACT));
            assert_int_equal(effects_count(hand->out, HA_EFFECT_VIP_LOOK),
                             has_vip != 0 && vip_free == 0 ? 1 : 0);
            assert_int_equal(effects_count(hand->out, HA_EFFECT_VIP_CLAIM), 0);
            hand_free(hand);
        }
    }
}

/* The address goes while the note is written: half a word, for which watchers would exchange
 * opinions that delay the whole one. */
static void test_released_address_is_told_with_the_end_of_the_epoch(void **state)
{
    struct hand *hand = hand_new();
    struct ha_event noted = {.kind = HA_EVENT_PERSISTED_EPOCHS,
                             .u.epochs = {.service = HAND_SERVICE, .epoch_seen = 5, .given_up = 5}};

    (void)state;
    hand_as_holder(hand, 5);
    hand_vip(hand, true, false);
    hand_tick(hand, 1);
    hand_process(hand, HA_PROCESS_GONE, PID);
    hand_closed(hand);
    hand_vip(hand, false, false);
    assert_null(effects_find(hand->out, HA_EFFECT_HEARTBEAT));
    hand_step(hand, &noted);
    assert_int_equal(hand_told(hand)->given_up, 5);
    assert_false(hand_told(hand)->vip_held);
    hand_free(hand);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_lease_counts_from_the_sending),
    cmocka_unit_test(test_gate_ends_with_the_lease),
    cmocka_unit_test(test_one_watcher_counts_once),
    cmocka_unit_test(test_promises_that_answer_nothing_are_void),
    cmocka_unit_test(test_how_many_promises_of_two_sets_do_not_add_up),
    cmocka_unit_test(test_how_many_size_comes_with_the_set),
    cmocka_unit_test(test_who_restarted_agent_goes_on),
    cmocka_unit_test(test_who_restarted_agent_gives_up_another_run),
    cmocka_unit_test(test_who_restarted_agent_gives_up_a_dead_database),
    cmocka_unit_test(test_who_restarted_agent_gives_up_what_is_no_primary),
    cmocka_unit_test(test_orders_for_another_instance_are_not_taken),
    cmocka_unit_test(test_age_of_answers_counts_from_the_asking),
    cmocka_unit_test(test_giving_up_closes_and_notes_in_one_step),
    cmocka_unit_test(test_giving_up_is_durable_before_it_is_reported),
    cmocka_unit_test(test_giving_up_is_reported_only_of_a_closed_gate),
    cmocka_unit_test(test_giving_up_is_not_reported_by_a_late_answer_to_an_earlier_close),
    cmocka_unit_test(test_giving_up_is_not_reported_by_a_restart_before_the_gate_is_closed),
    cmocka_unit_test(test_giving_up_is_repeated_in_each_heartbeat),
    cmocka_unit_test(test_giving_up_late_promises_do_not_revive),
    cmocka_unit_test(test_giving_up_late_promises_do_not_revive_a_fenced_one),
    cmocka_unit_test(test_giving_up_no_order_revives),
    cmocka_unit_test(test_giving_up_no_order_revives_after_a_crash),
    cmocka_unit_test(test_giving_up_same_member_may_get_the_next_epoch),
    cmocka_unit_test(test_giving_up_after),
    cmocka_unit_test(test_opening_nothing_goes_out_before_the_lease),
    cmocka_unit_test(test_opening_epoch_is_durable_before_it_is_claimed),
    cmocka_unit_test(test_opening_failed_candidate_holds_nothing),
    cmocka_unit_test(test_accepted_later_epoch_takes_nothing_earlier),
    cmocka_unit_test(test_late_orders_of_an_older_state_are_void),
    cmocka_unit_test(test_replicas_gate_is_timed),
    cmocka_unit_test(test_replicas_gate_needs_a_read_only_replica),
    cmocka_unit_test(test_replicas_gate_closes_when_it_becomes_a_primary),
    cmocka_unit_test(test_replicas_gate_closes_at_each_start),
    cmocka_unit_test(test_replicas_gate_needs_a_watched_process),
    cmocka_unit_test(test_replicas_gate_waits_after_a_failed_promotion),
    cmocka_unit_test(test_replicas_gate_waits_for_a_promotion_under_way),
    cmocka_unit_test(test_first_settings_close_the_gate),
    cmocka_unit_test(test_gate_is_of_one_process),
    cmocka_unit_test(test_orders_are_done_once),
    cmocka_unit_test(test_serving_is_for_the_run_that_was_promoted),
    cmocka_unit_test(test_holder_told_to_follow_gives_up_first),
    cmocka_unit_test(test_holder_told_of_the_next_epoch_gives_up_first),
    cmocka_unit_test(test_order_waits_for_the_act_under_way_and_no_longer),
    cmocka_unit_test(test_report_does_not_wait_for_an_outlived_follow),
    cmocka_unit_test(test_order_that_waited_may_have_been_overtaken),
    cmocka_unit_test(test_what_fails_is_not_tried_without_a_pause),
    cmocka_unit_test(test_what_goes_on_is_asked_for_again),
    cmocka_unit_test(test_what_dies_after_its_start_is_not_started_without_a_pause),
    cmocka_unit_test(test_drain_ends_in_a_report),
    cmocka_unit_test(test_drain_that_fails_with_its_database_down),
    cmocka_unit_test(test_drain_that_was_overtaken_by_a_fence),
    cmocka_unit_test(test_removed_service_ends_its_epoch),
    cmocka_unit_test(test_wake_is_in_the_future),
    cmocka_unit_test(test_address_is_kept_in_spite_of_another_host),
    cmocka_unit_test(test_the_right_to_an_address_lasts_as_long_as_a_short_lease),
    cmocka_unit_test(test_address_is_looked_for_during_the_promotion),
    cmocka_unit_test(test_released_address_is_told_with_the_end_of_the_epoch),
};

HA_TEST_MAIN("core/agent", tests)
