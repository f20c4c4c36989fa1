/* How an epoch ends: by the word of its holder, or by the end of every promise (design, 6.2
 * and 6.3). */
#include "lib/base/check.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

/* Giving up */

static void give_up_heard(struct world *world)
{
    struct ha_heartbeat beat = world_beat(world, A);

    beat.status.given_up = world_epoch(world);
    beat.status.epoch = HA_EPOCH_NONE;
    beat.status.given_up_why = HA_VERDICT_CRASHED;
    world_hear(world, A, &beat);
}

static void test_giving_up_is_proposed_at_once(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    const struct ha_command *command;

    (void)state;
    give_up_heard(world);
    command = world_proposed(world, HA_COMMAND_GIVE_UP);
    assert_non_null(command);
    assert_int_equal(command->u.give_up.ref.epoch, world_epoch(world));
    assert_int_equal(command->u.give_up.member, A);
    assert_int_equal(command->u.give_up.instance, INSTANCE(A));
    assert_non_null(effects_order(world->out, "ag-b")); /* the positions, meanwhile */
    world_free(world);
}

static void test_giving_up_is_helped_along_by_a_follower(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    world_lead(world, false);
    give_up_heard(world);
    assert_null(world_proposed(world, HA_COMMAND_GIVE_UP));
    world_tick(world, 50);
    assert_non_null(world_proposed(world, HA_COMMAND_GIVE_UP));
    world_free(world);
}

static void test_giving_up_of_another_instance_is_no_fence(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    beat.instance = 0x999;
    beat.status.given_up = world_epoch(world);
    world_hear(world, A, &beat);
    assert_null(world_proposed(world, HA_COMMAND_GIVE_UP));
    assert_int_equal(world_give_up(world, world_epoch(world) - 1, A, 0x999), HA_ESTALE);
    assert_int_equal(world_give_up(world, world_epoch(world) - 1, B, INSTANCE(A)), HA_ESTALE);
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    world_free(world);
}

static void test_giving_up_of_an_older_epoch_is_no_fence(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    beat.status.given_up = world_service(world)->open_epoch - 1;
    world_hear(world, A, &beat);
    assert_null(world_proposed(world, HA_COMMAND_GIVE_UP));
    world_free(world);
}

static void test_giving_up_counts_in_a_paused_service(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_command command;

    (void)state;
    world->config->services[0].members[1].priority = 500;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(world_pause(world, HA_COMMAND_PAUSE), HA_OK);
    give_up_heard(world);
    assert_non_null(world_proposed(world, HA_COMMAND_GIVE_UP));
    command = *world_proposed(world, HA_COMMAND_GIVE_UP);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_SELECTING);
    assert_int_equal(world_service(world)->fence, HA_FENCE_REPORT);
    /* The same member gets the next one, and nobody else. */
    command = *world_wait_for(world, HA_COMMAND_PROMOTE, ALL, 1000);
    assert_int_equal(command.u.promote.member, A);
    assert_int_equal(command.u.promote.ref.epoch, world_service(world)->open_epoch + 1);
    world_free(world);
}

/* Fence by expiry */

static struct world *world_fencing(enum ha_gate gate)
{
    struct world *world = world_serving(gate);

    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    return world;
}

static void test_expiry_needs_a_majority(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);
    const struct ha_command *command;

    (void)state;
    world_stopped(world, 1, 0);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 5000));
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 2), HA_EDENIED);
    world_stopped(world, 2, 0);
    command = world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100);
    assert_non_null(command);
    assert_int_equal(command->u.fenced.how, HA_FENCE_EXPIRED);
    assert_int_equal(command->u.fenced.stopped, 6);
    world_free(world);
}

static void test_expiry_waits_for_the_longest_remainder(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);

    (void)state;
    world_stopped(world, 0, 0);
    world_stopped(world, 1, 900);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 900));
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100));
    world_free(world);
}

/* Any majority will do: a third that stopped late or names more holds nothing up. */
static void test_expiry_takes_the_earliest_majority(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);

    (void)state;
    world_stopped(world, 0, 1400);
    world_stopped(world, 1, 100);
    world_stopped(world, 2, 200);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 200));
    assert_int_equal(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100)->u.fenced.stopped, 6);
    world_free(world);
}

static void test_expiry_of_a_relative_gate_waits_one_lease_longer(void **state)
{
    struct world *world = world_fencing(HA_GATE_NFT);

    (void)state;
    world_stopped(world, 0, 0);
    world_stopped(world, 1, 300);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 300 + LEASE));
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100));
    world_free(world);
}

