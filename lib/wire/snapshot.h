/* lib/wire/snapshot.h - the replicated state as bytes, and its digest.
 *
 * Pure, no allocation. Only used slots and bytes are written, in a fixed order, so that equal state
 * gives equal bytes on every watcher, whatever lies in unused memory. */
#ifndef HA_WIRE_SNAPSHOT_H
#define HA_WIRE_SNAPSHOT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/core/cluster.h"

struct ha_err;

#define HA_SNAPSHOT_VERSION 5u
/* No state is larger than this. */
#define HA_SNAPSHOT_SIZE_MAX (8u << 20)

/* Exact size of the encoding; 0 when the state breaks a limit and cannot be encoded. */
size_t ha_snapshot_size(const struct ha_cluster *cluster);

/* HA_EINVAL: the state breaks a limit (a defect). HA_EFULL: @size_max is too small. */
int ha_snapshot_encode(const struct ha_cluster *cluster, void *data, size_t size_max,
                       size_t *ret_size, struct ha_err *err);

/* Replace *cluster by what @data holds; unused memory becomes zero. Checks all that apply relies
 * on: slots, ids, enumerators, counts, strings, order of notices, ring and archive bounds. On
 * failure *cluster is undefined and must not be used: decode into a spare one.
 *   HA_ECORRUPT  damaged, with where and what
 *   HA_ENOTSUP   a snapshot version this program does not know */
int ha_snapshot_decode(const void *data, size_t size, struct ha_cluster *cluster,
                       struct ha_err *err);

/* 64-bit hash of the encoded bytes (ha_hash over what ha_snapshot_encode writes). */
uint64_t ha_snapshot_digest(const struct ha_cluster *cluster);

#endif /* HA_WIRE_SNAPSHOT_H */
