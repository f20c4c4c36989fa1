/* lib/core/view.h - read-only questions about the whole, for the APIs.
 *
 * Pure. Answers mix the replicated state with what this watcher itself sees; `now_ms` monotonic. */
#ifndef HA_CORE_VIEW_H
#define HA_CORE_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/watcher.h"

struct ha_member_view {
    uint32_t id;
    const struct ha_member_config *config; /* borrowed */
    enum ha_role role;       /* as last heard; the log's word for the primary of an open epoch */
    enum ha_verdict verdict; /* what most watchers say; this watcher's own where none does */
    bool agent_heard;
    uint32_t agent_age_ms; /* since its last heartbeat */
    enum ha_process process;
    enum ha_gate gate;
    bool gate_open;
    bool vip_held;
    bool lag_known;
    uint64_t lag_bytes;
    uint32_t lease_left_ms; /* primary: what its agent said, aged */
    struct ha_fit fit;      /* could it be promoted now */
    char reason[HA_TEXT_SIZE];
};

/* False when @at is past the last member. */
bool ha_view_member(const struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                    uint64_t now_ms, struct ha_member_view *ret);

/* "kernel", "process" or "none": what enforces the lease of the primary, or would. */
const char *ha_view_fence(const struct ha_watcher *w, const struct ha_service *service);

/* True when some other member could be promoted if the primary died now; else *reason says why not.
 */
bool ha_view_ready(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                   char reason[HA_TEXT_SIZE]);

/* One sentence: why is there no primary, or why nothing is done; empty when all is well. */
void ha_view_why(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                 char why[HA_TEXT_SIZE]);

#endif /* HA_CORE_VIEW_H */
