/* A lease that agents may keep: whose promises are asked for, and how it is taken back (design,
 * 6.6). a is the primary, b and c are the others. */
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

enum { WAIT = 6000 };

static void set_hold(struct world *world, enum ha_quorum_loss what)
{
    world->config->services[0].on_quorum_loss = what;
    assert_int_equal(world_apply_config(world), HA_OK);
}

static const struct ha_hold *hold_of(const struct world *world)
{
    return &world_service(world)->hold;
}

/* a says that it goes by the set of that index. */
static void acknowledge(struct world *world, uint64_t index)
{
    struct ha_heartbeat beat = world_beat(world, A);

    beat.status.hold_index = index;
    world_hear(world, A, &beat);
}

/* a may keep its lease by the word of b and c, and knows it. */
static struct world *world_held(enum ha_gate gate)
{
    struct world *world = world_serving(gate);
    struct ha_command command;

    set_hold(world, HA_QUORUM_LOSS_HOLD);
    command = *world_wait_for(world, HA_COMMAND_HOLD_INTEND, ALL, WAIT);
    assert_int_equal(world_commit(world, &command), HA_OK);
    acknowledge(world, hold_of(world)->sets[0].since);
    return world;
}

static void test_all_others_are_intended(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);
    const struct ha_hold_set *set = &hold_of(world)->sets[0].set;

    (void)state;
    assert_int_equal(hold_of(world)->count, 1);
    assert_int_equal(set->members, REPLICAS);
    assert_int_equal(set->lease_ms, LEASE);
    assert_int_equal(set->memory[B], MEMORY(B));
    assert_int_equal(set->memory[C], MEMORY(C));
    world_free(world);
}

static void test_nothing_is_intended_before_all_are_known(void **state)
{
    struct world *world = world_new(3);
    struct ha_heartbeat beat;

    (void)state;
    world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    set_hold(world, HA_QUORUM_LOSS_HOLD);
    assert_null(world_wait_for(world, HA_COMMAND_HOLD_INTEND, 1 << A | 1 << B, 3000));
    beat = world_beat(world, C);
    beat.status.memory = 0; /* it promises nobody anything */
    world_hear(world, C, &beat);
    assert_null(world_wait_for(world, HA_COMMAND_HOLD_INTEND, 1 << A | 1 << B, 3000));
    world_hear_all(world);
    assert_non_null(world_wait_for(world, HA_COMMAND_HOLD_INTEND, ALL, 3000));
    world_free(world);
}

static void test_the_primary_is_told_until_it_knows(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_command command;
    const struct ha_order *order = NULL;

    (void)state;
    set_hold(world, HA_QUORUM_LOSS_HOLD);
    command = *world_wait_for(world, HA_COMMAND_HOLD_INTEND, ALL, WAIT);
    assert_int_equal(world_commit(world, &command), HA_OK);
    for (uint32_t i = 0; i < 200 && (order == NULL || order->kind != HA_ORDER_HOLD); i++) {
        struct ha_heartbeat beat = world_beat(world, A);

        beat.status.order = HA_ORDER_SERVE;
        beat.status.order_epoch = world_epoch(world);
        beat.status.result = HA_RESULT_DONE;
        world_tick(world, 20);
        world_hear(world, A, &beat);
        order = effects_order(world->out, "ag-a");
    }
    assert_non_null(order);
    assert_int_equal(order->kind, HA_ORDER_HOLD);
    assert_int_equal(order->hold.members, REPLICAS);
    assert_int_equal(order->hold_index, hold_of(world)->sets[0].since);
    assert_int_equal(order->instance, INSTANCE(A));
    acknowledge(world, hold_of(world)->sets[0].since);
    order = effects_order(world->out, "ag-a");
    assert_true(order == NULL || order->kind != HA_ORDER_HOLD);
    world_free(world);
}

