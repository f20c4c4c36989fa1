/* A rewind that is interrupted is run again, from whoever is primary then, and needs no full copy;
 * and what its agent's end or a full disk leave behind. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/postgresql/job.h"
#include "agents/postgresql/parse.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/postgresql/server.h"
#include "tests/support/cmocka_ha.h"

#define BIN SERVER_BIN

/* a was the primary; b took over, c follows it. */
struct three {
    struct server a, b, c;
    struct client ca, cb, cc;
};

/* Programs of its own, of which pg_rewind ends or stops half-way once the file "halt" says so. */
static void client_open_halting(struct client *client, uv_loop_t *loop, const struct server *server)
{
    struct ha_link_spec spec = server_local_spec(server);
    char bin[SERVER_PATH_SIZE];

    (void)snprintf(bin, sizeof(bin), "%.80s/bin", server->dir);
    /* The library where the database's user can read it: the tree may be root's alone. */
    assert_int_equal(shell("mkdir %s && ln -s " BIN
                           "/* %s && rm %s/pg_rewind && cp '%s' %s/halt.so && "
                           "cat >%s/pg_rewind <<'E'\n#!/bin/sh\n"
                           "if [ -f %s/halt ]; then HAFO_HALT=$(cat %s/halt); export HAFO_HALT;"
                           " export LD_PRELOAD=%s/halt.so; fi\nexec " BIN "/pg_rewind \"$@\"\nE\n"
                           "chmod 755 %s/pg_rewind",
                           bin, bin, bin, getenv("HAFO_HALT_LIBRARY"), bin, bin, server->dir,
                           server->dir, bin, bin),
                     0);
    spec.bin_dir = bin;
    client_open(client, loop, spec);
}

static void halt_at(const struct server *server, const char *what)
{
    assert_int_equal(shell("rm -f %s/halt; [ -z '%s' ] || echo '%s' >%s/halt", server->dir, what,
                           what, server->dir),
                     0);
}

static const char streaming[] = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
                                " AND replay_lsn >= pg_current_wal_flush_lsn()";

/* The second has all of the first, which is the primary. */
static void begin_two(struct server *servers[2], struct client *clients[2], uv_loop_t *loop)
{
    for (size_t i = 0; i < 2; i++) {
        server_make(servers[i], NULL);
        client_open_local(clients[i], loop, servers[i]);
    }
    trio_serve(clients[0], "a", 1);
    trio_expect(clients[1], trio_follow(servers[0], "b", 1), HA_OK);
    server_do(servers[0], "INSERT INTO t VALUES (1)");
    server_wait(servers[0], streaming, "1", 20000);
}

