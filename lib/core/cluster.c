#include "lib/core/cluster.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/failover.h"

void ha_cluster_init(struct ha_cluster *cluster)
{
    memset(cluster, 0, sizeof(*cluster));
}

/* Look-ups */

struct ha_service *ha_cluster_service(struct ha_cluster *cluster, uint32_t id)
{
    struct ha_service *service = &cluster->services[id % HA_SERVICES_MAX];

    return service->used && service->id == id ? service : NULL;
}

const struct ha_service *ha_cluster_service_const(const struct ha_cluster *cluster, uint32_t id)
{
    const struct ha_service *service = &cluster->services[id % HA_SERVICES_MAX];

    return service->used && service->id == id ? service : NULL;
}

const struct ha_service *ha_cluster_service_named(const struct ha_cluster *cluster,
                                                  const char *name)
{
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
        if (cluster->services[i].used && strcmp(cluster->services[i].config.name, name) == 0)
            return &cluster->services[i];
    return NULL;
}

const struct ha_decision *ha_cluster_decision(const struct ha_cluster *cluster, uint64_t id)
{
    const struct ha_decision *decision = &cluster->decisions[id % HA_HISTORY_MAX];

    return id != 0 && decision->id == id ? decision : NULL;
}

const struct ha_notice *ha_cluster_event(const struct ha_cluster *cluster, uint64_t seq)
{
    const struct ha_notice *event = &cluster->events[seq % HA_EVENTS_MAX];

    return seq != 0 && event->seq == seq ? event : NULL;
}

int ha_service_member_at(const struct ha_service *service, uint32_t member)
{
    if (member == HA_MEMBER_NONE)
        return -1;
    for (uint32_t i = 0; i < service->config.member_count; i++)
        if (service->members[i].id == member)
            return (int)i;
    return -1;
}

uint32_t ha_service_member_named(const struct ha_service *service, const char *name)
{
    for (uint32_t i = 0; i < service->config.member_count; i++)
        if (strcmp(service->config.members[i].name, name) == 0)
            return service->members[i].id;
    return HA_MEMBER_NONE;
}

const char *ha_service_member_name(const struct ha_service *service, uint32_t member)
{
    int at = ha_service_member_at(service, member);

    return at < 0 ? "" : service->config.members[at].name;
}

uint32_t ha_cluster_majority(const struct ha_cluster *cluster)
{
    return cluster->watcher_count / 2 + 1;
}

uint32_t ha_service_quorum(const struct ha_cluster *cluster, const struct ha_service *service)
{
    uint32_t majority = ha_cluster_majority(cluster);

    return service->config.quorum > majority ? service->config.quorum : majority;
}

bool ha_service_may_promise(const struct ha_service *service, uint32_t member, uint64_t epoch,
                            uint64_t instance)
{
    return service->used && ha_state_is_open(service->state) && epoch != HA_EPOCH_NONE &&
           service->epoch == epoch && service->primary == member && service->instance == instance &&
           instance != HA_INSTANCE_NONE;
}

bool ha_service_expiry_counts(const struct ha_service *service)
{
    return service->open_gate == HA_GATE_NFT || service->open_gate == HA_GATE_BPF ||
           service->open_gate == HA_GATE_BOTH || service->config.accept_process_fence;
}

uint32_t ha_drift_ms(uint32_t length_ms)
{
    return length_ms / 128 + 5;
}

uint32_t ha_service_gate_slack_ms(const struct ha_service *service)
{
    if (service->open_gate != HA_GATE_NFT)
        return 0;
    return service->open_lease_ms + ha_drift_ms(service->open_lease_ms);
}

/* Records and notices */

struct ha_decision *ha_cluster_decision_of(struct ha_cluster *cluster,
                                           const struct ha_service *service)
{
    struct ha_decision *decision = &cluster->decisions[service->decision % HA_HISTORY_MAX];

    return service->decision != 0 && decision->id == service->decision ? decision : NULL;
}

struct ha_decision *ha_cluster_decision_open(struct ha_cluster *cluster, struct ha_service *service,
                                             enum ha_reason reason, const char *text)
{
    struct ha_decision *decision;
    uint64_t id = ++cluster->decision_last;

