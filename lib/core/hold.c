/* The leader's part when agents may keep a primary's lease (design, 6.6): which of them, that they
 * end their promises before the lease is taken back, and whether they have. */
#include <string.h>

#include "lib/core/failover.h"
#include "lib/core/watcher_parts.h"

static const struct ha_hold_set nobody;

static const struct ha_hold_set *newest(const struct ha_service *service, uint64_t *ret_since)
{
    uint32_t count = service->hold.count;

    *ret_since = count == 0 ? 0 : service->hold.sets[count - 1].since;
    return count == 0 ? &nobody : &service->hold.sets[count - 1].set;
}

/* Which agents it should be. False: the agent of one has never been heard, so it is not known by
 * what it would remember a promise. */
static bool wanted(const struct ha_watched *watched, const struct ha_service *service,
                   struct ha_hold_set *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (service->config.on_quorum_loss != HA_QUORUM_LOSS_HOLD)
        return true;
    ret->lease_ms = service->config.lease_ms;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        uint32_t id = service->members[i].id;

        if (id == service->primary)
            continue;
        if (!watched->members[i]->heard || watched->members[i]->status.memory == 0)
            return false;
        ret->members |= 1u << id;
        ret->memory[id] = watched->members[i]->status.memory;
    }
    return ret->members != 0;
}

/* The primary's agent, where it speaks for the epoch; NULL otherwise. */
static const struct ha_watch *holder_of(const struct ha_watched *watched,
                                        const struct ha_service *service, uint64_t now_ms)
{
    int at = ha_service_member_at(service, service->primary);
    const struct ha_watch *watch = at < 0 ? NULL : watched->members[at];

    return watch != NULL && watch->heard &&
                   now_ms - watch->heard_ms < service->config.down_after_ms &&
                   watch->instance == service->instance && watch->status.epoch == service->epoch
               ? watch
               : NULL;
}

static struct ha_command_hold *propose(struct ha_watcher *w, const struct ha_service *service,
                                       enum ha_command_kind kind, uint64_t now_ms,
                                       struct ha_effects *out)
{
    struct ha_command *command = ha_decide_propose(w, service, kind, now_ms, out);

    command->u.hold.ref = ha_decide_ref(service);
    return &command->u.hold;
}

void ha_hold_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                    struct ha_effects *out)
{
    const struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    const struct ha_watch *holder = holder_of(watched, service, now_ms);
    uint64_t since;
    const struct ha_hold_set *last = newest(service, &since);
    struct ha_hold_set set;

    if (holder == NULL || service->deleting)
        return;
    if (service->hold.count > 0 && holder->status.hold_index == since &&
        (service->hold.count > 1 || last->members == 0)) {
        propose(w, service, HA_COMMAND_HOLD_FORCE, now_ms, out)->since = since;
        return;
    }
    /* One change at a time: while two are remembered there is no room for a third. */
    if (service->hold.count < HA_HOLD_SETS && wanted(watched, service, &set) &&
        !ha_hold_set_is_equal(&set, last))
        propose(w, service, HA_COMMAND_HOLD_INTEND, now_ms, out)->set = set;
}

bool ha_hold_is_calm(const struct ha_watcher *w, const struct ha_service *service)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->primary);
    uint64_t since;
    const struct ha_hold_set *last = newest(service, &since);
    struct ha_hold_set set;

    if (service->config.on_quorum_loss != HA_QUORUM_LOSS_HOLD && service->hold.count == 0)
        return true;
    return watched != NULL && at >= 0 && service->hold.count == 1 &&
           watched->members[at]->status.hold_index == since && wanted(watched, service, &set) &&
           ha_hold_set_is_equal(&set, last);
}

bool ha_hold_order(const struct ha_service *service, const struct ha_watch *holder,
                   struct ha_order *order)
{
    uint64_t since;
    const struct ha_hold_set *last = newest(service, &since);

    if (service->hold.count == 0 || holder->status.epoch != service->epoch ||
        holder->status.hold_index >= since)
        return false;
    order->kind = HA_ORDER_HOLD;
    order->hold = *last;
    order->hold_index = since;
    return true;
}

bool ha_hold_releases(const struct ha_service *service, const struct ha_watch *watch, uint32_t at)
{
    return service->state == HA_STATE_FENCING &&
           (ha_cluster_hold_members(service) >> service->members[at].id & 1u) != 0 &&
           watch->status.epoch_seen < service->epoch;
}

bool ha_hold_is_back(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms)
{
    enum { BACK_MS = 2500 }; /* an agent dials again each second, and an election may be on */
    const struct ha_watched *watched = ha_watched_peek(w, service);

    for (uint32_t i = 0; watched != NULL && i < service->config.member_count; i++) {
        const struct ha_watch *watch = watched->members[i];

        if (watch->heard && now_ms - watch->heard_ms < service->config.down_after_ms &&
            now_ms - watch->heard_since_ms >= BACK_MS)
            return false;
    }
    return service->hold.count > 0;
}

/* Whether it is the memory by which every set that names this member knows it. */
static bool remembers(const struct ha_service *service, uint32_t id, uint64_t memory)
{
    for (uint32_t i = 0; i < service->hold.count; i++)
        if ((service->hold.sets[i].set.members >> id & 1u) != 0 &&
            service->hold.sets[i].set.memory[id] != memory)
            return false;
    return true;
}

/* When all promises of its agent for the ended epoch are over, by what it said last: it has noted
 * that it gives none, those of this run are told, and those of a run before ended with the longest.
 */
static uint64_t ends_ms(const struct ha_service *service, const struct ha_watch *watch)
{
    const struct ha_status *status = &watch->status;
    uint32_t longest_ms = ha_cluster_hold_ms(service);
    uint64_t before_ms = longest_ms + ha_drift_ms(longest_ms);
    uint64_t awake_ms = status->awake_ms - status->awake_ms / 128; /* at least, by our clock */
    uint64_t left_ms = status->hold_left_ms + ha_drift_ms(status->hold_left_ms);

    if (before_ms > awake_ms && before_ms - awake_ms > left_ms)
        left_ms = before_ms - awake_ms;
    return watch->told_ms + left_ms + ha_service_gate_slack_ms(service);
}

/* Each word is safe by itself, since it is counted from its receipt: the earliest end holds. */
static bool has_ended(const struct ha_service *service, struct ha_watch *watch, uint64_t now_ms)
{
    struct ha_watch_ended *ended = &watch->ended;

    if (watch->heard && watch->status.epoch_seen >= service->epoch) {
        uint64_t until_ms = ends_ms(service, watch);

        if (ended->epoch != service->epoch || ended->memory != watch->status.memory ||
            until_ms < ended->until_ms)
            *ended = (struct ha_watch_ended){service->epoch, watch->status.memory, until_ms};
    }
    return ended->epoch == service->epoch && now_ms >= ended->until_ms;
}

bool ha_hold_is_over(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_command_fenced *fenced)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    uint32_t members = ha_cluster_hold_members(service);

    fenced->released = fenced->renewed = 0;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        struct ha_watch *watch = watched->members[i];
        uint32_t id = service->members[i].id;

        if ((members >> id & 1u) == 0 || !has_ended(service, watch, now_ms))
            continue;
        if (remembers(service, id, watch->ended.memory))
            fenced->released |= 1u << id;
        else
            fenced->renewed |= 1u << id;
    }
    return ha_cluster_hold_is_over(service, fenced->released, fenced->renewed);
}
