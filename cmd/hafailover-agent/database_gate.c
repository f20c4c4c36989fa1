/* The gates of the databases: what the core orders of them, and the proof that it is so. */
#include <inttypes.h>
#include <signal.h>

#include "agents/host/gate.h"
#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/database.h"
#include "cmd/hafailover-agent/database_parts.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

#define NS_PER_MS 1000000u
#define RENEW_MIN_MS 50u
#define SETTLE_MS 30u /* after a gate moved: by then what waited for it has been said */

static void tell_closed(struct database *database)
{
    struct ha_event event = {.kind = HA_EVENT_GATE_CLOSED};

    database->close_owed = false;
    event.u.gate_closed = (struct ha_event_gate_closed){.service = database->service,
                                                        .number = database->close_number};
    ha_host_step(database->databases->host, &event);
}

/* A primary that may not be one any more: its epoch or its lease has ended. */
static bool must_end(const struct database *database)
{
    const struct ha_held *held = ha_agent_held(database->databases->host->core, database->service);

    return held != NULL && (held->giving_up || database->reset_owed) && database->pid != 0 &&
           held->sample.role == HA_ROLE_PRIMARY;
}

/* The gate is closed already, which stops clients of the network at the very moment; whoever speaks
 * to the server on this host is stopped by its end. */
static void end_local_clients(struct database *database)
{
    if (database->ops->halt == NULL || !must_end(database))
        return;
    HA_LOG(HA_LOG_WARN, "database-ended",
           "service=%s pid=%d why=\"its lease is over, and clients on this host pass no gate\"",
           database->section->service, (int)database->pid);
    database->ops->halt(database->link, database->pid);
}

/* Without a gate in the kernel the end of the process is the only fence. It is seen by the watch on
 * it. */
static void close_by_process(struct database *database)
{
    if (!must_end(database)) {
        database->reset_owed = false;
        tell_closed(database);
        return;
    }
    HA_LOG(HA_LOG_ERROR, "database-killed",
           "service=%s pid=%d why=\"no gate in the kernel can hold it back\"",
           database->section->service, (int)database->pid);
    if (database->ops->halt != NULL)
        database->ops->halt(database->link, database->pid);
    else if (kill(database->pid, SIGKILL) != 0)
        HA_LOG(HA_LOG_ERROR, "database-not-killed", "service=%s pid=%d", database->section->service,
               (int)database->pid);
}

static void not_closed(const struct database *database, const struct ha_err *err)
{
    HA_LOG(HA_LOG_ERROR, "gate-not-closed", "service=%s port=%u why=%s", database->section->service,
           database->section->port, HA_QUOTE(err->text));
}

/* At once, in the order of the effects; what it takes to be sure of it is done for all that were
 * closed in one turn, since the kernel is asked about every port of the host. */
static void close_gate(struct database *database)
{
    struct ha_gates *gates = database->databases->host->gates;
    uint16_t port = database->section->port;
    struct ha_err err = {0};
    int code;

    database->close_owed = true;
    database->gate_ms = 0;
    if (ha_gates_class(gates) == HA_GATE_PROCESS) {
        close_by_process(database);
        return;
    }
    code = ha_gates_shut_unproven(gates, port, &err);
    if (code == HA_ENOENT && ha_gates_guard(gates, port, &err) == HA_OK)
        code = ha_gates_shut_unproven(gates, port, &err);
    if (code != HA_OK) {
        not_closed(database, &err);
        return;
    }
    database->unproven = database->databases->unproven = true;
}

static void prove_closed(struct database *database)
{
    uint16_t port = database->section->port;
    struct ha_err err = {0};

    if (ha_gates_prove_shut(database->databases->host->gates, port, &err) != HA_OK) {
        not_closed(database, &err);
        return;
    }
    database->gate_vip = false;
    database->settle_ms = ha_clock_boot_ms() + SETTLE_MS;
    database->settle_reset = database->settle_reset || database->reset_owed;
    end_local_clients(database);
    if (database->reset_owed) {
        database->reset_owed = false;
        ha_resets_owe(&database->databases->resets, port, ha_clock_boot_ms());
    }
    tell_closed(database);
}

