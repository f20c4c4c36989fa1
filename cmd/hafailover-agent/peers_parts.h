/* cmd/hafailover-agent/peers_parts.h - the two halves of peers.h: who is asked, and who asks.
 *
 * Shell, loop thread; only peers*.c include this. */
#ifndef HA_CMD_HAFAILOVER_AGENT_PEERS_PARTS_H
#define HA_CMD_HAFAILOVER_AGENT_PEERS_PARTS_H

#include "cmd/hafailover-agent/peers.h"
#include "lib/core/limits.h"
#include "lib/io/dns.h"
#include "lib/io/frames.h"
#include "lib/wire/message.h"

#define PEER_FRAME_TYPE 1u
#define PEER_PREFIX "agent/"

struct asked; /* an agent that is asked, see peers_asked.c */

struct asking { /* the connection of an agent that asks */
    struct ha_peer_links *links;
    struct asking *next;
    struct ha_frames *frames;
    bool closing, greeted;
    char name[HA_NAME_SIZE];
    uint64_t instance;
    uint64_t heard_ms;
    struct ha_message words; /* to be sent */
};

struct ha_peer_links {
    struct ha_host *host;
    struct ha_dns *dns;
    uv_timer_t timer;
    struct ha_peers known; /* what a watcher said last */
    struct ha_listener *listener;
    bool deaf; /* not all of the ports are listened on: tried again */
    uint32_t asked_count;
    struct asked *asked; /* HA_PEERS_MAX */
    struct asking *asking;
    uint8_t *frame_data;
    unsigned open_parts; /* of closing */
    void (*close_cb)(struct ha_host *host);
};

bool ha_peers_knows(const struct ha_peer_links *links, const char *agent);
void ha_peers_part_closed(struct ha_peer_links *links);
/* HA_OK, or why the connection is of no use any more. */
int ha_peers_send(struct ha_peer_links *links, struct ha_frames *frames,
                  const struct ha_message *message);

/* peers_asked.c */
int ha_peers_asked_open(struct ha_peer_links *links);
void ha_peers_asked_flush(struct ha_peer_links *links);
void ha_peers_asked_poll(struct ha_peer_links *links);
/* Counts what it closes into open_parts. */
void ha_peers_asked_close(struct ha_peer_links *links);

#endif /* HA_CMD_HAFAILOVER_AGENT_PEERS_PARTS_H */
