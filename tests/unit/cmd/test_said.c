/* What is said again in a word means the same to both ends, or nothing. */
#include "cmd/common/said.h"

#include <string.h>

#include "lib/core/limits.h"
#include "tests/support/cmocka_ha.h"

static void fill(struct ha_said *said, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct ha_said_entry *entry = ha_said_make(said, 5 + HA_SERVICES_MAX * i);

        assert_non_null(entry);
        entry->mark = 100 + i;
    }
}

static void test_places_follow_the_order_of_saying(void **state)
{
    struct ha_said said = {0};

    (void)state;
    assert_null(ha_said_find(&said, 5));
    fill(&said, 1000); /* ids that end alike, through several sizes of the table */
    for (uint32_t i = 0; i < 1000; i++) {
        struct ha_said_entry *entry = ha_said_find(&said, 5 + HA_SERVICES_MAX * i);

        assert_non_null(entry);
        assert_int_equal(ha_said_place(&said, entry), i);
        assert_ptr_equal(ha_said_make(&said, entry->service), entry);
    }
    assert_null(ha_said_find(&said, 6));
    ha_said_free(&said);
    assert_int_equal(said.count, 0);
}

static void test_table_is_bounded(void **state)
{
    struct ha_said said = {0};
    uint32_t count = 0;

    (void)state;
    while (count < 1000000 && ha_said_make(&said, count) != NULL)
        count++;
    assert_true(count >= HA_SERVICES_MAX && count < 1000000);
    assert_non_null(ha_said_find(&said, count - 1));
    ha_said_free(&said);
}

static void test_neighbours_share_a_range(void **state)
{
    struct ha_repeat repeat = {0};

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(ha_repeat_add(&repeat, i, 1));
    assert_int_equal(repeat.count, 1);
    for (uint32_t i = 1; i < HA_RANGES_MAX; i++)
        assert_true(ha_repeat_add(&repeat, 2000 + 2 * i, 1));
    assert_false(ha_repeat_add(&repeat, 9000, 1));
    assert_int_equal(repeat.count, HA_RANGES_MAX);
    assert_int_equal(repeat.sum, 1000 + HA_RANGES_MAX - 1);
}

/* Each of these would let one end mean another service, or another epoch, than the other. */
static void test_what_was_not_said_is_no_repetition(void **state)
{
    struct ha_said said = {0};
    struct ha_repeat good = {0}, bad;

    (void)state;
    fill(&said, 10);
    for (uint32_t i = 2; i < 6; i++)
        assert_true(ha_repeat_add(&good, i, 100 + i));
    assert_true(ha_said_matches(&said, &good));
    bad = good;
    bad.sum++;
    assert_false(ha_said_matches(&said, &bad));
    bad = good;
    bad.ranges[0].first = 1;
    assert_false(ha_said_matches(&said, &bad));
    bad = good;
    bad.ranges[0] = (struct ha_range){.first = 8, .count = 3};
    assert_false(ha_said_matches(&said, &bad));
    bad.ranges[0] = (struct ha_range){.first = 3, .count = UINT32_MAX};
    assert_false(ha_said_matches(&said, &bad));
    bad.ranges[0] = (struct ha_range){.first = UINT32_MAX, .count = 2};
    assert_false(ha_said_matches(&said, &bad));
    said.entries[3].mark++; /* it was said otherwise since */
    assert_false(ha_said_matches(&said, &good));
    said.entries[3].mark = 0; /* or never */
    assert_false(ha_said_matches(&said, &good));
    ha_said_free(&said);
}

/* However often it is named, a frame asks for no more than there is. */
static void test_nothing_is_named_twice(void **state)
{
    struct ha_said said = {0};
    struct ha_repeat repeat = {.count = 2, .sum = 0};

    (void)state;
    fill(&said, 10);
    for (uint32_t i = 0; i < 10; i++)
        repeat.sum += 2 * (100 + i);
    repeat.ranges[0] = repeat.ranges[1] = (struct ha_range){.first = 0, .count = 10};
    assert_false(ha_said_matches(&said, &repeat));
    ha_said_free(&said);
}

static void test_each_part_of_a_promise_is_in_its_mark(void **state)
{
    const struct ha_promise promise = {1, 2, 3, 4, 5, 3, 1500};
    const uint64_t mark = ha_said_promise_mark(&promise);
    struct ha_promise other = promise;

    (void)state;
    other.stamp++; /* what a renewal is for */
    assert_int_equal(ha_said_promise_mark(&other), mark);
    other = promise;
    other.service++;
    assert_int_not_equal(ha_said_promise_mark(&other), mark);
    other = promise;
    other.epoch++;
    assert_int_not_equal(ha_said_promise_mark(&other), mark);
    other = promise;
    other.instance++;
    assert_int_not_equal(ha_said_promise_mark(&other), mark);
    other = promise;
    other.set_id++;
    assert_int_not_equal(ha_said_promise_mark(&other), mark);
    other = promise;
    other.set_size++;
    assert_int_not_equal(ha_said_promise_mark(&other), mark);
    other = promise;
    other.length_ms++;
    assert_int_not_equal(ha_said_promise_mark(&other), mark);
}

/* A watcher counts from what it was told last: a lease that was short by then must not stay so. */
static void test_ages_that_count_are_said(void **state)
{
    const struct ha_settings settings = {
        .probe_ms = 100, .heartbeat_ms = 100, .hang_after_ms = 300, .lease_ms = 1000};
    static const struct {
        enum ha_answer answer;
        uint32_t age_ms, lease_ms;
        bool may;
    } rows[] = {
        {HA_ANSWER_OK, 0, 900, true},      {HA_ANSWER_OK, 149, 201, true},
        {HA_ANSWER_OK, 150, 900, false},   {HA_ANSWER_OK, 0, 200, false},
        {HA_ANSWER_OK, 0, 1, false},       {HA_ANSWER_OK, 0, 0, true},
        {HA_ANSWER_STARTING, 0, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ha_status status = {.answer_age_ms = rows[i].age_ms,
                                   .lease_left_ms = rows[i].lease_ms};

        status.sample.answer = rows[i].answer;
        assert_int_equal(ha_said_may_repeat(&status, &settings), rows[i].may);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_ages_that_count_are_said),
    cmocka_unit_test(test_places_follow_the_order_of_saying),
    cmocka_unit_test(test_table_is_bounded),
    cmocka_unit_test(test_neighbours_share_a_range),
    cmocka_unit_test(test_what_was_not_said_is_no_repetition),
    cmocka_unit_test(test_nothing_is_named_twice),
    cmocka_unit_test(test_each_part_of_a_promise_is_in_its_mark),
};

HA_TEST_MAIN("cmd/said", tests)