/* What was promised before a shorter lease came may be outstanding with its old length. */
static void test_expiry_of_a_relative_gate_waits_for_the_longest_lease_of_the_epoch(void **state)
{
    struct world *world = world_serving(HA_GATE_NFT);

    (void)state;
    world->config->services[0].lease_ms = LEASE + 300;
    assert_int_equal(world_apply_config(world), HA_OK);
    world->config->services[0].lease_ms = 500;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    world_stopped(world, 0, 0);
    world_stopped(world, 1, 0);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, LEASE + 300));
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 3), HA_OK);
    /* The next epoch knows only the short one. */
    world_reach(world, B, HA_GATE_NFT, HA_STATE_STEADY);
    world_hear_all(world);
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    world_stopped(world, 0, 0);
    world_stopped(world, 1, 0);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, 1 << A | 1 << C, 500));
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, 1 << A | 1 << C, 100));
    world_free(world);
}

static void hear_gate(struct world *world, enum ha_gate gate)
{
    struct ha_heartbeat beat = world_beat(world, A);

    beat.status.gate = gate;
    world_hear(world, A, &beat);
}

static int commit_proposed(struct world *world, enum ha_command_kind kind)
{
    struct ha_command command;

    assert_non_null(world_proposed(world, kind));
    command = *world_proposed(world, kind);
    return world_commit(world, &command);
}

/* A host that loses its gate while it serves: the log knows before anybody trusts its lease. */
static void test_gate_of_the_holder_is_logged_when_it_changes(void **state)
{
    struct world *world = world_serving(HA_GATE_BOTH);

    (void)state;
    hear_gate(world, HA_GATE_BOTH);
    assert_null(world_proposed(world, HA_COMMAND_GATE));
    hear_gate(world, HA_GATE_NFT);
    assert_int_equal(commit_proposed(world, HA_COMMAND_GATE), HA_OK);
    assert_int_equal(world_service(world)->open_gate, HA_GATE_NFT);
    assert_int_equal(world_service(world)->gate, HA_GATE_NFT);
    assert_int_equal(world_service(world)->state, HA_STATE_STEADY);
    /* It may come back, while the epoch is held. */
    hear_gate(world, HA_GATE_BPF);
    assert_int_equal(commit_proposed(world, HA_COMMAND_GATE), HA_OK);
    hear_gate(world, HA_GATE_NFT);
    assert_int_equal(commit_proposed(world, HA_COMMAND_GATE), HA_OK);
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    world_stopped(world, 0, 0);
    world_stopped(world, 1, 0);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, LEASE));
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100));
    world_free(world);
}

static void test_gate_lost_while_fencing_counts_at_once_and_never_back(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);

    (void)state;
    hear_gate(world, HA_GATE_PROCESS);
    assert_non_null(world_proposed(world, HA_COMMAND_GATE));
    world_stopped(world, 0, 0);
    world_stopped(world, 1, 0);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 900)); /* it is on its way */
    assert_non_null(world_wait_for(world, HA_COMMAND_GATE, REPLICAS, 300));
    assert_int_equal(commit_proposed(world, HA_COMMAND_GATE), HA_OK);
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 7), HA_EDENIED);
    hear_gate(world, HA_GATE_BPF);
    assert_null(world_proposed(world, HA_COMMAND_GATE));
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 5000));
    world_free(world);
}

/* Another instance than the holder's, an epoch that has ended: their gates say nothing. */
static void test_gate_of_anybody_else_is_not_logged(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_command command = {.kind = HA_COMMAND_GATE};
    struct ha_heartbeat beat = world_beat(world, B);

    (void)state;
    beat.status.gate = HA_GATE_PROCESS;
    world_hear(world, B, &beat);
    assert_null(world_proposed(world, HA_COMMAND_GATE));
    command.u.gate = (struct ha_command_gate){
        .ref = {.service = world_service(world)->id, .epoch = world_epoch(world)},
        .instance = INSTANCE(B),
        .gate = HA_GATE_NFT};
    assert_int_equal(world_commit(world, &command), HA_ESTALE);
    command.u.gate.instance = INSTANCE(A);
    command.u.gate.ref.epoch--;
    assert_int_equal(world_commit(world, &command), HA_ESTALE);
    command.u.gate.ref.epoch++;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 7), HA_OK);
    assert_int_equal(world_commit(world, &command), HA_ESTALE);
    assert_int_equal(world_service(world)->open_gate, HA_GATE_BPF);
    world_free(world);
}

static void test_expiry_without_a_kernel_gate_proves_nothing(void **state)
{
    static const enum ha_gate gates[] = {HA_GATE_PROCESS, HA_GATE_NONE};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(gates); i++) {
        struct world *world = world_fencing(gates[i]);

        for (uint32_t watcher = 0; watcher < 3; watcher++)
            world_stopped(world, watcher, 0);
        assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 10000));
        assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 7), HA_EDENIED);
        world->config->services[0].accept_process_fence = true;
        assert_int_equal(world_apply_config(world), HA_OK);
        assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100));
        assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 7), HA_OK);
        world_free(world);
    }
}

