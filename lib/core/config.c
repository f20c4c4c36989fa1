#include "lib/core/config.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/address.h"

void ha_service_config_defaults(struct ha_service_config *service)
{
    *service = (struct ha_service_config){
        .parallel_syncs = 1,
        .automatic = true,
        .probe_ms = 200,
        .heartbeat_ms = 200,
        .down_after_ms = 1000,
        .refused_confirm_ms = 300,
        .hang_after_ms = 1000,
        .starting_max_ms = 60000,
        .busy_max_ms = 10000,
        .lease_ms = 1500,
        .promote_deadline_ms = 5000,
        .open_deadline_ms = 3000,
        .repoint_deadline_ms = 30000,
        .restart_max_ms = 10000,
        .sync_grace_ms = 3000,
        .rewind_max_ms = 600000,
        .copy_max_ms = 14400000,
        .rate_count = 5,
        .rate_period_ms = 600000,
        .loss_budget_bytes = 16u << 20,
        .keep_tail_bytes = 1u << 30,
    };
}

/* --- one service ------------------------------------------------------------------------------ */

static const struct {
    const char *key;
    size_t offset;
    uint32_t min_ms, max_ms;
} times[] = {
#define TIME(field, min, max)                                            \
    {                                                                    \
#field, offsetof(struct ha_service_config, field##_ms), min, max \
    }
    TIME(probe, 20, 60000),
    TIME(heartbeat, 20, 10000),
    TIME(down_after, 50, 600000),
    TIME(refused_confirm, 0, 60000),
    TIME(hang_after, 50, 600000),
    TIME(starting_max, 0, HA_DURATION_MAX_MS),
    TIME(busy_max, 0, HA_DURATION_MAX_MS),
    TIME(lease, HA_LEASE_MIN_MS, HA_LEASE_MAX_MS),
    TIME(promote_deadline, 100, 3600000),
    TIME(open_deadline, 100, 600000),
    TIME(repoint_deadline, 100, 3600000),
    TIME(restart_max, 100, 3600000),
    TIME(sync_grace, 0, 3600000),
    TIME(rewind_max, 1000, HA_DURATION_MAX_MS),
    TIME(copy_max, 1000, HA_DURATION_MAX_MS),
    TIME(rate_period, 0, HA_DURATION_MAX_MS),
#undef TIME
};

static int check_times(const struct ha_service_config *s, struct ha_err *err)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(times); i++) {
        uint32_t ms;

        memcpy(&ms, (const char *)s + times[i].offset, sizeof(ms));
        if (ms < times[i].min_ms || ms > times[i].max_ms)
            return ha_err_set(err, HA_EINVAL,
                              "%s: %" PRIu32 " ms is not between %" PRIu32 " and %" PRIu32 " ms",
                              times[i].key, ms, times[i].min_ms, times[i].max_ms);
    }
    /* One lost heartbeat must not end a lease. */
    if (s->lease_ms <= 2 * s->heartbeat_ms)
        return ha_err_set(err, HA_EINVAL,
                          "lease: %" PRIu32 " ms is not longer than two heartbeats of %" PRIu32
                          " ms",
                          s->lease_ms, s->heartbeat_ms);
    if (s->down_after_ms <= s->probe_ms || s->down_after_ms <= s->heartbeat_ms)
        return ha_err_set(err, HA_EINVAL,
                          "down_after: %" PRIu32 " ms is not longer than probe (%" PRIu32
                          " ms) and heartbeat (%" PRIu32 " ms)",
                          s->down_after_ms, s->probe_ms, s->heartbeat_ms);
    if (s->hang_after_ms <= s->probe_ms)
        return ha_err_set(err, HA_EINVAL,
                          "hang_after: %" PRIu32 " ms is not longer than probe (%" PRIu32 " ms)",
                          s->hang_after_ms, s->probe_ms);
    return HA_OK;
}

