/* agents/host/gate_map.h - what the eBPF program and its user space share: maps' keys and values.
 *
 * Plain data, included by both; integer types of <linux/types.h>. A change of any of it is a new
 * HA_GATE_MAP_VERSION. */
#ifndef HA_AGENTS_HOST_GATE_MAP_H
#define HA_AGENTS_HOST_GATE_MAP_H

#include <linux/types.h>

#define HA_GATE_MAP_VERSION 2
#define HA_GATE_MAP_PORTS 1024  /* HA_GATE_PORTS_MAX */
#define HA_GATE_MAP_EXEMPTS 256 /* HA_GATE_EXEMPT_MAX */
#define HA_GATE_MAP_PATH 256

/* Map "exempts": a connection that passes a closed gate while the boot clock is before the value.
 */
struct ha_gate_tuple {
    __u8 local[16], remote[16]; /* IPv4 as ::ffff:a.b.c.d */
    __u16 local_port;           /* host order */
    __u16 remote_port;          /* host order */
};

/* Map "meta", one element; written once, but for the path. */
struct ha_gate_meta {
    __u64 instance;
    __u64 netns_cookie;
    __u32 version;
    __u32 reserved;
    char cgroup[HA_GATE_MAP_PATH];
};

#endif /* HA_AGENTS_HOST_GATE_MAP_H */
