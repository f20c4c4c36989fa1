/* The nft gate: timed elements close both directions, also where nobody is alive to do it, and come
 * back after a flush. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libmnl/libmnl.h>

#include "agents/engine.h"
#include "agents/host/gate.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/host/host_net.h"
#include "tests/support/cmocka_ha.h"

#define MS 1000000u
#define LATE_MAX_NS ((int64_t)MS)
#define LEASE_MS 1000u /* a renewer on a busy machine gets its turn within that */

static struct host host;
static pid_t server;
static uint16_t port;
static struct ha_gates *gates;

static struct ha_gate_options options_of(void)
{
    return (struct ha_gate_options){.pin_dir = HOST_PIN_DIR,
                                    .cgroup = host.cgroup,
                                    .ports = &port,
                                    .port_count = 1,
                                    .want_nft = true,
                                    .mount_bpffs = true};
}

static struct ha_gate_state set_for_ms(uint64_t ms)
{
    const struct ha_gate_ask ask = {.deadline_ns = ha_clock_boot_ns() + ms * MS, .port = port};
    struct ha_gate_state state;

    assert_int_equal(ha_gates_set(gates, &ask, &state, NULL), HA_OK);
    assert_true(state.nft_ns != 0);
    /* Beside bpf, which has the deadline, nft only says that the port was not given up. */
    assert_true(state.closed_from_ns <= ask.deadline_ns + MS);
    return state;
}

static int setup(void **state)
{
    struct ha_gate_options options = options_of();
    struct ha_err err = {0};

    (void)state;
    host_enter(&host);
    server = host_serve(NULL, &port);
    if (ha_gates_open(&options, &gates, &err) != HA_OK) {
        print_message("# %s\n", err.text);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    struct ha_gate_options options = options_of();

    (void)state;
    host_enter(&host);
    ha_gates_close(gates);
    gates = NULL;
    host_end(server);
    options.want_bpf = true;
    return ha_gates_unload(&options, NULL) == HA_OK ? 0 : -1;
}

static void test_closed_and_reset_from_open(void **state)
{
    struct ha_gate_state now;
    uint64_t before_ns;

    (void)state;
    assert_int_equal(ha_gates_class(gates), HA_GATE_NFT);
    assert_true(ha_gates_has_answers(gates));
    assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
    assert_true(now.guarded && now.nft_ns == 0);
    host_enter_peer(&host);
    before_ns = ha_clock_boot_ns();
    assert_int_equal(host_connect("10.77.0.1", port, 1000), -1);
    assert_int_equal(host_connect("fd77::1", port, 1000), -1);
    assert_true(ha_clock_boot_ns() - before_ns < 1000 * MS); /* refused, not timed out */
    host_enter(&host);
    assert_int_equal(host_connect("127.0.0.1", port, 1000), -1);
    assert_int_equal(host_connect("::1", port, 1000), -1);
    assert_true(ha_clock_boot_ns() - before_ns < 1000 * MS);
}

/* Nobody renews: the same as a renewer that is frozen or dead after its last write. */
static void cut(const char *address, bool from_peer, struct host_stats *stats)
{
    for (int i = 0; i < 16; i++) {
        struct ha_gate_state now;
        const struct ha_gate_ask ask_ahead = {.deadline_ns = ha_clock_boot_ns() + 400 * MS,
                                              .port = port};
        struct ha_gate_ask ask = ask_ahead;
        uint64_t last_ns;
        int fd;

        host_enter(&host);
        assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_OK);
        if (from_peer)
            host_enter_peer(&host);
        fd = host_connect(address, port, 1000);
        assert_true(fd >= 0);
        ask.deadline_ns = ha_clock_boot_ns() + (40 + (uint64_t)i) * MS;
        assert_int_equal(ha_gates_set(gates, &ask, &now, NULL), HA_OK);
        last_ns = host_ask_until_silence(fd, 100, NULL);
        host_stats_add(stats, (int64_t)(last_ns - ask.deadline_ns));
        (void)close(fd);
    }
}

