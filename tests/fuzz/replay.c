/* Runs a fuzz target over its corpus, each input whole and cut short: what every change
 * does, with any compiler. Usage: fuzz-X CORPUS_DIRECTORY */
#include <dirent.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX 65536u

static size_t load(const char *path, uint8_t *data)
{
    FILE *file = fopen(path, "rb");
    size_t size;

    FUZZ_CHECK(file != NULL);
    size = fread(data, 1, INPUT_MAX, file);
    FUZZ_CHECK(ferror(file) == 0);
    (void)fclose(file);
    return size;
}

static void run(const uint8_t *data, size_t size)
{
    /* Memory of its own, so that a sanitizer sees a read past the end. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);

    FUZZ_CHECK(copy != NULL);
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void replay(const char *path)
{
    static uint8_t data[INPUT_MAX];
    size_t size = load(path, data);
    size_t step = size / 500 + 1; /* large inputs: some of the cuts */

    for (size_t cut = 0; cut < size; cut += step)
        run(data, cut);
    run(data, size);
}

int main(int argc, char *argv[])
{
    struct dirent **entries = NULL;
    int found, count = 0;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    found = scandir(argv[1], &entries, NULL, alphasort);
    FUZZ_CHECK(found >= 0);
    for (int i = 0; i < found; i++) {
        char path[4096];

        if (entries[i]->d_name[0] != '.') {
            (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
            replay(path);
            (void)printf("ok %d - %s\n", ++count, entries[i]->d_name);
            (void)fflush(stdout);
        }
        free(entries[i]);
    }
    free(entries);
    (void)printf("1..%d\n", count);
    return count > 0 ? 0 : 1;
}
