/* Each rule of the guard, alone: with the rule the library is held, without it
 * it is not. */
#include "raft/guard.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "raft/guard_check.h"
#include "raft/members.h"
#include "tests/support/cmocka_ha.h"

#define SENT_MAX 64

/* A raft_io whose completions the test decides, and a libraft over the guard
 * over it. */
struct fixture {
    struct raft_io io;
    struct ha_guard guard;
    struct raft raft;
    struct raft_fsm fsm;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    uint64_t now_ms;
    struct raft_io_append *append; /* the one under way */
    raft_io_append_cb append_cb;
    struct raft_io_snapshot_put *put;
    raft_io_snapshot_put_cb put_cb;
    struct raft_message sent[SENT_MAX];
    unsigned sent_count;
    unsigned sends_with_cb;
    raft_term loaded_term;
    raft_id loaded_vote;
    raft_term loaded[8]; /* terms of entries 2.. */
    size_t loaded_count;
    bool load_shares_batch;
    raft_index loaded_snapshot; /* one entry follows it; 0: none */
    int fail_set_term;
    raft_index applied;
    jmp_buf escape; /* fatal comes back here */
    const char *died;
    char why[200];
};

static struct fixture f;

/* Deaths leave libraft in the middle of a call: what it held then is lost with the fixture. */
int __lsan_is_turned_off(void) __attribute__((visibility("default")));
int __lsan_is_turned_off(void)
{
    return 1;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    cb(io);
}

static struct raft_snapshot *snapshot_at(raft_index index)
{
    static const uint32_t ids[3] = {1, 2, 3};
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof(*snapshot));

    snapshot->index = index;
    snapshot->term = f.loaded_term;
    snapshot->configuration_index = 1;
    assert_int_equal(ha_members_build(&snapshot->configuration, ids, 3), 0);
    snapshot->n_bufs = 1;
    snapshot->bufs = raft_calloc(1, sizeof(*snapshot->bufs));
    snapshot->bufs[0].len = 8;
    snapshot->bufs[0].base = raft_calloc(1, 8);
    return snapshot;
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote,
                   struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                   size_t *n)
{
    static const uint32_t ids[3] = {1, 2, 3};
    struct raft_configuration conf;
    struct raft_entry *list = raft_calloc(1 + f.loaded_count, sizeof(*list));

    (void)io;
    if (f.loaded_snapshot != 0) {
        list[0].term = f.loaded_term;
        list[0].type = RAFT_COMMAND;
        list[0].buf.len = 8;
        list[0].buf.base = list[0].batch = raft_calloc(1, 8);
        *term = f.loaded_term;
        *vote = f.loaded_vote;
        *snapshot = snapshot_at(f.loaded_snapshot);
        *start = f.loaded_snapshot + 1;
        *entries = list;
        *n = 1;
        return 0;
    }
    assert_int_equal(ha_members_build(&conf, ids, 3), 0);
    assert_int_equal(raft_configuration_encode(&conf, &list[0].buf), 0);
    raft_configuration_close(&conf);
    list[0].term = 1;
    list[0].type = RAFT_CHANGE;
    list[0].batch = list[0].buf.base;
    for (size_t i = 1; i <= f.loaded_count; i++) {
        list[i].term = f.loaded[i - 1];
        list[i].type = RAFT_COMMAND;
        list[i].buf.len = 8;
        if (f.load_shares_batch && i > 1) {
            list[i].batch = list[1].batch;
            list[i].buf.base = (uint8_t *)list[1].batch + 8 * (i - 1);
        } else {
            list[i].batch = raft_calloc(8, 8);
            list[i].buf.base = list[i].batch;
        }
    }
    *term = f.loaded_term;
    *vote = f.loaded_vote;
    *snapshot = NULL;
    *start = 1;
    *entries = list;
    *n = 1 + f.loaded_count;
    return 0;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    (void)io;
    (void)msecs;
    f.tick = tick;
    f.recv = recv;
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    (void)io;
    (void)term;
    return f.fail_set_term;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    (void)io;
    (void)id;
    return 0;
}

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                   raft_io_send_cb cb)
{
    (void)io;
    (void)req;
    if (cb != NULL)
        f.sends_with_cb++;
    assert_true(f.sent_count < SENT_MAX);
    f.sent[f.sent_count++] = *message;
    return 0;
}

