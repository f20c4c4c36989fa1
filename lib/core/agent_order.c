/* Orders to an agent: taken when their epoch is not behind what the agent was told before, done
 * once, answered in every heartbeat until the next order. A doubled or late one changes nothing. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/agent_parts.h"
#include "lib/core/sync.h"

/* The names of the members of a set, by id; false: the settings do not name one of them yet. */
static bool name_members(const struct ha_held *held, const struct ha_sync_set *set,
                         char (*names)[HA_NAME_SIZE])
{
    uint32_t unnamed = set->members;

    for (uint32_t i = 0; i < held->settings.peer_count; i++) {
        uint32_t id = held->settings.peers[i].id;

        if (id == HA_MEMBER_NONE || id > HA_MEMBERS_MAX || (set->members >> id & 1u) == 0)
            continue;
        memcpy(names[id], held->settings.peers[i].name, HA_NAME_SIZE);
        unnamed &= ~(1u << id);
    }
    return unnamed == 0;
}

/* Whether the database says that exactly the ordered standby names are in effect. */
static bool names_are_in_effect(const struct ha_held *held, const struct ha_order *order)
{
    char names[HA_MEMBERS_MAX + 1][HA_NAME_SIZE] = {{0}};
    char text[HA_SYNC_NAMES_SIZE];

    if (!name_members(held, &order->sync, names))
        return false;
    ha_sync_names(text, &order->sync, (const char(*)[HA_NAME_SIZE])names, order->epoch);
    return held->sample.sync_id == ha_sync_id(text);
}

static void act(struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                uint64_t now_ms, struct ha_effects *out)
{
    struct ha_effect *effect;

    held->ticket = ++a->ticket_last;
    held->order_ms = now_ms;
    held->result = HA_RESULT_RUNNING;
    effect = ha_effects_add(out, HA_EFFECT_ACT);
    effect->u.act = (struct ha_act){
        .service = held->settings.service,
        .ticket = held->ticket,
        .kind = order->kind,
        .epoch = order->epoch,
        .run_id = order->kind == HA_ORDER_SERVE ? held->verified_run : 0,
        /* A drain that outlives the lease helps nobody: promises have stopped. */
        .deadline_ms = order->kind == HA_ORDER_DRAIN
                           ? held->settings.lease_ms - held->settings.lease_ms / 4
                           : held->settings.promote_deadline_ms,
        .full_copy = order->full_copy,
        .min_replicas = order->min_replicas,
        .sync_managed = order->sync_managed ||
                        ((order->kind == HA_ORDER_PROMOTE || order->kind == HA_ORDER_FOLLOW) &&
                         ha_sync_is_managed(held->settings.engine, held->settings.durability)),
        .sync = order->sync,
        .upstream_port = order->upstream_port,
    };
    (void)name_members(held, &order->sync, effect->u.act.member_names);
    memcpy(effect->u.act.member_name, held->settings.member_name, HA_NAME_SIZE);
    memcpy(effect->u.act.upstream_host, order->upstream_host, sizeof(order->upstream_host));
    effect->u.act.copy_allowed = held->settings.rejoin_copy;
    effect->u.act.rewind_max_ms = held->settings.rewind_max_ms;
    effect->u.act.copy_max_ms = held->settings.copy_max_ms;
    effect->u.act.keep_tail_bytes = held->settings.keep_tail_bytes;
    effect->u.act.peer_count = held->settings.peer_count;
    for (uint32_t i = 0; i < held->settings.peer_count; i++)
        memcpy(effect->u.act.peer_names[i], held->settings.peers[i].name,
               sizeof(effect->u.act.peer_names[i]));
}

/* One act at a time: what was asked of a database may still happen until its end is known, and an
 * epoch that is given up ends first. The next order waits for that; only fencing never does. */
static bool must_wait(struct ha_held *held, const struct ha_order *order, struct ha_effects *out)
{
    if (held->ticket == 0 && !held->giving_up)
        return false;
    if (held->ticket != 0)
        ha_effects_add(out, HA_EFFECT_ACT_CANCEL)->u.service = held->settings.service;
    held->waits = *order;
    return true;
}