/* a has writes that nobody else has; b has others that c lacks, some of them where c has grown. */
static void three_open(struct three *three, uv_loop_t *loop)
{
    server_make(&three->a, NULL);
    server_make(&three->b, NULL);
    server_make(&three->c, NULL);
    server_wal_elsewhere(&three->a);
    client_open_halting(&three->ca, loop, &three->a);
    client_open_local(&three->cb, loop, &three->b);
    client_open_local(&three->cc, loop, &three->c);
    trio_serve(&three->ca, "a", 1);
    server_do(&three->a, "CREATE TABLE big AS SELECT i AS n, repeat('x', 100) AS filler FROM"
                         " generate_series(1, 5000) i; CREATE INDEX ON big (n);"
                         "CREATE TABLE grown AS SELECT i AS n, repeat('x', 100) AS filler FROM"
                         " generate_series(1, 100) i; CHECKPOINT");
    trio_expect(&three->cb, trio_follow(&three->a, "b", 1), HA_OK);
    trio_expect(&three->cc, trio_follow(&three->a, "c", 1), HA_OK);
    server_wait(&three->a, streaming, "2", 20000);
    server_signal(&three->b, SIGKILL);
    server_signal(&three->c, SIGKILL);
    server_do(&three->a, "UPDATE big SET filler = 'of a alone' WHERE n % 50 = 0;"
                         "SELECT pg_switch_wal(); CHECKPOINT; INSERT INTO t VALUES (666)");
    server_signal(&three->a, SIGKILL);
    trio_serve(&three->cb, "b", 2);
    trio_expect(&three->cc, trio_follow(&three->b, "c", 2), HA_OK);
    server_do(&three->b, "INSERT INTO grown SELECT i, repeat('y', 100) FROM"
                         " generate_series(101, 3000) i; CREATE TABLE made AS SELECT * FROM grown;"
                         "UPDATE big SET filler = 'of b' WHERE n % 70 = 0; CHECKPOINT");
    server_wait(&three->b, streaming, "1", 20000);
    server_signal(&three->c, SIGKILL);
    server_do(&three->b, "UPDATE grown SET n = -n WHERE n > 2000; UPDATE big SET filler = 'lost'"
                         " WHERE n % 30 = 0; CREATE TABLE lost AS SELECT * FROM big;"
                         "SELECT pg_switch_wal(); CHECKPOINT");
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

/* Every row by the tables and by an index, in the end also every page. */
static void expect_same(const struct server *of, const struct server *as)
{
    static const char all[] =
        "SET enable_indexscan = off; SET enable_bitmapscan = off;"
        "SELECT md5(string_agg(n || filler, ',' ORDER BY n, filler)) FROM big;"
        "SELECT md5(string_agg(n || filler, ',' ORDER BY n, filler)) FROM grown;"
        "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE"
        " relnamespace = 'public'::regnamespace;"
        "SELECT count(*), sum(n) FROM t;"
        "SET enable_seqscan = off; SET enable_indexscan = on; SELECT count(*) FROM big WHERE n > 0";
    char *want;

    server_wait(as, streaming, "1", 20000);
    want = server_ask(as, all);
    server_wait(of, all, want, 10000);
    free(want);
    assert_int_equal(shell("ls %s-hafailover/rewind >/dev/null 2>&1", of->data) != 0, true);
}

static void expect_sound(const struct server *server)
{
    server_stop(server);
    assert_int_equal(shell(BIN "/pg_checksums --check -D %s >/dev/null 2>&1", server->data), 0);
}

/* Killed there, the source gone with what c never got, and c the next. */
static void interrupt(uv_loop_t *loop, const char *where, bool same_source)
{
    struct three three;

    print_message("# %s%s\n", where, same_source ? ", the same source again" : "");
    three_open(&three, loop);
    halt_at(&three.a, where);
    assert_int_not_equal(trio_code(&three.ca, trio_follow(&three.b, "a", 2)), HA_OK);
    print_message("# %s\n", three.ca.acted.text);
    halt_at(&three.a, "");
    /* Half another's data is started by nobody. */
    trio_expect(&three.ca, trio_follow(NULL, "a", 2), HA_ESTALE);
    assert_non_null(strstr(three.ca.acted.text, "interrupted"));
    if (same_source) {
        trio_expect(&three.ca, trio_follow(&three.b, "a", 2), HA_OK);
        expect_same(&three.a, &three.b);
    } else {
        server_signal(&three.b, SIGKILL);
        trio_serve(&three.cc, "c", 3);
        server_do(&three.c, "INSERT INTO t VALUES (3)");
        trio_expect(&three.ca, trio_follow(&three.c, "a", 3), HA_OK);
        expect_same(&three.a, &three.c);
    }
    assert_int_equal(shell("ls %s-hafailover/tail-*/* >/dev/null", three.a.data), 0);
    expect_sound(&three.a);
    three_close(&three);
}

static void test_other_source(void **state)
{
    interrupt(*state, "unlink pg_wal/ 1 9", false);
}

static void test_every_instant(void **state)
{
    static const char *const instants[] = {
        "open base/ 2 9",
        "open base/ 20 9",
        "open pg_wal/ 1 9",
        "unlink pg_wal/ 2 9",
        "open backup_label 1 9",
        "open global/pg_control 1 9",
        "open global/pg_control 2 9",
    };

    for (size_t i = 0; i < sizeof(instants) / sizeof(instants[0]); i++)
        interrupt(*state, instants[i], false);
    interrupt(*state, "open base/ 20 9", true);
    interrupt(*state, "open global/pg_control 2 9", true);
}

static void expect_nothing_kept(const struct server *server)
{
    assert_int_equal(shell("[ -z \"$(find %s-hafailover/rewind %s-hafailover/tail-* -type f"
                           " 2>/dev/null)\" ]",
                           server->data, server->data),
                     0);
}

/* Where what it needs cannot be kept nothing is, and nothing has changed; then there is room. */
static void test_full_disk(void **state)
{
    struct three three;

    three_open(&three, *state);
    assert_int_equal(shell("mkdir -p %s-hafailover && rm -rf %s-hafailover/* &&"
                           " mount -t tmpfs -o size=1536k none %s-hafailover",
                           three.a.data, three.a.data, three.a.data),
                     0);
    assert_int_not_equal(trio_code(&three.ca, trio_follow(&three.b, "a", 2)), HA_OK);
    print_message("# %s\n", three.ca.acted.text);
    assert_non_null(strstr(three.ca.acted.text, "No space left"));
    expect_nothing_kept(&three.a);
    assert_int_equal(shell("mount -o remount,size=63m %s-hafailover", three.a.data), 0);
    trio_expect(&three.ca, trio_follow(&three.b, "a", 2), HA_OK);
    expect_same(&three.a, &three.b);
    expect_nothing_kept(&three.a);
    three_close(&three);
}

/* Without room for its own settings a rewind cannot begin, however often it is asked; with room it
 * need not rest first. */
static void test_no_room(void **state)
{
    struct server a, b;
    struct client ca, cb;

    begin_two((struct server *[]){&a, &b}, (struct client *[]){&ca, &cb}, *state);
    server_signal(&b, SIGKILL);
    server_do(&a, "INSERT INTO t VALUES (666)");
    server_signal(&a, SIGKILL);
    trio_serve(&cb, "b", 2);
    assert_int_equal(shell("mkdir -p %s-hafailover && rm -rf %s-hafailover/* &&"
                           " mount -t tmpfs -o size=4k none %s-hafailover",
                           a.data, a.data, a.data),
                     0);
    for (unsigned i = 0; i < HA_PG_TRIES_MAX + 2; i++) {
        assert_int_not_equal(trio_code(&ca, trio_follow(&b, "a", 2)), HA_OK);
        print_message("# %s\n", ca.acted.text);
        assert_non_null(strstr(ca.acted.text, "No space left"));
    }
    assert_int_equal(shell("mount -o remount,size=63m %s-hafailover", a.data), 0);
    trio_expect(&ca, trio_follow(&b, "a", 2), HA_OK);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

/* What only people can change is said once, and is not tried with each order, nor ended by a copy;
 * another epoch begins at once. */
static void test_barred(void **state)
{
    struct server a, b;
    struct client ca, cb;
    struct ha_act act;

    begin_two((struct server *[]){&a, &b}, (struct client *[]){&ca, &cb}, *state);
    server_signal(&b, SIGKILL);
    server_do(&a, "INSERT INTO t VALUES (666)");
    server_signal(&a, SIGKILL);
    trio_serve(&cb, "b", 2);
    assert_int_equal(shell("mkdir -p %s-hafailover && mount -t tmpfs -o size=63m,ro none"
                           " %s-hafailover",
                           a.data, a.data),
                     0);
    act = trio_follow(&b, "a", 2);
    act.copy_allowed = true;
    assert_int_not_equal(trio_code(&ca, act), HA_OK);
    print_message("# %s\n", ca.acted.text);
    assert_non_null(strstr(ca.acted.text, "Read-only"));
    assert_null(strstr(ca.acted.text, "again in"));
    for (unsigned i = 0; i < HA_PG_TRIES_MAX + 2; i++) {
        if (i == HA_PG_TRIES_MAX) /* it rests */
            assert_int_equal(shell("mount -o remount,rw %s-hafailover", a.data), 0);
        assert_int_not_equal(trio_code(&ca, act), HA_OK);
        assert_non_null(strstr(ca.acted.text, "again in"));
        assert_non_null(strstr(ca.acted.text, "Read-only"));
    }
    trio_expect(&ca, trio_follow(&b, "a", 3), HA_OK);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

/* An agent that was killed while it copied to where no data was: two would write the same files. */
static void test_orphaned_copy(void **state)
{
    struct server a, b;
    struct client ca, cb;
    struct ha_act act;

    server_make(&a, NULL);
    server_make(&b, NULL);
    client_open_local(&ca, *state, &a);
    client_open_local(&cb, *state, &b);
    trio_serve(&cb, "b", 1);
    server_signal(&b, SIGSTOP); /* it does not get far */
    assert_int_equal(
        shell("rm -r %s; " BIN "/pg_basebackup -D %s-hafailover/copy -h %s -p %u -U postgres"
              " >/dev/null 2>&1 & p=$!; echo $p >%s/orphan; for i in $(seq 500); do"
              " [ $(readlink /proc/$p/exe) = " BIN "/pg_basebackup ] && kill -STOP $p && exit;"
              " sleep 0.01; done; false",
              a.data, a.data, b.dir, (unsigned)b.port, a.dir),
        0);
    server_signal(&b, SIGCONT);
    act = trio_follow(&b, "a", 1);
    act.copy_allowed = true;
    (void)trio_code(&ca, act); /* with b's settings it cannot start beside b */
    assert_int_equal(shell("p=$(cat %s/orphan); [ ! -e /proc/$p ] ||"
                           " grep -q '^State:.Z' /proc/$p/status || { kill -KILL $p; false; }",
                           a.dir),
                     0);
    assert_int_equal(shell("[ -f %s/PG_VERSION ]", a.data), 0);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

/* The last try before a copy may take longer than the order that began it, as any. */
static void test_last_try(void **state)
{
    struct three three;
    struct ha_act act;

    three_open(&three, *state);
    act = trio_follow(&three.b, "a", 2);
    act.copy_allowed = true;
    halt_at(&three.a, "open base/ 5 9");
    for (unsigned i = 0; i < 2; i++)
        assert_int_not_equal(trio_code(&three.ca, act), HA_OK);
    halt_at(&three.a, "open base/ 5 19");
    act.deadline_ms = 1500;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(client_act(&three.ca, act), HA_EBUSY);
        print_message("# %s\n", three.ca.acted.text);
        assert_non_null(strstr(three.ca.acted.text, "rewinding from"));
    }
    assert_int_equal(shell("kill -CONT $(pgrep -f '[p]g_rewind -D %s ')", three.a.data), 0);
    act.deadline_ms = 20000;
    trio_expect(&three.ca, act, HA_OK);
    expect_same(&three.a, &three.b);
    three_close(&three);
}

/* Its source dies; the next one's rewind is killed, too, and the first source comes back. */
static void test_source_gone(void **state)
{
    struct three three;
    struct ha_act act;
    unsigned before;

    three_open(&three, *state);
    halt_at(&three.a, "open base/ 5 19");
    act = trio_follow(&three.b, "a", 2);
    before = three.ca.acts;
    three.ca.acting = true;
    assert_int_equal(engine->act(three.ca.link, &act, client_on_acted), HA_OK);
    for (unsigned i = 0; shell("grep -q '^State:.T' /proc/$(pgrep -f '[p]g_rewind -D %s ')/status"
                               " 2>/dev/null",
                               three.a.data) != 0;
         i++) {
        assert_true(i < 1000);
        run_for(*state, 10);
    }
    server_signal(&three.b, SIGKILL);
    assert_int_equal(shell("kill -CONT $(pgrep -f '[p]g_rewind -D %s ')", three.a.data), 0);
    run_until_count(*state, &three.ca.acts, before + 1, 30000);
    print_message("# %s\n", three.ca.acted.text);
    assert_int_not_equal(three.ca.acted.code, HA_OK);
    trio_serve(&three.cc, "c", 3);
    halt_at(&three.a, "unlink pg_wal/ 1 9");
    assert_int_not_equal(trio_code(&three.ca, trio_follow(&three.c, "a", 3)), HA_OK);
    halt_at(&three.a, "");
    trio_expect(&three.cb, trio_follow(&three.c, "b", 3), HA_OK);
    trio_expect(&three.ca, trio_follow(&three.c, "a", 3), HA_OK);
    server_wait(&three.c, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2",
                20000);
    server_do(&three.c, "INSERT INTO t VALUES (3)");
    server_wait(&three.a, "SELECT n FROM t", "3", 10000);
    server_wait(&three.b, "SELECT n FROM t", "3", 10000);
    three_close(&three);
}

/* Two that did not know of each other began timeline 3. */
static void twins(uv_loop_t *loop, bool checkpoint)
{
    struct server a, b;
    struct client ca, cb;

    begin_two((struct server *[]){&a, &b}, (struct client *[]){&ca, &cb}, loop);
    server_signal(&b, SIGKILL);
    server_do(&a, "INSERT INTO t VALUES (2)");
    server_signal(&a, SIGKILL);
    trio_serve(&ca, "a", 2);
    server_do(&a, checkpoint ? "INSERT INTO t VALUES (3); CHECKPOINT" : "INSERT INTO t VALUES (3)");
    server_signal(&a, SIGKILL);
    trio_serve(&cb, "b", 3);
    server_do(&b, "INSERT INTO t VALUES (4)");
    trio_expect(&ca, trio_follow(&b, "a", 3), HA_OK);
    server_wait(&b, streaming, "1", 20000);
    server_wait(&a, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t", "1,4", 10000);
    assert_int_equal(shell("ls %s-hafailover/tail-3/00000003* >/dev/null", a.data), 0);
    /* Of the timeline it had to begin on the way: the next primary may begin one of that number. */
    assert_int_not_equal(shell("ls %s/pg_wal/00000004* >/dev/null 2>&1", a.data), 0);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

static void test_twins(void **state)
{
    twins(*state, false);
    twins(*state, true);
}

/* Two were promoted at the same place: the first one's epoch never opened, and its timeline has the
 * number and the fork of the other's. */
static void unopened(uv_loop_t *loop, const char *more)
{
    struct server a, b;
    struct client ca, cb;

    begin_two((struct server *[]){&a, &b}, (struct client *[]){&ca, &cb}, loop);
    /* Both are standbys then, with the same. */
    server_stop(&a);
    server_wait(&b, "SELECT count(*) FROM pg_stat_wal_receiver", "0", 10000);
    trio_expect(&ca, trio_follow(NULL, "a", 2), HA_OK);
    /* Or its receiver comes back to the first and gets what is never to open: one that runs goes on
     * to receive where it is told of nobody. */
    trio_expect(&cb, trio_act(HA_ORDER_SEAL, "b", 2), HA_OK);
    trio_expect(&ca, trio_act(HA_ORDER_PROMOTE, "a", 2), HA_OK);
    server_do(&a, more);
    server_signal(&a, SIGKILL);
    trio_expect(&cb, trio_act(HA_ORDER_PROMOTE, "b", 3), HA_OK);
    trio_expect(&cb, trio_act(HA_ORDER_SERVE, "b", 3), HA_OK);
    server_do(&b, "INSERT INTO t VALUES (4)");
    assert_int_equal(shell("cut -f 1,2 %s/pg_wal/00000003.history >%s/x && "
                           "cut -f 1,2 %s/pg_wal/00000003.history | cmp -s - %s/x",
                           a.data, a.dir, b.data, a.dir),
                     0);
    trio_expect(&ca, trio_follow(&b, "a", 3), HA_OK);
    server_wait(&b, streaming, "1", 20000);
    server_wait(&a, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t", "1,4", 10000);
    expect_sound(&a);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

static void test_unopened(void **state)
{
    unopened(*state, "INSERT INTO t VALUES (3)");
    unopened(*state, "INSERT INTO t VALUES (3); CHECKPOINT");
}

/* The same, but the one whose epoch never opened lacked what the other has: it was left earlier
 * than the timeline that the other went on from. */
static void test_unopened_behind(void **state)
{
    struct server a, b;
    struct client ca, cb;

    begin_two((struct server *[]){&a, &b}, (struct client *[]){&ca, &cb}, *state);
    server_stop(&b);
    server_do(&a, "INSERT INTO t VALUES (2)");
    server_signal(&a, SIGKILL);
    trio_expect(&cb, trio_follow(NULL, "b", 2), HA_OK);
    trio_expect(&cb, trio_act(HA_ORDER_PROMOTE, "b", 2), HA_OK);
    server_do(&b, "INSERT INTO t VALUES (3)");
    server_signal(&b, SIGKILL);
    trio_serve(&ca, "a", 3);
    server_do(&a, "INSERT INTO t VALUES (4)");
    trio_expect(&cb, trio_follow(&a, "b", 3), HA_OK);
    server_wait(&a, streaming, "1", 20000);
    server_wait(&b, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t", "1,2,4", 10000);
    expect_sound(&b);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

/* What a copy that came to nothing has fetched does not stay on the disk until the next try. */
static void test_failed_copy(void **state)
{
    struct server a, b;
    struct client ca, cb;
    struct ha_link_spec spec;
    struct ha_act act;
    char bin[SERVER_PATH_SIZE];

    server_make(&a, NULL);
    server_make(&b, NULL);
    (void)snprintf(bin, sizeof(bin), "%.80s/bin", a.dir);
    assert_int_equal(shell("mkdir %s && ln -s " BIN "/* %s && rm %s/pg_basebackup && cat"
                           " >%s/pg_basebackup <<'E'\n#!/bin/sh\nmkdir $2; echo half >$2/half;"
                           " touch %s/began; exec sleep 60\nE\nchmod 755 %s/pg_basebackup;"
                           " chmod 777 %s; rm -r %s",
                           bin, bin, bin, bin, a.dir, bin, a.dir, a.data),
                     0);
    spec = server_local_spec(&a);
    spec.bin_dir = bin;
    client_open(&ca, *state, spec);
    client_open_local(&cb, *state, &b);
    trio_serve(&cb, "b", 1);
    act = trio_follow(&b, "a", 1);
    act.copy_allowed = true;
    act.copy_max_ms = 1000;
    assert_int_not_equal(trio_code(&ca, act), HA_OK);
    print_message("# %s\n", ca.acted.text);
    assert_int_equal(shell("[ -e %s/began ]", a.dir), 0);
    assert_int_not_equal(shell("[ -e %s-hafailover/copy ]", a.data), 0);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

static uint64_t number_of(const struct server *server, const char *sql)
{
    char *text = server_ask(server, sql);
    uint64_t number = ha_pg_number(text);

    free(text);
    return number;
}

static const char written[] = "SELECT pg_current_wal_flush_lsn() - '0/0'";

static void expect_found(const struct client *client, uint64_t epoch, uint64_t least, uint64_t most)
{
    const struct ha_diverged *found = &client->acted.sample.diverged;

    print_message("# %lu bytes found, %lu were written\n", (unsigned long)found->bytes,
                  (unsigned long)least);
    assert_int_equal(found->epoch, epoch);
    assert_in_range(found->bytes, least, most);
    assert_int_equal(found->kept, HA_KEPT_WHOLE);
}

/* How much of what the old primary had is nobody else's is told when it is back, by the next agent
 * too; the records of its own recovery are not counted. */
static void test_diverged(void **state)
{
    static const char fork[] = "SELECT split_part(split_part(trim(trailing E'\\n' FROM"
                               " pg_read_file('pg_wal/00000003.history')), E'\\n', -1), E'\\t', 2)"
                               "::pg_lsn - '0/0'";
    struct server a, b;
    struct client ca, cb;
    uint64_t end;

    begin_two((struct server *[]){&a, &b}, (struct client *[]){&ca, &cb}, *state);
    server_signal(&b, SIGKILL);
    server_do(&a, "INSERT INTO t SELECT * FROM generate_series(1000, 9999)");
    end = number_of(&a, written);
    server_signal(&a, SIGKILL);
    trio_serve(&cb, "b", 2);
    trio_expect(&ca, trio_follow(&b, "a", 2), HA_OK);
    end -= number_of(&b, fork);
    assert_in_range(end, 100000, 10000000);
    expect_found(&ca, 2, end, end + 100); /* the server may have written a record of its own */
    client_close(&ca);
    client_open_local(&ca, *state, &a);
    client_probe(&ca, 2000);
    assert_int_equal(ca.probed.sample.diverged.epoch, 2);
    assert_in_range(ca.probed.sample.diverged.bytes, end, end + 100);
    /* Killed with all of it at the other. */
    server_wait(&b, streaming, "1", 20000);
    server_do(&b, "INSERT INTO t VALUES (2)");
    server_wait(&b, streaming, "1", 20000);
    server_signal(&b, SIGKILL);
    trio_serve(&ca, "a", 3);
    trio_expect(&cb, trio_follow(&a, "b", 3), HA_OK);
    expect_found(&cb, 3, 0, 100);
    /* Shut down in order. */
    server_wait(&a, streaming, "1", 20000);
    server_stop(&a);
    trio_serve(&cb, "b", 4);
    trio_expect(&ca, trio_follow(&b, "a", 4), HA_OK);
    expect_found(&ca, 4, 0, 0);
    client_close(&ca);
    client_close(&cb);
    server_free(&a);
    server_free(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_failed_copy, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_diverged, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_unopened, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_unopened_behind, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_other_source, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_no_room, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_barred, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_full_disk, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_orphaned_copy, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_last_try, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_twins, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_source_gone, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_every_instant, loop_setup, loop_teardown),
};

HA_TEST_MAIN("postgresql/rewind", tests)
