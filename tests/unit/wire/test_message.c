/* Watchers and agents understand each other, or say why not. */
#include "lib/wire/message.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/wire/every_byte.h"
#include "tests/unit/wire/generate.h"

#define TYPES ((uint32_t)HA_MESSAGE_PREPARED + 1)

struct room {
    uint8_t data[HA_MESSAGE_SIZE_MAX], again[HA_MESSAGE_SIZE_MAX];
    size_t size;
    struct ha_message message, decoded;
    struct ha_status status;
    struct ha_promise promise;
    struct gen g;
};

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct room));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static bool is_batch(uint32_t type)
{
    return type == HA_MESSAGE_HEARTBEATS || type == HA_MESSAGE_PROMISES;
}

/* A message of @type with up to 3 items, if it is a batch. */
static size_t make(struct room *r, uint32_t type)
{
    struct ha_batch_writer batch;
    struct ha_err err = {0};
    size_t size = 0;

    if (type == HA_MESSAGE_HEARTBEATS)
        ha_batch_begin_heartbeats(&batch, r->data, 11, 22);
    else if (type == HA_MESSAGE_PROMISES)
        ha_batch_begin_promises(&batch, r->data);
    for (uint32_t i = gen_below(&r->g, 4); is_batch(type) && i > 0; i--) {
        gen_status(&r->g, &r->status);
        gen_promise(&r->g, &r->promise);
        assert_int_equal(type == HA_MESSAGE_HEARTBEATS ? ha_batch_add_status(&batch, &r->status)
                                                       : ha_batch_add_promise(&batch, &r->promise),
                         HA_OK);
    }
    if (is_batch(type))
        return ha_batch_end(&batch);
    gen_message(&r->g, (enum ha_message_type)type, &r->message);
    if (ha_message_encode(&r->message, r->data, sizeof(r->data), &size, &err) != HA_OK)
        fail_msg("%s", err.text);
    return size;
}

/* Encodes what was decoded. */
static size_t remake(struct room *r)
{
    struct ha_message *m = &r->decoded;
    struct ha_batch_writer batch;
    struct ha_heartbeat heartbeat;
    struct ha_promise promise;
    size_t size = 0;

    if (m->type == HA_MESSAGE_HEARTBEATS) {
        ha_batch_begin_heartbeats(&batch, r->again, m->u.heartbeats.instance,
                                  m->u.heartbeats.stamp);
        while (ha_batch_next_heartbeat(&m->u.heartbeats, &heartbeat)) {
            assert_true(heartbeat.instance == m->u.heartbeats.instance);
            assert_true(heartbeat.stamp == m->u.heartbeats.stamp);
            assert_int_equal(ha_batch_add_status(&batch, &heartbeat.status), HA_OK);
        }
        return ha_batch_end(&batch);
    }
    if (m->type == HA_MESSAGE_PROMISES) {
        ha_batch_begin_promises(&batch, r->again);
        while (ha_batch_next_promise(&m->u.promises, &promise))
            assert_int_equal(ha_batch_add_promise(&batch, &promise), HA_OK);
        return ha_batch_end(&batch);
    }
    assert_int_equal(ha_message_encode(m, r->again, sizeof(r->again), &size, NULL), HA_OK);
    return size;
}

static void test_round_trip(void **state)
{
    struct room *r = *state;

    for (uint64_t seed = 0; seed < 1000; seed++) {
        uint32_t type = 1 + (uint32_t)seed % (TYPES - 1);
        struct ha_err err = {0};
        size_t size;

        gen_seed(&r->g, seed, false);
        size = make(r, type);
        if (ha_message_decode(r->data, size, &r->decoded, &err) != HA_OK)
            fail_msg("seed %lu: %s", (unsigned long)seed, err.text);
        assert_int_equal(r->decoded.type, type);
        assert_int_equal(remake(r), size);
        assert_memory_equal(r->data, r->again, size);
    }
    assert_false(ha_message_type_valid(TYPES));
}

static bool same_message(void *arg)
{
    struct room *r = arg;
    size_t size = 0;

    return ha_message_encode(&r->message, r->again, sizeof(r->again), &size, NULL) == HA_OK &&
           size == r->size && memcmp(r->data, r->again, size) == 0;
}

static void check_every_byte(struct room *r, uint32_t type)
{
    unsigned char *mask = calloc(1, sizeof(r->message.u));

    assert_non_null(mask);
    for (uint64_t seed = 0; seed < EVERY_BYTE_SEEDS; seed++) {
        gen_seed(&r->g, seed, true);
        r->size = make(r, type);
        every_byte_mark(mask, &r->message.u, sizeof(r->message.u));
    }
    every_byte_check(&r->message.u, sizeof(r->message.u), mask, same_message, r);
    free(mask);
}

static bool same_status(void *arg)
{
    struct room *r = arg;
    struct ha_batch_writer batch;

    ha_batch_begin_heartbeats(&batch, r->again, 1, 2);
    return ha_batch_add_status(&batch, &r->status) == HA_OK && ha_batch_end(&batch) == r->size &&
           memcmp(r->data, r->again, r->size) == 0;
}