static void test_cut_at_the_deadline(void **state)
{
    static const struct {
        const char *address;
        bool from_peer;
    } ways[] = {{"127.0.0.1", false}, {"::1", false}, {"10.77.0.1", true}, {"fd77::1", true}};
    struct host_stats stats = {0};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(ways); i++)
        cut(ways[i].address, ways[i].from_peer, &stats);
    host_stats_print(&stats, "nft, last answer after the deadline");
    assert_true(stats.values[stats.count - 1] < LATE_MAX_NS);
    assert_true(stats.values[stats.count / 2] > -20 * (int64_t)MS); /* it was open until then */
}

/* A child that renews with a handle of its own: netlink sockets are not shared. */
static pid_t start_renewer(void)
{
    int begun[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(begun), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid != 0) {
        (void)close(begun[1]);
        assert_int_equal(read(begun[0], &byte, 1), 1);
        (void)close(begun[0]);
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    {
        struct ha_gate_options options = options_of();
        struct ha_gates *mine;

        (void)close(begun[0]);
        if (ha_gates_open(&options, &mine, NULL) != HA_OK)
            _exit(1);
        for (;;) {
            const struct ha_gate_ask ask = {.deadline_ns = ha_clock_boot_ns() + LEASE_MS * MS,
                                            .port = port};

            if (ha_gates_set(mine, &ask, NULL, NULL) != HA_OK)
                _exit(1);
            if (begun[1] >= 0 && write(begun[1], "b", 1) == 1) {
                (void)close(begun[1]);
                begun[1] = -1;
            }
            (void)usleep(5000); /* the pace of renewals, not a wait for something */
        }
    }
}

static void stop_renewer_with(int signal)
{
    struct host_stats stats = {0}, gaps = {0};

    for (int i = 0; i < 4; i++) {
        uint64_t last_ns, gap_ns, until_ns, stopped_ns;
        pid_t renewer;
        int fd;

        (void)set_for_ms(10000); /* its first renewal makes that shorter */
        fd = host_connect("127.0.0.1", port, 1000);
        renewer = start_renewer();
        assert_true(fd >= 0);
        until_ns = ha_clock_boot_ns() + 2 * LEASE_MS * MS; /* longer than any one deadline */
        while (ha_clock_boot_ns() < until_ns)
            assert_int_equal(host_ask(fd, 5000), 0);
        assert_int_equal(kill(renewer, signal), 0);
        stopped_ns = ha_clock_boot_ns();
        last_ns = host_ask_until_silence(fd, 200, &gap_ns);
        host_stats_add(&stats, (int64_t)(last_ns - stopped_ns - LEASE_MS * MS));
        host_stats_add(&gaps, (int64_t)gap_ns);
        host_end(renewer);
        (void)close(fd);
    }
    host_stats_print(&stats, "nft, last answer after the latest possible deadline");
    host_stats_print(&gaps, "nft, longest gap between answers while it was open");
    assert_true(stats.values[stats.count - 1] < LATE_MAX_NS);
}

static void test_renewer_frozen(void **state)
{
    (void)state;
    stop_renewer_with(SIGSTOP);
}

static void test_renewer_killed(void **state)
{
    (void)state;
    stop_renewer_with(SIGKILL);
}

static void test_established_client_is_reset(void **state)
{
    int fd;

    (void)state;
    (void)set_for_ms(10000);
    host_enter_peer(&host);
    fd = host_connect("10.77.0.1", port, 1000);
    assert_int_equal(host_ask(fd, 10000), 0);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(host_ask(fd, 1000), -ECONNRESET);
    (void)close(fd);
}

/* Nothing is proven while the rules are gone, however closed the elements were. */
static void test_many_are_shut_with_one_check(void **state)
{
    const uint16_t ports[] = {port, (uint16_t)(port + 1)};
    unsigned found;

    (void)state;
    assert_int_equal(ha_gates_shut_unproven(gates, ports[1], NULL), HA_ENOENT);
    assert_int_equal(ha_gates_guard(gates, ports[1], NULL), HA_OK);
    (void)set_for_ms(10000);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(ha_gates_shut_unproven(gates, ports[i], NULL), HA_OK);
    host_run("nft flush ruleset");
    assert_int_equal(ha_gates_prove_shut(gates, ports[0], NULL), HA_EIO);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(ha_gates_prove_shut(gates, ports[i], NULL), HA_OK);
}

static void test_expired_then_renewed(void **state)
{
    struct ha_gate_state now;
    int fd;

    (void)state;
    for (int i = 0; i < 20; i++) {
        const uint64_t end_ns = set_for_ms(200).nft_ns;

        while (ha_clock_boot_ns() < end_ns)
            continue; /* bounded by the deadline itself */
        assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
        assert_true(now.nft_ns == 0);
        (void)set_for_ms(5000);
        fd = host_connect("127.0.0.1", port, 1000);
        assert_int_equal(host_ask(fd, 10000), 0);
        (void)close(fd);
        (void)set_for_ms(3000); /* a renewal may end earlier too */
        assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
        assert_true(now.nft_ns < ha_clock_boot_ns() + 3000ull * MS);
    }
}

/* Less than a tick may never become "without an end". */
static void test_tiny_deadlines_close(void **state)
{
    (void)state;
    for (unsigned us = 0; us < 25000; us += 500) {
        const struct ha_gate_ask ask = {.deadline_ns = ha_clock_boot_ns() + us * 1000ull,
                                        .port = port};
        struct ha_gate_state now;
        uint64_t asked_ns;

        assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_OK);
        asked_ns = ha_clock_boot_ns(); /* what is left counts from when the answer is read */
        assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
        assert_true(now.nft_ns < ask.deadline_ns + 10 * MS + ha_clock_boot_ns() - asked_ns);
    }
}

