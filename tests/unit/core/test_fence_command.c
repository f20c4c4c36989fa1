/* How an epoch ends by a command that ends the host of its holder (design, 6.2, path 3). */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/core/view.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

enum { AGAIN = 10000 };

static const struct ha_effect *asked(const struct world *world)
{
    return effects_find(world->out, HA_EFFECT_FENCE_COMMAND);
}

/* Time goes by, with the agents of @members heard, until the command is asked for; how long that
 * took, UINT64_MAX: not within @limit_ms. */
static uint64_t wait_asked(struct world *world, uint32_t members, uint64_t limit_ms)
{
    uint64_t since_ms = world->now_ms;

    while (world->now_ms - since_ms < limit_ms) {
        world_tick(world, 20);
        if (asked(world) != NULL)
            return world->now_ms - since_ms;
        for (uint32_t m = A; m <= C; m++) {
            const struct ha_heartbeat beat = world_beat(world, m);

            if ((members >> m & 1u) == 0)
                continue;
            world_hear(world, m, &beat);
            if (asked(world) != NULL)
                return world->now_ms - since_ms;
        }
    }
    return UINT64_MAX;
}

static void answer(struct world *world, uint64_t epoch, int code, const char *text)
{
    struct ha_event event = {.kind = HA_EVENT_FENCE_COMMAND};

    event.u.fence_command = (struct ha_event_fence_command){
        .service = world_service(world)->id, .epoch = epoch, .code = code, .text = text};
    (void)world_step(world, &event);
}

/* The service has the command "power", and a failover has begun. */
static struct world *world_asking(enum ha_gate gate, enum ha_reason reason)
{
    struct world *world = world_serving(gate);

    (void)ha_text_copy(world->config->services[0].fence, HA_NAME_SIZE, "power");
    assert_int_equal(world_apply_config(world), HA_OK);
    for (uint32_t w = 0; w < 3; w++)
        (void)world_observe(world, w, A, HA_VERDICT_SILENT);
    assert_int_equal(world_begin(world, reason, HA_MEMBER_NONE), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    return world;
}

static void test_command_is_asked_for_once_and_proves_the_fence(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_DOWN);
    const struct ha_command *command;

    (void)state;
    assert_in_range(wait_asked(world, REPLICAS, 3000), 0, DOWN_AFTER + 20);
    assert_int_equal(asked(world)->u.fence.service, world_service(world)->id);
    assert_int_equal(asked(world)->u.fence.epoch, world_epoch(world));
    assert_int_equal(asked(world)->u.fence.member, A);
    assert_string_equal(asked(world)->u.fence.name, "power");
    assert_true(wait_asked(world, REPLICAS, 60000) == UINT64_MAX);
    answer(world, world_epoch(world), HA_OK, "power: off");
    command = world_proposed(world, HA_COMMAND_FENCED);
    assert_non_null(command);
    assert_int_equal(command->u.fenced.how, HA_FENCE_COMMAND);
    assert_int_equal(command->u.fenced.ref.epoch, world_epoch(world));
    assert_string_equal(command->u.fenced.text, "power: off");
    /* What got lost on its way is proposed again. */
    assert_non_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 1100));
    assert_int_equal(world_fenced(world, HA_FENCE_COMMAND, 0), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_SELECTING);
    world_free(world);
}

/* A holder that is heard can still report; a gate in the kernel ends by itself. */
static void test_command_lets_the_quieter_paths_go_first(void **state)
{
    static const struct {
        enum ha_gate gate;
        uint32_t heard;
        uint32_t least_ms, most_ms;
    } cases[] = {
        {HA_GATE_PROCESS, REPLICAS, 0, DOWN_AFTER + 20},
        {HA_GATE_NONE, REPLICAS, 0, DOWN_AFTER + 20},
        {HA_GATE_PROCESS, ALL, LEASE, LEASE + 100},
        {HA_GATE_BPF, REPLICAS, LEASE + 500, LEASE + 600},
        {HA_GATE_BOTH, ALL, LEASE + 500, LEASE + 600},
        {HA_GATE_NFT, REPLICAS, 2 * LEASE + 500, 2 * LEASE + 600},
    };

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct world *world = world_asking(cases[i].gate, HA_REASON_DOWN);

        assert_in_range(wait_asked(world, cases[i].heard, 10000), cases[i].least_ms,
                        cases[i].most_ms);
        world_free(world);
    }
}

