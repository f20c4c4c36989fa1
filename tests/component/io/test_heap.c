/* A large answer, once given, is not paid for ever. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/heap.h"
#include "tests/support/cmocka_ha.h"

#define BLOCKS 200000u
#define BLOCK_SIZE 120u
#define KIB_MAX 4096u

static long resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    char line[128];
    char *save = NULL, *word;
    uint64_t pages = 0;

    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    (void)fclose(file);
    (void)strtok_r(line, " ", &save);
    word = strtok_r(NULL, " ", &save);
    assert_non_null(word);
    assert_int_equal(ha_text_u64(word, UINT32_MAX, &pages), HA_OK);
    return (long)pages * sysconf(_SC_PAGESIZE) / 1024;
}

/* Small blocks as a tree of JSON has them, a growing text, and something that stays behind them. */
static void *give_large_answer(long *ret_peak_kib)
{
    void **blocks = calloc(BLOCKS, sizeof(*blocks));
    char *text = NULL;
    void *stays;

    assert_non_null(blocks);
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(BLOCK_SIZE);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, BLOCK_SIZE);
    }
    for (size_t size = 1024; size <= (size_t)16 << 20; size *= 2) {
        char *larger = realloc(text, size);

        assert_non_null(larger);
        text = larger;
        memset(text, 1, size);
    }
    stays = malloc(BLOCK_SIZE);
    *ret_peak_kib = resident_kib();
    free(text);
    for (unsigned i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    free(blocks);
    return stays;
}

static void test_memory_of_a_large_answer_is_given_back(void **state)
{
    long before_kib, peak_kib;
    void *stays;

    (void)state;
    ha_heap_init();
    before_kib = resident_kib();
    stays = give_large_answer(&peak_kib);
    assert_true(peak_kib > before_kib + 10 * (long)KIB_MAX);
    ha_heap_trim();
    assert_true(resident_kib() < before_kib + (long)KIB_MAX);
    free(stays);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_memory_of_a_large_answer_is_given_back),
};

HA_TEST_MAIN("io/heap", tests)
