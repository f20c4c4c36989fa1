/* Agents that ask this one, and what both halves need. */
#include "cmd/hafailover-agent/peers.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/dispatch.h"
#include "cmd/hafailover-agent/peers_parts.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/effect.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"
#include "lib/io/listener.h"
#include "lib/io/log.h"
#include "lib/io/tls.h"

#define POLL_MS 1000u
#define SILENT_MAX_MS 60000u
#define CONNECTIONS_MAX (2u * HA_PEERS_MAX)
#define PER_NAME_MAX 4u /* one, and those that have not ended yet */
#define PER_SOURCE_MAX 64u

_Static_assert(sizeof(((struct ha_peer *)0)->key) == HA_TLS_KEY_SIZE, "a key fits");

bool ha_peers_knows(const struct ha_peer_links *links, const char *agent)
{
    for (uint32_t i = 0; i < links->known.count; i++)
        if (strcmp(links->known.all[i].agent, agent) == 0)
            return true;
    return false;
}

void ha_peers_part_closed(struct ha_peer_links *links)
{
    void (*cb)(struct ha_host * host) = links->close_cb;
    struct ha_host *host = links->host;

    assert(links->open_parts > 0);
    if (--links->open_parts > 0)
        return;
    ha_file_wipe(&links->known, sizeof(links->known));
    free(links->asked);
    free(links->frame_data);
    free(links);
    cb(host);
}

int ha_peers_send(struct ha_peer_links *links, struct ha_frames *frames,
                  const struct ha_message *message)
{
    struct ha_slice slice = {.data = links->frame_data};
    int code =
        ha_message_encode(message, links->frame_data, HA_MESSAGE_SIZE_MAX, &slice.size, NULL);

    return code == HA_OK ? ha_frames_send(frames, PEER_FRAME_TYPE, &slice, 1) : code;
}

/* Who asks */

static void on_closed(void *ctx)
{
    struct asking *asking = ctx;
    struct ha_peer_links *links = asking->links;

    for (struct asking **at = &links->asking; *at != NULL; at = &(*at)->next) {
        if (*at == asking) {
            *at = asking->next;
            break;
        }
    }
    free(asking);
    if (links->close_cb != NULL)
        ha_peers_part_closed(links);
}

static void end(struct asking *asking)
{
    if (asking->closing)
        return;
    asking->closing = true;
    ha_frames_close(asking->frames, 0, on_closed, asking);
}

static void refuse(struct asking *asking, const char *why)
{
    if (asking->closing)
        return;
    HA_LOG(HA_LOG_WARN, "agent-refused", "agent=%s why=%s", HA_QUOTE(asking->name), HA_QUOTE(why));
    end(asking);
}

static void on_hello(struct asking *asking, const struct ha_hello_agent *hello)
{
    const char *peer = ha_stream_peer_name(ha_frames_stream(asking->frames));

    if (asking->greeted) {
        refuse(asking, "a second hello");
        return;
    }
    (void)ha_text_copy(asking->name, sizeof(asking->name), hello->name);
    asking->instance = hello->instance;
    if (peer[0] != '\0' && (strncmp(peer, PEER_PREFIX, strlen(PEER_PREFIX)) != 0 ||
                            strcmp(peer + strlen(PEER_PREFIX), hello->name) != 0))
        refuse(asking, "the name is not the one that its key proves");
    else if (!ha_peers_knows(asking->links, asking->name))
        refuse(asking, "it has no member beside one of ours");
    else
        asking->greeted = true;
}

/* A frame may be about more services than one list of effects holds. */
static void make_room(struct ha_peer_links *links)
{
    if (links->host->backlog.count > 0)
        (void)ha_host_dispatch(links->host); /* once more at the end of the turn */
}

static void on_asks(struct asking *asking, const struct ha_hold_asks *asks)
{
    for (uint32_t i = 0; i < asks->count && !asking->closing; i++) {
        struct ha_event event = {.kind = HA_EVENT_HOLD_ASKED};

        if (asks->all[i].instance != asking->instance) {
            refuse(asking, "it asks for another instance than its hello named");
            return;
        }
        event.u.hold_asked = (struct ha_event_hold_asked){asking->name, &asks->all[i]};
        ha_host_step(asking->links->host, &event);
        make_room(asking->links);
    }
}

