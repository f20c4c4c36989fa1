#include "lib/core/view.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/core/watcher_parts.h"

/* What most watchers say; of equally many, the worse. */
static enum ha_verdict agreed_verdict(const struct ha_watcher *w, const struct ha_service *service,
                                      uint32_t at, enum ha_verdict own)
{
    const enum ha_verdict *verdicts = service->members[at].verdicts;
    enum ha_verdict best = own;
    uint32_t most = 0;

    for (uint32_t i = 0; i < w->cluster.watcher_count; i++) {
        uint32_t same = 0;

        for (uint32_t k = 0; k < w->cluster.watcher_count; k++)
            same += verdicts[k] == verdicts[i] && verdicts[i] != HA_VERDICT_UNKNOWN;
        if (same > most || (same == most && same > 0 && verdicts[i] > best)) {
            most = same;
            best = verdicts[i];
        }
    }
    return best;
}

/* How each would be judged were the primary to fail now, by itself and not on anybody's order; once
 * a failover is under way, as that has it. */
static void judge(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                  struct ha_fit *fits)
{
    struct ha_service asked = *service;

    if (ha_state_is_open(service->state)) {
        asked.paused = false;
        asked.target = HA_MEMBER_NONE;
        asked.accept_loss = false;
    }
    (void)ha_select_candidate(w, &asked, now_ms, fits);
}

static void tell_reason(struct ha_member_view *view, const struct ha_watch *watch)
{
    if (view->agent_heard && watch->status.text[0] != '\0')
        (void)ha_text_copy(view->reason, sizeof(view->reason), watch->status.text);
    else if (view->agent_heard && watch->status.process != HA_PROCESS_GONE &&
             watch->status.sample.text[0] != '\0')
        (void)ha_text_copy(view->reason, sizeof(view->reason), watch->status.sample.text);
    else
        (void)ha_text_copy(view->reason, sizeof(view->reason), ha_fitness_text(view->fit.fitness));
}

bool ha_view_member(const struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                    uint64_t now_ms, struct ha_member_view *ret)
{
    static const struct ha_watch unseen;
    const struct ha_watched *watched = ha_watched_peek(w, service);
    const struct ha_watch *watch = &unseen;
    struct ha_fit fits[HA_MEMBERS_MAX];
    uint64_t offset, age_ms;
    bool primary;

    if (at >= service->config.member_count)
        return false;
    if (watched != NULL)
        watch = watched->members[at];
    memset(ret, 0, sizeof(*ret));
    primary = ha_state_is_open(service->state) && service->members[at].id == service->primary;
    age_ms = now_ms > watch->heard_ms ? now_ms - watch->heard_ms : 0;
    ret->id = service->members[at].id;
    ret->config = &service->config.members[at];
    ret->verdict = agreed_verdict(w, service, at, watch->verdict);
    ret->agent_heard = watch->heard && age_ms < service->config.down_after_ms;
    ret->agent_age_ms = watch->heard ? (uint32_t)(age_ms < UINT32_MAX ? age_ms : UINT32_MAX) : 0;
    ret->process = ret->agent_heard ? watch->status.process : HA_PROCESS_UNKNOWN;
    ret->role = watch->heard ? watch->status.sample.role : watch->sample.role;
    ret->gate = watch->status.gate;
    ret->gate_open = ret->agent_heard && watch->status.gate_open;
    ret->vip_held = ret->agent_heard && watch->status.vip_held;
    if (primary && watch->status.lease_left_ms > age_ms)
        ret->lease_left_ms = watch->status.lease_left_ms - (uint32_t)age_ms;
    if (watched != NULL && watch->heard && service->position.lineage.count > 0 &&
        ha_kinship_of(&watch->status.sample.position, &service->position.lineage, &offset) ==
            HA_KIN_SAME) {
        int lead = ha_service_member_at(service, service->primary);
        uint64_t head = service->position.offset;

        if (lead >= 0 && watched->members[lead]->heard &&
            watched->members[lead]->status.sample.position.offset > head)
            head = watched->members[lead]->status.sample.position.offset;
        ret->lag_known = true;
        ret->lag_bytes = head > offset ? head - offset : 0;
    }
    judge(w, service, now_ms, fits);
    ret->fit = fits[at];
    if (ret->fit.fitness == HA_FIT_CHOSEN)
        ret->fit.fitness = HA_FIT_OK;
    tell_reason(ret, watch);
    return true;
}