static bool is_same(const struct ha_held *held, const struct ha_order *order)
{
    return held->order.kind == order->kind && held->order.epoch == order->epoch;
}

static void take(struct ha_held *held, const struct ha_order *order)
{
    if (held->falls == 0 || !is_same(held, order)) /* why it failed is told until it works */
        held->text[0] = '\0';
    held->order = *order;
    held->beat_now = true;
}

static void fail(struct ha_held *held, const char *why)
{
    held->result = HA_RESULT_FAILED;
    (void)ha_text_copy(held->text, sizeof(held->text), why);
    held->beat_now = true;
}

static void order_fence(struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                        uint64_t now_ms, struct ha_effects *out)
{
    if (order->instance != a->instance || order->epoch == 0)
        return;
    if (order->kind == HA_ORDER_DRAIN && held->epoch != HA_EPOCH_NONE &&
        held->epoch < order->epoch && !held->giving_up) {
        if ((is_same(held, order) && held->result != HA_RESULT_NONE) || must_wait(held, order, out))
            return;
        take(held, order);
        act(a, held, order, now_ms, out);
        return;
    }
    if (!is_same(held, order) && held->ticket == 0)
        take(held, order);
    if (held->ticket == 0)
        held->result = HA_RESULT_DONE;
    if (held->epoch_seen < order->epoch)
        held->epoch_seen = order->epoch;
    ha_held_give_up(held, order->epoch - 1, HA_VERDICT_UNKNOWN, out);
}

/* Another primary may hold its lease by a promise of this agent: no more from here on, and not
 * before the last one has passed. The order waits for that. */
static bool is_bound(const struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                     uint64_t now_ms, struct ha_effects *out)
{
    if (now_ms >= ha_held_hold_free_ms(a, held, order))
        return false;
    ha_held_hold_release(held, order->epoch, out);
    held->waits = *order;
    return true;
}

/* The run that an order of this epoch found is noted with it: chosen by what that one showed, or
 * promoted already, is not whatever was started since, with less data perhaps. */
static void note_run(struct ha_held *held)
{
    held->serving_run =
        held->sampled && held->sample.answer == HA_ANSWER_OK ? held->sample.run_id : 0;
}

static bool is_other_run(const struct ha_held *held, const struct ha_order *order)
{
    return order->epoch == held->epoch_seen && held->serving_run != 0 &&
           held->sample.run_id != held->serving_run;
}

static void order_promote(struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                          uint64_t now_ms, struct ha_effects *out)
{
    if (order->instance != a->instance || order->epoch < held->epoch_seen)
        return; /* for another instance, or the log has moved on */
    if (is_same(held, order) && held->result != HA_RESULT_NONE)
        return;
    if (order->epoch <= held->given_up) {
        take(held, order);
        fail(held, "this agent gave that epoch up");
        return;
    }
    if (is_other_run(held, order)) {
        if (!held->sampled || held->sample.answer != HA_ANSWER_OK)
            return; /* it comes again */
        take(held, order);
        fail(held, "its database has started anew since it was chosen");
        ha_held_give_up(held, order->epoch, HA_VERDICT_CRASHED, out);
        return;
    }
    if (held->epoch != HA_EPOCH_NONE && held->epoch < order->epoch)
        ha_held_give_up(held, held->epoch, HA_VERDICT_UNKNOWN, out);
    if (must_wait(held, order, out) || is_bound(a, held, order, now_ms, out))
        return;
    take(held, order);
    held->epoch_seen = order->epoch;
    if (held->serving_epoch != order->epoch)
        note_run(held);
    held->vip_conflict = false;
    /* From here on nothing goes out until the lease of this epoch is held. */
    ha_held_close_gate(held, out);
    ha_held_persist(held, out);
    if (held->settings.vip[0] != '\0' && !order->vip_free)
        ha_effects_add(out, HA_EFFECT_VIP_LOOK)->u.service = held->settings.service;
    act(a, held, order, now_ms, out);
}

