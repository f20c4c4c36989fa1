/* What a webhook's end, or a watcher that hafailoverctl asks, answers: one callback, with a status
 * or a reason, and nothing is followed or kept. The first byte says how long the pieces are. */
#include <string.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/io/http_client.h"
#include "lib/io/loop.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

#define ANSWER_MAX 512u

static struct ha_loop loop;
static struct ha_http_client *client;
static uv_pipe_t listener;
static const uint8_t *say;
static size_t say_size, piece_size;
static unsigned accepted, answered, open_ends;

struct end {
    uv_pipe_t pipe;
    uv_write_t write;
    size_t said;
    char room[2048];
};

static void on_end_closed(uv_handle_t *handle)
{
    free(handle->data);
    open_ends--;
}

static void close_end(struct end *end)
{
    if (!uv_is_closing((uv_handle_t *)&end->pipe))
        uv_close((uv_handle_t *)&end->pipe, on_end_closed);
}

static void on_said(uv_write_t *write, int status);

static void speak(struct end *end)
{
    size_t left = say_size - end->said, n = piece_size < left ? piece_size : left;
    uv_buf_t buf = {.base = (char *)(uintptr_t)(say + end->said), .len = n};

    if (left == 0) {
        close_end(end);
        return;
    }
    end->said += n;
    if (uv_write(&end->write, (uv_stream_t *)&end->pipe, &buf, 1, on_said) != 0)
        close_end(end);
}

static void on_said(uv_write_t *write, int status)
{
    struct end *end = write->data;

    if (status != 0 || uv_is_closing((uv_handle_t *)&end->pipe))
        close_end(end);
    else
        speak(end);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct end *end = handle->data;

    (void)suggested;
    *ret = uv_buf_init(end->room, sizeof(end->room));
}

/* The request has come: what the fuzzer has to say follows. */
static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct end *end = stream->data;

    (void)buf;
    if (size < 0)
        close_end(end);
    else if (size > 0 && end->said == 0)
        speak(end);
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct end *end = calloc(1, sizeof(*end));

    FUZZ_CHECK(end != NULL && status == 0);
    FUZZ_CHECK(uv_pipe_init(&loop.uv, &end->pipe, 0) == 0);
    end->pipe.data = end->write.data = end;
    FUZZ_CHECK(uv_accept(stream, (uv_stream_t *)&end->pipe) == 0);
    FUZZ_CHECK(uv_read_start((uv_stream_t *)&end->pipe, on_alloc, on_read) == 0);
    accepted++;
    open_ends++;
}

static void on_answer(void *ctx, const struct ha_http_answer *answer)
{
    (void)ctx;
    answered++;
    FUZZ_CHECK(answer->body != NULL && answer->body[answer->body_size] == '\0');
    FUZZ_CHECK(answer->body_size <= ANSWER_MAX);
    FUZZ_CHECK(answer->code != HA_OK || (answer->status >= 100 && answer->status <= 999));
    FUZZ_CHECK(answer->code == HA_OK || (answer->err.text[0] != '\0' && answer->body_size == 0));
    FUZZ_CHECK(answer->code != HA_ETIMEDOUT); /* the other end has hung up */
}

static void open_all(void)
{
    FUZZ_CHECK(ha_loop_init(&loop) == HA_OK);
    FUZZ_CHECK(ha_http_client_open(&client, &loop.uv, NULL) == HA_OK);
    FUZZ_CHECK(uv_pipe_init(&loop.uv, &listener, 0) == 0);
    FUZZ_CHECK(uv_pipe_bind(&listener, scratch_path("socket")) == 0);
    FUZZ_CHECK(uv_listen((uv_stream_t *)&listener, 8, on_connection) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ha_http_ask ask = {.method = "POST",
                              .url = "http://localhost/hook",
                              .body = "{}",
                              .body_size = 2,
                              .deadline_ms = 10000,
                              .answer_max = ANSWER_MAX};

    if (size < 1)
        return 0;
    if (client == NULL)
        open_all();
    ask.unix_socket = scratch_path("socket");
    say = data + 1;
    say_size = size - 1;
    piece_size = data[0] == 0 ? size : data[0];
    accepted = answered = 0;
    FUZZ_CHECK(ha_http_call_start(client, &ask, NULL, on_answer, NULL) == HA_OK);
    while (answered == 0 || open_ends > 0)
        (void)uv_run(&loop.uv, UV_RUN_ONCE);
    FUZZ_CHECK(answered == 1 && accepted == 1);
    return 0;
}
