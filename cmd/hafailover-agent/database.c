#include "cmd/hafailover-agent/database.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agents/engine.h"
#include "agents/engines.h"
#include "agents/host/gate.h"
#include "cmd/common/secret.h"
#include "cmd/hafailover-agent/address.h"
#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/prepare.h"
#include "cmd/hafailover-agent/resets.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "lib/io/pidwatch.h"

#define NS_PER_MS 1000000u
#define PROBE_TIMEOUT_MIN_MS 100u
#define PROBE_TIMEOUT_MAX_MS 2000u
#define RENEW_MIN_MS 50u
#define SETTLE_MS 30u /* after a gate moved: by then what waited for it has been said */
#define LOST_AGAIN_MS 50u
#define PID_BITS 22 /* of pid_max; the rest of a process's name is its start time */

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
    unsigned open_parts;
    void (*close_cb)(struct ha_host *host);
};

static void probe(struct database *database);

static struct database *joined(struct ha_databases *databases, uint32_t service)
{
    struct database *last = &databases->all[databases->places[service % HA_SERVICES_MAX]];

    if (last->service == service && last->link != NULL)
        return last;
    for (uint32_t i = 0; i < databases->count; i++) {
        if (databases->all[i].service == service && databases->all[i].link != NULL)
            return &databases->all[i];
    }
    return NULL;
}

/* The process */

static void tell_process(struct database *database, enum ha_process process)
{
    struct ha_event event = {.kind = HA_EVENT_PROCESS};

    database->process_told = true;
    event.u.process = (struct ha_event_process){
        .service = database->service, .process = process, .pid_start = database->pid_start};
    ha_host_step(database->databases->host, &event);
}

static void unwatch(struct database *database)
{
    if (database->watch != NULL)
        ha_pidwatch_close(database->watch, NULL, NULL);
    database->watch = NULL;
    database->pid = 0;
}

static void on_exit_of(void *ctx, pid_t pid)
{
    struct database *database = ctx;

    HA_LOG(HA_LOG_WARN, "database-gone", "service=%s pid=%d", database->section->service, (int)pid);
    unwatch(database);
    tell_process(database, HA_PROCESS_GONE);
    if (database->ops->halt != NULL && database->link != NULL)
        database->ops->halt(database->link, 0); /* its children are not gone yet */
}

/* Watch @pid from now on; false: it is gone already, or its name cannot be had. */
static bool watch(struct database *database, int32_t pid)
{
    struct ha_host *host = database->databases->host;
    uint64_t before, after;

    unwatch(database);
    if (ha_pid_start_time(pid, &before) != HA_OK ||
        ha_pidwatch_open(&database->watch, host->uv, pid, on_exit_of, database) != HA_OK) {
        database->watch = NULL;
        return false;
    }
    /* A pid is used again: both looks must show one process for the watch to be of that one. */
    if (ha_pid_start_time(pid, &after) != HA_OK || before != after) {
        unwatch(database);
        return false;
    }
    database->pid = pid;
    database->pid_start = (before << PID_BITS) | (uint32_t)pid;
    return true;
}

/* Probes */

static void tell_sample(struct database *database, const struct ha_sample *sample)
{
    struct ha_event event = {.kind = HA_EVENT_SAMPLED};

    event.u.sampled = (struct ha_event_sampled){
        .service = database->service, .pid_start = database->pid_start, .sample = sample};
    ha_host_step(database->databases->host, &event);
}

static void take_answer(struct database *database, const struct ha_sample *sample, int32_t pid)
{
    bool first = !database->process_told;

    if (sample->answer != HA_ANSWER_OK || pid <= 0 || pid == database->pid) {
        tell_sample(database, sample);
        return;
    }
    if (!watch(database, pid)) {
        HA_LOG(HA_LOG_WARN, "database-not-watched", "service=%s pid=%d", database->section->service,
               (int)pid);
        return;
    }
    HA_LOG(HA_LOG_INFO, "database-found", "service=%s pid=%d", database->section->service,
           (int)pid);
    /* A database that was there before this agent is met, not started: what it says comes first,
     * so that an agent that was only restarted does not close its gate. */
    if (first)
        tell_sample(database, sample);
    tell_process(database, HA_PROCESS_RUNNING);
    if (!first)
        tell_sample(database, sample);
}