static bool same_promise(void *arg)
{
    struct room *r = arg;
    struct ha_batch_writer batch;

    ha_batch_begin_promises(&batch, r->again);
    return ha_batch_add_promise(&batch, &r->promise) == HA_OK && ha_batch_end(&batch) == r->size &&
           memcmp(r->data, r->again, r->size) == 0;
}

static void test_no_field_is_forgotten(void **state)
{
    struct room *r = *state;

    for (uint32_t type = 1; type < TYPES; type++)
        if (!is_batch(type))
            check_every_byte(r, type);
}

static void test_no_field_of_an_item_is_forgotten(void **state)
{
    struct room *r = *state;
    struct ha_batch_writer batch;
    unsigned char status_mask[sizeof(struct ha_status)] = {0};
    unsigned char promise_mask[sizeof(struct ha_promise)] = {0};

    for (uint64_t seed = 0; seed < EVERY_BYTE_SEEDS; seed++) {
        gen_seed(&r->g, seed, true);
        gen_status(&r->g, &r->status);
        gen_promise(&r->g, &r->promise);
        every_byte_mark(status_mask, &r->status, sizeof(r->status));
        every_byte_mark(promise_mask, &r->promise, sizeof(r->promise));
    }
    ha_batch_begin_heartbeats(&batch, r->data, 1, 2);
    assert_int_equal(ha_batch_add_status(&batch, &r->status), HA_OK);
    r->size = ha_batch_end(&batch);
    print_message("# the largest heartbeat of one service: %zu bytes\n", r->size);
    every_byte_check(&r->status, sizeof(r->status), status_mask, same_status, r);
    ha_batch_begin_promises(&batch, r->data);
    assert_int_equal(ha_batch_add_promise(&batch, &r->promise), HA_OK);
    r->size = ha_batch_end(&batch);
    every_byte_check(&r->promise, sizeof(r->promise), promise_mask, same_promise, r);
}

/* Of each bit of a status it must be told when it changes, but for those that change by themselves.
 */
static void test_mark_is_of_all_that_lasts(void **state)
{
    struct room *r = *state;
    uint64_t mark;

    gen_seed(&r->g, 3, true);
    gen_status(&r->g, &r->status);
    mark = ha_status_mark(&r->status);
    r->status.answer_age_ms++;
    r->status.sample.link_idle_ms++;
    r->status.gate_left_ms++;
    r->status.lease_left_ms++;
    assert_int_equal(ha_status_mark(&r->status), mark);
    r->status.sample.position.offset++;
    assert_int_not_equal(ha_status_mark(&r->status), mark);
    r->status.sample.position.offset--;
    r->status.settled = !r->status.settled;
    assert_int_not_equal(ha_status_mark(&r->status), mark);
    r->status.settled = !r->status.settled;
    r->status.text[0] ^= 1;
    assert_int_not_equal(ha_status_mark(&r->status), mark);
}

/* A host with a member of each of 1024 services: all arrive, in order, in messages of a size. */
static void test_batches_split(void **state)
{
    struct room *r = *state;
    struct ha_batch_writer batch;
    uint32_t sent = 0, received = 0, messages = 0;

    gen_seed(&r->g, 9, false);
    while (sent < HA_SERVICES_MAX) {
        struct ha_heartbeat heartbeat;
        size_t size;

        ha_batch_begin_heartbeats(&batch, r->data, 5, sent);
        for (; sent < HA_SERVICES_MAX; sent++) {
            struct ha_prng before = r->g.prng;

            gen_status(&r->g, &r->status);
            r->status.service = sent;
            if (ha_batch_add_status(&batch, &r->status) == HA_OK)
                continue;
            r->g.prng = before;
            break;
        }
        size = ha_batch_end(&batch);
        messages++;
        assert_true(size <= HA_MESSAGE_SIZE_MAX);
        assert_true(sent == HA_SERVICES_MAX || size > HA_MESSAGE_SIZE_MAX - 2048);
        assert_int_equal(ha_message_decode(r->data, size, &r->decoded, NULL), HA_OK);
        while (ha_batch_next_heartbeat(&r->decoded.u.heartbeats, &heartbeat))
            assert_int_equal(heartbeat.status.service, received++);
        assert_int_equal(received, sent);
    }
    print_message("# %u statuses in %u messages\n", received, messages);
    assert_true(messages > 1);
}

/* An item that cannot be encoded leaves the batch as it was. */
static void test_bad_item_is_left_out(void **state)
{
    struct room *r = *state;
    struct ha_batch_writer batch;
    size_t size;

    gen_seed(&r->g, 9, false);
    gen_promise(&r->g, &r->promise);
    ha_batch_begin_promises(&batch, r->data);
    assert_int_equal(ha_batch_add_promise(&batch, &r->promise), HA_OK);
    size = ha_batch_end(&batch);
    r->promise.length_ms = HA_LEASE_MAX_MS + 1;
    assert_int_equal(ha_batch_add_promise(&batch, &r->promise), HA_EINVAL);
    assert_int_equal(ha_batch_end(&batch), size);
    assert_int_equal(batch.count, 1);
    assert_int_equal(ha_message_decode(r->data, size, &r->decoded, NULL), HA_OK);
    assert_int_equal(r->decoded.u.promises.left, 1);
}

