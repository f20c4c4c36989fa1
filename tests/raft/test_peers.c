/* Who may not speak is refused, whatever it sends, and the watchers go on. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "lib/io/frames.h"
#include "raft/frame.h"
#include "tests/raft/cluster.h"
#include "tests/support/cmocka_ha.h"

static struct cluster cluster;

/* A guest on node 1's port. */
struct guest {
    struct ha_stream *stream;
    struct ha_frames *frames;
    bool is_open;
    bool is_over;
    bool is_closed;
    const uint8_t *raw; /* sent as it is, on open */
    size_t raw_size;
    const struct ha_frame_hello *hello;
    uint8_t after_type; /* a frame after the hello, or 0 */
    const uint8_t *after;
    size_t after_size;
};

static void on_guest_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                           size_t size)
{
    (void)ctx;
    (void)frames;
    (void)type;
    (void)data;
    (void)size;
}

static void on_frames_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    (void)frames;
    (void)err;
    ((struct guest *)ctx)->is_over = true;
}

static const struct ha_frames_hooks frames_hooks = {.on_frame = on_guest_frame,
                                                    .on_end = on_frames_end};

static const struct ha_frames_options frames_options = {0};

static void on_open(void *ctx, struct ha_stream *stream)
{
    struct guest *guest = ctx;
    uint8_t hello[HA_FRAME_HELLO_SIZE];
    struct ha_slice slice = {.data = hello};

    guest->is_open = true;
    if (guest->raw != NULL) {
        assert_int_equal(ha_stream_write(stream, guest->raw, guest->raw_size), HA_OK);
        return;
    }
    assert_int_equal(ha_frames_open(&guest->frames, stream, &frames_options, &frames_hooks, guest),
                     HA_OK);
    guest->stream = NULL;
    if (guest->hello == NULL)
        return;
    slice.size = ha_frame_put_hello(hello, sizeof(hello), guest->hello);
    assert_int_equal(ha_frames_send(guest->frames, HA_FRAME_HELLO, &slice, 1), HA_OK);
    if (guest->after_type != 0) {
        slice = (struct ha_slice){.data = guest->after, .size = guest->after_size};
        assert_int_equal(ha_frames_send(guest->frames, guest->after_type, &slice, 1), HA_OK);
    }
}

static void on_stream_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    (void)stream;
    (void)err;
    ((struct guest *)ctx)->is_over = true;
}

static const struct ha_stream_hooks stream_hooks = {.on_open = on_open, .on_end = on_stream_end};

static void on_guest_closed(void *ctx)
{
    ((struct guest *)ctx)->is_closed = true;
}

static struct guest *current;

static bool is_over(struct cluster *c, uint64_t arg)
{
    (void)c;
    (void)arg;
    return current->is_over;
}

static bool is_closed(struct cluster *c, uint64_t arg)
{
    (void)c;
    (void)arg;
    return current->is_closed;
}

/* Visit, and be thrown out within @deadline_ms? */
static bool visit(struct guest *guest, struct ha_tls *tls, uint32_t deadline_ms)
{
    const struct ha_stream_connect_options options = {.addr = cluster.nodes[1].bound,
                                                      .tls = tls,
                                                      .server_name = tls ? "watcher/w1" : NULL,
                                                      .alpn = tls ? HA_ALPN_FRAMES : HA_ALPN_NONE,
                                                      .deadline_ms = 1000};
    bool thrown_out;

    current = guest;
    assert_int_equal(
        ha_stream_connect(&guest->stream, &cluster.loop, &options, &stream_hooks, guest), HA_OK);
    thrown_out = cluster_wait(&cluster, is_over, 0, deadline_ms);
    if (guest->frames != NULL)
        ha_frames_close(guest->frames, 0, on_guest_closed, guest);
    else
        ha_stream_close(guest->stream, 0, on_guest_closed, guest);
    assert_true(cluster_wait(&cluster, is_closed, 0, 1000));
    return thrown_out;
}

static uint64_t set_id(void)
{
    struct ha_raft_status status;

    ha_raft_get_status(cluster.nodes[1].raft, &status);
    return status.set_id;
}