static int check_policy(const struct ha_service_config *s, uint32_t watchers, struct ha_err *err)
{
    uint32_t majority = watchers / 2 + 1;

    if (s->crash_policy == HA_CRASH_RESTART && s->engine != HA_ENGINE_POSTGRESQL)
        return ha_err_set(err, HA_EINVAL, "crash_policy: no agent starts %s",
                          ha_engine_text(s->engine));
    if (s->durability == HA_DURABILITY_STRICT && s->engine != HA_ENGINE_POSTGRESQL)
        return ha_err_set(err, HA_EINVAL, "durability: strict is not possible with %s",
                          ha_engine_text(s->engine));
    if (s->quorum > HA_WATCHERS_MAX)
        return ha_err_set(err, HA_EINVAL, "quorum: %u is more than the %d watchers there can be",
                          s->quorum, HA_WATCHERS_MAX);
    if (watchers != 0 && s->quorum != 0 && (s->quorum < majority || s->quorum > watchers))
        return ha_err_set(err, HA_EINVAL,
                          "quorum: %u is not between the majority of %" PRIu32 " and all %" PRIu32
                          " watchers",
                          s->quorum, majority, watchers);
    if (s->parallel_syncs < 1 || s->parallel_syncs > HA_MEMBERS_MAX)
        return ha_err_set(err, HA_EINVAL, "parallel_syncs: %u is not between 1 and %d",
                          s->parallel_syncs, HA_MEMBERS_MAX);
    if (s->rate_count > HA_RECENT_MAX)
        return ha_err_set(err, HA_EINVAL, "rate: more than %d failovers cannot be counted",
                          HA_RECENT_MAX);
    if (s->rate_count > 0 && s->rate_period_ms < 1000)
        return ha_err_set(err, HA_EINVAL, "rate: the period is shorter than a second");
    if (s->on_quorum_loss == HA_QUORUM_LOSS_HOLD && s->member_count < 2)
        return ha_err_set(err, HA_EINVAL,
                          "on_quorum_loss: nobody could keep the lease: there is no other member");
    if (s->credentials[0] != '\0' && !ha_text_is_name(s->credentials, sizeof(s->credentials)))
        return ha_err_set(err, HA_EINVAL, "credentials: not a name");
    return HA_OK;
}

static int check_vip(const struct ha_service_config *s, struct ha_err *err)
{
    uint32_t bits = ha_address_bits(s->vip);

    /* The kernel's names of interfaces end at 15 characters. */
    if (s->vip_interface[0] != '\0' && !ha_text_is_name(s->vip_interface, 16))
        return ha_err_set(err, HA_EINVAL, "vip_interface: not the name of an interface");
    if (s->vip[0] == '\0')
        return s->vip_prefix == 0 ? HA_OK
                                  : ha_err_set(err, HA_EINVAL, "vip: a prefix without an address");
    if (bits == 0)
        return ha_err_set(err, HA_EINVAL, "vip: \"%s\" is not a numeric address", s->vip);
    if (!ha_address_is_unicast(s->vip))
        return ha_err_set(err, HA_EINVAL, "vip: %s is not an address of one host", s->vip);
    if (s->vip_prefix < 1 || s->vip_prefix > bits)
        return ha_err_set(err, HA_EINVAL, "vip: the prefix of %s is not between 1 and %" PRIu32,
                          s->vip, bits);
    for (uint32_t i = 0; i < s->member_count; i++)
        if (s->members[i].agent[0] == '\0' && s->members[i].priority != HA_PRIORITY_NEVER)
            return ha_err_set(err, HA_EINVAL, "vip: member %s has no agent that could hold it",
                              s->members[i].name);
    return HA_OK;
}

static int member_named(const struct ha_service_config *s, const char *name)
{
    for (int i = 0; i < s->member_count; i++)
        if (strcmp(s->members[i].name, name) == 0)
            return i;
    return -1;
}

static int check_follow(const struct ha_service_config *s, uint32_t at, struct ha_err *err)
{
    int next = (int)at;

    for (uint32_t steps = 0; steps <= s->member_count; steps++) {
        const struct ha_member_config *m = &s->members[next];

        if (m->follow[0] == '\0')
            return HA_OK;
        next = member_named(s, m->follow);
        /* Named at the member that says it, not at one further up the chain. */
        if (next < 0 && steps == 0)
            return ha_err_set(err, HA_EINVAL, "follow: the service has no member \"%s\"",
                              m->follow);
        if (next < 0)
            return HA_OK;
        if (next == (int)at)
            return ha_err_set(err, HA_EINVAL, "follow: it would follow itself");
    }
    return HA_OK; /* a circle further up: told there */
}

