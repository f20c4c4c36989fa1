/* tests/component/host/measure_gates.c - when the last answer leaves a database, against the end of
 * its lease.
 *
 *   hafailover-gates bpf|nft|bpf+nft FAULT TRIALS SEED
 *
 * A renewer stands for the agent: it is granted a lease every few milliseconds, notes its end where
 * this process sees it, and makes the calls of agents/host that the agent makes, in that order.
 * Clients ask over loopback and from another host, by IPv4 and IPv6, each on a connection that it
 * keeps and on one that it makes anew for each question. Then the fault, and no more leases. Noted
 * is the arrival of each client's last answer (by the kernel's stamp) less the end of the last
 * lease that was granted. One line a trial: the latest of kept and new connections of each family,
 * in microseconds; "-": no answer at all in that trial. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "agents/host/gate.h"
#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "tests/component/host/host_net.h"
#include "tests/support/cmocka_ha.h"

#define NS_PER_MS 1000000u
#define LEASE_MS 300u
#define RENEW_EVERY_MS 20u
#define CHECK_EVERY_MS 1000u /* as the agent */
#define SETTLED_MS 200u      /* how long clients are answered before the fault, at least */
#define OPEN_MAX_MS 5000u
#define ASK_MS 20
#define WAYS 8

enum fault { FROZEN, KILLED, PAUSED, PAUSED_KILLED, FLUSHED, FLUSHED_FROZEN, TAKEN };

static const struct {
    const char *name;
    enum fault fault;
    uint32_t watch_ms; /* after the end of the lease */
} faults[] = {
    {"frozen", FROZEN, 150},
    {"killed", KILLED, 150},
    {"paused", PAUSED, 2 * LEASE_MS},
    {"paused-killed", PAUSED_KILLED, 2 * LEASE_MS},
    {"flushed", FLUSHED, CHECK_EVERY_MS + 400},
    {"flushed-frozen", FLUSHED_FROZEN, 500},
    {"taken-away", TAKEN, 500},
};

static const struct {
    const char *address;
    bool is_outside, is_kept;
    int column;
} ways[WAYS] = {
    {"127.0.0.1", false, true, 0}, {"10.77.0.1", true, true, 0},   {"::1", false, true, 1},
    {"fd77::1", true, true, 1},    {"127.0.0.1", false, false, 2}, {"10.77.0.1", true, false, 2},
    {"::1", false, false, 3},      {"fd77::1", true, false, 3},
};

struct shared {
    _Atomic uint64_t lease_ns; /* end of the last one granted */
    _Atomic bool granting;
    _Atomic uint32_t trial; /* 0: pause */
    struct {
        _Atomic uint64_t last_ns, answers;
    } clients[WAYS];
};

static struct host host;
static struct shared *shared;
static struct ha_gate_options options;
static struct ha_gates *gates;
static struct ha_prng chance;
static uint16_t port;
static bool with_bpf, with_nft;

static void sleep_ms(uint32_t ms)
{
    (void)usleep(ms * 1000);
}

/* ---- the renewer ---- */

static void set_gate(uint64_t deadline_ns)
{
    const struct ha_gate_ask ask = {.deadline_ns = deadline_ns, .port = port};

    if (ha_gates_set(gates, &ask, NULL, NULL) == HA_ENOENT &&
        ha_gates_guard(gates, port, NULL) == HA_OK)
        (void)ha_gates_set(gates, &ask, NULL, NULL);
    (void)ha_gates_settle(gates, port, false, false, NULL);
}

static _Noreturn void renew(void)
{
    uint64_t checked_ms = 0;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ha_gates_open(&options, &gates, NULL) != HA_OK)
        _exit(1);
    for (;;) {
        unsigned found;

        if (atomic_load(&shared->granting)) {
            uint64_t end_ns = ha_clock_boot_ns() + LEASE_MS * NS_PER_MS;

            atomic_store(&shared->lease_ns, end_ns);
            set_gate(end_ns);
        }
        if (ha_clock_boot_ms() - checked_ms >= CHECK_EVERY_MS) {
            (void)ha_gates_check(gates, &found, NULL);
            checked_ms = ha_clock_boot_ms();
        }
        sleep_ms(RENEW_EVERY_MS);
    }
}

static pid_t start_renewer(void)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        renew();
    return pid;
}

/* ---- clients ---- */