/* On a busy machine the leader may change under a proposal, whose outcome is then unknown. */
static void check_alive(uint64_t request)
{
    const uint64_t last = request * 10 + 9;

    for (request *= 10; request <= last; request++) {
        cluster_propose(&cluster, 1, request);
        assert_true(cluster_wait(&cluster, cluster_has_outcome, request, 5000));
        if (cluster.outcome[request].result == HA_RAFT_COMMITTED)
            return;
        assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    }
    fail_msg("ten proposals, none committed");
}

static void test_wrong_hellos_are_refused(void **state)
{
    struct ha_frame_hello good;
    struct ha_frame_hello hellos[6];
    static const char *const names[] = {"protocol", "sender",  "our own id",
                                        "receiver", "cluster", "set"};
    struct guest guest;

    (void)state;
    cluster_init(&cluster, 3, false);
    cluster_start_all(&cluster, true);
    assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    good = (struct ha_frame_hello){HA_FRAME_PROTOCOL, 2, 1, 42, set_id()};
    for (size_t i = 0; i < 6; i++)
        hellos[i] = good;
    hellos[0].protocol = 9;
    hellos[1].from_id = 7;
    hellos[2].from_id = 1;
    hellos[3].to_id = 3;
    hellos[4].cluster_id = 43;
    hellos[5].set_id++;
    for (size_t i = 0; i < 6; i++) {
        guest = (struct guest){.hello = &hellos[i]};
        print_message("# another %s\n", names[i]);
        assert_true(visit(&guest, NULL, 1500));
        assert_true(guest.is_open);
    }
    /* The right one stays: node 2 is away, or its own next link would take the place. */
    cluster_stop(&cluster, 2);
    assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    guest = (struct guest){.hello = &good};
    assert_false(visit(&guest, NULL, 300));
    check_alive(1);
    /* Nothing at all: thrown out when the time for a hello is over. */
    guest = (struct guest){0};
    assert_true(visit(&guest, NULL, 4000));
    check_alive(2);
    cluster_fini(&cluster);
}

static void test_garbage_does_no_harm(void **state)
{
    static uint8_t zeros[64];
    static const uint8_t http[] = "GET / HTTP/1.1\r\n\r\n";
    static const uint8_t huge[] = {255, 255, 255, 255, 2, 0, 0};
    static const uint8_t early[] = {5, 0, 0, 0, 2, 1, 2, 3, 4}; /* a Raft message, no hello */
    static const uint8_t lie[] = {1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255};
    const struct guest raws[] = {
        {.raw = zeros, .raw_size = sizeof(zeros)},
        {.raw = http, .raw_size = sizeof(http)},
        {.raw = huge, .raw_size = sizeof(huge)},
        {.raw = early, .raw_size = sizeof(early)},
    };
    struct ha_frame_hello good;
    struct guest guest;

    (void)state;
    cluster_init(&cluster, 3, false);
    cluster_start_all(&cluster, true);
    assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    for (size_t i = 0; i < HA_ARRAY_LEN(raws); i++) {
        guest = raws[i];
        assert_true(visit(&guest, NULL, 1500));
    }
    good = (struct ha_frame_hello){HA_FRAME_PROTOCOL, 2, 1, 42, set_id()};
    for (uint8_t type = 2; type <= 7; type++) {
        guest = (struct guest){
            .hello = &good, .after_type = type, .after = lie, .after_size = sizeof(lie)};
        if (type == HA_FRAME_APP)
            continue; /* the application's to judge */
        (void)visit(&guest, NULL, 200);
    }
    guest = (struct guest){.hello = &good, .after_type = 99, .after = lie, .after_size = 4};
    assert_true(visit(&guest, NULL, 1500));
    check_alive(1);
    cluster_fini(&cluster);
}

