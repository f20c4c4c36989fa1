/* Requests of the control API and of an agent's: whatever is asked, there is an answer that a
 * client can read, and whoever may only look changes nothing. An input is a line
 * "METHOD PATH?QUERY" and the body behind it; its first byte says who asks. */
#include <jansson.h>
#include <string.h>

#include "lib/api/agent.h"
#include "lib/api/control.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/agent.h"
#include "lib/core/watcher.h"
#include "lib/wire/command.h"
#include "lib/wire/config.h"
#include "tests/fuzz/fuzz.h"

static const char services[] = "[service cache]\nengine = redis\nvip = 10.77.0.100/24\n"
                               "[member cache/a]\nagent = db1\nhost = 10.77.0.21\nport = 6379\n"
                               "[member cache/b]\nagent = db2\nhost = 10.77.0.22\nport = 6379\n"
                               "[webhook ops]\nurl = http://127.0.0.1:1/\n";

static struct ha_watcher core;
static struct ha_effects effects;
static struct ha_agent agent;
static uint64_t index_last;

static void commit(const struct ha_command *command)
{
    struct ha_event event = {.kind = HA_EVENT_COMMITTED, .now_ms = 1000, .wall_ms = 5000};

    event.u.committed = (struct ha_event_committed){.index = ++index_last, .command = command};
    ha_effects_clear(&effects);
    FUZZ_CHECK(ha_watcher_step(&core, &event, &effects, NULL) == HA_OK);
}

/* One service with an open primary, and an agent that holds it. */
static void make_world(void)
{
    static struct ha_config config;
    struct ha_watcher_options options = {
        .name = "w1", .set_id = 7, .watcher_count = 3, .watchers = {"w1", "w2", "w3"}};
    struct ha_command command = {.kind = HA_COMMAND_WATCHERS};
    struct ha_ref ref;

    ha_watcher_init(&core, &options);
    command.u.watchers =
        (struct ha_command_watchers){.set_id = 7, .count = 3, .names = {"w1", "w2", "w3"}};
    commit(&command);
    FUZZ_CHECK(ha_config_parse(services, strlen(services), 3, &config, NULL) == HA_OK);
    command = (struct ha_command){.kind = HA_COMMAND_CONFIG};
    command.u.config =
        (struct ha_command_config){.author = "admin", .config = &config, .text = services};
    commit(&command);
    ref = (struct ha_ref){.service = core.cluster.id_last, .epoch = 1};
    command = (struct ha_command){.kind = HA_COMMAND_PROMOTE};
    command.u.promote = (struct ha_command_promote){.ref = ref, .member = 1, .instance = 5};
    commit(&command);
    command = (struct ha_command){.kind = HA_COMMAND_PROMOTED};
    command.u.outcome.ref = ref;
    commit(&command);
    command.kind = HA_COMMAND_OPENED;
    commit(&command);
    core.caught_up = true;
    ha_agent_init(&agent, 5, HA_GATE_BPF);
    agent.held_count = 1;
    agent.held[0] = (struct ha_held){.used = true,
                                     .settings = {.service = ref.service,
                                                  .service_name = "cache",
                                                  .member_name = "a",
                                                  .port = 6379,
                                                  .hang_after_ms = 1000},
                                     .epoch = 1};
}

struct asked {
    char line[512];
    char *path, *query;
};

/* "key=value&..." as it stands; the server has undone the escapes. */
static const char *query(const void *ctx, const char *key)
{
    static char value[128];
    const struct asked *asked = ctx;
    size_t size = strlen(key);

    for (const char *at = asked->query; at != NULL; at = strchr(at, '&')) {
        at += *at == '&' ? 1 : 0;
        if (strncmp(at, key, size) == 0 && at[size] == '=') {
            (void)ha_text_format(value, sizeof(value), "%.*s", (int)strcspn(at + size + 1, "&"),
                                 at + size + 1);
            return value;
        }
    }
    return NULL;
}

