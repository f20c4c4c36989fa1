/* tests/raft/simio.h - the simulated twin of the daemon's raft_io: disks and
 * links of a world.
 *
 * Pure, one seed. Each node has a disk that survives crashes, loses a random
 * suffix of unfinished operations, may be slow, full, failing or tear an
 * append; each ordered pair of nodes has a FIFO link with delay, drop,
 * hold-until-heal. A node's code runs inside simio_run, which a fatal error
 * leaves by longjmp: the node is dead then, what it had allocated through
 * raft_malloc is freed. Raft messages travel as structs; other frames as bytes.
 */
#ifndef HA_TESTS_RAFT_SIMIO_H
#define HA_TESTS_RAFT_SIMIO_H

#include <raft.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/prng.h"
#include "raft/frame.h"
#include "raft/node.h"
#include "tests/raft/simclock.h"

#define SIM_NODES_MAX HA_RAFT_PEERS_MAX

struct sim_entry {
    raft_term term;
    unsigned short type;
    size_t size;
    void *data; /* owned */
};

struct sim_snapshot {
    raft_index index;
    raft_term term;
    raft_index conf_index;
    size_t size;
    void *data; /* owned */
};

/* What a machine keeps. */
struct sim_disk {
    raft_term term;
    raft_id vote;
    raft_index start; /* index of entries[0] */
    struct sim_entry *entries;
    size_t count;
    size_t capacity;
    bool has_snapshot;
    struct sim_snapshot snapshot;
    bool is_bootstrapped;
};

struct sim_op;
struct sim_world;

struct sim_voter {
    struct sim_world *world;
    uint32_t id;
    uint32_t life; /* incarnation; 0: never started */
    bool is_up;
    uint64_t paused_until_us;
    bool is_paused;              /* until sim_voter_resume: its events are kept */
    struct simclock_event *kept; /* in their order */
    size_t kept_count, kept_size;
    int32_t rate_ppm;  /* its clock against true time */
    struct raft_io io; /* of this life */
    struct sim_disk disk;
    struct sim_op *ops; /* unfinished, oldest first */
    struct sim_op *ops_tail;
    uint64_t disk_free_us; /* when the disk has done what is queued */
    uint64_t disk_slow_us; /* extra per operation */
    bool disk_full;
    uint32_t disk_errors_per_million;
    bool had_disk_error; /* of this life */
    bool is_disk_stuck;  /* an operation failed: later ones do not reach the disk */
    bool close_pending;
    raft_io_close_cb close_cb;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    unsigned tick_ms;
    struct sim_heap_block *heap; /* raft_malloc of this life */
    raft_index applied_ever;     /* for R6: highest index applied in any life */
};

struct sim_link {
    bool is_cut;  /* loses what is sent */
    bool is_held; /* keeps it until healed */
    uint32_t drop_per_million;
    uint64_t delay_us;
    uint64_t last_us;  /* FIFO: nothing is delivered before this */
    uint64_t heard_us; /* when something came last; 0: never */
    struct sim_packet *held;
    struct sim_packet *held_tail;
};

struct sim_hooks {
    /* After anything ran for @node. */
    void (*turn)(struct sim_voter *node);
    /* A frame other than Raft's. */
    void (*frame)(struct sim_voter *node, uint32_t from, enum ha_frame_type type, const void *data,
                  size_t size);
    /* The node died inside its own code. */
    void (*died)(struct sim_voter *node, int code, const char *why);
    /* Where the owner has a network of its own: when a frame that is sent now arrives; false: it is
     * lost. NULL: as the links say. */
    bool (*route)(struct sim_world *world, uint32_t from, uint32_t to, uint64_t *ret_at_us);
    /* Something that must never happen. */
    void (*violation)(struct sim_world *world, const char *what, uint64_t number);
};

struct sim_world {
    struct simclock clock;
    struct ha_prng prng;
    struct sim_hooks hooks;
    void *arg;
    uint32_t node_count;
    struct sim_voter nodes[SIM_NODES_MAX + 1]; /* by id, from 1 */
    struct sim_link links[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
    uint64_t send_slow_us; /* without G6: until a send completes */
    bool has_torn_writes;
    bool is_ending; /* events of the owner must not come again */
    uint64_t digest;
    struct sim_voter *running;
    jmp_buf escape;
};

void sim_world_init(struct sim_world *world, uint64_t seed, uint32_t nodes,
                    const struct sim_hooks *hooks);
void sim_world_fini(struct sim_world *world);

/* The empty disk of a new voter, as bootstrap writes it. */
void sim_disk_bootstrap(struct sim_voter *node);

/* The disk of one that begins with a state that others made, as raft/store has it then: nothing
 * else is on it, and no vote was given. */
void sim_disk_sow(struct sim_voter *voter, const struct sim_snapshot *state);
/* It is blank again; not of one that is up. */
void sim_disk_wipe(struct sim_voter *voter);

/* Begin a life: the io is fresh, the disk what it was. */
void sim_node_boot(struct sim_voter *node);
/* Power off now; a prefix of the unfinished disk operations is kept. */
void sim_node_crash(struct sim_voter *node);
/* What was kept from one that was paused comes to it now. */
void sim_voter_resume(struct sim_voter *node);
/* Run @fn(arg) as code of @node, then its turn. False: it died inside. */
bool sim_run(struct sim_voter *node, void (*fn)(void *arg), void *arg);
/* From inside sim_run: this life is over. Does not return. */
void sim_die(struct sim_voter *node, int code, const char *why) __attribute__((noreturn));

/* Send a frame that is not Raft's; non-zero: no such link now. */
int sim_send_frame(struct sim_voter *from, uint32_t to, enum ha_frame_type type, const void *data,
                   size_t size);

void sim_heal(struct sim_world *world, uint32_t from, uint32_t to);

/* Handle the next event before @until_us; false when there is none. */
bool sim_step(struct sim_world *world, uint64_t until_us);

uint64_t sim_below(struct sim_world *world, uint64_t bound);
bool sim_chance(struct sim_world *world, uint32_t per_million);

#endif /* HA_TESTS_RAFT_SIMIO_H */
