#include "cmd/hafailover-agent/links.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/common/said.h"
#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/database.h"
#include "cmd/hafailover-agent/dispatch.h"
#include "cmd/hafailover-agent/known.h"
#include "cmd/hafailover-agent/peers.h"
#include "cmd/hafailover-agent/prepare.h"
#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/dns.h"
#include "lib/io/file.h"
#include "lib/io/frames.h"
#include "lib/io/log.h"
#include "lib/io/tls.h"
#include "lib/wire/message.h"

#define CONNECT_MAX_MS 1000u
#define HELLO_MAX_MS 2000u
#define RESOLVE_MAX_MS 2000u
#define SAY_SOMETHING_MS 1000u
#define BACK_OFF_MIN_MS 50u
#define BACK_OFF_MAX_MS 1000u
#define USER_TIMEOUT_MS 3000u
#define KEEPALIVE_S 2u
#define FRAME_TYPE 1u

enum link_state {
    LINK_IDLE, /* until dial_ms */
    LINK_RESOLVING,
    LINK_CONNECTING,
    LINK_HELLO, /* ours is sent */
    LINK_UP,
    LINK_CLOSING,
};

struct watcher_link {
    struct ha_links *links;
    const struct ha_watcher_setting *setting;
    enum link_state state;
    struct ha_dns_request resolve;
    struct ha_stream *stream; /* while connecting */
    struct ha_frames *frames;
    uint32_t index; /* in the set, as its hello said */
    uint32_t failures;
    uint64_t dial_ms, since_ms, heard_ms, said_ms;
    struct ha_said statuses; /* told on this connection */
    struct ha_said promises; /* got on it */
};

struct ha_links {
    struct ha_host *host;
    struct ha_dns *dns;
    struct ha_prng prng;
    uv_timer_t timer;
    struct watcher_link all[HA_WATCHERS_MAX];
    uint32_t status_count;
    struct ha_status statuses[HA_DATABASES_MAX]; /* of the next heartbeat, one per service */
    uint64_t marks[HA_DATABASES_MAX];
    bool told_now[HA_DATABASES_MAX];     /* in full, to the watcher whose turn it is */
    uint32_t status_at[HA_SERVICES_MAX]; /* by service id, modulo: where it was put */
    uint8_t *batch_data;
    unsigned open_parts; /* of closing */
    void (*close_cb)(struct ha_host *host);
};

static void part_closed(struct ha_links *links)
{
    void (*cb)(struct ha_host * host) = links->close_cb;
    struct ha_host *host = links->host;

    assert(links->open_parts > 0);
    if (--links->open_parts > 0)
        return;
    free(links->batch_data);
    free(links);
    cb(host);
}

static void step_link(struct watcher_link *link, bool up)
{
    struct ha_event event = {.kind = HA_EVENT_LINK};

    event.u.link.watcher = link->index;
    event.u.link.up = up;
    ha_host_step(link->links->host, &event);
}

static void wait_and_dial(struct watcher_link *link)
{
    uint64_t wait_ms = (uint64_t)BACK_OFF_MIN_MS << (link->failures < 5 ? link->failures : 5);

    if (wait_ms > BACK_OFF_MAX_MS)
        wait_ms = BACK_OFF_MAX_MS;
    link->failures++;
    link->state = LINK_IDLE;
    link->dial_ms = ha_clock_boot_ms() + ha_prng_between(&link->links->prng, wait_ms / 2, wait_ms);
}

static void on_closed(void *ctx)
{
    struct watcher_link *link = ctx;

    link->stream = NULL;
    link->frames = NULL;
    ha_said_free(&link->statuses);
    ha_said_free(&link->promises);
    if (link->links->close_cb != NULL) {
        link->state = LINK_IDLE;
        part_closed(link->links);
        return;
    }
    wait_and_dial(link);
}

