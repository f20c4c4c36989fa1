#include "lib/base/prng.h"

#include <assert.h>

void ha_prng_seed(struct ha_prng *prng, uint64_t seed)
{
    prng->state = seed;
}

uint64_t ha_prng_u64(struct ha_prng *prng)
{
    uint64_t z = (prng->state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t ha_prng_below(struct ha_prng *prng, uint64_t bound)
{
    uint64_t limit, v;

    assert(bound > 0);
    /* Reject the tail that would favour small results. */
    limit = UINT64_MAX - UINT64_MAX % bound;
    do
        v = ha_prng_u64(prng);
    while (v >= limit);
    return v % bound;
}

uint64_t ha_prng_between(struct ha_prng *prng, uint64_t low, uint64_t high)
{
    assert(low <= high);
    if (high - low == UINT64_MAX)
        return ha_prng_u64(prng);
    return low + ha_prng_below(prng, high - low + 1);
}

bool ha_prng_chance(struct ha_prng *prng, uint32_t per_million)
{
    return ha_prng_below(prng, 1000000) < per_million;
}
