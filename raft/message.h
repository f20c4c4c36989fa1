/* raft/message.h - libraft's messages to bytes and back, believing no length. Internal to raft/.
 *
 * Pure but for raft_malloc. The sender's id is not in the bytes: it is who the link proved it to
 * be. The membership of a snapshot is not either: it is fixed. TimeoutNow does not exist here. */
#ifndef HA_RAFT_MESSAGE_H
#define HA_RAFT_MESSAGE_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/node.h"

/* Entries beyond this go with a later message; one entry always fits. */
#define HA_MESSAGE_ENTRIES_BYTES_MAX (1024u * 1024)
#define HA_RAFT_MESSAGE_SIZE_MAX (HA_RAFT_SNAPSHOT_MAX + 4096u) /* a snapshot and its headers */

/* Bytes of @message, with as many of its entries as are sent at once. 0: it is never sent. */
size_t ha_raft_message_size(const struct raft_message *message);

/* Encode into @to[@size], where @size is ha_raft_message_size's. */
bool ha_raft_message_encode(const struct raft_message *message, void *to, size_t size);

/* Decode a message from @from; @ids are all voters. Entries get one allocation each, batch set
 * (rule G6); ha_guard_release frees what it owns. False: malformed, over a limit, or no memory. */
bool ha_raft_message_decode(const void *data, size_t size, uint32_t from, const uint32_t *ids,
                            uint32_t id_count, struct raft_message *ret);

#endif /* HA_RAFT_MESSAGE_H */
