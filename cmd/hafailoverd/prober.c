#include "cmd/hafailoverd/prober.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "agents/engine.h"
#include "agents/engines.h"
#include "cmd/common/secret.h"
#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/pace.h"
#include "cmd/hafailoverd/rest.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/dns.h"
#include "lib/io/log.h"
#include "lib/io/tls.h"

#define PROBE_TIMEOUT_MIN_MS 100u
#define PROBE_TIMEOUT_MAX_MS 5000u
#define TURN_MS 20u /* thousands of members share one timer */
#define TURNS 64u
#define PROBES_MAX 64u        /* under way at the same time ... */
#define PROBE_HOLD_MS TURN_MS /* ... each counted for so long */

/* One member under watch. It is freed when its link has closed. */
struct target {
    struct ha_prober *prober;
    struct target *next;
    struct target *after; /* of the same turn */
    uint64_t turn;        /* when it is looked at next */
    uint32_t service, member;
    struct ha_member_config config; /* what the link was opened with */
    enum ha_engine engine;
    char credentials[HA_NAME_SIZE];
    uint32_t probe_ms, timeout_ms;
    uint64_t probed_ms;  /* when the last one began */
    uint32_t unanswered; /* in a row */
    const struct ha_engine_ops *ops;
    struct ha_link *link;
    struct ha_pace_place place;
    bool probing;
    bool lost;   /* the connection, since the last probe began: it is asked with the next turn */
    bool wanted; /* mark of refresh */
};

struct login { /* passwords and TLS of a [credentials] section, read once */
    char password[HA_SECRET_TEXT_SIZE];
    struct ha_tls *tls;
};

struct ha_prober {
    struct ha_daemon *daemon;
    struct ha_dns *dns; /* members may be named by host name; NULL once it has closed */
    struct target *targets;
    struct target *turns[TURNS]; /* by turn, modulo */
    uint64_t turn;               /* the next one */
    uint64_t now_ms;             /* of this turn of the loop: nobody loses a place before all
                                  * sockets were looked at, however long the turn takes */
    uint32_t spread;
    struct ha_pace pace;           /* of all probes but those that a lost connection asks for */
    uint8_t kept[HA_SERVICES_MAX]; /* of a refresh: members that have a target, by slot */
    uv_timer_t timer;
    bool timer_open;
    unsigned open_targets; /* closing ones too */
    struct login logins[HA_CREDENTIALS_MAX];
    void (*close_cb)(struct ha_daemon *daemon);
};

static void finish_close(struct ha_prober *prober);

static void on_dns_closed(void *ctx)
{
    struct ha_prober *prober = ctx;

    prober->dns = NULL;
    finish_close(prober);
}

/* Links borrow the resolver until they have closed, so it goes last. */
static void finish_close(struct ha_prober *prober)
{
    void (*cb)(struct ha_daemon * daemon) = prober->close_cb;
    struct ha_daemon *daemon = prober->daemon;

    if (cb == NULL || prober->open_targets > 0 || prober->timer_open)
        return;
    if (prober->dns != NULL) {
        ha_dns_close(prober->dns, on_dns_closed, prober);
        return;
    }
    for (uint32_t i = 0; i < HA_CREDENTIALS_MAX; i++)
        ha_tls_unref(prober->logins[i].tls);
    explicit_bzero(prober->logins, sizeof(prober->logins));
    free(prober);
    cb(daemon);
}

static void on_link_closed(void *data)
{
    struct target *target = data;
    struct ha_prober *prober = target->prober;

    assert(prober->open_targets > 0);
    prober->open_targets--;
    free(target);
    finish_close(prober);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct ha_prober *prober = handle->data;

    prober->timer_open = false;
    finish_close(prober);
}

/* Turns */

static void look_later(struct target *target, uint64_t turn)
{
    struct target **first = &target->prober->turns[turn % TURNS];

    target->turn = turn;
    target->after = *first;
    *first = target;
}

