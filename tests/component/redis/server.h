/* tests/component/redis/server.h - real Redis servers of a test, and a link to each.
 *
 * A server lives in its own folder under /tmp, listens on a free port of loopback and on a
 * UNIX socket, and dies with the test. All waits are bounded and fail the test. */
#ifndef HA_TESTS_COMPONENT_REDIS_SERVER_H
#define HA_TESTS_COMPONENT_REDIS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "tests/component/agents/client.h"

#define SERVER_PATH_SIZE 96

struct server {
    pid_t pid; /* 0: not running */
    uint16_t port;
    uint16_t tls_port;
    char dir[SERVER_PATH_SIZE];
    char socket[SERVER_PATH_SIZE];
    char config[SERVER_PATH_SIZE];
};

/* A folder, a configuration with @more lines appended, and a running process. */
void server_start(struct server *server, const char *more);
/* Start it again with the configuration as it is now. Waits until it accepts connections. */
void server_again(struct server *server);
/* Send a signal; SIGKILL and SIGTERM also wait for the end, SIGSTOP until it has stopped. */
void server_signal(struct server *server, int signal);
/* End it if it runs, remove the folder. */
void server_free(struct server *server);
/* Run one command and give the answer as text (integers and nil too); free() it. Words are divided
 * by spaces. */
char *server_ask(const struct server *server, const char *command);
/* Ask until the answer holds @want, at most @ms. */
void server_wait(const struct server *server, const char *command, const char *want, unsigned ms);

/* The agent's way in, and the watcher's. */
void client_open_local(struct client *client, uv_loop_t *loop, const struct server *server);
void client_open_remote(struct client *client, uv_loop_t *loop, const struct server *server);
struct ha_act act_follow(const struct server *upstream);

#endif /* HA_TESTS_COMPONENT_REDIS_SERVER_H */
