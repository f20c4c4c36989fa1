/* raft/peers.h - authenticated links among watchers: frames out on the link we dialled, frames in
 * on the link the peer dialled. Internal to raft/.
 *
 * Loop thread. One outbound link per peer, dialled again with back-off and jitter (50 ms to 1 s)
 * for as long as the hub lives; one inbound link per peer, the newest. The first frame of a link is
 * a hello that must name this cluster, this set of watchers, us, and the peer whose name TLS has
 * proven. A peer that does not take what is queued for it is cut off and dialled again. */
#ifndef HA_RAFT_PEERS_H
#define HA_RAFT_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/node.h"

#define HA_PEERS_QUEUE_MAX (256u * 1024)

struct ha_peers; /* opaque */

struct ha_peers_hooks {
    void *ctx;
    /* An authenticated frame of @peer, HELLO excepted; borrows. False: malformed, its link ends. */
    bool (*frame)(void *ctx, uint32_t peer, uint8_t type, const void *data, size_t size);
    /* The outbound link came up or went down. */
    void (*link)(void *ctx, uint32_t peer, bool is_up);
};

/* Copies @options (tls borrowed) and @hooks. Dials nothing yet. HA_ENOMEM, HA_EIO. */
int ha_peers_open(struct uv_loop_s *loop, const struct ha_raft_options *options,
                  const struct ha_peers_hooks *hooks, struct ha_peers **ret);

/* Begin to dial. */
void ha_peers_start(struct ha_peers *peers);

/* Everything closes; @cb is the last touch. */
void ha_peers_close(struct ha_peers *peers, void (*cb)(void *arg), void *arg);

/* Queue one frame; copied. HA_EUNREACH: no link now. HA_EFULL: the peer is slow; the link ends. */
int ha_peers_send(struct ha_peers *peers, uint32_t peer, uint8_t type, const void *data,
                  size_t size);

/* As ha_raft_adopt. */
void ha_peers_adopt(struct ha_peers *peers, struct ha_stream *stream);

bool ha_peers_is_peer(const struct ha_peers *peers, const char *name);

/* Fill in connected, heard_ago_ms and last_error of @ret->id. */
void ha_peers_get_status(const struct ha_peers *peers, struct ha_raft_peer_status *ret);

#endif /* HA_RAFT_PEERS_H */
