#include "cmd/hafailoverd/notify.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/common/secret.h"
#include "cmd/hafailoverd/breaker.h"
#include "cmd/hafailoverd/daemon.h"
#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/base/text.h"
#include "lib/core/effect.h"
#include "lib/io/clock.h"
#include "lib/io/dns.h"
#include "lib/io/file.h"
#include "lib/io/http_client.h"
#include "lib/io/log.h"
#include "lib/wire/notice.h"

#define ASKED_MAX 8u       /* services of one webhook under way at once */
#define LANES_MAX 64u      /* ... and remembered, with those that failed or wait for the log */
#define CALL_MAX_MS 5000u  /* of one request */
#define ANSWER_MAX 65536u  /* bytes of its answer, which nobody reads */
#define APPLY_MAX_MS 3000u /* from a 2xx to the end of its notice in the log */
#define KEY_SIZE_MAX 4096u

enum lane_state {
    LANE_FREE,
    LANE_ASKED, /* the request is under way */
    LANE_TAKEN, /* a 2xx came: the log must hear it before the next one leaves */
    LANE_FAILED /* until next_ms */
};

struct endpoint;

/* One webhook's notices of one service, one at a time. */
struct lane {
    struct endpoint *endpoint;
    enum lane_state state;
    uint32_t service;
    uint64_t seq;
    uint32_t failures;
    uint64_t next_ms;
    struct ha_http_call *call;
};

/* One webhook, which shares nothing with the others: what hangs or fails, hangs and fails alone. */
struct endpoint {
    struct ha_notifier *notifier;
    char name[HA_NAME_SIZE]; /* "": free */
    char url[HA_URL_SIZE];
    struct ha_breaker breaker;
    uint32_t asked;
    struct lane lanes[LANES_MAX];
};

struct key { /* of a [secret] section */
    uint8_t *data;
    size_t size;
};

struct ha_notifier {
    struct ha_daemon *daemon;
    struct ha_dns *dns;
    struct ha_http_client *http;
    struct ha_prng prng;
    struct key keys[HA_SECRETS_MAX];
    struct endpoint endpoints[HA_WEBHOOKS_MAX];
    void (*close_cb)(struct ha_daemon *daemon);
};

static void free_keys(struct ha_notifier *notifier)
{
    for (uint32_t i = 0; i < HA_SECRETS_MAX; i++) {
        if (notifier->keys[i].data != NULL)
            ha_file_wipe(notifier->keys[i].data, notifier->keys[i].size);
        free(notifier->keys[i].data);
    }
}

static void back_off(struct lane *lane)
{
    struct endpoint *endpoint = lane->endpoint;
    struct ha_prng *prng = &endpoint->notifier->prng;
    uint64_t now_ms = ha_clock_mono_ms();

    lane->failures++;
    lane->state = LANE_FAILED;
    lane->next_ms = now_ms + ha_back_off_ms(lane->failures, prng);
    if (ha_breaker_failed(&endpoint->breaker, now_ms, prng))
        HA_LOG(HA_LOG_WARN, "webhook-failing", "webhook=%s failures=%u", endpoint->name,
               endpoint->breaker.failures);
}

/* It is back: what has waited for it does not wait for its own time too. */
static void note_worked(struct endpoint *endpoint)
{
    if (!ha_breaker_worked(&endpoint->breaker))
        return;
    HA_LOG(HA_LOG_INFO, "webhook-back", "webhook=%s", endpoint->name);
    for (uint32_t i = 0; i < LANES_MAX; i++) {
        if (endpoint->lanes[i].state == LANE_FAILED)
            endpoint->lanes[i].next_ms = 0;
    }
}

static void propose_done(struct lane *lane)
{
    struct ha_daemon *daemon = lane->endpoint->notifier->daemon;
    struct ha_effect *effect = ha_effects_add(daemon->backlog.now, HA_EFFECT_PROPOSE);
    struct ha_command *command = &effect->u.command;

    command->kind = HA_COMMAND_NOTICE_DONE;
    command->wall_ms = ha_clock_wall_ms();
    command->u.notice.seq = lane->seq;
    (void)ha_text_copy(command->u.notice.webhook, HA_NAME_SIZE, lane->endpoint->name);
    lane->state = LANE_TAKEN;
    lane->next_ms = ha_clock_mono_ms() + APPLY_MAX_MS;
}

