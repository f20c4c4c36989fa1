/* lib/core/switchover.h - may an operator move the primary now, to whom, and what speaks against
 * it.
 *
 * Pure. What a dry run prints and what a switchover is checked with is the same function; a dry run
 * only leaves out the entry for the log. Answers as this watcher sees it. */
#ifndef HA_CORE_SWITCHOVER_H
#define HA_CORE_SWITCHOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/watcher.h"

#define HA_CHECKS_MAX 5
/* A target further behind would not have every byte before the pause of writes ends. */
#define HA_SWITCHOVER_LAG_MAX (16u << 20)

struct ha_check {
    const char *name;
    bool ok;
    char text[HA_TEXT_SIZE]; /* what was found, as a sentence */
};

struct ha_plan {
    bool ok;         /* all checks are */
    uint32_t target; /* whom it would be: as asked, or the best; HA_MEMBER_NONE: nobody */
    uint64_t lag_bytes;
    uint32_t check_count;
    struct ha_check checks[HA_CHECKS_MAX];
    struct ha_fit fits[HA_MEMBERS_MAX]; /* of each member, in the order of the configuration */
    char text[HA_TEXT_SIZE];            /* what would happen, or the first thing against it */
};

/* @target: a member of the service, or HA_MEMBER_NONE for the best. */
void ha_plan_switchover(const struct ha_watcher *w, const struct ha_service *service,
                        uint32_t target, uint64_t now_ms, struct ha_plan *ret);

/* The same for a failover by hand: only whether somebody (or @target) could be promoted. Where
 * nothing is open any more there is nothing to lose, and it is always right to try. */
void ha_plan_failover(const struct ha_watcher *w, const struct ha_service *service, uint32_t target,
                      bool accept_loss, uint64_t now_ms, struct ha_plan *ret);

#endif /* HA_CORE_SWITCHOVER_H */
