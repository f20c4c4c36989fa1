/* The leader's policy: what to propose next for one service. It changes nothing replicated; apply
 * accepts or refuses each proposal by comparing epochs and states. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/core/watcher_parts.h"

enum {
    PROPOSAL_MS = 1000,       /* a proposal not seen again by then is made again */
    REFUSED_MS = 100,         /* one that was refused: what it was made of may have changed */
    FOLLOWER_MS = 50,         /* a follower's patience with a leader that hears the same word */
    FRESH_MS = 100,           /* longest wait for the replicas' last positions */
    PROOF_MS = 2000,          /* longest wait for members to show what was acknowledged */
    SELF_MS = 300,            /* for the old primary's own word, before seals end its epoch */
    RETRY_MS = 1000,          /* between looks for a candidate where there was none */
    ASK_MS = 200,             /* before such a look, for words that are missing as proof */
    NAME_MS = 100,            /* between entries that name the history a primary writes */
    POSITION_MS = 10000,      /* between entries that only say how far a primary is */
    FIRST_MS = 10000,         /* longest wait for all members of a new service to be heard */
    POSITION_STEP = 1 << 20,  /* bytes of progress that are worth an entry earlier */
    POSITION_IDLE_MS = 60000, /* the same when it is next to nothing: an idle primary's pings */
    POSITION_IDLE = 1 << 10,
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

static bool watcher_is_heard(const struct ha_watcher *w, uint32_t watcher)
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
        if (watcher_is_heard(w, i) &&
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

/* The candidate's agent must be connected to the leader, or nobody could order it. */
static bool is_heard(const struct ha_watch *watch, const struct ha_service_config *config,
                     uint64_t now_ms)
{
    uint64_t limit_ms = config->down_after_ms;

    return watch->heard && now_ms - watch->heard_ms < limit_ms;
}

/* The holder's host has started anew: its instance cannot come back, only the member can, under a
 * later epoch. */
static bool holder_is_gone(const struct ha_watcher *w, const struct ha_service *service,
                           uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->primary);

    return at >= 0 && watched != NULL &&
           is_heard(&watched->members[at], &service->config, now_ms) &&
           watched->members[at].instance != service->instance;
}

/* Watchers that are heard and hear nothing of a member's agent: none of them will promise it
 * anything, and it would be down as soon as it were primary. */
static uint32_t silent_to(const struct ha_watcher *w, const struct ha_service *service, uint32_t at)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < w->cluster.watcher_count; i++) {
        enum ha_verdict verdict = service->members[at].verdicts[i];

        if (watcher_is_heard(w, i) &&
            (verdict == HA_VERDICT_SILENT || verdict == HA_VERDICT_REFUSED))
            count++;
    }
    return count;
}

/* Whoever was asked for cannot take it, and the old epoch has ended: it is undone, the old primary
 * gets the next one, or failing that whoever can. A loss was accepted only for the one named. */
static int choose_otherwise(const struct ha_service *service, const struct ha_candidate *candidates,
                            bool switchover, struct ha_candidate_rules *rules, struct ha_fit *fits)
{
    uint32_t count = service->config.member_count;
    int chosen;

    rules->target = service->open_member;
    rules->accept_loss = rules->accept_loss && switchover;
    chosen = ha_candidate_choose(candidates, count, rules, fits);
    if (chosen >= 0 || (service->paused && !switchover))
        return chosen;
    rules->target = HA_MEMBER_NONE;
    rules->loss_budget_bytes = service->config.loss_budget_bytes;
    return ha_candidate_choose(candidates, count, rules, fits);
}

bool ha_decide_restarts(const struct ha_watcher *w, const struct ha_service *service)
{
    const struct ha_decision *decision = ha_cluster_decision(&w->cluster, service->decision);

    return service->config.crash_policy == HA_CRASH_RESTART && !ha_state_is_open(service->state) &&
           (service->reason == HA_REASON_GIVE_UP || service->reason == HA_REASON_DOWN) &&
           service->open_epoch != HA_EPOCH_NONE && decision != NULL &&
           decision->verdict == HA_VERDICT_CRASHED;
}

