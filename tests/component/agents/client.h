/* tests/component/agents/client.h - a link of an engine under test, and what it told last.
 *
 * All waits are bounded and fail the test. Whoever brings the servers names the engine and ends
 * what a failed test leaves. */
#ifndef HA_TESTS_COMPONENT_AGENTS_CLIENT_H
#define HA_TESTS_COMPONENT_AGENTS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agents/engine.h"

/* Given by the servers' own file. */
extern const enum ha_engine client_engine;
void client_kill_servers(void); /* after each test */

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
/* Probe and wait for the answer, which is in client->probed. */
enum ha_answer client_probe(struct client *client, uint32_t timeout_ms);
/* Begin a probe without running the loop. */
void client_probe_begin(struct client *client, uint32_t timeout_ms);
/* What client_act() gives as callback; for a test that starts an act itself. */
void client_on_acted(void *data, const struct ha_acted *acted);
/* Act and wait; returns the code. */
int client_act(struct client *client, struct ha_act act);
struct ha_act act_of(enum ha_order_kind kind);
void client_close(struct client *client);

void run_while(uv_loop_t *loop, const bool *flag, unsigned ms);
void run_until_count(uv_loop_t *loop, const unsigned *count, unsigned want, unsigned ms);
void run_for(uv_loop_t *loop, unsigned ms);

/* A loop per test, proved to close clean; what a failed test left open is put away first. */
int loop_setup(void **state);
int loop_teardown(void **state);

#endif /* HA_TESTS_COMPONENT_AGENTS_CLIENT_H */
