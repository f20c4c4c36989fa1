/* Clients of all gates that a turn closed are reset together, and those that are left once more. */
#include "cmd/hafailover-agent/resets.h"

#include <string.h>

#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"

enum { NOW = 5000 };

static struct ha_resets resets;
static unsigned kills;
static uint16_t port;   /* of the last one */
static uint64_t in_bit; /* likewise, of port 6380 */
static bool spared;
static int answer;

int ha_sock_kill(const struct ha_sock_match *match, uint32_t *ret_count, struct ha_err *err)
{
    if (ret_count != NULL)
        *ret_count = 1;
    (void)err;
    kills++;
    port = match->port;
    spared = match->spare_own;
    in_bit = match->ports != NULL ? match->ports[6380 / 64] >> 6380 % 64 & 1 : 0;
    return answer;
}

static int setup(void **state)
{
    (void)state;
    resets = (struct ha_resets){0};
    kills = 0;
    answer = HA_OK;
    return 0;
}

static void test_one_walk_for_all(void **state)
{
    (void)state;
    ha_resets_flush(&resets);
    assert_int_equal(kills, 0);
    ha_resets_owe(&resets, 6379, NOW);
    ha_resets_flush(&resets);
    assert_int_equal(kills, 1);
    assert_int_equal(port, 6379);
    ha_resets_owe(&resets, 6379, NOW);
    ha_resets_owe(&resets, 6380, NOW);
    ha_resets_flush(&resets);
    assert_int_equal(kills, 2);
    assert_int_equal(port, 0);
    assert_int_equal(in_bit, 1);
    ha_resets_flush(&resets);
    assert_int_equal(kills, 2);
}

/* What is left could tell its client of a write when the gate opens again. */
static void test_those_that_are_left_once_more(void **state)
{
    (void)state;
    answer = HA_ETIMEDOUT;
    ha_resets_owe(&resets, 6379, NOW);
    ha_resets_flush(&resets);
    answer = HA_OK;
    ha_resets_flush(&resets);
    assert_int_equal(kills, 2);
    assert_int_equal(port, 6379);
    ha_resets_flush(&resets);
    assert_int_equal(kills, 2);
}

static void test_what_watchers_wait_for_goes_first(void **state)
{
    (void)state;
    ha_resets_poll(&resets, NOW);
    ha_resets_owe(&resets, 6379, NOW);
    ha_resets_poll(&resets, NOW + 29);
    ha_resets_owe(&resets, 6380, NOW + 29); /* keeps the first from waiting longer */
    assert_int_equal(kills, 0);
    ha_resets_poll(&resets, NOW + 30);
    assert_int_equal(kills, 1);
    assert_int_equal(in_bit, 1);
    assert_true(spared);
    ha_resets_poll(&resets, NOW + 60);
    assert_int_equal(kills, 1);
}

static void test_before_its_gate_opens(void **state)
{
    (void)state;
    ha_resets_owe(&resets, 6379, NOW);
    ha_resets_before(&resets, 6380);
    assert_int_equal(kills, 0);
    ha_resets_before(&resets, 6379);
    assert_int_equal(kills, 1);
    ha_resets_before(&resets, 6379);
    assert_int_equal(kills, 1);
}

static void test_not_for_ever(void **state)
{
    (void)state;
    answer = HA_ETIMEDOUT;
    ha_resets_owe(&resets, 6379, NOW);
    for (int i = 0; i < 10; i++)
        ha_resets_flush(&resets);
    assert_in_range(kills, 2, 5);
    assert_int_equal(resets.count, 0);
    assert_int_equal(resets.turns, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(test_one_walk_for_all, setup),
    cmocka_unit_test_setup(test_those_that_are_left_once_more, setup),
    cmocka_unit_test_setup(test_what_watchers_wait_for_goes_first, setup),
    cmocka_unit_test_setup(test_before_its_gate_opens, setup),
    cmocka_unit_test_setup(test_not_for_ever, setup),
};

HA_TEST_MAIN("cmd/resets", tests)