void ha_databases_prove_closed(struct ha_databases *databases)
{
    struct ha_err err = {0};
    unsigned found;
    int code;

    if (!databases->unproven)
        return;
    databases->unproven = false;
    code = ha_gates_check(databases->host->gates, &found, &err);
    for (uint32_t i = 0; i < databases->count; i++) {
        struct database *database = &databases->all[i];

        if (!database->unproven)
            continue;
        database->unproven = false;
        if (code == HA_OK)
            prove_closed(database);
        else
            not_closed(database, &err);
    }
}

static void set_gate(struct database *database, uint64_t deadline_ms)
{
    struct ha_gates *gates = database->databases->host->gates;
    const struct ha_held *held = ha_agent_held(database->databases->host->core, database->service);
    struct ha_gate_ask ask = {
        .deadline_ns = deadline_ms * NS_PER_MS,
        .port = database->section->port,
        .with_vip = held != NULL && held->epoch != HA_EPOCH_NONE,
    };
    struct ha_err err = {0};
    int code;

    database->close_owed = database->unproven = false;
    if (ha_gates_class(gates) == HA_GATE_PROCESS)
        return;
    /* Renewals in quick succession wait for each other in the kernel; one that adds little to what
     * is left anyway is left out, which only closes the gate earlier. */
    if (ask.with_vip == database->gate_vip && deadline_ms >= database->gate_ms &&
        deadline_ms - database->gate_ms < RENEW_MIN_MS &&
        database->gate_ms > ha_clock_boot_ms() + RENEW_MIN_MS)
        return;
    database->gate_ms = 0;
    ha_resets_before(&database->databases->resets, ask.port);
    code = ha_gates_set(gates, &ask, NULL, &err);
    if (code == HA_ENOENT && ha_gates_guard(gates, ask.port, &err) == HA_OK)
        code = ha_gates_set(gates, &ask, NULL, &err);
    if (code != HA_OK)
        HA_LOG(HA_LOG_ERROR, "gate-not-set", "service=%s port=%u why=%s",
               database->section->service, ask.port, HA_QUOTE(err.text));
    else
        database->gate_ms = deadline_ms;
    database->gate_vip = ask.with_vip;
    database->settle_reset = false;
    if (database->settle_ms == 0)
        database->settle_ms = ha_clock_boot_ms() + SETTLE_MS;
}

void ha_databases_gate(struct ha_databases *databases, const struct ha_effect_gate *gate)
{
    struct database *database = ha_database_joined(databases, gate->service);

    if (database == NULL)
        return;
    if (gate->deadline_ms != 0) {
        set_gate(database, gate->deadline_ms);
        return;
    }
    /* What an earlier close of this turn was to do is done with the proof, which is yet to come. */
    database->reset_owed = gate->reset_clients || (database->unproven && database->reset_owed);
    database->close_number = gate->number;
    close_gate(database);
}

static void settle_gate(struct database *database)
{
    struct ha_err err = {0};

    database->settle_ms = 0;
    if (ha_gates_settle(database->databases->host->gates, database->section->port,
                        database->gate_vip, database->settle_reset, &err) != HA_OK)
        HA_LOG(HA_LOG_WARN, "gate-not-settled", "service=%s why=%s", database->section->service,
               HA_QUOTE(err.text));
    database->settle_reset = false;
}

void ha_databases_reset_clients(struct ha_databases *databases)
{
    ha_resets_poll(&databases->resets, ha_clock_boot_ms());
}

void ha_databases_poll_gates(struct ha_databases *databases)
{
    uint64_t now_ms = ha_clock_boot_ms();

    for (uint32_t i = 0; i < databases->count; i++) {
        struct database *database = &databases->all[i];

        if (database->settle_ms != 0 && now_ms >= database->settle_ms)
            settle_gate(database);
        if (database->link != NULL && database->close_owed)
            close_gate(database);
    }
    ha_databases_prove_closed(databases);
}