/* With TLS the hello must be that of the proven name: w3 cannot be w2, nobody can be an agent. */
static void test_a_name_speaks_only_for_its_id(void **state)
{
    struct ha_frame_hello as_2;
    struct ha_frame_hello as_3;
    struct guest guest;

    (void)state;
    cluster_init(&cluster, 3, true);
    cluster_start_all(&cluster, true);
    assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    as_2 = (struct ha_frame_hello){HA_FRAME_PROTOCOL, 2, 1, 42, set_id()};
    as_3 = (struct ha_frame_hello){HA_FRAME_PROTOCOL, 3, 1, 42, set_id()};
    guest = (struct guest){.hello = &as_2};
    assert_true(visit(&guest, cluster.nodes[3].tls, 1500));
    cluster_stop(&cluster, 3);
    assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    guest = (struct guest){.hello = &as_3};
    assert_false(visit(&guest, cluster.nodes[3].tls, 300));
    /* A key of the cluster that is no watcher's. */
    {
        static const uint8_t secret[HA_TLS_KEY_SIZE] = {1, 2, 3};
        uint8_t key[HA_TLS_KEY_SIZE];
        struct ha_tls_psk psk = {.name = "agent/db1", .key = key};
        struct ha_tls *tls;
        struct ha_err err = {0};

        assert_int_equal(ha_tls_derive_key(secret, "agent/db1", key), HA_OK);
        assert_int_equal(ha_tls_psk_new(&tls, &psk, &err), HA_OK);
        guest = (struct guest){.hello = &as_2};
        assert_true(visit(&guest, tls, 1500));
        ha_tls_unref(tls);
    }
    check_alive(1);
    cluster_fini(&cluster);
}

static struct ha_stream *kept[8];
static unsigned kept_count;

static void keep(void *ctx, struct ha_stream *stream)
{
    (void)ctx;
    assert_true(kept_count < HA_ARRAY_LEN(kept));
    ha_stream_pause(stream);
    kept[kept_count++] = stream;
}

static bool is_connected(struct cluster *c, uint64_t id)
{
    struct ha_raft_status status;

    ha_raft_get_status(c->nodes[1].raft, &status);
    return status.peers[id - 1].connected;
}

/* Peer 3 accepts and never reads: the queue has an end, and the others do not notice. */
static void test_a_peer_that_does_not_read_costs_little(void **state)
{
    static uint8_t large[HA_RAFT_APP_MAX];
    const struct ha_listener_options options = {.on_stream = keep};
    struct ha_err err = {0};
    struct ha_addr bound;
    unsigned sent = 0;
    int code;

    (void)state;
    cluster_init(&cluster, 3, false);
    ha_listener_close(cluster.nodes[3].listener, NULL, NULL);
    assert_int_equal(ha_listener_open(&cluster.nodes[3].listener, &cluster.loop, &options), HA_OK);
    assert_int_equal(ha_addr_from_ip("127.0.0.1", 0, &bound), HA_OK);
    assert_int_equal(
        ha_listener_bind(cluster.nodes[3].listener, &bound, 0, &cluster.nodes[3].bound, &err),
        HA_OK);
    (void)ha_addr_text(&cluster.nodes[3].bound, cluster.nodes[3].address);
    assert_int_equal(cluster_start(&cluster, 1, true, &err), HA_OK);
    assert_int_equal(cluster_start(&cluster, 2, true, &err), HA_OK);
    assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    assert_true(cluster_wait(&cluster, is_connected, 3, 3000));
    do {
        code = ha_raft_send_app(cluster.nodes[1].raft, 3, large, sizeof(large));
        sent++;
    } while (code == HA_OK && sent < 1000);
    assert_int_equal(code, HA_EFULL);
    print_message("# full after %u frames of 64 KiB\n", sent);
    check_alive(1);
    while (kept_count > 0)
        ha_stream_close(kept[--kept_count], 0, NULL, NULL);
    cluster_fini(&cluster);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_wrong_hellos_are_refused),
    cmocka_unit_test(test_garbage_does_no_harm),
    cmocka_unit_test(test_a_name_speaks_only_for_its_id),
    cmocka_unit_test(test_a_peer_that_does_not_read_costs_little),
};

HA_TEST_MAIN("raft/peers", tests)
