/* Acts on real Redis servers: done when they say so, harmless when repeated, ended in time. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "tests/component/redis/server.h"
#include "tests/support/cmocka_ha.h"

struct pair { /* a replica that follows a primary, both with a local link */
    struct server a, b;
    struct client ca, cb;
};

static void wait_link(uv_loop_t *loop, struct client *client)
{
    for (int i = 0; i < 2000; i++) {
        if (client_probe(client, 1000) == HA_ANSWER_OK && client->probed.sample.link_up)
            return;
        run_for(loop, 2);
    }
    fail_msg("the replica never had a link");
}

static void pair_open(struct pair *pair, uv_loop_t *loop, const char *more)
{
    server_start(&pair->a, more);
    server_start(&pair->b, more);
    client_open_local(&pair->ca, loop, &pair->a);
    client_open_local(&pair->cb, loop, &pair->b);
    free(server_ask(&pair->a, "SET k v"));
    assert_int_equal(client_act(&pair->cb, act_follow(&pair->a)), HA_OK);
    wait_link(loop, &pair->cb);
}

static void pair_close(struct pair *pair)
{
    client_close(&pair->ca);
    client_close(&pair->cb);
    server_free(&pair->a);
    server_free(&pair->b);
}

static bool has_acknowledged(const struct server *primary)
{
    char *text = server_ask(primary, "INFO replication");
    const char *acked = strstr(text, ",offset="), *offset = strstr(text, "master_repl_offset:");
    bool is_same = false;

    if (acked != NULL && offset != NULL) {
        size_t size;

        acked += strlen(",offset=");
        offset += strlen("master_repl_offset:");
        size = strcspn(acked, ",");
        is_same = strncmp(acked, offset, size) == 0 && offset[size] == '\r';
    }
    free(text);
    return is_same;
}

/* Only after its first acknowledgement is a new replica sent the stream of commands. */
static void wait_acknowledged(const struct server *primary)
{
    const uint64_t end_ms = ha_clock_mono_ms() + 10000;

    free(server_ask(primary, "SET mark 1")); /* something to acknowledge */
    while (!has_acknowledged(primary)) {
        assert_true(ha_clock_mono_ms() < end_ms);
        (void)usleep(2000);
    }
}

static void assert_answer(const struct server *server, const char *command, const char *want)
{
    char *text = server_ask(server, command);

    if (strcmp(text, want) != 0)
        fail_msg("%s: %s, not %s", command, text, want);
    free(text);
}

static void test_promote(void **state)
{
    struct pair pair;
    const struct ha_sample *after = &pair.cb.acted.sample;
    struct ha_position before;

    pair_open(&pair, *state, NULL);
    server_signal(&pair.a, SIGKILL);
    assert_int_equal(client_probe(&pair.cb, 10000), HA_ANSWER_OK);
    before = pair.cb.probed.sample.position;
    assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_PROMOTE)), HA_OK);
    assert_true(pair.cb.acted.sampled);
    assert_int_equal(pair.cb.acted.pid, pair.b.pid);
    assert_int_equal(after->role, HA_ROLE_PRIMARY);
    /* The new history grew out of the old one, where it stood. */
    assert_int_equal(after->position.lineage.count, 2);
    assert_true(after->position.lineage.steps[0].id != before.lineage.steps[0].id);
    assert_true(after->position.lineage.steps[1].id == before.lineage.steps[0].id);
    assert_true(after->position.lineage.steps[1].end == before.offset);
    assert_true(after->position.offset == before.offset);
    assert_answer(&pair.b, "SET k w", "OK");
    assert_answer(&pair.b, "GET k", "w");

    before = after->position; /* again: nothing happens */
    assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_PROMOTE)), HA_OK);
    assert_true(after->position.lineage.steps[0].id == before.lineage.steps[0].id);
    pair_close(&pair);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void test_promote_latency(void **state)
{
    struct pair pair;
    uint64_t us[51];

    pair_open(&pair, *state, NULL);
    for (size_t i = 0; i < HA_ARRAY_LEN(us); i++) {
        uint64_t start_ns = ha_clock_mono_ns();

        assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_PROMOTE)), HA_OK);
        us[i] = (ha_clock_mono_ns() - start_ns) / 1000;
        assert_int_equal(client_act(&pair.cb, act_follow(&pair.a)), HA_OK);
        wait_link(*state, &pair.cb);
    }
    qsort(us, HA_ARRAY_LEN(us), sizeof(us[0]), compare_u64);
    print_message("# promote with a fresh sample: median %" PRIu64 " us, p90 %" PRIu64
                  " us, max %" PRIu64 " us, n=%zu\n",
                  us[HA_ARRAY_LEN(us) / 2], us[HA_ARRAY_LEN(us) * 9 / 10], us[HA_ARRAY_LEN(us) - 1],
                  HA_ARRAY_LEN(us));
    assert_true(us[HA_ARRAY_LEN(us) / 2] < 50000);
    pair_close(&pair);
}

