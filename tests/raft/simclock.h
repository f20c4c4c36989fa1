/* tests/raft/simclock.h - virtual time: events in order of (time, insertion).
 *
 * Pure. An event is a function and its argument; nothing is ever removed, so an
 * owner that may vanish puts an incarnation number into its argument. */
#ifndef HA_TESTS_RAFT_SIMCLOCK_H
#define HA_TESTS_RAFT_SIMCLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void (*simclock_cb)(void *world, void *arg);

struct simclock_event {
    uint64_t at_us;
    uint64_t seq;
    simclock_cb cb;
    void *arg;
};

struct simclock {
    uint64_t now_us;
    uint64_t next_seq;
    struct simclock_event *heap;
    size_t count;
    size_t size;
};

void simclock_init(struct simclock *clock);
/* Frees the queue; arguments are the owner's to forget. */
void simclock_fini(struct simclock *clock);
void simclock_after(struct simclock *clock, uint64_t delay_us, simclock_cb cb, void *arg);
/* Take the next event and move time to it; false when there is none before
 * @until_us. */
bool simclock_next(struct simclock *clock, uint64_t until_us, struct simclock_event *ret);
/* When the next event is due; UINT64_MAX: none is. */
uint64_t simclock_due_us(const struct simclock *clock);
/* Put a taken event off; it keeps its place among those of the same time. */
void simclock_defer(struct simclock *clock, const struct simclock_event *event, uint64_t at_us);

#endif /* HA_TESTS_RAFT_SIMCLOCK_H */
