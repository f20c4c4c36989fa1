/* agents/engines.h - the engines compiled in.
 *
 * Pure. */
#ifndef HA_AGENTS_ENGINES_H
#define HA_AGENTS_ENGINES_H

#include <stddef.h>

#include "agents/engine.h"

/* NULL for an engine that is not compiled in. */
const struct ha_engine_ops *ha_engine_find(enum ha_engine engine);

/* The engine at @index, NULL past the end: for tests that loop over all of them. */
const struct ha_engine_ops *ha_engine_at(size_t index);

#endif /* HA_AGENTS_ENGINES_H */
