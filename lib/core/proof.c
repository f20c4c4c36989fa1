/* What shows which writes were acknowledged. Of a set of s members of which `need` had to have a
 * write, any s-need+1 include one that has it; with the furthest of them nothing is lost. In strict
 * each of them must be sealed, so that none can help the old primary any more. */
#include "lib/core/failover.h"
#include "lib/core/switchover.h"
#include "lib/core/sync.h"
#include "lib/core/watcher_parts.h"

static bool is_heard(const struct ha_watch *watch, const struct ha_service *service,
                     uint64_t now_ms)
{
    return watch->heard && now_ms - watch->heard_ms < service->config.down_after_ms;
}

/* How far it has the known history, whatever it wrote after leaving it: that was never
 * acknowledged, and does not undo what it received before. False: it shares nothing. */
static bool reach_of(const struct ha_position *have, const struct ha_lineage *known,
                     uint64_t *ret_reach)
{
    for (uint32_t h = 0; h < have->lineage.count; h++) {
        const struct ha_lineage_step *mine = &have->lineage.steps[h];
        uint64_t reach = have->offset < mine->end ? have->offset : mine->end;

        for (uint32_t k = 0; k < known->count; k++) {
            if (known->steps[k].id != mine->id)
                continue;
            *ret_reach = reach < known->steps[k].end ? reach : known->steps[k].end;
            return true;
        }
    }
    return false;
}

bool ha_proof_is_same(const struct ha_service *service, uint32_t at, const struct ha_watch *watch,
                      uint64_t *ret_reach)
{
    const struct ha_sync_entry *entry = &service->members[at].sync;
    const struct ha_position *have = &watch->status.sample.position;
    bool related = false;

    if (entry->since == 0 || watch->instance != entry->instance)
        return false;
    for (uint32_t i = 0; i < have->lineage.count; i++)
        related = related || have->lineage.steps[i].id == entry->lineage;
    return related && reach_of(have, &service->position.lineage, ret_reach) &&
           *ret_reach >= entry->offset;
}

static bool is_sealed(const struct ha_service *service, const struct ha_watch *watch)
{
    return watch->status.sealed > service->open_epoch;
}

/* It was asked after the old epoch had ended: orders to report with the claimed epoch are given
 * only then. */
static bool is_fresh(const struct ha_service *service, const struct ha_watch *watch)
{
    return watch->status.order == HA_ORDER_REPORT && watch->status.order_epoch == service->epoch &&
           watch->status.result == HA_RESULT_DONE;
}

static bool has_shown(const struct ha_service *service, const struct ha_watch *watch)
{
    return service->config.durability == HA_DURABILITY_STRICT ? is_sealed(service, watch)
                                                              : is_fresh(service, watch);
}

static uint32_t members_of(const struct ha_service *service)
{
    uint32_t members = 0;

    for (uint32_t i = 0; i < service->sync.count; i++)
        members |= service->sync.sets[i].set.members;
    return members;
}

/* What a set still lacks; 0: enough of it have shown theirs. */
static uint32_t missing_of(const struct ha_service *service, uint32_t which, uint32_t members)
{
    const struct ha_sync_set *set = &service->sync.sets[which].set;
    uint32_t counting = 0, needed = (uint32_t)__builtin_popcount(set->members) - set->need + 1;

    for (uint32_t i = 0; i < service->config.member_count; i++)
        if ((members & set->members & 1u << service->members[i].id) != 0 &&
            service->members[i].sync.since <= service->sync.sets[which].since)
            counting++;
    return counting < needed ? needed - counting : 0;
}

/* How far anybody who is heard has the known history, but for who wrote it. */
static uint64_t seen_of(const struct ha_watched *watched, const struct ha_service *service,
                        uint64_t now_ms)
{
    uint64_t most = 0, reach;

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = watched->members[i];

        if (service->members[i].id != service->open_member && is_heard(watch, service, now_ms) &&
            reach_of(&watch->status.sample.position, &service->position.lineage, &reach) &&
            reach > most)
            most = reach;
    }
    return most;
}

struct ha_proof ha_proof_of(const struct ha_watcher *w, const struct ha_service *service,
                            bool pretend, uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    struct ha_proof proof = {.bound = ha_cluster_sync_binds(service),
                             .holder = service->open_member};
    uint32_t asked = members_of(service);

    if (!proof.bound || watched == NULL)
        return proof;
    proof.seen = seen_of(watched, service, now_ms);
    /* They are heard at different times: under writes one always seems to have less. */
    if (pretend)
        proof.coming = HA_SWITCHOVER_LAG_MAX;
    if (!service->sync.in_force)
        proof.best = service->sync.floor;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = watched->members[i];
        uint64_t reach;

        if ((asked >> service->members[i].id & 1u) == 0 || !is_heard(watch, service, now_ms) ||
            !ha_proof_is_same(service, i, watch, &reach) ||
            (!pretend && !has_shown(service, watch)))
            continue;
        proof.members |= 1u << service->members[i].id;
        if (reach > proof.best)
            proof.best = reach;
    }
    for (uint32_t i = 0; i < service->sync.count; i++) {
        uint32_t missing =
            service->sync.sets[i].set.need == 0 ? 0 : missing_of(service, i, proof.members);

        if (missing > proof.missing)
            proof.missing = missing;
    }
    if (proof.best == HA_SYNC_NOBODY)
        proof.missing = 1; /* too many changes at once */
    if (service->sync.alone)
        proof.missing = 1; /* strict: nobody but the old primary itself can show it */
    proof.complete = proof.missing == 0;
    return proof;
}

bool ha_proof_waits(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    uint32_t asked = members_of(service);

    if (watched == NULL || !ha_cluster_sync_binds(service) ||
        ha_proof_of(w, service, false, now_ms).complete)
        return false;
    for (uint32_t i = 0; i < service->config.member_count; i++)
        if ((asked >> service->members[i].id & 1u) != 0 &&
            is_heard(watched->members[i], service, now_ms) &&
            watched->members[i]->status.process != HA_PROCESS_GONE &&
            !has_shown(service, watched->members[i]))
            return true;
    return false;
}

bool ha_proof_seals(const struct ha_service *service, const struct ha_watch *watch, uint32_t at)
{
    uint32_t id = service->members[at].id;
    bool drains = service->state == HA_STATE_FENCING && service->reason == HA_REASON_SWITCHOVER;

    /* While a switchover drains, its candidate must go on receiving. */
    return service->config.durability == HA_DURABILITY_STRICT && ha_cluster_sync_binds(service) &&
           !drains &&
           (service->state == HA_STATE_FENCING || service->state == HA_STATE_SELECTING ||
            service->state == HA_STATE_NO_CANDIDATE) &&
           id != service->open_member && (members_of(service) >> id & 1u) != 0 &&
           watch->status.process != HA_PROCESS_GONE && !is_sealed(service, watch);
}

bool ha_proof_was_kept(const struct ha_service *service, const struct ha_position *position)
{
    uint64_t reach;

    /* A database that started anew and empty between choice and order has less than it was chosen
     * for, and all others would follow it. */
    if (service->accept_loss || position->offset < service->sync.floor_next)
        return service->accept_loss;
    return !ha_cluster_sync_binds(service) ||
           (reach_of(position, &service->position.lineage, &reach) &&
            reach >= service->sync.floor_next);
}
