/* Agents that keep each other's leases: what counts for the one who asks, and what binds the one
 * who promises (design, 6.6). The agent under test is that of b. */
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

enum { EPOCH = 5, INDEX = 40 };

static void know_peers(struct hand *hand)
{
    struct ha_settings settings = hand_held(hand)->settings;
    struct ha_event event = {.kind = HA_EVENT_SETTINGS, .u.settings = &settings};

    settings.peer_count = 2;
    settings.peers[1] = settings.peers[0];
    settings.peers[1].id = C;
    settings.peers[0].agent_port = settings.peers[1].agent_port = 7402;
    (void)ha_text_copy(settings.peers[0].agent, HA_NAME_SIZE, "ag-a");
    (void)ha_text_copy(settings.peers[1].agent, HA_NAME_SIZE, "ag-c");
    (void)ha_text_copy(settings.peers[1].host, HA_HOST_SIZE, "10.0.0.3");
    hand_step(hand, &event);
}

static const struct ha_hold_set both = {
    .members = 1u << A | 1u << C, .lease_ms = LEASE, .memory = {[A] = MEMORY(A), [C] = MEMORY(C)}};

static void order_hold(struct hand *hand, const struct ha_hold_set *set, uint64_t index)
{
    struct ha_order order = {.service = HAND_SERVICE,
                             .member = B,
                             .kind = HA_ORDER_HOLD,
                             .epoch = EPOCH,
                             .index = ++hand->index,
                             .instance = INSTANCE(B),
                             .hold = *set,
                             .hold_index = index};
    struct ha_event event = {.kind = HA_EVENT_ORDER, .u.order = &order};

    hand_step(hand, &event);
}

/* A primary whose lease a and c may keep. */
static struct hand *holder_new(void)
{
    struct hand *hand = hand_new();

    hand_as_holder(hand, EPOCH);
    know_peers(hand);
    order_hold(hand, &both, INDEX);
    hand_settle(hand);
    return hand;
}

static void word(struct hand *hand, const char *agent, uint64_t memory, uint64_t stamp_ms)
{
    const struct ha_hold_word said = {.service = HAND_SERVICE,
                                      .epoch = EPOCH,
                                      .instance = INSTANCE(B),
                                      .stamp = stamp_ms,
                                      .length_ms = LEASE,
                                      .memory = memory};
    struct ha_event event = {.kind = HA_EVENT_HOLD_WORD, .u.hold_word = {agent, &said}};

    hand_step(hand, &event);
}

static void test_all_of_them_are_asked(void **state)
{
    struct hand *hand = holder_new();
    uint32_t asked = 0;

    (void)state;
    hand_tick(hand, 250);
    for (uint32_t i = 0; i < hand->out->count; i++) {
        const struct ha_effect_hold_ask *ask = &hand->out->items[i].u.hold_ask;
        uint32_t id = ask->agent[3] == 'a' ? A : C;

        if (hand->out->items[i].kind != HA_EFFECT_HOLD_ASK)
            continue;
        asked |= 1u << id;
        assert_int_equal(ask->port, 7402);
        assert_string_equal(ask->host, id == A ? "10.0.0.1" : "10.0.0.3");
        assert_int_equal(ask->ask.epoch, EPOCH);
        assert_int_equal(ask->ask.member, B);
        assert_int_equal(ask->ask.instance, INSTANCE(B));
        assert_int_equal(ask->ask.memory, MEMORY(id));
        assert_int_equal(ask->ask.length_ms, LEASE);
        assert_int_equal(ask->ask.stamp, hand->now_ms);
    }
    assert_int_equal(asked, both.members);
    hand_free(hand);
}

