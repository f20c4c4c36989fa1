/* agents/host/gate.c - gates are guarded, set, shut, read and checked. */
#include "agents/host/gate.h"

#include <assert.h>
#include <sys/socket.h>

#include "agents/engine.h"
#include "agents/host/gate_known.h"
#include "agents/host/gate_seen.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"

/* How much later than asked an element may be told to end: whole milliseconds, the tick, and for
 * how long tables are put back, which a thousand ports on a busy machine make long. */
#define SLACK_NS (20000000u + HA_NFT_LATE_MS * 1000000u)
/* Beside bpf, which holds the exact deadline, the nft element of a port says only "not given up":
 * it is given long in advance, so that no opening waits for a transaction of the kernel (10 to 20
 * ms). */
#define BESIDE_NS 600000000000u
#define BESIDE_LEFT_NS 300000000000u

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

/* ---- guard ---- */

int ha_gates_guard(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    struct ha_nft_element element = ha_known_port_element(HA_NFT_PORTS, port, 0);
    bool added;
    int code = HA_OK;

    if (port == 0)
        return ha_err_set(err, HA_EINVAL, "port 0 cannot be guarded");
    if (ha_known_add(gates, port) == NULL)
        return ha_err_set(err, HA_EFULL, "more than %d guarded ports", HA_GATE_PORTS_MAX);
    if (gates->opened_bpf)
        code = ha_bpf_guard(&gates->bpf, port, &added, err);
    if (code == HA_OK && gates->has_nft)
        code = ha_nft_put(gates->nft, &element, 1, false, NULL, err);
    return code;
}

int ha_gates_unguard(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    struct ha_known_port *record = ha_known_find(gates, port);
    const struct ha_nft_element elements[] = {ha_known_port_element(HA_NFT_PORTS_OPEN, port, 0),
                                              ha_known_port_element(HA_NFT_PORTS, port, 0)};
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
    const struct ha_nft_element elements[] = {ha_known_vip_element(vip, true, 0),
                                              ha_known_vip_element(vip, false, 0)};
    int code = HA_OK;

    if (vip->family == 0)
        return HA_OK;
    /* Open is who holds the lease; guarded it stays for the other port. */
    if (gates->has_nft)
        code = ha_nft_put(gates->nft, elements, ha_known_is_shared(gates, vip) ? 1 : 2, true, NULL,
                          err);
    if (code == HA_OK)
        *vip = (struct ha_ip){0};
    return code;
}

int ha_gates_set_vip(struct ha_gates *gates, uint16_t port, const struct ha_ip *addr,
                     struct ha_err *err)
{
    struct ha_known_port *record = ha_known_find(gates, port);
    struct ha_nft_element element;
    struct ha_known_orphan *orphan;
    struct ha_ip *vip;
    int code = HA_OK;

    if (record == NULL)
        return unknown_port(err, port);
    if (addr == NULL) {
        for (size_t i = 0; i < HA_KNOWN_VIPS_MAX && code == HA_OK; i++)
            code = drop_vip(gates, &record->vips[i], err);
        return code;
    }
    vip = &record->vips[addr->family == AF_INET ? 0 : 1];
    if (ha_ip_equal(vip, addr))
        return HA_OK;
    code = drop_vip(gates, vip, err);
    if (code != HA_OK)
        return code;
    orphan = ha_known_orphan(gates, addr);
    element = ha_known_vip_element(addr, false, 0);
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

#define VIP_ELEMENTS_MAX (2 * HA_KNOWN_VIPS_MAX)

/* The timed elements of the port's addresses; returns how many. An opening also says until when
 * clients are refused once the address has left; closing lets that run out by itself. */
static size_t vip_elements(const struct ha_known_port *record, uint64_t deadline_ns,
                           struct ha_nft_element elements[VIP_ELEMENTS_MAX])
{
    const bool absent = record->vip_deadline_ns <= ha_clock_boot_ns();
    size_t count = 0;

