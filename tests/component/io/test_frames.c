/* Frames come whole and in order however they are cut, and hostile ones end the connection. */
#include "lib/io/frames.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/io/clock.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

struct side {
    struct ha_frames *frames;
    unsigned count;
    uint8_t last_type;
    size_t last_size;
    uint64_t hash;
    bool ended;
    bool closed;
    bool pause_each;
    struct side *hand_over_to;
    struct ha_err err;
};

static void on_side_closed(void *ctx)
{
    struct side *side = ctx;

    side->closed = true;
}

static void on_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size);

static void on_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct side *side = ctx;

    side->ended = true;
    side->err = *err;
    side->frames = NULL;
    ha_frames_close(frames, 0, on_side_closed, side);
}

static const struct ha_frames_hooks hooks = {.on_frame = on_frame, .on_end = on_end};
static const struct ha_frames_options no_limits = {.payload_max = 0};

static void on_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size)
{
    struct side *side = ctx;

    side->count++;
    side->last_type = type;
    side->last_size = size;
    side->hash = ha_hash(side->hash, data, size);
    if (side->pause_each)
        ha_frames_pause(frames);
    if (side->hand_over_to != NULL) {
        side->hand_over_to->frames = frames;
        side->frames = NULL;
        ha_frames_set_hooks(frames, &no_limits, &hooks, side->hand_over_to);
    }
}

/* A connected pair: the dialling side is a stream `end`, the accepted one carries frames. */
struct pair {
    struct host *host;
    struct end end;
    struct side side;
    int fd; /* a raw client instead of end */
};

static void pair_open(struct pair *pair, const struct ha_frames_options *options)
{
    *pair = (struct pair){.host = host_new(), .side = {.hash = HA_HASH_START}};
    host_listen(pair->host, NULL, NULL);
    pair->fd = raw_connect(&pair->host->addr);
    run_until_count(&pair->host->loop.uv, &pair->host->count, 1, 1000);
    assert_int_equal(ha_frames_open(&pair->side.frames, pair->host->ends[0].stream, options, &hooks,
                                    &pair->side),
                     HA_OK);
    pair->host->ends[0].stream = NULL;
}

static void pair_close(struct pair *pair)
{
    if (pair->side.frames != NULL)
        ha_frames_close(pair->side.frames, 0, on_side_closed, &pair->side);
    (void)close(pair->fd);
    host_free(pair->host);
}

static size_t put_frame(uint8_t *to, uint8_t type, const void *data, size_t size)
{
    struct ha_writer w;

    ha_writer_init(&w, to, size + HA_FRAMES_HEADER_SIZE);
    ha_put_u32(&w, (uint32_t)size + 1);
    ha_put_u8(&w, type);
    ha_put_bytes(&w, data, size);
    assert_false(w.failed);
    return w.size;
}

/* Twenty frames cut at every possible step size. */
static void test_any_cut(void **state)
{
    uint8_t bytes[4000];
    uint8_t payload[300];
    uint64_t want = HA_HASH_START;
    size_t total = 0;

    (void)state;
    memset(payload, 0x5a, sizeof(payload));
    for (size_t i = 0; i < 20; i++) {
        size_t size = i * 13 % 97;

        payload[0] = (uint8_t)i;
        total += put_frame(bytes + total, (uint8_t)i, payload, size);
        want = ha_hash(want, payload, size);
    }
    for (size_t step = 1; step < 120; step += 7) {
        struct pair pair;

        pair_open(&pair, &no_limits);
        for (size_t at = 0; at < total; at += step) {
            size_t n = total - at < step ? total - at : step;

            assert_int_equal(write(pair.fd, bytes + at, n), (ssize_t)n);
            (void)uv_run(&pair.host->loop.uv, UV_RUN_NOWAIT);
        }
        run_until_count(&pair.host->loop.uv, &pair.side.count, 20, 1000);
        assert_true(pair.side.hash == want);
        pair_close(&pair);
    }
}

static const uint32_t type_limits[256] = {[1] = 11, [2] = 1};

