#include "tests/raft/simclock.h"

#include <assert.h>
#include <stdlib.h>

static bool before(const struct simclock_event *a, const struct simclock_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void push(struct simclock *clock, struct simclock_event event)
{
    size_t i = clock->count;

    if (clock->count == clock->size) {
        clock->size = clock->size == 0 ? 1024 : clock->size * 2;
        clock->heap = realloc(clock->heap, clock->size * sizeof(*clock->heap));
        assert(clock->heap != NULL);
    }
    clock->count++;
    while (i > 0 && before(&event, &clock->heap[(i - 1) / 2])) {
        clock->heap[i] = clock->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    clock->heap[i] = event;
}

static void pop(struct simclock *clock, struct simclock_event *ret)
{
    struct simclock_event last;
    size_t i = 0;

    *ret = clock->heap[0];
    clock->count--;
    if (clock->count == 0)
        return;
    last = clock->heap[clock->count];
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= clock->count)
            break;
        if (child + 1 < clock->count && before(&clock->heap[child + 1], &clock->heap[child]))
            child++;
        if (!before(&clock->heap[child], &last))
            break;
        clock->heap[i] = clock->heap[child];
        i = child;
    }
    clock->heap[i] = last;
}

void simclock_init(struct simclock *clock)
{
    *clock = (struct simclock){.now_us = 1000000};
}

void simclock_fini(struct simclock *clock)
{
    free(clock->heap);
    *clock = (struct simclock){0};
}

void simclock_after(struct simclock *clock, uint64_t delay_us, simclock_cb cb, void *arg)
{
    push(clock,
         (struct simclock_event){
             .at_us = clock->now_us + delay_us, .seq = clock->next_seq++, .cb = cb, .arg = arg});
}

bool simclock_next(struct simclock *clock, uint64_t until_us, struct simclock_event *ret)
{
    if (clock->count == 0 || clock->heap[0].at_us > until_us) {
        clock->now_us = until_us;
        return false;
    }
    pop(clock, ret);
    assert(ret->at_us >= clock->now_us);
    clock->now_us = ret->at_us;
    return true;
}

uint64_t simclock_due_us(const struct simclock *clock)
{
    return clock->count == 0 ? UINT64_MAX : clock->heap[0].at_us;
}

void simclock_defer(struct simclock *clock, const struct simclock_event *event, uint64_t at_us)
{
    struct simclock_event later = *event;

    assert(at_us >= clock->now_us);
    later.at_us = at_us;
    push(clock, later);
}
