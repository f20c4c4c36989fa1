/* agents/host/gate_bpf.h - the eBPF half of the gate; private to this room.
 *
 * Shell, synchronous, one thread. gate_load.c creates and pins, gate_bpf.c uses what is pinned. In
 * pin_dir: deadlines, exempts, meta, prog, link; meta is pinned last, so that where it is, all is.
 */
#ifndef HA_AGENTS_HOST_GATE_BPF_H
#define HA_AGENTS_HOST_GATE_BPF_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/host/gate_map.h"

struct ha_err;
struct ha_gate_options;

struct ha_bpf {
    int deadlines, exempts, meta, prog, link; /* fds, -1: not open */
    uint64_t instance;
    char pin_dir[PATH_MAX - 64]; /* leaves room for a pin's name */
    char cgroup[HA_GATE_MAP_PATH];
};

/* All fds -1. */
void ha_bpf_init(struct ha_bpf *bpf);
void ha_bpf_close(struct ha_bpf *bpf);

/* Open what is pinned. HA_ENOENT: nothing; else as ha_gates_open. */
int ha_bpf_open(struct ha_bpf *bpf, const char *pin_dir, struct ha_err *err);
/* As ha_gates_load; a new gate gets @instance. */
int ha_bpf_load(const struct ha_gate_options *options, uint64_t instance, struct ha_err *err);
int ha_bpf_unload(const char *pin_dir, struct ha_err *err);

/* Add @port closed if it is not there. */
int ha_bpf_guard(struct ha_bpf *bpf, uint16_t port, bool *ret_added, struct ha_err *err);
int ha_bpf_unguard(struct ha_bpf *bpf, uint16_t port, struct ha_err *err);
/* Only for a port that is there: HA_ENOENT. */
int ha_bpf_set(struct ha_bpf *bpf, uint16_t port, uint64_t deadline_ns, struct ha_err *err);
int ha_bpf_get(struct ha_bpf *bpf, uint16_t port, uint64_t *ret_deadline_ns, struct ha_err *err);
/* Guarded ports, at most @size_max. */
int ha_bpf_ports(struct ha_bpf *bpf, uint16_t *ports, size_t size_max, size_t *ret_count,
                 struct ha_err *err);

int ha_bpf_exempt(struct ha_bpf *bpf, const struct ha_gate_tuple *tuple, uint64_t deadline_ns,
                  struct ha_err *err);
/* Forget all exemptions of @port. */
int ha_bpf_exempt_clear(struct ha_bpf *bpf, uint16_t port, struct ha_err *err);

/* HA_OK: the program is attached to the cgroup at its path. HA_ENOENT: there is no such cgroup;
 * HA_ESTALE: not attached to it, or the pin is gone. */
int ha_bpf_look(const struct ha_bpf *bpf, struct ha_err *err);
/* See that the program is attached to the cgroup at its path; attach and pin it again if not.
 * HA_OK, also when *ret_fixed; else it is not attached. */
int ha_bpf_check(struct ha_bpf *bpf, bool *ret_fixed, struct ha_err *err);

/* Attach to bpf->cgroup, replacing bpf->link and its pin. */
int ha_bpf_attach(struct ha_bpf *bpf, struct ha_err *err);
/* 0 where the network namespace has no cookie. */
uint64_t ha_netns_cookie(void);

#endif /* HA_AGENTS_HOST_GATE_BPF_H */
