/* A list that is told item by item reads like one that is told whole. */
#include "lib/wire/json.h"

#include <stdlib.h>

#include "tests/support/cmocka_ha.h"

static bool next_number(void *ctx, json_t **ret)
{
    int *left = ctx;

    if (*left == 0)
        return false;
    *ret = json_integer((*left)--);
    return true;
}

static void check(json_t *head, int count, const char *want)
{
    char *text = ha_json_dump_list(head, "all", next_number, &count);

    assert_non_null(text);
    assert_string_equal(text, want);
    free(text);
    json_decref(head);
}

static void test_list(void **state)
{
    (void)state;
    check(json_object(), 0, "{\"all\":[]}");
    check(json_object(), 1, "{\"all\":[1]}");
    check(json_pack("{s:i}", "index", 7), 0, "{\"index\":7,\"all\":[]}");
    check(json_pack("{s:i}", "index", 7), 3, "{\"index\":7,\"all\":[3,2,1]}");
}

static bool next_missing(void *ctx, json_t **ret)
{
    (void)ctx;
    *ret = NULL; /* there was no memory for it */
    return true;
}

static void test_nothing_is_left_out(void **state)
{
    json_t *head = json_object();

    (void)state;
    assert_null(ha_json_dump_list(head, "all", next_missing, NULL));
    assert_null(ha_json_dump_list(NULL, "all", next_missing, NULL));
    json_decref(head);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_list),
    cmocka_unit_test(test_nothing_is_left_out),
};

HA_TEST_MAIN("wire/json", tests)
