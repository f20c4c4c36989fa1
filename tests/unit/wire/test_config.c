/* services.conf is taken whole or refused with the line, the key and the reason. */
#include "lib/wire/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/wire/generate.h"

#define WATCHERS 3

/* Most texts below begin with a service and a member that are fine: 5 lines. */
#define SERVICE "[service cache]\nengine = redis\n"
#define MEMBER "[member cache/a]\nhost = 10.0.0.1\nport = 6379\n"
#define MEMBER_B "[member cache/b]\nhost = 10.0.0.2\nport = 6379\n"
#define GOOD SERVICE MEMBER
#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10

static const struct {
    const char *text;
    const char *want;
} bad[] = {
    /* shape */
    {"[servce cache]\n", "line 1: unknown section [servce cache]"},
    {"[service]\n", "line 1: unknown section [service]"},
    {"[servicecache]\n", "line 1: unknown section [servicecache]"},
    {"\n[service cache\n", "line 2: a section without its ']'"},
    {"[service cache] engine = redis\n", "line 1: something after the ']' of a section"},
    {"engine = redis\n", "line 1: the key \"engine\" stands outside of any section"},
    {GOOD "follow\n", "line 6: neither a section nor key = value"},
    {GOOD "nonsense\n[member cache/a]\n", "line 6: neither a section nor key = value"},
    {GOOD "follow = a\x01\n", "line 6: a control character"},
    {GOOD "# a caf\xe9\n", "line 6: a byte that is not UTF-8"},
    {GOOD "# a caf\xc3", "line 6: a byte that is not UTF-8"},
    {GOOD "# " X50 X50 X50 X50 "\n", "line 6: longer than 197 bytes"},
    {SERVICE "down_afer = 1s\n" MEMBER, "line 3: service cache: unknown key \"down_afer\""},
    {SERVICE "lease = 2s\nlease = 3s\n" MEMBER,
     "line 4: service cache: the key lease is given twice"},
    {GOOD "\n[service cache]\nengine = redis\n",
     "line 7: service cache: there is such a section already, in line 1"},
    {GOOD "[member cache/a]\n",
     "line 6: member cache/a: there is such a section already, in line 3"},
    {"[webhook w]\nurl = https://h/\n[webhook w]\n",
     "line 3: webhook w: there is such a section already, in line 1"},
    {"[defaults]\n[defaults]\n", "line 2: defaults: there is such a section already, in line 1"},
    {GOOD "[defaults]\nprobe = 1s\n", "line 6: defaults: it must stand before the first service"},
    {"[member cache/a]\n", "line 1: member cache/a: there is no [service cache] above"},
    {"[member cache]\n", "line 1: member cache: it must be named SERVICE/MEMBER"},
    {"[service -x]\n", "line 1: service -x: \"-x\" is not a name: at most 31 letters, digits, '.', "
                       "'_' and '-'"},
    {"[service " X10 X10 X10 "xx]\n", "line 1: service " X10 X10 X10 "xx: \"" X10 X10 X10
                                      "xx\" is not a name: at most 31 letters, digits, '.', '_' "
                                      "and '-'"},
    {GOOD "[member cache/a/b]\n", "line 6: member cache/a/b: \"a/b\" is not a name: at most 31 "
                                  "letters, digits, '.', '_' and '-'"},
    /* what is missing */
    {"[service cache]\n" MEMBER, "line 1: service cache: the key engine is missing"},
    {SERVICE, "line 1: service cache: no members"},
    {SERVICE "[member cache/a]\nhost = h\n", "line 3: member cache/a: the key port is missing"},
    {SERVICE "[member cache/a]\nport = 1\n" MEMBER_B,
     "line 3: member cache/a: the key host is missing"},
    {"[webhook w]\nsecret = s\n", "line 1: webhook w: the key url is missing"},
    /* values */
    {"[service cache]\nengine = mysql\n",
     "line 2: service cache: engine: \"mysql\" is not redis or postgresql"},
    {SERVICE "durability = best\n",
     "line 3: service cache: durability: \"best\" is not async, sync or strict"},
    {SERVICE "lease = 1500\n",
     "line 3: service cache: lease: \"1500\" is not a duration such as 200ms, 2s or 10min"},
    {SERVICE "lease = 25h\n", "line 3: service cache: lease: \"25h\" is not within a day"},
    {SERVICE "automatic = maybe\n", "line 3: service cache: automatic: \"maybe\" is not yes or no"},
    {SERVICE "quorum = 0\n",
     "line 3: service cache: quorum: \"0\" is not a number from 1, or majority"},
    {SERVICE "parallel_syncs = x\n",
     "line 3: service cache: parallel_syncs: \"x\" is not a number from 1"},
    {SERVICE "vip = 10.0.0.9\n", "line 3: service cache: vip: \"10.0.0.9\" is not an address with "
                                 "its prefix length, such as 10.0.0.9/24"},
    {SERVICE "loss_budget = much\n",
     "line 3: service cache: loss_budget: \"much\" is not a size such as 16MiB, or any"},
    {SERVICE "loss_budget = 18446744073709551615\n",
     "line 3: service cache: loss_budget: \"18446744073709551615\" is not a size such as 16MiB, or "
     "any"},
    {SERVICE "priority_slack = any\n",
     "line 3: service cache: priority_slack: \"any\" is not a size such as 16MiB"},
    {SERVICE "rate = 5\n",
     "line 3: service cache: rate: \"5\" is not a rate such as 5/10min, or any"},
    {SERVICE "rate = 0/1min\n",
     "line 3: service cache: rate: \"0/1min\" is not a rate such as 5/10min, or any"},
    {SERVICE "rate = 5/10\n",
     "line 3: service cache: rate: \"5/10\" is not a rate such as 5/10min, or any"},
    {SERVICE "credentials = a b\n",
     "line 3: service cache: credentials: \"a b\" is not a name: at most 31 letters, digits, '.', "
     "'_' and '-'"},
    {SERVICE "[member cache/a]\nport = 65536\n",
     "line 4: member cache/a: port: \"65536\" is not a port from 1 to 65535"},
    {SERVICE "[member cache/a]\npriority = 0\n",
     "line 4: member cache/a: priority: \"0\" is not a priority from 1 to 1000, or never"},
    {SERVICE "[member cache/a]\nhost = " X50 X50 X10 X10 X10 "\n",
     "line 4: member cache/a: host: longer than 127 characters"},
    {SERVICE "[member cache/a]\nhost =\n", "line 4: member cache/a: host: no value"},
    {GOOD "[member cache/b]\nhost = h\nport = 1\npriority=never\n[webhook w]\nurl = ftp://x\n",
     "line 10: webhook w: url: it does not begin with http:// or https://"},
    /* the sense of it */
    {SERVICE "durability = strict\n" MEMBER,
     "line 1: service cache: durability: strict is not possible with redis"},
    {SERVICE "probe = 10ms\n" MEMBER,
     "line 1: service cache: probe: 10 ms is not between 20 and 60000 ms"},
    {SERVICE "lease = 61s\n" MEMBER,
     "line 1: service cache: lease: 61000 ms is not between 200 and 60000 ms"},
    {SERVICE "lease = 400ms\n" MEMBER,
     "line 1: service cache: lease: 400 ms is not longer than two heartbeats of 200 ms"},
    {SERVICE "down_after = 200ms\n" MEMBER,
     "line 1: service cache: down_after: 200 ms is not longer than probe (200 ms) and heartbeat "
     "(200 ms)"},
    {SERVICE "hang_after = 200ms\n" MEMBER,
     "line 1: service cache: hang_after: 200 ms is not longer than probe (200 ms)"},
    {SERVICE "quorum = 1\n" MEMBER, "line 1: service cache: quorum: 1 is not between the majority "
                                    "of 2 and all 3 watchers"},
    {SERVICE "quorum = 4\n" MEMBER, "line 1: service cache: quorum: 4 is not between the majority "
                                    "of 2 and all 3 watchers"},
    {SERVICE "quorum = 8\n" MEMBER,
     "line 1: service cache: quorum: 8 is more than the 7 watchers there can be"},
    {SERVICE "parallel_syncs = 8\n" MEMBER,
     "line 1: service cache: parallel_syncs: 8 is not between 1 and 7"},
    {SERVICE "rate = 9/10min\n" MEMBER,
     "line 1: service cache: rate: more than 8 failovers cannot be counted"},
    {SERVICE "rate = 5/10ms\n" MEMBER,
     "line 1: service cache: rate: the period is shorter than a second"},
    {SERVICE "vip = nowhere/24\n" MEMBER,
     "line 1: service cache: vip: \"nowhere\" is not a numeric address"},
    {SERVICE "vip = 10.0.0.9/33\n" MEMBER,
     "line 1: service cache: vip: the prefix of 10.0.0.9 is not between 1 and 32"},
    {SERVICE "vip = 127.0.0.9/8\n" MEMBER,
     "line 1: service cache: vip: 127.0.0.9 is not an address of one host"},
    {SERVICE "vip = ff02::9/64\n" MEMBER,
     "line 1: service cache: vip: ff02::9 is not an address of one host"},
    {SERVICE "vip_interface = an-interface-too-long\n" MEMBER,
     "line 1: service cache: vip_interface: not the name of an interface"},
    {SERVICE "vip = 10.0.0.9/24\n" MEMBER,
     "line 1: service cache: vip: member a has no agent that could hold it"},
    {SERVICE "vip = 10.0.0.1/24\n" MEMBER "agent = db1\n",
     "line 1: service cache: vip: 10.0.0.1 is the address of member cache/a already"},
    {SERVICE "on_quorum_loss = hold\n" MEMBER MEMBER_B,
     "line 4: member cache/a: agent: none, but the service asks for on_quorum_loss = hold"},
    {SERVICE "on_quorum_loss = hold\n" MEMBER "agent = db1\n",
     "line 1: service cache: on_quorum_loss: nobody could keep the lease: there is no other "
     "member"},
    {SERVICE "on_quorum_loss = hold\n" MEMBER "agent = db1\nagent_port = 6379\n" MEMBER_B
             "agent = db2\n",
     "line 4: member cache/a: agent_port: 6379 is the port of member cache/a"},
    {SERVICE "on_quorum_loss = hold\n" MEMBER "agent = db1\n" MEMBER_B
             "agent = db2\nagent_port = 7000\n"
             "[service other]\nengine = redis\n[member other/x]\nhost = 10.0.0.2\nport = 7000\n",
     "line 8: member cache/b: agent_port: 7000 is the port of member other/x"},
    {SERVICE "on_quorum_loss = yes\n" MEMBER,
     "line 3: service cache: on_quorum_loss: \"yes\" is not fence or hold"},
    {SERVICE MEMBER "agent = db1\n" MEMBER_B "agent = db1\n",
     "line 7: member cache/b: agent: db1 serves member a of the same service already"},
    {SERVICE MEMBER "priority = never\n",
     "line 1: service cache: the priority of every member is never"},
    {SERVICE MEMBER "follow = c\n",
     "line 3: member cache/a: follow: the service has no member \"c\""},
    {SERVICE MEMBER "follow = a\n", "line 3: member cache/a: follow: it would follow itself"},
    {SERVICE MEMBER "follow = b\n" MEMBER_B "follow = a\n",
     "line 3: member cache/a: follow: it would follow itself"},
    {SERVICE "[member cache/a]\nhost = 10.0.0.300\nport = 1\n",
     "line 3: member cache/a: host: \"10.0.0.300\" is no address and no host name"},
    {GOOD "[service other]\nengine = redis\n[member other/x]\nhost = 10.0.0.1\nport = 6379\n",
     "line 8: member other/x: host: 10.0.0.1 port 6379 is the address of member cache/a already"},
    {SERVICE "[member cache/a]\nhost = FD00::1\nport = 1\n[member cache/b]\nhost = fd00:0::0:1\n"
             "port = 1\n",
     "line 6: member cache/b: host: fd00:0::0:1 port 1 is the address of member cache/a already"},
    {SERVICE "vip = 10.0.0.9/24\n" MEMBER "agent = db1\n[service other]\nengine = redis\n"
             "vip = 10.0.0.9/32\n[member other/x]\nhost = h\nport = 1\nagent = db1\n",
     "line 8: service other: vip: 10.0.0.9 is the vip of service cache already"},
    {GOOD "[webhook w]\nurl = https://u:p@h/\n",
     "line 6: webhook w: url: user and password do not belong there"},
    {GOOD "[webhook w]\nurl = https://:80/\n", "line 6: webhook w: url: no host"},
    {GOOD "[webhook w]\nurl = https://h/a b\n",
     "line 6: webhook w: url: a character that must be percent-encoded"},
    {GOOD "[webhook w]\nurl = http://h/\n",
     "line 6: webhook w: url: http:// to another host would go there in the clear: use https://, "
     "or say insecure = yes"},
    {GOOD "[webhook w]\nurl = http://127.evil.example/\ninsecure = no\n",
     "line 6: webhook w: url: http:// to another host would go there in the clear: use https://, "
     "or say insecure = yes"},
    {GOOD "[webhook w]\nurl = https://h/\nservice = other\n",
     "line 6: webhook w: service: there is no service \"other\""},
};

