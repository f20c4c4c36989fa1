/* agents/host/gate_open.c - gates come into being, are found again, and go. */
#include "agents/host/gate.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/host/gate_known.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"

#define TAKE_OVER_TRIES 8
#define TAKE_OVER_PAUSE_US 500u /* twice as long each time */

static const char *pin_dir_of(const struct ha_gate_options *options)
{
    return options->pin_dir != NULL ? options->pin_dir : HA_GATE_PIN_DIR;
}

static uint64_t random_instance(void)
{
    uint64_t instance = HA_INSTANCE_NONE;

    while (instance == HA_INSTANCE_NONE)
        instance = ha_random_u64();
    return instance;
}

/* A time namespace moves this process's boot clock away from the one the kernel compares with. */
static bool clock_is_shifted(void)
{
    char line[128];
    bool shifted = false;
    FILE *file = fopen("/proc/self/timens_offsets", "re");

    if (file == NULL)
        return false; /* no time namespaces in this kernel */
    while (fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, "boottime", 8) == 0)
            shifted = line[8 + strspn(line + 8, " \t0\n")] != '\0';
    (void)fclose(file); /* read only */
    return shifted;
}

static int check_options(const struct ha_gate_options *options, struct ha_err *err)
{
    if (options->port_count > HA_GATE_PORTS_MAX)
        return ha_err_set(err, HA_EINVAL, "more than %d guarded ports", HA_GATE_PORTS_MAX);
    for (size_t i = 0; i < options->port_count; i++)
        if (options->ports[i] == 0)
            return ha_err_set(err, HA_EINVAL, "port 0 cannot be guarded");
    if (clock_is_shifted())
        return ha_err_set(err, HA_ENOTSUP, "this time namespace shifts the boot clock");
    return HA_OK;
}

static int open_bpf(struct ha_gates *gates, const struct ha_gate_options *options,
                    struct ha_err *err)
{
    uint16_t ports[HA_GATE_PORTS_MAX];
    size_t count;
    bool fixed;
    int code = ha_bpf_open(&gates->bpf, pin_dir_of(options), err);

    if (code != HA_OK)
        return code;
    gates->opened_bpf = true;
    code = ha_bpf_ports(&gates->bpf, ports, HA_GATE_PORTS_MAX, &count, err);
    if (code != HA_OK)
        return code;
    for (size_t i = 0; i < count; i++) {
        struct ha_known_port *record = ha_known_add(gates, ports[i]);

        if (record == NULL)
            return ha_err_set(err, HA_EFULL, "too many guarded ports");
        code = ha_bpf_get(&gates->bpf, ports[i], &record->asked_ns, err);
        if (code != HA_OK)
            return code;
        record->deadline_ns = record->asked_ns;
    }
    gates->instance = gates->bpf.instance;
    /* Detached and not attachable: opened all the same, ha_gates_check goes on trying. */
    code =
        options->only_look ? ha_bpf_look(&gates->bpf, err) : ha_bpf_check(&gates->bpf, &fixed, err);
    gates->has_bpf = code == HA_OK;
    return HA_OK;
}

/* What is in the tables. */
static int adopt_nft(struct ha_gates *gates, struct ha_err *err)
{
    struct ha_nft_content content = {.elements = gates->elements, .size_max = HA_KNOWN_CONTENT_MAX};
    int code = ha_nft_read_all(gates->nft, &content, err);
    if (code == HA_OK)
        code = ha_known_adopt(gates, &content, err);
    if (code == HA_OK && gates->instance == HA_INSTANCE_NONE)
        gates->instance = content.instance;
    return code;
}

/* Always anew: what an older or a foreign hand left in the tables is not ours to trust. */
static int take_over(struct ha_gates *gates, struct ha_err *err)
{
    struct ha_nft_content content;
    int code = adopt_nft(gates, err);

    if (code != HA_OK && code != HA_ENOENT)
        return code;
    if (gates->instance == HA_INSTANCE_NONE)
        gates->instance = random_instance();
    content = ha_known_content(gates);
    return ha_nft_install(gates->nft, &content, err);
}

/* An agent may be at work beside: what it shuts meanwhile must not be opened again. */
static int take_over_nft(struct ha_gates *gates, struct ha_err *err)
{
    const size_t record_count = gates->record_count;
    const uint64_t instance = gates->instance;
    int code = take_over(gates, err);

    for (int tries = 1; code == HA_EBUSY && tries < TAKE_OVER_TRIES; tries++) {
        (void)usleep(TAKE_OVER_PAUSE_US << tries);
        gates->instance = instance;
        gates->orphan_count = 0;
        gates->record_count = record_count;
        for (size_t i = 0; i < record_count; i++)
            gates->records[i].deadline_ns = gates->records[i].asked_ns;
        code = take_over(gates, err);
    }
    gates->has_nft = code == HA_OK;
    return code;
}

static int open_nft(struct ha_gates *gates, const struct ha_gate_options *options,
                    struct ha_err *err)
{
    int code = ha_nft_open(&gates->nft, err);

    if (code != HA_OK)
        return code;
    if (!options->only_look)
        return take_over_nft(gates, err);
    code = adopt_nft(gates, err);
    gates->has_nft = code == HA_OK;
    return code == HA_ENOENT ? HA_ENOTSUP : code;
}

static int open_all(struct ha_gates *gates, const struct ha_gate_options *options,
                    struct ha_err *err)
{
    struct ha_err why_bpf = {.text = "bpf not wanted"}, why_nft = {.text = "nft not wanted"};
    int code;

