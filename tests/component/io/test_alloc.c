/* When memory runs out an operation fails, not the process: our Nth allocation fails, for every N.
 * Only calls from this program's own text are failed; what libraries do without memory is theirs.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/io/frames.h"
#include "lib/io/http_client.h"
#include "lib/io/http_server.h"
#include "lib/io/process.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

extern const char __executable_start; /* by the linker */
extern const char etext;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *data, size_t size);

static unsigned fail_at; /* 0: never */
static unsigned seen;
static bool failed;

static bool fails(const void *caller)
{
    if (fail_at == 0 || caller < (const void *)&__executable_start ||
        caller >= (const void *)&etext)
        return false;
    seen++;
    if (seen != fail_at)
        return false;
    failed = true;
    return true;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *data, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(data, size);
}

static void arm(unsigned n)
{
    seen = 0;
    failed = false;
    fail_at = n;
}

/* Turns of the loop, without the harness's own allocations. */
static void turn(uv_loop_t *loop, const bool *until)
{
    for (unsigned i = 0; i < 400 && !*until; i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
        if (i > 100)
            uv_sleep(1);
    }
}

static void echo_once(struct ha_tls *server, struct ha_tls *client, unsigned n)
{
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    struct ha_stream_connect_options options = {
        .tls = client, .server_name = "watcher/w1", .alpn = HA_ALPN_FRAMES, .deadline_ms = 50};
    bool echoed = false;

    host->echo = true;
    host_listen(host, server, &(struct ha_listener_options){.handshake_ms = 50});
    options.addr = host->addr;
    arm(n);
    end.hash = 0;
    if (ha_stream_connect(&end.stream, &host->loop.uv, &options, &end_hooks, &end) == HA_OK) {
        turn(&host->loop.uv, &end.opened);
        if (end.stream != NULL)
            (void)ha_stream_write(end.stream, "hello", 5);
        for (unsigned i = 0; i < 200 && end.received < 5 && !end.ended; i++) {
            (void)uv_run(&host->loop.uv, UV_RUN_NOWAIT);
            uv_sleep(i > 50);
        }
        echoed = end.received == 5;
    }
    fail_at = 0;
    assert_true(echoed || failed);
    end_close(&end, 0);
    host_free(host);
}

static void test_streams(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_derived("agent/db1", 1);
    unsigned n = 0;

    (void)state;
    do {
        n++;
        echo_once(server, client, n);
    } while (failed && n < 200);
    print_message("# %u allocations, each failed once\n", n - 1);
    assert_in_range(n, 5, 199);
    ha_tls_unref(server);
    ha_tls_unref(client);
}

struct web {
    struct ha_http_server *server;
    bool answered;
    bool closed;
    int code;
};

static void on_request(void *ctx, struct ha_http_request *request)
{
    size_t size;
    const uint8_t *body = ha_http_body(request, &size);

    (void)ctx;
    (void)ha_http_set_header(request, "X-A", "b");
    ha_http_reply(request, 200, "text/plain", body, size);
}

static void on_web_stream(void *ctx, struct ha_stream *stream)
{
    struct web *web = ctx;

    ha_http_server_adopt(web->server, stream);
}

static void on_web_answer(void *ctx, const struct ha_http_answer *answer)
{
    struct web *web = ctx;

    assert_false(web->answered);
    web->answered = true;
    web->code = answer->code;
}

static void on_web_closed(void *ctx)
{
    struct web *web = ctx;

    web->closed = true;
}

/* True: the question was answered well. */
static bool ask_once(struct ha_loop *loop, struct web *web, struct ha_http_client *client,
                     const char *url)
{
    struct ha_http_ask ask = {
        .method = "POST", .url = url, .body = "body", .body_size = 4, .deadline_ms = 60};

    if (ha_http_call_start(client, &ask, NULL, on_web_answer, web) != HA_OK)
        return false;
    turn(&loop->uv, &web->answered);
    assert_true(web->answered);
    return web->code == HA_OK;
}

static void http_once(unsigned n)
{
    struct web web = {.server = NULL};
    struct ha_listener_options listener_options = {.on_stream = on_web_stream, .ctx = &web};
    struct ha_http_server_options server_options = {.handler = on_request};
    struct ha_http_client *client;
    struct ha_listener *listener;
    struct ha_addr addr;
    struct ha_loop loop;
    char text[HA_ADDR_TEXT_SIZE];
    char url[160] = "http://";
    bool good;

    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_http_server_open(&web.server, &loop.uv, &server_options), HA_OK);
    assert_int_equal(ha_http_client_open(&client, &loop.uv, NULL), HA_OK);
    assert_int_equal(ha_listener_open(&listener, &loop.uv, &listener_options), HA_OK);
    assert_int_equal(ha_addr_from_ip("127.0.0.1", 0, &addr), HA_OK);
    assert_int_equal(ha_listener_bind(listener, &addr, 0, &addr, NULL), HA_OK);
    memcpy(url + 7, ha_addr_text(&addr, text), HA_ADDR_TEXT_SIZE);
    arm(n);
    good = ask_once(&loop, &web, client, url);
    fail_at = 0;
    assert_true(good || failed);
    ha_listener_close(listener, NULL, NULL);
    ha_http_client_close(client, NULL, NULL);
    ha_http_server_close(web.server, on_web_closed, &web);
    ha_loop_run(&loop);
    assert_true(web.closed);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
}

static void test_http(void **state)
{
    unsigned n = 0;

    (void)state;
    do {
        n++;
        http_once(n);
    } while (failed && n < 200);
    print_message("# %u allocations, each failed once\n", n - 1);
    assert_in_range(n, 5, 199);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_streams),
    cmocka_unit_test(test_http),
};

HA_TEST_MAIN("io/alloc", tests)
