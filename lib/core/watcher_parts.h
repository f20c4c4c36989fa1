/* lib/core/watcher_parts.h - the parts ha_watcher_step is made of; only lib/core includes this.
 *
 * Pure. `now_ms` is the watcher's monotonic clock. */
#ifndef HA_CORE_WATCHER_PARTS_H
#define HA_CORE_WATCHER_PARTS_H

#include "lib/core/candidate.h"
#include "lib/core/detect.h"
#include "lib/core/watcher.h"

/* watched.c: facts of a slot, reset when the slot got another service. */
struct ha_watched *ha_watched_of(struct ha_watcher *w, const struct ha_service *service,
                                 uint64_t now_ms);
const struct ha_watched *ha_watched_peek(const struct ha_watcher *w,
                                         const struct ha_service *service);

/* They stay with the member they are about when the configuration moves it. */
void ha_watched_realign_all(struct ha_watcher *w, uint64_t now_ms);
/* A member's agent must be connected to this watcher, or nobody could order it. */
bool ha_watch_is_heard(const struct ha_watch *watch, const struct ha_service_config *config,
                       uint64_t now_ms);

/* What the log says of a member that is about to be judged. */
struct ha_suspect ha_suspect_of(const struct ha_watcher *w, const struct ha_service *service,
                                uint32_t at, uint64_t now_ms);

/* observe.c: propose each verdict that the log has not; look again at those that did not get in. */
void ha_observe_tell(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out);
void ha_observe_refused(struct ha_watcher *w, const struct ha_command_observe *observe);

/* calm.c: until when nothing about a service depends on the time; 0: it does now. */
uint64_t ha_calm_until(const struct ha_watcher *w, const struct ha_service *service,
                       uint64_t now_ms);

/* The next moment that is not left to a tick: from then on the primary would be silent, refuse for
 * long enough or have no promise, or the old lease has ended; UINT64_MAX: there is none. */
uint64_t ha_calm_next(const struct ha_watcher *w, const struct ha_service *service,
                      uint64_t now_ms);

/* promise.c: answer a heartbeat that claims an epoch; tell the leader that this watcher stopped. */
struct ha_claim {
    uint64_t instance, stamp; /* of the heartbeat */
    const struct ha_status *status;
};
void ha_promise_answer(struct ha_watcher *w, const struct ha_service *service,
                       const struct ha_claim *claim, uint64_t now_ms, struct ha_effects *out);
void ha_promise_stopped(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                        struct ha_effects *out);
/* Tell the leader how much may be left of what was promised under the set before. */
void ha_promise_moved(struct ha_watcher *w, uint64_t now_ms, struct ha_effects *out);
/* What may be left of any promise this watcher gave below the claimed epoch. */
uint32_t ha_promise_remainder_ms(const struct ha_watcher *w, const struct ha_service *service,
                                 uint64_t now_ms);

/* decide.c: its entries name the service and the epoch they were made for. */
struct ha_ref ha_decide_ref(const struct ha_service *service);
/* decide.c: a proposal for the service that is in flight from now on; the caller fills in `u`. */
struct ha_command *ha_decide_propose(struct ha_watcher *w, const struct ha_service *service,
                                     enum ha_command_kind kind, uint64_t now_ms,
                                     struct ha_effects *out);
/* decide.c: an entry about the service was applied: what was proposed may be proposed again. */
void ha_decide_logged(struct ha_watched *watched, bool refused, uint64_t now_ms);
/* decide.c: leader's policy for one service; reads both shelves, changes only local notes. */
void ha_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
               struct ha_effects *out);
/* Leader, fencing: from when on the old lease has ended for all that was heard; 0: not known. */
uint64_t ha_decide_expiry_ms(const struct ha_watcher *w, const struct ha_service *service);
/* Whether a failover of its own accord is due: verdicts of watchers that are heard. */
uint32_t ha_decide_agreeing(const struct ha_watcher *w, const struct ha_service *service);
/* Whether the rate limit forbids another failover now. */
bool ha_decide_rate_limited(const struct ha_watcher *w, const struct ha_service *service);

/* Whether this watcher hears that one. */
bool ha_decide_hears(const struct ha_watcher *w, uint32_t watcher);

/* select.c: leader, selecting: propose whom to promote; the same again after a while. */
void ha_select_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                      struct ha_effects *out);
void ha_select_again(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out);
/* Lay out and rank the members for a promotion now; fits has member_count entries. */
int ha_select_candidate(const struct ha_watcher *w, const struct ha_service *service,
                        uint64_t now_ms, struct ha_fit *fits);
/* Its primary's database crashed, and is to be started where it was before another one is taken. */
bool ha_select_restarts(const struct ha_watcher *w, const struct ha_service *service);
/* The holder's host has started anew: its instance cannot come back, only the member can, under a
 * later epoch. */
bool ha_select_holder_is_gone(const struct ha_watcher *w, const struct ha_service *service,
                              uint64_t now_ms);

/* position.c: leader, open: propose how far the primary is, if that is due or @at_once. */
void ha_position_log(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     bool at_once, struct ha_effects *out);
/* False: the primary writes a history that the log does not know yet; who has it and who has not
 * could not be told were it to fail now. */
bool ha_position_is_named(const struct ha_watcher *w, const struct ha_service *service,
                          uint64_t now_ms);

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

/* diverged.c: leader: what a member that came back had, for the log. */
void ha_diverged_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                        struct ha_effects *out);

/* repoint.c: whether a member that could follow the new primary does not yet; *text gets who, and
 * why, and is empty otherwise. */
bool ha_repoint_waits(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                      char text[HA_TEXT_SIZE]);

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
/* Whether member @at replicates under the name that counts in this epoch. */
bool ha_standby_is_named(const struct ha_service *service, uint32_t at,
                         const struct ha_watch *watch);
/* Whether a member replicates from the primary now. */
bool ha_standby_streams(const struct ha_service *service, uint32_t at, const struct ha_watch *watch,
                        uint64_t now_ms);
/* Whether the primary says that the newest set is in effect. */
bool ha_standby_is_told(const struct ha_service *service, const struct ha_watch *primary);

/* hold.c: leader, open: propose whose promises may keep the lease, or that only those do. */
void ha_hold_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                    struct ha_effects *out);
/* Whether nothing of that is under way. */
bool ha_hold_is_calm(const struct ha_watcher *w, const struct ha_service *service);
/* False: the primary's agent goes by the newest set, or there is none. */
bool ha_hold_order(const struct ha_service *service, const struct ha_watch *holder,
                   struct ha_order *order);
/* Whether watchers that were lost to all agents have just come back: the primary may have gone on,
 * and its agent comes back with the others. */
bool ha_hold_is_back(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms);
/* Whether the agent of member @at is to end its promises now. */
bool ha_hold_releases(const struct ha_service *service, const struct ha_watch *watch, uint32_t at);
/* Whether no agent's promise keeps the ended lease any more; who shows that goes into *fenced. */
bool ha_hold_is_over(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_command_fenced *fenced);

/* order.c: leader's orders, derived from the state, repeated until the agents' words show them
 * done. */
void ha_order_all(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                  struct ha_effects *out);
void ha_order_report(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out);

#endif /* HA_CORE_WATCHER_PARTS_H */
