#include "raft/read.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/base/err.h"
#include "raft/seat.h"

enum state {
    WAITING, /* for a leader, or to become part of a barrier */
    ASKED,   /* a peer, not before resend_ms again */
    IN_BARRIER,
    KNOWN, /* index is set */
};

struct ha_read {
    TAILQ_ENTRY(ha_read) link;
    enum state state;
    uint32_t origin; /* 0: own, else a peer's id */
    uint64_t origin_seq;
    uint64_t seq; /* of our question */
    uint64_t deadline_ms;
    uint64_t resend_ms;
    uint64_t index;
    ha_raft_read_cb cb;
    void *arg;
};

struct barrier {
    struct raft_barrier req;
    struct ha_seat *seat;
};

void ha_reads_init(struct ha_reads *reads, uint64_t first_seq)
{
    *reads = (struct ha_reads){.next_seq = first_seq};
    TAILQ_INIT(&reads->open);
}

static struct ha_read *add(struct ha_seat *seat, uint32_t deadline_ms)
{
    struct ha_reads *reads = &seat->reads;
    struct ha_read *read;

    if (reads->count >= HA_READS_MAX)
        return NULL;
    read = calloc(1, sizeof(*read));
    if (read == NULL)
        return NULL;
    read->deadline_ms = ha_seat_now(seat) + deadline_ms;
    TAILQ_INSERT_TAIL(&reads->open, read, link);
    reads->count++;
    reads->is_dirty = true;
    return read;
}

int ha_reads_add(struct ha_seat *seat, uint32_t deadline_ms, ha_raft_read_cb cb, void *arg)
{
    struct ha_read *read = add(seat, deadline_ms);

    if (read == NULL)
        return HA_EFULL;
    read->cb = cb;
    read->arg = arg;
    return HA_OK;
}

static void answer(struct ha_seat *seat, const struct ha_read *read, bool is_known)
{
    const struct ha_frame_read frame = {
        .seq = read->origin_seq, .is_known = is_known, .index = is_known ? read->index : 0};
    uint8_t bytes[32];
    size_t size = ha_frame_put_read(bytes, sizeof(bytes), &frame);

    (void)seat->send(seat->hooks.ctx, read->origin, HA_FRAME_READ_ANSWER, bytes, size);
}

void ha_reads_asked(struct ha_seat *seat, uint32_t peer, const struct ha_frame_read *asked)
{
    struct ha_read refused = {.origin = peer, .origin_seq = asked->seq};
    struct ha_read *read;

    read = seat->raft.state == RAFT_LEADER ? add(seat, seat->options.propose_timeout_ms) : NULL;
    if (read == NULL) {
        answer(seat, &refused, false);
        return;
    }
    read->origin = peer;
    read->origin_seq = asked->seq;
}

void ha_reads_answered(struct ha_seat *seat, const struct ha_frame_read *answered)
{
    struct ha_read *read;

    TAILQ_FOREACH(read, &seat->reads.open, link)
    if (read->origin == 0 && read->state == ASKED && read->seq == answered->seq)
        break;
    if (read == NULL)
        return;
    if (answered->is_known) {
        read->state = KNOWN;
        read->index = answered->index;
    }
    seat->reads.is_dirty = true; /* else: resend_ms says when to try again */
}

static void on_barrier(struct raft_barrier *req, int status)
{
    struct barrier *barrier = req->data;
    struct ha_seat *seat = barrier->seat;
    struct ha_read *read;

    seat->reads.has_barrier = false;
    seat->reads.is_dirty = true;
    TAILQ_FOREACH(read, &seat->reads.open, link)
    {
        if (read->state != IN_BARRIER)
            continue;
        read->state = status == 0 ? KNOWN : WAITING;
        read->index = req->index;
    }
    raft_free(barrier);
}

/* One barrier serves all that asked before it is appended. */
static void start_barrier(struct ha_seat *seat)
{
    struct ha_read *read;
    struct barrier *barrier = raft_calloc(1, sizeof(*barrier));

    if (barrier == NULL)
        return;
    barrier->seat = seat;
    barrier->req.data = barrier;
    TAILQ_FOREACH(read, &seat->reads.open, link)
    if (read->state == WAITING || read->state == ASKED)
        read->state = IN_BARRIER;
    seat->reads.has_barrier = true;
    if (raft_barrier(&seat->raft, &barrier->req, on_barrier) == 0)
        return;
    on_barrier(&barrier->req, RAFT_NOTLEADER);
    seat->reads.is_dirty = false; /* tried again with the next event, not at once */
}

static void ask(struct ha_seat *seat, struct ha_read *read, uint32_t leader, uint64_t now_ms)
{
    const struct ha_frame_read frame = {.seq = seat->reads.next_seq++};
    uint8_t bytes[32];
    size_t size = ha_frame_put_read(bytes, sizeof(bytes), &frame);

    read->seq = frame.seq;
    read->state = ASKED;
    read->resend_ms = now_ms + seat->options.election_ms / 2;
    (void)seat->send(seat->hooks.ctx, leader, HA_FRAME_READ, bytes, size);
}

/* True when @read has ended and left the list. */
static bool step(struct ha_seat *seat, struct ha_read *read, uint64_t now_ms, int *ret_code)
{
    uint32_t leader = ha_seat_leader(seat);

    *ret_code = HA_OK;
    if (read->state == KNOWN && read->origin != 0) {
        answer(seat, read, true);
        return true;
    }
    if (read->state == KNOWN && raft_last_applied(&seat->raft) >= read->index)
        return true;
    if (now_ms >= read->deadline_ms) {
        *ret_code = HA_ETIMEDOUT;
        return true;
    }
    if (read->state == WAITING && read->origin != 0 && seat->raft.state != RAFT_LEADER) {
        answer(seat, read, false);
        return true;
    }
    if ((read->state == WAITING || (read->state == ASKED && now_ms >= read->resend_ms)) &&
        read->origin == 0 && leader != 0 && leader != seat->options.own_id)
        ask(seat, read, leader, now_ms);
    return false;
}

static void finish(struct ha_seat *seat, struct ha_read *read, int code)
{
    TAILQ_REMOVE(&seat->reads.open, read, link);
    seat->reads.count--;
    if (read->origin == 0)
        read->cb(read->arg, code, code == HA_OK ? read->index : 0);
    free(read);
}

void ha_reads_turn(struct ha_seat *seat)
{
    struct ha_reads *reads = &seat->reads;
    uint64_t now_ms = ha_seat_now(seat);
    struct ha_read *read = TAILQ_FIRST(&reads->open);
    bool wants_barrier = false;

    reads->is_dirty = false;
    while (read != NULL) {
        struct ha_read *next = TAILQ_NEXT(read, link);
        int code;

        if (step(seat, read, now_ms, &code))
            finish(seat, read, code);
        else if (read->state == WAITING || read->state == ASKED)
            wants_barrier = true;
        read = next;
    }
    if (wants_barrier && !reads->has_barrier && ha_seat_is_acting(seat))
        start_barrier(seat);
}

void ha_reads_close(struct ha_seat *seat)
{
    assert(!seat->reads.has_barrier);
    while (!TAILQ_EMPTY(&seat->reads.open))
        finish(seat, TAILQ_FIRST(&seat->reads.open), HA_ECANCELED);
}

void ha_reads_forget(struct ha_seat *seat)
{
    while (!TAILQ_EMPTY(&seat->reads.open)) {
        struct ha_read *read = TAILQ_FIRST(&seat->reads.open);

        TAILQ_REMOVE(&seat->reads.open, read, link);
        free(read);
    }
}