    decision = &cluster->decisions[id % HA_HISTORY_MAX];
    memset(decision, 0, sizeof(*decision));
    decision->id = id;
    decision->service = service->id;
    decision->reason = reason;
    decision->epoch_from = service->open_epoch;
    decision->epoch = service->epoch;
    decision->stages.noticed_ms = cluster->wall_ms;
    decision->stages.agreed_ms = cluster->wall_ms;
    (void)ha_text_copy(decision->service_name, sizeof(decision->service_name),
                       service->config.name);
    (void)ha_text_copy(decision->from, sizeof(decision->from),
                       ha_service_member_name(service, service->open_member));
    (void)ha_text_copy(decision->text, sizeof(decision->text), text);
    service->decision = id;
    return decision;
}

/* Which webhooks want notices of this service. */
static uint32_t interested(const struct ha_cluster *cluster, const char *service)
{
    uint32_t mask = 0;

    for (uint32_t i = 0; i < cluster->webhook_count; i++)
        if (cluster->webhooks[i].service[0] == '\0' ||
            strcmp(cluster->webhooks[i].service, service) == 0)
            mask |= 1u << i;
    return mask;
}

static void notice_remove(struct ha_cluster *cluster, uint32_t at)
{
    assert(at < cluster->notice_count);
    cluster->notice_count--;
    memmove(&cluster->notices[at], &cluster->notices[at + 1],
            (cluster->notice_count - at) * sizeof(cluster->notices[0]));
    memset(&cluster->notices[cluster->notice_count], 0, sizeof(cluster->notices[0]));
}

static void fill_notice(const struct ha_service *service, const struct ha_decision *decision,
                        struct ha_notice *notice)
{
    if (service == NULL)
        return;
    notice->service = service->id;
    notice->epoch = service->epoch;
    (void)ha_text_copy(notice->service_name, sizeof(notice->service_name), service->config.name);
    if (decision == NULL)
        return;
    notice->decision = decision->id;
    notice->lost_bytes =
        notice->kind == HA_NOTICE_DIVERGED ? decision->found.bytes : decision->lost_bytes;
    (void)ha_text_copy(notice->from, sizeof(notice->from), decision->from);
    (void)ha_text_copy(notice->to, sizeof(notice->to), decision->to);
}

static const struct ha_decision *decision_of(const struct ha_cluster *cluster,
                                             const struct ha_service *service)
{
    return service != NULL ? ha_cluster_decision(cluster, service->decision) : NULL;
}

struct about {
    const struct ha_service *service; /* NULL: none */
    const struct ha_decision *decision;
};

static void notify(struct ha_cluster *cluster, struct about about, enum ha_notice_kind kind,
                   const char *text, uint32_t owed)
{
    struct ha_notice *event = &cluster->events[++cluster->notice_last % HA_EVENTS_MAX];

    memset(event, 0, sizeof(*event));
    event->seq = cluster->notice_last;
    event->owed = owed;
    event->kind = kind;
    event->wall_ms = cluster->wall_ms;
    (void)ha_text_copy(event->text, sizeof(event->text), text);
    fill_notice(about.service, about.decision, event);
    if (owed == 0)
        return;
    if (cluster->notice_count == HA_OUTBOX_MAX) {
        /* The outbox is bounded; what is lost is counted and shown. */
        notice_remove(cluster, 0);
        cluster->notices_dropped++;
    }
    cluster->notices[cluster->notice_count++] = *event;
}

void ha_cluster_notify_of(struct ha_cluster *cluster, const struct ha_service *service,
                          const struct ha_decision *decision, enum ha_notice_kind kind,
                          const char *text)
{
    notify(cluster, (struct about){service, decision}, kind, text,
           interested(cluster, service == NULL ? "" : service->config.name));
}

void ha_cluster_notify(struct ha_cluster *cluster, const struct ha_service *service,
                       enum ha_notice_kind kind, const char *text)
{
    ha_cluster_notify_of(cluster, service, decision_of(cluster, service), kind, text);
}

/* Apply */

/* How many watchers say of a member that it is down, or that it is that or cannot write. */
static uint32_t count_ill(const struct ha_member_state *member, uint32_t watchers, bool unwritable)
{
    uint32_t ill = 0;

    for (uint32_t i = 0; i < watchers; i++)
        ill += ha_verdict_is_down(member->verdicts[i]) ||
                       (unwritable && member->verdicts[i] == HA_VERDICT_UNWRITABLE)
                   ? 1
                   : 0;
    return ill;
}

