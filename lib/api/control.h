/* lib/api/control.h - the HTTP control API under /v1: a request and a view in, a response out.
 *
 * Pure: no sockets, no clock, no log; allocates its answers. A read is answered from the state this
 * watcher has applied and says how old the leader's last word is. A write becomes one command that
 * the caller hands to the core and the log; its answer is made by ha_api_finish when the outcome is
 * known. Answers are JSON objects; refusals are {"error": sentence, "code": word}. */
#ifndef HA_API_CONTROL_H
#define HA_API_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/core/command.h"
#include "lib/core/limits.h"

#define HA_API_PREPARE_DEFAULT_MS 60000u
#define HA_API_PREPARE_MAX_MS 3600000u

struct ha_config;
struct ha_watcher;

enum ha_api_role {
    HA_API_NOBODY,  /* health only */
    HA_API_VIEW,    /* reads */
    HA_API_OPERATE, /* reads and writes */
};

/* What @peer (an authenticated name, "" on the local UNIX socket) may do. */
enum ha_api_role ha_api_role_of(const char *peer, bool is_local);

struct ha_api_request {
    const char *method;
    const char *path;
    /* A parameter of the query, NULL when not given. */
    const char *(*query)(const void *ctx, const char *key);
    const void *query_ctx;
    const char *body; /* borrowed, not terminated */
    size_t body_size;
    const char *peer;
    enum ha_api_role role;
};

/* What the shell knows beside the core. */
struct ha_api_view {
    const struct ha_watcher *watcher; /* borrowed */
    uint64_t now_ms, wall_ms;
    uint64_t started_ms; /* monotonic */
    uint64_t term;
    uint64_t commit_index;
    uint64_t proposals_open;
    uint64_t log_bytes;
    uint32_t beginning;    /* services that get a primary, and the first one of others waits for
                              them; 0: nobody waits */
    bool acting;           /* this watcher leads, its own barrier applied */
    const char *leader;    /* name, or "" */
    uint64_t staleness_ms; /* age of the leader's last word; UINT64_MAX: never heard */
    uint32_t watcher_count;
    struct {
        char name[HA_NAME_SIZE];
        const char *role; /* leader, follower, unknown */
        bool reachable;
        uint64_t heard_ago_ms; /* UINT64_MAX: never */
    } watchers[HA_WATCHERS_MAX];
};

struct ha_api_reply {
    int status;       /* HTTP */
    const char *type; /* content type */
    char *body;       /* gives: freed by ha_api_reply_fini */
    size_t body_size;
    bool is_write; /* no answer yet: propose `command`, then ha_api_finish */
    /* But first this agent has its member made ready, then ha_api_prepared; 0: nothing first */
    uint32_t prepare_ms;
    uint32_t prepare_member;
    char prepare_agent[HA_NAME_SIZE];
    struct ha_command command;
    char *text;               /* owned, what command.u.config borrows */
    struct ha_config *config; /* owned, the same */
};

/* Fill *reply (any content; ended by ha_api_reply_fini). Never fails: errors are answers. */
void ha_api_handle(const struct ha_api_request *request, const struct ha_api_view *view,
                   struct ha_api_reply *reply);

/* The member of a write that it had to wait for is ready. Meanwhile much may have changed: false,
 * and the answer is there, where that speaks against it. */
bool ha_api_prepared(struct ha_api_reply *reply, const struct ha_api_view *view);

/* The end of a write: @code is HA_OK (applied here, at @index) or why not, with @text telling it.
 * HA_ETIMEDOUT means that the outcome is not known. */
void ha_api_finish(struct ha_api_reply *reply, const struct ha_api_view *view, uint64_t index,
                   int code, const char *text);

void ha_api_reply_fini(struct ha_api_reply *reply);

#endif /* HA_API_CONTROL_H */
