#include "cmd/hafailover-agent/gate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agents/host/gate.h"
#include "cmd/hafailover-agent/settings.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"

#define NS_PER_MS 1000000u

struct wanted {
    struct ha_gate_options options;
    uint16_t ports[HA_DATABASES_MAX];
};

static void want(const struct ha_agent_settings *settings, struct wanted *wanted)
{
    const char *class = settings->gate_class;
    bool any = strcmp(class, "auto") == 0;
    bool has_cgroup = settings->cgroup[0] != '\0';
    struct stat status;

    *wanted = (struct wanted){0};
    for (uint32_t i = 0; i < settings->database_count; i++)
        wanted->ports[i] = settings->databases[i].port;
    wanted->options.pin_dir = settings->pin_dir;
    wanted->options.cgroup = has_cgroup ? settings->cgroup : NULL;
    wanted->options.ports = wanted->ports;
    wanted->options.port_count = settings->database_count;
    wanted->options.want_bpf = (any && has_cgroup) || strstr(class, "bpf") != NULL;
    wanted->options.want_nft = any || strstr(class, "nft") != NULL;
    wanted->options.mount_bpffs = true;
    /* Who owns the agent's state is who the agent runs as. */
    if (stat(settings->state_dir, &status) == 0) {
        wanted->options.owner = status.st_uid;
        wanted->options.group = status.st_gid;
    }
}

int ha_gate_open(const struct ha_agent_settings *settings, struct ha_gates **ret,
                 struct ha_err *err)
{
    struct wanted wanted;

    want(settings, &wanted);
    return ha_gates_open(&wanted.options, ret, err);
}

static int load(const struct ha_agent_settings *settings, struct wanted *wanted)
{
    bool is_auto = strcmp(settings->gate_class, "auto") == 0;
    struct ha_err err = {0};

    if (!wanted->options.want_bpf && !wanted->options.want_nft)
        return 0;
    if (ha_gates_load(&wanted->options, &err) == HA_OK)
        return 0;
    fprintf(stderr, "hafailover-agent: gate load: %s\n", err.text);
    if (!is_auto || !wanted->options.want_bpf)
        return 1;
    wanted->options.want_bpf = false;
    err = (struct ha_err){0};
    if (ha_gates_load(&wanted->options, &err) == HA_OK) {
        fprintf(stderr, "hafailover-agent: gate load: going on with nft alone\n");
        return 0;
    }
    fprintf(stderr, "hafailover-agent: gate load: %s\n", err.text);
    return 1;
}

static int show(struct wanted *wanted)
{
    uint64_t now_ns = ha_clock_boot_ns();
    struct ha_gates *gates;
    struct ha_err err = {0};

    wanted->options.only_look = true;
    if (ha_gates_open(&wanted->options, &gates, &err) != HA_OK) {
        fprintf(stderr, "hafailover-agent: gate show: %s\n", err.text);
        return 1;
    }
    printf("class %s\n", ha_gate_text(ha_gates_class(gates)));
    if (ha_gates_class(gates) != HA_GATE_PROCESS)
        printf("instance %016" PRIx64 "\n", ha_gates_instance(gates));
    printf("%s\n", ha_gates_text(gates));
    for (size_t i = 0; i < wanted->options.port_count; i++) {
        struct ha_gate_state state;

        if (ha_gates_read(gates, wanted->ports[i], &state, &err) != HA_OK)
            printf("port %u: %s\n", wanted->ports[i], err.text);
        else if (state.closed_from_ns <= now_ns)
            printf("port %u: closed\n", wanted->ports[i]);
        else
            printf("port %u: open for %" PRIu64 " ms\n", wanted->ports[i],
                   (state.closed_from_ns - now_ns) / NS_PER_MS);
    }
    ha_gates_close(gates);
    return 0;
}

int ha_gate_command(const struct ha_agent_settings *settings, const char *command)
{
    struct wanted wanted;
    struct ha_err err = {0};

    want(settings, &wanted);
    if (strcmp(command, "load") == 0)
        return load(settings, &wanted);
    if (strcmp(command, "show") == 0)
        return show(&wanted);
    /* One that was loaded before the file lost its cgroup stays closed for ever otherwise. */
    wanted.options.want_bpf = wanted.options.want_bpf || strcmp(settings->gate_class, "auto") == 0;
    if (ha_gates_unload(&wanted.options, &err) == HA_OK)
        return 0;
    fprintf(stderr, "hafailover-agent: gate unload: %s\n", err.text);
    return 1;
}
