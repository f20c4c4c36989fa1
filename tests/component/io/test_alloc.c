/* When memory runs out an operation fails, not the process: our Nth allocation fails, for every N.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/io/dns.h"
#include "lib/io/file.h"
#include "lib/io/frames.h"
#include "lib/io/http_client.h"
#include "lib/io/http_server.h"
#include "lib/io/pidwatch.h"
#include "lib/io/process.h"
#include "tests/component/io/harness.h"
#include "tests/support/alloc.h"
#include "tests/support/cmocka_ha.h"

/* Turns of the loop, without the harness's own allocations. */
static void turn(uv_loop_t *loop, const bool *until)
{
    for (unsigned i = 0; i < 400 && !*until; i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
        if (i > 100)
            uv_sleep(1);
    }
}

static bool echo_once(struct ha_tls *server, struct ha_tls *client, unsigned n)
{
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    struct ha_stream_connect_options options = {
        .tls = client, .server_name = "watcher/w1", .alpn = HA_ALPN_FRAMES, .deadline_ms = 5000};
    bool echoed = false, failed;

    host->echo = true;
    host_listen(host, server, &(struct ha_listener_options){.handshake_ms = 5000});
    options.addr = host->addr;
    alloc_fail_at(n);
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
    failed = alloc_stop();
    assert_true(echoed || failed);
    end_close(&end, 0);
    host_free(host);
    return failed;
}

static void test_streams(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_derived("agent/db1", 1);
    unsigned n = 0;

    (void)state;
    while (n < 200 && echo_once(server, client, ++n))
        ;
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
    if (strcmp(ha_http_path(request), "/bits") != 0) {
        ha_http_reply(request, 200, "text/plain", body, size);
        return;
    }
    ha_http_reply_begin(request, 200, "text/plain");
    (void)ha_http_reply_send(request, body, size);
    ha_http_reply_end(request);
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
    static const char body[100000]; /* more than comes at once */
    struct ha_http_ask ask = {
        .method = "POST", .url = url, .body = body, .body_size = sizeof(body), .deadline_ms = 2000};

    if (ha_http_call_start(client, &ask, NULL, on_web_answer, web) != HA_OK)
        return false;
    for (unsigned i = 0; i < 20; i++)
        turn(&loop->uv, &web->answered);
    assert_true(web->answered);
    return web->code == HA_OK;
}

static bool http_once(const char *path, unsigned n)
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
    bool good, failed;

    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_http_server_open(&web.server, &loop.uv, &server_options), HA_OK);
    assert_int_equal(ha_http_client_open(&client, &loop.uv, NULL), HA_OK);
    assert_int_equal(ha_listener_open(&listener, &loop.uv, &listener_options), HA_OK);
    assert_int_equal(ha_addr_from_ip("127.0.0.1", 0, &addr), HA_OK);
    assert_int_equal(ha_listener_bind(listener, &addr, 0, &addr, NULL), HA_OK);
    memcpy(url + 7, ha_addr_text(&addr, text), HA_ADDR_TEXT_SIZE);
    memcpy(url + strlen(url), path, strlen(path) + 1);
    alloc_fail_at(n);
    good = ask_once(&loop, &web, client, url);
    failed = alloc_stop();
    assert_true(good || failed);
    ha_listener_close(listener, NULL, NULL);
    ha_http_client_close(client, NULL, NULL);
    ha_http_server_close(web.server, on_web_closed, &web);
    ha_loop_run(&loop);
    assert_true(web.closed);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
    return failed;
}

static void test_http(void **state)
{
    static const char *const paths[] = {"/whole", "/bits"};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        unsigned n = 0;

        while (n < 200 && http_once(paths[i], ++n))
            ;
        print_message("# %u allocations, each failed once\n", n - 1);
        assert_in_range(n, 5, 199);
    }
}

/* Frames in one piece, cut anywhere, and while their owner pauses. */
struct heard {
    struct ha_frames *frames;
    unsigned count;
    bool pauses;
    bool ended;
    bool closed;
};

static void on_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size)
{
    struct heard *heard = ctx;

    (void)data;
    assert_int_equal(type, 1);
    assert_int_equal(size, 300);
    heard->count++;
    if (heard->count == 1)
        ha_frames_pause(frames);
    heard->pauses = heard->count == 1;
}

static void on_frames_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct heard *heard = ctx;

    (void)frames;
    assert_int_not_equal(err->code, HA_OK);
    heard->ended = true;
}

static const struct ha_frames_hooks frames_hooks = {.on_frame = on_frame, .on_end = on_frames_end};

