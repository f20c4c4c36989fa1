/* A notice is a CloudEvent whatever a database said, and its signature is HMAC-SHA256. */
#include "lib/wire/notice.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "lib/base/err.h"
#include "lib/wire/json.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/wire/generate.h"

static const struct ha_notice promoted = {
    .seq = 42,
    .kind = HA_NOTICE_PROMOTED,
    .wall_ms = 1893456000123,
    .service = 7,
    .service_name = "cache",
    .epoch = 9,
    .decision = 3,
    .from = "a",
    .to = "b",
    .lost_bytes = 812,
    .text = "b is the primary",
};

static const struct ha_decision decision = {
    .id = 3,
    .service_name = "cache",
    .epoch_from = 8,
    .epoch = 9,
    .reason = HA_REASON_DOWN,
    .verdict = HA_VERDICT_CRASHED,
    .fence = HA_FENCE_REPORT,
    .agreeing = 5,
    .waited_ms = 4,
    .attempts = 1,
    .stages = {.noticed_ms = 1893456000001, .opened_ms = 1893456000123},
    .fit_count = 1,
    .fits = {{"b", {2, HA_FIT_CHOSEN, 1000, 812}}},
    .text = "two of three say so",
};

static void test_body(void **state)
{
    char *body = NULL;

    (void)state;
    assert_int_equal(ha_notice_body("prod", &promoted, &decision, &body), HA_OK);
    assert_string_equal(
        body, "{\"specversion\":\"1.0\",\"id\":\"prod-42\",\"source\":\"/hafailover/prod\","
              "\"type\":\"io.hafailover.promoted\",\"subject\":\"cache\","
              "\"time\":\"2030-01-01T00:00:00.123Z\",\"datacontenttype\":\"application/json\","
              "\"data\":{\"service\":\"cache\",\"epoch\":9,\"from\":\"a\",\"to\":\"b\","
              "\"lost_bytes\":812,\"text\":\"b is the primary\",\"decision\":3,\"epoch_from\":8,"
              "\"reason\":\"primary-down\",\"verdict\":\"crashed\",\"fence\":\"report\","
              "\"agreeing\":2,\"waited_ms\":4,\"attempts\":1,\"evidence\":\"two of three say so\","
              "\"stages\":{\"noticed\":\"2030-01-01T00:00:00.001Z\","
              "\"opened\":\"2030-01-01T00:00:00.123Z\"},\"candidates\":[{\"member\":\"b\","
              "\"fitness\":\"chosen\",\"offset\":1000,\"behind_bytes\":812}]}}");
    free(body);
}

/* Once the old primary has come back. */
static void test_body_says_what_was_found(void **state)
{
    struct ha_decision found = decision;
    char *body = NULL;

    (void)state;
    found.found = (struct ha_diverged){.epoch = 9, .bytes = 4096, .kept = HA_KEPT_WHOLE};
    assert_int_equal(ha_notice_body("prod", &promoted, &found, &body), HA_OK);
    assert_non_null(strstr(body, "\"lost_bytes\":812,"));
    assert_non_null(strstr(body, "\"found_lost_bytes\":4096}}"));
    free(body);
}

static void test_body_of_the_cluster(void **state)
{
    const struct ha_notice notice = {.seq = 1, .kind = HA_NOTICE_TEST, .wall_ms = 1, .text = "hi"};
    char *body = NULL;

    (void)state;
    assert_int_equal(ha_notice_body("c", &notice, NULL, &body), HA_OK);
    assert_string_equal(body,
                        "{\"specversion\":\"1.0\",\"id\":\"c-1\",\"source\":\"/hafailover/c\","
                        "\"type\":\"io.hafailover.test\",\"time\":\"1970-01-01T00:00:00.001Z\","
                        "\"datacontenttype\":\"application/json\","
                        "\"data\":{\"lost_bytes\":0,\"text\":\"hi\"}}");
    free(body);
}

static const struct {
    const char *text, *want;
} texts[] = {
    {"plain", "plain"},
    {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
    {"cut \xe2\x82", "cut ??"},
    {"lone \xbf end", "lone ? end"},
    {"overlong \xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf", "overlong ?? ??? ????"},
    {"surrogate \xed\xa0\x80", "surrogate ???"},
    {"past \xf4\x90\x80\x80 \xf5", "past ???? ?"},
    {"\xff\xc3\xa4\xff", "?\xc3\xa4?"},
};

static void test_text_is_utf8(void **state)
{
    struct gen g;

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(texts); i++) {
        json_t *json = ha_json_text(texts[i].text);

        assert_non_null(json);
        assert_string_equal(json_string_value(json), texts[i].want);
        json_decref(json);
    }
    gen_seed(&g, 1, false);
    for (uint32_t run = 0; run < 20000; run++) {
        char text[12] = "";
        json_t *json;

        for (size_t i = gen_below(&g, sizeof(text)); i > 0; i--)
            text[i - 1] =
                (char)(gen_below(&g, 2) == 0 ? 0x80 + gen_below(&g, 128) : 1 + gen_below(&g, 255));
        json = ha_json_text(text);
        assert_non_null(json);
        json_decref(json);
    }
}