static int check_member(const struct ha_service_config *s, uint32_t at, struct ha_err *err)
{
    const struct ha_member_config *m = &s->members[at];

    if (!ha_text_is_name(m->name, sizeof(m->name)))
        return ha_err_set(err, HA_EINVAL, "\"%s\" is not a name", m->name);
    if (member_named(s, m->name) != (int)at)
        return ha_err_set(err, HA_EINVAL, "there are two of this name");
    if (m->agent[0] != '\0' && !ha_text_is_name(m->agent, sizeof(m->agent)))
        return ha_err_set(err, HA_EINVAL, "agent: \"%s\" is not a name", m->agent);
    for (uint32_t i = 0; i < at; i++)
        if (m->agent[0] != '\0' && strcmp(m->agent, s->members[i].agent) == 0)
            return ha_err_set(err, HA_EINVAL,
                              "agent: %s serves member %s of the same service already", m->agent,
                              s->members[i].name);
    if (!ha_address_is_host(m->host))
        return ha_err_set(err, HA_EINVAL, "host: \"%s\" is no address and no host name", m->host);
    if (m->port == 0)
        return ha_err_set(err, HA_EINVAL, "port: 0");
    if (m->priority > HA_PRIORITY_MAX)
        return ha_err_set(err, HA_EINVAL, "priority: %u is more than %d", m->priority,
                          HA_PRIORITY_MAX);
    if (s->on_quorum_loss == HA_QUORUM_LOSS_HOLD && m->agent[0] == '\0')
        return ha_err_set(err, HA_EINVAL,
                          "agent: none, but the service asks for on_quorum_loss = hold");
    if (m->agent_port == 0)
        return ha_err_set(err, HA_EINVAL, "agent_port: 0");
    return check_follow(s, at, err);
}

static int check_members(const struct ha_service_config *s, struct ha_config_fault *fault,
                         struct ha_err *err)
{
    bool is_any_fit = false;

    for (uint32_t i = 0; i < s->member_count; i++) {
        int rv = check_member(s, i, err);

        is_any_fit = is_any_fit || s->members[i].priority != HA_PRIORITY_NEVER;
        if (rv == HA_OK)
            continue;
        fault->what = HA_CONFIG_FAULT_MEMBER;
        fault->member = i;
        return ha_err_prefix(err, rv, "member %s/%s", s->name, s->members[i].name);
    }
    fault->what = HA_CONFIG_FAULT_SERVICE;
    if (!is_any_fit)
        return ha_err_set(err, HA_EINVAL, "service %s: the priority of every member is never",
                          s->name);
    return HA_OK;
}

static int check_service(const struct ha_service_config *s, uint32_t watchers,
                         struct ha_config_fault *fault, struct ha_err *err)
{
    int rv;

    if (!ha_text_is_name(s->name, sizeof(s->name)))
        return ha_err_set(err, HA_EINVAL, "service \"%s\": not a name", s->name);
    if (s->member_count == 0)
        return ha_err_set(err, HA_EINVAL, "service %s: no members", s->name);
    if (s->member_count > HA_MEMBERS_MAX)
        return ha_err_set(err, HA_EINVAL, "service %s: more than %d members", s->name,
                          HA_MEMBERS_MAX);
    rv = check_times(s, err);
    if (rv == HA_OK)
        rv = check_policy(s, watchers, err);
    if (rv == HA_OK)
        rv = check_vip(s, err);
    if (rv != HA_OK)
        return ha_err_prefix(err, rv, "service %s", s->name);
    return check_members(s, fault, err);
}

/* --- across services -------------------------------------------------------------------------- */

/* Members and virtual addresses met so far, by address: open addressing, so that a configuration at
 * its limits is checked in linear time. A slot holds 1 + service * (HA_MEMBERS_MAX + 1) + member;
 * "member" HA_MEMBERS_MAX is the service's virtual address. */
#define SLOTS 16384u
_Static_assert((HA_MEMBERS_MAX + 1) * HA_SERVICES_MAX <= SLOTS / 2, "the table stays half empty");
_Static_assert((HA_MEMBERS_MAX + 1) * HA_SERVICES_MAX < UINT16_MAX, "a slot holds any of them");

struct met {
    const struct ha_config *config;
    uint16_t slots[SLOTS];
};

struct place {
    uint32_t service, member; /* indexes; member HA_MEMBERS_MAX: the service's vip */
};

static const char *host_of(const struct met *met, struct place at)
{
    const struct ha_service_config *s = &met->config->services[at.service];

    return at.member == HA_MEMBERS_MAX ? s->vip : s->members[at.member].host;
}

/* A virtual address (port 0) meets every port of its host; two ports of one host do not meet. */
static uint32_t port_of(const struct met *met, struct place at)
{
    return at.member == HA_MEMBERS_MAX ? 0
                                       : met->config->services[at.service].members[at.member].port;
}

