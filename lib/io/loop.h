/* lib/io/loop.h - the one loop of a daemon: signals, and the place where queued work is done.
 *
 * Loop thread only. The struct and the hooks are the caller's memory, from init until fini.
 * Effects are never executed inside a foreign callback: they are queued, and the drain hooks
 * execute them once per turn after I/O and again before the loop sleeps, so that work queued by
 * I/O, timers or close callbacks never waits for the next packet. */
#ifndef HA_IO_LOOP_H
#define HA_IO_LOOP_H

#include <stdbool.h>
#include <uv.h>

struct ha_loop;

typedef void (*ha_loop_stop_cb)(void *ctx, int signal);
typedef void (*ha_loop_drain_cb)(void *ctx);
typedef void (*ha_loop_reload_cb)(void *ctx);

struct ha_loop_hook {
    ha_loop_drain_cb cb;
    void *ctx;
    struct ha_loop_hook *next;
};

struct ha_loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active: do not sleep, a hook has more to do */
    uv_signal_t signals[2];
    uv_signal_t hangup;
    uv_timer_t watchdog;        /* tells the service manager that the loop turns */
    struct ha_loop_hook *hooks; /* in the order in which they were added */
    uv_timer_t hurry;           /* after the signal to stop */
    uint32_t stop_max_ms;
    ha_loop_stop_cb stop_cb;
    void *stop_ctx;
    ha_loop_reload_cb reload_cb;
    void *reload_ctx;
    bool stopping;
    bool woken;
};

/* Ignore SIGPIPE, set up the loop. Where the service manager asks for it (WATCHDOG_USEC), it is
 * told from the loop that it turns. HA_EIO with a reason. */
int ha_loop_init(struct ha_loop *loop);

/* Call @cb once on the first SIGTERM or SIGINT; later ones are ignored. HA_EIO. What has not closed
 * in four seconds (stop_max_ms) is waiting for a disk that hangs, or for a program: the process
 * then ends with status 1 as it would when killed, so that the next one need not wait for that. */
int ha_loop_on_stop(struct ha_loop *loop, ha_loop_stop_cb cb, void *ctx);

/* Call @cb on each SIGHUP. HA_EIO. */
int ha_loop_on_reload(struct ha_loop *loop, ha_loop_reload_cb cb, void *ctx);

/* Add @hook (caller's memory until fini) with cb and ctx set. */
void ha_loop_on_drain(struct ha_loop *loop, struct ha_loop_hook *hook);

/* Something was queued: run the hooks (again) before the loop sleeps. Needed only inside hooks,
 * where a later one queues for an earlier one; harmless elsewhere. */
void ha_loop_wake(struct ha_loop *loop);

/* Start @timer, once, @after_ms from now. The loop's own clock is as old as its turn, and moving it
 * from a timer's callback (uv_update_time) lets timers that have just become due run before sockets
 * are looked at: a loop with much to do would do nothing but time out. */
void ha_loop_after(uv_timer_t *timer, uv_timer_cb cb, uint64_t after_ms);

/* Run until nothing but the loop's own handles is active. */
void ha_loop_run(struct ha_loop *loop);

/* Close the loop's own handles and the loop. HA_EBUSY: a caller's handle is still open (its kind is
 * logged); the loop then must not be freed. */
int ha_loop_fini(struct ha_loop *loop);

/* Block every signal in the calling thread: for threads that are not the loop's. */
void ha_loop_block_signals(void);

#endif /* HA_IO_LOOP_H */
