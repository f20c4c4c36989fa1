#include "raft/propose.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "raft/code.h"
#include "raft/seat.h"

#define ORIGIN_OWN 0u
#define ORIGIN_INTERNAL UINT32_MAX

enum state {
    QUEUED,
    FORWARDED,
    APPLYING, /* libraft holds req */
    DONE,     /* outcome is set */
};

struct ha_proposal {
    TAILQ_ENTRY(ha_proposal) link;
    struct ha_seat *seat;
    enum state state;
    bool is_orphan;   /* reported already, waits for libraft to let go of req */
    uint32_t origin;  /* ORIGIN_OWN, ORIGIN_INTERNAL or a peer's id */
    uint64_t request; /* the caller's, or the peer's sequence number */
    uint64_t deadline_ms;
    uint64_t not_before_ms;
    uint64_t seq; /* of the forward */
    uint32_t forwarded_to;
    enum ha_fsm_kind kind;
    struct ha_raft_outcome outcome;
    struct raft_apply req;
    size_t size;
    uint8_t data[];
};

void ha_propose_init(struct ha_propose *propose, uint64_t first_seq)
{
    *propose = (struct ha_propose){.next_seq = first_seq};
    TAILQ_INIT(&propose->open);
}

static struct ha_proposal *add(struct ha_seat *seat, const void *data, size_t size)
{
    struct ha_propose *propose = &seat->propose;
    struct ha_proposal *p = malloc(sizeof(*p) + size);

    if (p == NULL)
        return NULL;
    memset(p, 0, sizeof(*p));
    p->seat = seat;
    p->state = QUEUED;
    p->kind = HA_FSM_APP;
    p->deadline_ms = ha_seat_now(seat) + seat->options.propose_timeout_ms;
    p->size = size;
    memcpy(p->data, data, size);
    TAILQ_INSERT_TAIL(&propose->open, p, link);
    propose->count++;
    propose->bytes += size;
    propose->is_dirty = true;
    return p;
}

static void end(struct ha_proposal *p, enum ha_raft_result result, int code, const char *why)
{
    p->state = DONE;
    p->outcome = (struct ha_raft_outcome){.result = result, .code = code, .why = why};
    p->seat->propose.is_dirty = true;
}

static bool fits(const struct ha_propose *propose, size_t size)
{
    return propose->count < HA_RAFT_QUEUE_MAX && propose->bytes + size <= HA_PROPOSE_BYTES_MAX;
}

int ha_propose_add(struct ha_seat *seat, const void *data, size_t size, uint64_t request)
{
    struct ha_proposal *p;

    if (size == 0 || size > HA_RAFT_ENTRY_MAX)
        return HA_EINVAL;
    if (!fits(&seat->propose, size))
        return HA_EFULL;
    p = add(seat, data, size);
    if (p == NULL)
        return HA_ENOMEM;
    p->request = request;
    if (seat->refusal != NULL && seat->raft.state == RAFT_LEADER)
        end(p, HA_RAFT_REFUSED, HA_EFULL, seat->refusal);
    return HA_OK;
}

static void answer(struct ha_seat *seat, uint32_t peer, uint64_t seq,
                   const struct ha_raft_outcome *outcome)
{
    const struct ha_frame_answer answer = {
        .seq = seq, .result = outcome->result, .code = outcome->code, .index = outcome->index};
    uint8_t frame[32];
    size_t size = ha_frame_put_answer(frame, sizeof(frame), &answer);

    assert(size > 0);
    /* An answer that is lost costs the peer its deadline, nothing else. */
    (void)seat->send(seat->hooks.ctx, peer, HA_FRAME_ANSWER, frame, size);
}

void ha_propose_forwarded(struct ha_seat *seat, uint32_t peer,
                          const struct ha_frame_forward *forward)
{
    struct ha_raft_outcome refused = {.result = HA_RAFT_REFUSED, .code = HA_EFULL};
    struct ha_proposal *p;

    if (seat->raft.state != RAFT_LEADER) {
        refused.code = HA_ENOTLEADER;
        answer(seat, peer, forward->seq, &refused);
        return;
    }
    p = fits(&seat->propose, forward->size) && seat->refusal == NULL
            ? add(seat, forward->data, forward->size)
            : NULL;
    if (p == NULL) {
        answer(seat, peer, forward->seq, &refused);
        return;
    }
    p->origin = peer;
    p->request = forward->seq;
}

