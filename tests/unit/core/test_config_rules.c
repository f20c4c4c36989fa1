/* What no text can say is refused too; tests/unit/wire/test_config.c has the rules one by one. */
#include "lib/core/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"

static struct ha_config config;

static void make(uint32_t services)
{
    memset(&config, 0, sizeof(config));
    config.service_count = services;
    for (uint32_t i = 0; i < services; i++) {
        struct ha_service_config *s = &config.services[i];

        ha_service_config_defaults(s);
        (void)snprintf(s->name, sizeof(s->name), "s%u", i);
        s->member_count = HA_MEMBERS_MAX;
        for (uint32_t m = 0; m < HA_MEMBERS_MAX; m++) {
            (void)snprintf(s->members[m].name, sizeof(s->members[m].name), "m%u", m);
            (void)snprintf(s->members[m].host, sizeof(s->members[m].host), "10.%u.%u.%u", m,
                           i / 256, i % 256);
            s->members[m].port = 6379;
            s->members[m].priority = HA_PRIORITY_DEFAULT;
            s->members[m].agent_port = HA_AGENT_PORT_DEFAULT;
        }
    }
}

static void refused(const char *want)
{
    struct ha_err err = {0};

    assert_int_equal(ha_config_check(&config, 3, &err), HA_EINVAL);
    assert_string_equal(err.text, want);
    assert_int_equal(ha_config_check(&config, 3, NULL), HA_EINVAL);
}

static void test_defaults_are_sound(void **state)
{
    (void)state;
    make(2);
    assert_int_equal(ha_config_check(&config, 3, NULL), HA_OK);
    assert_int_equal(config.services[0].lease_ms, 1500);
    assert_int_equal(config.services[0].probe_ms, 200);
    assert_int_equal(config.services[0].down_after_ms, 1000);
    assert_true(config.services[0].automatic);
    assert_int_equal(config.services[0].quorum, 0);
    make(0);
    assert_int_equal(ha_config_check(&config, 3, NULL), HA_OK);
}

static void test_counts(void **state)
{
    (void)state;
    make(1);
    config.service_count = HA_SERVICES_MAX + 1;
    refused("more than 1024 services");
    make(1);
    config.webhook_count = HA_WEBHOOKS_MAX + 1;
    refused("more than 8 webhooks");
    make(1);
    config.services[0].member_count = HA_MEMBERS_MAX + 1;
    refused("service s0: more than 7 members");
}

static void test_names(void **state)
{
    (void)state;
    make(2);
    memcpy(config.services[1].name, "s0", 3);
    refused("service s0: there are two of this name");
    make(1);
    config.services[0].name[0] = '\0';
    refused("service \"\": not a name");
    make(1);
    memcpy(config.services[0].members[2].name, "m1", 3);
    refused("member s0/m1: there are two of this name");
    make(1);
    memcpy(config.services[0].members[2].agent, "/", 2);
    refused("member s0/m2: agent: \"/\" is not a name");
    make(1);
    config.services[0].members[2].priority = HA_PRIORITY_MAX + 1;
    refused("member s0/m2: priority: 1001 is more than 1000");
    make(1);
    config.services[0].members[2].port = 0;
    refused("member s0/m2: port: 0");
    make(1);
    config.services[0].vip_prefix = 24;
    refused("service s0: vip: a prefix without an address");
}

/* A circle that a member only leads into is told at a member of the circle. */
static void test_circles(void **state)
{
    (void)state;
    make(1);
    memcpy(config.services[0].members[0].follow, "m1", 3);
    memcpy(config.services[0].members[1].follow, "m2", 3);
    assert_int_equal(ha_config_check(&config, 3, NULL), HA_OK);
    memcpy(config.services[0].members[2].follow, "m1", 3);
    refused("member s0/m1: follow: it would follow itself");
}

/* Checked on the loop while it is applied: linear, whatever the number of services. */
static void test_limits_are_checked_fast(void **state)
{
    struct ha_config_fault fault;
    struct ha_err err = {0};

    (void)state;
    make(HA_SERVICES_MAX);
    assert_int_equal(ha_config_check(&config, 3, NULL), HA_OK);
    memcpy(config.services[1023].members[6].host, "10.0.0.0", 9);
    assert_int_equal(ha_config_check_at(&config, 3, &fault, &err), HA_EINVAL);
    assert_string_equal(err.text, "member s1023/m6: host: 10.0.0.0 port 6379 is the address of "
                                  "member s0/m0 already");
    assert_int_equal(fault.what, HA_CONFIG_FAULT_MEMBER);
    assert_int_equal(fault.service, 1023);
    assert_int_equal(fault.member, 6);
    /* Many ports of one host meet one another in the table. */
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
        for (uint32_t m = 0; m < HA_MEMBERS_MAX; m++) {
            (void)memcpy(config.services[i].members[m].host, "db.example.org", 15);
            config.services[i].members[m].port = (uint16_t)(1 + i * HA_MEMBERS_MAX + m);
        }
    assert_int_equal(ha_config_check(&config, 3, &err), HA_OK);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_defaults_are_sound),
    cmocka_unit_test(test_counts),
    cmocka_unit_test(test_names),
    cmocka_unit_test(test_circles),
    cmocka_unit_test(test_limits_are_checked_fast),
};

HA_TEST_MAIN("core/config", tests)
