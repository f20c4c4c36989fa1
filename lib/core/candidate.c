#include "lib/core/candidate.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

enum ha_kinship ha_kinship_of(const struct ha_position *have, const struct ha_lineage *known,
                              uint64_t *ret_offset)
{
    assert(have->lineage.count <= HA_LINEAGE_MAX && known->count <= HA_LINEAGE_MAX);

    for (uint32_t h = 0; h < have->lineage.count; h++) {
        const struct ha_lineage_step *mine = &have->lineage.steps[h];

        for (uint32_t k = 0; k < known->count; k++) {
            /* How far the member follows this shared lineage. */
            uint64_t reach = h == 0 ? have->offset : mine->end;

            if (known->steps[k].id != mine->id)
                continue;
            /* Past the fork the known history took: it wrote what the others never had. */
            if (reach > known->steps[k].end)
                return HA_KIN_DIVERGED;
            /* It left this lineage for one of its own and wrote there. */
            if (h > 0 && have->offset > mine->end)
                return HA_KIN_DIVERGED;
            *ret_offset = reach;
            return HA_KIN_SAME;
        }
    }
    return HA_KIN_STRANGE;
}

/* Whether the process behind the sample could take writes soon. */
static enum ha_fitness fitness_of_process(const struct ha_candidate *c)
{
    if (c->process == HA_PROCESS_GONE || c->sample->answer == HA_ANSWER_REFUSED)
        return HA_FIT_NOT_RUNNING;
    switch (c->sample->answer) {
    case HA_ANSWER_OK:
        if (c->hung)
            return HA_FIT_NOT_ANSWERING;
        return c->sample->copying ? HA_FIT_COPYING : HA_FIT_OK;
    case HA_ANSWER_STARTING:
        return HA_FIT_STARTING;
    case HA_ANSWER_NONE:
    case HA_ANSWER_BUSY:
    case HA_ANSWER_FULL:
    case HA_ANSWER_DENIED:
    case HA_ANSWER_REFUSED:
    case HA_ANSWER_CLOSED:
    case HA_ANSWER_UNREACHABLE:
        return HA_FIT_NOT_ANSWERING;
    }
    return HA_FIT_NOT_ANSWERING;
}

static enum ha_fitness fitness_of_data(const struct ha_candidate *c,
                                       const struct ha_candidate_rules *rules, struct ha_fit *fit)
{
    const struct ha_position *have = &c->sample->position;
    uint64_t offset = have->offset;

    fit->offset = have->offset;
    if (rules->known->lineage.count == 0)
        return HA_FIT_OK;
    if (rules->accept_loss) {
        /* What is accepted is told: all of it where nothing is shared. */
        if (ha_kinship_of(have, &rules->known->lineage, &offset) != HA_KIN_SAME)
            offset = 0;
        fit->behind = rules->known->offset > offset ? rules->known->offset - offset : 0;
        return HA_FIT_OK;
    }
    if (have->lineage.count == 0)
        return HA_FIT_NO_POSITION;
    /* Promoted under an epoch that never opened: its new lineage is not trusted even where it
     * wrote nothing, until it has followed the legitimate primary again. */
    if (c->unopened && have->lineage.steps[0].id != rules->known->lineage.steps[0].id)
        return HA_FIT_STRAY;
    switch (ha_kinship_of(have, &rules->known->lineage, &offset)) {
    case HA_KIN_SAME:
        break;
    case HA_KIN_DIVERGED:
        return HA_FIT_DIVERGED;
    case HA_KIN_STRANGE:
        return HA_FIT_STRAY;
    }
    fit->offset = offset;
    fit->behind = rules->known->offset > offset ? rules->known->offset - offset : 0;
    if (rules->proof.bound) {
        /* It acknowledged itself, still has the history that its epoch wrote, and lacks nothing of
         * what it was last seen with, nor of what others have received from it: else its disk is
         * not the one it acknowledged on. */
        if (c->member == rules->proof.holder && fit->behind == 0 &&
            have->lineage.steps[0].id == rules->known->lineage.steps[0].id &&
            offset >= rules->proof.seen)
            return HA_FIT_OK;
        if (c->sample->link_up)
            offset += rules->proof.coming;
        return rules->proof.complete && offset >= rules->proof.best ? HA_FIT_OK : HA_FIT_UNPROVEN;
    }
    return fit->behind > rules->loss_budget_bytes ? HA_FIT_BEHIND : HA_FIT_OK;
}

