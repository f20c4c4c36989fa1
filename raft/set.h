/* raft/set.h - a set of watchers as bytes, on disk and on links. Internal to raft/.
 *
 * Pure. */
#ifndef HA_RAFT_SET_H
#define HA_RAFT_SET_H

#include "lib/base/bytes.h"
#include "raft/care.h"

#define HA_SET_SIZE_MAX (128u + HA_RAFT_PEERS_MAX * (HA_RAFT_NAME_SIZE + HA_RAFT_ADDRESS_SIZE + 4u))

void ha_set_put(struct ha_writer *w, const struct ha_raft_set *set);
/* False: malformed, or no set at all. */
bool ha_set_get(struct ha_reader *r, struct ha_raft_set *ret);

/* Id of the watcher of that name; 0: it is not in the set. */
uint32_t ha_set_id_of(const struct ha_raft_set *set, const char *name);

#endif /* HA_RAFT_SET_H */
