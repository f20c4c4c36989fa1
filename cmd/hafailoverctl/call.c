#include "cmd/hafailoverctl/call.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"
#include "lib/io/http_client.h"
#include "lib/io/tls.h"

#define ANSWER_MAX ((size_t)16 << 20)
#define SERVER_NAME "watcher/*"
#define SLOW_AFTER_MS 1000u

struct calling {
    const struct ha_target *target;
    const char *url; /* NULL: the socket */
    bool has_next;   /* another watcher is asked if this one does not answer */
    uint32_t deadline_ms;
    const struct ha_ask *ask;
    struct ha_dns *dns;
    struct ha_http_client *client;
    uv_timer_t slow; /* a write that takes long */
    json_t *json;
    enum ha_exit result;
};

static enum ha_exit exit_of_status(long status)
{
    if (status >= 200 && status < 300)
        return HA_EXIT_OK;
    if (status == 504)
        return HA_EXIT_UNKNOWN;
    if (status == 503)
        return HA_EXIT_NO_QUORUM;
    return HA_EXIT_REFUSED;
}

static void take_answer(struct calling *calling, const struct ha_http_answer *answer)
{
    const char *file = calling->ask->body_file;
    const char *text;

    calling->result = exit_of_status(answer->status);
    if (calling->result == HA_EXIT_OK && calling->ask->on_bytes != NULL) {
        calling->ask->on_bytes(calling->ask->bytes_ctx, answer->body, answer->body_size);
        return;
    }
    calling->json = json_loadb(answer->body, answer->body_size, JSON_REJECT_DUPLICATES, NULL);
    if (calling->json == NULL) {
        if (!calling->ask->quiet)
            fprintf(stderr, "hafailoverctl: status %ld, and no JSON: is that a watcher?\n",
                    answer->status);
        if (calling->result == HA_EXIT_OK)
            calling->result = HA_EXIT_REFUSED;
        return;
    }
    if (calling->result == HA_EXIT_OK)
        return;
    text = json_string_value(json_object_get(calling->json, "error"));
    if (!calling->ask->quiet)
        fprintf(stderr, "hafailoverctl: %s%s%s%s\n", file != NULL ? file : "",
                file != NULL ? ": " : "", text != NULL ? text : "refused without a reason",
                answer->status == 403 ? ": it wants the role ctl/" : "");
    if (json_object_size(calling->json) > 2)
        return;
    json_decref(calling->json);
    calling->json = NULL;
}

/* Why it did not answer; of a socket the library only says that localhost has no port 80. */
static const char *reason(const struct calling *calling, const struct ha_http_answer *answer)
{
    const char *socket = calling->target->socket;

    if (calling->url == NULL && (answer->code == HA_EUNREACH || answer->code == HA_EREFUSED))
        return access(socket, F_OK) != 0   ? "there is no such socket"
               : access(socket, W_OK) != 0 ? "not permitted"
                                           : "nobody listens there";
    return answer->err.text[0] != '\0' ? answer->err.text : ha_code_text(answer->code);
}

/* What to do about a watcher that did not answer. */
static const char *advice(const struct calling *calling, int code)
{
    const struct ha_target *target = calling->target;

    if (calling->has_next)
        return "; asking the next watcher";
    if (code == HA_ETIMEDOUT)
        return "; ask another watcher, or give it more time with --timeout";
    if (code == HA_EAUTH)
        return "; was the key made for that --name, from this cluster's secret?";
    if (calling->url != NULL)
        return target->url_count > 1 ? "" : "; ask another watcher, or name several with --url";
    return access(target->socket, F_OK) == 0 && access(target->socket, W_OK) != 0
               ? ": be root or in the group hafailover"
               : "; does hafailoverd run here? Another watcher is asked with --url, --key-file and "
                 "--name";
}

static void on_dns_closed(void *ctx)
{
    (void)ctx; /* the loop ends by itself */
}

static void on_client_closed(void *ctx)
{
    struct calling *calling = ctx;

    uv_close((uv_handle_t *)&calling->slow, NULL);
    ha_dns_close(calling->dns, on_dns_closed, NULL);
}

