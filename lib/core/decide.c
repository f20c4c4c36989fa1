/* The leader's policy: what to propose next for one service. It changes nothing replicated; apply
 * accepts or refuses each proposal by comparing epochs and states. */
#include <inttypes.h>

#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/core/watcher_parts.h"

enum {
    PROPOSAL_MS = 1000, /* a proposal not seen again by then is made again */
    REFUSED_MS = 100,   /* one that was refused: what it was made of may have changed */
    FOLLOWER_MS = 50,   /* a follower's patience with a leader that hears the same word */
    SELF_MS = 300,      /* for the old primary's own word, before seals end its epoch */
};

struct ha_command *ha_decide_propose(struct ha_watcher *w, const struct ha_service *service,
                                     enum ha_command_kind kind, uint64_t now_ms,
                                     struct ha_effects *out)
{
    struct ha_effect *effect = ha_effects_add(out, HA_EFFECT_PROPOSE);

    ha_watched_of(w, service, now_ms)->proposed_ms = now_ms;
    effect->u.command.kind = kind;
    effect->u.command.wall_ms = w->wall_ms;
    return &effect->u.command;
}

struct ha_ref ha_decide_ref(const struct ha_service *service)
{
    return (struct ha_ref){.service = service->id, .epoch = service->epoch};
}

bool ha_decide_hears(const struct ha_watcher *w, uint32_t watcher)
{
    return watcher == w->self || w->peer_heard[watcher];
}

uint32_t ha_decide_agreeing(const struct ha_watcher *w, const struct ha_service *service)
{
    bool fencing = service->state == HA_STATE_FENCING;
    int at = ha_service_member_at(service, fencing ? service->open_member : service->primary);
    uint32_t mask = 0;

    for (uint32_t i = 0; at >= 0 && i < w->cluster.watcher_count; i++) {
        enum ha_verdict verdict = service->members[at].verdicts[i];

        /* A verdict of a watcher that the leader no longer hears does not count. */
        if (ha_decide_hears(w, i) &&
            (ha_verdict_is_down(verdict) ||
             (verdict == HA_VERDICT_UNWRITABLE && service->config.failover_unwritable)))
            mask |= 1u << i;
    }
    return mask;
}

bool ha_decide_rate_limited(const struct ha_watcher *w, const struct ha_service *service)
{
    uint32_t recent = 0;

    if (service->config.rate_count == 0)
        return false;
    for (uint32_t i = 0; i < service->recent_count; i++)
        if (service->recent_ms[i] + service->config.rate_period_ms > w->wall_ms)
            recent++;
    return recent >= service->config.rate_count;
}

/* Opening, repointing, steady: a primary serves or is about to */

/* The holder's gate is not what the log says: whoever fences it later must know. */
static bool log_gate(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->open_member);
    const struct ha_watch *watch;
    struct ha_command *command;

    if (at < 0 || watched == NULL || service->fence != HA_FENCE_NONE)
        return false;
    watch = watched->members[at];
    if (!watch->heard || watch->instance != service->open_instance ||
        watch->status.gate == service->open_gate)
        return false;
    /* A stronger one counts while it holds the epoch, not while that is taken back. */
    if (watch->status.gate > service->open_gate &&
        (!ha_state_is_open(service->state) || watch->status.epoch != service->open_epoch))
        return false;
    command = ha_decide_propose(w, service, HA_COMMAND_GATE, now_ms, out);
    command->u.gate = (struct ha_command_gate){
        .ref = {.service = service->id, .epoch = service->open_epoch},
        .instance = service->open_instance,
        .gate = watch->status.gate,
    };
    return true;
}

/* The holder's own word that it ended its epoch: any watcher that hears it says so; the leader at
 * once, the others when the leader seems not to have heard. */
