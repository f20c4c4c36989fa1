/* raft/fsm.h - committed entries of libraft to the application, with rule G9. Internal to raft/.
 *
 * Shell without a loop; called by libraft. Every command in the log is wrapped:
 *   u8 kind, 3 zero bytes, u32 size, u64 index, u64 term, then the payload padded to 8 bytes.
 * Index and term are what the leader expected at raft_apply; a node that would apply it anywhere
 * else has diverged and stops. The chain hash runs over all applied commands; leaders publish it,
 * and a node whose own hash at that index differs stops too. */
#ifndef HA_RAFT_FSM_H
#define HA_RAFT_FSM_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "raft/node.h"

struct ha_err;

#define HA_FSM_HEADER_SIZE 24u
#define HA_FSM_PUBLISH_EVERY 1000u /* commands between two published hashes */
#define HA_FSM_RING 2048u          /* hashes remembered, more than can be in flight */

enum ha_fsm_kind {
    HA_FSM_APP = 1,  /* the application's bytes */
    HA_FSM_HASH = 2, /* u64 index, u64 chain hash there */
};

struct ha_fsm_mark {
    uint64_t index;
    uint64_t hash;
};

/* Where the leader expects a command to land. */
struct ha_fsm_place {
    uint64_t index;
    uint64_t term;
};

struct ha_fsm {
    struct raft_fsm fsm;
    const struct raft *raft;
    const struct ha_raft_hooks *hooks;
    uint64_t chain;         /* of all applied commands */
    uint64_t applied;       /* index of the last applied command */
    uint64_t since_publish; /* commands applied after the last published hash */
    uint64_t published;     /* index of the last command that carried a hash */
    uint64_t checked;       /* published hashes compared */
    uint64_t malformed;     /* commands skipped, the same everywhere */
    uint64_t snapshots;
    struct ha_fsm_mark ring[HA_FSM_RING];
};

/* @hooks is borrowed; only apply, snapshot, restore and fatal are used. */
void ha_fsm_init(struct ha_fsm *fsm, const struct raft *raft, const struct ha_raft_hooks *hooks);

/* Give a raft_malloc'ed, padded buffer for raft_apply at @place; false without memory. */
bool ha_fsm_wrap(enum ha_fsm_kind kind, const void *data, size_t size,
                 const struct ha_fsm_place *place, struct raft_buffer *ret);

/* The wrapped state of libraft's snapshots: @state behind a header with fsm's applied, chain and
 * since_publish. False without memory; *ret from raft_malloc. */
bool ha_fsm_pack(const struct ha_fsm *fsm, const void *state, size_t size, struct raft_buffer *ret);
/* The same with the state that the hook gives now, from malloc(). HA_EBUSY: it says so; HA_ENOMEM.
 */
int ha_fsm_export(struct ha_fsm *fsm, void **ret_data, size_t *ret_size, struct ha_err *err);
/* Fills those three of *into; the state is borrowed from @data. False: damaged. */
bool ha_fsm_unpack(const void *data, size_t data_size, struct ha_fsm *into, const void **ret_state,
                   size_t *ret_size);

#endif /* HA_RAFT_FSM_H */