static void observe_one(struct ha_cluster *cluster, uint32_t watcher,
                        const struct ha_observation *seen)
{
    struct ha_service *service = ha_cluster_service(cluster, seen->service);
    int at = service == NULL ? -1 : ha_service_member_at(service, seen->member);
    struct ha_member_state *member;
    uint32_t watchers = cluster->watcher_count, quorum, ill;
    bool was_down, was_ill, down;
    char text[HA_TEXT_SIZE];

    if (at < 0)
        return; /* removed while the entry was under way */
    /* Told when a majority says so, also where more are asked for before anything is done: such a
     * primary has no lease any more. A primary that cannot write may stay primary, and is told. */
    quorum = ha_cluster_majority(cluster);
    member = &service->members[at];
    was_down = count_ill(member, watchers, false) >= quorum;
    was_ill = count_ill(member, watchers, true) >= quorum;
    member->verdicts[watcher] = seen->verdict;
    down = count_ill(member, watchers, false) >= quorum;
    ill = count_ill(member, watchers, true);
    if (was_down == down && was_ill == (ill >= quorum))
        return;
    (void)ha_text_format(text, sizeof(text), "%s: %s, say %" PRIu32 " of %" PRIu32 " watchers",
                         service->config.members[at].name, ha_verdict_text(seen->verdict),
                         ill >= quorum ? ill : watchers - ill, watchers);
    ha_cluster_notify(cluster, service, ill >= quorum ? HA_NOTICE_MEMBER_DOWN : HA_NOTICE_MEMBER_UP,
                      text);
}

static int apply_observe(struct ha_cluster *cluster, const struct ha_command_observe *observe,
                         struct ha_err *err)
{
    if (observe->watcher >= cluster->watcher_count || observe->count > HA_OBSERVE_MAX)
        return ha_err_set(err, HA_EINVAL, "an observation of no watcher of the set");
    cluster->spoke |= 1u << observe->watcher;
    for (uint32_t i = 0; i < observe->count; i++)
        observe_one(cluster, observe->watcher, &observe->items[i]);
    return HA_OK;
}

static int apply_positions(struct ha_cluster *cluster, const struct ha_command_positions *positions,
                           struct ha_err *err)
{
    if (positions->count > HA_POSITIONS_MAX)
        return ha_err_set(err, HA_EINVAL, "more positions than an entry holds");
    for (uint32_t i = 0; i < positions->count; i++) {
        const struct ha_command_position *item = &positions->items[i];
        struct ha_service *service = ha_cluster_service(cluster, item->ref.service);

        /* Only the epoch that serves moves on; a late one would hide lost data. */
        if (service == NULL || !ha_state_is_open(service->state) ||
            service->epoch != item->ref.epoch)
            continue;
        if (item->position.lineage.count > 0 && item->position.offset >= service->position.offset)
            service->position = item->position;
    }
    return HA_OK;
}

/* What ends the lease of the open epoch is no longer, or again, what the log says. While it is
 * being fenced only what makes that harder counts. */
static int apply_gate(struct ha_cluster *cluster, const struct ha_command_gate *c,
                      struct ha_err *err)
{
    struct ha_service *service = ha_cluster_service(cluster, c->ref.service);
    char text[HA_TEXT_SIZE];

    if (service == NULL)
        return ha_err_set(err, HA_ENOENT, "no service with id %" PRIu32, c->ref.service);
    if (service->fence != HA_FENCE_NONE || c->ref.epoch != service->open_epoch ||
        c->instance != service->open_instance || c->gate == service->open_gate ||
        (c->gate > service->open_gate && !ha_state_is_open(service->state)))
        return ha_err_set(err, HA_ESTALE, "epoch %" PRIu64 " of %s is held with %s",
                          service->open_epoch, service->config.name,
                          ha_gate_text(service->open_gate));
    (void)ha_text_format(text, sizeof(text), "%s: the gate is %s, was %s",
                         ha_service_member_name(service, service->open_member),
                         ha_gate_text(c->gate), ha_gate_text(service->open_gate));
    service->open_gate = c->gate;
    if (service->epoch == service->open_epoch)
        service->gate = c->gate;
    ha_cluster_notify(cluster, service, HA_NOTICE_GATE, text);
    return HA_OK;
}