static int setup(void **state)
{
    *state = calloc(2, sizeof(struct ha_config));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

/* An exact copy, so that a sanitizer sees a read past the end of a text without terminator. */
static int parse(const char *text, struct ha_config *ret, struct ha_err *err)
{
    size_t size = strlen(text);
    char *copy = malloc(size == 0 ? 1 : size);
    int rv;

    assert_non_null(copy);
    memcpy(copy, text, size);
    rv = ha_config_parse(copy, size, WATCHERS, ret, err);
    free(copy);
    return rv;
}

static void test_bad_texts_are_explained(void **state)
{
    struct ha_config *config = *state;

    for (size_t i = 0; i < HA_ARRAY_LEN(bad); i++) {
        struct ha_err err = {0};

        memset(config, 0x5a, sizeof(*config));
        assert_int_equal(parse(bad[i].text, config, &err), HA_EINVAL);
        print_message("# %s\n", err.text);
        assert_string_equal(err.text, bad[i].want);
        /* Nothing half done. */
        assert_int_equal(config->service_count, 0x5a5a5a5a);
        assert_int_equal(parse(bad[i].text, config, NULL), HA_EINVAL);
    }
}

static void test_zero_byte_is_refused(void **state)
{
    static const char text[] = SERVICE "# \0\n" MEMBER;
    struct ha_err err = {0};

    assert_int_equal(ha_config_parse(text, sizeof(text) - 1, WATCHERS, *state, &err), HA_EINVAL);
    assert_string_equal(err.text, "line 3: a control character");
}

static void test_limits(void **state)
{
    struct ha_config *config = *state;
    char *text = calloc(1, HA_CONFIG_TEXT_MAX + 2);
    struct ha_err err = {0};
    size_t size = 0;

    assert_non_null(text);
    memset(text, '\n', HA_CONFIG_TEXT_MAX + 1);
    assert_int_equal(ha_config_parse(text, HA_CONFIG_TEXT_MAX + 1, WATCHERS, config, &err),
                     HA_EFULL);
    assert_string_equal(err.text, "the text has 786433 bytes, the limit is 786432");
    assert_int_equal(ha_config_parse(text, HA_CONFIG_TEXT_MAX, WATCHERS, config, &err), HA_OK);
    for (unsigned i = 0; i <= HA_SERVICES_MAX; i++)
        size += (size_t)snprintf(text + size, HA_CONFIG_TEXT_MAX - size,
                                 "[service s%u]\nengine=redis\n[member s%u/a]\n"
                                 "host=10.1.%u.%u\nport=1\n",
                                 i, i, i / 256, i % 256);
    assert_int_equal(ha_config_parse(text, size, WATCHERS, config, &err), HA_EINVAL);
    assert_string_equal(err.text, "line 5121: service s1024: more than 1024 services");
    size = (size_t)snprintf(text, HA_CONFIG_TEXT_MAX, "%s", SERVICE);
    for (unsigned i = 0; i <= HA_MEMBERS_MAX; i++)
        size += (size_t)snprintf(text + size, HA_CONFIG_TEXT_MAX - size,
                                 "[member cache/m%u]\nhost=h%u\nport=1\n", i, i);
    assert_int_equal(ha_config_parse(text, size, WATCHERS, config, &err), HA_EINVAL);
    assert_string_equal(err.text, "line 24: member cache/m7: more than 7 members");
    size = 0;
    for (unsigned i = 0; i <= HA_WEBHOOKS_MAX; i++)
        size += (size_t)snprintf(text + size, HA_CONFIG_TEXT_MAX - size,
                                 "[webhook w%u]\nurl=https://h/\n", i);
    assert_int_equal(ha_config_parse(text, size, WATCHERS, config, &err), HA_EINVAL);
    assert_string_equal(err.text, "line 17: webhook w8: more than 8 webhooks");
    free(text);
}

static const char whole[] = "\xef\xbb\xbf# A comment\r\n"
                            "; another\n"
                            "[defaults] ; for all\n"
                            "  engine = postgresql\n"
                            "\tdown_after = 2s\n"
                            "vip_interface = eth1\n"
                            "\n"
                            "[service cache]\n"
                            "engine = redis\n"
                            "vip = fd00::100/64\n"
                            "quorum = 3\n"
                            "loss_budget = any\n"
                            "rate = any\n"
                            "lease=3s ; inline\n"
                            "  [member   cache/a]\n"
                            "    agent = db1\n"
                            "    host  = 10.0.0.1\n"
                            "    port  = 6379\n"
                            "[service main]\n"
                            "durability = strict\n"
                            "vip_interface =\n"
                            "[member main/a]\n"
                            "host = db1.example.org\n"
                            "port = 5432\n"
                            "[webhook ops]\n"
                            "url = https://h:80/?a=b;c\n"
                            "[member cache/b]\n"
                            "agent = db2\n"
                            "host = 10.0.0.2\n"
                            "port = 6379\n"
                            "priority = never\n"
                            "follow = a";

static void test_good_text(void **state)
{
    struct ha_config *config = *state;
    const struct ha_service_config *cache = &config->services[0], *main = &config->services[1];
    struct ha_err err = {0};

    if (parse(whole, config, &err) != HA_OK)
        fail_msg("%s", err.text);
    assert_int_equal(config->service_count, 2);
    assert_string_equal(cache->name, "cache");
    assert_int_equal(cache->engine, HA_ENGINE_REDIS);
    assert_string_equal(cache->vip, "fd00::100");
    assert_int_equal(cache->vip_prefix, 64);
    assert_string_equal(cache->vip_interface, "eth1");
    assert_int_equal(cache->quorum, 3);
    assert_true(cache->loss_budget_bytes == UINT64_MAX);
    assert_int_equal(cache->rate_count, 0);
    assert_int_equal(cache->lease_ms, 3000);
    assert_int_equal(cache->down_after_ms, 2000);
    assert_int_equal(cache->probe_ms, 200);
    assert_int_equal(cache->member_count, 2);
    assert_string_equal(cache->members[0].agent, "db1");
    assert_int_equal(cache->members[0].priority, HA_PRIORITY_DEFAULT);
    assert_int_equal(cache->members[1].priority, HA_PRIORITY_NEVER);
    assert_string_equal(cache->members[1].follow, "a");
    assert_string_equal(main->name, "main");
    assert_int_equal(main->engine, HA_ENGINE_POSTGRESQL);
    assert_int_equal(main->durability, HA_DURABILITY_STRICT);
    assert_string_equal(main->vip_interface, "");
    assert_string_equal(main->members[0].host, "db1.example.org");
    assert_int_equal(config->webhook_count, 1);
    assert_string_equal(config->webhooks[0].url, "https://h:80/?a=b;c");
    assert_int_equal(parse("", config, &err), HA_OK);
    assert_int_equal(config->service_count, 0);
    assert_int_equal(parse(GOOD "[webhook a]\nurl = http://127.0.0.1:80/\n"
                                "[webhook b]\nurl = http://[::1]:80/\n"
                                "[webhook c]\nurl = http://localhost\n"
                                "[webhook d]\nurl = http://h/\ninsecure = yes\n",
                           config, &err),
                     HA_OK);
    assert_false(ha_webhook_is_in_the_clear(&config->webhooks[0]));
    assert_true(ha_webhook_is_in_the_clear(&config->webhooks[3]));
}

/* Without a set of watchers only what depends on it is left unchecked. */
static void test_unknown_watchers(void **state)
{
    static const char text[] = SERVICE "quorum = 7\n" MEMBER;

    assert_int_equal(ha_config_parse(text, sizeof(text) - 1, 0, *state, NULL), HA_OK);
    assert_int_equal(ha_config_parse(text, sizeof(text) - 1, WATCHERS, *state, NULL), HA_EINVAL);
}

static void test_rendered_text(void **state)
{
    struct ha_config *config = *state;
    char *text = NULL;

    assert_int_equal(parse(whole, config, NULL), HA_OK);
    assert_int_equal(ha_config_render(config, &text, NULL), HA_OK);
    assert_string_equal(text, "[service cache]\n"
                              "engine = redis\n"
                              "vip = fd00::100/64\n"
                              "vip_interface = eth1\n"
                              "quorum = 3\n"
                              "down_after = 2000ms\n"
                              "lease = 3000ms\n"
                              "rate = any\n"
                              "loss_budget = any\n"
                              "\n"
                              "[member cache/a]\n"
                              "agent = db1\n"
                              "host = 10.0.0.1\n"
                              "port = 6379\n"
                              "\n"
                              "[member cache/b]\n"
                              "agent = db2\n"
                              "host = 10.0.0.2\n"
                              "port = 6379\n"
                              "priority = never\n"
                              "follow = a\n"
                              "\n"
                              "[service main]\n"
                              "engine = postgresql\n"
                              "durability = strict\n"
                              "down_after = 2000ms\n"
                              "\n"
                              "[member main/a]\n"
                              "host = db1.example.org\n"
                              "port = 5432\n"
                              "\n"
                              "[webhook ops]\n"
                              "url = https://h:80/?a=b;c\n");
    free(text);
}

static void test_rendered_text_reads_back(void **state)
{
    struct ha_config *config = *state, *again = config + 1;
    struct gen g;

    for (uint64_t seed = 0; seed < 200; seed++) {
        struct ha_err err = {0};
        char *text = NULL;
        size_t size = 0;

        gen_seed(&g, seed, seed % 2 == 0);
        gen_sound_config(&g, config, (uint32_t)seed % 20);
        if (ha_config_check(config, WATCHERS, &err) != HA_OK)
            fail_msg("seed %lu: %s", (unsigned long)seed, err.text);
        assert_int_equal(ha_config_render(config, &text, &size), HA_OK);
        assert_int_equal(size, strlen(text));
        if (ha_config_parse(text, size, WATCHERS, again, &err) != HA_OK)
            fail_msg("seed %lu: %s", (unsigned long)seed, err.text);
        assert_memory_equal(config, again, sizeof(*config));
        free(text);
    }
}

/* A configuration at its limits is one text, is checked fast, and fits what the log can carry. */
static void test_largest(void **state)
{
    struct ha_config *config = *state, *again = config + 1;
    struct ha_err err = {0};
    struct gen g;
    char *text = NULL;
    size_t size = 0;

    gen_seed(&g, 1, false);
    gen_sound_config(&g, config, HA_SERVICES_MAX);
    assert_int_equal(ha_config_render(config, &text, &size), HA_OK);
    print_message("# %u services: %zu bytes of text\n", config->service_count, size);
    if (size <= HA_CONFIG_TEXT_MAX) {
        assert_int_equal(ha_config_parse(text, size, WATCHERS, again, &err), HA_OK);
        assert_memory_equal(config, again, sizeof(*config));
    }
    free(text);
}

/* Damaged texts are refused or still make a sound configuration. */
static void test_damaged(void **state)
{
    static const char letters[] = "\n\n[]=;/# .-\t0159azservicemember";
    struct ha_config *config = *state;
    uint32_t accepted = 0;
    struct gen g;

    gen_seed(&g, 7, false);
    for (uint32_t run = 0; run < 2000; run++) {
        char text[sizeof(whole)];

        memcpy(text, whole, sizeof(whole));
        for (uint32_t i = gen_below(&g, 4); i > 0; i--)
            text[gen_below(&g, sizeof(whole) - 1)] = letters[gen_below(&g, sizeof(letters) - 1)];
        if (parse(text, config, NULL) != HA_OK)
            continue;
        accepted++;
        assert_int_equal(ha_config_check(config, WATCHERS, NULL), HA_OK);
    }
    print_message("# %u of 2000 damaged texts were still good\n", accepted);
    assert_true(accepted > 100 && accepted < 2000);
}

static const struct {
    const char *old, *new;
    const char *want; /* lines */
} diffs[] = {
    {GOOD, GOOD, ""},
    {GOOD, SERVICE "down_after = 800ms\n" MEMBER, "service cache: down_after 1000ms -> 800ms\n"},
    {SERVICE "vip = 10.0.0.9/24\nquorum=3\n" MEMBER "agent = db1\n", GOOD,
     "service cache: vip 10.0.0.9/24 -> none\n"
     "service cache: quorum 3 -> majority\n"
     "member cache/a: agent db1 -> none\n"},
    {GOOD, GOOD "[member cache/b]\nhost = h\nport = 2\npriority = never\n",
     "member cache/b added: host h, port 2, priority never\n"},
    {GOOD MEMBER_B, GOOD, "member cache/b removed\n"},
    {GOOD, "[service new]\nengine = redis\nrate = 2/1h\n[member new/a]\nhost = h\nport = 1\n",
     "service cache removed\n"
     "service new added: engine redis, rate 2/1h\n"
     "member new/a added: host h, port 1\n"},
    {GOOD "[webhook a]\nurl = https://a/\n[webhook b]\nurl = https://b/\n",
     GOOD "[webhook b]\nurl = https://c/\nsecret = s\n[webhook c]\nurl = https://c/\n",
     "webhook a removed\n"
     "webhook b: url https://b/ -> https://c/\n"
     "webhook b: secret none -> s\n"
     "webhook c added: url https://c/\n"},
};

#define LINES_SIZE 4096u

static void add_line(void *arg, const char *line)
{
    assert_int_equal(ha_text_append(arg, LINES_SIZE, "%s\n", line), HA_OK);
}

static void test_diff(void **state)
{
    struct ha_config *old = *state, *new = old + 1;

    for (size_t i = 0; i < HA_ARRAY_LEN(diffs); i++) {
        char lines[LINES_SIZE] = "";
        uint32_t count, want = 0;

        assert_int_equal(parse(diffs[i].old, old, NULL), HA_OK);
        assert_int_equal(parse(diffs[i].new, new, NULL), HA_OK);
        count = ha_config_diff(old, new, add_line, lines);
        assert_string_equal(lines, diffs[i].want);
        for (const char *at = lines; (at = strchr(at, '\n')) != NULL; at++)
            want++;
        assert_int_equal(count, want);
    }
    {
        char lines[LINES_SIZE] = "";

        assert_int_equal(parse(GOOD, new, NULL), HA_OK);
        assert_int_equal(ha_config_diff(NULL, new, add_line, lines), 2);
        assert_string_equal(lines, "service cache added: engine redis\n"
                                   "member cache/a added: host 10.0.0.1, port 6379\n");
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_bad_texts_are_explained, setup, teardown),
    cmocka_unit_test_setup_teardown(test_zero_byte_is_refused, setup, teardown),
    cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
    cmocka_unit_test_setup_teardown(test_good_text, setup, teardown),
    cmocka_unit_test_setup_teardown(test_unknown_watchers, setup, teardown),
    cmocka_unit_test_setup_teardown(test_rendered_text, setup, teardown),
    cmocka_unit_test_setup_teardown(test_rendered_text_reads_back, setup, teardown),
    cmocka_unit_test_setup_teardown(test_largest, setup, teardown),
    cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
    cmocka_unit_test_setup_teardown(test_diff, setup, teardown),
};

HA_TEST_MAIN("wire/config", tests)
