/* Whatever state a Redis server is in, a probe has one answer, in time, and it is the right one. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "lib/io/dns.h"
#include "tests/component/redis/server.h"
#include "tests/support/cmocka_ha.h"
#include "tests/support/port.h"

static void test_running(void **state)
{
    struct server server;
    struct client local, remote;

    server_start(&server, NULL);
    client_open_local(&local, *state, &server);
    client_open_remote(&remote, *state, &server);
    assert_int_equal(client_probe(&local, 10000), HA_ANSWER_OK);
    assert_int_equal(client_probe(&remote, 10000), HA_ANSWER_OK);
    assert_int_equal(local.probed.pid, server.pid);
    assert_int_equal(local.probed.sample.role, HA_ROLE_PRIMARY);
    assert_true(local.probed.sample.writable);
    assert_true(local.probed.sample.run_id != 0);
    assert_true(local.probed.sample.run_id == remote.probed.sample.run_id);
    assert_int_equal(local.probed.sample.position.lineage.count, 0); /* no data yet */
    free(server_ask(&server, "SET k v"));
    assert_int_equal(client_probe(&local, 10000), HA_ANSWER_OK);
    assert_int_equal(local.probed.sample.position.lineage.count, 1);
    for (int i = 0; i < 100; i++) /* on the kept connection */
        assert_int_equal(client_probe(&remote, 10000), HA_ANSWER_OK);
    server_wait(&server, "INFO stats", "total_connections_received:", 1000);
    assert_int_equal(local.losses + remote.losses, 0);
    client_close(&local);
    client_close(&remote);
    server_free(&server);
}

