#include "agents/host/arp.h"

#include <assert.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>

#include "lib/base/check.h"

#define ETH_SIZE 14
#define ARP_SIZE 28
#define IP6_SIZE 40
#define ND_SIZE 24   /* with the target, without options */
#define LLA_OPTION 8 /* link-layer address: type, length, address */
#define ND_SOLICIT 135
#define ND_ADVERT 136
#define OPTION_TARGET_LLA 2
#define OPTION_SOURCE_LLA 1

static_assert(HA_ARP_FRAME_SIZE == ETH_SIZE + IP6_SIZE + ND_SIZE + LLA_OPTION, "largest frame");

static void put_ethernet(uint8_t *frame, const uint8_t to[6], const uint8_t from[6], uint16_t type)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    frame[12] = (uint8_t)(type >> 8);
    frame[13] = (uint8_t)type;
}

static size_t build_arp(enum ha_arp_kind kind, const uint8_t mac[6], const struct ha_ip *addr,
                        uint8_t *frame)
{
    static const uint8_t everyone[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t header[] = {0, 1, 0x08, 0, 6, 4, 0}; /* Ethernet, IPv4, sizes */
    uint8_t *arp = frame + ETH_SIZE;

    assert(addr->family == AF_INET);
    put_ethernet(frame, everyone, mac, ETHERTYPE_ARP);
    memset(arp, 0, ARP_SIZE);
    memcpy(arp, header, sizeof(header));
    arp[7] = kind == HA_ARP_ANNOUNCE_REPLY ? 2 : 1;
    memcpy(arp + 8, mac, 6);
    if (kind != HA_ARP_PROBE)
        memcpy(arp + 14, addr->bytes, 4);
    if (kind == HA_ARP_ANNOUNCE_REPLY)
        memcpy(arp + 18, everyone, 6);
    memcpy(arp + 24, addr->bytes, 4);
    return ETH_SIZE + ARP_SIZE;
}

/* RFC 4443 2.3: over the pseudo-header too. */
static void put_checksum(const uint8_t *ip6, uint8_t *icmp, size_t size)
{
    uint32_t sum = (uint32_t)size + IPPROTO_ICMPV6;

    for (size_t i = 8; i < IP6_SIZE; i += 2)
        sum += (uint32_t)(ip6[i] << 8 | ip6[i + 1]);
    for (size_t i = 0; i < size; i += 2)
        sum += (uint32_t)(icmp[i] << 8 | icmp[i + 1]);
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    icmp[2] = (uint8_t)(~sum >> 8);
    icmp[3] = (uint8_t)~sum;
}

static size_t build_nd(enum ha_arp_kind kind, const uint8_t mac[6], const struct ha_ip *addr,
                       uint8_t *frame)
{
    static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
    static const uint8_t solicited[13] = {0xff, 0x02, [11] = 1, [12] = 0xff}; /* RFC 4291 2.7.1 */
    const size_t size = kind == HA_ND_ANNOUNCE ? ND_SIZE + LLA_OPTION : ND_SIZE;
    uint8_t *ip6 = frame + ETH_SIZE, *icmp = ip6 + IP6_SIZE;
    uint8_t group[6] = {0x33, 0x33};

    assert(addr->family == AF_INET6);
    memset(ip6, 0, IP6_SIZE + size);
    ip6[0] = 0x60;
    ip6[5] = (uint8_t)size;
    ip6[6] = IPPROTO_ICMPV6;
    ip6[7] = 255; /* receivers drop what may have been routed */
    memcpy(icmp + 8, addr->bytes, 16);
    if (kind == HA_ND_ANNOUNCE) {
        memcpy(ip6 + 8, addr->bytes, 16);
        memcpy(ip6 + 24, all_nodes, 16);
        icmp[0] = ND_ADVERT;
        icmp[4] = 0x20; /* override */
        icmp[ND_SIZE] = OPTION_TARGET_LLA;
        icmp[ND_SIZE + 1] = 1;
        memcpy(icmp + ND_SIZE + 2, mac, 6);
    } else {
        memcpy(ip6 + 24, solicited, sizeof(solicited));
        memcpy(ip6 + 24 + sizeof(solicited), addr->bytes + 13, 3);
        icmp[0] = ND_SOLICIT;
    }
    put_checksum(ip6, icmp, size);
    memcpy(group + 2, ip6 + 36, 4);
    put_ethernet(frame, group, mac, ETHERTYPE_IPV6);
    return ETH_SIZE + IP6_SIZE + size;
}

size_t ha_arp_build(enum ha_arp_kind kind, const uint8_t mac[6], const struct ha_ip *addr,
                    uint8_t *frame)
{
    switch (kind) {
    case HA_ARP_ANNOUNCE_REQUEST:
    case HA_ARP_ANNOUNCE_REPLY:
    case HA_ARP_PROBE:
        return build_arp(kind, mac, addr, frame);
    case HA_ND_ANNOUNCE:
    case HA_ND_PROBE:
        return build_nd(kind, mac, addr, frame);
    }
    HA_UNREACHABLE();
}

static enum ha_arp_claim parse_arp(const uint8_t *arp, size_t size, const struct ha_ip *addr,
                                   uint8_t ret_mac[6])
{
    static const uint8_t header[] = {0, 1, 0x08, 0, 6, 4, 0};
    static const uint8_t nobody[4] = {0};

    if (size < ARP_SIZE || memcmp(arp, header, sizeof(header)) != 0 || addr->family != AF_INET)
        return HA_ARP_NO_CLAIM;
    memcpy(ret_mac, arp + 8, 6);
    if (memcmp(arp + 14, addr->bytes, 4) == 0)
        return HA_ARP_USES;
    if (arp[7] == 1 && memcmp(arp + 14, nobody, 4) == 0 && memcmp(arp + 24, addr->bytes, 4) == 0)
        return HA_ARP_PROBES;
    return HA_ARP_NO_CLAIM;
}

/* The link-layer address of an option, where there is one; @mac stays as it is otherwise. */
static void read_option(const uint8_t *icmp, size_t size, uint8_t type, uint8_t mac[6])
{
    for (size_t at = ND_SIZE; at + LLA_OPTION <= size && icmp[at + 1] != 0;
         at += (size_t)icmp[at + 1] * 8)
        if (icmp[at] == type && icmp[at + 1] == 1)
            memcpy(mac, icmp + at + 2, 6);
}

static enum ha_arp_claim parse_nd(const uint8_t *ip6, size_t size, const struct ha_ip *addr,
                                  uint8_t ret_mac[6])
{
    static const uint8_t nobody[16] = {0};
    const uint8_t *icmp = ip6 + IP6_SIZE;

    if (size < IP6_SIZE + ND_SIZE || ip6[0] >> 4 != 6 || ip6[6] != IPPROTO_ICMPV6 ||
        ip6[7] != 255 || addr->family != AF_INET6)
        return HA_ARP_NO_CLAIM;
    size -= IP6_SIZE;
    if (icmp[0] == ND_ADVERT && memcmp(icmp + 8, addr->bytes, 16) == 0) {
        read_option(icmp, size, OPTION_TARGET_LLA, ret_mac);
        return HA_ARP_USES;
    }
    if (icmp[0] != ND_SOLICIT)
        return HA_ARP_NO_CLAIM;
    if (memcmp(ip6 + 8, addr->bytes, 16) == 0) {
        read_option(icmp, size, OPTION_SOURCE_LLA, ret_mac);
        return HA_ARP_USES;
    }
    if (memcmp(ip6 + 8, nobody, 16) == 0 && memcmp(icmp + 8, addr->bytes, 16) == 0)
        return HA_ARP_PROBES;
    return HA_ARP_NO_CLAIM;
}

enum ha_arp_claim ha_arp_parse(const uint8_t *frame, size_t size, const struct ha_ip *addr,
                               uint8_t ret_mac[6])
{
    uint16_t type;

    if (size < ETH_SIZE)
        return HA_ARP_NO_CLAIM;
    type = (uint16_t)(frame[12] << 8 | frame[13]);
    memcpy(ret_mac, frame + 6, 6);
    if (type == ETHERTYPE_ARP)
        return parse_arp(frame + ETH_SIZE, size - ETH_SIZE, addr, ret_mac);
    if (type == ETHERTYPE_IPV6)
        return parse_nd(frame + ETH_SIZE, size - ETH_SIZE, addr, ret_mac);
    return HA_ARP_NO_CLAIM;
}

bool ha_arp_schedule(unsigned n, uint64_t *ret_after_ms)
{
    static const uint32_t first_ms[] = {0, 100, 300, 1000, 3000, 10000};
    const unsigned count = HA_ARRAY_LEN(first_ms);

    if (n < count)
        *ret_after_ms = first_ms[n];
    else if (n < count + 10)
        *ret_after_ms = (uint64_t)(n - count + 1) * 60000;
    else
        return false;
    return true;
}