const char *ha_view_fence(const struct ha_watcher *w, const struct ha_service *service)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    enum ha_gate gate = service->primary != HA_MEMBER_NONE ? service->gate : service->open_gate;
    int at = ha_service_member_at(service, service->primary);

    if (at >= 0 && watched != NULL && watched->members[at]->heard)
        gate = watched->members[at]->status.gate;
    switch (gate) {
    case HA_GATE_NFT:
    case HA_GATE_BPF:
    case HA_GATE_BOTH:
        return "kernel";
    case HA_GATE_PROCESS:
        return "process";
    case HA_GATE_NONE:
        return "none";
    }
    return "none";
}

uint32_t ha_view_heard(const struct ha_watcher *w)
{
    uint32_t heard = 0;

    for (uint32_t i = 0; i < w->cluster.watcher_count; i++)
        heard += i == w->self || w->peer_heard[i] ? 1 : 0;
    return heard;
}

void ha_view_fit(const struct ha_service *service, const struct ha_fit *fit,
                 char text[HA_TEXT_SIZE])
{
    if (fit->fitness == HA_FIT_BEHIND)
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "it lacks %" PRIu64
                             " bytes of the last known position, loss_budget is %" PRIu64,
                             fit->behind, service->config.loss_budget_bytes);
    else
        (void)ha_text_copy(text, HA_TEXT_SIZE, ha_fitness_text(fit->fitness));
}

/* Whether some other member could be promoted now; else why not, for each. */
static bool has_candidate(const struct ha_watcher *w, const struct ha_service *service,
                          uint64_t now_ms, char reason[HA_TEXT_SIZE])
{
    uint32_t heard = ha_view_heard(w), needed = ha_service_quorum(&w->cluster, service);
    struct ha_fit fits[HA_MEMBERS_MAX];
    struct ha_sync_view sync;
    char why[HA_TEXT_SIZE];

    reason[0] = '\0';
    if (heard < needed) {
        (void)ha_text_format(reason, HA_TEXT_SIZE,
                             "%" PRIu32 " of %" PRIu32 " watchers are there, %" PRIu32 " must be",
                             heard, w->cluster.watcher_count, needed);
        return false;
    }
    if (!ha_position_is_named(w, service, now_ms)) {
        (void)ha_text_copy(reason, HA_TEXT_SIZE,
                           "the history that the primary writes is not in the log yet");
        return false;
    }
    judge(w, service, now_ms, fits);
    ha_view_sync(w, service, now_ms, &sync);
    if (sync.missing > 0 && sync.alone)
        (void)ha_text_copy(reason, HA_TEXT_SIZE, "the primary has acknowledged writes alone");
    else if (sync.missing > 0)
        (void)ha_text_format(reason, HA_TEXT_SIZE,
                             "%" PRIu32 " more of those who count must show what was acknowledged",
                             sync.missing);
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        if (service->members[i].id == service->primary)
            continue;
        if (fits[i].fitness == HA_FIT_CHOSEN || fits[i].fitness == HA_FIT_RANKED_LOWER) {
            reason[0] = '\0';
            return true;
        }
        ha_view_fit(service, &fits[i], why);
        (void)ha_text_append(reason, HA_TEXT_SIZE, "%s%s: %s", reason[0] == '\0' ? "" : "; ",
                             service->config.members[i].name, why);
    }
    if (reason[0] == '\0')
        (void)ha_text_copy(reason, HA_TEXT_SIZE, "the service has no other member");
    return false;
}

