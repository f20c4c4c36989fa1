/* What watchers say to each other: what is accepted encodes to the bytes it came from, and what is
 * not leaves nothing behind. The first byte is the type of the frame. */
#include <string.h>

#include "lib/base/bytes.h"
#include "raft/frame.h"
#include "raft/guard_check.h"
#include "raft/message.h"
#include "raft/set.h"
#include "tests/fuzz/fuzz.h"

static uint8_t again[65536];

static void check_same(const uint8_t *data, size_t size, size_t again_size)
{
    FUZZ_CHECK(again_size == size && memcmp(again, data, size) == 0);
}

static void read_message(const uint8_t *data, size_t size)
{
    static const uint32_t ids[] = {1, 2, 3};
    const struct ha_guard_options options = {.own_id = 1, .peer_count = 3, .peer_ids = {1, 2, 3}};
    struct raft_message message;

    if (!ha_raft_message_decode(data, size, 2, ids, 3, &message))
        return;
    FUZZ_CHECK(ha_raft_message_size(&message) == size && size <= sizeof(again));
    FUZZ_CHECK(ha_raft_message_encode(&message, again, size));
    check_same(data, size, size);
    (void)ha_guard_is_plausible(&options, 5, &message);
    if (message.type == RAFT_IO_APPEND_ENTRIES)
        for (unsigned i = 0; i < message.append_entries.n_entries; i++)
            FUZZ_CHECK(message.append_entries.entries[i].buf.len % 8 == 0);
    ha_guard_release(&message);
}

static void read_set(const uint8_t *data, size_t size)
{
    struct ha_raft_set set;
    struct ha_reader r;
    struct ha_writer w;

    ha_reader_init(&r, data, size);
    if (!ha_set_get(&r, &set) || !ha_reader_done(&r))
        return;
    ha_writer_init(&w, again, sizeof(again));
    ha_set_put(&w, &set);
    FUZZ_CHECK(!w.failed && w.size <= HA_SET_SIZE_MAX);
    check_same(data, size, w.size);
}

static void read_frame(enum ha_frame_type type, const uint8_t *data, size_t size)
{
    struct ha_frame_hello hello;
    struct ha_frame_forward forward;
    struct ha_frame_answer answer;
    struct ha_frame_read read;

    switch (type) {
    case HA_FRAME_HELLO:
        if (ha_frame_get_hello(data, size, &hello))
            check_same(data, size, ha_frame_put_hello(again, sizeof(again), &hello));
        return;
    case HA_FRAME_RAFT:
        read_message(data, size);
        return;
    case HA_FRAME_FORWARD:
        if (ha_frame_get_forward(data, size, &forward))
            check_same(data, size, ha_frame_put_forward(again, sizeof(again), &forward));
        return;
    case HA_FRAME_ANSWER:
        if (ha_frame_get_answer(data, size, &answer))
            check_same(data, size, ha_frame_put_answer(again, sizeof(again), &answer));
        return;
    case HA_FRAME_READ:
    case HA_FRAME_READ_ANSWER:
        if (ha_frame_get_read(data, size, &read))
            check_same(data, size, ha_frame_put_read(again, sizeof(again), &read));
        return;
    case HA_FRAME_OVER:
        read_set(data, size);
        return;
    case HA_FRAME_APP: /* the application's: fuzz_message.c and fuzz_command.c */
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && size <= sizeof(again))
        read_frame((enum ha_frame_type)(1 + data[0] % HA_FRAME_OVER), data + 1, size - 1);
    return 0;
}
