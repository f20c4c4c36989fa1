/* The HTTP server against libcurl and raw bytes, the HTTP client against it and hostile servers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/http_client.h"
#include "lib/io/http_server.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

struct web {
    struct ha_loop loop;
    struct ha_listener *listener;
    struct ha_http_server *server;
    struct ha_http_client *client;
    struct ha_dns *dns;
    struct ha_addr addr;
    struct ha_http_request *held; /* /hold and /stream wait for the test */
    unsigned requests;
    bool gone;
    bool listener_closed;
    bool server_closed;
    bool client_closed;
    bool dns_closed;
};

static void on_gone(void *ctx, struct ha_http_request *request)
{
    struct web *web = ctx;

    assert_ptr_equal(web->held, request);
    web->held = NULL;
    web->gone = true;
}

static void handle(void *ctx, struct ha_http_request *request)
{
    struct web *web = ctx;
    const char *path = ha_http_path(request);
    const char *name = ha_http_query(request, "name");
    char text[256];
    size_t size;

    web->requests++;
    if (strcmp(path, "/hold") == 0 || strcmp(path, "/stream") == 0) {
        web->held = request;
        ha_http_on_gone(request, on_gone, web);
        if (strcmp(path, "/stream") == 0)
            ha_http_reply_begin(request, 200, "text/plain");
    } else if (strcmp(path, "/echo") == 0) {
        const uint8_t *body = ha_http_body(request, &size);

        assert_int_equal(ha_http_set_header(request, "X-Test", "yes"), HA_OK);
        ha_http_reply(request, 201, "application/octet-stream", body, size);
    } else if (strcmp(path, "/big") == 0) {
        char *big = calloc(1, 3000000);

        assert_non_null(big);
        ha_http_reply(request, 200, "text/plain", big, 3000000);
        free(big);
    } else {
        assert_int_equal(ha_text_format(text, sizeof(text), "%s %s name=%s peer=%s host=%d",
                                        ha_http_method(request), path,
                                        name == NULL ? "(none)" : name,
                                        ha_stream_peer_name(ha_http_stream(request)),
                                        ha_http_header(request, "host") != NULL),
                         HA_OK);
        ha_http_reply(request, strcmp(path, "/500") == 0 ? 500 : 200, "text/plain", text,
                      strlen(text));
    }
}

static void on_stream(void *ctx, struct ha_stream *stream)
{
    struct web *web = ctx;

    ha_http_server_adopt(web->server, stream);
}

static struct web *web_new_on(struct ha_tls *tls, const struct ha_http_server_options *more,
                              const char *path)
{
    struct web *web = calloc(1, sizeof(*web));
    struct ha_http_server_options options = {.body_max = 0};
    struct ha_listener_options listener = {.tls = tls, .on_stream = on_stream};
    struct ha_addr addr = {.in = {.sin_family = AF_INET}, .size = sizeof(struct sockaddr_in)};

    assert_non_null(web);
    if (more != NULL)
        options = *more;
    options.handler = handle;
    options.ctx = listener.ctx = web;
    addr.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (path != NULL)
        assert_int_equal(ha_addr_parse(path, 0, &addr), HA_OK);
    assert_int_equal(ha_loop_init(&web->loop), HA_OK);
    assert_int_equal(ha_dns_open(&web->dns, &web->loop.uv), HA_OK);
    assert_int_equal(ha_http_server_open(&web->server, &web->loop.uv, &options), HA_OK);
    assert_int_equal(ha_http_client_open(&web->client, &web->loop.uv, web->dns), HA_OK);
    assert_int_equal(ha_listener_open(&web->listener, &web->loop.uv, &listener), HA_OK);
    assert_int_equal(ha_listener_bind(web->listener, &addr, 0600, &web->addr, NULL), HA_OK);
    return web;
}

static struct web *web_new(struct ha_tls *tls)
{
    return web_new_on(tls, NULL, NULL);
}

static void set_flag(void *ctx)
{
    bool *flag = ctx;

    assert_false(*flag);
    *flag = true;
}