static void look_no_more(struct target *target)
{
    struct target **at = &target->prober->turns[target->turn % TURNS];

    while (*at != target)
        at = &(*at)->after;
    *at = target->after;
}

static uint64_t turns_of(const struct target *target)
{
    return target->probe_ms <= TURN_MS ? 1 : target->probe_ms / TURN_MS;
}

static void close_target(struct target *target)
{
    struct ha_link *link = target->link;

    look_no_more(target);
    ha_pace_leave(&target->prober->pace, &target->place);
    target->link = NULL;
    target->ops->close(link, on_link_closed);
}

static void probe(struct target *target);

/* Those that wait, as far as there is room. */
static void let_in(struct ha_prober *prober)
{
    struct ha_pace_place *place;

    while ((place = ha_pace_next(&prober->pace, prober->now_ms)) != NULL)
        probe(place->owner);
}

/* What a closed gate makes of a probe, among others. */
static bool is_silence(enum ha_answer answer)
{
    return answer == HA_ANSWER_NONE || answer == HA_ANSWER_REFUSED;
}

static void on_probed(void *data, const struct ha_probed *probed)
{
    struct target *target = data;
    struct ha_event event = {.kind = HA_EVENT_PROBED};

    target->probing = false;
    if (target->link == NULL || probed->code != HA_OK)
        return; /* closing */
    target->unanswered = is_silence(probed->sample.answer) ? target->unanswered + 1 : 0;
    ha_pace_leave(&target->prober->pace, &target->place);
    event.u.probed = (struct ha_event_probed){
        .service = target->service, .member = target->member, .sample = &probed->sample};
    (void)ha_daemon_step(target->prober->daemon, &event, NULL); /* HA_OK for this kind */
    let_in(target->prober);
}

static void probe(struct target *target)
{
    if (target->link == NULL || target->probing)
        return;
    if (target->ops->probe(target->link, target->timeout_ms, on_probed) == HA_OK)
        target->probing = true;
    target->lost = false;
    target->probed_ms = ha_clock_mono_ms();
}

/* A broken connection is a hint, not a verdict: whether anybody still listens is asked at once, and
 * waits for nobody; but one that hangs up on each probe would be asked without end. */
static void on_lost(void *data, enum ha_answer how, const char *text)
{
    struct target *target = data;

    HA_LOG(HA_LOG_DEBUG, "member-connection-lost", "service=%u member=%s how=%s text=%s",
           target->service, target->config.name, ha_answer_text(how), HA_QUOTE(text));
    if (ha_clock_mono_ms() - target->probed_ms >= TURN_MS) {
        probe(target);
        return;
    }
    target->lost = true;
    look_no_more(target);
    look_later(target, target->prober->turn);
}

/* An agent speaks for it, and probes of it get no answer. */
static bool may_rest(const struct target *target)
{
    const struct ha_rest rest = {.service = target->service,
                                 .member = target->member,
                                 .unanswered = target->unanswered,
                                 .probed_ms = target->probed_ms};

    return ha_rest_may(&rest, target->prober->daemon->core, target->prober->now_ms);
}

static void take_turn(struct ha_prober *prober)
{
    struct target *target = prober->turns[prober->turn % TURNS], *after;

    prober->turns[prober->turn % TURNS] = NULL;
    for (; target != NULL; target = after) {
        after = target->after;
        if (target->turn > prober->turn) { /* in a later round */
            look_later(target, target->turn);
            continue;
        }
        /* Before anything that may end it. */
        look_later(target, prober->turn + turns_of(target));
        if (!target->probing &&
            (target->lost ||
             (!may_rest(target) &&
              ha_watcher_wants_probe(prober->daemon->core, target->service, target->member,
                                     target->probed_ms, prober->now_ms))) &&
            ha_pace_enter(&prober->pace, &target->place, prober->now_ms))
            probe(target);
    }
    prober->turn++;
}

