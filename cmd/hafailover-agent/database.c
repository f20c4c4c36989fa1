#include "cmd/hafailover-agent/database.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agents/engine.h"
#include "agents/engines.h"
#include "agents/host/gate.h"
#include "cmd/common/secret.h"
#include "cmd/hafailover-agent/address.h"
#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/database_parts.h"
#include "cmd/hafailover-agent/prepare.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "lib/io/pidwatch.h"

#define PROBE_TIMEOUT_MIN_MS 100u
#define PROBE_TIMEOUT_MAX_MS 2000u
#define LOST_AGAIN_MS 50u
#define PID_BITS 22 /* of pid_max; the rest of a process's name is its start time */

static void probe(struct database *database);

struct database *ha_database_joined(struct ha_databases *databases, uint32_t service)
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
    struct database *database = ha_database_joined(databases, service);

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
    struct database *database = ha_database_joined(databases, act->service);

    if (database != NULL)
        start_act(database, act);
}

void ha_databases_act_cancel(struct ha_databases *databases, uint32_t service)
{
    struct database *database = ha_database_joined(databases, service);

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
    struct database *database = ha_database_joined(databases, service);
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
    struct database *database = ha_database_joined(databases, service);

    if (database != NULL && database->ops->prepare_cancel != NULL)
        database->ops->prepare_cancel(database->link);
}

void ha_databases_poll(struct ha_databases *databases)
{
    uint64_t now_ms = ha_clock_boot_ms();

    for (uint32_t i = 0; i < databases->count; i++) {
        struct database *database = &databases->all[i];

        if (database->lost && now_ms - database->probed_ms >= LOST_AGAIN_MS)
            probe(database);
    }
    ha_databases_poll_gates(databases);
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
