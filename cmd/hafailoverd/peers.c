#include "cmd/hafailoverd/peers.h"

#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster.h"
#include "lib/io/log.h"
#include "lib/io/tls.h"
#include "lib/wire/message.h"

_Static_assert(sizeof(((struct ha_peer *)0)->key) == HA_TLS_KEY_SIZE, "a key fits");

static void add_port(struct ha_peers *peers, uint16_t port)
{
    for (uint32_t i = 0; i < peers->port_count; i++)
        if (peers->ports[i] == port)
            return;
    if (peers->port_count == HA_PEER_PORTS_MAX) {
        HA_LOG(HA_LOG_ERROR, "port-left-out", "port=%u why=\"more than %d for one agent\"", port,
               HA_PEER_PORTS_MAX);
        return;
    }
    peers->ports[peers->port_count++] = port;
}

static void add_peer(struct ha_peers *peers, const char *agent)
{
    for (uint32_t i = 0; i < peers->count; i++)
        if (strcmp(peers->all[i].agent, agent) == 0)
            return;
    if (peers->count == HA_PEERS_MAX) {
        HA_LOG(HA_LOG_ERROR, "peer-left-out", "agent=%s why=\"more than %d agents\"", agent,
               HA_PEERS_MAX);
        return;
    }
    (void)ha_text_copy(peers->all[peers->count++].agent, HA_NAME_SIZE, agent);
}

static void add_service(struct ha_peers *peers, const struct ha_service *service, const char *agent)
{
    const struct ha_service_config *config = &service->config;
    bool ours = false;

    for (uint32_t i = 0; i < config->member_count; i++) {
        if (strcmp(config->members[i].agent, agent) != 0)
            continue;
        ours = true;
        add_port(peers, config->members[i].agent_port);
    }
    for (uint32_t i = 0; ours && i < config->member_count; i++)
        if (config->members[i].agent[0] != '\0' && strcmp(config->members[i].agent, agent) != 0)
            add_peer(peers, config->members[i].agent);
}

static void add_keys(struct ha_peers *peers, const char *agent, const struct ha_tls *tls)
{
    char client[HA_TLS_NAME_SIZE], server[HA_TLS_NAME_SIZE];

    (void)ha_text_format(server, sizeof(server), "agent/%s", agent);
    for (uint32_t i = 0; i < peers->count; i++) {
        (void)ha_text_format(client, sizeof(client), "agent/%s", peers->all[i].agent);
        peers->all[i].keyed = ha_tls_pair_key(tls, client, server, peers->all[i].key) == HA_OK;
    }
}

void ha_peers_make(struct ha_peers *ret, const struct ha_cluster *cluster, const char *agent,
                   const struct ha_tls *tls)
{
    memset(ret, 0, sizeof(*ret));
    ret->config_version = cluster->config_version;
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_service *service = &cluster->services[i];

        if (service->used &&
            (service->config.on_quorum_loss == HA_QUORUM_LOSS_HOLD || service->hold.count > 0))
            add_service(ret, service, agent);
    }
    if (tls != NULL)
        add_keys(ret, agent, tls);
}
