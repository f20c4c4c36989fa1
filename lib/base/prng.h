/* lib/base/prng.h - seeded generator; the only source of chance below lib/io.
 *
 * Pure. splitmix64 (Steele, Lea, Flood 2014): same seed, same sequence, everywhere. Not for keys.
 */
#ifndef HA_BASE_PRNG_H
#define HA_BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct ha_prng {
    uint64_t state;
};

void ha_prng_seed(struct ha_prng *prng, uint64_t seed);
uint64_t ha_prng_u64(struct ha_prng *prng);
/* Uniform in [0, bound); @bound must not be 0. */
uint64_t ha_prng_below(struct ha_prng *prng, uint64_t bound);
/* Uniform in [low, high]. */
uint64_t ha_prng_between(struct ha_prng *prng, uint64_t low, uint64_t high);
/* True with probability @per_million / 1e6. */
bool ha_prng_chance(struct ha_prng *prng, uint32_t per_million);

#endif /* HA_BASE_PRNG_H */
