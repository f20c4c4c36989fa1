/* lib/core/agent_parts.h - the parts ha_agent_step is made of; only lib/core includes this. Pure.
 */
#ifndef HA_CORE_AGENT_PARTS_H
#define HA_CORE_AGENT_PARTS_H

#include "lib/core/agent.h"

/* agent.c */
void ha_held_close_gate(struct ha_held *held, struct ha_effects *out);
void ha_held_persist(struct ha_held *held, struct ha_effects *out);
void ha_held_probe(const struct ha_held *held, struct ha_effects *out);
/* End every epoch up to @epoch for good: gate, address, note, then the report. */
void ha_held_give_up(struct ha_held *held, uint64_t epoch, enum ha_verdict why,
                     struct ha_effects *out);
bool ha_held_is_settled(const struct ha_held *held);
/* It has stopped receiving, and a restart of this agent would know. */
bool ha_held_is_sealed(const struct ha_held *held);

/* agent_order.c: one order at a time per service */
void ha_held_order(struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                   uint64_t now_ms, struct ha_effects *out);
/* Take the order that waits, if nothing is in its way any more. */
void ha_held_order_next(struct ha_agent *a, struct ha_held *held, uint64_t now_ms,
                        struct ha_effects *out);
/* The process that ended under a drain counts as gone from here on. */
void ha_held_drained(struct ha_held *held);
/* The act of the order under way has ended. */
void ha_held_acted(struct ha_held *held, int code, const char *text, uint64_t now_ms,
                   struct ha_effects *out);
/* What the order still waited for may have become durable. */
void ha_held_order_settle(struct ha_held *held, struct ha_effects *out);
/* When the act under way is given up on. */
uint64_t ha_held_order_due_ms(const struct ha_held *held);
void ha_held_order_tick(struct ha_held *held, uint64_t now_ms, struct ha_effects *out);
/* The disk takes no notes: a promotion that waits for one has failed. */
void ha_held_order_noteless(struct ha_held *held, struct ha_effects *out);

#endif /* HA_CORE_AGENT_PARTS_H */
