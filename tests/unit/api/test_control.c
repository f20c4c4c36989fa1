/* The control API: who may do what, what a write becomes, and what status says. */
#include "tests/support/cmocka_ha.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/api/control.h"
#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/watcher.h"
#include "lib/wire/config.h"
#include "lib/wire/snapshot.h"

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
    f->core->caught_up = true;
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
        {"PUT /v1/config", "[service x]\nengine = caf\xe9\n", HA_API_OPERATE, 400},
        {"PUT /v1/config", "[service x]\nvip_interface = \"\xc3\xa9\xc3\xa9\xc3\xa9\n",
         HA_API_OPERATE, 400},
        {"POST /v1/services/cache/failover", "{}", HA_API_VIEW, 403},
        {"POST /v1/services/other/failover", "{}", HA_API_OPERATE, 404},
        {"POST /v1/services/cache/failover", "[]", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/failover", "{\"too\":\"b\"}", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/failover", "{\"to\":1}", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/failover", "{\"to\":\"z\"}", HA_API_OPERATE, 404},
        {"POST /v1/services/cache/pause", "{\"for_ms\":-1}", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/switchover", "{}", HA_API_VIEW, 403},
        {"POST /v1/services/other/switchover", "{}", HA_API_OPERATE, 404},
        {"POST /v1/services/cache/switchover", "{\"to\":\"z\"}", HA_API_OPERATE, 404},
        {"POST /v1/services/cache/switchover", "{\"dry\":true}", HA_API_OPERATE, 400},
        {"POST /v1/services/cache/switchover", "{}", HA_API_OPERATE, 409}, /* nothing is open */
        {"POST /v1/services/cache/switchover", "{\"dry_run\":true}", HA_API_OPERATE, 409},
        {"GET /v1/services/other/why-not", "", HA_API_VIEW, 404},
        {"GET /v1/services/cache/why-not", "", HA_API_VIEW, 200},
        {"GET /v1/services/cache/why-not", "", HA_API_NOBODY, 403},
        {"GET /v1/events", "", HA_API_VIEW, 200},
        {"GET /v1/webhooks", "", HA_API_VIEW, 200},
        {"POST /v1/webhooks/ops/test", "", HA_API_VIEW, 403},
        {"POST /v1/webhooks/no?name/test", "", HA_API_OPERATE, 404},
        {"GET /metrics", "", HA_API_VIEW, 200},
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

/* So that whoever asks two watchers can see that their states are one. */
static void test_watchers_names_the_digest(void **state)
{
    struct fixture *f = *state;
    char want[17];
    struct ha_api_reply reply;
    json_t *json;

    (void)snprintf(want, sizeof(want), "%016" PRIx64, ha_snapshot_digest(&f->core->cluster));
    ask(f, "GET /v1/watchers", "", HA_API_VIEW, &reply);
    json = json_of(&reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(json_string_value(json_object_get(json, "digest")), want);
    assert_int_equal(json_integer_value(json_object_get(json, "index")), f->core->cluster.index);
    json_decref(json);
    ha_api_reply_fini(&reply);
}

static void test_status_of_one_service(void **state)
{
    static const char *const wanted[] = {"service=other", NULL};
    struct ha_api_reply reply;

    params = wanted;
    ask(*state, "GET /v1/status", "", HA_API_VIEW, &reply);
    params = NULL;
    assert_int_equal(reply.status, 404);
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
    assert_string_equal(reply.command.u.begin.text, "asked for by admin, who ACCEPTS LOSS: a test");
    ha_api_finish(&reply, &f->view, 9, HA_ESTALE, "the state has moved on");
    assert_int_equal(reply.status, 409);
    json = json_of(&reply);
    assert_string_equal(json_string_value(json_object_get(json, "error")),
                        "the state has moved on");
    json_decref(json);
    ha_api_reply_fini(&reply);
}

/* A replica that could take over, and a primary that works. */
static void make_steady(struct fixture *f)
{
    const struct ha_service *service = ha_cluster_service_named(&f->core->cluster, "cache");
    struct ha_command command = {.kind = HA_COMMAND_PROMOTE, .wall_ms = 5000};
    struct ha_ref ref = {.service = service->id, .epoch = service->epoch};
    struct ha_position position = {.offset = 100, .lineage = {1, {{7, UINT64_MAX}}}};

    command.u.promote = (struct ha_command_promote){
        .ref = ref, .member = service->members[0].id, .instance = 1, .gate = HA_GATE_BPF};
    commit(f, 3, &command);
    command = (struct ha_command){.kind = HA_COMMAND_PROMOTED, .wall_ms = 5001};
    command.u.outcome = (struct ha_command_outcome){.ref = ref, .position = position};
    commit(f, 4, &command);
    command.kind = HA_COMMAND_OPENED;
    commit(f, 5, &command);
    command.kind = HA_COMMAND_REPOINTED;
    commit(f, 6, &command);
    for (uint32_t i = 0; i < 2; i++) {
        struct ha_heartbeat beat = {.instance = i + 1};
        struct ha_event event = {.kind = HA_EVENT_HEARTBEAT, .now_ms = 1000, .wall_ms = 5000};

        beat.status = (struct ha_status){
            .service = service->id,
            .member = service->members[i].id,
            .epoch = i == 0 ? ref.epoch : 0,
            .process = HA_PROCESS_RUNNING,
            .gate = HA_GATE_BPF,
            .gate_open = true,
            .lease_left_ms = i == 0 ? 1400 : 0,
            .sample = {.answer = HA_ANSWER_OK,
                       .role = i == 0 ? HA_ROLE_PRIMARY : HA_ROLE_REPLICA,
                       .writable = true,
                       .link_up = true,
                       .position = position},
        };
        event.u.heartbeat = (struct ha_event_heartbeat){.agent = service->config.members[i].agent,
                                                        .heartbeat = &beat};
        ha_effects_clear(f->effects);
        assert_int_equal(ha_watcher_step(f->core, &event, f->effects, NULL), HA_OK);
    }
    for (uint32_t i = 0; i < 3; i++) {
        struct ha_event event = {.kind = HA_EVENT_PEER, .now_ms = 1000};

        event.u.peer = (struct ha_event_peer){.watcher = i, .heard = true};
        assert_int_equal(ha_watcher_step(f->core, &event, f->effects, NULL), HA_OK);
    }
}

/* A dry run and the real thing say the same; only one of them becomes a command. */
static void test_switchover_is_checked_and_told(void **state)
{
    struct fixture *f = *state;
    struct ha_api_reply reply;
    json_t *json;

    make_steady(f);
    ask(f, "POST /v1/services/cache/switchover", "{\"dry_run\":true,\"to\":\"b\"}", HA_API_OPERATE,
        &reply);
    assert_false(reply.is_write);
    json = json_of(&reply);
    for (size_t i = 0; i < json_array_size(json_object_get(json, "checks")); i++)
        print_message("# %s\n", json_string_value(json_object_get(
                                    json_array_get(json_object_get(json, "checks"), i), "text")));
    assert_int_equal(reply.status, 200);
    assert_true(json_is_true(json_object_get(json, "ok")));
    assert_string_equal(json_string_value(json_object_get(json, "to")), "b");
    json_decref(json);
    ha_api_reply_fini(&reply);
    ask(f, "POST /v1/services/cache/switchover", "{\"to\":\"b\"}", HA_API_OPERATE, &reply);
    assert_true(reply.is_write);
    assert_int_equal(reply.command.kind, HA_COMMAND_BEGIN);
    assert_int_equal(reply.command.u.begin.reason, HA_REASON_SWITCHOVER);
    assert_false(reply.command.u.begin.accept_loss);
    commit(f, 7, &reply.command);
    ha_api_finish(&reply, &f->view, 7, HA_OK, "");
    assert_int_equal(reply.status, 200);
    json = json_of(&reply);
    assert_int_equal(json_integer_value(json_object_get(json, "decision")),
                     (json_int_t)f->core->cluster.decision_last);
    json_decref(json);
    ha_api_reply_fini(&reply);
    /* The same again is refused: one is under way. */
    ask(f, "POST /v1/services/cache/switchover", "{\"to\":\"b\"}", HA_API_OPERATE, &reply);
    assert_int_equal(reply.status, 409);
    ha_api_reply_fini(&reply);
}

/* Before it becomes an entry its primary makes ready; what has changed meanwhile counts. */
static void test_switchover_waits_for_its_primary(void **state)
{
    struct fixture *f = *state;
    struct ha_api_reply first, second, reply;

    make_steady(f);
    ask(f, "POST /v1/services/cache/switchover", "{\"to\":\"b\"}", HA_API_OPERATE, &first);
    assert_true(first.is_write);
    assert_int_equal(first.prepare_ms, HA_API_PREPARE_DEFAULT_MS);
    assert_int_equal(first.prepare_member, f->core->cluster.services[0].primary);
    assert_string_equal(first.prepare_agent, f->core->cluster.services[0].config.members[0].agent);
    ask(f, "POST /v1/services/cache/switchover", "{\"checkpoint_timeout_ms\":7}", HA_API_OPERATE,
        &second);
    assert_int_equal(second.prepare_ms, 7);
    ask(f, "POST /v1/services/cache/switchover", "{\"checkpoint_timeout_ms\":0}", HA_API_OPERATE,
        &reply);
    assert_true(reply.is_write);
    assert_int_equal(reply.prepare_ms, 0);
    ha_api_reply_fini(&reply);
    ask(f, "POST /v1/services/cache/switchover", "{\"checkpoint_timeout_ms\":3600001}",
        HA_API_OPERATE, &reply);
    assert_int_equal(reply.status, 400);
    ha_api_reply_fini(&reply);
    ask(f, "POST /v1/services/cache/failover", "{}", HA_API_OPERATE, &reply);
    assert_true(reply.is_write);
    assert_int_equal(reply.prepare_ms, 0); /* an emergency waits for nothing */
    ha_api_reply_fini(&reply);

    f->view.wall_ms += 60000;
    assert_true(ha_api_prepared(&first, &f->view));
    assert_true(first.command.wall_ms == f->view.wall_ms);
    assert_true(first.command.u.begin.noticed_ms == f->view.wall_ms);
    f->view.now_ms += 60000; /* and no agent has said anything since */
    assert_false(ha_api_prepared(&second, &f->view));
    assert_int_equal(second.status, 409);
    ha_api_reply_fini(&second);
    f->view.now_ms -= 60000;
    ask(f, "POST /v1/services/cache/switchover", "{}", HA_API_OPERATE, &second);
    commit(f, 7, &first.command);
    assert_false(ha_api_prepared(&second, &f->view));
    assert_int_equal(second.status, 409);
    assert_non_null(strstr(second.body, "nothing was begun"));
    ha_api_reply_fini(&first);
    ha_api_reply_fini(&second);
}

/* A slip of the hand would look like a service to which nothing ever happened. */
static void test_records_of_an_unknown_service(void **state)
{
    static const char *const cahce[] = {"service=cahce", NULL}, *const cache[] = {"service=cache",
                                                                                  NULL};
    struct fixture *f = *state;
    static const char *const paths[] = {"GET /v1/events", "GET /v1/history"};

    for (size_t i = 0; i < 2; i++) {
        for (int caught_up = 0; caught_up < 2; caught_up++) {
            struct ha_api_reply reply;

            f->core->caught_up = caught_up != 0;
            params = cache;
            ask(f, paths[i], "", HA_API_VIEW, &reply);
            assert_int_equal(reply.status, 200);
            ha_api_reply_fini(&reply);
            /* Before that it may be a service that this watcher has yet to hear of. */
            params = cahce;
            ask(f, paths[i], "", HA_API_VIEW, &reply);
            assert_int_equal(reply.status, caught_up != 0 ? 404 : 200);
            ha_api_reply_fini(&reply);
        }
    }
    params = NULL;
}

static void test_events_can_be_resumed(void **state)
{
    static const char *const first[] = {"after=0", "count=2", NULL};
    static const char *const late[] = {"after=99999", NULL};
    struct fixture *f = *state;
    struct ha_api_reply reply;
    json_t *json;

    params = first;
    ask(f, "GET /v1/events", "", HA_API_VIEW, &reply);
    json = json_of(&reply);
    assert_int_equal(json_array_size(json_object_get(json, "events")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "next_after")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "missed")), 0);
    json_decref(json);
    ha_api_reply_fini(&reply);
    params = late;
    ask(f, "GET /v1/events", "", HA_API_VIEW, &reply);
    params = NULL;
    json = json_of(&reply);
    assert_int_equal(json_array_size(json_object_get(json, "events")), 0);
    assert_int_equal(json_integer_value(json_object_get(json, "next_after")), 99999);
    json_decref(json);
    ha_api_reply_fini(&reply);
}

/* Each family once, with its type, its lines together: what a scraper insists on. */
static void test_metrics_are_well_formed(void **state)
{
    static const char *const wanted[] = {
        "hafailover_failovers_total{service=\"cache\",kind=\"failover\"} 0\n",
        "hafailover_candidates_ready{service=\"cache\"} ",
        "hafailover_raft_role{role=\"follower\"} 1\n", "hafailover_notices_dropped_total 0\n",
        "hafailover_member_lag_bytes{service=\"cache\",member=\"b\"} 0\n"};
    char family[96] = "", seen[64][96];
    struct ha_api_reply reply;
    size_t count = 0;

    ask(*state, "GET /metrics", "", HA_API_VIEW, &reply);
    for (size_t i = 0; i < HA_ARRAY_LEN(wanted); i++) {
        if (strstr(reply.body, wanted[i]) == NULL)
            fail_msg("no %s in\n%s", wanted[i], reply.body);
    }
    for (const char *line = reply.body; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t size = strcspn(line, " \n");

        if (strncmp(line, "# HELP ", 7) == 0) {
            size = strcspn(line + 7, " ");
            (void)ha_text_format(family, sizeof(family), "%.*s", (int)size, line + 7);
            for (size_t i = 0; i < count; i++)
                assert_string_not_equal(seen[i], family);
            memcpy(seen[count++], family, sizeof(family));
        } else if (line[0] != '#') {
            assert_true(size > strlen(family) - 1);
            assert_memory_equal(line, family, strlen(family));
        }
    }
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

/* A watcher that had just started named version 0: what was made from it was refused as outdated.
 */
static void test_config_of_one_that_lags_is_nobodys_base(void **state)
{
    static const char *const asked[] = {"GET /v1/config", "POST /v1/config/diff", "PUT /v1/config"};
    struct fixture *f = *state;
    struct ha_api_reply reply;

    f->core->caught_up = false;
    for (size_t i = 0; i < HA_ARRAY_LEN(asked); i++) {
        ask(f, asked[i], services, HA_API_OPERATE, &reply);
        assert_false(reply.is_write);
        assert_int_equal(reply.status, 503);
        ha_api_reply_fini(&reply);
    }
}

/* Two that have just been restarted do not promise: the next one must not go before this one does.
 */
static void test_ready_is_who_promises(void **state)
{
    struct fixture *f = *state;

    for (int blind = 0; blind < 2; blind++) {
        struct ha_api_reply reply;
        json_t *json;

        f->core->caught_up = true;
        f->core->blind_until_ms = f->view.now_ms + (uint64_t)blind;
        ask(f, "GET /ready", "", HA_API_NOBODY, &reply);
        assert_int_equal(reply.status, blind ? 503 : 200);
        ha_api_reply_fini(&reply);
        ask(f, "GET /v1/status", "", HA_API_VIEW, &reply);
        json = json_of(&reply);
        assert_int_equal(json_is_true(json_object_get(json, "promises")), !blind);
        json_decref(json);
        ha_api_reply_fini(&reply);
    }
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

/* w3 is silent in the fixture; all others are heard. */
static void test_only_a_silent_watcher_is_replaced(void **state)
{
    static const struct {
        const char *body;
        int status;
    } cases[] = {
        {"{\"old\": \"w3\", \"new\": \"w4\", \"address\": \"h4:7400\"}", 0},
        {"{\"old\": \"w2\", \"new\": \"w4\", \"address\": \"h4:7400\"}", 409},
        {"{\"old\": \"w1\", \"new\": \"w4\", \"address\": \"h4:7400\"}", 409},
        {"{\"old\": \"w9\", \"new\": \"w4\", \"address\": \"h4:7400\"}", 409},
        {"{\"old\": \"w3\", \"new\": \"w 4\", \"address\": \"h4:7400\"}", 400},
        {"{\"old\": \"w3\", \"new\": \"w4\", \"address\": \"h4\"}", 400},
        {"{\"old\": \"w3\", \"new\": \"w4\", \"address\": \"h4:0\"}", 400},
        {"{\"old\": \"w3\", \"new\": \"w4\"}", 400},
        {"{\"old\": 3, \"new\": \"w4\", \"address\": \"h4:7400\"}", 400},
        {"", 400},
    };
    struct fixture *f = *state;
    struct ha_api_reply reply;

    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        print_message("# %s\n", cases[i].body);
        ask(f, "POST /v1/watchers/replace", cases[i].body, HA_API_OPERATE, &reply);
        assert_int_equal(reply.is_write, cases[i].status == 0);
        if (cases[i].status != 0)
            assert_int_equal(reply.status, cases[i].status);
        else
            assert_string_equal(reply.command.u.replace.address, "h4:7400");
        ha_api_reply_fini(&reply);
    }
    /* With a second one silent, the two left would have no majority to spare. */
    f->view.watchers[1].reachable = false;
    ask(f, "POST /v1/watchers/replace", cases[0].body, HA_API_OPERATE, &reply);
    f->view.watchers[1].reachable = true;
    assert_int_equal(reply.status, 409);
    ha_api_reply_fini(&reply);
    ask(f, "POST /v1/watchers/replace", cases[0].body, HA_API_VIEW, &reply);
    assert_int_equal(reply.status, 403);
    ha_api_reply_fini(&reply);
    ask(f, "GET /v1/backup", "", HA_API_VIEW, &reply);
    assert_int_equal(reply.status, 403);
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
    cmocka_unit_test(test_watchers_names_the_digest),
    cmocka_unit_test(test_status_of_one_service),
    cmocka_unit_test(test_failover_becomes_a_command),
    cmocka_unit_test(test_pause_has_an_end_and_an_author),
    cmocka_unit_test(test_config_is_compared_and_put),
    cmocka_unit_test(test_config_of_one_that_lags_is_nobodys_base),
    cmocka_unit_test(test_ready_is_who_promises),
    cmocka_unit_test(test_kept_text_comes_back),
    cmocka_unit_test(test_switchover_is_checked_and_told),
    cmocka_unit_test_setup_teardown(test_switchover_waits_for_its_primary, setup, teardown),
    cmocka_unit_test(test_records_of_an_unknown_service),
    cmocka_unit_test(test_events_can_be_resumed),
    cmocka_unit_test(test_metrics_are_well_formed),
    cmocka_unit_test(test_only_a_silent_watcher_is_replaced),
    cmocka_unit_test(test_roles),
};

int main(int argc, char *argv[])
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("api/control", tests, setup, teardown);
}
