#include "lib/core/effect.h"

#include <string.h>

void ha_effects_clear(struct ha_effects *effects)
{
    effects->count = 0;
    effects->overflowed = false;
}

struct ha_effect *ha_effects_add(struct ha_effects *effects, enum ha_effect_kind kind)
{
    /* The last slot is scratch: what lands there is said again at the next tick. */
    uint32_t at = effects->count < HA_EFFECTS_MAX - 1 ? effects->count++ : HA_EFFECTS_MAX - 1;
    struct ha_effect *effect = &effects->items[at];

    if (at == HA_EFFECTS_MAX - 1)
        effects->overflowed = true;
    memset(effect, 0, sizeof(*effect));
    effect->kind = kind;
    return effect;
}