static bool hear_give_up(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                         struct ha_effects *out)
{
    bool fencing = service->state == HA_STATE_FENCING;
    uint32_t member = fencing ? service->open_member : service->primary;
    uint64_t epoch = fencing ? service->open_epoch : service->epoch;
    uint64_t instance = fencing ? service->open_instance : service->instance;
    int at = ha_service_member_at(service, member);
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    const struct ha_watch *watch;
    struct ha_command *command;

    if (at < 0)
        return false;
    watch = watched->members[at];
    if (!watch->heard || watch->instance != instance || instance == HA_INSTANCE_NONE ||
        watch->status.given_up < epoch)
        return false;
    if (watched->fencing_ms == 0) {
        watched->fencing_ms = now_ms;
        watched->noticed_wall_ms = w->wall_ms;
    }
    if (!w->leader && now_ms - watched->fencing_ms < FOLLOWER_MS)
        return false;
    if (!fencing)
        ha_position_log(w, service, now_ms, true, out); /* its own last sample may be too old */
    command = ha_decide_propose(w, service, HA_COMMAND_GIVE_UP, now_ms, out);
    command->u.give_up = (struct ha_command_give_up){
        .ref = {.service = service->id, .epoch = epoch},
        .member = member,
        .instance = instance,
        .verdict = watch->status.given_up_why,
        .noticed_ms = watched->noticed_wall_ms,
        .position = watch->status.sample.position,
    };
    (void)ha_text_format(command->u.give_up.text, sizeof(command->u.give_up.text),
                         "%s reports: %s; it ended its epoch and its gate is closed",
                         service->config.members[at].agent,
                         watch->status.given_up_why == HA_VERDICT_UNKNOWN
                             ? "it was told to"
                             : ha_verdict_text(watch->status.given_up_why));
    if (w->leader)
        ha_order_report(w, service, now_ms, out); /* the last positions, while this commits */
    return true;
}

static void begin_text(const struct ha_watcher *w, const struct ha_service *service, int at,
                       uint32_t agreeing, uint64_t now_ms, char text[HA_TEXT_SIZE])
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    char evidence[HA_TEXT_SIZE] = "";

    if (watched != NULL)
        ha_detect_explain(watched->members[at], watched->members[at]->verdict, now_ms, evidence);
    (void)ha_text_format(text, HA_TEXT_SIZE, "%s is down, say %d of %" PRIu32 " watchers: %.120s",
                         service->config.members[at].name, __builtin_popcount(agreeing),
                         w->cluster.watcher_count, evidence);
}

static void begin_if_down(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                          struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    uint32_t agreeing = ha_decide_agreeing(w, service);
    int at = ha_service_member_at(service, service->primary);
    struct ha_fit fits[HA_MEMBERS_MAX];
    struct ha_command *command;

    if (at < 0 ||
        (uint32_t)__builtin_popcount(agreeing) < ha_service_quorum(&w->cluster, service)) {
        watched->noticed_wall_ms = 0;
        return;
    }
    if (watched->noticed_wall_ms == 0) {
        const struct ha_watch *watch = watched->members[at];

        /* Others may have agreed before this watcher's own verdict changed. */
        watched->noticed_wall_ms = w->wall_ms;
        if (ha_verdict_is_down(watch->verdict))
            watched->noticed_wall_ms -= now_ms - watch->verdict_ms;
    }
    if (service->paused || !service->config.automatic || ha_decide_rate_limited(w, service) ||
        ha_hold_is_back(w, service, now_ms))
        return;
    /* Fencing a primary that nobody can replace helps nobody: it may come back. */
    if (ha_select_candidate(w, service, now_ms, fits) < 0 &&
        !ha_select_holder_is_gone(w, service, now_ms))
        return;
    ha_position_log(w, service, now_ms, true, out);
    command = ha_decide_propose(w, service, HA_COMMAND_BEGIN, now_ms, out);
    command->u.begin = (struct ha_command_begin){
        .ref = ha_decide_ref(service),
        .reason = HA_REASON_DOWN,
        .agreeing = agreeing,
        .noticed_ms = watched->noticed_wall_ms,
    };
    begin_text(w, service, at, agreeing, now_ms, command->u.begin.text);
}

static void propose_outcome(struct ha_watcher *w, const struct ha_service *service,
                            enum ha_command_kind kind, const char *text, uint64_t now_ms,
                            struct ha_effects *out)
{
    struct ha_command *command = ha_decide_propose(w, service, kind, now_ms, out);

    command->u.outcome.ref = ha_decide_ref(service);
    (void)ha_text_copy(command->u.outcome.text, sizeof(command->u.outcome.text), text);
}