/* A 2xx is the receiver's word, whatever became of the rest of its answer: one that is too large or
 * never ends would otherwise be asked for ever. */
static bool is_taken(const struct ha_http_answer *got)
{
    return got->status >= 200 && got->status < 300;
}

static void on_answer(void *ctx, const struct ha_http_answer *got)
{
    struct lane *lane = ctx;
    struct endpoint *endpoint = lane->endpoint;

    assert(lane->state == LANE_ASKED && endpoint->asked > 0);
    lane->call = NULL;
    endpoint->asked--;
    if (got->code == HA_ECANCELED) {
        lane->state = LANE_FREE;
        return;
    }
    if (is_taken(got)) {
        HA_LOG(HA_LOG_INFO, "notice-taken", "webhook=%s seq=%" PRIu64, endpoint->name, lane->seq);
        lane->failures = 0;
        note_worked(endpoint);
        propose_done(lane);
        return;
    }
    HA_LOG(HA_LOG_WARN, "notice-failed", "webhook=%s seq=%" PRIu64 " status=%ld why=%s",
           endpoint->name, lane->seq, got->status, HA_QUOTE(got->err.text));
    back_off(lane);
}

/* "Hafailover-Signature: sha256=HEX" over timestamp and body; HA_OK without a secret too. */
static int sign(struct ha_notifier *notifier, const struct ha_webhook_config *webhook,
                const char *body, uint64_t timestamp_s, char header[128])
{
    const struct ha_daemon_settings *settings = notifier->daemon->settings;
    const struct ha_secret *secret = ha_daemon_secret(settings, webhook->secret);
    const struct key *key;
    char signature[HA_SIGNATURE_SIZE];
    int code;

    header[0] = '\0';
    if (webhook->secret[0] == '\0')
        return HA_OK;
    if (secret == NULL)
        return HA_ENOENT;
    key = &notifier->keys[secret - settings->secrets];
    code = ha_notice_sign(key->data, key->size, timestamp_s, body, signature);
    if (code != HA_OK)
        return code;
    return ha_text_format(header, 128, "Hafailover-Signature: sha256=%s", signature);
}

static void ask(struct lane *lane, const struct ha_webhook_config *webhook,
                const struct ha_notice *notice)
{
    struct ha_notifier *notifier = lane->endpoint->notifier;
    const struct ha_daemon *daemon = notifier->daemon;
    const struct ha_decision *decision =
        notice->decision != 0 ? ha_cluster_decision(&daemon->core->cluster, notice->decision)
                              : NULL;
    uint64_t timestamp_s = ha_clock_wall_ms() / 1000;
    char signature[128], timestamp[64];
    char *body = NULL;
    struct ha_http_ask request = {.method = "POST",
                                  .url = webhook->url,
                                  .deadline_ms = CALL_MAX_MS,
                                  .answer_max = ANSWER_MAX};
    int code = ha_notice_body(daemon->settings->cluster, notice, decision, &body);

    if (code == HA_OK)
        code = sign(notifier, webhook, body, timestamp_s, signature);
    if (code == HA_OK) {
        (void)ha_text_format(timestamp, sizeof(timestamp), "Hafailover-Timestamp: %" PRIu64,
                             timestamp_s);
        request.headers[0] = "Content-Type: application/cloudevents+json; charset=utf-8";
        request.headers[1] = timestamp;
        request.headers[2] = signature[0] != '\0' ? signature : NULL;
        request.body = body;
        request.body_size = strlen(body);
        code = ha_http_call_start(notifier->http, &request, &lane->call, on_answer, lane);
    }
    if (code == HA_OK) {
        lane->state = LANE_ASKED;
        lane->endpoint->asked++;
    } else {
        HA_LOG(HA_LOG_ERROR, "notice-not-sent", "webhook=%s seq=%" PRIu64 " why=%s", webhook->name,
               lane->seq, ha_code_text(code));
        back_off(lane);
    }
    free(body);
}

static struct lane *lane_of(struct endpoint *endpoint, uint32_t service)
{
    for (uint32_t i = 0; i < LANES_MAX; i++) {
        if (endpoint->lanes[i].state != LANE_FREE && endpoint->lanes[i].service == service)
            return &endpoint->lanes[i];
    }
    return NULL;
}

