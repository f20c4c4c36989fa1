/* tests/support/switch/fabric.h - frames between the hosts of a lab: ports on TAP devices, a link
 * with its own faults for each ordered pair of them.
 *
 * Blocking nowhere, one thread. Frames that wait are bounded in bytes; what does not fit is lost
 * and counted, as in a real switch. */
#ifndef HA_TESTS_SUPPORT_SWITCH_FABRIC_H
#define HA_TESTS_SUPPORT_SWITCH_FABRIC_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/prng.h"

#define FABRIC_PORTS_MAX 16
#define FABRIC_NAME_SIZE 16

/* From one port to another; all zero: a perfect cable. Chances per million. */
struct fabric_link {
    uint32_t loss, dup, reorder;
    uint64_t delay_us, jitter_us; /* a frame that is reordered may wait a jitter more */
    bool cut;
    uint64_t last_due_ns; /* frames that are not reordered leave in order */
};

struct fabric_port {
    char name[FABRIC_NAME_SIZE]; /* "": free */
    int fd;
    bool up;
    uint64_t empty_ns; /* nothing it has sent before is still unread */
    struct fabric_link to[FABRIC_PORTS_MAX];
};

struct fabric_frame; /* waits for its time */

struct fabric_stats {
    uint64_t in, out, lost, doubled, reordered, cut, full;
};

struct fabric {
    struct ha_prng chance;
    struct fabric_port ports[FABRIC_PORTS_MAX];
    struct fabric_address {
        uint8_t mac[6];
        uint8_t port;
    } table[4 * FABRIC_PORTS_MAX];
    uint32_t table_count;
    struct fabric_frame **heap; /* the next one first */
    uint32_t heap_count, heap_size;
    uint64_t waiting_bytes, order;
    struct fabric_stats stats;
    /* Who says that it has the watched address: "R <from ns> <to ns> <port> <what>" a line; it was
     * said between the two. */
    FILE *notes;
    uint8_t watched4[4];
};

uint64_t fabric_now_ns(void); /* CLOCK_BOOTTIME */

void fabric_init(struct fabric *fabric, uint64_t seed);
/* A TAP device eth0 in the network namespace at @netns. NULL or what went wrong. */
const char *fabric_attach(struct fabric *fabric, const char *name, const char *netns);
void fabric_detach(struct fabric *fabric, int port);
/* -1: none. */
int fabric_find(const struct fabric *fabric, const char *name);
/* Pull the cable or put it back: the host sees it. */
void fabric_set_up(struct fabric *fabric, int port, bool up);
/* All cables in, all links perfect; what waits is delivered in its time. */
void fabric_heal(struct fabric *fabric);
/* Take what a port has sent, at most some frames of it; false: the device has gone. */
bool fabric_take(struct fabric *fabric, int port);
/* Deliver what is due; the time of the next, UINT64_MAX: none. */
uint64_t fabric_deliver(struct fabric *fabric);

#endif /* HA_TESTS_SUPPORT_SWITCH_FABRIC_H */
