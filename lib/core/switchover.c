#include "lib/core/switchover.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/core/view.h"
#include "lib/core/watcher_parts.h"

static struct ha_check *add_check(struct ha_plan *plan, const char *name, bool ok)
{
    struct ha_check *check = &plan->checks[plan->check_count++];

    assert(plan->check_count <= HA_CHECKS_MAX);
    check->name = name;
    check->ok = ok;
    return check;
}

static void check_watchers(const struct ha_watcher *w, const struct ha_service *service,
                           struct ha_plan *plan)
{
    uint32_t heard = ha_view_heard(w), needed = ha_service_quorum(&w->cluster, service);
    struct ha_check *check = add_check(plan, "watchers", heard >= needed);

    (void)ha_text_format(check->text, sizeof(check->text),
                         "%" PRIu32 " of %" PRIu32 " watchers are heard, %" PRIu32 " must be",
                         heard, w->cluster.watcher_count, needed);
}

static void check_state(const struct ha_service *service, struct ha_plan *plan)
{
    bool ok = service->state == HA_STATE_STEADY && !service->deleting;
    struct ha_check *check = add_check(plan, "state", ok);

    (void)ha_text_format(check->text, sizeof(check->text), "the service is %s%s",
                         service->deleting ? "being deleted" : ha_state_text(service->state),
                         ok || service->deleting ? "" : ": wait until it is STEADY");
}

/* What keeps the primary from handing over; NULL: nothing. */
static const char *fault_of_primary(const struct ha_service *service,
                                    const struct ha_member_view *seen, const struct ha_watch *watch)
{
    if (!seen->agent_heard)
        return "its agent is not heard";
    if (watch->instance != service->instance || watch->status.epoch != service->epoch)
        return "its agent does not hold the epoch of the log";
    if (watch->status.sample.answer != HA_ANSWER_OK)
        return "its database does not answer";
    return seen->lease_left_ms == 0 ? "it holds no lease" : NULL;
}

static void check_primary(const struct ha_watcher *w, const struct ha_service *service,
                          uint64_t now_ms, struct ha_plan *plan)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->primary);
    struct ha_member_view seen;
    struct ha_check *check;
    const char *fault;

    if (at < 0 || watched == NULL || !ha_view_member(w, service, (uint32_t)at, now_ms, &seen)) {
        check = add_check(plan, "primary", false);
        (void)ha_text_copy(check->text, sizeof(check->text), "there is no primary");
        return;
    }
    fault = fault_of_primary(service, &seen, watched->members[at]);
    check = add_check(plan, "primary", fault == NULL);
    if (fault == NULL)
        (void)ha_text_format(check->text, sizeof(check->text),
                             "%s answers and holds its lease for %" PRIu32 " ms", seen.config->name,
                             seen.lease_left_ms);
    else
        (void)ha_text_format(check->text, sizeof(check->text),
                             "%s: %s; a switchover needs one that works, a failover does not",
                             seen.config->name, fault);
}

/* The choice that would be made, were the primary to go now. */
static int choose(const struct ha_watcher *w, const struct ha_service *service, uint32_t target,
                  bool accept_loss, uint64_t now_ms, struct ha_fit *fits)
{
    struct ha_service asked = *service;

    asked.reason = HA_REASON_OPERATOR;
    asked.target = target;
    asked.accept_loss = accept_loss;
    asked.failed_members = 0;
    asked.paused = false; /* a pause binds the watchers, not people */
    return ha_select_candidate(w, &asked, now_ms, fits);
}

static bool is_promotable(enum ha_fitness fitness)
{
    return fitness == HA_FIT_CHOSEN || fitness == HA_FIT_RANKED_LOWER;
}

/* Each member that cannot be promoted and why; only @target when that is named. */
static void tell_unfit(const struct ha_service *service, uint32_t target, const struct ha_fit *fits,
                       char text[HA_TEXT_SIZE])
{
    char why[HA_TEXT_SIZE];

    text[0] = '\0';
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        if (is_promotable(fits[i].fitness) || service->members[i].id == service->primary ||
            (target != HA_MEMBER_NONE && service->members[i].id != target))
            continue;
        ha_view_fit(service, &fits[i], why);
        (void)ha_text_append(text, HA_TEXT_SIZE, "%s%s: %s", text[0] == '\0' ? "" : "; ",
                             service->config.members[i].name, why);
    }
    if (text[0] == '\0')
        (void)ha_text_copy(text, HA_TEXT_SIZE, "the service has no other member");
}

