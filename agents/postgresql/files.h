/* agents/postgresql/files.h - what is kept, written and put back around a rewind, copy or start.
 *
 * Blocking: for worker threads. Every function may be repeated and finds what an interrupted run
 * left. Files get the database's owner. */
#ifndef HA_AGENTS_POSTGRESQL_FILES_H
#define HA_AGENTS_POSTGRESQL_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "agents/postgresql/server.h"
#include "lib/base/err.h"
#include "lib/core/types.h"

#define HA_PG_TAIL_KEPT 3 /* epochs; older ones are removed, or they would fill the disk */

/* Make work_dir with the password file of replication. */
int ha_pg_files_prepare(const struct ha_pg_server *server, struct ha_err *err);

/* Own settings of the server that a rewind or copy replaces: to work_dir and back. */
int ha_pg_files_save_settings(const struct ha_pg_server *server, struct ha_err *err);
int ha_pg_files_restore_settings(const struct ha_pg_server *server, struct ha_err *err);

/* Copy the WAL of @timeline and later ones from @fork on to work_dir/tail-EPOCH, at most @bytes_max
 * of it, and only where so much stays free as well: a rewind needs as much. The text tells where,
 * or why not; no error to the caller. */
enum ha_kept ha_pg_files_save_tail(const struct ha_pg_server *server, uint64_t epoch,
                                   uint32_t timeline, uint64_t fork, uint64_t bytes_max,
                                   struct ha_err *err);

/* Make the next start one of a standby with these settings. Without @conninfo it receives from
 * nobody, whatever other files say. */
int ha_pg_files_standby(const struct ha_pg_server *server, const char *conninfo, const char *slot,
                        const char *sync_names, struct ha_err *err);

/* What crashed is recovered alone, and that cannot be a standby. */
void ha_pg_files_not_standby(const struct ha_pg_server *server);

/* The next start, alone, begins a timeline of its own. */
int ha_pg_files_new_timeline(const struct ha_pg_server *server, struct ha_err *err);

/* What such a start leaves behind when pg_rewind has taken its history away: segments of a timeline
 * that a later primary may begin, too, and recovery prefers what it has to what it could receive.
 */
void ha_pg_files_drop_strays(const struct ha_pg_server *server);

/* In place of the history of @timeline. */
int ha_pg_files_write_history(const struct ha_pg_server *server, uint32_t timeline,
                              const char *text, struct ha_err *err);

/* Whether the next start, or this one, is a standby's. */
bool ha_pg_files_is_standby(const struct ha_pg_server *server);

/* Whether the directory holds a backup that was not started yet. */
bool ha_pg_files_is_backup(const struct ha_pg_server *server);

/* A full copy is made beside the data and takes its place at once. */
int ha_pg_files_begin_copy(const struct ha_pg_server *server, char *to, size_t size,
                           struct ha_err *err);
/* One that failed and is not gone on with: it may be as large as the data. */
void ha_pg_files_drop_copy(const struct ha_pg_server *server);
int ha_pg_files_take_copy(const struct ha_pg_server *server, struct ha_err *err);

#endif /* HA_AGENTS_POSTGRESQL_FILES_H */
