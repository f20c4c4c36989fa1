/* raft/node_private.h - shared by the two halves of a node: its doors and libraft's io. */
#ifndef HA_RAFT_NODE_PRIVATE_H
#define HA_RAFT_NODE_PRIVATE_H

#include <uv.h>

#include "raft/care.h"
#include "raft/io_disk.h"
#include "raft/node.h"
#include "raft/peers.h"
#include "raft/seat.h"

struct ha_raft {
    uv_loop_t *loop;
    struct ha_raft_options options;
    struct ha_raft_hooks hooks;
    struct ha_seat seat;
    struct ha_disk disk;
    struct ha_peers peers;
    struct ha_raft_set set;       /* what the directory remembers; count 0: nothing */
    struct ha_store_state loaded; /* until libraft asks for it */
    struct raft_io io;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb io_close_cb;
    struct ha_prng prng;
    uv_timer_t timer;
    bool is_stalled; /* the disk, as last told */
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active: something waits for a turn, do not sleep */
    unsigned handles;
    unsigned parts_open; /* of the io: peers and disk */
    bool is_closing;
    ha_raft_close_cb close_cb;
    void *close_arg;
};

/* The raft_io of this node over its disk, peers and timer: raft/node_io.c. */
void ha_raft_set_up_io(struct ha_raft *raft);

/* Hand a message to libraft; takes what it holds. One that would wait for a slow disk is lost. */
void ha_raft_hear(struct ha_raft *raft, struct raft_message *message);

#endif /* HA_RAFT_NODE_PRIVATE_H */
