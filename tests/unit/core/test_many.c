/* What happens to one service costs the others nothing, and many that begin at once leave time for
 * what they wait for. */
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/limits.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

enum { MANY = 100, CLAIM_MS = 5 };

/* Another service like the first, as calm. */
static uint32_t add_service(const struct world *world)
{
    struct ha_cluster *cluster = &world->w->cluster;
    uint32_t first = world_service(world)->id, id = first + cluster->service_count;

    cluster->services[id % HA_SERVICES_MAX] = *world_service(world);
    cluster->services[id % HA_SERVICES_MAX].id = id;
    cluster->service_count++;
    world_watch_like(world, first, id);
    return id;
}

static void test_readiness_of_one_is_no_matter_of_others(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    uint32_t first = world_service(world)->id, other = add_service(world);
    struct ha_command command = {.kind = HA_COMMAND_READY};

    (void)state;
    world->w->due_ms[first % HA_SERVICES_MAX] = world->now_ms + 400;
    world->w->due_ms[other % HA_SERVICES_MAX] = world->now_ms + 400;
    command.u.ready.service = first;
    (void)ha_text_copy(command.u.ready.text, sizeof(command.u.ready.text), "no replica");
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world->w->due_ms[first % HA_SERVICES_MAX], 0);
    assert_int_equal(world->w->due_ms[other % HA_SERVICES_MAX], world->now_ms + 400);
    world_free(world);
}

static void test_who_has_told_is_not_asked_again(void **state)
{
    struct world *world = world_new(3);
    struct ha_heartbeat beat = world_beat(world, B);

    (void)state;
    beat.status.answer_age_ms = 500; /* older than the service: it has to be asked */
    world_hear(world, B, &beat);
    assert_int_equal(effects_order(world->out, "ag-b")->kind, HA_ORDER_REPORT);
    world->now_ms += 60;
    beat = world_beat(world, B);
    world_hear(world, B, &beat);
    assert_null(effects_order(world->out, "ag-b"));
    world_tick(world, 200);
    assert_null(effects_order(world->out, "ag-b"));
    world_free(world);
}

/* So many hold an epoch that waits for its first promises. */
static void claim_many(const struct hand *hand, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        hand->a->held[i] = hand->a->held[0];
        hand->a->held[i].settings.service = HAND_SERVICE + i;
        hand->a->places[(HAND_SERVICE + i) % HA_SERVICES_MAX] = i;
    }
    hand->a->held_count = count;
}

static uint32_t beats_in(struct hand *hand, uint64_t ms)
{
    uint32_t beats = 0;

    for (uint64_t i = 0; i < ms; i++) {
        hand_tick(hand, 1);
        beats += effects_count(hand->out, HA_EFFECT_HEARTBEAT);
    }
    return beats;
}

static struct hand *claimant(void)
{
    struct hand *hand = hand_new();

    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_PROMOTE, 1);
    hand_settle(hand);
    hand_acted(hand, HA_OK, HA_ROLE_PRIMARY);
    hand_settle(hand);
    hand_tick(hand, 1);
    return hand;
}

static void test_one_claim_is_repeated_quickly(void **state)
{
    struct hand *hand = claimant();

    (void)state;
    assert_in_range(beats_in(hand, 200), 200 / CLAIM_MS - 1, 200 / CLAIM_MS + 1);
    hand_free(hand);
}

static void test_many_claims_leave_time_for_the_log(void **state)
{
    struct hand *hand = claimant();

    (void)state;
    claim_many(hand, MANY);
    /* Each within a heartbeat's time, and far from all of them at each turn. */
    assert_in_range(beats_in(hand, 200), MANY, MANY * 200 / CLAIM_MS / 3);
    hand_free(hand);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_readiness_of_one_is_no_matter_of_others),
    cmocka_unit_test(test_who_has_told_is_not_asked_again),
    cmocka_unit_test(test_one_claim_is_repeated_quickly),
    cmocka_unit_test(test_many_claims_leave_time_for_the_log),
};

HA_TEST_MAIN("core/many", tests)
