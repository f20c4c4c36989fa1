/* The bpf gate: a database says nothing after an absolute instant, whoever is alive to see it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/capability.h>
#include <sys/syscall.h>

#include "agents/engine.h"
#include "agents/host/gate.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/component/host/host_net.h"
#include "tests/support/cmocka_ha.h"

#define MS 1000000u
#define LEASE_MS 400u /* a renewer on a busy machine gets its turn within that */
/* From the filter to the other end of the wire. */
#define LATE_MAX_NS ((int64_t)MS)

static struct host host;
static pid_t server;
static uint16_t port;
static struct ha_gates *gates;

static struct ha_gate_options options_of(const char *cgroup)
{
    return (struct ha_gate_options){.pin_dir = HOST_PIN_DIR,
                                    .cgroup = cgroup,
                                    .ports = &port,
                                    .port_count = 1,
                                    .want_bpf = true,
                                    .mount_bpffs = true};
}

static void set_for_ms(uint64_t ms)
{
    const struct ha_gate_ask ask = {.deadline_ns = ha_clock_boot_ns() + ms * MS, .port = port};
    struct ha_gate_state state;

    assert_int_equal(ha_gates_set(gates, &ask, &state, NULL), HA_OK);
    assert_true(state.bpf_ns == ask.deadline_ns);
}

static int setup(void **state)
{
    struct ha_gate_options options = options_of(host.cgroup);
    struct ha_err err = {0};

    (void)state;
    host_enter(&host);
    server = host_serve(host.cgroup, &port);
    if (ha_gates_load(&options, &err) != HA_OK || ha_gates_open(&options, &gates, &err) != HA_OK) {
        print_message("# %s\n", err.text);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    struct ha_gate_options options = options_of(host.cgroup);

    (void)state;
    host_enter(&host);
    ha_gates_close(gates);
    gates = NULL;
    host_end(server);
    return ha_gates_unload(&options, NULL) == HA_OK ? 0 : -1;
}

static void test_closed_from_load(void **state)
{
    struct ha_gate_state now;

    (void)state;
    assert_int_equal(ha_gates_class(gates), HA_GATE_BPF);
    assert_false(ha_gates_has_answers(gates));
    assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
    assert_true(now.guarded && now.bpf_ns == 0);
    assert_int_equal(host_connect("127.0.0.1", port, 100), -1);
    assert_int_equal(host_connect("::1", port, 100), -1);
    host_enter_peer(&host);
    assert_int_equal(host_connect("10.77.0.1", port, 100), -1);
    assert_int_equal(host_connect("fd77::1", port, 100), -1);
}

static void test_unguarded_port_passes(void **state)
{
    uint16_t other;
    pid_t pid = host_serve(host.cgroup, &other);
    int fd;

    (void)state;
    host_enter_peer(&host);
    fd = host_connect("10.77.0.1", other, 1000);
    assert_int_equal(host_ask(fd, 10000), 0);
    (void)close(fd);
    host_end(pid);
}

/* Nobody renews: the same as a renewer that is frozen or dead after its last write. */
static void cut(const char *address, bool from_peer, struct host_stats *stats)
{
    for (int i = 0; i < 16; i++) {
        struct ha_gate_state now;
        uint64_t last_ns;
        int fd;

        host_enter(&host);
        set_for_ms(400);
        if (from_peer)
            host_enter_peer(&host);
        fd = host_connect(address, port, 1000);
        assert_true(fd >= 0);
        set_for_ms(30 + (uint64_t)i);
        last_ns = host_ask_until_silence(fd, 100, NULL);
        assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
        host_stats_add(stats, (int64_t)(last_ns - now.bpf_ns));
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
    host_stats_print(&stats, "bpf, last answer after the deadline");
    assert_true(stats.values[stats.count - 1] < LATE_MAX_NS);
    assert_true(stats.values[stats.count / 2] > -20 * (int64_t)MS); /* it was open until then */
}

static pid_t start_renewer(void)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        const struct ha_gate_ask ask = {.deadline_ns = ha_clock_boot_ns() + LEASE_MS * MS,
                                        .port = port};

        if (ha_gates_set(gates, &ask, NULL, NULL) != HA_OK)
            _exit(1);
        (void)usleep(5000); /* the pace of renewals, not a wait for something */
    }
}

