/* tests/raft/simguard.h - rules of the guard that a simulator is told to do without. */
#ifndef HA_TESTS_RAFT_SIMGUARD_H
#define HA_TESTS_RAFT_SIMGUARD_H

#include <stdbool.h>
#include <stdint.h>

/* "G2" or "G2,G3", also "nudge" and "timeoutnow", as bits of ha_guard_options.off; false: no such
 * rule. */
bool sim_guard_parse(const char *text, uint32_t *ret);

#endif /* HA_TESTS_RAFT_SIMGUARD_H */