static int io_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    (void)io;
    (void)entries;
    (void)n;
    f.append = req;
    f.append_cb = cb;
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    (void)io;
    (void)index;
    return 0;
}

static int io_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                  const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    (void)io;
    (void)trailing;
    (void)snapshot;
    f.put = req;
    f.put_cb = cb;
    return 0;
}

static int io_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    (void)io;
    (void)req;
    (void)cb;
    return RAFT_NOTFOUND;
}

static raft_time io_time(struct raft_io *io)
{
    (void)io;
    return f.now_ms;
}

static int io_random(struct raft_io *io, int min, int max)
{
    (void)io;
    (void)max;
    return min;
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)fsm;
    (void)buf;
    *result = NULL;
    f.applied++;
    return 0;
}

/* The type is libraft's. NOLINTNEXTLINE(readability-non-const-parameter) */
static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
    (void)fsm;
    (void)bufs;
    (void)n;
    return RAFT_BUSY;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    raft_free(buf->base);
    return 0;
}

static void on_fatal(void *arg, int code, const char *why)
{
    (void)arg;
    (void)code;
    (void)snprintf(f.why, sizeof(f.why), "%s", why);
    f.died = f.why;
    longjmp(f.escape, 1);
}

/* Run what may be fatal; true: it lived. */
#define LIVES(statement) (setjmp(f.escape) == 0 ? ((statement), 1ul) : 0ul)

static void set_up(uint32_t off)
{
    const struct ha_guard_options options = {
        .own_id = 1, .peer_count = 3, .peer_ids = {1, 2, 3}, .off = off, .fatal = on_fatal};

    memset(&f, 0, sizeof(f));
    f.now_ms = 1000;
    f.loaded_term = 1;
    f.io = (struct raft_io){.version = 1,
                            .init = io_init,
                            .close = io_close,
                            .load = io_load,
                            .start = io_start,
                            .set_term = io_set_term,
                            .set_vote = io_set_vote,
                            .send = io_send,
                            .append = io_append,
                            .truncate = io_truncate,
                            .snapshot_put = io_put,
                            .snapshot_get = io_get,
                            .time = io_time,
                            .random = io_random};
    f.fsm = (struct raft_fsm){
        .version = 1, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore};
    ha_guard_init(&f.guard, &f.io, &options);
    assert_int_equal(raft_init(&f.raft, ha_guard_io(&f.guard), &f.fsm, 1, "1"), 0);
    raft_set_election_timeout(&f.raft, 300);
    raft_set_heartbeat_timeout(&f.raft, 50);
    raft_set_pre_vote(&f.raft, true);
}

static void start(void)
{
    assert_int_equal(raft_start(&f.raft), 0);
    ha_guard_check(&f.guard);
}

static void on_closed(struct raft *raft)
{
    (void)raft;
}

static void tear_down(void)
{
    f.guard.is_closing = true;
    if (f.append != NULL) {
        struct raft_io_append *req = f.append;

        f.append = NULL;
        f.append_cb(req, RAFT_CANCELED);
    }
    raft_close(&f.raft, on_closed);
}

static void deliver(struct raft_message *message, raft_id from)
{
    message->server_id = from;
    message->server_address = "?";
    f.recv(&f.io, message);
}

static struct raft_message append_message(raft_term term, raft_index prev, raft_term prev_term,
                                          unsigned n)
{
    struct raft_message message = {.type = RAFT_IO_APPEND_ENTRIES};
    struct raft_append_entries *args = &message.append_entries;

    args->term = term;
    args->prev_log_index = prev;
    args->prev_log_term = prev_term;
    args->n_entries = n;
    if (n > 0)
        args->entries = raft_calloc(n, sizeof(*args->entries));
    for (unsigned i = 0; i < n; i++) {
        args->entries[i].term = term;
        args->entries[i].type = RAFT_COMMAND;
        args->entries[i].buf.len = 8;
        args->entries[i].buf.base = raft_calloc(1, 8);
        args->entries[i].batch = args->entries[i].buf.base;
    }
    return message;
}

static const struct raft_message *last_sent(unsigned short type)
{
    for (unsigned i = f.sent_count; i > 0; i--)
        if (f.sent[i - 1].type == type)
            return &f.sent[i - 1];
    fail_msg("no message of type %u was sent", (unsigned)type);
    abort();
}

