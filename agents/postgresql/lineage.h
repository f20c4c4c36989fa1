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

#define HA_PG_WAL_PAGE 8192u      /* of every packaged server; another one yields "not known" */
#define HA_PG_WAL_PAGE_HEADER 24u /* of any but a segment's first */

struct ha_pg_wal_page { /* XLogPageHeaderData, the same from version 9.3 on */
    uint16_t magic, info;
    uint32_t timeline;
    uint64_t address;
};

/* Blocking: the header of page @address in the open segment @fd of @segment_size bytes. False: that
 * page is not there, or what is there was left over from an earlier use of the file. */
bool ha_pg_wal_page_read(int fd, uint64_t address, uint64_t segment_size,
                         struct ha_pg_wal_page *ret);

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

/* The last timeline that both histories share, and where the first of them leaves it; UINT64_MAX:
 * nowhere, they are one. Two promotions that did not know of each other give one number to two
 * timelines: what forked elsewhere is another one. HA_ENOENT: nothing is shared. */
int ha_pg_history_common(uint32_t a, const char *a_text, uint32_t b, const char *b_text,
                         uint32_t *ret_timeline, uint64_t *ret_fork);

/* The timeline that the newest one of a history came from, and where. HA_ENOENT: it is the first.
 */
int ha_pg_history_parent(const char *text, uint32_t *ret_timeline, uint64_t *ret_fork);

/* The history @text, but that @parent seems to have been left later where @theirs left it at the
 * same place: whoever compares forks then takes what came after it for another's. Left elsewhere it
 * is taken for that already, and has diverged where it says. HA_EFULL. */
int ha_pg_history_set_apart(const char *text, uint32_t parent, const char *theirs, char *to,
                            size_t size);

/* Blocking: the history of a timeline, of HA_PG_HISTORY_SIZE; empty for the first. */
bool ha_pg_history_read(const char *data_dir, uint32_t timeline, char *text);

/* Blocking: read what is needed below data_dir. count 0: it cannot be told; *ret_timeline too. */
void ha_pg_lineage_read(const struct ha_pg_lineage_ask *ask, struct ha_lineage *ret,
                        uint32_t *ret_timeline);

/* The last answer: it holds for its timeline, and where SQL did not name one, for that position of
 * that run of the server. */
struct ha_pg_lineage_cache {
    uint64_t run_id, system, lsn;
    uint32_t timeline;
    struct ha_lineage lineage;   /* count 0: none */
    struct ha_diverged diverged; /* as noted when this run of the server began */
};

bool ha_pg_lineage_find(const struct ha_pg_lineage_cache *cache, uint64_t run_id,
                        const struct ha_pg_lineage_ask *ask, struct ha_lineage *ret);

#endif /* HA_AGENTS_POSTGRESQL_LINEAGE_H */
