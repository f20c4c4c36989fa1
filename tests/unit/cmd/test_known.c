/* What watchers said is known after a start, also when it could not be written at once. */
#include "cmd/hafailover-agent/known.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/database.h"
#include "cmd/hafailover-agent/peers.h"
#include "lib/wire/message.h"
#include "tests/support/cmocka_ha.h"

static struct ha_agent_settings agent_settings;
static struct ha_agent core;
static struct ha_host host = {.settings = &agent_settings, .core = &core};
static uint32_t said[4]; /* services, in their order */
static unsigned said_count, closed;

void ha_databases_settings(struct ha_databases *databases, const struct ha_settings *settings)
{
    (void)databases;
    assert_true(said_count < 4);
    said[said_count++] = settings->service;
}

bool ha_peers_take(struct ha_peer_links *links, const struct ha_peers *peers)
{
    (void)links;
    (void)peers;
    return false;
}

static void on_closed(struct ha_host *which)
{
    (void)which;
    closed++;
}

static void put(uint32_t service, const char *name)
{
    struct ha_message message = {.type = HA_MESSAGE_SETTINGS};
    struct ha_settings *to = &message.u.settings;

    to->service = service;
    to->member = 1;
    to->config_version = service;
    to->on_quorum_loss = HA_QUORUM_LOSS_HOLD;
    to->port = 6379;
    (void)snprintf(to->service_name, sizeof(to->service_name), "%s", name);
    (void)snprintf(to->member_name, sizeof(to->member_name), "a");
    (void)snprintf(to->host, sizeof(to->host), "10.0.0.1");
    ha_known_put(host.known, &message);
}

static void close_known(void)
{
    closed = 0;
    ha_known_close(host.known, on_closed);
    (void)uv_run(host.uv, UV_RUN_DEFAULT);
    assert_int_equal(closed, 1);
}

static void open_known(void)
{
    said_count = 0;
    host.uv = uv_default_loop();
    assert_int_equal(ha_known_open(&host, &host.known), 0);
}

static void forget_all(void)
{
    char path[HA_PATH_SIZE + 16];

    (void)snprintf(path, sizeof(path), "%s/known", agent_settings.state_dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(agent_settings.state_dir), 0);
    assert_int_equal(uv_loop_close(host.uv), 0);
}

static void make_dir(void)
{
    (void)snprintf(agent_settings.state_dir, sizeof(agent_settings.state_dir),
                   "/tmp/ha-known-XXXXXX");
    assert_non_null(mkdtemp(agent_settings.state_dir));
}

static void test_what_could_not_be_written_is_tried_again(void **state)
{
    (void)state;
    make_dir();
    assert_int_equal(rmdir(agent_settings.state_dir), 0);
    open_known();
    put(3, "db");
    (void)uv_run(host.uv, UV_RUN_DEFAULT); /* it fails */
    assert_int_equal(mkdir(agent_settings.state_dir, 0700), 0);
    ha_known_poll(host.known);
    (void)uv_run(host.uv, UV_RUN_DEFAULT);
    close_known();
    open_known();
    assert_int_equal(said_count, 1);
    assert_int_equal(said[0], 3);
    close_known();
    forget_all();
}

/* The next agent hears of these. */
static void expect_kept(uint32_t one, uint32_t other)
{
    (void)uv_run(host.uv, UV_RUN_DEFAULT);
    close_known();
    open_known();
    assert_int_equal(said_count, 2);
    assert_int_equal(said[0] + said[1], one + other);
    close_known();
    forget_all();
}

static void test_a_service_made_anew_takes_the_place_of_the_old(void **state)
{
    (void)state;
    make_dir();
    open_known();
    put(3, "db");
    put(4, "other");
    put(5, "db");
    expect_kept(4, 5);
}

/* Away while it was removed: whoever comes back hears which there are. */
static void test_a_removed_service_is_forgotten(void **state)
{
    struct ha_all all = {.config_version = 4, .count = 1, .services = {4}};

    (void)state;
    make_dir();
    open_known();
    put(3, "db");
    put(4, "other");
    put(5, "newer"); /* than whoever says so knows */
    (void)uv_run(host.uv, UV_RUN_DEFAULT);
    close_known();
    open_known();
    assert_int_equal(said_count, 3);
    said_count = 0;
    core.held_count = 2;
    core.held[0] = (struct ha_held){
        .used = true, .settings = {.service = 3, .member = 1, .config_version = 3, .port = 1}};
    core.held[1] = (struct ha_held){
        .used = true, .settings = {.service = 5, .member = 1, .config_version = 5, .port = 1}};
    ha_known_all(host.known, &all);
    assert_int_equal(said_count, 1); /* that it is gone */
    assert_int_equal(said[0], 3);
    core.held_count = 0;
    expect_kept(4, 5);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_removed_service_is_forgotten),
    cmocka_unit_test(test_what_could_not_be_written_is_tried_again),
    cmocka_unit_test(test_a_service_made_anew_takes_the_place_of_the_old),
};

HA_TEST_MAIN("cmd/known", tests)
