/* When memory runs out, at any place, what lib/wire makes is refused whole: never half of it. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/wire/config.h"
#include "lib/wire/json.h"
#include "lib/wire/notice.h"
#include "tests/support/alloc.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/wire/generate.h"

#define TRIES_MAX 2000u

static const char services[] =
    "[service cache]\nengine = redis\n[member cache/a]\nhost = 10.0.0.1\n"
    "port = 6379\n[webhook ops]\nurl = http://127.0.0.1/\n";

static void test_config(void **state)
{
    struct ha_config *config = calloc(1, sizeof(*config));
    struct ha_err err;
    char *text = NULL;
    unsigned n = 0;
    int code;

    (void)state;
    assert_non_null(config);
    do {
        err = (struct ha_err){0};
        alloc_fail_at(++n);
        code = ha_config_parse(services, strlen(services), 3, config, &err);
        if (alloc_stop()) {
            assert_int_equal(code, HA_ENOMEM);
            assert_string_not_equal(err.text, "");
            assert_int_equal(config->service_count, 0);
        }
    } while (code != HA_OK && n < TRIES_MAX);
    assert_int_equal(code, HA_OK);
    assert_int_equal(n, 2);
    n = 0;
    do {
        alloc_fail_at(++n);
        code = ha_config_render(config, &text, NULL);
        assert_int_equal(code, alloc_stop() ? HA_ENOMEM : HA_OK);
    } while (code != HA_OK && n < TRIES_MAX);
    assert_int_equal(n, 2);
    free(text);
    free(config);
}

/* A notice with its decision, whose texts are not all UTF-8. */
static void test_notice(void **state)
{
    struct ha_cluster *cluster = calloc(1, sizeof(*cluster));
    struct ha_notice notice = {.seq = 7,
                               .kind = HA_NOTICE_FENCED,
                               .wall_ms = 1700000000000,
                               .service = 1,
                               .service_name = "cache",
                               .text = "caf\xe9"};
    struct ha_decision decision = {
        .id = 3, .fit_count = 2, .fits = {{.name = "a"}, {.name = "b"}}, .text = "why"};
    char signature[HA_SIGNATURE_SIZE];
    char *body = NULL, *whole = NULL;
    unsigned n = 0;
    bool failed;
    int code;

    (void)state;
    assert_non_null(cluster);
    assert_int_equal(ha_notice_body("c", &notice, &decision, &whole), HA_OK);
    do {
        body = NULL;
        alloc_fail_at(++n);
        code = ha_notice_body("c", &notice, &decision, &body);
        failed = alloc_stop();
        assert_int_equal(code, body == NULL ? HA_ENOMEM : HA_OK);
        assert_true(failed || body != NULL);
        if (body != NULL)
            assert_string_equal(body, whole);
        if (failed)
            free(body);
    } while (failed && n < TRIES_MAX);
    print_message("# %u allocations, each failed once\n", n - 1);
    assert_in_range(n, 50, TRIES_MAX - 1);
    n = 0;
    do {
        alloc_fail_at(++n);
        code = ha_notice_sign("key", 3, 7, body, signature);
        assert_int_equal(code, alloc_stop() ? HA_ENOMEM : HA_OK);
    } while (code != HA_OK && n < TRIES_MAX);
    assert_in_range(n, 1, 2); /* an optimizing compiler does without the block */
    free(whole);
    free(body);
    free(cluster);
}

static void test_text(void **state)
{
    json_t *text;
    unsigned n = 0;

    (void)state;
    do {
        alloc_fail_at(++n);
        text = ha_json_text("caf\xe9");
        assert_int_equal(alloc_stop(), text == NULL);
    } while (text == NULL && n < TRIES_MAX);
    assert_string_equal(json_string_value(text), "caf?");
    json_decref(text);
}

static int setup(void **state)
{
    (void)state;
    alloc_of_jansson();
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(test_config, setup),
    cmocka_unit_test_setup(test_notice, setup),
    cmocka_unit_test_setup(test_text, setup),
};

HA_TEST_MAIN("wire/alloc", tests)
