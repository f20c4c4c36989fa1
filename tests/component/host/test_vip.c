/* The virtual IP is where we say it is, for as long as we say, and its connections end with it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/if_addr.h>

#include "agents/host/gate.h"
#include "agents/host/sock.h"
#include "agents/host/vip.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/host/host_net.h"
#include "tests/support/cmocka_ha.h"

#define MS 1000000u

static struct host host;
static pid_t server;
static uint16_t port;
static struct ha_vip *vip;
static struct ha_nic nic;

static const struct {
    const char *text;
    uint8_t prefix;
} addresses[] = {{"10.77.0.99", 32}, {"fd77::99", 128}};

static int setup(void **state)
{
    (void)state;
    host_enter(&host);
    server = host_serve(NULL, &port);
    assert_int_equal(ha_vip_open(&vip, NULL), HA_OK);
    assert_int_equal(ha_vip_nic(vip, "eth0", &nic, NULL), HA_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_enter(&host);
    for (size_t i = 0; i < HA_ARRAY_LEN(addresses); i++) {
        struct ha_vip_addr addr = {.prefix = addresses[i].prefix};

        (void)ha_ip_parse(addresses[i].text, &addr.addr);
        (void)ha_vip_remove(vip, nic.index, &addr, NULL);
    }
    ha_vip_close(vip);
    host_end(server);
    return 0;
}

static struct ha_vip_addr address(size_t i, uint32_t valid_s)
{
    struct ha_vip_addr addr = {
        .prefix = addresses[i].prefix, .valid_s = valid_s, .preferred_s = valid_s};

    assert_int_equal(ha_ip_parse(addresses[i].text, &addr.addr), HA_OK);
    return addr;
}

static bool is_held(const struct ha_vip_addr *addr, struct ha_vip_addr *ret)
{
    const int code = ha_vip_find(vip, nic.index, &addr->addr, ret, NULL);

    assert_true(code == HA_OK || code == HA_ENOENT);
    return code == HA_OK;
}

static bool answers(size_t i)
{
    int fd, result;

    host_enter_peer(&host);
    host_run("ip neigh flush dev eth0"); /* nobody announces here */
    fd = host_connect(addresses[i].text, port, 300);
    result = fd < 0 ? -1 : host_ask(fd, 1000);
    if (fd >= 0)
        (void)close(fd);
    host_enter(&host);
    return result == 0;
}

/* The kernel makes an IPv6 address local some time after it was added, an IPv4 one at once. */
static bool comes_to_answer(size_t i)
{
    const uint64_t before_ns = ha_clock_boot_ns();
    bool found = answers(i);

    while (!found && strchr(addresses[i].text, ':') != NULL &&
           ha_clock_boot_ns() - before_ns < 10000000000ull)
        found = answers(i);
    return found;
}

static void test_interface(void **state)
{
    struct ha_nic other = {0};
    struct ha_err err = {0};

    (void)state;
    assert_true(nic.index > 0 && nic.up && nic.running && nic.has_mac);
    assert_int_equal(ha_vip_nic(vip, "lo", &other, NULL), HA_OK);
    assert_false(other.has_mac);
    assert_int_equal(ha_vip_nic(vip, "eth7", &other, &err), HA_ENOENT);
    print_message("# %s\n", err.text);
    assert_int_equal(ha_vip_nic(vip, "a-name-that-is-too-long", &other, NULL), HA_EINVAL);
}

static void test_add_refresh_remove(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(addresses); i++) {
        struct ha_vip_addr addr = address(i, 10), found = {0};

        assert_false(answers(i));
        assert_false(is_held(&addr, NULL));
        assert_int_equal(ha_vip_remove(vip, nic.index, &addr, NULL), HA_ENOENT);
        assert_int_equal(ha_vip_set(vip, nic.index, &addr, NULL), HA_OK);
        assert_true(is_held(&addr, &found));
        assert_int_equal(found.prefix, addr.prefix);
        assert_true(found.valid_s <= 10 && found.valid_s >= 8);
        assert_int_equal(found.flags & IFA_F_TENTATIVE, 0);
        assert_true(comes_to_answer(i));
        addr.valid_s = 30;
        addr.preferred_s = 0;
        assert_int_equal(ha_vip_set(vip, nic.index, &addr, NULL), HA_OK);
        assert_true(is_held(&addr, &found));
        assert_true(found.valid_s > 20);
        assert_int_equal(found.preferred_s, 0);
        assert_true(answers(i));
        assert_int_equal(ha_vip_remove(vip, nic.index, &addr, NULL), HA_OK);
        assert_false(is_held(&addr, NULL));
    }
}

