/* Every engine keeps the contract of agents/engine.h, whatever database it is for. No database runs
 * here: what is asked of a link when nobody, or nobody who speaks, is at the other end. */
#include "agents/engines.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/support/cmocka_ha.h"

struct told {
    unsigned probes, acts, losses, closes, order;
    unsigned close_order;
    struct ha_probed probed;
    struct ha_acted acted;
    unsigned prepares;
    int prepared;
};

static void on_probed(void *data, const struct ha_probed *probed)
{
    struct told *told = data;

    told->probes++;
    told->order++;
    told->probed = *probed;
}

static void on_acted(void *data, const struct ha_acted *acted)
{
    struct told *told = data;

    told->acts++;
    told->order++;
    told->acted = *acted;
}

static void on_prepared(void *data, int code, const char *text)
{
    struct told *told = data;

    told->prepares++;
    told->prepared = code;
    assert_non_null(text);
}

static void on_lost(void *data, enum ha_answer how, const char *text)
{
    struct told *told = data;

    (void)how;
    (void)text;
    told->losses++;
}

static void on_closed(void *data)
{
    struct told *told = data;

    told->closes++;
    told->close_order = ++told->order;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* A callback of a timer may come at the start of a turn, which then waits for the next event: the
 * tick keeps that short. */
static void run_until(uv_loop_t *loop, const unsigned *count, unsigned want)
{
    const uint64_t end_ms = ha_clock_mono_ms() + 5000;
    uv_timer_t tick;

    assert_int_equal(uv_timer_init(loop, &tick), 0);
    assert_int_equal(uv_timer_start(&tick, on_tick, 5, 5), 0);
    while (*count < want && ha_clock_mono_ms() < end_ms)
        (void)uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&tick, NULL);
    (void)uv_run(loop, UV_RUN_NOWAIT);
    assert_int_equal(*count, want);
}

/* A port on loopback that accepts and never speaks, or (@silent false) that nobody listens on. */
static int peer(bool silent, uint16_t *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &size), 0);
    if (silent)
        assert_int_equal(listen(fd, 16), 0);
    *ret_port = ntohs(addr.sin_port);
    return fd; /* bound and not listening: refused, and nobody else gets it */
}

static struct ha_link *link_to(const struct ha_engine_ops *engine, uv_loop_t *loop, uint16_t port,
                               bool is_local, struct told *told)
{
    const struct ha_link_spec spec = {.loop = loop,
                                      .data = told,
                                      .lost_cb = on_lost,
                                      .host = "127.0.0.1",
                                      .port = port,
                                      .user = "somebody",
                                      .password = "something",
                                      .is_local = is_local};
    struct ha_link *link = NULL;
    struct ha_err err = {0};

    memset(told, 0, sizeof(*told));
    if (engine->open(&spec, &link, &err) != HA_OK)
        fail_msg("%s", err.text);
    return link;
}

static struct ha_act act_of(enum ha_order_kind kind)
{
    return (struct ha_act){.service = 3,
                           .ticket = 9,
                           .kind = kind,
                           .epoch = 1,
                           .deadline_ms = 200,
                           .min_replicas = UINT32_MAX,
                           .upstream_port = 1,
                           .upstream_host = "127.0.0.1"};
}

static void check_table(const struct ha_engine_ops *engine, uv_loop_t *loop)
{
    struct ha_link *link = NULL;
    struct ha_err err = {0};

    assert_ptr_equal(ha_engine_find(engine->engine), engine);
    assert_string_equal(engine->name, ha_engine_text(engine->engine));
    assert_true(engine->port_default > 0);
    /* Without these two there is no failover. */
    assert_true((engine->acts & HA_ENGINE_ACT(HA_ORDER_PROMOTE)) != 0);
    assert_true((engine->acts & HA_ENGINE_ACT(HA_ORDER_FOLLOW)) != 0);
    assert_int_equal(engine->open(&(struct ha_link_spec){.loop = loop}, &link, &err), HA_EINVAL);
    assert_int_equal(err.code, HA_EINVAL);
    assert_null(link);
}

static void check_nobody(const struct ha_engine_ops *engine, uv_loop_t *loop)
{
    struct told told;
    uint16_t port;
    int fd = peer(false, &port);
    struct ha_link *link = link_to(engine, loop, port, true, &told);

    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(engine->probe(link, 1000, on_probed), HA_OK);
        assert_int_equal(engine->probe(link, 1000, on_probed), HA_EBUSY);
        assert_int_equal(told.probes, i - 1);
        run_until(loop, &told.probes, i);
        assert_int_equal(told.probed.code, HA_OK);
        assert_int_equal(told.probed.sample.answer, HA_ANSWER_REFUSED);
        assert_true(told.probed.sample.text[0] != '\0');
    }
    assert_int_equal(told.losses, 0);
    engine->close(link, on_closed);
    assert_int_equal(told.closes, 0);
    run_until(loop, &told.closes, 1);
    (void)close(fd);
}

