/* When memory runs out while a Redis server is asked or answers, the question ends once and does
 * not pass for answered, and the next one is. What hiredis does without memory is its own. */
#include <stdlib.h>
#include <string.h>

#include "agents/engine.h"
#include "agents/redis/facts.h"
#include "agents/redis/link.h"
#include "lib/base/err.h"
#include "tests/fuzz/stub_stream.h"
#include "tests/support/alloc.h"
#include "tests/support/cmocka_ha.h"

#define TRIES_MAX 200u

static const char replies[] = "+OK\r\n+PONG\r\n$2\r\na:\r\n$2\r\nb:\r\n$2\r\nc:\r\n$2\r\nd:\r\n";

struct asked {
    unsigned ended;
    int code;
};

static void on_facts(void *data, const struct ha_redis_outcome *outcome)
{
    struct asked *asked = data;
    struct ha_redis_facts facts;

    asked->ended++;
    asked->code = outcome->code;
    assert_true(outcome->code != HA_OK || outcome->count == HA_REDIS_FACTS_COMMANDS);
    ha_redis_facts_read(outcome, 0, &facts);
}

static void turn(uv_loop_t *loop)
{
    for (unsigned i = 0; i < 4; i++)
        (void)uv_run(loop, UV_RUN_NOWAIT);
}

/* HA_OK: it was answered. The server's words come in pieces. */
static int ask(uv_loop_t *loop, struct ha_redis_link *link)
{
    struct asked asked = {.code = HA_EPROTO};
    struct ha_redis_batch *batch = ha_redis_batch_new(on_facts, &asked);
    int rv;

    ha_redis_facts_ask(batch);
    rv = ha_redis_link_send(link, batch, 1000);
    if (rv != HA_OK) {
        assert_int_equal(asked.ended, 0);
        return rv;
    }
    stub_stream_opened();
    while (link->state == HA_REDIS_LINK_LISTENING)
        (void)uv_run(loop, UV_RUN_ONCE);
    for (size_t at = 0; at < sizeof(replies) - 1; at += 7) {
        size_t left = sizeof(replies) - 1 - at;

        stub_stream_feed((const uint8_t *)replies + at, left < 7 ? left : 7);
    }
    stub_stream_end(HA_ECLOSED);
    turn(loop);
    assert_int_equal(asked.ended, 1);
    return asked.code;
}

static void on_closed(struct ha_redis_link *link)
{
    *(bool *)link->data = true;
}

static void test_a_link(void **state)
{
    struct ha_redis_link link;
    uv_loop_t loop;
    struct ha_link_spec spec = {.loop = &loop, .host = "127.0.0.1", .user = "u", .password = "p"};
    unsigned n = 0;
    bool failed, closed = false;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    do {
        int rv;

        alloc_fail_at(++n);
        rv = ha_redis_link_init(&link, &spec, 6379, NULL);
        failed = alloc_stop();
        assert_int_equal(rv, failed ? HA_ENOMEM : HA_OK);
    } while (failed && n < TRIES_MAX);
    assert_in_range(n, 4, TRIES_MAX - 1);
    link.data = &closed;
    ha_redis_link_close(&link, on_closed);
    turn(&loop);
    assert_true(closed);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_a_question(void **state)
{
    unsigned n = 0;
    bool failed;

    (void)state;
    do {
        bool closed = false;
        struct ha_redis_link link;
        uv_loop_t loop;
        struct ha_link_spec spec = {
            .loop = &loop, .host = "127.0.0.1", .user = "u", .password = "p", .port = 1};
        int rv;

        assert_int_equal(uv_loop_init(&loop), 0);
        assert_int_equal(ha_redis_link_init(&link, &spec, 6379, NULL), HA_OK);
        link.data = &closed;
        alloc_fail_at(++n);
        rv = ask(&loop, &link);
        failed = alloc_stop();
        assert_true(failed ? rv != HA_OK : rv == HA_OK);
        assert_int_equal(ask(&loop, &link), HA_OK);
        ha_redis_link_close(&link, on_closed);
        turn(&loop);
        assert_true(closed);
        assert_int_equal(uv_loop_close(&loop), 0);
    } while (failed && n < TRIES_MAX);
    print_message("# %u allocations, each failed once\n", n - 1);
    assert_in_range(n, 4, TRIES_MAX - 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_link),
    cmocka_unit_test(test_a_question),
};

HA_TEST_MAIN("agents/redis_alloc", tests)