static void drop(struct watcher_link *link, const char *why)
{
    bool was_up = link->state == LINK_UP;

    if (link->state == LINK_CLOSING || link->state == LINK_IDLE || link->state == LINK_RESOLVING)
        return;
    HA_LOG(was_up ? HA_LOG_WARN : HA_LOG_DEBUG, "watcher-lost", "watcher=%s why=%s",
           link->setting->name, HA_QUOTE(why));
    link->state = LINK_CLOSING;
    if (link->frames != NULL)
        ha_frames_close(link->frames, 0, on_closed, link);
    else
        ha_stream_close(link->stream, 0, on_closed, link);
    if (!was_up || link->links->close_cb != NULL)
        return;
    step_link(link, false);
    ha_prepares_lost(link->links->host->prepares, (uint32_t)(link - link->links->all));
}

static void send_bytes(struct watcher_link *link, const void *data, size_t size)
{
    struct ha_slice slice = {.data = data, .size = size};
    int code = ha_frames_send(link->frames, FRAME_TYPE, &slice, 1);

    link->said_ms = ha_clock_boot_ms();
    if (code != HA_OK)
        drop(link, ha_code_text(code));
}

void ha_links_prepared(struct ha_links *links, uint32_t place, const struct ha_prepared *prepared)
{
    struct ha_message message = {.type = HA_MESSAGE_PREPARED};
    uint8_t data[64 + sizeof(message.u.prepared)];
    size_t size;

    message.u.prepared = *prepared;
    if (links->close_cb == NULL && links->all[place].state == LINK_UP &&
        ha_message_encode(&message, data, sizeof(data), &size, NULL) == HA_OK)
        send_bytes(&links->all[place], data, size);
}

static void on_hello(struct watcher_link *link, const struct ha_hello_watcher *hello)
{
    struct ha_links *links = link->links;

    if (link->state != LINK_HELLO || strcmp(hello->name, link->setting->name) != 0 ||
        hello->index >= HA_WATCHERS_MAX) {
        drop(link, "not the hello of the watcher that was meant");
        return;
    }
    for (uint32_t i = 0; i < links->host->settings->watcher_count; i++) {
        /* Two that claim one seat would have their promises counted as one's. */
        if (links->all[i].state == LINK_UP && links->all[i].index == hello->index) {
            drop(link, "another watcher has that index");
            return;
        }
    }
    link->index = hello->index;
    link->state = LINK_UP;
    link->failures = 0;
    HA_LOG(HA_LOG_INFO, "watcher-connected", "watcher=%s index=%u", hello->name, hello->index);
    step_link(link, true);
}

/* A frame may be about more services than one list of effects holds. */
static void make_room(struct ha_links *links)
{
    if (links->host->backlog.count > 0)
        (void)ha_host_dispatch(links->host); /* once more at the end of the turn */
}

static void step_promise(struct watcher_link *link, const struct ha_promise *promise)
{
    struct ha_event event = {.kind = HA_EVENT_PROMISE};

    event.u.promise = (struct ha_event_promise){.watcher = link->index, .promise = promise};
    ha_host_step(link->links->host, &event);
    make_room(link->links);
}

static void on_promises(struct watcher_link *link, struct ha_batch *batch)
{
    struct ha_promise promise;

    while (link->state == LINK_UP && ha_batch_next_promise(batch, &promise)) {
        struct ha_said_entry *given = ha_said_make(&link->promises, promise.service);

        if (given == NULL) {
            drop(link, "too many services");
            return;
        }
        given->mark = ha_said_promise_mark(&promise);
        given->epoch = promise.epoch;
        given->set_id = promise.set_id;
        given->set_size = promise.set_size;
        given->length_ms = promise.length_ms;
        step_promise(link, &promise);
    }
}

