/* Idle, many and greedy connections do not keep an honest one out. */
#include "lib/io/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

#define IDLE_COUNT 3000

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < IDLE_COUNT * 2 + 100)
        skip();
}

/* 3,000 that say nothing, from before; then one that means it. */
static void test_idle_flood(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_derived("agent/db1", 1);
    struct ha_listener_options more = {.handshake_ms = 500, .pending_max = 256};
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    struct ha_listener_stats stats;
    int *fds = calloc(IDLE_COUNT, sizeof(*fds));
    uint64_t start_ms;

    (void)state;
    raise_descriptor_limit();
    assert_non_null(fds);
    host_listen(host, server, &more);
    for (unsigned i = 0; i < IDLE_COUNT; i++) {
        fds[i] = raw_connect(&host->addr);
        if (i % 16 == 0)
            (void)uv_run(&host->loop.uv, UV_RUN_NOWAIT);
    }
    start_ms = ha_clock_mono_ms();
    dial(host, &end, client, "watcher/w1");
    run_until(&host->loop.uv, &end.opened, 2000);
    run_until_count(&host->loop.uv, &host->count, 1, 2000);
    print_message("# open after %u ms beside %d idle ones\n",
                  (unsigned)(ha_clock_mono_ms() - start_ms), IDLE_COUNT);
    ha_listener_stats(host->listener, &stats);
    assert_true(stats.pending <= 256);
    assert_int_equal(stats.open, 1);
    run_for(&host->loop.uv, 700);
    ha_listener_stats(host->listener, &stats);
    print_message("# accepted %u evicted %u failed %u\n", (unsigned)stats.accepted,
                  (unsigned)stats.evicted, (unsigned)stats.failed);
    assert_int_equal(stats.pending, 0);
    assert_int_equal(stats.accepted, IDLE_COUNT + 1);
    assert_int_equal(stats.evicted + stats.failed, IDLE_COUNT);
    for (unsigned i = 0; i < IDLE_COUNT; i++)
        (void)close(fds[i]);
    free(fds);
    end_close(&end, 0);
    host_free(host);
    ha_tls_unref(server);
    ha_tls_unref(client);
}

static void test_thousand_streams(void **state)
{
    static struct end ends[1000];
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_derived("agent/db1", 1);
    struct host *host = host_new();
    uint64_t start_ms = ha_clock_mono_ms();
    size_t received = 0;

    (void)state;
    raise_descriptor_limit();
    memset(ends, 0, sizeof(ends));
    host->echo = true;
    host_listen(host, server, &(struct ha_listener_options){.per_name_max = 1000});
    for (unsigned i = 0; i < HA_ARRAY_LEN(ends); i++) {
        dial(host, &ends[i], client, "watcher/w1");
        if (i % 32 == 31)
            run_until(&host->loop.uv, &ends[i].opened, 5000);
    }
    run_until_count(&host->loop.uv, &host->count, 1000, 10000);
    for (unsigned i = 0; i < HA_ARRAY_LEN(ends); i++)
        assert_int_equal(ha_stream_write(ends[i].stream, "hello", 5), HA_OK);
    for (unsigned turn = 0; turn < 1000 && received < 5000; turn++) {
        run_for(&host->loop.uv, 4);
        received = 0;
        for (unsigned i = 0; i < HA_ARRAY_LEN(ends); i++)
            received += ends[i].received;
    }
    assert_int_equal(received, 5000);
    print_message("# 1000 TLS connections made and echoed in %u ms\n",
                  (unsigned)(ha_clock_mono_ms() - start_ms));
    for (unsigned i = 0; i < HA_ARRAY_LEN(ends); i++)
        end_close(&ends[i], 0);
    host_free(host);
    ha_tls_unref(server);
    ha_tls_unref(client);
}

static void test_connection_limits(void **state)
{
    static const struct ha_listener_options limits[] = {{.connections_max = 3},
                                                        {.per_source_max = 3}};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(limits); i++) {
        struct end ends[5] = {{.stream = NULL}};
        struct ha_listener_stats stats;
        struct host *host = host_new();

        host_listen(host, NULL, &limits[i]);
        for (size_t k = 0; k < HA_ARRAY_LEN(ends); k++) {
            dial(host, &ends[k], NULL, NULL);
            run_until(&host->loop.uv, &ends[k].opened, 1000);
            run_for(&host->loop.uv, 6);
        }
        ha_listener_stats(host->listener, &stats);
        assert_int_equal(stats.open, 3);
        assert_int_equal(stats.refused, 2);
        assert_true(ends[3].ended && ends[4].ended);
        end_close(&ends[0], 0);
        run_until(&host->loop.uv, &host->ends[0].ended, 1000);
        run_for(&host->loop.uv, 6);
        memset(&ends[4], 0, sizeof(ends[4]));
        dial(host, &ends[4], NULL, NULL);
        run_until_count(&host->loop.uv, &host->count, 4, 1000);
        for (size_t k = 0; k < HA_ARRAY_LEN(ends); k++)
            end_close(&ends[k], 0);
        host_free(host);
    }
}

