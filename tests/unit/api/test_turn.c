/* A service that waits behind others for its first primary is told so, and what it waits for else
 * is told first. */
#include <jansson.h>
#include <string.h>

#include "lib/api/control.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/play.h"

static const char *query(const void *ctx, const char *key)
{
    (void)ctx;
    (void)key;
    return NULL;
}

/* What is answered while so many others are promoted. */
static json_t *answer(const struct play *play, const char *path, uint32_t beginning)
{
    const struct ha_api_request request = {.method = "GET",
                                           .path = path,
                                           .query = query,
                                           .body = "",
                                           .peer = "ctl/anna",
                                           .role = HA_API_VIEW};
    const struct ha_api_view view = {.watcher = play->world->w,
                                     .now_ms = play->world->now_ms,
                                     .wall_ms = play->world->wall_ms,
                                     .acting = true,
                                     .leader = "w1",
                                     .beginning = beginning};
    struct ha_api_reply reply;
    json_t *json;

    ha_api_handle(&request, &view, &reply);
    assert_int_equal(reply.status, 200);
    json = json_loadb(reply.body, reply.body_size, 0, NULL);
    assert_non_null(json);
    ha_api_reply_fini(&reply);
    return json;
}

/* True: both the state and the reasons say that it waits for its turn. */
static bool is_told(const struct play *play, uint32_t beginning)
{
    json_t *status = answer(play, "/v1/status", beginning);
    json_t *why_not = answer(play, "/v1/services/cache/why-not", beginning);
    const json_t *service = json_array_get(json_object_get(status, "services"), 0);
    const char *why = json_string_value(json_object_get(service, "why"));
    bool told = strstr(why, "waiting for its turn") != NULL, reasoned = false;
    const json_t *reason;
    size_t at;

    json_array_foreach(json_object_get(why_not, "reasons"), at, reason) reasoned =
        reasoned || strcmp(json_string_value(reason), why) == 0;
    if (told) {
        print_message("# %s\n", why);
        assert_true(reasoned);
        assert_non_null(strstr(why, "100 services"));
    }
    json_decref(status);
    json_decref(why_not);
    return told;
}

static void test_it_is_told_that_it_waits_for_its_turn(void **state)
{
    struct play *play = play_new(HA_DURABILITY_ASYNC);

    (void)state;
    assert_false(is_told(play, 100)); /* nobody could be chosen yet, and that is what is told */
    for (unsigned i = 0; i < 20 && play->promoted == 0; i++)
        play_rounds(play, 1, true);
    assert_int_not_equal(play->promoted, 0);
    assert_true(is_told(play, 100));
    assert_false(is_told(play, 0));
    assert_int_equal(world_commit(play->world, &play->promote), HA_OK);
    assert_false(is_told(play, 100)); /* it is being promoted */
    play_free(play);
}

/* Who had a primary waits for nobody. */
static void test_a_failover_does_not(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_SYNC);

    (void)state;
    play_primary_dies(play);
    assert_int_not_equal(play->promoted, 0);
    assert_false(is_told(play, 100));
    play_free(play);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_it_is_told_that_it_waits_for_its_turn),
    cmocka_unit_test(test_a_failover_does_not),
};

HA_TEST_MAIN("api/turn", tests)