static const struct {
    const char *what;
    uint8_t bytes[8];
    size_t size;
    const struct ha_frames_options options;
    bool want_end;
} hostile[] = {
    {"size 0", {0, 0, 0, 0, 1}, 5, {.payload_max = 0}, true},
    {"4 GiB announced", {0xff, 0xff, 0xff, 0xff, 1}, 5, {.payload_max = 0}, true},
    {"one over the general limit", {12, 0, 0, 0, 1}, 5, {.payload_max = 10}, true},
    {"at the general limit", {11, 0, 0, 0, 1}, 5, {.payload_max = 10}, false},
    {"8 MiB and one", {2, 0, 0x80, 0, 1}, 5, {.payload_max = 0}, true},
    {"unknown type", {1, 0, 0, 0, 9}, 5, {.type_limits = type_limits}, true},
    {"at the type's limit", {11, 0, 0, 0, 1}, 5, {.type_limits = type_limits}, false},
    {"over the type's limit", {12, 0, 0, 0, 1}, 5, {.type_limits = type_limits}, true},
    {"payload where none may be", {2, 0, 0, 0, 2}, 5, {.type_limits = type_limits}, true},
};

static void test_hostile(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(hostile); i++) {
        struct pair pair;

        pair_open(&pair, &hostile[i].options);
        assert_true(write(pair.fd, hostile[i].bytes, hostile[i].size) > 0);
        if (hostile[i].want_end)
            run_until(&pair.host->loop.uv, &pair.side.ended, 1000);
        else
            run_for(&pair.host->loop.uv, 20);
        print_message("# %s: %s\n", hostile[i].what, pair.side.err.text);
        assert_int_equal(pair.side.ended, hostile[i].want_end);
        if (hostile[i].want_end)
            assert_int_equal(pair.side.err.code, HA_EPROTO);
        assert_int_equal(pair.side.count, 0);
        pair_close(&pair);
    }
}

/* Eight frames in one packet, paused after each: none lost, none early. */
static void test_pause(void **state)
{
    struct pair pair;
    uint8_t bytes[200];
    size_t total = 0;

    (void)state;
    pair_open(&pair, &no_limits);
    pair.side.pause_each = true;
    for (uint8_t i = 0; i < 8; i++)
        total += put_frame(bytes + total, i, "payload", i);
    total -= 3; /* the last one not whole */
    assert_int_equal(write(pair.fd, bytes, total), (ssize_t)total);
    for (unsigned i = 1; i < 8; i++) {
        run_until_count(&pair.host->loop.uv, &pair.side.count, i, 1000);
        run_for(&pair.host->loop.uv, 5);
        assert_int_equal(pair.side.count, i);
        ha_frames_resume(pair.side.frames);
    }
    assert_int_equal(write(pair.fd, "oad", 3), 3);
    run_until_count(&pair.host->loop.uv, &pair.side.count, 8, 1000);
    assert_int_equal(pair.side.last_type, 7);
    assert_int_equal(pair.side.last_size, 7);
    pair_close(&pair);
}

/* A hello decides whose connection it is; what follows in the same packet goes to the new owner. */
static void test_hand_over(void **state)
{
    struct side second = {.hash = HA_HASH_START};
    struct pair pair;
    uint8_t bytes[64];
    size_t total = 0;

    (void)state;
    pair_open(&pair, &no_limits);
    pair.side.hand_over_to = &second;
    total += put_frame(bytes, 1, "hello", 5);
    total += put_frame(bytes + total, 2, "x", 1);
    total += put_frame(bytes + total, 3, "y", 1);
    assert_int_equal(write(pair.fd, bytes, total), (ssize_t)total);
    run_until_count(&pair.host->loop.uv, &second.count, 2, 1000);
    assert_int_equal(pair.side.count, 1);
    assert_int_equal(second.last_type, 3);
    ha_frames_close(second.frames, 0, NULL, NULL);
    pair_close(&pair);
}