static void on_frames_stream(void *ctx, struct ha_stream *stream)
{
    struct heard *heard = ctx;

    if (ha_frames_open(&heard->frames, stream, &(struct ha_frames_options){.payload_max = 400},
                       &frames_hooks, heard) != HA_OK)
        ha_stream_close(stream, 0, NULL, NULL);
}

static void on_frames_closed(void *ctx)
{
    *(bool *)ctx = true;
}

/* Two frames, in pieces that end within both. */
static void say_frames(uv_loop_t *loop, int fd, struct heard *heard)
{
    static const uint8_t header[] = {0x2d, 0x01, 0, 0, 1};
    uint8_t bytes[2 * 305] = {0};

    memcpy(bytes, header, sizeof(header));
    memcpy(bytes + 305, header, sizeof(header));
    for (size_t at = 0; at < sizeof(bytes); at += 203) {
        size_t n = sizeof(bytes) - at < 203 ? sizeof(bytes) - at : 203;

        (void)send(fd, bytes + at, n, MSG_NOSIGNAL);
        for (unsigned i = 0; i < 20; i++)
            (void)uv_run(loop, UV_RUN_NOWAIT);
        if (heard->pauses)
            ha_frames_resume(heard->frames);
        heard->pauses = false;
    }
}

static bool frames_once(unsigned n)
{
    struct heard heard = {.frames = NULL};
    struct ha_listener_options options = {.on_stream = on_frames_stream, .ctx = &heard};
    struct ha_listener *listener;
    struct ha_addr addr;
    struct ha_loop loop;
    bool failed;
    int fd;

    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_listener_open(&listener, &loop.uv, &options), HA_OK);
    assert_int_equal(ha_addr_from_ip("127.0.0.1", 0, &addr), HA_OK);
    assert_int_equal(ha_listener_bind(listener, &addr, 0, &addr, NULL), HA_OK);
    fd = raw_connect(&addr);
    alloc_fail_at(n);
    say_frames(&loop.uv, fd, &heard);
    for (unsigned i = 0; i < 200 && heard.count < 2 && !heard.ended; i++) {
        (void)uv_run(&loop.uv, UV_RUN_NOWAIT);
        uv_sleep(i > 100);
    }
    failed = alloc_stop();
    assert_true(failed || heard.count == 2);
    (void)close(fd);
    if (heard.frames != NULL)
        ha_frames_close(heard.frames, 0, on_frames_closed, &heard.closed);
    ha_listener_close(listener, NULL, NULL);
    ha_loop_run(&loop);
    assert_true(heard.frames == NULL || heard.closed);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
    return failed;
}

static void test_frames(void **state)
{
    unsigned n = 0;

    (void)state;
    while (n < 200 && frames_once(++n))
        ;
    print_message("# %u allocations, each failed once\n", n - 1);
    assert_in_range(n, 3, 199);
}

static void on_process(void *ctx, const struct ha_process_result *result)
{
    *(int *)ctx = result->code;
}

static void test_process(void **state)
{
    static const char *const argv[] = {"/bin/cat", NULL};
    struct ha_process_options options = {
        .argv = argv, .input = "text", .input_size = 4, .deadline_ms = 10000};
    struct ha_loop loop;
    unsigned n = 0;
    bool failed;

    (void)state;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    do {
        int code = 1, rv;

        alloc_fail_at(++n);
        rv = ha_process_start(NULL, &loop.uv, &options, on_process, &code);
        (void)uv_run(&loop.uv, UV_RUN_DEFAULT);
        failed = alloc_stop();
        assert_int_equal(rv, failed && code == 1 ? HA_ENOMEM : HA_OK);
        assert_true(failed || code == HA_OK);
    } while (failed && n < 200);
    assert_in_range(n, 3, 199);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
}

static void test_file(void **state)
{
    struct ha_err err = {0};
    uint8_t *data = NULL;
    size_t size;

    (void)state;
    alloc_fail_at(1);
    assert_int_equal(ha_file_read("/etc/passwd", 1 << 20, &data, &size, &err), HA_ENOMEM);
    assert_true(alloc_stop());
    assert_null(data);
    assert_string_not_equal(err.text, "");
}

static void on_names(struct ha_dns_request *request, int code)
{
    *(int *)request->data = code;
}

