/* tests/raft/simheap.h - raft_malloc per simulated node, so that a crash frees
 * what it had.
 *
 * A block knows its list; a block freed twice, or by another node's code,
 * aborts. */
#ifndef HA_TESTS_RAFT_SIMHEAP_H
#define HA_TESTS_RAFT_SIMHEAP_H

struct sim_heap_block;

void sim_heap_install(void);
/* From here until leave, raft_malloc belongs to *list. */
void sim_heap_enter(struct sim_heap_block **list);
void sim_heap_leave(void);
void sim_heap_free_all(struct sim_heap_block **list);

#endif /* HA_TESTS_RAFT_SIMHEAP_H */
