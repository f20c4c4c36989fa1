/* cmd/hafailover-agent/database.h - the databases of this host: asked, changed, their process
 * watched, their gate moved.
 *
 * Shell, loop thread. A [database SERVICE] section is joined to the service of that name when a
 * watcher sends its settings; from then on it goes by the service's id. */
#ifndef HA_CMD_HAFAILOVER_AGENT_DATABASE_H
#define HA_CMD_HAFAILOVER_AGENT_DATABASE_H

#include <stdint.h>

struct ha_act;
struct ha_databases; /* opaque */
struct ha_effect_gate;
struct ha_err;
struct ha_host;
struct ha_settings;

/* HA_ENOMEM, or what a password file lacks. */
int ha_databases_open(struct ha_host *host, struct ha_databases **ret, struct ha_err *err);

/* Settings from a watcher: join, then tell the core. */
void ha_databases_settings(struct ha_databases *databases, const struct ha_settings *settings);

/* The effects of the same names; a service that is not joined is ignored. */
void ha_databases_probe(struct ha_databases *databases, uint32_t service);
void ha_databases_act(struct ha_databases *databases, const struct ha_act *act);
void ha_databases_act_cancel(struct ha_databases *databases, uint32_t service);
void ha_databases_gate(struct ha_databases *databases, const struct ha_effect_gate *gate);

/* Make its database ready for its stop (engine.h, prepare); ha_prepares_ended comes. HA_ENOENT: not
 * joined; HA_ENOTSUP: its engine has nothing to do; and as prepare. */
int ha_databases_prepare(struct ha_databases *databases, uint32_t service, uint32_t deadline_ms);
void ha_databases_prepare_cancel(struct ha_databases *databases, uint32_t service);

/* Each tick: a gate that could not be closed is closed again. */
void ha_databases_poll(struct ha_databases *databases);

/* After a list of effects: of all gates that it closed, and the core is told. */
void ha_databases_prove_closed(struct ha_databases *databases);

/* At the end of a turn: those of gates that it closed. */
void ha_databases_reset_clients(struct ha_databases *databases);

/* @cb after the last link has closed; the last touch. */
void ha_databases_close(struct ha_databases *databases, void (*cb)(struct ha_host *host));

#endif /* HA_CMD_HAFAILOVER_AGENT_DATABASE_H */
