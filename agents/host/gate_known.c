#include "agents/host/gate_known.h"

#include <string.h>
#include <sys/socket.h>

struct ha_known_port *ha_known_find(struct ha_gates *gates, uint16_t port)
{
    for (size_t i = 0; i < gates->record_count; i++)
        if (gates->records[i].port == port)
            return &gates->records[i];
    return NULL;
}

struct ha_known_port *ha_known_add(struct ha_gates *gates, uint16_t port)
{
    struct ha_known_port *record = ha_known_find(gates, port);

    if (record != NULL)
        return record;
    if (gates->record_count == HA_GATE_PORTS_MAX)
        return NULL;
    record = &gates->records[gates->record_count++];
    *record = (struct ha_known_port){.port = port};
    return record;
}

/* How many of the first so many ports have it. */
static size_t owners(const struct ha_gates *gates, size_t count, const struct ha_ip *vip)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++)
        for (size_t v = 0; v < HA_KNOWN_VIPS_MAX; v++)
            found += ha_ip_equal(&gates->records[i].vips[v], vip);
    return found;
}

bool ha_known_is_shared(const struct ha_gates *gates, const struct ha_ip *vip)
{
    return owners(gates, gates->record_count, vip) > 1;
}

struct ha_nft_element ha_known_port_element(enum ha_nft_set set, uint16_t port,
                                            uint64_t deadline_ns)
{
    return (struct ha_nft_element){
        .set = set, .key = ha_nft_port_key(port), .deadline_ns = deadline_ns};
}

struct ha_nft_element ha_known_vip_element(const struct ha_ip *vip, bool timed,
                                           uint64_t deadline_ns)
{
    const enum ha_nft_set set4 = timed ? HA_NFT_VIP4_OPEN : HA_NFT_VIP4;
    const enum ha_nft_set set6 = timed ? HA_NFT_VIP6_OPEN : HA_NFT_VIP6;

    return (struct ha_nft_element){.set = vip->family == AF_INET ? set4 : set6,
                                   .key = ha_nft_addr_key(vip),
                                   .deadline_ns = deadline_ns};
}

struct ha_nft_element ha_known_refuse_element(const struct ha_ip *vip, uint64_t deadline_ns)
{
    return (struct ha_nft_element){.set = vip->family == AF_INET ? HA_NFT_REFUSE4 : HA_NFT_REFUSE6,
                                   .key = ha_nft_addr_key(vip),
                                   .deadline_ns = deadline_ns};
}

struct ha_nft_element ha_known_exempt_element(const struct ha_known_exempt *exempt)
{
    struct ha_nft_element element = {.deadline_ns = exempt->deadline_ns};

    element.key = ha_nft_tuple_key(&exempt->tuple, &element.set);
    return element;
}

struct ha_nft_content ha_known_content(struct ha_gates *gates)
{
    struct ha_nft_element *to = gates->elements;

    for (size_t i = 0; i < gates->record_count; i++) {
        const struct ha_known_port *record = &gates->records[i];

        *to++ = ha_known_port_element(HA_NFT_PORTS, record->port, 0);
        *to++ = ha_known_port_element(HA_NFT_PORTS_OPEN, record->port, record->deadline_ns);
        for (size_t v = 0; v < HA_KNOWN_VIPS_MAX; v++) {
            if (record->vips[v].family == 0 || owners(gates, i, &record->vips[v]) != 0)
                continue;
            *to++ = ha_known_vip_element(&record->vips[v], false, 0);
            *to++ = ha_known_vip_element(&record->vips[v], true, record->vip_deadline_ns);
        }
    }
    for (size_t i = 0; i < gates->orphan_count; i++) {
        *to++ = ha_known_vip_element(&gates->orphans[i].vip, false, 0);
        *to++ = ha_known_vip_element(&gates->orphans[i].vip, true, gates->orphans[i].deadline_ns);
    }
    for (size_t i = 0; i < gates->exempt_count; i++)
        *to++ = ha_known_exempt_element(&gates->exempts[i]);
    return (struct ha_nft_content){.instance = gates->instance,
                                   .elements = gates->elements,
                                   .count = (size_t)(to - gates->elements),
                                   .size_max = HA_KNOWN_CONTENT_MAX};
}

struct ha_known_orphan *ha_known_orphan(struct ha_gates *gates, const struct ha_ip *vip)
{
    for (size_t i = 0; i < gates->orphan_count; i++)
        if (ha_ip_equal(&gates->orphans[i].vip, vip))
            return &gates->orphans[i];
    return NULL;
}

static bool adopt_port(struct ha_gates *gates, const struct ha_nft_element *element)
{
    const uint16_t port = (uint16_t)(element->key.bytes[0] << 8 | element->key.bytes[1]);
    struct ha_known_port *record;

    if (element->set == HA_NFT_PORTS)
        return ha_known_add(gates, port) != NULL;
    record = ha_known_find(gates, port);
    if (record != NULL)
        record->deadline_ns = element->deadline_ns;
    return true;
}

static bool adopt_vip(struct ha_gates *gates, const struct ha_nft_element *element)
{
    struct ha_ip vip = {.family = element->key.size == 4 ? AF_INET : AF_INET6};
    struct ha_known_orphan *orphan;

    memcpy(vip.bytes, element->key.bytes, element->key.size);
    orphan = ha_known_orphan(gates, &vip);
    if (orphan != NULL) {
        orphan->deadline_ns = element->deadline_ns;
    } else if (!element->deadline_ns) {
        if (gates->orphan_count == HA_KNOWN_ORPHANS_MAX)
            return false;
        gates->orphans[gates->orphan_count++] = (struct ha_known_orphan){.vip = vip};
    }
    return true;
}

/* Sets come in the order of their enumeration: what is guarded before what of it is open. */
int ha_known_adopt(struct ha_gates *gates, const struct ha_nft_content *content, struct ha_err *err)
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
