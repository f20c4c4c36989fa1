/* crash_policy = restart: the crashed primary is started where it was, within its time; and a
 * replica of a replica is led elsewhere when that one has gone. */
#include "lib/core/cluster.h"

#include <string.h>

#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

enum { RESTART_MAX = 4000 };

/* The agent of a has reported the crash, and b and c could take over. */
static struct world *crashed(void)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_service *service = ha_cluster_service(&world->w->cluster, world_service(world)->id);
    struct ha_command command = {.kind = HA_COMMAND_GIVE_UP};

    service->config.engine = HA_ENGINE_POSTGRESQL;
    service->config.crash_policy = HA_CRASH_RESTART;
    service->config.restart_max_ms = RESTART_MAX;
    command.u.give_up = (struct ha_command_give_up){.ref = {service->id, service->epoch},
                                                    .member = A,
                                                    .instance = INSTANCE(A),
                                                    .verdict = HA_VERDICT_CRASHED};
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(service->state, HA_STATE_SELECTING);
    return world;
}

static struct ha_heartbeat gone(const struct world *world)
{
    struct ha_heartbeat beat = world_beat(world, A);

    beat.status.process = HA_PROCESS_GONE;
    beat.status.sample.answer = HA_ANSWER_REFUSED;
    beat.status.sample.starts = true;
    beat.status.sample.link_up = false;
    beat.status.follows = HA_MEMBER_NONE;
    return beat;
}

/* Until somebody is to be promoted, with @beat of a; the member, or HA_MEMBER_NONE. */
static uint32_t chosen(struct world *world, const struct ha_heartbeat *beat, uint64_t limit_ms,
                       bool *ret_ordered)
{
    for (uint64_t end_ms = world->now_ms + limit_ms; world->now_ms < end_ms;) {
        const struct ha_command *found;

        world_tick(world, 20);
        found = world_proposed(world, HA_COMMAND_PROMOTE);
        for (uint32_t m = A; m <= C && found == NULL; m++) {
            struct ha_heartbeat now = m == A ? *beat : world_beat(world, m);
            const struct ha_order *order;

            now.stamp = world->now_ms - 1;
            world_hear(world, m, &now);
            found = world_proposed(world, HA_COMMAND_PROMOTE);
            order = effects_order(world->out, "ag-a");
            if (order != NULL && order->kind == HA_ORDER_FOLLOW && order->upstream_host[0] == '\0')
                *ret_ordered = true;
        }
        if (found != NULL)
            return found->u.promote.member;
    }
    return HA_MEMBER_NONE;
}

static void test_it_is_started_and_promoted_again(void **state)
{
    struct world *world = crashed();
    struct ha_heartbeat beat = gone(world);
    bool ordered = false;

    (void)state;
    assert_int_equal(chosen(world, &beat, RESTART_MAX - 1000, &ordered), HA_MEMBER_NONE);
    assert_true(ordered);
    beat = world_beat(world, A);
    beat.status.sample.role = HA_ROLE_REPLICA;
    beat.status.sample.starts = true;
    assert_int_equal(chosen(world, &beat, 900, &ordered), A);
    assert_int_equal(world_promote(world, A, HA_GATE_BPF), HA_OK);
    assert_non_null(
        strstr(ha_cluster_decision(&world->w->cluster, world_service(world)->decision)->text,
               "started again in place"));
    world_free(world);
}

static void test_its_time_is_bounded(void **state)
{
    struct world *world = crashed();
    const struct ha_heartbeat beat = gone(world);
    bool ordered = false;

    (void)state;
    assert_int_equal(chosen(world, &beat, RESTART_MAX + 1000, &ordered), B);
    assert_int_equal(world_promote(world, B, HA_GATE_BPF), HA_OK);
    assert_non_null(
        strstr(ha_cluster_decision(&world->w->cluster, world_service(world)->decision)->text,
               "another one was quicker"));
    world_free(world);
}

static void test_nobody_waits_for_one_that_cannot_start(void **state)
{
    struct world *world = crashed();
    struct ha_heartbeat beat = gone(world);
    bool ordered = false;

    (void)state;
    beat.status.order = HA_ORDER_FOLLOW;
    beat.status.order_epoch = world_epoch(world);
    beat.status.result = HA_RESULT_FAILED;
    assert_int_equal(chosen(world, &beat, 1000, &ordered), B);
    world_free(world);
}

static void test_nobody_waits_for_one_that_is_never_started(void **state)
{
    struct world *world = crashed();
    struct ha_heartbeat beat = gone(world);
    bool ordered = false;

    (void)state;
    beat.status.sample.starts = false; /* its agent has no data_dir */
    assert_int_equal(chosen(world, &beat, 1000, &ordered), B);
    world_free(world);
}

/* c follows b; b dies, and its last word was that all is well. */
static void test_a_replica_of_one_that_has_gone_is_led_elsewhere(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_service *service = ha_cluster_service(&world->w->cluster, world_service(world)->id);
    const struct ha_order *order = NULL;

    (void)state;
    memcpy(service->config.members[2].follow, "b", 2);
    for (int i = 0; i < 100 && order == NULL; i++) {
        struct ha_heartbeat a = world_beat(world, A), b = world_beat(world, B),
                            c = world_beat(world, C);

        b.status.process = HA_PROCESS_GONE;
        b.status.sample.answer = HA_ANSWER_REFUSED;
        c.status.follows = B;
        c.status.sample.link_up = false;
        world_tick(world, 20);
        for (uint32_t m = A; m <= C + 1 && order == NULL; m++) {
            if (i > 0) /* by then it is known */
                order = effects_order(world->out, "ag-c");
            if (order == NULL && m <= C)
                world_hear(world, m, m == A ? &a : m == B ? &b : &c);
        }
    }
    assert_non_null(order);
    assert_int_equal(order->kind, HA_ORDER_FOLLOW);
    assert_int_equal(order->upstream, A);
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_it_is_started_and_promoted_again),
    cmocka_unit_test(test_its_time_is_bounded),
    cmocka_unit_test(test_nobody_waits_for_one_that_cannot_start),
    cmocka_unit_test(test_nobody_waits_for_one_that_is_never_started),
    cmocka_unit_test(test_a_replica_of_one_that_has_gone_is_led_elsewhere),
};

HA_TEST_MAIN("core/restart", tests)
