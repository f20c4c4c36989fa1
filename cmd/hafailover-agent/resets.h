/* cmd/hafailover-agent/resets.h - clients of closed gates are told so by a reset, all of a turn at
 * once: to find them the kernel walks all connections of the host, whoever's they are.
 *
 * Shell, loop thread only. Not urgent while the gate is closed, but done before it opens again:
 * what such a connection still has for its client would pass. This process's own connections are
 * left alone. */
#ifndef HA_CMD_HAFAILOVER_AGENT_RESETS_H
#define HA_CMD_HAFAILOVER_AGENT_RESETS_H

#include <stdint.h>

#include "agents/host/sock.h"

struct ha_resets { /* zeroed at first */
    uint32_t count;
    uint64_t since_ms; /* when the first of them became due */
    uint16_t last;
    uint32_t turns; /* that were not enough */
    uint64_t ports[HA_SOCK_PORT_WORDS];
};

/* Times are of the boot clock. */
void ha_resets_owe(struct ha_resets *resets, uint16_t port, uint64_t now_ms);

/* At the end of a turn: those that are due. The walk takes some 10 ms, and watchers wait for words
 * of this agent, which go first. */
void ha_resets_poll(struct ha_resets *resets, uint64_t now_ms);

/* Before the gate of @port opens: what a connection still has for its client would pass it. */
void ha_resets_before(struct ha_resets *resets, uint16_t port);

/* At once. */
void ha_resets_flush(struct ha_resets *resets);

#endif /* HA_CMD_HAFAILOVER_AGENT_RESETS_H */
