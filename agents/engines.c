#include "agents/engines.h"

#include "agents/postgresql/engine.h"
#include "agents/redis/engine.h"

#include "lib/base/check.h"

/* One line per engine. */
static const struct ha_engine_ops *const engines[] = {
    &ha_engine_redis,
    &ha_engine_postgresql,
};

const struct ha_engine_ops *ha_engine_find(enum ha_engine engine)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(engines); i++) {
        if (engines[i]->engine == engine)
            return engines[i];
    }
    return NULL;
}

const struct ha_engine_ops *ha_engine_at(size_t index)
{
    return index < HA_ARRAY_LEN(engines) ? engines[index] : NULL;
}
