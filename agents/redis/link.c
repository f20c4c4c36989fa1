#include "agents/redis/link.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agents/engine.h"
#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/io/file.h"

#define USER_TIMEOUT_MS 5000
#define KEEPALIVE_S 5
#define LISTEN_MS 1
#define ATTEMPT_MAX_MS 60000 /* the owner of the batch gives up long before */

static void connect_next(struct ha_redis_link *link);

static void append(struct ha_redis_link *link, struct ha_redis_batch *batch)
{
    if (link->last != NULL)
        link->last->next = batch;
    else
        link->first = batch;
    link->last = batch;
    link->batch_count++;
}

static struct ha_redis_batch *detach_first(struct ha_redis_link *link)
{
    struct ha_redis_batch *batch = link->first;

    assert(batch != NULL);
    link->first = batch->next;
    if (link->first == NULL)
        link->last = NULL;
    batch->next = NULL;
    link->batch_count--;
    return batch;
}

/* --- the connection --- */

static void forget_words(struct ha_redis_link *link)
{
    if (link->password != NULL)
        ha_file_wipe(link->password, strlen(link->password));
    free(link->password);
    free(link->user);
    free(link->host);
    link->host = link->user = link->password = NULL;
}

static void handle_closed(struct ha_redis_link *link)
{
    assert(link->open_handles > 0);
    link->open_handles--;
    if (link->closing && link->open_handles == 0 && !link->resolving) {
        forget_words(link);
        ha_tls_unref(link->tls);
        free(link->request);
        link->close_cb(link);
    }
}

static void on_stream_closed(void *ctx)
{
    handle_closed(ctx);
}

static void close_connection(struct ha_redis_link *link)
{
    if (link->stream != NULL)
        ha_stream_close(link->stream, 0, on_stream_closed, link);
    link->stream = NULL;
    if (link->reader != NULL)
        redisReaderFree(link->reader);
    link->reader = NULL;
    link->reply_size = 0;
    link->authenticated = false;
    link->state = HA_REDIS_LINK_IDLE;
    (void)uv_timer_stop(&link->kick);
}

/* The connection is over: what waits for it ends with @code. A callback may start the next one, so
 * everything of this one is put away first. */
static void fail(struct ha_redis_link *link, int code, const char *reason)
{
    struct ha_redis_batch *batch = link->first;
    bool lost = link->authenticated;
    char text[HA_TEXT_SIZE];

    /* A cut sentence is good enough; a server's own may be empty. */
    (void)ha_text_format(text, sizeof(text), "%s", reason[0] != '\0' ? reason : ha_code_text(code));
    link->first = link->last = NULL;
    link->batch_count = 0;
    close_connection(link);
    if (lost && link->lost_cb != NULL)
        link->lost_cb(link, code, text);
    while (batch != NULL) {
        struct ha_redis_batch *next = batch->next;

        ha_redis_batch_end(batch, code, text);
        batch = next;
    }
}

static void on_kick(uv_timer_t *timer)
{
    struct ha_redis_link *link = timer->data;

    fail(link, link->kick_code, link->kick_text);
}

/* A failure inside a call of ours is told from the loop; @text lives for ever. */
static void fail_later(struct ha_redis_link *link, int code, const char *text)
{
    link->kick_code = code;
    link->kick_text = text;
    (void)uv_timer_start(&link->kick, on_kick, 0, 0); /* fails only without a callback */
}

/* The answer to AUTH. It is one of ours at the head of the queue, so `data` is the link. */
static void on_auth(void *data, const struct ha_redis_outcome *outcome)
{
    struct ha_redis_link *link = data;

    if (outcome->code != HA_OK)
        return; /* the others in the queue are told */
    if (outcome->replies[0]->type == REDIS_REPLY_ERROR) {
        int code = ha_redis_error_code(outcome->replies[0]->str);

        /* Whatever AUTH is refused for, what follows it cannot be trusted to have run as us. */
        fail(link, code == HA_EIO ? HA_EAUTH : code, outcome->replies[0]->str);
        return;
    }
    link->authenticated = true;
}

static bool anybody_waits(const struct ha_redis_link *link)
{
    for (const struct ha_redis_batch *b = link->first; b != NULL; b = b->next) {
        if (b->cb != NULL && b->cb != on_auth)
            return true;
    }
    return false;
}

