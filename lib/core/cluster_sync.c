/* Whose word a primary waits for, as log entries. A set is in the log before the server is told of
 * it (sync-intend), and the one before it counts until the new one was read back effective and its
 * members hold all that went before (sync-in-force): then whatever the old one acknowledged is with
 * the new one too. Between the two a promotion must satisfy both. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/failover.h"
#include "lib/core/sync.h"

static uint32_t count_bits(uint32_t bits)
{
    return (uint32_t)__builtin_popcount(bits);
}

static bool is_equal(const struct ha_sync_set *a, const struct ha_sync_set *b)
{
    return a->need == b->need && a->members == b->members;
}

uint32_t ha_cluster_sync_members(const struct ha_service *service)
{
    uint32_t members = 0;

    for (uint32_t i = 0; i < service->sync.count; i++)
        members |= service->sync.sets[i].set.members;
    return members;
}

bool ha_cluster_sync_binds(const struct ha_service *service)
{
    /* Where it fell back it said so: then the best there is may go on, but never in strict. */
    return service->config.engine == HA_ENGINE_POSTGRESQL && service->open_epoch != HA_EPOCH_NONE &&
           (service->config.durability == HA_DURABILITY_STRICT || !service->sync.alone);
}

/* The same primary again may have run all the while, and acknowledge by the names of its last epoch
 * until it serves this one: whom those wait for still counts, beside what it had when it was
 * chosen. The newest of the sets is then intended anew: what it acknowledged by then is to be held.
 */
static void keep_sets(struct ha_sync *sync, uint64_t index)
{
    bool by_nobody = !sync->in_force && sync->floor == HA_SYNC_NOBODY;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < sync->count; i++)
        if (sync->sets[i].set.need > 0) /* of the others it is kept that it was alone */
            sync->sets[kept++] = sync->sets[i];
    memset(&sync->sets[kept], 0, (HA_SYNC_SETS - kept) * sizeof(sync->sets[0]));
    if (kept > 0)
        sync->sets[kept - 1].since = index;
    sync->count = kept;
    sync->in_force = false;
    sync->floor = by_nobody ? HA_SYNC_NOBODY : sync->floor_next;
    sync->floor_next = 0;
}

void ha_cluster_sync_open(struct ha_service *service, uint64_t index)
{
    bool managed = ha_sync_is_managed(service->config.engine, service->config.durability);

    if (managed && service->open_epoch != HA_EPOCH_NONE &&
        service->open_member == service->primary) {
        keep_sets(&service->sync, index);
        return;
    }
    service->sync =
        (struct ha_sync){.alone = !managed, .floor = managed ? service->sync.floor_next : 0};
    for (uint32_t i = 0; i < HA_MEMBERS_MAX; i++)
        memset(&service->members[i].sync, 0, sizeof(service->members[i].sync));
}

int ha_cluster_sync_check(const struct ha_service *service, uint32_t members, struct ha_err *err)
{
    const struct ha_sync *sync = &service->sync;

    if (sync->alone)
        return ha_err_set(err, HA_EDENIED,
                          "the primary of epoch %" PRIu64 " of %s acknowledged writes alone",
                          service->open_epoch, service->config.name);
    if (!sync->in_force && sync->floor == HA_SYNC_NOBODY)
        return ha_err_set(err, HA_EDENIED, "too many changes of the set of %s are under way",
                          service->config.name);
    for (uint32_t i = 0; i < sync->count; i++) {
        const struct ha_sync_set *set = &sync->sets[i].set;
        uint32_t counting = 0, needed = count_bits(set->members) - set->need + 1;

        for (uint32_t m = 0; m < service->config.member_count; m++)
            if ((members & set->members & 1u << service->members[m].id) != 0 &&
                service->members[m].sync.since != 0 &&
                service->members[m].sync.since <= sync->sets[i].since)
                counting++;
        if (counting < needed)
            return ha_err_set(err, HA_EDENIED,
                              "%" PRIu32 " members prove what epoch %" PRIu64
                              " of %s acknowledged, %" PRIu32 " must",
                              counting, service->open_epoch, service->config.name, needed);
    }
    return HA_OK;
}

static struct ha_service *find(struct ha_cluster *cluster, const struct ha_command_sync *c,
                               int *ret_code, struct ha_err *err)
{
    struct ha_service *service = ha_cluster_service(cluster, c->ref.service);

    if (service == NULL)
        *ret_code = ha_err_set(err, HA_ENOENT, "no service with id %" PRIu32, c->ref.service);
    else if (!ha_state_is_open(service->state) || c->ref.epoch != service->epoch)
        *ret_code = ha_err_set(err, HA_ESTALE, "epoch %" PRIu64 " of %s is not open", c->ref.epoch,
                               service->config.name);
    else
        return service;
    return NULL;
}