/* Who has that address already, and the slot where it was looked for last. */
static bool met_find(const struct met *met, const char *host, uint32_t port, struct place *ret_old,
                     uint32_t *ret_slot)
{
    uint32_t at = (uint32_t)ha_address_hash(host) % SLOTS;

    for (; met->slots[at] != 0; at = (at + 1) % SLOTS) {
        struct place old = {.service = (met->slots[at] - 1u) / (HA_MEMBERS_MAX + 1),
                            .member = (met->slots[at] - 1u) % (HA_MEMBERS_MAX + 1)};
        uint32_t old_port = port_of(met, old);

        if (port != 0 && old_port != 0 && port != old_port)
            continue;
        if (!ha_address_equal(host, host_of(met, old)))
            continue;
        *ret_old = old;
        return true;
    }
    *ret_slot = at;
    return false;
}

/* Adds one, or returns false with the one it collides with. */
static bool met_add(struct met *met, struct place new, struct place *ret_old)
{
    uint32_t slot;

    if (met_find(met, host_of(met, new), port_of(met, new), ret_old, &slot))
        return false;
    met->slots[slot] = (uint16_t)(1 + new.service *(HA_MEMBERS_MAX + 1) + new.member);
    return true;
}

static int refuse_met(const struct met *met, struct place new, struct place old, struct ha_err *err)
{
    const struct ha_service_config *s = &met->config->services[new.service];
    const struct ha_service_config *other = &met->config->services[old.service];
    char whose[2 * HA_NAME_SIZE + 32]; /* two names fit */

    if (old.member == HA_MEMBERS_MAX)
        (void)ha_text_format(whose, sizeof(whose), "the vip of service %s", other->name);
    else
        (void)ha_text_format(whose, sizeof(whose), "the address of member %s/%s", other->name,
                             other->members[old.member].name);
    if (new.member == HA_MEMBERS_MAX)
        return ha_err_set(err, HA_EINVAL, "service %s: vip: %s is %s already", s->name, s->vip,
                          whose);
    return ha_err_set(err, HA_EINVAL, "member %s/%s: host: %s port %u is %s already", s->name,
                      s->members[new.member].name, s->members[new.member].host,
                      s->members[new.member].port, whose);
}

/* Agents listen where no database does. */
static int check_agent_ports(const struct met *met, struct ha_config_fault *fault,
                             struct ha_err *err)
{
    struct place old = {0};
    uint32_t slot;

    for (uint32_t i = 0; i < met->config->service_count; i++) {
        const struct ha_service_config *s = &met->config->services[i];
        uint32_t count = s->on_quorum_loss == HA_QUORUM_LOSS_HOLD ? s->member_count : 0;

        for (uint32_t k = 0; k < count; k++) {
            const struct ha_member_config *m = &s->members[k];

            if (!met_find(met, m->host, m->agent_port, &old, &slot))
                continue;
            assert(old.member < HA_MEMBERS_MAX); /* the host of no member is a virtual address */
            *fault =
                (struct ha_config_fault){.what = HA_CONFIG_FAULT_MEMBER, .service = i, .member = k};
            return ha_err_set(err, HA_EINVAL,
                              "member %s/%s: agent_port: %u is the port of member %s/%s", s->name,
                              m->name, m->agent_port, met->config->services[old.service].name,
                              met->config->services[old.service].members[old.member].name);
        }
    }
    return HA_OK;
}

static int check_addresses(const struct ha_config *config, struct ha_config_fault *fault,
                           struct ha_err *err)
{
    struct met met = {.config = config};
    struct place new = {0}, old = {0};

    for (; new.service < config->service_count; new.service++) {
        const struct ha_service_config *s = &config->services[new.service];

        for (new.member = 0; new.member <= HA_MEMBERS_MAX; new.member++) {
            bool is_vip = new.member == HA_MEMBERS_MAX;

            if (is_vip ? s->vip[0] == '\0' : new.member >= s->member_count)
                continue;
            if (met_add(&met, new, &old))
                continue;
            fault->what = is_vip ? HA_CONFIG_FAULT_SERVICE : HA_CONFIG_FAULT_MEMBER;
            fault->service = new.service;
            fault->member = is_vip ? 0 : new.member;
            return refuse_met(&met, new, old, err);
        }
    }
    return check_agent_ports(&met, fault, err);
}

/* --- webhooks and the whole ------------------------------------------------------------------- */

static const struct ha_service_config *service_named(const struct ha_config *config,
                                                     const char *name, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(config->services[i].name, name) == 0)
            return &config->services[i];
    return NULL;
}

