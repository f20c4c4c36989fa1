/* What Redis says of itself becomes facts; what is malformed is refused, never guessed. */
#include "agents/redis/info.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"

#define ID_A "39f5a9f7bf352fa06fceb6bfb83249f68a93e0af"
#define ID_B "ce3c783111a1052499e3d4201240f73cf83f4f76"
#define ID_0 "0000000000000000000000000000000000000000"
#define RUN "e30f835824bed54779b7bdd9c8c7d15223e0f9fb"
#define SERVER "# Server\r\nredis_version:7.0.15\r\nprocess_id:4242\r\nrun_id:" RUN "\r\n"
#define KEYS "db0:keys=1,expires=0,avg_ttl=0\r\n"
#define EMPTY_PRIMARY "role:master\r\nconnected_slaves:2\r\nmaster_replid:" ID_A "\r\n"
#define PRIMARY EMPTY_PRIMARY KEYS
#define REPLICA(link, offset)                                                       \
    "role:slave\r\nmaster_host:db1\r\nmaster_port:6379\r\nmaster_link_status:" link \
    "\r\nslave_repl_offset:" offset "\r\nmaster_replid:" ID_A "\r\n"

static const struct {
    const char *name;
    const char *text;
    int want_code;
    enum ha_answer answer;
    enum ha_role role;
    uint64_t offset;
    uint32_t lineage_count;
    uint64_t end; /* of the second step */
    bool link_up, copying, read_only, writable;
} rows[] = {
    {"primary", SERVER PRIMARY "master_repl_offset:77\r\nsecond_repl_offset:-1\r\n", HA_OK,
     HA_ANSWER_OK, HA_ROLE_PRIMARY, 77, 1, 0, false, false, false, true},
    {"promoted primary keeps the id it came from",
     SERVER PRIMARY "master_replid2:" ID_B
                    "\r\nmaster_repl_offset:900\r\nsecond_repl_offset:501\r\n",
     HA_OK, HA_ANSWER_OK, HA_ROLE_PRIMARY, 900, 2, 500, false, false, false, true},
    {"an all-zero second id is none",
     SERVER PRIMARY "master_replid2:" ID_0 "\r\nsecond_repl_offset:501\r\n", HA_OK, HA_ANSWER_OK,
     HA_ROLE_PRIMARY, 0, 1, 0, false, false, false, true},
    {"replica, what was read but not applied does not count",
     SERVER REPLICA("up", "100") "slave_read_repl_offset:5000\r\nslave_read_only:1\r\n"
                                 "master_repl_offset:100\r\n",
     HA_OK, HA_ANSWER_OK, HA_ROLE_REPLICA, 100, 1, 0, true, false, true, true},
    {"replica without its upstream keeps its history", SERVER REPLICA("down", "100"), HA_OK,
     HA_ANSWER_OK, HA_ROLE_REPLICA, 100, 1, 0, false, false, false, true},
    {"replica that never synced has no history", SERVER REPLICA("down", "1"), HA_OK, HA_ANSWER_OK,
     HA_ROLE_REPLICA, 1, 0, 0, false, false, false, true},
    {"primary that never had data has none", SERVER EMPTY_PRIMARY, HA_OK, HA_ANSWER_OK,
     HA_ROLE_PRIMARY, 0, 0, 0, false, false, false, true},
    {"primary that was emptied keeps its history", SERVER EMPTY_PRIMARY "master_repl_offset:70\r\n",
     HA_OK, HA_ANSWER_OK, HA_ROLE_PRIMARY, 70, 1, 0, false, false, false, true},
    {"replica of such a primary has none", SERVER REPLICA("up", "0"), HA_OK, HA_ANSWER_OK,
     HA_ROLE_REPLICA, 0, 0, 0, true, false, false, true},
    {"unless that has gone, perhaps with what did not come any more", SERVER REPLICA("down", "0"),
     HA_OK, HA_ANSWER_OK, HA_ROLE_REPLICA, 0, 1, 0, false, false, false, true},
    {"replica that copied data before anything was written", SERVER REPLICA("up", "0") KEYS, HA_OK,
     HA_ANSWER_OK, HA_ROLE_REPLICA, 0, 1, 0, true, false, false, true},
    {"replica in a full copy", SERVER REPLICA("down", "9") "master_sync_in_progress:1\r\n", HA_OK,
     HA_ANSWER_OK, HA_ROLE_REPLICA, 9, 1, 0, false, true, false, true},
    {"loading: alive, and its ids mean nothing yet", SERVER PRIMARY "loading:1\r\n", HA_OK,
     HA_ANSWER_STARTING, HA_ROLE_PRIMARY, 0, 0, 0, false, false, false, true},
    {"append-only file on a full disk",
     SERVER PRIMARY "aof_enabled:1\r\naof_last_write_status:err\r\n", HA_OK, HA_ANSWER_OK,
     HA_ROLE_PRIMARY, 0, 1, 0, false, false, false, false},
    {"a switched off append-only file does not matter",
     SERVER PRIMARY "aof_enabled:0\r\naof_last_write_status:err\r\n", HA_OK, HA_ANSWER_OK,
     HA_ROLE_PRIMARY, 0, 1, 0, false, false, false, true},
    {"lines may end in LF alone",
     "role:master\nrun_id:" RUN "\nmaster_replid:" ID_A "\ndb0:keys=1\n", HA_OK, HA_ANSWER_OK,
     HA_ROLE_PRIMARY, 0, 1, 0, false, false, false, true},
    {"no role", SERVER "master_replid:" ID_A "\r\n", HA_EPROTO, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"unknown role", SERVER "role:queen\r\nmaster_replid:" ID_A "\r\n", HA_EPROTO, 0, 0, 0, 0, 0, 0,
     0, 0, 0},
    {"no run id", PRIMARY, HA_EPROTO, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"negative offset", SERVER PRIMARY "master_repl_offset:-5\r\n", HA_EPROTO, 0, 0, 0, 0, 0, 0, 0,
     0, 0},
    {"offset with a tail", SERVER PRIMARY "master_repl_offset:5x\r\n", HA_EPROTO, 0, 0, 0, 0, 0, 0,
     0, 0, 0},
    {"offset over 63 bits", SERVER PRIMARY "master_repl_offset:9223372036854775808\r\n", HA_EPROTO,
     0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"id too short", SERVER "role:master\r\nmaster_replid:39f5\r\n", HA_EPROTO, 0, 0, 0, 0, 0, 0, 0,
     0, 0},
    {"id not hexadecimal",
     SERVER "role:master\r\nmaster_replid:zzf5a9f7bf352fa06fceb6bfb83249f68a93e0af\r\n", HA_EPROTO,
     0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"port out of range", SERVER REPLICA("up", "1") "master_port:70000\r\n", HA_EPROTO, 0, 0, 0, 0,
     0, 0, 0, 0, 0},
    {"truth is 0 or 1", SERVER PRIMARY "loading:2\r\n", HA_EPROTO, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {"nothing", "", HA_EPROTO, 0, 0, 0, 0, 0, 0, 0, 0, 0},
};

static int run(const char *text, struct ha_redis_info *info, struct ha_sample *sample)
{
    struct ha_err err = {0};
    int rc = ha_redis_info_parse(info, text, strlen(text), &err);

    if (rc == HA_OK)
        rc = ha_redis_info_sample(info, sample, &err);
    assert_int_equal(rc, err.code);
    return rc;
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(rows); i++) {
        struct ha_redis_info info = {0};
        struct ha_sample s = {0};

        print_message("# %s\n", rows[i].name);
        assert_int_equal(run(rows[i].text, &info, &s), rows[i].want_code);
        if (rows[i].want_code != HA_OK)
            continue;
        assert_int_equal(s.answer, rows[i].answer);
        assert_int_equal(s.role, rows[i].role);
        assert_int_equal(s.position.offset, rows[i].offset);
        assert_int_equal(s.position.lineage.count, rows[i].lineage_count);
        if (s.position.lineage.count > 0) {
            assert_true(s.position.lineage.steps[0].id == ha_hash(HA_HASH_START, ID_A, 40));
            assert_true(s.position.lineage.steps[0].end == UINT64_MAX);
        }
        if (s.position.lineage.count > 1) {
            assert_true(s.position.lineage.steps[1].id == ha_hash(HA_HASH_START, ID_B, 40));
            assert_int_equal(s.position.lineage.steps[1].end, rows[i].end);
        }
        assert_int_equal(s.link_up, rows[i].link_up);
        assert_int_equal(s.copying, rows[i].copying);
        assert_int_equal(s.read_only, rows[i].read_only);
        assert_int_equal(s.writable, rows[i].writable);
    }
}

