/* cmd/hafailover-agent/dispatch.h - one switch: effect to shell call, once per loop turn.
 *
 * Shell, loop thread. */
#ifndef HA_CMD_HAFAILOVER_AGENT_DISPATCH_H
#define HA_CMD_HAFAILOVER_AGENT_DISPATCH_H

#include <stdbool.h>

struct ha_host;

/* Execute what is queued, and what that adds, within a bound. True: something is left. */
bool ha_host_dispatch(struct ha_host *host);

#endif /* HA_CMD_HAFAILOVER_AGENT_DISPATCH_H */
