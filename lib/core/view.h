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

/* How many watchers this one hears, itself among them. */
uint32_t ha_view_heard(const struct ha_watcher *w);

/* How a member was judged, as a sentence with its numbers. */
void ha_view_fit(const struct ha_service *service, const struct ha_fit *fit,
                 char text[HA_TEXT_SIZE]);

/* True when the watchers could promote some other member if the primary died now; else *reason says
 * why not, for each. */
bool ha_view_ready(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                   char reason[HA_TEXT_SIZE]);

/* One sentence: why is there no primary, or why nothing is done; empty when all is well. */
void ha_view_why(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                 char why[HA_TEXT_SIZE]);

/* What keeps the watchers from making a failover now, a sentence each, the most telling first; how
 * many. 0: nothing, it is due. */
#define HA_REASONS_MAX 6
uint32_t ha_view_why_not(const struct ha_watcher *w, const struct ha_service *service,
                         uint64_t now_ms, char reasons[HA_REASONS_MAX][HA_TEXT_SIZE]);

#endif /* HA_CORE_VIEW_H */