static void on_timer(uv_timer_t *timer)
{
    struct ha_prober *prober = timer->data;
    uint64_t due;

    prober->now_ms = ha_clock_mono_ms();
    due = prober->now_ms / TURN_MS;
    /* After a stall each is looked at once, not once for each turn that was missed. */
    if (due > prober->turn + TURNS)
        prober->turn = due - TURNS;
    while (prober->turn <= due && prober->close_cb == NULL)
        take_turn(prober);
    if (prober->close_cb == NULL)
        let_in(prober);
}

static int open_link(struct target *target)
{
    const struct ha_daemon_settings *settings = target->prober->daemon->settings;
    const struct ha_credentials *credentials = ha_daemon_credentials(settings, target->credentials);
    struct ha_link_spec spec = {
        .loop = target->prober->daemon->uv,
        .data = target,
        .lost_cb = on_lost,
        .host = target->config.host,
        .dns = target->prober->dns,
        .port = target->config.port,
    };
    struct ha_err err = {0};
    int code;

    if (credentials != NULL) {
        const struct login *login = &target->prober->logins[credentials - settings->credentials];

        spec.user = credentials->user;
        spec.password = login->password;
        spec.tls = login->tls;
    } else if (target->credentials[0] != '\0') {
        HA_LOG(HA_LOG_WARN, "credentials-missing", "name=%s service=%u member=%s",
               target->credentials, target->service, target->config.name);
    }
    code = target->ops->open(&spec, &target->link, &err);
    if (code != HA_OK)
        HA_LOG(HA_LOG_ERROR, "member-not-probed", "service=%u member=%s why=%s", target->service,
               target->config.name, err.text);
    return code;
}

static uint32_t timeout_of(const struct ha_service_config *config)
{
    uint32_t ms = config->down_after_ms / 2;

    if (ms < config->probe_ms)
        ms = config->probe_ms;
    if (ms < PROBE_TIMEOUT_MIN_MS)
        ms = PROBE_TIMEOUT_MIN_MS;
    return ms > PROBE_TIMEOUT_MAX_MS ? PROBE_TIMEOUT_MAX_MS : ms;
}

static void add(struct ha_prober *prober, const struct ha_service *service, uint32_t at)
{
    const struct ha_engine_ops *ops = ha_engine_find(service->config.engine);
    struct target *target;

    if (ops == NULL) {
        HA_LOG(HA_LOG_ERROR, "engine-missing", "service=%s engine=%s", service->config.name,
               ha_engine_text(service->config.engine));
        return;
    }
    target = calloc(1, sizeof(*target));
    if (target == NULL)
        return; /* tried again at the next change */
    target->prober = prober;
    target->place.owner = target;
    target->service = service->id;
    target->member = service->members[at].id;
    target->config = service->config.members[at];
    target->engine = service->config.engine;
    target->ops = ops;
    target->wanted = true;
    target->probe_ms = service->config.probe_ms;
    target->timeout_ms = timeout_of(&service->config);
    (void)ha_text_copy(target->credentials, sizeof(target->credentials),
                       service->config.credentials);
    if (open_link(target) != HA_OK) {
        free(target);
        return;
    }
    target->next = prober->targets;
    prober->targets = target;
    prober->open_targets++;
    look_later(target, prober->turn + prober->spread++ % turns_of(target));
}

/* Whether the open link still is what the configuration wants; a new pace needs no new link. */
static bool keep(struct target *target, const struct ha_service *service, uint32_t at)
{
    const struct ha_member_config *config = &service->config.members[at];

    if (target->engine != service->config.engine || target->config.port != config->port ||
        strcmp(target->config.host, config->host) != 0 ||
        strcmp(target->credentials, service->config.credentials) != 0)
        return false;
    target->timeout_ms = timeout_of(&service->config);
    if (target->probe_ms != service->config.probe_ms) {
        target->probe_ms = service->config.probe_ms;
        look_no_more(target);
        look_later(target, target->prober->turn + turns_of(target));
    }
    target->config = *config;
    return true;
}

