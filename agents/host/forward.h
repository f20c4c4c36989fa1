/* agents/host/forward.h - whether this host hands on packets that are for others; private to this
 * room.
 *
 * Shell, synchronous: a few reads of /proc/sys, fewer the sooner one says yes. */
#ifndef HA_AGENTS_HOST_FORWARD_H
#define HA_AGENTS_HOST_FORWARD_H

#include <stdbool.h>

/* On any interface, IPv4 or IPv6 (ip-sysctl.rst, "forwarding"). True also where that cannot be
 * read. */
bool ha_host_forwards(void);

#endif /* HA_AGENTS_HOST_FORWARD_H */