void ha_propose_answered(struct ha_seat *seat, uint32_t peer, const struct ha_frame_answer *answer)
{
    struct ha_proposal *p;

    TAILQ_FOREACH(p, &seat->propose.open, link)
    if (p->state == FORWARDED && p->seq == answer->seq && p->forwarded_to == peer)
        break;
    if (p == NULL)
        return; /* reported as unknown already */
    if (answer->result == HA_RAFT_REFUSED && answer->code == HA_ENOTLEADER) {
        /* It certainly kept nothing: ours again. */
        p->state = QUEUED;
        p->not_before_ms = ha_seat_now(seat) + HA_PROPOSE_RETRY_MS;
        return;
    }
    end(p, answer->result, answer->code,
        answer->result == HA_RAFT_COMMITTED ? NULL : "the leader said so");
    p->outcome.index = answer->index;
}

void ha_propose_link_down(struct ha_seat *seat, uint32_t peer)
{
    struct ha_proposal *p;

    TAILQ_FOREACH(p, &seat->propose.open, link)
    if (p->state == FORWARDED && p->forwarded_to == peer)
        end(p, HA_RAFT_UNKNOWN, HA_EUNREACH, "the link to the leader broke");
}

/* Whether somebody else leads than who has it: that one answers late or never, and it may be in the
 * log or not. Its host may be stopped or cut off, and the link be up for long. */
static bool has_been_outlived(const struct ha_seat *seat, const struct ha_proposal *p)
{
    const uint32_t leader = ha_seat_leader(seat);

    return p->state == FORWARDED && leader != 0 && leader != p->forwarded_to;
}

static void on_applied(struct raft_apply *req, int status, void *result)
{
    struct ha_proposal *p = req->data;
    struct ha_propose *propose = &p->seat->propose;

    (void)result;
    assert(p->state == APPLYING && propose->in_flight > 0);
    propose->in_flight--;
    propose->in_flight_bytes -= p->size;
    if (p->kind == HA_FSM_HASH)
        propose->is_publishing = false;
    if (status == 0)
        end(p, HA_RAFT_COMMITTED, HA_OK, NULL);
    else
        end(p, HA_RAFT_UNKNOWN, ha_raft_code(status), ha_raft_code_text(status));
    p->outcome.index = req->index;
}

static void submit(struct ha_seat *seat, struct ha_proposal *p)
{
    const struct ha_fsm_place place = {.index = raft_last_index(&seat->raft) + 1,
                                       .term = seat->raft.current_term};
    struct raft_buffer buf;
    int rv;

    if (!ha_fsm_wrap(p->kind, p->data, p->size, &place, &buf)) {
        end(p, HA_RAFT_REFUSED, HA_ENOMEM, "no memory");
        return;
    }
    p->req.data = p;
    p->state = APPLYING;
    rv = raft_apply(&seat->raft, &p->req, &buf, 1, on_applied);
    if (rv != 0) {
        raft_free(buf.base);
        p->state = QUEUED;
        end(p, HA_RAFT_REFUSED, ha_raft_code(rv), ha_raft_code_text(rv));
        return;
    }
    assert(p->state != APPLYING || p->req.index == place.index);
    seat->propose.in_flight++;
    seat->propose.in_flight_bytes += p->size;
}

static bool has_room(const struct ha_propose *propose, size_t size)
{
    return propose->in_flight == 0 ||
           (propose->in_flight < HA_PROPOSE_FLIGHT_MAX &&
            propose->in_flight_bytes + size <= HA_PROPOSE_FLIGHT_BYTES_MAX);
}

static bool forward(struct ha_seat *seat, struct ha_proposal *p, uint32_t leader)
{
    const struct ha_frame_forward forward = {
        .seq = seat->propose.next_seq, .data = p->data, .size = p->size};
    size_t size_max = HA_FRAME_FORWARD_HEADER_SIZE + p->size;
    uint8_t *frame = malloc(size_max);
    size_t size;
    int rv;

    if (frame == NULL)
        return false;
    size = ha_frame_put_forward(frame, size_max, &forward);
    assert(size == size_max);
    rv = seat->send(seat->hooks.ctx, leader, HA_FRAME_FORWARD, frame, size);
    free(frame);
    if (rv != 0)
        return false;
    seat->propose.next_seq++;
    p->seq = forward.seq;
    p->forwarded_to = leader;
    p->state = FORWARDED;
    return true;
}

/* Leaders hand on while there is room; order is kept, so the first that must wait stops all. */
static bool advance(struct ha_seat *seat, struct ha_proposal *p, uint64_t now_ms)
{
    uint32_t leader = ha_seat_leader(seat);

    if (seat->raft.state == RAFT_LEADER) {
        if (!ha_seat_is_acting(seat) || !has_room(&seat->propose, p->size))
            return false;
        submit(seat, p);
        return true;
    }
    if (p->origin != ORIGIN_OWN) {
        end(p, HA_RAFT_REFUSED, HA_ENOTLEADER, "leadership was lost before it was appended");
        return true;
    }
    if (leader == 0 || leader == seat->options.own_id || now_ms < p->not_before_ms)
        return false;
    return forward(seat, p, leader);
}

