/* The control API: who may do what, what a write becomes, and what status says. */
#include "tests/support/cmocka_ha.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/control.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/watcher.h"
#include "lib/wire/config.h"

static const char services[] = "[service cache]\n"
                               "engine = redis\n"
                               "vip = 10.77.0.100/24\n"
                               "[member cache/a]\n"
                               "agent = db1\n"
                               "host = 10.77.0.21\n"
                               "port = 6379\n"
                               "[member cache/b]\n"
                               "agent = db2\n"
                               "host = 10.77.0.22\n"
                               "port = 6379\n";

struct fixture {
    struct ha_watcher *core;
    struct ha_effects *effects;
    struct ha_api_view view;
};

static void commit(struct fixture *f, uint64_t index, const struct ha_command *command)
{
    struct ha_event event = {.kind = HA_EVENT_COMMITTED, .now_ms = 1000, .wall_ms = 5000};
    struct ha_err err = {0};

    event.u.committed = (struct ha_event_committed){.index = index, .command = command};
    ha_effects_clear(f->effects);
    assert_int_equal(ha_watcher_step(f->core, &event, f->effects, &err), HA_OK);
}

static void commit_config(struct fixture *f, uint64_t index, uint64_t base, const char *text)
{
    struct ha_config *config = calloc(1, sizeof(*config));
    struct ha_command command = {.kind = HA_COMMAND_CONFIG, .wall_ms = 5000};
    struct ha_err err = {0};

    assert_non_null(config);
    if (ha_config_parse(text, strlen(text), 3, config, &err) != HA_OK)
        fail_msg("%s", err.text);
    command.u.config = (struct ha_command_config){
        .base_version = base, .author = "admin", .config = config, .text = text};
    commit(f, index, &command);
    free(config);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct ha_watcher_options options = {
        .name = "w1", .set_id = 7, .watcher_count = 3, .watchers = {"w1", "w2", "w3"}};
    struct ha_command watchers = {.kind = HA_COMMAND_WATCHERS, .wall_ms = 4000};

    assert_non_null(f);
    f->core = calloc(1, sizeof(*f->core));
    f->effects = calloc(1, sizeof(*f->effects));
    assert_non_null(f->core);
    assert_non_null(f->effects);
    ha_watcher_init(f->core, &options);
    watchers.u.watchers =
        (struct ha_command_watchers){.set_id = 7, .count = 3, .names = {"w1", "w2", "w3"}};
    commit(f, 1, &watchers);
    commit_config(f, 2, 0, services);
    f->view = (struct ha_api_view){
        .watcher = f->core,
        .now_ms = 1000,
        .wall_ms = 6000,
        .term = 4,
        .leader = "w2",
        .staleness_ms = 12,
        .watcher_count = 3,
        .watchers = {{"w1", "follower", true, 0},
                     {"w2", "leader", true, 12},
                     {"w3", "unknown", false, UINT64_MAX}},
    };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    free(f->core);
    free(f->effects);
    free(f);
    return 0;
}

/* Query parameters of the request under test, "key=value" up to NULL. */
static const char *const *params;

static const char *query(const void *ctx, const char *key)
{
    size_t size = strlen(key);

    (void)ctx;
    for (const char *const *at = params; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, key, size) == 0 && (*at)[size] == '=')
            return *at + size + 1;
    }
    return NULL;
}

/* @what: "METHOD PATH". */
static void ask(struct fixture *f, const char *what, const char *body, enum ha_api_role role,
                struct ha_api_reply *reply)
{
    char method[8] = "";
    const char *path = strchr(what, ' ') + 1;
    struct ha_api_request request = {.method = method,
                                     .path = path,
                                     .query = query,
                                     .body = body,
                                     .body_size = strlen(body),
                                     .peer = "ctl/admin",
                                     .role = role};

    memcpy(method, what, (size_t)(path - what) - 1);
    ha_api_handle(&request, &f->view, reply);
}

static json_t *json_of(const struct ha_api_reply *reply)
{
    json_t *json = json_loadb(reply->body, reply->body_size, 0, NULL);

    assert_non_null(json);
    return json;
}