/* A third replica is moved to the new primary without a full copy. */
static void test_repoint(void **state)
{
    struct pair pair;
    struct server c;
    struct client cc;
    uint64_t start_ms;
    char *stats;

    pair_open(&pair, *state, NULL);
    server_start(&c, NULL);
    client_open_local(&cc, *state, &c);
    assert_int_equal(client_act(&cc, act_follow(&pair.a)), HA_OK);
    wait_link(*state, &cc);
    free(server_ask(&pair.a, "SET k2 v2"));
    server_wait(&c, "GET k2", "v2", 2000);
    server_wait(&pair.b, "GET k2", "v2", 2000);
    server_signal(&pair.a, SIGKILL);
    assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_PROMOTE)), HA_OK);
    start_ms = ha_clock_mono_ms();
    assert_int_equal(client_act(&cc, act_follow(&pair.b)), HA_OK);
    assert_int_equal(cc.acted.sample.upstream_port, pair.b.port);
    assert_true(cc.acted.sample.read_only);
    wait_link(*state, &cc);
    print_message("# repoint to link up: %" PRIu64 " ms\n", ha_clock_mono_ms() - start_ms);
    stats = server_ask(&pair.b, "INFO stats");
    assert_non_null(strstr(stats, "sync_partial_ok:1\r\n"));
    assert_non_null(strstr(stats, "sync_full:0\r\n"));
    free(stats);
    /* Nothing left to do: the link is not broken for it. */
    assert_int_equal(client_act(&cc, act_follow(&pair.b)), HA_OK);
    assert_true(cc.acted.sample.link_up);
    client_close(&cc);
    server_free(&c);
    pair_close(&pair);
}

/* An old primary with writes of its own: they are in a file afterwards, its clients are gone, it
 * refuses writes, and its configuration file says replica. */
static void test_demote_saves(void **state)
{
    struct pair pair;
    struct server again;
    redisContext *writer;
    redisReply *reply;
    char path[SERVER_PATH_SIZE * 2], more[SERVER_PATH_SIZE * 2];
    struct ha_act follow;

    pair_open(&pair, *state, NULL);
    assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_PROMOTE)), HA_OK);
    free(server_ask(&pair.a, "SET lost precious"));
    free(server_ask(&pair.b, "SET k new"));
    writer = redisConnectUnix(pair.a.socket);
    freeReplyObject(redisCommand(writer, "PING"));
    follow = act_follow(&pair.b);
    follow.epoch = 42;
    assert_int_equal(client_act(&pair.ca, follow), HA_OK);
    reply = redisCommand(writer, "SET lost again");
    assert_null(reply); /* disconnected */
    redisFree(writer);
    wait_link(*state, &pair.ca);
    assert_int_equal(pair.ca.losses, 0); /* but not the one who asked */
    assert_answer(&pair.a, "GET k", "new");
    assert_answer(&pair.a, "GET lost", "(nil)");
    reply = NULL;
    {
        char *text = server_ask(&pair.a, "SET x y");

        assert_non_null(strstr(text, "READONLY"));
        free(text);
    }
    (void)snprintf(path, sizeof(path), "%s/hafailover-saved-42.rdb", pair.a.dir);
    assert_int_equal(access(path, R_OK), 0);
    (void)snprintf(more, sizeof(more), "dir %s\ndbfilename hafailover-saved-42.rdb", pair.a.dir);
    server_start(&again, more); /* what was saved can be read */
    server_wait(&again, "GET lost", "precious", 5000);
    server_free(&again);
    (void)snprintf(more, sizeof(more), "grep -q '^replicaof 127.0.0.1 %u' %s", pair.b.port,
                   pair.a.config);
    for (int i = 0; i < 1000 && system(more) != 0; i++)
        run_for(*state, 10);
    assert_int_equal(system(more), 0);
    pair_close(&pair);
}

