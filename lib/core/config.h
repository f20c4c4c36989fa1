/* lib/core/config.h - the replicated configuration: services, members, webhooks.
 *
 * Pure, plain data; parsed by lib/wire/config from services.conf and carried whole in one log
 * entry. Members and services are matched by name between versions and keep their ids. */
#ifndef HA_CORE_CONFIG_H
#define HA_CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/limits.h"
#include "lib/core/types.h"

struct ha_member_config {
    char name[HA_NAME_SIZE];
    char agent[HA_NAME_SIZE]; /* daemon name of the agent on its host; empty: none */
    char host[HA_HOST_SIZE];  /* where clients, replicas and watchers reach the database */
    uint16_t port;
    uint16_t agent_port;       /* where its agent listens for the other agents */
    uint16_t priority;         /* higher is preferred between equals; 0 means never */
    char follow[HA_NAME_SIZE]; /* member to replicate from instead of the primary; empty: primary */
};

enum { HA_AGENT_PORT_DEFAULT = 7402 };
enum { HA_PRIORITY_NEVER = 0, HA_PRIORITY_DEFAULT = 100, HA_PRIORITY_MAX = 1000 };

struct ha_service_config {
    char name[HA_NAME_SIZE];
    enum ha_engine engine;
    enum ha_durability durability;
    enum ha_crash_policy crash_policy;
    enum ha_quorum_loss on_quorum_loss;
    char vip[HA_HOST_SIZE];           /* numeric IPv4 or IPv6; empty: none */
    uint8_t vip_prefix;               /* prefix length */
    char vip_interface[HA_NAME_SIZE]; /* empty: the agent's own setting */
    char credentials[HA_NAME_SIZE];   /* section of the watcher's own file; empty: none */
    char fence[HA_NAME_SIZE];         /* likewise: the command that ends a primary's host */
    uint8_t quorum;                   /* watchers that must agree; 0: majority */
    uint8_t member_count;
    uint8_t parallel_syncs;    /* full copies at a time */
    bool accept_process_fence; /* expiry counts as a fence although no gate enforces it */
    bool failover_unwritable;  /* policy for the verdict unwritable: fail over, else alarm */
    bool automatic;            /* false: decide and tell, but act only on request */
    bool rejoin_copy; /* PostgreSQL: data that cannot be rewound may be replaced by a full copy */
    uint32_t probe_ms;
    uint32_t heartbeat_ms;
    uint32_t down_after_ms;
    uint32_t refused_confirm_ms;
    uint32_t hang_after_ms;
    uint32_t starting_max_ms; /* longest time that starting is not down */
    uint32_t busy_max_ms;
    uint32_t lease_ms;
    uint32_t promote_deadline_ms;
    uint32_t open_deadline_ms;
    uint32_t repoint_deadline_ms;
    uint32_t restart_max_ms; /* for a primary that its agent starts again; then another is taken */
    uint32_t sync_grace_ms;  /* a replica gone for that long is not waited for any more */
    uint32_t rewind_max_ms;  /* a rewind ... */
    uint32_t copy_max_ms;    /* ... and a full copy */
    uint32_t rate_count;     /* successful failovers allowed within rate_period_ms; 0: any */
    uint32_t rate_period_ms;
    uint64_t loss_budget_bytes; /* UINT64_MAX: any loss */
    uint64_t priority_slack_bytes;
    uint64_t keep_tail_bytes; /* of WAL that a rewind would lose */
    struct ha_member_config members[HA_MEMBERS_MAX];
};

struct ha_webhook_config {
    char name[HA_NAME_SIZE];
    char url[HA_URL_SIZE];
    char secret[HA_NAME_SIZE];  /* section of the watcher's own file that holds the HMAC key; or
                                   empty */
    char service[HA_NAME_SIZE]; /* only this service; empty: all */
    bool insecure;              /* http:// beyond this host, in the clear, is meant */
};

struct ha_config {
    uint32_t service_count;
    uint32_t webhook_count;
    struct ha_webhook_config webhooks[HA_WEBHOOKS_MAX];
    struct ha_service_config services[HA_SERVICES_MAX];
};

/* Set every default of a service: a LAN's (issue: probe and heartbeat 200 ms, down after 1000 ms,
 * lease 1500 ms). The name and members stay empty. */
void ha_service_config_defaults(struct ha_service_config *service);

struct ha_err;

/* What a complaint of ha_config_check_at is about; indexes into the configuration. */
struct ha_config_fault {
    enum {
        HA_CONFIG_FAULT_WHOLE,
        HA_CONFIG_FAULT_SERVICE,
        HA_CONFIG_FAULT_MEMBER,
        HA_CONFIG_FAULT_WEBHOOK
    } what;
    uint32_t service, member, webhook;
};

/* Whether the whole is consistent in itself: names unique, ranges, addresses not used twice, lease
 * longer than two heartbeats, quorum at least a majority of @watchers (0: not known, not checked),
 * strict not for Redis. HA_EINVAL with a sentence that names the service or member. */
int ha_config_check(const struct ha_config *config, uint32_t watchers, struct ha_err *err);

/* The same; on failure *fault (may be NULL) says where, for whoever knows lines. */
int ha_config_check_at(const struct ha_config *config, uint32_t watchers,
                       struct ha_config_fault *fault, struct ha_err *err);

/* Whether notices leave this host unencrypted. */
bool ha_webhook_is_in_the_clear(const struct ha_webhook_config *w);

#endif /* HA_CORE_CONFIG_H */
