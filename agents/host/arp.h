/* agents/host/arp.h - ARP and neighbour discovery frames, and when to announce.
 *
 * Pure, no allocation. Frames are whole Ethernet frames, so that one kind of socket sends all. */
#ifndef HA_AGENTS_HOST_ARP_H
#define HA_AGENTS_HOST_ARP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/host/ip.h"

#define HA_ARP_FRAME_SIZE 86 /* the largest that is built here */

enum ha_arp_kind {
    HA_ARP_ANNOUNCE_REQUEST, /* gratuitous ARP request, RFC 5227 2.3 */
    HA_ARP_ANNOUNCE_REPLY,   /* gratuitous ARP reply: some listen only to these */
    HA_ARP_PROBE,            /* RFC 5227 2.1.1: sender address zero */
    HA_ND_ANNOUNCE,          /* unsolicited neighbour advertisement, override set, RFC 4861 7.2.6 */
    HA_ND_PROBE,             /* neighbour solicitation from ::, RFC 4862 5.4.2 */
};

/* Build into @frame[HA_ARP_FRAME_SIZE]; returns its size. The ARP kinds want an IPv4 address, the
 * ND kinds an IPv6 one (asserted). */
size_t ha_arp_build(enum ha_arp_kind kind, const uint8_t mac[6], const struct ha_ip *addr,
                    uint8_t *frame);

enum ha_arp_claim {
    HA_ARP_NO_CLAIM,
    HA_ARP_USES,   /* the sender answers for or speaks from the address */
    HA_ARP_PROBES, /* the sender is asking whether it may take the address */
};

/* What a received frame says about @addr; *ret_mac is the sender's own claim, set unless NO_CLAIM.
 * Any bytes may be given. */
enum ha_arp_claim ha_arp_parse(const uint8_t *frame, size_t size, const struct ha_ip *addr,
                               uint8_t ret_mac[6]);

/* When to send the @n-th announcement (from 0) after the claim: at once, 0.1, 0.3, 1, 3, 10 s, then
 * each minute up to the tenth. False: no more. */
bool ha_arp_schedule(unsigned n, uint64_t *ret_after_ms);

#endif /* HA_AGENTS_HOST_ARP_H */
