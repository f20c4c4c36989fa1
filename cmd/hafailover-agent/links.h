/* cmd/hafailover-agent/links.h - one kept-open connection to every watcher.
 *
 * Shell, loop thread. Dialled here, with back-off; statuses up, settings, promises and orders down.
 * Something is sent each second, so that either side notices a silent connection. */
#ifndef HA_CMD_HAFAILOVER_AGENT_LINKS_H
#define HA_CMD_HAFAILOVER_AGENT_LINKS_H

#include <stdint.h>

struct ha_host;
struct ha_links; /* opaque */
struct ha_prepared;
struct ha_status;

/* HA_ENOMEM, HA_EIO. */
int ha_links_open(struct ha_host *host, struct ha_links **ret);

/* Put into the next heartbeat. */
void ha_links_status(struct ha_links *links, const struct ha_status *status);
/* Send what was put, to every watcher. The stamp that promises are counted from is taken here. */
void ha_links_flush(struct ha_links *links);

/* An answer to the watcher in that place of the settings; dropped when it is not connected. */
void ha_links_prepared(struct ha_links *links, uint32_t place, const struct ha_prepared *prepared);

/* @cb after the last connection has closed; the last touch. */
void ha_links_close(struct ha_links *links, void (*cb)(struct ha_host *host));

#endif /* HA_CMD_HAFAILOVER_AGENT_LINKS_H */
