#include "lib/io/process.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/text.h"

#define OUTPUT_DEFAULT ((size_t)64 * 1024)
#define READ_SIZE 4096
/* After its end a child's own children may hold the pipe open: what they write is not waited for.
 */
#define DRAIN_MS 200
/* How long SIGKILL may take; then the callback comes although the process is still there. */
#define DIE_MS 2000

struct ha_process_run {
    uv_process_t process;
    uv_pipe_t input;
    uv_pipe_t output;
    uv_timer_t timer; /* the deadline; after exit, of the last output */
    uv_write_t write;
    unsigned open_handles;
    bool tried; /* uv_spawn was called: its handle is in the loop, also after a failure */
    bool spawned;
    bool exited;
    bool output_ended;
    bool closing;
    char *input_copy;
    char *captured;
    size_t captured_max;
    char read_buffer[READ_SIZE];
    struct ha_process_result result;
    ha_process_cb cb;
    void *ctx;
};

static void on_closed(uv_handle_t *handle)
{
    struct ha_process_run *process = handle->data;

    assert(process->open_handles > 0);
    process->open_handles--;
    if (process->open_handles > 0)
        return;
    process->captured[process->result.output_size] = '\0';
    process->result.output = process->captured;
    process->cb(process->ctx, &process->result);
    free(process->captured);
    free(process->input_copy);
    free(process);
}

/* The only caller of uv_close. */
static void finish(struct ha_process_run *process)
{
    if (process->closing)
        return;
    process->closing = true;
    if (process->tried) {
        process->open_handles++;
        uv_close((uv_handle_t *)&process->process, on_closed);
    }
    if (!uv_is_closing((uv_handle_t *)&process->input))
        uv_close((uv_handle_t *)&process->input, on_closed);
    uv_close((uv_handle_t *)&process->output, on_closed);
    uv_close((uv_handle_t *)&process->timer, on_closed);
}

/* It leads its own process group, so its children go too. */
static void kill_group(struct ha_process_run *process)
{
    if (process->spawned && !process->exited)
        (void)kill(-process->process.pid, SIGKILL);
}

static void finish_if_done(struct ha_process_run *process)
{
    if (process->exited && process->output_ended)
        finish(process);
}

static void on_overdue(uv_timer_t *timer)
{
    finish(timer->data);
}

static void on_deadline(uv_timer_t *timer)
{
    struct ha_process_run *process = timer->data;

    if (process->result.code == HA_OK)
        process->result.code =
            ha_err_set(&process->result.err, HA_ETIMEDOUT, "killed at its deadline");
    kill_group(process);
    (void)uv_timer_start(timer, on_overdue, DIE_MS, 0);
}

static void on_ended(uv_process_t *handle, int64_t status, int signal_number)
{
    struct ha_process_run *process = handle->data;

    process->exited = true;
    process->result.exit_status = (int)status;
    process->result.signal = signal_number;
    (void)uv_timer_start(&process->timer, on_overdue, DRAIN_MS, 0);
    finish_if_done(process);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct ha_process_run *process = handle->data;

    (void)suggested;
    *ret = uv_buf_init(process->read_buffer, sizeof(process->read_buffer));
}

static void close_input(struct ha_process_run *process)
{
    if (process->closing || uv_is_closing((uv_handle_t *)&process->input))
        return;
    uv_close((uv_handle_t *)&process->input, on_closed);
}

static void on_output(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct ha_process_run *process = stream->data;
    size_t room = process->captured_max - process->result.output_size;
    size_t n = size > 0 ? (size_t)size : 0;

    if (size < 0) {
        (void)uv_read_stop(stream);
        process->output_ended = true;
        finish_if_done(process);
        return;
    }
    if (n > room) {
        process->result.output_cut = true;
        n = room;
    }
    memcpy(process->captured + process->result.output_size, buf->base, n);
    process->result.output_size += n;
}

static void on_written(uv_write_t *write, int status)
{
    struct ha_process_run *process = write->data;

    (void)status; /* a program may leave its input unread */
    close_input(process);
}

/* Both standard output and error of the child; *ret_child is its end, to be closed here later. */
static int open_output(struct ha_process_run *process, uv_file *ret_child)
{
    uv_file ends[2];
    int rv = uv_pipe(ends, UV_NONBLOCK_PIPE, 0);

    if (rv != 0)
        return rv;
    rv = uv_pipe_open(&process->output, ends[0]);
    if (rv != 0) {
        (void)close(ends[0]);
        (void)close(ends[1]);
        return rv;
    }
    *ret_child = ends[1];
    return uv_read_start((uv_stream_t *)&process->output, on_alloc, on_output);
}

