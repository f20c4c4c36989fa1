/* cmd/common/said.h - what was said on one connection, so that it can be said again in a word.
 *
 * Statuses and promises are said in full once; while they stay the same, a REPEAT or a RENEW
 * (lib/wire/message) names them by place. Both ends put what is said in full into such a table in
 * the order in which it comes, so a place means the same to both; a sum over the marks of what is
 * named proves it. The table lives and dies with its connection. */
#ifndef HA_CMD_COMMON_SAID_H
#define HA_CMD_COMMON_SAID_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/message.h"
#include "lib/wire/message.h"

struct ha_said_entry {
    uint32_t service;
    uint32_t member;              /* of a status */
    uint64_t mark;                /* of what was said; 0: nothing, or not to be repeated */
    bool taken;                   /* status, receiver: it is about a member of this agent's */
    bool fresh;                   /* status, sender: the database had just answered */
    uint32_t set_size, length_ms; /* of a promise */
    uint64_t epoch, set_id;
    uint64_t stamp; /* sender: of the last heartbeat that got this promise in answer */
};

struct ha_said { /* all zero: empty */
    uint32_t count, room;
    struct ha_said_entry *entries; /* by place */
    uint32_t *buckets;             /* hash of the service: place + 1 */
};

void ha_said_free(struct ha_said *said);

/* The entry of a service; NULL: none. */
struct ha_said_entry *ha_said_find(const struct ha_said *said, uint32_t service);
/* The same, made at the next place if there was none; NULL: no memory, or too many. */
struct ha_said_entry *ha_said_make(struct ha_said *said, uint32_t service);
uint32_t ha_said_place(const struct ha_said *said, const struct ha_said_entry *entry);

/* Whether the ranges lie in the table, and the sum is that of what it has there. */
bool ha_said_matches(const struct ha_said *said, const struct ha_repeat *repeat);

/* Whether what time alone changes about it may be left unsaid: the database has just answered its
 * agent, and a lease that is held has more left than goes by between two words. Anything else is
 * said in full each time. */
bool ha_said_may_repeat(const struct ha_status *status, const struct ha_settings *settings);

uint64_t ha_said_promise_mark(const struct ha_promise *promise);

/* Name one more place; false: the repeat is full. */
bool ha_repeat_add(struct ha_repeat *repeat, uint32_t place, uint64_t mark);

#endif /* HA_CMD_COMMON_SAID_H */
