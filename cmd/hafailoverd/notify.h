/* cmd/hafailoverd/notify.h - the outbox to webhooks, while this watcher leads.
 *
 * Shell, loop thread. At least once, in order per webhook and service; a failed one is tried again
 * with back-off, behind a breaker per webhook. A 2xx is proposed as HA_COMMAND_NOTICE_DONE, and the
 * next one of that service leaves only when that has been applied: so a new leader repeats the last
 * one, and no older. */
#ifndef HA_CMD_HAFAILOVERD_NOTIFY_H
#define HA_CMD_HAFAILOVERD_NOTIFY_H

struct ha_daemon;
struct ha_err;
struct ha_notifier; /* opaque */

/* HA_ENOMEM, or a key file that cannot be read. */
int ha_notifier_open(struct ha_daemon *daemon, struct ha_notifier **ret, struct ha_err *err);

/* Look at the outbox: something was applied, or time has passed. */
void ha_notifier_look(struct ha_notifier *notifier);

/* @cb after the last request has ended; the last touch. */
void ha_notifier_close(struct ha_notifier *notifier, void (*cb)(struct ha_daemon *daemon));

#endif /* HA_CMD_HAFAILOVERD_NOTIFY_H */
