/* tests/component/cmd/lab.h - three watchers, three agents and three Redis on loopback, as real
 * processes in a directory of their own.
 *
 * Blocking, for tests. Every wait has a deadline and fails the test. A daemon that is asked to stop
 * must exit with 0. Only processes started here
 * are ended, by their pid. */
#ifndef HA_TESTS_COMPONENT_CMD_LAB_H
#define HA_TESTS_COMPONENT_CMD_LAB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LAB_HOSTS 3

struct lab {
    char dir[64];
    uint16_t watcher_ports[LAB_HOSTS], redis_ports[LAB_HOSTS];
    pid_t watchers[LAB_HOSTS], agents[LAB_HOSTS], databases[LAB_HOSTS];
};

/* Start everything, out of the build directory that HA_BUILD names. */
void lab_open(struct lab *lab);
void lab_close(struct lab *lab);

/* The first start makes a voter of the empty directory. */
void lab_start_watcher(struct lab *lab, int at, bool bootstrap);
void lab_start_agent(struct lab *lab, int at);
void lab_start_database(struct lab *lab, int at);
/* Send @signal and wait for the end; *pid becomes 0. The exit code, or -1 when it was killed. */
int lab_end(pid_t *pid, int signal);
/* Wait for a process that should end by itself; its exit code. */
int lab_wait(pid_t *pid);

/* hafailoverctl at watcher @at, up to four words; its exit code; what it printed in *ret (free),
 * may be NULL. */
int lab_ctl(struct lab *lab, int at, char **ret, const char *const words[]);
/* The same without a watcher's socket. */
int lab_ctl_plain(char **ret, const char *const words[]);
/* status --json of the watcher at @at; NULL when it does not answer. json_decref. */
json_t *lab_status(struct lab *lab, int at);
/* Host of the primary once the service is steady and all @members are up; -1 otherwise. */
int lab_primary(struct lab *lab, int at, int members);
/* The same, waited for. */
int lab_wait_primary(struct lab *lab, int at, int members, int not_this, uint32_t deadline_ms);
int lab_leader(struct lab *lab, int at);
/* Until the watcher gives promises: some time after it has caught up. */
void lab_wait_promises(struct lab *lab, int at);

/* redis-cli at host @at through its UNIX socket; the first line of the answer in @answer. */
bool lab_redis(struct lab *lab, int at, char answer[128], const char *const words[]);

uint64_t lab_now_ms(void);
void lab_write(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif /* HA_TESTS_COMPONENT_CMD_LAB_H */