static void check_comes_back(const char *damage)
{
    struct ha_gate_state before, after;
    unsigned found;
    int fd;

    (void)set_for_ms(10000);
    assert_int_equal(ha_gates_read(gates, port, &before, NULL), HA_OK);
    host_run(damage);
    /* Put back as of now it would end this much later; whoever is paused between clock and kernel
     * is late by a ticket at most, and so is one that is paused while it reads. */
    (void)usleep(500000);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_TABLES);
    assert_int_equal(ha_gates_read(gates, port, &after, NULL), HA_OK);
    assert_true(after.guarded && after.nft_ns <= before.nft_ns + 250 * MS);
    assert_true(after.nft_ns + 100 * MS > before.nft_ns); /* as long as was last asked for */
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    host_enter_peer(&host);
    fd = host_connect("10.77.0.1", port, 50);
    assert_int_equal(fd, -1);
    host_enter(&host);
}

/* The wrapped call of libmnl: before which one of this process it is stopped, and whether it dies
 * of that one. */
static unsigned sends_left;
static bool dies;
static unsigned sends;
ssize_t __real_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size);
ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size);

/* Before the next tables are sent the gate is shut by the handle that others go beside. */
static bool shuts;

ssize_t __wrap_mnl_socket_sendto(const struct mnl_socket *socket, const void *data, size_t size)
{
    ssize_t sent;

    sends++;
    if (shuts && size > 4096) {
        shuts = false;
        assert_int_equal(ha_gates_shut_unproven(gates, port, NULL), HA_OK);
    }
    if (sends_left == 0 || --sends_left > 0)
        return __real_mnl_socket_sendto(socket, data, size);
    (void)raise(SIGSTOP);
    sent = __real_mnl_socket_sendto(socket, data, size);
    if (dies)
        _exit(0);
    return sent;
}

/* Tells its deadline, which begins when it has its handle. */
static void open_late(int teller, unsigned nth, bool flushed)
{
    struct ha_gate_options options = options_of();
    struct ha_gate_ask ask = {.port = port};
    struct ha_gates *mine;
    unsigned found;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ha_gates_open(&options, &mine, NULL) != HA_OK)
        _exit(1);
    ask.deadline_ns = ha_clock_boot_ns() + 300 * MS;
    if (write(teller, &ask.deadline_ns, sizeof(ask.deadline_ns)) != sizeof(ask.deadline_ns))
        _exit(1);
    if (flushed &&
        (ha_gates_set(mine, &ask, NULL, NULL) != HA_OK || system("nft flush ruleset") != 0))
        _exit(2);
    sends_left = nth;
    dies = !flushed;
    if (flushed)
        (void)ha_gates_check(mine, &found, NULL);
    else
        (void)ha_gates_set(mine, &ask, NULL, NULL);
    _exit(sends_left == 0 ? 0 : 3);
}

