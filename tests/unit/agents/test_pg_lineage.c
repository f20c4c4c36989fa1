/* Timelines and forks become lineages; numbers at the beginning of a text, whatever follows. */
#include "agents/postgresql/lineage.h"

#include <string.h>

#include "agents/postgresql/parse.h"
#include "agents/postgresql/server.h"
#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"

#define SYSTEM 7300000000000000001u

static const struct {
    const char *name, *text;
    uint64_t want;
} numbers[] = {
    {"digits", "4711", 4711},
    {"what follows is not looked at", "15\t0/3000000\tno reason", 15},
    {"none", "postmaster", 0},
    {"empty", "", 0},
    {"a sign is none", "-1", 0},
    {"one of twenty digits", "18446744073709551609", 18446744073709551609u},
    {"too large", "18446744073709551616", 0},
    {"too many", "184467440737095516159", 0},
};

static void test_number(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        print_message("# %s\n", numbers[i].name);
        assert_int_equal(ha_pg_number(numbers[i].text), numbers[i].want);
    }
}

static const struct {
    const char *text;
    bool good;
    uint64_t want;
} lsns[] = {
    {"0/0", true, 0},
    {"0/3000148", true, 0x3000148},
    {"16/B374D848", true, 0x16b374d848},
    {"a/b", true, 0xa0000000b},
    {"FFFFFFFF/FFFFFFFF", true, UINT64_MAX},
    {"0/3000148\tno recovery target", true, 0x3000148},
    {"", false, 0},
    {"/1", false, 0},
    {"1/", false, 0},
    {"1", false, 0},
    {"x/1", false, 0},
    {"123456789/1", false, 0}, /* a ninth digit is no slash */
};

static void test_lsn(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lsns) / sizeof(lsns[0]); i++) {
        uint64_t got = 0;

        print_message("# \"%s\"\n", lsns[i].text);
        assert_int_equal(ha_pg_lsn(lsns[i].text, &got), lsns[i].good);
        assert_int_equal(got, lsns[i].want);
    }
}

static void test_hex(void **state)
{
    const char *end = NULL;

    (void)state;
    assert_int_equal(ha_pg_hex("0000000A0000000100000003", 8, &end), 10);
    assert_string_equal(end, "0000000100000003");
    assert_int_equal(ha_pg_hex("0000000A.history", 16, &end), 10);
    assert_string_equal(end, ".history");
    assert_int_equal(ha_pg_hex("", 8, NULL), 0);
}

static void test_in_clear(void **state)
{
    static const struct {
        const char *name;
        bool want;
        size_t size;
        const char *bytes;
    } rows[] = {
        {"nothing", false, 0, ""},
        {"SCRAM", false, 24, "R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0"},
        {"in clear", true, 9, "R\0\0\0\x08\0\0\0\x03"},
        {"half a request", true, 8, "R\0\0\0\x08\0\0\0"},
        {"a request whose rest is to hide the next", true, 9, "R\0\0\0\x17\0\0\0\x0a"},
        {"behind another", true, 18, "R\0\0\0\x08\0\0\0\x0cR\0\0\0\x08\0\0\0\x03"},
        {"let in", false, 15, "R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"},
        {"an error", false, 7, "E\0\0\0\x06S\0"},
        {"a length that is none", false, 9, "N\xff\xff\xff\xffR\0\0\0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        print_message("# %s\n", rows[i].name);
        assert_int_equal(ha_pg_asks_in_clear((const unsigned char *)rows[i].bytes, rows[i].size),
                         rows[i].want);
    }
}

/* As the server writes it: every ancestor with the end of its part, oldest first. */
#define HISTORY                            \
    "1\t0/3000148\tno recovery target\n\n" \
    "2\t0/5000000\tno recovery target\n\n" \
    "3\t0/70000A0\tno recovery target\n"

static void test_lineage(void **state)
{
    struct ha_lineage first, fourth, other;

    (void)state;
    assert_int_equal(ha_pg_lineage_parse(SYSTEM, 1, "", &first), HA_OK);
    assert_int_equal(first.count, 1);
    assert_int_equal(first.steps[0].end, UINT64_MAX);
    assert_int_equal(ha_pg_lineage_parse(SYSTEM, 4, HISTORY, &fourth), HA_OK);
    assert_int_equal(fourth.count, 4);
    assert_int_equal(fourth.steps[0].end, UINT64_MAX);
    assert_int_equal(fourth.steps[1].end, 0x70000a0);
    assert_int_equal(fourth.steps[2].end, 0x5000000);
    assert_int_equal(fourth.steps[3].end, 0x3000148);
    /* The same past has the same names. */
    assert_int_equal(fourth.steps[3].id, first.steps[0].id);
    /* One number, another fork: another timeline. */
    assert_int_equal(ha_pg_lineage_parse(SYSTEM, 2, "1\t0/3000200\tx\n", &other), HA_OK);
    assert_int_equal(other.steps[1].id, first.steps[0].id);
    assert_int_not_equal(other.steps[0].id, fourth.steps[2].id);
    /* Another cluster shares nothing. */
    assert_int_equal(ha_pg_lineage_parse(SYSTEM + 1, 1, "", &other), HA_OK);
    assert_int_not_equal(other.steps[0].id, first.steps[0].id);
}

static const struct {
    const char *name, *text;
    uint32_t timeline;
    int want;
    uint32_t count;
} histories[] = {
    {"comments and empty lines", "# by hand\n\n1\t0/1000\tx\n", 2, HA_OK, 2},
    {"spaces in place of tabs", "1 0/1000 x\n", 2, HA_OK, 2},
    {"no newline at the end", "1\t0/1000", 2, HA_OK, 2},
    {"a parent after its child", "2\t0/1000\tx\n1\t0/2000\tx\n", 3, HA_EPROTO, 0},
    {"one parent twice", "1\t0/1000\tx\n1\t0/2000\tx\n", 3, HA_EPROTO, 0},
    {"its own parent", "2\t0/1000\tx\n", 2, HA_EPROTO, 0},
    {"garbage is no entry", "\x01\xff\t0/1\n99999999999999999999\t0/1\n", 2, HA_OK, 1},
};

static void test_histories(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(histories) / sizeof(histories[0]); i++) {
        struct ha_lineage got = {0};

        print_message("# %s\n", histories[i].name);
        assert_int_equal(
            ha_pg_lineage_parse(SYSTEM, histories[i].timeline, histories[i].text, &got),
            histories[i].want);
        assert_int_equal(got.count, histories[i].count);
    }
}

