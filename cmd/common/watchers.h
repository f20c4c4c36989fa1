/* cmd/common/watchers.h - the list "NAME = host:port" of all watchers that both daemons have.
 *
 * Blocking, for start-up only. */
#ifndef HA_CMD_COMMON_WATCHERS_H
#define HA_CMD_COMMON_WATCHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/common/ini.h"
#include "lib/core/limits.h"

struct ha_err;

#define HA_ADDRESS_SIZE 280u

struct ha_watcher_setting {
    char name[HA_NAME_SIZE];
    char address[HA_ADDRESS_SIZE]; /* host:port */
};

/* One line more. HA_EFULL, HA_EEXIST, HA_EINVAL. */
int ha_watchers_add(struct ha_watcher_setting *list, uint32_t *count,
                    const struct ha_ini_line *line, struct ha_err *err);

/* After the last line: by name, so that the index is that of the set. With @is_plain every address
 * must be of loopback. HA_EINVAL. */
int ha_watchers_check(struct ha_watcher_setting *list, uint32_t count, bool is_plain,
                      struct ha_err *err);

#endif /* HA_CMD_COMMON_WATCHERS_H */
