/* Whose promises may keep a primary's lease when the watchers are lost, as log entries. A set is in
 * the log before the primary's agent is told of it (hold-intend), and the one before it counts
 * until that agent has said that it goes by the new one alone (hold-in-force): between the two,
 * whoever takes the lease back by time must have ended both (design, section 6.6). */
#include <inttypes.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/failover.h"

bool ha_hold_set_is_equal(const struct ha_hold_set *a, const struct ha_hold_set *b)
{
    return a->members == b->members && a->lease_ms == b->lease_ms &&
           memcmp(a->memory, b->memory, sizeof(a->memory)) == 0;
}

static uint32_t members_of(const struct ha_service *service)
{
    uint32_t members = 0;

    for (uint32_t i = 0; i < service->config.member_count; i++)
        members |= 1u << service->members[i].id;
    return members;
}

uint32_t ha_cluster_hold_members(const struct ha_service *service)
{
    uint32_t members = 0;

    for (uint32_t i = 0; i < service->hold.count; i++)
        members |= service->hold.sets[i].set.members;
    return members;
}

uint32_t ha_cluster_hold_ms(const struct ha_service *service)
{
    uint32_t longest_ms = 0;

    for (uint32_t i = 0; i < service->hold.count; i++)
        if (service->hold.sets[i].set.lease_ms > longest_ms)
            longest_ms = service->hold.sets[i].set.lease_ms;
    return longest_ms;
}

bool ha_cluster_hold_is_over(const struct ha_service *service, uint32_t released, uint32_t renewed)
{
    uint32_t known = members_of(service);

    for (uint32_t i = 0; i < service->hold.count; i++) {
        uint32_t members = service->hold.sets[i].set.members;
        uint32_t left = members & known;

        if (members == 0 || (members & released) != 0)
            continue;
        if (left == 0 || (left & ~(released | renewed)) != 0)
            return false;
    }
    return true;
}

static int check_set(const struct ha_service *service, const struct ha_hold_set *set,
                     struct ha_err *err)
{
    uint32_t others = members_of(service) & ~(1u << service->primary);

    for (uint32_t id = 0; id <= HA_MEMBERS_MAX; id++)
        if (((set->members >> id & 1u) != 0) != (set->memory[id] != 0))
            return ha_err_set(err, HA_EINVAL, "a set of agents that does not say what they know");
    if (set->members == 0)
        return set->lease_ms == 0 ? HA_OK
                                  : ha_err_set(err, HA_EINVAL, "promises of nobody have no length");
    if (service->config.on_quorum_loss != HA_QUORUM_LOSS_HOLD)
        return ha_err_set(err, HA_EDENIED, "service %s is fenced when the watchers are lost",
                          service->config.name);
    /* All of them: whoever may be promoted has promised. */
    if (set->members != others)
        return ha_err_set(err, HA_EINVAL, "a set that is not of all other members of %s",
                          service->config.name);
    if (set->lease_ms == 0 || set->lease_ms > service->open_lease_ms)
        return ha_err_set(err, HA_EDENIED, "promises of %" PRIu32 " ms for a lease of %" PRIu32,
                          set->lease_ms, service->open_lease_ms);
    return HA_OK;
}

static int apply_intend(struct ha_cluster *cluster, struct ha_service *service,
                        const struct ha_command_hold *c, struct ha_err *err)
{
    static const struct ha_hold_set nobody;
    struct ha_hold *hold = &service->hold;
    const struct ha_hold_set *last = hold->count == 0 ? &nobody : &hold->sets[hold->count - 1].set;
    int rv = check_set(service, &c->set, err);

    if (rv != HA_OK)
        return rv;
    if (ha_hold_set_is_equal(last, &c->set))
        return ha_err_set(err, HA_EEXIST, "those agents of %s are intended already",
                          service->config.name);
    if (hold->count == HA_HOLD_SETS)
        return ha_err_set(err, HA_EBUSY, "the primary of %s has not taken the last change yet",
                          service->config.name);
    hold->sets[hold->count].set = c->set;
    hold->sets[hold->count].since = cluster->index;
    hold->count++;
    return HA_OK;
}

static int apply_force(struct ha_service *service, const struct ha_command_hold *c,
                       struct ha_err *err)
{
    struct ha_hold *hold = &service->hold;
    bool is_news = hold->count > 1 || (hold->count == 1 && hold->sets[0].set.members == 0);

    if (!is_news || hold->sets[hold->count - 1].since != c->since)
        return ha_err_set(err, HA_ESTALE, "those agents of %s are not the ones intended",
                          service->config.name);
    if (hold->sets[hold->count - 1].set.members == 0) {
        memset(hold, 0, sizeof(*hold));
        return HA_OK;
    }
    hold->sets[0] = hold->sets[hold->count - 1];
    memset(&hold->sets[1], 0, (HA_HOLD_SETS - 1) * sizeof(hold->sets[1]));
    hold->count = 1;
    return HA_OK;
}

int ha_cluster_apply_hold(struct ha_cluster *cluster, enum ha_command_kind kind,
                          const struct ha_command_hold *c, struct ha_err *err)
{
    struct ha_service *service = ha_cluster_service(cluster, c->ref.service);

    if (service == NULL)
        return ha_err_set(err, HA_ENOENT, "no service with id %" PRIu32, c->ref.service);
    if (!ha_state_is_open(service->state) || c->ref.epoch != service->epoch)
        return ha_err_set(err, HA_ESTALE, "epoch %" PRIu64 " of %s is not open", c->ref.epoch,
                          service->config.name);
    return kind == HA_COMMAND_HOLD_INTEND ? apply_intend(cluster, service, c, err)
                                          : apply_force(service, c, err);
}

void ha_cluster_hold_rebuild(struct ha_service *service)
{
    struct ha_hold *hold = &service->hold;

    if (service->open_epoch == HA_EPOCH_NONE || service->fence != HA_FENCE_NONE ||
        (service->config.on_quorum_loss != HA_QUORUM_LOSS_HOLD && hold->count == 0))
        return;
    memset(hold, 0, sizeof(*hold));
    hold->count = 1;
    hold->sets[0].set.members = members_of(service) & ~(1u << service->open_member);
    hold->sets[0].set.lease_ms = HA_LEASE_MAX_MS;
}

int ha_cluster_hold_check(const struct ha_service *old, const struct ha_service_config *config,
                          struct ha_err *err)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < old->config.member_count; i++) {
        const struct ha_member_config *before = &old->config.members[i];

        for (uint32_t k = 0; k < config->member_count; k++) {
            if (strcmp(before->name, config->members[k].name) != 0)
                continue;
            kept |= 1u << old->members[i].id;
            if ((ha_cluster_hold_members(old) >> old->members[i].id & 1u) != 0 &&
                strcmp(before->agent, config->members[k].agent) != 0)
                return ha_err_set(err, HA_EDENIED,
                                  "service %s: the primary may keep its lease by the word of the "
                                  "agent of %s; set on_quorum_loss = fence before it gets another",
                                  config->name, before->name);
        }
    }
    for (uint32_t i = 0; i < old->hold.count; i++) {
        uint32_t members = old->hold.sets[i].set.members;

        if (members != 0 && (members & kept) == 0)
            return ha_err_set(err, HA_EDENIED,
                              "service %s: the primary may keep its lease by the word of its other "
                              "members, and none of them would be left; set on_quorum_loss = fence "
                              "first",
                              config->name);
    }
    return HA_OK;
}
