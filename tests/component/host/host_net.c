#include "tests/component/host/host_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agents/host/gate.h"
#include "agents/host/ip.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "tests/support/cmocka_ha.h"

#define WORDS_MAX 24
#define CLIENTS_MAX 64

/* @output -1: ours. */
static pid_t spawn(const char *command, int output)
{
    char text[512], *words[WORDS_MAX + 1] = {NULL}, *rest = text;
    pid_t pid;

    assert_int_equal(ha_text_copy(text, sizeof(text), command), HA_OK);
    for (size_t i = 0; i < WORDS_MAX && rest != NULL; i++)
        words[i] = strsep(&rest, " ");
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (output < 0 || dup2(output, STDOUT_FILENO) >= 0)
            (void)execvp(words[0], words);
        _exit(127);
    }
    return pid;
}

static int reap(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int host_try(const char *command)
{
    return reap(spawn(command, -1));
}

int host_capture(const char *command, char *output, size_t size)
{
    int ends[2];
    size_t count = 0;
    ssize_t got;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = spawn(command, ends[1]);
    (void)close(ends[1]);
    while (count + 1 < size && (got = read(ends[0], output + count, size - 1 - count)) > 0)
        count += (size_t)got;
    output[count] = '\0';
    (void)close(ends[0]);
    return reap(pid);
}

void host_run(const char *command)
{
    if (host_try(command) != 0)
        fail_msg("command failed: %s", command);
}

static void enter(int ns)
{
    assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

void host_enter(const struct host *host)
{
    enter(host->ns);
}

void host_enter_peer(const struct host *host)
{
    enter(host->peer_ns);
}

int host_new_ns(void)
{
    int fd;

    assert_int_equal(unshare(CLONE_NEWNET), 0);
    fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    host_run("ip link set lo up");
    return fd;
}

void host_give_link(const char *name, int ns)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "ip link set %s netns /proc/%d/fd/%d", name,
                   (int)getpid(), ns);
    host_run(command);
}

/* Outlives the test to take its cgroups away, whatever became of it. */
static void start_guardian(struct host *host)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    host->guardian = fork();
    assert_true(host->guardian >= 0);
    if (host->guardian == 0) {
        char byte;

        (void)close(ends[1]);
        (void)setsid();
        while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
            continue;
        for (int i = 0; i < 100 && rmdir(host->cgroup) != 0 && errno == EBUSY; i++)
            (void)usleep(10000); /* its processes are being killed */
        _exit(0);
    }
    (void)close(ends[0]);
    host->guardian_pipe = ends[1];
}

bool host_setup(struct host *host)
{
    char root[HOST_PATH / 2];

    *host = (struct host){.ns = -1, .peer_ns = -1, .guardian_pipe = -1};
    if (geteuid() != 0)
        return false;
    assert_int_equal(ha_gates_cgroup_root(root, sizeof(root)), HA_OK);
    (void)snprintf(host->cgroup, sizeof(host->cgroup), "%s/ha-host-test-%d", root, (int)getpid());
    start_guardian(host);
    assert_int_equal(mkdir(host->cgroup, 0755), 0);
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    assert_int_equal(mount("none", "/mnt", "tmpfs", 0, "mode=0755"), 0);
    host->peer_ns = host_new_ns();
    host->ns = host_new_ns();
    host_run("ip link add eth0 type veth peer name eth1");
    host_give_link("eth1", host->peer_ns);
    host_run("ip address add 10.77.0.1/24 dev eth0");
    host_run("ip -6 address add fd77::1/64 dev eth0 nodad");
    host_run("ip link set eth0 up");
    host_enter_peer(host);
    host_run("ip link set eth1 name eth0");
    host_run("ip address add 10.77.0.2/24 dev eth0");
    host_run("ip -6 address add fd77::2/64 dev eth0 nodad");
    host_run("ip link set eth0 up");
    host_enter(host);
    return true;
}

void host_teardown(struct host *host)
{
    if (host->guardian_pipe < 0)
        return;
    (void)close(host->guardian_pipe);
    (void)waitpid(host->guardian, NULL, 0);
    (void)close(host->ns);
    (void)close(host->peer_ns);
}

/* ---- server ---- */

static void join_cgroup(const char *cgroup)
{
    char path[HOST_PATH + 16];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
    file = fopen(path, "we");
    if (file == NULL || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file) != 0)
        _exit(2);
}

static int listen_anywhere(uint16_t *ret_port)
{
    struct sockaddr_in6 where = {.sin6_family = AF_INET6};
    socklen_t size = sizeof(where);
    const int off = 0;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0 ||
        bind(fd, (struct sockaddr *)(void *)&where, sizeof(where)) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)(void *)&where, &size) != 0)
        _exit(3);
    *ret_port = ntohs(where.sin6_port);
    return fd;
}

static void echo(struct pollfd *client)
{
    char data[256];
    const ssize_t got = recv(client->fd, data, sizeof(data), MSG_DONTWAIT);

    if (got > 0) {
        (void)send(client->fd, data, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else if (got == 0 || errno != EAGAIN) {
        (void)close(client->fd);
        client->fd = -1;
    }
}

static void take_client(struct pollfd *clients, int listener)
{
    const int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    for (size_t i = 1; i < CLIENTS_MAX; i++) {
        if (clients[i].fd < 0) {
            clients[i] = (struct pollfd){.fd = fd, .events = POLLIN};
            return;
        }
    }
    (void)close(fd);
}

static _Noreturn void serve(int listener)
{
    struct pollfd clients[CLIENTS_MAX];

    for (size_t i = 0; i < CLIENTS_MAX; i++)
        clients[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    clients[0].fd = listener;
    for (;;) {
        if (poll(clients, CLIENTS_MAX, -1) < 0)
            continue;
        for (size_t i = 1; i < CLIENTS_MAX; i++)
            if (clients[i].fd >= 0 && clients[i].revents != 0)
                echo(&clients[i]);
        if (clients[0].revents != 0)
            take_client(clients, listener);
    }
}

pid_t host_serve(const char *cgroup, uint16_t *ret_port)
{
    int ends[2];
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        uint16_t port;
        int listener;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (cgroup != NULL)
            join_cgroup(cgroup);
        listener = listen_anywhere(&port);
        if (write(ends[1], &port, sizeof(port)) != (ssize_t)sizeof(port))
            _exit(4);
        serve(listener);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], ret_port, sizeof(*ret_port)), sizeof(*ret_port));
    (void)close(ends[0]);
    return pid;
}