/* A switchover does not end hosts; one whose primary died on the way is none any more. */
static void test_command_ends_a_switchover_whose_primary_died(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_SWITCHOVER);
    const struct ha_command *proposed = world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 1100);
    struct ha_command command;

    (void)state;
    assert_non_null(proposed);
    command = *proposed;
    assert_int_equal(command.u.begin.reason, HA_REASON_DOWN);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    assert_int_equal(world_service(world)->reason, HA_REASON_DOWN);
    assert_non_null(asked(world));
    assert_int_equal(world_commit(world, &command), HA_ESTALE); /* once */
    /* Never the other way round. */
    assert_int_equal(world_begin(world, HA_REASON_SWITCHOVER, HA_MEMBER_NONE), HA_ESTALE);
    world_free(world);
}

/* Nor is one that is in the way of a service's end: the log would refuse it again and again. */
static void test_a_switchover_of_a_deleted_service_stays_one(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_SWITCHOVER);

    (void)state;
    memset(&world->config->services[0], 0, sizeof(world->config->services[0]));
    world->config->service_count = 0;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_true(world_service(world)->deleting);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 3000));
    world_free(world);
}

/* What the log refused is not in it again at once: here quorum is lost while it is on its way. */
static void test_what_was_refused_is_not_said_again_at_once(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_SWITCHOVER);
    const struct ha_command *proposed = world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 1100);
    struct ha_command command;

    (void)state;
    assert_non_null(proposed);
    command = *proposed;
    command.u.begin.agreeing = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(world_commit(world, &command), HA_EDENIED);
        assert_null(world_proposed(world, HA_COMMAND_BEGIN));
    }
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 1100));
    world_free(world);
}

static void test_command_is_not_for_everything(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_SWITCHOVER);

    (void)state;
    assert_true(wait_asked(world, REPLICAS, 20000) == UINT64_MAX);
    world_free(world);

    /* Who asks for a failover gets it, paused or not; but no follower runs it. */
    world = world_asking(HA_GATE_PROCESS, HA_REASON_OPERATOR);
    assert_int_equal(world_pause(world, HA_COMMAND_PAUSE), HA_OK);
    world_lead(world, false);
    assert_true(wait_asked(world, REPLICAS, 5000) == UINT64_MAX);
    world_lead(world, true);
    assert_in_range(wait_asked(world, REPLICAS, 3000), 0, 20);
    world_free(world);

    world = world_asking(HA_GATE_PROCESS, HA_REASON_DOWN);
    assert_int_equal(world_pause(world, HA_COMMAND_PAUSE), HA_OK);
    assert_true(wait_asked(world, REPLICAS, 20000) == UINT64_MAX);
    assert_int_equal(world_pause(world, HA_COMMAND_RESUME), HA_OK);
    assert_non_null(asked(world));
    world_free(world);

    world = world_asking(HA_GATE_PROCESS, HA_REASON_DOWN);
    world->config->service_count = 0;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_true(wait_asked(world, NOBODY, 20000) == UINT64_MAX);
    world_free(world);
}

static void test_failed_command_is_told_and_tried_again(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_DOWN);
    char why[HA_TEXT_SIZE];

    (void)state;
    assert_true(wait_asked(world, REPLICAS, 3000) != UINT64_MAX);
    ha_view_why(world->w, world_service(world), world->now_ms, why);
    assert_string_equal(why, "waiting until a can no longer serve; the fencing command power is "
                             "running");
    answer(world, world_epoch(world), HA_ETIMEDOUT, "power: killed at its deadline");
    assert_null(world_proposed(world, HA_COMMAND_FENCED));
    ha_view_why(world->w, world_service(world), world->now_ms, why);
    assert_string_equal(why, "waiting until a can no longer serve; the fencing command failed: "
                             "power: killed at its deadline");
    assert_in_range(wait_asked(world, REPLICAS, 60000), AGAIN, AGAIN + 20);
    answer(world, world_epoch(world), HA_OK, "power: off");
    assert_non_null(world_proposed(world, HA_COMMAND_FENCED));
    world_free(world);
}