static void check_target(const struct ha_watcher *w, const struct ha_service *service,
                         uint32_t target, uint64_t now_ms, struct ha_plan *plan)
{
    int chosen = choose(w, service, target, false, now_ms, plan->fits);
    bool ok = chosen >= 0 && service->members[chosen].id != service->primary;
    struct ha_check *check = add_check(plan, "target", ok);

    if (target != HA_MEMBER_NONE && target == service->primary) {
        (void)ha_text_format(check->text, sizeof(check->text), "%s is the primary already",
                             ha_service_member_name(service, target));
        return;
    }
    if (!ok) {
        tell_unfit(service, target, plan->fits, check->text);
        return;
    }
    plan->target = service->members[chosen].id;
    (void)ha_text_format(check->text, sizeof(check->text), "%s could be promoted%s",
                         service->config.members[chosen].name,
                         target == HA_MEMBER_NONE ? ": the best of those that could" : "");
}

/* How far the member is behind what the primary itself says; the log may not have the name of its
 * history yet. False: they have no history in common. */
static bool lag_of(const struct ha_watched *watched, const struct ha_service *service, int at,
                   uint64_t *ret)
{
    int lead = ha_service_member_at(service, service->primary);
    const struct ha_position *head, *have = &watched->members[at]->status.sample.position;
    uint64_t offset;

    if (lead < 0)
        return false;
    head = &watched->members[lead]->status.sample.position;
    *ret = 0;
    if (head->lineage.count == 0)
        return true; /* nothing was ever written */
    if (ha_kinship_of(have, &head->lineage, &offset) != HA_KIN_SAME)
        return false;
    *ret = head->offset > offset ? head->offset - offset : 0;
    return true;
}

static void check_replication(const struct ha_watcher *w, const struct ha_service *service,
                              struct ha_plan *plan)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, plan->target);
    struct ha_check *check = add_check(plan, "replication", false);
    const char *name;

    if (at < 0 || watched == NULL) {
        (void)ha_text_copy(check->text, sizeof(check->text), "there is no target");
        return;
    }
    name = service->config.members[at].name;
    if (!watched->members[at]->status.sample.link_up)
        (void)ha_text_format(check->text, sizeof(check->text),
                             "%s is not connected to what it replicates from", name);
    else if (!lag_of(watched, service, at, &plan->lag_bytes))
        (void)ha_text_format(check->text, sizeof(check->text),
                             "%s does not say yet that it has the primary's history", name);
    else {
        check->ok = plan->lag_bytes <= HA_SWITCHOVER_LAG_MAX;
        (void)ha_text_format(check->text, sizeof(check->text), "%s is %" PRIu64 " bytes behind%s",
                             name, plan->lag_bytes,
                             check->ok ? "" : ", more than 16 MiB: wait, or write less");
    }
}

/* All checks, and the first that fails as the text. */
static void conclude(struct ha_plan *plan)
{
    plan->ok = true;
    for (uint32_t i = 0; i < plan->check_count; i++) {
        if (plan->checks[i].ok)
            continue;
        plan->ok = false;
        (void)ha_text_copy(plan->text, sizeof(plan->text), plan->checks[i].text);
        return;
    }
}

void ha_plan_switchover(const struct ha_watcher *w, const struct ha_service *service,
                        uint32_t target, uint64_t now_ms, struct ha_plan *ret)
{
    memset(ret, 0, sizeof(*ret));
    check_watchers(w, service, ret);
    check_state(service, ret);
    check_primary(w, service, now_ms, ret);
    check_target(w, service, target, now_ms, ret);
    check_replication(w, service, ret);
    conclude(ret);
    if (ret->ok)
        (void)ha_text_format(ret->text, sizeof(ret->text),
                             "%s stops writes, %s gets every byte (%" PRIu64
                             " to go) and takes over, %s becomes its replica",
                             ha_service_member_name(service, service->primary),
                             ha_service_member_name(service, ret->target), ret->lag_bytes,
                             ha_service_member_name(service, service->primary));
}

void ha_plan_failover(const struct ha_watcher *w, const struct ha_service *service, uint32_t target,
                      bool accept_loss, uint64_t now_ms, struct ha_plan *ret)
{
    int chosen;

    memset(ret, 0, sizeof(*ret));
    chosen = choose(w, service, target, accept_loss, now_ms, ret->fits);
    if (chosen >= 0)
        ret->target = service->members[chosen].id;
    ret->ok = chosen >= 0 || !ha_state_is_open(service->state);
    if (!ret->ok)
        tell_unfit(service, target, ret->fits, ret->text);
}
