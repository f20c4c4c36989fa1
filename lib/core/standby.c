/* The leader's policy for the members whose word a primary waits for: those that replicate from it
 * now. One that has gone is dropped after a grace, one that has caught up is taken in; `sync` goes
 * on alone when nobody is left, and says so; `strict` waits. */
#include <string.h>

#include "lib/core/failover.h"
#include "lib/core/sync.h"
#include "lib/core/watcher_parts.h"

enum { CAUGHT_UP = 1 << 20 }; /* bytes behind at most, for one that is taken in */

static const struct ha_sync_set *newest(const struct ha_service *service, uint64_t *ret_since)
{
    uint32_t count = service->sync.count;

    *ret_since = count == 0 ? 0 : service->sync.sets[count - 1].since;
    return count == 0 ? NULL : &service->sync.sets[count - 1].set;
}

static bool is_heard(const struct ha_watch *watch, const struct ha_service *service,
                     uint64_t now_ms)
{
    return watch->heard && now_ms - watch->heard_ms < service->config.down_after_ms;
}

bool ha_standby_is_named(const struct ha_service *service, uint32_t at,
                         const struct ha_watch *watch)
{
    char name[HA_SYNC_NAME_SIZE];

    if (!ha_sync_is_managed(service->config.engine, service->config.durability))
        return true;
    ha_sync_name(name, service->config.members[at].name, service->epoch);
    return watch->status.sample.sync_id == ha_sync_id(name);
}

bool ha_standby_streams(const struct ha_service *service, uint32_t at, const struct ha_watch *watch,
                        uint64_t now_ms)
{
    return is_heard(watch, service, now_ms) && watch->status.process != HA_PROCESS_GONE &&
           watch->status.sample.answer == HA_ANSWER_OK &&
           watch->status.sample.role == HA_ROLE_REPLICA && watch->status.sample.link_up &&
           watch->status.follows == service->primary && ha_standby_is_named(service, at, watch);
}

/* Before the primary serves nobody can replicate from it: whoever is going to. */
static bool will_stream(const struct ha_service *service, uint32_t at, const struct ha_watch *watch,
                        uint64_t now_ms)
{
    uint64_t offset;

    return is_heard(watch, service, now_ms) && watch->status.process != HA_PROCESS_GONE &&
           watch->status.sample.answer == HA_ANSWER_OK &&
           watch->status.sample.role == HA_ROLE_REPLICA &&
           service->config.members[at].follow[0] == '\0' &&
           ha_kinship_of(&watch->status.sample.position, &service->position.lineage, &offset) ==
               HA_KIN_SAME;
}

static bool is_caught_up(const struct ha_watch *watch, const struct ha_watch *primary)
{
    uint64_t offset = watch->status.sample.position.offset;

    return offset + CAUGHT_UP >= primary->status.sample.position.offset;
}

/* Whether a member belongs into the set now. */
static bool belongs(const struct ha_service *service, uint32_t at, struct ha_watched *watched,
                    bool is_in, uint64_t now_ms)
{
    struct ha_watch *watch = watched->members[at];
    const struct ha_watch *primary =
        watched->members[ha_service_member_at(service, service->primary)];

    if (ha_standby_streams(service, at, watch, now_ms)) {
        watch->streamed_ms = now_ms;
        return is_in || is_caught_up(watch, primary);
    }
    if (service->state == HA_STATE_OPENING)
        return service->sync.count == 0 ? will_stream(service, at, watch, now_ms) : is_in;
    if (watch->streamed_ms < watched->state_ms)
        watch->streamed_ms = watched->state_ms; /* the grace begins when it could */
    return is_in && now_ms - watch->streamed_ms < service->config.sync_grace_ms;
}

static struct ha_sync_set wanted(const struct ha_service *service, struct ha_watched *watched,
                                 const struct ha_sync_set *last, uint64_t now_ms)
{
    struct ha_sync_set set = {0};
    uint32_t others = 0;

    if (!ha_sync_is_managed(service->config.engine, service->config.durability))
        return set;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        uint32_t id = service->members[i].id;

        if (id == service->primary)
            continue;
        others |= 1u << id;
        if (belongs(service, i, watched, last != NULL && (last->members >> id & 1u) != 0, now_ms))
            set.members |= 1u << id;
    }
    /* Strict never goes on alone: it waits for whom it waited for, or for whoever comes. */
    if (set.members == 0 && service->config.durability == HA_DURABILITY_STRICT)
        set.members = last != NULL && last->need > 0 ? last->members : others;
    /* As many may be lost while it writes as when it is replaced. */
    set.need = ((uint32_t)__builtin_popcount(set.members) + 1) / 2;
    return set;
}

static bool is_logged(const struct ha_sync_entry *logged, const struct ha_sync_entry *entry)
{
    return logged->since != 0 && logged->instance == entry->instance &&
           logged->lineage == entry->lineage && logged->offset == entry->offset;
}