static void expire(struct ha_seat *seat, struct ha_proposal *p)
{
    if (p->state == QUEUED)
        end(p, HA_RAFT_REFUSED, ha_seat_leader(seat) == 0 ? HA_ENOQUORUM : HA_ETIMEDOUT,
            "no leader took it in time");
    else if (p->state == FORWARDED)
        end(p, HA_RAFT_UNKNOWN, HA_ETIMEDOUT, "the leader did not answer in time");
}

static void report(struct ha_seat *seat, struct ha_proposal *p, const struct ha_raft_outcome *out)
{
    if (p->is_orphan || p->origin == ORIGIN_INTERNAL)
        return;
    if (p->origin == ORIGIN_OWN)
        seat->hooks.outcome(seat->hooks.ctx, p->request, out);
    else
        answer(seat, p->origin, p->request, out);
}

/* libraft still holds the request: tell now, free when it lets go. */
static void report_late(struct ha_seat *seat, struct ha_proposal *p)
{
    const struct ha_raft_outcome late = {
        .result = HA_RAFT_UNKNOWN, .code = HA_ETIMEDOUT, .why = "no majority confirmed it in time"};

    if (p->is_orphan)
        return;
    report(seat, p, &late);
    p->is_orphan = true;
}

static void publish_hash(struct ha_seat *seat)
{
    struct ha_propose *propose = &seat->propose;
    struct ha_proposal *p;
    uint64_t mark[2] = {seat->fsm.applied, seat->fsm.chain};

    if (propose->is_publishing || ha_seat_now(seat) < propose->publish_after_ms ||
        seat->fsm.since_publish < HA_FSM_PUBLISH_EVERY || !ha_seat_is_acting(seat))
        return;
    /* All targets are little-endian; the reader takes it through ha_get_u64. */
    p = add(seat, mark, sizeof(mark));
    if (p == NULL)
        return;
    p->kind = HA_FSM_HASH;
    p->origin = ORIGIN_INTERNAL;
    propose->is_publishing = true;
    propose->publish_after_ms = ha_seat_now(seat) + HA_PROPOSE_PUBLISH_GAP_MS;
}

/* Only those that are here now: a hook may propose again, and be refused again at once. */
static void report_done(struct ha_seat *seat)
{
    struct ha_propose *propose = &seat->propose;
    struct ha_proposal *p = TAILQ_FIRST(&propose->open);

    for (uint32_t left = propose->count; left > 0; left--) {
        struct ha_proposal *next = TAILQ_NEXT(p, link);

        if (p->state == DONE) {
            TAILQ_REMOVE(&propose->open, p, link);
            propose->count--;
            propose->bytes -= p->size;
            if (p->kind == HA_FSM_HASH)
                propose->is_publishing = false;
            report(seat, p, &p->outcome);
            free(p);
        }
        p = next;
    }
}

void ha_propose_turn(struct ha_seat *seat)
{
    struct ha_propose *propose = &seat->propose;
    uint64_t now_ms = ha_seat_now(seat);
    bool may_advance = true;
    struct ha_proposal *p;

    propose->is_dirty = false;
    publish_hash(seat);
    TAILQ_FOREACH(p, &propose->open, link)
    {
        if (has_been_outlived(seat, p))
            end(p, HA_RAFT_UNKNOWN, HA_EUNREACH, "another watcher leads now");
        if (p->state == QUEUED && may_advance)
            may_advance = advance(seat, p, now_ms);
        if (p->state != DONE && now_ms >= p->deadline_ms) {
            if (p->state == APPLYING)
                report_late(seat, p);
            else
                expire(seat, p);
        }
    }
    report_done(seat);
}

void ha_propose_close(struct ha_seat *seat)
{
    struct ha_proposal *p;

    TAILQ_FOREACH(p, &seat->propose.open, link)
    {
        assert(p->state != APPLYING);
        if (p->state != DONE)
            end(p, p->state == QUEUED ? HA_RAFT_REFUSED : HA_RAFT_UNKNOWN, HA_ECLOSED,
                "this watcher is closing");
        if (p->origin != ORIGIN_OWN)
            p->is_orphan = true; /* nobody to answer any more */
    }
    report_done(seat);
    assert(TAILQ_EMPTY(&seat->propose.open));
}

void ha_propose_forget(struct ha_seat *seat)
{
    while (!TAILQ_EMPTY(&seat->propose.open)) {
        struct ha_proposal *p = TAILQ_FIRST(&seat->propose.open);

        TAILQ_REMOVE(&seat->propose.open, p, link);
        free(p);
    }
}