static int spawn(struct ha_process_run *process, const struct ha_process_options *options)
{
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}};
    uv_process_options_t spawn_options = {
        .exit_cb = on_ended,
        .file = options->argv[0],
        .args = (char **)(uintptr_t)options->argv, /* libuv only reads them */
        .env = (char **)(uintptr_t)options->env,
        .cwd = options->cwd,
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = 3,
        .stdio = stdio,
    };
    uv_file child_end;
    int rv = open_output(process, &child_end);

    if (rv != 0)
        return rv;
    stdio[1] = stdio[2] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = child_end};
    if (process->input_copy != NULL) {
        stdio[0].flags = (uv_stdio_flags)((unsigned)UV_CREATE_PIPE | (unsigned)UV_READABLE_PIPE);
        stdio[0].data.stream = (uv_stream_t *)&process->input;
    }
    if (options->set_ids) {
        spawn_options.flags |= (unsigned)UV_PROCESS_SETUID | (unsigned)UV_PROCESS_SETGID;
        spawn_options.uid = options->uid;
        spawn_options.gid = options->gid;
    }
    process->tried = true;
    rv = uv_spawn(process->process.loop, &process->process, &spawn_options);
    (void)close(child_end);
    return rv;
}

static void start(struct ha_process_run *process, const struct ha_process_options *options)
{
    uv_buf_t buf = uv_buf_init(process->input_copy, (unsigned)options->input_size);
    int rv = spawn(process, options);

    if (rv != 0) {
        int code = rv == UV_ENOENT                     ? HA_ENOENT
                   : rv == UV_EACCES || rv == UV_EPERM ? HA_EDENIED
                                                       : HA_EIO;

        process->result.code = ha_err_set(&process->result.err, code, "start %s: %s",
                                          options->argv[0], uv_strerror(rv));
        finish(process);
        return;
    }
    process->spawned = true;
    process->write.data = process;
    if (process->input_copy != NULL &&
        uv_write(&process->write, (uv_stream_t *)&process->input, &buf, 1, on_written) != 0)
        close_input(process);
    (void)uv_timer_start(&process->timer, on_deadline, options->deadline_ms, 0);
}

/* The handles of one process begin together, so that finish() can close them together. */
static void init_handles(struct ha_process_run *process, uv_loop_t *loop)
{
    process->process.loop = loop;
    process->process.type = UV_PROCESS;
    (void)uv_pipe_init(loop, &process->input, 0);
    (void)uv_pipe_init(loop, &process->output, 0);
    (void)uv_timer_init(loop, &process->timer);
    process->process.data = process->input.data = process;
    process->output.data = process->timer.data = process;
    process->open_handles = 3;
}

int ha_process_start(struct ha_process_run **ret, uv_loop_t *loop,
                     const struct ha_process_options *options, ha_process_cb cb, void *ctx)
{
    size_t output_max = options->output_max != 0 ? options->output_max : OUTPUT_DEFAULT;
    struct ha_process_run *process;

    if (options->argv == NULL || options->argv[0] == NULL || options->deadline_ms == 0)
        return HA_EINVAL;
    process = calloc(1, sizeof(*process));
    if (process == NULL)
        return HA_ENOMEM;
    process->captured = malloc(output_max + 1);
    if (options->input != NULL)
        process->input_copy = malloc(options->input_size + 1);
    if (process->captured == NULL || (options->input != NULL && process->input_copy == NULL)) {
        free(process->captured);
        free(process->input_copy);
        free(process);
        return HA_ENOMEM;
    }
    if (options->input != NULL)
        memcpy(process->input_copy, options->input, options->input_size);
    process->captured_max = output_max;
    process->cb = cb;
    process->ctx = ctx;
    init_handles(process, loop);
    if (ret != NULL)
        *ret = process;
    start(process, options);
    return HA_OK;
}

void ha_process_cancel(struct ha_process_run *process)
{
    if (process->result.code != HA_OK || process->closing)
        return;
    process->result.code = ha_err_set(&process->result.err, HA_ECANCELED, "canceled");
    kill_group(process);
    (void)uv_timer_start(&process->timer, on_deadline, DIE_MS, 0);
}
