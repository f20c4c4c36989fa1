/* cmd/hafailover-agent/peers.h - connections between agents: promises asked for and given.
 *
 * Shell, loop thread. Who may ask, and on which ports they look for this agent, the watchers say;
 * what they said last is known again after a start (known.h). One connection is dialled to each
 * agent that is asked, and kept while it is; each agent that asks has one of its own. What cannot
 * be sent at once is dropped: a promise is worth nothing later, and is asked for anew. */
#ifndef HA_CMD_HAFAILOVER_AGENT_PEERS_H
#define HA_CMD_HAFAILOVER_AGENT_PEERS_H

#include <stdbool.h>

struct ha_effect_hold_ask;
struct ha_effect_hold_word;
struct ha_host;
struct ha_peer_links; /* opaque */
struct ha_peers;

/* HA_ENOMEM, HA_EIO. */
int ha_peers_open(struct ha_host *host, struct ha_peer_links **ret);

/* A watcher's word; an older one than known is ignored. False: it was, or says nothing new. */
bool ha_peers_take(struct ha_peer_links *links, const struct ha_peers *peers);

/* Put into the next message to that agent. */
void ha_peers_ask(struct ha_peer_links *links, const struct ha_effect_hold_ask *ask);
void ha_peers_word(struct ha_peer_links *links, const struct ha_effect_hold_word *word);
/* Send what was put. */
void ha_peers_flush(struct ha_peer_links *links);

/* @cb after the last connection has closed; the last touch. */
void ha_peers_close(struct ha_peer_links *links, void (*cb)(struct ha_host *host));

#endif /* HA_CMD_HAFAILOVER_AGENT_PEERS_H */
