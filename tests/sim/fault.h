/* tests/sim/fault.h - what may go wrong, for those who draw it, set it off and heal it. */
#ifndef HA_TESTS_SIM_FAULT_H
#define HA_TESTS_SIM_FAULT_H

#include "tests/sim/sim.h"

enum fault {
    KILL_DB,
    HANG_DB,
    KILL_AGENT,
    PAUSE_AGENT,
    CUT_HOST,
    CUT_ONE_WAY,
    CUT_PAIR,
    KILL_WATCHER,
    PAUSE_WATCHER,
    REBOOT_HOST,
    EMPTY_RESTART,
    PAUSE_HOST,
    OPERATOR, /* no fault, but people act on bad nights */
    CUT_WATCHER,
    LAG_WATCHER, /* what commits is not learned there */
    STEP_CLOCK,
    WIPE_HOST,
    RESTORE_HOST,
    CLONE_HOST,
    FLUSH_RULES,
    WATCHERS_ALONE, /* all start anew, and hear agents but not each other */
    WIPE_WATCHER,
    CHANGES,
    GATE_FAILS,
    WATCHER_DISK,  /* where the log is on one */
    WATCHERS_GONE, /* cut from all hosts */
    SPLIT,         /* the holder and another host on one side */
    /* not drawn, but set off by what happens */
    SEALED_AGENT,   /* dies after it has sealed its database */
    NOTING_AGENT,   /* dies while it writes */
    RELEASED_AGENT, /* dies when it has noted that it promises no more */
    LEADER_GOES,    /* while an epoch is being fenced */
    DB_ENDS,        /* its agent has no other gate */
    AGENT_AWAKES,   /* when the watchers have just started */
    FAULTS
};

/* fault.c */
const char *sim_fault_name(enum fault fault);
void sim_cut(struct sim *sim, uint32_t node, bool to, bool from);
void sim_pause_node(struct sim *sim, uint32_t node);
void sim_end_clone(struct sim *sim);
/* After a time that is not drawn, or is. */
void sim_heal_at(struct sim *sim, enum fault fault, uint32_t node, uint64_t in_ms);
void sim_heal_in(struct sim *sim, enum fault fault, uint32_t node, uint64_t low_ms,
                 uint64_t high_ms);
void sim_heal_later(struct sim *sim, enum fault fault, uint32_t node);

/* hunt.c */
void sim_leader_goes(struct sim *sim);
bool sim_fault_again(struct sim *sim);

static inline uint32_t sim_below(struct sim *sim, uint64_t bound)
{
    return (uint32_t)ha_prng_below(&sim->prng, bound);
}

#endif /* HA_TESTS_SIM_FAULT_H */
