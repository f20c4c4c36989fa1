/* Hosts are compared by meaning, and what only looks like an address is none. */
#include "lib/core/address.h"

#include <string.h>

#include "lib/base/check.h"
#include "tests/support/cmocka_ha.h"

static const struct {
    const char *host;
    uint32_t want_bits;
    bool want_unicast, want_host;
} hosts[] = {
    {"10.0.0.1", 32, true, true},
    {"0.0.0.0", 32, false, true},
    {"127.0.0.1", 32, false, true},
    {"224.0.0.1", 32, false, true},
    {"255.255.255.255", 32, false, true},
    {"fd00::1", 128, true, true},
    {"::", 128, false, true},
    {"::1", 128, false, true},
    {"ff02::1", 128, false, true},
    {"fe80::1%eth0", 0, false, false},
    {"[fd00::1]", 0, false, false},
    {"10.0.0.300", 0, false, false},
    {"10.0.0", 0, false, false},
    {"010.0.0.1", 0, false, false},
    {"db1", 0, false, true},
    {"DB-1.example.org", 0, false, true},
    {"db_1", 0, false, true},
    {"1db", 0, false, true},
    {"db.1a", 0, false, true},
    {"", 0, false, false},
    {".", 0, false, false},
    {"db.", 0, false, false},
    {"a..b", 0, false, false},
    {"-db", 0, false, false},
    {"db 1", 0, false, false},
    {"db:1", 0, false, false},
    {"db/1", 0, false, false},
};

static void test_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(hosts); i++) {
        print_message("# %s\n", hosts[i].host);
        assert_int_equal(ha_address_bits(hosts[i].host), hosts[i].want_bits);
        assert_int_equal(ha_address_is_unicast(hosts[i].host), hosts[i].want_unicast);
        assert_int_equal(ha_address_is_host(hosts[i].host), hosts[i].want_host);
    }
}

static void test_lengths(void **state)
{
    char host[300];

    (void)state;
    memset(host, 'a', sizeof(host));
    host[63] = '\0';
    assert_true(ha_address_is_host(host));
    host[63] = 'a';
    host[64] = '\0';
    assert_false(ha_address_is_host(host));
    memset(host, 'a', sizeof(host));
    for (size_t i = 50; i < sizeof(host); i += 50)
        host[i] = '.';
    host[253] = '\0';
    assert_true(ha_address_is_host(host));
    host[253] = 'a';
    host[254] = '\0';
    assert_false(ha_address_is_host(host));
}

static const struct {
    const char *a, *b;
    bool want;
} pairs[] = {
    {"10.0.0.1", "10.0.0.1", true},
    {"10.0.0.1", "10.0.0.2", false},
    {"fd00::1", "FD00:0:0:0:0:0:0:1", true},
    {"fd00::1", "fd00::2", false},
    {"db1", "DB1", true},
    {"db1", "db2", false},
    {"::ffff:10.0.0.1", "10.0.0.1", false},
    {"10.0.0.1", "db1", false},
    {"::", "0.0.0.0", false},
    {"", "0.0.0.0", false},
};

static void test_equality(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(pairs); i++) {
        print_message("# %s, %s\n", pairs[i].a, pairs[i].b);
        assert_int_equal(ha_address_equal(pairs[i].a, pairs[i].b), pairs[i].want);
        assert_int_equal(ha_address_equal(pairs[i].b, pairs[i].a), pairs[i].want);
        if (pairs[i].want)
            assert_true(ha_address_hash(pairs[i].a) == ha_address_hash(pairs[i].b));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_kinds),
    cmocka_unit_test(test_lengths),
    cmocka_unit_test(test_equality),
};

HA_TEST_MAIN("core/address", tests)