/* Whether the order is done or under way; standby names that somebody changed are set again. */
static bool is_served(const struct ha_held *held, const struct ha_order *order)
{
    return is_same(held, order) && held->order.min_replicas == order->min_replicas &&
           held->order.sync_managed == order->sync_managed &&
           held->order.sync.need == order->sync.need &&
           held->order.sync.members == order->sync.members &&
           held->order.sync_index == order->sync_index &&
           (held->result == HA_RESULT_RUNNING ||
            (held->result == HA_RESULT_DONE &&
             (!order->sync_managed || names_are_in_effect(held, order))));
}

static void order_serve(struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                        uint64_t now_ms, struct ha_effects *out)
{
    char names[HA_MEMBERS_MAX + 1][HA_NAME_SIZE];

    if (order->instance != a->instance || order->epoch < held->epoch_seen ||
        order->epoch <= held->given_up || held->giving_up)
        return;
    if (held->epoch == order->epoch) {
        /* Of a leader that does not know what this agent was told before it started anew. */
        if (order->sync_managed && held->sync_epoch == order->epoch &&
            order->sync_index < held->sync_index)
            return;
        if (is_served(held, order) || must_wait(held, order, out))
            return;
        take(held, order);
        if (order->sync_managed && !name_members(held, &order->sync, names)) {
            fail(held, "the settings do not name a member of the set yet");
            return;
        }
        act(a, held, order, now_ms, out);
        return;
    }
    /* The log says that this instance holds the epoch, and it cannot show that the database is the
     * one that was promoted: it may have started anew, with less data. */
    if (held->sampled && held->sample.answer == HA_ANSWER_OK && held->process != HA_PROCESS_UNKNOWN)
        ha_held_give_up(held, order->epoch, HA_VERDICT_CRASHED, out);
}

static void order_follow(struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                         uint64_t now_ms, struct ha_effects *out)
{
    bool same, unseals;

    if (order->epoch < held->epoch_seen ||
        (held->epoch != HA_EPOCH_NONE && held->epoch >= order->epoch))
        return;
    if (held->epoch != HA_EPOCH_NONE)
        ha_held_give_up(held, held->epoch, HA_VERDICT_UNKNOWN, out);
    same = is_same(held, order) && held->order.upstream == order->upstream;
    if ((same && (held->ticket != 0 || ha_held_retry_waits(held, now_ms))) ||
        must_wait(held, order, out))
        return;
    take(held, order);
    unseals = held->sealed != HA_EPOCH_NONE && order->upstream != HA_MEMBER_NONE;
    if (held->epoch_seen < order->epoch || unseals) {
        held->epoch_seen = order->epoch;
        if (held->serving_epoch == HA_EPOCH_NONE)
            held->serving_run = 0;
        if (unseals) { /* what it receives from now on is of this epoch; of nobody, nothing */
            held->sealed = HA_EPOCH_NONE;
            held->seal_done = false;
        }
        ha_held_persist(held, out);
    }
    if (held->sample.role == HA_ROLE_PRIMARY)
        ha_held_close_gate(held, out);
    act(a, held, order, now_ms, out);
}

/* Stop receiving for good: from here on no primary of an epoch below this one is acknowledged by
 * this member, whatever clocks and gates do. Only an order to follow undoes it. */
static void order_seal(struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                       uint64_t now_ms, struct ha_effects *out)
{
    bool promoting = held->order.kind == HA_ORDER_PROMOTE && held->order.epoch >= order->epoch &&
                     held->result != HA_RESULT_FAILED;

    if (order->epoch < held->epoch_seen || held->epoch >= order->epoch || promoting)
        return;
    /* Whoever is told to seal is not the one who serves: it was never told that its own is over. */
    if (held->epoch != HA_EPOCH_NONE)
        ha_held_give_up(held, held->epoch, HA_VERDICT_UNKNOWN, out);
    if (held->sealed == order->epoch &&
        (held->seal_done || (is_same(held, order) && held->ticket != 0)))
        return;
    if (must_wait(held, order, out))
        return;
    take(held, order);
    held->epoch_seen = order->epoch;
    note_run(held);
    held->sealed = order->epoch;
    held->seal_done = false;
    ha_held_persist(held, out);
    act(a, held, order, now_ms, out);
}

