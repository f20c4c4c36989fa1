/* tests/component/host/host_net.h - real kernel objects for the tests of agents/host: network
 * namespaces, cgroups, an echo server as the database, and clients that ask it.
 *
 * Everything lives in namespaces without a name and ends with the test process; cgroups are removed
 * by a guardian process that notices its end. Needs root. */
#ifndef HA_TESTS_COMPONENT_HOST_HOST_NET_H
#define HA_TESTS_COMPONENT_HOST_HOST_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HOST_PIN_DIR "/mnt/pins" /* on a tmpfs of the test's own mount namespace */
#define HOST_PATH 256

/* The database host and a client's host, joined by the veth pair "eth0" - "eth0": 10.77.0.1/24 and
 * fd77::1/64 here, .2 and ::2 there. */
struct host {
    int ns, peer_ns;
    char cgroup[HOST_PATH];
    pid_t guardian;
    int guardian_pipe;
};

/* False: not root, the test should be skipped. */
bool host_setup(struct host *host);
void host_teardown(struct host *host);
void host_enter(const struct host *host);
void host_enter_peer(const struct host *host);
/* A network namespace of its own; the caller is moved there. */
int host_new_ns(void);
/* Move an interface from the caller's namespace into another. */
void host_give_link(const char *name, int ns);

/* Run a command line, fail the test if it fails; split at spaces. */
void host_run(const char *command);
int host_try(const char *command);
/* The same with what it prints, cut to @size. */
int host_capture(const char *command, char *output, size_t size);

/* An echo server on all addresses of the database host, started inside @cgroup (NULL: outside).
 * Returns its pid; *ret_port is the kernel's choice. */
pid_t host_serve(const char *cgroup, uint16_t *ret_port);
void host_end(pid_t pid); /* kill and reap */

/* A client's connection, from the network namespace of the caller. -1: not within @wait_ms. */
int host_connect(const char *address, uint16_t port, int wait_ms);
/* Why there is none (errno; ETIMEDOUT: no word within @wait_ms); 0: there is. */
int host_connect_error(const char *address, uint16_t port, int wait_ms);
/* One byte there and back: 0, or -ETIMEDOUT, -ECONNRESET ... */
int host_ask(int fd, int wait_ms);
/* The same with the boot time in ns at which the answer came in. */
int host_ask_at(int fd, int wait_ms, uint64_t *ret_arrival_ns);
/* Ask again and again until there is no answer for @silence_ms; returns the boot time in ns at
 * which the last answer came, 0: none. *ret_gap_ns (may be NULL) is the longest time between two
 * answers. */
uint64_t host_ask_until_silence(int fd, int silence_ms, uint64_t *ret_gap_ns);

struct host_stats {
    size_t count;
    int64_t values[256];
};
void host_stats_add(struct host_stats *stats, int64_t ns);
/* As a comment line, in microseconds. */
void host_stats_print(struct host_stats *stats, const char *what);

#endif /* HA_TESTS_COMPONENT_HOST_HOST_NET_H */