static void test_the_lease_rests_on_all_where_watchers_are_gone(void **state)
{
    struct hand *hand = holder_new();

    (void)state;
    for (uint32_t i = 0; i < 10; i++) {
        word(hand, "ag-a", MEMORY(A), hand->now_ms);
        word(hand, "ag-c", MEMORY(C), hand->now_ms);
        hand_tick(hand, 500);
        assert_true(hand_gate_is_open(hand));
        assert_true(hand_held(hand)->serving);
    }
    assert_true(hand_asks(hand)->holding);
    assert_int_equal(hand_told(hand)->hold_given, both.members);
    /* One of them less, and it ends with the promise of that one. */
    for (uint32_t i = 0; i < 3; i++) {
        word(hand, "ag-a", MEMORY(A), hand->now_ms);
        hand_tick(hand, 500);
    }
    assert_false(hand_gate_is_open(hand));
    assert_false(hand_held(hand)->serving);
    assert_int_equal(hand_held(hand)->epoch, EPOCH);
    /* And goes on when that one is back: nobody has taken it meanwhile. */
    word(hand, "ag-a", MEMORY(A), hand->now_ms);
    word(hand, "ag-c", MEMORY(C), hand->now_ms);
    assert_true(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_while_watchers_renew_it_rests_on_them(void **state)
{
    struct hand *hand = holder_new();

    (void)state;
    for (uint32_t i = 0; i < 10; i++) {
        hand_promise(hand, 0, EPOCH, hand->now_ms);
        hand_promise(hand, 1, EPOCH, hand->now_ms);
        hand_tick(hand, 10);
        word(hand, "ag-a", MEMORY(A), hand->now_ms);
        word(hand, "ag-c", MEMORY(C), hand->now_ms);
        hand_tick(hand, 190);
    }
    assert_false(hand_asks(hand)->holding);
    assert_int_equal(hand_told(hand)->hold_given, both.members); /* but they would */
    hand_free(hand);
}

/* Time goes by and @agent's word with it, in as many ways as it can be wrong. */
static bool is_kept_by(const char *agent, uint64_t memory, uint64_t later_ms)
{
    struct hand *hand = holder_new();
    bool open;

    hand_tick(hand, LEASE - 100);
    word(hand, "ag-a", MEMORY(A), hand->now_ms);
    word(hand, agent, memory, hand->now_ms + later_ms);
    hand_tick(hand, 200);
    open = hand_gate_is_open(hand);
    hand_free(hand);
    return open;
}

static void test_whose_word_counts(void **state)
{
    (void)state;
    assert_true(is_kept_by("ag-c", MEMORY(C), 0));
    assert_false(is_kept_by("ag-a", MEMORY(A), 0));
    assert_false(is_kept_by("ag-a", MEMORY(C), 0));
    assert_false(is_kept_by("ag-c", MEMORY(C) + 1, 0)); /* it has forgotten, or is a clone */
    assert_false(is_kept_by("ag-x", MEMORY(C), 0));
    assert_false(is_kept_by("ag-c", MEMORY(C), 5000)); /* no answer to anything */
}

static void test_a_set_counts_when_it_is_noted(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, EPOCH);
    know_peers(hand);
    order_hold(hand, &both, INDEX);
    assert_non_null(effects_find(hand->out, HA_EFFECT_PERSIST_EPOCHS));
    hand_tick(hand, 250);
    assert_int_equal(hand_told(hand)->hold_index, 0);
    assert_null(effects_find(hand->out, HA_EFFECT_HOLD_ASK));
    hand_free(hand);
    hand = holder_new();
    assert_int_equal(hand_asks(hand)->hold_index, INDEX);
    hand_free(hand);
}

static void test_an_older_set_is_void_also_after_a_restart(void **state)
{
    static const struct ha_hold_set one = {
        .members = 1u << C, .lease_ms = LEASE, .memory = {[C] = MEMORY(C)}};
    struct hand *hand = holder_new();

    (void)state;
    order_hold(hand, &one, INDEX - 1);
    assert_int_equal(hand_held(hand)->hold.terms.set.members, both.members);
    hand_restart(hand);
    hand_as_replica(hand);
    order_hold(hand, &one, INDEX - 1);
    assert_int_equal(hand_held(hand)->hold.terms.set.members, both.members);
    assert_int_equal(hand_held(hand)->hold.index_durable, INDEX);
    hand_free(hand);
}

/* From then on the log forgets the older one: nothing may rest on it any more. */
static void test_a_set_is_not_changed_while_the_lease_rests_on_it(void **state)
{
    static const struct ha_hold_set nobody;
    struct hand *hand = holder_new();

    (void)state;
    hand_tick(hand, LEASE - 100);
    word(hand, "ag-a", MEMORY(A), hand->now_ms);
    word(hand, "ag-c", MEMORY(C), hand->now_ms);
    order_hold(hand, &nobody, INDEX + 1);
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->hold_index, INDEX);
    /* The watchers are back, and what agents gave has run out. */
    for (uint32_t i = 0; i < 10; i++) {
        hand_promise(hand, 0, EPOCH, hand->now_ms);
        hand_promise(hand, 1, EPOCH, hand->now_ms);
        hand_tick(hand, 200);
    }
    order_hold(hand, &nobody, INDEX + 1);
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->hold_index, INDEX + 1);
    assert_true(hand_gate_is_open(hand));
    hand_free(hand);
}

