/* Acts on real PostgreSQL servers: done when they say so, harmless when repeated, ended in time. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/postgresql/act.h"
#include "agents/postgresql/files_parts.h"
#include "agents/postgresql/parse.h"
#include "agents/postgresql/promotion.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/sync.h"
#include "lib/io/clock.h"
#include "tests/component/postgresql/server.h"
#include "tests/support/cmocka_ha.h"

#define THREADS 128 /* more than there are workers */

struct pair { /* b follows a, which was promoted by its agent */
    struct server a, b;
    struct client ca, cb;
};

static struct ha_act act_on(enum ha_order_kind kind, const char *name, const char *peer)
{
    struct ha_act act = act_of(kind);

    act.deadline_ms = 10000;
    (void)snprintf(act.member_name, sizeof(act.member_name), "%s", name);
    act.peer_count = 1;
    (void)snprintf(act.peer_names[0], sizeof(act.peer_names[0]), "%s", peer);
    return act;
}

static void expect(struct client *client, struct ha_act act, int want)
{
    const uint64_t end_ms = ha_clock_mono_ms() + 60000;
    int code = client_act(client, act);

    /* What takes longer is said again, as a watcher does. */
    while (code == HA_EBUSY && want != HA_EBUSY && ha_clock_mono_ms() < end_ms) {
        run_for(client->loop, 50);
        code = client_act(client, act);
    }
    assert_int_equal(code, want);
}

static void pair_join(struct pair *pair, uv_loop_t *loop)
{
    struct ha_act follow;

    client_open_local(&pair->ca, loop, &pair->a);
    client_open_local(&pair->cb, loop, &pair->b);
    expect(&pair->ca, act_follow(NULL, "a"), HA_OK);
    expect(&pair->ca, act_on(HA_ORDER_PROMOTE, "a", "b"), HA_OK);
    expect(&pair->ca, act_on(HA_ORDER_SERVE, "a", "b"), HA_OK);
    follow = act_follow(&pair->a, "b");
    follow.peer_count = 1; /* it gets a slot for a, which reserves nothing */
    memcpy(follow.peer_names[0], "a", 2);
    expect(&pair->cb, follow, HA_OK);
    server_wait(&pair->a, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1",
                20000);
}

static void pair_open(struct pair *pair, uv_loop_t *loop, const char *more)
{
    server_make(&pair->a, more);
    server_make(&pair->b, more);
    pair_join(pair, loop);
}

static void pair_close(struct pair *pair)
{
    client_close(&pair->ca);
    client_close(&pair->cb);
    server_free(&pair->a);
    server_free(&pair->b);
}

/* The other becomes primary without what the first has written last. */
static void diverge(struct client *client, const struct server *first, const struct server *other)
{
    server_signal(other, SIGKILL);
    server_do(first, "INSERT INTO t VALUES (666)");
    server_signal(first, SIGKILL);
    expect(client, act_follow(NULL, "b"), HA_OK);
    expect(client, act_on(HA_ORDER_PROMOTE, "b", "a"), HA_OK);
    expect(client, act_on(HA_ORDER_SERVE, "b", "a"), HA_OK);
}

/* A rewind that is killed half-way: the next try finds what it left. */
static void kill_rewind(struct client *client, const struct ha_act *act,
                        const struct server *server)
{
    const unsigned before = client->acts;
    const uint64_t end_ms = ha_clock_mono_ms() + 20000;
    int status = -1;

    client->acting = true;
    assert_int_equal(engine->act(client->link, act, client_on_acted), HA_OK);
    while (client->acts == before && status != 0 && ha_clock_mono_ms() < end_ms) {
        run_for(client->loop, 2);
        status = shell("pid=$(pgrep -f '/[p]g_rewind -D %s ') && kill -KILL $pid", server->data);
    }
    assert_int_equal(status, 0);
    run_until_count(client->loop, &client->acts, before + 1, 30000);
    print_message("# %s\n", client->acted.text);
    assert_int_not_equal(client->acted.code, HA_OK);
}

/* A primary whose data went its own way comes back by a rewind; without a usable data directory
 * only by a copy that the service allows. */
