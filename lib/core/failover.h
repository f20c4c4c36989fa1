/* lib/core/failover.h - the failover machine: one table, one function that moves.
 *
 * Pure. Every pair of state and move is either a row or listed as ignored; a test walks the product
 * and holds the printed table against a golden file. */
#ifndef HA_CORE_FAILOVER_H
#define HA_CORE_FAILOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/core/types.h"

/* What can happen to a service; each comes from one command in the log. */
#define HA_MOVE_MAP(X)              \
    X(HA_MOVE_BEGIN, "begin")       \
    X(HA_MOVE_GIVE_UP, "give-up")   \
    X(HA_MOVE_FENCED, "fenced")     \
    X(HA_MOVE_PROMOTE, "promote")   \
    X(HA_MOVE_NONE, "none")         \
    X(HA_MOVE_PROMOTED, "promoted") \
    X(HA_MOVE_FAILED, "failed")     \
    X(HA_MOVE_OPENED, "opened")     \
    X(HA_MOVE_REPOINTED, "repointed")
HA_ENUM(move, HA_MOVE_MAP)

struct ha_failover_row {
    enum ha_state from;
    enum ha_move move;
    enum ha_state to;
    const char *why; /* for people: what the row means */
};

#define HA_STATE_COUNT 7
#define HA_MOVE_COUNT 9

/* The row for the pair, or NULL when the move is ignored in that state. */
const struct ha_failover_row *ha_failover_row(enum ha_state from, enum ha_move move);

/* All rows in table order; *ret_count gets their number. */
const struct ha_failover_row *ha_failover_rows(size_t *ret_count);

/* True for pairs that are ignored on purpose. */
bool ha_failover_ignores(enum ha_state from, enum ha_move move);

/* True in the states in which a primary may hold a lease (design, 6.3 "Opening"). */
bool ha_state_is_open(enum ha_state state);

#endif /* HA_CORE_FAILOVER_H */
