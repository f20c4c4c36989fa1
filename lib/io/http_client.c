#include "lib/io/http_client.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "lib/base/text.h"
#include "lib/io/tls_session.h"

#define ANSWER_DEFAULT ((size_t)1024 * 1024)

struct ha_http_call {
    TAILQ_ENTRY(ha_http_call) link;
    struct ha_http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    struct curl_slist *resolved;
    char host[HA_DNS_HOST_SIZE];
    uint16_t port;
    char curl_text[CURL_ERROR_SIZE];
    struct ha_tls *tls; /* NULL: the system's CAs, or no TLS */
    struct ha_tls_session session;
    struct ha_dns_request dns;
    uv_timer_t deadline;
    unsigned pending; /* of dns and deadline: whose callbacks are still to come */
    bool resolving;
    bool in_multi;
    bool done;
    bool too_large;
    char *body;
    size_t body_room;
    size_t answer_max;
    struct ha_http_answer answer;
    ha_http_call_cb cb;
    void *ctx;
};

TAILQ_HEAD(call_list, ha_http_call);

struct ha_http_client {
    uv_loop_t *loop;
    struct ha_dns *dns;
    CURLM *multi;
    uv_timer_t timer; /* libcurl's own wake-up */
    struct call_list calls;
    bool closing;
    ha_http_client_close_cb close_cb;
    void *close_ctx;
};

/* One descriptor of libcurl's; frees itself. */
struct watch {
    uv_poll_t poll;
    struct ha_http_client *client;
    curl_socket_t fd;
};

static void on_timer_closed(uv_handle_t *handle)
{
    struct ha_http_client *client = handle->data;
    ha_http_client_close_cb cb = client->close_cb;
    void *ctx = client->close_ctx;

    free(client);
    if (cb != NULL)
        cb(ctx);
}

static void close_if_idle(struct ha_http_client *client)
{
    if (!client->closing || !TAILQ_EMPTY(&client->calls) ||
        uv_is_closing((uv_handle_t *)&client->timer))
        return;
    (void)curl_multi_cleanup(client->multi); /* closes the watches */
    uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}

static void free_call(struct ha_http_call *call)
{
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    curl_slist_free_all(call->resolved);
    ha_tls_unref(call->tls);
    free(call->body);
    free(call);
}

/* One of the call's two helpers is gone for good; with the last one the call ends. */
static void release(struct ha_http_call *call)
{
    struct ha_http_client *client = call->client;

    assert(call->pending > 0);
    call->pending--;
    if (call->pending > 0)
        return;
    assert(call->done);
    TAILQ_REMOVE(&client->calls, call, link);
    if (call->body != NULL)
        call->body[call->answer.body_size] = '\0';
    call->answer.body = call->body != NULL ? call->body : "";
    call->cb(call->ctx, &call->answer);
    free_call(call);
    close_if_idle(client);
}

static void on_deadline_closed(uv_handle_t *handle)
{
    release(handle->data);
}

/* The first result wins. Never called while libcurl is on the stack. */
static void finish(struct ha_http_call *call, int code, const char *text)
{
    if (call->done)
        return;
    call->done = true;
    call->answer.code = code;
    if (call->in_multi)
        (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &call->answer.status);
    if (code == HA_OK && call->answer.status < 100) { /* libcurl takes "HTTP/2 1" */
        code = call->answer.code = HA_EPROTO;
        text = "it has no status of HTTP";
    }
    if (code != HA_OK) {
        (void)ha_err_set(&call->answer.err, code, "%s", text);
        call->answer.body_size = 0;
    }
    if (call->in_multi)
        (void)curl_multi_remove_handle(call->client->multi, call->easy);
    if (call->resolving)
        ha_dns_cancel(&call->dns);
    uv_close((uv_handle_t *)&call->deadline, on_deadline_closed);
}

static void on_deadline(uv_timer_t *timer)
{
    finish(timer->data, HA_ETIMEDOUT, "no answer by the deadline");
}

static int code_of_connect(CURL *easy)
{
    long error = 0;

    (void)curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &error);
    return error == ECONNREFUSED || error == ENOENT ? HA_EREFUSED
           : error == ETIMEDOUT                     ? HA_ETIMEDOUT
                                                    : HA_EUNREACH;
}

