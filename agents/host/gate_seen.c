#include "agents/host/gate_seen.h"

#include <stdlib.h>

#include "lib/base/err.h"

static int compare_seen(const void *a, const void *b)
{
    const struct ha_seen *left = a, *right = b;

    return (left->port > right->port) - (left->port < right->port);
}

struct ha_seen *ha_seen_of(struct ha_seen_ports *all, uint16_t port)
{
    const struct ha_seen key = {.port = port};

    return bsearch(&key, all->ports, all->count, sizeof(all->ports[0]), compare_seen);
}

static void on_seen(void *data, const struct ha_nft_element *element)
{
    struct ha_seen_ports *all = data;
    struct ha_seen *seen;

    for (size_t i = 0; element == NULL && i < all->count; i++) {
        if (all->set == HA_NFT_PORTS)
            all->ports[i].guarded = false;
        else
            all->ports[i].open_ns = 0;
    }
    if (element == NULL || element->key.size < 2)
        return;
    seen = ha_seen_of(all, (uint16_t)(element->key.bytes[0] << 8 | element->key.bytes[1]));
    if (seen != NULL && all->set == HA_NFT_PORTS)
        seen->guarded = true;
    else if (seen != NULL)
        seen->open_ns = element->deadline_ns;
}

int ha_seen_all(struct ha_gates *gates, struct ha_seen_ports *all, struct ha_err *err)
{
    int code;

    all->count = gates->record_count;
    for (size_t i = 0; i < all->count; i++)
        all->ports[i] = (struct ha_seen){.port = gates->records[i].port};
    qsort(all->ports, all->count, sizeof(all->ports[0]), compare_seen);
    all->set = HA_NFT_PORTS;
    code = ha_nft_walk(gates->nft, all->set, on_seen, all, err);
    if (code != HA_OK)
        return code;
    all->set = HA_NFT_PORTS_OPEN;
    return ha_nft_walk(gates->nft, all->set, on_seen, all, err);
}

int ha_seen_one(struct ha_gates *gates, struct ha_seen *seen, struct ha_err *err)
{
    struct ha_nft_element element = ha_known_port_element(HA_NFT_PORTS, seen->port, 0);
    int code = ha_nft_find(gates->nft, &element, err);

    seen->guarded = code == HA_OK;
    seen->open_ns = 0;
    if (code != HA_OK)
        return code == HA_ENOENT ? HA_OK : code;
    element = ha_known_port_element(HA_NFT_PORTS_OPEN, seen->port, 0);
    code = ha_nft_find(gates->nft, &element, err);
    if (code == HA_OK)
        seen->open_ns = element.deadline_ns;
    return code == HA_ENOENT ? HA_OK : code;
}
