/* cmd/hafailoverd/rest.h - whether a member that answers no probe may be asked less often.
 *
 * Most often it is behind its closed gate. Pure; O(1). */
#ifndef HA_CMD_HAFAILOVERD_REST_H
#define HA_CMD_HAFAILOVERD_REST_H

#include <stdbool.h>
#include <stdint.h>

struct ha_watcher;

struct ha_rest {
    uint32_t service, member;
    uint32_t unanswered; /* probes in a row */
    uint64_t probed_ms;  /* when the last one began */
};

/* Only while its agent is heard, who says how the database is: early enough before it would count
 * as silent the probe comes back. */
bool ha_rest_may(const struct ha_rest *rest, const struct ha_watcher *core, uint64_t now_ms);

#endif /* HA_CMD_HAFAILOVERD_REST_H */
