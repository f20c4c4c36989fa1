/* The agent's HTTP API: what a load balancer is told, and by which clock. */
#include "tests/support/cmocka_ha.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/agent.h"
#include "lib/base/check.h"
#include "tests/unit/core/kit.h"

static struct ha_agent_view view_of(const struct hand *hand, uint64_t now_ms)
{
    return (struct ha_agent_view){
        .agent = hand->a,
        .name = "ag-b",
        .now_ms = now_ms,
        .wall_ms = 1000,
        .watcher_count = 3,
        .watchers = {{"w1", true}, {"w2", true}, {"w3", false}},
    };
}

/* The status; the body in @ret (free), may be NULL. */
static int ask(const struct ha_agent_view *view, const char *method, const char *path,
               const char *service, char **ret)
{
    struct ha_agent_request request = {.method = method, .path = path, .service = service};
    struct ha_agent_reply reply;

    ha_agent_answer(&request, view, &reply);
    assert_non_null(reply.body);
    if (ret != NULL)
        *ret = reply.body;
    else
        free(reply.body);
    return reply.status;
}

static int get(const struct hand *hand, uint64_t now_ms, const char *path)
{
    struct ha_agent_view view = view_of(hand, now_ms);

    return ask(&view, "GET", path, NULL, NULL);
}

/* The core is not stepped between these questions: only the clock of the question moves on. */
static void test_primary_ends_with_the_lease_by_the_clock(void **state)
{
    struct hand *hand = hand_new();
    uint64_t end_ms;

    (void)state;
    hand_as_holder(hand, 3);
    end_ms = ha_held_lease_end_ms(hand_held(hand));
    assert_true(end_ms > hand->now_ms);
    assert_int_equal(get(hand, hand->now_ms, "/primary"), 200);
    assert_int_equal(get(hand, hand->now_ms, "/read-write"), 200);
    assert_int_equal(get(hand, hand->now_ms, "/read-only"), 200);
    assert_int_equal(get(hand, hand->now_ms, "/replica"), 503);
    assert_int_equal(get(hand, end_ms - 1, "/primary"), 200);
    assert_int_equal(get(hand, end_ms, "/primary"), 503);
    assert_int_equal(get(hand, end_ms + 100000, "/primary"), 503);
    hand_free(hand);
}

static void test_who_gives_up_is_no_primary(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 3);
    hand_order(hand, HA_ORDER_FENCE, 4);
    assert_int_equal(get(hand, hand->now_ms, "/primary"), 503); /* before the gate has answered */
    hand_settle(hand);
    assert_int_equal(get(hand, hand->now_ms, "/primary"), 503);
    hand_free(hand);
}

static void test_replica(void **state)
{
    struct hand *hand = hand_new();
    struct ha_sample sample;

    (void)state;
    hand_as_replica(hand);
    sample = hand_sample_of(HA_ROLE_REPLICA);
    sample.read_only = true;
    for (int i = 0; i < 3; i++) {
        hand_sampled(hand, PID, &sample);
        hand_settle(hand);
    }
    assert_int_equal(get(hand, hand->now_ms, "/replica"), 200);
    assert_int_equal(get(hand, hand->now_ms, "/primary"), 503);
    assert_int_equal(get(hand, hand->now_ms, "/health"), 200);
    assert_int_equal(get(hand, hand->now_ms + 100000, "/replica"), 503); /* long ago */
    assert_int_equal(get(hand, hand->now_ms + 100000, "/health"), 503);
    sample.link_up = false; /* there is no primary: reads go on */
    hand_sampled(hand, PID, &sample);
    assert_int_equal(get(hand, hand->now_ms, "/replica"), 200);
    sample.copying = true;
    hand_sampled(hand, PID, &sample);
    assert_int_equal(get(hand, hand->now_ms, "/replica"), 503);
    hand_free(hand);
}

static void test_questions(void **state)
{
    static const struct {
        const char *method, *path, *service;
        int status;
    } cases[] = {
        {"GET", "/healthz", NULL, 200},     {"HEAD", "/primary", NULL, 200},
        {"OPTIONS", "/primary", NULL, 200}, {"GET", "/primary", "cache", 200},
        {"GET", "/primary", "other", 404},  {"GET", "/nothing", NULL, 404},
        {"POST", "/primary", NULL, 405},    {"GET", "/status", NULL, 200},
        {"GET", "/metrics", NULL, 200},     {"GET", "/ready", NULL, 200},
    };
    struct hand *hand = hand_new();
    struct ha_agent_view view;

    (void)state;
    view = view_of(hand, 1);
    assert_int_equal(ask(&view, "GET", "/primary", NULL, NULL), 503); /* no settings yet */
    assert_int_equal(ask(&view, "GET", "/ready", NULL, NULL), 503);
    hand_as_holder(hand, 3);
    view = view_of(hand, hand->now_ms);
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        print_message("# %s %s\n", cases[i].method, cases[i].path);
        assert_int_equal(ask(&view, cases[i].method, cases[i].path, cases[i].service, NULL),
                         cases[i].status);
    }
    view.watchers[1].linked = false;
    assert_int_equal(ask(&view, "GET", "/ready", NULL, NULL), 503);
    hand_free(hand);
}

static void test_it_says_what_it_does_and_why(void **state)
{
    struct hand *hand = hand_new();
    struct ha_agent_view view;
    char *body;
    json_t *json;

    (void)state;
    hand_as_holder(hand, 3);
    view = view_of(hand, hand->now_ms);
    (void)ask(&view, "GET", "/primary", NULL, &body);
    assert_non_null(strstr(body, "primary of epoch 3: takes writes"));
    free(body);
    view.watchers[1].linked = false;
    (void)ask(&view, "GET", "/primary", NULL, &body);
    print_message("# %s", body);
    assert_non_null(strstr(body, "only 1 of 3 watchers are linked"));
    free(body);
    view.now_ms += 100000;
    (void)ask(&view, "GET", "/primary", NULL, &body);
    print_message("# %s", body);
    assert_non_null(strstr(body, "holds epoch 3 but takes no writes: 0 of 3 watchers promise"));
    free(body);
    (void)ask(&view, "GET", "/status", NULL, &body);
    json = json_loads(body, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(json, "services")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "watchers_linked")), 1);
    json_decref(json);
    free(body);
    (void)ask(&view, "GET", "/metrics", NULL, &body);
    assert_non_null(strstr(body, "hafailover_agent_primary{service=\"cache\",member=\"b\"} 0"));
    free(body);
    hand_free(hand);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_primary_ends_with_the_lease_by_the_clock),
    cmocka_unit_test(test_who_gives_up_is_no_primary),
    cmocka_unit_test(test_replica),
    cmocka_unit_test(test_questions),
    cmocka_unit_test(test_it_says_what_it_does_and_why),
};

int main(int argc, char *argv[])
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("api/agent", tests, NULL, NULL);
}
