/* lib/api/agent.h - the HTTP API of an agent: health of its databases, and what it does and why.
 *
 * Pure: no sockets, no clock; allocates its answers. Read only. `now_ms` must be read by the caller
 * in the handler of the request itself: an answer that says "primary" is true by the clock at that
 * moment, even if the loop was asleep when the lease ended. */
#ifndef HA_API_AGENT_H
#define HA_API_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/core/limits.h"

struct ha_agent;

struct ha_agent_view {
    const struct ha_agent *agent; /* borrowed */
    const char *name;
    uint64_t now_ms; /* CLOCK_BOOTTIME */
    uint64_t wall_ms;
    uint32_t watcher_count;
    struct {
        char name[HA_NAME_SIZE];
        bool linked;
    } watchers[HA_WATCHERS_MAX];
};

struct ha_agent_request {
    const char *method, *path;
    const char *service; /* of the query; NULL: not given */
};

struct ha_agent_reply {
    int status; /* HTTP */
    const char *type;
    char *body; /* gives: free; NULL: out of memory */
};

/* GET, HEAD and OPTIONS of:
 *   /primary /read-write   200 while it takes writes under a lease, else 503
 *   /replica               200 while it is open for reads as a replica
 *   /read-only             either
 *   /health                200 while the database answers
 *   /healthz               200: the agent runs      /ready   it has what it needs to act
 *   /status                JSON                     /metrics Prometheus text
 * The first four are about one service: "?service=NAME" where the host has several. */
void ha_agent_answer(const struct ha_agent_request *request, const struct ha_agent_view *view,
                     struct ha_agent_reply *reply);

#endif /* HA_API_AGENT_H */
