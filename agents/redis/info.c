#include "agents/redis/info.h"

#include <assert.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

#define VALUE_SIZE HA_REDIS_PATH_SIZE

enum kind { KIND_TEXT, KIND_ID, KIND_U64, KIND_S64, KIND_BOOL };

struct field {
    const char *key;
    size_t key_size;
    enum kind kind;
    size_t offset;
    size_t size;
};

#define FIELD(key, kind, member)                                            \
    {                                                                       \
        key, sizeof(key) - 1, kind, offsetof(struct ha_redis_info, member), \
            sizeof(((struct ha_redis_info *)NULL)->member)                  \
    }

static const struct field fields[] = {
    FIELD("redis_version", KIND_TEXT, version),
    FIELD("run_id", KIND_ID, run_id),
    FIELD("config_file", KIND_TEXT, config_file),
    FIELD("process_id", KIND_U64, process_id),
    FIELD("role", KIND_TEXT, role),
    FIELD("master_host", KIND_TEXT, master_host),
    FIELD("master_port", KIND_U64, master_port),
    FIELD("master_link_status", KIND_TEXT, master_link_status),
    FIELD("master_last_io_seconds_ago", KIND_S64, master_last_io_s),
    FIELD("master_link_down_since_seconds", KIND_S64, master_down_s),
    FIELD("master_sync_in_progress", KIND_BOOL, sync_in_progress),
    FIELD("slave_read_only", KIND_BOOL, slave_read_only),
    FIELD("slave_repl_offset", KIND_U64, slave_offset),
    FIELD("connected_slaves", KIND_U64, connected_slaves),
    FIELD("master_replid", KIND_ID, replid),
    FIELD("master_replid2", KIND_ID, replid2),
    FIELD("master_repl_offset", KIND_U64, master_offset),
    FIELD("second_repl_offset", KIND_S64, second_offset),
    FIELD("min_slaves_good_slaves", KIND_U64, good_slaves),
    FIELD("loading", KIND_BOOL, loading),
    FIELD("async_loading", KIND_BOOL, async_loading),
    FIELD("rdb_changes_since_last_save", KIND_U64, changes),
    FIELD("rdb_bgsave_in_progress", KIND_BOOL, bgsave_running),
    FIELD("rdb_last_bgsave_status", KIND_TEXT, bgsave_status),
    FIELD("rdb_last_save_time", KIND_U64, last_save_s),
    FIELD("aof_enabled", KIND_BOOL, aof_enabled),
    FIELD("aof_last_write_status", KIND_TEXT, aof_status),
};

static bool is_hex_id(const char *value)
{
    return strlen(value) == HA_REDIS_ID_SIZE - 1 &&
           strspn(value, "0123456789abcdef") == HA_REDIS_ID_SIZE - 1;
}

static int parse_s64(const char *value, int64_t *ret)
{
    bool negative = value[0] == '-';
    uint64_t u;
    int rc = ha_text_u64(value + (negative ? 1 : 0), INT64_MAX, &u);

    if (rc == HA_OK)
        *ret = negative ? -(int64_t)u : (int64_t)u;
    return rc;
}

static int parse_bool(const char *value, bool *ret)
{
    uint64_t u;
    int rc = ha_text_u64(value, 1, &u);

    if (rc == HA_OK)
        *ret = u != 0;
    return rc;
}

static int set_field(struct ha_redis_info *info, const struct field *field, const char *value)
{
    void *to = (char *)info + field->offset;

    switch (field->kind) {
    case KIND_TEXT:
        return ha_text_copy(to, field->size, value);
    case KIND_ID:
        return is_hex_id(value) ? ha_text_copy(to, field->size, value) : HA_EPROTO;
    case KIND_U64:
        return ha_text_u64(value, INT64_MAX, to); /* Redis counts in signed 64 bits */
    case KIND_S64:
        return parse_s64(value, to);
    case KIND_BOOL:
        return parse_bool(value, to);
    }
    HA_UNREACHABLE();
}

