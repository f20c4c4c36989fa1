/* The moves of the failover machine as log entries: which are legal, and what they leave behind. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/failover.h"
#include "lib/core/sync.h"

/* The service an entry is about, if the entry fits its state; else NULL and why in *ret_code. */
static struct ha_service *find(struct ha_cluster *cluster, const struct ha_ref *ref,
                               enum ha_move move, int *ret_code, struct ha_err *err)
{
    struct ha_service *service = ha_cluster_service(cluster, ref->service);

    if (service == NULL) {
        *ret_code = ha_err_set(err, HA_ENOENT, "no service with id %" PRIu32, ref->service);
        return NULL;
    }
    if (ha_failover_row(service->state, move) == NULL) {
        *ret_code =
            ha_err_set(err, HA_ESTALE, "service %s is %s: %s means nothing there",
                       service->config.name, ha_state_text(service->state), ha_move_text(move));
        return NULL;
    }
    return service;
}

static int stale_epoch(const struct ha_service *service, uint64_t epoch, struct ha_err *err)
{
    return ha_err_set(err, HA_ESTALE, "service %s is at epoch %" PRIu64 ", not %" PRIu64,
                      service->config.name, service->epoch, epoch);
}

/* The only writer of a service's state. */
static void move_to(struct ha_service *service, enum ha_move move)
{
    const struct ha_failover_row *row = ha_failover_row(service->state, move);

    assert(row != NULL);
    service->state = row->to;
}

/* The open epoch ends or is about to: claim the next one, for nobody yet. */
static void claim_next(struct ha_service *service)
{
    service->epoch++;
    service->primary = HA_MEMBER_NONE;
    service->instance = HA_INSTANCE_NONE;
    service->gate = HA_GATE_NONE;
}

static void start_failover(struct ha_service *service, enum ha_reason reason)
{
    service->reason = reason;
    service->target = HA_MEMBER_NONE;
    service->accept_loss = false;
    service->failed_members = 0;
}

/* Where the ended epoch's primary was at last. Another history than the logged one is not its: that
 * database has started anew since, and nobody else's data can be held against it. */
static void keep_position(struct ha_service *service, const struct ha_position *position)
{
    const struct ha_position *known = &service->position;

    if (position->lineage.count == 0 || position->offset < known->offset)
        return;
    if (known->lineage.count == 0 || known->lineage.steps[0].id == position->lineage.steps[0].id)
        service->position = *position;
}

/* Nothing is left to fence of a service that is being deleted: forget all but its epoch. */
static void bury(struct ha_cluster *cluster, struct ha_service *service)
{
    if (service->epoch > cluster->epoch_floor)
        cluster->epoch_floor = service->epoch;
    memset(service, 0, sizeof(*service));
    assert(cluster->service_count > 0);
    cluster->service_count--;
}

static void set_fenced(struct ha_cluster *cluster, struct ha_service *service, enum ha_fence how,
                       uint32_t waited_ms)
{
    struct ha_decision *decision = ha_cluster_decision_of(cluster, service);

    service->fence = how;
    if (decision != NULL) {
        decision->fence = how;
        decision->waited_ms = waited_ms;
        decision->stages.fenced_ms = cluster->wall_ms;
    }
    if (service->deleting)
        bury(cluster, service);
}

void ha_cluster_found(struct ha_cluster *cluster, struct ha_service *service)
{
    service->state = HA_STATE_SELECTING;
    service->epoch = cluster->epoch_floor + 1;
    service->fence = HA_FENCE_NEVER_OPENED;
    start_failover(service, HA_REASON_FIRST);
    (void)ha_cluster_decision_open(cluster, service, HA_REASON_FIRST,
                                   "the service is new and gets its first epoch");
}

void ha_cluster_retire(struct ha_cluster *cluster, struct ha_service *service)
{
    service->deleting = true;
    if (service->open_epoch == HA_EPOCH_NONE || service->fence != HA_FENCE_NONE) {
        bury(cluster, service);
        return;
    }
    if (service->state == HA_STATE_FENCING)
        return;
    assert(ha_state_is_open(service->state));
    claim_next(service);
    start_failover(service, HA_REASON_DELETED);
    (void)ha_cluster_decision_open(cluster, service, HA_REASON_DELETED,
                                   "the service was removed from the configuration");
    move_to(service, HA_MOVE_BEGIN);
}

