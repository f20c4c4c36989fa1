#include "tests/raft/simheap.h"

#include <raft.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIVE 0x6c697665u
#define DEAD 0x64656164u

struct sim_heap_block {
    struct sim_heap_block *next;
    struct sim_heap_block *prev;
    struct sim_heap_block **list;
    size_t size;
    uint32_t state;
    uint32_t pad[3];
};

static struct sim_heap_block **current;

static void *heap_malloc(void *data, size_t size)
{
    struct sim_heap_block *block;

    (void)data;
    if (current == NULL)
        abort();
    block = malloc(sizeof(*block) + size);
    if (block == NULL)
        abort();
    *block =
        (struct sim_heap_block){.next = *current, .list = current, .size = size, .state = LIVE};
    if (*current != NULL)
        (*current)->prev = block;
    *current = block;
    return block + 1;
}

static struct sim_heap_block *block_of(void *ptr)
{
    struct sim_heap_block *block = (struct sim_heap_block *)ptr - 1;

    if (block->state != LIVE) {
        fprintf(stderr, "simheap: a block is freed twice\n");
        abort();
    }
    return block;
}

static void release(struct sim_heap_block *block)
{
    block->state = DEAD;
    if (block->next != NULL)
        block->next->prev = block->prev;
    if (block->prev != NULL)
        block->prev->next = block->next;
    else
        *block->list = block->next;
    free(block);
}

static void heap_free(void *data, void *ptr)
{
    (void)data;
    if (ptr != NULL)
        release(block_of(ptr));
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    void *ptr = heap_malloc(data, count * size);

    memset(ptr, 0, count * size);
    return ptr;
}

static void *heap_realloc(void *data, void *ptr, size_t size)
{
    void *to = heap_malloc(data, size);

    if (ptr != NULL) {
        size_t old = block_of(ptr)->size;

        memcpy(to, ptr, old < size ? old : size);
        heap_free(data, ptr);
    }
    return to;
}

static void *heap_aligned(void *data, size_t alignment, size_t size)
{
    if (alignment > 16)
        abort();
    return heap_malloc(data, size);
}

static void heap_aligned_free(void *data, size_t alignment, void *ptr)
{
    (void)alignment;
    heap_free(data, ptr);
}

void sim_heap_install(void)
{
    static struct raft_heap heap = {.malloc = heap_malloc,
                                    .free = heap_free,
                                    .calloc = heap_calloc,
                                    .realloc = heap_realloc,
                                    .aligned_alloc = heap_aligned,
                                    .aligned_free = heap_aligned_free};

    raft_heap_set(&heap);
}

void sim_heap_enter(struct sim_heap_block **list)
{
    current = list;
}

void sim_heap_leave(void)
{
    current = NULL;
}

void sim_heap_free_all(struct sim_heap_block **list)
{
    while (*list != NULL)
        release(*list);
}
