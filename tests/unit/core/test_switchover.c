/* What speaks against a switchover, and what is told of readiness before it is needed. */
#include "tests/support/cmocka_ha.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/core/switchover.h"
#include "lib/core/view.h"
#include "lib/core/watcher_parts.h"
#include "tests/unit/core/kit.h"

static struct ha_plan plan_of(const struct world *world, uint32_t target)
{
    struct ha_plan plan;

    ha_plan_switchover(world->w, world_service(world), target, world->now_ms, &plan);
    return plan;
}

static const struct ha_check *check_named(const struct ha_plan *plan, const char *name)
{
    for (uint32_t i = 0; i < plan->check_count; i++)
        if (strcmp(plan->checks[i].name, name) == 0)
            return &plan->checks[i];
    fail_msg("no check named %s", name);
    return &plan->checks[0];
}

/* Holds its lease and replicates as it should. */
static void hear_well(struct world *world, uint32_t member, uint64_t offset)
{
    struct ha_heartbeat beat = world_beat(world, member);

    beat.status.sample.link_up = member != A;
    beat.status.sample.position.offset = offset;
    beat.status.lease_left_ms = member == A ? LEASE : 0;
    world_hear(world, member, &beat);
}

static struct world *world_well(void)
{
    struct world *world = world_serving(HA_GATE_BPF);

    hear_well(world, A, HEAD + 40);
    hear_well(world, B, HEAD);
    hear_well(world, C, HEAD + 40);
    return world;
}

static void test_all_is_well(void **state)
{
    struct world *world = world_well();
    struct ha_plan plan = plan_of(world, B);

    (void)state;
    for (uint32_t i = 0; i < plan.check_count; i++)
        print_message("# %s: %s\n", plan.checks[i].name, plan.checks[i].text);
    print_message("# %s\n", plan.text);
    assert_true(plan.ok);
    assert_int_equal(plan.target, B);
    assert_int_equal(plan.lag_bytes, 40);
    plan = plan_of(world, HA_MEMBER_NONE);
    assert_true(plan.ok);
    assert_int_equal(plan.target, C); /* has more */
    world_free(world);
}

static void spoil_watchers(struct world *world)
{
    world_peer(world, 1, false);
    world_peer(world, 2, false);
}

static void spoil_state(struct world *world)
{
    world_begin(world, HA_REASON_OPERATOR, C);
}

static void spoil_primary(struct world *world)
{
    struct ha_heartbeat beat = world_beat(world, A);

    beat.status.sample.answer = HA_ANSWER_NONE;
    world_hear(world, A, &beat);
}

static void spoil_lease(struct world *world)
{
    struct ha_heartbeat beat = world_beat(world, A);

    beat.status.lease_left_ms = 0;
    world_hear(world, A, &beat);
}

static void spoil_target(struct world *world)
{
    struct ha_heartbeat beat = world_beat(world, B);

    beat.status.process = HA_PROCESS_GONE;
    world_hear(world, B, &beat);
}

static void spoil_link(struct world *world)
{
    struct ha_heartbeat beat = world_beat(world, B);

    beat.status.sample.link_up = false;
    world_hear(world, B, &beat);
}

static void spoil_lag(struct world *world)
{
    hear_well(world, A, HEAD + 40 + HA_SWITCHOVER_LAG_MAX);
}

static void test_each_check_refuses(void **state)
{
    static const struct {
        void (*spoil)(struct world *world);
        const char *check, *says;
    } cases[] = {
        {spoil_watchers, "watchers", "1 of 3 watchers are heard, 2 must be"},
        {spoil_state, "state", "the service is FENCING"},
        {spoil_primary, "primary", "does not answer"},
        {spoil_lease, "primary", "it holds no lease"},
        {spoil_target, "target", "b: its database does not run"},
        {spoil_link, "replication", "b is not connected"},
        {spoil_lag, "replication", "more than 16 MiB"},
    };

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct world *world = world_well();
        struct ha_plan plan;

        cases[i].spoil(world);
        plan = plan_of(world, B);
        print_message("# %s\n", plan.text);
        assert_false(plan.ok);
        assert_false(check_named(&plan, cases[i].check)->ok);
        assert_non_null(strstr(check_named(&plan, cases[i].check)->text, cases[i].says));
        world_free(world);
    }
}

