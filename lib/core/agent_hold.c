/* What agents promise each other (design, 6.6). The primary's agent asks every other one all the
 * time, so that it is known on a good day whether they would keep its lease on a bad one; only
 * where the watchers' promises run out does the lease rest on theirs, and then on all of them. Who
 * promises refuses to be promoted for so long. A promise is durable by what is noted: the highest
 * epoch it was told of, below which it gives none, and its memory, by which whoever asks knows it;
 * after a start it may have promised whatever is asked for, until the longest has passed. */
#include <assert.h>
#include <string.h>

#include "lib/core/agent_parts.h"
#include "lib/core/cluster.h"

/* As holder */

static const struct ha_hold_terms *terms_of(const struct ha_held *held)
{
    const struct ha_hold_terms *terms = &held->hold.terms;

    return held->epoch != HA_EPOCH_NONE && terms->epoch == held->epoch &&
                   held->hold.index_durable == terms->index && terms->set.members != 0
               ? terms
               : NULL;
}

uint64_t ha_held_hold_end_ms(const struct ha_held *held)
{
    const struct ha_hold_terms *terms = terms_of(held);
    uint64_t end_ms = UINT64_MAX;

    for (uint32_t id = 1; terms != NULL && id <= HA_MEMBERS_MAX; id++)
        if ((terms->set.members >> id & 1u) != 0 && held->hold.given_ms[id] < end_ms)
            end_ms = held->hold.given_ms[id];
    return terms == NULL ? 0 : end_ms;
}

uint64_t ha_held_hold_rest(struct ha_held *held, uint64_t watched_ms, uint64_t now_ms)
{
    const struct ha_hold_terms *terms = terms_of(held);
    uint64_t end_ms = ha_held_hold_end_ms(held);

    /* While watchers renew the lease it does not rest on agents, so that whose promises may keep it
     * can be changed. */
    if (terms == NULL || end_ms <= now_ms || end_ms <= watched_ms ||
        watched_ms > now_ms + terms->set.lease_ms / 2) {
        if (held->hold.since_ms != 0)
            held->beat_now = true;
        held->hold.since_ms = 0;
        return watched_ms;
    }
    if (held->hold.since_ms == 0) {
        held->hold.since_ms = now_ms;
        held->beat_now = true;
    }
    held->hold.rests_until_ms = end_ms;
    return end_ms;
}

void ha_held_hold_clear(struct ha_held *held)
{
    memset(held->hold.given_ms, 0, sizeof(held->hold.given_ms));
    held->hold.since_ms = 0;
}

void ha_held_hold_order(struct ha_held *held, const struct ha_order *order, uint64_t now_ms,
                        struct ha_effects *out)
{
    struct ha_held_hold *hold = &held->hold;
    const struct ha_hold_set *before = &hold->terms.set;

    if (order->epoch != held->epoch || held->giving_up ||
        (hold->terms.epoch == order->epoch && order->hold_index <= hold->terms.index))
        return;
    /* What the lease rests on now must be over before another set takes its place: from then on the
     * log forgets this one. */
    if (now_ms < hold->rests_until_ms)
        return;
    /* Nor does anything rest on what was promised for longer than this one says: an agent that has
     * started anew since then counts as free when that has passed. */
    for (uint32_t id = 0; id <= HA_MEMBERS_MAX; id++)
        if (hold->terms.epoch != order->epoch || before->lease_ms > order->hold.lease_ms ||
            before->memory[id] != order->hold.memory[id])
            hold->given_ms[id] = 0;
    hold->terms = (struct ha_hold_terms){order->epoch, order->hold_index, order->hold};
    ha_held_persist(held, out);
}

void ha_held_hold_ask(const struct ha_agent *a, const struct ha_held *held, uint64_t now_ms,
                      struct ha_effects *out)
{
    const struct ha_hold_terms *terms = terms_of(held);

    if (terms == NULL || held->giving_up || held->settings.gone)
        return;
    for (uint32_t i = 0; i < held->settings.peer_count; i++) {
        uint32_t id = held->settings.peers[i].id;
        struct ha_effect_hold_ask *ask;

        if (id > HA_MEMBERS_MAX || (terms->set.members >> id & 1u) == 0 ||
            held->settings.peers[i].agent[0] == '\0')
            continue;
        ask = &ha_effects_add(out, HA_EFFECT_HOLD_ASK)->u.hold_ask;
        memcpy(ask->agent, held->settings.peers[i].agent, sizeof(ask->agent));
        memcpy(ask->host, held->settings.peers[i].host, sizeof(ask->host));
        ask->port = held->settings.peers[i].agent_port;
        ask->ask = (struct ha_hold_ask){.service = held->settings.service,
                                        .member = held->settings.member,
                                        .epoch = held->epoch,
                                        .instance = a->instance,
                                        .stamp = now_ms,
                                        .length_ms = terms->set.lease_ms,
                                        .memory = terms->set.memory[id]};
    }
}

/* The member whose agent that is; HA_MEMBER_NONE: of no other member. */
static uint32_t member_of(const struct ha_held *held, const char *agent)
{
    for (uint32_t i = 0; i < held->settings.peer_count; i++)
        if (held->settings.peers[i].id <= HA_MEMBERS_MAX &&
            strcmp(held->settings.peers[i].agent, agent) == 0)
            return held->settings.peers[i].id;
    return HA_MEMBER_NONE;
}