/* Whoever promised for longer may have started anew, and then has promised for no longer than the
 * log says. */
static void test_promises_of_a_longer_lease_end_with_its_set(void **state)
{
    struct ha_hold_set shorter = both;
    struct hand *hand = holder_new();

    (void)state;
    word(hand, "ag-a", MEMORY(A), hand->now_ms);
    word(hand, "ag-c", MEMORY(C), hand->now_ms);
    assert_int_equal(ha_held_hold_end_ms(hand_held(hand)), hand->now_ms + LEASE);
    order_hold(hand, &both, INDEX + 1); /* no shorter: they stay */
    hand_settle(hand);
    assert_int_equal(ha_held_hold_end_ms(hand_held(hand)), hand->now_ms + LEASE);
    shorter.lease_ms = LEASE / 2;
    order_hold(hand, &shorter, INDEX + 2);
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->hold_index, INDEX + 2);
    assert_int_equal(ha_held_hold_end_ms(hand_held(hand)), 0);
    word(hand, "ag-a", MEMORY(A), hand->now_ms); /* the answer to what was asked before */
    word(hand, "ag-c", MEMORY(C), hand->now_ms);
    assert_int_equal(ha_held_hold_end_ms(hand_held(hand)), 0);
    hand_free(hand);
}

/* Promising */

static void ask(struct hand *hand, const char *agent, const struct ha_hold_ask *asked)
{
    struct ha_event event = {.kind = HA_EVENT_HOLD_ASKED, .u.hold_asked = {agent, asked}};

    hand_step(hand, &event);
}

static struct ha_hold_ask of_a(uint64_t epoch)
{
    return (struct ha_hold_ask){.service = HAND_SERVICE,
                                .member = A,
                                .epoch = epoch,
                                .instance = INSTANCE(A),
                                .stamp = 77,
                                .length_ms = LEASE,
                                .memory = MEMORY(B)};
}

static bool promises(struct hand *hand, const char *agent, const struct ha_hold_ask *asked)
{
    ask(hand, agent, asked);
    return effects_find(hand->out, HA_EFFECT_HOLD_WORD) != NULL;
}

/* A replica that was told of epoch 5. */
static struct hand *replica_new(void)
{
    struct hand *hand = hand_new();

    hand_as_replica(hand);
    know_peers(hand);
    hand_order(hand, HA_ORDER_FOLLOW, EPOCH);
    hand_settle(hand);
    hand_acted(hand, HA_OK, HA_ROLE_REPLICA);
    hand_settle(hand);
    return hand;
}

static void test_a_promise_is_what_was_asked_for(void **state)
{
    struct hand *hand = replica_new();
    const struct ha_hold_ask asked = of_a(EPOCH);
    const struct ha_effect_hold_word *given;

    (void)state;
    assert_true(promises(hand, "ag-a", &asked));
    given = &effects_find(hand->out, HA_EFFECT_HOLD_WORD)->u.hold_word;
    assert_string_equal(given->agent, "ag-a");
    assert_int_equal(given->word.epoch, EPOCH);
    assert_int_equal(given->word.instance, INSTANCE(A));
    assert_int_equal(given->word.stamp, 77);
    assert_int_equal(given->word.length_ms, LEASE);
    assert_int_equal(given->word.memory, MEMORY(B));
    hand_free(hand);
}

