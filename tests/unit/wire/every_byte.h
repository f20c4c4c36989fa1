/* tests/unit/wire/every_byte.h - proves that an encoding depends on every byte that has a meaning.
 *
 * The generator at its limits (every count and string full) writes the same bytes of a struct for
 * every seed; those it writes are marked, the others are padding. A marked byte that can be changed
 * without changing the encoding belongs to a field that some walk leaves out. That the generator
 * and the walks name every field there is, tests/unit/wire/fields.py sees to. */
#ifndef HA_TESTS_UNIT_WIRE_EVERY_BYTE_H
#define HA_TESTS_UNIT_WIRE_EVERY_BYTE_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/support/cmocka_ha.h"

#define EVERY_BYTE_SEEDS 16u /* enough that no byte of a number and no bool stays 0 */

static inline void every_byte_mark(unsigned char *mask, const void *value, size_t size)
{
    const unsigned char *bytes = value;

    for (size_t i = 0; i < size; i++)
        mask[i] |= bytes[i];
}

/* @same says whether the encoding of the struct at @value is still what it was. */
static inline void every_byte_check(void *value, size_t size, const unsigned char *mask,
                                    bool (*same)(void *arg), void *arg)
{
    unsigned char *bytes = value;
    size_t checked = 0;

    for (size_t i = 0; i < size; i++) {
        bool is_forgotten;

        if (mask[i] == 0)
            continue;
        bytes[i] ^= 1;
        is_forgotten = same(arg);
        bytes[i] ^= 1;
        if (is_forgotten)
            fail_msg("the byte at offset %zu of %zu is not encoded", i, size);
        checked++;
    }
    assert_true(checked > 0);
    assert_true(same(arg));
}

#endif /* HA_TESTS_UNIT_WIRE_EVERY_BYTE_H */
