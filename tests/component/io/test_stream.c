/* Every way a connection can begin and end is told apart. */
#include "lib/io/stream.h"

#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

/* @size patterned bytes there and back again. */
static void check_echo(struct host *host, struct end *end, size_t size)
{
    uint8_t *data = malloc(size);
    unsigned turns = 0;
    size_t sent = 0;

    assert_non_null(data);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    while (end->received < size && turns < 100000) {
        size_t n = size - sent < 30000 ? size - sent : 30000;

        if (n > 0 && sent - end->received < 90000 &&
            ha_stream_write(end->stream, data + sent, n) == HA_OK)
            sent += n;
        (void)uv_run(&host->loop.uv, n > 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        turns++;
    }
    assert_int_equal(end->received, size);
    assert_true(end->hash == ha_hash(HA_HASH_START, data, size));
    free(data);
}

static void check_pair(struct ha_tls *server, struct ha_tls *client, const char *addr)
{
    struct host *host = host_new();
    struct end end = {.stream = NULL};

    host->echo = true;
    host_listen_on(host, addr, server, NULL);
    dial(host, &end, client, client != NULL ? "watcher/w1" : NULL);
    run_until(&host->loop.uv, &end.opened, 2000);
    run_until_count(&host->loop.uv, &host->count, 1, 2000);
    if (client != NULL) {
        assert_string_equal(end.peer_name, "watcher/w1");
        assert_string_equal(host->ends[0].peer_name, ha_tls_name(client));
        assert_int_equal(end.alpn, HA_ALPN_FRAMES);
        assert_int_equal(host->ends[0].alpn, HA_ALPN_FRAMES);
    } else {
        assert_string_equal(host->ends[0].peer_name, "");
    }
    check_echo(host, &end, 5);
    end.received = 0;
    end.hash = HA_HASH_START;
    check_echo(host, &end, 1000000);
    end_close(&end, 0);
    run_until(&host->loop.uv, &host->ends[0].ended, 2000);
    assert_int_equal(host->ends[0].err.code, HA_ECLOSED);
    run_until(&host->loop.uv, &end.closed, 2000);
    host_free(host);
}

static void test_plain_ipv4(void **state)
{
    (void)state;
    check_pair(NULL, NULL, "127.0.0.1:1");
}

static void test_plain_ipv6(void **state)
{
    (void)state;
    check_pair(NULL, NULL, "[::1]:1");
}

static void test_plain_unix(void **state)
{
    struct folder folder;
    char path[96];

    (void)state;
    folder_make(&folder);
    (void)ha_text_format(path, sizeof(path), "unix:%s/s", folder.path);
    check_pair(NULL, NULL, path);
    assert_int_equal(access(path + 5, F_OK), -1);
    folder_free(&folder);
}

static void test_psk(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *watcher = tls_secret("watcher/w2", 1);
    struct ha_tls *agent = tls_derived("agent/db1", 1);

    (void)state;
    check_pair(server, watcher, "127.0.0.1:1");
    check_pair(server, agent, "[::1]:1");
    ha_tls_unref(server);
    ha_tls_unref(watcher);
    ha_tls_unref(agent);
}

static void test_refused(void **state)
{
    struct host *host = host_new();
    struct end end = {.stream = NULL};

    (void)state;
    host_listen(host, NULL, NULL);
    ha_listener_close(host->listener, NULL, NULL);
    host->listener = NULL;
    run_for(&host->loop.uv, 1);
    dial(host, &end, NULL, NULL);
    assert_false(end.ended);
    run_until(&host->loop.uv, &end.ended, 1000);
    print_message("# %s\n", end.err.text);
    assert_int_equal(end.err.code, HA_EREFUSED);
    host_free(host);
}

static void test_refused_unix(void **state)
{
    struct host *host = host_new();
    struct end end = {.stream = NULL};

    (void)state;
    assert_int_equal(ha_addr_parse("unix:/tmp/ha-io-there-is-none", 0, &host->addr), HA_OK);
    dial(host, &end, NULL, NULL);
    run_until(&host->loop.uv, &end.ended, 1000);
    assert_int_equal(end.err.code, HA_EREFUSED);
    host_free(host);
}

/* Fill a backlog of nobody's listener, so that the kernel drops our SYN: silence, not refusal. */
static void test_connect_timeout(void **state)
{
    struct host *host = host_new();
    struct ha_addr any = {.in = {.sin_family = AF_INET}, .size = sizeof(struct sockaddr_in)};
    struct end end = {.stream = NULL};
    struct ha_stream_connect_options options = {.deadline_ms = 200};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fillers[3];

    (void)state;
    any.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, &any.sa, any.size), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, &any.sa, &any.size), 0);
    for (size_t i = 0; i < HA_ARRAY_LEN(fillers); i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], &any.sa, any.size);
    }
    run_for(&host->loop.uv, 50);
    options.addr = any;
    dial_with(host, &end, &options);
    run_until(&host->loop.uv, &end.ended, 2000);
    print_message("# %s\n", end.err.text);
    assert_int_equal(end.err.code, HA_ETIMEDOUT);
    for (size_t i = 0; i < HA_ARRAY_LEN(fillers); i++)
        (void)close(fillers[i]);
    (void)close(listener);
    host_free(host);
}

