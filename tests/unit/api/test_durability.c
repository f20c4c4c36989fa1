/* What people are told of durability: who counts, how many are missing, who acknowledges alone; and
 * what it takes to give up what was acknowledged. */
#include <jansson.h>
#include <stdlib.h>
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

static void ask(const struct play *play, const char *method, const char *path, const char *body,
                struct ha_api_reply *reply)
{
    const struct ha_api_request request = {.method = method,
                                           .path = path,
                                           .query = query,
                                           .body = body,
                                           .body_size = strlen(body),
                                           .peer = "ctl/anna",
                                           .role = HA_API_OPERATE};
    const struct ha_api_view view = {.watcher = play->world->w,
                                     .now_ms = play->world->now_ms,
                                     .wall_ms = play->world->wall_ms,
                                     .acting = true,
                                     .leader = "w1"};

    ha_api_handle(&request, &view, reply);
}

static json_t *answer(const struct play *play, const char *path)
{
    struct ha_api_reply reply;
    json_t *json;

    ask(play, "GET", path, "", &reply);
    assert_int_equal(reply.status, 200);
    json = json_loadb(reply.body, reply.body_size, 0, NULL);
    assert_non_null(json);
    ha_api_reply_fini(&reply);
    return json;
}

static void assert_line(const struct play *play, const char *line)
{
    struct ha_api_reply reply;

    ask(play, "GET", "/metrics", "", &reply);
    if (strstr(reply.body, line) == NULL)
        fail_msg("no %s in\n%s", line, reply.body);
    ha_api_reply_fini(&reply);
}

struct want {
    const char *text;        /* of sync */
    const char *why;         /* of the service */
    const char *not_because; /* NULL: it is ready */
    bool alone;
    int needed, members, replicating, missing;
};

static void assert_told(const struct play *play, const struct want *want)
{
    json_t *status = answer(play, "/v1/status"), *why_not;
    const json_t *service = json_array_get(json_object_get(status, "services"), 0);
    const json_t *sync = json_object_get(service, "sync");

    assert_string_equal(json_string_value(json_object_get(sync, "text")), want->text);
    assert_string_equal(json_string_value(json_object_get(service, "why")), want->why);
    assert_int_equal(json_is_true(json_object_get(sync, "alone")), want->alone);
    assert_int_equal(json_integer_value(json_object_get(sync, "needed")), want->needed);
    assert_int_equal(json_array_size(json_object_get(sync, "members")), want->members);
    assert_int_equal(json_array_size(json_object_get(sync, "replicating")), want->replicating);
    assert_int_equal(json_integer_value(json_object_get(sync, "missing")), want->missing);
    assert_int_equal(json_is_true(json_object_get(service, "ready")), want->not_because == NULL);
    if (want->not_because != NULL)
        assert_non_null(
            strstr(json_string_value(json_object_get(service, "ready_reason")), want->not_because));
    why_not = answer(play, "/v1/services/cache/why-not");
    assert_true(json_equal(json_object_get(why_not, "sync"), sync));
    json_decref(why_not);
    json_decref(status);
}

static void test_strict(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    assert_told(play, &(struct want){.text = "writes wait for any 1 of b, c",
                                     .why = "",
                                     .needed = 1,
                                     .members = 2,
                                     .replicating = 2});
    /* One is lost, and still counts: were the primary lost too, the other alone would not do. */
    play->gone[C] = true;
    play->commits = 0;
    play_rounds(play, 12, true);
    assert_told(play, &(struct want){.text = "writes wait for any 1 of b, c",
                                     .why = "",
                                     .not_because = "1 more of those who count must show",
                                     .needed = 1,
                                     .members = 2,
                                     .replicating = 1,
                                     .missing = 1});
    assert_line(play, "hafailover_proof_missing{service=\"cache\"} 1\n");
    assert_line(play, "hafailover_sync_replicating{service=\"cache\"} 1\n");
    play->commits = UINT32_MAX;
    play->gone[B] = true;
    play_rounds(play, 12, true);
    assert_told(play,
                &(struct want){
                    .text = "writes wait for any 1 of b, c; 0 replicate: nothing is acknowledged",
                    .why = "writes wait for any 1 of b, c; 0 replicate: nothing is acknowledged",
                    .not_because = "2 more of those who count must show",
                    .needed = 1,
                    .members = 2,
                    .missing = 2});
    assert_line(play, "hafailover_service_alone{service=\"cache\"} 0\n");
    play_free(play);
}

static void test_sync_that_fell_back(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_SYNC);
    const struct ha_notice *notice;

    (void)state;
    play->gone[B] = play->gone[C] = true;
    play_rounds(play, 12, true);
    assert_told(play,
                &(struct want){.text = "ALONE: the primary acknowledges writes that no replica has",
                               .why = "ALONE: the primary acknowledges writes that no replica has",
                               .not_because = "its agent is not heard",
                               .alone = true});
    assert_line(play, "hafailover_service_alone{service=\"cache\"} 1\n");
    notice = ha_cluster_event(&play->world->w->cluster, play->world->w->cluster.notice_last);
    while (notice != NULL && notice->kind != HA_NOTICE_ALONE)
        notice = ha_cluster_event(&play->world->w->cluster, notice->seq - 1);
    assert_non_null(notice);
    play->gone[B] = play->gone[C] = false;
    play_rounds(play, 12, true);
    assert_told(play, &(struct want){.text = "writes wait for any 1 of b, c",
                                     .why = "",
                                     .needed = 1,
                                     .members = 2,
                                     .replicating = 2});
    play_free(play);
}

static void test_nobody_can_be_proven(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);
    struct ha_api_reply reply;
    json_t *status;
    const json_t *service;

    (void)state;
    play->gone[C] = true;
    play->commits = 0;
    play_primary_dies(play);
    assert_true(play->refused);
    status = answer(play, "/v1/status");
    service = json_array_get(json_object_get(status, "services"), 0);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(service, "sync"), "text")),
        "1 more of b, c must seal and show what was acknowledged");
    assert_non_null(strstr(json_string_value(json_object_get(service, "why")),
                           "no candidate: 1 more of those who count must show"));
    json_decref(status);
    /* Who gives it up says why, and whose word that was stays with the decision. */
    ask(play, "POST", "/v1/services/cache/failover", "{\"accept_loss\":true}", &reply);
    assert_false(reply.is_write);
    assert_int_equal(reply.status, 400);
    assert_non_null(strstr(reply.body, "needs a reason"));
    ha_api_reply_fini(&reply);
    ask(play, "POST", "/v1/services/cache/failover",
        "{\"accept_loss\":true,\"why\":\"c is burnt\"}", &reply);
    assert_true(reply.is_write);
    assert_string_equal(reply.command.u.begin.text,
                        "asked for by anna, who ACCEPTS LOSS: c is burnt");
    assert_int_equal(world_commit(play->world, &reply.command), HA_OK);
    ha_api_reply_fini(&reply);
    play_selects(play, 20);
    assert_int_equal(play->promoted, B);
    assert_int_equal(world_commit(play->world, &play->promote), HA_OK);
    play_free(play);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_strict),
    cmocka_unit_test(test_sync_that_fell_back),
    cmocka_unit_test(test_nobody_can_be_proven),
};

HA_TEST_MAIN("api/durability", tests)
