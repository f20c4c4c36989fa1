/* tests/fuzz/draw.h - structs out of a fuzzer's bytes: each choice eats one, and the end is zeros.
 */
#ifndef HA_TESTS_FUZZ_DRAW_H
#define HA_TESTS_FUZZ_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draw {
    const uint8_t *data;
    size_t left;
};

static inline uint8_t draw_byte(struct draw *d)
{
    if (d->left == 0)
        return 0;
    d->left--;
    return *d->data++;
}

static inline uint32_t draw_below(struct draw *d, uint32_t bound)
{
    return draw_byte(d) % bound;
}

static inline bool draw_bool(struct draw *d)
{
    return (draw_byte(d) & 1) != 0;
}

#endif /* HA_TESTS_FUZZ_DRAW_H */
