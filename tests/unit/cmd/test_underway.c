/* What stands in line for the log is found again, and not put there twice. */
#include "cmd/hafailoverd/underway.h"

#include "tests/support/cmocka_ha.h"

#define TERM 7

static struct ha_proposal step(enum ha_command_kind kind, uint32_t service, uint64_t epoch)
{
    struct ha_proposal proposal = {.term = TERM, .command = {.kind = kind}};

    if (kind == HA_COMMAND_PROMOTE)
        proposal.command.u.promote.ref = (struct ha_ref){service, epoch};
    else if (kind == HA_COMMAND_GATE)
        proposal.command.u.gate.ref = (struct ha_ref){service, epoch};
    else if (kind != HA_COMMAND_OBSERVE)
        proposal.command.u.outcome.ref = (struct ha_ref){service, epoch};
    return proposal;
}

static void test_each_is_taken_once_by_its_ticket(void **state)
{
    static struct ha_proposal many[3 * HA_UNDERWAY_LISTS];
    static struct ha_underway underway;

    (void)state;
    for (uint32_t i = 0; i < 3 * HA_UNDERWAY_LISTS; i++) {
        many[i] = i % 2 == 0 ? step(HA_COMMAND_PROMOTE, i / 4, 1) : step(HA_COMMAND_OBSERVE, 0, 0);
        ha_underway_add(&underway, &many[i]);
    }
    for (uint32_t i = 0; i < 3 * HA_UNDERWAY_LISTS; i++)
        assert_ptr_equal(ha_underway_take(&underway, many[i].ticket), &many[i]);
    assert_null(ha_underway_take(&underway, many[0].ticket));
    assert_null(ha_underway_take_any(&underway));
}

static void test_those_without_a_service_do_not_share_one_list(void **state)
{
    static struct ha_proposal many[HA_UNDERWAY_LISTS];
    static struct ha_underway underway;

    (void)state;
    for (uint32_t i = 0; i < HA_UNDERWAY_LISTS; i++) {
        many[i] = step(HA_COMMAND_OBSERVE, 0, 0);
        ha_underway_add(&underway, &many[i]);
    }
    for (uint32_t i = 0; i < HA_UNDERWAY_LISTS; i++)
        assert_null(many[i].next);
}

static void test_the_same_step_is_known(void **state)
{
    struct ha_underway underway = {0};
    struct ha_proposal first = step(HA_COMMAND_PROMOTE, 5, 3), other;

    (void)state;
    assert_false(ha_underway_has(&underway, TERM, &first.command));
    ha_underway_add(&underway, &first);
    assert_true(ha_underway_has(&underway, TERM, &first.command));
    assert_int_equal(underway.promotes, 1);
    other = step(HA_COMMAND_PROMOTE, 5, 4);
    assert_false(ha_underway_has(&underway, TERM, &other.command));
    other = step(HA_COMMAND_PROMOTE, 5 + HA_UNDERWAY_LISTS, 3);
    assert_false(ha_underway_has(&underway, TERM, &other.command));
    other = step(HA_COMMAND_FAILED, 5, 3);
    assert_false(ha_underway_has(&underway, TERM, &other.command));
    (void)ha_underway_take(&underway, first.ticket);
    assert_int_equal(underway.promotes, 0);
    assert_false(ha_underway_has(&underway, TERM, &first.command));
}

/* What a follower sent may hang on its way to a leader that is no more, and what was proposed under
 * another term may never be committed. */
static void test_only_this_leaders_own_line_counts(void **state)
{
    struct ha_underway underway = {0};
    struct ha_proposal first = step(HA_COMMAND_PROMOTE, 5, 3), sent = first;

    (void)state;
    first.term = TERM - 1;
    sent.term = 0;
    ha_underway_add(&underway, &first);
    ha_underway_add(&underway, &sent);
    assert_false(ha_underway_has(&underway, TERM, &first.command));
    assert_false(ha_underway_has(&underway, 0, &first.command));
}

/* Of these the last word counts. */
static void test_what_is_no_step_is_never_the_same(void **state)
{
    struct ha_underway underway = {0};
    struct ha_proposal gate = step(HA_COMMAND_GATE, 5, 3);
    struct ha_proposal observe = step(HA_COMMAND_OBSERVE, 0, 0);

    (void)state;
    ha_underway_add(&underway, &gate);
    ha_underway_add(&underway, &observe);
    assert_false(ha_underway_has(&underway, TERM, &gate.command));
    assert_false(ha_underway_has(&underway, TERM, &observe.command));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_each_is_taken_once_by_its_ticket),
    cmocka_unit_test(test_those_without_a_service_do_not_share_one_list),
    cmocka_unit_test(test_the_same_step_is_known),
    cmocka_unit_test(test_only_this_leaders_own_line_counts),
    cmocka_unit_test(test_what_is_no_step_is_never_the_same),
};

HA_TEST_MAIN("cmd/underway", tests)