static int apply_pause(struct ha_cluster *cluster, enum ha_command_kind kind,
                       const struct ha_command_pause *pause, struct ha_err *err)
{
    struct ha_service *service = ha_cluster_service(cluster, pause->service);
    char text[HA_TEXT_SIZE];

    if (service == NULL)
        return ha_err_set(err, HA_ENOENT, "no such service");
    if (kind == HA_COMMAND_LIFT) {
        service->recent_count = 0;
        memset(service->recent_ms, 0, sizeof(service->recent_ms));
        return HA_OK;
    }
    if (kind == HA_COMMAND_RESUME && !service->paused)
        return ha_err_set(err, HA_ESTALE, "service %s is not paused", service->config.name);
    service->paused = kind == HA_COMMAND_PAUSE;
    service->paused_until_ms = service->paused ? pause->until_ms : 0;
    memset(service->paused_by, 0, sizeof(service->paused_by));
    memset(service->paused_why, 0, sizeof(service->paused_why));
    if (service->paused) {
        (void)ha_text_copy(service->paused_by, sizeof(service->paused_by), pause->author);
        (void)ha_text_copy(service->paused_why, sizeof(service->paused_why), pause->text);
    }
    (void)ha_text_format(text, sizeof(text), "by %s: %s", pause->author, pause->text);
    ha_cluster_notify(cluster, service, service->paused ? HA_NOTICE_PAUSED : HA_NOTICE_RESUMED,
                      text);
    return HA_OK;
}

static int apply_notice(struct ha_cluster *cluster, enum ha_command_kind kind,
                        const struct ha_command_notice *done, struct ha_err *err)
{
    uint32_t bit = 0;

    for (uint32_t i = 0; i < cluster->webhook_count; i++)
        if (strcmp(cluster->webhooks[i].name, done->webhook) == 0)
            bit = 1u << i;
    if (bit == 0)
        return ha_err_set(err, HA_ENOENT, "no webhook named %s", done->webhook);
    if (kind == HA_COMMAND_TEST_NOTICE) {
        notify(cluster, (struct about){0}, HA_NOTICE_TEST, "a test asked for by an operator", bit);
        return HA_OK;
    }
    for (uint32_t i = 0; i < cluster->notice_count; i++) {
        if (cluster->notices[i].seq != done->seq)
            continue;
        cluster->notices[i].owed &= ~bit;
        if (cluster->notices[i].owed == 0)
            notice_remove(cluster, i);
        return HA_OK;
    }
    return ha_err_set(err, HA_ESTALE, "notice %" PRIu64 " was delivered before", done->seq);
}

static int apply_ready(struct ha_cluster *cluster, const struct ha_command_ready *ready,
                       struct ha_err *err)
{
    struct ha_service *service = ha_cluster_service(cluster, ready->service);

    if (service == NULL)
        return ha_err_set(err, HA_ENOENT, "no such service");
    if (service->not_ready != ready->ready)
        return ha_err_set(err, HA_ESTALE, "that was told of %s before", service->config.name);
    service->not_ready = !ready->ready;
    memset(service->not_ready_why, 0, sizeof(service->not_ready_why));
    if (!ready->ready)
        (void)ha_text_copy(service->not_ready_why, sizeof(service->not_ready_why), ready->text);
    ha_cluster_notify(cluster, service, ready->ready ? HA_NOTICE_READY : HA_NOTICE_NOT_READY,
                      ready->ready ? "a replica could take over again" : ready->text);
    return HA_OK;
}

static int apply_unheard(struct ha_cluster *cluster, const struct ha_command_unheard *unheard,
                         struct ha_err *err)
{
    uint32_t all = (1u << cluster->watcher_count) - 1;
    uint32_t changed = cluster->watchers_down ^ unheard->watchers;
    char text[HA_TEXT_SIZE];