static void finish_append(int status)
{
    struct raft_io_append *req = f.append;

    assert_non_null(req);
    f.append = NULL;
    f.append_cb(req, status);
}

/* Time out, win pre-vote and vote of node 2: leader of the next term. */
static void become_leader(void)
{
    struct raft_message result = {.type = RAFT_IO_REQUEST_VOTE_RESULT};

    f.now_ms += 1000;
    f.tick(&f.io);
    assert_int_equal(f.raft.state, RAFT_CANDIDATE);
    result.request_vote_result.term = f.raft.current_term + 1;
    result.request_vote_result.vote_granted = true;
    result.request_vote_result.pre_vote = raft_tribool_true;
    deliver(&result, 2);
    result.request_vote_result.term = f.raft.current_term;
    result.request_vote_result.pre_vote = raft_tribool_false;
    deliver(&result, 2);
    assert_int_equal(f.raft.state, RAFT_LEADER);
}

static void acknowledge(raft_id from, raft_index index)
{
    struct raft_message result = {.type = RAFT_IO_APPEND_ENTRIES_RESULT};

    result.append_entries_result.term = f.raft.current_term;
    result.append_entries_result.last_log_index = index;
    deliver(&result, from);
}

/* Entries 2 and 3 are of an old term; node 2 holds them. Counting it would
 * commit them. */
static void old_term(uint32_t off, bool is_committed)
{
    set_up(off);
    f.loaded_term = 2;
    f.loaded[0] = f.loaded[1] = 2;
    f.loaded_count = 2;
    start();
    become_leader();
    assert_true((f.append != NULL) == ((off & HA_GUARD_G(1)) == 0)); /* the barrier */
    acknowledge(2, 3);
    assert_int_equal(f.raft.commit_index >= 3, is_committed);
    if (!is_committed) {
        assert_false(ha_guard_is_acting(&f.guard));
        finish_append(0);
        acknowledge(2, 4);
        assert_int_equal(f.raft.commit_index, 4);
        assert_true(ha_guard_is_acting(&f.guard));
    }
    tear_down();
}

static void test_g1_old_terms_are_not_committed_by_counting(void **state)
{
    (void)state;
    old_term(0, false);
    old_term(HA_GUARD_G(1), true);
}

/* Our entries 2 and 3 are leftovers; the new leader has only checked up to 1.
 */
static void leftovers(uint32_t off, raft_index acked)
{
    struct raft_message heartbeat;

    set_up(off);
    f.loaded_term = 2;
    f.loaded[0] = f.loaded[1] = 2;
    f.loaded_count = 2;
    start();
    heartbeat = append_message(3, 1, 1, 0);
    heartbeat.append_entries.leader_commit = 3; /* its own entries 2 and 3, not ours */
    deliver(&heartbeat, 2);
    assert_int_equal(last_sent(RAFT_IO_APPEND_ENTRIES_RESULT)->append_entries_result.last_log_index,
                     acked);
    assert_int_equal(f.raft.commit_index, acked);
    tear_down();
}

static void test_g2_only_checked_entries_are_acknowledged(void **state)
{
    (void)state;
    leftovers(0, 1);
    leftovers(HA_GUARD_G(2), 3);
}

static void slow_append(uint32_t off, int role)
{
    struct raft_message message;

    set_up(off);
    start();
    message = append_message(2, 1, 1, 1);
    deliver(&message, 2);
    assert_non_null(f.append);
    f.now_ms += 1000;
    f.tick(&f.io);
    assert_int_equal(f.raft.state, role);
    if (role == RAFT_FOLLOWER) {
        finish_append(0);
        f.now_ms += 200; /* the timer began anew */
        f.tick(&f.io);
        assert_int_equal(f.raft.state, RAFT_FOLLOWER);
        f.now_ms += 1000;
        f.tick(&f.io);
        assert_int_equal(f.raft.state, RAFT_CANDIDATE);
    }
    tear_down();
}