static void on_answer(void *ctx, const struct ha_http_answer *answer)
{
    struct calling *calling = ctx;
    const char *where = calling->url != NULL ? calling->url : calling->target->socket;

    if (answer->code == HA_OK) {
        take_answer(calling, answer);
    } else {
        if (!calling->ask->quiet)
            fprintf(stderr, "hafailoverctl: %s: %s%s\n", where, reason(calling, answer),
                    advice(calling, answer->code));
        calling->result = answer->code == HA_ETIMEDOUT ? HA_EXIT_UNKNOWN : HA_EXIT_UNREACHABLE;
    }
    ha_http_client_close(calling->client, on_client_closed, calling);
}

/* The key file in a context; false: told already. */
static bool make_tls(const struct ha_target *target, struct ha_tls **ret)
{
    char name[HA_TLS_NAME_SIZE];
    uint8_t key[HA_TLS_KEY_SIZE];
    struct ha_tls_psk psk = {.name = name, .key = key};
    struct ha_tls_cert cert = {.name = name,
                               .ca_file = target->ca_file,
                               .cert_file = target->cert_file,
                               .key_file = target->key_file};
    bool has_cert = target->ca_file != NULL || target->cert_file != NULL;
    struct ha_err err = {0};
    int code;

    if (target->key_file == NULL || target->name == NULL) {
        fprintf(stderr, "hafailoverctl: --url needs --key-file and --name\n");
        return false;
    }
    code = ha_text_format(name, sizeof(name), "%s%s",
                          strchr(target->name, '/') == NULL ? "ctl/" : "", target->name);
    if (code == HA_OK && has_cert)
        code = ha_tls_cert_new(ret, &cert, &err);
    else if (code == HA_OK)
        code = ha_tls_read_key(target->key_file, key, &err);
    if (code == HA_OK && !has_cert)
        code = ha_tls_psk_new(ret, &psk, &err);
    ha_file_wipe(key, sizeof(key));
    if (code != HA_OK)
        fprintf(stderr, "hafailoverctl: %s: %s\n", target->key_file,
                err.text[0] != '\0' ? err.text : ha_code_text(code));
    return code == HA_OK;
}

static void on_slow(uv_timer_t *timer)
{
    const struct calling *calling = timer->data;

    fprintf(stderr, "hafailoverctl: %s\n", calling->target->slow);
}

static bool is_read(const struct ha_ask *ask)
{
    return strcmp(ask->method, "GET") == 0;
}

/* What a write may take beyond the deadline. */
static uint32_t slow_of(const struct calling *calling)
{
    return is_read(calling->ask) ? 0 : calling->target->slow_ms;
}

static int start(struct calling *calling, struct ha_tls *tls)
{
    const struct ha_ask *ask = calling->ask;
    const char *base = calling->url != NULL ? calling->url : "http://localhost";
    size_t size = strlen(base);
    char url[1024];
    struct ha_http_ask request = {
        .method = ask->method,
        .url = url,
        .body = ask->body,
        .body_size = ask->body_size,
        .deadline_ms = calling->deadline_ms,
        .answer_max = ANSWER_MAX,
        .unix_socket = calling->url == NULL ? calling->target->socket : NULL,
        .tls = tls,
        .server_name = tls != NULL ? SERVER_NAME : NULL,
    };

    while (size > 0 && base[size - 1] == '/')
        size--;
    if (ha_text_format(url, sizeof(url), "%.*s%s", (int)size, base, ask->path) != HA_OK)
        return HA_EINVAL;
    return ha_http_call_start(calling->client, &request, NULL, on_answer, calling);
}