/* Files of older epochs do not fill the disk. */
static void test_saved_are_few(void **state)
{
    struct pair pair;
    char path[SERVER_PATH_SIZE * 2];

    pair_open(&pair, *state, NULL);
    for (uint64_t epoch = 9; epoch < 14; epoch++) {
        struct ha_act follow = act_follow(&pair.b);

        follow.epoch = epoch;
        assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_PROMOTE)), HA_OK);
        assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_PROMOTE)), HA_OK);
        free(server_ask(&pair.a, "INCR n"));
        assert_int_equal(client_act(&pair.ca, follow), HA_OK);
        wait_link(*state, &pair.ca);
    }
    for (uint64_t epoch = 9; epoch < 14; epoch++) {
        (void)snprintf(path, sizeof(path), "%s/hafailover-saved-%" PRIu64 ".rdb", pair.a.dir,
                       epoch);
        assert_int_equal(access(path, R_OK) == 0, epoch >= 11);
    }
    pair_close(&pair);
}

/* A snapshot that takes longer than the act: the order is repeated, and in the end it follows. */
static void test_slow_save(void **state)
{
    struct pair pair;
    struct ha_act follow;
    int busy = 0, orders = 0, rc;

    pair_open(&pair, *state, "rdb-key-save-delay 1000");
    assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_PROMOTE)), HA_OK);
    free(server_ask(&pair.a, "DEBUG POPULATE 2000 x"));
    do {
        follow = act_follow(&pair.b);
        follow.deadline_ms = 500;
        rc = client_act(&pair.ca, follow);
        busy += rc == HA_EBUSY;
        orders++; /* one that this process was too late to look after has timed out */
    } while ((rc == HA_EBUSY || rc == HA_ETIMEDOUT) && orders < 50);
    assert_int_equal(rc, HA_OK);
    assert_true(busy >= 2 && orders <= 41);
    print_message("# a snapshot of about 2 s took %d orders of 500 ms\n", orders);
    assert_non_null(strstr(pair.ca.acted.text, "hafailover-saved-1.rdb"));
    pair_close(&pair);
}

static void test_serve(void **state)
{
    struct pair pair;
    struct ha_act serve = act_of(HA_ORDER_SERVE);

    pair_open(&pair, *state, "min-replicas-to-write 0");
    assert_int_equal(client_act(&pair.ca, serve), HA_OK); /* UINT32_MAX: left alone */
    assert_answer(&pair.a, "CONFIG GET min-replicas-max-lag", "min-replicas-max-lag\n10\n");
    serve.min_replicas = 1;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(client_act(&pair.ca, serve), HA_OK);
        assert_answer(&pair.a, "CONFIG GET min-replicas-to-write", "min-replicas-to-write\n1\n");
        assert_answer(&pair.a, "CONFIG GET min-replicas-max-lag", "min-replicas-max-lag\n1\n");
    }
    serve.min_replicas = 0;
    assert_int_equal(client_act(&pair.ca, serve), HA_OK);
    assert_answer(&pair.a, "CONFIG GET min-replicas-to-write", "min-replicas-to-write\n0\n");
    assert_int_equal(client_act(&pair.cb, serve), HA_ESTALE); /* a replica cannot serve */
    serve.run_id = pair.ca.acted.sample.run_id;
    assert_int_equal(client_act(&pair.ca, serve), HA_OK);
    serve.run_id++; /* meant for the run before this one */
    serve.min_replicas = 1;
    assert_int_equal(client_act(&pair.ca, serve), HA_ESTALE);
    assert_answer(&pair.a, "CONFIG GET min-replicas-to-write", "min-replicas-to-write\n0\n");
    pair_close(&pair);
}

/* Writes stop, everything written is on the replica when the act ends, and writes go on after it.
 */