static void test_refusals(void **state)
{
    static const struct {
        const char *what, *body;
        enum ha_api_role role;
        int status;
    } cases[] = {
        {"GET /healthz", "", HA_API_NOBODY, 200},
        {"GET /v1/status", "", HA_API_NOBODY, 403},
        {"GET /v1/nothing", "", HA_API_OPERATE, 404},
        {"GET /v1/", "", HA_API_OPERATE, 404},
        {"DELETE /v1/status", "", HA_API_OPERATE, 405},
        {"PUT /v1/config", "", HA_API_VIEW, 403},
        {"PUT /v1/config", "[service x]\nengine = nothing\n", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/failover", "{}", HA_API_VIEW, 403},
        {"POST /v1/services/other/failover", "{}", HA_API_OPERATE, 404},
        {"POST /v1/services/cache/failover", "[]", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/failover", "{\"too\":\"b\"}", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/failover", "{\"to\":1}", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/failover", "{\"to\":\"z\"}", HA_API_OPERATE, 404},
        {"POST /v1/services/cache/pause", "{\"for_ms\":-1}", HA_API_OPERATE, 400},
        {"GET /v1/decisions/77", "", HA_API_VIEW, 404},
        {"GET /v1/decisions/x", "", HA_API_VIEW, 404},
        {"GET /v1/config/99", "", HA_API_VIEW, 404},
        {"GET /v1/config/0", "", HA_API_VIEW, 400},
    };

    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct ha_api_reply reply;

        print_message("# %s\n", cases[i].what);
        ask(*state, cases[i].what, cases[i].body, cases[i].role, &reply);
        assert_false(reply.is_write);
        assert_int_equal(reply.status, cases[i].status);
        assert_non_null(reply.body);
        ha_api_reply_fini(&reply);
    }
}

static void test_status_names_what_it_must(void **state)
{
    static const char *const of_service[] = {"name", "engine", "state", "epoch",  "primary",
                                             "vip",  "fence",  "gates", "paused", "members"};
    static const char *const of_member[] = {"name",      "address",   "role",   "verdict",
                                            "lag_bytes", "candidate", "reason", "lease_ms_left"};
    static const char *const of_watcher[] = {"name", "role", "term", "reachable"};
    struct ha_api_reply reply;
    json_t *json, *service, *member, *watcher;

    ask(*state, "GET /v1/status", "", HA_API_VIEW, &reply);
    assert_int_equal(reply.status, 200);
    json = json_of(&reply);
    assert_int_equal(json_integer_value(json_object_get(json, "config_version")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "staleness_ms")), 12);
    assert_int_equal(json_array_size(json_object_get(json, "watchers")), 3);
    watcher = json_array_get(json_object_get(json, "watchers"), 1);
    service = json_array_get(json_object_get(json, "services"), 0);
    member = json_array_get(json_object_get(service, "members"), 1);
    for (size_t i = 0; i < HA_ARRAY_LEN(of_watcher); i++)
        assert_non_null(json_object_get(watcher, of_watcher[i]));
    for (size_t i = 0; i < HA_ARRAY_LEN(of_service); i++)
        assert_non_null(json_object_get(service, of_service[i]));
    for (size_t i = 0; i < HA_ARRAY_LEN(of_member); i++)
        assert_non_null(json_object_get(member, of_member[i]));
    assert_string_equal(json_string_value(json_object_get(watcher, "role")), "leader");
    assert_string_equal(json_string_value(json_object_get(service, "name")), "cache");
    assert_string_equal(json_string_value(json_object_get(member, "address")), "10.77.0.22:6379");
    assert_true(json_is_null(json_object_get(service, "primary")));
    json_decref(json);
    ha_api_reply_fini(&reply);
}

static void test_status_of_one_service(void **state)
{
    static const char *const wanted[] = {"service=other", NULL};
    struct ha_api_reply reply;
    json_t *json;

    params = wanted;
    ask(*state, "GET /v1/status", "", HA_API_VIEW, &reply);
    params = NULL;
    json = json_of(&reply);
    assert_int_equal(json_array_size(json_object_get(json, "services")), 0);
    json_decref(json);
    ha_api_reply_fini(&reply);
}

static void test_failover_becomes_a_command(void **state)
{
    struct fixture *f = *state;
    const struct ha_service *service = ha_cluster_service_named(&f->core->cluster, "cache");
    struct ha_api_reply reply;
    json_t *json;

    ask(f, "POST /v1/services/cache/failover",
        "{\"to\":\"b\",\"accept_loss\":true,\"why\":\"a test\"}", HA_API_OPERATE, &reply);
    assert_true(reply.is_write);
    assert_int_equal(reply.command.kind, HA_COMMAND_BEGIN);
    assert_int_equal(reply.command.u.begin.ref.service, service->id);
    assert_int_equal(reply.command.u.begin.ref.epoch, service->epoch);
    assert_int_equal(reply.command.u.begin.reason, HA_REASON_OPERATOR);
    assert_int_equal(reply.command.u.begin.target, ha_service_member_named(service, "b"));
    assert_true(reply.command.u.begin.accept_loss);
    assert_string_equal(reply.command.u.begin.text, "a test");
    ha_api_finish(&reply, &f->view, 9, HA_ESTALE, "the state has moved on");
    assert_int_equal(reply.status, 409);
    json = json_of(&reply);
    assert_string_equal(json_string_value(json_object_get(json, "error")),
                        "the state has moved on");
    json_decref(json);
    ha_api_reply_fini(&reply);
}

static void test_pause_has_an_end_and_an_author(void **state)
{
    struct fixture *f = *state;
    struct ha_api_reply reply;

    ask(f, "POST /v1/services/cache/pause", "{\"for_ms\":60000}", HA_API_OPERATE, &reply);
    assert_true(reply.is_write);
    assert_int_equal(reply.command.kind, HA_COMMAND_PAUSE);
    assert_int_equal(reply.command.u.pause.until_ms, 66000);
    assert_string_equal(reply.command.u.pause.author, "admin");
    ha_api_reply_fini(&reply);
}

static void test_config_is_compared_and_put(void **state)
{
    static const char *const base[] = {"base=1", NULL};
    struct fixture *f = *state;
    char text[1024];
    struct ha_api_reply reply;
    json_t *json;

    (void)ha_text_format(text, sizeof(text), "[defaults]\nlease = 2000ms\n%s", services);
    ask(f, "POST /v1/config/diff", text, HA_API_VIEW, &reply);
    assert_int_equal(reply.status, 200);
    json = json_of(&reply);
    assert_int_equal(json_array_size(json_object_get(json, "lines")), 1);
    assert_non_null(strstr(json_string_value(json_array_get(json_object_get(json, "lines"), 0)),
                           "1500ms -> 2000ms"));
    json_decref(json);
    ha_api_reply_fini(&reply);

    params = base;
    ask(f, "PUT /v1/config", text, HA_API_OPERATE, &reply);
    params = NULL;
    assert_true(reply.is_write);
    assert_int_equal(reply.command.kind, HA_COMMAND_CONFIG);
    assert_int_equal(reply.command.u.config.base_version, 1);
    assert_string_equal(reply.command.u.config.text, text);
    assert_int_equal(reply.command.u.config.config->services[0].lease_ms, 2000);
    ha_api_reply_fini(&reply);
}

static void test_kept_text_comes_back(void **state)
{
    struct ha_api_reply reply;
    json_t *json;

    ask(*state, "GET /v1/config/1", "", HA_API_VIEW, &reply);
    json = json_of(&reply);
    assert_string_equal(json_string_value(json_object_get(json, "text")), services);
    json_decref(json);
    ha_api_reply_fini(&reply);
    ask(*state, "GET /v1/config/history", "", HA_API_VIEW, &reply);
    json = json_of(&reply);
    assert_int_equal(json_array_size(json_object_get(json, "versions")), 1);
    json_decref(json);
    ha_api_reply_fini(&reply);
}

static void test_roles(void **state)
{
    (void)state;
    assert_int_equal(ha_api_role_of("", true), HA_API_OPERATE);
    assert_int_equal(ha_api_role_of("", false), HA_API_NOBODY);
    assert_int_equal(ha_api_role_of("ctl/admin", false), HA_API_OPERATE);
    assert_int_equal(ha_api_role_of("view/dashboard", false), HA_API_VIEW);
    assert_int_equal(ha_api_role_of("agent/db1", false), HA_API_NOBODY);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_refusals),
    cmocka_unit_test(test_status_names_what_it_must),
    cmocka_unit_test(test_status_of_one_service),
    cmocka_unit_test(test_failover_becomes_a_command),
    cmocka_unit_test(test_pause_has_an_end_and_an_author),
    cmocka_unit_test(test_config_is_compared_and_put),
    cmocka_unit_test(test_kept_text_comes_back),
    cmocka_unit_test(test_roles),
};

int main(int argc, char *argv[])
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("api/control", tests, setup, teardown);
}