static int send_auth(struct ha_redis_link *link)
{
    struct ha_redis_batch *batch = ha_redis_batch_new(on_auth, link);

    if (batch == NULL)
        return HA_ENOMEM;
    if (link->user[0] != '\0')
        HA_REDIS_ADD(batch, "AUTH", link->user, link->password);
    else
        HA_REDIS_ADD(batch, "AUTH", link->password);
    if (batch->failed) {
        ha_redis_batch_free(batch);
        return HA_ENOMEM;
    }
    batch->next = link->first;
    link->first = batch;
    if (link->last == NULL)
        link->last = batch;
    link->batch_count++;
    return HA_OK;
}

/* Write what waits; commands go out in the order of the queue, in one piece each. */
static void flush(struct ha_redis_link *link)
{
    for (struct ha_redis_batch *b = link->first; b != NULL; b = b->next) {
        int rc;

        if (b->sent)
            continue;
        rc = ha_stream_write(link->stream, b->bytes, b->size);
        if (rc != HA_OK) {
            fail_later(link, rc, "cannot send to the server");
            return;
        }
        b->sent = true;
        ha_file_wipe(b->bytes, b->size);
    }
}

/* --- replies --- */

static void *create_array(const redisReadTask *task, int elements)
{
    struct ha_redis_link *link = task->privdata;

    /* hiredis allocates by the announced number: 12 hostile bytes would cost gigabytes. */
    if (elements < 0 || elements > HA_REDIS_ELEMENTS_MAX)
        return NULL;
    return link->functions_0->createArray(task, elements);
}

static int open_reader(struct ha_redis_link *link)
{
    assert(link->reader == NULL);
    link->reader = redisReaderCreate();
    if (link->reader == NULL)
        return HA_ENOMEM;
    link->functions_0 = link->reader->fn;
    link->functions = *link->reader->fn;
    link->functions.createArray = create_array;
    link->reader->fn = &link->functions;
    link->reader->privdata = link;
    link->reply_size = 0;
    return HA_OK;
}

/* What a server says to a client that it will not serve, whatever was asked, before it hangs up. */
static bool is_farewell(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR &&
           (ha_redis_error_code(reply->str) == HA_EFULL ||
            strncmp(reply->str, "DENIED", strlen("DENIED")) == 0);
}

/* One whole reply: to the first batch that still owes one. */
static void take_reply(struct ha_redis_link *link, redisReply *reply)
{
    struct ha_redis_batch *batch = link->first;

    if (is_farewell(reply)) {
        fail(link, ha_redis_error_code(reply->str), reply->str);
        freeReplyObject(reply);
        return;
    }
    if (batch == NULL || !batch->sent) {
        freeReplyObject(reply);
        fail(link, HA_EPROTO, "the server spoke unasked");
        return;
    }
    batch->replies[batch->replied++] = reply;
    if (batch->replied == batch->commands) {
        (void)detach_first(link);
        ha_redis_batch_end(batch, HA_OK, "");
    }
}

/* A server with too many clients says so and hangs up at once. A write to it would fail and end the
 * connection before that was read, so the first write waits a moment. */
static void on_listened(uv_timer_t *timer)
{
    struct ha_redis_link *link = timer->data;
    int rc = HA_OK;

    assert(link->state == HA_REDIS_LINK_LISTENING);
    link->state = HA_REDIS_LINK_OPEN;
    if (link->password[0] != '\0')
        rc = send_auth(link);
    else
        link->authenticated = true;
    if (rc != HA_OK)
        fail(link, rc, "out of memory");
    else
        flush(link);
}

static void on_open(void *ctx, struct ha_stream *stream)
{
    struct ha_redis_link *link = ctx;

    assert(link->stream == stream);
    if (open_reader(link) != HA_OK) {
        fail(link, HA_ENOMEM, "out of memory");
        return;
    }
    link->state = HA_REDIS_LINK_LISTENING;
    (void)uv_timer_start(&link->kick, on_listened, LISTEN_MS,
                         0); /* fails only without a callback */
}