static void test_drain(void **state)
{
    struct pair pair;
    redisContext *writer;
    redisReply *reply;
    int done = 0;
    uint64_t start_ms;

    pair_open(&pair, *state, NULL);
    wait_acknowledged(&pair.a);
    for (int i = 0; i < 2000; i++)
        free(server_ask(&pair.a, "INCR n"));
    start_ms = ha_clock_mono_ms();
    assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_DRAIN)), HA_OK);
    print_message("# drain: %" PRIu64 " ms\n", ha_clock_mono_ms() - start_ms);
    assert_non_null(strstr(pair.ca.acted.text, "1 of 1 replicas"));
    assert_answer(&pair.a, "CONFIG GET min-replicas-to-write", "min-replicas-to-write\n0\n");
    assert_answer(&pair.b, "GET n", "2000");
    assert_int_equal(pair.ca.acted.replication_count, 1);
    {
        const struct sockaddr_in *local =
            (const struct sockaddr_in *)(const void *)&pair.ca.acted.replications[0].local;
        const struct sockaddr_in *remote =
            (const struct sockaddr_in *)(const void *)&pair.ca.acted.replications[0].remote;

        assert_int_equal(local->sin_family, AF_INET);
        assert_int_equal(ntohs(local->sin_port), pair.a.port);
        assert_int_equal(remote->sin_family, AF_INET);
        assert_true(remote->sin_port != 0);
    }
    writer = redisConnectUnixWithTimeout(pair.a.socket, (struct timeval){.tv_usec = 300000});
    (void)redisSetTimeout(writer, (struct timeval){.tv_usec = 300000});
    assert_int_equal(redisAppendCommand(writer, "INCR n"), REDIS_OK);
    while (done == 0)
        assert_int_equal(redisBufferWrite(writer, &done), REDIS_OK);
    assert_int_equal(redisGetReply(writer, (void **)&reply), REDIS_ERR); /* held back */
    redisFree(writer);
    assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_SERVE)), HA_OK); /* undone */
    assert_answer(&pair.a, "SET k z", "OK");
    assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_DRAIN)), HA_ESTALE);

    /* A whole switchover: what was drained needs no snapshot. */
    assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_DRAIN)), HA_OK);
    assert_int_equal(client_act(&pair.cb, act_of(HA_ORDER_PROMOTE)), HA_OK);
    assert_int_equal(client_act(&pair.ca, act_follow(&pair.b)), HA_OK);
    assert_string_equal(pair.ca.acted.text, "");
    wait_link(*state, &pair.ca);
    assert_answer(&pair.a, "GET k", "z");
    pair_close(&pair);
}

/* Writers on the way are held or refused, never acknowledged and lost; and it is quick. */
static void test_drain_under_writes(void **state)
{
    uint64_t us[15];

    for (size_t i = 0; i < HA_ARRAY_LEN(us); i++) {
        struct pair pair;
        redisContext *writers[8];
        redisReply *reply;
        uint64_t acked = 0, have = 0;
        uint64_t start_ns;
        char *text;

        pair_open(&pair, *state, NULL);
        wait_acknowledged(&pair.a);
        for (size_t w = 0; w < HA_ARRAY_LEN(writers); w++) {
            int done = 0;

            writers[w] = redisConnectUnix(pair.a.socket);
            for (int n = 0; n < 3000; n++)
                assert_int_equal(redisAppendCommand(writers[w], "INCR n"), REDIS_OK);
            while (done == 0)
                assert_int_equal(redisBufferWrite(writers[w], &done), REDIS_OK);
        }
        start_ns = ha_clock_mono_ns();
        assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_DRAIN)), HA_OK);
        us[i] = (ha_clock_mono_ns() - start_ns) / 1000;
        assert_non_null(strstr(pair.ca.acted.text, "1 of 1 replicas"));
        text = server_ask(&pair.b, "GET n"); /* at once: it has applied everything */
        assert_int_equal(ha_text_u64(text, UINT64_MAX, &have), HA_OK);
        free(text);
        for (size_t w = 0; w < HA_ARRAY_LEN(writers); w++) {
            (void)redisSetTimeout(writers[w], (struct timeval){.tv_usec = 20000});
            while (redisGetReply(writers[w], (void **)&reply) == REDIS_OK) {
                if (reply->type == REDIS_REPLY_INTEGER && (uint64_t)reply->integer > acked)
                    acked = (uint64_t)reply->integer;
                freeReplyObject(reply);
            }
            redisFree(writers[w]);
        }
        assert_true(acked <= have);
        pair_close(&pair);
    }
    qsort(us, HA_ARRAY_LEN(us), sizeof(us[0]), compare_u64);
    print_message("# drain under 8 pipelining writers: median %" PRIu64 " us, max %" PRIu64
                  " us, n=%zu\n",
                  us[HA_ARRAY_LEN(us) / 2], us[HA_ARRAY_LEN(us) - 1], HA_ARRAY_LEN(us));
    assert_true(us[HA_ARRAY_LEN(us) / 2] < 400000); /* unasked, a replica tells once a second */
}