static void order_report(struct ha_held *held, const struct ha_order *order, struct ha_effects *out)
{
    /* It waits for a primary that has gone, and who comes next waits for what this one shows. */
    bool outlived = held->order.kind == HA_ORDER_FOLLOW && held->order.epoch < order->epoch;

    ha_held_probe(held, out);
    if (outlived && held->ticket != 0) {
        (void)must_wait(held, order, out);
        return;
    }
    /* Another order under way is not disturbed by the wish to hear more. */
    if (held->ticket == 0 && (held->result != HA_RESULT_RUNNING || outlived)) {
        held->order = *order;
        held->result = HA_RESULT_RUNNING;
    }
}

void ha_held_order(struct ha_agent *a, struct ha_held *held, const struct ha_order *order,
                   uint64_t now_ms, struct ha_effects *out)
{
    /* Orders of an older state, from a leader that does not know yet that it is none. */
    if (order->index < held->index_seen)
        return;
    held->index_seen = order->index;
    switch (order->kind) {
    case HA_ORDER_NONE:
        return;
    case HA_ORDER_REPORT:
        order_report(held, order, out);
        return;
    case HA_ORDER_FENCE:
    case HA_ORDER_DRAIN:
        order_fence(a, held, order, now_ms, out);
        return;
    case HA_ORDER_PROMOTE:
        order_promote(a, held, order, now_ms, out);
        return;
    case HA_ORDER_SERVE:
        order_serve(a, held, order, now_ms, out);
        return;
    case HA_ORDER_FOLLOW:
        order_follow(a, held, order, now_ms, out);
        return;
    case HA_ORDER_SEAL:
        order_seal(a, held, order, now_ms, out);
        return;
    case HA_ORDER_HOLD:
        if (order->instance == a->instance)
            ha_held_hold_order(held, order, now_ms, out);
        return;
    case HA_ORDER_RELEASE:
        ha_held_hold_release(held, order->epoch, out);
        return;
    }
    HA_UNREACHABLE();
}

void ha_held_order_next(struct ha_agent *a, struct ha_held *held, uint64_t now_ms,
                        struct ha_effects *out)
{
    const struct ha_order order = held->waits;

    if (order.kind == HA_ORDER_NONE || held->ticket != 0 || held->giving_up ||
        now_ms < ha_held_hold_free_ms(a, held, &order))
        return;
    held->waits.kind = HA_ORDER_NONE;
    ha_held_order(a, held, &order, now_ms, out);
}

uint64_t ha_held_order_waits_ms(const struct ha_agent *a, const struct ha_held *held)
{
    return held->waits.kind == HA_ORDER_NONE || held->ticket != 0 || held->giving_up
               ? UINT64_MAX
               : ha_held_hold_free_ms(a, held, &held->waits);
}

/* A promotion counts when the database says so and the epoch is noted durably: an agent that
 * accepted a later epoch gives nothing for an earlier one, also after a restart. */
void ha_held_order_settle(struct ha_held *held, struct ha_effects *out)
{
    if (held->order.kind == HA_ORDER_SERVE && held->ticket == 0 &&
        held->result == HA_RESULT_RUNNING && held->sync_index_durable == held->sync_index) {
        held->result = HA_RESULT_DONE;
        held->beat_now = true;
        return;
    }
    if (held->order.kind != HA_ORDER_PROMOTE || held->ticket != 0 ||
        held->result != HA_RESULT_RUNNING || held->epoch_seen_durable < held->order.epoch)
        return;
    if (held->order.epoch <= held->given_up) {
        fail(held, "it was given up before it opened");
        return;
    }
    held->epoch = held->order.epoch;
    held->result = HA_RESULT_DONE;
    held->beat_now = true;
    ha_held_hold_clear(held);
    held->hold.rests_until_ms = 0;
    memset(held->granted, 0, sizeof(held->granted));
    held->kept_end_ms = 0;
    held->serving_epoch = held->epoch;
    held->serving_run = held->sample.run_id;
    ha_held_persist(held, out);
}

/* Reported as done only once it is noted which order set the names: an agent that started anew must
 * not let an older leader put back what the log has left behind. */