/* A child that opens the gate and dies of its @nth message, or puts it back after a flush, is
 * stopped before that message until the deadline has passed. False: it did not send as many. */
static bool is_late_at(unsigned nth, bool flushed)
{
    uint64_t deadline_ns;
    int ends[2], status;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        open_late(ends[1], nth, flushed);
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &deadline_ns, sizeof(deadline_ns)), sizeof(deadline_ns));
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    if (!WIFSTOPPED(status)) {
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        return false;
    }
    while (ha_clock_boot_ns() < deadline_ns + 20 * MS)
        (void)usleep(1000); /* true time is what is waited for */
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return true;
}

static void test_late_opening_is_refused(void **state)
{
    unsigned nth = 1;

    (void)state;
    for (; is_late_at(nth, false); nth++)
        assert_int_equal(host_connect("127.0.0.1", port, 1000), -1);
    assert_true(nth > 2); /* the ticket, then the change */
    for (nth = 1; is_late_at(nth, true); nth++)
        assert_int_equal(host_connect("127.0.0.1", port, 1000), -1);
    assert_true(nth > 2);
    (void)set_for_ms(LEASE_MS);
    assert_true(host_connect("127.0.0.1", port, 1000) >= 0);
}

static void test_flushed_ruleset_comes_back(void **state)
{
    unsigned found = 99;

    (void)state;
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
    check_comes_back("nft flush ruleset");
    check_comes_back("nft flush chain inet hafailover output");
    check_comes_back("nft insert rule inet hafailover output accept");
    check_comes_back("nft delete table arp hafailover");
    check_comes_back("nft add table inet hafailover { flags dormant ; }");
}

/* A renewal does not wait for the check to come round. */
static void test_renewal_puts_a_flushed_ruleset_back(void **state)
{
    unsigned found;
    int fd;

    (void)state;
    host_run("nft flush ruleset");
    (void)set_for_ms(10000);
    fd = host_connect("127.0.0.1", port, 1000);
    assert_int_equal(host_ask(fd, 10000), 0);
    (void)close(fd);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_TABLES);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(host_connect("127.0.0.1", port, 50), -1);
}

static void test_others_tables_are_left_alone(void **state)
{
    unsigned found;

    (void)state;
    host_run("nft add table inet theirs");
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
    host_run("nft delete table inet hafailover");
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    {
        char output[256];

        assert_int_equal(host_capture("nft list table inet theirs", output, sizeof(output)), 0);
    }
    host_run("nft delete table inet theirs");
}

static void test_foreign_element_is_taken_away(void **state)
{
    char command[96];
    unsigned found;

    (void)state;
    (void)snprintf(command, sizeof(command), "nft add element inet hafailover open { %u }", port);
    host_run(command);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_PORTS);
    assert_int_equal(host_connect("127.0.0.1", port, 50), -1);
    (void)snprintf(command, sizeof(command), "nft delete element inet hafailover guarded { %u }",
                   port);
    host_run(command);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_PORTS);
    assert_int_equal(host_connect("127.0.0.1", port, 50), -1);
}

/* A host with a thousand databases asks the kernel as often as one with a single one. */
static void test_check_does_not_ask_for_each_port(void **state)
{
    const uint16_t first = 20000, count = 300;
    char command[96];
    unsigned found, alone;

    (void)state;
    sends = 0;
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    alone = sends;
    for (uint16_t i = 0; i < count; i++)
        assert_int_equal(ha_gates_guard(gates, (uint16_t)(first + i), NULL), HA_OK);
    sends = 0;
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
    assert_int_equal(sends, alone);
    (void)snprintf(command, sizeof(command), "nft add element inet hafailover open { %u }",
                   (unsigned)(first + count - 1));
    host_run(command);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_PORTS);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
    for (uint16_t i = 0; i < count; i++)
        assert_int_equal(ha_gates_unguard(gates, (uint16_t)(first + i), NULL), HA_OK);
}

static int look_for(const char *set, const char *address)
{
    char command[96];

    (void)snprintf(command, sizeof(command), "nft get element arp hafailover %s { %s }", set,
                   address);
    return host_try(command);
}

static int look_for_guarded(const char *address)
{
    return look_for("vip4", address);
}