static void on_probed(void *data, const struct ha_probed *probed)
{
    struct database *database = data;

    database->probing = false;
    if (database->link == NULL || probed->code != HA_OK)
        return; /* closing */
    take_answer(database, &probed->sample, probed->pid);
}

static void probe(struct database *database)
{
    if (database->link == NULL || database->probing)
        return;
    if (database->ops->probe(database->link, database->probe_timeout_ms, on_probed) == HA_OK)
        database->probing = true;
    database->lost = false;
    database->probed_ms = ha_clock_boot_ms();
}

/* A broken connection is a hint that is followed at once; but a server that hangs up on each probe
 * would be asked without end. */
static void on_lost(void *data, enum ha_answer how, const char *text)
{
    struct database *database = data;

    HA_LOG(HA_LOG_DEBUG, "database-connection-lost", "service=%s how=%s text=%s",
           database->section->service, ha_answer_text(how), HA_QUOTE(text));
    if (ha_clock_boot_ms() - database->probed_ms < LOST_AGAIN_MS)
        database->lost = true;
    else
        probe(database);
}

void ha_databases_probe(struct ha_databases *databases, uint32_t service)
{
    struct database *database = joined(databases, service);

    if (database != NULL)
        probe(database);
}

/* Acts */

static void start_act(struct database *database, const struct ha_act *act);

static void tell_acted(struct database *database, uint32_t ticket, int code, const char *text,
                       const struct ha_sample *sample)
{
    struct ha_event event = {.kind = HA_EVENT_ACTED};

    event.u.acted = (struct ha_event_acted){.service = database->service,
                                            .ticket = ticket,
                                            .code = code,
                                            .text = text,
                                            .sample = sample};
    ha_host_step(database->databases->host, &event);
}

static void on_acted(void *data, const struct ha_acted *acted)
{
    struct database *database = data;

    database->acting = false;
    if (database->link == NULL)
        return; /* closing */
    HA_LOG(acted->code == HA_OK ? HA_LOG_INFO : HA_LOG_WARN, "acted",
           "service=%s ticket=%u result=%s text=%s", database->section->service, acted->ticket,
           ha_code_text(acted->code), HA_QUOTE(acted->text));
    tell_acted(database, acted->ticket, acted->code,
               acted->text[0] != '\0' ? acted->text : ha_code_text(acted->code),
               acted->sampled ? &acted->sample : NULL);
    if (database->act_waits) {
        struct ha_act next = database->act;

        database->act_waits = false;
        start_act(database, &next);
    }
}

static void start_act(struct database *database, const struct ha_act *act)
{
    int code;

    if (database->acting) { /* the canceled one has not ended yet */
        database->act = *act;
        database->act_waits = true;
        return;
    }
    HA_LOG(HA_LOG_INFO, "act", "service=%s ticket=%u kind=%s epoch=%" PRIu64 " upstream=%s:%u",
           database->section->service, act->ticket, ha_order_kind_text(act->kind), act->epoch,
           act->upstream_host, (unsigned)act->upstream_port);
    code = database->ops->act(database->link, act, on_acted);
    if (code == HA_OK)
        database->acting = true;
    else
        tell_acted(database, act->ticket, code, ha_code_text(code), NULL);
}

void ha_databases_act(struct ha_databases *databases, const struct ha_act *act)
{
    struct database *database = joined(databases, act->service);

    if (database != NULL)
        start_act(database, act);
}

void ha_databases_act_cancel(struct ha_databases *databases, uint32_t service)
{
    struct database *database = joined(databases, service);

    if (database == NULL)
        return;
    database->act_waits = false;
    if (database->acting)
        database->ops->act_cancel(database->link);
}

/* Making ready */

static void on_prepared(void *data, int code, const char *text)
{
    const struct database *database = data;

    ha_prepares_ended(database->databases->host->prepares, database->preparing, code, text);
}

int ha_databases_prepare(struct ha_databases *databases, uint32_t service, uint32_t deadline_ms)
{
    struct database *database = joined(databases, service);
    int code;

    if (database == NULL)
        return HA_ENOENT;
    if (database->ops->prepare == NULL)
        return HA_ENOTSUP;
    code = database->ops->prepare(database->link, deadline_ms, on_prepared);
    if (code == HA_OK)
        database->preparing = service;
    return code;
}

