/* Neighbours learn where the virtual IP is, and we learn when someone else has it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uv.h>

#include "agents/host/arp.h"
#include "agents/host/dad.h"
#include "agents/host/gate.h"
#include "agents/host/vip.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/host/host_net.h"
#include "tests/support/cmocka_ha.h"

#define MS 1000000u

static struct host host;
static uv_loop_t loop;
static struct ha_vip *vip;
static struct ha_nic nic, peer_nic;
static struct ha_neigh *neigh;
static struct ha_ip conflict;
static int conflicts;

static void on_conflict(void *data, const struct ha_ip *addr, const uint8_t mac[6])
{
    (void)data;
    assert_memory_equal(mac, peer_nic.mac, 6);
    conflict = *addr;
    conflicts++;
}

static int setup(void **state)
{
    struct ha_neigh_options options = {.loop = &loop, .nic = &nic, .conflict_cb = on_conflict};
    struct ha_vip *peer;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    host_enter_peer(&host);
    assert_int_equal(ha_vip_open(&peer, NULL), HA_OK);
    assert_int_equal(ha_vip_nic(peer, "eth0", &peer_nic, NULL), HA_OK);
    ha_vip_close(peer);
    host_enter(&host);
    assert_int_equal(ha_vip_open(&vip, NULL), HA_OK);
    assert_int_equal(ha_vip_nic(vip, "eth0", &nic, NULL), HA_OK);
    assert_int_equal(ha_neigh_open(&options, &neigh, NULL), HA_OK);
    conflicts = 0;
    return 0;
}

static void count_close(void *data)
{
    (void)data;
    conflicts = -1;
}

static int teardown(void **state)
{
    (void)state;
    host_enter(&host);
    if (neigh != NULL)
        ha_neigh_close(neigh, count_close);
    neigh = NULL;
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(conflicts, -1);
    assert_int_equal(uv_loop_close(&loop), 0);
    ha_vip_close(vip);
    return 0;
}

static struct ha_ip ip(const char *text)
{
    struct ha_ip addr;

    assert_int_equal(ha_ip_parse(text, &addr), HA_OK);
    return addr;
}

struct detection {
    struct ha_dad dad;
    int result, calls;
    uint64_t end_ns;
};

static void on_dad(struct ha_dad *dad, int result)
{
    struct detection *detection = dad->data;

    detection->result = result;
    detection->calls++;
    detection->end_ns = ha_clock_boot_ns();
}

static uint64_t detect(const char *text, int want, uint8_t mac[6])
{
    const struct ha_dad_spec spec = {
        .addr = ip(text), .probes = 3, .interval_ms = 50, .wait_ms = 100};
    struct detection detection = {.dad = {.data = &detection}};
    const uint64_t start_ns = ha_clock_boot_ns();

    assert_int_equal(ha_dad_start(&detection.dad, neigh, &spec, on_dad), HA_OK);
    assert_int_equal(detection.calls, 0); /* never from inside start */
    /* Not a waiting turn: it would wait for a next event after the last timer had told the end. */
    while (detection.calls == 0 && ha_clock_boot_ns() - start_ns < 10000ull * MS) {
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        (void)usleep(200);
    }
    assert_int_equal(detection.calls, 1);
    assert_int_equal(detection.result, want);
    memcpy(mac, detection.dad.mac, 6);
    return (detection.end_ns - start_ns) / MS;
}

static void test_taken_and_free(void **state)
{
    static const char *const taken[] = {"10.77.0.2", "fd77::2"};
    static const char *const unused[] = {"10.77.0.50", "fd77::50"};
    uint8_t mac[6];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t took_ms = detect(taken[i], HA_EEXIST, mac);

        assert_memory_equal(mac, peer_nic.mac, 6);
        print_message("# %s found taken in %llu ms\n", taken[i], (unsigned long long)took_ms);
        assert_true(took_ms < 150);
        took_ms = detect(unused[i], HA_OK, mac);
        print_message("# %s called free after %llu ms\n", unused[i], (unsigned long long)took_ms);
        assert_true(took_ms >= 199);
    }
}

