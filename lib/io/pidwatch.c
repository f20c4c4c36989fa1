#include "lib/io/pidwatch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

struct ha_pidwatch {
    uv_poll_t poll;
    int fd;
    pid_t pid;
    bool told;
    ha_pidwatch_cb on_exit;
    void *ctx;
    ha_pidwatch_close_cb close_cb;
    void *close_ctx;
};

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct ha_pidwatch *watch = poll->data;

    (void)events;
    if (watch->told)
        return;
    watch->told = true;
    (void)status; /* a pidfd that fails to poll tells no less than one that is readable */
    (void)uv_poll_stop(poll);
    watch->on_exit(watch->ctx, watch->pid);
}

int ha_pidwatch_open(struct ha_pidwatch **ret, uv_loop_t *loop, pid_t pid, ha_pidwatch_cb on_exit,
                     void *ctx)
{
    struct ha_pidwatch *watch = calloc(1, sizeof(*watch));
    int error;

    if (watch == NULL)
        return HA_ENOMEM;
    watch->fd = (int)syscall(SYS_pidfd_open, pid, 0);
    error = errno;
    if (watch->fd < 0) {
        free(watch);
        return error == ESRCH || error == EINVAL ? HA_ENOENT
               : error == ENOSYS                 ? HA_ENOTSUP
                                                 : HA_EIO;
    }
    if (uv_poll_init(loop, &watch->poll, watch->fd) != 0) {
        (void)close(watch->fd);
        free(watch);
        return HA_EIO;
    }
    watch->poll.data = watch;
    watch->pid = pid;
    watch->on_exit = on_exit;
    watch->ctx = ctx;
    (void)uv_poll_start(&watch->poll, UV_READABLE, on_poll);
    *ret = watch;
    return HA_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct ha_pidwatch *watch = handle->data;
    ha_pidwatch_close_cb cb = watch->close_cb;
    void *ctx = watch->close_ctx;

    (void)close(watch->fd);
    free(watch);
    if (cb != NULL)
        cb(ctx);
}

void ha_pidwatch_close(struct ha_pidwatch *watch, ha_pidwatch_close_cb cb, void *ctx)
{
    watch->told = true;
    watch->close_cb = cb;
    watch->close_ctx = ctx;
    uv_close((uv_handle_t *)&watch->poll, on_closed);
}

/* "pid (name) S f4 f5 ...": the name may hold anything, so count from the last parenthesis. */
static int field_22(char *text, uint64_t *ret)
{
    char *at = strrchr(text, ')');
    char *end;

    if (at == NULL)
        return HA_EPROTO;
    for (unsigned field = 2; field < 22; field++) {
        at = strchr(at + 1, ' ');
        if (at == NULL)
            return HA_EPROTO;
    }
    at++;
    end = strchr(at, ' ');
    if (end == NULL)
        return HA_EPROTO;
    *end = '\0';
    return ha_text_u64(at, UINT64_MAX, ret) == HA_OK ? HA_OK : HA_EPROTO;
}

int ha_pid_start_time(pid_t pid, uint64_t *ret)
{
    char path[48];
    char text[1024];
    ssize_t size;
    FILE *file;

    (void)ha_text_format(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return HA_ENOENT;
    size = (ssize_t)fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    if (size <= 0)
        return HA_ENOENT; /* it ended between open and read */
    text[size] = '\0';
    return field_22(text, ret);
}