static void web_free(struct web *web)
{
    if (web->listener != NULL)
        ha_listener_close(web->listener, NULL, NULL);
    ha_http_server_close(web->server, set_flag, &web->server_closed);
    ha_http_client_close(web->client, set_flag, &web->client_closed);
    run_until(&web->loop.uv, &web->client_closed, 2000);
    ha_dns_close(web->dns, set_flag, &web->dns_closed);
    run_until(&web->loop.uv, &web->server_closed, 2000);
    run_until(&web->loop.uv, &web->dns_closed, 2000);
    ha_loop_run(&web->loop);
    assert_int_equal(ha_loop_fini(&web->loop), HA_OK);
    free(web);
}

struct got {
    bool called;
    struct ha_http_answer answer;
    char body[256];
};

static void on_answer(void *ctx, const struct ha_http_answer *answer)
{
    struct got *got = ctx;

    assert_false(got->called);
    got->called = true;
    got->answer = *answer;
    (void)ha_text_format(got->body, sizeof(got->body), "%s", answer->body);
}

static const char *url_of(struct web *web, const char *scheme, const char *host, const char *path)
{
    static char url[256];

    assert_int_equal(ha_text_format(url, sizeof(url), "%s://%s:%u%s", scheme, host,
                                    ha_addr_port(&web->addr), path),
                     HA_OK);
    return url;
}

static void ask(struct web *web, struct ha_http_ask ask, struct got *got)
{
    struct ha_http_call *call;

    *got = (struct got){.called = false};
    if (ask.deadline_ms == 0)
        ask.deadline_ms = 3000;
    if (ask.method == NULL)
        ask.method = "GET";
    assert_int_equal(ha_http_call_start(web->client, &ask, &call, on_answer, got), HA_OK);
    assert_false(got->called);
    run_until(&web->loop.uv, &got->called, 6000);
    print_message("# %s: %d %ld %s\n", ask.url, got->answer.code, got->answer.status,
                  got->answer.err.text);
}

