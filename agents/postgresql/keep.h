/* agents/postgresql/keep.h - what an interrupted rewind needs to be run again.
 *
 * pg_rewind works in place: killed half-way, or with its source gone, it leaves files of two
 * servers and has removed the WAL that says what to fetch. So before it runs, that WAL, the history
 * files and the control file are copied beside the data, with a list of the data files as they
 * were. While that is there the data is half another's: it must not be started, and the next try
 * puts the copies back first. What was fetched from a source may be newer than where the next one
 * left it, and no WAL of ours says so: for another source every file that changed is removed, and
 * fetched whole.
 *
 * Blocking: for worker threads. Every function may be repeated. */
#ifndef HA_AGENTS_POSTGRESQL_KEEP_H
#define HA_AGENTS_POSTGRESQL_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/postgresql/server.h"
#include "lib/base/err.h"

/* A rewind began and has not ended. */
bool ha_pg_keep_pending(const struct ha_pg_server *server);

/* Where its control file is: of the data that was ours, also while half of it is another's. */
void ha_pg_keep_control_dir(const struct ha_pg_server *server, char *to, size_t size);

/* The server was shut down in order: keep all that is needed, on disk; of its WAL what lies
 * between the checkpoint at @since (0: not known) and the one it ended with at @until, the newest
 * first and at most @bytes_max. Without the older of it, another try may need a full copy. */
int ha_pg_keep_begin(const struct ha_pg_server *server, uint64_t since, uint64_t until,
                     uint64_t bytes_max, struct ha_err *err);

/* Where it is pending: put back what is kept. */
int ha_pg_keep_restore(const struct ha_pg_server *server, struct ha_err *err);

/* Where it is pending: @source is who is fetched from now, with all of its history. */
int ha_pg_keep_aim(const struct ha_pg_server *server, const char *source, struct ha_err *err);

/* The data is whole again. */
int ha_pg_keep_end(const struct ha_pg_server *server, struct ha_err *err);

#endif /* HA_AGENTS_POSTGRESQL_KEEP_H */
