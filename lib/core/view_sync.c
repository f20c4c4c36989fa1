/* What is said of durability: who counts, how many are missing, who acknowledges alone. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/core/sync.h"
#include "lib/core/view.h"
#include "lib/core/watcher_parts.h"

static uint32_t count_bits(uint32_t bits)
{
    return (uint32_t)__builtin_popcount(bits);
}

static void name_members(const struct ha_service *service, uint32_t members,
                         char text[HA_TEXT_SIZE])
{
    text[0] = '\0';
    for (uint32_t i = 0; i < service->config.member_count; i++)
        if ((members >> service->members[i].id & 1u) != 0)
            (void)ha_text_append(text, HA_TEXT_SIZE, "%s%s", text[0] == '\0' ? "" : ", ",
                                 service->config.members[i].name);
}

static uint32_t replicating(const struct ha_watcher *w, const struct ha_service *service,
                            uint32_t members, uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    uint32_t bits = 0;

    for (uint32_t i = 0; watched != NULL && i < service->config.member_count; i++)
        if (ha_standby_streams(service, i, watched->members[i], now_ms))
            bits |= 1u << service->members[i].id;
    return bits & members;
}

/* While a primary serves, or is about to. */
static void tell_open(const struct ha_service *service, struct ha_sync_view *view)
{
    char names[HA_TEXT_SIZE];

    name_members(service, view->members, names);
    if (view->need > 0)
        (void)ha_text_format(view->text, HA_TEXT_SIZE, "writes wait for any %" PRIu32 " of %.80s",
                             view->need, names);
    else if (service->sync.count == 0)
        (void)ha_text_copy(view->text, HA_TEXT_SIZE, "whom writes wait for is not decided yet");
    if (view->alone)
        (void)ha_text_append(view->text, HA_TEXT_SIZE,
                             "%sALONE: the primary %s writes that no replica has",
                             view->text[0] == '\0' ? "" : "; ",
                             view->need == 0 ? "acknowledges" : "has acknowledged");
    if (count_bits(view->replicating) < view->need)
        (void)ha_text_append(view->text, HA_TEXT_SIZE,
                             "; %" PRIu32 " replicate: nothing is acknowledged",
                             count_bits(view->replicating));
    else if (!view->in_force && service->sync.count > 0)
        (void)ha_text_append(view->text, HA_TEXT_SIZE, "; a change of that is under way");
}

static void tell_proof(const struct ha_service *service, struct ha_sync_view *view)
{
    char names[HA_TEXT_SIZE];

    name_members(service, ha_cluster_sync_members(service), names);
    if (view->alone)
        (void)ha_text_format(view->text, HA_TEXT_SIZE,
                             "the primary of epoch %" PRIu64
                             " acknowledged alone: no replica can show what",
                             service->open_epoch);
    else if (view->missing > 0)
        (void)ha_text_format(
            view->text, HA_TEXT_SIZE, "%" PRIu32 " more of %.80s must %s what was acknowledged",
            view->missing, names,
            service->config.durability == HA_DURABILITY_STRICT ? "seal and show" : "show");
    else
        (void)ha_text_format(view->text, HA_TEXT_SIZE, "%.100s have shown what was acknowledged",
                             names);
}

void ha_view_sync(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                  struct ha_sync_view *ret)
{
    bool open = ha_state_is_open(service->state);
    const struct ha_sync *sync = &service->sync;

    memset(ret, 0, sizeof(*ret));
    ret->managed = ha_sync_is_managed(service->config.engine, service->config.durability);
    if (!ret->managed || service->open_epoch == HA_EPOCH_NONE)
        return;
    ret->in_force = sync->in_force && sync->count == 1;
    ret->alone = sync->alone;
    if (sync->count > 0) {
        ret->need = sync->sets[sync->count - 1].set.need;
        ret->members = sync->sets[sync->count - 1].set.members;
    }
    ret->replicating = open ? replicating(w, service, ret->members, now_ms) : 0;
    ret->missing = ha_proof_of(w, service, open, now_ms).missing;
    if (open)
        tell_open(service, ret);
    else
        tell_proof(service, ret);
}
