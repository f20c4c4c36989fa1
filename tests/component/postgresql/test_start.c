/* How a server is started and stopped: by commands of the administrator, as an ordinary process;
 * how much WAL it keeps for who is away; what one that takes over need not do before it serves. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agents/postgresql/parse.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/postgresql/server.h"
#include "tests/support/cmocka_ha.h"

#define BIN SERVER_BIN

static struct ha_act act_on(enum ha_order_kind kind)
{
    struct ha_act act = act_of(kind);

    act.deadline_ms = 10000;
    (void)snprintf(act.member_name, sizeof(act.member_name), "a");
    act.peer_count = 1;
    (void)snprintf(act.peer_names[0], sizeof(act.peer_names[0]), "b");
    return act;
}

static void expect(struct client *client, struct ha_act act, int want)
{
    const uint64_t end_ms = ha_clock_mono_ms() + 60000;
    int code = client_act(client, act);

    while (code == HA_EBUSY && want != HA_EBUSY && ha_clock_mono_ms() < end_ms) {
        run_for(client->loop, 50);
        code = client_act(client, act);
    }
    if (code != want)
        print_message("# %s\n", client->acted.text);
    assert_int_equal(code, want);
}

static void open_with(struct client *client, uv_loop_t *loop, const struct server *server,
                      const char *start, const char *stop)
{
    struct ha_link_spec spec = server_local_spec(server);

    spec.start_command = start;
    spec.stop_command = stop;
    client_open(client, loop, spec);
}

static void expect_said(const struct server *server, const char *want)
{
    assert_int_equal(shell("[ \"$(tr '\\n' ' ' <%s/said)\" = '%s ' ]", server->dir, want), 0);
}

/* Where commands are configured nothing else starts or stops it; one that fails is told. */
static void test_commands(void **state)
{
    struct server server;
    struct client client;
    char start[512], stop[512];

    server_make(&server, NULL);
    (void)snprintf(start, sizeof(start),
                   BIN "/pg_ctl start -W -s -D %.60s -l %.60s/log && echo start >>%.60s/said",
                   server.data, server.dir, server.dir);
    (void)snprintf(stop, sizeof(stop),
                   "echo stop >>%.60s/said; " BIN "/pg_ctl stop -W -s -m fast -D %.60s", server.dir,
                   server.data);
    open_with(&client, *state, &server, "echo no unit of that name; false", stop);
    expect(&client, act_follow(NULL, "a"), HA_EIO);
    assert_non_null(strstr(client.acted.text, "no unit of that name"));
    client_close(&client);
    open_with(&client, *state, &server, start, stop);
    expect(&client, act_follow(NULL, "a"), HA_OK);
    expect_said(&server, "start");
    expect(&client, act_on(HA_ORDER_PROMOTE), HA_OK);
    expect(&client, act_on(HA_ORDER_SERVE), HA_OK);
    expect(&client, act_follow(NULL, "a"), HA_OK); /* a primary is stopped for that */
    expect_said(&server, "start stop start");
    assert_int_equal(client.acted.sample.role, HA_ROLE_REPLICA);
    expect(&client, act_on(HA_ORDER_PROMOTE), HA_OK);
    client_close(&client);
    open_with(&client, *state, &server, start, "echo not today; false");
    expect(&client, act_follow(NULL, "a"), HA_EIO);
    assert_non_null(strstr(client.acted.text, "stop_command: not today"));
    assert_int_not_equal(server_pid(&server), 0);
    client_close(&client);
    server_free(&server);
}

/* The agent is spared by the kernel and runs before others; what it starts is not. */
static void test_ordinary(void **state)
{
    struct server server;
    struct client client;
    pid_t pid;

    if (shell("echo -500 >/proc/%d/oom_score_adj 2>/dev/null", (int)getpid()) != 0)
        print_message("# not allowed to spare itself here\n");
    if (setpriority(PRIO_PROCESS, 0, -5) != 0)
        print_message("# not allowed to run before others here\n");
    server_make(&server, NULL);
    client_open_local(&client, *state, &server);
    expect(&client, act_follow(NULL, "a"), HA_OK);
    pid = server_pid(&server);
    assert_int_equal(shell("[ $(cat /proc/%d/oom_score_adj) = 0 ]", (int)pid), 0);
    /* What it asks of upstreams itself knows that, too, where its libpq does. */
    assert_int_equal(
        shell("tr '\\0' '\\n' </proc/%d/environ | grep -qx 'PGREQUIREAUTH=!password'", (int)pid),
        0);
    assert_int_equal(getpriority(PRIO_PROCESS, (id_t)pid), 0);
    (void)shell("echo 0 >/proc/%d/oom_score_adj", (int)getpid());
    (void)setpriority(PRIO_PROCESS, 0, 0);
    client_close(&client);
    server_free(&server);
}

