/* The table of the failover machine is whole, and a change of it is seen by whoever reviews. */
#include "lib/core/failover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"

static void test_counts_match_the_enumerations(void **state)
{
    (void)state;
    assert_true(ha_state_valid(HA_STATE_COUNT - 1));
    assert_false(ha_state_valid(HA_STATE_COUNT));
    assert_true(ha_move_valid(HA_MOVE_COUNT - 1));
    assert_false(ha_move_valid(HA_MOVE_COUNT));
}

static void test_each_pair_is_a_row_or_ignored_never_both(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < HA_STATE_COUNT; from++) {
        for (uint32_t move = 0; move < HA_MOVE_COUNT; move++) {
            bool row = ha_failover_row((enum ha_state)from, (enum ha_move)move) != NULL;
            bool ignored = ha_failover_ignores((enum ha_state)from, (enum ha_move)move);

            print_message("# %s %s\n", ha_state_text((enum ha_state)from),
                          ha_move_text((enum ha_move)move));
            assert_true(row != ignored);
        }
    }
}

static void test_no_pair_has_two_rows(void **state)
{
    size_t count;
    const struct ha_failover_row *rows = ha_failover_rows(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(ha_failover_row(rows[i].from, rows[i].move), &rows[i]);
        assert_true(strlen(rows[i].why) > 0);
    }
}

/* A primary may hold a lease only after its promotion is known, and a promotion needs a fence: no
 * row leads from an open state to another primary past them. */
static void test_no_way_around_fence_and_promotion(void **state)
{
    size_t count;
    const struct ha_failover_row *rows = ha_failover_rows(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        if (ha_state_is_open(rows[i].from)) {
            assert_int_not_equal(rows[i].to, HA_STATE_PROMOTING);
            assert_int_not_equal(rows[i].to, HA_STATE_NO_CANDIDATE);
        }
        if (rows[i].to == HA_STATE_OPENING) {
            assert_int_equal(rows[i].from, HA_STATE_PROMOTING);
            assert_int_equal(rows[i].move, HA_MOVE_PROMOTED);
        }
        if (rows[i].from == HA_STATE_FENCING && rows[i].to != HA_STATE_FENCING)
            assert_true(rows[i].move == HA_MOVE_FENCED || rows[i].move == HA_MOVE_GIVE_UP);
    }
}

static void test_every_state_can_be_reached_and_left(void **state)
{
    size_t count;
    const struct ha_failover_row *rows = ha_failover_rows(&count);
    unsigned reached = 1u << HA_STATE_SELECTING, left = 0;

    (void)state;
    for (size_t i = 0; i < count; i++) {
        left |= 1u << rows[i].from;
        if (rows[i].from != rows[i].to)
            reached |= 1u << rows[i].to;
    }
    assert_int_equal(reached, (1u << HA_STATE_COUNT) - 1);
    assert_int_equal(left, (1u << HA_STATE_COUNT) - 1);
}

static void print_table(char *text, size_t size)
{
    size_t count;
    const struct ha_failover_row *rows = ha_failover_rows(&count);

    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ha_text_append(text, size, "%-12s %-10s -> %-12s %s\n",
                                        ha_state_text(rows[i].from), ha_move_text(rows[i].move),
                                        ha_state_text(rows[i].to), rows[i].why),
                         0);
}

/* HA_REWRITE=1 in the environment writes the file anew; the difference is for review. */
static void test_table_is_the_golden_one(void **state)
{
    static char table[8192], golden[8192];
    const char *rewrite = getenv("HA_REWRITE");
    FILE *file;

    (void)state;
    print_table(table, sizeof(table));
    if (rewrite != NULL) {
        file = fopen(HA_TEST_GOLDEN, "w");
        assert_non_null(file);
        assert_true(fputs(table, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    file = fopen(HA_TEST_GOLDEN, "r");
    assert_non_null(file);
    golden[fread(golden, 1, sizeof(golden) - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
    assert_string_equal(table, golden);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_counts_match_the_enumerations),
    cmocka_unit_test(test_each_pair_is_a_row_or_ignored_never_both),
    cmocka_unit_test(test_no_pair_has_two_rows),
    cmocka_unit_test(test_no_way_around_fence_and_promotion),
    cmocka_unit_test(test_every_state_can_be_reached_and_left),
    cmocka_unit_test(test_table_is_the_golden_one),
};

HA_TEST_MAIN("core/failover", tests)
