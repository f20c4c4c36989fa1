/* raft/peers.h - frame links among the watchers. Internal to raft/.
 *
 * Loop thread. To each peer we dial one link and only send on it; what it sends comes on the link
 * that it dialled. Dialling is repeated with back-off for ever. A link belongs to an id when its
 * hello says so and TLS proved the configured name of that id. Hooks are only called from
 * ha_peers_turn (on_link) or from the loop (on_frame). */
#ifndef HA_RAFT_PEERS_H
#define HA_RAFT_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "lib/base/prng.h"
#include "lib/io/dns.h"
#include "lib/io/frames.h"
#include "raft/frame.h"
#include "raft/node.h"

#define HA_PEERS_QUEUE_MAX (256u * 1024)     /* above: the link is dropped and dialled again */
#define HA_PEERS_APP_QUEUE_MAX (128u * 1024) /* above: application frames wait with the caller */
#define HA_PEERS_PENDING_MAX 16u             /* accepted links without a hello yet */
#define HA_PEERS_HELLO_MS 2000u
#define HA_PEERS_BACKOFF_MIN_MS 50u
#define HA_PEERS_BACKOFF_MAX_MS 1000u

struct ha_peers;
struct ha_raft_set;

enum ha_peer_state {
    HA_PEER_IDLE, /* next try at retry_ms */
    HA_PEER_RESOLVING,
    HA_PEER_CONNECTING,
    HA_PEER_UP,
};

struct ha_peer {
    struct ha_peers *peers;
    uint32_t id;
    char name[HA_RAFT_NAME_SIZE];
    char host[HA_RAFT_ADDRESS_SIZE];
    uint16_t port;
    enum ha_peer_state state;
    struct ha_stream *stream; /* while connecting */
    struct ha_frames *out;    /* while up */
    struct ha_frames *in;     /* or NULL */
    struct ha_dns_request request;
    unsigned next_addr;
    uint32_t backoff_ms;
    uint64_t retry_ms;
    uint64_t up_ms;
    size_t queue_max; /* now: the limit, or more while a large message drains */
    bool has_heard;
    uint64_t heard_ms;
    bool is_told_up; /* what on_link said last */
    bool was_down;   /* between two turns */
    char last_error[HA_RAFT_REASON_SIZE];
};

/* An accepted stream that has not said who it is. */
struct ha_peer_pending {
    struct ha_peers *peers;
    struct ha_frames *frames; /* NULL: free */
    uint64_t deadline_ms;
};

struct ha_peers_hooks {
    void *ctx;
    void (*on_frame)(void *ctx, uint32_t from, enum ha_frame_type type, const void *data,
                     size_t size);
    void (*on_link)(void *ctx, uint32_t peer, bool is_up);
    /* Our own set has ended, says the watcher that we dialled as @peer. */
    void (*on_over)(void *ctx, uint32_t peer, const struct ha_raft_set *next);
};

struct ha_peers {
    uv_loop_t *loop;
    struct ha_dns *dns;
    const struct ha_raft_options *options; /* borrowed */
    uint64_t set_id;
    const struct ha_raft_set *set; /* borrowed: what its directory remembers, count 0: nothing */
    struct ha_prng prng;
    struct ha_peers_hooks hooks;
    uint32_t count;
    struct ha_peer peer[HA_RAFT_PEERS_MAX]; /* all but us */
    struct ha_peer_pending pending[HA_PEERS_PENDING_MAX];
    uint32_t open; /* streams, frames and dns whose close callback is due */
    bool is_closing;
    void (*close_cb)(void *arg);
    void *close_arg;
};

/* HA_EINVAL: an address; HA_ENOMEM, HA_EIO. @options is borrowed until closed. */
int ha_peers_init(struct ha_peers *peers, uv_loop_t *loop, const struct ha_raft_options *options,
                  const struct ha_peers_hooks *hooks, struct ha_err *err);
/* Before the start: what to tell those of the set before. Borrows. */
void ha_peers_remember(struct ha_peers *peers, const struct ha_raft_set *set);
void ha_peers_start(struct ha_peers *peers);
/* Every heartbeat: dial again, give up late hellos. */
void ha_peers_tick(struct ha_peers *peers);
/* Tell on_link what has changed. */
void ha_peers_turn(struct ha_peers *peers);
/* @cb is the last touch, from the loop. */
void ha_peers_close(struct ha_peers *peers, void (*cb)(void *arg), void *arg);

/* HA_OK; HA_EUNREACH: no link; HA_EFULL: over the queue's limit, see above, or a message larger
 * than the limit behind another; HA_ENOMEM. */
int ha_peers_send(struct ha_peers *peers, uint32_t id, enum ha_frame_type type, const void *data,
                  size_t size);
void ha_peers_adopt(struct ha_peers *peers, struct ha_stream *stream);
/* NULL: not another configured watcher. */
const struct ha_peer *ha_peers_find(const struct ha_peers *peers, uint32_t id);
const struct ha_peer *ha_peers_find_name(const struct ha_peers *peers, const char *name);

#endif /* HA_RAFT_PEERS_H */