static void stop_renewer_with(int signal)
{
    struct host_stats stats = {0};

    for (int i = 0; i < 4; i++) {
        struct ha_gate_state now;
        uint64_t last_ns, gap_ns, until_ns;
        pid_t renewer;
        int fd;

        set_for_ms(LEASE_MS);
        renewer = start_renewer();
        fd = host_connect("127.0.0.1", port, 1000);
        assert_true(fd >= 0);
        until_ns = ha_clock_boot_ns() + 2 * LEASE_MS * MS; /* longer than any one deadline */
        while (ha_clock_boot_ns() < until_ns)
            assert_int_equal(host_ask(fd, 5000), 0);
        assert_int_equal(kill(renewer, signal), 0);
        last_ns = host_ask_until_silence(fd, 200, &gap_ns);
        assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
        host_stats_add(&stats, (int64_t)(last_ns - now.bpf_ns));
        host_end(renewer);
        (void)close(fd);
    }
    host_stats_print(&stats, "bpf, last answer after the last deadline of a stopped renewer");
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

static void test_shut_is_at_once(void **state)
{
    struct ha_gate_state now;
    int fd;

    (void)state;
    set_for_ms(10000);
    fd = host_connect("127.0.0.1", port, 1000);
    assert_int_equal(host_ask(fd, 10000), 0);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(host_ask(fd, 50), -ETIMEDOUT);
    assert_int_equal(ha_gates_read(gates, port, &now, NULL), HA_OK);
    assert_true(now.bpf_ns == 0 && now.closed_from_ns == 0);
    (void)close(fd);
}

static void test_past_deadline_closes(void **state)
{
    const struct ha_gate_ask past = {.deadline_ns = ha_clock_boot_ns() - 1, .port = port};
    int fd;

    (void)state;
    set_for_ms(10000);
    fd = host_connect("127.0.0.1", port, 1000);
    assert_int_equal(ha_gates_set(gates, &past, NULL, NULL), HA_OK);
    assert_int_equal(host_ask(fd, 50), -ETIMEDOUT);
    (void)close(fd);
}

static void test_second_load_keeps_what_is_there(void **state)
{
    struct ha_gate_options options = options_of(host.cgroup);
    const uint16_t ports[] = {port, 7};
    const uint64_t instance = ha_gates_instance(gates);
    struct ha_gate_state before, after, added;

    (void)state;
    assert_true(instance != HA_INSTANCE_NONE);
    set_for_ms(10000);
    assert_int_equal(ha_gates_read(gates, port, &before, NULL), HA_OK);
    ha_gates_close(gates);
    gates = NULL;
    options.ports = ports;
    options.port_count = 2;
    assert_int_equal(ha_gates_load(&options, NULL), HA_OK);
    assert_int_equal(ha_gates_open(&options, &gates, NULL), HA_OK);
    assert_true(ha_gates_instance(gates) == instance);
    assert_int_equal(ha_gates_read(gates, port, &after, NULL), HA_OK);
    assert_true(after.bpf_ns == before.bpf_ns);
    assert_int_equal(ha_gates_read(gates, 7, &added, NULL), HA_OK);
    assert_true(added.guarded && added.bpf_ns == 0);
}

static void test_another_namespace_is_another_host(void **state)
{
    struct ha_gate_options options = options_of(host.cgroup);
    struct ha_gates *other = NULL;

    (void)state;
    host_enter_peer(&host);
    assert_int_equal(ha_gates_open(&options, &other, NULL), HA_EBUSY);
    assert_int_equal(ha_gates_load(&options, NULL), HA_EBUSY);
    options.pin_dir = HOST_PIN_DIR "-peer";
    assert_int_equal(ha_gates_load(&options, NULL), HA_OK);
    assert_int_equal(ha_gates_open(&options, &other, NULL), HA_OK);
    assert_true(ha_gates_instance(other) != ha_gates_instance(gates));
    ha_gates_close(other);
    assert_int_equal(ha_gates_unload(&options, NULL), HA_OK);
}

/* What gate show finds, which changes nothing. */
static void looks(enum ha_gate class, const char *text)
{
    struct ha_gate_options options = options_of(host.cgroup);
    struct ha_gates *look;

    options.only_look = true;
    assert_int_equal(ha_gates_open(&options, &look, NULL), HA_OK);
    assert_int_equal(ha_gates_class(look), class);
    assert_non_null(strstr(ha_gates_text(look), text));
    ha_gates_close(look);
}

static void test_detached_program_comes_back(void **state)
{
    unsigned found;
    int fd, link;

    (void)state;
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
    link = bpf_obj_get(HOST_PIN_DIR "/link");
    assert_true(link >= 0);
    looks(HA_GATE_BPF, "bpf in force");
    assert_int_equal(bpf_link_detach(link), 0);
    (void)close(link);
    looks(HA_GATE_PROCESS, "not attached to");
    fd = host_connect("127.0.0.1", port, 1000);
    assert_int_equal(host_ask(fd, 10000), 0); /* it really was open */
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_PROGRAM);
    assert_int_equal(host_ask(fd, 50), -ETIMEDOUT);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, 0);
    (void)close(fd);
}

