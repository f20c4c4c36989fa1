/* cmd/hafailover-agent/serve.h - the agent's HTTP: bytes to lib/api/agent and back.
 *
 * Shell, loop thread. On a UNIX socket and on a loopback address. Nothing here can fail the agent:
 * a host whose port is taken by somebody must still hold its lease. */
#ifndef HA_CMD_HAFAILOVER_AGENT_SERVE_H
#define HA_CMD_HAFAILOVER_AGENT_SERVE_H

struct ha_agent_serve; /* opaque */
struct ha_host;

/* What cannot be listened on is logged and left out. HA_ENOMEM, HA_EIO: nothing is served. */
int ha_agent_serve_open(struct ha_host *host, struct ha_agent_serve **ret);

/* @cb after the last connection has closed; the last touch. */
void ha_agent_serve_close(struct ha_agent_serve *serve, void (*cb)(struct ha_host *host));

#endif /* HA_CMD_HAFAILOVER_AGENT_SERVE_H */