/* libcurl's enumeration has a hundred values of which these can happen here. */
static int code_of(const struct ha_http_call *call, unsigned result)
{
    switch (result) {
    case CURLE_OK:
        return HA_OK;
    case CURLE_COULDNT_CONNECT:
        return code_of_connect(call->easy);
    case CURLE_COULDNT_RESOLVE_HOST:
        return HA_ENOENT;
    case CURLE_OPERATION_TIMEDOUT:
        return HA_ETIMEDOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
        return HA_EAUTH;
    case CURLE_WRITE_ERROR:
        return call->too_large ? HA_EFULL : HA_ENOMEM;
    case CURLE_OUT_OF_MEMORY:
        return HA_ENOMEM;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return HA_ECLOSED;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return HA_EPROTO;
    default:
        return HA_EIO;
    }
}

static void finish_transfer(struct ha_http_call *call, CURLcode result)
{
    const char *text = call->curl_text[0] != '\0' ? call->curl_text : curl_easy_strerror(result);

    if (call->too_large)
        text = "the answer is too large";
    if (call->session.refusal[0] != '\0')
        text = call->session.refusal;
    finish(call, code_of(call, result), text);
}

static void collect(struct ha_http_client *client)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURLcode result = message->data.result;
        struct ha_http_call *call = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        finish_transfer(call, result); /* the message is gone after this */
    }
}

static void act(struct ha_http_client *client, curl_socket_t fd, int events)
{
    int running;

    (void)curl_multi_socket_action(client->multi, fd, events, &running);
    collect(client);
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* Called by libcurl: only note, never act. */
static int on_curl_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct ha_http_client *client = ctx;

    (void)multi;
    if (timeout_ms < 0)
        (void)uv_timer_stop(&client->timer);
    else
        (void)uv_timer_start(&client->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    int flags = 0;

    if (status != 0)
        flags |= CURL_CSELECT_ERR;
    if ((events & UV_READABLE) != 0)
        flags |= CURL_CSELECT_IN;
    if ((events & UV_WRITABLE) != 0)
        flags |= CURL_CSELECT_OUT;
    act(watch->client, watch->fd, flags);
}

static void free_watch(uv_handle_t *handle)
{
    free(handle->data);
}

static struct watch *make_watch(struct ha_http_client *client, curl_socket_t fd)
{
    struct watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL)
        return NULL;
    if (uv_poll_init(client->loop, &watch->poll, fd) != 0) {
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->client = client;
    watch->fd = fd;
    (void)curl_multi_assign(client->multi, fd, watch);
    return watch;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *assigned)
{
    struct ha_http_client *client = ctx;
    struct watch *watch = assigned;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL)
            uv_close((uv_handle_t *)&watch->poll, free_watch);
        return 0;
    }
    if (watch == NULL)
        watch = make_watch(client, fd);
    if (watch == NULL)
        return -1;
    if (what != CURL_POLL_OUT)
        events |= UV_READABLE;
    if (what != CURL_POLL_IN)
        events |= UV_WRITABLE;
    (void)uv_poll_start(&watch->poll, events, on_poll);
    return 0;
}

static size_t on_body(char *data, size_t one, size_t size, void *ctx)
{
    struct ha_http_call *call = ctx;
    size_t need = call->answer.body_size + size;

    assert(one == 1);
    if (size > call->answer_max - call->answer.body_size) {
        call->too_large = true;
        return 0;
    }
    if (need + 1 > call->body_room) {
        size_t room = need + 1 > 2 * call->body_room ? need + 1 : 2 * call->body_room;
        char *grown = realloc(call->body, room);

        if (grown == NULL)
            return 0;
        call->body = grown;
        call->body_room = room;
    }
    memcpy(call->body + call->answer.body_size, data, size);
    call->answer.body_size = need;
    return size;
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *ctx)
{
    struct ha_http_call *call = ctx;

    (void)easy;
    return ha_tls_session_attach(&call->session, ssl_ctx) == HA_OK ? CURLE_OK
                                                                   : CURLE_SSL_CERTPROBLEM;
}

/* curl_easy_setopt fails only for want of memory or for an option this build does not have. */
#define SET(easy, option, value, failed) ((failed) |= curl_easy_setopt(easy, option, value) != 0)

static bool set_tls(struct ha_http_call *call)
{
    CURL *easy = call->easy;
    struct ha_tls *tls = call->tls;
    bool failed = false;

    SET(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L, failed);
    if (tls == NULL)
        return !failed;
    if (tls->kind == HA_TLS_KIND_FOREIGN) {
        if (tls->ca_file != NULL)
            SET(easy, CURLOPT_CAINFO, tls->ca_file, failed);
        if (tls->cert_file != NULL) {
            SET(easy, CURLOPT_SSLCERT, tls->cert_file, failed);
            SET(easy, CURLOPT_SSLKEY, tls->key_file, failed);
        }
        return !failed;
    }
    /* libcurl looks for a certificate and a host name; who the peer is, tls_session decides. */
    SET(easy, CURLOPT_SSL_VERIFYPEER, 0L, failed);
    SET(easy, CURLOPT_SSL_VERIFYHOST, 0L, failed);
    SET(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx, failed);
    SET(easy, CURLOPT_SSL_CTX_DATA, call, failed);
    return !failed;
}

