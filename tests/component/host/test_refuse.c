/* Clients of a virtual IP that is elsewhere, whose neighbour entry still names this host, are
 * refused at once; nobody else is. Each test has hosts of its own: they change routes and links. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "agents/host/gate.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/host/host_net.h"
#include "tests/support/cmocka_ha.h"

#define MS 1000000u
#define HOST_MAC "02:00:00:00:77:01"
#define SOON_MS 10000 /* long after a refusal comes, on any machine */
#define SILENCE_MS 100
#define LONG_MS 60000 /* no test lasts so long */

static struct host host;
static pid_t server;
static uint16_t port;
static struct ha_gates *gates;
static const char *hidden; /* this expression is unknown to the kernel */

ssize_t __real_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size);

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size)
{
    static uint8_t changed[1 << 16];
    uint8_t *found;

    if (hidden == NULL)
        return __real_mnl_socket_sendto(socket, data, size);
    assert_true(size <= sizeof(changed));
    memcpy(changed, data, size);
    while ((found = memmem(changed, size, hidden, strlen(hidden) + 1)) != NULL)
        found[0] = '-';
    return __real_mnl_socket_sendto(socket, changed, size);
}

static struct ha_gate_options options_of(bool want_bpf)
{
    return (struct ha_gate_options){.pin_dir = HOST_PIN_DIR,
                                    .cgroup = host.cgroup,
                                    .ports = &port,
                                    .port_count = 1,
                                    .want_bpf = want_bpf,
                                    .mount_bpffs = true,
                                    .want_nft = true};
}

static void open_gates(bool want_bpf)
{
    const struct ha_gate_options options = options_of(want_bpf);

    if (want_bpf)
        assert_int_equal(ha_gates_load(&options, NULL), HA_OK);
    assert_int_equal(ha_gates_open(&options, &gates, NULL), HA_OK);
}

static int setup(void **state)
{
    (void)state;
    if (!host_setup(&host))
        return -1;
    /* Namespaces begin with what the machine has. */
    host_run("sysctl -qw net.ipv4.conf.all.forwarding=0 net.ipv6.conf.all.forwarding=0");
    host_run("ip link set eth0 address " HOST_MAC);
    server = host_serve(NULL, &port);
    open_gates(false);
    return 0;
}

static int teardown(void **state)
{
    const struct ha_gate_options options = options_of(true);

    (void)state;
    hidden = NULL;
    ha_gates_close(gates);
    gates = NULL;
    (void)ha_gates_unload(&options, NULL); /* loaded by one test alone */
    host_end(server);
    server = 0;
    host_teardown(&host);
    return 0;
}

/* This host holds the address for so long; the gate can be shut before. */
static void hold(const char *address, uint64_t ms)
{
    const struct ha_gate_ask ask = {
        .deadline_ns = ha_clock_boot_ns() + ms * MS, .port = port, .with_vip = true};
    struct ha_ip vip;

    assert_int_equal(ha_ip_parse(address, &vip), HA_OK);
    assert_int_equal(ha_gates_set_vip(gates, port, &vip, NULL), HA_OK);
    assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_OK);
    assert_int_equal(ha_gates_settle(gates, port, true, false, NULL), HA_OK);
}

static unsigned check(void)
{
    unsigned found;

    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    return found;
}

static int client_error(const char *address, int wait_ms)
{
    int error;

    host_enter_peer(&host);
    error = host_connect_error(address, port, wait_ms);
    host_enter(&host);
    return error;
}

static void name_this_host(const char *address)
{
    char command[128];

    host_enter_peer(&host);
    (void)snprintf(command, sizeof(command),
                   "ip neigh replace %s lladdr " HOST_MAC " nud permanent dev eth0", address);
    host_run(command);
    host_enter(&host);
}

/* As long as the right to the address would have lasted: later it is no business of this host. */
static void refuse_of(const char *address)
{
    uint64_t before_ns;
    int error;

    name_this_host(address);
    hold(address, LONG_MS);
    assert_int_equal(client_error(address, SOON_MS), ECONNREFUSED);
    assert_int_equal(check(), 0);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(ha_gates_settle(gates, port, false, true, NULL), HA_OK);
    assert_int_equal(client_error(address, SOON_MS), ECONNREFUSED);
    hold(address, 300);
    before_ns = ha_clock_boot_ns();
    do {
        error = client_error(address, SILENCE_MS);
    } while (error == ECONNREFUSED && ha_clock_boot_ns() - before_ns < (uint64_t)SOON_MS * MS);
    assert_int_equal(error, ETIMEDOUT);
}

