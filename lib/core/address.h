/* lib/core/address.h - what a host is called: numeric addresses and names, compared by meaning.
 *
 * Pure, no allocation, no look-up: a name is never resolved here. */
#ifndef HA_CORE_ADDRESS_H
#define HA_CORE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

/* Address length in bits, 32 or 128, of a numeric address (no scope, no brackets); 0: it is none.
 */
uint32_t ha_address_bits(const char *host);

/* True for a numeric address of one host that may move: not unspecified, loopback, multicast or
 * broadcast. */
bool ha_address_is_unicast(const char *host);

/* True for a numeric address or a host name (RFC 1123, also with '_'); false for what only looks
 * like an address, such as 10.0.0.300. */
bool ha_address_is_host(const char *host);

/* Equal addresses in any spelling, or equal names whatever their case. */
bool ha_address_equal(const char *a, const char *b);
/* Equal for what ha_address_equal calls equal. */
uint64_t ha_address_hash(const char *host);

#endif /* HA_CORE_ADDRESS_H */
