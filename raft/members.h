/* raft/members.h - the fixed set of voters as libraft wants it. Internal to raft/.
 *
 * Pure but for raft_malloc. Addresses in it are constants (raft/guard.h), so that all watchers
 * bootstrap with the same bytes and a watcher may move without a change of membership. */
#ifndef HA_RAFT_MEMBERS_H
#define HA_RAFT_MEMBERS_H

#include <raft.h>
#include <stdint.h>

/* Fill @conf with voters; RAFT_NOMEM. The caller ends it with raft_configuration_close. */
int ha_members_build(struct raft_configuration *conf, const uint32_t *ids, uint32_t count);

#endif /* HA_RAFT_MEMBERS_H */
