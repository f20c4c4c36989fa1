/* cmd/hafailover-agent/epochs.h - the durable note of epochs seen, given up and held.
 *
 * Shell, loop thread; writes run off the loop, whole and atomic, one at a time, on a thread that no
 * disk of a database can keep. What could not be written is tried again each second: until then
 * nothing is reported that depends on it. */
#ifndef HA_CMD_HAFAILOVER_AGENT_EPOCHS_H
#define HA_CMD_HAFAILOVER_AGENT_EPOCHS_H

#include <stdbool.h>

struct ha_effect_epochs;
struct ha_epochs; /* opaque */
struct ha_err;
struct ha_host;

/* Read the note and load it into host->core; blocking. HA_ECORRUPT: it is there and cannot be
 * understood: this host must not act before a person has looked. HA_EBUSY: another agent runs on
 * it. HA_EIO, HA_ENOMEM. */
int ha_epochs_open(struct ha_host *host, struct ha_epochs **ret, struct ha_err *err);

/* Whether the disk would take a note, as far as can be told without writing one. */
bool ha_epochs_can_write(const struct ha_epochs *epochs);

/* Make it durable, then HA_EVENT_PERSISTED_EPOCHS. */
void ha_epochs_write(struct ha_epochs *epochs, const struct ha_effect_epochs *what);

/* @cb after the write under way has ended; the last touch. */
void ha_epochs_close(struct ha_epochs *epochs, void (*cb)(struct ha_host *host));

#endif /* HA_CMD_HAFAILOVER_AGENT_EPOCHS_H */
