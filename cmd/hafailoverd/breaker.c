#include "cmd/hafailoverd/breaker.h"

#include <assert.h>

#include "lib/base/prng.h"

uint64_t ha_back_off_ms(uint32_t failures, struct ha_prng *prng)
{
    uint64_t wait_ms = HA_BACK_OFF_MIN_MS;

    assert(failures > 0);
    for (uint32_t i = 1; i < failures && wait_ms < HA_BACK_OFF_MAX_MS; i++)
        wait_ms *= 2;
    if (wait_ms > HA_BACK_OFF_MAX_MS)
        wait_ms = HA_BACK_OFF_MAX_MS;
    return ha_prng_between(prng, wait_ms / 2, wait_ms);
}

bool ha_breaker_is_open(const struct ha_breaker *breaker)
{
    return breaker->failures >= HA_BREAKER_FAILURES;
}

bool ha_breaker_admits(const struct ha_breaker *breaker, uint32_t asked, uint64_t now_ms)
{
    return !ha_breaker_is_open(breaker) || (asked == 0 && now_ms >= breaker->until_ms);
}

bool ha_breaker_failed(struct ha_breaker *breaker, uint64_t now_ms, struct ha_prng *prng)
{
    if (ha_breaker_is_open(breaker) && now_ms < breaker->until_ms)
        return false;
    if (breaker->failures < UINT32_MAX)
        breaker->failures++;
    if (!ha_breaker_is_open(breaker))
        return false;
    breaker->until_ms = now_ms + ha_back_off_ms(breaker->failures, prng);
    return breaker->failures == HA_BREAKER_FAILURES;
}

bool ha_breaker_worked(struct ha_breaker *breaker)
{
    bool was_open = ha_breaker_is_open(breaker);

    *breaker = (struct ha_breaker){.failures = 0};
    return was_open;
}
