#include "cmd/common/backlog.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/base/err.h"

/* Not zeroed: large, and mostly never touched. */
static struct ha_effects *make(void)
{
    struct ha_effects *list = malloc(sizeof(*list));

    if (list != NULL)
        ha_effects_clear(list);
    return list;
}

int ha_backlog_open(struct ha_backlog *backlog)
{
    *backlog = (struct ha_backlog){.now = make(), .spare = make()};
    return backlog->now != NULL && backlog->spare != NULL ? HA_OK : HA_ENOMEM;
}

void ha_backlog_free(struct ha_backlog *backlog)
{
    for (uint32_t i = 0; i < backlog->count; i++)
        free(backlog->line[(backlog->first + i) % HA_BACKLOG_MAX]);
    free(backlog->now);
    free(backlog->spare);
    *backlog = (struct ha_backlog){0};
}

/* False: no memory, and steps go on filling the one they have. */
static bool replace(struct ha_backlog *backlog)
{
    struct ha_effects *list = backlog->spare != NULL ? backlog->spare : make();

    if (list == NULL)
        return false;
    backlog->spare = NULL;
    backlog->now = list;
    return true;
}

void ha_backlog_stepped(struct ha_backlog *backlog)
{
    struct ha_effects *full = backlog->now;

    if (full->count < HA_EFFECTS_MAX / 2 || backlog->count == HA_BACKLOG_MAX || !replace(backlog))
        return;
    backlog->line[(backlog->first + backlog->count++) % HA_BACKLOG_MAX] = full;
}

struct ha_effects *ha_backlog_take(struct ha_backlog *backlog)
{
    struct ha_effects *list = backlog->now;

    if (backlog->count > 0) {
        list = backlog->line[backlog->first];
        backlog->first = (backlog->first + 1) % HA_BACKLOG_MAX;
        backlog->count--;
        return list;
    }
    return list->count > 0 && replace(backlog) ? list : NULL;
}

void ha_backlog_give_back(struct ha_backlog *backlog, struct ha_effects *list)
{
    assert(list != backlog->now);
    ha_effects_clear(list);
    if (backlog->spare == NULL)
        backlog->spare = list;
    else
        free(list);
}

bool ha_backlog_is_empty(const struct ha_backlog *backlog)
{
    return backlog->count == 0 && backlog->now->count == 0;
}