/* A crash is seen by the end of the connection; nobody has to ask. */
static void kill_once(uv_loop_t *loop, bool by_socket, uint64_t *ret_us)
{
    struct server server;
    struct client client;
    uint64_t start_ns;

    server_start(&server, NULL);
    if (by_socket)
        client_open_local(&client, loop, &server);
    else
        client_open_remote(&client, loop, &server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    start_ns = ha_clock_boot_ns();
    assert_int_equal(kill(server.pid, SIGKILL), 0);
    run_until_count(loop, &client.losses, 1, 2000);
    *ret_us = (client.lost_ns - start_ns) / 1000;
    assert_int_equal(client.lost_how, HA_ANSWER_CLOSED);
    assert_int_equal(client_probe(&client, 1000), HA_ANSWER_REFUSED);
    server_signal(&server, SIGKILL);
    assert_int_equal(client_probe(&client, 1000), HA_ANSWER_REFUSED);
    server_again(&server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    client_close(&client);
    server_free(&server);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void test_killed(void **state)
{
    for (int by_socket = 0; by_socket < 2; by_socket++) {
        uint64_t us[11];

        for (size_t i = 0; i < HA_ARRAY_LEN(us); i++)
            kill_once(*state, by_socket != 0, &us[i]);
        qsort(us, HA_ARRAY_LEN(us), sizeof(us[0]), compare_u64);
        print_message("# kill -9 to lost over %s: median %" PRIu64 " us, max %" PRIu64 " us\n",
                      by_socket != 0 ? "the socket" : "TCP", us[HA_ARRAY_LEN(us) / 2],
                      us[HA_ARRAY_LEN(us) - 1]);
        assert_true(us[HA_ARRAY_LEN(us) / 2] < 50000);
    }
}

/* Killed while a probe waits: the probe says so, and `lost` does not say it again. */
static void test_killed_while_probing(void **state)
{
    struct server server;
    struct client client;

    server_start(&server, NULL);
    client_open_remote(&client, *state, &server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    server_signal(&server, SIGSTOP);
    client_probe_begin(&client, 5000);
    run_for(*state, 20);
    assert_true(client.probing);
    assert_int_equal(kill(server.pid, SIGKILL), 0);
    run_while(*state, &client.probing, 2000);
    assert_int_equal(client.probed.sample.answer, HA_ANSWER_CLOSED);
    assert_int_equal(client.losses, 0);
    assert_int_equal(client_probe(&client, 1000), HA_ANSWER_REFUSED);
    client_close(&client);
    server_free(&server);
}

static void test_stopped(void **state)
{
    struct server server;
    struct client client;

    server_start(&server, NULL);
    client_open_remote(&client, *state, &server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    server_signal(&server, SIGSTOP);
    for (int i = 0; i < 5; i++) { /* on the open connection, then on new ones */
        assert_int_equal(client_probe(&client, 100), HA_ANSWER_NONE);
        assert_in_range(client.probed.took_ms, 100, 1000);
        assert_non_null(strstr(client.probed.sample.text, "within 100 ms"));
    }
    server_signal(&server, SIGCONT);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_int_equal(client.losses, 0); /* what we dropped ourselves is not lost */
    client_close(&client);
    server_free(&server);
}

static void test_busy_script(void **state)
{
    struct server server;
    struct client client;
    redisContext *c;

    server_start(&server, "busy-reply-threshold 20");
    client_open_remote(&client, *state, &server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    c = redisConnectUnix(server.socket);
    assert_int_equal(redisAppendCommand(c, "EVAL %s 0", "while true do end"), REDIS_OK);
    for (int done = 0; done == 0;)
        assert_int_equal(redisBufferWrite(c, &done), REDIS_OK);
    run_for(*state, 100);
    assert_int_equal(client_probe(&client, 1000), HA_ANSWER_BUSY);
    print_message("# %s\n", client.probed.sample.text);
    free(server_ask(&server, "SCRIPT KILL"));
    server_wait(&server, "PING", "PONG", 1000); /* it obeys at its next instruction */
    redisFree(c);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    client_close(&client);
    server_free(&server);
}

static void test_loading(void **state)
{
    struct server server;
    struct client client;

    server_start(&server, "key-load-delay 500\nloading-process-events-interval-bytes 1024");
    free(server_ask(&server, "DEBUG POPULATE 4000"));
    free(server_ask(&server, "SAVE"));
    server_signal(&server, SIGKILL);
    server_again(&server);
    client_open_remote(&client, *state, &server);
    assert_int_equal(client_probe(&client, 2000), HA_ANSWER_STARTING);
    assert_int_equal(client.probed.pid, server.pid);
    assert_int_equal(client.probed.sample.position.lineage.count, 0);
    print_message("# %s\n", client.probed.sample.text);
    client_close(&client);
    server_free(&server);
}

static void test_full(void **state)
{
    struct server server;
    struct client tcp, local;
    redisContext *c = NULL;

    server_start(&server, "maxclients 1");
    for (bool taken = false; !taken;) { /* until the one that waited for the start has gone */
        redisReply *reply;

        c = redisConnectUnix(server.socket);
        reply = redisCommand(c, "PING");
        taken = reply != NULL && reply->type == REDIS_REPLY_STATUS;
        freeReplyObject(reply);
        if (!taken)
            redisFree(c);
    }
    client_open_remote(&tcp, *state, &server);
    client_open_local(&local, *state, &server);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(client_probe(&tcp, 1000), HA_ANSWER_FULL);
        assert_int_equal(client_probe(&local, 1000), HA_ANSWER_FULL);
    }
    print_message("# %s\n", tcp.probed.sample.text);
    redisFree(c);
    run_for(*state, 100);
    assert_int_equal(client_probe(&tcp, 10000), HA_ANSWER_OK);
    client_close(&tcp);
    client_close(&local);
    server_free(&server);
}

/* The rights in agents/redis/README.md, word for word. */
#define RIGHTS_WATCHER "-@all +ping +info"
#define RIGHTS_AGENT                                                                     \
    "-@all +ping +info +replicaof +config|get +config|set +config|rewrite +client|kill " \
    "+client|pause +client|unpause +client|list +bgsave +wait"

static void test_access(void **state)
{
    static const struct {
        const char *name, *user, *password;
        enum ha_answer want;
    } rows[] = {
        {"right password", "watcher", "secret1", HA_ANSWER_OK},
        {"wrong password", "watcher", "secret2", HA_ANSWER_DENIED},
        {"unknown user", "nobody", "secret1", HA_ANSWER_DENIED},
        {"no password", NULL, NULL, HA_ANSWER_DENIED},
        {"user without rights", "blind", "secret1", HA_ANSWER_DENIED},
        {"password of the default user", NULL, "secret0", HA_ANSWER_OK},
    };
    struct server server;

    server_start(&server, NULL);
    free(server_ask(&server, "ACL SETUSER watcher on >secret1 " RIGHTS_WATCHER));
    free(server_ask(&server, "ACL SETUSER blind on >secret1 -@all +ping"));
    free(server_ask(&server, "ACL SETUSER default >secret0 resetpass >secret0"));
    for (size_t i = 0; i < HA_ARRAY_LEN(rows); i++) {
        struct client client;

        client_open(&client, *state,
                    (struct ha_link_spec){.host = "127.0.0.1",
                                          .port = server.port,
                                          .user = rows[i].user,
                                          .password = rows[i].password});
        for (int again = 0; again < 2; again++)
            assert_int_equal(client_probe(&client, 1000), rows[i].want);
        print_message("# %s: %s\n", rows[i].name, client.probed.sample.text);
        assert_null(strstr(client.probed.sample.text, "secret"));
        assert_int_equal(client.losses, 0);
        client_close(&client);
    }
    server_free(&server);
}

static void test_agent_rights_suffice(void **state)
{
    struct server a, b;
    struct client client;
    struct ha_act serve = act_of(HA_ORDER_SERVE);

    server_start(&a, "save 3600 1");
    server_start(&b, NULL);
    free(server_ask(&a, "SET k v"));
    free(server_ask(&a, "ACL SETUSER agent on >secret1 " RIGHTS_AGENT));
    client_open(
        &client, *state,
        (struct ha_link_spec){
            .socket_path = a.socket, .user = "agent", .password = "secret1", .is_local = true});
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    serve.min_replicas = 1;
    assert_int_equal(client_act(&client, serve), HA_OK);
    assert_int_equal(client_act(&client, act_of(HA_ORDER_DRAIN)), HA_OK);
    assert_int_equal(client_act(&client, act_follow(&b)), HA_OK);
    assert_int_equal(client_act(&client, act_of(HA_ORDER_PROMOTE)), HA_OK);
    run_for(*state, 500); /* CONFIG REWRITE */
    server_wait(&a, "ACL LOG", "", 100);
    {
        char *log = server_ask(&a, "ACL LOG");

        assert_string_equal(log, ""); /* nothing was refused */
        free(log);
    }
    client_close(&client);
    server_free(&a);
    server_free(&b);
}

/* Reads and replicates, but cannot persist: Redis refuses writes, and PING tells. */
static void test_unwritable(void **state)
{
    struct server server;
    struct client client;
    char cmd[SERVER_PATH_SIZE + 32];

    server_start(&server, "save 3600 1000000\ndbfilename d.rdb");
    client_open_remote(&client, *state, &server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_true(client.probed.sample.writable);
    /* A folder in the way of the rename: the snapshot fails, also for root. */
    (void)snprintf(cmd, sizeof(cmd), "mkdir -p %s/d.rdb/x", server.dir);
    assert_int_equal(system(cmd), 0);
    free(server_ask(&server, "BGSAVE"));
    server_wait(&server, "INFO persistence", "rdb_last_bgsave_status:err", 5000);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_false(client.probed.sample.writable);
    print_message("# %s\n", client.probed.sample.text);
    client_close(&client);
    server_free(&server);
}

static void test_replica_without_upstream(void **state)
{
    struct server a, b;
    struct client client;
    char more[128];

    server_start(&a, NULL);
    (void)snprintf(more, sizeof(more), "replicaof 127.0.0.1 %u\nreplica-serve-stale-data no",
                   a.port);
    server_start(&b, more);
    server_wait(&b, "INFO replication", "master_link_status:up", 5000);
    free(server_ask(&a, "SET k v"));
    server_wait(&b, "GET k", "v", 5000);
    client_open_remote(&client, *state, &b);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_int_equal(client.probed.sample.role, HA_ROLE_REPLICA);
    assert_true(client.probed.sample.link_up);
    assert_true(client.probed.sample.read_only);
    assert_string_equal(client.probed.sample.upstream_host, "127.0.0.1");
    assert_int_equal(client.probed.sample.upstream_port, a.port);
    server_signal(&a, SIGKILL);
    server_wait(&b, "INFO replication", "master_link_status:down", 5000);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK); /* MASTERDOWN is an answer */
    assert_false(client.probed.sample.link_up);
    assert_int_equal(client.probed.sample.position.lineage.count, 1);
    client_close(&client);
    server_free(&a);
    server_free(&b);
}

/* A replica that never had an upstream, and a primary that starts anew, have no or another history.
 */
static void test_lineage(void **state)
{
    struct server a, b;
    struct client client;
    char more[64];
    uint64_t id, run;

    server_start(&a, NULL);
    (void)snprintf(more, sizeof(more), "replicaof 127.0.0.1 %u", free_port());
    server_start(&b, more);
    client_open_remote(&client, *state, &b);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_int_equal(client.probed.sample.position.lineage.count, 0);
    client_close(&client);
    client_open_remote(&client, *state, &a);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_int_equal(client.probed.sample.position.lineage.count, 0);
    free(server_ask(&a, "SET k v"));
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_int_equal(client.probed.sample.position.lineage.count, 1);
    id = client.probed.sample.position.lineage.steps[0].id;
    run = client.probed.sample.run_id;
    server_signal(&a, SIGKILL);
    server_again(&a);
    run_for(*state, 20);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_true(client.probed.sample.run_id != run);
    assert_int_equal(client.probed.sample.position.lineage.count, 0); /* came back empty */
    free(server_ask(&a, "SET k v"));
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    assert_true(client.probed.sample.position.lineage.steps[0].id != id);
    assert_int_equal(client.probed.sample.position.lineage.count, 1);
    client_close(&client);
    server_free(&a);
    server_free(&b);
}

static void on_dns_closed(void *ctx)
{
    *(bool *)ctx = false;
}

static void test_names(void **state)
{
    struct server server;
    struct client client;
    struct ha_dns *dns = NULL;
    bool open = true;

    server_start(&server, NULL);
    assert_int_equal(ha_dns_open(&dns, *state), HA_OK);
    client_open(&client, *state,
                (struct ha_link_spec){.host = "localhost", .port = server.port, .dns = dns});
    /* localhost may be ::1 first, where this server does not listen: the next address is tried. */
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    client_close(&client);
    client_open(&client, *state,
                (struct ha_link_spec){.host = "no-such-host.invalid", .port = 1, .dns = dns});
    (void)client_probe(&client, 2000);
    assert_true(client.probed.sample.answer == HA_ANSWER_UNREACHABLE ||
                client.probed.sample.answer == HA_ANSWER_NONE);
    print_message("# %s\n", client.probed.sample.text);
    client_close(&client);
    ha_dns_close(dns, on_dns_closed, &open);
    run_while(*state, &open, 5000);
    server_free(&server);
}

static void test_nobody(void **state)
{
    struct client client;
    struct ha_link *link = NULL;
    struct ha_err err = {0};

    client_open(&client, *state, (struct ha_link_spec){.socket_path = "/tmp/ha-no-such-socket"});
    assert_int_equal(client_probe(&client, 1000), HA_ANSWER_REFUSED);
    print_message("# %s\n", client.probed.sample.text);
    client_close(&client);
    client_open(&client, *state, (struct ha_link_spec){.host = "127.0.0.1", .port = free_port()});
    assert_int_equal(client_probe(&client, 1000), HA_ANSWER_REFUSED);
    assert_int_equal(client.losses, 0); /* nothing was open */
    client_close(&client);
    assert_int_equal(
        engine->open(&(struct ha_link_spec){.loop = *state, .host = "a-name"}, &link, &err),
        HA_EINVAL);
    assert_int_equal(engine->open(&(struct ha_link_spec){.loop = *state}, &link, &err), HA_EINVAL);
    assert_null(link);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_running, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_killed, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_killed_while_probing, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_stopped, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_busy_script, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_loading, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_full, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_access, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_agent_rights_suffice, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_unwritable, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_replica_without_upstream, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_lineage, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_names, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_nobody, loop_setup, loop_teardown),
};

HA_TEST_MAIN("redis/probe", tests)