/* A free place, or that of the one that has failed and would be tried last: it loses only its wait.
 * NULL: all are busy; looked at again. */
static struct lane *place_in(struct endpoint *endpoint)
{
    struct lane *place = NULL;

    for (uint32_t i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &endpoint->lanes[i];

        if (lane->state == LANE_FREE)
            return lane;
        if (lane->state == LANE_FAILED && (place == NULL || place->next_ms < lane->next_ms))
            place = lane;
    }
    return place;
}

/* Whether nothing older of its service is owed to the webhook at bit @at than notice @i. */
static bool is_first(const struct ha_cluster *cluster, uint32_t i, uint32_t at)
{
    const struct ha_notice *notices = cluster->notices;

    for (uint32_t older = 0; older < i; older++) {
        if (notices[older].service == notices[i].service && (notices[older].owed & (1u << at)) != 0)
            return false;
    }
    return true;
}

/* Whether @seq is still owed to the webhook at bit @at. */
static bool is_owed(const struct ha_cluster *cluster, uint64_t seq, uint32_t at)
{
    for (uint32_t i = 0; i < cluster->notice_count; i++) {
        if (cluster->notices[i].seq == seq)
            return (cluster->notices[i].owed & (1u << at)) != 0;
    }
    return false;
}

/* Stop what is under way; what waits is forgotten, the outbox has it. */
static void drop_lanes(struct endpoint *endpoint)
{
    for (uint32_t i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &endpoint->lanes[i];

        if (lane->state == LANE_ASKED)
            ha_http_call_cancel(lane->call);
        else
            lane->state = LANE_FREE;
    }
}

static void drop_endpoint(struct endpoint *endpoint)
{
    drop_lanes(endpoint);
    endpoint->breaker = (struct ha_breaker){.failures = 0};
    if (endpoint->asked == 0)
        endpoint->name[0] = '\0';
}

static uint32_t webhook_at(const struct ha_cluster *cluster, const char *name)
{
    uint32_t at = 0;

    while (at < cluster->webhook_count && strcmp(cluster->webhooks[at].name, name) != 0)
        at++;
    return at;
}

/* Lanes whose notice the log no longer owes are done, whoever said so; a webhook that the
 * configuration no longer has, or has elsewhere, begins anew. */
static void end_lanes(struct endpoint *endpoint)
{
    const struct ha_cluster *cluster = &endpoint->notifier->daemon->core->cluster;
    uint32_t at = webhook_at(cluster, endpoint->name);

    if (at == cluster->webhook_count || strcmp(cluster->webhooks[at].url, endpoint->url) != 0) {
        drop_endpoint(endpoint);
        return;
    }
    for (uint32_t i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &endpoint->lanes[i];

        if (lane->state != LANE_FREE && lane->state != LANE_ASKED &&
            !is_owed(cluster, lane->seq, at))
            lane->state = LANE_FREE;
    }
}

/* NULL: the places are still taken by webhooks that are going. */
static struct endpoint *endpoint_of(struct ha_notifier *notifier,
                                    const struct ha_webhook_config *webhook)
{
    struct endpoint *empty = NULL;

    for (uint32_t i = 0; i < HA_WEBHOOKS_MAX; i++) {
        struct endpoint *endpoint = &notifier->endpoints[i];

        if (strcmp(endpoint->name, webhook->name) == 0)
            return strcmp(endpoint->url, webhook->url) == 0 ? endpoint : NULL;
        if (endpoint->name[0] == '\0' && empty == NULL)
            empty = endpoint;
    }
    if (empty == NULL)
        return NULL;
    *empty = (struct endpoint){.notifier = notifier};
    (void)ha_text_copy(empty->name, sizeof(empty->name), webhook->name);
    (void)ha_text_copy(empty->url, sizeof(empty->url), webhook->url);
    return empty;
}

static bool may_ask(const struct endpoint *endpoint, uint64_t now_ms)
{
    return endpoint->asked < ASKED_MAX &&
           ha_breaker_admits(&endpoint->breaker, endpoint->asked, now_ms);
}

