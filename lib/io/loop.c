#include "lib/io/loop.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/io/log.h"
#include "lib/io/notify.h"

#define STOP_MAX_MS 4000u /* the service manager kills an agent after five seconds */
#define NS_PER_MS 1000000u
#define ROUNDS_MAX 64 /* hooks that wake each other for ever must not keep I/O out */

/* The loop may not block while a hook has more to do. */
static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void drain(struct ha_loop *loop)
{
    unsigned rounds = 0;

    do {
        loop->woken = false;
        for (struct ha_loop_hook *hook = loop->hooks; hook != NULL; hook = hook->next)
            hook->cb(hook->ctx);
        rounds++;
    } while (loop->woken && rounds < ROUNDS_MAX);
    if (loop->woken)
        (void)uv_idle_start(&loop->idle, on_idle);
    else
        (void)uv_idle_stop(&loop->idle);
}

static void on_prepare(uv_prepare_t *prepare)
{
    drain(prepare->data);
}

static void on_check(uv_check_t *check)
{
    drain(check->data);
}

static void on_overdue(uv_timer_t *timer)
{
    const struct ha_loop *loop = timer->data;

    HA_LOG(HA_LOG_WARN, "stopped-unfinished", "after_ms=%" PRIu32, loop->stop_max_ms);
    _exit(1);
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    struct ha_loop *loop = handle->data;

    if (loop->stopping)
        return;
    loop->stopping = true;
    HA_LOG(HA_LOG_INFO, "stop-signal", "signal=%d", signal_number);
    (void)uv_timer_start(&loop->hurry, on_overdue, loop->stop_max_ms, 0);
    loop->stop_cb(loop->stop_ctx, signal_number);
}

/* From the loop itself: one that no longer turns is ended, and started again, by the manager. */
static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    (void)ha_notify("WATCHDOG=1");
}

int ha_loop_init(struct ha_loop *loop)
{
    uint32_t watchdog_ms = ha_notify_watchdog_ms();

    *loop = (struct ha_loop){.stop_max_ms = STOP_MAX_MS};
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || uv_loop_init(&loop->uv) != 0)
        return HA_EIO;
    /* None of these can fail after the loop itself. */
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    (void)uv_check_init(&loop->uv, &loop->check);
    (void)uv_idle_init(&loop->uv, &loop->idle);
    (void)uv_timer_init(&loop->uv, &loop->watchdog);
    (void)uv_timer_init(&loop->uv, &loop->hurry);
    if (watchdog_ms > 0)
        (void)uv_timer_start(&loop->watchdog, on_watchdog, 0, watchdog_ms);
    loop->prepare.data = loop->check.data = loop->idle.data = loop->hurry.data = loop;
    (void)uv_prepare_start(&loop->prepare, on_prepare);
    (void)uv_check_start(&loop->check, on_check);
    uv_unref((uv_handle_t *)&loop->prepare);
    uv_unref((uv_handle_t *)&loop->check);
    uv_unref((uv_handle_t *)&loop->idle);
    uv_unref((uv_handle_t *)&loop->watchdog);
    uv_unref((uv_handle_t *)&loop->hurry);
    return HA_OK;
}

int ha_loop_on_stop(struct ha_loop *loop, ha_loop_stop_cb cb, void *ctx)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    assert(loop->stop_cb == NULL);
    for (size_t i = 0; i < HA_ARRAY_LEN(numbers); i++) {
        uv_signal_t *handle = &loop->signals[i];

        if (handle->data == NULL) {
            if (uv_signal_init(&loop->uv, handle) != 0)
                return HA_EIO;
            handle->data = loop;
            uv_unref((uv_handle_t *)handle);
        }
        if (uv_signal_start(handle, on_signal, numbers[i]) != 0)
            return HA_EIO;
    }
    loop->stop_cb = cb;
    loop->stop_ctx = ctx;
    return HA_OK;
}

static void on_hangup(uv_signal_t *handle, int signal_number)
{
    struct ha_loop *loop = handle->data;

    (void)signal_number;
    if (!loop->stopping)
        loop->reload_cb(loop->reload_ctx);
}

int ha_loop_on_reload(struct ha_loop *loop, ha_loop_reload_cb cb, void *ctx)
{
    assert(loop->reload_cb == NULL);
    if (uv_signal_init(&loop->uv, &loop->hangup) != 0)
        return HA_EIO;
    loop->hangup.data = loop;
    loop->reload_cb = cb;
    loop->reload_ctx = ctx;
    uv_unref((uv_handle_t *)&loop->hangup);
    return uv_signal_start(&loop->hangup, on_hangup, SIGHUP) == 0 ? HA_OK : HA_EIO;
}

void ha_loop_on_drain(struct ha_loop *loop, struct ha_loop_hook *hook)
{
    struct ha_loop_hook **at = &loop->hooks;

    assert(hook->cb != NULL);
    while (*at != NULL) {
        assert(*at != hook);
        at = &(*at)->next;
    }
    hook->next = NULL;
    *at = hook;
}

void ha_loop_wake(struct ha_loop *loop)
{
    loop->woken = true;
}

void ha_loop_after(uv_timer_t *timer, uv_timer_cb cb, uint64_t after_ms)
{
    uint64_t now_ms = uv_hrtime() / NS_PER_MS, loop_ms = uv_now(timer->loop);

    /* Fails only without a callback. */
    (void)uv_timer_start(timer, cb, after_ms + (now_ms > loop_ms ? now_ms - loop_ms : 0), 0);
}

void ha_loop_run(struct ha_loop *loop)
{
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

static void report_open(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        HA_LOG(HA_LOG_WARN, "loop-handle-open", "kind=%s", uv_handle_type_name(handle->type));
}

int ha_loop_fini(struct ha_loop *loop)
{
    loop->hooks = NULL;
    for (size_t i = 0; i < HA_ARRAY_LEN(loop->signals); i++) {
        if (loop->signals[i].data != NULL)
            uv_close((uv_handle_t *)&loop->signals[i], NULL);
    }
    if (loop->hangup.data != NULL)
        uv_close((uv_handle_t *)&loop->hangup, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->idle, NULL);
    uv_close((uv_handle_t *)&loop->watchdog, NULL);
    uv_close((uv_handle_t *)&loop->hurry, NULL);
    (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    if (uv_loop_close(&loop->uv) != 0) {
        uv_walk(&loop->uv, report_open, NULL);
        return HA_EBUSY;
    }
    return HA_OK;
}

void ha_loop_block_signals(void)
{
    sigset_t all;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL);
}