void ha_databases_prepare_cancel(struct ha_databases *databases, uint32_t service)
{
    struct database *database = joined(databases, service);

    if (database != NULL && database->ops->prepare_cancel != NULL)
        database->ops->prepare_cancel(database->link);
}

/* Gate */

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
    code = ha_gates_shut(gates, port, &err);
    if (code == HA_ENOENT && ha_gates_guard(gates, port, &err) == HA_OK)
        code = ha_gates_shut(gates, port, &err);
    if (code != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "gate-not-closed", "service=%s port=%u why=%s",
               database->section->service, port, HA_QUOTE(err.text));
        return;
    }
    database->gate_vip = false;
    database->settle_ms = ha_clock_boot_ms() + SETTLE_MS;
    database->settle_reset = database->settle_reset || database->reset_owed;
    end_local_clients(database);
    if (database->reset_owed) {
        database->reset_owed = false;
        ha_resets_owe(&database->databases->resets, port);
    }
    tell_closed(database);
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

    database->close_owed = false;
    if (ha_gates_class(gates) == HA_GATE_PROCESS)
        return;
    /* Renewals in quick succession wait for each other in the kernel; one that adds little to what
     * is left anyway is left out, which only closes the gate earlier. */
    if (ask.with_vip == database->gate_vip && deadline_ms >= database->gate_ms &&
        deadline_ms - database->gate_ms < RENEW_MIN_MS &&
        database->gate_ms > ha_clock_boot_ms() + RENEW_MIN_MS)
        return;
    database->gate_ms = 0;
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
    struct database *database = joined(databases, gate->service);

    if (database == NULL)
        return;
    if (gate->deadline_ms != 0) {
        set_gate(database, gate->deadline_ms);
        return;
    }
    database->reset_owed = gate->reset_clients;
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
    ha_resets_flush(&databases->resets);
}

void ha_databases_poll(struct ha_databases *databases)
{
    uint64_t now_ms = ha_clock_boot_ms();

    for (uint32_t i = 0; i < databases->count; i++) {
        struct database *database = &databases->all[i];

        if (database->settle_ms != 0 && now_ms >= database->settle_ms)
            settle_gate(database);
        if (database->link != NULL && database->close_owed)
            close_gate(database);
        if (database->lost && now_ms - database->probed_ms >= LOST_AGAIN_MS)
            probe(database);
    }
}

/* Joining */

static int open_link(struct database *database, enum ha_engine engine, struct ha_err *err)
{
    const struct ha_database_settings *section = database->section;
    struct ha_link_spec spec = {
        .loop = database->databases->host->uv,
        .data = database,
        .lost_cb = on_lost,
        .socket_path = section->socket,
        .host = section->host,
        .port = section->port,
        .user = section->user,
        .password = database->password,
        .config_file = section->config_file,
        .data_dir = section->data_dir,
        .is_local = true,
        .bin_dir = section->bin_dir,
        .os_user = section->os_user,
        .start_command = section->start_command,
        .stop_command = section->stop_command,
        .replication_user = section->replication_user,
        .replication_password = database->replication_password,
    };

    database->ops = ha_engine_find(engine);
    if (database->ops == NULL)
        return ha_err_set(err, HA_ENOTSUP, "this program has no engine %s", ha_engine_text(engine));
    return database->ops->open(&spec, &database->link, err);
}

static bool join(struct database *database, const struct ha_settings *settings)
{
    struct ha_err err = {0};
    uint32_t timeout_ms = settings->hang_after_ms / 2;

    if (settings->port != database->section->port) {
        HA_LOG(HA_LOG_ERROR, "settings-refused",
               "service=%s why=\"the service says port %u, this host guards port %u\"",
               settings->service_name, settings->port, database->section->port);
        return false;
    }
    if (timeout_ms < PROBE_TIMEOUT_MIN_MS)
        timeout_ms = PROBE_TIMEOUT_MIN_MS;
    database->probe_timeout_ms =
        timeout_ms > PROBE_TIMEOUT_MAX_MS ? PROBE_TIMEOUT_MAX_MS : timeout_ms;
    if (database->link == NULL && open_link(database, settings->engine, &err) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "database-not-opened", "service=%s why=%s", settings->service_name,
               HA_QUOTE(err.text));
        return false;
    }
    if (database->service != settings->service) {
        HA_LOG(HA_LOG_INFO, "database-joined", "service=%s member=%s", settings->service_name,
               settings->member_name);
        database->service = settings->service;
        database->databases->places[settings->service % HA_SERVICES_MAX] =
            (uint32_t)(database - database->databases->all);
        database->process_told = false;
        unwatch(database);
    }
    return true;
}

