/* lib/core/candidate.h - who may be promoted, who is best, and why not the others.
 *
 * Pure. The caller lays out what it knows of each member; nothing here looks anything up. */
#ifndef HA_CORE_CANDIDATE_H
#define HA_CORE_CANDIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/command.h"
#include "lib/core/types.h"

/* How the data of a member relates to the history the log knows. */
enum ha_kinship {
    HA_KIN_SAME,     /* a prefix of it, or its continuation by nothing: offsets compare */
    HA_KIN_DIVERGED, /* shares a part, then wrote its own */
    HA_KIN_STRANGE,  /* shares nothing known */
};

/* *ret_offset gets how far @have reaches on @known (HA_KIN_SAME only). */
enum ha_kinship ha_kinship_of(const struct ha_position *have, const struct ha_lineage *known,
                              uint64_t *ret_offset);

struct ha_candidate {
    uint32_t member;
    const char *name;
    uint16_t priority;
    bool heard;    /* by the leader, recently */
    bool failed;   /* its promotion failed in this failover */
    bool unopened; /* was promoted under an epoch that never opened */
    bool unseen;   /* a majority of watchers finds it silent */
    bool ahead;    /* would refuse the epoch as an old one */
    bool noteless; /* its agent cannot note the epoch durably */
    bool hung;     /* `sample` is of before: since then its database has not answered */
    enum ha_process process;
    enum ha_gate gate;
    const struct ha_sample *sample; /* borrowed */
};

/* What shows which writes were acknowledged, where a primary waited for its replicas. */
struct ha_proof {
    bool bound;       /* a candidate must be proven at all */
    bool complete;    /* enough members of every set that counts have shown theirs */
    uint32_t missing; /* members that are still needed, of the set that lacks most */
    uint32_t members; /* bit per member that counts */
    uint32_t holder;  /* the last primary, which holds what it acknowledged */
    uint64_t best;    /* offset on the known history that a candidate must reach */
    uint64_t coming;  /* of that, what one that still replicates may yet get */
    uint64_t seen;    /* the furthest of it that anybody else who is heard has */
};

struct ha_candidate_rules {
    uint32_t target;  /* HA_MEMBER_NONE: any */
    uint32_t exclude; /* the primary, where the question is who could replace it */
    bool accept_loss; /* operator's word: history and loss budget do not bind */
    bool first;       /* no epoch of the service ever opened: nothing to compare with */
    uint64_t loss_budget_bytes;
    uint64_t slack_bytes;
    const struct ha_position *known; /* last logged position; lineage.count 0: none */
    struct ha_proof proof;
};

/* Fill fits[count] in the order given and return the index of the chosen, or -1. Ranking: most data
 * first; within slack_bytes of the most, highest priority, then most data, then name. */
int ha_candidate_choose(const struct ha_candidate *candidates, uint32_t count,
                        const struct ha_candidate_rules *rules, struct ha_fit *fits);

#endif /* HA_CORE_CANDIDATE_H */
