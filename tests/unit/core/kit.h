/* tests/unit/core/kit.h - a small world around the core: one watcher, or one agent, and what is
 * said to it.
 *
 * Service "cache" has members a, b, c with agents ag-a, ag-b, ag-c; the watchers are w1, w2, ...
 * and the one under test is w1. Each world_* and hand_* call is one step: *out holds its effects.
 */
#ifndef HA_TESTS_UNIT_CORE_KIT_H
#define HA_TESTS_UNIT_CORE_KIT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/core/agent.h"
#include "lib/core/watcher.h"

enum { A = 1, B = 2, C = 3 };       /* member ids */
enum { LINEAGE = 77, HEAD = 1000 }; /* the history of the service, and where its primary is */
enum { SET = 9 };                   /* id of the set of watchers */
enum { LEASE = 1500, PROBE = 200, DOWN_AFTER = 1000 }; /* defaults of the configuration */

/* The instance of the agent of a member. */
#define INSTANCE(member) (0x100u + (uint64_t)(member))
/* By what it remembers what it promised. */
#define MEMORY(member) (0x1000u + (uint64_t)(member))

struct world {
    struct ha_watcher *w;
    struct ha_effects *out;
    struct ha_config *config; /* the next configuration to apply */
    struct ha_err err;
    uint64_t now_ms, wall_ms;
};

/* A leader that is caught up and has its note on disk; service "cache" waits for its first primary.
 */
struct world *world_new(uint32_t watchers);
/* From a bare one with a configuration of its own. */
struct world *world_start(struct world *world, uint32_t watchers);
/* The same without configuration, leadership or anything else: what a start leaves. */
struct world *world_bare(uint32_t watchers, uint32_t promise_max_ms);
void world_free(struct world *world);

const struct ha_service *world_service(const struct world *world);
uint64_t world_epoch(const struct world *world);

int world_step(struct world *world, struct ha_event *event);
void world_tick(struct world *world, uint64_t later_ms);
int world_commit(struct world *world, struct ha_command *command);
void world_lead(struct world *world, bool leader);
/* The first word of watcher @watcher in its set. */
int world_speak(struct world *world, uint32_t watcher);
void world_peer(struct world *world, uint32_t watcher, bool heard);

/* Entries of the log about the service, at its present epoch. */
int world_apply_config(struct world *world);
int world_observe(struct world *world, uint32_t watcher, uint32_t member, enum ha_verdict verdict);
int world_begin(struct world *world, enum ha_reason reason, uint32_t target);
int world_fenced(struct world *world, enum ha_fence how, uint32_t stopped);
int world_give_up(struct world *world, uint64_t epoch, uint32_t member, uint64_t instance);
int world_promote(struct world *world, uint32_t member, enum ha_gate gate);
int world_outcome(struct world *world, enum ha_command_kind kind);
int world_pause(struct world *world, enum ha_command_kind kind);
/* From SELECTING on: through the states until @state. */
void world_reach(struct world *world, uint32_t member, enum ha_gate gate, enum ha_state state);

/* What an agent in order would say of its member now. */
struct ha_heartbeat world_beat(const struct world *world, uint32_t member);
void world_hear(struct world *world, uint32_t member, const struct ha_heartbeat *heartbeat);
void world_hear_all(struct world *world);
/* What was seen of service @from was seen of @to as well. */
void world_watch_like(const struct world *world, uint32_t from, uint32_t to);
/* The word of watcher @watcher that it stopped, for the present epoch. */
void world_stopped(struct world *world, uint32_t watcher, uint32_t remainder_ms);
void world_probed(struct world *world, uint32_t member, enum ha_answer answer);

/* b and c can take over, a serves; each was heard just now. */
struct world *world_serving(enum ha_gate gate);
/* Watcher @watcher finds the first primary crashed. */
void world_crashed(struct world *world, uint32_t watcher);
const struct ha_command *world_proposed(const struct world *world, enum ha_command_kind kind);
/* Time goes by with the agents of @members heard, a bit for each; stops at the first proposal of
 * @kind. NULL: there was none. */
const struct ha_command *world_wait_for(struct world *world, enum ha_command_kind kind,
                                        uint32_t members, uint64_t limit_ms);
enum { NOBODY = 0, ONLY_B = 1 << B, REPLICAS = 1 << B | 1 << C, ALL = 1 << A | 1 << B | 1 << C };

const struct ha_effect *effects_find(const struct ha_effects *effects, enum ha_effect_kind kind);
const struct ha_command *effects_proposal(const struct ha_effects *effects,
                                          enum ha_command_kind kind);
/* The order sent to an agent; NULL for none. */
const struct ha_order *effects_order(const struct ha_effects *effects, const char *agent);
uint32_t effects_count(const struct ha_effects *effects, enum ha_effect_kind kind);

/* An agent: that of member b. */
struct hand {
    struct ha_agent *a;
    struct ha_effects *out;
    uint64_t now_ms;
    uint64_t index;               /* of the orders it gets */
    struct ha_effect_epochs note; /* on its disk, once hand_settle ran */
    uint64_t gate_until_ms;       /* what the kernel holds */
    uint64_t gate_number;         /* of the last order to it */
};

enum { HAND_SERVICE = 1024, RUN = 501, PID = 601 };

struct hand *hand_new(void);
/* A new process of the agent on the same disk and gate: only the note is known. */
void hand_restart(struct hand *hand);
void hand_free(struct hand *hand);
const struct ha_held *hand_held(const struct hand *hand);

void hand_step(struct hand *hand, struct ha_event *event);
void hand_tick(struct hand *hand, uint64_t later_ms);
/* Let the disk and the gate answer what is in *out, until nothing is left to answer. */
void hand_settle(struct hand *hand);
void hand_noted(struct hand *hand);                      /* only the disk answers */
void hand_closed(struct hand *hand);                     /* only the gate answers */
void hand_closed_as(struct hand *hand, uint64_t number); /* late: to the close of that number */
void hand_settings(struct hand *hand);
void hand_process(struct hand *hand, enum ha_process process, uint64_t pid);
struct ha_sample hand_sample_of(enum ha_role role);
void hand_sampled(struct hand *hand, uint64_t pid, const struct ha_sample *sample);
void hand_order(struct hand *hand, enum ha_order_kind kind, uint64_t epoch);
void hand_acted(struct hand *hand, int code, enum ha_role role);
void hand_promise(struct hand *hand, uint32_t watcher, uint64_t epoch, uint64_t stamp_ms);
/* The last heartbeat told in *out; aborts the test when there is none. */
const struct ha_status *hand_told(const struct hand *hand);
/* Ask for one with a tick and return it. */
const struct ha_status *hand_asks(struct hand *hand);

/* Ready as a replica; or as the primary of @epoch, serving under promises of w1 and w2. */
void hand_as_replica(struct hand *hand);
void hand_as_holder(struct hand *hand, uint64_t epoch);
bool hand_gate_is_open(const struct hand *hand);

#endif /* HA_TESTS_UNIT_CORE_KIT_H */
