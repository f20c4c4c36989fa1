/* When memory runs out, at any place, the API gives a whole answer or none: no crash, no leak, and
 * nothing is written that was not asked for. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/agent.h"
#include "lib/api/control.h"
#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/core/agent.h"
#include "lib/core/watcher.h"
#include "lib/wire/config.h"
#include "tests/support/alloc.h"
#include "tests/support/cmocka_ha.h"

#define TRIES_MAX 20000u

static const char services[] = "[service cache]\nengine = redis\n[member cache/a]\nagent = db1\n"
                               "host = 10.0.0.1\nport = 6379\n[member cache/b]\nagent = db2\n"
                               "host = 10.0.0.2\nport = 6379\n[webhook ops]\n"
                               "url = http://127.0.0.1/\n";

static void commit(struct ha_watcher *core, uint64_t index, const struct ha_command *command)
{
    struct ha_effects *effects = calloc(1, sizeof(*effects));
    struct ha_event event = {.kind = HA_EVENT_COMMITTED, .now_ms = 1000, .wall_ms = 5000};

    assert_non_null(effects);
    event.u.committed = (struct ha_event_committed){.index = index, .command = command};
    assert_int_equal(ha_watcher_step(core, &event, effects, NULL), HA_OK);
    free(effects);
}

static int setup(void **state)
{
    struct ha_watcher *core = calloc(1, sizeof(*core));
    struct ha_config *config = calloc(1, sizeof(*config));
    struct ha_watcher_options options = {
        .name = "w1", .set_id = 7, .watcher_count = 3, .watchers = {"w1", "w2", "w3"}};
    struct ha_command command = {.kind = HA_COMMAND_WATCHERS};

    assert_non_null(core);
    assert_non_null(config);
    alloc_of_jansson();
    ha_watcher_init(core, &options);
    command.u.watchers =
        (struct ha_command_watchers){.set_id = 7, .count = 3, .names = {"w1", "w2", "w3"}};
    commit(core, 1, &command);
    assert_int_equal(ha_config_parse(services, strlen(services), 3, config, NULL), HA_OK);
    command = (struct ha_command){.kind = HA_COMMAND_CONFIG};
    command.u.config =
        (struct ha_command_config){.author = "admin", .config = config, .text = services};
    commit(core, 2, &command);
    core->caught_up = true;
    free(config);
    *state = core;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static const char *query(const void *ctx, const char *key)
{
    (void)ctx;
    (void)key;
    return NULL;
}

/* True: it was answered as if there were memory enough. */
static bool check_reply(struct ha_api_reply *reply, const struct ha_api_view *view, bool failed)
{
    json_t *json;

    if (reply->is_write)
        ha_api_finish(reply, view, 9, HA_OK, "done");
    if (reply->body == NULL) {
        assert_true(failed);
        assert_int_equal(reply->status, 500);
        return false;
    }
    if (strcmp(reply->type, "application/json") == 0) {
        json = json_loadb(reply->body, reply->body_size, 0, NULL);
        if (!json_is_object(json))
            fail_msg("no object: %s", reply->body);
        json_decref(json);
    }
    return !failed;
}

static unsigned ask(struct ha_watcher *core, const char *method, const char *path, const char *body)
{
    struct ha_api_view view = {.watcher = core, .leader = "w2", .watcher_count = 3};
    struct ha_api_request request = {.method = method,
                                     .path = path,
                                     .query = query,
                                     .body = body,
                                     .body_size = strlen(body),
                                     .peer = "ctl/admin",
                                     .role = HA_API_OPERATE};
    struct ha_api_reply reply;
    unsigned n = 0;
    bool done;

    do {
        alloc_fail_at(++n);
        ha_api_handle(&request, &view, &reply);
        done = check_reply(&reply, &view, alloc_stop());
        ha_api_reply_fini(&reply);
    } while (!done && n < TRIES_MAX);
    assert_true(done);
    return n - 1;
}

static void test_control(void **state)
{
    static const struct {
        const char *method, *path, *body;
    } cases[] = {
        {"GET", "/healthz", ""},
        {"GET", "/ready", ""},
        {"GET", "/metrics", ""},
        {"GET", "/nothing", ""},
        {"GET", "/v1/status", ""},
        {"GET", "/v1/watchers", ""},
        {"GET", "/v1/history", ""},
        {"GET", "/v1/decisions/1", ""},
        {"GET", "/v1/events", ""},
        {"GET", "/v1/webhooks", ""},
        {"GET", "/v1/config", ""},
        {"GET", "/v1/config/history", ""},
        {"PUT", "/v1/config", services},
        {"PUT", "/v1/config", "nonsense"},
        {"POST", "/v1/config/diff", "[service x]\nengine = redis\n"},
        {"GET", "/v1/services/cache/why-not", ""},
        {"POST", "/v1/services/cache/failover", "{\"to\":\"b\"}"},
        {"POST", "/v1/services/cache/switchover", "{\"dry_run\":true}"},
        {"POST", "/v1/services/cache/pause", "{\"why\":\"x\",\"for_ms\":5}"},
        {"POST", "/v1/webhooks/ops/test", ""},
        {"POST", "/v1/watchers/replace", "{\"old\":\"w3\",\"new\":\"w4\",\"address\":\"h:1\"}"},
    };

    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++)
        print_message("# %s %s: %u allocations, each failed once\n", cases[i].method, cases[i].path,
                      ask(*state, cases[i].method, cases[i].path, cases[i].body));
}

static void test_agent(void **state)
{
    static const char *const paths[] = {"/primary", "/health", "/ready", "/status", "/metrics"};
    struct ha_agent *agent = calloc(1, sizeof(*agent));
    struct ha_agent_view view = {.agent = agent, .name = "db1", .now_ms = 1000};

    (void)state;
    assert_non_null(agent);
    agent->held_count = 1;
    agent->held[0] = (struct ha_held){
        .used = true, .settings = {.service = 1024, .service_name = "cache", .port = 6379}};
    for (size_t i = 0; i < HA_ARRAY_LEN(paths); i++) {
        struct ha_agent_request request = {.method = "GET", .path = paths[i]};
        struct ha_agent_reply reply;
        unsigned n = 0;
        bool failed;

        do {
            alloc_fail_at(++n);
            ha_agent_answer(&request, &view, &reply);
            failed = alloc_stop();
            assert_true(failed || reply.body != NULL);
            free(reply.body);
        } while (failed && n < TRIES_MAX);
        assert_false(failed);
    }
    free(agent);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_control, setup, teardown),
    cmocka_unit_test(test_agent),
};

HA_TEST_MAIN("api/alloc", tests)