static enum ha_fitness fitness_of(const struct ha_candidate *c,
                                  const struct ha_candidate_rules *rules, struct ha_fit *fit)
{
    enum ha_fitness process;

    if (rules->exclude != HA_MEMBER_NONE && rules->exclude == c->member)
        return HA_FIT_PRIMARY;
    if (c->priority == HA_PRIORITY_NEVER && rules->target != c->member)
        return HA_FIT_NEVER;
    if (rules->target != HA_MEMBER_NONE && rules->target != c->member)
        return HA_FIT_NOT_TARGET;
    if (!c->heard)
        return HA_FIT_UNHEARD;
    process = fitness_of_process(c);
    if (process != HA_FIT_OK)
        return process;
    if (c->unseen)
        return HA_FIT_UNSEEN;
    if (c->ahead)
        return HA_FIT_AHEAD;
    if (c->noteless)
        return HA_FIT_NO_NOTE;
    if (c->sample->lacks_rights)
        return HA_FIT_NO_RIGHTS;
    if (c->failed)
        return HA_FIT_FAILED;
    if (c->gate == HA_GATE_NONE)
        return HA_FIT_NO_GATE;
    return fitness_of_data(c, rules, fit);
}

/* Two members with data of their own and no common history: choosing one would wipe the other. */
static bool is_ambiguous(const struct ha_candidate *candidates, const struct ha_fit *fits,
                         uint32_t count)
{
    const struct ha_position *first = NULL;
    uint64_t offset;

    for (uint32_t i = 0; i < count; i++) {
        const struct ha_position *have = &candidates[i].sample->position;

        if (fits[i].fitness != HA_FIT_OK || have->lineage.count == 0)
            continue;
        if (first == NULL)
            first = have;
        else if (ha_kinship_of(have, &first->lineage, &offset) == HA_KIN_STRANGE &&
                 ha_kinship_of(first, &have->lineage, &offset) == HA_KIN_STRANGE)
            return true;
    }
    return false;
}

static bool is_better(const struct ha_candidate *a, const struct ha_fit *fit_a,
                      const struct ha_candidate *b, const struct ha_fit *fit_b, bool first)
{
    if (first && (a->sample->position.lineage.count > 0) != (b->sample->position.lineage.count > 0))
        return a->sample->position.lineage.count > 0;
    if (first && (a->sample->role == HA_ROLE_PRIMARY) != (b->sample->role == HA_ROLE_PRIMARY))
        return a->sample->role == HA_ROLE_PRIMARY;
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (fit_a->offset != fit_b->offset)
        return fit_a->offset > fit_b->offset;
    return strcmp(a->name, b->name) < 0;
}

int ha_candidate_choose(const struct ha_candidate *candidates, uint32_t count,
                        const struct ha_candidate_rules *rules, struct ha_fit *fits)
{
    uint64_t most = 0;
    int best = -1;

    assert(count <= HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        fits[i] = (struct ha_fit){.member = candidates[i].member};
        fits[i].fitness = fitness_of(&candidates[i], rules, &fits[i]);
        if (fits[i].fitness == HA_FIT_OK && fits[i].offset > most)
            most = fits[i].offset;
    }
    if (rules->first && !rules->accept_loss && is_ambiguous(candidates, fits, count)) {
        for (uint32_t i = 0; i < count; i++)
            if (fits[i].fitness == HA_FIT_OK)
                fits[i].fitness = HA_FIT_STRAY;
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (fits[i].fitness != HA_FIT_OK)
            continue;
        /* A first epoch goes to the member that is primary already, however offsets compare. */
        if (!rules->first && most - fits[i].offset > rules->slack_bytes) {
            fits[i].fitness = HA_FIT_RANKED_LOWER;
            continue;
        }
        if (best >= 0 &&
            !is_better(&candidates[i], &fits[i], &candidates[best], &fits[best], rules->first)) {
            fits[i].fitness = HA_FIT_RANKED_LOWER;
            continue;
        }
        if (best >= 0)
            fits[best].fitness = HA_FIT_RANKED_LOWER;
        best = (int)i;
    }
    if (best >= 0)
        fits[best].fitness = HA_FIT_CHOSEN;
    /* All that is wrong with the others is that they have less. */
    for (uint32_t i = 0; best >= 0 && rules->proof.complete && i < count; i++)
        if (fits[i].fitness == HA_FIT_UNPROVEN)
            fits[i].fitness = HA_FIT_RANKED_LOWER;
    return best;
}
