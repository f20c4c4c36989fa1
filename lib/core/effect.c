#include "lib/core/effect.h"

#include <stddef.h>
#include <string.h>

#include "lib/base/check.h"

void ha_effects_clear(struct ha_effects *effects)
{
    effects->count = 0;
    effects->overflowed = false;
}

/* Of what this kind fills in: the union is as large as the largest entry of the log. */
static size_t size_of(enum ha_effect_kind kind)
{
    static const struct ha_effect *const effect;

    switch (kind) {
    case HA_EFFECT_PROPOSE:
        return sizeof(effect->u.command);
    case HA_EFFECT_PROMISE:
        return sizeof(effect->u.promise);
    case HA_EFFECT_ORDER:
        return sizeof(effect->u.order);
    case HA_EFFECT_STOPPED:
        return sizeof(effect->u.stopped);
    case HA_EFFECT_PERSIST_PROMISE:
        return sizeof(effect->u.persist_ms);
    case HA_EFFECT_FENCE_COMMAND:
        return sizeof(effect->u.fence);
    case HA_EFFECT_HEARTBEAT:
        return sizeof(effect->u.status);
    case HA_EFFECT_GATE:
        return sizeof(effect->u.gate);
    case HA_EFFECT_PERSIST_EPOCHS:
        return sizeof(effect->u.epochs);
    case HA_EFFECT_ACT:
        return sizeof(effect->u.act);
    case HA_EFFECT_VIP_CLAIM:
    case HA_EFFECT_VIP_RELEASE:
        return sizeof(effect->u.vip);
    case HA_EFFECT_HOLD_ASK:
        return sizeof(effect->u.hold_ask);
    case HA_EFFECT_HOLD_WORD:
        return sizeof(effect->u.hold_word);
    case HA_EFFECT_PROBE:
    case HA_EFFECT_ACT_CANCEL:
    case HA_EFFECT_VIP_LOOK:
        return sizeof(effect->u.service);
    }
    HA_UNREACHABLE();
}

struct ha_effect *ha_effects_add(struct ha_effects *effects, enum ha_effect_kind kind)
{
    /* The last slot is scratch: what lands there is said again at the next tick. */
    uint32_t at = effects->count < HA_EFFECTS_MAX - 1 ? effects->count++ : HA_EFFECTS_MAX - 1;
    struct ha_effect *effect = &effects->items[at];

    if (at == HA_EFFECTS_MAX - 1)
        effects->overflowed = true;
    memset(effect, 0, offsetof(struct ha_effect, u) + size_of(kind));
    effect->kind = kind;
    return effect;
}
