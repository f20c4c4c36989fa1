/* agents/host/gate_nft.h - the nftables half of the gate; private to this room.
 *
 * Shell, synchronous, one thread. Two tables of our own, `inet hafailover` and `arp hafailover`.
 * Everything timed is an element that the kernel lets expire; a missing element means closed. What
 * is never timed (rules, guarded ports, virtual IPs) is compared with what was installed.
 *
 * A timeout counts from when the kernel takes it, which may be any time after it was computed, if
 * we are stopped in between. A renewal replaces an element that expires meanwhile, and then fails.
 * Where there is none, opening first takes a ticket, an element that expires soon, and hands it in
 * with the change, so that a late one is refused whole. */
#ifndef HA_AGENTS_HOST_GATE_NFT_H
#define HA_AGENTS_HOST_GATE_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/host/gate_map.h"
#include "agents/host/ip.h"

struct ha_err;
struct ha_nft; /* opaque: the netlink socket and what was installed */

#define HA_NFT_TABLE "hafailover"
/* How late an opening, or tables with what is open, may reach the kernel, and so end. */
#define HA_NFT_LATE_MS 100u

/* The timed and untimed sets; each untimed one says what is guarded, its timed twin what is open.
 */
enum ha_nft_set {
    HA_NFT_PORTS,
    HA_NFT_PORTS_OPEN,
    HA_NFT_EXEMPT4,
    HA_NFT_EXEMPT6,
    HA_NFT_VIP6,
    HA_NFT_VIP6_OPEN,
    HA_NFT_VIP4,
    HA_NFT_VIP4_OPEN,
    HA_NFT_TICKET,  /* from here on no content */
    HA_NFT_REFUSE4, /* timed: virtual IPs whose clients are refused where they are not local */
    HA_NFT_REFUSE6,
    HA_NFT_SETS
};

struct ha_nft_key {
    uint8_t bytes[40];
    uint32_t size;
};

/* One element of a set; deadline 0 in an untimed set, and in a timed one where it is absent. */
struct ha_nft_element {
    enum ha_nft_set set;
    struct ha_nft_key key;
    uint64_t deadline_ns;
    bool absent; /* put: believed not to be there, which saves a refused transaction if true */
};

/* Everything that is in the tables, but for rules. */
struct ha_nft_content {
    uint64_t instance;
    struct ha_nft_element *elements; /* owned by whoever made the content */
    size_t count, size_max;
};

struct ha_nft_key ha_nft_port_key(uint16_t port);
struct ha_nft_key ha_nft_addr_key(const struct ha_ip *addr);
/* The exempt set's key, and which of the two sets it belongs to. */
struct ha_nft_key ha_nft_tuple_key(const struct ha_gate_tuple *tuple, enum ha_nft_set *ret_set);

/* Gives *ret. HA_ENOTSUP: no nftables in this kernel; HA_ENOMEM, HA_EDENIED, HA_EIO. */
int ha_nft_open(struct ha_nft **ret, struct ha_err *err);
void ha_nft_close(struct ha_nft *nft); /* NULL is fine */

/* What is in the kernel now, with deadlines no later than the kernel's, to be installed again:
 * either is HA_EBUSY if anybody changed a ruleset meanwhile. HA_ENOENT: no table. content->elements
 * is the caller's memory of size_max; HA_EFULL when there is more. */
int ha_nft_read_all(struct ha_nft *nft, struct ha_nft_content *content, struct ha_err *err);

/* Build both tables anew with @content in one transaction and remember what they look like; without
 * the rules that refuse where the kernel lacks what these need. HA_EIO, HA_EDENIED, HA_ENOTSUP. */
int ha_nft_install(struct ha_nft *nft, const struct ha_nft_content *content, struct ha_err *err);
/* Remove both tables; HA_OK also when there are none. */
int ha_nft_remove(struct ha_nft *nft, struct ha_err *err);
/* True when the tables' rules, chains and sets are as installed. */
int ha_nft_intact(struct ha_nft *nft, bool *ret_intact, struct ha_err *err);

/* Make the @count elements so, all in one transaction: in an untimed set present, or absent if
 * @remove; in a timed one until the deadline, absent where it has passed or @remove. Returns with
 * *ret_until_ns (may be NULL) the latest instant at which a timed one ends. HA_ENOENT: a table is
 * gone. HA_EIO, HA_EDENIED. */
int ha_nft_put(struct ha_nft *nft, const struct ha_nft_element *elements, size_t count, bool remove,
               uint64_t *ret_until_ns, struct ha_err *err);

/* HA_ENOENT: not in its set. For timed ones element->deadline_ns is filled in: the latest instant
 * at which it ends. */
int ha_nft_find(struct ha_nft *nft, struct ha_nft_element *element, struct ha_err *err);

/* Every element of one set in one question: asking one by one costs the kernel a walk through the
 * set each time. @visit gets them with deadlines as ha_nft_find gives them; UINT64_MAX: no end.
 * NULL comes first, and again where the kernel makes us begin anew: forget what you saw. A table
 * that is gone has none. HA_EBUSY: rulesets change faster than they can be read; HA_EIO,
 * HA_EDENIED. */
typedef void (*ha_nft_visit)(void *data, const struct ha_nft_element *element);
int ha_nft_walk(struct ha_nft *nft, enum ha_nft_set set, ha_nft_visit visit, void *data,
                struct ha_err *err);

#endif /* HA_AGENTS_HOST_GATE_NFT_H */