static void on_data(void *ctx, struct ha_stream *stream, const uint8_t *data, size_t size)
{
    struct ha_redis_link *link = ctx;

    if (link->reader == NULL && open_reader(link) != HA_OK) {
        fail(link, HA_ENOMEM, "out of memory");
        return;
    }
    link->reply_size += size;
    if (redisReaderFeed(link->reader, (const char *)data, size) != REDIS_OK) {
        fail(link, HA_ENOMEM, "out of memory");
        return;
    }
    /* A callback may end this connection, even begin the next: then the rest is nobody's. */
    while (link->stream == stream) {
        void *reply = NULL;

        if (redisReaderGetReply(link->reader, &reply) != REDIS_OK) {
            fail(link, HA_EPROTO, "what it says is not the Redis protocol");
            return;
        }
        if (reply == NULL)
            break;
        link->reply_size = link->reader->len - link->reader->pos;
        take_reply(link, reply);
    }
    if (link->stream == stream && link->reply_size > HA_REDIS_REPLY_MAX) {
        fail(link, HA_EPROTO, "a reply is too long");
        return;
    }
    /* Between answers a reader holds nothing but its buffer, times thousands of servers. */
    if (link->stream == stream && link->first == NULL && link->reply_size == 0) {
        redisReaderFree(link->reader);
        link->reader = NULL;
    }
}

static void on_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    struct ha_redis_link *link = ctx;

    assert(link->stream == stream);
    if (link->state == HA_REDIS_LINK_CONNECTING && link->addr_next < link->addr_count) {
        ha_stream_close(stream, 0, on_stream_closed, link);
        link->stream = NULL;
        connect_next(link);
        return;
    }
    /* A reset is how a killed server's kernel says goodbye. */
    fail(link, err->code == HA_EIO ? HA_ECLOSED : err->code, err->text);
}

static const struct ha_stream_hooks hooks = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
};

static void connect_next(struct ha_redis_link *link)
{
    const struct ha_addr *addrs = link->request != NULL ? link->request->addrs : &link->addr;
    struct ha_stream_connect_options options = {
        .addr = addrs[link->addr_next++],
        .tls = ha_addr_is_unix(addrs) ? NULL : link->tls,
        .server_name = link->host,
        .allow_plain = true,
        .deadline_ms = link->attempt_ms,
        .tuning = {.user_timeout_ms = USER_TIMEOUT_MS, .keepalive_s = KEEPALIVE_S},
    };
    int rc;

    link->state = HA_REDIS_LINK_CONNECTING;
    rc = ha_stream_connect(&link->stream, link->loop, &options, &hooks, link);
    if (rc != HA_OK) {
        link->stream = NULL;
        fail_later(link, rc, ha_code_text(rc));
        return;
    }
    link->open_handles++;
}

static void start_resolving(struct ha_redis_link *link);

static void on_resolved(struct ha_dns_request *request, int code)
{
    struct ha_redis_link *link = request->data;

    link->resolving = false;
    if (link->closing) {
        link->open_handles++; /* as if the request were a handle */
        handle_closed(link);
        return;
    }
    if (link->state != HA_REDIS_LINK_RESOLVING)
        return; /* dropped meanwhile, nobody waits */
    if (code == HA_ECANCELED) {
        start_resolving(link); /* dropped and wanted again */
        return;
    }
    if (code != HA_OK) {
        fail(link, code == HA_ETIMEDOUT ? code : HA_EUNREACH, request->err.text);
        return;
    }
    link->addr_count = request->addr_count;
    link->addr_next = 0;
    link->attempt_ms = link->attempt_ms / link->addr_count + 1;
    connect_next(link);
}

static void start_resolving(struct ha_redis_link *link)
{
    link->state = HA_REDIS_LINK_RESOLVING;
    if (link->resolving)
        return; /* canceled, and its callback is on the way: it begins again there */
    link->resolving = true;
    link->request->data = link;
    ha_dns_start(link->dns, link->request, link->host, link->port, link->attempt_ms, on_resolved);
}

static void start_connection(struct ha_redis_link *link, uint32_t timeout_ms)
{
    assert(link->stream == NULL);
    link->addr_next = 0;
    if (link->request != NULL) {
        link->attempt_ms = timeout_ms;
        start_resolving(link);
    } else {
        link->attempt_ms = ATTEMPT_MAX_MS;
        connect_next(link);
    }
}

