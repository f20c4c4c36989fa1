/* tests/fuzz/fuzz.h - what a fuzz target is: one function, called with any bytes.
 *
 * A target aborts when a promise of the parser is broken; refusing the bytes is fine. */
#ifndef HA_TESTS_FUZZ_FUZZ_H
#define HA_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(holds)                                                     \
    do {                                                                      \
        if (!(holds)) {                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds); \
            abort();                                                          \
        }                                                                     \
    } while (0)

#endif /* HA_TESTS_FUZZ_FUZZ_H */
