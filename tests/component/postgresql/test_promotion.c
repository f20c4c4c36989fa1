/* The note of a promotion ends with the first serving under its epoch, even where that cannot be
 * written at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/postgresql/promotion.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/postgresql/server.h"
#include "tests/support/cmocka_ha.h"

static void must(struct client *client, struct ha_act act)
{
    act.deadline_ms = 10000;
    assert_int_equal(client_act(client, act), HA_OK);
}

static bool is_noted(const struct server *server)
{
    struct ha_pg_promotion promotion;
    struct ha_err err = {0};
    char work_dir[SERVER_PATH_SIZE + 16];

    (void)snprintf(work_dir, sizeof(work_dir), "%s-hafailover", server->data);
    assert_int_equal(ha_pg_promotion_read(work_dir, &promotion, &err), HA_OK);
    return promotion.unopened;
}

/* As an agent does each so many milliseconds. */
static void probe_until(struct client *client, const struct server *server, bool noted, unsigned ms)
{
    const uint64_t end_ms = ha_clock_mono_ms() + ms;

    while (is_noted(server) != noted && ha_clock_mono_ms() < end_ms) {
        assert_int_equal(client_probe(client, 5000), HA_ANSWER_OK);
        run_for(client->loop, 50);
    }
    assert_int_equal(is_noted(server), noted);
}

static void test_end_is_tried_again(void **state)
{
    struct server server;
    struct client client;

    server_make(&server, NULL);
    client_open_local(&client, *state, &server);
    must(&client, act_follow(NULL, "a"));
    must(&client, act_of(HA_ORDER_PROMOTE));
    assert_true(is_noted(&server));
    assert_int_equal(shell("mount --bind %s-hafailover %s-hafailover && "
                           "mount -o remount,ro,bind %s-hafailover",
                           server.data, server.data, server.data),
                     0);
    must(&client, act_of(HA_ORDER_SERVE)); /* it serves all the same */
    assert_true(is_noted(&server));
    for (unsigned i = 0; i < 20; i++) { /* two tries more */
        assert_int_equal(client_probe(&client, 5000), HA_ANSWER_OK);
        run_for(*state, 100);
    }
    assert_true(is_noted(&server));
    assert_int_equal(shell("umount %s-hafailover", server.data), 0);
    probe_until(&client, &server, false, 20000);
    client_close(&client);
    server_free(&server);
}

/* What is owed for an epoch ends no note of a later promotion. */
static void test_end_is_of_its_own(void **state)
{
    struct ha_act act = act_of(HA_ORDER_PROMOTE);
    struct server server;
    struct client client;

    server_make(&server, NULL);
    client_open_local(&client, *state, &server);
    must(&client, act_follow(NULL, "a"));
    act.epoch = 7;
    must(&client, act);
    assert_int_equal(shell("mount --bind %s-hafailover %s-hafailover && "
                           "mount -o remount,ro,bind %s-hafailover",
                           server.data, server.data, server.data),
                     0);
    act.kind = HA_ORDER_SERVE;
    must(&client, act);
    assert_int_equal(shell("umount %s-hafailover", server.data), 0);
    act.kind = HA_ORDER_PROMOTE; /* by watchers that began anew; it is a primary, and is asked */
    act.epoch = 3;
    must(&client, act);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(client_probe(&client, 5000), HA_ANSWER_OK);
        run_for(*state, 100);
    }
    assert_true(is_noted(&server));
    client_close(&client);
    server_free(&server);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_end_is_tried_again, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_end_is_of_its_own, loop_setup, loop_teardown),
};

HA_TEST_MAIN("postgresql/promotion", tests)