static void check_acts(const struct ha_engine_ops *engine, uv_loop_t *loop)
{
    struct told told;
    uint16_t port;
    int fd = peer(true, &port);
    struct ha_link *link = link_to(engine, loop, port, true, &told);
    struct ha_act act;
    unsigned ended = 0;

    for (uint32_t kind = 0; ha_order_kind_valid(kind); kind++) {
        act = act_of((enum ha_order_kind)kind);
        if ((engine->acts & HA_ENGINE_ACT(kind)) == 0) {
            assert_int_equal(engine->act(link, &act, on_acted), HA_ENOTSUP);
            continue;
        }
        assert_int_equal(engine->act(link, &act, on_acted), HA_OK);
        assert_int_equal(engine->act(link, &act, on_acted), HA_EBUSY);
        run_until(loop, &told.acts, ++ended); /* by its deadline */
        assert_int_equal(told.acted.code, HA_ETIMEDOUT);
        assert_int_equal(told.acted.service, 3);
        assert_int_equal(told.acted.ticket, 9);
        assert_true(told.acted.text[0] != '\0');
        assert_int_equal(engine->act(link, &act, on_acted), HA_OK);
        engine->act_cancel(link);
        engine->act_cancel(link);
        assert_int_equal(told.acts, ended);
        run_until(loop, &told.acts, ++ended);
        assert_int_equal(told.acted.code, HA_ECANCELED);
        engine->act_cancel(link); /* of nothing */
    }
    engine->close(link, on_closed);
    run_until(loop, &told.closes, 1);
    link = link_to(engine, loop, port, false, &told); /* a watcher's */
    act = act_of(HA_ORDER_PROMOTE);
    assert_int_equal(engine->act(link, &act, on_acted), HA_ENOTSUP);
    engine->close(link, NULL);
    (void)close(fd);
}

/* With a database that says nothing; a second one ended, a third one closed without a word. */
static void check_prepare(const struct ha_engine_ops *engine, uv_loop_t *loop)
{
    struct told told;
    uint16_t port;
    int fd = peer(true, &port);
    struct ha_link *link = link_to(engine, loop, port, true, &told);

    assert_int_equal(engine->prepare == NULL, engine->prepare_cancel == NULL);
    if (engine->prepare != NULL) {
        assert_int_equal(engine->prepare(link, 200, on_prepared), HA_OK);
        assert_int_equal(engine->prepare(link, 200, on_prepared), HA_EBUSY);
        run_until(loop, &told.prepares, 1);
        assert_int_equal(told.prepared, HA_ETIMEDOUT);
        assert_int_equal(engine->prepare(link, 200, on_prepared), HA_OK);
        engine->prepare_cancel(link);
        engine->prepare_cancel(link);
        assert_int_equal(engine->prepare(link, 200, on_prepared), HA_OK);
    }
    engine->close(link, on_closed);
    run_until(loop, &told.closes, 1);
    assert_true(told.prepares <= 1);
    (void)close(fd);
}

/* Closed with everything under way, at several moments: one end for each, and the close last. */
static void check_close(const struct ha_engine_ops *engine, uv_loop_t *loop)
{
    const struct ha_act act = act_of(HA_ORDER_PROMOTE);

    for (int turns = 0; turns < 6; turns++) {
        struct told told;
        uint16_t port;
        int fd = peer(true, &port);
        struct ha_link *link = link_to(engine, loop, port, true, &told);

        assert_int_equal(engine->probe(link, 5000, on_probed), HA_OK);
        assert_int_equal(engine->act(link, &act, on_acted), HA_OK);
        for (int i = 0; i < turns; i++)
            (void)uv_run(loop, UV_RUN_NOWAIT);
        engine->close(link, on_closed);
        assert_int_equal(told.order, 0);
        run_until(loop, &told.closes, 1);
        assert_int_equal(told.probes, 1);
        assert_int_equal(told.acts, 1);
        assert_int_equal(told.probed.code, HA_ECANCELED);
        assert_int_equal(told.acted.code, HA_ECANCELED);
        assert_int_equal(told.close_order, 3);
        assert_int_equal(told.losses, 0);
        (void)close(fd);
    }
}

static void test_contract(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; ha_engine_at(i) != NULL; i++) {
        const struct ha_engine_ops *engine = ha_engine_at(i);
        uv_loop_t loop;

        print_message("# %s\n", engine->name);
        assert_int_equal(uv_loop_init(&loop), 0);
        check_table(engine, &loop);
        check_nobody(engine, &loop);
        check_acts(engine, &loop);
        check_prepare(engine, &loop);
        check_close(engine, &loop);
        while (uv_run(&loop, UV_RUN_DEFAULT) != 0)
            ;
        assert_int_equal(uv_loop_close(&loop), 0);
    }
    assert_non_null(ha_engine_at(0));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_contract),
};

HA_TEST_MAIN("agents/engines", tests)