static void decide_opening(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                           struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    int at = ha_service_member_at(service, service->primary);
    const struct ha_watch *watch = watched->members[at];
    struct ha_command *command;

    if (watch->instance == service->instance && watch->status.epoch == service->epoch &&
        watch->status.settled) {
        propose_outcome(w, service, HA_COMMAND_OPENED, "", now_ms, out);
        return;
    }
    if (now_ms - watched->state_ms < service->config.open_deadline_ms || service->paused)
        return;
    command = ha_decide_propose(w, service, HA_COMMAND_BEGIN, now_ms, out);
    command->u.begin =
        (struct ha_command_begin){.ref = ha_decide_ref(service), .reason = HA_REASON_OPEN_FAILED};
    (void)ha_text_format(command->u.begin.text, sizeof(command->u.begin.text),
                         "%s did not take lease, gate and address in time: %.100s",
                         service->config.members[at].name, watch->status.text);
}

/* Proposes the end of it when nobody is waited for any more, or for too long. */
static void decide_repointing(struct ha_watcher *w, const struct ha_service *service,
                              uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    char text[HA_TEXT_SIZE];

    if (!ha_repoint_waits(w, service, now_ms, text) ||
        now_ms - watched->state_ms >= service->config.repoint_deadline_ms)
        propose_outcome(w, service, HA_COMMAND_REPOINTED, text, now_ms, out);
}

static void decide_open(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                        struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);

    begin_if_down(w, service, now_ms, out);
    if (watched->proposed_ms != 0 || ha_standby_decide(w, service, now_ms, out))
        return;
    if (service->state == HA_STATE_OPENING)
        decide_opening(w, service, now_ms, out);
    else {
        /* While the others are repointed it serves already. */
        ha_position_log(w, service, now_ms, false, out);
        if (service->state == HA_STATE_REPOINTING)
            decide_repointing(w, service, now_ms, out);
        if (watched->proposed_ms == 0)
            ha_hold_decide(w, service, now_ms, out);
    }
}

/* Fencing */

/* When a majority has stopped and the longest remainder it named has passed: the earliest such
 * moment; 0 while no majority has answered. *ret_mask gets the majority. */
static uint64_t expired_at_ms(const struct ha_watcher *w, const struct ha_service *service,
                              uint32_t *ret_mask)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    uint32_t mask = 0;
    uint64_t at_ms = 0;

    /* Takes the watchers in order of their ends; at most HA_WATCHERS_MAX rounds. */
    while (!ha_cluster_stops_suffice(&w->cluster, mask)) {
        uint32_t next = HA_WATCHERS_MAX;

        for (uint32_t i = 0; i < w->cluster.watcher_count; i++)
            if ((mask >> i & 1u) == 0 && watched->stopped[i].epoch == service->epoch &&
                (next == HA_WATCHERS_MAX ||
                 watched->stopped[i].until_ms < watched->stopped[next].until_ms))
                next = i;
        if (next == HA_WATCHERS_MAX)
            return 0;
        mask |= 1u << next;
        at_ms = watched->stopped[next].until_ms;
    }
    *ret_mask = mask;
    return at_ms;
}

uint64_t ha_decide_expiry_ms(const struct ha_watcher *w, const struct ha_service *service)
{
    uint32_t mask = 0;
    uint64_t at_ms;

    if (service->state != HA_STATE_FENCING || ha_watched_peek(w, service) == NULL ||
        !ha_service_expiry_counts(service))
        return 0;
    at_ms = expired_at_ms(w, service, &mask);
    return at_ms == 0 ? 0 : at_ms + ha_service_gate_slack_ms(service);
}

/* True: proposed. */
static bool propose_expired(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                            struct ha_effects *out)
{
    const struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    struct ha_command_fenced fenced;
    struct ha_command *command;
    uint32_t mask = 0;
    uint64_t at_ms;

    if (!ha_service_expiry_counts(service) || !ha_hold_is_over(w, service, now_ms, &fenced))
        return false;
    at_ms = expired_at_ms(w, service, &mask);
    if (at_ms == 0)
        return false;
    if (now_ms < at_ms + ha_service_gate_slack_ms(service))
        return false;
    command = ha_decide_propose(w, service, HA_COMMAND_FENCED, now_ms, out);
    command->u.fenced = (struct ha_command_fenced){
        .ref = ha_decide_ref(service),
        .how = HA_FENCE_EXPIRED,
        .stopped = mask,
        .released = fenced.released,
        .renewed = fenced.renewed,
        .waited_ms = (uint32_t)(now_ms - watched->state_ms),
    };
    return true;
}

