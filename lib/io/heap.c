#include "lib/io/heap.h"

#include <malloc.h>

#define OWN_PAGES_FROM (256 * 1024)
#define KEPT_MAX (1024 * 1024)

/* Both are hints: a C library that does not know them only keeps more. */
void ha_heap_init(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, OWN_PAGES_FROM);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_MAX);
}

void ha_heap_trim(void)
{
    (void)malloc_trim(0);
}