static void test_who_gets_no_promise(void **state)
{
    struct hand *hand = replica_new();
    struct ha_hold_ask asked = of_a(EPOCH - 1);

    (void)state;
    assert_false(promises(hand, "ag-a", &asked)); /* an epoch that has been followed by another */
    asked = of_a(EPOCH);
    assert_false(promises(hand, "ag-c", &asked));
    assert_false(promises(hand, "ag-x", &asked));
    asked.memory = MEMORY(B) + 1; /* of somebody who promised before, and is forgotten */
    assert_false(promises(hand, "ag-a", &asked));
    asked = of_a(EPOCH);
    asked.length_ms = 0;
    assert_false(promises(hand, "ag-a", &asked));
    asked.length_ms = HA_LEASE_MAX_MS + 1;
    assert_false(promises(hand, "ag-a", &asked));
    asked = of_a(HA_EPOCH_NONE);
    assert_false(promises(hand, "ag-a", &asked));
    hand_free(hand);
    hand = hand_new();
    hand_as_holder(hand, EPOCH);
    know_peers(hand);
    asked = of_a(EPOCH + 1);
    assert_false(promises(hand, "ag-a", &asked)); /* who has a lease of its own */
    hand_free(hand);
}

static void test_a_later_epoch_is_noted_before_it_is_promised(void **state)
{
    struct hand *hand = replica_new();
    struct ha_hold_ask asked = of_a(EPOCH + 1);

    (void)state;
    assert_false(promises(hand, "ag-a", &asked));
    hand_noted(hand);
    assert_true(promises(hand, "ag-a", &asked));
    asked = of_a(EPOCH);
    assert_false(promises(hand, "ag-a", &asked));
    hand_restart(hand);
    hand_as_replica(hand);
    know_peers(hand);
    assert_false(promises(hand, "ag-a", &asked));
    hand_free(hand);
}

/* The watchers are gone, so it knows its notes and nothing else. */
static void test_promises_go_on_over_a_restart(void **state)
{
    struct hand *hand = replica_new();
    const struct ha_hold_ask asked = of_a(EPOCH);

    (void)state;
    assert_true(promises(hand, "ag-a", &asked));
    hand_restart(hand);
    assert_true(promises(hand, "ag-a", &asked));
    hand->a->memory = MEMORY(B) + 1; /* without its notes it does not know what it promised */
    assert_false(promises(hand, "ag-a", &asked));
    hand_free(hand);
}

static void test_release_ends_promises_and_is_told(void **state)
{
    struct hand *hand = replica_new();
    const struct ha_hold_ask asked = of_a(EPOCH);

    (void)state;
    assert_true(promises(hand, "ag-a", &asked));
    hand_order(hand, HA_ORDER_RELEASE, EPOCH + 1);
    assert_false(promises(hand, "ag-a", &asked));
    assert_int_equal(hand_asks(hand)->epoch_seen, EPOCH); /* not before it is noted */
    hand_order(hand, HA_ORDER_RELEASE, EPOCH + 2);
    hand_settle(hand);
    assert_int_equal(hand_told(hand)->epoch_seen, EPOCH + 2); /* at once */
    assert_true(hand_told(hand)->hold_left_ms > LEASE - 300);
    assert_int_equal(hand_told(hand)->memory, MEMORY(B));
    assert_int_equal(hand_told(hand)->order, HA_ORDER_FOLLOW); /* what it does goes on */
    hand_tick(hand, LEASE + 100);
    assert_int_equal(hand_asks(hand)->hold_left_ms, 0);
    hand_free(hand);
}

/* An epoch that it was told of and has not noted is noted when somebody needs that: a primary that
 * gave up by itself gets orders that change nothing, and no note came of them. */
static void test_what_it_was_told_of_is_noted_when_asked_for(void **state)
{
    struct hand *hand = hand_new();
    const struct ha_hold_ask asked = of_a(EPOCH + 1);

    (void)state;
    hand_as_holder(hand, EPOCH);
    know_peers(hand);
    hand_process(hand, HA_PROCESS_GONE, 0);
    hand_settle(hand);
    assert_int_equal(hand_held(hand)->given_up_told, EPOCH);
    hand_order(hand, HA_ORDER_FENCE, EPOCH + 1);
    assert_null(effects_find(hand->out, HA_EFFECT_PERSIST_EPOCHS));
    assert_false(promises(hand, "ag-a", &asked));
    hand_noted(hand);
    assert_true(promises(hand, "ag-a", &asked));
    hand_free(hand);
}

