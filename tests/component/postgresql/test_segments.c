/* The first segment of a new timeline, received only in part: what recovery prefers although it
 * ends before what the older one has does not keep a standby from starting or taking over. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/postgresql/parse.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/postgresql/server.h"
#include "tests/support/cmocka_ha.h"

#define HAS 65536u /* bytes of it that came */

/* a is primary of timeline 2 and has gone; b took over with timeline 3; c has all of 2. */
struct three {
    struct server a, b, c;
    struct client ca, cb, cc;
    char file[32], older[32]; /* in pg_wal: where 3 begins */
};

static void three_open(struct three *three, uv_loop_t *loop)
{
    static const char first[] =
        "SELECT pg_walfile_name(split_part(split_part(trim(trailing E'\\n' FROM"
        " pg_read_file('pg_wal/00000003.history')), E'\\n', -1), E'\\t', 2)::pg_lsn)";
    char *text;

    server_make(&three->a, NULL);
    server_make(&three->b, NULL);
    server_make(&three->c, NULL);
    client_open_local(&three->ca, loop, &three->a);
    client_open_local(&three->cb, loop, &three->b);
    client_open_local(&three->cc, loop, &three->c);
    trio_serve(&three->ca, "a", 1);
    trio_expect(&three->cb, trio_follow(&three->a, "b", 1), HA_OK);
    trio_expect(&three->cc, trio_follow(&three->a, "c", 1), HA_OK);
    server_do(&three->a, "SELECT pg_switch_wal()"); /* the fork is to be well within a segment */
    server_do(&three->a, "INSERT INTO t SELECT generate_series(1, 4000); CHECKPOINT");
    server_wait(&three->a,
                "SELECT count(*) FROM pg_stat_replication"
                " WHERE replay_lsn = pg_current_wal_flush_lsn()",
                "2", 20000);
    server_signal(&three->a, SIGKILL);
    trio_serve(&three->cb, "b", 2);
    text = server_ask(&three->b, first);
    (void)snprintf(three->file, sizeof(three->file), "%s", text);
    (void)snprintf(three->older, sizeof(three->older), "00000002%s", text + 8);
    free(text);
}

static void three_close(struct three *three)
{
    client_close(&three->ca);
    client_close(&three->cb);
    client_close(&three->cc);
    server_free(&three->a);
    server_free(&three->b);
    server_free(&three->c);
}

/* What a receiver leaves whose stream breaks: the history, and the segment up to there. */
static void break_stream(const struct three *three)
{
    assert_int_equal(shell("cd %s/pg_wal && cmp -s -n %u %s %s/pg_wal/%s && head -c %u %s >%s &&"
                           " truncate -s 1M %s && cp %s/pg_wal/00000003.history . &&"
                           " chown postgres:postgres %s 00000003.history",
                           three->c.data, 2 * HAS, three->older, three->b.data, three->file, HAS,
                           three->older, three->file, three->file, three->b.data, three->file),
                     0);
}

static void expect_follows(struct three *three)
{
    char *count;

    trio_expect(&three->cc, trio_follow(&three->b, "c", 2), HA_OK);
    server_wait(&three->b,
                "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
                " AND replay_lsn = pg_current_wal_flush_lsn()",
                "1", 20000);
    server_do(&three->b, "INSERT INTO t VALUES (5000)");
    count = server_ask(&three->b, "SELECT count(*) FROM t");
    server_wait(&three->c, "SELECT count(*) FROM t", count, 20000);
    free(count);
}

static void test_starts(void **state)
{
    struct three three;

    three_open(&three, *state);
    server_signal(&three.c, SIGKILL);
    break_stream(&three);
    expect_follows(&three);
    /* One that holds its timeline stays as it is. */
    server_signal(&three.c, SIGKILL);
    assert_int_equal(shell("cd %s/pg_wal && ln %s ../kept", three.c.data, three.file), 0);
    expect_follows(&three);
    assert_int_equal(
        shell("cd %s/pg_wal && [ %s -ef ../kept ] && rm ../kept", three.c.data, three.file), 0);
    three_close(&three);
}

/* What came of the new timeline's file, and was told to have come, and is not in the older one. */
static void test_keeps_what_is_longer(void **state)
{
    struct three three;
    struct ha_link_spec spec;

    three_open(&three, *state);
    server_signal(&three.c, SIGKILL);
    break_stream(&three);
    assert_int_equal(
        shell("cd %s/pg_wal && truncate -s 16384 %s && truncate -s 1M %s && cp -a %s ../kept",
              three.c.data, three.older, three.older, three.file),
        0);
    spec = server_local_spec(&three.c);
    spec.start_command = "echo not yet; false";
    client_close(&three.cc);
    client_open(&three.cc, *state, spec);
    trio_expect(&three.cc, trio_follow(&three.b, "c", 2), HA_EIO);
    assert_non_null(strstr(three.cc.acted.text, "not yet"));
    assert_int_equal(shell("cd %s/pg_wal && [ ! -e %s ] && cmp %s ../kept && rm ../kept",
                           three.c.data, three.file, three.older),
                     0);
    client_close(&three.cc);
    client_open_local(&three.cc, *state, &three.c);
    expect_follows(&three);
    three_close(&three);
}

/* While it runs it reads the older one up to its end; to be promoted it reads that once more. */
static void test_takes_over(void **state)
{
    struct three three;
    pid_t pid;

    three_open(&three, *state);
    server_signal(&three.b, SIGKILL);
    pid = server_pid(&three.c);
    break_stream(&three);
    for (unsigned i = 0;
         shell("grep -q 'new target timeline is 3' %s-hafailover/server.log", three.c.data) != 0;
         i++) {
        assert_true(i < 500);
        run_for(*state, 20);
    }
    trio_expect(&three.cc, trio_act(HA_ORDER_PROMOTE, "c", 3), HA_OK);
    trio_expect(&three.cc, trio_act(HA_ORDER_SERVE, "c", 3), HA_OK);
    assert_int_equal(server_pid(&three.c), pid);
    server_wait(&three.c, "SELECT count(*) FROM t", "4000", 10000);
    server_do(&three.c, "INSERT INTO t VALUES (5000)");
    three_close(&three);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_starts, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_keeps_what_is_longer, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_takes_over, loop_setup, loop_teardown),
};

HA_TEST_MAIN("postgresql/segments", tests)
