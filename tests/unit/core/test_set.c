/* A changed set of watchers: the lease goes on across it, a fence needs both sets until the old one
 * is over, and a set built anew claims above everything forgotten (design, 6.3: How many). */
#include <string.h>

#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

enum { W1 = 1, W2 = 2, NEW = 4 }; /* bits of seats in {w1, w2, w4} */

static int replace(struct world *world, const char *old_name, const char *new_name)
{
    struct ha_command command = {.kind = HA_COMMAND_REPLACE};

    (void)ha_text_copy(command.u.replace.old_name, HA_NAME_SIZE, old_name);
    (void)ha_text_copy(command.u.replace.new_name, HA_NAME_SIZE, new_name);
    (void)ha_text_copy(command.u.replace.address, HA_URL_SIZE, "h4:7600");
    return world_commit(world, &command);
}

static const struct ha_promise *answer(struct world *world)
{
    const struct ha_heartbeat beat = world_beat(world, A);
    const struct ha_effect *effect;

    world_hear(world, A, &beat);
    effect = effects_find(world->out, HA_EFFECT_PROMISE);
    return effect == NULL ? NULL : &effect->u.promise;
}

/* The word of a watcher about its promises under the set before. */
static void moved(struct world *world, uint32_t watcher, uint32_t remainder_ms)
{
    const struct ha_stopped stopped = {.set_id = world->w->cluster.set_id,
                                       .remainder_ms = remainder_ms};
    struct ha_event event = {.kind = HA_EVENT_STOPPED};

    event.u.stopped.watcher = watcher;
    event.u.stopped.stopped = &stopped;
    (void)world_step(world, &event);
}

static int settled(struct world *world, uint32_t mask)
{
    struct ha_command command = {.kind = HA_COMMAND_SETTLED};

    command.u.settled.set_id = world->w->cluster.set_id;
    command.u.settled.moved = mask;
    return world_commit(world, &command);
}

static void test_promises_go_on_under_the_next_set(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    const struct ha_promise *promise;

    (void)state;
    assert_non_null(answer(world));
    assert_int_equal(replace(world, "w3", "w4"), HA_OK);
    promise = answer(world);
    assert_non_null(promise);
    assert_true(promise->set_id != SET && promise->set_id == world->w->cluster.set_id);
    assert_int_equal(promise->set_size, 3);
    assert_string_equal(world->w->cluster.watchers[2], "w4");
    world_free(world);
}

/* What seals ended may still hold a lease of {w1, w3}: {w2, w4} must not give another one. */
static void test_whoever_is_new_promises_nothing_until_the_old_set_is_over(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    (void)ha_text_copy(world->w->options.name, HA_NAME_SIZE, "w4");
    assert_int_equal(replace(world, "w3", "w4"), HA_OK);
    assert_int_equal(world->w->self, 2);
    world->now_ms += 2 * LEASE;
    assert_null(answer(world));
    assert_int_equal(world_speak(world, 2), HA_OK);
    assert_null(answer(world));
    assert_false(ha_watcher_is_ready(world->w, world->now_ms));
    assert_int_equal(settled(world, W1 | W2), HA_OK);
    assert_true(ha_watcher_is_ready(world->w, world->now_ms));
    assert_non_null(answer(world));
    world_free(world);
}

/* It could join once more with an empty directory, and have forgotten what it promised; the log
 * keeps that from whoever has spoken. */
static void test_whoever_is_new_speaks_before_it_promises(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    (void)ha_text_copy(world->w->options.name, HA_NAME_SIZE, "w4");
    assert_int_equal(replace(world, "w3", "w4"), HA_OK);
    assert_int_equal(settled(world, W1 | W2), HA_OK);
    assert_false(ha_cluster_has_spoken(&world->w->cluster, 2));
    assert_null(answer(world));
    assert_false(ha_watcher_is_ready(world->w, world->now_ms));
    assert_int_equal(world_speak(world, 2), HA_OK);
    assert_true(ha_watcher_is_ready(world->w, world->now_ms));
    assert_true(ha_cluster_has_spoken(&world->w->cluster, 2));
    assert_non_null(answer(world));
    assert_false(ha_cluster_has_spoken(&world->w->cluster, HA_WATCHERS_MAX));
    world_free(world);
}

/* A watcher that missed the end of its set joins again with an empty directory: it has forgotten
 * what it promised under the old set, and without a word under this one, settled or not. */
