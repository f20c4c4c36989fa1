/* What people write is taken whole or refused; nothing is guessed. */
#include "lib/base/text.h"

#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"

static const struct {
    const char *text;
    int want_code;
    uint64_t want_ms;
} durations[] = {
    {"0", HA_OK, 0},         {"250ms", HA_OK, 250},  {"2s", HA_OK, 2000},
    {"5min", HA_OK, 300000}, {"1h", HA_OK, 3600000}, {"250", HA_EINVAL, 0},
    {"-1s", HA_EINVAL, 0},   {"1.5s", HA_EINVAL, 0}, {"s", HA_EINVAL, 0},
    {"2 s", HA_EINVAL, 0},   {"2h", HA_EFULL, 0},    {"99999999999999999999s", HA_EFULL, 0},
};

static void test_duration(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(durations); i++) {
        uint64_t ms = 0;

        print_message("# %s\n", durations[i].text);
        assert_int_equal(ha_text_duration(durations[i].text, 3600000, &ms), durations[i].want_code);
        assert_int_equal(ms, durations[i].want_ms);
    }
}

static const struct {
    const char *text;
    int want_code;
    const char *want_host;
    uint16_t want_port;
} hosts[] = {
    {"db1:6379", HA_OK, "db1", 6379},
    {"db1", HA_OK, "db1", 7},
    {"[fd00::1]:5", HA_OK, "fd00::1", 5},
    {"[fd00::1]", HA_OK, "fd00::1", 7},
    {"fd00::1", HA_EINVAL, "", 0},
    {"db1:", HA_EINVAL, "", 0},
    {"db1:0", HA_EINVAL, "", 0},
    {"db1:99999", HA_EINVAL, "", 0},
    {":5", HA_EINVAL, "", 0},
    {"[fd00::1", HA_EINVAL, "", 0},
    {"a-name-that-is-too-long-here", HA_EFULL, "", 0},
};

static void test_host_port(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(hosts); i++) {
        char host[16] = "";
        uint16_t port = 0;

        print_message("# %s\n", hosts[i].text);
        assert_int_equal(ha_text_host_port(hosts[i].text, host, sizeof(host), &port, 7),
                         hosts[i].want_code);
        assert_string_equal(host, hosts[i].want_host);
        assert_int_equal(port, hosts[i].want_port);
    }
}

static void test_numbers_and_names(void **state)
{
    uint64_t v = 1;
    char hex[9];
    uint8_t raw[4];

    (void)state;
    assert_int_equal(ha_text_u64("18446744073709551615", UINT64_MAX, &v), HA_OK);
    assert_true(v == UINT64_MAX);
    assert_int_equal(ha_text_u64("18446744073709551616", UINT64_MAX, &v), HA_EFULL);
    assert_int_equal(ha_text_u64("8", 7, &v), HA_EFULL);
    assert_int_equal(ha_text_u64("", 7, &v), HA_EINVAL);
    assert_int_equal(ha_text_u64("1x", 7, &v), HA_EINVAL);
    assert_int_equal(ha_text_bytes("64KiB", 1 << 20, &v), HA_OK);
    assert_int_equal(v, 65536);
    assert_int_equal(ha_text_bytes("2MiB", 1 << 20, &v), HA_EFULL);
    assert_true(ha_text_is_name("cache-1.eu", 16));
    assert_false(ha_text_is_name("-x", 16));
    assert_false(ha_text_is_name("a b", 16));
    assert_false(ha_text_is_name("", 16));
    ha_text_hex(hex, "\x01\xab\xff\x00", 4);
    assert_string_equal(hex, "01abff00");
    assert_int_equal(ha_text_unhex(hex, raw, 4), HA_OK);
    assert_memory_equal(raw, "\x01\xab\xff\x00", 4);
    assert_int_equal(ha_text_unhex("01abff0", raw, 4), HA_EINVAL);
    assert_int_equal(ha_text_unhex("01abff0g", raw, 4), HA_EINVAL);
}

/* A cursor that failed once stays failed: a codec may ask once, at its end. */
static void test_cursor_is_bounded(void **state)
{
    uint8_t raw[8];
    struct ha_writer w;
    struct ha_reader r;
    char text[4];

    (void)state;
    ha_writer_init(&w, raw, sizeof(raw));
    ha_put_u32(&w, 0x01020304);
    ha_put_string(&w, "ab");
    assert_false(w.failed);
    ha_put_u8(&w, 1);
    assert_true(w.failed);
    assert_int_equal(w.size, 8);
    ha_reader_init(&r, raw, w.size);
    assert_int_equal(ha_get_u32(&r), 0x01020304);
    ha_get_string(&r, text, sizeof(text));
    assert_string_equal(text, "ab");
    assert_true(ha_reader_done(&r));
    assert_int_equal(ha_get_u8(&r), 0);
    assert_true(r.failed);
    assert_true(ha_crc32c(0, "123456789", 9) == 0xe3069283u);
}

/* RFC 3720, B.4; and however the bytes are cut into pieces. */
static void test_crc(void **state)
{
    uint8_t bytes[64] = {0};
    const uint8_t *const end = bytes + sizeof(bytes);

    (void)state;
    assert_true(ha_crc32c(0, bytes, 32) == 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_true(ha_crc32c(0, bytes, 32) == 0x62a8ab43u);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    assert_true(ha_crc32c(0, bytes, 32) == 0x46dd794eu);
    for (const uint8_t *from = bytes; from < end; from++) {
        uint32_t crc = 0;

        for (const uint8_t *at = from; at < end; at++) {
            crc = ha_crc32c(crc, at, 1);
            assert_true(crc == ha_crc32c(0, from, (size_t)(at + 1 - from)));
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_duration),
    cmocka_unit_test(test_host_port),
    cmocka_unit_test(test_numbers_and_names),
    cmocka_unit_test(test_cursor_is_bounded),
    cmocka_unit_test(test_crc),
};

HA_TEST_MAIN("base/text", tests)