/* "ip=10.0.0.2,port=6379,state=online,offset=1234,lag=0" */
static int parse_slave(struct ha_redis_info *info, const char *value)
{
    static const char online[] = ",state=online,";
    static const char offset[] = ",offset=";
    const char *at = strstr(value, offset);
    char digits[24];
    size_t size;
    uint64_t acked;

    if (strstr(value, online) == NULL || info->online == HA_REDIS_ONLINE_MAX)
        return HA_OK;
    if (at == NULL)
        return HA_EPROTO;
    at += sizeof(offset) - 1;
    size = strcspn(at, ",");
    if (size >= sizeof(digits))
        return HA_EPROTO;
    memcpy(digits, at, size);
    digits[size] = '\0';
    if (ha_text_u64(digits, INT64_MAX, &acked) != HA_OK)
        return HA_EPROTO;
    info->acked[info->online++] = acked;
    return HA_OK;
}

/* True for "slave0", "db15": a word and a number. */
static bool is_numbered(const char *key, size_t key_size, const char *word)
{
    size_t word_size = strlen(word);

    if (key_size <= word_size || memcmp(key, word, word_size) != 0)
        return false;
    for (size_t i = word_size; i < key_size; i++) {
        if (key[i] < '0' || key[i] > '9')
            return false;
    }
    return true;
}

static const struct field *find_field(const char *key, size_t key_size)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(fields); i++) {
        if (fields[i].key_size == key_size && memcmp(fields[i].key, key, key_size) == 0)
            return &fields[i];
    }
    return NULL;
}

/* One line without its end. */
static int parse_line(struct ha_redis_info *info, const char *line, size_t size, struct ha_err *err)
{
    const char *colon = memchr(line, ':', size);
    const struct field *field;
    char value[VALUE_SIZE];
    size_t key_size, value_size;
    int rc;

    if (size == 0 || line[0] == '#' || colon == NULL)
        return HA_OK;
    key_size = (size_t)(colon - line);
    value_size = size - key_size - 1;
    if (is_numbered(line, key_size, "db")) {
        info->has_keys = true; /* only databases with keys are listed */
        return HA_OK;
    }
    field = find_field(line, key_size);
    if (field == NULL && !is_numbered(line, key_size, "slave"))
        return HA_OK;
    if (value_size >= sizeof(value) || memchr(colon + 1, '\0', value_size) != NULL)
        return ha_err_set(err, HA_EPROTO, "INFO: the value of %.*s is too long or binary",
                          (int)key_size, line);
    memcpy(value, colon + 1, value_size);
    value[value_size] = '\0';
    rc = field != NULL ? set_field(info, field, value) : parse_slave(info, value);
    if (rc != HA_OK)
        return ha_err_set(err, HA_EPROTO, "INFO: the value of %.*s is malformed", (int)key_size,
                          line);
    if (field != NULL && field->offset == offsetof(struct ha_redis_info, good_slaves))
        info->has_good_slaves = true;
    return HA_OK;
}

int ha_redis_info_parse(struct ha_redis_info *info, const char *text, size_t size,
                        struct ha_err *err)
{
    size_t at = 0;

    assert(info != NULL);
    assert(text != NULL || size == 0);

    while (at < size) {
        const char *line = text + at;
        const char *end = memchr(line, '\n', size - at);
        size_t line_size = end == NULL ? size - at : (size_t)(end - line);
        int rc;

        at += line_size + 1;
        if (line_size > 0 && line[line_size - 1] == '\r')
            line_size--;
        rc = parse_line(info, line, line_size, err);
        if (rc != HA_OK)
            return rc;
    }
    return HA_OK;
}

uint64_t ha_redis_id_hash(const char *id)
{
    uint64_t hash;

    assert(id != NULL);

    if (id[strspn(id, "0")] == '\0')
        return 0;
    hash = ha_hash(HA_HASH_START, id, strlen(id));
    return hash != 0 ? hash : 1;
}

/* No key and nothing ever replicated: the id is one it made up, or one of an upstream that had
 * nothing either, and there is nothing to lose. */
static bool never_had_data(const struct ha_redis_info *info, uint64_t offset)
{
    return !info->has_keys && offset == 0;
}

/* A replica whose process never had a link to a primary and loaded no position from disk says
 * offset 1 and keeps no stream of its own. Its replication id is one it made up. */
static bool never_synced(const struct ha_redis_info *info)
{
    return strcmp(info->master_link_status, "up") != 0 && info->slave_offset == 1 &&
           info->master_offset == 0;
}

