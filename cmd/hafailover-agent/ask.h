/* cmd/hafailover-agent/ask.h - `hafailover-agent status`: what the running agent does, and why.
 *
 * Blocking: a loop of its own. */
#ifndef HA_CMD_HAFAILOVER_AGENT_ASK_H
#define HA_CMD_HAFAILOVER_AGENT_ASK_H

#include <stdbool.h>

struct ha_agent_settings;

/* Ask the agent at the socket of @settings and print its answer; the exit code of the program. */
int ha_agent_ask(const struct ha_agent_settings *settings, bool as_json);

#endif /* HA_CMD_HAFAILOVER_AGENT_ASK_H */
