/* A primary is made ready for its stop while it serves: what is asked of it meanwhile goes on. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/postgresql/server.h"
#include "tests/support/cmocka_ha.h"

#define LAST_SQL "SELECT redo_lsn FROM pg_control_checkpoint()"

static unsigned ends; /* of making ready; the link's data is the client's */
static int end_code;
static char end_text[HA_TEXT_SIZE];

static void on_prepared(void *data, int code, const char *text)
{
    (void)data;
    ends++;
    end_code = code;
    (void)snprintf(end_text, sizeof(end_text), "%s", text);
    print_message("# %s %s\n", ha_code_text(code), text);
}

static void begin(struct client *client, uint32_t deadline_ms)
{
    const unsigned before = ends;

    assert_int_equal(engine->prepare(client->link, deadline_ms, on_prepared), HA_OK);
    assert_int_equal(ends, before); /* never from inside */
}

static int prepare(struct client *client, uint32_t deadline_ms)
{
    const unsigned before = ends;

    begin(client, deadline_ms);
    run_until_count(client->loop, &ends, before + 1, deadline_ms + 5000);
    return end_code;
}

static void become_primary(struct client *client)
{
    struct ha_act act = act_of(HA_ORDER_PROMOTE);

    act.deadline_ms = 10000;
    assert_int_equal(client_act(client, act_follow(NULL, "a")), HA_OK);
    assert_int_equal(client_act(client, act), HA_OK);
}

static void signal_checkpointer(const struct server *server, const char *name)
{
    assert_int_equal(
        shell("kill -%s $(pgrep -P %d -f checkpointer)", name, (int)server_pid(server)), 0);
}

static void expect_serving(struct client *client, const struct server *server)
{
    struct ha_act act = act_of(HA_ORDER_SERVE);

    act.deadline_ms = 10000;
    server_do(server, "INSERT INTO t VALUES (1)");
    assert_int_equal(client_probe(client, 10000), HA_ANSWER_OK);
    assert_int_equal(client_act(client, act), HA_OK);
}

static void test_checkpoint(void **state)
{
    struct server server;
    struct client client;
    char *before, *after;

    server_make(&server, NULL);
    client_open_local(&client, *state, &server);
    assert_int_equal(prepare(&client, 2000), HA_EREFUSED); /* it does not run */
    become_primary(&client);
    server_do(&server, "INSERT INTO t VALUES (1)");
    before = server_ask(&server, LAST_SQL);
    assert_int_equal(prepare(&client, 10000), HA_OK);
    assert_string_equal(end_text, "");
    after = server_ask(&server, LAST_SQL);
    assert_string_not_equal(before, after);
    free(before);
    free(after);
    /* Its connection ends with it: the place is a standby's. */
    server_wait(&server,
                "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
                " 'hafailover-checkpoint'",
                "0", 10000);
    signal_checkpointer(&server, "STOP");
    begin(&client, 1500);
    assert_int_equal(engine->prepare(client.link, 1500, on_prepared), HA_EBUSY);
    expect_serving(&client, &server);
    run_until_count(*state, &ends, 3, 10000);
    assert_int_equal(end_code, HA_ETIMEDOUT);
    assert_non_null(strstr(end_text, "1500 ms"));
    begin(&client, 500);
    engine->prepare_cancel(client.link);
    engine->prepare_cancel(client.link);
    begin(&client, 500); /* at once */
    engine->prepare_cancel(client.link);
    run_for(*state, 700);
    assert_int_equal(ends, 3); /* nobody is told of it any more */
    begin(&client, 20000);
    run_for(*state, 100);
    signal_checkpointer(&server, "CONT");
    run_until_count(*state, &ends, 4, 10000);
    assert_int_equal(end_code, HA_OK);
    /* The end of the server is the end of it. */
    signal_checkpointer(&server, "STOP");
    begin(&client, 20000);
    run_for(*state, 300);
    server_signal(&server, SIGKILL);
    run_until_count(*state, &ends, 5, 10000);
    assert_int_not_equal(end_code, HA_OK);
    client_close(&client);
    assert_int_equal(ends, 5);
    server_free(&server);
}

/* Its stop takes as long as it takes then; that is told, and no reason to refuse. */
static void test_without_the_right(void **state)
{
    struct server server;
    struct client client;
    struct ha_link_spec spec;

    ends = 0;
    server_make(&server, NULL);
    client_open_local(&client, *state, &server);
    become_primary(&client);
    spec = server_local_spec(&server);
    server_do(&server, "REVOKE pg_checkpoint FROM agent");
    assert_int_equal(prepare(&client, 10000), HA_OK);
    assert_non_null(strstr(end_text, "CHECKPOINT: "));
    client_close(&client);
    client_open_remote(&client, *state, &server, spec.user, SERVER_PASSWORD); /* a watcher's */
    assert_int_equal(engine->prepare(client.link, 1000, on_prepared), HA_ENOTSUP);
    client_close(&client);
    server_free(&server);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_checkpoint, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_without_the_right, loop_setup, loop_teardown),
};

HA_TEST_MAIN("postgresql/checkpoint", tests)