static void on_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size)
{
    struct asking *asking = ctx;
    struct ha_message message;
    struct ha_err err = {0};

    (void)frames;
    if (asking->closing)
        return;
    asking->heard_ms = ha_clock_boot_ms();
    if (type != PEER_FRAME_TYPE || ha_message_decode(data, size, &message, &err) != HA_OK)
        refuse(asking, err.text);
    else if (message.type == HA_MESSAGE_HELLO_AGENT)
        on_hello(asking, &message.u.hello_agent);
    else if (message.type == HA_MESSAGE_HOLD_ASKS && asking->greeted)
        on_asks(asking, &message.u.asks);
    else
        refuse(asking, "a message that no agent sends, or not yet");
}

static void on_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    struct asking *asking = ctx;

    (void)frames;
    HA_LOG(HA_LOG_DEBUG, "agent-connection-ended", "agent=%s why=%s", HA_QUOTE(asking->name),
           HA_QUOTE(err->text));
    end(asking);
}

static const struct ha_frames_hooks hooks = {.on_frame = on_frame, .on_end = on_end};
static const struct ha_frames_options frames_options = {.payload_max = HA_MESSAGE_SIZE_MAX};

static void on_stream(void *ctx, struct ha_stream *stream)
{
    struct ha_peer_links *links = ctx;
    struct asking *asking = calloc(1, sizeof(*asking));

    if (asking == NULL || links->close_cb != NULL ||
        ha_frames_open(&asking->frames, stream, &frames_options, &hooks, asking) != HA_OK) {
        free(asking);
        ha_stream_close(stream, 0, NULL, NULL);
        return;
    }
    asking->links = links;
    asking->words.type = HA_MESSAGE_HOLD_WORDS;
    asking->heard_ms = ha_clock_boot_ms();
    asking->next = links->asking;
    links->asking = asking;
}

static void flush(struct asking *asking)
{
    if (!asking->closing && asking->words.u.words.count > 0 &&
        ha_peers_send(asking->links, asking->frames, &asking->words) != HA_OK)
        end(asking);
    asking->words.u.words.count = 0;
}

void ha_peers_word(struct ha_peer_links *links, const struct ha_effect_hold_word *word)
{
    for (struct asking *asking = links->asking; asking != NULL; asking = asking->next) {
        if (asking->closing || !asking->greeted || asking->instance != word->word.instance ||
            strcmp(asking->name, word->agent) != 0)
            continue;
        if (asking->words.u.words.count == HA_HOLDS_MAX)
            flush(asking);
        asking->words.u.words.all[asking->words.u.words.count++] = word->word;
        return;
    }
}

void ha_peers_flush(struct ha_peer_links *links)
{
    for (struct asking *asking = links->asking; asking != NULL; asking = asking->next)
        flush(asking);
    ha_peers_asked_flush(links);
}

/* What the watchers say */

/* True: it could be listened on, but for somebody who has the port or for want of a descriptor. */
static bool misses(const struct ha_peer_links *links, const char *ip, uint16_t port, bool is_news)
{
    struct ha_err err = {0};
    struct ha_addr addr;
    int code = ha_addr_from_ip(ip, port, &addr);

    if (code == HA_OK)
        code = ha_listener_bind(links->listener, &addr, 0, NULL, &err);
    if (code == HA_OK || code == HA_EUNREACH) /* no addresses of that kind here */
        return false;
    if (is_news)
        HA_LOG(HA_LOG_ERROR, "agents-not-heard", "address=%s port=%u why=%s", ip, port,
               HA_QUOTE(err.text));
    return true;
}

static bool admit(const struct ha_peer_links *links)
{
    static struct ha_tls_client clients[HA_PEERS_MAX];
    uint32_t count = 0;
    int code;

    if (links->host->tls == NULL)
        return true;
    for (uint32_t i = 0; i < links->known.count; i++) {
        if (!links->known.all[i].keyed)
            continue;
        (void)ha_text_format(clients[count].name, sizeof(clients[count].name), PEER_PREFIX "%s",
                             links->known.all[i].agent);
        memcpy(clients[count++].key, links->known.all[i].key, HA_TLS_KEY_SIZE);
    }
    code = ha_tls_serve(links->host->tls, clients, count);
    ha_file_wipe(clients, sizeof(clients));
    return code == HA_OK;
}