static void test_truncated_or_longer(void **state)
{
    struct room *r = *state;

    for (uint32_t type = 1; type < TYPES; type++) {
        size_t size, refused = 0;

        gen_seed(&r->g, type, true);
        size = make(r, type);
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *part = malloc(cut + 1);

            assert_non_null(part);
            memcpy(part, r->data, cut);
            if (ha_message_decode(part, cut, &r->decoded, NULL) == HA_EPROTO)
                refused++;
            free(part);
        }
        /* A batch may end after any of its items: at 0, 1 or 2 of the three. */
        if (is_batch(type))
            assert_true(refused >= size - 3);
        else
            assert_int_equal(refused, size);
        r->data[size] = 0;
        assert_int_equal(ha_message_decode(r->data, size + 1, &r->decoded, NULL), HA_EPROTO);
    }
}

static void test_damaged(void **state)
{
    struct room *r = *state;
    uint32_t accepted = 0;

    for (uint64_t seed = 0; seed < 100000; seed++) {
        uint32_t flips;
        size_t size;

        gen_seed(&r->g, seed, false);
        size = make(r, 1 + gen_below(&r->g, TYPES - 1));
        flips = 1 + gen_below(&r->g, 4);
        for (uint32_t i = 0; i < flips; i++)
            r->data[1 + gen_below(&r->g, (uint32_t)size - 1)] = (uint8_t)gen_below(&r->g, 256);
        if (ha_message_decode(r->data, size, &r->decoded, NULL) != HA_OK)
            continue;
        accepted++;
        assert_int_equal(remake(r), size);
        assert_memory_equal(r->data, r->again, size);
    }
    print_message("# %u of 100000 damaged messages were still messages\n", accepted);
    assert_true(accepted > 100);
}

static void test_random_bytes(void **state)
{
    struct room *r = *state;

    gen_seed(&r->g, 1, false);
    for (uint32_t run = 0; run < 100000; run++) {
        size_t size = 2 + gen_below(&r->g, 300);

        for (size_t i = 0; i < size; i++)
            r->data[i] = (uint8_t)gen_below(&r->g, 256);
        r->data[0] = HA_MESSAGE_VERSION;
        r->data[1] %= TYPES;
        if (ha_message_decode(r->data, size, &r->decoded, NULL) == HA_OK)
            assert_int_equal(remake(r), size);
    }
}

static void test_refusals_say_what(void **state)
{
    struct room *r = *state;
    struct ha_err err = {0};
    size_t size = 77;

    r->data[0] = HA_MESSAGE_VERSION - 1;
    assert_int_equal(ha_message_decode(r->data, 50, &r->decoded, &err), HA_ENOTSUP);
    assert_string_equal(err.text, "the peer speaks version 4 of the protocol, this program version "
                                  "5; upgrade the older one");
    r->data[0] = HA_MESSAGE_VERSION;
    r->data[1] = 200;
    assert_int_equal(ha_message_decode(r->data, 50, &r->decoded, &err), HA_EPROTO);
    assert_string_equal(err.text, "message: byte 2: unknown message_type");
    r->data[1] = HA_MESSAGE_NONE;
    assert_int_equal(ha_message_decode(r->data, 50, &r->decoded, &err), HA_EPROTO);
    assert_string_equal(err.text, "message: byte 2: no type");
    r->data[1] = HA_MESSAGE_STOPPED;
    assert_int_equal(ha_message_decode(r->data, 20, &r->decoded, &err), HA_EPROTO);
    assert_string_equal(err.text, "stopped: byte 14: truncated");
    r->message = (struct ha_message){.type = HA_MESSAGE_PROMISES};
    assert_int_equal(ha_message_encode(&r->message, r->data, sizeof(r->data), &size, &err),
                     HA_EINVAL);
    assert_string_equal(err.text, "promises: byte 2: a batch is written by its writer");
    assert_int_equal(size, 77);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
    cmocka_unit_test_setup_teardown(test_no_field_is_forgotten, setup, teardown),
    cmocka_unit_test_setup_teardown(test_no_field_of_an_item_is_forgotten, setup, teardown),
    cmocka_unit_test_setup_teardown(test_mark_is_of_all_that_lasts, setup, teardown),
    cmocka_unit_test_setup_teardown(test_batches_split, setup, teardown),
    cmocka_unit_test_setup_teardown(test_bad_item_is_left_out, setup, teardown),
    cmocka_unit_test_setup_teardown(test_truncated_or_longer, setup, teardown),
    cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
    cmocka_unit_test_setup_teardown(test_random_bytes, setup, teardown),
    cmocka_unit_test_setup_teardown(test_refusals_say_what, setup, teardown),
};

HA_TEST_MAIN("wire/message", tests)