static void test_not_to_whom_it_is(void **state)
{
    struct world *world = world_well();
    struct ha_plan plan = plan_of(world, A);

    (void)state;
    assert_false(plan.ok);
    assert_non_null(strstr(plan.text, "a is the primary already"));
    world_free(world);
}

/* A pause keeps the watchers from acting, not people. */
static void test_a_pause_does_not_bind_people(void **state)
{
    struct world *world = world_well();
    char reason[HA_TEXT_SIZE];

    (void)state;
    world_pause(world, HA_COMMAND_PAUSE);
    assert_true(plan_of(world, B).ok);
    assert_true(ha_view_ready(world->w, world_service(world), world->now_ms, reason));
    world_free(world);
}

/* Nor is it undone once the old epoch has ended, for nothing but the pause. */
static void test_a_switchover_of_a_paused_service(void **state)
{
    static const uint32_t targets[] = {B, C, HA_MEMBER_NONE};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(targets); i++) {
        struct world *world = world_well();
        const struct ha_service *service = world_service(world);
        struct ha_fit fits[HA_MEMBERS_MAX];
        int at;

        world_pause(world, HA_COMMAND_PAUSE);
        assert_true(plan_of(world, targets[i]).ok);
        world_begin(world, HA_REASON_SWITCHOVER, targets[i]);
        world_fenced(world, HA_FENCE_REPORT, 3);
        at = ha_select_candidate(world->w, service, world->now_ms, fits);
        assert_true(at >= 0);
        assert_int_not_equal(service->members[at].id, A);
        if (targets[i] != HA_MEMBER_NONE)
            assert_int_equal(service->members[at].id, targets[i]);
        world_free(world);
    }
}

static void test_a_failover_by_hand_wants_somebody(void **state)
{
    struct world *world = world_well();
    struct ha_plan plan;

    (void)state;
    ha_plan_failover(world->w, world_service(world), B, false, world->now_ms, &plan);
    assert_true(plan.ok);
    spoil_target(world);
    ha_plan_failover(world->w, world_service(world), B, true, world->now_ms, &plan);
    assert_false(plan.ok);
    assert_string_equal(plan.text, "b: its database does not run");
    ha_plan_failover(world->w, world_service(world), HA_MEMBER_NONE, false, world->now_ms, &plan);
    assert_true(plan.ok);
    assert_int_equal(plan.target, C);
    world_free(world);
}

/* Where nobody serves any more, an order cannot make it worse. */
static void test_nothing_open_nothing_to_lose(void **state)
{
    struct world *world = world_well();
    struct ha_plan plan;

    (void)state;
    world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE);
    world_fenced(world, HA_FENCE_EXPIRED, 3);
    spoil_target(world);
    ha_plan_failover(world->w, world_service(world), B, false, world->now_ms, &plan);
    assert_true(plan.ok);
    world_free(world);
}

static void test_only_what_is_open_is_switched(void **state)
{
    struct world *world = world_well();

    (void)state;
    world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE);
    world_fenced(world, HA_FENCE_EXPIRED, 3);
    assert_int_equal(world_begin(world, HA_REASON_SWITCHOVER, B), HA_ESTALE);
    world_free(world);
}

/* A target that hangs in the middle of its promotion is given up after hang_after, not after the
 * whole time a promotion may take. */
static void test_a_hung_target_is_not_waited_for(void **state)
{
    struct world *world = world_well();
    const struct ha_command *failed;
    struct ha_heartbeat beat;

    (void)state;
    world_begin(world, HA_REASON_SWITCHOVER, B);
    world_give_up(world, 1, A, INSTANCE(A));
    world_promote(world, B, HA_GATE_BPF);
    assert_int_equal(world_service(world)->state, HA_STATE_PROMOTING);
    beat = world_beat(world, B);
    beat.status.answer_age_ms = 900;
    world_hear(world, B, &beat);
    assert_null(world_proposed(world, HA_COMMAND_FAILED));
    beat.status.answer_age_ms = 1000;
    world_hear(world, B, &beat);
    failed = world_proposed(world, HA_COMMAND_FAILED);
    assert_non_null(failed);
    assert_string_equal(failed->u.outcome.text, "its database does not answer");
    world_free(world);
}

