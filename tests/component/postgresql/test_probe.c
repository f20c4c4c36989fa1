/* What real PostgreSQL servers answer becomes facts, also where they cannot or will not. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "tests/component/postgresql/server.h"
#include "tests/support/cmocka_ha.h"

static void wait_answer(struct client *client, enum ha_answer want, unsigned tries)
{
    for (unsigned i = 0; i < tries; i++) {
        if (client_probe(client, 1000) == want)
            return;
        run_for(client->loop, 20);
    }
    fail_msg("wanted %s, the last one was %s: %s", ha_answer_text(want),
             ha_answer_text(client->probed.sample.answer), client->probed.sample.text);
}

static void test_primary(void **state)
{
    struct server server;
    struct client local, remote;
    uint64_t run_id, offset;

    server_make(&server, NULL);
    server_start(&server);
    client_open_local(&local, *state, &server);
    client_open_remote(&remote, *state, &server, NULL, NULL);
    wait_answer(&local, HA_ANSWER_OK, 50);
    assert_int_equal(local.probed.sample.role, HA_ROLE_PRIMARY);
    assert_int_equal(local.probed.pid, server_pid(&server));
    assert_true(local.probed.sample.starts);
    assert_true(local.probed.sample.writable);
    assert_int_equal(local.probed.sample.position.lineage.count, 1);
    run_id = local.probed.sample.run_id;
    offset = local.probed.sample.position.offset;
    assert_true(run_id != 0 && offset > 0);
    server_do(&server, "INSERT INTO t SELECT generate_series(1, 100)");
    wait_answer(&remote, HA_ANSWER_OK, 50); /* pg_monitor is enough */
    assert_true(remote.probed.sample.position.offset > offset);
    assert_int_equal(remote.probed.sample.run_id, run_id);
    assert_false(remote.probed.sample.starts);
    server_signal(&server, SIGKILL);
    run_until_count(*state, &local.losses, 1, 5000);
    wait_answer(&local, HA_ANSWER_REFUSED, 50);
    wait_answer(&remote, HA_ANSWER_REFUSED, 50);
    server_start(&server);
    wait_answer(&local, HA_ANSWER_OK, 50);
    assert_int_not_equal(local.probed.sample.run_id, run_id);
    client_close(&local);
    client_close(&remote);
    server_free(&server);
}

static void test_denied(void **state)
{
    static const struct {
        const char *name, *user, *password, *says;
    } rows[] = {
        {"a wrong password", "watcher", "wrong", "password"},
        {"no such role", "nobody", NULL, "password"},
        {"without pg_monitor", "stranger", NULL, "primary_conninfo"},
    };
    struct server server;

    server_make(&server, NULL);
    server_start(&server);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct client client;

        client_open_remote(&client, *state, &server, rows[i].user, rows[i].password);
        assert_int_equal(client_probe(&client, 3000), HA_ANSWER_DENIED);
        print_message("# %s: %s\n", rows[i].name, client.probed.sample.text);
        assert_non_null(strstr(client.probed.sample.text, rows[i].says));
        client_close(&client);
    }
    server_free(&server);
}

/* A server that asks for the password itself is not given it where all could read it. */
static void test_in_clear(void **state)
{
    struct server server;
    struct client client;

    server_make(&server, "log_connections = on");
    assert_int_equal(shell("sed -i 's/scram-sha-256/password/' %s/pg_hba.conf", server.data), 0);
    server_start(&server);
    client_open_remote(&client, *state, &server, NULL, NULL);
    assert_int_equal(client_probe(&client, 3000), HA_ANSWER_DENIED);
    print_message("# %s\n", client.probed.sample.text);
    assert_non_null(strstr(client.probed.sample.text, "in the clear"));
    assert_int_not_equal(shell("grep -q 'connection authenticated' %s/log", server.dir), 0);
    client_close(&client);
    server_free(&server);
}

