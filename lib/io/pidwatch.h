/* lib/io/pidwatch.h - learn at once that a foreign process died.
 *
 * Loop thread only. */
#ifndef HA_IO_PIDWATCH_H
#define HA_IO_PIDWATCH_H

#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct ha_pidwatch; /* opaque */

typedef void (*ha_pidwatch_cb)(void *ctx, pid_t pid);
typedef void (*ha_pidwatch_close_cb)(void *ctx);

/* Call @on_exit once, within the loop turn after @pid ended (pidfd; it need not be our child).
 * HA_ENOENT: no such process (now); HA_ENOTSUP: the kernel is older than 5.3; HA_EIO, HA_ENOMEM.
 * A pid is reused: compare ha_pid_start_time before and after. */
int ha_pidwatch_open(struct ha_pidwatch **ret, uv_loop_t *loop, pid_t pid, ha_pidwatch_cb on_exit,
                     void *ctx);
void ha_pidwatch_close(struct ha_pidwatch *watch, ha_pidwatch_close_cb cb, void *ctx);

/* Clock ticks after boot at which @pid started (/proc/PID/stat field 22): with the pid, it names
 * one process for good. HA_ENOENT, HA_EPROTO. */
int ha_pid_start_time(pid_t pid, uint64_t *ret);

#endif /* HA_IO_PIDWATCH_H */
