/* cmd/hafailoverd/pace.h - how many probes are under way at the same time, and how soon again.
 *
 * A watcher that asks three thousand servers at once does nothing else for longer than a probe may
 * take: all of them seem silent, are asked again at once, and never come up, nor does it hear
 * agents and watchers meanwhile. So only some are under way, and the others wait in line: a machine
 * with little time asks less often. A place is held for a short while at the most: servers that
 * answer nothing cannot keep those behind them waiting. Pure; O(1) in all calls. */
#ifndef HA_CMD_HAFAILOVERD_PACE_H
#define HA_CMD_HAFAILOVERD_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum ha_pace_state {
    HA_PACE_OUT,
    HA_PACE_WAITING,
    HA_PACE_INSIDE,
};

/* Part of whoever is probed; zeroed at first. */
struct ha_pace_place {
    struct ha_pace_place *prev, *next;
    void *owner;
    uint64_t since_ms; /* inside */
    enum ha_pace_state state;
};

struct ha_pace_line {
    struct ha_pace_place *first, *last;
};

struct ha_pace {
    uint32_t max;     /* inside */
    uint32_t hold_ms; /* a place inside, then it counts no more */
    uint32_t inside_count;
    struct ha_pace_line inside, waiting; /* the longest first */
};

/* Whether it may begin now; otherwise it waits, until ha_pace_next gives it or ha_pace_leave. */
bool ha_pace_enter(struct ha_pace *pace, struct ha_pace_place *place, uint64_t now_ms);

/* It has ended, or waits no longer. Nothing if it is out already. */
void ha_pace_leave(struct ha_pace *pace, struct ha_pace_place *place);

/* The one that has waited longest, if there is room: it is inside now. Else NULL. */
struct ha_pace_place *ha_pace_next(struct ha_pace *pace, uint64_t now_ms);

/* How long the next probe may wait after so many in a row that nothing answered: most often those
 * of a member behind its closed gate. Each costs a new connection, and all members of a thousand
 * services that begin, or whose watchers were away, are behind closed gates at the same time. */
uint64_t ha_pace_rest_ms(uint32_t unanswered, uint32_t probe_ms);

#endif /* HA_CMD_HAFAILOVERD_PACE_H */