/* Polls for what the kernel has promised, not longer than it may take. */
static void test_expires_by_itself(void **state)
{
    uint64_t start_ns, gone_ns[2] = {0};

    (void)state;
    start_ns = ha_clock_boot_ns();
    for (size_t i = 0; i < HA_ARRAY_LEN(addresses); i++) {
        const struct ha_vip_addr addr = address(i, 1);

        assert_int_equal(ha_vip_set(vip, nic.index, &addr, NULL), HA_OK);
    }
    while (ha_clock_boot_ns() - start_ns < 4000ull * MS && (gone_ns[0] == 0 || gone_ns[1] == 0)) {
        for (size_t i = 0; i < HA_ARRAY_LEN(addresses); i++) {
            const struct ha_vip_addr addr = address(i, 1);

            if (gone_ns[i] == 0 && !is_held(&addr, NULL))
                gone_ns[i] = ha_clock_boot_ns();
        }
        (void)usleep(5000);
    }
    for (size_t i = 0; i < HA_ARRAY_LEN(addresses); i++) {
        assert_true(gone_ns[i] != 0);
        print_message("# %s with a lifetime of 1 s was gone after %llu ms\n", addresses[i].text,
                      (unsigned long long)(gone_ns[i] - start_ns) / MS);
        assert_true(gone_ns[i] - start_ns > 900 * MS);
    }
}

static void test_refusals(void **state)
{
    struct ha_vip_addr addr = address(0, 10);
    struct ha_err err = {0};

    (void)state;
    addr.prefix = 33;
    assert_int_equal(ha_vip_set(vip, nic.index, &addr, NULL), HA_EINVAL);
    addr = address(0, 0);
    assert_int_equal(ha_vip_set(vip, nic.index, &addr, NULL), HA_EINVAL);
    addr = address(0, 5);
    addr.preferred_s = 6;
    assert_int_equal(ha_vip_set(vip, nic.index, &addr, NULL), HA_EINVAL);
    addr = address(0, 5);
    assert_int_equal(ha_vip_set(vip, 4711, &addr, &err), HA_ENOENT);
    print_message("# %s\n", err.text);
}

static void test_list_counts_past_its_room(void **state)
{
    struct ha_vip_addr list[2];
    size_t count = 0;

    (void)state;
    assert_int_equal(ha_vip_list(vip, 0, list, 2, &count, NULL), HA_OK);
    assert_true(count >= 5); /* two of lo, two of eth0, its link-local one */
    assert_int_equal(ha_vip_list(vip, nic.index, list, 2, &count, NULL), HA_OK);
    assert_int_equal(list[0].addr.family, AF_INET);
    assert_int_equal(list[0].prefix, 24);
}

