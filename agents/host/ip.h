/* agents/host/ip.h - a numeric IPv4 or IPv6 address, as the kernel interfaces want it.
 *
 * Pure, plain data, no allocation. */
#ifndef HA_AGENTS_HOST_IP_H
#define HA_AGENTS_HOST_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

#define HA_IP_TEXT_SIZE 46 /* longest text, with terminator */

struct ha_ip {
    uint8_t family;    /* AF_INET or AF_INET6; 0: none */
    uint8_t bytes[16]; /* network order; IPv4 uses the first four, the rest is zero */
};

/* Numeric text only, no scope, no prefix length. HA_EINVAL. */
int ha_ip_parse(const char *text, struct ha_ip *ret);
/* @text holds HA_IP_TEXT_SIZE. */
void ha_ip_format(const struct ha_ip *addr, char *text);
/* From AF_INET or AF_INET6; an IPv4-mapped address becomes IPv4. HA_EINVAL for other families. */
int ha_ip_from_sockaddr(const struct sockaddr *from, struct ha_ip *ret, uint16_t *ret_port);
bool ha_ip_equal(const struct ha_ip *a, const struct ha_ip *b);
/* 4 or 16 */
size_t ha_ip_size(const struct ha_ip *addr);
/* As 16 bytes of IPv6, IPv4 as ::ffff:a.b.c.d. */
void ha_ip_mapped(const struct ha_ip *addr, uint8_t ret[16]);

#endif /* HA_AGENTS_HOST_IP_H */