    for (size_t i = 0; i < HA_KNOWN_VIPS_MAX; i++) {
        if (record->vips[i].family == 0)
            continue;
        elements[count] = ha_known_vip_element(&record->vips[i], true, deadline_ns);
        elements[count++].absent = absent;
        if (deadline_ns == 0)
            continue;
        elements[count] = ha_known_refuse_element(&record->vips[i], deadline_ns);
        elements[count++].absent = absent;
    }
    return count;
}

static int put_timed(struct ha_gates *gates, const struct ha_known_port *record,
                     const struct ha_gate_ask *ask, uint64_t *ret_until_ns, struct ha_err *err)
{
    struct ha_nft_element elements[1 + VIP_ELEMENTS_MAX];
    size_t count = 1;

    elements[0] = ha_known_port_element(HA_NFT_PORTS_OPEN, record->port, ask->deadline_ns);
    elements[0].absent = record->deadline_ns <= ha_clock_boot_ns();
    if (ask->with_vip)
        count += vip_elements(record, ask->deadline_ns, elements + 1);
    return ha_nft_put(gates->nft, elements, count, ask->deadline_ns == 0, ret_until_ns, err);
}

static int check_nft(struct ha_gates *gates, unsigned *found, struct ha_err *err);

/* A flushed ruleset is put back by the next renewal, not only by the next check. */
static int put_or_rebuild(struct ha_gates *gates, const struct ha_known_port *record,
                          const struct ha_gate_ask *ask, uint64_t *ret_until_ns, struct ha_err *err)
{
    int code = put_timed(gates, record, ask, ret_until_ns, err);

    if (code != HA_ENOENT)
        return code;
    code = check_nft(gates, &gates->fixed, err);
    if (code == HA_OK && !gates->has_nft)
        return gates->has_bpf ? HA_OK : ha_err_set(err, HA_EIO, "the nft tables are lost");
    return code == HA_OK ? put_timed(gates, record, ask, ret_until_ns, err) : code;
}

/* What was not reached may still be open until its old end; what was is closed. Either way the port
 * counts as closed, so that the next set opens all of it, and a check finds what is open still. */
static void shut_quietly(struct ha_gates *gates, struct ha_known_port *record)
{
    const struct ha_gate_ask ask = {.port = record->port, .with_vip = true};

    if (gates->opened_bpf)
        (void)ha_bpf_set(&gates->bpf, record->port, 0, NULL); /* the first error is told */
    if (gates->has_nft)
        (void)put_timed(gates, record, &ask, NULL, NULL); /* likewise */
    record->asked_ns = record->deadline_ns = record->vip_deadline_ns = 0;
}

/* Where both are in force nothing passes after the earlier end. */
static void close_from(const struct ha_gates *gates, struct ha_gate_state *state)
{
    if (gates->has_bpf && gates->has_nft)
        state->closed_from_ns = state->bpf_ns < state->nft_ns ? state->bpf_ns : state->nft_ns;
    else
        state->closed_from_ns = gates->has_bpf ? state->bpf_ns : state->nft_ns;
}

static bool is_beside(const struct ha_gates *gates)
{
    return gates->has_bpf && gates->has_nft;
}

/* The port's addresses until the deadline, or not at all. */
static int put_vips(struct ha_gates *gates, struct ha_known_port *record, uint64_t deadline_ns,
                    struct ha_err *err)
{
    struct ha_nft_element elements[VIP_ELEMENTS_MAX];
    const size_t count = vip_elements(record, deadline_ns, elements);
    int code;

    if (count == 0)
        return HA_OK;
    code = ha_nft_put(gates->nft, elements, count, deadline_ns == 0, NULL, err);
    if (code == HA_OK)
        record->vip_deadline_ns = deadline_ns;
    return code;
}

/* The nft half of a set where bpf has the say: rarely anything. */
static int set_beside(struct ha_gates *gates, struct ha_known_port *record, uint64_t deadline_ns,
                      struct ha_err *err)
{
    const uint64_t now_ns = ha_clock_boot_ns();
    const struct ha_gate_ask ask = {.port = record->port, .deadline_ns = now_ns + BESIDE_NS};
    int code;

