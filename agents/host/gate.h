/* agents/host/gate.h - the gate of design section 6.4: the kernel lets a database speak on its port
 * only until a deadline.
 *
 * Shell, synchronous, one thread. A call is a few system calls and netlink round trips, well under
 * a millisecond on a healthy host, and forks nothing; netlink waits end after a second. Deadlines
 * are CLOCK_BOOTTIME nanoseconds of this boot. Ports are TCP ports in host order. Never logs: what
 * a caller should tell is in *err or in a report.
 *
 * One `struct ha_gates` covers all guarded ports of one host, that is of one network namespace. It
 * joins two mechanisms:
 *  - bpf: an eBPF program on the egress of a cgroup, with an absolute deadline per port in a pinned
 *    map. It covers every TCP socket that was created by a process inside that cgroup (or below).
 *    The database must be started inside, or its parent slice given where the cgroup comes and
 * goes.
 *  - nft: timed elements in the tables `inet hafailover` and `arp hafailover`, both directions. It
 *    also resets clients while closed, and keeps the host from answering ARP and neighbour
 *    solicitations for a managed virtual IP while closed.
 *
 * A port that is not guarded passes everywhere. A guarded one is closed until it is set. The gate
 * outlives every process; only ha_gates_unload takes it away. */
#ifndef HA_AGENTS_HOST_GATE_H
#define HA_AGENTS_HOST_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agents/host/ip.h"
#include "lib/core/types.h"

struct ha_err;
struct ha_gates;       /* opaque */
struct ha_replication; /* agents/engine.h */

/* Not below /sys/fs/bpf: systemd mounts that for root only, and tools that switch the network
 * namespace hide it. */
#define HA_GATE_PIN_DIR "/run/hafailover/bpf"
#define HA_GATE_PORTS_MAX 1024
#define HA_GATE_EXEMPT_MAX 256 /* replication connections let through at once */

struct ha_gate_options {
    const char *pin_dir; /* NULL: HA_GATE_PIN_DIR. Hosts that share a bpffs need one each. */
    const char *cgroup;  /* of the database: an absolute path, or one below the cgroup2 mount. load:
                            needed for bpf; open: optional, then it is told when another is gated */
    const uint16_t *ports; /* guarded from the start; more can be added later */
    size_t port_count;
    bool want_bpf, want_nft;
    bool only_look;   /* open: nothing in the kernel is changed; the handle is for reading */
    bool mount_bpffs; /* load: mount a bpffs where pin_dir is on none */
    uid_t owner;      /* load: who the agent runs as; may read and write the pins */
    gid_t group;
};

/* The privileged one-shot, before the database starts: needs CAP_BPF or CAP_SYS_ADMIN for bpf
 * (CAP_SYS_ADMIN to mount), CAP_NET_ADMIN for both. Creates what is wanted and missing, with a
 * fresh random instance id and every port closed. What exists keeps its id and deadlines; new ports
 * are added, closed. A gate whose cgroup is another or was re-created is attached there. HA_EINVAL
 * nothing wanted, no cgroup for bpf, no such cgroup, port 0 or too many ports HA_EBUSY   pin_dir
 * belongs to another network namespace, or the cgroup holds an exclusive program of someone else
 *   HA_ESTALE  the pinned gate is of another version of this program: unload it first
 *   HA_EDENIED capabilities are missing
 *   HA_ENOTSUP the kernel lacks what is wanted, pin_dir is on no bpffs, or this process lives in a
 * time namespace whose boot clock is not the kernel's HA_EIO     anything else, told in the text */
int ha_gates_load(const struct ha_gate_options *options, struct ha_err *err);

/* Remove all of ours: program, maps, pins, tables. Opens every guarded port! HA_EDENIED, HA_EIO;
 * HA_OK also when nothing is there. Options as in load; ports, cgroup and owner are not used. */
int ha_gates_unload(const struct ha_gate_options *options, struct ha_err *err);

/* The agent's handle; gives *ret, freed by ha_gates_close. Needs CAP_NET_ADMIN and the pins' owner.
 * Opens the pinned gate if want_bpf and there is one, opens or creates the tables if want_nft and
 * the kernel can, and guards options->ports (new ones closed). Where neither is there the class is
 * HA_GATE_PROCESS and the instance id is random for each open. What was wanted but is absent is
 * told by ha_gates_text(). HA_EINVAL, HA_ENOMEM; HA_EBUSY, HA_ESTALE, HA_ENOTSUP, HA_EIO as load,
 * where going on without the gate would hide that something is wrong. */
int ha_gates_open(const struct ha_gate_options *options, struct ha_gates **ret, struct ha_err *err);
/* Frees the handle, NULL is fine. The gate in the kernel stays as it is. */
void ha_gates_close(struct ha_gates *gates);

enum ha_gate ha_gates_class(const struct ha_gates *gates);
/* Never HA_INSTANCE_NONE. The same for every open in this boot and network namespace. */
uint64_t ha_gates_instance(const struct ha_gates *gates);
/* One sentence: what is there, and why what was wanted is not. */
const char *ha_gates_text(const struct ha_gates *gates);
/* True when ARP and neighbour answers hang on the gate (that is: with nft). */
bool ha_gates_has_answers(const struct ha_gates *gates);

/* True when the bpf gate covers process @pid: it runs in the gated cgroup or below, and so its new
 * sockets are gated. Ask before the process is let through; false without bpf. */