static void test_failover(void **state)
{
    struct pair pair;
    struct ha_act act;
    char *text;

    pair_open(&pair, *state, NULL);
    assert_int_equal(pair.cb.acted.sample.role, HA_ROLE_REPLICA);
    /* Repeated, there is nothing to do. */
    expect(&pair.ca, act_on(HA_ORDER_PROMOTE, "a", "b"), HA_OK);
    expect(&pair.cb, act_follow(&pair.a, "b"), HA_OK);
    server_do(&pair.a, "INSERT INTO t VALUES (1)");
    server_wait(&pair.b, "SELECT n FROM t", "1", 10000);
    diverge(&pair.cb, &pair.a, &pair.b);
    assert_int_equal(pair.cb.acted.sample.position.lineage.count, 3);
    server_do(&pair.b, "INSERT INTO t VALUES (2)");
    act = act_follow(&pair.b, "a");
    kill_rewind(&pair.ca, &act, &pair.a);
    expect(&pair.ca, act, HA_OK);
    assert_int_equal(pair.ca.acted.sample.role, HA_ROLE_REPLICA);
    server_wait(&pair.a, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t", "1,2", 10000);
    assert_int_equal(shell("ls %s-hafailover/tail-*/* >/dev/null", pair.a.data), 0);
    text = server_ask(&pair.a, "SHOW port"); /* its own settings are its own again */
    assert_int_equal(ha_pg_number(text), pair.a.port);
    free(text);
    server_signal(&pair.a, SIGKILL);
    assert_int_equal(
        shell("rm -rf %s/base %s/global %s/pg_wal", pair.a.data, pair.a.data, pair.a.data), 0);
    act = act_follow(&pair.b, "a");
    expect(&pair.ca, act, HA_EDENIED); /* not by itself */
    assert_non_null(strstr(pair.ca.acted.text, "rejoin_copy"));
    act.copy_allowed = true;
    expect(&pair.ca, act, HA_OK);
    server_wait(&pair.a, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t", "1,2", 10000);
    pair_close(&pair);
}

/* Its own WAL ends before it can answer, and it was started when there was nobody to follow. */
static void test_starts_without_its_wal(void **state)
{
    struct pair pair;
    struct ha_act act;
    char *name;

    pair_open(&pair, *state, NULL);
    server_do(&pair.a, "CHECKPOINT; SELECT pg_switch_wal(); INSERT INTO t VALUES (7)");
    server_wait(&pair.b, "SELECT n FROM t", "7", 10000);
    server_do(&pair.b, "CHECKPOINT"); /* its files have what is in the segment that it loses */
    name = server_ask(&pair.a, "SELECT pg_walfile_name(pg_current_wal_lsn())");
    server_signal(&pair.b, SIGKILL);
    assert_int_equal(shell("rm %s/pg_wal/%s", pair.b.data, name), 0);
    free(name);
    act = act_follow(NULL, "b");
    act.deadline_ms = 8000;
    assert_int_equal(client_act(&pair.cb, act), HA_EBUSY);
    act = act_follow(&pair.a, "b");
    expect(&pair.cb, act, HA_OK);
    server_do(&pair.a, "INSERT INTO t VALUES (8)");
    server_wait(&pair.b, "SELECT max(n) FROM t", "8", 10000);
    pair_close(&pair);
}

/* What stands in the way is told in words, and nothing has changed. */
static void test_refusals(void **state)
{
    struct ha_act act = act_on(HA_ORDER_PROMOTE, "b", "a");
    struct pair pair;
    struct server other;

    pair_open(&pair, *state, NULL);
    server_do(&pair.a, "REVOKE EXECUTE ON FUNCTION pg_promote(boolean, integer) FROM agent");
    server_wait(&pair.b,
                "SELECT has_function_privilege('agent', 'pg_promote(boolean, integer)', 'execute')",
                "f", 10000);
    expect(&pair.cb, act, HA_EDENIED);
    assert_non_null(strstr(pair.cb.acted.text, "pg_promote"));
    server_signal(&pair.b, SIGSTOP);
    act.deadline_ms = 500;
    expect(&pair.cb, act, HA_ETIMEDOUT);
    server_signal(&pair.b, SIGCONT);
    /* It may have been asked to become primary: that is undone first. */
    expect(&pair.cb, act_follow(&pair.a, "b"), HA_OK);
    server_do(&pair.a, "ALTER ROLE replica PASSWORD 'another'");
    expect(&pair.cb, act_follow(&pair.a, "b"), HA_EAUTH);
    assert_non_null(strstr(pair.cb.acted.text, "password"));
    server_make(&other, NULL);
    /* As initdb would make it: another system identifier. */
    assert_int_equal(shell("cd /tmp && rm -rf %s && setpriv --reuid postgres --regid postgres "
                           "--clear-groups -- /usr/lib/postgresql/15/bin/initdb -D %s -U postgres "
                           "-A trust -k -N >/dev/null 2>&1 && cat >>%s/postgresql.conf <<'E'\n"
                           "port = %u\nunix_socket_directories = '%s'\nE\n",
                           other.data, other.data, other.data, (unsigned)other.port, other.dir),
                     0);
    server_start(&other);
    server_do(&other, "CREATE ROLE replica LOGIN REPLICATION");
    expect(&pair.cb, act_follow(&other, "b"), HA_ESTALE);
    assert_non_null(strstr(pair.cb.acted.text, "another cluster"));
    assert_int_equal(client_probe(&pair.cb, 5000), HA_ANSWER_OK);
    assert_int_equal(pair.cb.probed.sample.role, HA_ROLE_REPLICA);
    assert_int_equal(pair.cb.probed.sample.upstream_port, pair.a.port);
    server_free(&other);
    pair_close(&pair);
}

/* Where pg_controldata takes as long as the whole drain may. */
static void expect_drained_late(struct pair *pair, uv_loop_t *loop)
{
    struct ha_link_spec spec = server_local_spec(&pair->a);
    struct ha_act drain = act_on(HA_ORDER_DRAIN, "a", "b");
    char bin[SERVER_PATH_SIZE];

    (void)snprintf(bin, sizeof(bin), "%.80s/bin", pair->a.dir);
    assert_int_equal(shell("mkdir %s && ln -s " SERVER_BIN "/* %s && rm %s/pg_controldata && "
                           "printf '#!/bin/sh\nsleep 3; exec " SERVER_BIN
                           "/pg_controldata \"$@\"\n' "
                           ">%s/pg_controldata && chmod 755 %s/pg_controldata",
                           bin, bin, bin, bin, bin),
                     0);
    spec.bin_dir = bin;
    client_close(&pair->ca);
    client_open(&pair->ca, loop, spec);
    drain.deadline_ms = 3000;
    expect(&pair->ca, drain, HA_OK);
    assert_non_null(strstr(pair->ca.acted.text, "shut down at"));
    client_close(&pair->ca);
    client_open_local(&pair->ca, loop, &pair->a);
}

/* Clients are served first; it is done by the probes that come afterwards. */
static void expect_reserved(struct client *client, const struct server *server, uv_loop_t *loop)
{
    for (unsigned i = 0;
         shell("[ 1 = $(psql -X -A -t -h %s -p %u -U postgres postgres -c \"SELECT"
               " count(restart_lsn) FROM pg_replication_slots WHERE slot_name = 'ha_a'\") ]",
               server->dir, (unsigned)server->port) != 0;
         i++) {
        assert_true(i < 100);
        assert_int_equal(client_probe(client, 5000), HA_ANSWER_OK);
        run_for(loop, 100);
    }
}

/* A switchover's first half; then the new primary is ended with a client in a long statement. */
static void test_ends(void **state)
{
    struct pair pair;

    pair_open(&pair, *state, NULL);
    expect(&pair.cb, act_on(HA_ORDER_DRAIN, "b", "a"), HA_ESTALE);
    server_do(&pair.a, "INSERT INTO t VALUES (1)");
    expect_drained_late(&pair, *state);
    assert_int_equal(server_pid(&pair.a), 0);
    expect(&pair.cb, act_on(HA_ORDER_PROMOTE, "b", "a"), HA_OK);
    server_wait(&pair.b, "SELECT n FROM t", "1", 10000);
    expect(&pair.cb, act_on(HA_ORDER_SERVE, "b", "a"), HA_OK);
    expect_reserved(&pair.cb, &pair.b, *state);
    expect(&pair.ca, act_follow(&pair.b, "a"), HA_OK); /* without a rewind */
    /* What it kept for others as a primary would keep WAL for ever. */
    server_wait(&pair.a, "SELECT count(*) FROM pg_replication_slots WHERE restart_lsn IS NOT NULL",
                "0", 10000);
    /* Made when it was a standby; it kept WAL for the other before that one came. */
    server_wait(&pair.b,
                "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'ha_a' AND active",
                "1", 10000);
    assert_int_not_equal(shell("ls %s-hafailover/tail-* >/dev/null 2>&1", pair.a.data), 0);
    (void)shell("(echo 'SELECT sum(a) FROM generate_series(1, 2000000000) a' | psql -X -q -h %s "
                "-p %u -U postgres postgres >/dev/null 2>&1 &)",
                pair.b.dir, (unsigned)pair.b.port);
    server_wait(&pair.b,
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%2000000000%'"
                " AND pid <> pg_backend_pid()",
                "1", 10000);
    engine->halt(pair.cb.link, server_pid(&pair.b));
    for (unsigned i = 0;
         shell("ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -q ' %s$'", pair.b.data) == 0; i++) {
        assert_true(i < 200);
        run_for(*state, 20);
    }
    expect(&pair.cb, act_follow(NULL, "b"), HA_OK); /* and it can be started again */
    pair_close(&pair);
}

/* The agent that asked for a promotion is killed while that takes long. The next one does not take
 * the server for a harmless standby, and what was asked for never happens after a later order. */
static void test_slow_promotion(void **state)
{
    struct ha_act act = act_on(HA_ORDER_PROMOTE, "b", "a");
    struct pair pair;
    struct client other;

    pair_open(&pair, *state, NULL);
    assert_int_equal(client_probe(&pair.cb, 5000), HA_ANSWER_OK);
    assert_true(pair.cb.probed.sample.read_only);
    assert_int_equal(shell("kill -STOP $(pgrep -P %d -f startup)", (int)server_pid(&pair.b)), 0);
    act.epoch = 2;
    act.deadline_ms = 3000;
    assert_int_equal(client_act(&pair.cb, act), HA_ETIMEDOUT);
    client_close(&pair.cb);
    client_open_local(&other, *state, &pair.b);
    assert_int_equal(client_probe(&other, 5000), HA_ANSWER_OK);
    assert_int_equal(other.probed.sample.role, HA_ROLE_REPLICA);
    assert_false(other.probed.sample.read_only);
    print_message("# %s\n", other.probed.sample.text);
    act = act_follow(&pair.a, "b");
    act.epoch = 3;
    act.deadline_ms = 1000;
    assert_int_not_equal(client_act(&other, act), HA_OK); /* it cannot even be stopped */
    assert_int_equal(shell("kill -CONT $(pgrep -P %d -f startup)", (int)server_pid(&pair.b)), 0);
    act.deadline_ms = 10000;
    expect(&other, act, HA_OK);
    assert_int_equal(client_probe(&other, 5000), HA_ANSWER_OK);
    assert_true(other.probed.sample.read_only);
    server_do(&pair.a, "INSERT INTO t VALUES (1)");
    server_wait(&pair.b, "SELECT n FROM t WHERE pg_is_in_recovery()", "1", 10000);
    client_close(&other);
    client_open_local(&pair.cb, *state, &pair.b);
    pair_close(&pair);
}

/* The same, and the next order is the same: it goes on. */
static void test_promotion_goes_on(void **state)
{
    struct ha_act act = act_on(HA_ORDER_PROMOTE, "b", "a");
    struct pair pair;

    pair_open(&pair, *state, NULL);
    server_signal(&pair.a, SIGKILL);
    assert_int_equal(shell("kill -STOP $(pgrep -P %d -f startup)", (int)server_pid(&pair.b)), 0);
    act.epoch = 2;
    act.deadline_ms = 3000;
    assert_int_equal(client_act(&pair.cb, act), HA_ETIMEDOUT);
    client_close(&pair.cb);
    client_open_local(&pair.cb, *state, &pair.b);
    assert_int_equal(shell("kill -CONT $(pgrep -P %d -f startup)", (int)server_pid(&pair.b)), 0);
    act.deadline_ms = 10000;
    expect(&pair.cb, act, HA_OK);
    assert_int_equal(pair.cb.acted.sample.role, HA_ROLE_PRIMARY);
    act = act_on(HA_ORDER_SERVE, "b", "a");
    act.epoch = 2;
    expect(&pair.cb, act, HA_OK);
    pair_close(&pair);
}

static struct ha_act with_names(struct ha_act act, uint32_t need)
{
    act.epoch = 5;
    act.sync_managed = true;
    act.sync = (struct ha_sync_set){.need = need, .members = need > 0 ? 1u << 2 : 0};
    (void)snprintf(act.member_names[2], sizeof(act.member_names[2]), "b");
    return act;
}

static void expect_setting(const struct server *server, const char *name, const char *want)
{
    char sql[64];

    (void)snprintf(sql, sizeof(sql), "SHOW %s", name);
    server_wait(server, sql, want, 10000);
}

/* Commits wait for the named standby, and no longer than the server is told so. A sealed one
 * receives nothing, whatever starts it again, until it is told to follow. */
static void test_names_and_seal(void **state)
{
    const struct ha_act serve = act_on(HA_ORDER_SERVE, "a", "b"),
                        seal = act_on(HA_ORDER_SEAL, "b", "a");
    struct ha_sample sealed;
    struct pair pair;

    pair_open(&pair, *state, "synchronous_commit = local");
    expect(&pair.cb, with_names(act_follow(&pair.a, "b"), 0), HA_OK);
    expect_setting(&pair.b, "synchronous_standby_names", HA_PG_NOBODY);
    for (unsigned i = 0; i < 2; i++) { /* the second time there is nothing to do */
        expect(&pair.ca, with_names(serve, 1), HA_OK);
        expect_setting(&pair.a, "synchronous_standby_names", "ANY 1 (\"b_e5\")");
        assert_true(pair.ca.acted.sample.sync_id == ha_sync_id("ANY 1 (\"b_e5\")"));
    }
    expect_setting(&pair.a, "synchronous_commit", "on");
    server_do(&pair.a, "INSERT INTO t VALUES (1)"); /* b has the name */
    assert_true(pair.cb.acted.sample.sync_id == ha_sync_id("b_e5"));
    expect(&pair.cb, with_names(seal, 0), HA_OK);
    sealed = pair.cb.acted.sample;
    server_do(&pair.a, "SET synchronous_commit = local; INSERT INTO t VALUES (2)");
    server_wait(&pair.b, "SELECT count(*) FROM pg_stat_wal_receiver", "0", 10000);
    server_signal(&pair.b, SIGKILL);
    expect(&pair.cb, with_names(act_follow(NULL, "b"), 0), HA_OK);
    expect(&pair.cb, with_names(seal, 0), HA_OK);
    assert_true(pair.cb.acted.sample.position.offset <= sealed.position.offset);
    expect_setting(&pair.b, "primary_conninfo", "");
    server_do(&pair.b, "SELECT 1 / (1 - (SELECT count(*) FROM t WHERE n = 2))");
    expect(&pair.cb, with_names(act_follow(&pair.a, "b"), 0), HA_OK);
    server_do(&pair.a, "INSERT INTO t VALUES (3)");
    expect(&pair.ca, with_names(serve, 0), HA_OK);
    expect_setting(&pair.a, "synchronous_standby_names", "");
    expect(&pair.ca, with_names(seal, 0), HA_ESTALE); /* a primary hears nobody anyway */
    pair_close(&pair);
}

/* A standby tells how far it is as soon as it connects, whatever its history: until that is
 * compared with the upstream's it has no name that a commit could wait for. */
static void test_counts_once_compared(void **state)
{
    struct ha_act follow;
    struct pair pair;

    pair_open(&pair, *state, NULL);
    follow = with_names(act_follow(&pair.a, "b"), 0);
    expect(&pair.cb, follow, HA_OK);
    assert_true(pair.cb.acted.sample.sync_id == ha_sync_id("b_e5"));
    server_signal(&pair.b, SIGKILL);
    follow.upstream_port = 1; /* nobody listens there */
    follow.deadline_ms = 3000;
    assert_int_not_equal(client_act(&pair.cb, follow), HA_OK);
    assert_int_equal(client_probe(&pair.cb, 5000), HA_ANSWER_OK);
    assert_true(pair.cb.probed.sample.sync_id == ha_sync_id("b"));
    expect(&pair.cb, with_names(act_follow(&pair.a, "b"), 0), HA_OK);
    assert_true(pair.cb.acted.sample.sync_id == ha_sync_id("b_e5"));
    assert_true(pair.cb.acted.sample.link_up);
    pair_close(&pair);
}

/* Standby names are for the run that was promoted: one that somebody started since, with whatever
 * data, is not made able to acknowledge. */
static void test_serve_is_for_one_run(void **state)
{
    struct ha_act serve = with_names(act_on(HA_ORDER_SERVE, "a", "b"), 1);
    struct server a;
    struct client ca;

    server_make(&a, NULL);
    client_open_local(&ca, *state, &a);
    expect(&ca, act_follow(NULL, "a"), HA_OK);
    expect(&ca, act_on(HA_ORDER_PROMOTE, "a", "b"), HA_OK);
    serve.run_id = ca.acted.sample.run_id;
    client_close(&ca); /* with its connection to the server that ends here */
    server_signal(&a, SIGKILL);
    server_start(&a);
    client_open_local(&ca, *state, &a);
    expect(&ca, serve, HA_ESTALE);
    expect_setting(&a, "synchronous_standby_names", "");
    assert_int_equal(client_probe(&ca, 5000), HA_ANSWER_OK);
    serve.run_id = ca.probed.sample.run_id;
    expect(&ca, serve, HA_OK);
    expect_setting(&a, "synchronous_standby_names", "ANY 1 (\"b_e5\")");
    client_close(&ca);
    server_free(&a);
}

/* The data directory is a name for one on another disk: a copy is made on that disk. What it brings
 * of the other's settings does not stay, also where its agent was killed before it put back its
 * own.
 */
static void test_copy_behind_a_link(void **state)
{
    struct ha_act act;
    struct pair pair;
    char *text;

    server_make(&pair.a, NULL);
    server_make(&pair.b, NULL);
    assert_int_equal(shell("cd %s && mkdir disk && chown postgres disk && mv data disk &&"
                           " ln -s disk/data data",
                           pair.b.dir),
                     0);
    pair_join(&pair, *state);
    server_signal(&pair.b, SIGKILL);
    assert_int_equal(shell("cd %s/disk && rm -rf data/base data/global && touch data/old &&"
                           " test -d data-hafailover",
                           pair.b.dir),
                     0);
    act = act_follow(&pair.a, "b");
    act.copy_allowed = true;
    expect(&pair.cb, act, HA_OK);
    assert_int_equal(
        shell("cd %s && test -L data && test -d disk/data/base && ! test -e data/old", pair.b.dir),
        0);
    server_signal(&pair.b, SIGKILL);
    assert_int_equal(shell("cd %s/disk/data-hafailover && touch settings.saved && echo >%s",
                           pair.b.dir, pair.b.config),
                     0);
    expect(&pair.cb, act, HA_OK);
    text = server_ask(&pair.b, "SHOW port");
    assert_int_equal(ha_pg_number(text), pair.b.port);
    free(text);
    pair_close(&pair);
}

static uv_sem_t hung;

static int hang(struct ha_pg_work *work)
{
    (void)work;
    uv_sem_wait(&hung);
    return HA_OK;
}

static void on_tried(void *data, const struct ha_acted *acted)
{
    unsigned *tried = data;

    (*tried)++;
    assert_int_not_equal(acted->code, HA_OK);
}

/* As if it had been asked for something, and begun. */
static void take(struct ha_pg_act *act)
{
    act->acts.count = 1;
    act->acts.asked[0].act = (struct ha_act){.kind = HA_ORDER_SERVE, .deadline_ms = 60000};
    act->acts.asked[0].cb = on_tried;
    act->acts.asked[0].canceled = false;
    act->acts.running = true;
    act->acts.doing = "hanging";
}

static void never(struct ha_pg_act *act)
{
    (void)act;
    fail();
}

static void on_conn_closed(struct ha_pg_conn *conn)
{
    (void)conn;
}

static void close_act(struct ha_pg_act *act, uv_loop_t *loop)
{
    uv_close((uv_handle_t *)&act->acts.deadline, NULL);
    uv_close((uv_handle_t *)&act->poll, NULL);
    act->conn.closed_cb = act->fresh.closed_cb = act->up.closed_cb = on_conn_closed;
    ha_pg_conn_close(&act->conn);
    ha_pg_conn_close(&act->fresh);
    ha_pg_conn_close(&act->up);
    run_for(loop, 1);
    uv_sem_destroy(&hung);
}

/* Files that do not answer keep a few threads, however often it is tried. */
static void test_hung_files(void **state)
{
    const struct ha_pg_target target = {.socket_dir = "/nowhere", .port = 1};
    struct ha_pg_lineage_cache cache = {0};
    struct ha_pg_server server = {0};
    struct ha_pg_act act;
    unsigned tried = 0;

    assert_int_equal(uv_sem_init(&hung, 0), 0);
    ha_pg_act_init(&act, *state, &server, &target, &cache, &tried);
    for (unsigned i = 0; i < 8; i++) {
        take(&act);
        ha_pg_act_work(&act, hang, never);
        ha_acts_cancel(&act.acts);
        run_until_count(*state, &tried, i + 1, 1000);
    }
    assert_in_range(act.lent, 1, 3);
    for (unsigned i = 0; i < 8; i++)
        uv_sem_post(&hung);
    while (act.lent > 0)
        run_for(*state, 1);
    close_act(&act, *state);
}

/* A mount that hangs: only the act that needs it waits, and in the end gives up. */
static void test_hung_mount(void **state)
{
    struct server a;
    struct client ca;
    struct ha_act act;

    server_make(&a, NULL);
    assert_int_equal(shell("mkfifo %s/postmaster.pid", a.data), 0);
    client_open_local(&ca, *state, &a);
    act = act_follow(NULL, "a");
    act.deadline_ms = 500;
    assert_int_equal(client_act(&ca, act), HA_ETIMEDOUT);
    print_message("# %s\n", ca.acted.text);
    assert_int_equal(client_act(&ca, act), HA_ETIMEDOUT);
    /* Open for both it waits for nobody, whether one or two are still at it. */
    assert_int_equal(shell("exec 9<>%s/postmaster.pid; rm %s/postmaster.pid", a.data, a.data), 0);
    client_close(&ca);
    server_free(&a);
}

static int note_late(struct ha_pg_work *work)
{
    uv_sem_wait(&hung);
    return ha_pg_promotion_note(work->server, 5, &work->err);
}

static int over_late(struct ha_pg_work *work)
{
    uv_sem_wait(&hung);
    return ha_pg_promotion_over(work->server, 5, &work->err);
}

static void begin_and_leave(struct ha_pg_act *act, ha_pg_work_fn fn, uv_loop_t *loop,
                            unsigned *tried)
{
    unsigned before = *tried;

    take(act);
    ha_pg_act_work(act, fn, never);
    ha_acts_cancel(&act->acts);
    run_until_count(loop, tried, before + 1, 1000);
}

static bool is_unopened(const struct ha_pg_server *server)
{
    struct ha_pg_promotion promotion;

    assert_int_equal(ha_pg_promotion_read(server->work_dir, &promotion, NULL), HA_OK);
    return promotion.unopened;
}

/* What hung with its disk, and whose act has ended, changes nothing when that is over. */
static void test_late_files(void **state)
{
    const struct ha_pg_target target = {.socket_dir = "/nowhere", .port = 1};
    struct ha_pg_lineage_cache cache = {0};
    struct ha_pg_server server = {.resolved = true};
    struct ha_pg_act act;
    struct ha_err err = {0};
    unsigned tried = 0;

    assert_int_equal(uv_sem_init(&hung, 0), 0);
    (void)snprintf(server.data_dir, sizeof(server.data_dir), "/tmp/ha-pg-%d-late", (int)getpid());
    (void)snprintf(server.work_dir, sizeof(server.work_dir), "/tmp/ha-pg-%d-late-hafailover",
                   (int)getpid());
    ha_pg_act_init(&act, *state, &server, &target, &cache, &tried);
    /* The note of an act that has ended. */
    begin_and_leave(&act, note_late, *state, &tried);
    uv_sem_post(&hung);
    while (act.lent > 0)
        run_for(*state, 1);
    assert_false(is_unopened(&server));
    /* Its end, when a later promotion has begun meanwhile. */
    assert_int_equal(ha_pg_promotion_note(&server, 5, &err), HA_OK);
    assert_true(is_unopened(&server));
    begin_and_leave(&act, over_late, *state, &tried);
    assert_int_equal(ha_pg_promotion_note(&server, 6, &err), HA_OK);
    uv_sem_post(&hung);
    while (act.lent > 0)
        run_for(*state, 1);
    assert_true(is_unopened(&server));
    /* Also where it was past every look: the later one stays. */
    assert_int_equal(ha_pg_promotion_over(&server, 5, &err), HA_OK);
    assert_true(is_unopened(&server));
    assert_int_equal(ha_pg_promotion_over(&server, 6, &err), HA_OK);
    assert_false(is_unopened(&server));
    /* Where all watchers were lost epochs begin anew. */
    assert_int_equal(ha_pg_promotion_note(&server, 2, &err), HA_OK);
    assert_true(is_unopened(&server));
    /* A note that another one hides is none. */
    assert_int_equal(shell("mkdir %s/promoted-9", server.work_dir), 0);
    assert_int_equal(ha_pg_promotion_note(&server, 3, &err), HA_EIO);
    assert_int_equal(shell("rm -r %s", server.work_dir), 0);
    close_act(&act, *state);
}

/* Notes that cannot be read may be of a promotion that is still to come. */
static void test_unreadable_notes(void **state)
{
    struct ha_pg_promotion promotion;
    struct ha_err err = {0};
    char path[64];

    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/ha-pg-%d-notes", (int)getpid());
    assert_int_equal(ha_pg_promotion_read(path, &promotion, &err), HA_OK);
    assert_false(promotion.unopened || promotion.may_come);
    assert_int_equal(shell(": >%s", path), 0);
    assert_int_equal(ha_pg_promotion_read(path, &promotion, &err), HA_EIO);
    assert_true(promotion.unopened && promotion.may_come);
    assert_int_equal(shell("rm %s", path), 0);
}

/* What comes late neither removes nor puts in place what somebody else is writing. */
static void test_late_write(void **state)
{
    const struct ha_pg_server server = {0};
    _Atomic uint32_t now = 6;
    const struct ha_pg_turn mine = {&now, 5};
    struct ha_err err = {0};
    char path[64];

    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/ha-pg-%d-late-write", (int)getpid());
    assert_int_equal(shell("echo other >%s.hatmp; echo other >%s.hatmp6", path, path), 0);
    ha_pg_file_turn(&mine);
    assert_int_equal(ha_pg_file_write(&server, path, "late", &err), HA_ECANCELED);
    ha_pg_file_turn(NULL);
    assert_int_equal(shell("grep -q other %s.hatmp && grep -q other %s.hatmp6 && ! ls %s "
                           "%s.hatmp5 2>/dev/null",
                           path, path, path, path),
                     0);
    assert_int_equal(shell("rm %s.hatmp*", path), 0);
    /* Nor does what cannot be put in place stay. */
    now = 5;
    assert_int_equal(shell("mkdir %s", path), 0);
    ha_pg_file_turn(&mine);
    assert_int_equal(ha_pg_file_write(&server, path, "text", &err), HA_EIO);
    ha_pg_file_turn(NULL);
    assert_int_equal(shell("rmdir %s && ! ls %s.hatmp* 2>/dev/null", path, path), 0);
}

static void wait_hung(uv_work_t *work)
{
    (void)work;
    uv_sem_wait(&hung);
}

static void on_waited(uv_work_t *work, int status)
{
    unsigned *waited = work->data;

    assert_int_equal(status, 0);
    (*waited)++;
}

/* A sweep that hung until something was begun after it leaves that alone. */
static void test_late_sweep(void **state)
{
    const struct ha_pg_target target = {.socket_dir = "/nowhere", .port = 1};
    struct ha_pg_lineage_cache cache = {0};
    struct ha_pg_server server = {.resolved = true};
    struct ha_pg_act act;
    uv_work_t works[THREADS];
    unsigned waited = 0;

    assert_int_equal(uv_sem_init(&hung, 0), 0);
    (void)snprintf(server.data_dir, sizeof(server.data_dir), "/tmp/ha-pg-%d-sweep", (int)getpid());
    assert_int_equal(shell("mkdir %s", server.data_dir), 0);
    ha_pg_act_init(&act, *state, &server, &target, &cache, NULL);
    for (uint32_t begun = 0; begun < 2; begun++) {
        assert_int_equal(shell("echo 999999999 >%s/postmaster.pid", server.data_dir), 0);
        waited = 0;
        for (size_t i = 0; i < THREADS; i++) {
            works[i].data = &waited;
            assert_int_equal(uv_queue_work(*state, &works[i], wait_hung, on_waited), 0);
        }
        ha_pg_act_sweep(&act);
        assert_int_equal(act.lent, 1);
        act.begun += begun;
        for (size_t i = 0; i < THREADS; i++)
            uv_sem_post(&hung);
        while (act.lent > 0 || waited < THREADS)
            run_for(*state, 1);
        assert_int_equal(shell("test -e %s/postmaster.pid", server.data_dir) == 0, begun == 1);
    }
    assert_int_equal(shell("rm -r %s", server.data_dir), 0);
    close_act(&act, *state);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_unreadable_notes),
    cmocka_unit_test(test_late_write),
    cmocka_unit_test_setup_teardown(test_late_sweep, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_hung_mount, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_late_files, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_failover, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_starts_without_its_wal, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_refusals, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_slow_promotion, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_promotion_goes_on, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_counts_once_compared, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_serve_is_for_one_run, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_names_and_seal, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_ends, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_copy_behind_a_link, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_hung_files, loop_setup, loop_teardown),
};

HA_TEST_MAIN("postgresql/act", tests)
