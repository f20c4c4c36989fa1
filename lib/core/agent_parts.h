/* lib/core/agent_parts.h - the parts ha_agent_step is made of; only lib/core includes this. Pure.
 */
#ifndef HA_CORE_AGENT_PARTS_H
#define HA_CORE_AGENT_PARTS_H

#include "lib/core/agent.h"

/* agent_lease.c: what is held for an epoch, and its end */
void ha_held_set_gate(struct ha_held *held, uint64_t deadline_ms, bool reset_clients,
                      struct ha_effects *out);
void ha_held_close_gate(struct ha_held *held, struct ha_effects *out);
void ha_held_persist(struct ha_held *held, struct ha_effects *out);
void ha_held_probe(const struct ha_held *held, struct ha_effects *out);
void ha_held_release_vip(struct ha_held *held, struct ha_effects *out);
/* End every epoch up to @epoch for good: gate, address, note, then the report. */
void ha_held_give_up(struct ha_held *held, uint64_t epoch, enum ha_verdict why,
                     struct ha_effects *out);
/* The report, once the gate was seen closed and the note is on disk. */
void ha_held_finish_give_up(struct ha_held *held);
/* The process that runs is the one whose role was seen. */
bool ha_held_is_same_process(const struct ha_held *held);
/* Opening needs the standby names of this epoch in effect; who serves keeps on while they change.
 */
bool ha_held_names_are_set(const struct ha_held *held);
/* Bring gate and address in line with the lease. Every promise and every tick ends here. */
void ha_held_hold_lease(struct ha_held *held, uint64_t now_ms, struct ha_effects *out);
void ha_held_promised(const struct ha_agent *a, struct ha_held *held,
                      const struct ha_event_promise *event, uint64_t now_ms,
                      struct ha_effects *out);

/* agent_database.c: the process and its answers */
void ha_held_process(struct ha_held *held, const struct ha_event_process *event, uint64_t now_ms,
                     struct ha_effects *out);
void ha_held_sampled(struct ha_held *held, const struct ha_event_sampled *event, uint64_t now_ms,
                     struct ha_effects *out);
void ha_held_take_sample(struct ha_held *held, const struct ha_sample *sample, uint64_t now_ms,
                         struct ha_effects *out);

/* agent_tell.c */
void ha_held_tell(const struct ha_agent *a, const struct ha_held *held, uint64_t now_ms,
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
/* When the order that waits may be taken; UINT64_MAX: none does, or not for the time. */
uint64_t ha_held_order_waits_ms(const struct ha_agent *a, const struct ha_held *held);
/* When the act under way is given up on. */
uint64_t ha_held_order_due_ms(const struct ha_held *held);
void ha_held_order_tick(struct ha_held *held, uint64_t now_ms, struct ha_effects *out);
/* The disk takes no notes: a promotion that waits for one has failed. */
void ha_held_order_noteless(struct ha_held *held, struct ha_effects *out);

/* agent_hold.c: promises of other agents to the holder ... */
/* The end of a lease whose promises of watchers end at @watched_ms. */
uint64_t ha_held_hold_rest(struct ha_held *held, uint64_t watched_ms, uint64_t now_ms);
void ha_held_hold_clear(struct ha_held *held);
void ha_held_hold_order(struct ha_held *held, const struct ha_order *order, uint64_t now_ms,
                        struct ha_effects *out);
void ha_held_hold_ask(const struct ha_agent *a, const struct ha_held *held, uint64_t now_ms,
                      struct ha_effects *out);
/* False: it counts for nothing. */
bool ha_held_hold_word(const struct ha_agent *a, struct ha_held *held,
                       const struct ha_event_hold_word *event, uint64_t now_ms);
/* ... and those to others. */
/* Before then this agent may not be promoted as @order says. */
uint64_t ha_held_hold_free_ms(const struct ha_agent *a, const struct ha_held *held,
                              const struct ha_order *order);
/* No promise for an epoch below this one from here on; counts when it is noted. */
void ha_held_hold_release(struct ha_held *held, uint64_t epoch, struct ha_effects *out);
void ha_held_hold_noted(struct ha_held *held);
void ha_held_hold_asked(const struct ha_agent *a, struct ha_held *held,
                        const struct ha_event_hold_asked *event, uint64_t now_ms,
                        struct ha_effects *out);
void ha_held_hold_tell(const struct ha_agent *a, const struct ha_held *held, uint64_t now_ms,
                       struct ha_status *status);

/* agent_retry.c: not again and again without a pause */
/* An order has failed with @code; its text is in held->text. */
void ha_held_retry_failed(struct ha_held *held, int code, uint64_t now_ms);
/* held->process has changed; @ran: from running. */
void ha_held_retry_process(struct ha_held *held, bool ran, uint64_t now_ms);
/* @again: it did not before. */
void ha_held_retry_answered(struct ha_held *held, bool again, uint64_t now_ms);
/* The same order again: not yet. */
bool ha_held_retry_waits(const struct ha_held *held, uint64_t now_ms);

#endif /* HA_CORE_AGENT_PARTS_H */