void ha_cluster_claim_above(struct ha_cluster *cluster, struct ha_service *service, uint64_t epoch,
                            const char *why)
{
    /* A candidate that was chosen before is nobody's any more, wherever the service stood. */
    service->epoch = epoch;
    claim_next(service);
    start_failover(service, HA_REASON_REBUILT);
    if (service->state == HA_STATE_PROMOTING)
        move_to(service, HA_MOVE_FAILED);
    else if (ha_state_is_open(service->state))
        move_to(service, HA_MOVE_BEGIN);
    (void)ha_cluster_decision_open(cluster, service, HA_REASON_REBUILT, why);
    ha_cluster_notify(cluster, service, HA_NOTICE_FAILOVER_BEGIN, why);
}

/* A candidate that ends its epoch before it opened has failed. */
static int give_up_candidate(struct ha_cluster *cluster, const struct ha_command_give_up *c)
{
    struct ha_command_outcome failed = {.ref = c->ref};

    (void)ha_text_copy(failed.text, sizeof(failed.text), c->text);
    return ha_cluster_apply_outcome(cluster, HA_COMMAND_FAILED, &failed, NULL);
}

int ha_cluster_apply_give_up(struct ha_cluster *cluster, const struct ha_command_give_up *c,
                             struct ha_err *err)
{
    struct ha_decision *decision;
    struct ha_service *service;
    bool holder, ended;
    int rv = HA_OK;

    service = find(cluster, &c->ref, HA_MOVE_GIVE_UP, &rv, err);
    if (service == NULL)
        return rv;
    holder = c->ref.epoch == service->epoch && c->member == service->primary &&
             c->instance == service->instance;
    ended = service->state == HA_STATE_FENCING && c->ref.epoch == service->open_epoch &&
            c->member == service->open_member && c->instance == service->open_instance;
    if (c->instance == HA_INSTANCE_NONE || !(holder || ended))
        return ha_err_set(err, HA_ESTALE, "epoch %" PRIu64 " of %s is not that instance's to end",
                          c->ref.epoch, service->config.name);
    if (service->state == HA_STATE_PROMOTING)
        return give_up_candidate(cluster, c);
    keep_position(service, &c->position);
    if (holder) {
        claim_next(service);
        start_failover(service, HA_REASON_GIVE_UP);
        decision = ha_cluster_decision_open(cluster, service, HA_REASON_GIVE_UP, c->text);
        decision->verdict = c->verdict;
        if (c->noticed_ms != 0 && c->noticed_ms <= cluster->wall_ms)
            decision->stages.noticed_ms = c->noticed_ms;
        ha_cluster_notify(cluster, service, HA_NOTICE_FAILOVER_BEGIN, c->text);
    }
    move_to(service, HA_MOVE_GIVE_UP);
    ha_cluster_notify(cluster, service, HA_NOTICE_FENCED,
                      "the old primary's own agent reported its gate closed");
    set_fenced(cluster, service, HA_FENCE_REPORT, 0);
    return HA_OK;
}