static void test_long_history(void **state)
{
    struct ha_lineage got;
    char text[2000] = "";
    size_t at = 0;

    (void)state;
    for (unsigned i = 1; i < 60; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%u\t0/%X\tx\n", i, i * 0x1000);
    assert_int_equal(ha_pg_lineage_parse(SYSTEM, 60, text, &got), HA_OK);
    assert_int_equal(got.count, HA_LINEAGE_MAX);
    assert_int_equal(got.steps[1].end, 59 * 0x1000); /* the newest are kept */
}

static void test_fork(void **state)
{
    uint64_t fork = 0;

    (void)state;
    assert_int_equal(ha_pg_history_fork(4, HISTORY, 2, &fork), HA_OK);
    assert_int_equal(fork, 0x5000000);
    assert_int_equal(ha_pg_history_fork(4, HISTORY, 4, &fork), HA_OK);
    assert_int_equal(fork, UINT64_MAX);
    assert_int_equal(ha_pg_history_fork(4, HISTORY, 5, &fork), HA_ENOENT);
    assert_int_equal(ha_pg_history_fork(4, "", 1, &fork), HA_ENOENT);
}

/* Two timelines of one number are told apart by where they began. */
static void test_common(void **state)
{
    static const struct {
        const char *name;
        uint32_t a;
        const char *a_text;
        uint32_t b;
        const char *b_text;
        uint32_t want; /* 0: nothing */
        uint64_t fork;
    } rows[] = {
        {"the first ones", 1, "", 1, "", 1, UINT64_MAX},
        {"an ancestor", 1, "", 2, "1\t0/30\tx\n", 1, 0x30},
        {"a descendant", 2, "1\t0/30\tx\n", 1, "", 1, 0x30},
        {"one and the same", 2, "1\t0/30\tx\n", 2, "1\t0/30\ty\n", 2, UINT64_MAX},
        {"twins", 2, "1\t0/30\tx\n", 2, "1\t0/20\tx\n", 1, 0x20},
        {"a twin's child", 2, "1\t0/30\tx\n", 3, "1\t0/20\tx\n2\t0/50\tx\n", 1, 0x20},
        {"left later", 3, "1\t0/30\tx\n2\t0/60\tx\n", 4, "1\t0/30\tx\n2\t0/50\tx\n", 2, 0x50},
        {"numbers apart", 2, "1\t0/30\tx\n", 4, "1\t0/30\tx\n3\t0/50\tx\n", 1, 0x30},
        {"strangers", 2, "", 3, "", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t timeline = 0;
        uint64_t fork = 0;
        int code = ha_pg_history_common(rows[i].a, rows[i].a_text, rows[i].b, rows[i].b_text,
                                        &timeline, &fork);

        print_message("# %s\n", rows[i].name);
        assert_int_equal(code, rows[i].want != 0 ? HA_OK : HA_ENOENT);
        assert_int_equal(timeline, rows[i].want);
        assert_true(fork == rows[i].fork);
    }
}

static void test_apart(void **state)
{
    char text[256];
    uint32_t timeline = 0;
    uint64_t fork = 0;

    (void)state;
    assert_int_equal(ha_pg_history_parent("", &timeline, &fork), HA_ENOENT);
    assert_int_equal(ha_pg_history_parent(HISTORY, &timeline, &fork), HA_OK);
    assert_int_equal(timeline, 3);
    assert_true(fork == 0x70000a0);
    assert_int_equal(ha_pg_history_set_apart(HISTORY, 3, HISTORY, text, sizeof(text)), HA_OK);
    assert_int_equal(ha_pg_history_common(4, text, 4, HISTORY, &timeline, &fork), HA_OK);
    assert_int_equal(timeline, 3); /* and not 4, which it would be */
    assert_true(fork == 0x70000a0);
    assert_int_equal(ha_pg_history_set_apart(HISTORY, 3, HISTORY, text, 40), HA_EFULL);
    /* Theirs is left later: it differs as it is, and ours is where it ends. */
    assert_int_equal(
        ha_pg_history_set_apart(HISTORY, 3, "3\t0/8000000\tlater\n", text, sizeof(text)), HA_OK);
    assert_int_equal(ha_pg_history_parent(text, &timeline, &fork), HA_OK);
    assert_true(fork == 0x70000a0);
}

static void test_cache(void **state)
{
    const struct ha_pg_lineage_cache cache = {.run_id = 5,
                                              .system = SYSTEM,
                                              .lsn = 100,
                                              .timeline = 2,
                                              .lineage = {.count = 1, .steps = {{9, UINT64_MAX}}}};
    const struct ha_pg_lineage_cache none = {.run_id = 5, .system = SYSTEM};
    struct ha_pg_lineage_ask ask = {.system = SYSTEM, .timeline = 2, .lsn = 4000};
    struct ha_lineage got = {0};

    (void)state;
    assert_true(ha_pg_lineage_find(&cache, 5, &ask, &got)); /* a timeline holds while it grows */
    assert_int_equal(got.steps[0].id, 9);
    assert_false(ha_pg_lineage_find(&cache, 6, &ask, &got)); /* another run */
    assert_false(ha_pg_lineage_find(&none, 5, &ask, &got));
    ask.timeline = 3;
    assert_false(ha_pg_lineage_find(&cache, 5, &ask, &got));
    ask.timeline = 0; /* of the page that ends there: only at that very position */
    assert_false(ha_pg_lineage_find(&cache, 5, &ask, &got));
    ask.lsn = 100;
    assert_true(ha_pg_lineage_find(&cache, 5, &ask, &got));
    ask.system++;
    assert_false(ha_pg_lineage_find(&cache, 5, &ask, &got));
}

#define CONTROL(state)                                            \
    "pg_control version number:            1300\n"                \
    "Database system identifier:           7300000000000000001\n" \
    "Database cluster state:               " state "\n"           \
    "Latest checkpoint location:           0/3000148\n"           \
    "Latest checkpoint's REDO location:    0/3000110\n"           \
    "Latest checkpoint's TimeLineID:       3\n"

static void test_control(void **state)
{
    struct ha_pg_control got = {0};

    (void)state;
    assert_int_equal(ha_pg_control_parse(CONTROL("shut down"), &got), HA_OK);
    assert_true(got.exists && got.clean && got.was_primary);
    assert_int_equal(got.system, SYSTEM);
    assert_int_equal(got.timeline, 3);
    assert_int_equal(got.checkpoint, 0x3000148);
    got = (struct ha_pg_control){0};
    assert_int_equal(ha_pg_control_parse(CONTROL("shut down in recovery"), &got), HA_OK);
    assert_true(!got.clean && !got.was_primary);
    assert_int_equal(ha_pg_control_parse(CONTROL("in production"), &got), HA_OK);
    assert_true(!got.clean && got.was_primary);
    assert_int_equal(ha_pg_control_parse("", &got), HA_EPROTO);
    assert_int_equal(ha_pg_control_parse("Database cluster state: shut down\n", &got), HA_EPROTO);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_number),    cmocka_unit_test(test_lsn),
    cmocka_unit_test(test_hex),       cmocka_unit_test(test_lineage),
    cmocka_unit_test(test_histories), cmocka_unit_test(test_long_history),
    cmocka_unit_test(test_fork),      cmocka_unit_test(test_cache),
    cmocka_unit_test(test_common),    cmocka_unit_test(test_apart),
    cmocka_unit_test(test_in_clear),  cmocka_unit_test(test_control),
};

HA_TEST_MAIN("agents/pg_lineage", tests)