static void test_openings_are_refused(void **state)
{
    (void)state;
    refuse_of("10.77.0.9");
    refuse_of("fd77::9");
}

static void test_openings_are_refused_beside_bpf(void **state)
{
    (void)state;
    ha_gates_close(gates);
    open_gates(true);
    assert_int_equal(ha_gates_class(gates), HA_GATE_BOTH);
    refuse_of("10.77.0.9");
    refuse_of("fd77::9");
}

static int await_connection(const char *address)
{
    const uint64_t before_ns = ha_clock_boot_ns();
    int fd;

    do { /* the kernel makes an IPv6 address local some time after it was added */
        fd = host_connect(address, port, SILENCE_MS);
    } while (fd < 0 && ha_clock_boot_ns() - before_ns < (uint64_t)SOON_MS * MS);
    return fd;
}

/* By clients and, by way of the loopback, on this host. Somebody takes the address away, and the
 * agent puts it back: connections live on. */
static void served_here(const char *address, unsigned prefix)
{
    char addition[128], removal[128];
    int own, fd;

    (void)snprintf(addition, sizeof(addition), "ip address add %s/%u dev eth0%s", address, prefix,
                   prefix == 128 ? " nodad" : "");
    (void)snprintf(removal, sizeof(removal), "ip address del %s/%u dev eth0", address, prefix);
    hold(address, LONG_MS); /* with it: the host asks for neighbours in its name */
    host_run(addition);
    own = await_connection(address);
    assert_int_equal(host_ask(own, 10000), 0);
    (void)close(own);
    host_enter_peer(&host);
    fd = await_connection(address);
    assert_int_equal(host_ask(fd, 10000), 0);
    host_enter(&host);
    host_run(removal);
    assert_int_equal(host_ask(fd, SILENCE_MS), -ETIMEDOUT);
    host_run(addition);
    assert_int_equal(host_ask(fd, SOON_MS), 0);
    (void)close(fd);
}

static void test_an_address_that_is_here_is_served(void **state)
{
    (void)state;
    served_here("10.77.0.9", 32);
    served_here("fd77::9", 128);
}

/* Frames that a bridge hands on to the address may come by the same chain. */
static void test_nobody_is_refused_on_a_bridge(void **state)
{
    (void)state;
    host_run("ip address del 10.77.0.1/24 dev eth0");
    host_run("ip link set eth0 address 02:00:00:00:77:02");
    host_run("ip link add br0 address " HOST_MAC " type bridge");
    host_run("ip link set eth0 master br0");
    host_run("ip address add 10.77.0.1/24 dev br0");
    host_run("ip link set br0 up");
    name_this_host("10.77.0.1");
    name_this_host("10.77.0.9");
    hold("10.77.0.9", LONG_MS);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(client_error("10.77.0.1", SOON_MS), ECONNREFUSED); /* by the gate */
    assert_int_equal(client_error("10.77.0.9", SILENCE_MS), ETIMEDOUT);
}

static void test_a_kernel_that_cannot_keeps_its_gate(void **state)
{
    (void)state;
    ha_gates_close(gates);
    hidden = "fib";
    open_gates(false);
    assert_int_equal(ha_gates_class(gates), HA_GATE_NFT);
    assert_int_equal(client_error("10.77.0.1", SOON_MS), ECONNREFUSED); /* closed */
    name_this_host("10.77.0.9");
    hold("10.77.0.9", LONG_MS);
    assert_int_equal(client_error("10.77.0.9", SILENCE_MS), ETIMEDOUT);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(check(), 0);
    host_run("nft flush ruleset");
    assert_int_equal(check(), HA_GATE_FIXED_TABLES);
    assert_int_equal(client_error("10.77.0.1", SOON_MS), ECONNREFUSED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(test_openings_are_refused),
    TEST(test_openings_are_refused_beside_bpf),
    TEST(test_an_address_that_is_here_is_served),
    TEST(test_nobody_is_refused_on_a_bridge),
    TEST(test_a_kernel_that_cannot_keeps_its_gate),
};

int main(int argc, char *argv[])
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (geteuid() != 0)
        return 77; /* needs root */
    return cmocka_run_group_tests_name("host/refuse", tests, NULL, NULL);
}
