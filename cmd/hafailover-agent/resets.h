/* cmd/hafailover-agent/resets.h - clients of closed gates are told so by a reset, all of a turn at
 * once: to find them the kernel walks all connections of the host, whoever's they are.
 *
 * Shell, loop thread only. A courtesy: who gets none finds the gate closed. */
#ifndef HA_CMD_HAFAILOVER_AGENT_RESETS_H
#define HA_CMD_HAFAILOVER_AGENT_RESETS_H

#include <stdint.h>

#include "agents/host/sock.h"

struct ha_resets { /* zeroed at first */
    uint32_t count;
    uint16_t last;
    uint32_t turns; /* that were not enough */
    uint64_t ports[HA_SOCK_PORT_WORDS];
};

void ha_resets_owe(struct ha_resets *resets, uint16_t port);

/* At the end of a turn, when what the closed gates mean has been told to watchers. */
void ha_resets_flush(struct ha_resets *resets);

#endif /* HA_CMD_HAFAILOVER_AGENT_RESETS_H */
