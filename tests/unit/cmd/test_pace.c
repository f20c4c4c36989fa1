/* Some connect, the others wait in line; who hangs keeps nobody waiting for long. */
#include "cmd/hafailoverd/pace.h"

#include "tests/support/cmocka_ha.h"

#define MAX 4
#define HOLD_MS 20
#define MANY 3000

static struct ha_pace pace_new(uint32_t max)
{
    return (struct ha_pace){.max = max, .hold_ms = HOLD_MS};
}

static void test_only_so_many_at_once(void **state)
{
    struct ha_pace pace = pace_new(MAX);
    struct ha_pace_place places[MAX + 2] = {0};

    (void)state;
    for (int i = 0; i < MAX; i++)
        assert_true(ha_pace_enter(&pace, &places[i], 100));
    assert_false(ha_pace_enter(&pace, &places[MAX], 100));
    assert_false(ha_pace_enter(&pace, &places[MAX + 1], 100));
    assert_false(ha_pace_enter(&pace, &places[MAX], 101)); /* keeps its place in the line */
    assert_null(ha_pace_next(&pace, 101));
    ha_pace_leave(&pace, &places[2]);
    assert_ptr_equal(ha_pace_next(&pace, 101), &places[MAX]);
    assert_null(ha_pace_next(&pace, 101));
}

static void test_nobody_overtakes_the_line(void **state)
{
    struct ha_pace pace = pace_new(1);
    struct ha_pace_place places[3] = {0};

    (void)state;
    assert_true(ha_pace_enter(&pace, &places[0], 100));
    assert_false(ha_pace_enter(&pace, &places[1], 100));
    ha_pace_leave(&pace, &places[0]);
    assert_false(ha_pace_enter(&pace, &places[2], 101));
    assert_ptr_equal(ha_pace_next(&pace, 101), &places[1]);
}

static void test_leaving_the_line(void **state)
{
    struct ha_pace pace = pace_new(1);
    struct ha_pace_place places[4] = {0};

    (void)state;
    assert_true(ha_pace_enter(&pace, &places[0], 100));
    for (int i = 1; i < 4; i++)
        assert_false(ha_pace_enter(&pace, &places[i], 100));
    ha_pace_leave(&pace, &places[2]); /* from the middle */
    ha_pace_leave(&pace, &places[2]); /* out already */
    ha_pace_leave(&pace, &places[3]); /* the last */
    ha_pace_leave(&pace, &places[0]);
    assert_ptr_equal(ha_pace_next(&pace, 101), &places[1]);
    ha_pace_leave(&pace, &places[1]);
    assert_null(ha_pace_next(&pace, 101));
    assert_true(ha_pace_enter(&pace, &places[3], 102));
}

/* A thousand servers that hang, and one behind them that answers. */
static void test_who_hangs_starves_nobody(void **state)
{
    struct ha_pace pace = pace_new(64);
    static struct ha_pace_place places[MANY];
    struct ha_pace_place *place = NULL;
    uint64_t now_ms = 100;

    (void)state;
    for (int i = 0; i < MANY; i++)
        (void)ha_pace_enter(&pace, &places[i], now_ms);
    while (place != &places[MANY - 1]) {
        assert_in_range(pace.inside_count, 1, 64);
        place = ha_pace_next(&pace, now_ms);
        if (place == NULL)
            now_ms += HOLD_MS;
        assert_true(now_ms <= 100 + 1000);
    }
}

/* Whoever has lost its place by time may come again: it counts once. */
static void test_a_second_try_counts_once(void **state)
{
    struct ha_pace pace = pace_new(2);
    struct ha_pace_place places[3] = {0};

    (void)state;
    assert_true(ha_pace_enter(&pace, &places[0], 100));
    assert_true(ha_pace_enter(&pace, &places[0], 105));
    assert_int_equal(pace.inside_count, 1);
    assert_true(ha_pace_enter(&pace, &places[1], 110));
    assert_true(ha_pace_enter(&pace, &places[2], 125)); /* the first one's time is over */
    assert_int_equal(places[0].state, HA_PACE_OUT);
    assert_int_equal(pace.inside_count, 2);
}

static void test_who_never_answers_is_asked_less_often(void **state)
{
    uint64_t before_ms = 0;

    (void)state;
    assert_int_equal(ha_pace_rest_ms(0, 200), 0);
    for (uint32_t unanswered = 1; unanswered <= 4; unanswered++) {
        assert_true(ha_pace_rest_ms(unanswered, 200) > before_ms);
        before_ms = ha_pace_rest_ms(unanswered, 200);
    }
    assert_int_equal(ha_pace_rest_ms(UINT32_MAX, 200), before_ms);
    assert_int_equal(ha_pace_rest_ms(UINT32_MAX, 60000), 5000);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_only_so_many_at_once),
    cmocka_unit_test(test_nobody_overtakes_the_line),
    cmocka_unit_test(test_leaving_the_line),
    cmocka_unit_test(test_who_hangs_starves_nobody),
    cmocka_unit_test(test_a_second_try_counts_once),
    cmocka_unit_test(test_who_never_answers_is_asked_less_often),
};

HA_TEST_MAIN("cmd/pace", tests)
