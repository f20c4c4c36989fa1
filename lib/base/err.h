/* lib/base/err.h - result codes to branch on and the text a person reads.
 *
 * Pure, no allocation. A function returns HA_OK or a negative code; where it also takes a
 * `struct ha_err *err` (last parameter, may be NULL) it fills in the same code and a sentence.
 * Outer layers prefix the sentence on the way up: "open config: line 7: unknown key". */
#ifndef HA_BASE_ERR_H
#define HA_BASE_ERR_H

#include "lib/base/check.h"

#define HA_ERR_TEXT_SIZE 256

/* One list gives the codes and their texts. */
#define HA_CODE_MAP(X)                                      \
    X(HA_EINVAL, -1, "invalid argument")                    \
    X(HA_ESTALE, -2, "superseded by something newer")       \
    X(HA_EBUSY, -3, "busy")                                 \
    X(HA_ENOENT, -4, "not found")                           \
    X(HA_EEXIST, -5, "already exists")                      \
    X(HA_EFULL, -6, "limit reached")                        \
    X(HA_EPROTO, -7, "malformed or unexpected data")        \
    X(HA_ETIMEDOUT, -8, "deadline passed")                  \
    X(HA_ECANCELED, -9, "canceled")                         \
    X(HA_EUNREACH, -10, "unreachable")                      \
    X(HA_EREFUSED, -11, "connection refused")               \
    X(HA_ECLOSED, -12, "closed by the other side")          \
    X(HA_EAUTH, -13, "not authenticated")                   \
    X(HA_EDENIED, -14, "not permitted")                     \
    X(HA_EIO, -15, "input/output error")                    \
    X(HA_ENOMEM, -16, "out of memory")                      \
    X(HA_ENOTLEADER, -17, "this watcher is not the leader") \
    X(HA_ENOQUORUM, -18, "no majority of watchers")         \
    X(HA_ECORRUPT, -19, "stored state is damaged")          \
    X(HA_ENOTSUP, -20, "not supported here")

enum ha_code {
    HA_OK = 0,
#define X(name, value, text) name = value,
    HA_CODE_MAP(X)
#undef X
};

struct ha_err {
    int code; /* HA_OK or a negative enum ha_code */
    char text[HA_ERR_TEXT_SIZE];
};

/* The fixed text of @code; never NULL. */
const char *ha_code_text(int code);

/* Fill *err (may be NULL) and return @code, so that callers can write `return ha_err_set(...)`.
 * A text that does not fit is cut. */
int ha_err_set(struct ha_err *err, int code, const char *format, ...) HA_PRINTF(3, 4);

/* Put "prefix: " before the text; returns err->code, or @code where @err is NULL. */
int ha_err_prefix(struct ha_err *err, int code, const char *format, ...) HA_PRINTF(3, 4);

#endif /* HA_BASE_ERR_H */