/* Whom an operator had named is no bond when that one fails before the others follow it. */
static void test_a_target_that_fails_at_once_is_replaced(void **state)
{
    struct world *world = world_well();

    (void)state;
    world_begin(world, HA_REASON_SWITCHOVER, B);
    world_give_up(world, 1, A, INSTANCE(A));
    world_promote(world, B, HA_GATE_BPF);
    world_outcome(world, HA_COMMAND_PROMOTED);
    world_outcome(world, HA_COMMAND_OPENED);
    assert_int_equal(world_service(world)->state, HA_STATE_REPOINTING);
    hear_well(world, C, HEAD + 40);
    world_observe(world, 1, B, HA_VERDICT_HUNG);
    world_observe(world, 2, B, HA_VERDICT_HUNG);
    assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
    world_free(world);
}

/* A hand-over from a that has shut its database down, b has stopped, and c lacks 40 bytes. */
static struct world *world_undone(void)
{
    struct world *world = world_well();

    world_begin(world, HA_REASON_SWITCHOVER, B);
    world_give_up(world, 1, A, INSTANCE(A));
    assert_int_equal(world_service(world)->state, HA_STATE_SELECTING);
    return world;
}

static struct ha_heartbeat beat_of_undone(const struct world *world, uint32_t member)
{
    struct ha_heartbeat beat = world_beat(world, member);

    beat.status.sample.link_up = false;
    if (member == C)
        beat.status.sample.position.offset = HEAD - 40;
    else
        beat.status.process = HA_PROCESS_GONE;
    beat.status.sample.starts = member == A;
    return beat;
}

/* Until somebody is to be promoted, and what is proposed before is committed; the member. */
static uint32_t chosen_of_undone(struct world *world, const struct ha_heartbeat *a,
                                 uint64_t limit_ms, uint64_t *ret_lost, bool *ret_started)
{
    for (uint64_t end_ms = world->now_ms + limit_ms; world->now_ms < end_ms;) {
        world_tick(world, 20);
        for (uint32_t m = A; m <= C + 1; m++) {
            const struct ha_command *found = world_proposed(world, HA_COMMAND_PROMOTE);
            const struct ha_order *order = effects_order(world->out, "ag-a");
            struct ha_command none;
            struct ha_heartbeat beat;

            *ret_started = *ret_started || (order != NULL && order->kind == HA_ORDER_FOLLOW);
            if (found != NULL) {
                *ret_lost = found->u.promote.lost_bytes;
                return found->u.promote.member;
            }
            found = world_proposed(world, HA_COMMAND_NONE);
            if (found != NULL) {
                none = *found;
                assert_int_equal(world_commit(world, &none), HA_OK);
            }
            if (m > C)
                continue;
            beat = m == A ? *a : beat_of_undone(world, m);
            beat.stamp = world->now_ms - 1;
            world_hear(world, m, &beat);
        }
    }
    return HA_MEMBER_NONE;
}

/* Who lacks what was acknowledged is not promoted while the old primary can be started. */
static void test_the_old_primary_is_started_rather_than_something_lost(void **state)
{
    struct world *world = world_undone();
    struct ha_heartbeat a = beat_of_undone(world, A);
    bool started = false;
    uint64_t lost = 1;

    (void)state;
    assert_int_equal(chosen_of_undone(world, &a, 5000, &lost, &started), HA_MEMBER_NONE);
    assert_true(started);
    a = world_beat(world, A);
    a.status.sample.role = HA_ROLE_REPLICA;
    a.status.sample.starts = true;
    assert_int_equal(chosen_of_undone(world, &a, 2000, &lost, &started), A);
    assert_int_equal(lost, 0);
    world_free(world);
}