static void split(struct asked *asked)
{
    char *space = strchr(asked->line, ' ');

    asked->path = space != NULL ? space + 1 : asked->line + strlen(asked->line);
    if (space != NULL)
        *space = '\0';
    asked->query = strchr(asked->path, '?');
    if (asked->query != NULL)
        *asked->query++ = '\0';
}

/* What a write becomes is an entry that the log can hold, and its outcome is told. */
static void check_write(struct ha_api_reply *reply, const struct ha_api_view *view, int code)
{
    static uint8_t bytes[HA_COMMAND_SIZE_MAX];
    size_t size = 0;

    FUZZ_CHECK(ha_command_encode(&reply->command, bytes, sizeof(bytes), &size, NULL) == HA_OK);
    ha_api_finish(reply, view, 9, code, "as it was asked");
}

static void check_answer(int status, const char *type, const char *body, size_t size)
{
    json_t *json;

    FUZZ_CHECK(status >= 200 && status <= 599 && type != NULL && body != NULL);
    if (strcmp(type, "application/json") != 0)
        return;
    json = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);
    FUZZ_CHECK(json_is_object(json));
    FUZZ_CHECK(status < 400 || status == 409 || status == 503 ||
               json_is_string(json_object_get(json, "error")));
    json_decref(json);
}

static void ask_control(struct asked *asked, uint8_t who, const char *body, size_t body_size)
{
    struct ha_api_view view = {.watcher = &core,
                               .now_ms = 1000,
                               .wall_ms = 6000,
                               .leader = "w2",
                               .acting = (who & 4) != 0,
                               .watcher_count = 3,
                               .watchers = {{"w1", "follower", true, 0},
                                            {"w2", "leader", true, 12},
                                            {"w3", "unknown", false, UINT64_MAX}}};
    struct ha_api_request request = {.method = asked->line,
                                     .path = asked->path,
                                     .query = query,
                                     .query_ctx = asked,
                                     .body = body,
                                     .body_size = body_size,
                                     .peer = (who & 8) != 0 ? "ctl/admin" : "",
                                     .role = (enum ha_api_role)(who % 3)};
    struct ha_api_reply reply;

    ha_api_handle(&request, &view, &reply);
    if (reply.is_write) {
        FUZZ_CHECK(request.role == HA_API_OPERATE);
        check_write(&reply, &view, (who & 16) != 0 ? HA_OK : HA_ETIMEDOUT);
    }
    check_answer(reply.status, reply.type, reply.body, reply.body_size);
    ha_api_reply_fini(&reply);
}

static void ask_agent(struct asked *asked)
{
    struct ha_agent_view view = {.agent = &agent,
                                 .name = "db1",
                                 .now_ms = 1000,
                                 .watcher_count = 3,
                                 .watchers = {{"w1", true}, {"w2", true}, {"w3", false}}};
    struct ha_agent_request request = {
        .method = asked->line, .path = asked->path, .service = query(asked, "service")};
    struct ha_agent_reply reply;

    ha_agent_answer(&request, &view, &reply);
    FUZZ_CHECK(reply.body != NULL);
    check_answer(reply.status, reply.type, reply.body, strlen(reply.body));
    free(reply.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct asked asked = {.line = ""};
    const uint8_t *end;
    size_t length;

    if (index_last == 0)
        make_world();
    if (size < 1)
        return 0;
    end = memchr(data + 1, '\n', size - 1);
    length = end != NULL ? (size_t)(end - data - 1) : size - 1;
    if (length >= sizeof(asked.line) || memchr(data + 1, '\0', length) != NULL)
        return 0;
    memcpy(asked.line, data + 1, length);
    split(&asked);
    length += end != NULL ? 2 : 1;
    ask_control(&asked, data[0], (const char *)data + length, size - length);
    ask_agent(&asked);
    return 0;
}
