/* cmd/hafailover-agent/instance.h - the id of this host's instance where no gate in the kernel
 * keeps one.
 *
 * Blocking, for start-up only. It lives as long as a gate would: one boot and one network
 * namespace. So a restarted agent goes on, and a rebooted or copied host is another instance. */
#ifndef HA_CMD_HAFAILOVER_AGENT_INSTANCE_H
#define HA_CMD_HAFAILOVER_AGENT_INSTANCE_H

#include <stdint.h>

struct ha_err;

/* *@instance is a fresh id; replaced by the one kept in @state_dir, or kept there from now on.
 * HA_EIO and what ha_file_write returns. */
int ha_instance_keep(const char *state_dir, uint64_t *instance, struct ha_err *err);

#endif /* HA_CMD_HAFAILOVER_AGENT_INSTANCE_H */