bool ha_gates_covers(const struct ha_gates *gates, pid_t pid);

/* Guard one more port, closed; nothing changes for a guarded one. HA_EINVAL, HA_EFULL, HA_EIO;
 * HA_OK in class process. */
int ha_gates_guard(struct ha_gates *gates, uint16_t port, struct ha_err *err);
/* The reverse: the port is free for all. Also forgets its virtual IPs. HA_ENOENT, HA_EIO. */
int ha_gates_unguard(struct ha_gates *gates, uint16_t port, struct ha_err *err);

/* Let ARP and neighbour answers for @addr hang on @port's gate, closed for now. At most one address
 * of each family per port; another one replaces it. A port without a table does nothing. NULL: the
 * port has no virtual IP any more. HA_ENOENT: port not guarded. HA_EIO. */
int ha_gates_set_vip(struct ha_gates *gates, uint16_t port, const struct ha_ip *addr,
                     struct ha_err *err);

struct ha_gate_ask {
    uint64_t deadline_ns; /* first instant at which the gate is closed; in the past: close */
    uint16_t port;
    bool with_vip; /* also let the host answer for the port's virtual IPs, until the same instant */
};

/* What the kernel will do; 0 where closed or not there. */
struct ha_gate_state {
    bool guarded;            /* in every mechanism that is there */
    uint64_t bpf_ns;         /* absolute deadline */
    uint64_t nft_ns;         /* latest instant at which the timed element ends */
    uint64_t vip_ns;         /* the same for its virtual IPs */
    uint64_t closed_from_ns; /* nothing leaves from here on: the earlier of the mechanisms' ends */
};

/* Move the deadline of a guarded port, both directions: a renewal, or a shorter end. With bpf a
 * late write is harmless. With nft the remaining time is written, the clock read again after the
 * call and the write repeated, shorter, where the call took so long that the element would outlive
 * the deadline by more than a millisecond. *ret (may be NULL) tells what was achieved; compare
 * nft_ns where it matters. HA_ENOENT  not guarded: ha_gates_check or ha_gates_guard puts it back
 *   HA_ENOTSUP class process
 *   HA_EIO     the kernel refused; the port is then closed in what could be reached */
int ha_gates_set(struct ha_gates *gates, const struct ha_gate_ask *ask, struct ha_gate_state *ret,
                 struct ha_err *err);

/* The slow half, where bpf and nft are both in force (elsewhere it does nothing): set and shut have
 * moved the exact deadline at once, and this brings in line what nft adds to it. @with_vip: let the
 * host answer for the port's virtual IPs as long as the port is open, else not. @reset: while the
 * port is shut, answer clients with resets. Takes some 10 ms; call it when nothing waits for the
 * thread, and again with each renewal. Codes as set. */
int ha_gates_settle(struct ha_gates *gates, uint16_t port, bool with_vip, bool reset,
                    struct ha_err *err);

/* Close at once, exemptions too, verified by reading back. HA_OK is proof that no packet of the
 * port leaves from now on (one that passed the filter before may still be on its way out). Codes as
 * set. */
int ha_gates_shut(struct ha_gates *gates, uint16_t port, struct ha_err *err);

/* The same in parts, for many ports in one turn: shut each, ha_gates_check once, which costs with
 * the number of all guarded ports, then prove each. HA_OK of the last is that proof. */
int ha_gates_shut_unproven(struct ha_gates *gates, uint16_t port, struct ha_err *err);
int ha_gates_prove_shut(struct ha_gates *gates, uint16_t port, struct ha_err *err);

/* Ask the kernel. HA_ENOENT: guarded nowhere; HA_EIO. */
int ha_gates_read(struct ha_gates *gates, uint16_t port, struct ha_gate_state *ret,
                  struct ha_err *err);

/* Let the named connections of @port through its closed gate until @deadline_ns, whatever happens
 * to this process; replaces earlier exemptions of the port; count 0 ends them. Only while a
 * switchover drains. HA_ENOENT, HA_ENOTSUP, HA_EINVAL (a local end that is not @port), HA_EFULL,
 * HA_EIO. */
int ha_gates_exempt(struct ha_gates *gates, uint16_t port, const struct ha_replication *pairs,
                    size_t count, uint64_t deadline_ns, struct ha_err *err);

#define HA_GATE_FIXED_TABLES 1u  /* a table was missing or changed and was built anew */
#define HA_GATE_FIXED_PORTS 2u   /* a guarded port was missing and was put back, closed */
#define HA_GATE_FIXED_PROGRAM 4u /* the program was detached and was attached again */
#define HA_GATE_LOST_PROGRAM 8u  /* it is detached and cannot be attached: no bpf gate any more */
#define HA_GATE_LOST_TABLES 16u  /* they are missing and cannot be built */

/* Call each second: compares what is in the kernel with what was installed and puts it back within
 * the call; tables get the deadlines last set. *ret_found is an OR of the above, 0: all was well.
 * While something is lost the class says so. HA_OK also then; HA_EIO: could not be looked at. */
int ha_gates_check(struct ha_gates *gates, unsigned *ret_found, struct ha_err *err);

/* Mount point of the cgroup2 hierarchy in this mount namespace. HA_ENOENT, HA_EFULL. */
int ha_gates_cgroup_root(char *path, size_t size);

#endif /* HA_AGENTS_HOST_GATE_H */
