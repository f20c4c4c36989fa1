/* agents/postgresql/files_parts.h - tools that files.c and keep.c share.
 *
 * Blocking: for worker threads. */
#ifndef HA_AGENTS_POSTGRESQL_FILES_PARTS_H
#define HA_AGENTS_POSTGRESQL_FILES_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "agents/postgresql/server.h"
#include "lib/base/err.h"

#define HA_PG_FILE_PATH_SIZE (HA_PG_PATH_SIZE + 320)

/* Whoever asked for the work of this thread has given up, and somebody else may be at the same
 * files: what hung with its disk changes nothing when that is over. */
struct ha_pg_turn {
    _Atomic uint32_t *now;
    uint32_t mine;
};
/* Until the next call; NULL: this thread's work is never late. */
void ha_pg_file_turn(const struct ha_pg_turn *turn);
bool ha_pg_file_is_late(void);

/* "VERB PATH: why", by errno: HA_ENOENT, HA_EFULL where there is no room, or HA_EIO. */
int ha_pg_file_fail(struct ha_err *err, const char *verb, const char *path);
bool ha_pg_file_exists(const char *path);
/* It may be there already. */
int ha_pg_file_make_dir(const struct ha_pg_server *server, const char *path, struct ha_err *err);
void ha_pg_file_sync_dir(const char *path);
/* Whole, or as it was before. HA_ECANCELED: it would come too late. */
int ha_pg_file_write(const struct ha_pg_server *server, const char *path, const char *text,
                     struct ha_err *err);
/* Whole, or as it was before, and on disk. The number of bytes is added to *ret_size.
 * HA_EIO with errno. */
int ha_pg_file_copy(const struct ha_pg_server *server, int from_dir, int to_dir, const char *name,
                    uint64_t *ret_size);
void ha_pg_file_remove_tree(const char *path);

#endif /* HA_AGENTS_POSTGRESQL_FILES_PARTS_H */