static int check_url(const char *url, struct ha_err *err)
{
    const char *host = NULL;
    size_t length;

    if (strncmp(url, "http://", 7) == 0)
        host = url + 7;
    else if (strncmp(url, "https://", 8) == 0)
        host = url + 8;
    if (host == NULL)
        return ha_err_set(err, HA_EINVAL, "url: it does not begin with http:// or https://");
    for (const char *at = url; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            return ha_err_set(err, HA_EINVAL, "url: a character that must be percent-encoded");
    length = strcspn(host, "/?#");
    if (length == 0 || host[0] == ':')
        return ha_err_set(err, HA_EINVAL, "url: no host");
    /* It would be shown by every listing of the configuration. */
    if (memchr(host, '@', length) != NULL)
        return ha_err_set(err, HA_EINVAL, "url: user and password do not belong there");
    return HA_OK;
}

/* http:// to another host: read, and changed, by whoever is between. */
bool ha_webhook_is_in_the_clear(const struct ha_webhook_config *w)
{
    const char *at = w->url;
    char host[HA_URL_SIZE];
    size_t length;

    if (strncmp(at, "http://", 7) != 0)
        return false;
    at += 7;
    length = at[0] == '[' ? strcspn(at, "]") + 1 : strcspn(at, ":/?#");
    (void)ha_text_format(host, sizeof(host), "%.*s", (int)length, at);
    if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return false;
    return ha_address_bits(host) != 32 || strncmp(host, "127.", 4) != 0;
}

static int check_webhook(const struct ha_config *config, uint32_t at, struct ha_err *err)
{
    const struct ha_webhook_config *w = &config->webhooks[at];

    if (!ha_text_is_name(w->name, sizeof(w->name)))
        return ha_err_set(err, HA_EINVAL, "not a name");
    for (uint32_t i = 0; i < at; i++)
        if (strcmp(config->webhooks[i].name, w->name) == 0)
            return ha_err_set(err, HA_EINVAL, "there are two of this name");
    if (w->secret[0] != '\0' && !ha_text_is_name(w->secret, sizeof(w->secret)))
        return ha_err_set(err, HA_EINVAL, "secret: not a name");
    if (w->service[0] != '\0' && service_named(config, w->service, config->service_count) == NULL)
        return ha_err_set(err, HA_EINVAL, "service: there is no service \"%s\"", w->service);
    if (check_url(w->url, err) != HA_OK)
        return HA_EINVAL;
    if (ha_webhook_is_in_the_clear(w) && !w->insecure)
        return ha_err_set(err, HA_EINVAL,
                          "url: http:// to another host would go there in the clear: use https://, "
                          "or say insecure = yes");
    return HA_OK;
}

static int check_services(const struct ha_config *config, uint32_t watchers,
                          struct ha_config_fault *fault, struct ha_err *err)
{
    for (uint32_t i = 0; i < config->service_count; i++) {
        const struct ha_service_config *s = &config->services[i];
        int rv;

        *fault = (struct ha_config_fault){.what = HA_CONFIG_FAULT_SERVICE, .service = i};
        if (service_named(config, s->name, i) != NULL)
            return ha_err_set(err, HA_EINVAL, "service %s: there are two of this name", s->name);
        rv = check_service(s, watchers, fault, err);
        if (rv != HA_OK)
            return rv;
    }
    return check_addresses(config, fault, err);
}

int ha_config_check_at(const struct ha_config *config, uint32_t watchers,
                       struct ha_config_fault *fault, struct ha_err *err)
{
    struct ha_config_fault unused;
    int rv;

    assert(config != NULL);
    assert(watchers <= HA_WATCHERS_MAX);
    if (fault == NULL)
        fault = &unused;
    *fault = (struct ha_config_fault){.what = HA_CONFIG_FAULT_WHOLE};
    if (config->service_count > HA_SERVICES_MAX)
        return ha_err_set(err, HA_EINVAL, "more than %d services", HA_SERVICES_MAX);
    if (config->webhook_count > HA_WEBHOOKS_MAX)
        return ha_err_set(err, HA_EINVAL, "more than %d webhooks", HA_WEBHOOKS_MAX);
    rv = check_services(config, watchers, fault, err);
    if (rv != HA_OK)
        return rv;
    for (uint32_t i = 0; i < config->webhook_count; i++) {
        *fault = (struct ha_config_fault){.what = HA_CONFIG_FAULT_WEBHOOK, .webhook = i};
        rv = check_webhook(config, i, err);
        if (rv != HA_OK)
            return ha_err_prefix(err, rv, "webhook %s", config->webhooks[i].name);
    }
    return HA_OK;
}

int ha_config_check(const struct ha_config *config, uint32_t watchers, struct ha_err *err)
{
    return ha_config_check_at(config, watchers, NULL, err);
}