static void served(struct ha_held *held, struct ha_effects *out)
{
    if (!held->order.sync_managed) {
        held->result = HA_RESULT_DONE;
        held->beat_now = true;
        return;
    }
    if (!names_are_in_effect(held, &held->order)) {
        fail(held, "the database does not say that the standby names are in effect");
        return;
    }
    held->sync_epoch = held->order.epoch;
    held->sync_index = held->order.sync_index;
    ha_held_persist(held, out);
    ha_held_order_settle(held, out);
}

void ha_held_order_noteless(struct ha_held *held, struct ha_effects *out)
{
    if (held->order.kind != HA_ORDER_PROMOTE || held->ticket != 0 ||
        held->result != HA_RESULT_RUNNING || held->epoch_seen_durable >= held->order.epoch)
        return;
    fail(held, "its agent cannot write its state to disk");
    ha_held_give_up(held, held->order.epoch, HA_VERDICT_UNKNOWN, out);
}

void ha_held_drained(struct ha_held *held)
{
    if (!held->drained_away)
        return;
    held->drained_away = false;
    held->process = HA_PROCESS_GONE;
    held->pid_start = held->verified_start = 0;
}

/* The hand-over's end is that of the epoch; a process that ended under it is told with that, or at
 * once where the epoch had been given up before. */
static void end_drain(struct ha_held *held, struct ha_effects *out)
{
    ha_held_give_up(held, held->order.epoch - 1, HA_VERDICT_UNKNOWN, out);
    if (!held->giving_up)
        ha_held_drained(held);
    held->beat_now = true;
}

void ha_held_acted(struct ha_held *held, int code, const char *text, uint64_t now_ms,
                   struct ha_effects *out)
{
    held->replica_seen = 0; /* what it was before says nothing about it now */
    if (code == HA_EBUSY && held->order.kind == HA_ORDER_FOLLOW) {
        (void)ha_text_copy(held->text, sizeof(held->text), text); /* it goes on */
        held->result = HA_RESULT_RUNNING;
        held->beat_now = true;
        return;
    }
    if (code != HA_OK) {
        fail(held, text);
        ha_held_retry_failed(held, code, now_ms);
        /* What was promoted half-way is nobody's primary: its epoch is over for this host. */
        if (held->order.kind == HA_ORDER_PROMOTE)
            ha_held_give_up(held, held->order.epoch, HA_VERDICT_UNKNOWN, out);
        if (held->drained_away) /* the epoch ended with the process, and that was no crash */
            end_drain(held, out);
        return;
    }
    switch (held->order.kind) {
    case HA_ORDER_PROMOTE:
        if (held->sample.role != HA_ROLE_PRIMARY) {
            fail(held, "the database does not say that it is primary");
            ha_held_give_up(held, held->order.epoch, HA_VERDICT_UNKNOWN, out);
            return;
        }
        ha_held_order_settle(held, out);
        return;
    case HA_ORDER_DRAIN:
        held->result = HA_RESULT_DONE;
        end_drain(held, out);
        return;
    case HA_ORDER_SERVE:
        served(held, out);
        return;
    case HA_ORDER_SEAL:
        held->seal_done = held->sealed == held->order.epoch;
        held->result = HA_RESULT_DONE;
        held->beat_now = true;
        return;
    case HA_ORDER_FOLLOW:
        held->result = HA_RESULT_DONE;
        held->text[0] = '\0';
        held->beat_now = true;
        return;
    case HA_ORDER_NONE:
    case HA_ORDER_REPORT:
    case HA_ORDER_FENCE:
    case HA_ORDER_HOLD:
    case HA_ORDER_RELEASE:
        return;
    }
    HA_UNREACHABLE();
}

uint64_t ha_held_order_due_ms(const struct ha_held *held)
{
    /* The executor has a deadline of its own; this is for one that never answers. */
    return held->order_ms + 2 * (uint64_t)held->settings.promote_deadline_ms;
}

void ha_held_order_tick(struct ha_held *held, uint64_t now_ms, struct ha_effects *out)
{
    if (held->ticket == 0 || now_ms < ha_held_order_due_ms(held))
        return;
    ha_effects_add(out, HA_EFFECT_ACT_CANCEL)->u.service = held->settings.service;
    held->ticket = 0;
    ha_held_acted(held, HA_ETIMEDOUT, "the database did not do it in time", now_ms, out);
}
