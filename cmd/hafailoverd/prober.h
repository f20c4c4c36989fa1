/* cmd/hafailoverd/prober.h - one kept-open link to each member, probed each probe_ms.
 *
 * Shell, loop thread. Answers become HA_EVENT_PROBED; a connection that breaks is probed again at
 * once. Only members the replicated configuration names are probed. */
#ifndef HA_CMD_HAFAILOVERD_PROBER_H
#define HA_CMD_HAFAILOVERD_PROBER_H

struct ha_daemon;
struct ha_err;
struct ha_prober; /* opaque */

/* HA_ENOMEM, or what a credentials file lacks. */
int ha_prober_open(struct ha_daemon *daemon, struct ha_prober **ret, struct ha_err *err);

/* Compare with the configuration: links open, close, and change their pace. */
void ha_prober_refresh(struct ha_prober *prober);

/* @cb after the last link has closed; the last touch. */
void ha_prober_close(struct ha_prober *prober, void (*cb)(struct ha_daemon *daemon));

#endif /* HA_CMD_HAFAILOVERD_PROBER_H */
