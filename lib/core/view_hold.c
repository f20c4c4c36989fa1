/* Who would keep the primary's lease were the watchers lost, or does, for people. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/core/view.h"
#include "lib/core/watcher_parts.h"

static void put_names(const struct ha_service *service, uint32_t members, char text[HA_TEXT_SIZE])
{
    const char *between = "";

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        if ((members >> service->members[i].id & 1u) == 0)
            continue;
        (void)ha_text_append(text, HA_TEXT_SIZE, "%s%s", between, service->config.members[i].name);
        between = ", ";
    }
}

static void tell(const struct ha_service *service, struct ha_hold_view *view)
{
    uint32_t silent = view->members & ~view->promising;
    char *text = view->text;

    if (view->holding) {
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "its lease has been held by agents for %" PRIu32 " s, for want of a "
                             "majority of watchers: ",
                             view->holding_ms / 1000);
        put_names(service, view->promising, text);
    } else if (!view->in_force) {
        (void)ha_text_copy(text, HA_TEXT_SIZE,
                           view->members == 0
                               ? "not every other agent has been heard: without the watchers the "
                                 "primary is fenced"
                               : "the agent of the primary does not know yet whose promises may "
                                 "keep its lease");
    } else if (silent != 0) {
        put_names(service, silent, text);
        (void)ha_text_append(text, HA_TEXT_SIZE,
                             ": no promise to the agent of the primary: without the watchers it "
                             "is fenced");
    } else {
        put_names(service, view->members, text);
        (void)ha_text_append(text, HA_TEXT_SIZE, " keep its lease if the watchers are lost");
    }
}

void ha_view_hold(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                  struct ha_hold_view *ret)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->primary);
    const struct ha_status *status =
        at < 0 || watched == NULL ? NULL : &watched->members[at]->status;
    uint32_t count = service->hold.count;
    uint64_t age_ms = status == NULL ? 0 : now_ms - watched->members[at]->told_ms;

    memset(ret, 0, sizeof(*ret));
    ret->wanted = service->config.on_quorum_loss == HA_QUORUM_LOSS_HOLD || count > 0;
    if (!ret->wanted || !ha_state_is_open(service->state))
        return;
    if (count > 0)
        ret->members = service->hold.sets[count - 1].set.members;
    if (status != NULL && status->epoch == service->epoch && count > 0 &&
        status->hold_index == service->hold.sets[count - 1].since) {
        ret->in_force = true;
        ret->promising = status->hold_given & ret->members;
        ret->holding = status->holding;
        if (ret->holding)
            ret->holding_ms = status->hold_age_ms + (uint32_t)age_ms;
    }
    tell(service, ret);
}

void ha_view_hold_end(const struct ha_watcher *w, const struct ha_service *service,
                      char text[HA_TEXT_SIZE])
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    uint32_t members = ha_cluster_hold_members(service), ended = 0;

    for (uint32_t i = 0; watched != NULL && i < service->config.member_count; i++)
        if (watched->members[i]->heard && watched->members[i]->status.epoch_seen >= service->epoch)
            ended |= 1u << service->members[i].id;
    if (members == 0 || ha_cluster_hold_is_over(service, ended, 0))
        return; /* it is the rest of them that is waited for, as with watchers */
    (void)ha_text_append(text, HA_TEXT_SIZE,
                         "; agents may hold its lease, and none has ended its promise: ");
    put_names(service, members, text);
}
