/* Every message comes back as it was; bytes that are not one are refused,
 * whatever they announce.
 */
#include "raft/message.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "raft/frame.h"
#include "raft/guard.h"
#include "raft/guard_check.h"
#include "tests/support/cmocka_ha.h"

static const uint32_t ids[3] = {1, 2, 3};

static struct raft_message sample(unsigned short type, struct raft_entry *entries, void *data)
{
    struct raft_message m = {.type = type, .server_id = 2};

    switch (type) {
    case RAFT_IO_REQUEST_VOTE:
        m.request_vote = (struct raft_request_vote){.term = 9,
                                                    .candidate_id = 2,
                                                    .last_log_index = 77,
                                                    .last_log_term = 8,
                                                    .pre_vote = true};
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        m.request_vote_result = (struct raft_request_vote_result){
            .term = 3, .vote_granted = true, .pre_vote = raft_tribool_false};
        break;
    case RAFT_IO_APPEND_ENTRIES:
        m.append_entries = (struct raft_append_entries){.term = 4,
                                                        .prev_log_index = 10,
                                                        .prev_log_term = 3,
                                                        .leader_commit = 9,
                                                        .entries = entries,
                                                        .n_entries = 3};
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        m.append_entries_result =
            (struct raft_append_entries_result){.term = 4, .rejected = 2, .last_log_index = 5};
        break;
    default:
        m.install_snapshot = (struct raft_install_snapshot){.term = 5,
                                                            .last_index = 100,
                                                            .last_term = 4,
                                                            .conf_index = 1,
                                                            .data = {.base = data, .len = 5000}};
        break;
    }
    return m;
}

static struct raft_entry entries[3];
static uint8_t bytes[5000];

static void fill(void)
{
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < 3; i++)
        entries[i] = (struct raft_entry){.term = 3 + (i == 2),
                                         .type = i == 0 ? RAFT_BARRIER : RAFT_COMMAND,
                                         .buf = {.base = bytes, .len = 8 * (i + 1)}};
}

static void check_equal(const struct raft_message *x, const struct raft_message *y)
{
    const struct raft_append_entries *p = &x->append_entries;
    const struct raft_append_entries *q = &y->append_entries;

    assert_int_equal(x->type, y->type);
    switch (x->type) {
    case RAFT_IO_REQUEST_VOTE:
        assert_memory_equal(&x->request_vote, &y->request_vote, sizeof(x->request_vote));
        break;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        assert_int_equal(x->request_vote_result.term, y->request_vote_result.term);
        assert_int_equal(x->request_vote_result.pre_vote, y->request_vote_result.pre_vote);
        break;
    case RAFT_IO_APPEND_ENTRIES:
        assert_int_equal(p->leader_commit, q->leader_commit);
        assert_int_equal(p->n_entries, q->n_entries);
        for (unsigned i = 0; i < p->n_entries; i++) {
            assert_int_equal(p->entries[i].term, q->entries[i].term);
            assert_int_equal(p->entries[i].type, q->entries[i].type);
            assert_int_equal(p->entries[i].buf.len, q->entries[i].buf.len);
            assert_memory_equal(p->entries[i].buf.base, q->entries[i].buf.base,
                                p->entries[i].buf.len);
            assert_ptr_equal(q->entries[i].batch, q->entries[i].buf.base); /* G6 */
        }
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        assert_memory_equal(&x->append_entries_result, &y->append_entries_result,
                            sizeof(x->append_entries_result));
        break;
    default:
        assert_int_equal(x->install_snapshot.last_index, y->install_snapshot.last_index);
        assert_int_equal(y->install_snapshot.conf.n, 3);
        assert_int_equal(y->install_snapshot.data.len, 5000);
        assert_memory_equal(y->install_snapshot.data.base, bytes, 5000);
        break;
    }
}

static uint8_t *encode(const struct raft_message *message, size_t *ret_size)
{
    uint8_t *data;

    *ret_size = ha_raft_message_size(message);
    assert_true(*ret_size > 0);
    data = malloc(*ret_size);
    assert_true(ha_raft_message_encode(message, data, *ret_size));
    return data;
}

static void test_round_trips(void **state)
{
    (void)state;
    fill();
    for (unsigned type = RAFT_IO_APPEND_ENTRIES; type <= RAFT_IO_INSTALL_SNAPSHOT; type++) {
        struct raft_message from = sample((unsigned short)type, entries, bytes);
        struct raft_message to;
        size_t size;
        uint8_t *data = encode(&from, &size);

        assert_true(ha_raft_message_decode(data, size, 2, ids, 3, &to));
        assert_int_equal(to.server_id, 2);
        check_equal(&from, &to);
        ha_guard_release(&to);
        for (size_t cut = 0; cut < size; cut += 1 + size / 300)
            assert_false(ha_raft_message_decode(data, cut, 2, ids, 3, &to));
        free(data);
    }
}

static void test_timeout_now_does_not_exist(void **state)
{
    struct raft_message message = {.type = RAFT_IO_TIMEOUT_NOW};
    uint8_t data[32] = {RAFT_IO_TIMEOUT_NOW};
    struct raft_message to;

    (void)state;
    assert_int_equal(ha_raft_message_size(&message), 0);
    for (size_t size = 0; size <= sizeof(data); size++)
        assert_false(ha_raft_message_decode(data, size, 2, ids, 3, &to));
}