/* Whether this begin is backed by what is in the log. */
static int check_begin(const struct ha_cluster *cluster, const struct ha_service *service,
                       const struct ha_command_begin *c, struct ha_err *err)
{
    uint32_t agreeing = 0, quorum = ha_service_quorum(cluster, service);
    bool fencing = service->state == HA_STATE_FENCING;
    int at;

    /* What is under way is only made more urgent, never less. */
    if (fencing && (service->deleting || c->reason == HA_REASON_SWITCHOVER))
        return ha_err_set(err, HA_ESTALE, "a failover of %s is under way", service->config.name);
    if (c->reason == HA_REASON_OPERATOR || c->reason == HA_REASON_SWITCHOVER) {
        if (c->target != HA_MEMBER_NONE && ha_service_member_at(service, c->target) < 0)
            return ha_err_set(err, HA_ENOENT, "service %s has no such member",
                              service->config.name);
        if (c->target != HA_MEMBER_NONE && c->target == service->primary)
            return ha_err_set(err, HA_EDENIED, "%s is the primary of %s already",
                              ha_service_member_name(service, c->target), service->config.name);
        /* Nobody is left to hand over; that is a failover's business. */
        if (c->reason == HA_REASON_SWITCHOVER && !ha_state_is_open(service->state))
            return ha_err_set(err, HA_ESTALE, "a failover of %s is under way",
                              service->config.name);
        return HA_OK;
    }
    if (!ha_state_is_open(service->state) && !(fencing && service->reason == HA_REASON_SWITCHOVER))
        return ha_err_set(err, HA_ESTALE, "a failover of %s is under way", service->config.name);
    if (service->paused)
        return ha_err_set(err, HA_EDENIED, "service %s is paused by %s", service->config.name,
                          service->paused_by);
    if (c->reason == HA_REASON_OPEN_FAILED)
        return service->state == HA_STATE_OPENING
                   ? HA_OK
                   : ha_err_set(err, HA_ESTALE, "epoch %" PRIu64 " has opened", service->epoch);
    if (c->reason != HA_REASON_DOWN)
        return ha_err_set(err, HA_EINVAL, "%s is no reason to begin", ha_reason_text(c->reason));
    at = ha_service_member_at(service, fencing ? service->open_member : service->primary);
    assert(at >= 0);
    for (uint32_t i = 0; i < cluster->watcher_count; i++) {
        enum ha_verdict verdict = service->members[at].verdicts[i];

        if ((c->agreeing >> i & 1u) != 0 &&
            (ha_verdict_is_down(verdict) ||
             (verdict == HA_VERDICT_UNWRITABLE && service->config.failover_unwritable)))
            agreeing++;
    }
    if (agreeing < quorum)
        return ha_err_set(err, HA_EDENIED,
                          "%" PRIu32 " watchers say that the primary of %s is down, %" PRIu32
                          " must",
                          agreeing, service->config.name, quorum);
    return HA_OK;
}

static enum ha_verdict verdict_of(const struct ha_service *service, uint32_t agreeing)
{
    int at = ha_service_member_at(service, service->open_member);

    for (uint32_t i = 0; at >= 0 && i < HA_WATCHERS_MAX; i++)
        if ((agreeing >> i & 1u) != 0)
            return service->members[at].verdicts[i];
    return HA_VERDICT_UNKNOWN;
}

int ha_cluster_apply_begin(struct ha_cluster *cluster, const struct ha_command_begin *c,
                           struct ha_err *err)
{
    struct ha_decision *decision;
    struct ha_service *service;
    uint32_t failed = 0;
    int rv = HA_OK;

    service = find(cluster, &c->ref, HA_MOVE_BEGIN, &rv, err);
    if (service == NULL)
        return rv;
    if (c->ref.epoch != service->epoch)
        return stale_epoch(service, c->ref.epoch, err);
    rv = check_begin(cluster, service, c, err);
    if (rv != HA_OK)
        return rv;
    /* One that could not open is not asked again before all others. */
    if (c->reason == HA_REASON_OPEN_FAILED)
        failed = service->failed_members | 1u << service->primary;
    if (ha_state_is_open(service->state)) {
        claim_next(service);
        start_failover(service, c->reason);
    }
    /* Where nothing is open any more, an operator only says whom to take and what may be lost. */
    service->reason = c->reason;
    service->target = c->target;
    service->accept_loss = c->accept_loss;
    service->failed_members = failed;
    decision = ha_cluster_decision_open(cluster, service, c->reason, c->text);
    decision->agreeing = c->agreeing;
    decision->verdict = verdict_of(service, c->agreeing);
    decision->fence = service->fence;
    if (c->noticed_ms != 0 && c->noticed_ms <= cluster->wall_ms)
        decision->stages.noticed_ms = c->noticed_ms;
    move_to(service, HA_MOVE_BEGIN);
    ha_cluster_notify(cluster, service, HA_NOTICE_FAILOVER_BEGIN, c->text);
    return HA_OK;
}

/* Time alone ends no lease that agents may keep: one of them must have ended its promises. */
static int check_hold(const struct ha_service *service, const struct ha_command_fenced *c,
                      struct ha_err *err)
{
    if (ha_cluster_hold_is_over(service, c->released, c->renewed))
        return HA_OK;
    return ha_err_set(err, HA_EDENIED,
                      "the primary of epoch %" PRIu64
                      " of %s may hold its lease by the word of the "
                      "other agents, and none of them has ended its promises",
                      service->open_epoch, service->config.name);
}