static int check_set(const struct ha_service *service, const struct ha_command_sync *c,
                     struct ha_err *err)
{
    uint32_t known = 0;

    for (uint32_t i = 0; i < service->config.member_count; i++)
        known |= 1u << service->members[i].id;
    known &= ~(1u << service->primary);
    if ((c->set.members & ~known) != 0 || (c->entering & ~c->set.members) != 0 ||
        c->set.need > count_bits(c->set.members) || (c->set.need == 0) != (c->set.members == 0))
        return ha_err_set(err, HA_EINVAL, "a set that is none of other members of %s",
                          service->config.name);
    if (c->set.need == 0 && service->config.durability == HA_DURABILITY_STRICT)
        return ha_err_set(err, HA_EDENIED, "service %s is strict: it never acknowledges alone",
                          service->config.name);
    if (c->set.need > 0 && !ha_sync_is_managed(service->config.engine, service->config.durability))
        return ha_err_set(err, HA_EDENIED, "service %s waits for nobody", service->config.name);
    return HA_OK;
}

/* Who enters anew counts for this set and later ones only; the others stay what they entered as. */
static void enter(struct ha_service *service, const struct ha_command_sync *c, uint64_t index)
{
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        struct ha_member_state *member = &service->members[i];

        if ((c->entering >> member->id & 1u) == 0)
            continue;
        member->sync = c->entries[member->id];
        member->sync.since = index;
    }
}

static int apply_intend(struct ha_cluster *cluster, struct ha_service *service,
                        const struct ha_command_sync *c, struct ha_err *err)
{
    struct ha_sync *sync = &service->sync;
    const struct ha_sync_set *last = sync->count == 0 ? NULL : &sync->sets[sync->count - 1].set;
    int rv = check_set(service, c, err);

    if (rv != HA_OK)
        return rv;
    if (last != NULL && is_equal(last, &c->set) && c->entering == 0)
        return ha_err_set(err, HA_EEXIST, "that set of %s is intended already",
                          service->config.name);
    if (sync->count == HA_SYNC_SETS) {
        /* No room to remember what the newest acknowledged: until this one is in force only the
         * primary itself can show it. */
        sync->count--;
        sync->in_force = false;
        sync->floor = HA_SYNC_NOBODY;
    }
    enter(service, c, cluster->index);
    sync->sets[sync->count].set = c->set;
    sync->sets[sync->count].since = cluster->index;
    sync->count++;
    if (c->set.need > 0 || sync->alone)
        return HA_OK;
    sync->alone = true;
    if (service->config.durability == HA_DURABILITY_SYNC)
        ha_cluster_notify(cluster, service, HA_NOTICE_ALONE,
                          "no replica is left: the primary acknowledges writes alone, and they "
                          "are lost with it");
    return HA_OK;
}

static int apply_force(struct ha_cluster *cluster, struct ha_service *service,
                       const struct ha_command_sync *c, struct ha_err *err)
{
    struct ha_sync *sync = &service->sync;

    if (sync->count == 0 || !is_equal(&sync->sets[sync->count - 1].set, &c->set) ||
        (sync->count == 1 && sync->in_force))
        return ha_err_set(err, HA_ESTALE, "that set of %s is not the one intended",
                          service->config.name);
    if (count_bits(c->holding & c->set.members) < c->set.need)
        return ha_err_set(err, HA_EDENIED, "too few members of the set of %s hold what went before",
                          service->config.name);
    sync->sets[0] = sync->sets[sync->count - 1];
    memset(&sync->sets[1], 0, (HA_SYNC_SETS - 1) * sizeof(sync->sets[1]));
    sync->count = 1;
    sync->in_force = true;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        struct ha_member_state *member = &service->members[i];

        if ((c->set.members >> member->id & 1u) == 0)
            memset(&member->sync, 0, sizeof(member->sync));
        else if ((c->holding >> member->id & 1u) != 0 && c->offset > member->sync.offset)
            member->sync.offset = c->offset;
    }
    if (c->set.need > 0 && sync->alone) {
        sync->alone = false;
        ha_cluster_notify(cluster, service, HA_NOTICE_REPLICATED,
                          "writes are acknowledged only when a replica has them");
    }
    return HA_OK;
}

int ha_cluster_apply_sync(struct ha_cluster *cluster, enum ha_command_kind kind,
                          const struct ha_command_sync *c, struct ha_err *err)
{
    int rv = HA_OK;
    struct ha_service *service = find(cluster, c, &rv, err);

    if (service == NULL)
        return rv;
    return kind == HA_COMMAND_SYNC_INTEND ? apply_intend(cluster, service, c, err)
                                          : apply_force(cluster, service, c, err);
}