static void test_who_joins_again_owes_a_promise_where_it_was_in_the_old_set(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    const struct ha_cluster *cluster = &world->w->cluster;

    (void)state;
    assert_false(ha_cluster_was_before(cluster, 0));
    assert_int_equal(replace(world, "w3", "w4"), HA_OK);
    assert_true(ha_cluster_was_before(cluster, 0));
    assert_true(ha_cluster_was_before(cluster, 1));
    assert_false(ha_cluster_was_before(cluster, 2)); /* w4 */
    assert_false(ha_cluster_was_before(cluster, HA_WATCHERS_MAX));
    assert_non_null(answer(world)); /* without a word */
    assert_int_equal(settled(world, W1 | W2), HA_OK);
    assert_true(ha_cluster_was_before(cluster, 1));
    assert_false(ha_cluster_was_before(cluster, 2));
    assert_int_equal(replace(world, "w2", "w5"), HA_OK);
    assert_true(ha_cluster_was_before(cluster, 1)); /* w4, among {w1, w4, w5} */
    assert_false(ha_cluster_was_before(cluster, 2));
    world_free(world);
}

/* The others of the old set may not know yet, and promise: {w2, w3} would be its majority. */
static void test_fence_needs_both_sets(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    assert_int_equal(replace(world, "w3", "w4"), HA_OK);
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, W1 | NEW), HA_EDENIED);
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, W2 | NEW), HA_EDENIED);
    world_stopped(world, 0, 0);
    world_stopped(world, 2, 0);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, NOBODY, 5000));
    world_stopped(world, 1, 0);
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, NOBODY, 100));
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, W1 | W2), HA_OK);
    world_free(world);
}

static void test_old_set_ends_when_its_majority_has_moved(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    const struct ha_command *command;

    (void)state;
    assert_non_null(answer(world));
    assert_int_equal(replace(world, "w3", "w4"), HA_OK);
    moved(world, 0, 700);
    moved(world, 2, 0); /* was not in it: counts for nothing */
    assert_null(world_wait_for(world, HA_COMMAND_SETTLED, ALL, 3000));
    moved(world, 1, 700);
    assert_null(world_wait_for(world, HA_COMMAND_SETTLED, ALL, 600));
    command = world_wait_for(world, HA_COMMAND_SETTLED, ALL, 300);
    assert_non_null(command);
    assert_int_equal(command->u.settled.moved & (W1 | W2), W1 | W2);
    assert_int_equal(settled(world, W1 | NEW), HA_EDENIED);
    assert_int_equal(settled(world, W1 | W2), HA_OK);
    assert_int_equal(settled(world, W1 | W2), HA_ESTALE);
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, W2 | NEW), HA_OK);
    world_free(world);
}

/* What it tells of itself counts down from the change, whatever it promises since. */
static void test_own_word_covers_a_full_promise(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    const struct ha_effect *effect;
    uint32_t first;

    (void)state;
    assert_int_equal(replace(world, "w3", "w4"), HA_OK);
    world_tick(world, 20);
    effect = effects_find(world->out, HA_EFFECT_STOPPED);
    assert_non_null(effect);
    first = effect->u.stopped.remainder_ms;
    assert_int_equal(effect->u.stopped.service, 0);
    assert_true(first >= LEASE - 20 && first <= LEASE + 100);
    for (int i = 0; i < 20; i++) {
        assert_non_null(answer(world));
        world_tick(world, 100);
        effect = effects_find(world->out, HA_EFFECT_STOPPED);
        if (effect != NULL)
            first = effect->u.stopped.remainder_ms;
    }
    assert_int_equal(first, 0);
    world_free(world);
}

static void test_replacements_refused(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    assert_int_equal(replace(world, "w9", "w4"), HA_ENOENT);
    assert_int_equal(replace(world, "w3", "w3"), HA_EEXIST);
    assert_int_equal(replace(world, "w3", "w2"), HA_EEXIST);
    assert_int_equal(replace(world, "w3", ""), HA_EINVAL);
    assert_int_equal(world->w->cluster.set_id, SET);
    assert_int_equal(replace(world, "w3", "w4"), HA_OK);
    assert_int_equal(replace(world, "w4", "w5"), HA_EBUSY); /* one at a time */
    assert_int_equal(settled(world, W1 | W2), HA_OK);
    assert_int_equal(replace(world, "w4", "w3"), HA_OK);
    assert_true(world->w->cluster.set_id != SET); /* the same names, another set */
    world_free(world);
}

/* A watcher that gets there by a snapshot knows nothing of the sets between. */
static void test_a_jump_to_another_set_begins_blind(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_event event = {.kind = HA_EVENT_RESTORED};

    (void)state;
    world->w->cluster.set_id = SET + 1;
    (void)world_step(world, &event);
    assert_null(answer(world));
    world->now_ms += LEASE + 100;
    assert_non_null(answer(world));
    world_free(world);
}

