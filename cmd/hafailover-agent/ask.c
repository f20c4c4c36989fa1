#include "cmd/hafailover-agent/ask.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "cmd/hafailover-agent/settings.h"
#include "lib/base/err.h"
#include "lib/io/http_client.h"

#define EXIT_UNREACHED 3
#define DEADLINE_MS 5000u

struct asking {
    struct ha_http_client *client;
    const char *socket;
    json_t *json;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void on_answer(void *ctx, const struct ha_http_answer *answer)
{
    struct asking *asking = ctx;

    if (answer->code != HA_OK)
        fprintf(stderr,
                "hafailover-agent: %s: %s; does the agent run? Its log tells: journalctl -u "
                "hafailover-agent\n",
                asking->socket,
                answer->err.text[0] != '\0' ? answer->err.text : ha_code_text(answer->code));
    else {
        asking->json = json_loadb(answer->body, answer->body_size, 0, NULL);
        if (asking->json == NULL)
            fprintf(stderr, "hafailover-agent: %s: status %ld, and no JSON: is that an agent?\n",
                    asking->socket, answer->status);
    }
    ha_http_client_close(asking->client, NULL, NULL);
}

static void print_service(const json_t *service)
{
    const char *order = text_of(service, "order_text");

    printf("service %s, member %s (%s)\n  %s\n", text_of(service, "service"),
           text_of(service, "member"), text_of(service, "engine"), text_of(service, "text"));
    printf("  epoch %" JSON_INTEGER_FORMAT ", lease %" JSON_INTEGER_FORMAT
           " ms, gate %" JSON_INTEGER_FORMAT " ms, process %s, role %s, vip %s\n",
           number_of(service, "epoch"), number_of(service, "lease_left_ms"),
           number_of(service, "gate_left_ms"), text_of(service, "process"),
           text_of(service, "role"),
           json_is_true(json_object_get(service, "vip_held")) ? "held" : "not held");
    printf("  last order %s of epoch %" JSON_INTEGER_FORMAT ": %s%s%s\n", text_of(service, "order"),
           number_of(service, "order_epoch"), text_of(service, "order_result"),
           order[0] != '\0' ? ": " : "", order);
}

static void print_status(const json_t *status)
{
    const json_t *one;
    size_t at;

    printf("agent %s, gate %s; watchers:", text_of(status, "agent"), text_of(status, "gate"));
    json_array_foreach(json_object_get(status, "watchers"), at, one)
        printf(" %s %s", text_of(one, "name"),
               json_is_true(json_object_get(one, "linked")) ? "linked" : "NOT LINKED");
    printf("\n");
    if (json_array_size(json_object_get(status, "services")) == 0)
        printf("no watcher has said what is here to do\n");
    json_array_foreach(json_object_get(status, "services"), at, one) print_service(one);
}

int ha_agent_ask(const struct ha_agent_settings *settings, bool as_json)
{
    struct asking asking = {.socket = settings->api_socket};
    struct ha_http_ask ask = {.method = "GET",
                              .url = "http://localhost/status",
                              .deadline_ms = DEADLINE_MS,
                              .unix_socket = settings->api_socket};
    uv_loop_t loop;

    if (uv_loop_init(&loop) != 0 || ha_http_client_open(&asking.client, &loop, NULL) != HA_OK) {
        fprintf(stderr, "hafailover-agent: no memory, or no more files may be opened\n");
        return EXIT_UNREACHED; /* the program ends: the loop need not */
    }
    if (ha_http_call_start(asking.client, &ask, NULL, on_answer, &asking) != HA_OK)
        ha_http_client_close(asking.client, NULL, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* until all handles have closed */
    (void)uv_loop_close(&loop);
    if (asking.json == NULL)
        return EXIT_UNREACHED;
    if (as_json) {
        (void)json_dumpf(asking.json, stdout, JSON_INDENT(2)); /* a closed pipe is its wish */
        printf("\n");
    } else {
        print_status(asking.json);
    }
    json_decref(asking.json);
    return 0;
}
