/* agents/postgresql/diverged.h - what a server that was primary had written when the others went on
 * without it: how many bytes of WAL, found before a rewind takes them away.
 *
 * Blocking: for worker threads. The note in work_dir outlives the agent, and is read again whenever
 * the server has started: the watchers hear it until they have it. */
#ifndef HA_AGENTS_POSTGRESQL_DIVERGED_H
#define HA_AGENTS_POSTGRESQL_DIVERGED_H

#include <stdint.h>

#include "agents/postgresql/server.h"
#include "lib/base/err.h"
#include "lib/core/types.h"

/* The last record that recovery has redone, by what it said; where it had nothing to redo, the
 * @checkpoint it began with. */
uint64_t ha_pg_redone(const char *output, uint64_t checkpoint);
/* Where the record at @lsn ends. 0: it cannot be read. */
uint64_t ha_pg_record_end(const struct ha_pg_server *server, uint32_t timeline, uint64_t lsn);

/* What was found: from @fork of @timeline on, up to @end. What was found before of the same place
 * stays: tries after the first find the records of their own recovery as well. */
struct ha_pg_left {
    uint64_t epoch; /* of the order */
    uint32_t timeline;
    uint64_t fork, end;
    enum ha_kept kept;
};
int ha_pg_diverged_note(const struct ha_pg_server *server, const struct ha_pg_left *left,
                        struct ha_err *err);
void ha_pg_diverged_read(const char *work_dir, struct ha_diverged *ret);

#endif /* HA_AGENTS_POSTGRESQL_DIVERGED_H */
