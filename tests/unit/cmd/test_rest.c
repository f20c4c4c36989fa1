/* Who answers no probe is asked less often, but only while its agent is heard. */
#include "cmd/hafailoverd/rest.h"

#include "lib/core/watcher.h"
#include "tests/support/cmocka_ha.h"

#define SERVICE 3
#define MEMBER 2
#define NOW_MS 10000
#define PROBE_MS 200
#define DOWN_AFTER_MS 1000

static struct ha_watcher core;
static struct ha_rest rest;

static struct ha_watch *watch(void)
{
    return &core.members[0][SERVICE];
}

/* Silent to probes, heard just now. */
static int setup(void **state)
{
    struct ha_service *service = &core.cluster.services[SERVICE];

    (void)state;
    *service = (struct ha_service){.used = true, .id = SERVICE};
    service->config.member_count = 1;
    service->config.probe_ms = PROBE_MS;
    service->config.down_after_ms = DOWN_AFTER_MS;
    service->members[0].id = MEMBER;
    core.services[SERVICE] = (struct ha_watched){.service = SERVICE, .members = {watch()}};
    watch()->heard = true;
    watch()->heard_ms = NOW_MS;
    rest = (struct ha_rest){
        .service = SERVICE, .member = MEMBER, .unanswered = 1, .probed_ms = NOW_MS - PROBE_MS};
    return 0;
}

static void test_while_the_agent_speaks_for_it(void **state)
{
    (void)state;
    assert_true(ha_rest_may(&rest, &core, NOW_MS));
    /* Its own last probe is long enough ago. */
    rest.probed_ms = NOW_MS - 2 * PROBE_MS;
    assert_false(ha_rest_may(&rest, &core, NOW_MS));
    /* The longer nothing has answered, the longer. */
    rest.unanswered = 2;
    assert_true(ha_rest_may(&rest, &core, NOW_MS));
}

static void test_who_answers_does_not_rest(void **state)
{
    (void)state;
    rest.unanswered = 0;
    assert_false(ha_rest_may(&rest, &core, NOW_MS));
}

/* Long before it would count as silent: there must be time for a probe. */
static void test_a_silent_agent_ends_it(void **state)
{
    (void)state;
    rest.unanswered = UINT32_MAX;
    watch()->heard_ms = NOW_MS - DOWN_AFTER_MS / 2 + 1;
    assert_true(ha_rest_may(&rest, &core, NOW_MS));
    watch()->heard_ms = NOW_MS - DOWN_AFTER_MS / 2;
    assert_false(ha_rest_may(&rest, &core, NOW_MS));
    watch()->heard_ms = NOW_MS;
    watch()->heard = false;
    assert_false(ha_rest_may(&rest, &core, NOW_MS));
}

/* What is remembered may be about another service that had the slot before. */
static void test_nobody_else_speaks_for_it(void **state)
{
    (void)state;
    core.services[SERVICE].service = SERVICE + HA_SERVICES_MAX;
    assert_false(ha_rest_may(&rest, &core, NOW_MS));
    core.services[SERVICE].service = SERVICE;
    rest.member = MEMBER + 1;
    assert_false(ha_rest_may(&rest, &core, NOW_MS));
    rest.member = MEMBER;
    core.cluster.services[SERVICE].used = false;
    assert_false(ha_rest_may(&rest, &core, NOW_MS));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(test_while_the_agent_speaks_for_it, setup),
    cmocka_unit_test_setup(test_who_answers_does_not_rest, setup),
    cmocka_unit_test_setup(test_a_silent_agent_ends_it, setup),
    cmocka_unit_test_setup(test_nobody_else_speaks_for_it, setup),
};

HA_TEST_MAIN("cmd/rest", tests)