static void test_a_change_is_two_steps(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);
    struct ha_command command;

    (void)state;
    set_hold(world, HA_QUORUM_LOSS_FENCE);
    command = *world_wait_for(world, HA_COMMAND_HOLD_INTEND, ALL, WAIT);
    assert_int_equal(command.u.hold.set.members, 0);
    assert_int_equal(world_commit(world, &command), HA_OK);
    /* Until its agent has said so, it may still go by the others. */
    assert_int_equal(hold_of(world)->count, 2);
    assert_false(ha_cluster_hold_is_over(world_service(world), 0, 0));
    assert_null(world_wait_for(world, HA_COMMAND_HOLD_FORCE, ALL, 2000));
    acknowledge(world, hold_of(world)->sets[1].since);
    command = *world_proposed(world, HA_COMMAND_HOLD_FORCE);
    command.u.hold.since--;
    assert_int_equal(world_commit(world, &command), HA_ESTALE);
    command.u.hold.since++;
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(hold_of(world)->count, 0);
    assert_true(ha_cluster_hold_is_over(world_service(world), 0, 0));
    world_free(world);
}

static void test_both_sets_of_a_change_bind(void **state)
{
    struct ha_service service = {
        .config.member_count = 3,
        .members = {{.id = A}, {.id = B}, {.id = C}},
        .hold = {.count = 2,
                 .sets = {{.set = {.members = 1u << B}}, {.set = {.members = 1u << C}}}}};

    (void)state;
    assert_false(ha_cluster_hold_is_over(&service, 1u << B, 0));
    assert_false(ha_cluster_hold_is_over(&service, 1u << C, 0));
    assert_true(ha_cluster_hold_is_over(&service, 1u << B | 1u << C, 0));
    assert_false(ha_cluster_hold_is_over(&service, 1u << B, 1u << A));
    assert_true(ha_cluster_hold_is_over(&service, 1u << B, 1u << C));
}

static int intend(struct world *world, const struct ha_hold_set *set)
{
    struct ha_command command = {.kind = HA_COMMAND_HOLD_INTEND};

    command.u.hold.ref.service = world_service(world)->id;
    command.u.hold.ref.epoch = world_epoch(world);
    command.u.hold.set = *set;
    return world_commit(world, &command);
}

static void test_what_may_be_intended(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);
    struct ha_hold_set set = hold_of(world)->sets[0].set;

    (void)state;
    assert_int_equal(intend(world, &set), HA_EEXIST);
    set.lease_ms = LEASE + 1; /* than the log knows may have been promised */
    assert_int_equal(intend(world, &set), HA_EDENIED);
    set.lease_ms = LEASE;
    set.memory[B] = 0;
    assert_int_equal(intend(world, &set), HA_EINVAL);
    set.members = 1u << C; /* b could be promoted meanwhile */
    assert_int_equal(intend(world, &set), HA_EINVAL);
    set = hold_of(world)->sets[0].set;
    set.memory[B]++;
    assert_int_equal(intend(world, &set), HA_OK);
    set.memory[B]++;
    assert_int_equal(intend(world, &set), HA_EBUSY);
    world_free(world);
}

/* Taking it back */

/* The watchers have stopped, and what they promised has passed. */
static struct world *world_fencing(enum ha_gate gate)
{
    struct world *world = world_held(gate);

    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    world_stopped(world, 1, 0);
    world_stopped(world, 2, 0);
    return world;
}

static void ended(struct world *world, uint32_t member, uint64_t memory, uint32_t left_ms)
{
    struct ha_heartbeat beat = world_beat(world, member);

    beat.status.epoch_seen = world_epoch(world);
    beat.status.memory = memory;
    beat.status.hold_left_ms = left_ms;
    world_hear(world, member, &beat);
}

static void test_time_alone_ends_nothing(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);

    (void)state;
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 10000));
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 6), HA_EDENIED);
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    world_free(world);
}

static void test_the_others_are_told_to_end_their_promises(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);
    const struct ha_order *order;

    (void)state;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    order = effects_order(world->out, "ag-c");
    assert_non_null(order);
    assert_int_equal(order->kind, HA_ORDER_RELEASE);
    assert_int_equal(order->epoch, world_epoch(world));
    world_tick(world, 600);
    assert_non_null(effects_order(world->out, "ag-b")); /* again, until it has */
    ended(world, B, MEMORY(B), 0);
    world_tick(world, 600);
    assert_null(effects_order(world->out, "ag-b"));
    world_free(world);
}

