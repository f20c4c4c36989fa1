/* tests/component/postgresql/server.h - real PostgreSQL servers of a test.
 *
 * Needs root: the servers run as the user postgres. One cluster is made per program and copied; all
 * share it and the roles of the example in deploy/config. A server listens on a free port of
 * loopback and on a UNIX socket. All waits are bounded and fail the test. */
#ifndef HA_TESTS_COMPONENT_POSTGRESQL_SERVER_H
#define HA_TESTS_COMPONENT_POSTGRESQL_SERVER_H

#include <stdint.h>
#include <sys/types.h>

#include "tests/component/agents/client.h"

#define SERVER_BIN "/usr/lib/postgresql/15/bin"
#define SERVER_PATH_SIZE 96
#define SERVER_PASSWORD "s3cret of the test"

struct server {
    uint16_t port;
    char dir[SERVER_PATH_SIZE];    /* of its UNIX socket */
    char data[SERVER_PATH_SIZE];   /* below dir; the agent's own folder lies beside it */
    char config[SERVER_PATH_SIZE]; /* a file that postgresql.conf includes */
};

/* A folder with data and @more settings; not started. */
void server_make(struct server *server, const char *more);
/* Before it is started: its WAL on a file system of its own. */
void server_wal_elsewhere(const struct server *server);
/* As a service manager would start it, not as a standby; waits until it takes connections. */
void server_start(const struct server *server);
/* The postmaster; 0: it does not run. */
pid_t server_pid(const struct server *server);
/* To the postmaster and all its children; SIGKILL waits for the end. */
void server_signal(const struct server *server, int signal);
/* A fast shutdown, waited for. */
void server_stop(const struct server *server);
/* End it if it runs, remove the folder. */
void server_free(struct server *server);
/* psql as the superuser; the answer, to be freed. Fails the test where the server refuses. */
char *server_ask(const struct server *server, const char *sql);
void server_do(const struct server *server, const char *sql);
/* Ask until the answer is @want, at most @ms. */
void server_wait(const struct server *server, const char *sql, const char *want, unsigned ms);

/* The agent's way in, and the watcher's; NULL for what the example says. */
struct ha_link_spec server_local_spec(const struct server *server);
void client_open_local(struct client *client, uv_loop_t *loop, const struct server *server);
void client_open_remote(struct client *client, uv_loop_t *loop, const struct server *server,
                        const char *user, const char *password);
/* FOLLOW as member `name`; @upstream NULL: nobody. */
struct ha_act act_follow(const struct server *upstream, const char *name);

/* Acts of one of the three members a, b and c. */
struct ha_act trio_act(enum ha_order_kind kind, const char *name, uint64_t epoch);
struct ha_act trio_follow(const struct server *upstream, const char *name, uint64_t epoch);
/* What it ends with; asked for again while it goes on, a minute at most. */
int trio_code(struct client *client, struct ha_act act);
void trio_expect(struct client *client, struct ha_act act, int want);
/* It becomes the primary of @epoch. */
void trio_serve(struct client *client, const char *name, uint64_t epoch);

/* Run a program (printf) by the shell as root; its status. */
int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif /* HA_TESTS_COMPONENT_POSTGRESQL_SERVER_H */
