/* lib/core/watcher_parts.h - the parts ha_watcher_step is made of; only lib/core includes this.
 *
 * Pure. `now_ms` is the watcher's monotonic clock. */
#ifndef HA_CORE_WATCHER_PARTS_H
#define HA_CORE_WATCHER_PARTS_H

#include "lib/core/candidate.h"
#include "lib/core/detect.h"
#include "lib/core/watcher.h"

/* Facts of a slot, reset when the slot got another service. */
struct ha_watched *ha_watched_of(struct ha_watcher *w, const struct ha_service *service,
                                 uint64_t now_ms);
const struct ha_watched *ha_watched_peek(const struct ha_watcher *w,
                                         const struct ha_service *service);

/* What the log says of a member that is about to be judged. */
struct ha_suspect ha_suspect_of(const struct ha_watcher *w, const struct ha_service *service,
                                uint32_t at, uint64_t now_ms);

/* promise.c: answer a heartbeat that claims an epoch; tell the leader that this watcher stopped. */
void ha_promise_answer(struct ha_watcher *w, const struct ha_service *service,
                       const struct ha_heartbeat *heartbeat, uint64_t now_ms,
                       struct ha_effects *out);
void ha_promise_stopped(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                        struct ha_effects *out);
/* Tell the leader how much may be left of what was promised under the set before. */
void ha_promise_moved(struct ha_watcher *w, uint64_t now_ms, struct ha_effects *out);
/* What may be left of any promise this watcher gave below the claimed epoch. */
uint32_t ha_promise_remainder_ms(const struct ha_watcher *w, const struct ha_service *service,
                                 uint64_t now_ms);

/* decide.c: leader's policy for one service; reads both shelves, changes only local notes. */
void ha_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
               struct ha_effects *out);
/* Lay out and rank the members for a promotion now; fits has member_count entries. */
int ha_decide_candidate(const struct ha_watcher *w, const struct ha_service *service,
                        uint64_t now_ms, struct ha_fit *fits);
/* Whether a failover of its own accord is due: verdicts of watchers that are heard. */
uint32_t ha_decide_agreeing(const struct ha_watcher *w, const struct ha_service *service);
/* False: the primary writes a history that the log does not know yet; who has it and who has not
 * could not be told were it to fail now. */
bool ha_decide_history_is_logged(const struct ha_watcher *w, const struct ha_service *service,
                                 uint64_t now_ms);
/* Whether the rate limit forbids another failover now. */
bool ha_decide_rate_limited(const struct ha_watcher *w, const struct ha_service *service);

/* fence.c: leader, fencing: start the service's command when nothing else ends the old epoch soon;
 * take its answer; propose what it proves. */
void ha_fence_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out);
/* False: the answer is about nothing that this watcher asks for now. */
bool ha_fence_answered(struct ha_watcher *w, const struct ha_service *service,
                       const struct ha_event_fence_command *answer, uint64_t now_ms);

/* ready.c: leader: say in the log, once it has lasted, that nobody could take over or that somebody
 * could again; and which watchers are not heard. */
void ha_ready_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out);
void ha_ready_unheard(struct ha_watcher *w, uint64_t now_ms, struct ha_effects *out);

/* proof.c: what the members show of what was acknowledged. @pretend: as if all that are heard had
 * been asked after the old primary ended. */
struct ha_proof ha_proof_of(const struct ha_watcher *w, const struct ha_service *service,
                            bool pretend, uint64_t now_ms);
/* Whether a new primary still has what it was chosen for: it may have been replaced since. */
bool ha_proof_was_kept(const struct ha_service *service, const struct ha_position *position);
/* Whether somebody who is heard may still add to an incomplete proof. */
bool ha_proof_waits(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms);
/* Whether this member is to be sealed now. */
bool ha_proof_seals(const struct ha_service *service, const struct ha_watch *watch, uint32_t at);
/* Whether a member is still what it entered the set as; *ret_reach gets how far it has the known
 * history. */
bool ha_proof_is_same(const struct ha_service *service, uint32_t at, const struct ha_watch *watch,
                      uint64_t *ret_reach);

/* standby.c: leader, open: propose the next set, or that the newest is in force. True: proposed. */
bool ha_standby_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                       struct ha_effects *out);
/* Fill in what SERVE says of standby names. False: the set is not in the log yet. */
bool ha_standby_order(const struct ha_service *service, struct ha_order *order);
/* Whether the primary says that the newest set is in effect. */
bool ha_standby_is_told(const struct ha_service *service, const struct ha_watch *primary);

/* order.c: leader's orders, derived from the state, repeated until the agents' words show them
 * done. */
void ha_order_all(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                  struct ha_effects *out);
void ha_order_report(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out);

#endif /* HA_CORE_WATCHER_PARTS_H */