bool ha_view_ready(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                   char reason[HA_TEXT_SIZE])
{
    if (!has_candidate(w, service, now_ms, reason))
        return false;
    if (service->state == HA_STATE_STEADY || service->state == HA_STATE_REPOINTING)
        return true;
    /* Who could be next is no help to clients while nobody serves them. */
    (void)ha_text_format(reason, HA_TEXT_SIZE, "a failover is under way: %s",
                         ha_state_text(service->state));
    return false;
}

static void tell_fencing(const struct ha_watcher *w, const struct ha_service *service,
                         char why[HA_TEXT_SIZE])
{
    const struct ha_watched *watched = ha_watched_peek(w, service);

    (void)ha_text_format(why, HA_TEXT_SIZE, "waiting until %s can no longer serve",
                         ha_service_member_name(service, service->open_member));
    ha_view_hold_end(w, service, why);
    if (watched == NULL || watched->fence.epoch != service->epoch)
        return;
    if (watched->fence.running)
        (void)ha_text_append(why, HA_TEXT_SIZE, "; the fencing command %s is running",
                             service->config.fence);
    else if (watched->fence.code != HA_OK)
        (void)ha_text_append(why, HA_TEXT_SIZE, "; the fencing command failed: %s",
                             watched->fence.text);
}

/* A majority that hears nothing of the primary promises nothing: no other quorum keeps it open. */
static const char *tell_fenced(const struct ha_watcher *w, const struct ha_service *service,
                               uint32_t agreeing)
{
    if ((uint32_t)__builtin_popcount(agreeing) < ha_cluster_majority(&w->cluster))
        return "";
    return service->config.quorum > ha_cluster_majority(&w->cluster)
               ? " (quorum); its lease is over or about to be, and nobody serves until they agree "
                 "or it is heard again: an operator may say failover"
               : "";
}

static void tell_repointing(const struct ha_watcher *w, const struct ha_service *service,
                            uint64_t now_ms, char why[HA_TEXT_SIZE])
{
    char text[HA_TEXT_SIZE];

    if (service->state == HA_STATE_REPOINTING && ha_repoint_waits(w, service, now_ms, text))
        (void)ha_text_format(why, HA_TEXT_SIZE, "the others are repointed; waiting for %.170s",
                             text);
}

/* All is well with the primary, and yet writes wait, or nobody else has them. */
static void tell_waiting(const struct ha_watcher *w, const struct ha_service *service,
                         uint64_t now_ms, char why[HA_TEXT_SIZE])
{
    struct ha_sync_view sync;
    struct ha_hold_view hold;

    ha_view_sync(w, service, now_ms, &sync);
    ha_view_hold(w, service, now_ms, &hold);
    if (sync.alone || (uint32_t)__builtin_popcount(sync.replicating) < sync.need)
        (void)ha_text_copy(why, HA_TEXT_SIZE, sync.text);
    else if (hold.wanted &&
             (hold.holding || !hold.in_force || (hold.members & ~hold.promising) != 0))
        (void)ha_text_copy(why, HA_TEXT_SIZE, hold.text);
}

void ha_view_why(const struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                 char why[HA_TEXT_SIZE])
{
    char reason[HA_TEXT_SIZE];
    uint32_t agreeing = ha_decide_agreeing(w, service);

    why[0] = '\0';
    if (service->paused) {
        (void)ha_text_format(why, HA_TEXT_SIZE, "paused by %s: %.120s", service->paused_by,
                             service->paused_why);
        return;
    }
    switch (service->state) {
    case HA_STATE_FENCING:
        tell_fencing(w, service, why);
        return;
    case HA_STATE_SELECTING:
    case HA_STATE_NO_CANDIDATE:
        if (!has_candidate(w, service, now_ms, reason))
            (void)ha_text_format(why, HA_TEXT_SIZE, "no candidate: %.170s", reason);
        return;
    case HA_STATE_PROMOTING:
        (void)ha_text_format(why, HA_TEXT_SIZE, "waiting until %s is promoted",
                             ha_service_member_name(service, service->primary));
        return;
    case HA_STATE_OPENING:
    case HA_STATE_REPOINTING:
    case HA_STATE_STEADY:
        break;
    }
    if (agreeing == 0) {
        tell_repointing(w, service, now_ms, why);
        if (why[0] == '\0')
            tell_waiting(w, service, now_ms, why);
        return;
    }
    if ((uint32_t)__builtin_popcount(agreeing) < ha_service_quorum(&w->cluster, service))
        (void)ha_text_format(why, HA_TEXT_SIZE,
                             "%d watchers say that the primary is down, %" PRIu32 " must%s",
                             __builtin_popcount(agreeing), ha_service_quorum(&w->cluster, service),
                             tell_fenced(w, service, agreeing));
    else if (!service->config.automatic)
        (void)ha_text_copy(why, HA_TEXT_SIZE, "the primary is down; automatic is set to no");
    else if (ha_decide_rate_limited(w, service))
        (void)ha_text_copy(why, HA_TEXT_SIZE,
                           "the primary is down; the rate limit on failovers is reached");
    else if (!has_candidate(w, service, now_ms, reason))
        (void)ha_text_format(why, HA_TEXT_SIZE, "the primary is down; no candidate: %.140s",
                             reason);
}

