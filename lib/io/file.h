/* lib/io/file.h - small files: read with a limit, write whole or not at all.
 *
 * Blocking: at start-up, or on a worker thread. */
#ifndef HA_IO_FILE_H
#define HA_IO_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"

/* Read the regular file @path. Gives *ret_data (free() it), @ret_size bytes and a NUL after them.
 * HA_ENOENT, HA_EDENIED, HA_EFULL: more than @size_max, HA_EINVAL: not a regular file, HA_EBUSY: it
 * grew meanwhile, HA_EIO, HA_ENOMEM. */
int ha_file_read(const char *path, size_t size_max, uint8_t **ret_data, size_t *ret_size,
                 struct ha_err *err);

/* The same, and refuse with HA_EDENIED a file that is not owned by this user or root, or that group
 * or others may read or write. Wipe the data with ha_file_wipe before freeing it. */
int ha_file_read_secret(const char *path, size_t size_max, uint8_t **ret_data, size_t *ret_size,
                        struct ha_err *err);

/* The check alone: HA_OK, HA_ENOENT, HA_EDENIED, HA_EINVAL, HA_EIO. */
int ha_file_check_secret(const char *path, struct ha_err *err);

/* Make @path hold exactly @data: a temporary file beside it, fsync, rename, fsync of the folder.
 * After HA_OK the new content survives power loss; after an error the old content is there, or,
 * when only the last step failed, the new one. The file gets @mode whatever the umask. HA_ENOENT:
 * no such folder, HA_EDENIED, HA_EFULL: no space, HA_EINVAL: path too long, HA_EIO. */
int ha_file_write(const char *path, const void *data, size_t size, mode_t mode, struct ha_err *err);

/* Overwrite memory in a way the compiler keeps. */
void ha_file_wipe(void *data, size_t size);

#endif /* HA_IO_FILE_H */
