/* An agent is told all it needs of a member, and when that member is no more. */
#include "lib/wire/settings.h"

#include <string.h>

#include "tests/support/cmocka_ha.h"

static const struct ha_service service = {
    .used = true,
    .id = 1025,
    .config =
        {
            .name = "cache",
            .engine = HA_ENGINE_POSTGRESQL,
            .durability = HA_DURABILITY_SYNC,
            .vip = "10.0.0.9",
            .vip_prefix = 24,
            .vip_interface = "eth0",
            .on_quorum_loss = HA_QUORUM_LOSS_HOLD,
            .probe_ms = 1,
            .heartbeat_ms = 2,
            .hang_after_ms = 3,
            .lease_ms = 4,
            .promote_deadline_ms = 5,
            .member_count = 3,
            .members =
                {{.name = "a", .agent = "x", .host = "10.0.0.1", .port = 11, .agent_port = 14},
                 {.name = "b", .host = "10.0.0.2", .port = 12},
                 {.name = "c", .host = "10.0.0.3", .port = 13}},
        },
    .members = {{.id = 5}, {.id = 2}, {.id = 7}},
};

static void test_member(void **state)
{
    struct ha_settings got, again;

    (void)state;
    memset(&got, 0x55, sizeof(got));
    memset(&again, 0xaa, sizeof(again));
    ha_settings_make(&got, &service, 2, 77);
    ha_settings_make(&again, &service, 2, 77);
    assert_memory_equal(&got, &again, sizeof(got));
    assert_int_equal(got.config_version, 77);
    assert_int_equal(got.service, 1025);
    assert_int_equal(got.member, 2);
    assert_false(got.gone);
    assert_int_equal(got.engine, HA_ENGINE_POSTGRESQL);
    assert_int_equal(got.durability, HA_DURABILITY_SYNC);
    assert_string_equal(got.service_name, "cache");
    assert_string_equal(got.member_name, "b");
    assert_string_equal(got.host, "10.0.0.2");
    assert_int_equal(got.port, 12);
    assert_string_equal(got.vip, "10.0.0.9");
    assert_int_equal(got.vip_prefix, 24);
    assert_string_equal(got.vip_interface, "eth0");
    assert_int_equal(got.probe_ms, 1);
    assert_int_equal(got.heartbeat_ms, 2);
    assert_int_equal(got.hang_after_ms, 3);
    assert_int_equal(got.lease_ms, 4);
    assert_int_equal(got.promote_deadline_ms, 5);
    assert_int_equal(got.on_quorum_loss, HA_QUORUM_LOSS_HOLD);
    assert_int_equal(got.peer_count, 2);
    assert_int_equal(got.peers[0].id, 5);
    assert_int_equal(got.peers[0].port, 11);
    assert_int_equal(got.peers[0].agent_port, 14);
    assert_string_equal(got.peers[0].agent, "x");
    assert_string_equal(got.peers[0].host, "10.0.0.1");
    assert_int_equal(got.peers[1].id, 7);
}

static void test_gone(void **state)
{
    struct ha_settings got,
        want = {.config_version = 78, .service = 1025, .member = 3, .gone = true};

    (void)state;
    ha_settings_make(&got, &service, 3, 78);
    assert_memory_equal(&got, &want, sizeof(got));
    want.service = 0;
    ha_settings_make(&got, NULL, 3, 78);
    assert_memory_equal(&got, &want, sizeof(got));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_member),
    cmocka_unit_test(test_gone),
};

HA_TEST_MAIN("wire/settings", tests)