_Static_assert(HA_MEMBERS_MAX <= 8, "a bit of kept per member");

static void mark_wanted(struct ha_prober *prober, const struct ha_cluster *cluster)
{
    memset(prober->kept, 0, sizeof(prober->kept));
    for (struct target *target = prober->targets; target != NULL; target = target->next) {
        const struct ha_service *service = ha_cluster_service_const(cluster, target->service);
        int at = service != NULL ? ha_service_member_at(service, target->member) : -1;

        target->wanted = at >= 0 && keep(target, service, (uint32_t)at);
        if (target->wanted)
            prober->kept[target->service % HA_SERVICES_MAX] |= (uint8_t)(1u << (uint32_t)at);
    }
}

void ha_prober_refresh(struct ha_prober *prober)
{
    const struct ha_cluster *cluster = &prober->daemon->core->cluster;

    mark_wanted(prober, cluster);
    for (struct target **at = &prober->targets; *at != NULL;) {
        struct target *target = *at;

        if (target->wanted) {
            at = &target->next;
            continue;
        }
        *at = target->next;
        close_target(target);
    }
    for (uint32_t slot = 0; slot < HA_SERVICES_MAX; slot++) {
        const struct ha_service *service = &cluster->services[slot];

        if (!service->used)
            continue;
        for (uint32_t at = 0; at < service->config.member_count; at++) {
            if ((prober->kept[service->id % HA_SERVICES_MAX] & 1u << at) == 0)
                add(prober, service, at);
        }
    }
}

int ha_prober_open(struct ha_daemon *daemon, struct ha_prober **ret, struct ha_err *err)
{
    const struct ha_daemon_settings *settings = daemon->settings;
    struct ha_prober *prober = calloc(1, sizeof(*prober));
    int code = HA_OK;

    if (prober == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the prober");
    prober->daemon = daemon;
    prober->pace = (struct ha_pace){.max = PROBES_MAX, .hold_ms = PROBE_HOLD_MS};
    for (uint32_t i = 0; i < settings->credentials_count && code == HA_OK; i++) {
        const struct ha_credentials *one = &settings->credentials[i];

        if (one->password_file[0] != '\0')
            code = ha_secret_text_read(one->password_file, prober->logins[i].password, err);
        if (code == HA_OK && one->tls)
            code = ha_login_tls_new(one->ca_file, &prober->logins[i].tls, err);
        if (code != HA_OK)
            (void)ha_err_prefix(err, code, "[credentials %s]", one->name);
    }
    if (code == HA_OK) {
        code = ha_dns_open(&prober->dns, daemon->uv);
        if (code != HA_OK)
            (void)ha_err_set(err, code, "names: %s", ha_code_text(code));
    }
    if (code != HA_OK) {
        for (uint32_t i = 0; i < HA_CREDENTIALS_MAX; i++)
            ha_tls_unref(prober->logins[i].tls);
        free(prober);
        return code;
    }
    prober->turn = ha_clock_mono_ms() / TURN_MS;
    (void)uv_timer_init(daemon->uv, &prober->timer); /* cannot fail */
    prober->timer.data = prober;
    prober->timer_open = true;
    (void)uv_timer_start(&prober->timer, on_timer, TURN_MS, TURN_MS);
    *ret = prober;
    return HA_OK;
}

void ha_prober_close(struct ha_prober *prober, void (*cb)(struct ha_daemon *daemon))
{
    assert(cb != NULL && prober->close_cb == NULL);
    prober->close_cb = cb;
    uv_close((uv_handle_t *)&prober->timer, on_timer_closed);
    prober->open_targets++; /* held until all are asked, whatever closes meanwhile */
    while (prober->targets != NULL) {
        struct target *target = prober->targets;

        prober->targets = target->next;
        close_target(target);
    }
    prober->open_targets--;
    finish_close(prober);
}
