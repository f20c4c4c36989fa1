/* cmd/common/backlog.h - the effects of one turn of the loop, as many as there are.
 *
 * The core fills a list of bounded length and drops what does not fit, to say it again later. A
 * turn may have more to do: many entries applied at once, the answers of many databases. So a list
 * that is half full after a step goes in line, and the next step gets an empty one. */
#ifndef HA_CMD_COMMON_BACKLOG_H
#define HA_CMD_COMMON_BACKLOG_H

#include "lib/core/effect.h"

enum {
    HA_BACKLOG_MAX = 64
}; /* lists in line; beyond, and without memory, the core says it again */

struct ha_backlog {
    struct ha_effects *now; /* steps fill it */
    struct ha_effects *line[HA_BACKLOG_MAX];
    uint32_t first, count;    /* of the line, a ring */
    struct ha_effects *spare; /* may be NULL */
};

/* HA_ENOMEM. */
int ha_backlog_open(struct ha_backlog *backlog);
/* After open, or after its failure. */
void ha_backlog_free(struct ha_backlog *backlog);

/* After each step. */
void ha_backlog_stepped(struct ha_backlog *backlog);

/* What is to be executed next, in the order of the steps; NULL: nothing is left. Steps may go on
 * meanwhile. Give it back. */
struct ha_effects *ha_backlog_take(struct ha_backlog *backlog);
void ha_backlog_give_back(struct ha_backlog *backlog, struct ha_effects *list);

bool ha_backlog_is_empty(const struct ha_backlog *backlog);

#endif /* HA_CMD_COMMON_BACKLOG_H */