static bool set_request(struct ha_http_call *call, const struct ha_http_ask *ask)
{
    bool has_body =
        ask->body != NULL || strcmp(ask->method, "POST") == 0 || strcmp(ask->method, "PUT") == 0;
    CURL *easy = call->easy;
    bool failed = false;

    call->headers = curl_slist_append(NULL, "Expect:"); /* no extra round trip */
    if (call->headers == NULL)
        return false;
    for (unsigned i = 0; i < HA_HTTP_HEADERS_MAX && ask->headers[i] != NULL; i++) {
        if (curl_slist_append(call->headers, ask->headers[i]) == NULL)
            return false;
    }
    SET(easy, CURLOPT_URL, ask->url, failed);
    SET(easy, CURLOPT_HTTPHEADER, call->headers, failed);
    if (has_body) {
        SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->body_size, failed);
        SET(easy, CURLOPT_COPYPOSTFIELDS, ask->body != NULL ? ask->body : "", failed);
    }
    if (strcmp(ask->method, "HEAD") == 0)
        SET(easy, CURLOPT_NOBODY, 1L, failed);
    else
        SET(easy, CURLOPT_CUSTOMREQUEST, ask->method, failed);
    if (ask->unix_socket != NULL)
        SET(easy, CURLOPT_UNIX_SOCKET_PATH, ask->unix_socket, failed);
    return !failed;
}

static bool set_common(struct ha_http_call *call)
{
    CURL *easy = call->easy;
    bool failed = false;

    SET(easy, CURLOPT_PRIVATE, call, failed);
    SET(easy, CURLOPT_ERRORBUFFER, call->curl_text, failed);
    SET(easy, CURLOPT_WRITEFUNCTION, on_body, failed);
    SET(easy, CURLOPT_WRITEDATA, call, failed);
    SET(easy, CURLOPT_PROTOCOLS_STR, "http,https", failed);
    SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1, failed);
    SET(easy, CURLOPT_USERAGENT, "hafailover/" HA_VERSION, failed);
    SET(easy, CURLOPT_NOSIGNAL, 1L, failed);
    SET(easy, CURLOPT_PROXY, "", failed);
    SET(easy, CURLOPT_FRESH_CONNECT, 1L, failed);
    SET(easy, CURLOPT_FORBID_REUSE, 1L, failed);
    return !failed;
}

static void begin_transfer(struct ha_http_call *call)
{
    if (curl_multi_add_handle(call->client->multi, call->easy) != CURLM_OK) {
        finish(call, HA_EIO, "libcurl refused the request");
        return;
    }
    call->in_multi = true;
}

/* "host:port:address,address" for CURLOPT_RESOLVE. */
static int put_resolved(struct ha_http_call *call)
{
    char text[HA_DNS_HOST_SIZE + 16 + HA_DNS_ADDRS_MAX * (size_t)HA_ADDR_TEXT_SIZE];
    int rv = ha_text_format(text, sizeof(text), "%s:%u:", call->host, call->port);

    for (unsigned i = 0; i < call->dns.addr_count && rv == HA_OK; i++) {
        char addr[HA_ADDR_TEXT_SIZE];
        char *port;

        (void)ha_addr_text(&call->dns.addrs[i], addr);
        port = strrchr(addr, ':');
        assert(port != NULL);
        *port = '\0';
        rv = ha_text_append(text, sizeof(text), "%s%s", i > 0 ? "," : "", addr);
    }
    if (rv != HA_OK)
        return rv;
    call->resolved = curl_slist_append(NULL, text);
    if (call->resolved == NULL ||
        curl_easy_setopt(call->easy, CURLOPT_RESOLVE, call->resolved) != CURLE_OK)
        return HA_ENOMEM;
    return HA_OK;
}

static void on_resolved(struct ha_dns_request *request, int code)
{
    struct ha_http_call *call = request->data;

    call->resolving = false;
    if (code != HA_OK)
        finish(call, code, request->err.text);
    else if (!call->done && put_resolved(call) != HA_OK)
        finish(call, HA_ENOMEM, "out of memory");
    else if (!call->done)
        begin_transfer(call);
    release(call);
}

