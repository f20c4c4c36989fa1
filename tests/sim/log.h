/* tests/sim/log.h - the log among the watchers, as the rest of the simulator sees it.
 *
 * Two kinds: a model that commits where a majority is connected (log.c), and libraft under the
 * guard over a simulated raft_io (log_raft.c). Both keep struct sim_log, and of each watcher
 * `applied`, `leads` and `voter`, as sim.h says. A node is the place of a watcher's machine. */
#ifndef HA_TESTS_SIM_LOG_H
#define HA_TESTS_SIM_LOG_H

#include <stdbool.h>
#include <stdint.h>

struct ha_command;
struct ha_command_replace;
struct sim;

/* What ails the disk under a log. */
enum sim_trouble { SIM_DISK_WELL, SIM_DISK_SLOW, SIM_DISK_ERRORS, SIM_DISK_FULL };

struct sim_log_kind {
    /* Before the first watcher starts; all have their names. */
    void (*open)(struct sim *sim);
    void (*close)(struct sim *sim);
    /* The process of a watcher begins with what its disk holds, or has ended at once. */
    void (*start)(struct sim *sim, uint32_t node);
    void (*stop)(struct sim *sim, uint32_t node);
    /* It goes on after a pause. */
    void (*resume)(struct sim *sim, uint32_t node);
    /* Without a log on its disk a process cannot start. */
    bool (*has_disk)(const struct sim *sim, uint32_t node);
    /* The disk is blank now; no process is there. */
    void (*forget)(struct sim *sim, uint32_t node);
    /* SIM_JOIN: the machine is there that is to begin with the state of others. */
    void (*join)(struct sim *sim, uint32_t node);
    /* Each 10 ms. */
    void (*step)(struct sim *sim);
    /* SIM_APPLY at a process, SIM_LOG at none: both only where the kind itself pushed them. */
    void (*apply)(struct sim *sim, uint32_t node);
    void (*wake)(struct sim *sim);
    /* The core at @node proposes; it comes back as SIM_MSG_PROPOSE where the kind wants it. */
    void (*take)(struct sim *sim, uint32_t node, const struct ha_command *command);
    /* SIM_MSG_PROPOSE at @node, or somebody asks the leader there. */
    void (*propose)(struct sim *sim, uint32_t node, const struct ha_command *command);
    /* Whom @node takes for the leader; SIM_NODES: nobody. */
    uint32_t (*leader_of)(const struct sim *sim, uint32_t node);
    /* A set of watchers may be about to end, or has and not everybody knows. */
    bool (*is_ending)(const struct sim *sim);
    /* NULL: there are no disks. */
    void (*trouble)(struct sim *sim, uint32_t node, enum sim_trouble trouble);
    /* How much longer than a minute and three leases it may take until all is well. */
    uint32_t patience_ms;
    /* What is not well in it long after the last fault, or NULL. */
    const char *(*lacks)(const struct sim *sim);
};

extern const struct sim_log_kind sim_log_model, sim_log_raft;

/* log_parts.c: what both kinds say and do */
/* Place of the watcher at @node in the set that @by knows; HA_WATCHERS_MAX: it is not in it. */
uint32_t sim_rank(const struct sim *sim, uint32_t by, uint32_t node);
void sim_tell_role(struct sim *sim, uint32_t node, bool leader, uint64_t term);
void sim_tell_peer(struct sim *sim, uint32_t node, uint32_t other, bool heard);
void sim_tell_caught_up(struct sim *sim, uint32_t node);
/* @command is entry @index, which nobody has applied before, least of all the watcher at @node. */
void sim_meet_entry(struct sim *sim, uint32_t node, uint64_t index,
                    const struct ha_command *command);
/* The set has ended: the log goes on among the next. */
void sim_move_set(struct sim *sim, const struct ha_command_replace *replace);

#endif /* HA_TESTS_SIM_LOG_H */
