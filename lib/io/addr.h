/* lib/io/addr.h - numeric addresses: IPv4, IPv6 and UNIX sockets as one plain struct.
 *
 * Pure, no allocation, no name resolution (that is dns.h). */
#ifndef HA_IO_ADDR_H
#define HA_IO_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define HA_ADDR_TEXT_SIZE 128 /* "[v6%scope]:port" or "unix:/path", terminated */

struct ha_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t size; /* of the member that sa.sa_family names; 0 means no address */
};

/* Take "1.2.3.4:port", "[v6]:port" or "unix:/absolute/path". @port_default (0: required) stands in
 * for a missing port. HA_EINVAL: something else (also a host name); HA_EFULL: path too long. */
int ha_addr_parse(const char *text, uint16_t port_default, struct ha_addr *ret);

/* The same from parts: a numeric @host and a @port. HA_EINVAL. */
int ha_addr_from_ip(const char *host, uint16_t port, struct ha_addr *ret);

/* Write what ha_addr_parse takes; @text holds HA_ADDR_TEXT_SIZE. Returns @text. */
const char *ha_addr_text(const struct ha_addr *addr, char *text);

uint16_t ha_addr_port(const struct ha_addr *addr); /* 0 for UNIX sockets */
bool ha_addr_is_unix(const struct ha_addr *addr);

/* True for UNIX sockets, 127.0.0.0/8 and ::1: where plain text may be spoken. */
bool ha_addr_is_local(const struct ha_addr *addr);

/* Same family and same host, whatever the port. IPv6 compares the /64 only, which is what one
 * host or customer usually commands. UNIX sockets are all one source. */
bool ha_addr_same_source(const struct ha_addr *a, const struct ha_addr *b);

#endif /* HA_IO_ADDR_H */
