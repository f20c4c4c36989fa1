#include "cmd/hafailoverd/notify.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

#define LANES_EACH 8u /* services of one webhook under way at once: one that does not answer */
#define LANES_MAX (LANES_EACH * HA_WEBHOOKS_MAX) /* ... must not hold up the others */
#define CALL_MAX_MS 5000u                        /* of one request */
#define APPLY_MAX_MS 3000u   /* from a 2xx to the end of its notice in the log */
#define BACK_OFF_MIN_MS 200u /* doubled with each failure ... */
#define BACK_OFF_MAX_MS 60000u
#define KEY_SIZE_MAX 4096u

enum lane_state {
    LANE_FREE,
    LANE_ASKED, /* the request is under way */
    LANE_TAKEN, /* a 2xx came: the log must hear it before the next one leaves */
    LANE_FAILED /* until next_ms */
};

/* One webhook's notices of one service, one at a time. */
struct lane {
    struct ha_notifier *notifier;
    enum lane_state state;
    char webhook[HA_NAME_SIZE];
    uint32_t service;
    uint64_t seq;
    uint32_t failures;
    uint64_t next_ms;
    struct ha_http_call *call;
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
    struct lane lanes[LANES_MAX];
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
    uint64_t wait_ms = BACK_OFF_MIN_MS;

    lane->failures++;
    for (uint32_t i = 1; i < lane->failures && wait_ms < BACK_OFF_MAX_MS; i++)
        wait_ms *= 2;
    if (wait_ms > BACK_OFF_MAX_MS)
        wait_ms = BACK_OFF_MAX_MS;
    wait_ms = ha_prng_between(&lane->notifier->prng, wait_ms / 2, wait_ms);
    lane->state = LANE_FAILED;
    lane->next_ms = ha_clock_mono_ms() + wait_ms;
}

static void propose_done(struct lane *lane)
{
    struct ha_daemon *daemon = lane->notifier->daemon;
    struct ha_effect *effect = ha_effects_add(daemon->effects, HA_EFFECT_PROPOSE);
    struct ha_command *command = &effect->u.command;

    command->kind = HA_COMMAND_NOTICE_DONE;
    command->wall_ms = ha_clock_wall_ms();
    command->u.notice.seq = lane->seq;
    (void)ha_text_copy(command->u.notice.webhook, HA_NAME_SIZE, lane->webhook);
    lane->state = LANE_TAKEN;
    lane->next_ms = ha_clock_mono_ms() + APPLY_MAX_MS;
}

static void on_answer(void *ctx, const struct ha_http_answer *got)
{
    struct lane *lane = ctx;

    assert(lane->state == LANE_ASKED);
    lane->call = NULL;
    if (got->code == HA_ECANCELED) {
        lane->state = LANE_FREE;
        return;
    }
    if (got->code == HA_OK && got->status >= 200 && got->status < 300) {
        HA_LOG(HA_LOG_INFO, "notice-taken", "webhook=%s seq=%" PRIu64, lane->webhook, lane->seq);
        lane->failures = 0;
        propose_done(lane);
        return;
    }
    HA_LOG(HA_LOG_WARN, "notice-failed", "webhook=%s seq=%" PRIu64 " status=%ld why=%s",
           lane->webhook, lane->seq, got->status, HA_QUOTE(got->err.text));
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
    struct ha_notifier *notifier = lane->notifier;
    const struct ha_daemon *daemon = notifier->daemon;
    const struct ha_decision *decision =
        notice->decision != 0 ? ha_cluster_decision(&daemon->core->cluster, notice->decision)
                              : NULL;
    uint64_t timestamp_s = ha_clock_wall_ms() / 1000;
    char signature[128], timestamp[64];
    char *body = NULL;
    struct ha_http_ask request = {
        .method = "POST", .url = webhook->url, .deadline_ms = CALL_MAX_MS, .answer_max = 65536};
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
    } else {
        HA_LOG(HA_LOG_ERROR, "notice-not-sent", "webhook=%s seq=%" PRIu64 " why=%s", lane->webhook,
               lane->seq, ha_code_text(code));
        back_off(lane);
    }
    free(body);
}

static struct lane *lane_of(struct ha_notifier *notifier, const char *webhook, uint32_t service)
{
    struct lane *empty = NULL;
    uint32_t taken = 0;

    for (uint32_t i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &notifier->lanes[i];

        if (lane->state == LANE_FREE)
            empty = empty != NULL ? empty : lane;
        else if (strcmp(lane->webhook, webhook) != 0)
            continue;
        else if (lane->service == service)
            return lane;
        else
            taken++;
    }
    if (taken >= LANES_EACH)
        return NULL;
    if (empty != NULL) {
        *empty = (struct lane){.notifier = notifier, .service = service};
        (void)ha_text_copy(empty->webhook, sizeof(empty->webhook), webhook);
    }
    return empty;
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

static uint32_t webhook_at(const struct ha_cluster *cluster, const char *name)
{
    uint32_t at = 0;

    while (at < cluster->webhook_count && strcmp(cluster->webhooks[at].name, name) != 0)
        at++;
    return at;
}

/* Lanes whose notice the log no longer owes are done, whoever said so. */
static void end_lanes(struct ha_notifier *notifier)
{
    const struct ha_cluster *cluster = &notifier->daemon->core->cluster;

    for (uint32_t i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &notifier->lanes[i];
        uint32_t at;

        if (lane->state == LANE_FREE || lane->state == LANE_ASKED)
            continue;
        at = webhook_at(cluster, lane->webhook);
        if (at == cluster->webhook_count || !is_owed(cluster, lane->seq, at))
            lane->state = LANE_FREE;
    }
}

static void drop_lanes(struct ha_notifier *notifier)
{
    for (uint32_t i = 0; i < LANES_MAX; i++) {
        struct lane *lane = &notifier->lanes[i];

        if (lane->state == LANE_ASKED)
            ha_http_call_cancel(lane->call);
        else
            lane->state = LANE_FREE;
    }
}

/* The first notice of each service that @webhook is owed; later ones of that service wait. */
static void look_at(struct ha_notifier *notifier, uint32_t at)
{
    const struct ha_cluster *cluster = &notifier->daemon->core->cluster;
    const struct ha_webhook_config *webhook = &cluster->webhooks[at];
    uint64_t now_ms = ha_clock_mono_ms();

    for (uint32_t i = 0; i < cluster->notice_count; i++) {
        const struct ha_notice *notice = &cluster->notices[i];
        struct lane *lane;

        if ((notice->owed & (1u << at)) == 0)
            continue;
        lane = lane_of(notifier, webhook->name, notice->service);
        if (lane == NULL)
            continue; /* its lanes are taken; looked at again */
        if (lane->state == LANE_FREE) {
            lane->seq = notice->seq;
            ask(lane, webhook, notice);
        } else if (lane->seq == notice->seq && lane->state != LANE_ASKED &&
                   now_ms >= lane->next_ms) {
            ask(lane, webhook, notice);
        }
    }
}

void ha_notifier_look(struct ha_notifier *notifier)
{
    const struct ha_watcher *core = notifier->daemon->core;

    if (notifier->close_cb != NULL)
        return;
    if (!core->leader) {
        drop_lanes(notifier);
        return;
    }
    end_lanes(notifier);
    for (uint32_t at = 0; core->cluster.notice_count > 0 && at < core->cluster.webhook_count; at++)
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
        while (key->size > 0 && strchr("\r\n", key->data[key->size - 1]) != NULL)
            key->size--; /* what an editor put behind it is not the key */
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