static void test_get(void **state)
{
    struct web *web = web_new(NULL);
    struct got got;

    (void)state;
    ask(web, (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/v1/x?name=a%20b&c")},
        &got);
    assert_int_equal(got.answer.code, HA_OK);
    assert_int_equal(got.answer.status, 200);
    assert_string_equal(got.body, "GET /v1/x name=a b peer= host=1");
    ask(web, (struct ha_http_ask){.url = url_of(web, "http", "localhost", "/500?name")}, &got);
    assert_int_equal(got.answer.status, 500);
    assert_string_equal(got.body, "GET /500 name= peer= host=1");
    ask(web, (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/"), .method = "HEAD"},
        &got);
    assert_int_equal(got.answer.status, 200);
    assert_int_equal(got.answer.body_size, 0);
    web_free(web);
}

static void test_body(void **state)
{
    struct web *web = web_new(NULL);
    char *body = calloc(1, 1100000);
    struct got got;

    (void)state;
    assert_non_null(body);
    memset(body, 'x', 1100000);
    ask(web,
        (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/echo"),
                             .method = "POST",
                             .body = body,
                             .body_size = HA_HTTP_BODY_MAX},
        &got);
    assert_int_equal(got.answer.status, 201);
    assert_int_equal(got.answer.body_size, HA_HTTP_BODY_MAX);
    ask(web,
        (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/echo"),
                             .method = "POST",
                             .body = body,
                             .body_size = HA_HTTP_BODY_MAX + 1},
        &got);
    /* The server answers and hangs up while we still send: either is how that looks. */
    assert_true(got.answer.status == 413 || got.answer.code == HA_ECLOSED);
    ask(web,
        (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/echo"), .method = "POST"},
        &got);
    assert_int_equal(got.answer.status, 201);
    ask(web,
        (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/big"),
                             .answer_max = 1000000},
        &got);
    assert_int_equal(got.answer.code, HA_EFULL);
    ask(web,
        (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/big"),
                             .answer_max = 3000000},
        &got);
    assert_int_equal(got.answer.body_size, 3000000);
    free(body);
    web_free(web);
}

static void test_unix_socket(void **state)
{
    struct folder folder;
    struct web *web;
    struct got got;
    char path[96];

    (void)state;
    folder_make(&folder);
    (void)ha_text_format(path, sizeof(path), "unix:%s/s", folder.path);
    web = web_new_on(NULL, NULL, path);
    ask(web, (struct ha_http_ask){.url = "http://daemon/v1", .unix_socket = path + 5}, &got);
    assert_int_equal(got.answer.status, 200);
    web_free(web);
    folder_free(&folder);
}

static void test_psk(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *admin = tls_derived("ctl/admin", 1);
    struct ha_tls *wrong = tls_derived("ctl/admin", 2);
    struct web *web = web_new(server);
    const char *url = url_of(web, "https", "127.0.0.1", "/");
    struct got got;

    (void)state;
    ask(web, (struct ha_http_ask){.url = url, .tls = admin, .server_name = "watcher/w1"}, &got);
    assert_int_equal(got.answer.code, HA_OK);
    assert_string_equal(got.body, "GET / name=(none) peer=ctl/admin host=1");
    ask(web, (struct ha_http_ask){.url = url, .tls = admin, .server_name = "watcher/*"}, &got);
    assert_int_equal(got.answer.code, HA_OK);
    ask(web, (struct ha_http_ask){.url = url, .tls = admin, .server_name = "watcher/w2"}, &got);
    assert_int_equal(got.answer.code, HA_EAUTH);
    ask(web, (struct ha_http_ask){.url = url, .tls = wrong, .server_name = "watcher/w1"}, &got);
    assert_int_equal(got.answer.code, HA_EAUTH);
    ask(web, (struct ha_http_ask){.url = url}, &got); /* the system's CAs know nothing of it */
    assert_int_equal(got.answer.code, HA_EAUTH);
    ask(web, (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/")}, &got);
    assert_true(got.answer.code != HA_OK);
    web_free(web);
    ha_tls_unref(server);
    ha_tls_unref(admin);
    ha_tls_unref(wrong);
}

static void test_certificates(void **state)
{
    static const char *const names[] = {"URI:hafailover:watcher/w1", "URI:hafailover:ctl/admin"};
    struct folder folder;
    struct folder other;
    struct ha_tls *tls[3] = {NULL};
    struct ha_tls *psk = tls_derived("ctl/admin", 1);
    struct web *web;
    const char *url;
    struct got got;

    (void)state;
    folder_make(&folder);
    folder_make(&other);
    folder_certs(&folder, names, 2);
    folder_certs(&other, names, 2);
    for (size_t i = 0; i < 3; i++) {
        struct folder *from = i < 2 ? &folder : &other;
        char paths[3][128];
        struct ha_tls_cert cert = {.name = i == 0 ? "watcher/w1" : "ctl/admin"};

        cert.ca_file = folder_file(from, "ca.pem", paths[0], sizeof(paths[0]));
        cert.cert_file = folder_file(from, i == 0 ? "watcher/w1.pem" : "ctl/admin.pem", paths[1],
                                     sizeof(paths[1]));
        cert.key_file = folder_file(from, i == 0 ? "watcher/w1.key" : "ctl/admin.key", paths[2],
                                    sizeof(paths[2]));
        assert_int_equal(ha_tls_cert_new(&tls[i], &cert, NULL), HA_OK);
    }
    web = web_new(tls[0]);
    url = url_of(web, "https", "127.0.0.1", "/");
    ask(web, (struct ha_http_ask){.url = url, .tls = tls[1], .server_name = "watcher/w1"}, &got);
    assert_string_equal(got.body, "GET / name=(none) peer=ctl/admin host=1");
    ask(web, (struct ha_http_ask){.url = url, .tls = tls[1], .server_name = "watcher/w2"}, &got);
    assert_int_equal(got.answer.code, HA_EAUTH);
    ask(web, (struct ha_http_ask){.url = url, .tls = tls[2], .server_name = "watcher/w1"}, &got);
    assert_int_equal(got.answer.code, HA_EAUTH);
    ask(web, (struct ha_http_ask){.url = url, .tls = psk, .server_name = "watcher/w1"}, &got);
    assert_int_equal(got.answer.code, HA_EAUTH);
    web_free(web);
    for (size_t i = 0; i < 3; i++)
        ha_tls_unref(tls[i]);
    ha_tls_unref(psk);
    folder_free(&folder);
    folder_free(&other);
}

static void test_answer_later(void **state)
{
    struct web *web = web_new(NULL);
    struct ha_http_ask question = {
        .method = "GET", .url = url_of(web, "http", "127.0.0.1", "/hold"), .deadline_ms = 2000};
    struct got got = {.called = false};

    (void)state;
    assert_int_equal(ha_http_call_start(web->client, &question, NULL, on_answer, &got), HA_OK);
    run_until_count(&web->loop.uv, &web->requests, 1, 1000);
    run_for(&web->loop.uv, 50);
    assert_false(got.called);
    ha_http_reply(web->held, 200, "text/plain", "late", 4);
    run_until(&web->loop.uv, &got.called, 1000);
    assert_string_equal(got.body, "late");
    assert_false(web->gone);
    web_free(web);
}

static void test_client_leaves(void **state)
{
    struct web *web = web_new(NULL);
    struct ha_http_ask question = {
        .method = "GET", .url = url_of(web, "http", "127.0.0.1", "/hold"), .deadline_ms = 2000};
    struct got got = {.called = false};
    struct ha_http_call *call;

    (void)state;
    assert_int_equal(ha_http_call_start(web->client, &question, &call, on_answer, &got), HA_OK);
    run_until_count(&web->loop.uv, &web->requests, 1, 1000);
    ha_http_call_cancel(call);
    run_until(&web->loop.uv, &got.called, 1000);
    assert_int_equal(got.answer.code, HA_ECANCELED);
    run_until(&web->loop.uv, &web->gone, 1000);
    question.deadline_ms = 100;
    web->gone = false;
    got.called = false;
    assert_int_equal(ha_http_call_start(web->client, &question, NULL, on_answer, &got), HA_OK);
    run_until(&web->loop.uv, &got.called, 1000);
    assert_int_equal(got.answer.code, HA_ETIMEDOUT);
    run_until(&web->loop.uv, &web->gone, 1000);
    web_free(web);
}

static void test_close_with_open_requests(void **state)
{
    struct web *web = web_new(NULL);
    struct ha_http_ask question = {
        .method = "GET", .url = url_of(web, "http", "127.0.0.1", "/hold"), .deadline_ms = 2000};
    struct got got = {.called = false};

    (void)state;
    assert_int_equal(ha_http_call_start(web->client, &question, NULL, on_answer, &got), HA_OK);
    run_until_count(&web->loop.uv, &web->requests, 1, 1000);
    web_free(web);
    assert_true(got.called);
}

static void test_stream_of_lines(void **state)
{
    struct web *web = web_new(NULL);
    static const char get[] = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
    char text[2048] = "";
    size_t size = 0;
    int fd = raw_connect(&web->addr);

    (void)state;
    assert_true(write(fd, get, sizeof(get) - 1) > 0);
    run_until_count(&web->loop.uv, &web->requests, 1, 1000);
    for (unsigned i = 0; i < 3; i++) {
        run_for(&web->loop.uv, 20);
        assert_int_equal(ha_http_reply_send(web->held, "line\n", 5), HA_OK);
        run_for(&web->loop.uv, 20);
        size += (size_t)recv(fd, text + size, sizeof(text) - 1 - size, MSG_DONTWAIT);
        assert_non_null(strstr(text, "line\n"));
        if (i < 2)
            memset(text, 0, sizeof(text));
        size = 0;
    }
    ha_http_reply_end(web->held);
    run_for(&web->loop.uv, 20);
    memset(text, 0, sizeof(text));
    assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
    assert_string_equal(text, "0\r\n\r\n");
    assert_false(web->gone);
    (void)close(fd);
    run_for(&web->loop.uv, 20);
    web_free(web);
}

/* A reader that stops reading is told of by HA_EFULL, and its leaving by on_gone. */
static void test_stream_to_nobody(void **state)
{
    static char block[16384];
    struct web *web = web_new(NULL);
    static const char get[] = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = raw_connect(&web->addr);
    int rv = HA_OK;
    size_t sent = 0;

    (void)state;
    assert_true(write(fd, get, sizeof(get) - 1) > 0);
    run_until_count(&web->loop.uv, &web->requests, 1, 1000);
    for (unsigned i = 0; i < 4000 && rv == HA_OK; i++) {
        rv = ha_http_reply_send(web->held, block, sizeof(block));
        sent += sizeof(block);
        (void)uv_run(&web->loop.uv, UV_RUN_NOWAIT);
    }
    print_message("# %zu bytes until HA_EFULL\n", sent);
    assert_int_equal(rv, HA_EFULL);
    (void)close(fd);
    run_until(&web->loop.uv, &web->gone, 1000);
    web_free(web);
}

/* True: the server closed the connection. */
static bool raw_exchange(struct web *web, const char *bytes, size_t size, char *ret, size_t room)
{
    int fd = raw_connect(&web->addr);
    uint64_t end_ms = ha_clock_mono_ms() + 1500;
    size_t have = 0;
    size_t sent = 0;
    bool closed = false;

    memset(ret, 0, room);
    while (ha_clock_mono_ms() < end_ms && !closed) {
        ssize_t n =
            sent < size ? send(fd, bytes + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

        if (n > 0)
            sent += (size_t)n;
        (void)uv_run(&web->loop.uv, UV_RUN_NOWAIT);
        n = recv(fd, ret + have, room - 1 - have, MSG_DONTWAIT);
        closed = n == 0 || (n < 0 && errno == ECONNRESET);
        if (n > 0)
            have += (size_t)n;
    }
    (void)close(fd);
    return closed;
}

static void test_hostile_requests(void **state)
{
    static const char short_body[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc";
    static const char huge_length[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n";
    static const char chunked[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    struct ha_http_server_options more = {.request_ms = 300, .body_max = 20};
    struct web *web = web_new_on(NULL, &more, NULL);
    size_t size = 100000;
    char *huge = malloc(size);
    char answer[1024];
    bool closed;

    (void)state;
    assert_non_null(huge);
    memset(huge, 'a', size);
    memcpy(huge, "GET / HTTP/1.1\r\nHost: x\r\nX: ", 28);
    closed = raw_exchange(web, huge, size, answer, sizeof(answer));
    print_message("# huge header: %.12s\n", answer);
    assert_true(answer[0] == '\0' || memcmp(answer, "HTTP/1.1 431", 12) == 0);
    memset(huge, 'a', size);
    memcpy(huge, "GET /", 5);
    closed = raw_exchange(web, huge, size, answer, sizeof(answer));
    print_message("# huge path: %.12s\n", answer);
    assert_true(answer[0] == '\0' || memcmp(answer, "HTTP/1.1 414", 12) == 0);
    closed = raw_exchange(web, "\x16\x03\x01\x00\x05hello\r\n\r\n", 14, answer, sizeof(answer));
    print_message("# not HTTP: %.12s\n", answer);
    assert_true(answer[0] == '\0' || memcmp(answer, "HTTP/1.1 4", 10) == 0);
    /* A body that never comes whole: cut off at request_ms. */
    closed = raw_exchange(web, short_body, strlen(short_body), answer, sizeof(answer));
    assert_string_equal(answer, "");
    assert_true(closed);
    /* More than the limit, without saying so before. */
    closed = raw_exchange(web, chunked, strlen(chunked), answer, sizeof(answer));
    print_message("# chunked: %.12s\n", answer);
    assert_true(closed);
    assert_null(strstr(answer, " 201 "));
    closed = raw_exchange(web, huge_length, strlen(huge_length), answer, sizeof(answer));
    print_message("# huge length: %.12s\n", answer);
    assert_memory_equal(answer, "HTTP/1.1 413", 12);
    assert_int_equal(web->requests, 0);
    free(huge);
    web_free(web);
}

/* Servers that are not there, hang, lie or break off. */
static void test_client_against_liars(void **state)
{
    static const struct {
        const char *says; /* NULL: nothing, and the connection stays */
        int want;
    } cases[] = {
        {NULL, HA_ETIMEDOUT},
        {"", HA_ECLOSED},
        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", HA_ECLOSED},
        {"SSH-2.0-x\r\n\r\n", HA_EPROTO},
        {"HTTP/2 1\r\n\r\n", HA_EPROTO},
        {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", HA_OK},
    };

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct web *web = web_new(NULL);
        struct host *host = host_new();
        struct ha_http_ask question = {.method = "GET",
                                       .deadline_ms = cases[i].says == NULL ? 300 : 10000};
        struct got got = {.called = false};

        host_listen(host, NULL, NULL);
        web->addr = host->addr;
        question.url = url_of(web, "http", "127.0.0.1", "/");
        assert_int_equal(ha_http_call_start(web->client, &question, NULL, on_answer, &got), HA_OK);
        for (unsigned turn = 0; turn < 10000 && !got.called; turn++) {
            (void)uv_run(&web->loop.uv, UV_RUN_NOWAIT);
            (void)uv_run(&host->loop.uv, UV_RUN_NOWAIT);
            if (host->count > 0 && host->ends[0].received > 0 && cases[i].says != NULL &&
                host->ends[0].stream != NULL) {
                (void)ha_stream_write(host->ends[0].stream, cases[i].says, strlen(cases[i].says));
                end_close(&host->ends[0], 1000);
            }
            (void)usleep(100);
        }
        print_message("# %d %ld %s\n", got.answer.code, got.answer.status, got.answer.err.text);
        assert_true(got.called);
        assert_int_equal(got.answer.code, cases[i].want);
        if (cases[i].want == HA_OK)
            assert_int_equal(got.answer.status, 302);
        host_free(host);
        web_free(web);
    }
}

static void test_client_refused(void **state)
{
    struct web *web = web_new(NULL);
    struct got got;

    (void)state;
    ha_listener_close(web->listener, NULL, NULL);
    web->listener = NULL;
    run_for(&web->loop.uv, 5);
    ask(web, (struct ha_http_ask){.url = url_of(web, "http", "127.0.0.1", "/")}, &got);
    assert_int_equal(got.answer.code, HA_EREFUSED);
    ask(web, (struct ha_http_ask){.url = "http://x/", .unix_socket = "/tmp/ha-io-none"}, &got);
    assert_int_equal(got.answer.code, HA_EREFUSED);
    web_free(web);
}

static void test_client_bad_questions(void **state)
{
    static const char *const urls[] = {"ftp://127.0.0.1/", "nonsense", "http://",
                                       "file:///etc/passwd"};
    struct web *web = web_new(NULL);
    struct ha_tls *tls = tls_derived("ctl/admin", 1);
    struct ha_http_ask question = {.method = "GET", .deadline_ms = 100};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(urls); i++) {
        question.url = urls[i];
        assert_int_equal(ha_http_call_start(web->client, &question, NULL, on_answer, NULL),
                         HA_EINVAL);
    }
    question.url = "http://127.0.0.1/"; /* our keys are never for the clear */
    question.tls = tls;
    question.server_name = "watcher/w1";
    assert_int_equal(ha_http_call_start(web->client, &question, NULL, on_answer, NULL), HA_EINVAL);
    ha_tls_unref(tls);
    web_free(web);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_get),
    cmocka_unit_test(test_body),
    cmocka_unit_test(test_unix_socket),
    cmocka_unit_test(test_psk),
    cmocka_unit_test(test_certificates),
    cmocka_unit_test(test_answer_later),
    cmocka_unit_test(test_client_leaves),
    cmocka_unit_test(test_close_with_open_requests),
    cmocka_unit_test(test_stream_of_lines),
    cmocka_unit_test(test_stream_to_nobody),
    cmocka_unit_test(test_hostile_requests),
    cmocka_unit_test(test_client_against_liars),
    cmocka_unit_test(test_client_refused),
    cmocka_unit_test(test_client_bad_questions),
};

HA_TEST_MAIN("io/http", tests)