/* One question to one watcher. */
static void call_one(struct calling *calling, struct ha_tls *tls)
{
    uv_loop_t loop;
    int code;

    calling->json = NULL;
    calling->result = HA_EXIT_UNREACHABLE;
    if (uv_loop_init(&loop) != 0 || ha_dns_open(&calling->dns, &loop) != HA_OK ||
        ha_http_client_open(&calling->client, &loop, calling->dns) != HA_OK) {
        fprintf(stderr, "hafailoverctl: no memory, or no more files may be opened\n");
        return; /* the program ends: the loop need not */
    }
    (void)uv_timer_init(&loop, &calling->slow); /* always 0 */
    calling->slow.data = calling;
    if (slow_of(calling) > 0)
        (void)uv_timer_start(&calling->slow, on_slow, SLOW_AFTER_MS, 0);
    code = start(calling, tls);
    if (code != HA_OK) {
        fprintf(stderr, "hafailoverctl: %s: %s\n",
                calling->url != NULL ? calling->url : calling->target->socket, ha_code_text(code));
        ha_http_client_close(calling->client, on_client_closed, calling);
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT); /* until all handles have closed */
    (void)uv_loop_close(&loop);
}

static void on_nothing(void *ctx, const void *data, size_t size)
{
    (void)ctx;
    (void)data;
    (void)size;
}

/* Whether the watcher answers at all; says why not. A write must not be sent to one that may take
 * it and never say so. */
static bool is_there(const struct calling *calling, uint32_t deadline_ms, struct ha_tls *tls)
{
    const struct ha_ask look = {.method = "GET", .path = "/healthz", .on_bytes = on_nothing};
    struct calling looking = *calling;

    looking.ask = &look;
    looking.deadline_ms = deadline_ms;
    call_one(&looking, tls);
    json_decref(looking.json);
    return looking.result != HA_EXIT_UNREACHABLE && looking.result != HA_EXIT_UNKNOWN;
}

static bool is_for_the_next(const struct ha_ask *ask, enum ha_exit result)
{
    return result == HA_EXIT_UNREACHABLE || result == HA_EXIT_NO_QUORUM ||
           (result == HA_EXIT_UNKNOWN && is_read(ask));
}

static uint32_t rest_of(uint64_t end_ms)
{
    const uint64_t now_ms = ha_clock_mono_ms();

    return now_ms < end_ms ? (uint32_t)(end_ms - now_ms) : 1;
}

/* Each gets its share of the time that is left; who answered last is asked first the next time. */
static void call_several(struct calling *calling, struct ha_tls *tls)
{
    static uint32_t first;
    const struct ha_target *target = calling->target;
    const uint64_t end_ms = ha_clock_mono_ms() + target->deadline_ms;
    const bool reads = is_read(calling->ask);
    const bool looks = !reads && (target->url_count > 1 || slow_of(calling) > 0);

    for (uint32_t i = 0; i < target->url_count; i++) {
        const uint32_t at = (first + i) % target->url_count, left = target->url_count - i;
        const uint32_t rest_ms = rest_of(end_ms);

        json_decref(calling->json);
        calling->json = NULL;
        calling->url = target->urls[at];
        calling->has_next = left > 1;
        /* The last one too keeps some time for the write itself. */
        if (looks && !is_there(calling, 1 + rest_ms / (left + 1), tls))
            continue;
        calling->deadline_ms = reads ? 1 + rest_ms / left : rest_of(end_ms) + slow_of(calling);
        call_one(calling, tls);
        if (!is_for_the_next(calling->ask, calling->result)) {
            first = at;
            return;
        }
    }
}

enum ha_exit ha_call(const struct ha_target *target, const struct ha_ask *ask, json_t **ret)
{
    struct calling calling = {.target = target,
                              .ask = ask,
                              .deadline_ms = target->deadline_ms,
                              .result = HA_EXIT_UNREACHABLE};
    struct ha_tls *tls = NULL;

    *ret = NULL;
    if (target->url_count > 0 && !make_tls(target, &tls))
        return HA_EXIT_USAGE;
    if (target->url_count > 0) {
        call_several(&calling, tls);
    } else if (slow_of(&calling) == 0 || is_there(&calling, target->deadline_ms, tls)) {
        calling.deadline_ms += slow_of(&calling);
        call_one(&calling, tls);
    }
    ha_tls_unref(tls);
    *ret = calling.json;
    return calling.result;
}