int ha_cluster_apply_fenced(struct ha_cluster *cluster, const struct ha_command_fenced *c,
                            struct ha_err *err)
{
    struct ha_service *service;
    uint32_t stopped = 0;
    char text[HA_TEXT_SIZE];
    int rv = HA_OK;

    service = find(cluster, &c->ref, HA_MOVE_FENCED, &rv, err);
    if (service == NULL)
        return rv;
    if (c->ref.epoch != service->epoch)
        return stale_epoch(service, c->ref.epoch, err);
    switch (c->how) {
    case HA_FENCE_REPORT:
        if (c->instance != service->open_instance)
            return ha_err_set(err, HA_EDENIED, "another instance than the holder reported");
        break;
    case HA_FENCE_EXPIRED:
        if (!ha_service_expiry_counts(service))
            return ha_err_set(err, HA_EDENIED,
                              "no kernel ends the lease of epoch %" PRIu64 " of %s: its expiry "
                              "proves nothing",
                              service->open_epoch, service->config.name);
        for (uint32_t i = 0; i < cluster->watcher_count; i++)
            stopped += c->stopped >> i & 1u;
        if (!ha_cluster_old_stops_suffice(cluster, c->stopped))
            return ha_err_set(err, HA_EDENIED,
                              "the set of watchers before may still hold promises: %" PRIu32
                              " of it must stop too",
                              cluster->old_majority);
        if (!ha_cluster_stops_suffice(cluster, c->stopped))
            return ha_err_set(err, HA_EDENIED, "%" PRIu32 " watchers stopped, %" PRIu32 " must",
                              stopped, ha_cluster_majority(cluster));
        rv = check_hold(service, c, err);
        break;
    case HA_FENCE_COMMAND:
        break;
    case HA_FENCE_SEALED:
        if (service->config.durability != HA_DURABILITY_STRICT || service->sync.count == 0)
            return ha_err_set(err, HA_EDENIED, "service %s waits for nobody: seals end nothing",
                              service->config.name);
        rv = ha_cluster_sync_check(service, c->sealed, err);
        if (rv == HA_OK)
            rv = check_hold(service, c, err);
        break;
    case HA_FENCE_NONE:
    case HA_FENCE_NEVER_OPENED:
        return ha_err_set(err, HA_EINVAL, "%s is no fence", ha_fence_text(c->how));
    }
    if (rv != HA_OK)
        return rv;
    keep_position(service, &c->position);
    move_to(service, HA_MOVE_FENCED);
    (void)ha_text_format(text, sizeof(text), "%s, after %" PRIu32 " ms%s%.140s",
                         ha_fence_text(c->how), c->waited_ms, c->text[0] == '\0' ? "" : ": ",
                         c->text);
    ha_cluster_notify(cluster, service, HA_NOTICE_FENCED, text);
    set_fenced(cluster, service, c->how, c->waited_ms);
    return HA_OK;
}

/* Which of the two was quicker. */
static void record_restart(const struct ha_service *service, struct ha_decision *decision,
                           uint32_t member, uint64_t wall_ms)
{
    uint64_t since_ms = decision->stages.fenced_ms;
    uint64_t took_ms = wall_ms > since_ms ? wall_ms - since_ms : 0;

    if (service->config.crash_policy != HA_CRASH_RESTART ||
        decision->verdict != HA_VERDICT_CRASHED || decision->attempts > 0 ||
        (service->reason != HA_REASON_GIVE_UP && service->reason != HA_REASON_DOWN))
        return;
    /* A cut sentence is good enough. */
    if (member == service->open_member)
        (void)ha_text_append(decision->text, sizeof(decision->text),
                             "; started again in place within %" PRIu64 " ms", took_ms);
    else
        (void)ha_text_append(decision->text, sizeof(decision->text),
                             "; not back after %" PRIu64 " ms (restart_max %" PRIu32
                             " ms): another one was quicker",
                             took_ms, service->config.restart_max_ms);
}