static void test_one_that_ended_is_enough(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);
    struct ha_command command;
    const struct ha_command *proposed;

    (void)state;
    ended(world, C, MEMORY(C), 400);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, NOBODY, 400));
    proposed = world_wait_for(world, HA_COMMAND_FENCED, NOBODY, 100);
    assert_non_null(proposed);
    command = *proposed;
    assert_int_equal(command.u.fenced.released, 1u << C);
    assert_int_equal(command.u.fenced.renewed, 0);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->fence, HA_FENCE_EXPIRED);
    world_free(world);
}

/* Each word is counted from its receipt, so a later one must not put it off. */
static void test_the_earliest_word_counts(void **state)
{
    struct world *world = world_fencing(HA_GATE_NFT);
    const struct ha_command *proposed = NULL;

    (void)state;
    for (uint32_t i = 0; i < 100 && proposed == NULL; i++) {
        world_tick(world, 100);
        proposed = world_proposed(world, HA_COMMAND_FENCED);
        if (proposed == NULL)
            ended(world, C, MEMORY(C), 0);
    }
    assert_non_null(proposed);
    world_free(world);
}

static void test_one_that_has_just_started_may_have_promised(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, C);

    (void)state;
    beat.status.epoch_seen = world_epoch(world);
    beat.status.awake_ms = 100;
    world_hear(world, C, &beat);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, NOBODY, LEASE - 100));
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, NOBODY, 200));
    world_free(world);
}

static void test_one_without_its_memory_is_not_enough(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);
    const struct ha_command *proposed;

    (void)state;
    ended(world, C, MEMORY(C) + 7, 0);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, NOBODY, 5000));
    ended(world, B, MEMORY(B) + 7, 0);
    proposed = world_wait_for(world, HA_COMMAND_FENCED, NOBODY, 500);
    assert_non_null(proposed); /* all of them: then nobody is left who could have been cloned */
    assert_int_equal(proposed->u.fenced.renewed, REPLICAS);
    world_free(world);
}

static void test_the_holders_own_word_needs_none(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);

    (void)state;
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    assert_int_equal(world_service(world)->fence, HA_FENCE_REPORT);
    world_free(world);
}

static struct ha_order ordered_to_b(struct world *world)
{
    for (uint32_t i = 0; i < 100; i++) {
        const struct ha_order *order = effects_order(world->out, "ag-b");

        if (order != NULL && order->kind == HA_ORDER_PROMOTE)
            return *order;
        world_tick(world, 20);
        world_hear_all(world);
    }
    fail_msg("b is not told to promote");
    return (struct ha_order){.kind = HA_ORDER_NONE};
}

static void test_who_is_promoted_is_told_what_binds(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);
    struct ha_command command;
    struct ha_order order;

    (void)state;
    ended(world, C, MEMORY(C), 0);
    command = *world_wait_for(world, HA_COMMAND_FENCED, NOBODY, 1000);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_promote(world, B, HA_GATE_BPF), HA_OK);
    order = ordered_to_b(world);
    assert_false(order.hold_free);
    assert_int_equal(order.hold_ms, LEASE);
    world_free(world);
    world = world_held(HA_GATE_BPF);
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    assert_int_equal(world_promote(world, B, HA_GATE_BPF), HA_OK);
    order = ordered_to_b(world);
    assert_true(order.hold_free);
    world_free(world);
}

/* All agents were lost to the watchers, and come back one after the other; the log still has what
 * was thought of the primary meanwhile. */
