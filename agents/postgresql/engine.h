/* agents/postgresql/engine.h - PostgreSQL, as agents/engine.h wants it. */
#ifndef HA_AGENTS_POSTGRESQL_ENGINE_H
#define HA_AGENTS_POSTGRESQL_ENGINE_H

#include "agents/engine.h"

extern const struct ha_engine_ops ha_engine_postgresql;

#endif /* HA_AGENTS_POSTGRESQL_ENGINE_H */