static void test_missing_entry_comes_back_closed(void **state)
{
    int map = bpf_obj_get(HOST_PIN_DIR "/deadlines"), fd;
    const struct ha_gate_ask ask = {.deadline_ns = UINT64_MAX, .port = port};
    unsigned found;

    (void)state;
    assert_true(map >= 0);
    assert_int_equal(bpf_map_delete_elem(map, &port), 0);
    (void)close(map);
    fd = host_connect("127.0.0.1", port, 1000);
    assert_int_equal(ha_gates_set(gates, &ask, NULL, NULL), HA_ENOENT);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_PORTS);
    assert_int_equal(host_ask(fd, 50), -ETIMEDOUT);
    (void)close(fd);
}

static void test_cgroup_made_again(void **state)
{
    unsigned found;

    (void)state;
    assert_true(ha_gates_covers(gates, server));
    assert_false(ha_gates_covers(gates, getpid()));
    host_end(server);
    server = 0;
    for (int i = 0; i < 200 && rmdir(host.cgroup) != 0; i++)
        (void)usleep(5000); /* the kernel empties a cgroup a moment after the reaping */
    looks(HA_GATE_PROCESS, "no cgroup");
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_LOST_PROGRAM);
    assert_int_equal(ha_gates_class(gates), HA_GATE_PROCESS);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_ENOTSUP); /* nothing to prove it with */
    assert_int_equal(mkdir(host.cgroup, 0755), 0);
    assert_int_equal(ha_gates_check(gates, &found, NULL), HA_OK);
    assert_int_equal(found, HA_GATE_FIXED_PROGRAM);
    assert_int_equal(ha_gates_class(gates), HA_GATE_BPF);
    server = host_serve(host.cgroup, &port);
    assert_int_equal(ha_gates_guard(gates, port, NULL), HA_OK);
    assert_int_equal(host_connect("127.0.0.1", port, 50), -1);
}

/* A client's end and the server's, as the database would name them. */
static struct ha_replication pair_of(int fd)
{
    struct ha_replication pair = {0};
    socklen_t size = sizeof(pair.local);

    assert_int_equal(getpeername(fd, (struct sockaddr *)(void *)&pair.local, &size), 0);
    size = sizeof(pair.remote);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&pair.remote, &size), 0);
    return pair;
}

static void exempt_one(const char *address)
{
    struct ha_replication pair;
    uint64_t until_ns, last_ns;
    int replica, client;

    host_enter(&host);
    set_for_ms(10000);
    host_enter_peer(&host);
    replica = host_connect(address, port, 1000);
    client = host_connect(address, port, 1000);
    assert_true(replica >= 0 && client >= 0);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    pair = pair_of(replica);
    until_ns = ha_clock_boot_ns() + 1000 * MS;
    assert_int_equal(ha_gates_exempt(gates, port, &pair, 1, until_ns, NULL), HA_OK);
    assert_int_equal(host_ask(client, 30), -ETIMEDOUT);
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

static void test_shut_ends_exemptions(void **state)
{
    struct ha_replication pair;
    int replica;

    (void)state;
    set_for_ms(10000);
    replica = host_connect("127.0.0.1", port, 1000);
    pair = pair_of(replica);
    assert_int_equal(ha_gates_exempt(gates, port, &pair, 1, UINT64_MAX, NULL), HA_OK);
    assert_int_equal(ha_gates_shut(gates, port, NULL), HA_OK);
    assert_int_equal(host_ask(replica, 50), -ETIMEDOUT);
    (void)close(replica);
}

static bool is_the_agents_user(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2] = {
        {.effective = 1u << CAP_NET_ADMIN, .permitted = 1u << CAP_NET_ADMIN}};

    return prctl(PR_SET_KEEPCAPS, 1) == 0 && setresgid(65534, 65534, 65534) == 0 &&
           setresuid(65534, 65534, 65534) == 0 && syscall(SYS_capset, &header, caps) == 0;
}

