/* The watcher's half of the lease: to whom it promises what, and when it does not (design, 6.1 and
 * 6.3: Who, How many, How long, Opening, One promise). */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

/* The promise in answer to what the agent of @member says now; NULL for none. */
static const struct ha_promise *answer(struct world *world, uint32_t member)
{
    const struct ha_heartbeat beat = world_beat(world, member);
    const struct ha_effect *effect;

    world_hear(world, member, &beat);
    effect = effects_find(world->out, HA_EFFECT_PROMISE);
    return effect == NULL ? NULL : &effect->u.promise;
}

static struct world *world_steady(uint32_t watchers)
{
    struct world *world = world_new(watchers);

    world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    return world;
}

static uint32_t told_remainder(struct world *world)
{
    const struct ha_effect *effect;

    world_tick(world, 100);
    effect = effects_find(world->out, HA_EFFECT_STOPPED);
    assert_non_null(effect);
    assert_int_equal(effect->u.stopped.epoch, world_epoch(world));
    assert_int_equal(effect->u.stopped.set_id, SET);
    return effect->u.stopped.remainder_ms;
}

static void test_promise_tells_all_the_agent_needs(void **state)
{
    struct world *world = world_steady(5);
    const struct ha_promise *promise = answer(world, A);

    (void)state;
    assert_non_null(promise);
    assert_int_equal(promise->service, world_service(world)->id);
    assert_int_equal(promise->epoch, world_epoch(world));
    assert_int_equal(promise->instance, INSTANCE(A));
    assert_int_equal(promise->stamp, world->now_ms - 1);
    assert_int_equal(promise->set_id, SET);
    assert_int_equal(promise->set_size, 5);
    assert_int_equal(promise->length_ms, LEASE);
    world_free(world);
}

/* A repetition stands for the heartbeat it repeats, and for nothing that was not told. */

static int same(struct world *world, uint32_t member, uint64_t instance)
{
    char agent[HA_NAME_SIZE];
    struct ha_event event = {.kind = HA_EVENT_SAME,
                             .u.same = {.agent = agent,
                                        .service = world_service(world)->id,
                                        .member = member,
                                        .instance = instance,
                                        .stamp = 4711}};

    (void)ha_text_format(agent, sizeof(agent), "ag-%c", (char)('a' + member - 1));
    return world_step(world, &event);
}

static void test_repetition_is_answered_like_the_first(void **state)
{
    struct world *world = world_steady(3);
    const struct ha_effect *effect;

    (void)state;
    assert_non_null(answer(world, A));
    world->now_ms += 200;
    assert_int_equal(same(world, A, INSTANCE(A)), HA_OK);
    effect = effects_find(world->out, HA_EFFECT_PROMISE);
    assert_non_null(effect);
    assert_int_equal(effect->u.promise.stamp, 4711);
    assert_int_equal(effect->u.promise.epoch, world_epoch(world));
    assert_int_equal(effect->u.promise.instance, INSTANCE(A));
    assert_int_equal(effect->u.promise.length_ms, LEASE);
    world_free(world);
}

static void test_repetition_counts_only_for_what_was_told(void **state)
{
    struct world *world = world_steady(3);

    (void)state;
    assert_non_null(answer(world, A));
    assert_int_equal(same(world, A, INSTANCE(B)), HA_ENOENT);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    assert_int_equal(same(world, 7, INSTANCE(A)), HA_ENOENT);
    world_free(world);
    world = world_new(3); /* nobody was heard yet */
    assert_int_equal(same(world, A, INSTANCE(A)), HA_ENOENT);
    world_free(world);
}