/* Notice @i of the outbox, which the webhook at bit @at is owed. */
static void look_at_notice(struct endpoint *endpoint, uint32_t i, uint32_t at)
{
    const struct ha_cluster *cluster = &endpoint->notifier->daemon->core->cluster;
    const struct ha_notice *notice = &cluster->notices[i];
    struct lane *lane = lane_of(endpoint, notice->service);

    if (lane == NULL) {
        lane = place_in(endpoint);
        if (lane == NULL || !is_first(cluster, i, at))
            return;
        *lane = (struct lane){.endpoint = endpoint, .service = notice->service, .seq = notice->seq};
        ask(lane, &cluster->webhooks[at], notice);
    } else if (lane->seq == notice->seq && lane->state != LANE_ASKED &&
               ha_clock_mono_ms() >= lane->next_ms) {
        ask(lane, &cluster->webhooks[at], notice);
    }
}

/* The first notice of each service that the webhook is owed; later ones of that service wait. */
static void look_at(struct ha_notifier *notifier, uint32_t at)
{
    const struct ha_cluster *cluster = &notifier->daemon->core->cluster;
    struct endpoint *endpoint = endpoint_of(notifier, &cluster->webhooks[at]);
    uint64_t now_ms = ha_clock_mono_ms();

    for (uint32_t i = 0; endpoint != NULL && i < cluster->notice_count; i++) {
        if (!may_ask(endpoint, now_ms))
            return;
        if ((cluster->notices[i].owed & (1u << at)) != 0)
            look_at_notice(endpoint, i, at);
    }
}

void ha_notifier_look(struct ha_notifier *notifier)
{
    const struct ha_watcher *core = notifier->daemon->core;

    if (notifier->close_cb != NULL)
        return;
    for (uint32_t i = 0; i < HA_WEBHOOKS_MAX; i++) {
        struct endpoint *endpoint = &notifier->endpoints[i];

        if (endpoint->name[0] != '\0' && core->leader)
            end_lanes(endpoint);
        else if (endpoint->name[0] != '\0')
            drop_endpoint(endpoint);
    }
    for (uint32_t at = 0;
         core->leader && core->cluster.notice_count > 0 && at < core->cluster.webhook_count; at++)
        look_at(notifier, at);
}

static void on_dns_closed(void *ctx)
{
    struct ha_notifier *notifier = ctx;
    void (*cb)(struct ha_daemon * daemon) = notifier->close_cb;
    struct ha_daemon *daemon = notifier->daemon;

    free_keys(notifier);
    free(notifier);
    cb(daemon);
}

static void on_client_closed(void *ctx)
{
    struct ha_notifier *notifier = ctx;

    ha_dns_close(notifier->dns, on_dns_closed, notifier);
}

void ha_notifier_close(struct ha_notifier *notifier, void (*cb)(struct ha_daemon *daemon))
{
    notifier->close_cb = cb;
    ha_http_client_close(notifier->http, on_client_closed, notifier);
}

static int read_keys(struct ha_notifier *notifier, struct ha_err *err)
{
    const struct ha_daemon_settings *settings = notifier->daemon->settings;

    for (uint32_t i = 0; i < settings->secret_count; i++) {
        struct key *key = &notifier->keys[i];
        int code = ha_file_read_secret(settings->secrets[i].key_file, KEY_SIZE_MAX, &key->data,
                                       &key->size, err);

        if (code != HA_OK)
            return ha_err_prefix(err, code, "[secret %s]", settings->secrets[i].name);
        key->size = ha_secret_size(key->data, key->size);
    }
    return HA_OK;
}

int ha_notifier_open(struct ha_daemon *daemon, struct ha_notifier **ret, struct ha_err *err)
{
    struct ha_notifier *notifier = calloc(1, sizeof(*notifier));
    int code;

    if (notifier == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the webhooks");
    notifier->daemon = daemon;
    ha_prng_seed(&notifier->prng, ha_random_u64());
    code = read_keys(notifier, err);
    if (code != HA_OK)
        goto fail;
    code = ha_dns_open(&notifier->dns, daemon->uv);
    if (code != HA_OK)
        goto fail_text;
    code = ha_http_client_open(&notifier->http, daemon->uv, notifier->dns);
    if (code != HA_OK) {
        ha_dns_close(notifier->dns, NULL, NULL);
        goto fail_text;
    }
    *ret = notifier;
    return HA_OK;

fail_text:
    (void)ha_err_set(err, code, "webhooks: %s", ha_code_text(code));
fail:
    free_keys(notifier);
    free(notifier);
    return code;
}