static void on_renew(struct watcher_link *link, const struct ha_repeat *repeat)
{
    if (repeat->instance != link->links->host->core->instance ||
        !ha_said_matches(&link->promises, repeat)) {
        drop(link, "it renews what it has not promised");
        return;
    }
    for (uint32_t i = 0; i < repeat->count; i++) {
        const struct ha_range *range = &repeat->ranges[i];

        for (uint32_t k = 0; k < range->count && link->state == LINK_UP; k++) {
            const struct ha_said_entry *given = &link->promises.entries[range->first + k];
            const struct ha_promise promise = {.service = given->service,
                                               .epoch = given->epoch,
                                               .instance = repeat->instance,
                                               .stamp = repeat->stamp,
                                               .set_id = given->set_id,
                                               .set_size = given->set_size,
                                               .length_ms = given->length_ms};

            step_promise(link, &promise);
        }
    }
}

/* A watcher whose state lagged can make something of these now: in full with the next heartbeat. */
static void on_tell(struct watcher_link *link, const struct ha_repeat *tell)
{
    for (uint32_t i = 0; i < tell->count; i++) {
        const struct ha_range *range = &tell->ranges[i];

        for (uint32_t k = range->first; k - range->first < range->count; k++)
            if (k < link->statuses.count)
                link->statuses.entries[k].fresh = false;
            else
                return;
    }
}

static void on_order(struct watcher_link *link, const struct ha_order *order)
{
    struct ha_event event = {.kind = HA_EVENT_ORDER};

    HA_LOG(HA_LOG_DEBUG, "order", "watcher=%s service=%u kind=%s epoch=%" PRIu64,
           link->setting->name, order->service, ha_order_kind_text(order->kind), order->epoch);
    event.u.order = order;
    ha_host_step(link->links->host, &event);
    make_room(link->links);
}

static void on_frame(void *ctx, struct ha_frames *frames, uint8_t type, const uint8_t *data,
                     size_t size)
{
    struct watcher_link *link = ctx;
    struct ha_message message;
    struct ha_err err = {0};

    (void)frames;
    link->heard_ms = ha_clock_boot_ms();
    if (type != FRAME_TYPE || ha_message_decode(data, size, &message, &err) != HA_OK) {
        drop(link, err.text);
        return;
    }
    if (link->state != LINK_UP && message.type != HA_MESSAGE_HELLO_WATCHER) {
        drop(link, "something before the hello");
        return;
    }
    switch (message.type) {
    case HA_MESSAGE_HELLO_WATCHER:
        on_hello(link, &message.u.hello_watcher);
        return;
    case HA_MESSAGE_SETTINGS:
        if (!ha_agent_is_outdated(link->links->host->core, &message.u.settings))
            ha_known_put(link->links->host->known, &message);
        ha_databases_settings(link->links->host->databases, &message.u.settings);
        make_room(link->links);
        return;
    case HA_MESSAGE_ALL:
        ha_known_all(link->links->host->known, &message.u.all);
        return;
    case HA_MESSAGE_PEERS:
        if (ha_peers_take(link->links->host->peers, &message.u.peers))
            ha_known_put(link->links->host->known, &message);
        ha_file_wipe(&message, sizeof(message));
        return;
    case HA_MESSAGE_PROMISES:
        on_promises(link, &message.u.promises);
        return;
    case HA_MESSAGE_RENEW:
        on_renew(link, &message.u.repeat);
        return;
    case HA_MESSAGE_TELL:
        on_tell(link, &message.u.repeat);
        return;
    case HA_MESSAGE_ORDER:
        on_order(link, &message.u.order);
        return;
    case HA_MESSAGE_PREPARE:
        ha_prepares_ask(link->links->host->prepares, (uint32_t)(link - link->links->all),
                        &message.u.prepare);
        return;
    case HA_MESSAGE_NONE:
    case HA_MESSAGE_HELLO_AGENT:
    case HA_MESSAGE_HEARTBEATS:
    case HA_MESSAGE_REPORT:
    case HA_MESSAGE_STOPPED:
    case HA_MESSAGE_REPEAT:
    case HA_MESSAGE_HOLD_ASKS:
    case HA_MESSAGE_HOLD_WORDS:
    case HA_MESSAGE_PREPARED:
        drop(link, "a message that no watcher sends");
        return;
    }
    HA_UNREACHABLE();
}