static void test_own_address_is_no_conflict(void **state)
{
    uint8_t mac[6];

    (void)state;
    (void)detect("10.77.0.1", HA_OK, mac);
    (void)detect("fd77::1", HA_OK, mac);
}

static void test_silence_without_a_probe_proves_nothing(void **state)
{
    uint8_t mac[6];

    (void)state;
    host_run("ip link set eth0 down");
    (void)detect("10.77.0.50", HA_EIO, mac);
    host_run("ip link set eth0 up");
    host_run("ip -6 address replace fd77::1/64 dev eth0 nodad"); /* gone with the link */
}

static void test_cancel_and_close(void **state)
{
    const struct ha_dad_spec spec = {
        .addr = ip("10.77.0.50"), .probes = 3, .interval_ms = 50, .wait_ms = 100};
    struct ha_dad_spec wrong = spec;
    struct detection one = {.dad = {.data = &one}}, two = {.dad = {.data = &two}};

    (void)state;
    wrong.probes = 0;
    assert_int_equal(ha_dad_start(&one.dad, neigh, &wrong, on_dad), HA_EINVAL);
    assert_int_equal(ha_dad_start(&one.dad, neigh, &spec, on_dad), HA_OK);
    assert_int_equal(ha_dad_start(&two.dad, neigh, &spec, on_dad), HA_OK);
    ha_dad_cancel(&one.dad);
    ha_dad_cancel(&one.dad);
    assert_int_equal(one.calls, 0);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(one.calls, 1);
    assert_int_equal(one.result, HA_ECANCELED);
    assert_int_equal(two.calls, 0);
    ha_neigh_close(neigh, count_close);
    assert_int_equal(ha_dad_start(&one.dad, neigh, &spec, on_dad), HA_ECLOSED);
    neigh = NULL;
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(two.calls, 1);
    assert_int_equal(two.result, HA_ECANCELED);
}

/* What the peer's kernel believes, read with its own tool. */
static bool peer_knows(const char *address, const char *mac)
{
    char command[128], output[256];

    host_enter_peer(&host);
    (void)snprintf(command, sizeof(command), "ip neigh show %s dev eth0", address);
    assert_int_equal(host_capture(command, output, sizeof(output)), 0);
    host_enter(&host);
    return strstr(output, mac) != NULL;
}

static void test_announcement_moves_a_neighbour_entry(void **state)
{
    static const char *const addresses[] = {"10.77.0.99", "fd77::99"};
    char mac[18], command[160];

    (void)state;
    (void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", nic.mac[0], nic.mac[1],
                   nic.mac[2], nic.mac[3], nic.mac[4], nic.mac[5]);
    for (size_t i = 0; i < 2; i++) {
        const struct ha_ip addr = ip(addresses[i]);
        const uint64_t now_ns = ha_clock_boot_ns();
        uint64_t start_ns;

        host_enter_peer(&host);
        (void)snprintf(command, sizeof(command),
                       "ip neigh replace %s lladdr 02:00:00:00:00:01 dev eth0 nud stale",
                       addresses[i]);
        host_run(command);
        host_enter(&host);
        assert_int_equal(ha_neigh_announce(neigh, &addr, now_ns, NULL), HA_ETIMEDOUT);
        assert_true(peer_knows(addresses[i], "02:00:00:00:00:01"));
        start_ns = ha_clock_boot_ns();
        assert_int_equal(ha_neigh_announce(neigh, &addr, UINT64_MAX, NULL), HA_OK);
        while (!peer_knows(addresses[i], mac))
            assert_true(ha_clock_boot_ns() - start_ns < 2000ull * MS);
    }
}

