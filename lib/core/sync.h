/* lib/core/sync.h - who must have a write before a primary acknowledges it: names, sets, proof.
 *
 * Pure. A standby's name carries the epoch it follows under, so that one that was told to follow a
 * later primary can never acknowledge for an earlier one, whatever it is connected to. */
#ifndef HA_CORE_SYNC_H
#define HA_CORE_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/core/types.h"

#define HA_SYNC_NAME_SIZE 64 /* "<member>_e<epoch>", with terminator */
#define HA_SYNC_NAMES_SIZE 512

/* Whether the standby names of a primary belong to us under this durability. */
bool ha_sync_is_managed(enum ha_engine engine, enum ha_durability durability);

/* The name under which @member replicates in @epoch. */
void ha_sync_name(char ret[HA_SYNC_NAME_SIZE], const char *member, uint64_t epoch);

/* What the primary of @epoch is to be told: ANY need ("a_e5", "b_e5"), by ascending member id; ""
 * where it waits for nobody. @names by member id. */
void ha_sync_names(char ret[HA_SYNC_NAMES_SIZE], const struct ha_sync_set *set,
                   const char (*names)[HA_NAME_SIZE], uint64_t epoch);

/* A number for the names in effect, as ha_sync_names wrote them; 0 for "". */
uint64_t ha_sync_id(const char *names);

#endif /* HA_CORE_SYNC_H */