static void on_frames_end(void *ctx, struct ha_frames *frames, const struct ha_err *err)
{
    (void)frames;
    drop(ctx, err->text);
}

static const struct ha_frames_hooks frames_hooks = {.on_frame = on_frame, .on_end = on_frames_end};
static const struct ha_frames_options frames_options = {.payload_max = HA_MESSAGE_SIZE_MAX};

static void on_open(void *ctx, struct ha_stream *stream)
{
    struct watcher_link *link = ctx;
    const struct ha_host *host = link->links->host;
    struct ha_message message = {.type = HA_MESSAGE_HELLO_AGENT};
    uint8_t data[512];
    size_t size;

    if (ha_frames_open(&link->frames, stream, &frames_options, &frames_hooks, link) != HA_OK) {
        drop(link, "no memory");
        return;
    }
    link->stream = NULL;
    link->state = LINK_HELLO;
    link->since_ms = link->heard_ms = ha_clock_boot_ms();
    (void)ha_text_copy(message.u.hello_agent.name, HA_NAME_SIZE, host->settings->name);
    (void)ha_text_copy(message.u.hello_agent.software, HA_NAME_SIZE, HA_VERSION);
    message.u.hello_agent.instance = host->core->instance;
    if (ha_message_encode(&message, data, sizeof(data), &size, NULL) == HA_OK)
        send_bytes(link, data, size);
}

static void on_stream_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    (void)stream;
    drop(ctx, err->text);
}

static const struct ha_stream_hooks stream_hooks = {.on_open = on_open, .on_end = on_stream_end};

static void connect_to(struct watcher_link *link, const struct ha_addr *addr)
{
    struct ha_links *links = link->links;
    char name[HA_TLS_NAME_SIZE];
    struct ha_stream_connect_options options = {
        .addr = *addr,
        .tls = links->host->tls,
        .server_name = name,
        .alpn = HA_ALPN_FRAMES,
        .deadline_ms = CONNECT_MAX_MS,
        .tuning = {.user_timeout_ms = USER_TIMEOUT_MS,
                   .keepalive_s = KEEPALIVE_S,
                   .send_queue_max = HA_MESSAGE_QUEUE_MAX},
    };
    int code;

    (void)ha_text_format(name, sizeof(name), "watcher/%s", link->setting->name);
    link->state = LINK_CONNECTING;
    code = ha_stream_connect(&link->stream, links->host->uv, &options, &stream_hooks, link);
    if (code == HA_OK)
        return;
    HA_LOG(HA_LOG_ERROR, "watcher-not-dialled", "watcher=%s why=%s", link->setting->name,
           ha_code_text(code));
    wait_and_dial(link);
}

static void on_resolved(struct ha_dns_request *request, int code)
{
    struct watcher_link *link = request->data;

    if (link->links->close_cb != NULL) {
        link->state = LINK_IDLE;
        part_closed(link->links);
        return;
    }
    if (code != HA_OK) {
        HA_LOG(HA_LOG_WARN, "watcher-not-resolved", "watcher=%s why=%s", link->setting->name,
               HA_QUOTE(request->err.text));
        wait_and_dial(link);
        return;
    }
    /* Another of its addresses each time. */
    connect_to(link, &request->addrs[link->failures % request->addr_count]);
}

static void dial(struct watcher_link *link)
{
    char host[HA_ADDRESS_SIZE];
    uint16_t port;

    if (ha_text_host_port(link->setting->address, host, sizeof(host), &port, 0) != HA_OK)
        return; /* checked when it was read */
    link->state = LINK_RESOLVING;
    ha_dns_start(link->links->dns, &link->resolve, host, port, RESOLVE_MAX_MS, on_resolved);
}