/* But not for ever, nor where its start has failed. */
static void test_an_old_primary_that_does_not_come_back(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct world *world = world_undone();
        const uint32_t wait_ms = world_service(world)->config.restart_max_ms;
        struct ha_heartbeat a = beat_of_undone(world, A);
        uint64_t lost = 0, began_ms = world->now_ms;
        bool started = false;

        if (fails == 1) {
            a.status.order = HA_ORDER_FOLLOW;
            a.status.order_epoch = world_epoch(world);
            a.status.result = HA_RESULT_FAILED;
        }
        assert_int_equal(chosen_of_undone(world, &a, wait_ms + 3000, &lost, &started), C);
        assert_int_equal(lost, 40);
        assert_true(fails == 1 ? world->now_ms - began_ms < 2000
                               : world->now_ms - began_ms >= wait_ms);
        world_free(world);
    }
}

/* Its database has stopped for the hand-over and answers nobody: the agent speaks for it, within
 * its deadline. */
static void test_a_hand_over_is_no_crash(void **state)
{
    struct world *world = world_well();
    struct ha_heartbeat beat;

    (void)state;
    world_begin(world, HA_REASON_SWITCHOVER, B);
    beat = world_beat(world, A);
    beat.status.order = HA_ORDER_DRAIN;
    beat.status.order_epoch = world_epoch(world);
    beat.status.result = HA_RESULT_RUNNING;
    beat.status.answer_age_ms = 1100;
    world_hear(world, A, &beat);
    world_observe(world, 1, A, HA_VERDICT_HUNG);
    world_observe(world, 2, A, HA_VERDICT_HUNG);
    assert_null(world_proposed(world, HA_COMMAND_BEGIN));
    beat.status.result = HA_RESULT_FAILED;
    world_hear(world, A, &beat);
    assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
    world_free(world);
}

/* What was refused is not proposed again at once, nor is a primary that is down left for a second.
 */
static void test_a_refusal_is_answered_soon(void **state)
{
    struct world *world = world_well();
    struct ha_command command;

    (void)state;
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
    command = *world_proposed(world, HA_COMMAND_BEGIN);
    command.u.begin.agreeing = 0;
    assert_int_equal(world_commit(world, &command), HA_EDENIED);
    assert_null(world_proposed(world, HA_COMMAND_BEGIN));
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 200));
    world_free(world);
}

/* Readiness */

static void gone(struct world *world, uint32_t member)
{
    struct ha_heartbeat beat = world_beat(world, member);

    beat.status.process = HA_PROCESS_GONE;
    world_hear(world, member, &beat);
}

/* Time goes by with a healthy primary and replicas without a database, or with all of them. */
static uint32_t readiness_after(struct world *world, bool replicas, uint32_t ms)
{
    uint32_t proposals = 0;

    for (uint32_t t = 0; t < ms; t += 100) {
        hear_well(world, A, HEAD);
        for (uint32_t member = B; member <= C; member++) {
            if (replicas)
                hear_well(world, member, HEAD);
            else
                gone(world, member);
            proposals += world_proposed(world, HA_COMMAND_READY) != NULL;
        }
        world_tick(world, 100);
        proposals += world_proposed(world, HA_COMMAND_READY) != NULL;
    }
    return proposals;
}

static void test_readiness_is_told_when_it_lasts(void **state)
{
    struct world *world = world_well();
    struct ha_command command = {.kind = HA_COMMAND_READY};
    const struct ha_notice *event;

    (void)state;
    assert_int_equal(readiness_after(world, false, 2000), 0);
    assert_int_equal(readiness_after(world, true, 1000), 0); /* it did not last */
    assert_int_equal(readiness_after(world, false, 2900), 0);
    assert_int_equal(readiness_after(world, false, 1000), 1);
    command.u.ready.service = world_service(world)->id;
    (void)ha_view_ready(world->w, world_service(world), world->now_ms, command.u.ready.text);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_true(world_service(world)->not_ready);
    event = ha_cluster_event(&world->w->cluster, world->w->cluster.notice_last);
    assert_non_null(event);
    assert_int_equal(event->kind, HA_NOTICE_NOT_READY);
    assert_non_null(strstr(event->text, "b: its database does not run; c: its database"));
    assert_int_equal(world_commit(world, &command), HA_ESTALE); /* told once */
    assert_int_equal(readiness_after(world, false, 10000), 0);
    assert_int_equal(readiness_after(world, true, 2900), 0);
    assert_int_equal(readiness_after(world, true, 1000), 1);
    world_free(world);
}

