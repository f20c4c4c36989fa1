/* lib/wire/config.h - services.conf: text to struct ha_config and back, and what differs.
 *
 * Pure. The text is INI (libinih: key = value, ';' and '#' comments), strict: every section and key
 * must be known and unique, every value whole and in range. Sections: [defaults], before the
 * services it applies to; [service NAME]; [member SERVICE/NAME], after its service; [webhook NAME].
 * Keys are the field names of lib/core/config.h without their units; durations as "200ms", sizes as
 * "16MiB", loss_budget also "any", rate as "5/10min" or "any", priority also "never", quorum also
 * "majority", vip as "10.0.0.9/24". */
#ifndef HA_WIRE_CONFIG_H
#define HA_WIRE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "lib/core/config.h"

struct ha_err;

#define HA_CONFIG_LINE_MAX 197u /* bytes of one line without its end */

/* Parse @text (@size bytes, no terminator needed) and check it (ha_config_check) for a set of
 * @watchers; 0: not known, which skips the rules about quorums. Allocates only during the call. On
 * failure *ret is untouched and *err reads "line 7: service cache: down_after: ...":
 *   HA_EINVAL  the text is wrong         HA_EFULL  larger than HA_CONFIG_TEXT_MAX
 *   HA_ENOMEM */
int ha_config_parse(const char *text, size_t size, uint32_t watchers, struct ha_config *ret,
                    struct ha_err *err);

/* Canonical text: what is not the default, in a fixed order, ending in a newline. Parsing it gives
 * an equal configuration. Gives *ret_text (free); *ret_size may be NULL. HA_ENOMEM. */
int ha_config_render(const struct ha_config *config, char **ret_text, size_t *ret_size);

/* What changes from @old (NULL: nothing there) to @new, a line per change, in a fixed order:
 *   service cache: down_after 1000ms -> 800ms
 *   member cache/c added: host 10.0.0.3, port 6379
 * @line is borrowed for the call. Returns the number of lines. */
typedef void (*ha_config_diff_cb)(void *arg, const char *line);
uint32_t ha_config_diff(const struct ha_config *old, const struct ha_config *new,
                        ha_config_diff_cb cb, void *arg);

#endif /* HA_WIRE_CONFIG_H */
