/* cmd/hafailoverctl/care.h - caring for the watchers themselves.
 *
 * Blocking. As the other subcommands. */
#ifndef HA_CMD_HAFAILOVERCTL_CARE_H
#define HA_CMD_HAFAILOVERCTL_CARE_H

#include "cmd/hafailoverctl/commands.h"

/* backup FILE: the replicated state of the asked watcher, whole or not at all. */
enum ha_exit ha_care_backup(const struct ha_ctl *ctl);

/* watchers replace OLD --with NEW=HOST:PORT */
enum ha_exit ha_care_replace(const struct ha_ctl *ctl);

#endif /* HA_CMD_HAFAILOVERCTL_CARE_H */