static void test_tune(void **state)
{
    char text[8] = "";
    FILE *file;

    (void)state;
    assert_int_equal(ha_vip_tune("eth0", NULL), HA_OK);
    file = fopen("/proc/sys/net/ipv4/conf/eth0/arp_announce", "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    (void)fclose(file);
    assert_int_equal(text[0], '2');
    assert_int_equal(ha_vip_tune("eth0", NULL), HA_OK);
    assert_int_equal(ha_vip_tune("eth7", NULL), HA_ENOENT);
    assert_int_equal(ha_vip_tune("../all", NULL), HA_ENOENT);
}

static void kill_by(const struct ha_sock_match *match, const char *text, uint32_t want)
{
    uint32_t count = 0;
    int fd, other;

    host_enter_peer(&host);
    host_run("ip neigh flush dev eth0"); /* nobody announces here */
    fd = host_connect(text, port, 1000);
    assert_true(fd >= 0);
    assert_int_equal(host_ask(fd, 10000), 0);
    host_enter(&host);
    other = host_connect("127.0.0.1", port, 1000);
    assert_int_equal(host_ask(other, 10000), 0);
    assert_int_equal(ha_sock_kill(match, &count, NULL), HA_OK);
    assert_int_equal(count, want);
    assert_true(host_ask(fd, 100) == -ECONNRESET || host_ask(fd, 100) == -EPIPE);
    if (match->local != NULL) /* the others' connections live */
        assert_int_equal(host_ask(other, 10000), 0);
    else
        assert_int_not_equal(host_ask(other, 1000), 0);
    (void)close(fd);
    (void)close(other);
    other = host_connect("127.0.0.1", port, 1000); /* and the listener */
    assert_int_equal(host_ask(other, 10000), 0);
    (void)close(other);
    assert_int_equal(ha_sock_kill(match, NULL, NULL), HA_OK);
}

static void test_kill_resets_clients(void **state)
{
    static const uint64_t no_ports[HA_SOCK_PORT_WORDS];
    uint64_t ports[HA_SOCK_PORT_WORDS] = {0};
    const struct ha_sock_match everything = {0};

    (void)state;
    assert_int_equal(ha_sock_kill(&everything, NULL, NULL), HA_EINVAL);
    ports[port / 64] |= UINT64_C(1) << port % 64;
    for (size_t i = 0; i < HA_ARRAY_LEN(addresses); i++) {
        const struct ha_vip_addr addr = address(i, 60);
        const struct ha_sock_match by_address = {.local = &addr.addr};
        const struct ha_sock_match by_port = {.port = port};
        const struct ha_sock_match by_ports = {.ports = ports};
        const struct ha_sock_match nobody = {.ports = no_ports};
        uint32_t count = 1;

        assert_int_equal(ha_vip_set(vip, nic.index, &addr, NULL), HA_OK);
        kill_by(&by_address, addresses[i].text, 1);
        kill_by(&by_port, addresses[i].text, 2);
        kill_by(&by_ports, addresses[i].text, 2);
        assert_int_equal(ha_sock_kill(&nobody, &count, NULL), HA_OK);
        assert_int_equal(count, 0);
    }
}

/* Another process with a connection, which says by its end whether that was reset. */
static pid_t stranger(const char *address)
{
    int fd, told[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(told), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fd = host_connect(address, port, 1000);
        byte = host_ask(fd, 1000) == 0 ? 'y' : 'n';
        if (write(told[1], &byte, 1) != 1)
            _exit(2);
        for (int i = 0; i < 200; i++) {
            int code = host_ask(fd, 50);

            if (code == -ECONNRESET || code == -EPIPE)
                _exit(0);
            (void)usleep(10000);
        }
        _exit(1);
    }
    (void)close(told[1]);
    assert_int_equal(read(told[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    (void)close(told[0]);
    return pid;
}

/* The agent's own connection to the database it has to ask goes on. */
static void test_own_connections_are_spared(void **state)
{
    static const char *const local[] = {"127.0.0.1", "::1", "10.77.0.1"};
    const struct ha_sock_match match = {.port = port, .spare_own = true};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(local); i++) {
        pid_t pid = stranger(local[i]);
        int own = host_connect(local[i], port, 1000), status;
        uint32_t count;

        assert_int_equal(host_ask(own, 10000), 0);
        assert_int_equal(ha_sock_kill(&match, &count, NULL), HA_OK);
        assert_int_equal(count, 1);
        assert_int_equal(host_ask(own, 10000), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        (void)close(own);
    }
}

/* Moving away: the client learns of it although the gate is closed and nothing else may leave. */
static void test_reset_passes_a_closed_gate(void **state)
{
    struct ha_sock_match match = {0};
    struct ha_gate_options options = {.pin_dir = HOST_PIN_DIR,
                                      .cgroup = host.cgroup,
                                      .ports = &port,
                                      .port_count = 1,
                                      .want_bpf = true,
                                      .mount_bpffs = true};
    struct ha_gate_ask ask;
    struct ha_gates *gates;
    uint32_t count;
    int fd, fd6;

    (void)state;
    host_end(server);
    server = host_serve(host.cgroup, &port);
    match.port = port;
    assert_int_equal(ha_gates_load(&options, NULL), HA_OK);
    assert_int_equal(ha_gates_open(&options, &gates, NULL), HA_OK);
    ask = (struct ha_gate_ask){.port = port, .deadline_ns = ha_clock_boot_ns() + 10000ull * MS};
    assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_OK);
    host_enter_peer(&host);
    fd = host_connect("10.77.0.1", port, 1000);
    fd6 = host_connect("fd77::1", port, 1000);
    assert_int_equal(host_ask(fd, 10000), 0);
    assert_int_equal(host_ask(fd6, 10000), 0);
    host_enter(&host);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(ha_sock_kill(&match, &count, NULL), HA_OK);
    assert_int_equal(count, 2);
    assert_int_equal(host_ask(fd, 1000), -ECONNRESET);
    assert_int_equal(host_ask(fd6, 1000), -ECONNRESET);
    (void)close(fd);
    (void)close(fd6);
    ha_gates_close(gates);
    assert_int_equal(ha_gates_unload(&options, NULL), HA_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(test_interface),
    TEST(test_add_refresh_remove),
    TEST(test_expires_by_itself),
    TEST(test_refusals),
    TEST(test_list_counts_past_its_room),
    TEST(test_tune),
    TEST(test_kill_resets_clients),
    TEST(test_own_connections_are_spared),
    TEST(test_reset_passes_a_closed_gate),
};

int main(int argc, char *argv[])
{
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!host_setup(&host))
        return 77; /* needs root */
    failed = cmocka_run_group_tests_name("host/vip", tests, NULL, NULL);
    host_teardown(&host);
    return failed;
}
