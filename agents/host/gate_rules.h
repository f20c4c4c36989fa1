/* agents/host/gate_rules.h - our nftables tables, chains, sets and rules as netlink messages;
 * private to this room.
 *
 * Pure: writes into a batch in the caller's memory. */
#ifndef HA_AGENTS_HOST_GATE_RULES_H
#define HA_AGENTS_HOST_GATE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/host/gate_nft.h"

/* Room for every element of as many databases as there may be, at one message each. */
#define HA_NFT_BATCH_SIZE (512u << 10)

/* A transaction under construction: between a begin and an end message. */
struct ha_nft_batch {
    uint8_t *data;     /* HA_NFT_BATCH_SIZE, aligned for a message */
    size_t size, last; /* bytes written; where the last message starts */
    uint32_t seq;      /* of the next message */
    bool full;         /* something did not fit: do not send */
};

struct ha_nft_set_info {
    const char *name;
    uint8_t family; /* of its table */
    bool timed;
    uint32_t key_type, key_size; /* type: what nft(8) shows */
};

extern const struct ha_nft_set_info ha_nft_sets[HA_NFT_SETS];

/* @generation: of all rulesets of the network namespace, without which the kernel refuses the batch
 * with ERESTART; 0: any. */
void ha_nft_batch_begin(struct ha_nft_batch *batch, uint8_t *data, uint32_t seq,
                        uint32_t generation);
/* The number of the last message before the end, which then asks for an acknowledgement. */
uint32_t ha_nft_batch_end(struct ha_nft_batch *batch);

/* Delete the tables, whether they are there or not. */
void ha_nft_batch_clear(struct ha_nft_batch *batch);
/* Both tables with empty sets, then the rules. @comment is shown by nft(8). @refuses: with those
 * that refuse clients of a virtual IP that is elsewhere. */
void ha_nft_batch_tables(struct ha_nft_batch *batch, const char *comment, bool refuses);
/* Only what a ticket needs; nothing changes where it is there. */
void ha_nft_batch_ticket_set(struct ha_nft_batch *batch);
void ha_nft_batch_rules(struct ha_nft_batch *batch, bool refuses);
/* @timeout_ms 0: untimed. Adding a timed element that is there fails with EEXIST, since it would
 * keep its old end. */
void ha_nft_batch_add(struct ha_nft_batch *batch, const struct ha_nft_element *element,
                      uint64_t timeout_ms);
void ha_nft_batch_del(struct ha_nft_batch *batch, const struct ha_nft_element *element);

#endif /* HA_AGENTS_HOST_GATE_RULES_H */
