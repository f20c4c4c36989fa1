/* However much happens in one turn of the loop, no effect of it is lost, and none overtakes
 * another.
 */
#include "cmd/common/backlog.h"

#include "tests/support/cmocka_ha.h"

enum { OF_A_STEP = 3, STEPS = 1000 };

static void step(struct ha_backlog *backlog, uint32_t *number)
{
    for (int i = 0; i < OF_A_STEP; i++)
        ha_effects_add(backlog->now, HA_EFFECT_PROBE)->u.service = ++*number;
    ha_backlog_stepped(backlog);
}

/* What is left, in order; the number of the last one. */
static uint32_t drain(struct ha_backlog *backlog, uint32_t last)
{
    struct ha_effects *list;

    while ((list = ha_backlog_take(backlog)) != NULL) {
        assert_false(list->overflowed);
        for (uint32_t i = 0; i < list->count; i++)
            assert_int_equal(list->items[i].u.service, ++last);
        ha_backlog_give_back(backlog, list);
    }
    assert_true(ha_backlog_is_empty(backlog));
    return last;
}

static void test_nothing_is_lost(void **state)
{
    struct ha_backlog backlog;
    uint32_t number = 0, last = 0;

    (void)state;
    assert_int_equal(ha_backlog_open(&backlog), 0);
    assert_null(ha_backlog_take(&backlog));
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < STEPS; i++)
            step(&backlog, &number);
        last = drain(&backlog, last);
        assert_int_equal(last, number);
    }
    ha_backlog_free(&backlog);
}

/* What is done about one list makes steps of its own. */
static void test_steps_go_on_while_a_list_is_worked_on(void **state)
{
    struct ha_backlog backlog;
    struct ha_effects *list;
    uint32_t number = 0;

    (void)state;
    assert_int_equal(ha_backlog_open(&backlog), 0);
    step(&backlog, &number);
    list = ha_backlog_take(&backlog);
    assert_non_null(list);
    for (int i = 0; i < STEPS; i++)
        step(&backlog, &number);
    assert_int_equal(list->count, OF_A_STEP);
    assert_int_equal(list->items[0].u.service, 1);
    ha_backlog_give_back(&backlog, list);
    assert_int_equal(drain(&backlog, OF_A_STEP), number);
    ha_backlog_free(&backlog);
}

/* Beyond what may be kept in line the core's own rule holds: it is told, and nothing else breaks.
 */
static void test_a_full_line_overflows_as_one_list_does(void **state)
{
    struct ha_backlog backlog;
    uint32_t number = 0;

    (void)state;
    assert_int_equal(ha_backlog_open(&backlog), 0);
    while (!backlog.now->overflowed)
        step(&backlog, &number);
    assert_in_range(number, HA_BACKLOG_MAX * (HA_EFFECTS_MAX / 2), HA_BACKLOG_MAX * HA_EFFECTS_MAX);
    assert_int_equal(backlog.count, HA_BACKLOG_MAX);
    ha_backlog_free(&backlog);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_nothing_is_lost),
    cmocka_unit_test(test_steps_go_on_while_a_list_is_worked_on),
    cmocka_unit_test(test_a_full_line_overflows_as_one_list_does),
};

HA_TEST_MAIN("cmd/backlog", tests)