/* It goes on with what it has, and says what it lacks; where that is allowed it is copied anew. */
static void come_back(const struct server *a, const struct server *b, struct client *cb)
{
    struct ha_act act = act_follow(a, "b");
    char *count;

    expect(cb, act, HA_OK); /* it runs */
    expect(cb, act, HA_EDENIED);
    print_message("# %s\n", cb->acted.text);
    assert_non_null(strstr(cb->acted.text, "has removed WAL that it needs"));
    assert_int_not_equal(server_pid(b), 0);
    act.copy_allowed = true;
    act.copy_max_ms = 60000;
    expect(cb, act, HA_OK);
    server_wait(a,
                "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'ha_b' AND active",
                "reserved", 20000);
    count = server_ask(a, "SELECT count(*) FROM t");
    server_wait(b, "SELECT count(*) FROM t", count, 20000);
    free(count);
}

/* For who is away no more WAL is kept than the server may keep; who comes back too late is told. */
static void test_slot_is_bounded(void **state)
{
    static const char few[] = "wal_keep_size = 0\nmax_slot_wal_keep_size = 2MB\n"
                              "min_wal_size = 2MB\nmax_wal_size = 2MB\narchive_mode = off";
    struct server a, b;
    struct client ca, cb;
    char *size;

    server_make(&a, few);
    server_make(&b, few);
    client_open_local(&ca, *state, &a);
    client_open_local(&cb, *state, &b);
    expect(&ca, act_follow(NULL, "a"), HA_OK);
    expect(&ca, act_on(HA_ORDER_PROMOTE), HA_OK);
    expect(&ca, act_on(HA_ORDER_SERVE), HA_OK);
    expect(&cb, act_follow(&a, "b"), HA_OK);
    server_wait(&a, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1",
                20000);
    server_signal(&b, SIGKILL);
    for (unsigned i = 0; i < 30; i++)
        server_do(&a, "INSERT INTO t SELECT generate_series(1, 4000); SELECT pg_switch_wal();"
                      "CHECKPOINT");
    server_wait(&a, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'ha_b'", "lost",
                10000);
    size = server_ask(&a, "SELECT sum(size) / 1024 / 1024 FROM pg_ls_waldir()");
    print_message("# %s MiB of WAL\n", size);
    assert_in_range(ha_pg_number(size), 1, 16);
    free(size);
    come_back(&a, &b, &cb);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

/* A standby that somebody else has started does not wait for seconds before it asks again; where
 * the role of the agent may not say so, it follows all the same. */
static void test_adopted(void **state)
{
    static const char adopt[] = "ALTER SYSTEM SET wal_retrieve_retry_interval = '5s';"
                                "SELECT pg_reload_conf()";
    struct server a, b;
    struct client ca, cb;

    server_make(&a, NULL);
    server_make(&b, NULL);
    client_open_local(&ca, *state, &a);
    client_open_local(&cb, *state, &b);
    expect(&ca, act_follow(NULL, "a"), HA_OK);
    expect(&ca, act_on(HA_ORDER_PROMOTE), HA_OK);
    expect(&ca, act_on(HA_ORDER_SERVE), HA_OK);
    expect(&cb, act_follow(&a, "b"), HA_OK);
    server_do(&b, adopt);
    server_wait(&b, "SHOW wal_retrieve_retry_interval", "5s", 10000);
    expect(&cb, act_follow(&a, "b"), HA_OK);
    server_wait(&b, "SHOW wal_retrieve_retry_interval", "200ms", 10000);
    server_do(&a, "REVOKE ALTER SYSTEM ON PARAMETER wal_retrieve_retry_interval FROM agent");
    server_wait(&b,
                "SELECT has_parameter_privilege('agent', 'wal_retrieve_retry_interval',"
                " 'alter system')",
                "f", 10000);
    server_do(&b, adopt);
    server_wait(&b, "SHOW wal_retrieve_retry_interval", "5s", 10000);
    expect(&cb, act_follow(&a, "b"), HA_OK);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

/* Of a service whose commits wait for c. */
static struct ha_act waiting(struct ha_act act)
{
    act.epoch = 5;
    act.sync_managed = true;
    act.sync = (struct ha_sync_set){.need = 1, .members = 1u << 3};
    (void)snprintf(act.member_names[3], sizeof(act.member_names[3]), "c");
    (void)snprintf(act.peer_names[0], sizeof(act.peer_names[0]), "c");
    act.peer_count = 1;
    return act;
}

static unsigned times_said(const struct server *server, const char *text)
{
    unsigned count = 0;

    while (count < 9 && shell("[ $(grep -c '%s' %s-hafailover/server.log) -gt %u ]", text,
                              server->data, count) == 0)
        count++;
    return count;
}

/* That commits wait is shown once before it serves, while it is promoted where its machine is fast
 * enough; and who has all of the timeline before does not ask for that again. */
static void test_takes_over(void **state)
{
    static const char shown[] = "canceling the wait for synchronous replication";
    struct ha_act serve = act_on(HA_ORDER_SERVE);
    struct server a, b, c;
    struct client ca, cb, cc;

    server_make(&a, NULL);
    server_make(&b, NULL);
    server_make(&c, NULL);
    client_open_local(&ca, *state, &a);
    client_open_local(&cb, *state, &b);
    client_open_local(&cc, *state, &c);
    expect(&ca, act_follow(NULL, "a"), HA_OK);
    expect(&ca, act_on(HA_ORDER_PROMOTE), HA_OK);
    (void)snprintf(serve.peer_names[serve.peer_count++], sizeof(serve.peer_names[0]), "c");
    expect(&ca, serve, HA_OK);
    expect(&cb, waiting(act_follow(&a, "b")), HA_OK);
    expect(&cc, waiting(act_follow(&a, "c")), HA_OK);
    server_do(&a, "INSERT INTO t VALUES (1)");
    server_wait(&a,
                "SELECT count(*) FROM pg_stat_replication"
                " WHERE flush_lsn = pg_current_wal_flush_lsn()",
                "2", 20000);
    server_signal(&a, SIGKILL);
    expect(&cb, waiting(act_on(HA_ORDER_SEAL)), HA_OK);
    expect(&cc, waiting(act_on(HA_ORDER_SEAL)), HA_OK);
    assert_int_equal(cb.acted.sample.position.offset, cc.acted.sample.position.offset);
    expect(&cb, waiting(act_on(HA_ORDER_PROMOTE)), HA_OK);
    print_message("# shown %u times while it was promoted\n", times_said(&b, shown));
    expect(&cb, waiting(act_on(HA_ORDER_SERVE)), HA_OK);
    assert_int_equal(times_said(&b, shown), 1);
    server_wait(&b, "SHOW synchronous_standby_names", "ANY 1 (\"c_e5\")", 10000);
    expect(&cc, waiting(act_follow(&b, "c")), HA_OK);
    server_do(&b, "INSERT INTO t VALUES (2)"); /* waits for c */
    server_wait(&c, "SELECT count(*) FROM t", "2", 10000);
    /* Whether it looks before it is told whom to ask is a race that nothing depends on. */
    assert_int_equal(times_said(&c, "fetching timeline history file for timeline 3"), 0);
    client_close(&ca);
    client_close(&cb);
    client_close(&cc);
    server_free(&a);
    server_free(&b);
    server_free(&c);
}

static void signal_child(const struct server *server, const char *which, const char *name)
{
    assert_int_equal(shell("kill -%s $(pgrep -P %d -f %s)", name, (int)server_pid(server), which),
                     0);
}

/* What a standby still receives of another primary while its new one is asked for its history is
 * none of that history: no commit of the new one returns by it. */
static void test_receives_while_it_is_compared(void **state)
{
    struct server a, b, c;
    struct client ca, cb, cc;
    struct ha_act follow;
    unsigned before;

    server_make(&a, NULL);
    server_make(&b, NULL);
    server_make(&c, NULL);
    client_open_local(&ca, *state, &a);
    client_open_local(&cb, *state, &b);
    client_open_local(&cc, *state, &c);
    expect(&ca, act_follow(NULL, "a"), HA_OK);
    expect(&ca, act_on(HA_ORDER_PROMOTE), HA_OK);
    expect(&ca, act_on(HA_ORDER_SERVE), HA_OK);
    server_do(&a, "SELECT pg_create_physical_replication_slot('ha_c')");
    expect(&cb, waiting(act_follow(&a, "b")), HA_OK);
    expect(&cc, waiting(act_follow(&a, "c")), HA_OK);
    server_do(&a, "INSERT INTO t VALUES (1)");
    server_wait(&c, "SELECT count(*) FROM t", "1", 20000);
    server_wait(&b, "SELECT count(*) FROM t", "1", 20000);
    expect(&cb, waiting(act_on(HA_ORDER_SEAL)), HA_OK);
    signal_child(&c, "walreceiver", "STOP");
    server_do(&a, "INSERT INTO t SELECT 666 FROM generate_series(1, 500)");
    server_wait(&a,
                "SELECT count(*) FROM pg_stat_replication"
                " WHERE sent_lsn >= pg_current_wal_flush_lsn()",
                "1", 20000);
    server_signal(&a, SIGKILL);
    expect(&cb, waiting(act_on(HA_ORDER_PROMOTE)), HA_OK);
    expect(&cb, waiting(act_on(HA_ORDER_SERVE)), HA_OK);
    assert_int_equal(shell("(psql -X -q -h %s -p %u -U postgres postgres -c 'INSERT INTO t VALUES"
                           " (2)' >/dev/null 2>&1 && touch %s/returned) &",
                           b.dir, (unsigned)b.port, b.dir),
                     0);
    server_wait(&b, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", "1",
                20000);
    server_signal(&b, SIGSTOP);
    follow = waiting(act_follow(&b, "c"));
    before = cc.acts;
    cc.acting = true;
    assert_int_equal(engine->act(cc.link, &follow, client_on_acted), HA_OK);
    /* It has looked at c, and waits for what b says. */
    for (unsigned i = 0; shell("grep -q ' 0100007F:%04X 01 ' /proc/net/tcp", (unsigned)b.port) != 0;
         i++) {
        assert_true(i < 500);
        run_for(*state, 20);
    }
    assert_int_equal(cc.acts, before);
    signal_child(&c, "walreceiver", "CONT");
    server_wait(&c, "SELECT count(*) FROM t", "501", 20000);
    server_signal(&b, SIGCONT);
    run_until_count(*state, &cc.acts, before + 1, 30000);
    if (cc.acted.code != HA_OK) /* it is rewound, which takes longer than an act */
        expect(&cc, follow, HA_OK);
    for (unsigned i = 0; shell("ls %s/returned >/dev/null 2>&1", b.dir) != 0; i++) {
        assert_true(i < 300);
        run_for(*state, 100);
    }
    server_wait(&c, "SELECT count(*) FROM t WHERE n = 2", "1", 10000);
    server_wait(&c, "SELECT count(*) FROM t WHERE n = 666", "0", 10000);
    client_close(&ca);
    client_close(&cb);
    client_close(&cc);
    server_free(&a);
    server_free(&b);
    server_free(&c);
}

static bool is_true(const struct server *server, const char *sql)
{
    char *text = server_ask(server, sql);
    bool yes = strcmp(text, "t") == 0;

    free(text);
    return yes;
}

/* What could not be done of slots when clients were served is tried again: a statement that fails
 * half way has dropped some and made none, and whose slot is gone cannot connect. */
static void test_slots_are_tried_again(void **state)
{
    static const char failed[] = "must be superuser or replication role";
    static const char reserves[] = "SELECT count(restart_lsn) = 1 FROM pg_replication_slots";
    struct server a;
    struct client ca;

    server_make(&a, NULL);
    client_open_local(&ca, *state, &a);
    expect(&ca, act_follow(NULL, "a"), HA_OK);
    server_do(&a, "SELECT pg_create_physical_replication_slot('ha_b')"); /* it reserves nothing */
    expect(&ca, act_on(HA_ORDER_PROMOTE), HA_OK);
    expect(&ca, act_on(HA_ORDER_SERVE), HA_OK);
    assert_false(is_true(&a, reserves));
    server_do(&a, "ALTER ROLE agent NOREPLICATION");
    for (unsigned i = 0; times_said(&a, failed) == 0; i++) {
        assert_true(i < 100);
        assert_int_equal(client_probe(&ca, 5000), HA_ANSWER_OK);
        run_for(*state, 100);
    }
    server_do(&a, "ALTER ROLE agent REPLICATION");
    for (unsigned i = 0; !is_true(&a, reserves); i++) {
        assert_true(i < 200);
        assert_int_equal(client_probe(&ca, 5000), HA_ANSWER_OK);
        run_for(*state, 100);
    }
    client_close(&ca);
    server_free(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_commands, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_ordinary, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_adopted, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_takes_over, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_receives_while_it_is_compared, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_slots_are_tried_again, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_slot_is_bounded, loop_setup, loop_teardown),
};

HA_TEST_MAIN("postgresql/start", tests)
