/* tests/fuzz/entry.h - log entries out of a fuzzer's bytes: mostly about what there is. */
#ifndef HA_TESTS_FUZZ_ENTRY_H
#define HA_TESTS_FUZZ_ENTRY_H

#include "lib/core/cluster.h"
#include "tests/fuzz/draw.h"

/* Any entry; names, epochs and instances are those of @cluster more often than not. A configuration
 * goes to *config and is borrowed. */
void entry_draw(struct draw *d, const struct ha_cluster *cluster, struct ha_command *ret,
                struct ha_config *config);

#endif /* HA_TESTS_FUZZ_ENTRY_H */