void host_end(pid_t pid)
{
    if (pid <= 0)
        return;
    (void)kill(pid, SIGKILL);
    (void)kill(pid, SIGCONT);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* ---- client ---- */

static int dial(const char *address, uint16_t port, int wait_ms, int *ret_error)
{
    struct sockaddr_storage to = {0};
    struct pollfd poll_fd = {.events = POLLOUT};
    struct ha_ip ip;
    socklen_t size = sizeof(int);
    const int on = 1;
    int error = ETIMEDOUT;

    assert_int_equal(ha_ip_parse(address, &ip), HA_OK);
    if (ip.family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&to;

        in->sin_port = htons(port);
        memcpy(&in->sin_addr, ip.bytes, 4);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&to;

        in6->sin6_port = htons(port);
        memcpy(&in6->sin6_addr, ip.bytes, 16);
    }
    to.ss_family = ip.family;
    poll_fd.fd = socket(ip.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(poll_fd.fd >= 0);
    (void)setsockopt(poll_fd.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(poll_fd.fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
    if (connect(poll_fd.fd, (struct sockaddr *)(void *)&to,
                ip.family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) !=
            0 &&
        errno == EINPROGRESS)
        (void)poll(&poll_fd, 1, wait_ms);
    if (getsockopt(poll_fd.fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0 &&
        getpeername(poll_fd.fd, (struct sockaddr *)(void *)&to, &(socklen_t){sizeof(to)}) == 0)
        return poll_fd.fd;
    *ret_error = error != 0 ? error : ETIMEDOUT; /* it is still being tried */
    (void)close(poll_fd.fd);
    return -1;
}

int host_connect(const char *address, uint16_t port, int wait_ms)
{
    int error;

    return dial(address, port, wait_ms, &error);
}

int host_connect_error(const char *address, uint16_t port, int wait_ms)
{
    int error = 0, fd = dial(address, port, wait_ms, &error);

    if (fd >= 0)
        (void)close(fd);
    return fd >= 0 ? 0 : error;
}

/* When the packet with the answer came in, not when this process got its turn. */
static uint64_t arrival_ns(struct msghdr *message)
{
    struct timespec real, stamp;
    const struct cmsghdr *control = CMSG_FIRSTHDR(message);
    const uint64_t boot_ns = ha_clock_boot_ns();

    (void)clock_gettime(CLOCK_REALTIME, &real);
    if (control == NULL || control->cmsg_type != SCM_TIMESTAMPNS)
        return boot_ns;
    memcpy(&stamp, CMSG_DATA(control), sizeof(stamp));
    return boot_ns -
           (uint64_t)((real.tv_sec - stamp.tv_sec) * 1000000000 + (real.tv_nsec - stamp.tv_nsec));
}

int host_ask_at(int fd, int wait_ms, uint64_t *ret_arrival_ns)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    char byte = 'x', control[64];
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64};
    ssize_t got;

    if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
        return -errno;
    if (poll(&poll_fd, 1, wait_ms) != 1)
        return -ETIMEDOUT;
    got = recvmsg(fd, &message, 0);
    if (got != 1)
        return got == 0 ? -EPIPE : -errno;
    *ret_arrival_ns = arrival_ns(&message);
    return 0;
}

int host_ask(int fd, int wait_ms)
{
    uint64_t unused;

    return host_ask_at(fd, wait_ms, &unused);
}

uint64_t host_ask_until_silence(int fd, int silence_ms, uint64_t *ret_gap_ns)
{
    const uint64_t start_ns = ha_clock_boot_ns();
    uint64_t last_ns = 0, gap_ns = 0, now_ns = 0;

    /* Ten seconds without silence are a gate that does not close: the caller sees it as late. */
    while (ha_clock_boot_ns() - start_ns < 10000000000u &&
           host_ask_at(fd, silence_ms, &now_ns) == 0) {
        if (last_ns != 0 && now_ns - last_ns > gap_ns)
            gap_ns = now_ns - last_ns;
        last_ns = now_ns;
    }
    if (ret_gap_ns != NULL)
        *ret_gap_ns = gap_ns;
    return last_ns;
}

/* ---- numbers ---- */

void host_stats_add(struct host_stats *stats, int64_t ns)
{
    if (stats->count < sizeof(stats->values) / sizeof(stats->values[0]))
        stats->values[stats->count++] = ns;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

void host_stats_print(struct host_stats *stats, const char *what)
{
    if (stats->count == 0)
        return;
    qsort(stats->values, stats->count, sizeof(stats->values[0]), by_value);
    print_message("# %s: n=%zu min=%lld median=%lld max=%lld us\n", what, stats->count,
                  (long long)(stats->values[0] / 1000),
                  (long long)(stats->values[stats->count / 2] / 1000),
                  (long long)(stats->values[stats->count - 1] / 1000));
}