bool ha_held_hold_word(const struct ha_agent *a, struct ha_held *held,
                       const struct ha_event_hold_word *event, uint64_t now_ms)
{
    const struct ha_hold_terms *terms = terms_of(held);
    const struct ha_hold_word *word = event->word;
    uint32_t id = member_of(held, event->agent);

    if (terms == NULL || held->giving_up || id == HA_MEMBER_NONE || word->epoch != held->epoch ||
        word->instance != a->instance || (terms->set.members >> id & 1u) == 0 ||
        word->memory != terms->set.memory[id])
        return false;
    if (word->stamp > now_ms || word->length_ms > terms->set.lease_ms ||
        word->stamp + word->length_ms <= held->hold.given_ms[id])
        return false; /* no answer to anything we sent, or to something older */
    held->hold.given_ms[id] = word->stamp + word->length_ms;
    return true;
}

/* As one who promises */

static uint64_t left_of(uint64_t until_ms, uint64_t now_ms)
{
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

uint64_t ha_held_hold_free_ms(const struct ha_agent *a, const struct ha_held *held,
                              const struct ha_order *order)
{
    uint64_t until_ms = held->hold.until_ms;
    uint64_t before_ms = a->since_ms + order->hold_ms + ha_drift_ms(order->hold_ms);

    if (order->kind != HA_ORDER_PROMOTE || order->hold_free)
        return 0;
    return order->hold_ms != 0 && before_ms > until_ms ? before_ms : until_ms;
}

void ha_held_hold_release(struct ha_held *held, uint64_t epoch, struct ha_effects *out)
{
    if (held->epoch_seen < epoch)
        held->epoch_seen = epoch;
    /* What it was told of may not be noted yet: not every order has that done. */
    if (epoch <= held->epoch_seen_durable || epoch <= held->hold.released)
        return;
    held->hold.released = epoch;
    ha_held_persist(held, out);
}

void ha_held_hold_noted(struct ha_held *held)
{
    if (held->hold.released == HA_EPOCH_NONE || held->epoch_seen_durable < held->hold.released)
        return;
    held->hold.released = HA_EPOCH_NONE;
    held->beat_now = true; /* somebody waits for it */
}

/* The one who asks is the agent of another member. An agent that has not yet heard a watcher since
 * its start does not know whose; its memory is known to nobody but watchers and who may ask. */
static bool may_ask(const struct ha_agent *a, const struct ha_held *held,
                    const struct ha_event_hold_asked *event)
{
    return a->memory != 0 && event->ask->memory == a->memory && !held->settings.gone &&
           (held->settings.port == 0 || member_of(held, event->agent) == event->ask->member);
}

void ha_held_hold_asked(const struct ha_agent *a, struct ha_held *held,
                        const struct ha_event_hold_asked *event, uint64_t now_ms,
                        struct ha_effects *out)
{
    const struct ha_hold_ask *ask = event->ask;
    struct ha_effect_hold_word *answer;
    uint64_t until_ms;

    if (!may_ask(a, held, event) || ask->length_ms == 0 || ask->length_ms > HA_LEASE_MAX_MS)
        return;
    /* Who was told of a later epoch gives none for an earlier one; who holds one has a lease of its
     * own to think of. */
    if (ask->epoch == HA_EPOCH_NONE || ask->epoch < held->epoch_seen ||
        held->epoch != HA_EPOCH_NONE)
        return;
    ha_held_hold_release(held, ask->epoch, out);
    if (held->epoch_seen_durable < ask->epoch)
        return; /* noted first: an older epoch must get none after this one has */
    until_ms = now_ms + ask->length_ms + ha_drift_ms(ask->length_ms);
    if (until_ms > held->hold.until_ms)
        held->hold.until_ms = until_ms;
    answer = &ha_effects_add(out, HA_EFFECT_HOLD_WORD)->u.hold_word;
    memset(answer->agent, 0, sizeof(answer->agent));
    memcpy(answer->agent, event->agent, strnlen(event->agent, sizeof(answer->agent) - 1));
    answer->word = (struct ha_hold_word){.service = ask->service,
                                         .epoch = ask->epoch,
                                         .instance = ask->instance,
                                         .stamp = ask->stamp,
                                         .length_ms = ask->length_ms,
                                         .memory = a->memory};
}

void ha_held_hold_tell(const struct ha_agent *a, const struct ha_held *held, uint64_t now_ms,
                       struct ha_status *status)
{
    const struct ha_hold_terms *terms = &held->hold.terms;
    uint64_t awake_ms = now_ms - a->since_ms;

    status->memory = a->memory;
    status->awake_ms = awake_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)awake_ms;
    status->hold_left_ms = (uint32_t)left_of(held->hold.until_ms, now_ms);
    if (held->epoch == HA_EPOCH_NONE || terms->epoch != held->epoch ||
        held->hold.index_durable != terms->index)
        return;
    status->hold_index = terms->index;
    for (uint32_t id = 1; id <= HA_MEMBERS_MAX; id++)
        if (held->hold.given_ms[id] > now_ms)
            status->hold_given |= 1u << id;
    status->holding = held->hold.since_ms != 0;
    if (status->holding)
        status->hold_age_ms = (uint32_t)(now_ms - held->hold.since_ms);
}
