/* cmd/hafailoverd/peers.h - which agents an agent may hear, by the configuration in force.
 *
 * Shell, loop thread. No state. */
#ifndef HA_CMD_HAFAILOVERD_PEERS_H
#define HA_CMD_HAFAILOVERD_PEERS_H

struct ha_cluster;
struct ha_peers;
struct ha_tls;

/* Who may ask @agent for promises: the agents of the other members of services whose lease agents
 * may keep, with the keys of the pairs where @tls is of the cluster's secret (else, or NULL,
 * without). Wipe it after use. */
void ha_peers_make(struct ha_peers *ret, const struct ha_cluster *cluster, const char *agent,
                   const struct ha_tls *tls);

#endif /* HA_CMD_HAFAILOVERD_PEERS_H */