static void timeout_now(uint32_t off, int role)
{
    struct raft_message message = append_message(2, 1, 1, 0);

    set_up(off);
    start();
    deliver(&message, 2);
    message = (struct raft_message){.type = RAFT_IO_TIMEOUT_NOW};
    message.timeout_now.term = 2;
    message.timeout_now.last_log_index = 1;
    message.timeout_now.last_log_term = 1;
    deliver(&message, 2);
    assert_int_equal(f.raft.state, role);
    tear_down();
}

static void test_g3_no_candidacy_while_writing_nor_when_told(void **state)
{
    (void)state;
    slow_append(0, RAFT_FOLLOWER);
    slow_append(HA_GUARD_G(3), RAFT_CANDIDATE);
    timeout_now(0, RAFT_FOLLOWER);
    timeout_now(HA_GUARD_TIMEOUT_NOW, RAFT_CANDIDATE);
}

/* A candidate of an old term with a better log asks; our higher term must reach
 * it. */
static void pre_vote(uint32_t off, raft_term told)
{
    struct raft_message message = {.type = RAFT_IO_REQUEST_VOTE};

    set_up(off);
    f.loaded_term = 7;
    f.loaded_vote = 3;
    start();
    message.request_vote.term = 5;
    message.request_vote.candidate_id = 2;
    message.request_vote.last_log_index = 9;
    message.request_vote.last_log_term = 4;
    message.request_vote.pre_vote = true;
    deliver(&message, 2);
    assert_false(last_sent(RAFT_IO_REQUEST_VOTE_RESULT)->request_vote_result.vote_granted);
    assert_int_equal(last_sent(RAFT_IO_REQUEST_VOTE_RESULT)->request_vote_result.term, told);
    tear_down();
}

static void test_g4_a_refusal_tells_our_term(void **state)
{
    struct raft_message result = {.type = RAFT_IO_REQUEST_VOTE_RESULT, .server_id = 2};

    (void)state;
    pre_vote(0, 7);
    /* The library echoes the candidate's term in some cases only; here is the
     * rule by itself. */
    set_up(0);
    f.loaded_term = 7;
    start();
    result.request_vote_result.term = 5;
    assert_int_equal(f.guard.io.send(&f.guard.io, NULL, &result, NULL), 0);
    assert_int_equal(f.sent[f.sent_count - 1].request_vote_result.term, 7);
    tear_down();
    set_up(HA_GUARD_G(4));
    f.loaded_term = 7;
    start();
    assert_int_equal(f.guard.io.send(&f.guard.io, NULL, &result, NULL), 0);
    assert_int_equal(f.sent[f.sent_count - 1].request_vote_result.term, 5);
    tear_down();
}

static void failed_append(uint32_t off, bool lives)
{
    struct raft_message message;

    set_up(off);
    start();
    message = append_message(2, 1, 1, 1);
    deliver(&message, 2);
    assert_int_equal(LIVES(finish_append(RAFT_NOSPACE)), lives);
    if (lives) /* and told the leader to try again, under a log that disk and
                  memory disagree on */
        assert_int_not_equal(
            last_sent(RAFT_IO_APPEND_ENTRIES_RESULT)->append_entries_result.rejected, 0);
}

static void test_g5_a_storage_error_ends_the_process(void **state)
{
    struct raft_message message;

    (void)state;
    failed_append(0, false);
    failed_append(HA_GUARD_G(5), true);
    set_up(0);
    start();
    f.fail_set_term = RAFT_IOERR;
    message = append_message(2, 1, 1, 0);
    assert_int_equal(LIVES(deliver(&message, 2)), 0);
    print_message("# %s\n", f.died);
    /* The library gives up without a word: noticed too. */
    set_up(0);
    start();
    f.raft.state = RAFT_UNAVAILABLE;
    assert_int_equal(LIVES(ha_guard_check(&f.guard)), 0);
}

static void test_g6_one_allocation_per_entry_and_sends_end_at_once(void **state)
{
    (void)state;
    for (unsigned off = 0; off < 2; off++) {
        set_up(off == 0 ? 0 : HA_GUARD_G(6));
        f.load_shares_batch = true;
        f.loaded_term = 2;
        f.loaded[0] = f.loaded[1] = f.loaded[2] = 2;
        f.loaded_count = 3;
        start();
        for (size_t i = 2; i < 4; i++) {
            const struct raft_entry *entry =
                &f.raft.log.entries[(f.raft.log.front + i) % f.raft.log.size];

            assert_int_equal(entry->batch == entry->buf.base, off == 0);
        }
        f.now_ms += 1000;
        f.tick(&f.io);
        assert_int_equal(f.sends_with_cb == 0, off == 0);
        if (off == 0)
            tear_down();
    }
}

