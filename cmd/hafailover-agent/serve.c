#include "cmd/hafailover-agent/serve.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailover-agent/daemon.h"
#include "lib/api/agent.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/addr.h"
#include "lib/io/clock.h"
#include "lib/io/http_server.h"
#include "lib/io/listener.h"
#include "lib/io/log.h"

#define BODY_MAX 1024u /* nobody has anything to send */
#define CONNECTIONS_MAX 64u
#define HEADERS_MAX 4096u

struct ha_agent_serve {
    struct ha_host *host;
    struct ha_http_server *http;
    struct ha_listener *listener;
    unsigned open_parts;
    void (*close_cb)(struct ha_host *host);
};

static void on_request(void *ctx, struct ha_http_request *http)
{
    const struct ha_agent_serve *serve = ctx;
    const struct ha_host *host = serve->host;
    const struct ha_agent_settings *settings = host->settings;
    struct ha_agent_request request = {.method = ha_http_method(http),
                                       .path = ha_http_path(http),
                                       .service = ha_http_query(http, "service")};
    /* The clock now, not that of the last step: the loop may have slept past the lease. */
    struct ha_agent_view view = {.agent = host->core,
                                 .name = settings->name,
                                 .now_ms = ha_clock_boot_ms(),
                                 .wall_ms = ha_clock_wall_ms(),
                                 .watcher_count = settings->watcher_count};
    struct ha_agent_reply reply;

    for (uint32_t i = 0; i < settings->watcher_count; i++) {
        (void)ha_text_copy(view.watchers[i].name, HA_NAME_SIZE, settings->watchers[i].name);
        view.watchers[i].linked = host->core->link_up[i];
    }
    ha_agent_answer(&request, &view, &reply);
    ha_http_reply(http, reply.body != NULL ? (unsigned)reply.status : 500u, reply.type,
                  reply.body != NULL ? reply.body : "",
                  reply.body != NULL ? strlen(reply.body) : 0);
    free(reply.body);
}

static void on_stream(void *ctx, struct ha_stream *stream)
{
    struct ha_agent_serve *serve = ctx;

    ha_http_server_adopt(serve->http, stream);
}

static void listen_on(struct ha_agent_serve *serve, const char *text)
{
    struct ha_err err = {0};
    struct ha_addr addr;
    int code = ha_addr_parse(text, 0, &addr);

    if (code == HA_OK)
        code = ha_listener_bind(serve->listener, &addr, 0660, NULL, &err);
    if (code != HA_OK)
        HA_LOG(HA_LOG_WARN, "api-not-served", "address=%s why=%s", HA_QUOTE(text),
               HA_QUOTE(err.text[0] != '\0' ? err.text : ha_code_text(code)));
}

static void on_part_closed(void *ctx)
{
    struct ha_agent_serve *serve = ctx;
    struct ha_host *host = serve->host;
    void (*cb)(struct ha_host *) = serve->close_cb;

    assert(serve->open_parts > 0);
    if (--serve->open_parts > 0)
        return;
    free(serve);
    if (cb != NULL)
        cb(host);
}

void ha_agent_serve_close(struct ha_agent_serve *serve, void (*cb)(struct ha_host *host))
{
    serve->close_cb = cb;
    if (serve->listener != NULL)
        ha_listener_close(serve->listener, on_part_closed, serve);
    ha_http_server_close(serve->http, on_part_closed, serve);
}

int ha_agent_serve_open(struct ha_host *host, struct ha_agent_serve **ret)
{
    struct ha_agent_serve *serve = calloc(1, sizeof(*serve));
    struct ha_http_server_options http = {.body_max = BODY_MAX,
                                          .headers_max = HEADERS_MAX,
                                          .connections_max = CONNECTIONS_MAX,
                                          .handler = on_request,
                                          .ctx = serve};
    struct ha_listener_options options = {
        .connections_max = CONNECTIONS_MAX, .on_stream = on_stream, .ctx = serve};
    char text[HA_PATH_SIZE + 8];
    int code;

    if (serve == NULL)
        return HA_ENOMEM;
    serve->host = host;
    code = ha_http_server_open(&serve->http, host->uv, &http);
    if (code != HA_OK) {
        free(serve);
        return code;
    }
    serve->open_parts = 1;
    code = ha_listener_open(&serve->listener, host->uv, &options);
    if (code != HA_OK) {
        ha_agent_serve_close(serve, NULL);
        return code;
    }
    serve->open_parts = 2;
    (void)ha_text_format(text, sizeof(text), "unix:%s", host->settings->api_socket);
    listen_on(serve, text);
    if (strcmp(host->settings->api_listen, "none") != 0)
        listen_on(serve, host->settings->api_listen);
    *ret = serve;
    return HA_OK;
}
