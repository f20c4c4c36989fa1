/* When a lease ends: the majority-th largest end of the promises of one set. */
#include <string.h>

#include "lib/base/check.h"
#include "lib/core/agent.h"
#include "tests/support/cmocka_ha.h"

static const struct {
    const char *name;
    struct ha_granted granted[HA_WATCHERS_MAX]; /* set, size, end */
    uint64_t want;
} leases[] = {
    {"nothing", {{0}}, 0},
    {"one of one", {{1, 1, 500}}, 500},
    {"one of three", {{1, 3, 500}}, 0},
    {"two of two need both", {{1, 2, 500}, {1, 2, 700}}, 500},
    {"one of two", {{1, 2, 500}}, 0},
    {"two of three", {{1, 3, 500}, {1, 3, 700}}, 500},
    {"three of three: the second largest", {{1, 3, 500}, {1, 3, 900}, {1, 3, 700}}, 700},
    {"links in any place", {{0}, {1, 3, 700}, {0}, {1, 3, 500}}, 500},
    {"two of five", {{1, 5, 500}, {1, 5, 700}}, 0},
    {"three of five", {{1, 5, 500}, {1, 5, 700}, {1, 5, 600}}, 500},
    {"five of five: the third largest",
     {{1, 5, 500}, {1, 5, 900}, {1, 5, 700}, {1, 5, 800}, {1, 5, 600}},
     700},
    {"three of four", {{1, 4, 500}, {1, 4, 700}, {1, 4, 600}}, 500},
    {"two of four are no majority", {{1, 4, 500}, {1, 4, 700}}, 0},
    {"seven", {{1, 7, 1}, {1, 7, 2}, {1, 7, 3}, {1, 7, 4}, {1, 7, 5}, {1, 7, 6}, {1, 7, 7}}, 4},
    {"one of each of two sets", {{1, 3, 500}, {2, 3, 700}}, 0},
    {"two and one: only the two", {{1, 3, 500}, {2, 3, 900}, {1, 3, 700}}, 500},
    {"the size comes with the set", {{1, 5, 500}, {1, 5, 700}, {2, 3, 900}}, 0},
    {"an old set that was larger is no obstacle",
     {{1, 3, 10}, {1, 3, 11}, {1, 3, 12}, {2, 3, 900}, {2, 3, 800}},
     800},
    {"nor one of equal weight", {{1, 3, 10}, {1, 3, 11}, {2, 3, 900}, {2, 3, 800}}, 800},
};

static void test_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(leases); i++) {
        struct ha_held held;

        print_message("# %s\n", leases[i].name);
        memset(&held, 0, sizeof(held));
        memcpy(held.granted, leases[i].granted, sizeof(held.granted));
        assert_int_equal(ha_held_lease_end_ms(&held), leases[i].want);
    }
}

/* By the meaning of the word, against the function: at no time does the lease last while fewer than
 * a majority of promises do. */
static void test_end_is_that_of_a_majority(void **state)
{
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct ha_held held;
        uint32_t size, unexpired = 0;
        uint64_t end;

        memset(&held, 0, sizeof(held));
        seed = seed * 1664525u + 1013904223u;
        size = 1 + (seed >> 16) % HA_WATCHERS_MAX;
        for (uint32_t i = 0; i < size; i++) {
            seed = seed * 1664525u + 1013904223u;
            held.granted[i] = (struct ha_granted){1, size, (seed >> 16) % 50};
        }
        end = ha_held_lease_end_ms(&held);
        if (end == 0)
            continue;
        for (uint32_t i = 0; i < size; i++)
            unexpired += held.granted[i].until_ms >= end;
        assert_true(unexpired >= size / 2 + 1);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_end),
    cmocka_unit_test(test_end_is_that_of_a_majority),
};

HA_TEST_MAIN("core/lease", tests)