static void test_a_lost_watcher_is_told(void **state)
{
    struct world *world = world_well();
    const struct ha_command *proposed = NULL;
    struct ha_command command;
    char reason[HA_TEXT_SIZE];

    (void)state;
    world_tick(world, 5000);
    world_peer(world, 2, false);
    for (int i = 0; i < 29; i++) {
        world_tick(world, 100);
        assert_null(world_proposed(world, HA_COMMAND_UNHEARD));
    }
    world_tick(world, 200);
    proposed = world_proposed(world, HA_COMMAND_UNHEARD);
    assert_non_null(proposed);
    assert_int_equal(proposed->u.unheard.watchers, 1u << 2);
    command = *proposed;
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_non_null(
        strstr(ha_cluster_event(&world->w->cluster, world->w->cluster.notice_last)->text,
               "w3 is not heard by the leader; 2 of 3 watchers are there"));
    assert_int_equal(world_commit(world, &command), HA_ESTALE);
    hear_well(world, A, HEAD);
    hear_well(world, B, HEAD);
    assert_true(ha_view_ready(world->w, world_service(world), world->now_ms, reason));
    world_peer(world, 1, false);
    assert_false(ha_view_ready(world->w, world_service(world), world->now_ms, reason));
    assert_string_equal(reason, "1 of 3 watchers are there, 2 must be");
    world_free(world);
}

static void test_why_not(void **state)
{
    struct world *world = world_well();
    char reasons[HA_REASONS_MAX][HA_TEXT_SIZE];

    (void)state;
    world_observe(world, 0, A, HA_VERDICT_UP);
    world_observe(world, 1, A, HA_VERDICT_UP);
    assert_int_equal(ha_view_why_not(world->w, world_service(world), world->now_ms, reasons), 1);
    assert_string_equal(reasons[0], "2 of 3 watchers say that a is up, none that it is down");
    world_crashed(world, 1);
    world_pause(world, HA_COMMAND_PAUSE);
    hear_well(world, B, HEAD);
    assert_int_equal(ha_view_why_not(world->w, world_service(world), world->now_ms, reasons), 2);
    assert_non_null(strstr(reasons[0], "1 of 3 watchers that are heard say that a is down, 2"));
    assert_non_null(strstr(reasons[1], "paused by"));
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_all_is_well),
    cmocka_unit_test(test_each_check_refuses),
    cmocka_unit_test(test_not_to_whom_it_is),
    cmocka_unit_test(test_a_pause_does_not_bind_people),
    cmocka_unit_test(test_a_switchover_of_a_paused_service),
    cmocka_unit_test(test_a_failover_by_hand_wants_somebody),
    cmocka_unit_test(test_nothing_open_nothing_to_lose),
    cmocka_unit_test(test_only_what_is_open_is_switched),
    cmocka_unit_test(test_a_hung_target_is_not_waited_for),
    cmocka_unit_test(test_a_target_that_fails_at_once_is_replaced),
    cmocka_unit_test(test_the_old_primary_is_started_rather_than_something_lost),
    cmocka_unit_test(test_an_old_primary_that_does_not_come_back),
    cmocka_unit_test(test_a_hand_over_is_no_crash),
    cmocka_unit_test(test_a_refusal_is_answered_soon),
    cmocka_unit_test(test_readiness_is_told_when_it_lasts),
    cmocka_unit_test(test_a_lost_watcher_is_told),
    cmocka_unit_test(test_why_not),
};

int main(int argc, char *argv[])
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("core/switchover", tests, NULL, NULL);
}