static void test_only_the_answer_that_is_waited_for_counts(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_DOWN);
    uint64_t epoch = world_epoch(world);

    (void)state;
    answer(world, epoch, HA_OK, "nobody asked");
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 100));
    assert_true(wait_asked(world, REPLICAS, 3000) != UINT64_MAX);
    answer(world, epoch - 1, HA_OK, "an earlier one");
    answer(world, epoch + 1, HA_OK, "a later one");
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 3000));
    answer(world, epoch, HA_EIO, "no");
    answer(world, epoch, HA_OK, "twice"); /* the first word stands */
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, REPLICAS, 3000));
    /* Asked by a leader that is none any more, or not the same. */
    assert_true(wait_asked(world, REPLICAS, 20000) != UINT64_MAX);
    world_lead(world, false);
    answer(world, epoch, HA_OK, "too late");
    assert_null(world_proposed(world, HA_COMMAND_FENCED));
    world_lead(world, true);
    assert_null(world_proposed(world, HA_COMMAND_FENCED));
    assert_true(wait_asked(world, REPLICAS, 3000) != UINT64_MAX);
    answer(world, epoch, HA_OK, "power: off");
    assert_non_null(world_proposed(world, HA_COMMAND_FENCED));
    world_free(world);
}

/* Fenced otherwise meanwhile; and in the next failover, the answer to this one. */
static void test_late_answer_does_nothing(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_DOWN);
    uint64_t epoch = world_epoch(world);

    (void)state;
    assert_true(wait_asked(world, REPLICAS, 3000) != UINT64_MAX);
    assert_int_equal(world_give_up(world, epoch - 1, A, INSTANCE(A)), HA_OK);
    answer(world, epoch, HA_OK, "power: off");
    assert_null(world_proposed(world, HA_COMMAND_FENCED));
    world_reach(world, B, HA_GATE_PROCESS, HA_STATE_STEADY);
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    answer(world, epoch, HA_OK, "power: off");
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, 1 << C, 500));
    assert_true(wait_asked(world, 1 << C, 3000) != UINT64_MAX);
    assert_int_equal(asked(world)->u.fence.member, B);
    answer(world, epoch, HA_OK, "power: off");
    assert_null(world_wait_for(world, HA_COMMAND_FENCED, 1 << C, 3000));
    world_free(world);
}

/* What did not fit among the effects has not been asked for. */
static void test_command_that_did_not_fit_is_asked_for_again(void **state)
{
    struct world *world = world_asking(HA_GATE_PROCESS, HA_REASON_DOWN);
    struct ha_event event = {.kind = HA_EVENT_TICK};

    (void)state;
    world->now_ms += DOWN_AFTER + 100;
    event.now_ms = world->now_ms;
    ha_effects_clear(world->out);
    while (!world->out->overflowed)
        (void)ha_effects_add(world->out, HA_EFFECT_PROBE);
    (void)ha_watcher_step(world->w, &event, world->out, NULL);
    assert_null(asked(world));
    world_tick(world, 20);
    assert_non_null(asked(world));
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_command_is_asked_for_once_and_proves_the_fence),
    cmocka_unit_test(test_command_lets_the_quieter_paths_go_first),
    cmocka_unit_test(test_command_ends_a_switchover_whose_primary_died),
    cmocka_unit_test(test_a_switchover_of_a_deleted_service_stays_one),
    cmocka_unit_test(test_what_was_refused_is_not_said_again_at_once),
    cmocka_unit_test(test_command_is_not_for_everything),
    cmocka_unit_test(test_failed_command_is_told_and_tried_again),
    cmocka_unit_test(test_only_the_answer_that_is_waited_for_counts),
    cmocka_unit_test(test_late_answer_does_nothing),
    cmocka_unit_test(test_command_that_did_not_fit_is_asked_for_again),
};

HA_TEST_MAIN("core/fence-command", tests)
