#include "cmd/hafailover-agent/daemon.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "agents/host/gate.h"
#include "cmd/common/secret.h"
#include "cmd/hafailover-agent/address.h"
#include "cmd/hafailover-agent/database.h"
#include "cmd/hafailover-agent/dispatch.h"
#include "cmd/hafailover-agent/epochs.h"
#include "cmd/hafailover-agent/gate.h"
#include "cmd/hafailover-agent/instance.h"
#include "cmd/hafailover-agent/known.h"
#include "cmd/hafailover-agent/links.h"
#include "cmd/hafailover-agent/peers.h"
#include "cmd/hafailover-agent/prepare.h"
#include "cmd/hafailover-agent/serve.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "lib/io/loop.h"
#include "lib/io/notify.h"
#include "lib/io/tls.h"

#define TICK_MAX_MS 100u
#define SECOND_MS 1000u

void ha_host_step(struct ha_host *host, struct ha_event *event)
{
    int code;

    event->now_ms = ha_clock_boot_ms();
    event->wall_ms = ha_clock_wall_ms();
    code = ha_agent_step(host->core, event, host->backlog.now);
    ha_backlog_stepped(&host->backlog);
    if (code != HA_OK)
        HA_LOG(HA_LOG_ERROR, "event-refused", "kind=%s why=%s", ha_event_kind_text(event->kind),
               ha_code_text(code));
}

static void on_tick(uv_timer_t *timer)
{
    struct ha_host *host = timer->data;
    struct ha_event event = {.kind = HA_EVENT_TICK};

    ha_host_step(host, &event);
    ha_databases_poll(host->databases);
}

static void set_tick(struct ha_host *host)
{
    uint64_t now_ms = ha_clock_boot_ms();
    uint64_t wake_ms = ha_agent_wake_ms(host->core);
    uint64_t wait_ms = wake_ms > now_ms ? wake_ms - now_ms : 0;

    uv_update_time(host->uv);
    (void)uv_timer_start(&host->tick, on_tick, wait_ms < TICK_MAX_MS ? wait_ms : TICK_MAX_MS, 0);
}

/* Once per loop turn, with the core not on the stack. */
static void on_drain(void *ctx)
{
    struct ha_host *host = ctx;

    if (host->stopping || !host->timers_open)
        return;
    if (ha_host_dispatch(host))
        ha_loop_wake(host->loop);
    ha_databases_reset_clients(host->databases);
    set_tick(host);
}

/* What the kernel really has: a flushed ruleset or a removed address is put back. */
static void on_second(uv_timer_t *timer)
{
    struct ha_host *host = timer->data;
    enum ha_gate before = ha_gates_class(host->gates);
    unsigned found = 0;
    struct ha_err err = {0};

    if (ha_gates_check(host->gates, &found, &err) != HA_OK)
        HA_LOG(HA_LOG_ERROR, "gate-not-checked", "why=%s", HA_QUOTE(err.text));
    else if (found != 0)
        HA_LOG(HA_LOG_ERROR, "gate-was-damaged", "found=%#x state=%s", found,
               HA_QUOTE(ha_gates_text(host->gates)));
    host->core->gate = ha_gates_class(host->gates);
    if (host->core->gate != before)
        HA_LOG(HA_LOG_ERROR, "gate-class-changed", "class=%s", ha_gate_text(host->core->gate));
    host->core->noteless = !ha_epochs_can_write(host->epochs);
    ha_addresses_check(host->addresses);
    ha_known_poll(host->known);
}

static void open_timers(struct ha_host *host)
{
    (void)uv_timer_init(host->uv, &host->tick); /* cannot fail */
    (void)uv_timer_init(host->uv, &host->second);
    host->tick.data = host;
    host->second.data = host;
    (void)uv_timer_start(&host->second, on_second, SECOND_MS, SECOND_MS);
    host->timers_open = true;
}

static int open_core(struct ha_host *host, uint64_t instance)
{
    host->core = calloc(1, sizeof(*host->core));
    if (host->core == NULL || ha_backlog_open(&host->backlog) != HA_OK)
        return HA_ENOMEM;
    ha_agent_init(host->core, instance, ha_gates_class(host->gates));
    return HA_OK;
}

