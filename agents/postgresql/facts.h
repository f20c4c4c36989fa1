/* agents/postgresql/facts.h - the question that makes a sample, and its answer read.
 *
 * Pure. One statement, so that all of it is of one moment; nothing in it needs more than
 * pg_monitor. */
#ifndef HA_AGENTS_POSTGRESQL_FACTS_H
#define HA_AGENTS_POSTGRESQL_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "agents/postgresql/conn.h"
#include "agents/postgresql/lineage.h"
#include "lib/core/types.h"

/* How soon a standby tries again to receive: wal_retrieve_retry_interval. */
#define HA_PG_RETRY "200ms"

/* Of the row that answers. */
#define HA_PG_FACTS_COLUMNS 18

struct ha_pg_facts {
    struct ha_sample sample; /* all but the lineage */
    uint64_t system;
    uint64_t lsn;      /* primary: flushed; standby: the last byte it has */
    uint64_t replayed; /* standby */
    uint32_t timeline; /* of lsn, 0: SQL does not say */
    uint32_t segment_size;
    bool replaying;      /* standby: still in its own WAL, so lsn is not final */
    bool can_rewind;     /* checksums or wal_log_hints */
    bool receiver;       /* standby: a WAL receiver exists */
    bool retries_slowly; /* standby: its wal_retrieve_retry_interval is longer than ours */
    char conninfo[1024]; /* standby: primary_conninfo ... */
    char slot[64];       /* ... and primary_slot_name; cut short: empty */
    char sync_names[1024];
};

extern const char ha_pg_facts_sql[];
/* The same, and which rights the agent that asks will miss. */
extern const char ha_pg_facts_local_sql[];

/* Read the answer to it, or what a failure says. */
void ha_pg_facts_read(const struct ha_pg_answer *answer, struct ha_pg_facts *facts);

#endif /* HA_AGENTS_POSTGRESQL_FACTS_H */
