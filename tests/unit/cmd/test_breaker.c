/* An endpoint that fails is left alone for longer and longer, and tried by one alone. */
#include "cmd/hafailoverd/breaker.h"

#include "lib/base/prng.h"
#include "tests/support/cmocka_ha.h"

#define SEED 7

static void test_back_off_doubles_with_jitter(void **state)
{
    static const struct {
        uint32_t failures;
        uint64_t longest_ms;
    } rows[] = {{1, 200}, {2, 400}, {5, 3200}, {9, 51200}, {10, 60000}, {1000000, 60000}};
    struct ha_prng prng;

    (void)state;
    ha_prng_seed(&prng, SEED);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t least_ms = UINT64_MAX, most_ms = 0;

        for (int n = 0; n < 1000; n++) {
            uint64_t wait_ms = ha_back_off_ms(rows[i].failures, &prng);

            assert_in_range(wait_ms, rows[i].longest_ms / 2, rows[i].longest_ms);
            least_ms = wait_ms < least_ms ? wait_ms : least_ms;
            most_ms = wait_ms > most_ms ? wait_ms : most_ms;
        }
        assert_true(most_ms - least_ms > rows[i].longest_ms / 4);
    }
}

static void test_opens_after_failures_in_a_row(void **state)
{
    struct ha_breaker breaker = {.failures = 0};
    struct ha_prng prng;

    (void)state;
    ha_prng_seed(&prng, SEED);
    for (uint32_t i = 1; i < HA_BREAKER_FAILURES; i++)
        assert_false(ha_breaker_failed(&breaker, 1000, &prng));
    assert_false(ha_breaker_worked(&breaker)); /* one that worked ends the row */
    for (uint32_t i = 1; i < HA_BREAKER_FAILURES; i++)
        assert_false(ha_breaker_failed(&breaker, 1000, &prng));
    assert_true(ha_breaker_admits(&breaker, 7, 1000));
    assert_true(ha_breaker_failed(&breaker, 1000, &prng));
    assert_true(ha_breaker_is_open(&breaker));
    assert_false(ha_breaker_admits(&breaker, 0, 1000));
}

static void test_one_alone_tries(void **state)
{
    struct ha_breaker breaker = {.failures = 0};
    struct ha_prng prng;
    uint64_t until_ms;

    (void)state;
    ha_prng_seed(&prng, SEED);
    for (uint32_t i = 0; i < HA_BREAKER_FAILURES; i++)
        (void)ha_breaker_failed(&breaker, 1000, &prng);
    until_ms = breaker.until_ms;
    assert_false(ha_breaker_failed(&breaker, 1001, &prng)); /* was under way when it opened */
    assert_int_equal(breaker.until_ms, until_ms);
    assert_false(ha_breaker_admits(&breaker, 0, until_ms - 1));
    assert_true(ha_breaker_admits(&breaker, 0, until_ms));
    assert_false(ha_breaker_admits(&breaker, 1, until_ms));
    assert_false(ha_breaker_failed(&breaker, until_ms, &prng)); /* open already */
    assert_true(breaker.until_ms >= until_ms + 3200); /* half of 200 ms doubled five times */
    assert_true(ha_breaker_worked(&breaker));
    assert_true(ha_breaker_admits(&breaker, 7, until_ms));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_back_off_doubles_with_jitter),
    cmocka_unit_test(test_opens_after_failures_in_a_row),
    cmocka_unit_test(test_one_alone_tries),
};

HA_TEST_MAIN("cmd/breaker", tests)