static void ask_one(int way, int *fd)
{
    uint64_t at_ns;
    int code;

    if (*fd < 0)
        *fd = host_connect(ways[way].address, port, ASK_MS);
    if (*fd < 0)
        return;
    code = host_ask_at(*fd, ASK_MS, &at_ns);
    if (code == 0) {
        atomic_store(&shared->clients[way].last_ns, at_ns);
        atomic_fetch_add(&shared->clients[way].answers, 1);
    }
    /* A kept one is asked on after a silence; where it was reset it is gone for this trial. */
    if (!ways[way].is_kept || (code != 0 && code != -ETIMEDOUT)) {
        (void)close(*fd);
        *fd = ways[way].is_kept && atomic_load(&shared->clients[way].answers) > 0 ? -2 : -1;
    }
}

static _Noreturn void be_client(int way)
{
    uint32_t trial = 0;
    int fd = -1;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ways[way].is_outside)
        host_enter_peer(&host);
    for (;;) {
        uint32_t now = atomic_load(&shared->trial);

        if (now != trial) {
            if (fd >= 0)
                (void)close(fd);
            fd = -1;
            trial = now;
        }
        if (trial != 0 && fd != -2)
            ask_one(way, &fd);
        (void)usleep(500);
    }
}

/* ---- faults ---- */

/* Run until the renewer enters a call that moves the gate, and leave it there: it has decided and
 * not yet done. False: it did not come to that in time. */
static bool hold_in_renewal(pid_t pid)
{
    uint64_t skip = ha_prng_below(&chance, 3), end_ms = ha_clock_boot_ms() + 2000;
    int status;

    if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) != 0 ||
        ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid)
        return false;
    while (ha_clock_boot_ms() < end_ms) {
        struct __ptrace_syscall_info info = {0};

        if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid ||
            !WIFSTOPPED(status))
            return false;
        if (WSTOPSIG(status) != (SIGTRAP | 0x80))
            continue;
        (void)ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info);
        if (info.op != PTRACE_SYSCALL_INFO_ENTRY ||
            (info.entry.nr != SYS_bpf && info.entry.nr != SYS_sendto &&
             info.entry.nr != SYS_sendmsg))
            continue;
        if (skip-- == 0)
            return true;
    }
    return false;
}