/* An agent that died in the middle of a drain leaves a primary that refuses writes. */
static void test_serve_repairs(void **state)
{
    struct pair pair;

    pair_open(&pair, *state, NULL);
    free(server_ask(&pair.a, "CONFIG SET min-replicas-to-write 2147483647"));
    assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_SERVE)), HA_OK);
    assert_answer(&pair.a, "SET k z", "OK");
    for (int online = 0; online < 2; online++) { /* without a replica that has told, and with one */
        free(server_ask(&pair.a, "CONFIG SET min-replicas-to-write 2147483647"));
        assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_DRAIN)), HA_OK);
        assert_answer(&pair.a, "CONFIG GET min-replicas-to-write", "min-replicas-to-write\n0\n");
        assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_SERVE)), HA_OK);
        wait_acknowledged(&pair.a);
    }
    free(server_ask(&pair.a, "CONFIG SET min-replicas-max-lag 0")); /* the slow way */
    assert_int_equal(client_act(&pair.ca, act_of(HA_ORDER_DRAIN)), HA_OK);
    assert_non_null(strstr(pair.ca.acted.text, "1 of 1 replicas"));
    pair_close(&pair);
}

/* A replica that hangs does not hold a switchover up for longer than its time. */
static void test_drain_is_bounded(void **state)
{
    struct pair pair;
    struct ha_act drain = act_of(HA_ORDER_DRAIN);
    uint64_t start_ms;

    pair_open(&pair, *state, NULL);
    wait_acknowledged(&pair.a);
    server_signal(&pair.b, SIGSTOP);
    free(server_ask(&pair.a, "SET k z"));
    drain.deadline_ms = 4000;
    start_ms = ha_clock_mono_ms();
    assert_int_equal(client_act(&pair.ca, drain), HA_OK);
    assert_in_range(ha_clock_mono_ms() - start_ms, 2800, 4000);
    assert_non_null(strstr(pair.ca.acted.text, "0 of 1 replicas"));
    server_signal(&pair.b, SIGCONT);
    pair_close(&pair);
}

static void test_deadline_cancel_close(void **state)
{
    struct server server;
    struct client client;
    struct ha_act act = act_of(HA_ORDER_PROMOTE);

    server_start(&server, NULL);
    client_open_local(&client, *state, &server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    server_signal(&server, SIGSTOP);
    act.deadline_ms = 100;
    assert_int_equal(client_act(&client, act), HA_ETIMEDOUT);

    /* Canceled, and at once followed by the next: two callbacks, in order. */
    act.deadline_ms = 5000;
    act.ticket = 1001;
    client.acts = 0;
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_OK);
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_EBUSY);
    engine->act_cancel(client.link);
    engine->act_cancel(client.link);
    act.ticket = 1002;
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_OK);
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_EBUSY);
    assert_int_equal(client.acts, 0);
    run_until_count(*state, &client.acts, 1, 1000);
    assert_int_equal(client.acted.ticket, 1001);
    assert_int_equal(client.acted.code, HA_ECANCELED);
    server_signal(&server, SIGCONT);
    run_until_count(*state, &client.acts, 2, 3000);
    assert_int_equal(client.acted.ticket, 1002);
    assert_int_equal(client.acted.code, HA_OK);

    /* One canceled before it began. */
    server_signal(&server, SIGSTOP);
    act.ticket = 1003;
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_OK);
    engine->act_cancel(client.link);
    act.ticket = 1004;
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_OK);
    engine->act_cancel(client.link);
    run_until_count(*state, &client.acts, 4, 1000);
    assert_int_equal(client.acted.ticket, 1004);
    assert_int_equal(client.acted.code, HA_ECANCELED);

    /* Closed under way. */
    act.ticket = 1005;
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_OK);
    client_close(&client);
    assert_int_equal(client.acts, 5);
    assert_int_equal(client.acted.code, HA_ECANCELED);
    server_signal(&server, SIGCONT);
    server_free(&server);
}

