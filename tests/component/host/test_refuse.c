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

static struct host host;
static pid_t server, other; /* of this host, of the peer's */
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

static void open_gates(void)
{
    const struct ha_gate_options options = {.pin_dir = HOST_PIN_DIR,
                                            .cgroup = host.cgroup,
                                            .ports = &port,
                                            .port_count = 1,
                                            .want_nft = true};

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
    open_gates();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hidden = NULL;
    ha_gates_close(gates);
    gates = NULL;
    host_end(server);
    host_end(other);
    server = other = 0;
    host_teardown(&host);
    return 0;
}

static struct ha_ip manage(const char *address)
{
    struct ha_ip vip;

    assert_int_equal(ha_ip_parse(address, &vip), HA_OK);
    assert_int_equal(ha_gates_set_vip(gates, port, &vip, NULL), HA_OK);
    return vip;
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

static void refuse_of(const char *address)
{
    struct ha_ip another;

    name_this_host(address);
    assert_int_equal(client_error(address, SILENCE_MS), ETIMEDOUT);
    (void)manage(address);
    assert_int_equal(client_error(address, SOON_MS), ECONNREFUSED);
    assert_int_equal(check(), 0);
    assert_int_equal(ha_ip_parse(address, &another), HA_OK);
    another.bytes[1] ^= 1;
    assert_int_equal(ha_gates_set_vip(gates, port, &another, NULL), HA_OK);
    assert_int_equal(client_error(address, SILENCE_MS), ETIMEDOUT);
}

static void test_openings_are_refused(void **state)
{
    (void)state;
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
    struct ha_gate_ask ask = {.deadline_ns = ha_clock_boot_ns() + 60000ull * MS,
                              .port = port,
                              .with_vip = true}; /* the host asks for neighbours in its name */
    char addition[128], removal[128];
    int own, fd;

    (void)snprintf(addition, sizeof(addition), "ip address add %s/%u dev eth0%s", address, prefix,
                   prefix == 128 ? " nodad" : "");
    (void)snprintf(removal, sizeof(removal), "ip address del %s/%u dev eth0", address, prefix);
    (void)manage(address);
    assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_OK);
    host_run(addition);
    own = await_connection(address);
    assert_int_equal(host_ask(own, 1000), 0);
    (void)close(own);
    host_enter_peer(&host);
    fd = await_connection(address);
    assert_int_equal(host_ask(fd, 1000), 0);
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
    (void)manage("10.77.0.9");
    assert_int_equal(client_error("10.77.0.1", SOON_MS), ECONNREFUSED); /* by the gate */
    assert_int_equal(client_error("10.77.0.9", SILENCE_MS), ETIMEDOUT);
}

/* A client behind a host that routes for it reaches the address where it is now. */
static void routed(uint16_t other_port)
{
    int inside = host_new_ns(), fd;

    host_run("ip link add eth1 type veth peer name eth0");
    host_run("ip address add 10.78.0.2/24 dev eth0");
    host_run("ip link set eth0 up");
    host_give_link("eth1", host.ns);
    host_enter(&host);
    host_run("ip address add 10.78.0.1/24 dev eth1");
    host_run("ip link set eth1 up");
    assert_int_equal(setns(inside, CLONE_NEWNET), 0);
    host_run("ip route add default via 10.78.0.1");
    fd = host_connect("10.77.0.9", other_port, SOON_MS);
    assert_int_equal(host_ask(fd, 1000), 0);
    (void)close(fd);
    (void)close(inside);
    host_enter(&host);
}

static void test_a_host_that_forwards_refuses_nobody(void **state)
{
    uint16_t other_port;

    (void)state;
    name_this_host("10.77.0.8");
    (void)manage("10.77.0.8");
    assert_int_equal(client_error("10.77.0.8", SOON_MS), ECONNREFUSED);
    (void)manage("10.77.0.9");
    host_run("sysctl -qw net.ipv4.conf.eth0.forwarding=1");
    assert_int_equal(check(), 0); /* nothing was broken */
    host_run("sysctl -qw net.ipv4.conf.all.forwarding=1");
    host_enter_peer(&host);
    host_run("ip address add 10.77.0.9/32 dev eth0");
    host_run("ip route add 10.78.0.0/24 via 10.77.0.1");
    other = host_serve(NULL, &other_port);
    routed(other_port);
    (void)manage("10.77.0.8");
    assert_int_not_equal(client_error("10.77.0.8", SILENCE_MS), ECONNREFUSED);
    host_run("sysctl -qw net.ipv4.conf.all.forwarding=0");
    assert_int_equal(check(), 0);
    assert_int_equal(client_error("10.77.0.8", SOON_MS), ECONNREFUSED);
}

/* Of a service that is gone: the address may be somebody else's by now. */
static void test_what_an_older_run_left_is_not_refused(void **state)
{
    (void)state;
    name_this_host("10.77.0.9");
    (void)manage("10.77.0.9");
    ha_gates_close(gates);
    open_gates();
    assert_int_equal(client_error("10.77.0.9", SILENCE_MS), ETIMEDOUT);
    (void)manage("10.77.0.9");
    assert_int_equal(client_error("10.77.0.9", SOON_MS), ECONNREFUSED);
}

static void test_a_kernel_that_cannot_keeps_its_gate(void **state)
{
    char before[8192], after[8192];

    (void)state;
    ha_gates_close(gates);
    hidden = "fib";
    open_gates();
    assert_int_equal(ha_gates_class(gates), HA_GATE_NFT);
    assert_int_equal(client_error("10.77.0.1", SOON_MS), ECONNREFUSED); /* closed */
    name_this_host("10.77.0.9");
    (void)manage("10.77.0.9");
    assert_int_equal(client_error("10.77.0.9", SILENCE_MS), ETIMEDOUT);
    assert_int_equal(host_capture("nft -at list ruleset", before, sizeof(before)), 0);
    assert_int_equal(check(), 0);
    assert_int_equal(host_capture("nft -at list ruleset", after, sizeof(after)), 0);
    assert_string_equal(before, after); /* not made anew each time */
    host_run("nft flush ruleset");
    assert_int_equal(check(), HA_GATE_FIXED_TABLES);
    assert_int_equal(client_error("10.77.0.1", SOON_MS), ECONNREFUSED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(test_openings_are_refused),
    TEST(test_an_address_that_is_here_is_served),
    TEST(test_nobody_is_refused_on_a_bridge),
    TEST(test_a_host_that_forwards_refuses_nobody),
    TEST(test_what_an_older_run_left_is_not_refused),
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
