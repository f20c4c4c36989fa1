/* cmd/hafailover-agent/links.h - one kept-open connection to every watcher.
 *
 * Shell, loop thread. Dialled here, with back-off; statuses up, settings, promises and orders down.
 * Something is sent each second, so that either side notices a silent connection. */
#ifndef HA_CMD_HAFAILOVER_AGENT_LINKS_H
#define HA_CMD_HAFAILOVER_AGENT_LINKS_H

struct ha_host;
struct ha_links; /* opaque */
struct ha_status;

/* HA_ENOMEM, HA_EIO. */
int ha_links_open(struct ha_host *host, struct ha_links **ret);

/* Put into the next heartbeat. */
void ha_links_status(struct ha_links *links, const struct ha_status *status);
/* Send what was put, to every watcher. The stamp that promises are counted from is taken here. */
void ha_links_flush(struct ha_links *links);

/* @cb after the last connection has closed; the last touch. */
void ha_links_close(struct ha_links *links, void (*cb)(struct ha_host *host));

#endif /* HA_CMD_HAFAILOVER_AGENT_LINKS_H */
