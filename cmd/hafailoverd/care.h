/* cmd/hafailoverd/care.h - data directories made and repaired by hand, with the daemon stopped.
 *
 * Blocking. Each says on standard output what it did and what comes next, and on standard error why
 * it did nothing; the result is an exit code. */
#ifndef HA_CMD_HAFAILOVERD_CARE_H
#define HA_CMD_HAFAILOVERD_CARE_H

#include <stdbool.h>

struct ha_daemon_settings;

/* Make the empty data directory that of this watcher in the set of the backup @path, which was
 * taken after the set had a place for it. */
int ha_care_join(const struct ha_daemon_settings *settings, const char *path);

/* Make the empty data directory the first of a new set, named in [peers], from the backup @path.
 * Without @is_sure nothing is done but to say what would be. */
int ha_care_restore(const struct ha_daemon_settings *settings, const char *path, bool is_sure);

/* Make this watcher's own data directory the first of a new set, named in [peers]. @lost is the
 * list of all others of its set, "w2,w3": they are gone for good. NULL: say what would be. */
int ha_care_recover(const struct ha_daemon_settings *settings, const char *lost);

#endif /* HA_CMD_HAFAILOVERD_CARE_H */