static void pause_in_renewal(pid_t pid, bool then_kill)
{
    uint64_t until_ns;
    int status;

    if (!hold_in_renewal(pid)) {
        (void)kill(pid, SIGKILL);
        return;
    }
    atomic_store(&shared->granting, false);
    /* From nothing to after the end of the lease. */
    until_ns = ha_clock_boot_ns() + ha_prng_below(&chance, (LEASE_MS + 50) * NS_PER_MS);
    while (ha_clock_boot_ns() < until_ns)
        (void)usleep(200);
    if (!then_kill) {
        (void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
        return;
    }
    (void)ptrace(PTRACE_SYSCALL, pid, NULL, NULL); /* this one call, and none after it */
    (void)waitpid(pid, &status, 0);
    (void)kill(pid, SIGKILL);
}

static void detach_program(void)
{
    int link = bpf_obj_get(HOST_PIN_DIR "/link");

    if (link < 0)
        return;
    (void)bpf_link_detach(link);
    (void)close(link);
}

static void do_harm(enum fault fault, pid_t pid)
{
    switch (fault) {
    case FROZEN:
        (void)kill(pid, SIGSTOP);
        break;
    case KILLED:
        (void)kill(pid, SIGKILL);
        break;
    case PAUSED:
    case PAUSED_KILLED:
        pause_in_renewal(pid, fault == PAUSED_KILLED);
        break;
    case FLUSHED: /* the lease ends some time later; the renewer is well */
        host_run("nft flush ruleset");
        (void)usleep((useconds_t)ha_prng_below(&chance, 1000000));
        break;
    case FLUSHED_FROZEN: /* nobody puts it back */
        (void)kill(pid, SIGSTOP);
        host_run("nft flush ruleset");
        break;
    case TAKEN: /* of the kernel's filters nothing is left */
        (void)kill(pid, SIGSTOP);
        host_run("nft flush ruleset");
        detach_program();
        break;
    }
    atomic_store(&shared->granting, false);
}

/* ---- trials ---- */

static bool all_answered(uint64_t more_than)
{
    for (int i = 0; i < WAYS; i++)
        if (atomic_load(&shared->clients[i].answers) <= more_than)
            return false;
    return true;
}

static void print_trial(uint64_t lease_ns)
{
    int64_t latest[4] = {INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN};

    for (int i = 0; i < WAYS; i++) {
        uint64_t last_ns = atomic_load(&shared->clients[i].last_ns);
        int64_t late_us = (int64_t)(last_ns - lease_ns) / 1000;

        if (last_ns != 0 && late_us > latest[ways[i].column])
            latest[ways[i].column] = late_us;
    }
    printf("trial");
    for (int i = 0; i < 4; i++) {
        if (latest[i] == INT64_MIN)
            printf(" -");
        else
            printf(" %lld", (long long)latest[i]);
    }
    printf("\n");
    (void)fflush(stdout);
}

static void run_trial(uint32_t number, size_t fault)
{
    uint64_t end_ms = ha_clock_boot_ms() + OPEN_MAX_MS, watch_ns, lease_ns;
    pid_t renewer;

    for (int i = 0; i < WAYS; i++) {
        atomic_store(&shared->clients[i].last_ns, 0);
        atomic_store(&shared->clients[i].answers, 0);
    }
    atomic_store(&shared->granting, true);
    renewer = start_renewer();
    atomic_store(&shared->trial, number);
    while (!all_answered(3) && ha_clock_boot_ms() < end_ms)
        sleep_ms(1);
    sleep_ms(SETTLED_MS + (uint32_t)ha_prng_below(&chance, 2 * RENEW_EVERY_MS));
    do_harm(faults[fault].fault, renewer);
    sleep_ms(1);
    lease_ns = atomic_load(&shared->lease_ns);
    watch_ns = lease_ns + faults[fault].watch_ms * NS_PER_MS;
    while (ha_clock_boot_ns() < watch_ns)
        sleep_ms(1);
    host_end(renewer);
    atomic_store(&shared->trial, 0);
    if (all_answered(0))
        print_trial(lease_ns);
    else
        printf("void\n"); /* not open in time: this machine, not the gate */
    sleep_ms(30);
}

static bool load(void)
{
    struct ha_err err = {0};
    unsigned found;
    bool ok = (!with_bpf || ha_gates_load(&options, &err) == HA_OK) &&
              ha_gates_open(&options, &gates, &err) == HA_OK;

    if (!ok) {
        printf("# %s\n", err.text);
        return false;
    }
    (void)ha_gates_check(gates, &found, NULL); /* also after a trial that has flushed */
    (void)ha_gates_shut(gates, port, NULL);
    ha_gates_close(gates);
    gates = NULL;
    return true;
}

static int find_fault(const char *name)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(faults); i++)
        if (strcmp(faults[i].name, name) == 0)
            return (int)i;
    return -1;
}

int main(int argc, char *argv[])
{
    uint64_t trials = 0, seed = 0;
    int fault = argc == 5 ? find_fault(argv[2]) : -1;
    pid_t clients[WAYS], server;

    if (fault < 0 || ha_text_u64(argv[3], 100000, &trials) != HA_OK ||
        ha_text_u64(argv[4], UINT64_MAX, &seed) != HA_OK) {
        fprintf(stderr, "usage: hafailover-gates bpf|nft|bpf+nft FAULT TRIALS SEED\n");
        return EXIT_FAILURE;
    }
    ha_prng_seed(&chance, seed);
    with_bpf = strstr(argv[1], "bpf") != NULL;
    with_nft = strstr(argv[1], "nft") != NULL;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !host_setup(&host))
        return 77; /* needs root */
    server = host_serve(host.cgroup, &port);
    options = (struct ha_gate_options){.pin_dir = HOST_PIN_DIR,
                                       .cgroup = host.cgroup,
                                       .ports = &port,
                                       .port_count = 1,
                                       .want_bpf = with_bpf,
                                       .want_nft = with_nft,
                                       .mount_bpffs = true};
    for (int i = 0; i < WAYS; i++) {
        clients[i] = fork();
        if (clients[i] == 0)
            be_client(i);
    }
    for (uint32_t i = 1; i <= trials; i++) {
        if (!load())
            break;
        run_trial(i, (size_t)fault);
    }
    for (int i = 0; i < WAYS; i++)
        host_end(clients[i]);
    host_end(server);
    (void)ha_gates_unload(&options, NULL);
    host_teardown(&host);
    return EXIT_SUCCESS;
}
