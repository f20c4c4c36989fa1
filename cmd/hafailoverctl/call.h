/* cmd/hafailoverctl/call.h - one question to one watcher, and its answer.
 *
 * Blocking: a loop of its own per call. */
#ifndef HA_CMD_HAFAILOVERCTL_CALL_H
#define HA_CMD_HAFAILOVERCTL_CALL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes of the program. */
enum ha_exit {
    HA_EXIT_OK = 0,
    HA_EXIT_REFUSED = 1,
    HA_EXIT_USAGE = 2,
    HA_EXIT_UNREACHABLE = 3,
    HA_EXIT_UNKNOWN = 4,   /* timed out: a write may have happened */
    HA_EXIT_NO_QUORUM = 5, /* the cluster cannot now */
    HA_EXIT_UNDONE = 6     /* tried, and it ended otherwise than asked */
};

#define HA_TARGET_URLS_MAX 9

/* Which watchers, as whom. Strings are borrowed. */
struct ha_target {
    const char *socket;                   /* UNIX socket, or ... */
    const char *urls[HA_TARGET_URLS_MAX]; /* ... https://host:port, asked in turn, with ... */
    uint32_t url_count;
    const char *key_file;  /* ... the key of ... */
    const char *name;      /* ... "ctl/NAME" */
    const char *ca_file;   /* with certificates: who signs them; else NULL ... */
    const char *cert_file; /* ... and our own */
    uint32_t deadline_ms;
    uint32_t slow_ms; /* a write may take so much longer, by a watcher that answers, ... */
    const char *slow; /* ... and when it does, this is said of it */
};

/* Where an answer goes that is bytes, not JSON; borrows. */
typedef void (*ha_call_bytes_cb)(void *ctx, const void *data, size_t size);

struct ha_ask {
    const char *method, *path; /* path with its query */
    const void *body;
    size_t body_size;
    ha_call_bytes_cb on_bytes; /* NULL: JSON is wanted */
    void *bytes_ctx;
    const char
        *body_file; /* where the body was read from, to name it in a refusal; NULL: nowhere */
    bool quiet;     /* say nothing of what went wrong */
};

/* Ask the first watcher that answers, within deadline_ms in all; a write goes to one that has just
 * shown that it does, and to no second one where it may have happened. Parse the JSON answer into
 * *ret (gives: json_decref; NULL unless HA_EXIT_OK, or a refusal
 * that tells more than its sentence), and say on standard error what went wrong. */
enum ha_exit ha_call(const struct ha_target *target, const struct ha_ask *ask, json_t **ret);

#endif /* HA_CMD_HAFAILOVERCTL_CALL_H */