/* The address goes from one service to another, which has it before the first lets it go. */
static void test_an_address_with_two_ports_stays_guarded(void **state)
{
    const uint16_t other = 20000;
    struct ha_gate_ask ask = {.deadline_ns = ha_clock_boot_ns() + 60000ull * MS, .with_vip = true};
    struct ha_ip vip;
    unsigned found;

    (void)state;
    assert_int_equal(ha_ip_parse("10.77.0.9", &vip), HA_OK);
    assert_int_equal(ha_gates_guard(gates, other, NULL), HA_OK);
    for (int i = 0; i < 2; i++) {
        ask.port = i == 0 ? port : other;
        assert_int_equal(ha_gates_set_vip(gates, ask.port, &vip, NULL), HA_OK);
        assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_OK);
    }
    host_run("nft flush ruleset");
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_TABLES);
    assert_int_equal(ha_gates_set_vip(gates, port, NULL, NULL), HA_OK);
    assert_int_equal(look_for_guarded("10.77.0.9"), 0);
    assert_int_not_equal(look_for("vip4_open", "10.77.0.9"), 0);
    assert_int_equal(ha_gates_unguard(gates, other, NULL), HA_OK);
    assert_int_not_equal(look_for_guarded("10.77.0.9"), 0);
}

static void test_restarted_agent_finds_its_gate(void **state)
{
    struct ha_gate_options options = options_of();
    const uint64_t instance = ha_gates_instance(gates), end_ns = set_for_ms(10000).nft_ns;
    struct ha_gate_state now;
    struct ha_gates *other;

    (void)state;
    ha_gates_close(gates);
    gates = NULL;
    options.port_count = 0; /* it has not heard of its ports yet */
    assert_int_equal(ha_gates_open(&options, &gates, NULL), HA_OK);
    assert_true(ha_gates_instance(gates) == instance);
    assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
    assert_true(now.guarded && now.nft_ns <= end_ns + 5 * MS && now.nft_ns + 100 * MS > end_ns);
    host_enter_peer(&host);
    assert_int_equal(ha_gates_open(&options, &other, NULL), HA_OK);
    assert_true(ha_gates_instance(other) != instance);
    ha_gates_close(other);
    assert_int_equal(ha_gates_unload(&options, NULL), HA_OK);
}

static bool is_open(void)
{
    int fd = host_connect("127.0.0.1", port, 50);

    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

/* gate load found none and made its own: they are not the agent's, which hold more. */
static void test_foreign_tables_are_replaced(void **state)
{
    struct ha_gate_options options = options_of();
    const struct ha_ip vip = {.family = AF_INET, .bytes = {10, 77, 0, 9}};
    struct ha_gates *other;
    unsigned found;

    (void)state;
    assert_int_equal(ha_gates_set_vip(gates, port, &vip, NULL), HA_OK);
    host_run("nft flush ruleset");
    assert_int_equal(ha_gates_open(&options, &other, NULL), HA_OK);
    ha_gates_close(other);
    assert_int_not_equal(look_for_guarded("10.77.0.9"), 0);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_TABLES);
    assert_int_equal(look_for_guarded("10.77.0.9"), 0);
}

/* As gate load does, while the agent is at work. */
static void test_a_second_handle_opens_nothing_that_is_shut_meanwhile(void **state)
{
    struct ha_gate_options options = options_of();
    struct ha_gate_state now;
    struct ha_gates *other;

    (void)state;
    (void)set_for_ms(60000);
    assert_int_equal(ha_gates_open(&options, &other, NULL), HA_OK);
    ha_gates_close(other);
    assert_true(is_open()); /* it takes over what it finds */
    shuts = true;
    assert_int_equal(ha_gates_open(&options, &other, NULL), HA_OK);
    assert_false(shuts);
    assert_int_equal(ha_gates_read(other, port, &now, NULL), HA_OK);
    assert_true(now.guarded && now.nft_ns == 0);
    assert_false(is_open());
    ha_gates_close(other);
}

