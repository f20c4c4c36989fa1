#include "raft/members.h"

#include "raft/guard.h"

int ha_members_build(struct raft_configuration *conf, const uint32_t *ids, uint32_t count)
{
    raft_configuration_init(conf);
    for (uint32_t i = 0; i < count; i++) {
        int rv = raft_configuration_add(conf, ids[i], ha_guard_address(ids[i]), RAFT_VOTER);

        if (rv != 0) {
            raft_configuration_close(conf);
            return rv;
        }
    }
    return 0;
}