int ha_decide_candidate(const struct ha_watcher *w, const struct ha_service *service,
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
        .exclude = away                                          ? service->open_member
                   : open && !holder_is_gone(w, service, now_ms) ? service->primary
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
        const struct ha_watch *watch = watched == NULL ? &unseen : &watched->members[i];

        candidates[i] = (struct ha_candidate){
            .member = service->members[i].id,
            .name = config->name,
            .priority = config->priority,
            .heard = is_heard(watch, &service->config, now_ms),
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
    if (rules.target == HA_MEMBER_NONE && ha_decide_restarts(w, service)) {
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
               ? choose_otherwise(service, candidates, switchover, &rules, fits)
               : chosen;
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
    watch = &watched->members[at];
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

/* Of the proposals of this step, one of positions with room for another; NULL: none. */
static struct ha_command_positions *positions_batch(struct ha_effects *out)
{
    for (uint32_t i = out->count; i > 0; i--) {
        struct ha_effect *effect = &out->items[i - 1];

        if (effect->kind == HA_EFFECT_PROPOSE && effect->u.command.kind == HA_COMMAND_POSITIONS &&
            effect->u.command.u.positions.count < HA_POSITIONS_MAX)
            return &effect->u.command.u.positions;
    }
    return NULL;
}

/* At the turn of each period by the leader's clock: so those of many services share an entry. */
static bool is_turn(uint64_t period_ms, uint64_t last_ms, uint64_t now_ms)
{
    return now_ms / period_ms != last_ms / period_ms;
}

static bool position_is_due(const struct ha_watched *watched,
                            const struct ha_service_config *config, uint64_t progress,
                            uint64_t now_ms)
{
    /* Where few bytes decide who may succeed, few bytes are worth an entry. */
    bool exact =
        config->durability != HA_DURABILITY_ASYNC || config->loss_budget_bytes < POSITION_IDLE;

    if (progress >= POSITION_STEP)
        return is_turn(POSITION_MS / 10, watched->position_ms, now_ms);
    return is_turn(exact || progress >= POSITION_IDLE ? POSITION_MS : POSITION_IDLE_MS,
                   watched->position_ms, now_ms);
}

/* The furthest of those who replicate from the primary, while the log knows no history or one that
 * nobody has received: Redis gives it another name when the first replica comes, and the primary's
 * own sample may be older than that. What they have is the primary's; NULL: nobody has any. */
static const struct ha_position *received(const struct ha_watcher *w,
                                          const struct ha_service *service, uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    const struct ha_position *best = NULL;

    if (watched == NULL || (service->position.lineage.count > 0 && service->position.offset > 0))
        return NULL;
    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = &watched->members[i];
        const struct ha_sample *sample = &watch->status.sample;

        if (service->members[i].id == service->primary ||
            !is_heard(watch, &service->config, now_ms) || sample->answer != HA_ANSWER_OK ||
            sample->role != HA_ROLE_REPLICA || !sample->link_up ||
            watch->status.follows != service->primary || sample->position.lineage.count == 0)
            continue;
        if (sample->position.offset > (best == NULL ? 0 : best->offset))
            best = &sample->position;
    }
    return best;
}

bool ha_decide_history_is_logged(const struct ha_watcher *w, const struct ha_service *service,
                                 uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->primary);

    if (service->position.lineage.count > 0 || at < 0 || watched == NULL)
        return true;
    return watched->members[at].status.sample.position.lineage.count == 0 &&
           received(w, service, now_ms) == NULL;
}

static void log_position(struct ha_watcher *w, const struct ha_service *service, uint64_t now_ms,
                         bool at_once, struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    int at = ha_service_member_at(service, service->primary);
    const struct ha_position *position = received(w, service, now_ms), *own;
    struct ha_command_positions *batch;
    uint64_t progress;

    if (at < 0)
        return;
    /* Only of the process that holds the epoch: one that has started anew claims none. */
    own = &watched->members[at].status.sample.position;
    if (watched->members[at].instance == service->instance &&
        watched->members[at].status.epoch == service->epoch &&
        (position == NULL || own->offset >= position->offset))
        position = own;
    if (position == NULL || position->lineage.count == 0)
        return;
    if (position->offset < service->position.offset)
        return;
    progress = position->offset - service->position.offset;
    /* Its first data, or its history has got another name (Redis does that when the first replica
     * comes): those who follow it would look like strays until the log knows. */
    if (service->position.lineage.count == 0 ||
        service->position.lineage.steps[0].id != position->lineage.steps[0].id)
        at_once = at_once || now_ms - watched->position_ms >= NAME_MS;
    else if (progress == 0)
        return;
    if (!at_once && !position_is_due(watched, &service->config, progress, now_ms))
        return;
    watched->position_ms = now_ms;
    batch = at_once ? NULL : positions_batch(out);
    if (batch == NULL) {
        struct ha_command *command = &ha_effects_add(out, HA_EFFECT_PROPOSE)->u.command;

        command->kind = HA_COMMAND_POSITIONS;
        command->wall_ms = w->wall_ms;
        batch = &command->u.positions;
        batch->count = 0;
    }
    batch->items[batch->count++] =
        (struct ha_command_position){.ref = ha_decide_ref(service), .position = *position};
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
    watch = &watched->members[at];
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
        log_position(w, service, now_ms, true, out); /* its own last sample may be too old */
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
        ha_detect_explain(&watched->members[at], watched->members[at].verdict, now_ms, evidence);
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
        const struct ha_watch *watch = &watched->members[at];

        /* Others may have agreed before this watcher's own verdict changed. */
        watched->noticed_wall_ms = w->wall_ms;
        if (ha_verdict_is_down(watch->verdict))
            watched->noticed_wall_ms -= now_ms - watch->verdict_ms;
    }
    if (service->paused || !service->config.automatic || ha_decide_rate_limited(w, service) ||
        ha_hold_is_back(w, service, now_ms))
        return;
    /* Fencing a primary that nobody can replace helps nobody: it may come back. */
    if (ha_decide_candidate(w, service, now_ms, fits) < 0 && !holder_is_gone(w, service, now_ms))
        return;
    log_position(w, service, now_ms, true, out);
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
    const struct ha_watch *watch = &watched->members[at];
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
        log_position(w, service, now_ms, false, out);
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
        (uint32_t)__builtin_popcount(agreeing) < ha_service_quorum(&w->cluster, service))
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
        (at >= 0 && is_heard(&watched->members[at], &service->config, now_ms) &&
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

/* Whether every member that is heard has told its position since the old primary ended. */
static bool positions_are_fresh(const struct ha_watcher *w, const struct ha_service *service,
                                uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    uint64_t since_ms = watched->fencing_ms != 0 ? watched->fencing_ms : watched->state_ms;
    bool first = service->open_epoch == HA_EPOCH_NONE;

    for (uint32_t i = 0; i < service->config.member_count; i++) {
        const struct ha_watch *watch = &watched->members[i];

        if (service->config.members[i].priority == HA_PRIORITY_NEVER)
            continue;
        if (!is_heard(watch, &service->config, now_ms)) {
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
    int chosen = ha_decide_candidate(w, service, now_ms, fits);
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
    promote->instance = watched->members[chosen].instance;
    promote->gate = watched->members[chosen].status.gate;
}

/* Until it is back, its start has failed, or its time is over: whichever is first. */
static bool waits_for_restart(const struct ha_watcher *w, const struct ha_service *service,
                              uint64_t now_ms)
{
    const struct ha_watched *watched = ha_watched_peek(w, service);
    int at = ha_service_member_at(service, service->open_member);
    const struct ha_watch *watch;
    const struct ha_status *status;

    if (at < 0 || watched == NULL || !ha_decide_restarts(w, service) ||
        (service->failed_members >> service->open_member & 1u) != 0 ||
        now_ms - watched->state_ms >= service->config.restart_max_ms)
        return false;
    watch = &watched->members[at];
    status = &watch->status;
    if (!is_heard(watch, &service->config, now_ms) || watch->instance != service->open_instance ||
        !status->sample.starts)
        return false;
    if (status->process != HA_PROCESS_GONE && status->sample.answer == HA_ANSWER_OK)
        return false;
    return status->order != HA_ORDER_FOLLOW || status->order_epoch != service->epoch ||
           status->result != HA_RESULT_FAILED;
}

static void decide_selecting(struct ha_watcher *w, const struct ha_service *service,
                             uint64_t now_ms, struct ha_effects *out)
{
    const struct ha_watched *watched = ha_watched_of(w, service, now_ms);
    uint64_t patience_ms = service->open_epoch == HA_EPOCH_NONE ? FIRST_MS : FRESH_MS;

    if (waits_for_restart(w, service, now_ms))
        return;
    ha_order_report(w, service, now_ms, out);
    if (ha_proof_waits(w, service, now_ms) && now_ms - watched->state_ms < PROOF_MS)
        return;
    if (positions_are_fresh(w, service, now_ms) || now_ms - watched->state_ms >= patience_ms)
        select_candidate(w, service, now_ms, out);
}

static void decide_no_candidate(struct ha_watcher *w, const struct ha_service *service,
                                uint64_t now_ms, struct ha_effects *out)
{
    struct ha_watched *watched = ha_watched_of(w, service, now_ms);

    /* Asked before the look, so that what is proven then is not left for the next one. */
    if (now_ms - watched->state_ms >= RETRY_MS - ASK_MS && ha_proof_waits(w, service, now_ms))
        ha_order_report(w, service, now_ms, out);
    if (now_ms - watched->state_ms < RETRY_MS)
        return;
    watched->state_ms = now_ms; /* the next look in a second */
    select_candidate(w, service, now_ms, out);
}

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
    watch = &watched->members[at];
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
    if (!is_heard(watch, &service->config, now_ms))
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
        decide_selecting(w, service, now_ms, out);
        break;
    case HA_STATE_PROMOTING:
        decide_promoting(w, service, now_ms, out);
        break;
    case HA_STATE_NO_CANDIDATE:
        decide_no_candidate(w, service, now_ms, out);
        break;
    }
}