static void test_a_look_changes_nothing(void **state)
{
    struct ha_gate_options options = options_of();
    char before[8192], after[8192];
    struct ha_gate_state now;
    struct ha_gates *look;

    (void)state;
    options.only_look = true;
    (void)set_for_ms(60000);
    assert_int_equal(host_capture("nft -at list ruleset", before, sizeof(before)), 0);
    assert_int_equal(ha_gates_open(&options, &look, NULL), HA_OK);
    assert_int_equal(ha_gates_class(look), HA_GATE_NFT);
    assert_int_equal(ha_gates_read(look, port, &now, NULL), HA_OK);
    assert_true(now.guarded && now.nft_ns != 0);
    ha_gates_close(look);
    assert_int_equal(host_capture("nft -at list ruleset", after, sizeof(after)), 0);
    assert_string_equal(before, after);
    host_enter_peer(&host); /* where there are no tables */
    assert_int_equal(ha_gates_open(&options, &look, NULL), HA_OK);
    assert_int_equal(ha_gates_class(look), HA_GATE_PROCESS);
    assert_int_equal(ha_gates_read(look, port, &now, NULL), HA_ENOENT);
    ha_gates_close(look);
    assert_int_equal(host_capture("nft -at list ruleset", after, sizeof(after)), 0);
    assert_string_equal(after, "");
}

static void exempt_one(const char *address)
{
    struct ha_replication pair = {0};
    socklen_t local = sizeof(pair.local), remote = sizeof(pair.remote);
    uint64_t until_ns, last_ns;
    int replica, client;

    host_enter(&host);
    (void)set_for_ms(10000);
    host_enter_peer(&host);
    replica = host_connect(address, port, 1000);
    client = host_connect(address, port, 1000);
    assert_true(replica >= 0 && client >= 0);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(getpeername(replica, (struct sockaddr *)(void *)&pair.local, &local), 0);
    assert_int_equal(getsockname(replica, (struct sockaddr *)(void *)&pair.remote, &remote), 0);
    until_ns = ha_clock_boot_ns() + 1000 * MS;
    assert_int_equal(ha_gates_exempt(gates, port, &pair, 1, until_ns, NULL), HA_OK);
    assert_int_equal(host_ask(client, 1000), -ECONNRESET);
    assert_int_equal(host_ask(replica, 900), 0);
    last_ns = host_ask_until_silence(replica, 60, NULL);
    assert_true((int64_t)(last_ns - until_ns) < LATE_MAX_NS);
    (void)close(replica);
    (void)close(client);
}

static void test_exempt_connection_drains(void **state)
{
    (void)state;
    exempt_one("10.77.0.1");
    exempt_one("fd77::1");
}

static void test_unguarded_port_passes(void **state)
{
    int fd;

    (void)state;
    assert_int_equal(ha_gates_unguard(gates, port, NULL), HA_OK);
    assert_int_equal(ha_gates_unguard(gates, port, NULL), HA_ENOENT);
    fd = host_connect("127.0.0.1", port, 1000);
    assert_int_equal(host_ask(fd, 10000), 0);
    (void)close(fd);
}

static void test_both_share_one_instance(void **state)
{
    struct ha_gate_options options = options_of();
    const uint64_t instance = ha_gates_instance(gates);
    struct ha_gate_state now;
    struct host_stats took = {0};
    unsigned found;

    (void)state;
    ha_gates_close(gates);
    gates = NULL;
    options.want_bpf = true;
    assert_int_equal(ha_gates_load(&options, NULL), HA_OK);
    assert_int_equal(ha_gates_open(&options, &gates, NULL), HA_OK);
    assert_int_equal(ha_gates_class(gates), HA_GATE_BOTH);
    assert_true(ha_gates_instance(gates) == instance);
    for (int i = 0; i < 200; i++) {
        const uint64_t before_ns = ha_clock_boot_ns();

        now = set_for_ms(10000);
        host_stats_add(&took, (int64_t)(ha_clock_boot_ns() - before_ns));
        assert_true(now.bpf_ns != 0 && now.nft_ns != 0);
    }
    host_stats_print(&took, "both, time of one renewal");
    took.count = 0;
    for (int i = 0; i < 50; i++) {
        const uint64_t before_ns = ha_clock_boot_ns();

        assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
        assert_int_equal(found, 0);
        host_stats_add(&took, (int64_t)(ha_clock_boot_ns() - before_ns));
    }
    host_stats_print(&took, "both, time of one check");
    host_run("nft flush ruleset");
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
    assert_true(now.guarded && now.bpf_ns == 0 && now.closed_from_ns == 0);
    /* The slow half follows: the tables are back, and clients of the shut port are reset. */
    assert_int_equal(ha_gates_settle(gates, port, false, true, NULL), HA_OK);
    assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
    assert_true(now.guarded && now.bpf_ns == 0 && now.nft_ns == 0);
    now = set_for_ms(10000);
    assert_true(now.bpf_ns != 0 && now.nft_ns > now.bpf_ns);
}

