/* Agents that this one asks: dialled with back-off when there is something to ask, by the address
 * that the configuration gives the member; dropped when there has been nothing for a while. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/peers_parts.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/agent.h"
#include "lib/core/effect.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "lib/io/stream.h"
#include "lib/io/tls.h"

#define CONNECT_MAX_MS 1000u
#define RESOLVE_MAX_MS 2000u
#define BACK_OFF_MIN_MS 50u
#define BACK_OFF_MAX_MS 500u
#define USER_TIMEOUT_MS 3000u
#define KEEPALIVE_S 2u
#define UNUSED_MAX_MS 60000u

enum asked_state { ASKED_IDLE, ASKED_RESOLVING, ASKED_CONNECTING, ASKED_UP, ASKED_CLOSING };

struct asked {
    struct ha_peer_links *links;
    enum asked_state state;
    char name[HA_NAME_SIZE];
    char host[HA_HOST_SIZE];
    uint16_t port;
    struct ha_dns_request resolve;
    struct ha_stream *stream; /* while connecting */
    struct ha_frames *frames;
    uint32_t failures;
    uint64_t dial_ms, used_ms;
    struct ha_message asks; /* to be sent */
};

static void wait_and_dial(struct asked *asked)
{
    uint64_t wait_ms = (uint64_t)BACK_OFF_MIN_MS << (asked->failures < 4 ? asked->failures : 4);

    asked->failures++;
    asked->state = ASKED_IDLE;
    asked->dial_ms = ha_clock_boot_ms() + (wait_ms < BACK_OFF_MAX_MS ? wait_ms : BACK_OFF_MAX_MS);
}

static void on_closed(void *ctx)
{
    struct asked *asked = ctx;

    asked->stream = NULL;
    asked->frames = NULL;
    if (asked->links->close_cb != NULL) {
        asked->state = ASKED_IDLE;
        ha_peers_part_closed(asked->links);
        return;
    }
    wait_and_dial(asked);
}

static void drop(struct asked *asked, const char *why)
{
    bool was_up = asked->state == ASKED_UP;

    if (asked->state != ASKED_UP && asked->state != ASKED_CONNECTING)
        return;
    HA_LOG(was_up ? HA_LOG_WARN : HA_LOG_DEBUG, "agent-lost", "agent=%s why=%s", asked->name,
           HA_QUOTE(why));
    asked->state = ASKED_CLOSING;
    asked->asks.u.asks.count = 0;
    if (asked->frames != NULL)
        ha_frames_close(asked->frames, 0, on_closed, asked);
    else
        ha_stream_close(asked->stream, 0, on_closed, asked);
}

static void on_words(struct asked *asked, const struct ha_hold_words *words)
{
    asked->failures = 0; /* not by the connection: it may be refused behind that */
    for (uint32_t i = 0; i < words->count; i++) {
        struct ha_event event = {.kind = HA_EVENT_HOLD_WORD};

        event.u.hold_word = (struct ha_event_hold_word){asked->name, &words->all[i]};
        ha_host_step(asked->links->host, &event);
    }
}

static void on_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size)
{
    struct asked *asked = ctx;
    struct ha_message message;
    struct ha_err err = {0};

    (void)frames;
    if (asked->state != ASKED_UP)
        return;
    if (type != PEER_FRAME_TYPE || ha_message_decode(data, size, &message, &err) != HA_OK)
        drop(asked, err.text);
    else if (message.type != HA_MESSAGE_HOLD_WORDS)
        drop(asked, "a message that no agent answers with");
    else
        on_words(asked, &message.u.words);
}

static void on_frames_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    (void)frames;
    drop(ctx, err->text);
}

static const struct ha_frames_hooks frames_hooks = {.on_frame = on_frame, .on_end = on_frames_end};
static const struct ha_frames_options frames_options = {.payload_max = HA_MESSAGE_SIZE_MAX};

static void say(struct asked *asked, const struct ha_message *message)
{
    int code = ha_peers_send(asked->links, asked->frames, message);

    if (code != HA_OK)
        drop(asked, ha_code_text(code));
}

static void on_open(void *ctx, struct ha_stream *stream)
{
    struct asked *asked = ctx;
    const struct ha_host *host = asked->links->host;
    struct ha_message hello = {.type = HA_MESSAGE_HELLO_AGENT};

    if (ha_frames_open(&asked->frames, stream, &frames_options, &frames_hooks, asked) != HA_OK) {
        drop(asked, "no memory");
        return;
    }
    asked->stream = NULL;
    asked->state = ASKED_UP;
    HA_LOG(HA_LOG_INFO, "agent-connected", "agent=%s", asked->name);
    (void)ha_text_copy(hello.u.hello_agent.name, HA_NAME_SIZE, host->settings->name);
    (void)ha_text_copy(hello.u.hello_agent.software, HA_NAME_SIZE, HA_VERSION);
    hello.u.hello_agent.instance = host->core->instance;
    say(asked, &hello);
}

static void on_stream_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    (void)stream;
    drop(ctx, err->text);
}

static const struct ha_stream_hooks stream_hooks = {.on_open = on_open, .on_end = on_stream_end};