static void fill_lineage(const struct ha_redis_info *info, struct ha_lineage *lineage)
{
    uint64_t older = ha_redis_id_hash(info->replid2);

    lineage->steps[0].id = ha_redis_id_hash(info->replid);
    lineage->steps[0].end = UINT64_MAX;
    lineage->count = 1;
    if (older == 0 || info->second_offset < 1)
        return;
    /* second_repl_offset is the first offset at which the new id counts. */
    lineage->steps[1].id = older;
    lineage->steps[1].end = (uint64_t)info->second_offset - 1;
    lineage->count = 2;
}

static uint32_t link_idle_ms(const struct ha_redis_info *info)
{
    int64_t s = info->master_last_io_s >= 0 ? info->master_last_io_s : info->master_down_s;

    if (s < 0 || s > UINT32_MAX / 1000)
        return UINT32_MAX;
    return (uint32_t)s * 1000;
}

/* Of a replica, slave_repl_offset is what it has applied and where its own stream would go on after
 * a promotion. slave_read_repl_offset also counts bytes it received but did not apply, and Redis
 * drops those when the link ends or the replica is promoted: they must not win a ranking. */
static void fill_replica(const struct ha_redis_info *info, struct ha_sample *sample)
{
    sample->role = HA_ROLE_REPLICA;
    sample->link_up = strcmp(info->master_link_status, "up") == 0;
    sample->copying = info->sync_in_progress || info->async_loading;
    sample->read_only = info->slave_read_only;
    sample->link_idle_ms = link_idle_ms(info);
    sample->upstream_port = (uint16_t)info->master_port;
    (void)ha_text_copy(sample->upstream_host, sizeof(sample->upstream_host), info->master_host);
    sample->position.offset = info->slave_offset;
    /* With its primary gone, one that copied nothing has a history all the same: what the primary
     * acknowledged since may not have come, as Redis lets the stream begin a second after. */
    if (!never_synced(info) && (!sample->link_up || !never_had_data(info, info->slave_offset)))
        fill_lineage(info, &sample->position.lineage);
}

static void fill_primary(const struct ha_redis_info *info, struct ha_sample *sample)
{
    sample->role = HA_ROLE_PRIMARY;
    sample->position.offset = info->master_offset;
    if (!never_had_data(info, info->master_offset))
        fill_lineage(info, &sample->position.lineage);
}

static bool aof_fails(const struct ha_redis_info *info)
{
    return info->aof_enabled && strcmp(info->aof_status, "err") == 0;
}

static void fill_text(const struct ha_redis_info *info, struct ha_sample *sample)
{
    if (info->loading)
        (void)ha_text_format(sample->text, sizeof(sample->text), "loading its data set");
    else if (aof_fails(info))
        (void)ha_text_format(sample->text, sizeof(sample->text),
                             "the append-only file cannot be written");
    else if (strcmp(info->bgsave_status, "err") == 0)
        (void)ha_text_format(sample->text, sizeof(sample->text), "the last BGSAVE failed");
    else if (info->has_good_slaves && info->good_slaves == 0)
        (void)ha_text_format(sample->text, sizeof(sample->text),
                             "min-replicas-to-write is set and no replica is good");
}

int ha_redis_info_sample(const struct ha_redis_info *info, struct ha_sample *sample,
                         struct ha_err *err)
{
    struct ha_sample out = {.answer = HA_ANSWER_OK, .writable = true};
    bool replica = strcmp(info->role, "slave") == 0;

    assert(info != NULL);
    assert(sample != NULL);

    if (!replica && strcmp(info->role, "master") != 0)
        return ha_err_set(err, HA_EPROTO, "INFO: no role that is known");
    if (info->run_id[0] == '\0' || info->replid[0] == '\0')
        return ha_err_set(err, HA_EPROTO, "INFO: no run_id or no master_replid");
    if (replica && (info->master_host[0] == '\0' || info->master_port > UINT16_MAX))
        return ha_err_set(err, HA_EPROTO, "INFO: a replica without a usable upstream");
    out.run_id = ha_redis_id_hash(info->run_id);
    out.replicas =
        info->connected_slaves > UINT32_MAX ? UINT32_MAX : (uint32_t)info->connected_slaves;
    if (replica)
        fill_replica(info, &out);
    else
        fill_primary(info, &out);
    if (info->loading) {
        out.answer = HA_ANSWER_STARTING;
        out.position = (struct ha_position){0}; /* its ids are only known after the load */
    }
    out.writable = !aof_fails(info);
    fill_text(info, &out);
    *sample = out;
    return HA_OK;
}
