/* cmd/hafailoverd/breaker.h - when an endpoint that fails may be asked again.
 *
 * Pure; plain memory, zeros are a good start. Closed: whoever wants may ask. After
 * HA_BREAKER_FAILURES in a row it is open: nobody asks until a wait is over, and then one alone,
 * whose outcome closes it or doubles the wait. Waits are drawn from the upper half of their length,
 * so that many who failed together do not come back together. */
#ifndef HA_CMD_HAFAILOVERD_BREAKER_H
#define HA_CMD_HAFAILOVERD_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct ha_prng;

#define HA_BREAKER_FAILURES 5u
#define HA_BACK_OFF_MIN_MS 200u /* doubled with each failure ... */
#define HA_BACK_OFF_MAX_MS 60000u

struct ha_breaker {
    uint32_t failures; /* in a row, of whoever asked */
    uint64_t until_ms; /* while open: not before */
};

/* How long to wait after the @failures-th failure in a row (from 1). */
uint64_t ha_back_off_ms(uint32_t failures, struct ha_prng *prng);

bool ha_breaker_is_open(const struct ha_breaker *breaker);

/* Whether one more may ask at @now_ms while @asked others are under way. */
bool ha_breaker_admits(const struct ha_breaker *breaker, uint32_t asked, uint64_t now_ms);

/* An answer came; true when this has opened or closed it. A failure of one that was under way when
 * it opened changes nothing. */
bool ha_breaker_failed(struct ha_breaker *breaker, uint64_t now_ms, struct ha_prng *prng);
bool ha_breaker_worked(struct ha_breaker *breaker);

#endif /* HA_CMD_HAFAILOVERD_BREAKER_H */
