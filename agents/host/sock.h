/* agents/host/sock.h - reset established TCP connections of a virtual IP or a guarded port.
 *
 * Shell, synchronous, one thread. Needs CAP_NET_ADMIN and a kernel with INET_DIAG_DESTROY.
 * Listening sockets are left alone. The peer gets a reset (through a closed gate too: resets pass
 * it), the local program an error. Call it before the address is removed: a reset from an address
 * that is gone reaches nobody. */
#ifndef HA_AGENTS_HOST_SOCK_H
#define HA_AGENTS_HOST_SOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "agents/host/ip.h"

struct ha_err;

#define HA_SOCK_PORT_WORDS 1024

struct ha_sock_match {
    const struct ha_ip *local; /* NULL: any local address */
    uint16_t port;             /* local port; 0: any, or one of: */
    const uint64_t *ports;     /* NULL, or a bit for each, in HA_SOCK_PORT_WORDS words */
    bool once;                 /* who connects meanwhile may be left: half the time */
    bool spare_own;            /* not those whose other end is a socket of this process */
};                             /* Something must be said. */

/* Walks all connections of the host, some 4 ms where its table is large (as with 16 GiB of memory),
 * and as long again to see that none is left. Reset all that match, in IPv4 and IPv6 (also IPv4 on
 * IPv6 sockets); *ret_count (may be NULL) says how many. Those that went away by themselves
 * meanwhile are no error. HA_EINVAL    matches everything HA_ENOTSUP   this kernel cannot: the
 * peers find out by a timeout or the next host's reset HA_EDENIED   CAP_NET_ADMIN is missing
 *   HA_ETIMEDOUT some were left after 200 ms: call again
 *   HA_EIO */
int ha_sock_kill(const struct ha_sock_match *match, uint32_t *ret_count, struct ha_err *err);

#endif /* HA_AGENTS_HOST_SOCK_H */