/* In a child: what an agent with CAP_NET_ADMIN alone can do. */
static void be_the_agent(void)
{
    struct ha_gate_options options = options_of(NULL);
    struct ha_gates *mine = NULL;
    struct ha_gate_ask ask = {.port = port};
    unsigned found = 0;
    int link;

    if (!is_the_agents_user())
        _exit(10);
    if (ha_gates_open(&options, &mine, NULL) != HA_OK || ha_gates_class(mine) != HA_GATE_BPF)
        _exit(11);
    ask.deadline_ns = ha_clock_boot_ns() + 10000ull * MS;
    if (ha_gates_set(mine, &ask, NULL, NULL) != HA_OK || ha_gates_shut(mine, port, NULL) != HA_OK ||
        ha_gates_guard(mine, 9, NULL) != HA_OK)
        _exit(12);
    link = bpf_obj_get(HOST_PIN_DIR "/link");
    if (link < 0 || bpf_link_detach(link) != 0)
        _exit(13);
    if (ha_gates_check(mine, &found, NULL) != HA_OK || found != HA_GATE_FIXED_PROGRAM)
        _exit(14);
    _exit(0);
}

static void test_agent_needs_no_more_than_net_admin(void **state)
{
    struct ha_gate_options options = options_of(host.cgroup);
    int status = -1;
    pid_t pid;

    (void)state;
    options.owner = options.group = 65534;
    assert_int_equal(ha_gates_load(&options, NULL), HA_OK);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        be_the_agent();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Where the program could not be loaded the agent finds that there is none: it goes on with nft. */
static void test_agent_finds_no_gate_after_a_failed_load(void **state)
{
    struct ha_gate_options options = options_of("/no/such/cgroup");
    int status = -1;
    pid_t pid;

    (void)state;
    assert_int_equal(ha_gates_unload(&options, NULL), HA_OK);
    options.owner = options.group = 65534;
    assert_int_equal(ha_gates_load(&options, NULL), HA_EINVAL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct ha_gates *mine = NULL;

        if (!is_the_agents_user())
            _exit(10);
        _exit(ha_gates_open(&options, &mine, NULL) == HA_OK &&
                      ha_gates_class(mine) == HA_GATE_PROCESS
                  ? 0
                  : 11);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_refusals(void **state)
{
    struct ha_gate_options options = options_of("/no/such/cgroup");
    const uint16_t zero = 0;
    struct ha_err err = {0};

    (void)state;
    options.pin_dir = HOST_PIN_DIR "-none";
    assert_int_equal(ha_gates_load(&options, &err), HA_EINVAL);
    print_message("# %s\n", err.text);
    options = options_of(host.cgroup);
    options.ports = &zero;
    assert_int_equal(ha_gates_load(&options, NULL), HA_EINVAL);
    options = options_of(host.cgroup);
    options.want_bpf = false;
    assert_int_equal(ha_gates_load(&options, NULL), HA_EINVAL);
    options = options_of(host.cgroup);
    options.pin_dir = "/mnt/plain";
    options.mount_bpffs = false;
    assert_int_equal(ha_gates_load(&options, &err), HA_ENOTSUP);
    print_message("# %s\n", err.text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    TEST(test_closed_from_load),
    TEST(test_unguarded_port_passes),
    TEST(test_cut_at_the_deadline),
    TEST(test_renewer_frozen),
    TEST(test_renewer_killed),
    TEST(test_shut_is_at_once),
    TEST(test_past_deadline_closes),
    TEST(test_second_load_keeps_what_is_there),
    TEST(test_another_namespace_is_another_host),
    TEST(test_detached_program_comes_back),
    TEST(test_missing_entry_comes_back_closed),
    TEST(test_cgroup_made_again),
    TEST(test_exempt_connection_drains),
    TEST(test_shut_ends_exemptions),
    TEST(test_agent_needs_no_more_than_net_admin),
    TEST(test_agent_finds_no_gate_after_a_failed_load),
    TEST(test_refusals),
};

int main(int argc, char *argv[])
{
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!host_setup(&host))
        return 77; /* needs root */
    failed = cmocka_run_group_tests_name("host/gate_bpf", tests, NULL, NULL);
    host_teardown(&host);
    return failed;
}