static void test_full(void **state)
{
    struct server server;
    struct client client;

    server_make(&server, "max_connections = 5\nsuperuser_reserved_connections = 3");
    server_start(&server);
    /* Whoever looks takes a place too: each comes again until it has one. */
    (void)shell("for i in 1 2 3; do (for n in $(seq 100); do echo 'SELECT pg_sleep(60)' |"
                " psql -X -q -h %s -p %u -U agent postgres && break; sleep 0.05; done"
                " >/dev/null 2>&1 &) ; done",
                server.dir, (unsigned)server.port);
    for (unsigned i = 0;; i++) {
        client_open_remote(&client, *state, &server, NULL, NULL);
        if (client_probe(&client, 3000) == HA_ANSWER_FULL)
            break;
        assert_true(i < 200);
        client_close(&client); /* with its place */
        run_for(*state, 20);
    }
    print_message("# %s\n", client.probed.sample.text);
    server_do(&server, "ALTER ROLE agent NOLOGIN; SELECT pg_terminate_backend(pid)"
                       " FROM pg_stat_activity WHERE usename = 'agent'");
    wait_answer(&client, HA_ANSWER_OK, 100);
    client_close(&client);
    server_free(&server);
}

/* A standby that may not be read looks like one that is still starting: alive, and not ready. */
static void test_starting(void **state)
{
    struct server server;
    struct client client;

    server_make(&server, "hot_standby = off");
    (void)shell("touch %s/standby.signal; chown postgres %s/standby.signal", server.data,
                server.data);
    (void)shell("cd /; setpriv --reuid postgres --regid postgres --clear-groups -- "
                "/usr/lib/postgresql/15/bin/pg_ctl start -W -s -D %s -l %s/log >/dev/null 2>&1",
                server.data, server.dir);
    client_open_local(&client, *state, &server);
    wait_answer(&client, HA_ANSWER_STARTING, 200);
    print_message("# %s\n", client.probed.sample.text);
    client_close(&client);
    server_free(&server);
}

/* Stopped as a whole it accepts what the kernel accepts for it, and says nothing. */
static void test_hung(void **state)
{
    struct server server;
    struct client open, fresh;

    server_make(&server, NULL);
    server_start(&server);
    client_open_local(&open, *state, &server);
    client_open_remote(&fresh, *state, &server, NULL, NULL);
    wait_answer(&open, HA_ANSWER_OK, 50);
    server_signal(&server, SIGSTOP);
    assert_int_equal(client_probe(&open, 300), HA_ANSWER_NONE);
    assert_int_equal(client_probe(&fresh, 300), HA_ANSWER_NONE);
    assert_in_range(fresh.probed.took_ms, 300, 2000);
    server_signal(&server, SIGCONT);
    wait_answer(&open, HA_ANSWER_OK, 50);
    wait_answer(&fresh, HA_ANSWER_OK, 50);
    client_close(&open);
    client_close(&fresh);
    server_free(&server);
}

/* What the agent will miss is told while it is not needed yet. */
static void test_rights(void **state)
{
    struct server server;
    struct client client;

    server_make(&server, "wal_log_hints = off");
    server_start(&server);
    client_open_local(&client, *state, &server);
    wait_answer(&client, HA_ANSWER_OK, 50);
    assert_false(client.probed.sample.lacks_rights);
    assert_string_equal(client.probed.sample.text, ""); /* it has data checksums */
    server_do(&server, "REVOKE EXECUTE ON FUNCTION pg_promote(boolean, integer) FROM agent;"
                       "REVOKE ALTER SYSTEM ON PARAMETER primary_slot_name FROM agent;"
                       "REVOKE pg_checkpoint FROM agent");
    wait_answer(&client, HA_ANSWER_OK, 50);
    assert_true(client.probed.sample.lacks_rights);
    print_message("# %s\n", client.probed.sample.text);
    assert_non_null(strstr(client.probed.sample.text, "EXECUTE on pg_promote"));
    assert_non_null(strstr(client.probed.sample.text, "ALTER SYSTEM on primary_slot_name"));
    assert_non_null(strstr(client.probed.sample.text, "pg_checkpoint"));
    client_close(&client);
    server_free(&server);
}

