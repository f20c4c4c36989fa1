/* tests/unit/core/play.h - a primary that writes and standbys that replicate, around a leader whose
 * proposals commit. What the server acknowledges follows the names in effect on it, not the log. */
#ifndef HA_TESTS_UNIT_CORE_PLAY_H
#define HA_TESTS_UNIT_CORE_PLAY_H

#include "tests/unit/core/kit.h"

enum { ROUND_MS = 200, GRACE_MS = 500 };

struct play {
    struct world *world;
    uint64_t pos[4];
    bool gone[4];
    bool unheard[4]; /* by the watchers; it replicates and acknowledges */
    bool lags[4];    /* is connected, and gets nothing */
    uint64_t instance[4];
    uint64_t lineage[4];
    struct ha_sync_set names; /* in effect on the primary */
    uint64_t index, epoch;
    uint64_t acked;
    uint64_t sealed[4], reported[4];
    uint64_t named[4];         /* epoch in the name of a standby; 0: the one of the service */
    bool deaf[4];              /* does not do what it is told */
    bool mumbles;              /* the primary does, and does not say so: a reload is not atomic */
    uint32_t commits;          /* so many changes of the set commit, then none; UINT32_MAX: all */
    uint32_t promoted;         /* what the leader chose */
    struct ha_command promote; /* ... and how it said so */
    bool refused;              /* it chose nobody */
    bool fenced_by_seals;      /* it said that the seals end the epoch */
};

struct play *play_new(enum ha_durability durability);
/* The first primary serves and a set is in force. */
struct play *play_serving(enum ha_durability durability);
void play_free(struct play *play);

const struct ha_sync *play_sync(const struct play *play);
void play_hear(struct play *play, uint32_t member);
/* Replicates, acknowledges, is heard: so many times. */
void play_rounds(struct play *play, uint32_t count, bool primary);
/* Its own agent reports that the primary is gone and its epoch ended. */
void play_primary_ends(struct play *play);
/* The same, and the leader looks for another, for long enough to see that there is none. */
void play_primary_dies(struct play *play);
/* Rounds without a primary, until somebody is chosen. */
void play_selects(struct play *play, uint32_t rounds);

#endif /* HA_TESTS_UNIT_CORE_PLAY_H */