/* What the watchers say of the primary, when that is not enough. */
static bool tell_verdict(const struct ha_watcher *w, const struct ha_service *service,
                         char text[HA_TEXT_SIZE])
{
    uint32_t agreeing = (uint32_t)__builtin_popcount(ha_decide_agreeing(w, service));
    uint32_t needed = ha_service_quorum(&w->cluster, service);
    int at = ha_service_member_at(service, service->primary);
    uint32_t up = 0;

    if (at < 0 || agreeing >= needed)
        return false;
    for (uint32_t i = 0; i < w->cluster.watcher_count; i++)
        up += service->members[at].verdicts[i] == HA_VERDICT_UP ? 1 : 0;
    if (agreeing > 0)
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "%" PRIu32 " of %" PRIu32 " watchers that are heard say that %s is "
                             "down, %" PRIu32 " must",
                             agreeing, w->cluster.watcher_count, service->config.members[at].name,
                             needed);
    else
        (void)ha_text_format(text, HA_TEXT_SIZE,
                             "%" PRIu32 " of %" PRIu32 " watchers say that %s is up, none that it "
                             "is down",
                             up, w->cluster.watcher_count, service->config.members[at].name);
    return true;
}

static void tell_pause(const struct ha_service *service, char text[HA_TEXT_SIZE])
{
    (void)ha_text_format(text, HA_TEXT_SIZE, "paused by %s%s%.100s; `hafailoverctl resume %s`",
                         service->paused_by, service->paused_why[0] == '\0' ? "" : ": ",
                         service->paused_why, service->config.name);
}

uint32_t ha_view_why_not(const struct ha_watcher *w, const struct ha_service *service,
                         uint64_t now_ms, char reasons[HA_REASONS_MAX][HA_TEXT_SIZE])
{
    uint32_t count = 0;
    char why[HA_TEXT_SIZE];

    memset(reasons, 0, HA_REASONS_MAX * sizeof(reasons[0]));
    if (!ha_state_is_open(service->state)) {
        ha_view_why(w, service, now_ms, why);
        (void)ha_text_format(reasons[count++], HA_TEXT_SIZE, "one is under way, %s%s%.140s",
                             ha_state_text(service->state), why[0] == '\0' ? "" : ": ", why);
    } else if (tell_verdict(w, service, reasons[count]))
        count++;
    if (service->paused)
        tell_pause(service, reasons[count++]);
    if (!service->config.automatic)
        (void)ha_text_copy(reasons[count++], HA_TEXT_SIZE, "automatic is set to no");
    if (ha_decide_rate_limited(w, service))
        (void)ha_text_format(reasons[count++], HA_TEXT_SIZE,
                             "the rate limit is reached; `hafailoverctl lift %s`",
                             service->config.name);
    if (ha_state_is_open(service->state) && !has_candidate(w, service, now_ms, why))
        (void)ha_text_format(reasons[count++], HA_TEXT_SIZE, "nobody could take over: %.160s", why);
    return count;
}