static void record_fits(struct ha_cluster *cluster, const struct ha_service *service,
                        const struct ha_command_promote *c)
{
    struct ha_decision *decision = ha_cluster_decision_of(cluster, service);

    if (decision == NULL)
        return;
    decision->epoch = service->epoch;
    decision->fit_count = c->fit_count;
    memset(decision->fits, 0, sizeof(decision->fits));
    for (uint32_t i = 0; i < c->fit_count; i++) {
        decision->fits[i].fit = c->fits[i];
        (void)ha_text_copy(decision->fits[i].name, sizeof(decision->fits[i].name),
                           ha_service_member_name(service, c->fits[i].member));
    }
    decision->lost_bytes = c->lost_bytes;
    if (c->member == HA_MEMBER_NONE)
        return;
    record_restart(service, decision, c->member, cluster->wall_ms);
    decision->attempts++;
    decision->stages.chosen_ms = cluster->wall_ms;
    (void)ha_text_copy(decision->to, sizeof(decision->to),
                       ha_service_member_name(service, c->member));
}

/* Of what the log knows of the last primary. */
static bool lacks_nothing(const struct ha_command_promote *c)
{
    for (uint32_t i = 0; i < c->fit_count; i++)
        if (c->fits[i].member == c->member)
            return c->fits[i].behind == 0;
    return false;
}

/* A candidate holds what was acknowledged, or an operator accepted that it may not. */
static int check_proof(const struct ha_service *service, const struct ha_command_promote *c,
                       struct ha_err *err)
{
    if (!ha_cluster_sync_binds(service) || service->accept_loss ||
        (c->member == service->open_member && lacks_nothing(c)))
        return HA_OK;
    return ha_cluster_sync_check(service, c->proof, err);
}

static uint64_t offset_of(const struct ha_command_promote *c)
{
    for (uint32_t i = 0; i < c->fit_count; i++)
        if (c->fits[i].member == c->member)
            return c->fits[i].offset;
    return 0;
}

int ha_cluster_apply_promote(struct ha_cluster *cluster, enum ha_command_kind kind,
                             const struct ha_command_promote *c, struct ha_err *err)
{
    bool none = kind == HA_COMMAND_NONE;
    struct ha_service *service;
    bool told;
    int rv = HA_OK;

    service = find(cluster, &c->ref, none ? HA_MOVE_NONE : HA_MOVE_PROMOTE, &rv, err);
    if (service == NULL)
        return rv;
    if (c->ref.epoch != service->epoch)
        return stale_epoch(service, c->ref.epoch, err);
    if (c->fit_count > HA_MEMBERS_MAX)
        return ha_err_set(err, HA_EINVAL, "more reasons than members");
    /* Never without a fence of the last epoch that opened (design, invariant 4). */
    if (service->fence == HA_FENCE_NONE)
        return ha_err_set(err, HA_EDENIED, "epoch %" PRIu64 " of %s is not fenced",
                          service->open_epoch, service->config.name);
    if (none) {
        told = service->state == HA_STATE_NO_CANDIDATE;
        record_fits(cluster, service, c);
        service->failed_members = 0; /* each may be tried again when the reasons change */
        move_to(service, HA_MOVE_NONE);
        if (!told)
            ha_cluster_notify(cluster, service, HA_NOTICE_NO_CANDIDATE,
                              "no member can be promoted; the reason of each is in the record");
        return HA_OK;
    }
    if (ha_service_member_at(service, c->member) < 0 || c->instance == HA_INSTANCE_NONE)
        return ha_err_set(err, HA_ENOENT, "service %s has no such member", service->config.name);
    rv = check_proof(service, c, err);
    if (rv != HA_OK)
        return rv;
    service->sync.floor_next = offset_of(c);
    service->primary = c->member;
    service->instance = c->instance;
    service->gate = c->gate;
    record_fits(cluster, service, c);
    move_to(service, HA_MOVE_PROMOTE);
    return HA_OK;
}

static void on_promoted(struct ha_cluster *cluster, struct ha_service *service,
                        const struct ha_command_outcome *c)
{
    struct ha_decision *decision = ha_cluster_decision_of(cluster, service);
    int at = ha_service_member_at(service, service->primary);

    assert(at >= 0 && service->fence != HA_FENCE_NONE);
    ha_cluster_sync_open(service, cluster->index);
    service->prev_epoch = service->open_epoch;
    service->prev_fence = service->fence;
    service->open_epoch = service->epoch;
    service->open_member = service->primary;
    service->open_instance = service->instance;
    service->open_gate = service->gate;
    service->open_lease_ms = service->config.lease_ms;
    service->fence = HA_FENCE_NONE;
    service->position = c->position;
    service->members[at].unopened_epoch = HA_EPOCH_NONE;
    /* The wish has been granted; were the new primary to fail in turn, it must not bind. */
    service->target = HA_MEMBER_NONE;
    memset(&service->hold, 0, sizeof(service->hold)); /* its agent goes by none yet */
    if (decision != NULL)
        decision->stages.promoted_ms = cluster->wall_ms;
}