/* Take the URL apart. HA_EINVAL: not http or https, or no host. */
static int split_url(struct ha_http_call *call, const char *url)
{
    CURLU *parts = curl_url();
    char *scheme = NULL;
    char *host = NULL;
    char *port = NULL;
    uint64_t port_number = 0;
    int rv = HA_EINVAL;

    if (parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        (strcmp(scheme, "https") == 0 || (strcmp(scheme, "http") == 0 && call->tls == NULL)) &&
        ha_text_copy(call->host, sizeof(call->host), host) == HA_OK &&
        ha_text_u64(port, UINT16_MAX, &port_number) == HA_OK)
        rv = HA_OK;
    call->port = (uint16_t)port_number;
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return rv;
}

static bool host_is_numeric(const char *host)
{
    struct ha_addr addr;

    return host[0] == '[' || ha_addr_from_ip(host, 0, &addr) == HA_OK;
}

static int prepare(struct ha_http_call *call, const struct ha_http_ask *ask)
{
    int rv = split_url(call, ask->url);

    if (rv == HA_OK && call->tls != NULL && call->tls->kind != HA_TLS_KIND_FOREIGN)
        rv = ha_tls_session_init(&call->session, call->tls, false, ask->server_name, HA_ALPN_HTTP);
    if (rv == HA_OK && ask->unix_socket == NULL && call->client->dns == NULL &&
        !host_is_numeric(call->host))
        rv = HA_EINVAL;
    if (rv != HA_OK)
        return rv;
    call->easy = curl_easy_init();
    if (call->easy == NULL || !set_common(call) || !set_request(call, ask) || !set_tls(call))
        return HA_ENOMEM;
    return HA_OK;
}

int ha_http_call_start(struct ha_http_client *client, const struct ha_http_ask *ask,
                       struct ha_http_call **ret, ha_http_call_cb cb, void *ctx)
{
    struct ha_http_call *call;
    int rv;

    assert(!client->closing);
    if (ask->deadline_ms == 0 || ask->method == NULL || ask->url == NULL)
        return HA_EINVAL;
    call = calloc(1, sizeof(*call));
    if (call == NULL)
        return HA_ENOMEM;
    call->client = client;
    call->cb = cb;
    call->ctx = ctx;
    call->answer_max = ask->answer_max != 0 ? ask->answer_max : ANSWER_DEFAULT;
    call->tls = ask->tls == NULL ? NULL : ha_tls_ref(ask->tls);
    rv = prepare(call, ask);
    if (rv != HA_OK) {
        free_call(call);
        return rv;
    }
    TAILQ_INSERT_TAIL(&client->calls, call, link);
    (void)uv_timer_init(client->loop, &call->deadline);
    call->deadline.data = call;
    call->pending = 1;
    (void)uv_timer_start(&call->deadline, on_deadline, ask->deadline_ms, 0);
    if (ret != NULL)
        *ret = call;
    if (ask->unix_socket != NULL || host_is_numeric(call->host)) {
        begin_transfer(call);
        return HA_OK;
    }
    call->pending++;
    call->resolving = true;
    call->dns.data = call;
    ha_dns_start(client->dns, &call->dns, call->host, call->port, ask->deadline_ms, on_resolved);
    return HA_OK;
}

void ha_http_call_cancel(struct ha_http_call *call)
{
    finish(call, HA_ECANCELED, "canceled");
}

int ha_http_client_open(struct ha_http_client **ret, uv_loop_t *loop, struct ha_dns *dns)
{
    static bool ready; /* of the process, for ever */
    struct ha_http_client *client;

    if (!ready && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return HA_EIO;
    ready = true;
    client = calloc(1, sizeof(*client));
    if (client == NULL)
        return HA_ENOMEM;
    client->multi = curl_multi_init();
    if (client->multi == NULL) {
        free(client);
        return HA_ENOMEM;
    }
    client->loop = loop;
    client->dns = dns;
    TAILQ_INIT(&client->calls);
    (void)uv_timer_init(loop, &client->timer);
    client->timer.data = client;
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    *ret = client;
    return HA_OK;
}

void ha_http_client_close(struct ha_http_client *client, ha_http_client_close_cb cb, void *ctx)
{
    struct ha_http_call *call;

    assert(!client->closing);
    client->closing = true;
    client->close_cb = cb;
    client->close_ctx = ctx;
    TAILQ_FOREACH(call, &client->calls, link)
    {
        finish(call, HA_ECANCELED, "canceled");
    }
    close_if_idle(client);
}
