/* lib/wire/command.h - log entries: struct ha_command to bytes and back.
 *
 * Pure, no allocation. An entry is a version byte, a kind byte, the fields, and zeros up to a
 * multiple of 8 (libraft loses the log otherwise). Equal commands give equal bytes, and what is
 * accepted is exactly what the encoder can write. */
#ifndef HA_WIRE_COMMAND_H
#define HA_WIRE_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include "lib/core/command.h"

struct ha_err;

#define HA_COMMAND_VERSION 3u
/* Every kind but HA_COMMAND_CONFIG stays below this. */
#define HA_COMMAND_SIZE_SMALL 8192u
/* A configuration at every limit and its text; see also ha_command_size. */
#define HA_COMMAND_SIZE_MAX (4u << 20)

/* Exact size of the encoding; 0 when it cannot be encoded. */
size_t ha_command_size(const struct ha_command *command);

/* Encode into @data; *ret_size is a multiple of 8.
 *   HA_EINVAL  an enumerator, count, id or string is out of range
 *   HA_EFULL   @size_max is too small */
int ha_command_encode(const struct ha_command *command, void *data, size_t size_max,
                      size_t *ret_size, struct ha_err *err);

/* Decode one whole entry. For HA_COMMAND_CONFIG the configuration is decoded into *config (its
 * content undefined on failure) and `text` points into @data: both are borrowed by *ret. NULL
 * @config refuses that kind. Unused members of *ret are zero. On failure *ret is untouched:
 *   HA_EPROTO   malformed: truncated, trailing bytes, out of range, unknown kind
 *   HA_ENOTSUP  an entry version this program does not know
 *   HA_EINVAL   a configuration without @config
 * Whether the command makes sense now is for ha_cluster_apply to say. */
int ha_command_decode(const void *data, size_t size, struct ha_command *ret,
                      struct ha_config *config, struct ha_err *err);

#endif /* HA_WIRE_COMMAND_H */