static void on_resolved(struct ha_dns_request *request, int code)
{
    struct asked *asked = request->data;
    struct ha_peer_links *links = asked->links;
    char name[HA_TLS_NAME_SIZE];
    struct ha_stream_connect_options options = {
        .tls = links->host->tls,
        .server_name = name,
        .alpn = HA_ALPN_FRAMES,
        .deadline_ms = CONNECT_MAX_MS,
        .tuning = {.user_timeout_ms = USER_TIMEOUT_MS, .keepalive_s = KEEPALIVE_S},
    };

    if (links->close_cb != NULL) {
        asked->state = ASKED_IDLE;
        ha_peers_part_closed(links);
        return;
    }
    if (code != HA_OK) {
        HA_LOG(HA_LOG_WARN, "agent-not-resolved", "agent=%s why=%s", asked->name,
               HA_QUOTE(request->err.text));
        wait_and_dial(asked);
        return;
    }
    /* Another of its addresses each time. */
    options.addr = request->addrs[asked->failures % request->addr_count];
    (void)ha_text_format(name, sizeof(name), PEER_PREFIX "%s", asked->name);
    asked->state = ASKED_CONNECTING;
    code = ha_stream_connect(&asked->stream, links->host->uv, &options, &stream_hooks, asked);
    if (code == HA_OK)
        return;
    HA_LOG(HA_LOG_ERROR, "agent-not-dialled", "agent=%s why=%s", asked->name, ha_code_text(code));
    wait_and_dial(asked);
}

static void dial(struct asked *asked)
{
    asked->state = ASKED_RESOLVING;
    ha_dns_start(asked->links->dns, &asked->resolve, asked->host, asked->port, RESOLVE_MAX_MS,
                 on_resolved);
}

static bool is_of(const struct asked *asked, const struct ha_effect_hold_ask *ask)
{
    return asked->port == ask->port && strcmp(asked->name, ask->agent) == 0 &&
           strcmp(asked->host, ask->host) == 0;
}

/* The record of that agent at that address (services may give it different ones), made where there
 * is room; NULL: there is none. */
static struct asked *asked_of(struct ha_peer_links *links, const struct ha_effect_hold_ask *ask,
                              uint64_t now_ms)
{
    struct asked *free_one = NULL;

    for (uint32_t i = 0; i < links->asked_count; i++) {
        struct asked *asked = &links->asked[i];

        if (is_of(asked, ask))
            return asked;
        if (asked->state == ASKED_IDLE && now_ms - asked->used_ms > UNUSED_MAX_MS)
            free_one = asked;
    }
    if (free_one == NULL && links->asked_count < HA_PEERS_MAX)
        free_one = &links->asked[links->asked_count++];
    if (free_one == NULL)
        return NULL;
    memset(free_one, 0, sizeof(*free_one));
    free_one->links = links;
    free_one->resolve.data = free_one;
    free_one->asks.type = HA_MESSAGE_HOLD_ASKS;
    free_one->port = ask->port;
    (void)ha_text_copy(free_one->name, sizeof(free_one->name), ask->agent);
    (void)ha_text_copy(free_one->host, sizeof(free_one->host), ask->host);
    return free_one;
}

static void flush(struct asked *asked)
{
    if (asked->state == ASKED_UP && asked->asks.u.asks.count > 0)
        say(asked, &asked->asks);
    asked->asks.u.asks.count = 0;
}

void ha_peers_ask(struct ha_peer_links *links, const struct ha_effect_hold_ask *ask)
{
    uint64_t now_ms = ha_clock_boot_ms();
    struct asked *asked = asked_of(links, ask, now_ms);

    if (asked == NULL || links->close_cb != NULL)
        return;
    asked->used_ms = now_ms;
    if (asked->state == ASKED_IDLE && now_ms >= asked->dial_ms)
        dial(asked);
    if (asked->state != ASKED_UP)
        return;
    if (asked->asks.u.asks.count == HA_HOLDS_MAX)
        flush(asked);
    asked->asks.u.asks.all[asked->asks.u.asks.count++] = ask->ask;
}

void ha_peers_asked_flush(struct ha_peer_links *links)
{
    for (uint32_t i = 0; i < links->asked_count; i++)
        flush(&links->asked[i]);
}

void ha_peers_asked_poll(struct ha_peer_links *links)
{
    uint64_t now_ms = ha_clock_boot_ms();

    for (uint32_t i = 0; i < links->asked_count; i++)
        if (now_ms - links->asked[i].used_ms > UNUSED_MAX_MS)
            drop(&links->asked[i], "nothing is asked of it any more");
}

int ha_peers_asked_open(struct ha_peer_links *links)
{
    links->asked = calloc(HA_PEERS_MAX, sizeof(*links->asked));
    return links->asked != NULL ? HA_OK : HA_ENOMEM;
}

void ha_peers_asked_close(struct ha_peer_links *links)
{
    for (uint32_t i = 0; i < links->asked_count; i++) {
        if (links->asked[i].state == ASKED_IDLE)
            continue;
        links->open_parts++;
        drop(&links->asked[i], "stopping"); /* a name being resolved ends with its resolver */
    }
}
