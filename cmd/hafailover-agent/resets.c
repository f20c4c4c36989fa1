#include "cmd/hafailover-agent/resets.h"

#include <string.h>

#include "lib/base/err.h"

#define TURNS_MAX 3u /* each of at most a fifth of a second */
#define DUE_MS 30u   /* by then what waited for the closed gate has been said */

void ha_resets_owe(struct ha_resets *resets, uint16_t port, uint64_t now_ms)
{
    if (resets->count == 0)
        resets->since_ms = now_ms;
    resets->ports[port / 64] |= UINT64_C(1) << port % 64;
    resets->last = port;
    resets->count++;
}

void ha_resets_poll(struct ha_resets *resets, uint64_t now_ms)
{
    if (resets->count != 0 && now_ms - resets->since_ms >= DUE_MS)
        ha_resets_flush(resets);
}

void ha_resets_before(struct ha_resets *resets, uint16_t port)
{
    if ((resets->ports[port / 64] >> port % 64 & 1) != 0)
        ha_resets_flush(resets);
}

void ha_resets_flush(struct ha_resets *resets)
{
    struct ha_sock_match match = {.port = resets->last, .spare_own = true};

    if (resets->count == 0)
        return;
    if (resets->count > 1)
        match = (struct ha_sock_match){.ports = resets->ports, .spare_own = true};
    /* Many connections take many turns: others are to be heard in between. */
    if (ha_sock_kill(&match, NULL, NULL) == HA_ETIMEDOUT && ++resets->turns < TURNS_MAX)
        return;
    memset(resets, 0, sizeof(*resets));
}
