/* Whom to promote: the members are laid out and ranked once their last words are in, and again each
 * second where nobody was fit. */
#include <string.h>

#include "lib/core/failover.h"
#include "lib/core/watcher_parts.h"

enum {
    FRESH_MS = 100,   /* longest wait for the replicas' last positions */
    PROOF_MS = 2000,  /* longest wait for members to show what was acknowledged */
    RETRY_MS = 1000,  /* between looks for a candidate where there was none */
    ASK_MS = 200,     /* before such a look, for words that are missing as proof */
    FIRST_MS = 10000, /* longest wait for all members of a new service to be heard */
};

bool ha_select_holder_is_gone(const struct ha_watcher *w, const struct ha_service *service,
                              uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->primary);

    return at >= 0 && watched != NULL &&
           ha_watch_is_heard(watched->members[at], &service->config, now_ms) &&
           watched->members[at]->instance != service->instance;
}

/* Watchers that are heard and hear nothing of a member's agent: none of them will promise it
 * anything, and it would be down as soon as it were primary. */
static uint32_t silent_to(const struct ha_watcher *w, const struct ha_service *service, uint32_t at)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < w->cluster.watcher_count; i++) {
        enum ha_verdict verdict = service->members[at].verdicts[i];

        if (ha_decide_hears(w, i) &&
            (verdict == HA_VERDICT_SILENT || verdict == HA_VERDICT_REFUSED))
            count++;
    }
    return count;
}

/* The last primary does not run, but its agent can start it: it lacks nothing, and is worth a wait
 * of restart_max_ms in the present state. */
static bool may_return(const struct ha_watcher *w, const struct ha_service *service,
                       uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->open_member);
    const struct ha_watch *watch;
    const struct ha_status *status;

    if (at < 0 || watched == NULL || (service->failed_members >> service->open_member & 1u) != 0 ||
        now_ms - watched->state_ms >= service->config.restart_max_ms)
        return false;
    watch = watched->members[at];
    status = &watch->status;
    if (!ha_watch_is_heard(watch, &service->config, now_ms) ||
        watch->instance != service->open_instance || !status->sample.starts)
        return false;
    if (status->process != HA_PROCESS_GONE && status->sample.answer == HA_ANSWER_OK)
        return false;
    return status->order != HA_ORDER_FOLLOW || status->order_epoch != service->epoch ||
           status->result != HA_RESULT_FAILED;
}

/* Whoever was asked for cannot take it, and the old epoch has ended: it is undone, the old primary
 * gets the next one, or failing that whoever can. A loss was accepted only for the one named, and
 * none is taken while the old primary may come back whole. */
static int choose_otherwise(const struct ha_service *service, const struct ha_candidate *candidates,
                            bool switchover, bool returns, struct ha_candidate_rules *rules,
                            struct ha_fit *fits)
{
    uint32_t count = service->config.member_count;
    int chosen;

    rules->target = service->open_member;
    rules->accept_loss = rules->accept_loss && switchover;
    chosen = ha_candidate_choose(candidates, count, rules, fits);
    if (chosen >= 0 || (service->paused && !switchover))
        return chosen;
    rules->target = HA_MEMBER_NONE;
    if (!switchover || !returns)
        rules->loss_budget_bytes = service->config.loss_budget_bytes;
    return ha_candidate_choose(candidates, count, rules, fits);
}

bool ha_select_restarts(const struct ha_watcher *w, const struct ha_service *service)
{
    const struct ha_decision *decision = ha_cluster_decision(&w->cluster, service->decision);

    return service->config.crash_policy == HA_CRASH_RESTART && !ha_state_is_open(service->state) &&
           (service->reason == HA_REASON_GIVE_UP || service->reason == HA_REASON_DOWN) &&
           service->open_epoch != HA_EPOCH_NONE && decision != NULL &&
           decision->verdict == HA_VERDICT_CRASHED;
}

int ha_select_candidate(const struct ha_watcher *w, const struct ha_service *service,
                        uint64_t now_ms, struct ha_fit *fits)
{
    static const struct ha_watch unseen;
    const struct ha_watched *watched = ha_watched_peek(w, service);
    bool open = ha_state_is_open(service->state);
    bool switchover = service->reason == HA_REASON_SWITCHOVER && !open;
    /* Who asks for another primary and names none means any but the present one. */
    bool away = (switchover || (service->reason == HA_REASON_OPERATOR && !open)) &&
                service->target == HA_MEMBER_NONE;
    /* Before the first epoch nothing is known to go back to: whom a person names, or nobody. */
    bool named = service->reason == HA_REASON_OPERATOR && !open &&
                 service->target != HA_MEMBER_NONE && service->open_epoch != HA_EPOCH_NONE;
    struct ha_candidate candidates[HA_MEMBERS_MAX];
    struct ha_candidate_rules rules = {
        /* A paused service goes back to where it was, or nowhere; but for people, whom a pause does
         * not bind. */
        .target = service->paused && service->open_epoch != HA_EPOCH_NONE &&
                          service->reason != HA_REASON_OPERATOR && !switchover
                      ? service->open_member
                      : service->target,
        .exclude = away                                                    ? service->open_member
                   : open && !ha_select_holder_is_gone(w, service, now_ms) ? service->primary
                                                                           : HA_MEMBER_NONE,
        .accept_loss = service->accept_loss,
        .first = service->open_epoch == HA_EPOCH_NONE,
        /* A switchover loses nothing, or does not happen. */
        .loss_budget_bytes = switchover ? 0 : service->config.loss_budget_bytes,
        .slack_bytes = service->config.priority_slack_bytes,
        .known = &service->position,
        .proof = ha_proof_of(w, service, open, now_ms),
    };

    int chosen;

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_member_config *config = &service->config.members[i];
        const struct ha_watch *watch = watched == NULL ? &unseen : watched->members[i];

        candidates[i] = (struct ha_candidate){
            .member = service->members[i].id,
            .name = config->name,
            .priority = config->priority,
            .heard = ha_watch_is_heard(watch, &service->config, now_ms),
            .failed = (service->failed_members >> service->members[i].id & 1u) != 0,
            .unopened = service->members[i].unopened_epoch != HA_EPOCH_NONE,
            .unseen = silent_to(w, service, i) >= ha_cluster_majority(&w->cluster),
            .ahead = watch->status.epoch_seen > service->epoch + (open ? 1 : 0),
            .noteless = watch->status.noteless,
            .hung = watch->status.answer_age_ms >= service->config.hang_after_ms,
            .process = watch->status.process,
            .gate = watch->status.gate,
            .sample = &watch->status.sample,
        };
    }
    /* Its own data are whole: it lacks nothing. */
    if (rules.target == HA_MEMBER_NONE && ha_select_restarts(w, service)) {
        rules.target = service->open_member;
        chosen = ha_candidate_choose(candidates, service->config.member_count, &rules, fits);
        if (chosen >= 0)
            return chosen;
        rules.target = HA_MEMBER_NONE;
    }
    chosen = ha_candidate_choose(candidates, service->config.member_count, &rules, fits);
    if (chosen < 0 && away) {
        rules.exclude = HA_MEMBER_NONE;
        chosen = ha_candidate_choose(candidates, service->config.member_count, &rules, fits);
    }
    return chosen < 0 && (switchover || named)
               ? choose_otherwise(service, candidates, switchover, may_return(w, service, now_ms),
                                  &rules, fits)
               : chosen;
}

