/* Agents find each other whatever is in the way for a while, and however they are named. */
#include "cmd/hafailover-agent/peers.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/dispatch.h"
#include "lib/core/effect.h"
#include "lib/core/event.h"
#include "lib/wire/message.h"
#include "tests/support/cmocka_ha.h"

#define SERVICES 2

struct side {
    struct ha_agent_settings settings;
    struct ha_host host;
};

static struct side asker, asked;
static struct ha_effect_hold_ask asks[SERVICES];
static unsigned heard[SERVICES], closed;

void ha_host_step(struct ha_host *host, struct ha_event *event)
{
    assert_ptr_equal(host, &asked.host);
    assert_int_equal(event->kind, HA_EVENT_HOLD_ASKED);
    assert_string_equal(event->u.hold_asked.agent, "a");
    heard[event->u.hold_asked.ask->service]++;
}

bool ha_host_dispatch(struct ha_host *host)
{
    (void)host;
    return false;
}

static void on_closed(struct ha_host *host)
{
    (void)host;
    closed++;
}

static void on_end(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("not every question is heard");
}

static void on_ask(uv_timer_t *timer)
{
    (void)timer;
    for (uint32_t i = 0; i < SERVICES; i++)
        ha_peers_ask(asker.host.peers, &asks[i]);
    ha_peers_flush(asker.host.peers);
}

static void open_side(struct side *side, const char *name)
{
    memset(side, 0, sizeof(*side));
    (void)snprintf(side->settings.name, sizeof(side->settings.name), "%s", name);
    side->host.settings = &side->settings;
    side->host.uv = uv_default_loop();
    side->host.core = calloc(1, sizeof(*side->host.core));
    assert_non_null(side->host.core);
    assert_int_equal(ha_backlog_open(&side->host.backlog), 0);
    ha_agent_init(side->host.core, 7, HA_GATE_NFT);
    assert_int_equal(ha_peers_open(&side->host, &side->host.peers), 0);
}

static void close_side(struct side *side)
{
    ha_peers_close(side->host.peers, on_closed);
    closed = 0;
    while (closed == 0)
        (void)uv_run(uv_default_loop(), UV_RUN_ONCE);
    free(side->host.core);
    ha_backlog_free(&side->host.backlog);
}

/* A socket that listens on a port of its own. */
static int take_port(uint16_t *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &size), 0);
    *ret_port = ntohs(addr.sin_port);
    return fd;
}

/* Agent "a" asks agent "b" about each service, at that service's host. */
static void meet(const char *const hosts[SERVICES], bool is_taken)
{
    struct ha_peers peers = {
        .config_version = 1, .port_count = 1, .count = 1, .all = {{.agent = "a"}}};
    uv_timer_t end, again;
    int fd = take_port(&peers.ports[0]);

    memset(heard, 0, sizeof(heard));
    open_side(&asker, "a");
    open_side(&asked, "b");
    for (uint32_t i = 0; i < SERVICES; i++) {
        asks[i] = (struct ha_effect_hold_ask){.agent = "b", .port = peers.ports[0]};
        (void)snprintf(asks[i].host, sizeof(asks[i].host), "%s", hosts[i]);
        asks[i].ask = (struct ha_hold_ask){
            .service = i, .member = 1, .epoch = 1, .instance = 7, .length_ms = 1000};
    }
    if (!is_taken)
        (void)close(fd);
    assert_true(ha_peers_take(asked.host.peers, &peers));
    if (is_taken)
        (void)close(fd);
    (void)uv_timer_init(uv_default_loop(), &end);
    (void)uv_timer_init(uv_default_loop(), &again);
    (void)uv_timer_start(&end, on_end, 20000, 0);
    (void)uv_timer_start(&again, on_ask, 0, 20);
    while (heard[0] == 0 || heard[1] == 0)
        (void)uv_run(uv_default_loop(), UV_RUN_ONCE);
    uv_close((uv_handle_t *)&end, NULL);
    uv_close((uv_handle_t *)&again, NULL);
    close_side(&asker);
    close_side(&asked);
    (void)uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(uv_default_loop()), 0);
}

static void test_heard_when_the_port_is_free_again(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.1"};

    (void)state;
    meet(hosts, true);
}

static void test_services_may_give_an_agent_different_addresses(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};

    (void)state;
    meet(hosts, false);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_heard_when_the_port_is_free_again),
    cmocka_unit_test(test_services_may_give_an_agent_different_addresses),
};

HA_TEST_MAIN("cmd/peers", tests)