static void test_conflict_is_heard(void **state)
{
    static const char *const addresses[] = {"10.77.0.99", "fd77::99"};
    struct ha_neigh_options options = {.loop = &loop, .nic = &peer_nic};
    struct ha_neigh *rival;

    (void)state;
    host_enter_peer(&host);
    assert_int_equal(ha_neigh_open(&options, &rival, NULL), HA_OK);
    host_enter(&host);
    for (size_t i = 0; i < 2; i++) {
        const struct ha_ip addr = ip(addresses[i]);
        const uint64_t start_ns = ha_clock_boot_ns();

        conflicts = 0;
        assert_int_equal(ha_neigh_watch(neigh, &addr, true), HA_OK);
        assert_int_equal(ha_neigh_announce(neigh, &addr, UINT64_MAX, NULL), HA_OK); /* our own */
        assert_int_equal(ha_neigh_announce(rival, &addr, UINT64_MAX, NULL), HA_OK);
        while (conflicts == 0 && ha_clock_boot_ns() - start_ns < 2000ull * MS)
            (void)uv_run(&loop, UV_RUN_NOWAIT);
        assert_true(conflicts > 0);
        assert_true(ha_ip_equal(&conflict, &addr));
        assert_int_equal(ha_neigh_watch(neigh, &addr, false), HA_OK);
    }
    ha_neigh_close(rival, NULL);
}

/* The address may still be on the host; with its gate closed nobody gets it from there. */
static bool peer_reaches(const char *address)
{
    bool reached;

    host_enter_peer(&host);
    host_run("ip neigh flush dev eth0");
    (void)host_try("ip -6 neigh flush dev eth0");
    {
        int fd = host_connect(address, 9, 300); /* nobody listens: refused once resolved */

        if (fd >= 0)
            (void)close(fd);
    }
    host_enter(&host);
    reached = peer_knows(address, "lladdr");
    return reached;
}

static void test_answers_hang_on_the_gate(void **state)
{
    const uint16_t port = 5999;
    const struct ha_gate_options options = {.ports = &port, .port_count = 1, .want_nft = true};
    static const char *const texts[] = {"10.77.0.98", "fd77::98"};
    struct ha_gate_state read;
    struct ha_gates *gates;

    (void)state;
    assert_int_equal(ha_gates_open(&options, &gates, NULL), HA_OK);
    for (size_t i = 0; i < 2; i++) {
        struct ha_vip_addr addr = {
            .addr = ip(texts[i]), .prefix = i == 0 ? 32 : 128, .valid_s = 60, .preferred_s = 60};
        struct ha_gate_ask ask = {.port = port};

        assert_int_equal(ha_vip_set(vip, nic.index, &addr, NULL), HA_OK);
        assert_true(peer_reaches(texts[i]));
        assert_int_equal(ha_gates_set_vip(gates, port, &addr.addr, NULL), HA_OK);
        assert_false(peer_reaches(texts[i]));
        ask.deadline_ns = ha_clock_boot_ns() + 5000ull * MS;
        assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_OK); /* a replica's opening */
        assert_false(peer_reaches(texts[i]));
        ask.with_vip = true;
        assert_int_equal(ha_gates_set(gates, &ask, &read, NULL), HA_OK);
        assert_true(read.vip_ns != 0);
        assert_true(peer_reaches(texts[i]));
        ask.deadline_ns = ha_clock_boot_ns() + 60 * MS;
        assert_int_equal(ha_gates_set(gates, &ask, &read, NULL), HA_OK);
        while (ha_clock_boot_ns() < ask.deadline_ns)
            continue; /* bounded by the deadline itself */
        assert_false(peer_reaches(texts[i]));
    }
    ha_gates_close(gates);
    /* A restarted agent has not been told of the address yet: still no answer. */
    assert_int_equal(ha_gates_open(&options, &gates, NULL), HA_OK);
    assert_false(peer_reaches(texts[0]));
    assert_false(peer_reaches(texts[1]));
    ha_gates_close(gates);
    assert_int_equal(ha_gates_unload(&options, NULL), HA_OK);
    assert_true(peer_reaches(texts[0]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(test_taken_and_free),
    TEST(test_own_address_is_no_conflict),
    TEST(test_silence_without_a_probe_proves_nothing),
    TEST(test_cancel_and_close),
    TEST(test_announcement_moves_a_neighbour_entry),
    TEST(test_conflict_is_heard),
    TEST(test_answers_hang_on_the_gate),
};

int main(int argc, char *argv[])
{
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!host_setup(&host))
        return 77; /* needs root */
    failed = cmocka_run_group_tests_name("host/neigh", tests, NULL, NULL);
    host_teardown(&host);
    return failed;
}