    if (deadline_ns == 0 || record->deadline_ns > now_ns + BESIDE_LEFT_NS)
        return HA_OK;
    code = put_or_rebuild(gates, record, &ask, NULL, err);
    if (code == HA_OK)
        record->deadline_ns = ask.deadline_ns;
    return code;
}

int ha_gates_set(struct ha_gates *gates, const struct ha_gate_ask *ask, struct ha_gate_state *ret,
                 struct ha_err *err)
{
    struct ha_known_port *record = ha_known_find(gates, ask->port);
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
    record->asked_ns = norm.deadline_ns;
    if (code == HA_OK && is_beside(gates)) {
        code = set_beside(gates, record, norm.deadline_ns, err);
        /* A host asks for its neighbours in the name of an IPv6 address, and one such question that
         * is dropped costs a second: that family cannot wait for ha_gates_settle. */
        if (code == HA_OK && ask->with_vip && norm.deadline_ns != 0 &&
            record->vips[1].family != 0 && record->vip_deadline_ns <= ha_clock_boot_ns())
            code = put_vips(gates, record, norm.deadline_ns, err);
    } else if (code == HA_OK && gates->has_nft)
        code = put_or_rebuild(gates, record, &norm, &state.nft_ns, err);
    if (code != HA_OK) {
        shut_quietly(gates, record);
        return code;
    }
    if (is_beside(gates)) {
        state.nft_ns = record->deadline_ns;
        state.vip_ns = record->vip_deadline_ns;
        close_from(gates, &state);
        if (ret != NULL)
            *ret = state;
        return HA_OK;
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

int ha_gates_settle(struct ha_gates *gates, uint16_t port, bool with_vip, bool reset,
                    struct ha_err *err)
{
    struct ha_known_port *record = ha_known_find(gates, port);
    const uint64_t now_ns = ha_clock_boot_ns();
    uint64_t vip_ns = 0;
    int code = HA_OK;

    if (record == NULL)
        return unknown_port(err, port);
    if (!is_beside(gates))
        return HA_OK; /* done by set and shut already */
    if (with_vip && record->asked_ns > now_ns)
        vip_ns = record->asked_ns;
    /* Half of what is left is enough until the next renewal. */
    if (vip_ns == 0 ? record->vip_deadline_ns > now_ns
                    : record->vip_deadline_ns < now_ns + (vip_ns - now_ns) / 2)
        code = put_vips(gates, record, vip_ns, err);
    if (code == HA_OK && reset && record->asked_ns == 0 && record->deadline_ns > now_ns) {
        const struct ha_nft_element element =
            ha_known_port_element(HA_NFT_PORTS_OPEN, record->port, 0);

        code = ha_nft_put(gates->nft, &element, 1, true, NULL, err);
        if (code == HA_OK)
            record->deadline_ns = 0;
    }
    return code;
}

static int read_nft(struct ha_gates *gates, const struct ha_known_port *record,
                    struct ha_gate_state *state, struct ha_err *err)
{
    struct ha_nft_element element = ha_known_port_element(HA_NFT_PORTS, record->port, 0), timed;
    int code = ha_nft_find(gates->nft, &element, err);

    if (code != HA_OK)
        return code;
    timed = ha_known_port_element(HA_NFT_PORTS_OPEN, record->port, 0);
    code = ha_nft_find(gates->nft, &timed, err);
    if (code == HA_OK)
        state->nft_ns = timed.deadline_ns;
    for (size_t i = 0; i < HA_KNOWN_VIPS_MAX && (code == HA_OK || code == HA_ENOENT); i++) {
        if (record->vips[i].family == 0)
            continue;
        timed = ha_known_vip_element(&record->vips[i], true, 0);
        code = ha_nft_find(gates->nft, &timed, err);
        if (code == HA_OK && timed.deadline_ns > state->vip_ns)
            state->vip_ns = timed.deadline_ns;
    }
    return code == HA_ENOENT ? HA_OK : code;
}

int ha_gates_read(struct ha_gates *gates, uint16_t port, struct ha_gate_state *ret,
                  struct ha_err *err)
{
    const struct ha_known_port *record = ha_known_find(gates, port);
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

int ha_gates_shut_unproven(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    const struct ha_gate_ask ask = {.port = port, .with_vip = true};
    int code = ha_gates_set(gates, &ask, NULL, err);

    /* What is missing in the kernel is put back by the check. */
    return code == HA_ENOENT && ha_known_find(gates, port) != NULL ? HA_OK : code;
}

int ha_gates_prove_shut(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    struct ha_gate_state state = {0};
    int code = ha_gates_exempt(gates, port, NULL, 0, 0, err);

    if (code == HA_OK)
        code = ha_gates_read(gates, port, &state, err);
    if (code != HA_OK)
        return code;
    if (!state.guarded || state.bpf_ns != 0 ||
        (!is_beside(gates) && (state.nft_ns != 0 || state.vip_ns != 0)))
        return ha_err_set(err, HA_EIO, "port %u was shut and reads as open", port);
    return HA_OK;
}

int ha_gates_shut(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    unsigned found;
    int code = ha_gates_shut_unproven(gates, port, err);

    /* A closed element proves nothing while the rules or the program are gone. */
    if (code == HA_OK)
        code = ha_gates_check(gates, &found, err);
    return code == HA_OK ? ha_gates_prove_shut(gates, port, err) : code;
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
        const struct ha_nft_element element = ha_known_exempt_element(&gates->exempts[i]);

        if (gates->exempts[i].tuple.local_port == port)
            code = ha_nft_put(gates->nft, &element, 1, true, NULL, err);
    }
    if (code == HA_OK)
        drop_exempts(gates, port);
    return code;
}

static int add_exempt(struct ha_gates *gates, const struct ha_known_exempt *exempt,
                      struct ha_err *err)
{
    const struct ha_nft_element element = ha_known_exempt_element(exempt);
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
    struct ha_known_exempt exempt = {.deadline_ns = deadline_ns};
    int code;

    if (ha_gates_class(gates) == HA_GATE_PROCESS)
        return ha_err_set(err, HA_ENOTSUP, "no gate in the kernel: %s", gates->text);
    if (ha_known_find(gates, port) == NULL)
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

/* bpf is lost: from here on the nft elements hold the deadlines themselves. */
static void hand_over(struct ha_gates *gates)
{
    for (size_t i = 0; i < gates->record_count; i++) {
        struct ha_known_port *record = &gates->records[i];
        const struct ha_gate_ask ask = {.port = record->port, .deadline_ns = record->asked_ns};

        if (put_timed(gates, record, &ask, NULL, NULL) == HA_OK)
            record->deadline_ns = record->asked_ns;
        else /* what is not reached is caught by the check that follows */
            shut_quietly(gates, record);
    }
}

static int check_bpf(struct ha_gates *gates, unsigned *found, struct ha_err *err)
{
    bool fixed, added, was_beside;

    was_beside = is_beside(gates);
    gates->has_bpf = ha_bpf_check(&gates->bpf, &fixed, err) == HA_OK;
    if (was_beside && !gates->has_bpf)
        hand_over(gates);
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
    uint64_t asked_ns = ha_clock_boot_ns();
    struct ha_seen_ports all;
    const int walked = ha_seen_all(gates, &all, err);

    if (walked != HA_OK && walked != HA_EBUSY)
        return walked;
    for (size_t i = 0; i < gates->record_count; i++) {
        struct ha_known_port *record = &gates->records[i];
        struct ha_seen *seen = ha_seen_of(&all, record->port);
        int code = HA_OK;

        assert(seen != NULL);
        if (walked != HA_OK) {
            asked_ns = ha_clock_boot_ns();
            code = ha_seen_one(gates, seen, err);
        }
        if (code != HA_OK)
            return code;
        /* The end was reckoned from the clock after the answer; how long that took is not known. */
        if (seen->guarded &&
            seen->open_ns <= record->deadline_ns + SLACK_NS + (ha_clock_boot_ns() - asked_ns))
            continue;
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
    content = ha_known_content(gates);
    gates->has_nft = ha_nft_install(gates->nft, &content, err) == HA_OK;
    *found |= gates->has_nft ? HA_GATE_FIXED_TABLES : HA_GATE_LOST_TABLES;
    return HA_OK;
}

int ha_gates_check(struct ha_gates *gates, unsigned *ret_found, struct ha_err *err)
{
    unsigned found = gates->fixed;
    int code = HA_OK;

    gates->fixed = 0;
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
