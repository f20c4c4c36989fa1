/* lib/core/message.h - what watchers and agents say to each other.
 *
 * Pure, plain data; encoded by lib/wire/message. Times that are echoed are opaque to the other
 * side: monotonic time never crosses a host. */
#ifndef HA_CORE_MESSAGE_H
#define HA_CORE_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/types.h"

/* Agent to watcher, one per service in each heartbeat frame. */
struct ha_status {
    uint32_t service;
    uint32_t member;
    uint64_t epoch;      /* it claims the lease of this epoch; HA_EPOCH_NONE: of none */
    uint64_t given_up;   /* highest epoch it ended for good, durably; its gate for it is closed */
    uint64_t epoch_seen; /* highest epoch it was told of, durably */
    uint64_t sealed;     /* it has stopped receiving from epochs below this one, durably; 0: not */
    bool noteless;       /* its disk takes no notes: it could take no epoch now */
    enum ha_verdict given_up_why;
    enum ha_process process;
    uint32_t answer_age_ms;  /* since the database last answered the agent */
    struct ha_sample sample; /* the last one */
    uint32_t follows;        /* member it replicates from, if the address is one of ours */
    enum ha_gate gate;       /* class */
    bool gate_open;
    uint32_t gate_left_ms;
    uint32_t lease_left_ms;
    bool vip_held;
    bool settled;         /* holder: gate open, address claimed and announced */
    uint64_t order_epoch; /* the last order taken: what became of it */
    enum ha_order_kind order;
    enum ha_result result;
    uint64_t sync_index; /* holder: of the standby names in effect, durably noted; 0: none */
    /* Its promises to other agents (design, 6.6) */
    uint64_t memory;       /* made anew where what was promised before is forgotten, or another's */
    uint32_t awake_ms;     /* since its start: what it promised before is not remembered */
    uint32_t hold_left_ms; /* what may be left of its promises, for any epoch, since its start */
    uint64_t hold_index;   /* holder: of the set that alone may keep its lease, durably noted */
    uint32_t hold_given;   /* holder: bit per member of it whose promise runs now */
    bool holding;          /* holder: it has its lease of these promises, and not of watchers ... */
    uint32_t hold_age_ms;  /* ... since */
    char text[HA_TEXT_SIZE]; /* why it failed, or what it waits for */
};

struct ha_heartbeat {
    uint64_t instance;
    uint64_t stamp; /* the agent's own clock when it sent this; echoed in promises */
    struct ha_status status;
};

/* Agent to agent: refuse to be promoted for so long ... */
struct ha_hold_ask {
    uint32_t service;
    uint32_t member; /* who asks ... */
    uint64_t epoch;  /* ... and holds this one ... */
    uint64_t instance;
    uint64_t stamp;     /* ... by its own clock; goes back with the answer */
    uint32_t length_ms; /* from the stamp on, as the one who asks counts it */
    uint64_t memory;    /* of the one who is asked: another one's word would prove nothing */
};

/* ... and its answer: it will. */
struct ha_hold_word {
    uint32_t service;
    uint64_t epoch, instance, stamp;
    uint32_t length_ms;
    uint64_t memory; /* of the one who answers */
};

/* Watcher to agent. */
struct ha_promise {
    uint32_t service;
    uint64_t epoch;
    uint64_t instance;
    uint64_t stamp;     /* of the heartbeat it answers */
    uint64_t set_id;    /* the set of watchers it belongs to ... */
    uint32_t set_size;  /* ... and its size */
    uint32_t length_ms; /* from the stamp on */
};

struct ha_order {
    uint32_t service;
    uint32_t member;
    enum ha_order_kind kind;
    uint64_t epoch;
    uint64_t index;        /* of the state it follows from: an older one than seen is void */
    uint64_t instance;     /* PROMOTE, SERVE: who is meant */
    bool vip_free;         /* PROMOTE, SERVE: the last holder reported the address released */
    bool full_copy;        /* FOLLOW: a full copy is allowed now */
    uint32_t min_replicas; /* SERVE, engine's sync durability; UINT32_MAX: leave alone */
    bool sync_managed;     /* SERVE: the standby names are to be exactly ... */
    struct ha_sync_set sync;
    uint64_t sync_index; /* ... as the entry of this index says: a set of an older one is void */
    struct ha_hold_set hold; /* HOLD */
    uint64_t hold_index;     /* HOLD: of its entry: an older one is void */
    bool hold_free;          /* PROMOTE: no promise of yours to another agent is in the way ... */
    uint32_t hold_ms;        /* ... else the longest that was given before you started may be */
    uint32_t upstream;       /* FOLLOW: member ... */
    uint16_t upstream_port;
    char upstream_host[HA_HOST_SIZE];
};

/* What an agent must know of a service it hosts a member of; sent on connect and on each change. */
struct ha_settings {
    uint64_t config_version;
    uint32_t service;
    uint32_t member;
    bool gone; /* the service or member does not exist any more */
    enum ha_engine engine;
    enum ha_durability durability;
    enum ha_quorum_loss on_quorum_loss;
    char service_name[HA_NAME_SIZE];
    char member_name[HA_NAME_SIZE];
    char host[HA_HOST_SIZE];
    uint16_t port;
    char vip[HA_HOST_SIZE];
    uint8_t vip_prefix;
    char vip_interface[HA_NAME_SIZE];
    uint32_t probe_ms;
    uint32_t heartbeat_ms;
    uint32_t hang_after_ms;
    uint32_t lease_ms;
    uint32_t promote_deadline_ms;
    bool rejoin_copy;
    uint32_t rewind_max_ms;
    uint32_t copy_max_ms;
    uint64_t keep_tail_bytes;
    uint32_t peer_count; /* the other members, to name what a replica follows */
    struct {
        uint32_t id;
        uint16_t port, agent_port;
        char name[HA_NAME_SIZE];
        char agent[HA_NAME_SIZE]; /* empty: none */
        char host[HA_HOST_SIZE];
    } peers[HA_MEMBERS_MAX];
};

/* Watcher to leader: it stopped promising below ref.epoch (design, section 6.2). */
struct ha_stopped {
    uint64_t set_id;
    uint32_t service;
    uint64_t epoch;        /* the claimed one */
    uint32_t remainder_ms; /* what may be left of its last promise */
};

#endif /* HA_CORE_MESSAGE_H */
