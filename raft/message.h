/* raft/message.h - libraft's messages as bytes: the only place that trusts a length from the wire,
 * after checking it. Internal to raft/.
 *
 * Pure but for raft_malloc. Every count and size is bounded before memory is taken for it; what is
 * taken never exceeds what arrived. TimeoutNow is not carried (guard, G3). */
#ifndef HA_RAFT_MESSAGE_H
#define HA_RAFT_MESSAGE_H

#include <raft.h>
#include <stddef.h>
#include <stdint.h>

#define HA_MESSAGE_SIZE_MAX (8u * 1024 * 1024) /* of one encoded message */

/* Bytes of the encoding; 0 for a message that is not carried or too large. */
size_t ha_message_size(const struct raft_message *message);

/* Write exactly ha_message_size() bytes to @to. */
void ha_message_encode(const struct raft_message *message, void *to, size_t size);

/* Decode what the authenticated peer @from sent. Entries and snapshot data come from raft_malloc and
 * belong to whoever takes the message (libraft), each entry in a batch of its own (guard, G6).
 * HA_EPROTO, HA_ENOMEM: nothing is allocated, *ret is untouched. */
int ha_message_decode(const void *data, size_t size, raft_id from, struct raft_message *ret);

/* Free what a decoded message owns; for one that nobody took. */
void ha_message_free(struct raft_message *message);

#endif /* HA_RAFT_MESSAGE_H */
