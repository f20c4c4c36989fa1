/* lib/io/process.h - run a program with a deadline.
 *
 * Loop thread only. (`ha_process` alone is an enum of the core.) */
#ifndef HA_IO_PROCESS_H
#define HA_IO_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "lib/base/err.h"
#include "lib/io/pidwatch.h"

struct ha_process_run; /* opaque */

struct ha_process_options {
    const char *const
        *argv; /* argv[0] is the path (searched in PATH if without a slash); borrowed */
    const char *const *env; /* NULL: ours; borrowed */
    const char *cwd;        /* NULL: ours; borrowed */
    const void *input;      /* for its standard input, copied; NULL: /dev/null */
    size_t input_size;
    size_t output_max;    /* of standard output and error together; more is dropped; 0: 64 KiB */
    uint32_t deadline_ms; /* then its process group gets SIGKILL; required */
    bool set_ids;         /* run as uid and gid, without further groups */
    uid_t uid;
    gid_t gid;
};

struct ha_process_result {
    /* HA_OK: it ran and ended by itself, see exit_status and signal. HA_ENOENT, HA_EDENIED, HA_EIO:
     * could not be started. HA_ETIMEDOUT, HA_ECANCELED: killed. */
    int code;
    int exit_status;
    int signal;         /* 0: exited */
    const char *output; /* borrowed for the callback; NUL after it */
    size_t output_size;
    bool output_cut;
    struct ha_err err;
};

typedef void (*ha_process_cb)(void *ctx, const struct ha_process_result *result);

/* Exactly one @cb, from the loop, also when it could not be started. *ret (may be NULL) is valid
 * until then. HA_EINVAL, HA_ENOMEM: no callback. */
int ha_process_start(struct ha_process_run **ret, uv_loop_t *loop,
                     const struct ha_process_options *options, ha_process_cb cb, void *ctx);
/* SIGKILL to its process group; the callback comes with HA_ECANCELED. */
void ha_process_cancel(struct ha_process_run *process);

#endif /* HA_IO_PROCESS_H */