/* A probe that times out does not take an act with it, and both may be under way. */
static void test_probe_beside_act(void **state)
{
    struct server server;
    struct client client;
    struct ha_act act = act_of(HA_ORDER_PROMOTE);

    server_start(&server, NULL);
    client_open_local(&client, *state, &server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    server_signal(&server, SIGSTOP);
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(client_probe(&client, 50), HA_ANSWER_NONE);
    assert_int_equal(client.acts, 0);
    server_signal(&server, SIGCONT);
    run_until_count(*state, &client.acts, 1, 3000);
    assert_int_equal(client.acted.code, HA_OK);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    client_close(&client);
    server_free(&server);
}

static void test_killed_in_act(void **state)
{
    struct server server;
    struct client client;
    struct ha_act act = act_of(HA_ORDER_PROMOTE);

    server_start(&server, NULL);
    client_open_local(&client, *state, &server);
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    server_signal(&server, SIGSTOP);
    assert_int_equal(engine->act(client.link, &act, client_on_acted), HA_OK);
    server_signal(&server, SIGKILL);
    run_until_count(*state, &client.acts, 1, 2000);
    assert_int_equal(client.acted.code, HA_ECLOSED);
    assert_int_equal(client.losses, 1);
    assert_int_equal(client_act(&client, act), HA_EREFUSED);
    client_close(&client);
    server_free(&server);
}

static void test_loading_and_rights(void **state)
{
    struct server server;
    struct client client;

    server_start(&server, "key-load-delay 500\nloading-process-events-interval-bytes 1024");
    free(server_ask(&server, "DEBUG POPULATE 4000"));
    free(server_ask(&server, "SAVE"));
    server_signal(&server, SIGKILL);
    server_again(&server);
    client_open_local(&client, *state, &server);
    assert_int_equal(client_act(&client, act_of(HA_ORDER_PROMOTE)), HA_EBUSY);
    assert_int_equal(client_act(&client, act_follow(&server)), HA_EBUSY);
    client_close(&client);
    server_free(&server);

    server_start(&server, NULL);
    free(server_ask(&server, "ACL SETUSER watcher on >pw -@all +ping +info"));
    client_open(
        &client, *state,
        (struct ha_link_spec){
            .socket_path = server.socket, .user = "watcher", .password = "pw", .is_local = true});
    assert_int_equal(client_act(&client, act_of(HA_ORDER_PROMOTE)), HA_EDENIED);
    assert_int_equal(client_act(&client, act_follow(&server)), HA_EDENIED);
    client_close(&client);
    client_open_remote(&client, *state, &server);
    {
        const struct ha_act act = act_of(HA_ORDER_PROMOTE);

        assert_int_equal(engine->act(client.link, &act, client_on_acted),
                         HA_ENOTSUP); /* not its host */
    }
    client_close(&client);
    server_free(&server);
}

/* The primary that comes back empty is seen to have another history than its replica. */
static void test_empty_restart(void **state)
{
    struct pair pair;
    struct ha_position replica;

    pair_open(&pair, *state, NULL);
    replica = pair.cb.probed.sample.position;
    server_signal(&pair.a, SIGKILL);
    server_again(&pair.a);
    for (int i = 0; i < 200 && client_probe(&pair.ca, 1000) != HA_ANSWER_OK; i++)
        run_for(*state, 5);
    assert_int_equal(pair.ca.probed.sample.role, HA_ROLE_PRIMARY);
    for (uint32_t i = 0; i < pair.ca.probed.sample.position.lineage.count; i++)
        assert_true(pair.ca.probed.sample.position.lineage.steps[i].id !=
                    replica.lineage.steps[0].id);
    pair_close(&pair);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_promote, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_promote_latency, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_repoint, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_demote_saves, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_saved_are_few, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_slow_save, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_serve, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_drain, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_drain_under_writes, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_serve_repairs, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_drain_is_bounded, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_deadline_cancel_close, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_probe_beside_act, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_killed_in_act, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_loading_and_rights, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_empty_restart, loop_setup, loop_teardown),
};

HA_TEST_MAIN("redis/act", tests)
