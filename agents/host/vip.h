/* agents/host/vip.h - the virtual IP on this host, by rtnetlink.
 *
 * Shell, synchronous, one thread; each call is one netlink round trip of well under a millisecond
 * (waits end after a second). Needs CAP_NET_ADMIN to change something. Lifetimes are whole seconds
 * and the kernel may take up to one second longer: the gate is the exact guard, this the second
 * net.
 *
 * Order for moving away: shut the gate, ha_sock_kill, ha_vip_remove. */
#ifndef HA_AGENTS_HOST_VIP_H
#define HA_AGENTS_HOST_VIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/host/ip.h"

struct ha_err;
struct ha_vip; /* opaque: the netlink socket */

#define HA_VIP_FOREVER UINT32_MAX
#define HA_NIC_NAME_SIZE 16

struct ha_nic {
    char name[HA_NIC_NAME_SIZE];
    int index;
    bool up;      /* administratively up */
    bool running; /* has a carrier */
    bool has_mac; /* Ethernet-like; otherwise nothing can or need be announced */
    uint8_t mac[6];
};

struct ha_vip_addr {
    struct ha_ip addr;
    uint8_t prefix;       /* length in bits */
    uint32_t valid_s;     /* set: kernel lifetime, not 0; list: what is left; HA_VIP_FOREVER */
    uint32_t preferred_s; /* at most valid_s; 0: never chosen as a source address */
    uint32_t flags;       /* list only: IFA_F_* */
};

/* Gives *ret, freed by ha_vip_close. HA_EIO, HA_ENOMEM. */
int ha_vip_open(struct ha_vip **ret, struct ha_err *err);
void ha_vip_close(struct ha_vip *vip); /* NULL is fine */

/* HA_EINVAL (name), HA_ENOENT (no such interface), HA_EIO. */
int ha_vip_nic(struct ha_vip *vip, const char *name, struct ha_nic *ret, struct ha_err *err);

/* Add the address or give it new lifetimes. IPv6 is added without the kernel's own duplicate
 * detection: do ha_dad first.
 *   HA_EINVAL  prefix or lifetimes make no sense, or the kernel says so
 *   HA_ENOENT  no such interface
 *   HA_EDENIED CAP_NET_ADMIN is missing, or IPv6 is disabled on the interface
 *   HA_EIO */
int ha_vip_set(struct ha_vip *vip, int nic_index, const struct ha_vip_addr *addr,
               struct ha_err *err);

/* HA_ENOENT: it was not there, which is as good as removed. HA_EDENIED, HA_EIO. */
int ha_vip_remove(struct ha_vip *vip, int nic_index, const struct ha_vip_addr *addr,
                  struct ha_err *err);

/* What the kernel has on the interface (0: on all), IPv4 then IPv6. *ret_count may be over
 * @size_max: then only the first @size_max were written. HA_EIO. */
int ha_vip_list(struct ha_vip *vip, int nic_index, struct ha_vip_addr *list, size_t size_max,
                size_t *ret_count, struct ha_err *err);

/* Ask for one address. HA_ENOENT: not on the interface. HA_EIO. *ret may be NULL. */
int ha_vip_find(struct ha_vip *vip, int nic_index, const struct ha_ip *addr,
                struct ha_vip_addr *ret, struct ha_err *err);

/* Make the interface answer ARP only for its own addresses and never use the virtual one as ARP
 * source elsewhere: arp_ignore at least 1, arp_announce at least 2 (all or the interface, the
 * larger counts), verified by reading back. HA_EDENIED: not permitted and not so; HA_ENOENT;
 * HA_EIO. */
int ha_vip_tune(const char *nic_name, struct ha_err *err);

#endif /* HA_AGENTS_HOST_VIP_H */