/* Its epoch never opened: no promise was ever given for it, so the next needs no fence. */
static void on_failed(struct ha_cluster *cluster, struct ha_service *service,
                      const struct ha_command_outcome *c)
{
    int at = ha_service_member_at(service, service->primary);
    char text[HA_TEXT_SIZE];

    assert(at >= 0);
    (void)ha_text_format(text, sizeof(text), "%s: %.140s", service->config.members[at].name,
                         c->text);
    ha_cluster_notify(cluster, service, HA_NOTICE_PROMOTE_FAILED, text);
    service->members[at].unopened_epoch = service->epoch;
    service->failed_members |= 1u << service->primary;
    claim_next(service);
}

static void remember_success(struct ha_service *service, uint64_t wall_ms)
{
    memmove(&service->recent_ms[1], &service->recent_ms[0],
            (HA_RECENT_MAX - 1) * sizeof(service->recent_ms[0]));
    service->recent_ms[0] = wall_ms;
    if (service->recent_count < HA_RECENT_MAX)
        service->recent_count++;
}

static void on_opened(struct ha_cluster *cluster, struct ha_service *service)
{
    struct ha_decision *decision = ha_cluster_decision_of(cluster, service);

    if (service->reason != HA_REASON_FIRST)
        remember_success(service, cluster->wall_ms);
    if (service->reason == HA_REASON_SWITCHOVER)
        service->switchovers++;
    else if (service->reason != HA_REASON_FIRST)
        service->failovers++;
    if (decision != NULL)
        decision->stages.opened_ms = cluster->wall_ms;
    ha_cluster_notify(cluster, service, HA_NOTICE_PROMOTED,
                      "the new primary holds lease, gate and address");
}

static void on_repointed(struct ha_cluster *cluster, struct ha_service *service,
                         const struct ha_command_outcome *c)
{
    struct ha_decision *decision = ha_cluster_decision_of(cluster, service);
    char text[HA_TEXT_SIZE] = "the failover is complete";

    if (decision != NULL) {
        decision->stages.done_ms = cluster->wall_ms;
        decision->done = true;
        if (c->text[0] != '\0')
            (void)ha_text_append(decision->text, sizeof(decision->text), "; not waited for: %s",
                                 c->text);
    }
    service->failed_members = 0;
    service->accept_loss = false;
    if (c->text[0] != '\0')
        (void)ha_text_append(text, sizeof(text), ", but not all follow: %s", c->text);
    ha_cluster_notify(cluster, service, HA_NOTICE_STEADY, text);
}

static enum ha_move move_of(enum ha_command_kind kind)
{
    if (kind == HA_COMMAND_PROMOTED)
        return HA_MOVE_PROMOTED;
    if (kind == HA_COMMAND_FAILED)
        return HA_MOVE_FAILED;
    return kind == HA_COMMAND_OPENED ? HA_MOVE_OPENED : HA_MOVE_REPOINTED;
}

int ha_cluster_apply_outcome(struct ha_cluster *cluster, enum ha_command_kind kind,
                             const struct ha_command_outcome *c, struct ha_err *err)
{
    enum ha_move move = move_of(kind);
    struct ha_service *service;
    int rv = HA_OK;

    service = find(cluster, &c->ref, move, &rv, err);
    if (service == NULL)
        return rv;
    if (c->ref.epoch != service->epoch)
        return stale_epoch(service, c->ref.epoch, err);
    if (move == HA_MOVE_PROMOTED)
        on_promoted(cluster, service, c);
    else if (move == HA_MOVE_FAILED)
        on_failed(cluster, service, c);
    else if (move == HA_MOVE_OPENED)
        on_opened(cluster, service);
    else
        on_repointed(cluster, service, c);
    move_to(service, move);
    return HA_OK;
}
