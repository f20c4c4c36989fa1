#include "lib/wire/config_keys.h"

#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

enum kind {
    KIND_TEXT,
    KIND_NAME,
    KIND_ENGINE,
    KIND_DURABILITY,
    KIND_CRASH_POLICY,
    KIND_QUORUM_LOSS,
    KIND_VIP, /* vip and vip_prefix */
    KIND_BOOL,
    KIND_QUORUM,
    KIND_COUNT,
    KIND_TIME,
    KIND_RATE, /* rate_count and rate_period_ms */
    KIND_BYTES,
    KIND_LOSS,
    KIND_PORT,
    KIND_PRIORITY,
};

struct ha_config_key {
    const char *name;
    size_t offset, size;
    enum kind kind;
    bool required;
};

#define KEY(type, kind_value, key, field, is_required)                      \
    {                                                                       \
        .name = (key), .offset = offsetof(struct type, field),              \
        .size = sizeof(((struct type *)NULL)->field), .kind = (kind_value), \
        .required = (is_required)                                           \
    }

#define SERVICE(kind, field) KEY(ha_service_config, kind, #field, field, false)
#define SERVICE_TIME(field) KEY(ha_service_config, KIND_TIME, #field, field##_ms, false)
static const struct ha_config_key service_keys[] = {
    KEY(ha_service_config, KIND_ENGINE, "engine", engine, true),
    SERVICE(KIND_DURABILITY, durability),
    SERVICE(KIND_CRASH_POLICY, crash_policy),
    SERVICE(KIND_QUORUM_LOSS, on_quorum_loss),
    SERVICE(KIND_VIP, vip),
    SERVICE(KIND_NAME, vip_interface),
    SERVICE(KIND_NAME, credentials),
    SERVICE(KIND_NAME, fence),
    SERVICE(KIND_QUORUM, quorum),
    SERVICE(KIND_COUNT, parallel_syncs),
    SERVICE(KIND_BOOL, accept_process_fence),
    SERVICE(KIND_BOOL, failover_unwritable),
    SERVICE(KIND_BOOL, automatic),
    SERVICE(KIND_BOOL, rejoin_copy),
    SERVICE_TIME(probe),
    SERVICE_TIME(heartbeat),
    SERVICE_TIME(down_after),
    SERVICE_TIME(refused_confirm),
    SERVICE_TIME(hang_after),
    SERVICE_TIME(starting_max),
    SERVICE_TIME(busy_max),
    SERVICE_TIME(lease),
    SERVICE_TIME(promote_deadline),
    SERVICE_TIME(open_deadline),
    SERVICE_TIME(repoint_deadline),
    SERVICE_TIME(restart_max),
    SERVICE_TIME(sync_grace),
    SERVICE_TIME(rewind_max),
    SERVICE_TIME(copy_max),
    KEY(ha_service_config, KIND_RATE, "rate", rate_count, false),
    KEY(ha_service_config, KIND_LOSS, "loss_budget", loss_budget_bytes, false),
    KEY(ha_service_config, KIND_BYTES, "priority_slack", priority_slack_bytes, false),
    KEY(ha_service_config, KIND_BYTES, "keep_tail", keep_tail_bytes, false),
};

static const struct ha_config_key member_keys[] = {
    KEY(ha_member_config, KIND_NAME, "agent", agent, false),
    KEY(ha_member_config, KIND_TEXT, "host", host, true),
    KEY(ha_member_config, KIND_PORT, "port", port, true),
    KEY(ha_member_config, KIND_PORT, "agent_port", agent_port, false),
    KEY(ha_member_config, KIND_PRIORITY, "priority", priority, false),
    KEY(ha_member_config, KIND_NAME, "follow", follow, false),
};

static const struct ha_config_key webhook_keys[] = {
    KEY(ha_webhook_config, KIND_TEXT, "url", url, true),
    KEY(ha_webhook_config, KIND_NAME, "secret", secret, false),
    KEY(ha_webhook_config, KIND_NAME, "service", service, false),
    KEY(ha_webhook_config, KIND_BOOL, "insecure", insecure, false),
};

_Static_assert(HA_ARRAY_LEN(service_keys) <= HA_CONFIG_KEYS_MAX, "a bit per key");
_Static_assert(HA_URL_SIZE <= HA_CONFIG_VALUE_SIZE, "every value fits");

