/* cmd/hafailover-agent/prepare.h - watchers ask to have a primary made ready for its stop.
 *
 * Shell, loop thread. Nothing is promised or decided by it and the core does not know: the database
 * does early what would take long while a switchover waits. One at a time for each service. */
#ifndef HA_CMD_HAFAILOVER_AGENT_PREPARE_H
#define HA_CMD_HAFAILOVER_AGENT_PREPARE_H

#include <stdint.h>

struct ha_host;
struct ha_prepare;
struct ha_prepares; /* opaque */

/* HA_ENOMEM. */
int ha_prepares_open(struct ha_host *host, struct ha_prepares **ret);
void ha_prepares_free(struct ha_prepares *prepares);

/* The watcher in that place of the settings asks; it is answered once, unless it is lost. */
void ha_prepares_ask(struct ha_prepares *prepares, uint32_t place, const struct ha_prepare *ask);
/* The database of @service has done it, or not. */
void ha_prepares_ended(struct ha_prepares *prepares, uint32_t service, int code, const char *text);
/* The connection to that watcher has ended: it has given up what it asked for. */
void ha_prepares_lost(struct ha_prepares *prepares, uint32_t place);

#endif /* HA_CMD_HAFAILOVER_AGENT_PREPARE_H */
