/* What goes wrong around an agent: settings of a watcher that lags, a database that starts anew
 * while it is promoted, more at once than the effects hold. */
#include <string.h>

#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

/* What a watcher at @version of the configuration says of the service "cache" with @id. */
static struct ha_settings settings_at(uint64_t version, uint32_t id)
{
    struct ha_settings settings = {.config_version = version, .service = id, .port = 6379};

    (void)ha_text_copy(settings.service_name, sizeof(settings.service_name), "cache");
    return settings;
}

static bool is_outdated(const struct hand *hand, uint64_t version, uint32_t id)
{
    const struct ha_settings settings = settings_at(version, id);

    return ha_agent_is_outdated(hand->a, &settings);
}

static void take(struct hand *hand, uint64_t version, uint32_t id)
{
    const struct ha_settings settings = settings_at(version, id);
    struct ha_event event = {.kind = HA_EVENT_SETTINGS, .u.settings = &settings};

    hand_step(hand, &event);
}

/* The shell joins databases and moves addresses by the same word, so all of it must be refused. */
static void test_settings_of_a_lagging_watcher_are_outdated(void **state)
{
    struct hand *hand = hand_new();
    struct ha_settings gone = {.config_version = 6, .service = HAND_SERVICE, .gone = true};

    (void)state;
    hand_settings(hand);
    assert_false(is_outdated(hand, 1, HAND_SERVICE));
    take(hand, 7, HAND_SERVICE);
    assert_true(is_outdated(hand, 6, HAND_SERVICE));
    assert_true(ha_agent_is_outdated(hand->a, &gone));
    gone.config_version = 7;
    assert_false(ha_agent_is_outdated(hand->a, &gone));
    hand_free(hand);
}

static void test_settings_of_a_service_made_anew_outlive_the_old_ones(void **state)
{
    struct hand *hand = hand_new();
    const struct ha_settings gone = {.config_version = 8, .service = HAND_SERVICE, .gone = true};

    (void)state;
    take(hand, 9, 2 * HAND_SERVICE);
    assert_true(
        is_outdated(hand, 7, HAND_SERVICE)); /* the id is new to this run, the name is not */
    assert_false(is_outdated(hand, 9, 2 * HAND_SERVICE));
    assert_false(ha_agent_is_outdated(hand->a, &gone)); /* about nothing known */
    hand_free(hand);
}

