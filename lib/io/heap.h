/* lib/io/heap.h - what was freed goes back to the system.
 *
 * A daemon that once answered a question about a thousand services would keep the memory of the
 * answer for ever: glibc learns from large blocks to keep larger ones, and a heap shrinks only from
 * its end. */
#ifndef HA_IO_HEAP_H
#define HA_IO_HEAP_H

/* Large blocks are pages of their own, always. Once, before threads are started. */
void ha_heap_init(void);
/* Give free pages back, also from the middle; milliseconds where there are many. Any thread. */
void ha_heap_trim(void);

#endif /* HA_IO_HEAP_H */
