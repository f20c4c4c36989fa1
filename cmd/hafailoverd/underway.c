#include "cmd/hafailoverd/underway.h"

#include <stddef.h>

/* NULL: not a step from one state of an epoch to the next. */
static const struct ha_ref *step_of(const struct ha_command *command)
{
    switch (command->kind) {
    case HA_COMMAND_GIVE_UP:
        return &command->u.give_up.ref;
    case HA_COMMAND_BEGIN:
        return &command->u.begin.ref;
    case HA_COMMAND_FENCED:
        return &command->u.fenced.ref;
    case HA_COMMAND_PROMOTE:
    case HA_COMMAND_NONE:
        return &command->u.promote.ref;
    case HA_COMMAND_PROMOTED:
    case HA_COMMAND_FAILED:
    case HA_COMMAND_OPENED:
    case HA_COMMAND_REPOINTED:
        return &command->u.outcome.ref;
    case HA_COMMAND_NOTHING:
    case HA_COMMAND_WATCHERS:
    case HA_COMMAND_CONFIG:
    case HA_COMMAND_OBSERVE:
    case HA_COMMAND_POSITIONS:
    case HA_COMMAND_PAUSE:
    case HA_COMMAND_RESUME:
    case HA_COMMAND_LIFT:
    case HA_COMMAND_NOTICE_DONE:
    case HA_COMMAND_TEST_NOTICE:
    case HA_COMMAND_REPLACE:
    case HA_COMMAND_SETTLED:
    case HA_COMMAND_READY:
    case HA_COMMAND_UNHEARD:
    case HA_COMMAND_GATE:
    case HA_COMMAND_SYNC_INTEND:
    case HA_COMMAND_SYNC_FORCE:
    case HA_COMMAND_HOLD_INTEND:
    case HA_COMMAND_HOLD_FORCE:
    case HA_COMMAND_DIVERGED:
        return NULL;
    }
    return NULL;
}

void ha_underway_add(struct ha_underway *underway, struct ha_proposal *proposal)
{
    const struct ha_ref *step = step_of(&proposal->command);
    uint64_t list = (step != NULL ? step->service : underway->last) % HA_UNDERWAY_LISTS;

    /* A ticket names its list. */
    proposal->ticket = ++underway->last * HA_UNDERWAY_LISTS + list;
    proposal->next = underway->lists[list];
    underway->lists[list] = proposal;
    underway->promotes += proposal->command.kind == HA_COMMAND_PROMOTE;
}

struct ha_proposal *ha_underway_take(struct ha_underway *underway, uint64_t ticket)
{
    struct ha_proposal **at = &underway->lists[ticket % HA_UNDERWAY_LISTS];
    struct ha_proposal *proposal;

    while (*at != NULL && (*at)->ticket != ticket)
        at = &(*at)->next;
    proposal = *at;
    if (proposal == NULL)
        return NULL;
    *at = proposal->next;
    underway->promotes -= proposal->command.kind == HA_COMMAND_PROMOTE;
    return proposal;
}

struct ha_proposal *ha_underway_take_any(struct ha_underway *underway)
{
    for (uint32_t i = 0; i < HA_UNDERWAY_LISTS; i++)
        if (underway->lists[i] != NULL)
            return ha_underway_take(underway, underway->lists[i]->ticket);
    return NULL;
}

bool ha_underway_has(const struct ha_underway *underway, uint64_t term,
                     const struct ha_command *command)
{
    const struct ha_ref *step = step_of(command);

    if (step == NULL || term == 0)
        return false;
    for (const struct ha_proposal *one = underway->lists[step->service % HA_UNDERWAY_LISTS];
         one != NULL; one = one->next) {
        const struct ha_ref *other = step_of(&one->command);

        if (one->term == term && one->command.kind == command->kind && other != NULL &&
            other->service == step->service && other->epoch == step->epoch)
            return true;
    }
    return false;
}
