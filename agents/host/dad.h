/* agents/host/dad.h - speak ARP and neighbour discovery on one interface: announce an address,
 * and find out whether another host has it.
 *
 * Shell, everything on the thread of the given loop. One `struct ha_neigh` per interface, opened
 * once and kept: closing a packet socket costs tens of milliseconds. Needs CAP_NET_RAW. */
#ifndef HA_AGENTS_HOST_DAD_H
#define HA_AGENTS_HOST_DAD_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "agents/host/ip.h"
#include "agents/host/vip.h"

struct ha_err;
struct ha_neigh; /* opaque */
struct ha_dad;

/* Someone else uses an address that ha_neigh_watch named. */
typedef void (*ha_neigh_conflict_cb)(void *data, const struct ha_ip *addr, const uint8_t mac[6]);
typedef void (*ha_neigh_close_cb)(void *data);
/* See struct ha_dad. */
typedef void (*ha_dad_cb)(struct ha_dad *dad, int result);

#define HA_NEIGH_WATCHED_MAX 64

struct ha_neigh_options {
    uv_loop_t *loop;
    const struct ha_nic *nic;         /* borrowed; has_mac */
    void *data;                       /* for both callbacks */
    ha_neigh_conflict_cb conflict_cb; /* may be NULL */
};

/* Gives *ret; ends with ha_neigh_close. HA_EINVAL (no Ethernet), HA_EDENIED, HA_ENOMEM, HA_EIO. */
int ha_neigh_open(const struct ha_neigh_options *options, struct ha_neigh **ret,
                  struct ha_err *err);
/* Ends detections under way with HA_ECANCELED, then calls @cb (may be NULL) with the options' data,
 * once, from the loop; the handle must not be used after this call. */
void ha_neigh_close(struct ha_neigh *neigh, ha_neigh_close_cb cb);

/* Tell all neighbours that @addr is here: gratuitous ARP request and reply, or an unsolicited
 * advertisement. Refuses at or after @until_boot_ns, the end of the right to the address, so that
 * an agent that was stopped in between sends nothing when it wakes. Calls are paced by
 * ha_arp_schedule. HA_ETIMEDOUT  the right has ended; nothing was sent HA_EIO        e.g. the
 * interface is down */
int ha_neigh_announce(struct ha_neigh *neigh, const struct ha_ip *addr, uint64_t until_boot_ns,
                      struct ha_err *err);

/* Call conflict_cb whenever another MAC is heard using @addr; on false stop that. HA_EFULL, HA_EIO.
 */
int ha_neigh_watch(struct ha_neigh *neigh, const struct ha_ip *addr, bool on);

struct ha_dad_spec {
    struct ha_ip addr;
    uint32_t probes;      /* sent at equal distances, the first at once; 1 to 10 */
    uint32_t interval_ms; /* between probes */
    uint32_t wait_ms;     /* after the last one; the whole lasts (probes - 1) * interval + wait */
};

/* Duplicate detection. The caller owns the memory and lends it from a successful start until the
 * callback: exactly one call, from the loop, last touch, may free it. Results:
 *   HA_OK        nobody answered: the address is free
 *   HA_EEXIST    dad->mac has it, or is probing for it at the same time
 *   HA_ECANCELED canceled, or the interface's handle was closed
 *   HA_EIO       not one probe could be sent, so silence proves nothing */
struct ha_dad {
    void *data; /* the caller's */
    uint8_t mac[6];
    /* private */
    ha_dad_cb cb;
    struct ha_neigh *neigh;
    struct ha_dad *next;
    struct ha_dad_spec spec;
    uint32_t sent, tried;
    int result;
    bool closing;
    uv_timer_t timer;
};

/* HA_EINVAL: a spec out of bounds, HA_ECLOSED: the handle is closing; then no callback. */
int ha_dad_start(struct ha_dad *dad, struct ha_neigh *neigh, const struct ha_dad_spec *spec,
                 ha_dad_cb cb);
void ha_dad_cancel(struct ha_dad *dad); /* harmless while it is ending */

#endif /* HA_AGENTS_HOST_DAD_H */
