/* agents/redis/engine.h - Redis as an engine. */
#ifndef HA_AGENTS_REDIS_ENGINE_H
#define HA_AGENTS_REDIS_ENGINE_H

#include "agents/engine.h"

extern const struct ha_engine_ops ha_engine_redis;

#endif /* HA_AGENTS_REDIS_ENGINE_H */