/* The state that is applied decides, not the one in which it was told. */
static void test_repetition_is_no_promise_while_fencing(void **state)
{
    struct world *world = world_steady(3);

    (void)state;
    assert_non_null(answer(world, A));
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_int_equal(world_begin(world, HA_REASON_DOWN, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(same(world, A, INSTANCE(A)), HA_OK);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    world_free(world);
}

/* "Who" */

static void test_who_only_the_instance_in_the_log(void **state)
{
    struct world *world = world_steady(3);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    beat.instance = 0x999; /* a clone, a restored image, the host after a reboot */
    world_hear(world, A, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    beat.instance = HA_INSTANCE_NONE;
    world_hear(world, A, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    assert_non_null(answer(world, A));
    world_free(world);
}

static void test_who_only_the_member_in_the_log(void **state)
{
    struct world *world = world_steady(3);
    struct ha_heartbeat beat = world_beat(world, B);

    (void)state;
    beat.status.epoch = world_epoch(world);
    beat.instance = INSTANCE(A);
    world_hear(world, B, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    world_free(world);
}

static void test_who_only_the_agent_of_the_member(void **state)
{
    struct world *world = world_steady(3);
    const struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    world_hear(world, B, &beat); /* ag-b speaks for member a */
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    world_free(world);
}

static void test_who_only_the_epoch_in_the_log(void **state)
{
    struct world *world = world_steady(3);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    beat.status.epoch++;
    world_hear(world, A, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    beat.status.epoch -= 2;
    world_hear(world, A, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    world_free(world);
}

static void test_given_up_gets_no_promise(void **state)
{
    struct world *world = world_steady(3);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    world_lead(world, false);
    beat.status.given_up = beat.status.epoch;
    world_hear(world, A, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    world_free(world);
}

/* "Opening" */

static void test_opening_promises_begin_there(void **state)
{
    struct world *world = world_new(3);
    struct ha_heartbeat beat;

    (void)state;
    world_reach(world, A, HA_GATE_BPF, HA_STATE_PROMOTING);
    beat = world_beat(world, A);
    beat.status.epoch = world_epoch(world);
    world_hear(world, A, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    assert_int_equal(world_outcome(world, HA_COMMAND_PROMOTED), HA_OK);
    assert_non_null(answer(world, A));
    world_free(world);
}

static void test_no_promise_once_it_is_to_end(void **state)
{
    struct world *world = world_steady(3);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    world_hear(world, A, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    beat.status.epoch = world_epoch(world); /* nor for the claimed one */
    world_hear(world, A, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    world_free(world);
}

/* "How long" */

/* A watcher of the set "SET", started anew with a note of 800 ms and with service in STEADY. */
static struct world *world_restarted(uint32_t note_ms)
{
    struct world *before = world_steady(3);
    struct world *world = world_bare(3, note_ms);
    struct ha_event event = {.kind = HA_EVENT_RESTORED};

    world->w->cluster = before->w->cluster;
    world_free(before);
    (void)world_step(world, &event);
    return world;
}

static void catch_up(struct world *world)
{
    struct ha_event event = {.kind = HA_EVENT_CAUGHT_UP};

    (void)world_step(world, &event);
}

static void test_how_long_length_is_durable_before_the_first(void **state)
{
    struct world *world = world_restarted(0);
    struct ha_event event = {.kind = HA_EVENT_PERSISTED_PROMISE};
    const struct ha_promise *promise;

    (void)state;
    catch_up(world);
    assert_null(answer(world, A));
    assert_int_equal(effects_find(world->out, HA_EFFECT_PERSIST_PROMISE)->u.persist_ms, LEASE);
    assert_null(answer(world, A)); /* the disk is slow */
    event.u.persisted_ms = LEASE;
    (void)world_step(world, &event);
    promise = answer(world, A);
    assert_true(promise != NULL && promise->length_ms == LEASE);
    world_free(world);
}

static void test_how_long_longer_lease_is_durable_first(void **state)
{
    struct world *world = world_steady(3);
    struct ha_event event = {.kind = HA_EVENT_PERSISTED_PROMISE, .u.persisted_ms = 4000};

    (void)state;
    assert_int_equal(answer(world, A)->length_ms, LEASE);
    world->config->services[0].lease_ms = 4000;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(answer(world, A)->length_ms, LEASE); /* what the note covers */
    (void)world_step(world, &event);
    assert_int_equal(answer(world, A)->length_ms, 4000);
    world_free(world);
}

static void test_how_long_blind_after_a_start(void **state)
{
    struct world *world = world_restarted(800);

    (void)state;
    catch_up(world);
    assert_null(answer(world, A));
    world->now_ms += 800;
    assert_null(answer(world, A)); /* the clocks may part */
    world->now_ms += 50;
    assert_int_equal(answer(world, A)->length_ms, 800);
    world_free(world);
}

static void test_how_long_just_started_names_a_full_promise(void **state)
{
    struct world *world = world_restarted(800);

    (void)state;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(effects_find(world->out, HA_EFFECT_STOPPED)->u.stopped.epoch,
                     world_epoch(world));
    assert_true(effects_find(world->out, HA_EFFECT_STOPPED)->u.stopped.remainder_ms >= 800);
    assert_true(told_remainder(world) >= 700);
    world->now_ms += 800;
    assert_int_equal(told_remainder(world), 0);
    world_free(world);
}

static void test_how_long_nothing_before_it_has_caught_up(void **state)
{
    struct world *world = world_restarted(800);

    (void)state;
    world->now_ms += 10000;
    assert_null(answer(world, A));
    catch_up(world);
    assert_non_null(answer(world, A));
    world_free(world);
}

static void test_how_long_remainder_covers_what_was_promised(void **state)
{
    struct world *world = world_steady(3);
    uint64_t given_ms = world->now_ms;

    (void)state;
    assert_non_null(answer(world, A));
    world->now_ms += 300;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    /* Counted from the receipt, with the drift of the clocks on top. */
    assert_true(told_remainder(world) > LEASE - (world->now_ms - given_ms));
    world_free(world);
}

/* "How many" */

static void test_how_many_outside_the_set_promises_nothing(void **state)
{
    struct world *world = world_steady(3);
    struct ha_command command = {.kind = HA_COMMAND_WATCHERS};

    (void)state;
    command.u.watchers.set_id = SET + 1;
    command.u.watchers.count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        command.u.watchers.names[i][0] = 'x';
        command.u.watchers.names[i][1] = (char)('1' + i);
    }
    assert_int_equal(world_commit(world, &command), HA_OK);
    world->now_ms += 2 * LEASE;
    assert_null(answer(world, A));
    world_free(world);
}

static void test_how_many_a_new_set_begins_blind(void **state)
{
    struct world *world = world_steady(3);
    struct ha_command command = {.kind = HA_COMMAND_WATCHERS};

    (void)state;
    assert_non_null(answer(world, A));
    command.u.watchers.set_id = SET + 1;
    command.u.watchers.count = 5;
    for (uint32_t i = 0; i < 5; i++) {
        command.u.watchers.names[i][0] = 'w';
        command.u.watchers.names[i][1] = (char)('1' + i);
    }
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_null(answer(world, A));
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_true(effects_find(world->out, HA_EFFECT_STOPPED)->u.stopped.remainder_ms >= LEASE);
    world_free(world);
}

/* "One promise" */

static void end_and_open(struct world *world, enum ha_fence how, uint32_t next)
{
    uint64_t epoch = world_epoch(world);

    if (how == HA_FENCE_REPORT) {
        assert_int_equal(world_give_up(world, epoch, A, INSTANCE(A)), HA_OK);
    } else {
        assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
        assert_int_equal(world_fenced(world, how, 6), HA_OK); /* w2 and w3 have stopped */
    }
    world_reach(world, next, HA_GATE_BPF, HA_STATE_OPENING);
}

static void test_one_promise_waits_for_its_own_to_expire(void **state)
{
    static const enum ha_fence fences[] = {HA_FENCE_EXPIRED, HA_FENCE_COMMAND};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(fences); i++) {
        struct world *world = world_steady(3);

        assert_non_null(answer(world, A));
        end_and_open(world, fences[i], B);
        assert_null(answer(world, B));
        world->now_ms += LEASE;
        assert_null(answer(world, B));
        world->now_ms += 50;
        assert_non_null(answer(world, B));
        world_free(world);
    }
}

static void test_one_promise_is_void_after_the_holders_report(void **state)
{
    struct world *world = world_steady(3);

    (void)state;
    assert_non_null(answer(world, A));
    end_and_open(world, HA_FENCE_REPORT, B);
    assert_non_null(answer(world, B));
    world_free(world);
}

/* The report was about the epoch in between; the promise is older and may stand. */
static void test_one_promise_report_of_another_epoch_frees_nothing(void **state)
{
    struct world *world = world_steady(3);

    (void)state;
    assert_non_null(answer(world, A));
    end_and_open(world, HA_FENCE_EXPIRED, B);
    assert_int_equal(world_give_up(world, world_epoch(world), B, INSTANCE(B)), HA_OK);
    world_reach(world, C, HA_GATE_BPF, HA_STATE_OPENING);
    assert_null(answer(world, C));
    world->now_ms += LEASE + 50;
    assert_non_null(answer(world, C));
    world_free(world);
}

static void test_one_promise_epoch_that_never_opened_is_no_obstacle(void **state)
{
    struct world *world = world_new(3);

    (void)state;
    assert_int_equal(world_promote(world, A, HA_GATE_BPF), HA_OK);
    assert_int_equal(world_outcome(world, HA_COMMAND_FAILED), HA_OK);
    world_reach(world, B, HA_GATE_BPF, HA_STATE_OPENING);
    assert_non_null(answer(world, B));
    world_free(world);
}

static void test_one_promise_report_holds_past_an_epoch_that_never_opened(void **state)
{
    struct world *world = world_steady(3);

    (void)state;
    assert_non_null(answer(world, A));
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    assert_int_equal(world_promote(world, B, HA_GATE_BPF), HA_OK);
    assert_int_equal(world_outcome(world, HA_COMMAND_FAILED), HA_OK);
    world_reach(world, C, HA_GATE_BPF, HA_STATE_OPENING);
    assert_non_null(answer(world, C));
    world_free(world);
}

/* "Opening": who asked a moment too early does not have to ask again. */

/* b is promoted and has said so, which made it ask for promises. */
static struct world *world_claimed(enum ha_fence how)
{
    struct world *world = world_steady(3);
    struct ha_heartbeat beat;

    assert_non_null(answer(world, A));
    if (how == HA_FENCE_REPORT) {
        assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    } else {
        assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
        assert_int_equal(world_fenced(world, how, 6), HA_OK);
    }
    assert_int_equal(world_promote(world, B, HA_GATE_BPF), HA_OK);
    beat = world_beat(world, B);
    beat.stamp = 4711;
    beat.status.epoch = world_epoch(world);
    world_hear(world, B, &beat);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    return world;
}

static void test_opening_is_promised_to_who_asked_before(void **state)
{
    struct world *world = world_claimed(HA_FENCE_REPORT);
    const struct ha_effect *effect;

    (void)state;
    world->now_ms += 30;
    assert_int_equal(world_outcome(world, HA_COMMAND_PROMOTED), HA_OK);
    effect = effects_find(world->out, HA_EFFECT_PROMISE);
    assert_non_null(effect);
    assert_int_equal(effect->u.promise.stamp, 4711); /* from the asking on, not from now */
    assert_int_equal(effect->u.promise.epoch, world_epoch(world));
    assert_int_equal(effect->u.promise.instance, INSTANCE(B));
    /* This watcher counts from now: it has promised until then, whatever the agent makes of it. */
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_in_range(told_remainder(world), LEASE - 100, LEASE);
    world_free(world);
}

static void test_opening_is_not_promised_over_an_unexpired_one(void **state)
{
    struct world *world = world_claimed(HA_FENCE_EXPIRED);

    (void)state;
    assert_int_equal(world_outcome(world, HA_COMMAND_PROMOTED), HA_OK);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    world_free(world);
}

static void test_opening_is_not_promised_to_who_did_not_ask(void **state)
{
    struct world *world = world_steady(3);
    struct ha_heartbeat beat;

    (void)state;
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    assert_int_equal(world_promote(world, B, HA_GATE_BPF), HA_OK);
    beat = world_beat(world, B); /* heard, and claims nothing */
    world_hear(world, B, &beat);
    beat.instance = 0x999; /* another instance claims it */
    beat.status.epoch = world_epoch(world);
    world_hear(world, B, &beat);
    assert_int_equal(world_outcome(world, HA_COMMAND_PROMOTED), HA_OK);
    assert_null(effects_find(world->out, HA_EFFECT_PROMISE));
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_promise_tells_all_the_agent_needs),
    cmocka_unit_test(test_repetition_is_answered_like_the_first),
    cmocka_unit_test(test_repetition_counts_only_for_what_was_told),
    cmocka_unit_test(test_repetition_is_no_promise_while_fencing),
    cmocka_unit_test(test_opening_is_promised_to_who_asked_before),
    cmocka_unit_test(test_opening_is_not_promised_over_an_unexpired_one),
    cmocka_unit_test(test_opening_is_not_promised_to_who_did_not_ask),
    cmocka_unit_test(test_who_only_the_instance_in_the_log),
    cmocka_unit_test(test_who_only_the_member_in_the_log),
    cmocka_unit_test(test_who_only_the_agent_of_the_member),
    cmocka_unit_test(test_who_only_the_epoch_in_the_log),
    cmocka_unit_test(test_given_up_gets_no_promise),
    cmocka_unit_test(test_opening_promises_begin_there),
    cmocka_unit_test(test_no_promise_once_it_is_to_end),
    cmocka_unit_test(test_how_long_length_is_durable_before_the_first),
    cmocka_unit_test(test_how_long_longer_lease_is_durable_first),
    cmocka_unit_test(test_how_long_blind_after_a_start),
    cmocka_unit_test(test_how_long_just_started_names_a_full_promise),
    cmocka_unit_test(test_how_long_nothing_before_it_has_caught_up),
    cmocka_unit_test(test_how_long_remainder_covers_what_was_promised),
    cmocka_unit_test(test_how_many_outside_the_set_promises_nothing),
    cmocka_unit_test(test_how_many_a_new_set_begins_blind),
    cmocka_unit_test(test_one_promise_waits_for_its_own_to_expire),
    cmocka_unit_test(test_one_promise_is_void_after_the_holders_report),
    cmocka_unit_test(test_one_promise_report_of_another_epoch_frees_nothing),
    cmocka_unit_test(test_one_promise_epoch_that_never_opened_is_no_obstacle),
    cmocka_unit_test(test_one_promise_report_holds_past_an_epoch_that_never_opened),
};

HA_TEST_MAIN("core/promise", tests)
