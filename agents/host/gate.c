#include "agents/host/gate.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agents/engine.h"
#include "agents/host/gate_bpf.h"
#include "agents/host/gate_nft.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"

#define VIPS_MAX 2 /* one per family */
#define ORPHANS_MAX (HA_GATE_PORTS_MAX * VIPS_MAX)
#define CONTENT_MAX (HA_GATE_PORTS_MAX * (2 + 4 * VIPS_MAX) + HA_GATE_EXEMPT_MAX)
#define NS_PER_MS 1000000u
/* How much later than asked an element may be told to end: whole milliseconds, and the tick. */
#define SLACK_NS (20 * NS_PER_MS)

struct record {
    uint16_t port;
    uint64_t deadline_ns, vip_deadline_ns; /* last asked for */
    struct ha_ip vips[VIPS_MAX];           /* family 0: none */
};

/* A virtual IP that an earlier run left in the table: guarded until a port takes it over. */
struct orphan {
    struct ha_ip vip;
    uint64_t deadline_ns;
};

struct exempt {
    struct ha_gate_tuple tuple;
    uint64_t deadline_ns;
};

struct ha_gates {
    bool has_bpf, has_nft; /* in force now */
    bool opened_bpf;       /* bpf's fds are valid, attached or not */
    uint64_t instance;
    struct ha_bpf bpf;
    struct ha_nft *nft; /* NULL: not wanted, or the kernel cannot */
    size_t record_count, exempt_count, orphan_count;
    struct record records[HA_GATE_PORTS_MAX];
    struct exempt exempts[HA_GATE_EXEMPT_MAX];
    struct orphan orphans[ORPHANS_MAX];
    struct ha_nft_element elements[CONTENT_MAX]; /* scratch of rebuild and adopt */
    char text[HA_ERR_TEXT_SIZE];
};

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

/* ---- records ---- */

static struct record *find_record(struct ha_gates *gates, uint16_t port)
{
    for (size_t i = 0; i < gates->record_count; i++)
        if (gates->records[i].port == port)
            return &gates->records[i];
    return NULL;
}

static struct record *add_record(struct ha_gates *gates, uint16_t port)
{
    struct record *record = find_record(gates, port);

    if (record != NULL)
        return record;
    if (gates->record_count == HA_GATE_PORTS_MAX)
        return NULL;
    record = &gates->records[gates->record_count++];
    *record = (struct record){.port = port};
    return record;
}

static int unknown_port(struct ha_err *err, uint16_t port)
{
    return ha_err_set(err, HA_ENOENT, "port %u is not guarded", port);
}

static void drop_exempts(struct ha_gates *gates, uint16_t port)
{
    size_t kept = 0;

    for (size_t i = 0; i < gates->exempt_count; i++)
        if (gates->exempts[i].tuple.local_port != port)
            gates->exempts[kept++] = gates->exempts[i];
    gates->exempt_count = kept;
}

/* ---- elements ---- */

static struct ha_nft_element port_element(enum ha_nft_set set, uint16_t port, uint64_t deadline_ns)
{
    return (struct ha_nft_element){
        .set = set, .key = ha_nft_port_key(port), .deadline_ns = deadline_ns};
}

static struct ha_nft_element vip_element(const struct ha_ip *vip, bool timed, uint64_t deadline_ns)
{
    const enum ha_nft_set set4 = timed ? HA_NFT_VIP4_OPEN : HA_NFT_VIP4;
    const enum ha_nft_set set6 = timed ? HA_NFT_VIP6_OPEN : HA_NFT_VIP6;

    return (struct ha_nft_element){.set = vip->family == AF_INET ? set4 : set6,
                                   .key = ha_nft_addr_key(vip),
                                   .deadline_ns = deadline_ns};
}

static struct ha_nft_element exempt_element(const struct exempt *exempt)
{
    struct ha_nft_element element = {.deadline_ns = exempt->deadline_ns};

    element.key = ha_nft_tuple_key(&exempt->tuple, &element.set);
    return element;
}

/* Everything we know of, as elements in the scratch memory. */
static struct ha_nft_content known_content(struct ha_gates *gates)
{
    struct ha_nft_element *to = gates->elements;

