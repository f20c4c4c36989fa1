/* cmd/hafailoverd/replica.h - the replicated log and the core: entries in, snapshots in and out.
 *
 * Shell, loop thread. */
#ifndef HA_CMD_HAFAILOVERD_REPLICA_H
#define HA_CMD_HAFAILOVERD_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

struct ha_daemon;
struct ha_err;

/* Of the cluster's name in the settings. */
uint64_t ha_replica_cluster_id(const struct ha_daemon *daemon);

/* Open daemon->raft over the data directory and set daemon->set_id; codes of ha_raft_open. */
int ha_replica_open(struct ha_daemon *daemon, bool bootstrap, struct ha_err *err);

#endif /* HA_CMD_HAFAILOVERD_REPLICA_H */
