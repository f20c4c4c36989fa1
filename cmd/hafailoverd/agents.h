/* cmd/hafailoverd/agents.h - the agents' connections: heartbeats in, promises and orders out.
 *
 * Shell, loop thread. One connection per agent name is served. Another one of that name waits until
 * the first has closed, or is silent and nothing it was promised is left: a clone must not share a
 * lease with what it was cloned from. */
#ifndef HA_CMD_HAFAILOVERD_AGENTS_H
#define HA_CMD_HAFAILOVERD_AGENTS_H

#include <stdbool.h>
#include <stdint.h>

struct ha_agents; /* opaque */
struct ha_daemon;
struct ha_effect_order;
struct ha_prepare;
struct ha_promise;
struct ha_stream;

/* HA_ENOMEM. */
int ha_agents_open(struct ha_daemon *daemon, struct ha_agents **ret);

/* Take an accepted stream whose proven name is "agent/..." (or unknown, with mode plain). */
void ha_agents_adopt(struct ha_agents *agents, struct ha_stream *stream);

/* Put into the frame to the instance it is for; sent by the next flush. Dropped when that instance
 * is not connected: a promise is worth nothing later. */
void ha_agents_promise(struct ha_agents *agents, const struct ha_promise *promise);
/* Send to the agent of that name; dropped when it is not connected, the core repeats it. */
void ha_agents_order(struct ha_agents *agents, const struct ha_effect_order *order);
/* The answer goes to ha_serve_prepared. False: the agent of that name is not connected. */
bool ha_agents_prepare(struct ha_agents *agents, const char *agent, const struct ha_prepare *ask);
void ha_agents_flush(struct ha_agents *agents);

/* Push what has changed: with @settings all, else only who its peers are. */
void ha_agents_refresh(struct ha_agents *agents, bool settings);
/* Each 100 ms: silent connections, waiting ones. */
void ha_agents_poll(struct ha_agents *agents);

/* End every connection; agents dial again at once and are told anew who this watcher is. */
void ha_agents_reconnect(struct ha_agents *agents);

/* @cb after the last connection has closed; the last touch. */
void ha_agents_close(struct ha_agents *agents, void (*cb)(struct ha_daemon *daemon));

#endif /* HA_CMD_HAFAILOVERD_AGENTS_H */
