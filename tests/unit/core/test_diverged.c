/* What an old primary had and nobody else has: told once, with the decision it belongs to. */
#include <string.h>

#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

/* a was primary, b is. */
static struct world *world_after(enum ha_reason reason)
{
    struct world *world = world_new(3);

    world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    assert_int_equal(
        world_begin(world, reason, reason == HA_REASON_SWITCHOVER ? B : HA_MEMBER_NONE), HA_OK);
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 3), HA_OK);
    world_reach(world, B, HA_GATE_BPF, HA_STATE_STEADY);
    world_hear_all(world);
    return world;
}

/* Its agent says what it found; the leader's proposal, or NULL. */
static const struct ha_command *tell(struct world *world, uint32_t member, uint64_t epoch,
                                     uint64_t bytes)
{
    struct ha_heartbeat beat = world_beat(world, member);

    beat.status.sample.diverged =
        (struct ha_diverged){.epoch = epoch, .bytes = bytes, .kept = HA_KEPT_WHOLE};
    world_hear(world, member, &beat);
    if (world_proposed(world, HA_COMMAND_DIVERGED) == NULL)
        world_tick(world, 1100); /* it was said a moment ago */
    return world_proposed(world, HA_COMMAND_DIVERGED);
}

static const struct ha_notice *last_notice(const struct world *world)
{
    const struct ha_cluster *cluster = &world->w->cluster;

    return ha_cluster_event(cluster, cluster->notice_last);
}

static void test_it_is_told_once(void **state)
{
    struct world *world = world_after(HA_REASON_OPERATOR);
    const struct ha_service *service = world_service(world);
    uint64_t epoch = world_epoch(world), decision = service->decision;
    const struct ha_decision *told;
    struct ha_command command;

    (void)state;
    assert_non_null(tell(world, A, epoch, 4096));
    assert_non_null(tell(world, A, epoch, 4096)); /* the first was lost on its way */
    command = *tell(world, A, epoch, 4096);
    assert_int_equal(command.u.diverged.member, A);
    assert_int_equal(world_commit(world, &command), HA_OK);
    told = ha_cluster_decision(&world->w->cluster, decision);
    assert_string_equal(told->from, "a");
    assert_int_equal(told->found.bytes, 4096);
    assert_int_equal(told->lost_bytes, 0); /* what was known when b was chosen stays */
    assert_int_equal(last_notice(world)->kind, HA_NOTICE_DIVERGED);
    assert_int_equal(last_notice(world)->decision, decision);
    assert_int_equal(last_notice(world)->lost_bytes, 4096);
    assert_non_null(strstr(last_notice(world)->text, "4096 bytes that nobody else has"));
    assert_null(tell(world, A, epoch, 4096));
    assert_int_equal(world_commit(world, &command), HA_ESTALE);
    world_free(world);
}

/* A later failover is another decision. */
static void test_it_belongs_to_the_decision_that_left_it(void **state)
{
    struct world *world = world_after(HA_REASON_OPERATOR);
    uint64_t first = world_service(world)->decision, epoch;
    struct ha_command command;

    (void)state;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 3), HA_OK);
    world_reach(world, C, HA_GATE_BPF, HA_STATE_STEADY);
    world_hear_all(world);
    epoch = world_epoch(world);
    command = *tell(world, A, epoch, 7);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(last_notice(world)->decision, first);
    assert_int_equal(ha_cluster_decision(&world->w->cluster, first)->found.bytes, 7);
    command = *tell(world, B, epoch, 0);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(last_notice(world)->decision, world_service(world)->decision);
    world_free(world);
}

/* What a replica lacks, an old note, and a note from the future belong to no decision. */
static void test_what_belongs_nowhere_is_refused(void **state)
{
    struct world *world = world_after(HA_REASON_OPERATOR);
    uint64_t epoch = world_epoch(world);
    struct ha_command command;

    (void)state;
    assert_null(tell(world, C, epoch, 5));
    assert_null(tell(world, A, HA_EPOCH_NONE, 5));
    assert_null(tell(world, A, epoch + 1, 5));
    assert_null(tell(world, A, 1, 5)); /* of a return before it became primary */
    command = *tell(world, A, epoch, 5);
    command.u.diverged.member = C;
    assert_int_equal(world_commit(world, &command), HA_ESTALE);
    command.u.diverged.member = A;
    command.u.diverged.found.epoch = epoch + 1;
    assert_int_equal(world_commit(world, &command), HA_EINVAL);
    command.u.diverged.service++;
    assert_int_equal(world_commit(world, &command), HA_ENOENT);
    world_free(world);
}

static void test_a_switchover_that_lost_nothing_tells_nobody(void **state)
{
    struct world *world = world_after(HA_REASON_SWITCHOVER);
    uint64_t notices = world->w->cluster.notice_last;
    struct ha_command command = *tell(world, A, world_epoch(world), 0);

    (void)state;
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world->w->cluster.notice_last, notices);
    world_free(world);
}

static void test_a_follower_proposes_nothing(void **state)
{
    struct world *world = world_after(HA_REASON_OPERATOR);

    (void)state;
    world_lead(world, false);
    assert_null(tell(world, A, world_epoch(world), 5));
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_it_is_told_once),
    cmocka_unit_test(test_it_belongs_to_the_decision_that_left_it),
    cmocka_unit_test(test_what_belongs_nowhere_is_refused),
    cmocka_unit_test(test_a_switchover_that_lost_nothing_tells_nobody),
    cmocka_unit_test(test_a_follower_proposes_nothing),
};

HA_TEST_MAIN("core/diverged", tests)