static void test_watchers_that_come_back_wait_for_the_primary(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);

    (void)state;
    world_tick(world, 5000);
    assert_int_equal(world_observe(world, 0, A, HA_VERDICT_SILENT), HA_OK);
    assert_int_equal(world_observe(world, 1, A, HA_VERDICT_SILENT), HA_OK);
    assert_int_equal(world_observe(world, 2, A, HA_VERDICT_SILENT), HA_OK);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 2000));
    /* It does not come back. */
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 1000));
    world_free(world);
    /* Agents that are heard all the time have nothing to wait for. */
    world = world_held(HA_GATE_BPF);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, ALL, 3000));
    assert_int_equal(world_observe(world, 1, A, HA_VERDICT_SILENT), HA_OK);
    assert_int_equal(world_observe(world, 2, A, HA_VERDICT_SILENT), HA_OK);
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 1200));
    world_free(world);
}

/* Configuration */

static void test_whose_word_it_is_cannot_change_behind_it(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);
    struct ha_service_config *service = &world->config->services[0];

    (void)state;
    (void)ha_text_copy(service->members[1].agent, HA_NAME_SIZE, "ag-x");
    assert_int_equal(world_apply_config(world), HA_EDENIED);
    (void)ha_text_copy(service->members[1].agent, HA_NAME_SIZE, "ag-b");
    /* b and c go, d and e come: nobody would be left who could end the promises. */
    (void)ha_text_copy(service->members[1].name, HA_NAME_SIZE, "d");
    (void)ha_text_copy(service->members[2].name, HA_NAME_SIZE, "e");
    assert_int_equal(world_apply_config(world), HA_EDENIED);
    world_free(world);
}

static void test_a_new_member_is_not_taken_for_one_that_promised(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);
    struct ha_service_config *service = &world->config->services[0];

    (void)state;
    (void)ha_text_copy(service->members[2].name, HA_NAME_SIZE, "d");
    (void)ha_text_copy(service->members[2].agent, HA_NAME_SIZE, "ag-d");
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(ha_service_member_named(world_service(world), "b"), B);
    assert_true(ha_service_member_named(world_service(world), "d") > C);
    world_free(world);
}

/* What a log that was built anew has forgotten may be in force: everybody must have ended. */
static void test_a_log_built_anew_asks_all(void **state)
{
    struct world *world = world_held(HA_GATE_BPF);
    const struct ha_command_watchers set = {.set_id = 10, .count = 1, .names = {"w1"}};

    (void)state;
    ha_cluster_rebuild(&world->w->cluster, &set, "because");
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    assert_int_equal(ha_cluster_hold_members(world_service(world)), REPLICAS);
    assert_int_equal(ha_cluster_hold_ms(world_service(world)), HA_LEASE_MAX_MS);
    assert_false(ha_cluster_hold_is_over(world_service(world), 0, 1u << C));
    assert_true(ha_cluster_hold_is_over(world_service(world), 0, REPLICAS));
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_all_others_are_intended),
    cmocka_unit_test(test_nothing_is_intended_before_all_are_known),
    cmocka_unit_test(test_the_primary_is_told_until_it_knows),
    cmocka_unit_test(test_a_change_is_two_steps),
    cmocka_unit_test(test_both_sets_of_a_change_bind),
    cmocka_unit_test(test_what_may_be_intended),
    cmocka_unit_test(test_time_alone_ends_nothing),
    cmocka_unit_test(test_the_others_are_told_to_end_their_promises),
    cmocka_unit_test(test_one_that_ended_is_enough),
    cmocka_unit_test(test_the_earliest_word_counts),
    cmocka_unit_test(test_one_that_has_just_started_may_have_promised),
    cmocka_unit_test(test_one_without_its_memory_is_not_enough),
    cmocka_unit_test(test_the_holders_own_word_needs_none),
    cmocka_unit_test(test_who_is_promoted_is_told_what_binds),
    cmocka_unit_test(test_watchers_that_come_back_wait_for_the_primary),
    cmocka_unit_test(test_whose_word_it_is_cannot_change_behind_it),
    cmocka_unit_test(test_a_new_member_is_not_taken_for_one_that_promised),
    cmocka_unit_test(test_a_log_built_anew_asks_all),
};

HA_TEST_MAIN("core/hold_fence", tests)