static int set_vote(raft_id id)
{
    return f.guard.io.set_vote(&f.guard.io, id);
}

static int set_term(raft_term term)
{
    return f.guard.io.set_term(&f.guard.io, term);
}

static void test_g7_one_vote_per_term(void **state)
{
    (void)state;
    set_up(0);
    f.loaded_term = 4;
    f.loaded_vote = 2;
    start();
    assert_int_equal(LIVES((void)set_vote(2)), 1);
    assert_int_equal(LIVES((void)set_vote(3)), 0);
    assert_int_equal(LIVES((void)set_term(5)), 1);
    assert_int_equal(LIVES((void)set_vote(3)), 1);
    assert_int_equal(LIVES((void)set_term(4)), 0);
    tear_down();
    set_up(HA_GUARD_G(7));
    f.loaded_vote = 2;
    start();
    assert_int_equal(LIVES((void)set_vote(3)), 1);
    tear_down();
}

struct odd {
    const char *name;
    raft_id from;
    raft_term term;
    raft_index prev;
    raft_term prev_term;
    raft_term entry_term; /* 0: no entry */
    unsigned short entry_type;
    size_t entry_size;
};

static void test_g8_only_plausible_messages_pass(void **state)
{
    static const struct odd odds[] = {
        {"from nobody", 4, 2, 1, 1, 0, 0, 0},
        {"from ourselves", 1, 2, 1, 1, 0, 0, 0},
        {"a term out of reach", 2, 2 + HA_GUARD_TERM_JUMP_MAX, 1, 1, 0, 0, 0},
        {"the largest term", 2, UINT64_MAX, 1, 1, 0, 0, 0},
        {"a previous term above the term", 2, 2, 1, 3, 0, 0, 0},
        {"an index about to wrap", 2, 2, UINT64_MAX, 1, 0, 0, 0},
        {"an entry of a later term", 2, 2, 1, 1, 3, RAFT_COMMAND, 8},
        {"an entry of no type", 2, 2, 1, 1, 2, 9, 8},
        {"a membership change", 2, 2, 1, 1, 2, RAFT_CHANGE, 8},
        {"an entry of 12 bytes", 2, 2, 1, 1, 2, RAFT_COMMAND, 12},
        {"an entry too large", 2, 2, 1, 1, 2, RAFT_COMMAND, HA_GUARD_ENTRY_MAX + 8},
    };

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(odds); i++) {
        const struct odd *odd = &odds[i];
        struct raft_message message =
            append_message(odd->term, odd->prev, odd->prev_term, odd->entry_term == 0 ? 0 : 1);

        set_up(0);
        start();
        if (odd->entry_term != 0) {
            message.append_entries.entries[0].term = odd->entry_term;
            message.append_entries.entries[0].type = odd->entry_type;
            message.append_entries.entries[0].buf.len = odd->entry_size;
        }
        deliver(&message, odd->from);
        print_message("# %s\n", odd->name);
        assert_int_equal(f.guard.dropped, 1);
        assert_int_equal(f.raft.current_term, 1);
        tear_down();
    }
    set_up(HA_GUARD_G(8));
    start();
    {
        struct raft_message message = append_message(2 + HA_GUARD_TERM_JUMP_MAX, 1, 1, 0);

        deliver(&message, 2);
        assert_int_equal(f.raft.current_term, 2 + HA_GUARD_TERM_JUMP_MAX);
    }
    tear_down();
}

/* A leader that begins at 1 while we have compacted it: libraft appends its
 * entry 1 at our end. */
