/* tests/support/alloc.h - memory that runs out: the Nth allocation of our own code fails.
 *
 * The linker leads malloc and its kin here (alloc_dep), in what is linked into the program itself;
 * what shared libraries do without memory is theirs, but for jansson, which can be led here too.
 * Works under sanitizers. Only the thread that asked is failed. */
#ifndef HA_TESTS_SUPPORT_ALLOC_H
#define HA_TESTS_SUPPORT_ALLOC_H

#include <stdbool.h>

/* From now on the Nth allocation fails, once; 0: none does. */
void alloc_fail_at(unsigned n);
/* Stop that. True: one has failed. */
bool alloc_stop(void);
/* Count jansson's allocations too, for the whole life of the program. */
void alloc_of_jansson(void);

#endif /* HA_TESTS_SUPPORT_ALLOC_H */