const struct ha_config_keys ha_service_keys = {service_keys, HA_ARRAY_LEN(service_keys)};
const struct ha_config_keys ha_member_keys = {member_keys, HA_ARRAY_LEN(member_keys)};
const struct ha_config_keys ha_webhook_keys = {webhook_keys, HA_ARRAY_LEN(webhook_keys)};

int ha_config_key_find(const struct ha_config_keys *keys, const char *name)
{
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->keys[i].name, name) == 0)
            return (int)i;
    return -1;
}

const char *ha_config_key_name(const struct ha_config_keys *keys, size_t at)
{
    assert(at < keys->count);
    return keys->keys[at].name;
}

bool ha_config_key_required(const struct ha_config_keys *keys, size_t at)
{
    assert(at < keys->count);
    return keys->keys[at].required;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int bad(struct ha_err *err, const char *text, const char *want)
{
    return ha_err_set(err, HA_EINVAL, "\"%s\" is not %s", text, want);
}

static int read_text(const struct ha_config_key *key, char *field, const char *text,
                     struct ha_err *err)
{
    /* An empty value takes back what [defaults] says. */
    if (key->required && text[0] == '\0')
        return ha_err_set(err, HA_EINVAL, "no value");
    if (key->kind == KIND_NAME && text[0] != '\0' && !ha_text_is_name(text, key->size))
        return ha_err_set(err, HA_EINVAL,
                          "\"%s\" is not a name: at most %zu letters, digits, '.', '_' and '-'",
                          text, key->size - 1);
    if (ha_text_copy(field, key->size, text) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "longer than %zu characters", key->size - 1);
    return HA_OK;
}

static int read_engine(enum ha_engine *engine, const char *text, struct ha_err *err)
{
    for (uint32_t v = 0; ha_engine_valid(v); v++) {
        if (strcmp(ha_engine_text((enum ha_engine)v), text) != 0)
            continue;
        *engine = (enum ha_engine)v;
        return HA_OK;
    }
    return bad(err, text, "redis or postgresql");
}

static int read_durability(enum ha_durability *durability, const char *text, struct ha_err *err)
{
    for (uint32_t v = 0; ha_durability_valid(v); v++) {
        if (strcmp(ha_durability_text((enum ha_durability)v), text) != 0)
            continue;
        *durability = (enum ha_durability)v;
        return HA_OK;
    }
    return bad(err, text, "async, sync or strict");
}

static int read_crash_policy(enum ha_crash_policy *policy, const char *text, struct ha_err *err)
{
    for (uint32_t v = 0; ha_crash_policy_valid(v); v++) {
        if (strcmp(ha_crash_policy_text((enum ha_crash_policy)v), text) != 0)
            continue;
        *policy = (enum ha_crash_policy)v;
        return HA_OK;
    }
    return bad(err, text, "failover or restart");
}

static int read_quorum_loss(enum ha_quorum_loss *what, const char *text, struct ha_err *err)
{
    for (uint32_t v = 0; ha_quorum_loss_valid(v); v++) {
        if (strcmp(ha_quorum_loss_text((enum ha_quorum_loss)v), text) != 0)
            continue;
        *what = (enum ha_quorum_loss)v;
        return HA_OK;
    }
    return bad(err, text, "fence or hold");
}

static int read_vip(struct ha_service_config *service, const char *text, struct ha_err *err)
{
    const char *slash = strrchr(text, '/');
    char address[HA_HOST_SIZE] = "";
    uint64_t prefix = 0;
    size_t length;

    if (text[0] == '\0') {
        memset(service->vip, 0, sizeof(service->vip));
        service->vip_prefix = 0;
        return HA_OK;
    }
    length = slash == NULL ? 0 : (size_t)(slash - text);
    if (length == 0 || length >= sizeof(address) || ha_text_u64(slash + 1, 128, &prefix) != HA_OK)
        return bad(err, text, "an address with its prefix length, such as 10.0.0.9/24");
    memcpy(address, text, length);
    memcpy(service->vip, address, sizeof(service->vip));
    service->vip_prefix = (uint8_t)prefix;
    return HA_OK;
}

static int read_time(uint32_t *field, const char *text, struct ha_err *err)
{
    uint64_t ms = 0;
    int rv = ha_text_duration(text, HA_DURATION_MAX_MS, &ms);

    if (rv == HA_EFULL)
        return bad(err, text, "within a day");
    if (rv != HA_OK)
        return bad(err, text, "a duration such as 200ms, 2s or 10min");
    *field = (uint32_t)ms;
    return HA_OK;
}

static int read_rate(struct ha_service_config *service, const char *text, struct ha_err *err)
{
    const char *slash = strchr(text, '/');
    char count[8] = "";
    uint64_t number = 0;
    size_t length;
    uint32_t period_ms = 0;

    if (strcmp(text, "any") == 0) {
        service->rate_count = 0;
        service->rate_period_ms = 0;
        return HA_OK;
    }
    length = slash == NULL ? 0 : (size_t)(slash - text);
    if (length > 0 && length < sizeof(count))
        memcpy(count, text, length);
    if (ha_text_u64(count, 1000, &number) != HA_OK || number == 0 ||
        read_time(&period_ms, slash + 1, err) != HA_OK)
        return bad(err, text, "a rate such as 5/10min, or any");
    service->rate_count = (uint32_t)number;
    service->rate_period_ms = period_ms;
    return HA_OK;
}

static int read_bytes(uint64_t *field, bool may_be_any, const char *text, struct ha_err *err)
{
    if (may_be_any && strcmp(text, "any") == 0) {
        *field = UINT64_MAX;
        return HA_OK;
    }
    /* UINT64_MAX has a meaning of its own. */
    if (ha_text_bytes(text, UINT64_MAX - 1, field) != HA_OK)
        return bad(err, text, may_be_any ? "a size such as 16MiB, or any" : "a size such as 16MiB");
    return HA_OK;
}

static int read_bool(bool *field, const char *text, struct ha_err *err)
{
    return ha_text_bool(text, field) == HA_OK ? HA_OK : bad(err, text, "yes or no");
}

static int read_small(uint8_t *field, const char *word, const char *text, struct ha_err *err)
{
    uint64_t number = 0;

    if (word != NULL && strcmp(text, word) == 0) {
        *field = 0;
        return HA_OK;
    }
    if (ha_text_u64(text, UINT8_MAX, &number) != HA_OK || number == 0)
        return bad(err, text, word == NULL ? "a number from 1" : "a number from 1, or majority");
    *field = (uint8_t)number;
    return HA_OK;
}

static int read_port(uint16_t *field, const char *text, struct ha_err *err)
{
    uint64_t number = 0;

    if (ha_text_u64(text, UINT16_MAX, &number) != HA_OK || number == 0)
        return bad(err, text, "a port from 1 to 65535");
    *field = (uint16_t)number;
    return HA_OK;
}

static int read_priority(uint16_t *field, const char *text, struct ha_err *err)
{
    uint64_t number = HA_PRIORITY_NEVER;

    if (strcmp(text, "never") != 0 &&
        (ha_text_u64(text, HA_PRIORITY_MAX, &number) != HA_OK || number == HA_PRIORITY_NEVER))
        return bad(err, text, "a priority from 1 to 1000, or never");
    *field = (uint16_t)number;
    return HA_OK;
}

int ha_config_key_read(const struct ha_config_keys *keys, size_t at, void *section,
                       const char *text, struct ha_err *err)
{
    const struct ha_config_key *key = &keys->keys[at];
    void *field = (char *)section + key->offset;

    assert(at < keys->count);
    switch (key->kind) {
    case KIND_TEXT:
    case KIND_NAME:
        return read_text(key, field, text, err);
    case KIND_ENGINE:
        return read_engine(field, text, err);
    case KIND_DURABILITY:
        return read_durability(field, text, err);
    case KIND_CRASH_POLICY:
        return read_crash_policy(field, text, err);
    case KIND_QUORUM_LOSS:
        return read_quorum_loss(field, text, err);
    case KIND_VIP:
        return read_vip(section, text, err);
    case KIND_BOOL:
        return read_bool(field, text, err);
    case KIND_QUORUM:
        return read_small(field, "majority", text, err);
    case KIND_COUNT:
        return read_small(field, NULL, text, err);
    case KIND_TIME:
        return read_time(field, text, err);
    case KIND_RATE:
        return read_rate(section, text, err);
    case KIND_BYTES:
    case KIND_LOSS:
        return read_bytes(field, key->kind == KIND_LOSS, text, err);
    case KIND_PORT:
        return read_port(field, text, err);
    case KIND_PRIORITY:
        return read_priority(field, text, err);
    }
    HA_UNREACHABLE();
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Every text fits: the fields are smaller than the room (asserted above). */
#define PUT(text, ...) (void)ha_text_format((text), HA_CONFIG_VALUE_SIZE, __VA_ARGS__)

static void put_time(char *text, const char *before, uint32_t ms)
{
    if (ms >= 3600000 && ms % 3600000 == 0)
        PUT(text, "%s%" PRIu32 "h", before, ms / 3600000);
    else if (ms >= 60000 && ms % 60000 == 0)
        PUT(text, "%s%" PRIu32 "min", before, ms / 60000);
    else if (ms >= 10000 && ms % 1000 == 0)
        PUT(text, "%s%" PRIu32 "s", before, ms / 1000);
    else
        PUT(text, "%s%" PRIu32 "ms", before, ms);
}

static void put_bytes(char *text, uint64_t bytes, bool may_be_any)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB"};
    size_t unit = 0;

    if (may_be_any && bytes == UINT64_MAX) {
        PUT(text, "any");
        return;
    }
    for (; unit + 1 < HA_ARRAY_LEN(units) && bytes >= 1024 && bytes % 1024 == 0; unit++)
        bytes /= 1024;
    PUT(text, "%" PRIu64 "%s", bytes, units[unit]);
}

static void put_vip(char *text, const struct ha_service_config *service)
{
    if (service->vip[0] == '\0')
        PUT(text, "%s", "");
    else
        PUT(text, "%s/%u", service->vip, service->vip_prefix);
}

static void put_rate(char *text, const struct ha_service_config *service)
{
    char count[16];

    if (service->rate_count == 0) {
        PUT(text, "any");
        return;
    }
    (void)ha_text_format(count, sizeof(count), "%" PRIu32 "/", service->rate_count);
    put_time(text, count, service->rate_period_ms);
}

static void put_or_word(char *text, uint32_t number, const char *word)
{
    if (number == 0)
        PUT(text, "%s", word);
    else
        PUT(text, "%" PRIu32, number);
}

void ha_config_key_write(const struct ha_config_keys *keys, size_t at, const void *section,
                         char text[HA_CONFIG_VALUE_SIZE])
{
    const struct ha_config_key *key = &keys->keys[at];
    const void *field = (const char *)section + key->offset;

    assert(at < keys->count);
    switch (key->kind) {
    case KIND_TEXT:
    case KIND_NAME:
        PUT(text, "%s", (const char *)field);
        return;
    case KIND_ENGINE:
        PUT(text, "%s", ha_engine_text(*(const enum ha_engine *)field));
        return;
    case KIND_DURABILITY:
        PUT(text, "%s", ha_durability_text(*(const enum ha_durability *)field));
        return;
    case KIND_CRASH_POLICY:
        PUT(text, "%s", ha_crash_policy_text(*(const enum ha_crash_policy *)field));
        return;
    case KIND_QUORUM_LOSS:
        PUT(text, "%s", ha_quorum_loss_text(*(const enum ha_quorum_loss *)field));
        return;
    case KIND_VIP:
        put_vip(text, section);
        return;
    case KIND_BOOL:
        PUT(text, "%s", *(const bool *)field ? "yes" : "no");
        return;
    case KIND_QUORUM:
        put_or_word(text, *(const uint8_t *)field, "majority");
        return;
    case KIND_COUNT:
        PUT(text, "%u", *(const uint8_t *)field);
        return;
    case KIND_TIME:
        put_time(text, "", *(const uint32_t *)field);
        return;
    case KIND_RATE:
        put_rate(text, section);
        return;
    case KIND_BYTES:
    case KIND_LOSS:
        put_bytes(text, *(const uint64_t *)field, key->kind == KIND_LOSS);
        return;
    case KIND_PORT:
        PUT(text, "%u", *(const uint16_t *)field);
        return;
    case KIND_PRIORITY:
        put_or_word(text, *(const uint16_t *)field, "never");
        return;
    }
    HA_UNREACHABLE();
}