/* A body is valid JSON for whatever the state can hold. */
static void test_any_notice(void **state)
{
    struct ha_cluster *cluster = calloc(1, sizeof(*cluster));
    struct gen g;

    (void)state;
    assert_non_null(cluster);
    for (uint64_t seed = 0; seed < 50; seed++) {
        gen_seed(&g, seed, false);
        gen_cluster(&g, cluster, 0);
        for (uint32_t i = 0; i < cluster->notice_count; i++) {
            char *body = NULL;
            json_t *json;

            assert_int_equal(
                ha_notice_body("c", &cluster->notices[i], &cluster->decisions[i], &body), HA_OK);
            json = json_loads(body, JSON_REJECT_DUPLICATES, NULL);
            assert_non_null(json);
            json_decref(json);
            free(body);
        }
    }
    free(cluster);
}

static uint32_t allocations_left;

static void *scarce_malloc(size_t size)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return malloc(size);
}

/* Each allocation fails once; all that was made before it is given back (the sanitizer looks). */
static void test_out_of_memory(void **state)
{
    uint32_t allowed = 0;
    char *body = NULL;
    int rv;

    (void)state;
    json_set_alloc_funcs(scarce_malloc, free);
    do {
        allocations_left = allowed++;
        rv = ha_notice_body("c", &promoted, &decision, &body);
        assert_true(rv == HA_OK || (rv == HA_ENOMEM && body == NULL));
    } while (rv != HA_OK);
    json_set_alloc_funcs(malloc, free);
    print_message("# a body takes %u allocations\n", allowed - 1);
    assert_true(allowed > 50);
    free(body);
}

static const struct {
    uint64_t wall_ms;
    const char *want;
} times[] = {
    {0, "1970-01-01T00:00:00.000Z"},
    {951782399999, "2000-02-28T23:59:59.999Z"},
    {951782400000, "2000-02-29T00:00:00.000Z"},
    {253402300799999, "9999-12-31T23:59:59.999Z"},
    {253402300800000, "9999-12-31T23:59:59.999Z"},
    {UINT64_MAX, "9999-12-31T23:59:59.999Z"},
};

static void test_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(times); i++) {
        char text[HA_TIME_TEXT_SIZE];

        ha_time_text(times[i].wall_ms, text);
        assert_string_equal(text, times[i].want);
    }
}

/* The calendar is written by hand: the C library's says the same of every 101st day. */
static void test_calendar(void **state)
{
    (void)state;
    for (uint64_t day = 0; day * 86400 < 253402300800; day += 101) {
        time_t seconds = (time_t)(day * 86400 + day % 86400);
        char text[HA_TIME_TEXT_SIZE], want[HA_TIME_TEXT_SIZE];
        struct tm tm;

        assert_non_null(gmtime_r(&seconds, &tm));
        assert_true(strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.007Z", &tm) > 0);
        ha_time_text((uint64_t)seconds * 1000 + 7, text);
        if (strcmp(text, want) != 0)
            fail_msg("%s is not %s", text, want);
    }
}

/* From the openssl command: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'secret key'
 */
static void test_signature(void **state)
{
    char signature[HA_SIGNATURE_SIZE] = "";

    (void)state;
    assert_int_equal(ha_notice_sign("secret key", 10, 1700000000, "{\"a\":1}", signature), HA_OK);
    assert_string_equal(signature,
                        "b29e1c760d0bbfaea97a24720bb05896237622410d21ead7969cc7e21c893539");
    assert_int_equal(ha_notice_sign("", 0, 1, "", signature), HA_EINVAL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_body),
    cmocka_unit_test(test_body_says_what_was_found),
    cmocka_unit_test(test_body_of_the_cluster),
    cmocka_unit_test(test_text_is_utf8),
    cmocka_unit_test(test_any_notice),
    cmocka_unit_test(test_time),
    cmocka_unit_test(test_calendar),
    cmocka_unit_test(test_out_of_memory),
    cmocka_unit_test(test_signature),
};

HA_TEST_MAIN("wire/notice", tests)
