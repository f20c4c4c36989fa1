/* agents/host/gate_known.h - what one handle knows of its gates, and as which elements it stands in
 * the tables; private to this room.
 *
 * Pure but for the handle's memory. */
#ifndef HA_AGENTS_HOST_GATE_KNOWN_H
#define HA_AGENTS_HOST_GATE_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/host/gate.h"
#include "agents/host/gate_bpf.h"
#include "agents/host/gate_nft.h"
#include "lib/base/err.h"

#define HA_KNOWN_VIPS_MAX 2 /* one per family */
#define HA_KNOWN_ORPHANS_MAX ((size_t)HA_GATE_PORTS_MAX * HA_KNOWN_VIPS_MAX)
#define HA_KNOWN_CONTENT_MAX (HA_GATE_PORTS_MAX * (2 + 4 * HA_KNOWN_VIPS_MAX) + HA_GATE_EXEMPT_MAX)

struct ha_known_port {
    uint16_t port;
    uint64_t asked_ns;                     /* the deadline last asked for */
    uint64_t deadline_ns, vip_deadline_ns; /* what the nft elements were last given */
    struct ha_ip vips[HA_KNOWN_VIPS_MAX];  /* family 0: none */
};

/* A virtual IP that an earlier run left in the table: guarded until a port takes it over. */
struct ha_known_orphan {
    struct ha_ip vip;
    uint64_t deadline_ns;
};

struct ha_known_exempt {
    struct ha_gate_tuple tuple;
    uint64_t deadline_ns;
};

struct ha_gates {
    bool has_bpf, has_nft; /* in force now */
    bool opened_bpf;       /* bpf's fds are valid, attached or not */
    unsigned fixed;        /* put back outside ha_gates_check, which will tell of it */
    uint64_t instance;
    struct ha_bpf bpf;
    struct ha_nft *nft; /* NULL: not wanted, or the kernel cannot */
    size_t record_count, exempt_count, orphan_count;
    struct ha_known_port records[HA_GATE_PORTS_MAX];
    struct ha_known_exempt exempts[HA_GATE_EXEMPT_MAX];
    struct ha_known_orphan orphans[HA_KNOWN_ORPHANS_MAX];
    struct ha_nft_element elements[HA_KNOWN_CONTENT_MAX]; /* scratch of rebuild and adopt */
    char text[HA_ERR_TEXT_SIZE];
};

/* NULL: not guarded. */
struct ha_known_port *ha_known_find(struct ha_gates *gates, uint16_t port);
/* The one that is there, or a new one; NULL: no room. */
struct ha_known_port *ha_known_add(struct ha_gates *gates, uint16_t port);
/* Whether more than one port has it: for a moment, while it goes from one service to another. */
bool ha_known_is_shared(const struct ha_gates *gates, const struct ha_ip *vip);
/* NULL: @vip is none. */
struct ha_known_orphan *ha_known_orphan(struct ha_gates *gates, const struct ha_ip *vip);

struct ha_nft_element ha_known_port_element(enum ha_nft_set set, uint16_t port,
                                            uint64_t deadline_ns);
/* @timed: of the set that says what is open. */
struct ha_nft_element ha_known_vip_element(const struct ha_ip *vip, bool timed,
                                           uint64_t deadline_ns);
/* While it lasts, clients of @vip are refused where it is not local. */
struct ha_nft_element ha_known_refuse_element(const struct ha_ip *vip, uint64_t deadline_ns);
struct ha_nft_element ha_known_exempt_element(const struct ha_known_exempt *exempt);

/* Everything that is known, in the handle's scratch memory. */
struct ha_nft_content ha_known_content(struct ha_gates *gates);
/* Take over ports, virtual IPs and deadlines of tables that an earlier run left. Exemptions end
 * with the run that made them. HA_EFULL. */
int ha_known_adopt(struct ha_gates *gates, const struct ha_nft_content *content,
                   struct ha_err *err);

#endif /* HA_AGENTS_HOST_GATE_KNOWN_H */
