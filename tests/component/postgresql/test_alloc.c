/* When memory runs out while a link is made or a server is asked, that ends once and is told, and
 * the next question is answered. What libpq does without memory is its own. */
#include "agents/engines.h"
#include "lib/base/err.h"
#include "tests/component/postgresql/server.h"
#include "tests/support/alloc.h"
#include "tests/support/cmocka_ha.h"

#define TRIES_MAX 50u

static void check_open(uv_loop_t *loop, struct ha_link_spec spec)
{
    const struct ha_engine_ops *ops = ha_engine_find(client_engine);
    struct ha_link *link = NULL;
    unsigned n = 0;

    spec.loop = loop;
    while (link == NULL) {
        struct ha_err err = {0};
        int code;

        alloc_fail_at(++n);
        code = ops->open(&spec, &link, &err);
        assert_int_equal(code, alloc_stop() ? HA_ENOMEM : HA_OK);
        assert_true(n < TRIES_MAX);
    }
    print_message("# %u allocations, each failed once\n", n - 1);
    assert_true(n > 1);
    ops->close(link, NULL);
    run_for(loop, 1);
}

static void test_a_link(void **state)
{
    struct server server;

    server_make(&server, NULL);
    check_open(*state, (struct ha_link_spec){.host = "127.0.0.1", .port = server.port});
    check_open(*state, server_local_spec(&server));
    server_free(&server);
}

static void test_a_question(void **state)
{
    struct server server;
    unsigned n = 0;
    bool failed;

    server_make(&server, NULL);
    server_start(&server);
    do {
        struct client client;
        enum ha_answer answer;

        client_open_remote(&client, *state, &server, NULL, NULL);
        alloc_fail_at(++n);
        answer = client_probe(&client, 2000);
        failed = alloc_stop();
        assert_int_equal(client.probes, 1);
        assert_true((answer == HA_ANSWER_OK) != failed);
        assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
        assert_int_equal(client.probes, 2);
        client_close(&client);
    } while (failed && n < TRIES_MAX);
    print_message("# %u allocations, each failed once\n", n - 1);
    assert_in_range(n, 2, TRIES_MAX - 1);
    server_free(&server);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_a_link, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_a_question, loop_setup, loop_teardown),
};

HA_TEST_MAIN("postgresql/alloc", tests)
