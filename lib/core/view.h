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

/* Whose word the primary waits for before it acknowledges, and what that leaves. */
struct ha_sync_view {
    bool managed;            /* the service waits for replicas at all */
    bool in_force;           /* the set below is the only one that counts */
    bool alone;              /* the primary acknowledges, or may have, by itself */
    uint32_t need;           /* so many ... */
    uint32_t members;        /* ... of these, bit per id: the newest set in the log */
    uint32_t replicating;    /* those of them that replicate from the primary now, bit per id */
    uint32_t missing;        /* members that a promotion would lack, were the primary gone now */
    char text[HA_TEXT_SIZE]; /* all of it, as a sentence */
};
void ha_view_sync(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                  struct ha_sync_view *ret);

/* Whose promises keep the primary's lease when the watchers are lost. */
struct ha_hold_view {
    bool wanted;         /* the service asks for that, or still may have it */
    bool in_force;       /* the primary's agent goes by the set below */
    uint32_t members;    /* bit per id: the newest set in the log */
    uint32_t promising;  /* those of them that promise it now */
    bool holding;        /* its lease rests on them ... */
    uint32_t holding_ms; /* ... for so long */
    char text[HA_TEXT_SIZE];
};
void ha_view_hold(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                  struct ha_hold_view *ret);
/* While it is taken back: append who is still to end its promises; nothing where nobody is. */
void ha_view_hold_end(const struct ha_watcher *w, const struct ha_service *service,
                      char text[HA_TEXT_SIZE]);

/* "kernel", "process" or "none": what enforces the lease of the primary, or would. */
const char *ha_view_fence(const struct ha_watcher *w, const struct ha_service *service);

/* How many watchers this one hears, itself among them. */
uint32_t ha_view_heard(const struct ha_watcher *w);

/* How a member was judged, as a sentence with its numbers. */
void ha_view_fit(const struct ha_service *service, const struct ha_fit *fit,
                 char text[HA_TEXT_SIZE]);

/* True when a primary serves and the watchers could promote some other member if it died now; else
 * *reason says why not, for each. */
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
