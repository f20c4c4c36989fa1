/* tests/fuzz/scratch.h - a directory of the target's own for what reads files, removed at exit. */
#ifndef HA_TESTS_FUZZ_SCRATCH_H
#define HA_TESTS_FUZZ_SCRATCH_H

#include <stddef.h>

/* "DIR/NAME"; the directory is made by the first call, NAME may be "". Valid until the next one. */
const char *scratch_path(const char *name);
void scratch_make_dir(const char *name);
void scratch_write(const char *name, const void *data, size_t size);
void scratch_remove(const char *name);

#endif /* HA_TESTS_FUZZ_SCRATCH_H */