static int open_all(struct ha_host *host, struct ha_err *err)
{
    char name[HA_TLS_NAME_SIZE];
    uint64_t instance;
    int code;

    (void)ha_text_format(name, sizeof(name), "agent/%s", host->settings->name);
    code = ha_security_tls_new(&host->settings->security, name, false, &host->tls, err);
    if (code == HA_OK)
        code = ha_gate_open(host->settings, &host->gates, err);
    if (code != HA_OK)
        return code;
    instance = ha_gates_instance(host->gates);
    if (ha_gates_class(host->gates) == HA_GATE_PROCESS)
        code = ha_instance_keep(host->settings->state_dir, &instance, err);
    if (code != HA_OK)
        return code;
    HA_LOG(HA_LOG_INFO, "gate", "class=%s instance=%016" PRIx64 " text=%s",
           ha_gate_text(ha_gates_class(host->gates)), instance,
           HA_QUOTE(ha_gates_text(host->gates)));
    code = open_core(host, instance);
    if (code != HA_OK)
        return ha_err_set(err, code, "no memory");
    code = ha_epochs_open(host, &host->epochs, err);
    if (code == HA_OK)
        code = ha_addresses_open(host, &host->addresses, err);
    if (code == HA_OK)
        code = ha_databases_open(host, &host->databases, err);
    if (code != HA_OK)
        return code;
    code = ha_prepares_open(host, &host->prepares);
    if (code == HA_OK)
        code = ha_links_open(host, &host->links);
    if (code != HA_OK)
        return ha_err_set(err, code, "links: %s", ha_code_text(code));
    code = ha_peers_open(host, &host->peers);
    if (code == HA_OK)
        code = ha_known_open(host, &host->known);
    if (code != HA_OK)
        return ha_err_set(err, code, "other agents: %s", ha_code_text(code));
    code = ha_agent_serve_open(host, &host->serve);
    if (code != HA_OK)
        HA_LOG(HA_LOG_WARN, "api-not-served", "why=%s", ha_code_text(code));
    open_timers(host);
    return HA_OK;
}

static void on_part_closed(struct ha_host *host)
{
    assert(host->open_parts > 0);
    host->open_parts--;
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

/* The gate and the address stay as they are: they end with the lease, by the kernel's own clock. */
static void stop(struct ha_host *host, int exit_code)
{
    if (host->stopping)
        return;
    host->stopping = true;
    host->exit_code = exit_code;
    (void)ha_notify("STOPPING=1");
    host->open_parts = (host->timers_open ? 2u : 0u) + (host->links != NULL) +
                       (host->databases != NULL) + (host->addresses != NULL) +
                       (host->epochs != NULL) + (host->serve != NULL) + (host->peers != NULL) +
                       (host->known != NULL);
    if (host->timers_open) {
        uv_close((uv_handle_t *)&host->tick, on_timer_closed);
        uv_close((uv_handle_t *)&host->second, on_timer_closed);
    }
    if (host->serve != NULL)
        ha_agent_serve_close(host->serve, on_part_closed);
    if (host->links != NULL)
        ha_links_close(host->links, on_part_closed);
    if (host->peers != NULL)
        ha_peers_close(host->peers, on_part_closed);
    if (host->known != NULL)
        ha_known_close(host->known, on_part_closed);
    if (host->databases != NULL)
        ha_databases_close(host->databases, on_part_closed);
    if (host->addresses != NULL)
        ha_addresses_close(host->addresses, on_part_closed);
    if (host->epochs != NULL)
        ha_epochs_close(host->epochs, on_part_closed);
}

static void on_signal(void *ctx, int signal)
{
    HA_LOG(HA_LOG_INFO, "stopping", "signal=%d", signal);
    stop(ctx, 0);
}

static void on_reload(void *ctx)
{
    const struct ha_host *host = ctx;

    ha_security_reload(host->tls);
}

static void free_all(struct ha_host *host)
{
    ha_gates_close(host->gates);
    ha_tls_unref(host->tls);
    ha_prepares_free(host->prepares);
    free(host->core);
    ha_backlog_free(&host->backlog);
}

/* A database whose disk hangs keeps its threads until that is over: the others go on with theirs.
 */
static void make_threads(const struct ha_agent_settings *settings)
{
    enum { OWN = 4, OF_ONE = 6, MOST = 64 };
    uint32_t count = OWN + OF_ONE * settings->database_count;
    char text[16];

    (void)ha_text_format(text, sizeof(text), "%" PRIu32, count < MOST ? count : MOST);
    (void)setenv("UV_THREADPOOL_SIZE", text, 0); /* without memory the usual four */
}

int ha_host_run(const struct ha_agent_settings *settings)
{
    struct ha_loop loop;
    struct ha_host host = {.settings = settings, .loop = &loop, .uv = &loop.uv};
    struct ha_loop_hook hook = {.cb = on_drain, .ctx = &host};
    struct ha_err err = {0};

    make_threads(settings);
    if (ha_loop_init(&loop) != HA_OK)
        return 1;
    ha_loop_on_drain(&loop, &hook);
    if (ha_loop_on_stop(&loop, on_signal, &host) != HA_OK ||
        ha_loop_on_reload(&loop, on_reload, &host) != HA_OK || open_all(&host, &err) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "start-failed", "why=%s", HA_QUOTE(err.text));
        stop(&host, 1);
    } else {
        HA_LOG(HA_LOG_INFO, "started", "name=%s version=%s", settings->name, HA_VERSION);
        (void)ha_notify("READY=1");
    }
    ha_loop_run(&loop);
    if (ha_loop_fini(&loop) != HA_OK)
        _exit(host.exit_code != 0 ? host.exit_code : 1); /* memory still belongs to the loop */
    free_all(&host);
    return host.exit_code;
}