    for (size_t i = 0; i < gates->record_count; i++) {
        const struct record *record = &gates->records[i];

        *to++ = port_element(HA_NFT_PORTS, record->port, 0);
        *to++ = port_element(HA_NFT_PORTS_OPEN, record->port, record->deadline_ns);
        for (size_t v = 0; v < VIPS_MAX; v++) {
            if (record->vips[v].family == 0)
                continue;
            *to++ = vip_element(&record->vips[v], false, 0);
            *to++ = vip_element(&record->vips[v], true, record->vip_deadline_ns);
        }
    }
    for (size_t i = 0; i < gates->orphan_count; i++) {
        *to++ = vip_element(&gates->orphans[i].vip, false, 0);
        *to++ = vip_element(&gates->orphans[i].vip, true, gates->orphans[i].deadline_ns);
    }
    for (size_t i = 0; i < gates->exempt_count; i++)
        *to++ = exempt_element(&gates->exempts[i]);
    return (struct ha_nft_content){.instance = gates->instance,
                                   .elements = gates->elements,
                                   .count = (size_t)(to - gates->elements),
                                   .size_max = CONTENT_MAX};
}

static struct orphan *find_orphan(struct ha_gates *gates, const struct ha_ip *vip)
{
    for (size_t i = 0; i < gates->orphan_count; i++)
        if (ha_ip_equal(&gates->orphans[i].vip, vip))
            return &gates->orphans[i];
    return NULL;
}

static bool adopt_port(struct ha_gates *gates, const struct ha_nft_element *element)
{
    const uint16_t port = (uint16_t)(element->key.bytes[0] << 8 | element->key.bytes[1]);
    struct record *record;

    if (element->set == HA_NFT_PORTS)
        return add_record(gates, port) != NULL;
    record = find_record(gates, port);
    if (record != NULL)
        record->deadline_ns = element->deadline_ns;
    return true;
}

static bool adopt_vip(struct ha_gates *gates, const struct ha_nft_element *element)
{
    struct ha_ip vip = {.family = element->key.size == 4 ? AF_INET : AF_INET6};
    struct orphan *orphan;

    memcpy(vip.bytes, element->key.bytes, element->key.size);
    orphan = find_orphan(gates, &vip);
    if (orphan != NULL) {
        orphan->deadline_ns = element->deadline_ns;
    } else if (!element->deadline_ns) {
        if (gates->orphan_count == ORPHANS_MAX)
            return false;
        gates->orphans[gates->orphan_count++] = (struct orphan){.vip = vip};
    }
    return true;
}

/* Ports, virtual IPs and deadlines of a table that an earlier run left. Sets come in the order of
 * their enumeration: what is guarded before what of it is open. Exemptions end with the run. */
static int adopt(struct ha_gates *gates, const struct ha_nft_content *content, struct ha_err *err)
{
    static const bool is_port[HA_NFT_SETS] = {[HA_NFT_PORTS] = true, [HA_NFT_PORTS_OPEN] = true};
    static const bool is_vip[HA_NFT_SETS] = {[HA_NFT_VIP4] = true,
                                             [HA_NFT_VIP4_OPEN] = true,
                                             [HA_NFT_VIP6] = true,
                                             [HA_NFT_VIP6_OPEN] = true};

    for (size_t i = 0; i < content->count; i++) {
        const struct ha_nft_element *element = &content->elements[i];

        if ((is_port[element->set] && !adopt_port(gates, element)) ||
            (is_vip[element->set] && !adopt_vip(gates, element)))
            return ha_err_set(err, HA_EFULL, "too many guarded ports or addresses");
    }
    return HA_OK;
}

/* ---- open ---- */

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
        struct record *record = add_record(gates, ports[i]);

        if (record == NULL)
            return ha_err_set(err, HA_EFULL, "too many guarded ports");
        code = ha_bpf_get(&gates->bpf, ports[i], &record->deadline_ns, err);
        if (code != HA_OK)
            return code;
    }
    gates->instance = gates->bpf.instance;
    /* Detached and not attachable: opened all the same, ha_gates_check goes on trying. */
    gates->has_bpf = ha_bpf_check(&gates->bpf, &fixed, err) == HA_OK;
    return HA_OK;
}

