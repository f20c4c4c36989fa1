/* Bytes of a client to our HTTP server: every whole request reaches the handler once, in one piece,
 * within its limits, and nothing is left when the client has gone. The first byte says how long the
 * pieces are, and when answers are given. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/http_server.h"
#include "lib/io/listener.h"
#include "lib/io/log.h"
#include "lib/io/loop.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

#define BODY_MAX 600u

static struct ha_loop loop;
static struct ha_http_server *server;
static struct ha_listener *listener;
static struct ha_http_request *waiting; /* answered with the next turn, or gone */
static bool answers_late, left;

static void answer(struct ha_http_request *request)
{
    size_t size;
    const uint8_t *body = ha_http_body(request, &size);

    if (size % 2 == 1) {
        ha_http_reply_begin(request, 200, "text/plain");
        (void)ha_http_reply_send(request, body, size);
        ha_http_reply_end(request);
        return;
    }
    FUZZ_CHECK(ha_http_set_header(request, "X-Name", "value") == HA_OK);
    ha_http_reply(request, 200, "text/plain", body, size);
}

static void on_request_gone(void *ctx, struct ha_http_request *request)
{
    (void)ctx;
    FUZZ_CHECK(request == waiting);
    waiting = NULL;
}

static void on_request(void *ctx, struct ha_http_request *request)
{
    const char *a = ha_http_query(request, "a"), *host = ha_http_header(request, "Host");
    size_t size;

    (void)ctx;
    (void)ha_http_body(request, &size);
    FUZZ_CHECK(size <= BODY_MAX);
    FUZZ_CHECK(strlen(ha_http_method(request)) > 0 && strlen(ha_http_path(request)) < 1024);
    FUZZ_CHECK(a == NULL || strlen(a) < 65536);
    FUZZ_CHECK(host == NULL || strlen(host) < 65536);
    FUZZ_CHECK(waiting == NULL);
    if (!answers_late) {
        answer(request);
        return;
    }
    waiting = request;
    ha_http_on_gone(request, on_request_gone, NULL);
}

static void on_stream(void *ctx, struct ha_stream *stream)
{
    (void)ctx;
    ha_http_server_adopt(server, stream);
}

static void open_server(void)
{
    struct ha_http_server_options options = {
        .body_max = BODY_MAX, .headers_max = 4096, .handler = on_request};
    struct ha_listener_options listener_options = {.on_stream = on_stream};
    char path[256] = "unix:";
    struct ha_addr addr;

    (void)ha_text_append(path, sizeof(path), "%s", scratch_path("socket"));
    FUZZ_CHECK(ha_loop_init(&loop) == HA_OK);
    FUZZ_CHECK(ha_http_server_open(&server, &loop.uv, &options) == HA_OK);
    FUZZ_CHECK(ha_listener_open(&listener, &loop.uv, &listener_options) == HA_OK);
    FUZZ_CHECK(ha_addr_parse(path, 0, &addr) == HA_OK);
    FUZZ_CHECK(ha_listener_bind(listener, &addr, 0600, NULL, NULL) == HA_OK);
}

static int dial(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", scratch_path("socket"));
    FUZZ_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    return fd;
}

/* What was answered is read away; the end of the connection is noted. */
static void turn(int fd)
{
    char text[4096];
    ssize_t size;

    (void)uv_run(&loop.uv, UV_RUN_NOWAIT);
    if (waiting != NULL) {
        struct ha_http_request *request = waiting;

        waiting = NULL;
        answer(request);
        (void)uv_run(&loop.uv, UV_RUN_NOWAIT);
    }
    while ((size = recv(fd, text, sizeof(text), 0)) > 0)
        ;
    left = left || size == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ha_listener_stats stats;
    size_t piece;
    int fd;

    if (size < 1)
        return 0;
    if (server == NULL)
        open_server();
    answers_late = (data[0] & 1) != 0;
    left = false;
    piece = data[0] < 2 ? size : data[0];
    fd = dial();
    for (size_t at = 1; at < size && !left; at += piece) {
        size_t n = piece < size - at ? piece : size - at;

        if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
            break;
        turn(fd);
    }
    turn(fd);
    (void)close(fd);
    for (unsigned i = 0; i < 1000; i++) {
        (void)uv_run(&loop.uv, UV_RUN_NOWAIT);
        ha_listener_stats(listener, &stats);
        if (stats.open + stats.pending == 0)
            break;
        if (i > 100)
            uv_sleep(1);
    }
    FUZZ_CHECK(stats.open + stats.pending == 0 && waiting == NULL);
    return 0;
}
