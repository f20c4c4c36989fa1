/* agents/postgresql/lineage.h - which history of data a server's WAL belongs to.
 *
 * A lineage step is the hash of system identifier, timeline and the position at which that timeline
 * forked off its parent. SQL does not say to which timeline the last received byte of a standby
 * belongs once it no longer receives; the header of its WAL page does, so the files of the data
 * directory are read. */
#ifndef HA_AGENTS_POSTGRESQL_LINEAGE_H
#define HA_AGENTS_POSTGRESQL_LINEAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "agents/postgresql/conn.h"
#include "lib/core/types.h"

#define HA_PG_HISTORY_SIZE 65536 /* of a history file; a longer one is not followed */

struct ha_pg_lineage_ask {
    char data_dir[HA_PG_PATH_SIZE];
    uint64_t system;
    uint32_t timeline; /* 0: of the page that ends at lsn */
    uint64_t lsn;
    uint32_t segment_size;
};

/* The lineage of @timeline whose history file holds @text (empty for the first timeline).
 * HA_EPROTO: not a history of that timeline. */
int ha_pg_lineage_parse(uint64_t system, uint32_t timeline, const char *text,
                        struct ha_lineage *ret);

/* Where @timeline forked off to its child on the way to the one whose history is @text; UINT64_MAX:
 * it is that one. HA_ENOENT: it is not among its ancestors. */
int ha_pg_history_fork(uint32_t newest, const char *text, uint32_t timeline, uint64_t *ret);

/* Blocking: read what is needed below data_dir. count 0: it cannot be told; *ret_timeline too. */
void ha_pg_lineage_read(const struct ha_pg_lineage_ask *ask, struct ha_lineage *ret,
                        uint32_t *ret_timeline);

/* The last answer: it holds for its timeline, and where SQL did not name one, for that position of
 * that run of the server. */
struct ha_pg_lineage_cache {
    uint64_t run_id, system, lsn;
    uint32_t timeline;
    struct ha_lineage lineage; /* count 0: none */
};

bool ha_pg_lineage_find(const struct ha_pg_lineage_cache *cache, uint64_t run_id,
                        const struct ha_pg_lineage_ask *ask, struct ha_lineage *ret);

#endif /* HA_AGENTS_POSTGRESQL_LINEAGE_H */