/* Whether the old primary's agent is at its hand-over, which has a deadline of its own: its
 * database may have stopped for that, and answers nobody. */
static bool is_draining(const struct ha_watcher *w, const struct ha_service *service, uint32_t at,
                        uint64_t now_ms)
{
    const struct ha_watch *watch = ha_watched_peek(w, service)->members[at];

    return ha_watch_is_heard(watch, &service->config, now_ms) &&
           watch->instance == service->open_instance && watch->status.order == HA_ORDER_DRAIN &&
           watch->status.order_epoch == service->epoch && watch->status.result == HA_RESULT_RUNNING;
}

/* The primary of a switchover died before it could end its epoch: from here on it is a failover,
 * and what only a failover may do is allowed. True: proposed. */
static bool escalate(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                     struct ha_effects *out)
{
    uint32_t agreeing = ha_decide_agreeing(w, service);
    int at = ha_service_member_at(service, service->open_member);
    struct ha_command *command;

    if (service->reason != HA_REASON_SWITCHOVER || at < 0 || service->paused || service->deleting ||
        !service->config.automatic ||
        (uint32_t)__builtin_popcount(agreeing) < ha_service_quorum(&w->cluster, service) ||
        is_draining(w, service, (uint32_t)at, now_ms))
        return false;
    command = ha_decide_propose(w, service, HA_COMMAND_BEGIN, now_ms, out);
    command->u.begin = (struct ha_command_begin){
        .ref = ha_decide_ref(service), .reason = HA_REASON_DOWN, .agreeing = agreeing};
    begin_text(w, service, at, agreeing, now_ms, command->u.begin.text);
    return true;
}

/* Strict: with enough seals the old primary can never be acknowledged again. What it says itself is
 * better, since the next lease need not wait then: it is given a little time. */
static bool propose_sealed(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                           struct ha_effects *out)
{
    const struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    int at = ha_service_member_at(service, service->open_member);
    struct ha_command_fenced fenced;
    struct ha_command *command;
    struct ha_proof proof;

    if (service->config.durability != HA_DURABILITY_STRICT || service->sync.count == 0 ||
        (at >= 0 && ha_watch_is_heard(watched->members[at], &service->config, now_ms) &&
         now_ms - watched->state_ms < SELF_MS))
        return false;
    proof = ha_proof_of(w, service, false, now_ms);
    if (!proof.complete || !ha_hold_is_over(w, service, now_ms, &fenced))
        return false;
    command = ha_decide_propose(w, service, HA_COMMAND_FENCED, now_ms, out);
    command->u.fenced = (struct ha_command_fenced){
        .ref = ha_decide_ref(service),
        .how = HA_FENCE_SEALED,
        .sealed = proof.members,
        .released = fenced.released,
        .renewed = fenced.renewed,
        .waited_ms = (uint32_t)(now_ms - watched->state_ms),
    };
    return true;
}

static void decide_fencing(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                           struct ha_effects *out)
{
    if (escalate(w, service, now_ms, out))
        return;
    if (!propose_expired(w, service, now_ms, out) && !propose_sealed(w, service, now_ms, out))
        ha_fence_decide(w, service, now_ms, out);
}

/* Selecting, promoting */

/* Promoting */

/* Why the candidate will not become the primary of this epoch; NULL while it may. */
static const char *failure_of(const struct ha_watch *watch, const struct ha_service *service,
                              bool ordered)
{
    if (watch->heard && watch->instance != service->instance)
        return "its host has started anew";
    if (watch->heard && watch->status.given_up >= service->epoch)
        return "it was promoted and gave up";
    if (watch->heard && watch->status.process == HA_PROCESS_GONE)
        return "its database is gone";
    /* Who was doing well before a switchover shall not wait for one that does not: it goes back. */
    if (service->reason == HA_REASON_SWITCHOVER && watch->heard &&
        watch->status.answer_age_ms >= service->config.hang_after_ms)
        return "its database does not answer";
    return ordered && watch->status.result == HA_RESULT_FAILED ? watch->status.text : NULL;
}