static void test_names(void **state)
{
    unsigned n = 0;
    bool failed;

    (void)state;
    do {
        struct ha_dns *dns = NULL;
        struct ha_dns_request request = {.data = NULL};
        struct ha_loop loop;
        int code = 1;

        assert_int_equal(ha_loop_init(&loop), HA_OK);
        alloc_fail_at(++n);
        if (ha_dns_open(&dns, &loop.uv) == HA_OK) {
            request.data = &code;
            ha_dns_start(dns, &request, "localhost", 1, 5000, on_names);
            for (unsigned i = 0; i < 5000 && code == 1; i++) {
                (void)uv_run(&loop.uv, UV_RUN_NOWAIT);
                uv_sleep(code == 1);
            }
            assert_int_not_equal(code, 1);
            ha_dns_close(dns, NULL, NULL);
        }
        failed = alloc_stop();
        assert_true(failed || code == HA_OK);
        ha_loop_run(&loop);
        assert_int_equal(ha_loop_fini(&loop), HA_OK);
    } while (failed && n < 200);
    assert_in_range(n, 3, 199);
}

static void test_keys(void **state)
{
    struct ha_tls_foreign foreign = {.ca_file = NULL};
    struct ha_tls *tls = NULL;
    unsigned n = 0;
    bool failed;
    int code;

    (void)state;
    do {
        alloc_fail_at(++n);
        code = ha_tls_foreign_new(&tls, &foreign, NULL);
        failed = alloc_stop();
        assert_int_equal(code, failed ? HA_ENOMEM : HA_OK);
    } while (failed && n < 200);
    ha_tls_unref(tls);
    assert_in_range(n, 2, 199);
}

struct opened {
    struct ha_listener *listener;
    struct ha_http_server *server;
    struct ha_http_client *client;
    struct ha_pidwatch *watch;
};

static void on_exit_never(void *ctx, pid_t pid)
{
    (void)ctx;
    (void)pid;
}

/* The first that cannot be had ends it. */
static int open_all(struct opened *opened, uv_loop_t *loop, struct web *web)
{
    struct ha_listener_options listener = {.on_stream = on_web_stream, .ctx = web};
    struct ha_http_server_options server = {.handler = on_request};
    int rv = ha_listener_open(&opened->listener, loop, &listener);

    if (rv == HA_OK)
        rv = ha_http_server_open(&opened->server, loop, &server);
    if (rv == HA_OK)
        rv = ha_http_client_open(&opened->client, loop, NULL);
    if (rv == HA_OK)
        rv = ha_pidwatch_open(&opened->watch, loop, getpid(), on_exit_never, NULL);
    return rv;
}

static void test_opened(void **state)
{
    unsigned n = 0;
    bool failed;

    (void)state;
    do {
        struct opened opened = {.listener = NULL};
        struct web web = {.server = NULL};
        struct ha_loop loop;
        int rv;

        assert_int_equal(ha_loop_init(&loop), HA_OK);
        alloc_fail_at(++n);
        rv = open_all(&opened, &loop.uv, &web);
        failed = alloc_stop();
        assert_int_equal(rv, failed ? HA_ENOMEM : HA_OK);
        if (opened.listener != NULL)
            ha_listener_close(opened.listener, NULL, NULL);
        if (opened.server != NULL)
            ha_http_server_close(opened.server, NULL, NULL);
        if (opened.client != NULL)
            ha_http_client_close(opened.client, NULL, NULL);
        if (opened.watch != NULL)
            ha_pidwatch_close(opened.watch, NULL, NULL);
        ha_loop_run(&loop);
        assert_int_equal(ha_loop_fini(&loop), HA_OK);
    } while (failed && n < 200);
    assert_in_range(n, 5, 199);
}

/* Whom a daemon without the secret serves stays what it was. */
static void test_served(void **state)
{
    struct ha_tls *tls = tls_derived("agent/db1", 1);
    struct ha_tls_client client = {.name = "watcher/w1"};

    (void)state;
    assert_int_equal(ha_tls_serve(tls, &client, 1), HA_OK);
    alloc_fail_at(1);
    assert_int_equal(ha_tls_serve(tls, &client, 1), HA_ENOMEM);
    assert_true(alloc_stop());
    assert_int_equal(ha_tls_serve(tls, NULL, 0), HA_OK);
    ha_tls_unref(tls);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_streams), cmocka_unit_test(test_http),   cmocka_unit_test(test_frames),
    cmocka_unit_test(test_process), cmocka_unit_test(test_file),   cmocka_unit_test(test_names),
    cmocka_unit_test(test_keys),    cmocka_unit_test(test_opened), cmocka_unit_test(test_served),
};

HA_TEST_MAIN("io/alloc", tests)