static bool is_fresh(const struct ha_links *links, const struct ha_status *status)
{
    const struct ha_held *held = ha_agent_held(links->host->core, status->service);

    return held != NULL && ha_said_may_repeat(status, &held->settings);
}

/* What the watcher was told on this connection and still holds. */
static const struct ha_said_entry *still_told(const struct watcher_link *link, uint32_t at)
{
    const struct ha_links *links = link->links;
    const struct ha_said_entry *told = ha_said_find(&link->statuses, links->statuses[at].service);

    return told != NULL && told->mark == links->marks[at] && told->fresh &&
                   is_fresh(links, &links->statuses[at])
               ? told
               : NULL;
}

static void note_told(struct watcher_link *link, uint32_t at)
{
    const struct ha_links *links = link->links;
    struct ha_said_entry *told = ha_said_make(&link->statuses, links->statuses[at].service);

    if (told == NULL) {
        drop(link, "too many services");
        return;
    }
    told->mark = links->marks[at];
    told->fresh = is_fresh(links, &links->statuses[at]);
}

/* Everything that is not as last told, in as many messages as it takes. */
static void tell_changes(struct watcher_link *link, uint64_t stamp)
{
    struct ha_links *links = link->links;
    struct ha_batch_writer batch;
    uint32_t at = 0;

    ha_batch_begin_heartbeats(&batch, links->batch_data, links->host->core->instance, stamp);
    while (at < links->status_count && link->state == LINK_UP) {
        int code = still_told(link, at) != NULL ? HA_OK
                                                : ha_batch_add_status(&batch, &links->statuses[at]);

        if (code == HA_EFULL) {
            send_bytes(link, links->batch_data, ha_batch_end(&batch));
            ha_batch_begin_heartbeats(&batch, links->batch_data, links->host->core->instance,
                                      stamp);
            continue;
        }
        if (code != HA_OK)
            HA_LOG(HA_LOG_ERROR, "status-not-sent", "service=%u why=%s",
                   links->statuses[at].service, ha_code_text(code));
        else if (still_told(link, at) == NULL)
            links->told_now[at] = true;
        at++;
    }
    if (link->state == LINK_UP && (batch.count > 0 || links->status_count == 0))
        send_bytes(link, links->batch_data, ha_batch_end(&batch));
}

static void send_repeat(struct watcher_link *link, struct ha_message *message)
{
    uint8_t data[64 + sizeof(message->u.repeat)];
    size_t size;

    if (message->u.repeat.count > 0 &&
        ha_message_encode(message, data, sizeof(data), &size, NULL) == HA_OK)
        send_bytes(link, data, size);
    message->u.repeat.count = 0;
    message->u.repeat.sum = 0;
}

static void repeat_the_rest(struct watcher_link *link, uint64_t stamp)
{
    struct ha_links *links = link->links;
    struct ha_message message = {.type = HA_MESSAGE_REPEAT};

    message.u.repeat.instance = links->host->core->instance;
    message.u.repeat.stamp = stamp;
    for (uint32_t at = 0; at < links->status_count && link->state == LINK_UP; at++) {
        const struct ha_said_entry *told = links->told_now[at] ? NULL : still_told(link, at);
        uint32_t place = told == NULL ? 0 : ha_said_place(&link->statuses, told);

        if (told == NULL || ha_repeat_add(&message.u.repeat, place, told->mark))
            continue;
        send_repeat(link, &message);
        if (link->state == LINK_UP)
            (void)ha_repeat_add(&message.u.repeat, place, told->mark); /* there is room now */
    }
    if (link->state == LINK_UP)
        send_repeat(link, &message);
}