/* Sections may come one by one, and a section cut anywhere is a refusal or plain facts, no crash.
 */
static void test_pieces(void **state)
{
    static const char text[] = SERVER PRIMARY
        "slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=0\r\n"
        "slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\n"
        "slave2:ip=::1,port=6379,state=online,offset=15,lag=1\r\n"
        "min_slaves_good_slaves:0\r\n# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n";
    struct ha_redis_info info = {0};
    struct ha_sample s = {0};

    (void)state;
    assert_int_equal(ha_redis_info_parse(&info, SERVER, strlen(SERVER), NULL), HA_OK);
    assert_int_equal(run(text + strlen(SERVER), &info, &s), HA_OK);
    assert_int_equal(info.process_id, 4242);
    assert_int_equal(info.online, 2);
    assert_int_equal(info.acked[0], 14);
    assert_int_equal(info.acked[1], 15);
    assert_true(info.has_keys);
    assert_string_equal(s.text, "min-replicas-to-write is set and no replica is good");
    for (size_t size = 0; size < sizeof(text); size++) {
        struct ha_redis_info part = {0};

        (void)ha_redis_info_parse(&part, text, size, NULL);
    }
}

static void test_replica_facts(void **state)
{
    static const struct {
        const char *tail;
        uint32_t want_ms;
    } idle[] = {
        {"master_last_io_seconds_ago:3\r\n", 3000},
        {"master_last_io_seconds_ago:-1\r\nmaster_link_down_since_seconds:7\r\n", 7000},
        {"master_last_io_seconds_ago:-1\r\nmaster_link_down_since_seconds:-1\r\n", UINT32_MAX},
        {"master_last_io_seconds_ago:99999999\r\n", UINT32_MAX},
    };

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(idle); i++) {
        char text[512];
        struct ha_redis_info info = {0};
        struct ha_sample s = {0};

        (void)snprintf(text, sizeof(text), "%s%s", SERVER REPLICA("up", "5"), idle[i].tail);
        assert_int_equal(run(text, &info, &s), HA_OK);
        assert_int_equal(s.link_idle_ms, idle[i].want_ms);
        assert_string_equal(s.upstream_host, "db1");
        assert_int_equal(s.upstream_port, 6379);
        assert_true(s.run_id == ha_hash(HA_HASH_START, RUN, 40));
    }
}

static void test_overlong_values(void **state)
{
    char text[2048] = SERVER PRIMARY "config_file:";
    size_t at = strlen(text);
    struct ha_redis_info info = {0};

    (void)state;
    memset(text + at, 'x', sizeof(text) - at);
    assert_int_equal(ha_redis_info_parse(&info, text, sizeof(text), NULL), HA_EPROTO);
    /* An unknown line may be as long as it likes, a known one may not hold a NUL. */
    text[at - strlen("config_file:")] = 'x';
    assert_int_equal(ha_redis_info_parse(&info, text, sizeof(text), NULL), HA_OK);
    assert_int_equal(ha_redis_info_parse(&info, "role:mas\0ter\n", 13, NULL), HA_EPROTO);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_table),
    cmocka_unit_test(test_pieces),
    cmocka_unit_test(test_replica_facts),
    cmocka_unit_test(test_overlong_values),
};

HA_TEST_MAIN("agents/redis_info", tests)
