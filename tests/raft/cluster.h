/* tests/raft/cluster.h - real nodes over loopback and real directories, in one
 * loop.
 *
 * Each node counts and hashes what it applies; requests are numbered by the
 * test. */
#ifndef HA_TESTS_RAFT_CLUSTER_H
#define HA_TESTS_RAFT_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "lib/io/listener.h"
#include "lib/io/tls.h"
#include "raft/node.h"

#define CLUSTER_MAX 5
#define CLUSTER_REQUESTS 20000

struct cluster;

struct cluster_state {
    uint64_t count;
    uint64_t hash;
    uint64_t last_index;
};

struct cluster_node {
    struct cluster *cluster;
    uint32_t id;
    char dir[256];
    char address[64];
    struct ha_addr bound;
    struct ha_listener *listener;
    struct ha_raft *raft;
    struct ha_tls *tls;
    struct cluster_state state;
    uint64_t applied_ns[CLUSTER_REQUESTS]; /* when request n was applied here; 0:
                                              not in this life */
    bool is_leader;
    bool is_closed;
    uint64_t apps; /* application frames received */
    uint64_t restores;
    uint64_t overs; /* told that its set has ended without it */
};

struct cluster {
    uv_loop_t loop;
    uv_timer_t beat; /* so that waiting looks at its condition */
    uint32_t count;
    bool with_tls;
    bool is_patient; /* set before the start: a slow machine makes no election, and no proposal late
                      */
    uint32_t snapshot_threshold;
    uint64_t ends_at; /* no snapshot once that many entries are applied; 0: always */
    uint64_t set_id;  /* of nodes that start from now on; 0: that of a bootstrap */
    struct cluster_node nodes[CLUSTER_MAX + 1]; /* by id */
    struct ha_raft_outcome outcome[CLUSTER_REQUESTS];
    uint8_t outcomes[CLUSTER_REQUESTS]; /* how many each request got */
    uint64_t outcome_ns[CLUSTER_REQUESTS];
};

/* Fresh directories under a temporary one; nothing is started. */
void cluster_init(struct cluster *cluster, uint32_t count, bool with_tls);
void cluster_fini(struct cluster *cluster);
/* Code of ha_raft_open or ha_raft_start. */
int cluster_start(struct cluster *cluster, uint32_t id, bool bootstrap, struct ha_err *err);
void cluster_start_all(struct cluster *cluster, bool bootstrap);
void cluster_stop(struct cluster *cluster, uint32_t id);
/* Run the loop until @cond or the deadline; false: the deadline. */
bool cluster_wait(struct cluster *cluster, bool (*cond)(struct cluster *cluster, uint64_t arg),
                  uint64_t arg, uint32_t deadline_ms);
/* The acting leader's id, waiting for it; 0 after the deadline. */
uint32_t cluster_leader(struct cluster *cluster, uint32_t deadline_ms);
void cluster_propose(struct cluster *cluster, uint32_t id, uint64_t request);

bool cluster_has_outcome(struct cluster *cluster, uint64_t request);
bool cluster_all_outcomes(struct cluster *cluster, uint64_t upto); /* requests 1..upto */
bool cluster_all_applied(struct cluster *cluster, uint64_t request);

#endif /* HA_TESTS_RAFT_CLUSTER_H */