/* Members of the set that are there and not as what the log knows them. */
static uint32_t entering(const struct ha_service *service, const struct ha_watched *watched,
                         const struct ha_sync_set *set, uint64_t now_ms,
                         struct ha_sync_entry *entries)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = watched->members[i];
        const struct ha_position *have = &watch->status.sample.position;
        uint32_t id = service->members[i].id;
        uint64_t reach;
        /* One that was dropped and is still what it was goes on counting for the older sets too. */
        bool known = ha_proof_is_same(service, i, watch, &reach);

        if ((set->members >> id & 1u) == 0 || have->lineage.count == 0 ||
            !(service->state == HA_STATE_OPENING ? will_stream(service, i, watch, now_ms)
                                                 : ha_standby_streams(service, i, watch, now_ms)))
            continue;
        if (known)
            continue;
        entries[id] = (struct ha_sync_entry){
            .instance = watch->instance, .lineage = have->lineage.steps[0].id, .offset = 0};
        if (ha_kinship_of(have, &service->position.lineage, &reach) == HA_KIN_SAME)
            entries[id].offset = reach;
        /* One with a strange history is never known: said once, or the log fills. */
        if (!is_logged(&service->members[i].sync, &entries[id]))
            bits |= 1u << id;
    }
    return bits;
}

static struct ha_command_sync *propose(struct ha_watcher *w, const struct ha_service *service,
                                       enum ha_command_kind kind, uint64_t now_ms,
                                       struct ha_effects *out)
{
    struct ha_command *command = ha_decide_propose(w, service, kind, now_ms, out);

    command->u.sync.ref = ha_decide_ref(service);
    return &command->u.sync;
}

/* Who holds all that the primary had when it was first seen with the newest set in effect: what was
 * acknowledged before, under whatever set, is at or below that. */
static uint32_t holding(const struct ha_service *service, const struct ha_watched *watched,
                        const struct ha_sync_set *set, uint64_t now_ms)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = watched->members[i];
        uint64_t reach;

        if ((set->members >> service->members[i].id & 1u) != 0 &&
            ha_standby_streams(service, i, watch, now_ms) &&
            ha_proof_is_same(service, i, watch, &reach) &&
            watch->status.sample.position.lineage.steps[0].id ==
                service->position.lineage.steps[0].id &&
            watch->status.sample.position.offset >= watched->sync_offset)
            bits |= 1u << service->members[i].id;
    }
    return bits;
}

static bool enforce(struct ha_watcher *w, const struct ha_service *service,
                    const struct ha_watch *primary, uint64_t now_ms, struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    struct ha_command_sync *command;
    uint64_t since;
    const struct ha_sync_set *last = newest(service, &since);
    uint32_t bits;

    if (last == NULL || (service->sync.count == 1 && service->sync.in_force) ||
        primary->status.result != HA_RESULT_DONE || !ha_standby_is_told(service, primary))
        return false;
    if (watched->sync_since != since) {
        watched->sync_since = since;
        watched->sync_offset = primary->status.sample.position.offset;
    }
    bits = holding(service, watched, last, now_ms);
    if ((uint32_t)__builtin_popcount(bits) < last->need)
        return false;
    command = propose(w, service, HA_COMMAND_SYNC_FORCE, now_ms, out);
    command->set = *last;
    command->offset = watched->sync_offset;
    command->holding = bits;
    return true;
}

bool ha_standby_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                       struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    int at = ha_service_member_at(service, service->primary);
    struct ha_sync_entry entries[HA_MEMBERS_MAX + 1];
    struct ha_command_sync *command;
    const struct ha_watch *primary;
    uint64_t since;
    const struct ha_sync_set *last = newest(service, &since);
    struct ha_sync_set set;
    uint32_t bits;

    if (at < 0 || service->deleting ||
        (last == NULL && !ha_sync_is_managed(service->config.engine, service->config.durability)))
        return false;
    primary = watched->members[at];
    if (!is_heard(primary, service, now_ms) || primary->instance != service->instance ||
        primary->status.epoch != service->epoch)
        return false;
    memset(entries, 0, sizeof(entries));
    set = wanted(service, watched, last, now_ms);
    bits = entering(service, watched, &set, now_ms, entries);
    if (last != NULL && set.need == last->need && set.members == last->members && bits == 0)
        return enforce(w, service, primary, now_ms, out);
    command = propose(w, service, HA_COMMAND_SYNC_INTEND, now_ms, out);
    command->set = set;
    command->entering = bits;
    memcpy(command->entries, entries, sizeof(entries));
    return true;
}

bool ha_standby_order(const struct ha_service *service, struct ha_order *order)
{
    uint64_t since;
    const struct ha_sync_set *last = newest(service, &since);

    if (service->config.engine != HA_ENGINE_POSTGRESQL)
        return true;
    if (last == NULL && ha_sync_is_managed(service->config.engine, service->config.durability))
        return false;
    order->sync_managed = true;
    order->sync_index = since;
    if (last != NULL)
        order->sync = *last;
    return true;
}

bool ha_standby_is_told(const struct ha_service *service, const struct ha_watch *primary)
{
    char names[HA_MEMBERS_MAX + 1][HA_NAME_SIZE] = {{0}};
    char text[HA_SYNC_NAMES_SIZE];
    struct ha_order order = {0};

    if (!ha_standby_order(service, &order) || !order.sync_managed)
        return true;
    for (uint32_t i = 0; i < service->config.member_count; i++)
        memcpy(names[service->members[i].id], service->config.members[i].name, HA_NAME_SIZE);
    ha_sync_names(text, &order.sync, (const char(*)[HA_NAME_SIZE])names, service->epoch);
    return primary->status.sync_index == order.sync_index &&
           primary->status.sample.sync_id == ha_sync_id(text);
}