static void listen_anew(struct ha_peer_links *links)
{
    bool plain = links->host->tls == NULL, is_news = !links->deaf;
    const struct ha_listener_options options = {.tls = links->host->tls,
                                                .connections_max = CONNECTIONS_MAX,
                                                .per_name_max = PER_NAME_MAX,
                                                .per_source_max = PER_SOURCE_MAX,
                                                .on_stream = on_stream,
                                                .ctx = links};

    if (links->listener != NULL)
        ha_listener_close(links->listener, NULL, NULL);
    links->listener = NULL;
    links->deaf = false;
    if (links->known.port_count == 0)
        return;
    if (!admit(links) || ha_listener_open(&links->listener, links->host->uv, &options) != HA_OK) {
        HA_LOG(HA_LOG_ERROR, "agents-not-heard", "why=\"no memory\"");
        links->deaf = true;
        return;
    }
    for (uint32_t i = 0; i < links->known.port_count; i++) {
        uint16_t port = links->known.ports[i];
        bool misses_4 = misses(links, plain ? "127.0.0.1" : "0.0.0.0", port, is_news);
        bool misses_6 = misses(links, plain ? "::1" : "::", port, is_news);

        links->deaf = links->deaf || misses_4 || misses_6;
    }
    if (!links->deaf)
        HA_LOG(HA_LOG_INFO, "agents-heard", "port=%u ports=%u agents=%u", links->known.ports[0],
               links->known.port_count, links->known.count);
}

bool ha_peers_take(struct ha_peer_links *links, const struct ha_peers *peers)
{
    struct ha_peers same = *peers;
    bool is_old = peers->config_version < links->known.config_version;
    bool is_same, ports_changed;

    same.config_version = links->known.config_version;
    is_same = memcmp(&same, &links->known, sizeof(same)) == 0;
    ha_file_wipe(&same, sizeof(same));
    if (is_old || links->close_cb != NULL)
        return false;
    ports_changed = peers->port_count != links->known.port_count ||
                    memcmp(peers->ports, links->known.ports, sizeof(peers->ports)) != 0;
    links->known = *peers;
    if (is_same)
        return false;
    if (ports_changed || !admit(links))
        listen_anew(links);
    for (struct asking *asking = links->asking; asking != NULL; asking = asking->next)
        if (asking->greeted && !ha_peers_knows(links, asking->name))
            refuse(asking, "it has no member beside one of ours any more");
    return true;
}

/* The whole */

static void on_timer(uv_timer_t *timer)
{
    struct ha_peer_links *links = timer->data;
    uint64_t now_ms = ha_clock_boot_ms();

    ha_peers_asked_poll(links);
    if (links->deaf)
        listen_anew(links);
    for (struct asking *asking = links->asking; asking != NULL; asking = asking->next)
        if (now_ms - asking->heard_ms > SILENT_MAX_MS)
            end(asking);
}

static void on_timer_closed(uv_handle_t *handle)
{
    ha_peers_part_closed(handle->data);
}

static void on_part_closed(void *ctx)
{
    ha_peers_part_closed(ctx);
}

void ha_peers_close(struct ha_peer_links *links, void (*cb)(struct ha_host *host))
{
    assert(cb != NULL && links->close_cb == NULL);
    links->close_cb = cb;
    links->open_parts = 2u + (links->listener != NULL ? 1u : 0u);
    for (struct asking *asking = links->asking; asking != NULL; asking = asking->next) {
        links->open_parts++;
        end(asking);
    }
    ha_peers_asked_close(links);
    if (links->listener != NULL)
        ha_listener_close(links->listener, on_part_closed, links);
    uv_close((uv_handle_t *)&links->timer, on_timer_closed);
    ha_dns_close(links->dns, on_part_closed, links);
}

int ha_peers_open(struct ha_host *host, struct ha_peer_links **ret)
{
    struct ha_peer_links *links = calloc(1, sizeof(*links));
    int code;

    if (links == NULL)
        return HA_ENOMEM;
    links->host = host;
    links->frame_data = malloc(HA_MESSAGE_SIZE_MAX);
    code = links->frame_data != NULL ? ha_peers_asked_open(links) : HA_ENOMEM;
    if (code == HA_OK)
        code = ha_dns_open(&links->dns, host->uv);
    if (code != HA_OK) {
        free(links->asked);
        free(links->frame_data);
        free(links);
        return code;
    }
    (void)uv_timer_init(host->uv, &links->timer); /* cannot fail */
    links->timer.data = links;
    (void)uv_timer_start(&links->timer, on_timer, POLL_MS, POLL_MS);
    *ret = links;
    return HA_OK;
}
