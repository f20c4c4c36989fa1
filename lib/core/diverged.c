/* What an old primary had written and nobody else has is known when it comes back: its agent finds
 * the end of its history and where the others left it, and the log has it once, with the decision
 * that took the primary away. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/watcher_parts.h"

enum { SAY_MS = 1000 }; /* between proposals */

const struct ha_decision *ha_cluster_left(const struct ha_cluster *cluster,
                                          const struct ha_service *service, uint32_t member,
                                          uint64_t epoch)
{
    const char *name = ha_service_member_name(service, member);
    uint64_t id = cluster->decision_last;

    for (uint32_t i = 0; i < HA_HISTORY_MAX && id > 0 && name[0] != '\0'; i++, id--) {
        const struct ha_decision *decision = ha_cluster_decision(cluster, id);

        if (decision != NULL && decision->service == service->id && decision->epoch_from < epoch &&
            strcmp(decision->from, name) == 0)
            return decision;
    }
    return NULL;
}

static void tell(struct ha_cluster *cluster, const struct ha_service *service,
                 const struct ha_decision *decision)
{
    const struct ha_diverged *found = &decision->found;
    char text[HA_TEXT_SIZE], kept[64] = "";

    /* One that was drained and lost nothing did what was asked of it. */
    if (found->bytes == 0 && decision->reason == HA_REASON_SWITCHOVER)
        return;
    if (found->bytes > 0)
        (void)ha_text_format(kept, sizeof(kept), "; %s beside its data%s%" PRIu64,
                             ha_kept_text(found->kept),
                             found->kept == HA_KEPT_NOT ? ", epoch " : " as tail-", found->epoch);
    (void)ha_text_format(text, sizeof(text),
                         "%s came back with %" PRIu64
                         " bytes that nobody else has; at the failover %" PRIu64 " were known%s",
                         decision->from, found->bytes, decision->lost_bytes, kept);
    ha_cluster_notify_of(cluster, service, decision, HA_NOTICE_DIVERGED, text);
}

int ha_cluster_apply_diverged(struct ha_cluster *cluster, const struct ha_command_diverged *command,
                              struct ha_err *err)
{
    const struct ha_service *service = ha_cluster_service(cluster, command->service);
    const struct ha_decision *left;
    struct ha_decision *decision;

    if (service == NULL)
        return ha_err_set(err, HA_ENOENT, "no service with id %" PRIu32, command->service);
    if (command->found.epoch == HA_EPOCH_NONE || command->found.epoch > service->epoch)
        return ha_err_set(err, HA_EINVAL, "%s has no epoch %" PRIu64, service->config.name,
                          command->found.epoch);
    left = ha_cluster_left(cluster, service, command->member, command->found.epoch);
    if (left == NULL || left->found.epoch != HA_EPOCH_NONE)
        return ha_err_set(err, HA_ESTALE, "%s: no decision waits to hear that",
                          service->config.name);
    decision = &cluster->decisions[left->id % HA_HISTORY_MAX];
    decision->found = command->found;
    tell(cluster, service, decision);
    return HA_OK;
}

void ha_diverged_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                        struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        struct ha_watch *watch = watched->members[i];
        const struct ha_diverged *found = &watch->status.sample.diverged;
        const struct ha_decision *left;
        struct ha_command *command;

        if (!watch->heard || found->epoch == HA_EPOCH_NONE || found->epoch > service->epoch ||
            found->epoch == watch->diverged_done ||
            (watch->diverged_ms != 0 && now_ms - watch->diverged_ms < SAY_MS))
            continue;
        left = ha_cluster_left(&w->cluster, service, service->members[i].id, found->epoch);
        if (left == NULL || left->found.epoch != HA_EPOCH_NONE) {
            watch->diverged_done = found->epoch;
            continue;
        }
        watch->diverged_ms = now_ms;
        command = &ha_effects_add(out, HA_EFFECT_PROPOSE)->u.command;
        command->kind = HA_COMMAND_DIVERGED;
        command->wall_ms = w->wall_ms;
        command->u.diverged = (struct ha_command_diverged){
            .service = service->id, .member = service->members[i].id, .found = *found};
    }
}
