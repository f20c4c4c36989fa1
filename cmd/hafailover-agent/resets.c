#include "cmd/hafailover-agent/resets.h"

#include <string.h>

#include "lib/base/err.h"

#define TURNS_MAX 3u /* each of at most a fifth of a second */

void ha_resets_owe(struct ha_resets *resets, uint16_t port)
{
    resets->ports[port / 64] |= UINT64_C(1) << port % 64;
    resets->last = port;
    resets->count++;
}

void ha_resets_flush(struct ha_resets *resets)
{
    struct ha_sock_match match = {.port = resets->last};

    if (resets->count == 0)
        return;
    if (resets->count > 1)
        match = (struct ha_sock_match){.ports = resets->ports};
    /* Many connections take many turns: others are to be heard in between. */
    if (ha_sock_kill(&match, NULL, NULL) == HA_ETIMEDOUT && ++resets->turns < TURNS_MAX)
        return;
    memset(resets, 0, sizeof(*resets));
}
