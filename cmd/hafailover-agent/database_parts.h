/* cmd/hafailover-agent/database_parts.h - the databases of a host, open to database.c and
 * database_gate.c and to nobody else. */
#ifndef HA_CMD_HAFAILOVER_AGENT_DATABASE_PARTS_H
#define HA_CMD_HAFAILOVER_AGENT_DATABASE_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "agents/engine.h"
#include "cmd/common/secret.h"
#include "cmd/hafailover-agent/resets.h"
#include "lib/core/effect.h"

struct ha_host;
struct ha_pidwatch;

struct database {
    struct ha_databases *databases;
    const struct ha_database_settings *section;
    char password[HA_SECRET_TEXT_SIZE];
    char replication_password[HA_SECRET_TEXT_SIZE];
    uint32_t service; /* 0: not joined */
    uint32_t probe_timeout_ms;
    const struct ha_engine_ops *ops;
    struct ha_link *link; /* NULL: not joined */
    bool probing;
    bool lost;          /* the connection, soon after a probe: it is asked again a little later */
    uint64_t probed_ms; /* when the last probe began, boot clock */
    bool acting, act_waits;
    struct ha_act act; /* the one that waits for the canceled one to end */
    uint64_t gate_ms;  /* the deadline that is set, boot clock; 0: closed, or not known */
    bool gate_vip;
    uint64_t settle_ms; /* when the slow half of the gate is due, 0: not */
    bool settle_reset;
    bool close_owed;       /* the gate must be closed and is not, as far as is known */
    bool unproven;         /* it has been closed in this turn, nothing more is known */
    uint64_t close_number; /* of the last close that was ordered */
    bool reset_owed;
    uint32_t preparing; /* for this service, it may be joined to another one since */
    bool process_told;  /* the core knows of some process */
    int32_t pid;        /* watched; 0: none */
    uint64_t pid_start;
    struct ha_pidwatch *watch;
};

struct ha_databases {
    struct ha_host *host;
    uint32_t count;
    struct database *all;
    uint32_t places[HA_SERVICES_MAX]; /* by service id, modulo: where it was joined last */
    struct ha_resets resets;
    bool unproven; /* some are */
    unsigned open_parts;
    void (*close_cb)(struct ha_host *host);
};

/* NULL: it is not joined. */
struct database *ha_database_joined(struct ha_databases *databases, uint32_t service);

/* The gates' part of ha_databases_poll. */
void ha_databases_poll_gates(struct ha_databases *databases);

#endif /* HA_CMD_HAFAILOVER_AGENT_DATABASE_PARTS_H */