static void beat(struct ha_links *links)
{
    uint64_t stamp = ha_clock_boot_ms();

    for (uint32_t at = 0; at < links->status_count; at++)
        links->marks[at] = ha_status_mark(&links->statuses[at]);
    for (uint32_t i = 0; i < links->host->settings->watcher_count; i++) {
        struct watcher_link *link = &links->all[i];

        if (link->state != LINK_UP)
            continue;
        memset(links->told_now, 0, links->status_count * sizeof(links->told_now[0]));
        tell_changes(link, stamp);
        for (uint32_t at = 0; at < links->status_count && link->state == LINK_UP; at++)
            if (links->told_now[at])
                note_told(link, at);
        repeat_the_rest(link, stamp);
    }
    links->status_count = 0;
}

void ha_links_flush(struct ha_links *links)
{
    if (links->status_count > 0)
        beat(links);
}

void ha_links_status(struct ha_links *links, const struct ha_status *status)
{
    uint32_t *hint = &links->status_at[status->service % HA_SERVICES_MAX];
    uint32_t at = *hint;

    /* What was true for a part of a turn is told to nobody. */
    if (at >= links->status_count ||
        (links->statuses[at].service - status->service) % HA_SERVICES_MAX != 0)
        at = links->status_count; /* none of that rest is there yet */
    else if (links->statuses[at].service != status->service)
        for (at = 0; at < links->status_count && links->statuses[at].service != status->service;)
            at++;
    if (at == HA_DATABASES_MAX)
        return; /* no more services than [database] sections are joined */
    *hint = at;
    links->statuses[at] = *status;
    if (at == links->status_count)
        links->status_count++;
}

static void on_timer(uv_timer_t *timer)
{
    struct ha_links *links = timer->data;
    uint64_t now_ms = ha_clock_boot_ms();
    bool quiet = false;

    for (uint32_t i = 0; i < links->host->settings->watcher_count; i++) {
        struct watcher_link *link = &links->all[i];

        if (link->state == LINK_IDLE && now_ms >= link->dial_ms)
            dial(link);
        else if (link->state == LINK_HELLO && now_ms - link->since_ms > HELLO_MAX_MS)
            drop(link, "no hello in time");
        else if (link->state == LINK_UP)
            quiet = quiet || now_ms - link->said_ms >= SAY_SOMETHING_MS;
    }
    if (quiet)
        beat(links); /* an empty one, if there is nothing to say */
}

static void on_timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void on_dns_closed(void *ctx)
{
    part_closed(ctx);
}

void ha_links_close(struct ha_links *links, void (*cb)(struct ha_host *host))
{
    assert(cb != NULL && links->close_cb == NULL);
    links->close_cb = cb;
    links->open_parts = 2;
    for (uint32_t i = 0; i < links->host->settings->watcher_count; i++) {
        struct watcher_link *link = &links->all[i];

        if (link->state == LINK_IDLE)
            continue;
        links->open_parts++;
        drop(link, "stopping"); /* a name being resolved ends with its resolver */
    }
    uv_close((uv_handle_t *)&links->timer, on_timer_closed);
    ha_dns_close(links->dns, on_dns_closed, links);
}

int ha_links_open(struct ha_host *host, struct ha_links **ret)
{
    struct ha_links *links = calloc(1, sizeof(*links));
    int code;

    if (links == NULL)
        return HA_ENOMEM;
    links->host = host;
    links->batch_data = malloc(HA_MESSAGE_SIZE_MAX);
    code = links->batch_data != NULL ? ha_dns_open(&links->dns, host->uv) : HA_ENOMEM;
    if (code != HA_OK) {
        free(links->batch_data);
        free(links);
        return code;
    }
    ha_prng_seed(&links->prng, ha_random_u64());
    for (uint32_t i = 0; i < host->settings->watcher_count; i++) {
        links->all[i].links = links;
        links->all[i].setting = &host->settings->watchers[i];
        links->all[i].resolve.data = &links->all[i];
    }
    (void)uv_timer_init(host->uv, &links->timer); /* cannot fail */
    links->timer.data = links;
    (void)uv_timer_start(&links->timer, on_timer, 0, BACK_OFF_MIN_MS);
    *ret = links;
    return HA_OK;
}
