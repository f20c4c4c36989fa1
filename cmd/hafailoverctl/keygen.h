/* cmd/hafailoverctl/keygen.h - the cluster's secret, and the key of each daemon made from it.
 *
 * Blocking. Files are made with mode 0600 and never overwritten. */
#ifndef HA_CMD_HAFAILOVERCTL_KEYGEN_H
#define HA_CMD_HAFAILOVERCTL_KEYGEN_H

#include "cmd/hafailoverctl/call.h"

/* A fresh secret into @path. */
enum ha_exit ha_keygen_secret(const char *path);

/* The key of the daemon @name ("agent/db1", "ctl/admin") into @path. */
enum ha_exit ha_keygen_derived(const char *name, const char *secret_path, const char *path);

#endif /* HA_CMD_HAFAILOVERCTL_KEYGEN_H */