static int open_nft(struct ha_gates *gates, struct ha_err *err)
{
    struct ha_nft_content content = {.elements = gates->elements, .size_max = CONTENT_MAX};
    int code = ha_nft_open(&gates->nft, err);

    if (code != HA_OK)
        return code;
    code = ha_nft_read_all(gates->nft, &content, err);
    if (code == HA_OK)
        code = adopt(gates, &content, err);
    else if (code == HA_ENOENT)
        code = HA_OK;
    if (code != HA_OK)
        return code;
    if (gates->instance == HA_INSTANCE_NONE)
        gates->instance =
            content.instance != HA_INSTANCE_NONE ? content.instance : random_instance();
    content = known_content(gates);
    /* Always anew: what an older or a foreign hand left in the tables is not ours to trust. */
    code = ha_nft_install(gates->nft, &content, err);
    gates->has_nft = code == HA_OK;
    return code;
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
    for (size_t i = 0; i < options->port_count; i++)
        if (add_record(gates, options->ports[i]) == NULL)
            return ha_err_set(err, HA_EFULL, "too many guarded ports");
    if (options->want_nft) {
        code = open_nft(gates, &why_nft);
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
    for (size_t i = 0; i < options->port_count && code == HA_OK; i++)
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
    struct ha_gates *gates;
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
        if (!gates->has_nft) {
            code = ha_err_set(err, HA_ENOTSUP, "%s", gates->text);
            ha_gates_close(gates);
            return code;
        }
        instance = gates->instance;
        ha_gates_close(gates);
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

/* ---- guard ---- */

int ha_gates_guard(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    struct ha_nft_element element = port_element(HA_NFT_PORTS, port, 0);
    bool added;
    int code = HA_OK;

    if (port == 0)
        return ha_err_set(err, HA_EINVAL, "port 0 cannot be guarded");
    if (add_record(gates, port) == NULL)
        return ha_err_set(err, HA_EFULL, "more than %d guarded ports", HA_GATE_PORTS_MAX);
    if (gates->opened_bpf)
        code = ha_bpf_guard(&gates->bpf, port, &added, err);
    if (code == HA_OK && gates->has_nft)
        code = ha_nft_put(gates->nft, &element, 1, false, NULL, err);
    return code;
}

int ha_gates_unguard(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    struct record *record = find_record(gates, port);
    const struct ha_nft_element elements[] = {port_element(HA_NFT_PORTS_OPEN, port, 0),
                                              port_element(HA_NFT_PORTS, port, 0)};
    int code;

    if (record == NULL)
        return unknown_port(err, port);
    code = ha_gates_set_vip(gates, port, NULL, err);
    if (code == HA_OK)
        code = ha_gates_exempt(gates, port, NULL, 0, 0, err);
    if (code == HA_ENOTSUP)
        code = HA_OK;
    if (code == HA_OK && gates->opened_bpf)
        code = ha_bpf_unguard(&gates->bpf, port, err);
    if (code == HA_OK && gates->has_nft)
        code = ha_nft_put(gates->nft, elements, HA_ARRAY_LEN(elements), true, NULL, err);
    if (code == HA_OK || code == HA_ENOENT) {
        *record = gates->records[--gates->record_count];
        return HA_OK;
    }
    return code;
}

static int drop_vip(struct ha_gates *gates, struct ha_ip *vip, struct ha_err *err)
{
    const struct ha_nft_element elements[] = {vip_element(vip, true, 0),
                                              vip_element(vip, false, 0)};
    int code = HA_OK;

    if (vip->family == 0)
        return HA_OK;
    if (gates->has_nft)
        code = ha_nft_put(gates->nft, elements, HA_ARRAY_LEN(elements), true, NULL, err);
    if (code == HA_OK)
        *vip = (struct ha_ip){0};
    return code;
}

int ha_gates_set_vip(struct ha_gates *gates, uint16_t port, const struct ha_ip *addr,
                     struct ha_err *err)
{
    struct record *record = find_record(gates, port);
    struct ha_nft_element element;
    struct orphan *orphan;
    struct ha_ip *vip;
    int code = HA_OK;

    if (record == NULL)
        return unknown_port(err, port);
    if (addr == NULL) {
        for (size_t i = 0; i < VIPS_MAX && code == HA_OK; i++)
            code = drop_vip(gates, &record->vips[i], err);
        return code;
    }
    vip = &record->vips[addr->family == AF_INET ? 0 : 1];
    if (ha_ip_equal(vip, addr))
        return HA_OK;
    code = drop_vip(gates, vip, err);
    if (code != HA_OK)
        return code;
    orphan = find_orphan(gates, addr);
    element = vip_element(addr, false, 0);
    if (gates->has_nft)
        code = ha_nft_put(gates->nft, &element, 1, false, NULL, err);
    if (code != HA_OK)
        return code;
    *vip = *addr;
    if (orphan != NULL) {
        record->vip_deadline_ns = orphan->deadline_ns;
        *orphan = gates->orphans[--gates->orphan_count];
    }
    return HA_OK;
}

/* ---- set, shut, read ---- */

/* The port's timed elements; returns how many. */
static size_t timed_elements(const struct record *record, uint64_t deadline_ns, bool with_vip,
                             struct ha_nft_element elements[1 + VIPS_MAX])
{
    size_t count = 0;

    elements[count++] = port_element(HA_NFT_PORTS_OPEN, record->port, deadline_ns);
    for (size_t i = 0; i < VIPS_MAX && with_vip; i++)
        if (record->vips[i].family != 0)
            elements[count++] = vip_element(&record->vips[i], true, deadline_ns);
    return count;
}

static int put_timed(struct ha_gates *gates, const struct record *record,
                     const struct ha_gate_ask *ask, uint64_t *ret_until_ns, struct ha_err *err)
{
    struct ha_nft_element elements[1 + VIPS_MAX];
    const size_t count = timed_elements(record, ask->deadline_ns, ask->with_vip, elements);

    return ha_nft_put(gates->nft, elements, count, ask->deadline_ns == 0, ret_until_ns, err);
}

/* What was not reached may still be open until its old end; what was is closed. */
static void shut_quietly(struct ha_gates *gates, const struct record *record)
{
    const struct ha_gate_ask ask = {.port = record->port, .with_vip = true};

    if (gates->opened_bpf)
        (void)ha_bpf_set(&gates->bpf, record->port, 0, NULL); /* the first error is told */
    if (gates->has_nft)
        (void)put_timed(gates, record, &ask, NULL, NULL); /* likewise */
}

/* Where both are in force nothing passes after the earlier end. */
static void close_from(const struct ha_gates *gates, struct ha_gate_state *state)
{
    if (gates->has_bpf && gates->has_nft)
        state->closed_from_ns = state->bpf_ns < state->nft_ns ? state->bpf_ns : state->nft_ns;
    else
        state->closed_from_ns = gates->has_bpf ? state->bpf_ns : state->nft_ns;
}

int ha_gates_set(struct ha_gates *gates, const struct ha_gate_ask *ask, struct ha_gate_state *ret,
                 struct ha_err *err)
{
    struct record *record = find_record(gates, ask->port);
    struct ha_gate_state state = {.guarded = true};
    struct ha_gate_ask norm = *ask;
    int code = HA_OK;

    if (ha_gates_class(gates) == HA_GATE_PROCESS)
        return ha_err_set(err, HA_ENOTSUP, "no gate in the kernel: %s", gates->text);
    if (record == NULL)
        return unknown_port(err, ask->port);
    if (norm.deadline_ns <= ha_clock_boot_ns())
        norm.deadline_ns = 0;
    if (norm.deadline_ns == 0)
        norm.with_vip = true; /* a closed port's addresses do not answer */
    if (gates->opened_bpf) {
        code = ha_bpf_set(&gates->bpf, norm.port, norm.deadline_ns, err);
        state.bpf_ns = norm.deadline_ns;
    }
    if (code == HA_OK && gates->has_nft)
        code = put_timed(gates, record, &norm, &state.nft_ns, err);
    if (code != HA_OK) {
        shut_quietly(gates, record);
        record->deadline_ns = record->vip_deadline_ns = 0;
        return code;
    }
    record->deadline_ns = norm.deadline_ns;
    if (norm.with_vip) {
        record->vip_deadline_ns = norm.deadline_ns;
        state.vip_ns = record->vips[0].family || record->vips[1].family ? state.nft_ns : 0;
    }
    close_from(gates, &state);
    if (ret != NULL)
        *ret = state;
    return HA_OK;
}

static int read_nft(struct ha_gates *gates, const struct record *record,
                    struct ha_gate_state *state, struct ha_err *err)
{
    struct ha_nft_element element = port_element(HA_NFT_PORTS, record->port, 0), timed;
    int code = ha_nft_find(gates->nft, &element, err);

    if (code != HA_OK)
        return code;
    timed = port_element(HA_NFT_PORTS_OPEN, record->port, 0);
    code = ha_nft_find(gates->nft, &timed, err);
    if (code == HA_OK)
        state->nft_ns = timed.deadline_ns;
    for (size_t i = 0; i < VIPS_MAX && (code == HA_OK || code == HA_ENOENT); i++) {
        if (record->vips[i].family == 0)
            continue;
        timed = vip_element(&record->vips[i], true, 0);
        code = ha_nft_find(gates->nft, &timed, err);
        if (code == HA_OK && timed.deadline_ns > state->vip_ns)
            state->vip_ns = timed.deadline_ns;
    }
    return code == HA_ENOENT ? HA_OK : code;
}

int ha_gates_read(struct ha_gates *gates, uint16_t port, struct ha_gate_state *ret,
                  struct ha_err *err)
{
    const struct record *record = find_record(gates, port);
    struct ha_gate_state state = {.guarded = true};
    int code = HA_OK;

    if (record == NULL || (!gates->has_bpf && !gates->has_nft))
        return unknown_port(err, port);
    if (gates->has_bpf) {
        code = ha_bpf_get(&gates->bpf, port, &state.bpf_ns, err);
        if (code != HA_OK && code != HA_ENOENT)
            return code;
        state.guarded = code == HA_OK;
    }
    if (gates->has_nft) {
        code = read_nft(gates, record, &state, err);
        if (code != HA_OK && code != HA_ENOENT)
            return code;
        state.guarded = state.guarded && code == HA_OK;
    }
    close_from(gates, &state);
    *ret = state;
    return HA_OK;
}

int ha_gates_shut(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    const struct ha_gate_ask ask = {.port = port, .with_vip = true};
    struct ha_gate_state state;
    unsigned found;
    int code = ha_gates_set(gates, &ask, NULL, err);

    if (code != HA_OK && code != HA_ENOENT)
        return code;
    /* A closed element proves nothing while the rules or the program are gone. */
    code = ha_gates_check(gates, &found, err);
    if (code == HA_OK)
        code = ha_gates_exempt(gates, port, NULL, 0, 0, err);
    if (code == HA_OK)
        code = ha_gates_read(gates, port, &state, err);
    if (code != HA_OK)
        return code;
    if (!state.guarded || state.bpf_ns != 0 || state.nft_ns != 0 || state.vip_ns != 0)
        return ha_err_set(err, HA_EIO, "port %u was shut and reads as open", port);
    return HA_OK;
}

/* ---- exemptions ---- */

static int to_tuple(const struct ha_replication *pair, uint16_t port, struct ha_gate_tuple *tuple)
{
    struct ha_ip local, remote;

    *tuple = (struct ha_gate_tuple){0};
    if (ha_ip_from_sockaddr((const struct sockaddr *)(const void *)&pair->local, &local,
                            &tuple->local_port) != HA_OK ||
        ha_ip_from_sockaddr((const struct sockaddr *)(const void *)&pair->remote, &remote,
                            &tuple->remote_port) != HA_OK ||
        local.family != remote.family || tuple->local_port != port)
        return HA_EINVAL;
    ha_ip_mapped(&local, tuple->local);
    ha_ip_mapped(&remote, tuple->remote);
    return HA_OK;
}

static int clear_exempts(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    int code = HA_OK;

    if (gates->opened_bpf)
        code = ha_bpf_exempt_clear(&gates->bpf, port, err);
    for (size_t i = 0; i < gates->exempt_count && gates->has_nft && code == HA_OK; i++) {
        const struct ha_nft_element element = exempt_element(&gates->exempts[i]);

        if (gates->exempts[i].tuple.local_port == port)
            code = ha_nft_put(gates->nft, &element, 1, true, NULL, err);
    }
    if (code == HA_OK)
        drop_exempts(gates, port);
    return code;
}

static int add_exempt(struct ha_gates *gates, const struct exempt *exempt, struct ha_err *err)
{
    const struct ha_nft_element element = exempt_element(exempt);
    int code = HA_OK;

    if (gates->exempt_count == HA_GATE_EXEMPT_MAX)
        return ha_err_set(err, HA_EFULL, "more than %d exemptions", HA_GATE_EXEMPT_MAX);
    gates->exempts[gates->exempt_count++] = *exempt; /* known before it is true: can be cleared */
    if (gates->opened_bpf)
        code = ha_bpf_exempt(&gates->bpf, &exempt->tuple, exempt->deadline_ns, err);
    if (code == HA_OK && gates->has_nft)
        code = ha_nft_put(gates->nft, &element, 1, false, NULL, err);
    return code;
}

int ha_gates_exempt(struct ha_gates *gates, uint16_t port, const struct ha_replication *pairs,
                    size_t count, uint64_t deadline_ns, struct ha_err *err)
{
    struct exempt exempt = {.deadline_ns = deadline_ns};
    int code;

    if (ha_gates_class(gates) == HA_GATE_PROCESS)
        return ha_err_set(err, HA_ENOTSUP, "no gate in the kernel: %s", gates->text);
    if (find_record(gates, port) == NULL)
        return unknown_port(err, port);
    for (size_t i = 0; i < count; i++)
        if (to_tuple(&pairs[i], port, &exempt.tuple) != HA_OK)
            return ha_err_set(err, HA_EINVAL, "exemption %zu is no connection of port %u", i, port);
    code = clear_exempts(gates, port, err);
    for (size_t i = 0; i < count && code == HA_OK; i++) {
        (void)to_tuple(&pairs[i], port, &exempt.tuple); /* checked above */
        code = add_exempt(gates, &exempt, err);
    }
    if (code != HA_OK)
        (void)clear_exempts(gates, port, NULL); /* all or none; the first error is told */
    return code;
}

/* ---- check ---- */

static int check_bpf(struct ha_gates *gates, unsigned *found, struct ha_err *err)
{
    bool fixed, added;

    gates->has_bpf = ha_bpf_check(&gates->bpf, &fixed, err) == HA_OK;
    if (!gates->has_bpf)
        *found |= HA_GATE_LOST_PROGRAM;
    else if (fixed)
        *found |= HA_GATE_FIXED_PROGRAM;
    for (size_t i = 0; i < gates->record_count; i++) {
        int code = ha_bpf_guard(&gates->bpf, gates->records[i].port, &added, err);

        if (code != HA_OK)
            return code;
        if (added)
            *found |= HA_GATE_FIXED_PORTS;
    }
    return HA_OK;
}

/* A port that is not guarded any more, or open for longer than was asked, was someone else's doing.
 */
static int check_ports(struct ha_gates *gates, unsigned *found, struct ha_err *err)
{
    for (size_t i = 0; i < gates->record_count; i++) {
        const struct record *record = &gates->records[i];
        struct ha_gate_state state = {0};
        int code = read_nft(gates, record, &state, err);

        if (code == HA_OK && state.nft_ns <= record->deadline_ns + SLACK_NS)
            continue;
        if (code != HA_OK && code != HA_ENOENT)
            return code;
        *found |= HA_GATE_FIXED_PORTS;
        code = ha_gates_guard(gates, record->port, err);
        if (code != HA_OK)
            return code;
        shut_quietly(gates, record);
    }
    return HA_OK;
}

static int check_nft(struct ha_gates *gates, unsigned *found, struct ha_err *err)
{
    struct ha_nft_content content;
    bool intact = false;
    int code = ha_nft_intact(gates->nft, &intact, err);

    if (code != HA_OK)
        return code;
    if (intact && gates->has_nft)
        return check_ports(gates, found, err);
    content = known_content(gates);
    gates->has_nft = ha_nft_install(gates->nft, &content, err) == HA_OK;
    *found |= gates->has_nft ? HA_GATE_FIXED_TABLES : HA_GATE_LOST_TABLES;
    return HA_OK;
}

int ha_gates_check(struct ha_gates *gates, unsigned *ret_found, struct ha_err *err)
{
    unsigned found = 0;
    int code = HA_OK;

    if (gates->opened_bpf)
        code = check_bpf(gates, &found, err);
    if (code == HA_OK && gates->nft != NULL)
        code = check_nft(gates, &found, err);
    if (code != HA_OK)
        return code;
    if ((found & (HA_GATE_LOST_PROGRAM | HA_GATE_LOST_TABLES)) != 0 && err != NULL)
        (void)ha_text_format(gates->text, sizeof(gates->text), "%s", err->text); /* as long */
    *ret_found = found;
    return HA_OK;
}