/* One key opens so many connections; the next holder of another one is served. */
static void test_one_name_has_a_limit(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *greedy = tls_derived("agent/db1", 1);
    struct ha_tls *other = tls_derived("agent/db2", 1);
    struct end ends[6] = {{.stream = NULL}};
    struct ha_listener_stats stats;
    struct host *host = host_new();

    (void)state;
    host_listen(host, server, &(struct ha_listener_options){.per_name_max = 3});
    for (size_t k = 0; k < HA_ARRAY_LEN(ends); k++) {
        dial(host, &ends[k], k < 5 ? greedy : other, "watcher/w1");
        run_until(&host->loop.uv, &ends[k].opened, 2000);
        run_for(&host->loop.uv, 10);
    }
    ha_listener_stats(host->listener, &stats);
    assert_int_equal(stats.open, 4);
    assert_int_equal(stats.refused, 2);
    assert_true(ends[3].ended && ends[4].ended && !ends[5].ended);
    for (size_t k = 0; k < HA_ARRAY_LEN(ends); k++)
        end_close(&ends[k], 0);
    host_free(host);
    ha_tls_unref(server);
    ha_tls_unref(greedy);
    ha_tls_unref(other);
}

/* From 127.0.0.2, nothing said yet. */
static int raw_connect_from_elsewhere(const struct ha_addr *to)
{
    struct ha_addr from;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(ha_addr_from_ip("127.0.0.2", 0, &from), HA_OK);
    assert_int_equal(bind(fd, &from.sa, from.size), 0);
    assert_int_equal(connect(fd, &to->sa, to->size), 0);
    return fd;
}

/* A slow handshake is not dropped for a flood that comes from one other place. */
static void test_a_flood_pays_for_itself(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct host *host = host_new();
    struct ha_listener_stats stats;
    int flood[400], slow;
    char byte;

    (void)state;
    host_listen(host, server,
                &(struct ha_listener_options){.handshake_ms = 10000, .pending_max = 32});
    slow = raw_connect_from_elsewhere(&host->addr);
    for (size_t i = 0; i < HA_ARRAY_LEN(flood); i++) {
        flood[i] = raw_connect(&host->addr);
        if (i % 16 == 0)
            (void)uv_run(&host->loop.uv, UV_RUN_NOWAIT);
    }
    run_for(&host->loop.uv, 100);
    ha_listener_stats(host->listener, &stats);
    assert_int_equal(stats.pending, 32);
    assert_true(stats.evicted > 300);
    assert_int_equal(recv(slow, &byte, 1, MSG_DONTWAIT), -1);
    assert_true(errno == EAGAIN || errno == EWOULDBLOCK);
    (void)close(slow);
    for (size_t i = 0; i < HA_ARRAY_LEN(flood); i++)
        (void)close(flood[i]);
    host_free(host);
    ha_tls_unref(server);
}

static void test_binding(void **state)
{
    struct host *host = host_new();
    struct folder folder;
    struct ha_addr addr;
    struct ha_addr bound;
    struct ha_err err;
    struct stat st;
    char path[96];
    int fd;

    (void)state;
    folder_make(&folder);
    host_listen(host, NULL, NULL);
    assert_int_equal(ha_addr_parse("0.0.0.0:1", 0, &addr), HA_OK);
    assert_int_equal(ha_listener_bind(host->listener, &addr, 0, NULL, &err), HA_EDENIED);
    print_message("# %s\n", err.text);
    assert_int_equal(ha_listener_bind(host->listener, &host->addr, 0, NULL, &err), HA_EEXIST);
    print_message("# %s\n", err.text);
    /* A socket file that a crash left behind is replaced, one that is served is not. */
    (void)ha_text_format(path, sizeof(path), "unix:%s/s", folder.path);
    assert_int_equal(ha_addr_parse(path, 0, &addr), HA_OK);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, &addr.sa, addr.size), 0);
    (void)close(fd);
    assert_int_equal(ha_listener_bind(host->listener, &addr, 0660, &bound, &err), HA_OK);
    assert_int_equal(stat(addr.un.sun_path, &st), 0);
    assert_int_equal(st.st_mode & 0777u, 0660);
    assert_int_equal(ha_listener_bind(host->listener, &addr, 0660, &bound, &err), HA_EEXIST);
    print_message("# %s\n", err.text);
    host_free(host);
    folder_free(&folder);
}

static void test_close_before_bind(void **state)
{
    struct host *host = host_new();
    struct ha_listener_options options = {.on_stream = NULL};
    struct ha_listener *listener = NULL;

    (void)state;
    assert_int_equal(ha_listener_open(&listener, &host->loop.uv, &options), HA_EINVAL);
    assert_null(listener);
    host_free(host);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_idle_flood),
    cmocka_unit_test(test_thousand_streams),
    cmocka_unit_test(test_connection_limits),
    cmocka_unit_test(test_one_name_has_a_limit),
    cmocka_unit_test(test_a_flood_pays_for_itself),
    cmocka_unit_test(test_binding),
    cmocka_unit_test(test_close_before_bind),
};

HA_TEST_MAIN("io/listener", tests)