static void test_expiry_word_about_another_epoch_or_set_is_void(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);
    struct ha_stopped stopped = {
        .set_id = SET, .service = world_service(world)->id, .epoch = world_epoch(world) - 1};
    struct ha_event event = {.kind = HA_EVENT_STOPPED};

    (void)state;
    world_stopped(world, 0, 0);
    event.u.stopped.watcher = 1;
    event.u.stopped.stopped = &stopped;
    (void)world_step(world, &event);
    stopped.epoch += 1;
    stopped.set_id = SET + 1;
    (void)world_step(world, &event);
    stopped.set_id = SET;
    event.u.stopped.watcher = 3; /* outside the set */
    (void)world_step(world, &event);
    event.u.stopped.watcher = UINT32_MAX;
    (void)world_step(world, &event);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 3000));
    event.u.stopped.watcher = 1;
    (void)world_step(world, &event);
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100));
    world_free(world);
}

/* What was said about one failover is no answer in the next. */
static void test_expiry_words_do_not_outlive_their_epoch(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);

    (void)state;
    for (uint32_t watcher = 0; watcher < 3; watcher++)
        world_stopped(world, watcher, 0);
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 7), HA_OK);
    world_reach(world, B, HA_GATE_BPF, HA_STATE_STEADY);
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, 1 << A | 1 << C, 3000));
    world_free(world);
}

static void test_new_leader_asks_again(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);

    (void)state;
    for (uint32_t watcher = 0; watcher < 3; watcher++)
        world_stopped(world, watcher, 400);
    world_lead(world, false);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 200));
    world_lead(world, true);
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 3000));
    for (uint32_t watcher = 0; watcher < 2; watcher++)
        world_stopped(world, watcher, 0);
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100));
    world_free(world);
}

static void test_each_watcher_says_that_it_stopped_again_and_again(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);
    uint32_t said = 0;

    (void)state;
    world_lead(world, false);
    for (int i = 0; i < 50; i++) {
        world_tick(world, 20);
        said += effects_count(world->out, HA_EFFECT_STOPPED);
    }
    assert_in_range(said, 8, 12);
    world_free(world);
}

static void test_holder_is_told_to_fence_by_each_new_leader(void **state)
{
    struct world *world = world_fencing(HA_GATE_BPF);
    const struct ha_order *order = effects_order(world->out, "ag-a");

    (void)state;
    assert_non_null(order);
    assert_int_equal(order->kind, HA_ORDER_FENCE);
    assert_int_equal(order->epoch, world_epoch(world));
    assert_int_equal(order->instance, INSTANCE(A));
    world_lead(world, false);
    world_tick(world, 20);
    assert_null(effects_order(world->out, "ag-a"));
    world_lead(world, true);
    world_tick(world, 20);
    assert_non_null(effects_order(world->out, "ag-a"));
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_giving_up_is_proposed_at_once),
    cmocka_unit_test(test_giving_up_is_helped_along_by_a_follower),
    cmocka_unit_test(test_giving_up_of_another_instance_is_no_fence),
    cmocka_unit_test(test_giving_up_of_an_older_epoch_is_no_fence),
    cmocka_unit_test(test_giving_up_counts_in_a_paused_service),
    cmocka_unit_test(test_expiry_needs_a_majority),
    cmocka_unit_test(test_expiry_waits_for_the_longest_remainder),
    cmocka_unit_test(test_expiry_takes_the_earliest_majority),
    cmocka_unit_test(test_expiry_of_a_relative_gate_waits_one_lease_longer),
    cmocka_unit_test(test_expiry_of_a_relative_gate_waits_for_the_longest_lease_of_the_epoch),
    cmocka_unit_test(test_gate_of_the_holder_is_logged_when_it_changes),
    cmocka_unit_test(test_gate_lost_while_fencing_counts_at_once_and_never_back),
    cmocka_unit_test(test_gate_of_anybody_else_is_not_logged),
    cmocka_unit_test(test_expiry_without_a_kernel_gate_proves_nothing),
    cmocka_unit_test(test_expiry_word_about_another_epoch_or_set_is_void),
    cmocka_unit_test(test_expiry_words_do_not_outlive_their_epoch),
    cmocka_unit_test(test_new_leader_asks_again),
    cmocka_unit_test(test_each_watcher_says_that_it_stopped_again_and_again),
    cmocka_unit_test(test_holder_is_told_to_fence_by_each_new_leader),
};

HA_TEST_MAIN("core/fence", tests)
