/* cmd/hafailover-agent/gate.h - the gate as the settings want it, and the one-shot that loads it.
 *
 * Blocking, for start-up and for the subcommand. */
#ifndef HA_CMD_HAFAILOVER_AGENT_GATE_H
#define HA_CMD_HAFAILOVER_AGENT_GATE_H

struct ha_agent_settings;
struct ha_err;
struct ha_gates;

/* The agent's handle over all guarded ports; codes of ha_gates_open. */
int ha_gate_open(const struct ha_agent_settings *settings, struct ha_gates **ret,
                 struct ha_err *err);

/* "load", "unload" or "show"; the exit code of the program. */
int ha_gate_command(const struct ha_agent_settings *settings, const char *command);

#endif /* HA_CMD_HAFAILOVER_AGENT_GATE_H */
