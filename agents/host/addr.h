/* agents/host/addr.h - a numeric IPv4 or IPv6 address, as the kernel interfaces want it.
 *
 * Pure, plain data, no allocation. */
#ifndef HA_AGENTS_HOST_ADDR_H
#define HA_AGENTS_HOST_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

#define HA_ADDR_TEXT_SIZE 46 /* longest text, with terminator */

struct ha_addr {
    uint8_t family;    /* AF_INET or AF_INET6; 0: none */
    uint8_t bytes[16]; /* network order; IPv4 uses the first four, the rest is zero */
};

/* Numeric text only, no scope, no prefix length. HA_EINVAL. */
int ha_addr_parse(const char *text, struct ha_addr *ret);
/* @text holds HA_ADDR_TEXT_SIZE. */
void ha_addr_format(const struct ha_addr *addr, char *text);
/* From AF_INET or AF_INET6; an IPv4-mapped address becomes IPv4. HA_EINVAL for other families. */
int ha_addr_from_sockaddr(const struct sockaddr *from, struct ha_addr *ret, uint16_t *ret_port);
bool ha_addr_equal(const struct ha_addr *a, const struct ha_addr *b);
/* 4 or 16 */
size_t ha_addr_size(const struct ha_addr *addr);
/* As 16 bytes of IPv6, IPv4 as ::ffff:a.b.c.d. */
void ha_addr_mapped(const struct ha_addr *addr, uint8_t ret[16]);

#endif /* HA_AGENTS_HOST_ADDR_H */