static void test_reset(void **state)
{
    struct host *host = host_new();
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    int fd;

    (void)state;
    host_listen(host, NULL, NULL);
    fd = raw_connect(&host->addr);
    run_until_count(&host->loop.uv, &host->count, 1, 1000);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    (void)close(fd);
    run_until(&host->loop.uv, &host->ends[0].ended, 1000);
    print_message("# %s\n", host->ends[0].err.text);
    assert_int_equal(host->ends[0].err.code, HA_EIO);
    host_free(host);
}

static void test_bad_options(void **state)
{
    struct host *host = host_new();
    struct ha_tls *tls = tls_secret("watcher/w1", 1);
    struct ha_stream_connect_options options = {.deadline_ms = 100};
    struct ha_stream *stream = NULL;

    (void)state;
    assert_int_equal(ha_addr_parse("192.0.2.1:1", 0, &options.addr), HA_OK);
    assert_int_equal(ha_stream_connect(&stream, &host->loop.uv, &options, &end_hooks, NULL),
                     HA_EDENIED);
    options.tls = tls;
    assert_int_equal(ha_stream_connect(&stream, &host->loop.uv, &options, &end_hooks, NULL),
                     HA_EINVAL);
    options.server_name = "no-role";
    assert_int_equal(ha_stream_connect(&stream, &host->loop.uv, &options, &end_hooks, NULL),
                     HA_EINVAL);
    assert_null(stream);
    ha_tls_unref(tls);
    host_free(host);
}

static void check_queue(struct ha_tls *server, struct ha_tls *client)
{
    static uint8_t block[16384];
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    uint64_t hash = HA_HASH_START;
    unsigned written = 0;
    size_t cap = 0;

    host_listen(host, server, NULL);
    dial(host, &end, client, "watcher/w1");
    run_until(&host->loop.uv, &end.opened, 2000);
    run_until_count(&host->loop.uv, &host->count, 1, 2000);
    ha_stream_pause(host->ends[0].stream);
    for (unsigned turn = 0; turn < 2000 && cap == 0; turn++) {
        int rv;

        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (uint8_t)(i * 7 + written * 13 + i / 251);
        rv = ha_stream_write(end.stream, block, sizeof(block));
        if (rv == HA_EFULL) {
            cap = ha_stream_queued(end.stream);
        } else {
            written++;
            hash = ha_hash(hash, block, sizeof(block));
        }
        (void)uv_run(&host->loop.uv, UV_RUN_NOWAIT);
    }
    print_message("# refused at %zu bytes queued, after %u blocks\n", cap, written);
    assert_in_range(cap, HA_STREAM_QUEUE_DEFAULT - 2 * sizeof(block),
                    HA_STREAM_QUEUE_DEFAULT + sizeof(block));
    run_for(&host->loop.uv, 20);
    assert_false(end.drained);
    ha_stream_resume(host->ends[0].stream);
    run_until(&host->loop.uv, &end.drained, 2000);
    end_close(&end, 2000);
    run_until(&host->loop.uv, &end.closed, 4000);
    /* Lingering: every block that was taken also came. */
    assert_int_equal(host->ends[0].received, (size_t)written * sizeof(block));
    assert_true(host->ends[0].hash == hash);
    host_free(host);
}

static void test_queue_plain(void **state)
{
    (void)state;
    check_queue(NULL, NULL);
}

static void test_queue_tls(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_derived("agent/db1", 1);

    (void)state;
    check_queue(server, client);
    ha_tls_unref(server);
    ha_tls_unref(client);
}

