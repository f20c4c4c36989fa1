/* tests/sim/log_raft.h - libraft's kind of log: its parts. Internal to log_raft*.c.
 *
 * Each set of watchers is a log of its own, and so a world of its own over the simulated raft_io of
 * tests/raft, with voters 1 to its count. A machine has a seat in one of them, and moves on. */
#ifndef HA_TESTS_SIM_LOG_RAFT_H
#define HA_TESTS_SIM_LOG_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/seat.h"
#include "tests/raft/simio.h"
#include "tests/sim/sim.h"

#define SIM_TERMS 4096u
#define SIM_BASE_US 1000000u /* where a world's clock begins */

struct sim_set {
    struct sim *sim;
    uint32_t number; /* of its place in the list */
    uint64_t set_id;
    uint64_t from_index, from_term; /* the entry that ended the set before */
    struct sim_world world;
    uint32_t node_of[SIM_NODES_MAX + 1]; /* by id; SIM_NODES: a machine that is no more */
    uint8_t led_by[SIM_TERMS];
};

/* The state with which a machine goes to the next set. */
struct sim_move {
    struct ha_seat_state state;
    struct sim_set *next;
    uint32_t own_id; /* there; 0: none */
    bool is_closing;
};

struct sim_asked { /* a proposal that has no outcome yet */
    struct sim_asked *next;
    uint64_t ticket;
    struct ha_command command;
};

/* One life of one seat. */
struct sim_box {
    struct ha_seat seat;
    struct sim_set *set;
    uint32_t node;
    struct sim_voter *voter;
    struct sim_asked *asked;
    struct sim_move *move; /* the set has ended here */
    bool is_closed;
};

struct sim_machine {
    struct sim_set *set; /* whose directory it has; NULL: none */
    uint32_t id;         /* in it */
    struct sim_box *box; /* while its process runs, and of one that died until it is looked at */
};

struct sim_raft {
    struct sim_set **sets; /* oldest first; the last is the one that the cluster goes on with */
    uint32_t set_count;
    struct sim_machine machines[SIM_WATCHERS_MAX];
    uint64_t *hashes; /* by index: of what is agreed there, 0: nothing yet */
    size_t hash_count;
    uint64_t planned_us; /* the next SIM_LOG; UINT64_MAX: none */
    uint64_t ticket;
    uint64_t replace_us; /* when a replacement was proposed last */
    uint32_t threshold;  /* of snapshots */
    struct ha_config *config_in;
};

/* log_raft.c */
struct sim_voter *sim_raft_voter(const struct sim_machine *machine);
/* Run @fn(box) as code of the watcher, and what follows from it; false: it died inside. */
bool sim_raft_run(struct sim *sim, uint32_t node, void (*fn)(void *arg), void *arg);
/* A life begins on the directory that the machine has. */
void sim_raft_begin(struct sim *sim, uint32_t node);
void sim_raft_end(struct sim *sim, uint32_t node);

/* log_raft_set.c: the end of a set, and what comes after it */
struct sim_set *sim_set_new(struct sim *sim, uint64_t set_id);
struct sim_set *sim_set_newest(const struct sim *sim);
/* A replacement has just been applied: inside the seat's own code. */
void sim_set_replaced(struct sim_box *box, const struct ha_raft_entry *entry,
                      const struct ha_command_replace *command);
/* Moves that are due go on. */
void sim_set_turn(struct sim *sim);
/* Those that missed the end are told. */
void sim_set_tell_over(struct sim *sim);
void sim_set_join(struct sim *sim, uint32_t node);
void sim_set_move_free(struct sim_move *move);

/* log_raft_app.c: what the seat asks of the watcher */
extern const struct sim_hooks sim_raft_world_hooks;
struct ha_raft_hooks sim_raft_seat_hooks(struct sim_box *box);
int sim_raft_send(void *ctx, uint32_t peer, enum ha_frame_type type, const void *data, size_t size);
void sim_raft_ask(struct sim *sim, uint32_t node, const struct ha_command *command);
void sim_raft_forget_asked(struct sim_box *box);

#endif /* HA_TESTS_SIM_LOG_RAFT_H */