/* Found by a chaos run: the check closed the port, and for minutes each renewal took it for open.
 */
static void test_beside_what_a_check_closed_opens_again(void **state)
{
    struct ha_gate_options options = options_of();
    char command[112];
    unsigned found;
    int fd;

    (void)state;
    ha_gates_close(gates);
    gates = NULL;
    options.want_bpf = true;
    assert_int_equal(ha_gates_load(&options, NULL), HA_OK);
    assert_int_equal(ha_gates_open(&options, &gates, NULL), HA_OK);
    assert_int_equal(ha_gates_class(gates), HA_GATE_BOTH);
    (void)set_for_ms(10000);
    (void)snprintf(command, sizeof(command), "nft delete element inet hafailover open { %u }",
                   port);
    host_run(command);
    (void)snprintf(command, sizeof(command),
                   "nft add element inet hafailover open { %u timeout 1h }", port);
    host_run(command);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_PORTS);
    assert_int_equal(host_connect("127.0.0.1", port, 50), -1);
    (void)set_for_ms(10000);
    fd = host_connect("127.0.0.1", port, 1000);
    assert_int_equal(host_ask(fd, 10000), 0);
    (void)close(fd);
}

static void test_many_ports(void **state)
{
    unsigned found;

    (void)state;
    for (unsigned at = 20000; at < 20000 + HA_GATE_PORTS_MAX - 1; at++) {
        const uint16_t p = (uint16_t)at;
        const struct ha_gate_ask ask = {
            .deadline_ns = ha_clock_boot_ns() + 60000ull * MS, .port = p, .with_vip = true};
        const struct ha_ip v4 = {.family = AF_INET,
                                 .bytes = {10, 78, (uint8_t)(p >> 8), (uint8_t)p}};
        const struct ha_ip v6 = {.family = AF_INET6,
                                 .bytes = {0xfd, 1, (uint8_t)(p >> 8), (uint8_t)p}};

        if (p == port)
            continue;
        assert_int_equal(ha_gates_guard(gates, p, NULL), HA_OK);
        assert_int_equal(ha_gates_set_vip(gates, p, &v4, NULL), HA_OK);
        assert_int_equal(ha_gates_set_vip(gates, p, &v6, NULL), HA_OK);
        assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_OK);
    }
    host_run("nft flush ruleset");
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_TABLES);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(test_closed_and_reset_from_open),
    TEST(test_cut_at_the_deadline),
    TEST(test_renewer_frozen),
    TEST(test_renewer_killed),
    TEST(test_established_client_is_reset),
    TEST(test_many_are_shut_with_one_check),
    TEST(test_expired_then_renewed),
    TEST(test_tiny_deadlines_close),
    TEST(test_late_opening_is_refused),
    TEST(test_flushed_ruleset_comes_back),
    TEST(test_renewal_puts_a_flushed_ruleset_back),
    TEST(test_others_tables_are_left_alone),
    TEST(test_foreign_element_is_taken_away),
    TEST(test_check_does_not_ask_for_each_port),
    TEST(test_an_address_with_two_ports_stays_guarded),
    TEST(test_restarted_agent_finds_its_gate),
    TEST(test_foreign_tables_are_replaced),
    TEST(test_a_second_handle_opens_nothing_that_is_shut_meanwhile),
    TEST(test_a_look_changes_nothing),
    TEST(test_exempt_connection_drains),
    TEST(test_unguarded_port_passes),
    TEST(test_both_share_one_instance),
    TEST(test_beside_what_a_check_closed_opens_again),
    TEST(test_many_ports),
};

int main(int argc, char *argv[])
{
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!host_setup(&host))
        return 77; /* needs root */
    failed = cmocka_run_group_tests_name("host/gate_nft", tests, NULL, NULL);
    host_teardown(&host);
    return failed;
}