static void order_promote(struct hand *hand, bool free, uint32_t hold_ms)
{
    struct ha_order order = {.service = HAND_SERVICE,
                             .member = B,
                             .kind = HA_ORDER_PROMOTE,
                             .epoch = EPOCH + 1,
                             .index = ++hand->index,
                             .instance = INSTANCE(B),
                             .hold_free = free,
                             .hold_ms = hold_ms};
    struct ha_event event = {.kind = HA_EVENT_ORDER, .u.order = &order};

    hand_step(hand, &event);
}

static bool acts(const struct hand *hand)
{
    return effects_find(hand->out, HA_EFFECT_ACT) != NULL;
}

static void test_no_promotion_while_a_promise_runs(void **state)
{
    struct hand *hand = replica_new();
    const struct ha_hold_ask asked = of_a(EPOCH);
    uint64_t promised_ms;

    (void)state;
    hand_tick(hand, 10000);
    assert_true(promises(hand, "ag-a", &asked));
    promised_ms = hand->now_ms;
    order_promote(hand, false, 0); /* also where the log has forgotten that it may have promised */
    assert_false(acts(hand));
    hand_settle(hand);
    assert_false(promises(hand, "ag-a", &asked)); /* and it was the last */
    while (!acts(hand)) {
        hand_tick(hand, 10);
        assert_true(hand->now_ms < promised_ms + 2 * LEASE);
    }
    assert_true(hand->now_ms >= promised_ms + LEASE + LEASE / 128);
    hand_free(hand);
}

static void test_a_report_sets_it_free(void **state)
{
    struct hand *hand = replica_new();
    const struct ha_hold_ask asked = of_a(EPOCH);

    (void)state;
    hand_tick(hand, 10000);
    assert_true(promises(hand, "ag-a", &asked));
    order_promote(hand, true, LEASE);
    assert_true(acts(hand));
    hand_free(hand);
}

/* What it promised before it started is not remembered: anything may have been. */
static void test_no_promotion_soon_after_a_start(void **state)
{
    struct hand *hand = replica_new();
    uint64_t started_ms;

    (void)state;
    hand_restart(hand);
    started_ms = hand->now_ms;
    hand_as_replica(hand);
    order_promote(hand, false, LEASE);
    assert_false(acts(hand));
    hand_settle(hand);
    while (!acts(hand)) {
        hand_tick(hand, 10);
        assert_true(hand->now_ms < started_ms + 2 * LEASE);
    }
    assert_true(hand->now_ms >= started_ms + LEASE + LEASE / 128);
    hand_free(hand);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_all_of_them_are_asked),
    cmocka_unit_test(test_the_lease_rests_on_all_where_watchers_are_gone),
    cmocka_unit_test(test_while_watchers_renew_it_rests_on_them),
    cmocka_unit_test(test_whose_word_counts),
    cmocka_unit_test(test_a_set_counts_when_it_is_noted),
    cmocka_unit_test(test_an_older_set_is_void_also_after_a_restart),
    cmocka_unit_test(test_a_set_is_not_changed_while_the_lease_rests_on_it),
    cmocka_unit_test(test_promises_of_a_longer_lease_end_with_its_set),
    cmocka_unit_test(test_a_promise_is_what_was_asked_for),
    cmocka_unit_test(test_who_gets_no_promise),
    cmocka_unit_test(test_a_later_epoch_is_noted_before_it_is_promised),
    cmocka_unit_test(test_promises_go_on_over_a_restart),
    cmocka_unit_test(test_release_ends_promises_and_is_told),
    cmocka_unit_test(test_what_it_was_told_of_is_noted_when_asked_for),
    cmocka_unit_test(test_no_promotion_while_a_promise_runs),
    cmocka_unit_test(test_a_report_sets_it_free),
    cmocka_unit_test(test_no_promotion_soon_after_a_start),
};

HA_TEST_MAIN("core/hold", tests)