/* Whether every member that is heard has told its position since the old primary ended. */
static bool positions_are_fresh(const struct ha_watcher *w, const struct ha_service *service,
                                uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    uint64_t since_ms = watched->fencing_ms != 0 ? watched->fencing_ms : watched->state_ms;
    bool first = service->open_epoch == HA_EPOCH_NONE;

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = watched->members[i];

        if (service->config.members[i].priority == HA_PRIORITY_NEVER)
            continue;
        if (!ha_watch_is_heard(watch, &service->config, now_ms)) {
            if (first)
                return false;
            continue;
        }
        /* A database that is gone or does not answer its agent will tell nothing; but where nothing
         * was ever compared, one that has not been asked yet may be the one with the data. */
        if ((watch->status.process == HA_PROCESS_GONE && !(first && watch->status.sample.starts)) ||
            (!first && watch->status.answer_age_ms >= service->config.hang_after_ms))
            continue;
        if (watch->position_ms < since_ms)
            return false;
    }
    return true;
}

static uint64_t lost_bytes(const struct ha_fit *fits, int chosen)
{
    return chosen < 0 ? 0 : fits[chosen].behind;
}

static bool same_reasons(const struct ha_watcher *w, const struct ha_service *service,
                         const struct ha_fit *fits)
{
    const struct ha_decision *decision = ha_cluster_decision(&w->cluster, service->decision);

    if (decision == NULL || decision->fit_count != service->config.member_count)
        return false;
    for (uint32_t i = 0; i < decision->fit_count; i++)
        if (decision->fits[i].fit.member != fits[i].member ||
            decision->fits[i].fit.fitness != fits[i].fitness)
            return false;
    return true;
}

static void select_candidate(struct ha_watcher *w, const struct ha_service *service,
                             uint64_t now_ms, struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    struct ha_fit fits[HA_MEMBERS_MAX];
    int chosen = ha_select_candidate(w, service, now_ms, fits);
    struct ha_command_promote *promote;
    struct ha_command *command;

    if (chosen < 0 && service->state == HA_STATE_NO_CANDIDATE && same_reasons(w, service, fits)) {
        watched->proposed_ms = 0;
        return;
    }
    command = ha_decide_propose(w, service, chosen < 0 ? HA_COMMAND_NONE : HA_COMMAND_PROMOTE,
                                now_ms, out);
    promote = &command->u.promote;
    promote->ref = ha_decide_ref(service);
    promote->lost_bytes = lost_bytes(fits, chosen);
    promote->proof = ha_proof_of(w, service, false, now_ms).members;
    promote->fit_count = service->config.member_count;
    memcpy(promote->fits, fits, promote->fit_count * sizeof(fits[0]));
    if (chosen < 0)
        return;
    promote->member = service->members[chosen].id;
    promote->instance = watched->members[chosen]->instance;
    promote->gate = watched->members[chosen]->status.gate;
}

void ha_select_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                      struct ha_effects *out)
{
    const struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    uint64_t patience_ms = service->open_epoch == HA_EPOCH_NONE ? FIRST_MS : FRESH_MS;

    if (ha_select_restarts(w, service) && may_return(w, service, now_ms))
        return;
    ha_order_report(w, service, now_ms, out);
    if (ha_proof_waits(w, service, now_ms) && now_ms - watched->state_ms < PROOF_MS)
        return;
    if (positions_are_fresh(w, service, now_ms) || now_ms - watched->state_ms >= patience_ms)
        select_candidate(w, service, now_ms, out);
}

void ha_select_again(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);

    /* Asked before the look, so that what is proven then is not left for the next one. */
    if (watched->looked_ms < watched->state_ms)
        watched->looked_ms = watched->state_ms;
    if (now_ms - watched->looked_ms >= RETRY_MS - ASK_MS && ha_proof_waits(w, service, now_ms))
        ha_order_report(w, service, now_ms, out);
    if (now_ms - watched->looked_ms < RETRY_MS)
        return;
    watched->looked_ms = now_ms;
    select_candidate(w, service, now_ms, out);
}