/* A check of the disk that an earlier probe began may tell what was so then, for one more probe. */
static void wait_writable(struct client *client, bool want, const char *says)
{
    for (unsigned i = 0; i < 500; i++) {
        if (client_probe(client, 1000) == HA_ANSWER_OK && client->probed.sample.writable == want &&
            strstr(client->probed.sample.text, says) != NULL)
            break;
        run_for(client->loop, 20);
    }
    print_message("# %s\n", client->probed.sample.text);
    assert_int_equal(client->probed.sample.writable, want);
    assert_non_null(strstr(client->probed.sample.text, says));
}

/* All sessions stand still and who comes anew is served: that is told until it is over. */
static void test_stopped_sessions(void **state)
{
    struct server server;
    struct client client;
    pid_t postmaster;

    server_make(&server, NULL);
    server_start(&server);
    client_open_local(&client, *state, &server);
    wait_writable(&client, true, "");
    postmaster = server_pid(&server);
    server_signal(&server, SIGSTOP);
    assert_int_equal(kill(postmaster, SIGCONT), 0);
    assert_int_equal(client_probe(&client, 300), HA_ANSWER_NONE);
    for (unsigned i = 0; i < 5; i++) {
        wait_writable(&client, false, "sessions are stopped");
        run_for(*state, 20);
    }
    server_signal(&server, SIGCONT);
    wait_writable(&client, true, "");
    client_close(&client);
    server_free(&server);
}

/* Reads are answered, and the disk takes nothing: full, then read-only. */
static void test_unwritable(void **state)
{
    struct server server;
    struct client client;

    server_make(&server, NULL);
    assert_int_equal(shell("mv %s %s/kept && mkdir %s && mount -t tmpfs -o size=96m,mode=0700 "
                           "none %s && cp -a %s/kept/. %s && chown postgres:postgres %s",
                           server.data, server.dir, server.data, server.data, server.dir,
                           server.data, server.data),
                     0);
    server_start(&server);
    client_open_local(&client, *state, &server);
    wait_writable(&client, true, "");
    (void)shell("dd if=/dev/zero of=%s/fill bs=64k 2>/dev/null", server.data);
    wait_writable(&client, false, "ENOSPC");
    assert_int_equal(shell("rm %s/fill", server.data), 0);
    wait_writable(&client, true, "");
    assert_int_equal(shell("mount -o remount,bind,ro %s 2>/dev/null || (mount --bind %s %s && "
                           "mount -o remount,bind,ro %s)",
                           server.data, server.data, server.data, server.data),
                     0);
    wait_writable(&client, false, "EROFS");
    assert_int_equal(shell("mount -o remount,bind,rw %s", server.data), 0);
    client_close(&client);
    server_free(&server);
}

/* Somebody shuts it down in the smart way: it answers whom it knows, as long as they stay. */
static void test_smart_shutdown(void **state)
{
    struct server server;
    struct client client, watcher;
    uint64_t end_ms;

    server_make(&server, NULL);
    server_start(&server);
    client_open_local(&client, *state, &server);
    client_open_remote(&watcher, *state, &server, "watcher", SERVER_PASSWORD);
    wait_writable(&client, true, "");
    assert_int_equal(client_probe(&watcher, 10000), HA_ANSWER_OK);
    assert_int_equal(kill(server_pid(&server), SIGTERM), 0);
    end_ms = ha_clock_mono_ms() + 10000;
    while (client_probe(&client, 2000) == HA_ANSWER_OK && ha_clock_mono_ms() < end_ms)
        run_for(*state, 50);
    assert_int_equal(client.probed.sample.answer, HA_ANSWER_STARTING);
    assert_non_null(strstr(client.probed.sample.text, "shutting down"));
    assert_int_equal(client_probe(&watcher, 10000), HA_ANSWER_OK); /* who cannot see it */
    client_close(&watcher);
    server_stop(&server);
    assert_int_not_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    server_start(&server); /* what was true of the last run is not of this one */
    wait_writable(&client, true, "");
    client_close(&client);
    server_free(&server);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_primary, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_denied, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_in_clear, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_full, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_starting, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_hung, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_rights, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_stopped_sessions, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_unwritable, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_smart_shutdown, loop_setup, loop_teardown),
};

HA_TEST_MAIN("postgresql/probe", tests)