/* However late or early the close comes: no leak (ASan), no callback after it, a clean loop. */
static void test_close_at_every_stage(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_secret("watcher/w2", 1);

    (void)state;
    for (unsigned turns = 0; turns < 14; turns++) {
        for (unsigned kind = 0; kind < 4; kind++) {
            bool tls = (kind & 1u) != 0;
            struct host *host = host_new();
            struct end end = {.stream = NULL};

            host->echo = true;
            host_listen(host, tls ? server : NULL, NULL);
            dial(host, &end, tls ? client : NULL, "watcher/w1");
            for (unsigned i = 0; i < turns; i++) {
                (void)uv_run(&host->loop.uv, UV_RUN_NOWAIT);
                if (end.stream != NULL && ha_stream_is_open(end.stream))
                    (void)ha_stream_write(end.stream, "x", 1);
            }
            end_close(&end, (kind & 2u) != 0 ? 50 : 0);
            run_until(&host->loop.uv, &end.closed, 1000);
            assert_false(end.ended);
            host_free(host);
        }
    }
    ha_tls_unref(server);
    ha_tls_unref(client);
}

static void test_close_inside_hooks(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_secret("watcher/w2", 1);

    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        struct host *host = host_new();
        struct end end = {.stream = NULL};
        bool tls = (kind & 1u) != 0;

        end.close_on_open = (kind & 2u) == 0;
        end.close_on_data = true;
        host->echo = true;
        host_listen(host, tls ? server : NULL, NULL);
        dial(host, &end, tls ? client : NULL, "watcher/w1");
        run_until(&host->loop.uv, &end.opened, 1000);
        if (end.stream != NULL)
            assert_int_equal(ha_stream_write(end.stream, "abc", 3), HA_OK);
        run_until(&host->loop.uv, &end.closed, 1000);
        host_free(host);
    }
    ha_tls_unref(server);
    ha_tls_unref(client);
}

static void test_peer_uid(void **state)
{
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    struct folder folder;
    char path[96];
    uid_t uid = 12345;

    (void)state;
    folder_make(&folder);
    (void)ha_text_format(path, sizeof(path), "unix:%s/s", folder.path);
    host_listen_on(host, path, NULL, NULL);
    dial(host, &end, NULL, NULL);
    run_until_count(&host->loop.uv, &host->count, 1, 1000);
    assert_int_equal(ha_stream_peer_uid(host->ends[0].stream, &uid), HA_OK);
    assert_int_equal(uid, getuid());
    end_close(&end, 0);
    host_free(host);
    folder_free(&folder);
}

/* The link is cut without a word while bytes are under way: TCP_USER_TIMEOUT ends it, as a timeout
 * and not as a reset. In a network namespace of our own, so this test comes last. */
static void test_silence(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_secret("watcher/w2", 1);
    struct ha_stream_connect_options options = {.tls = client,
                                                .server_name = "watcher/w1",
                                                .alpn = HA_ALPN_FRAMES,
                                                .deadline_ms = 1000,
                                                .tuning = {.user_timeout_ms = 400}};
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    uint64_t cut_ms;

    (void)state;
    if (getuid() != 0 || access("/usr/sbin/nft", X_OK) != 0 || unshare(CLONE_NEWNET) != 0)
        skip();
    run_script("/", "ip link set lo up", "");
    host_listen(host, server, NULL);
    options.addr = host->addr;
    dial_with(host, &end, &options);
    run_until_count(&host->loop.uv, &host->count, 1, 1000);
    run_script(
        "/",
        "nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }';"
        " nft add rule inet t c drop",
        "");
    cut_ms = ha_clock_mono_ms();
    assert_int_equal(ha_stream_write(end.stream, "x", 1), HA_OK);
    run_until(&host->loop.uv, &end.ended, 5000);
    print_message("# %s after %u ms\n", end.err.text, (unsigned)(ha_clock_mono_ms() - cut_ms));
    assert_int_equal(end.err.code, HA_ETIMEDOUT);
    assert_in_range(ha_clock_mono_ms() - cut_ms, 350, 4500);
    host_free(host);
    ha_tls_unref(server);
    ha_tls_unref(client);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_plain_ipv4),
    cmocka_unit_test(test_plain_ipv6),
    cmocka_unit_test(test_plain_unix),
    cmocka_unit_test(test_psk),
    cmocka_unit_test(test_refused),
    cmocka_unit_test(test_refused_unix),
    cmocka_unit_test(test_connect_timeout),
    cmocka_unit_test(test_reset),
    cmocka_unit_test(test_bad_options),
    cmocka_unit_test(test_queue_plain),
    cmocka_unit_test(test_queue_tls),
    cmocka_unit_test(test_close_at_every_stage),
    cmocka_unit_test(test_close_inside_hooks),
    cmocka_unit_test(test_peer_uid),
    cmocka_unit_test(test_silence),
};

HA_TEST_MAIN("io/stream", tests)