/* It was chosen for the data it had; what comes up again may be empty. */
static void test_promotion_ends_with_the_process(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    hand_settle(hand);
    hand_process(hand, HA_PROCESS_RUNNING, PID + 1);
    hand_settle(hand);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_settle(hand);
    assert_int_equal(hand_held(hand)->epoch, HA_EPOCH_NONE);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    hand_promise(hand, 0, 5, hand->now_ms);
    hand_promise(hand, 1, 5, hand->now_ms);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

static void test_give_up_that_did_not_fit_is_said_again(void **state)
{
    struct hand *hand = hand_new();
    struct ha_event event = {.kind = HA_EVENT_PROCESS,
                             .u.process = {.service = HAND_SERVICE, .process = HA_PROCESS_GONE}};

    (void)state;
    hand_as_holder(hand, 5);
    event.now_ms = hand->now_ms;
    hand->out->count = HA_EFFECTS_MAX - 1; /* the other services of this host died as well */
    assert_int_equal(ha_agent_step(hand->a, &event, hand->out), HA_OK);
    assert_true(hand->out->overflowed);
    assert_int_equal(ha_agent_wake_ms(hand->a), 0);
    hand_tick(hand, 0);
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

/* A restarted agent without a gate must not leave open for ever what nothing else ends. */
static void test_without_a_gate_what_is_resumed_needs_a_lease_soon(void **state)
{
    (void)state;
    for (int leased = 0; leased < 2; leased++) {
        struct hand *hand = hand_new();
        const struct ha_sample sample = hand_sample_of(HA_ROLE_PRIMARY);

        hand_as_holder(hand, 5);
        hand_settle(hand);
        hand_restart(hand);
        hand->a->gate = HA_GATE_PROCESS;
        hand_settings(hand);
        hand_process(hand, HA_PROCESS_RUNNING, PID);
        hand_sampled(hand, PID, &sample);
        assert_int_equal(hand_held(hand)->epoch, 5);
        for (uint32_t watcher = 0; leased == 1 && watcher < 2; watcher++)
            hand_promise(hand, watcher, 5, hand->now_ms);
        hand_tick(hand, LEASE - 1);
        assert_int_equal(hand_held(hand)->given_up, 0);
        hand_tick(hand, 1);
        assert_int_equal(hand_held(hand)->given_up, leased == 1 ? 0 : 5);
        hand_free(hand);
    }
}

/* A watcher's note of its longest promise likewise. */
static void test_note_that_did_not_fit_is_asked_for_again(void **state)
{
    struct world *world = world_new(3);
    struct ha_heartbeat beat;
    struct ha_event event = {.kind = HA_EVENT_HEARTBEAT};

    (void)state;
    world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    world->config->services[0].lease_ms = 4000;
    assert_int_equal(world_apply_config(world), HA_OK);
    beat = world_beat(world, A);
    event.u.heartbeat = (struct ha_event_heartbeat){.agent = "ag-a", .heartbeat = &beat};
    event.now_ms = world->now_ms;
    event.wall_ms = world->wall_ms;
    world->out->count = HA_EFFECTS_MAX - 1;
    assert_int_equal(ha_watcher_step(world->w, &event, world->out, NULL), HA_OK);
    world_hear(world, A, &beat);
    assert_non_null(effects_find(world->out, HA_EFFECT_PERSIST_PROMISE));
    assert_int_equal(effects_find(world->out, HA_EFFECT_PERSIST_PROMISE)->u.persist_ms, 4000);
    world_free(world);
}

/* The disk is full: the next candidate is asked at once, not when the time is over. */
static void test_promotion_that_cannot_be_noted_fails(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    assert_false(hand_asks(hand)->noteless);
    hand_order(hand, HA_ORDER_PROMOTE, 5);
    hand->a->noteless = true;
    hand_closed(hand);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_closed(hand);
    assert_int_equal(hand_asks(hand)->result, HA_RESULT_FAILED);
    assert_true(hand_asks(hand)->noteless);
    /* Nor does a late success revive it. */
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->epoch, HA_EPOCH_NONE);
    assert_false(hand_gate_is_open(hand));
    hand_free(hand);
}

/* More services deleted on one host than it has room for. */
static void test_places_of_deleted_services_are_used_again(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_settings(hand);
    for (uint32_t i = 1; i <= 3 * HA_SERVICES_MAX; i++) {
        struct ha_settings gone = {
            .config_version = 100 + i, .service = HAND_SERVICE + i, .gone = true};

        take(hand, 100 + i, HAND_SERVICE + i);
        assert_non_null(ha_agent_held(hand->a, HAND_SERVICE + i));
        hand_settle(hand);
        assert_false(ha_agent_may_forget(hand->a, HAND_SERVICE + i));
        hand_step(hand, &(struct ha_event){.kind = HA_EVENT_SETTINGS, .u.settings = &gone});
        hand_settle(hand);
        assert_true(ha_agent_may_forget(hand->a, HAND_SERVICE + i));
    }
    assert_true(hand->a->held_count <= HA_SERVICES_MAX);
    assert_non_null(ha_agent_held(hand->a, HAND_SERVICE)); /* which lives */
    hand_free(hand);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_settings_of_a_lagging_watcher_are_outdated),
    cmocka_unit_test(test_settings_of_a_service_made_anew_outlive_the_old_ones),
    cmocka_unit_test(test_promotion_ends_with_the_process),
    cmocka_unit_test(test_give_up_that_did_not_fit_is_said_again),
    cmocka_unit_test(test_without_a_gate_what_is_resumed_needs_a_lease_soon),
    cmocka_unit_test(test_note_that_did_not_fit_is_asked_for_again),
    cmocka_unit_test(test_promotion_that_cannot_be_noted_fails),
    cmocka_unit_test(test_places_of_deleted_services_are_used_again),
};

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("core/agent_faults", tests, NULL, NULL);
}