int ha_redis_link_send(struct ha_redis_link *link, struct ha_redis_batch *batch,
                       uint32_t timeout_ms)
{
    int rc = HA_OK;

    if (batch == NULL || batch->failed)
        rc = HA_ENOMEM;
    else if (link->closing)
        rc = HA_ECLOSED;
    else if (link->batch_count >= HA_REDIS_BATCHES_MAX)
        rc = HA_EFULL;
    if (rc != HA_OK) {
        ha_redis_batch_free(batch);
        return rc;
    }
    assert(batch->commands > 0);
    append(link, batch);
    if (link->state == HA_REDIS_LINK_OPEN)
        flush(link);
    else if (link->state == HA_REDIS_LINK_IDLE)
        start_connection(link, timeout_ms);
    return HA_OK;
}

/* Only ever called when no callback is due. */
static void drop(struct ha_redis_link *link)
{
    if (link->resolving)
        ha_dns_cancel(link->request);
    while (link->first != NULL)
        ha_redis_batch_free(detach_first(link));
    close_connection(link);
}

void ha_redis_link_give_up(struct ha_redis_link *link, struct ha_redis_batch *batch)
{
    batch->cb = NULL;
    if (!anybody_waits(link))
        drop(link);
}

/* HA_EFULL, HA_ENOMEM. */
static int copy_word(char **ret, size_t size, const char *word)
{
    if (word == NULL)
        word = "";
    if (strlen(word) >= size)
        return HA_EFULL;
    *ret = strdup(word);
    return *ret != NULL ? HA_OK : HA_ENOMEM;
}

static int copy_words(struct ha_redis_link *link, const struct ha_link_spec *spec,
                      struct ha_err *err)
{
    int rc = copy_word(&link->host, HA_HOST_SIZE, spec->host);

    if (rc == HA_OK)
        rc = copy_word(&link->user, HA_NAME_SIZE * 2, spec->user);
    if (rc == HA_OK)
        rc = copy_word(&link->password, HA_REDIS_SECRET_SIZE, spec->password);
    if (rc == HA_EFULL)
        return ha_err_set(err, HA_EINVAL, "host, user or password of a Redis server is too long");
    return rc == HA_OK ? HA_OK : ha_err_set(err, rc, "no memory for a link to Redis");
}

static int find_place(struct ha_redis_link *link, const struct ha_link_spec *spec,
                      struct ha_err *err)
{
    link->addr_count = 1;
    if (spec->socket_path != NULL && spec->socket_path[0] != '\0') {
        char text[sizeof("unix:") + sizeof(((struct sockaddr_un *)NULL)->sun_path)];
        int rc = ha_text_format(text, sizeof(text), "unix:%s", spec->socket_path);

        if (rc == HA_OK)
            rc = ha_addr_parse(text, 0, &link->addr);
        if (rc != HA_OK)
            return ha_err_set(err, HA_EINVAL, "not the path of a socket: %s", spec->socket_path);
    } else if (ha_addr_from_ip(link->host, link->port, &link->addr) != HA_OK) {
        if (link->host[0] == '\0' || spec->dns == NULL)
            return ha_err_set(err, HA_EINVAL, "neither a socket nor a usable host");
        link->dns = spec->dns;
        link->request = calloc(1, sizeof(*link->request));
        if (link->request == NULL)
            return ha_err_set(err, HA_ENOMEM, "no memory for the address of a Redis server");
    }
    return HA_OK;
}

int ha_redis_link_init(struct ha_redis_link *link, const struct ha_link_spec *spec,
                       uint16_t port_default, struct ha_err *err)
{
    int rc;

    memset(link, 0, sizeof(*link));
    link->loop = spec->loop;
    link->port = spec->port != 0 ? spec->port : port_default;
    rc = copy_words(link, spec, err);
    if (rc == HA_OK)
        rc = find_place(link, spec, err);
    if (rc != HA_OK) {
        forget_words(link);
        return rc;
    }
    (void)uv_timer_init(link->loop, &link->kick); /* always 0 */
    link->kick.data = link;
    link->open_handles = 1;
    if (spec->tls != NULL)
        link->tls = ha_tls_ref(spec->tls);
    return HA_OK;
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void ha_redis_link_close(struct ha_redis_link *link, ha_redis_link_close_cb cb)
{
    assert(!link->closing);
    link->closing = true;
    link->close_cb = cb;
    drop(link);
    uv_close((uv_handle_t *)&link->kick, on_timer_closed);
}
