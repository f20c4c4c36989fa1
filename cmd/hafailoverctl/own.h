/* cmd/hafailoverctl/own.h - which watchers are asked: what the command line says, or the file. */
#ifndef HA_CMD_HAFAILOVERCTL_OWN_H
#define HA_CMD_HAFAILOVERCTL_OWN_H

#include <stdbool.h>

#include "cmd/hafailoverctl/call.h"

#define HA_OWN_CONFIG "/etc/hafailover/hafailoverctl.conf"

/* One address or several with commas between, behind those that are there. False: told already. */
bool ha_own_add_urls(struct ha_target *target, const char *text);

/* What of the target was not said, from @path; NULL: from HA_OWN_CONFIG, where there is one that
 * may be read. Strings are static. False: told already. */
bool ha_own_read(struct ha_target *target, const char *path);

#endif /* HA_CMD_HAFAILOVERCTL_OWN_H */
