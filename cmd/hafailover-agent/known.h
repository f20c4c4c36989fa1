/* cmd/hafailover-agent/known.h - what watchers said last, for an agent that starts while none of
 * them is there: a primary whose lease other agents keep outlives its agent's upgrade, and one of
 * those agents goes on promising.
 *
 * Shell, loop thread; written off it. Only services whose lease agents may keep, and who those are.
 * Holds keys: nobody else may read it. Losing it costs time, never safety: what is old is told from
 * what is new by its version, as with a watcher that lags. */
#ifndef HA_CMD_HAFAILOVER_AGENT_KNOWN_H
#define HA_CMD_HAFAILOVER_AGENT_KNOWN_H

struct ha_all;
struct ha_host;
struct ha_known; /* opaque */
struct ha_message;

/* Read what was said before and say it again. What cannot be read is left out. HA_ENOMEM. */
int ha_known_open(struct ha_host *host, struct ha_known **ret);

/* Keep a SETTINGS or PEERS message in the place of the last one about the same. */
void ha_known_put(struct ha_known *known, const struct ha_message *message);

/* What a watcher does not name any more ends, as where its settings say so, and is forgotten. */
void ha_known_all(struct ha_known *known, const struct ha_all *all);

/* Each second: what could not be written is tried again. */
void ha_known_poll(struct ha_known *known);

/* @cb after a write under way has ended; the last touch. */
void ha_known_close(struct ha_known *known, void (*cb)(struct ha_host *host));

#endif /* HA_CMD_HAFAILOVER_AGENT_KNOWN_H */