    if (unheard->set_id != cluster->set_id || (unheard->watchers & ~all) != 0)
        return ha_err_set(err, HA_ESTALE, "that is about another set of watchers");
    if (changed == 0)
        return ha_err_set(err, HA_ESTALE, "that was told before");
    cluster->watchers_down = unheard->watchers;
    for (uint32_t i = 0; i < cluster->watcher_count; i++) {
        bool down = (unheard->watchers >> i & 1u) != 0;

        if ((changed >> i & 1u) == 0)
            continue;
        (void)ha_text_format(text, sizeof(text),
                             "%s is %s by the leader; %" PRIu32 " of %" PRIu32
                             " watchers are there, %" PRIu32 " must be",
                             cluster->watchers[i], down ? "not heard" : "heard again",
                             cluster->watcher_count -
                                 (uint32_t)__builtin_popcount(unheard->watchers),
                             cluster->watcher_count, ha_cluster_majority(cluster));
        ha_cluster_notify(cluster, NULL, down ? HA_NOTICE_WATCHER_DOWN : HA_NOTICE_WATCHER_UP,
                          text);
    }
    return HA_OK;
}

int ha_cluster_apply(struct ha_cluster *cluster, uint64_t index, const struct ha_command *command,
                     struct ha_err *err)
{
    cluster->index = index;
    /* Wall time labels; it never goes back, whoever's clock stamped the entry. */
    if (command->wall_ms > cluster->wall_ms)
        cluster->wall_ms = command->wall_ms;
    switch (command->kind) {
    case HA_COMMAND_NOTHING:
        return HA_OK;
    case HA_COMMAND_WATCHERS:
        return ha_cluster_apply_watchers(cluster, &command->u.watchers, err);
    case HA_COMMAND_REPLACE:
        return ha_cluster_apply_replace(cluster, &command->u.replace, err);
    case HA_COMMAND_SETTLED:
        return ha_cluster_apply_settled(cluster, &command->u.settled, err);
    case HA_COMMAND_CONFIG:
        return ha_cluster_apply_config(cluster, &command->u.config, err);
    case HA_COMMAND_OBSERVE:
        return apply_observe(cluster, &command->u.observe, err);
    case HA_COMMAND_GIVE_UP:
        return ha_cluster_apply_give_up(cluster, &command->u.give_up, err);
    case HA_COMMAND_BEGIN:
        return ha_cluster_apply_begin(cluster, &command->u.begin, err);
    case HA_COMMAND_FENCED:
        return ha_cluster_apply_fenced(cluster, &command->u.fenced, err);
    case HA_COMMAND_PROMOTE:
    case HA_COMMAND_NONE:
        return ha_cluster_apply_promote(cluster, command->kind, &command->u.promote, err);
    case HA_COMMAND_PROMOTED:
    case HA_COMMAND_FAILED:
    case HA_COMMAND_OPENED:
    case HA_COMMAND_REPOINTED:
        return ha_cluster_apply_outcome(cluster, command->kind, &command->u.outcome, err);
    case HA_COMMAND_POSITIONS:
        return apply_positions(cluster, &command->u.positions, err);
    case HA_COMMAND_PAUSE:
    case HA_COMMAND_RESUME:
    case HA_COMMAND_LIFT:
        return apply_pause(cluster, command->kind, &command->u.pause, err);
    case HA_COMMAND_NOTICE_DONE:
    case HA_COMMAND_TEST_NOTICE:
        return apply_notice(cluster, command->kind, &command->u.notice, err);
    case HA_COMMAND_GATE:
        return apply_gate(cluster, &command->u.gate, err);
    case HA_COMMAND_READY:
        return apply_ready(cluster, &command->u.ready, err);
    case HA_COMMAND_UNHEARD:
        return apply_unheard(cluster, &command->u.unheard, err);
    case HA_COMMAND_SYNC_INTEND:
    case HA_COMMAND_SYNC_FORCE:
        return ha_cluster_apply_sync(cluster, command->kind, &command->u.sync, err);
    case HA_COMMAND_HOLD_INTEND:
    case HA_COMMAND_HOLD_FORCE:
        return ha_cluster_apply_hold(cluster, command->kind, &command->u.hold, err);
    case HA_COMMAND_DIVERGED:
        return ha_cluster_apply_diverged(cluster, &command->u.diverged, err);
    }
    /* A kind of a newer version: a no-op, the same on every watcher that does not know it. */
    return ha_err_set(err, HA_EINVAL, "unknown kind of entry %u", (unsigned)command->kind);
}
