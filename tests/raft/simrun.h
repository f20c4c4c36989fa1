/* tests/raft/simrun.h - one seed: a cluster of seats under faults, clients, and
 * the invariants.
 *
 * Pure; everything follows from the seed and the options. */
#ifndef HA_TESTS_RAFT_SIMRUN_H
#define HA_TESTS_RAFT_SIMRUN_H

#include <stdbool.h>
#include <stdint.h>

/* Kinds of faults, a set. */
#define SIM_CRASH (1u << 0)
#define SIM_CUT (1u << 1) /* links that drop, one way or both, or hold until healed */
#define SIM_PAUSE (1u << 2)
#define SIM_SLOW_DISK (1u << 3)
#define SIM_BAD_DISK (1u << 4)  /* errors and full disks: the process ends and comes back */
#define SIM_SLOW_SEND (1u << 5) /* only seen without G6 */
#define SIM_TRANSFER (1u << 6)
#define SIM_NO_PRE_VOTE (1u << 7)
#define SIM_TORN (1u << 8)             /* appends may survive in part */
#define SIM_BURST (1u << 9)            /* many proposals at once */
#define SIM_LARGE_SNAPSHOTS (1u << 10) /* threshold over 1,000: published hashes, long logs */

struct simrun_options {
    uint64_t seed;
    uint32_t nodes;
    uint32_t faults;
    uint32_t guard_off;
    uint32_t fault_ms; /* how long faults go on */
    bool is_verbose;
};

struct simrun_result {
    bool is_bad;
    char what[200];
    uint64_t at_us;
    uint64_t digest;
    uint64_t elections;
    uint64_t acked;
    uint64_t forwarded; /* acked ones that a follower had forwarded */
    uint64_t reads;
    uint64_t crashes;
    uint64_t disk_deaths;
    uint64_t snapshots;
    uint64_t installs;
    uint64_t hashes;       /* published and compared */
    uint64_t nudge_ms_sum; /* leader applied to first follower applied, in us */
    uint64_t nudge_count;
};

void simrun(const struct simrun_options *options, struct simrun_result *ret);

#endif /* HA_TESTS_RAFT_SIMRUN_H */
