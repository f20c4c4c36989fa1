#include "cmd/hafailover-agent/dispatch.h"

#include "cmd/hafailover-agent/address.h"
#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/database.h"
#include "cmd/hafailover-agent/epochs.h"
#include "cmd/hafailover-agent/links.h"
#include "cmd/hafailover-agent/peers.h"
#include "lib/base/check.h"
#include "lib/core/effect.h"

#define ROUNDS_MAX 16u

static void execute(struct ha_host *host, const struct ha_effect *effect)
{
    switch (effect->kind) {
    case HA_EFFECT_HEARTBEAT:
        ha_links_status(host->links, &effect->u.status);
        return;
    case HA_EFFECT_GATE:
        ha_databases_gate(host->databases, &effect->u.gate);
        return;
    case HA_EFFECT_PERSIST_EPOCHS:
        ha_epochs_write(host->epochs, &effect->u.epochs);
        return;
    case HA_EFFECT_PROBE:
        ha_databases_probe(host->databases, effect->u.service);
        return;
    case HA_EFFECT_ACT:
        ha_databases_act(host->databases, &effect->u.act);
        return;
    case HA_EFFECT_ACT_CANCEL:
        ha_databases_act_cancel(host->databases, effect->u.service);
        return;
    case HA_EFFECT_VIP_LOOK:
        ha_addresses_look(host->addresses, effect->u.service);
        return;
    case HA_EFFECT_VIP_CLAIM:
        ha_addresses_claim(host->addresses, &effect->u.vip);
        return;
    case HA_EFFECT_VIP_RELEASE:
        ha_addresses_release(host->addresses, effect->u.vip.service);
        return;
    case HA_EFFECT_HOLD_ASK:
        ha_peers_ask(host->peers, &effect->u.hold_ask);
        return;
    case HA_EFFECT_HOLD_WORD:
        ha_peers_word(host->peers, &effect->u.hold_word);
        return;
    case HA_EFFECT_PROPOSE:
    case HA_EFFECT_PROMISE:
    case HA_EFFECT_ORDER:
    case HA_EFFECT_STOPPED:
    case HA_EFFECT_PERSIST_PROMISE:
    case HA_EFFECT_FENCE_COMMAND:
        break; /* a watcher's */
    }
    HA_UNREACHABLE();
}

bool ha_host_dispatch(struct ha_host *host)
{
    struct ha_effects *list;

    for (unsigned round = 0; round < ROUNDS_MAX && (list = ha_backlog_take(&host->backlog)) != NULL;
         round++) {
        for (uint32_t i = 0; i < list->count; i++)
            execute(host, &list->items[i]);
        ha_backlog_give_back(&host->backlog, list);
        ha_databases_prove_closed(host->databases);
    }
    ha_links_flush(host->links);
    ha_peers_flush(host->peers);
    return !ha_backlog_is_empty(&host->backlog);
}