static void test_agent_keeps_its_lease_across_the_change(void **state)
{
    struct hand *hand = hand_new();
    struct ha_promise promise;
    struct ha_event event = {.kind = HA_EVENT_PROMISE};

    (void)state;
    hand_as_holder(hand, 5);
    promise = (struct ha_promise){.service = HAND_SERVICE,
                                  .epoch = 5,
                                  .instance = INSTANCE(B),
                                  .stamp = hand->now_ms,
                                  .set_id = SET + 1,
                                  .set_size = 3,
                                  .length_ms = LEASE};
    event.u.promise = (struct ha_event_promise){.watcher = 0, .promise = &promise};
    hand_step(hand, &event);
    assert_true(
        hand_gate_is_open(hand)); /* one of the old set, one of the new: what was given stays */
    hand->now_ms += LEASE / 2;
    promise.stamp = hand->now_ms;
    event.u.promise.watcher = 1;
    hand_step(hand, &event);
    assert_true(hand_gate_is_open(hand));
    hand->now_ms += LEASE;
    hand_tick(hand, 0);
    assert_false(hand_gate_is_open(hand)); /* w1's only promise has run out */
    hand_free(hand);
}

/* One of each set is nothing: the lease ends with what the old majority gave. */
static void test_agent_adds_nothing_across_the_change(void **state)
{
    struct hand *hand = hand_new();
    struct ha_event event = {.kind = HA_EVENT_PROMISE};
    struct ha_promise promise;
    uint64_t end_ms;

    (void)state;
    hand_as_holder(hand, 5);
    end_ms = hand->gate_until_ms;
    hand->now_ms += LEASE / 2;
    promise = (struct ha_promise){.service = HAND_SERVICE,
                                  .epoch = 5,
                                  .instance = INSTANCE(B),
                                  .stamp = hand->now_ms,
                                  .set_id = SET + 1,
                                  .set_size = 3,
                                  .length_ms = LEASE};
    event.u.promise = (struct ha_event_promise){.watcher = 0, .promise = &promise};
    hand_step(hand, &event);
    hand_promise(hand, 1, 5, hand->now_ms);
    assert_int_equal(hand->gate_until_ms, end_ms);
    hand_free(hand);
}

static void test_rebuilt_claims_above_what_was_forgotten(void **state)
{
    static const enum ha_state states[] = {HA_STATE_PROMOTING, HA_STATE_OPENING, HA_STATE_STEADY};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct world *world = world_new(3);
        struct ha_command_watchers set = {.set_id = SET + 1, .count = 1, .names = {"w1"}};
        bool was_open = states[i] != HA_STATE_PROMOTING;
        const char *text;
        uint64_t before;
        uint32_t size;

        world_reach(world, A, HA_GATE_BPF, states[i]);
        before = world_epoch(world);
        ha_cluster_rebuild(&world->w->cluster, &set, "restored");
        assert_true(world_epoch(world) > before + 1000);
        assert_int_equal(world_service(world)->state,
                         was_open ? HA_STATE_FENCING : HA_STATE_SELECTING);
        assert_int_equal(world_service(world)->reason, HA_REASON_REBUILT);
        assert_int_equal(world_service(world)->primary, HA_MEMBER_NONE);
        assert_int_equal(world_service(world)->instance, HA_INSTANCE_NONE);
        assert_int_equal(world->w->cluster.watcher_count, 1);
        assert_true(world->w->cluster.config_version > 1);
        assert_int_equal(
            ha_cluster_archived(&world->w->cluster, world->w->cluster.config_version, &text, &size),
            HA_OK);
        assert_true(!was_open || world_service(world)->open_epoch == before);
        world_free(world);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_promises_go_on_under_the_next_set),
    cmocka_unit_test(test_whoever_is_new_promises_nothing_until_the_old_set_is_over),
    cmocka_unit_test(test_whoever_is_new_speaks_before_it_promises),
    cmocka_unit_test(test_who_joins_again_owes_a_promise_where_it_was_in_the_old_set),
    cmocka_unit_test(test_fence_needs_both_sets),
    cmocka_unit_test(test_old_set_ends_when_its_majority_has_moved),
    cmocka_unit_test(test_own_word_covers_a_full_promise),
    cmocka_unit_test(test_replacements_refused),
    cmocka_unit_test(test_a_jump_to_another_set_begins_blind),
    cmocka_unit_test(test_agent_keeps_its_lease_across_the_change),
    cmocka_unit_test(test_agent_adds_nothing_across_the_change),
    cmocka_unit_test(test_rebuilt_claims_above_what_was_forgotten),
};

HA_TEST_MAIN("core/set", tests)
