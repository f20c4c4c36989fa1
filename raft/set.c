#include "raft/set.h"

#include <string.h>

#define SET_VERSION 1u

void ha_set_put(struct ha_writer *w, const struct ha_raft_set *set)
{
    ha_put_u32(w, SET_VERSION);
    ha_put_u64(w, set->set_id);
    ha_put_u64(w, set->from_set);
    ha_put_u64(w, set->from_index);
    ha_put_u64(w, set->from_term);
    ha_put_string(w, set->gone);
    ha_put_u8(w, set->must_wait ? 1 : 0);
    ha_put_u32(w, set->count);
    for (uint32_t i = 0; i < set->count && i < HA_RAFT_PEERS_MAX; i++) {
        ha_put_string(w, set->peers[i].name);
        ha_put_string(w, set->peers[i].address);
    }
}

bool ha_set_get(struct ha_reader *r, struct ha_raft_set *ret)
{
    uint32_t version = ha_get_u32(r);

    memset(ret, 0, sizeof(*ret));
    ret->set_id = ha_get_u64(r);
    ret->from_set = ha_get_u64(r);
    ret->from_index = ha_get_u64(r);
    ret->from_term = ha_get_u64(r);
    ha_get_string(r, ret->gone, sizeof(ret->gone));
    ret->must_wait = ha_get_bool(r);
    ret->count = ha_get_u32(r);
    if (r->failed || version != SET_VERSION || ret->set_id == 0 || ret->count < 1 ||
        ret->count > HA_RAFT_PEERS_MAX)
        return false;
    for (uint32_t i = 0; i < ret->count; i++) {
        ret->peers[i].id = i + 1;
        ha_get_string(r, ret->peers[i].name, sizeof(ret->peers[i].name));
        ha_get_string(r, ret->peers[i].address, sizeof(ret->peers[i].address));
        if (ret->peers[i].name[0] == '\0')
            return false;
    }
    return !r->failed;
}

uint32_t ha_set_id_of(const struct ha_raft_set *set, const char *name)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (strcmp(set->peers[i].name, name) == 0)
            return set->peers[i].id;
    return 0;
}