void ha_databases_settings(struct ha_databases *databases, const struct ha_settings *settings)
{
    struct ha_host *host = databases->host;
    const struct ha_held *held = ha_agent_held(host->core, settings->service);
    struct ha_event event = {.kind = HA_EVENT_SETTINGS};
    struct database *database = NULL;

    /* The address and the join follow settings before the core does. */
    if (ha_agent_is_outdated(host->core, settings)) {
        HA_LOG(HA_LOG_DEBUG, "settings-outdated", "service=%u version=%" PRIu64, settings->service,
               settings->config_version);
        return;
    }
    event.u.settings = settings;
    if (settings->gone) {
        /* Also where another service has its database already. */
        if (held != NULL && held->settings.port != 0)
            ha_host_step(host, &event);
        return;
    }
    for (uint32_t i = 0; i < databases->count; i++) {
        if (strcmp(databases->all[i].section->service, settings->service_name) == 0)
            database = &databases->all[i];
    }
    if (database == NULL) {
        HA_LOG(HA_LOG_WARN, "settings-ignored", "service=%s why=\"no [database] of that name\"",
               settings->service_name);
        return;
    }
    if (!join(database, settings))
        return;
    ha_addresses_settings(host->addresses, settings);
    ha_host_step(host, &event);
}

static void part_closed(struct ha_databases *databases)
{
    void (*cb)(struct ha_host * host) = databases->close_cb;
    struct ha_host *host = databases->host;

    assert(databases->open_parts > 0);
    if (--databases->open_parts > 0)
        return;
    explicit_bzero(databases->all, databases->count * sizeof(databases->all[0]));
    free(databases->all);
    free(databases);
    cb(host);
}

static void on_link_closed(void *data)
{
    struct database *database = data;

    part_closed(database->databases);
}

static void on_watch_closed(void *ctx)
{
    part_closed(ctx);
}

void ha_databases_close(struct ha_databases *databases, void (*cb)(struct ha_host *host))
{
    databases->close_cb = cb;
    databases->open_parts = 1;
    ha_resets_flush(&databases->resets); /* there is no other turn */
    for (uint32_t i = 0; i < databases->count; i++) {
        struct database *database = &databases->all[i];
        struct ha_link *link = database->link;

        database->link = NULL;
        if (link != NULL) {
            databases->open_parts++;
            database->ops->close(link, on_link_closed);
        }
        if (database->watch != NULL) {
            databases->open_parts++;
            ha_pidwatch_close(database->watch, on_watch_closed, databases);
            database->watch = NULL;
        }
    }
    part_closed(databases);
}

int ha_databases_open(struct ha_host *host, struct ha_databases **ret, struct ha_err *err)
{
    const struct ha_agent_settings *settings = host->settings;
    struct ha_databases *databases = calloc(1, sizeof(*databases));
    int code = HA_OK;

    if (databases != NULL)
        databases->all = calloc(settings->database_count + 1, sizeof(databases->all[0]));
    if (databases == NULL || databases->all == NULL) {
        free(databases);
        return ha_err_set(err, HA_ENOMEM, "no memory for the databases");
    }
    databases->host = host;
    databases->count = settings->database_count;
    for (uint32_t i = 0; i < databases->count && code == HA_OK; i++) {
        struct database *database = &databases->all[i];

        database->databases = databases;
        database->section = &settings->databases[i];
        if (database->section->password_file[0] != '\0')
            code = ha_secret_text_read(database->section->password_file, database->password, err);
        if (code == HA_OK && database->section->replication_password_file[0] != '\0')
            code = ha_secret_text_read(database->section->replication_password_file,
                                       database->replication_password, err);
        if (code != HA_OK)
            (void)ha_err_prefix(err, code, "[database %s]", database->section->service);
    }
    if (code != HA_OK) {
        free(databases->all);
        free(databases);
        return code;
    }
    *ret = databases;
    return HA_OK;
}
