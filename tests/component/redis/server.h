/* tests/component/redis/server.h - real Redis servers of a test, and a link to each.
 *
 * A server lives in its own folder under /tmp, listens on a loopback port that the kernel gave and
 * on a UNIX socket, and dies with the test. All waits are bounded and fail the test. */
#ifndef HA_TESTS_COMPONENT_REDIS_SERVER_H
#define HA_TESTS_COMPONENT_REDIS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "agents/engine.h"

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
uint16_t free_port(void);

/* One link of the engine under test and what it told last. */
struct client {
    uv_loop_t *loop;
    struct ha_link *link;
    bool probing, acting;
    unsigned probes, acts, losses;
    struct ha_probed probed;
    struct ha_acted acted;
    enum ha_answer lost_how;
    uint64_t lost_ns; /* boot clock */
};

extern const struct ha_engine_ops *engine;

void client_open(struct client *client, uv_loop_t *loop, struct ha_link_spec spec);
/* The agent's way in, and the watcher's. */
void client_open_local(struct client *client, uv_loop_t *loop, const struct server *server);
void client_open_remote(struct client *client, uv_loop_t *loop, const struct server *server);
/* Probe and wait for the answer, which is in client->probed. */
enum ha_answer client_probe(struct client *client, uint32_t timeout_ms);
/* Begin a probe without running the loop. */
void client_probe_begin(struct client *client, uint32_t timeout_ms);
/* What client_act() gives as callback; for a test that starts an act itself. */
void client_on_acted(void *data, const struct ha_acted *acted);
/* Act and wait; returns the code. */
int client_act(struct client *client, struct ha_act act);
struct ha_act act_of(enum ha_order_kind kind);
struct ha_act act_follow(const struct server *upstream);
void client_close(struct client *client);

void run_while(uv_loop_t *loop, const bool *flag, unsigned ms);
void run_until_count(uv_loop_t *loop, const unsigned *count, unsigned want, unsigned ms);
void run_for(uv_loop_t *loop, unsigned ms);

/* A loop per test, proved to close clean; what a failed test left open is put away first. */
int loop_setup(void **state);
int loop_teardown(void **state);

#endif /* HA_TESTS_COMPONENT_REDIS_SERVER_H */