static void test_g10_compacted_entries_are_not_appended_again(void **state)
{
    struct raft_append_entries args = {.term = 3, .prev_log_index = 0, .n_entries = 4};
    struct raft raft = {.current_term = 3, .commit_index = 3};

    (void)state;
    raft.log.offset = 3;
    raft.log.snapshot.last_index = 3;
    raft.log.snapshot.last_term = 2;
    args.entries = raft_calloc(4, sizeof(*args.entries));
    for (int i = 0; i < 4; i++)
        args.entries[i] = (struct raft_entry){.term = 2 + (i == 3), .type = RAFT_COMMAND};
    ha_guard_rebase(&raft, &args);
    assert_int_equal(args.prev_log_index, 3);
    assert_int_equal(args.prev_log_term, 2);
    assert_int_equal(args.n_entries, 1);
    assert_int_equal(args.entries[0].term, 3);
    /* All of it is below: a heartbeat remains. */
    raft.commit_index = raft.log.snapshot.last_index = 9;
    ha_guard_rebase(&raft, &args);
    assert_int_equal(args.prev_log_index, 9);
    assert_int_equal(args.n_entries, 0);
    assert_null(args.entries);
    /* Not for a leader of the past: libraft refuses that one. */
    args.term = 2;
    args.prev_log_index = 1;
    ha_guard_rebase(&raft, &args);
    assert_int_equal(args.prev_log_index, 1);
}

/* A log that begins behind 5 hears of entries 1 and 2. True: nothing was written. */
static bool hears_of_the_beginning(uint32_t off)
{
    struct raft_message message = append_message(3, 0, 0, 2);
    bool is_clean;

    set_up(off);
    f.loaded_term = 2;
    f.loaded_snapshot = 5;
    start();
    deliver(&message, 2);
    is_clean = f.append == NULL && raft_last_index(&f.raft) == 6;
    if (is_clean)
        assert_int_equal(
            last_sent(RAFT_IO_APPEND_ENTRIES_RESULT)->append_entries_result.last_log_index, 5);
    tear_down();
    return is_clean;
}

/* The same through the library: without the rule it appends them as 7 and 8, and most often dies
 * when it looks for them under their own numbers. */
static void test_g10_a_leader_that_begins_at_one_appends_nothing(void **state)
{
    int status = 0;
    pid_t pid;

    (void)state;
    assert_true(hears_of_the_beginning(0));
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGABRT, SIG_DFL);
        (void)prctl(PR_SET_DUMPABLE, 0);
        _exit(hears_of_the_beginning(HA_GUARD_REBASE) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_not_equal(status, 0);
}

static void nudged(uint32_t off, unsigned messages)
{
    unsigned before;
    const struct raft_message *nudge;

    set_up(off);
    start();
    become_leader();
    finish_append(0);
    acknowledge(2, 2);
    assert_int_equal(f.raft.commit_index, 2);
    before = f.sent_count;
    ha_guard_nudge(&f.guard);
    assert_int_equal(f.sent_count - before, messages);
    if (messages == 1) {
        nudge = &f.sent[f.sent_count - 1];
        assert_int_equal(nudge->server_id, 2); /* node 3 has acknowledged nothing */
        assert_int_equal(nudge->append_entries.n_entries, 0);
        assert_int_equal(nudge->append_entries.prev_log_index, 2);
        assert_int_equal(nudge->append_entries.prev_log_term, f.raft.current_term);
        assert_int_equal(nudge->append_entries.leader_commit, 2);
        ha_guard_nudge(&f.guard); /* once */
        assert_int_equal(f.sent_count - before, 1);
    }
    tear_down();
}

static void test_followers_are_nudged_once_per_commit(void **state)
{
    (void)state;
    nudged(0, 1);
    nudged(HA_GUARD_NUDGE, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_g1_old_terms_are_not_committed_by_counting),
    cmocka_unit_test(test_g2_only_checked_entries_are_acknowledged),
    cmocka_unit_test(test_g3_no_candidacy_while_writing_nor_when_told),
    cmocka_unit_test(test_g4_a_refusal_tells_our_term),
    cmocka_unit_test(test_g5_a_storage_error_ends_the_process),
    cmocka_unit_test(test_g6_one_allocation_per_entry_and_sends_end_at_once),
    cmocka_unit_test(test_g7_one_vote_per_term),
    cmocka_unit_test(test_g8_only_plausible_messages_pass),
    cmocka_unit_test(test_g10_compacted_entries_are_not_appended_again),
    cmocka_unit_test(test_g10_a_leader_that_begins_at_one_appends_nothing),
    cmocka_unit_test(test_followers_are_nudged_once_per_commit),
};

HA_TEST_MAIN("raft/guard", tests)