static void decide_promoting(struct ha_watcher *w, const struct ha_service *service,
                             uint64_t now_ms, struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    int at = ha_service_member_at(service, service->primary);
    const struct ha_watch *watch;
    struct ha_command *command;
    const char *failure;
    bool ordered;

    if (at < 0)
        return;
    watch = watched->members[at];
    ordered = watch->instance == service->instance && watch->status.order == HA_ORDER_PROMOTE &&
              watch->status.order_epoch == service->epoch;
    failure = failure_of(watch, service, ordered);
    if (failure != NULL) {
        propose_outcome(w, service, HA_COMMAND_FAILED, failure, now_ms, out);
        return;
    }
    if (ordered && watch->status.result == HA_RESULT_DONE &&
        watch->status.sample.role == HA_ROLE_PRIMARY) {
        if (!ha_proof_was_kept(service, &watch->status.sample.position)) {
            propose_outcome(w, service, HA_COMMAND_FAILED,
                            "its data is not what it was chosen for any more", now_ms, out);
            return;
        }
        command = ha_decide_propose(w, service, HA_COMMAND_PROMOTED, now_ms, out);
        command->u.outcome.ref = ha_decide_ref(service);
        command->u.outcome.position = watch->status.sample.position;
        return;
    }
    if (!ha_watch_is_heard(watch, &service->config, now_ms))
        propose_outcome(w, service, HA_COMMAND_FAILED, "its agent is not heard", now_ms, out);
    else if (now_ms - watched->state_ms >= service->config.promote_deadline_ms)
        propose_outcome(w, service, HA_COMMAND_FAILED, "it took too long", now_ms, out);
}

static void decide_pause(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                         struct ha_effects *out)
{
    struct ha_command *command;

    if (!service->paused || service->paused_until_ms == 0 || service->paused_until_ms > w->wall_ms)
        return;
    command = ha_decide_propose(w, service, HA_COMMAND_RESUME, now_ms, out);
    command->u.pause.service = service->id;
    (void)ha_text_copy(command->u.pause.author, sizeof(command->u.pause.author), "hafailover");
    (void)ha_text_copy(command->u.pause.text, sizeof(command->u.pause.text), "its time is over");
}

void ha_decide_logged(struct ha_watched *watched, bool refused, uint64_t now_ms)
{
    if (!refused)
        watched->proposed_ms = 0;
    else if (watched->proposed_ms != 0 &&
             now_ms > PROPOSAL_MS) /* refused again at once, for ever: the log would fill */
        watched->proposed_ms = now_ms - PROPOSAL_MS + REFUSED_MS;
}

void ha_decide(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
               struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    /* A follower only helps a give-up along that the leader may not have heard. */
    uint64_t patience_ms = w->leader ? PROPOSAL_MS : PROPOSAL_MS / 2;

    if (watched->proposed_ms != 0 && now_ms - watched->proposed_ms < patience_ms)
        return;
    watched->proposed_ms = 0;
    if ((ha_state_is_open(service->state) || service->state == HA_STATE_FENCING) &&
        hear_give_up(w, service, now_ms, out))
        return;
    if (!w->leader)
        return;
    decide_pause(w, service, now_ms, out);
    if ((ha_state_is_open(service->state) || service->state == HA_STATE_FENCING) &&
        log_gate(w, service, now_ms, out))
        return;
    switch (service->state) {
    case HA_STATE_OPENING:
    case HA_STATE_REPOINTING:
    case HA_STATE_STEADY:
        decide_open(w, service, now_ms, out);
        break;
    case HA_STATE_FENCING:
        decide_fencing(w, service, now_ms, out);
        break;
    case HA_STATE_SELECTING:
        ha_select_decide(w, service, now_ms, out);
        break;
    case HA_STATE_PROMOTING:
        decide_promoting(w, service, now_ms, out);
        break;
    case HA_STATE_NO_CANDIDATE:
        ha_select_again(w, service, now_ms, out);
        break;
    }
}