    if (options->want_bpf) {
        /* Pins that may not be opened are an error: nobody could ever open that gate. */
        code = open_bpf(gates, options, &why_bpf);
        if (code != HA_OK && code != HA_ENOENT && code != HA_ENOTSUP) {
            if (err != NULL)
                *err = why_bpf;
            return code;
        }
    }
    for (size_t i = 0; i < options->port_count && !options->only_look; i++)
        if (ha_known_add(gates, options->ports[i]) == NULL)
            return ha_err_set(err, HA_EFULL, "too many guarded ports");
    if (options->want_nft) {
        code = open_nft(gates, options, &why_nft);
        if (code != HA_OK && code != HA_ENOTSUP && code != HA_EDENIED) {
            if (err != NULL)
                *err = why_nft;
            return code;
        }
        if (code != HA_OK) {
            ha_nft_close(gates->nft);
            gates->nft = NULL;
        }
    }
    if (gates->instance == HA_INSTANCE_NONE)
        gates->instance = random_instance();
    (void)ha_text_format(gates->text, sizeof(gates->text), "%s; %s",
                         gates->has_bpf ? "bpf in force" : why_bpf.text,
                         gates->has_nft ? "nft in force" : why_nft.text); /* may be cut */
    return HA_OK;
}

int ha_gates_open(const struct ha_gate_options *options, struct ha_gates **ret, struct ha_err *err)
{
    struct ha_gates *gates;
    int code = check_options(options, err);

    if (code != HA_OK)
        return code;
    gates = calloc(1, sizeof(*gates));
    if (gates == NULL)
        return ha_err_set(err, HA_ENOMEM, "gates: out of memory");
    ha_bpf_init(&gates->bpf);
    code = open_all(gates, options, err);
    for (size_t i = 0; i < options->port_count && code == HA_OK && !options->only_look; i++)
        code = ha_gates_guard(gates, options->ports[i], err);
    if (code != HA_OK) {
        ha_gates_close(gates);
        return code;
    }
    *ret = gates;
    return HA_OK;
}

void ha_gates_close(struct ha_gates *gates)
{
    if (gates == NULL)
        return;
    ha_bpf_close(&gates->bpf);
    ha_nft_close(gates->nft);
    free(gates);
}

int ha_gates_load(const struct ha_gate_options *options, struct ha_err *err)
{
    struct ha_gate_options found = *options;
    struct ha_gates *gates = NULL;
    uint64_t instance;
    int code = check_options(options, err);

    if (code != HA_OK)
        return code;
    if (!options->want_bpf && !options->want_nft)
        return ha_err_set(err, HA_EINVAL, "neither bpf nor nft is wanted");
    /* The table first: where it is there already, its instance id is this host's. */
    found.want_bpf = false;
    if (options->want_nft) {
        code = ha_gates_open(&found, &gates, err);
        if (code != HA_OK)
            return code;
        assert(gates != NULL);
        if (!gates->has_nft) {
            code = ha_err_set(err, HA_ENOTSUP, "%s", gates->text);
            ha_gates_close(gates);
            return code;
        }
        instance = gates->instance;
        ha_gates_close(gates);
        gates = NULL;
    } else {
        instance = random_instance();
    }
    if (!options->want_bpf)
        return HA_OK;
    code = ha_bpf_load(options, instance, err);
    if (code != HA_OK || !options->want_nft)
        return code;
    /* Open both: the table takes over an older gate's id and ports. */
    code = ha_gates_open(options, &gates, err);
    if (code == HA_OK)
        ha_gates_close(gates);
    return code;
}

int ha_gates_unload(const struct ha_gate_options *options, struct ha_err *err)
{
    struct ha_nft *nft = NULL;
    int code = HA_OK;

    if (options->want_bpf)
        code = ha_bpf_unload(pin_dir_of(options), err);
    if (code != HA_OK || !options->want_nft)
        return code;
    code = ha_nft_open(&nft, err);
    if (code == HA_OK)
        code = ha_nft_remove(nft, err);
    ha_nft_close(nft);
    return code == HA_ENOTSUP ? HA_OK : code;
}

/* ---- facts ---- */

enum ha_gate ha_gates_class(const struct ha_gates *gates)
{
    if (gates->has_bpf)
        return gates->has_nft ? HA_GATE_BOTH : HA_GATE_BPF;
    return gates->has_nft ? HA_GATE_NFT : HA_GATE_PROCESS;
}

uint64_t ha_gates_instance(const struct ha_gates *gates)
{
    return gates->instance;
}

const char *ha_gates_text(const struct ha_gates *gates)
{
    return gates->text;
}

bool ha_gates_has_answers(const struct ha_gates *gates)
{
    return gates->has_nft;
}

bool ha_gates_covers(const struct ha_gates *gates, pid_t pid)
{
    char path[64], line[HA_GATE_MAP_PATH + 8], root[HA_GATE_MAP_PATH];
    char full[2 * HA_GATE_MAP_PATH + 8];
    const size_t size = strlen(gates->bpf.cgroup);
    bool covered = false;
    FILE *file;

    if (!gates->has_bpf || ha_gates_cgroup_root(root, sizeof(root)) != HA_OK)
        return false;
    (void)ha_text_format(path, sizeof(path), "/proc/%d/cgroup", (int)pid); /* fits */
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "0::", 3) != 0)
            continue; /* a hierarchy of version 1 */
        line[strcspn(line, "\n")] = '\0';
        (void)ha_text_format(full, sizeof(full), "%s%s", root, line + 3); /* fits */
        covered = strncmp(full, gates->bpf.cgroup, size) == 0 &&
                  (full[size] == '\0' || full[size] == '/');
    }
    (void)fclose(file); /* read only */
    return covered;
}
