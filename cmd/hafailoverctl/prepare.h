/* cmd/hafailoverctl/prepare.h - what a database must have before hafailover can look after it.
 *
 * Prints; asks nobody. */
#ifndef HA_CMD_HAFAILOVERCTL_PREPARE_H
#define HA_CMD_HAFAILOVERCTL_PREPARE_H

#include "cmd/hafailoverctl/commands.h"

enum ha_exit ha_ctl_member(const struct ha_ctl *ctl);

#endif /* HA_CMD_HAFAILOVERCTL_PREPARE_H */