/* The counts and lengths that killed libraft's own transport. */
static void test_announced_sizes_are_not_believed(void **state)
{
    static const uint32_t lies[] = {4, 4096, 1000000, UINT32_MAX / 2 + 1, UINT32_MAX};
    struct raft_message from;
    struct raft_message to;
    size_t size;
    uint8_t *data;

    (void)state;
    fill();
    from = sample(RAFT_IO_APPEND_ENTRIES, entries, bytes);
    data = encode(&from, &size);
    for (size_t i = 0; i < HA_ARRAY_LEN(lies); i++) {
        memcpy(data + 34, &lies[i], 4); /* the count */
        assert_false(ha_raft_message_decode(data, size, 2, ids, 3, &to));
    }
    free(data);
    data = encode(&from, &size);
    for (size_t i = 0; i < HA_ARRAY_LEN(lies); i++) {
        memcpy(data + 38 + 9, &lies[i], 4); /* the first entry's size */
        assert_false(ha_raft_message_decode(data, size, 2, ids, 3, &to));
    }
    free(data);
    from = sample(RAFT_IO_INSTALL_SNAPSHOT, entries, bytes);
    data = encode(&from, &size);
    for (size_t i = 0; i < HA_ARRAY_LEN(lies); i++) {
        memcpy(data + 34, &lies[i], 4);
        assert_false(ha_raft_message_decode(data, size, 2, ids, 3, &to));
    }
    free(data);
}

static void test_large_backlogs_are_cut(void **state)
{
    static uint8_t large[65536];
    struct raft_entry many[40];
    struct raft_message from = {.type = RAFT_IO_APPEND_ENTRIES};
    struct raft_message to;
    size_t size;
    uint8_t *data;

    (void)state;
    for (size_t i = 0; i < 40; i++)
        many[i] = (struct raft_entry){
            .term = 1, .type = RAFT_COMMAND, .buf = {.base = large, .len = sizeof(large)}};
    from.append_entries = (struct raft_append_entries){
        .term = 1, .prev_log_index = 1, .prev_log_term = 1, .entries = many, .n_entries = 40};
    data = encode(&from, &size);
    assert_true(size < HA_MESSAGE_ENTRIES_BYTES_MAX + 1000);
    assert_true(ha_raft_message_decode(data, size, 2, ids, 3, &to));
    assert_int_equal(to.append_entries.n_entries, 15);
    ha_guard_release(&to);
    free(data);
}

/* Random damage: decoded to something bounded, or refused; the sanitizers
 * watch. */
static void test_damage_does_no_harm(void **state)
{
    struct ha_prng prng;
    unsigned decoded = 0;

    (void)state;
    fill();
    ha_prng_seed(&prng, 7);
    for (unsigned i = 0; i < 50000; i++) {
        unsigned short type = (unsigned short)ha_prng_between(&prng, 1, 5);
        struct raft_message from = sample(type, entries, bytes);
        struct raft_message to;
        size_t size;
        uint8_t *data = encode(&from, &size);
        size_t cut = ha_prng_chance(&prng, 300000) ? ha_prng_below(&prng, size) : size;
        uint64_t flips = 1 + ha_prng_below(&prng, 4);

        while (flips-- > 0)
            data[ha_prng_below(&prng, size < 60 ? size : 60)] = (uint8_t)ha_prng_u64(&prng);
        if (ha_raft_message_decode(data, cut, 2, ids, 3, &to)) {
            decoded++;
            ha_guard_release(&to);
        }
        free(data);
    }
    print_message("# %u of 50000 damaged messages still were messages\n", decoded);
    assert_true(decoded > 0 && decoded < 50000);
}

static void test_frames_round_trip(void **state)
{
    const struct ha_frame_hello hello = {1, 2, 3, 4, 5};
    const struct ha_frame_answer answer = {7, HA_RAFT_REFUSED, HA_EFULL, 0};
    const struct ha_frame_read read = {9, true, 11};
    const struct ha_frame_forward forward = {5, "abc", 3};
    struct ha_frame_hello hello2;
    struct ha_frame_answer answer2;
    struct ha_frame_read read2;
    struct ha_frame_forward forward2;
    uint8_t data[64];
    size_t size;

    (void)state;
    size = ha_frame_put_hello(data, sizeof(data), &hello);
    assert_int_equal(size, HA_FRAME_HELLO_SIZE);
    assert_true(ha_frame_get_hello(data, size, &hello2));
    assert_int_equal(hello2.set_id, 5);
    assert_false(ha_frame_get_hello(data, size - 1, &hello2));
    data[0] ^= 1;
    assert_false(ha_frame_get_hello(data, size, &hello2));
    size = ha_frame_put_answer(data, sizeof(data), &answer);
    assert_true(ha_frame_get_answer(data, size, &answer2));
    assert_int_equal(answer2.code, HA_EFULL);
    data[8] = 9;
    assert_false(ha_frame_get_answer(data, size, &answer2));
    size = ha_frame_put_read(data, sizeof(data), &read);
    assert_true(ha_frame_get_read(data, size, &read2));
    assert_int_equal(read2.index, 11);
    data[8] = 2;
    assert_false(ha_frame_get_read(data, size, &read2));
    size = ha_frame_put_forward(data, sizeof(data), &forward);
    assert_true(ha_frame_get_forward(data, size, &forward2));
    assert_int_equal(forward2.size, 3);
    assert_false(ha_frame_get_forward(data, 8, &forward2)); /* nothing to propose */
    assert_int_equal(ha_frame_put_forward(data, 10, &forward), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_round_trips),
    cmocka_unit_test(test_timeout_now_does_not_exist),
    cmocka_unit_test(test_announced_sizes_are_not_believed),
    cmocka_unit_test(test_large_backlogs_are_cut),
    cmocka_unit_test(test_damage_does_no_harm),
    cmocka_unit_test(test_frames_round_trip),
};

HA_TEST_MAIN("raft/message", tests)