/* Large frames through TLS, sent in slices. */
static void test_large_over_tls(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_secret("watcher/w2", 1);
    struct ha_listener_options more = {.connections_max = 0};
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    struct side from = {.hash = HA_HASH_START};
    struct side to = {.hash = HA_HASH_START};
    struct ha_stream_connect_options options = {.tls = client,
                                                .server_name = "watcher/w1",
                                                .alpn = HA_ALPN_FRAMES,
                                                .deadline_ms = 1000,
                                                .tuning = {.send_queue_max = 9000000}};
    size_t size = HA_FRAMES_PAYLOAD_MAX;
    uint8_t *data = malloc(size);
    struct ha_slice slices[2];

    (void)state;
    assert_non_null(data);
    memset(data, 7, size);
    slices[0] = (struct ha_slice){data, 1001};
    slices[1] = (struct ha_slice){data + 1001, size - 1001};
    host_listen(host, server, &more);
    options.addr = host->addr;
    dial_with(host, &end, &options);
    run_until_count(&host->loop.uv, &host->count, 1, 1000);
    assert_int_equal(ha_frames_open(&to.frames, host->ends[0].stream, &no_limits, &hooks, &to),
                     HA_OK);
    host->ends[0].stream = NULL;
    assert_int_equal(ha_frames_open(&from.frames, end.stream, &no_limits, &hooks, &from), HA_OK);
    assert_int_equal(ha_frames_send(from.frames, 5, slices, 2), HA_OK);
    run_until_count(&host->loop.uv, &to.count, 1, 5000);
    assert_int_equal(to.last_size, size);
    assert_true(to.hash == ha_hash(HA_HASH_START, data, size));
    slices[1].size++;
    assert_int_equal(ha_frames_send(from.frames, 5, slices, 2), HA_EINVAL);
    slices[1].size--;
    assert_int_equal(ha_frames_send(to.frames, 5, slices, 2), HA_EFULL);
    ha_frames_close(from.frames, 0, NULL, NULL);
    run_until(&host->loop.uv, &to.ended, 1000);
    assert_int_equal(to.err.code, HA_ECLOSED);
    free(data);
    host_free(host);
    ha_tls_unref(server);
    ha_tls_unref(client);
}

static void on_ping(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                    size_t size)
{
    struct side *side = ctx;
    struct ha_slice slice = {data, size};

    side->count++;
    assert_int_equal(ha_frames_send(frames, type, &slice, 1), HA_OK);
}

static const struct ha_frames_hooks ping_hooks = {.on_frame = on_ping, .on_end = on_end};

/* Not a limit, a number for the reader. */
static void measure(struct ha_tls *server, struct ha_tls *client, const char *what)
{
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    struct side sides[2] = {{.count = 0}, {.count = 0}};
    struct ha_slice slice = {"0123456789abcdef0123456789abcdef", 32};
    uint64_t start_ns;

    host_listen(host, server, NULL);
    dial(host, &end, client, "watcher/w1");
    run_until_count(&host->loop.uv, &host->count, 1, 1000);
    run_until(&host->loop.uv, &end.opened, 1000);
    assert_int_equal(
        ha_frames_open(&sides[0].frames, host->ends[0].stream, &no_limits, &ping_hooks, &sides[0]),
        HA_OK);
    host->ends[0].stream = NULL;
    assert_int_equal(
        ha_frames_open(&sides[1].frames, end.stream, &no_limits, &ping_hooks, &sides[1]), HA_OK);
    assert_int_equal(ha_frames_send(sides[1].frames, 1, &slice, 1), HA_OK);
    start_ns = ha_clock_mono_ns();
    run_until_count(&host->loop.uv, &sides[1].count, 2000, 10000);
    print_message("# %s: %u ns per round trip, both ends on this loop\n", what,
                  (unsigned)((ha_clock_mono_ns() - start_ns) / sides[1].count));
    ha_frames_close(sides[1].frames, 0, NULL, NULL);
    run_until(&host->loop.uv, &sides[0].ended, 1000);
    host_free(host);
}

static void test_round_trips(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_secret("watcher/w2", 1);

    (void)state;
    measure(NULL, NULL, "plain");
    measure(server, client, "TLS");
    ha_tls_unref(server);
    ha_tls_unref(client);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_any_cut),        cmocka_unit_test(test_hostile),
    cmocka_unit_test(test_pause),          cmocka_unit_test(test_hand_over),
    cmocka_unit_test(test_large_over_tls), cmocka_unit_test(test_round_trips),
};

HA_TEST_MAIN("io/frames", tests)
