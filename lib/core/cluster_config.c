/* A new configuration as a log entry: merged by name, refused where it would move a primary behind
 * the lease's back (design, section 6.3 "Configuration"). */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/failover.h"

static const struct ha_service_config *find_new(const struct ha_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->service_count; i++)
        if (strcmp(config->services[i].name, name) == 0)
            return &config->services[i];
    return NULL;
}

static const struct ha_member_config *find_member(const struct ha_service_config *config,
                                                  const char *name)
{
    for (uint32_t i = 0; i < config->member_count; i++)
        if (strcmp(config->members[i].name, name) == 0)
            return &config->members[i];
    return NULL;
}

/* The member that holds or may hold the right to serve must stay where it is. */
static int check_holder(const struct ha_service *old, uint32_t holder,
                        const struct ha_service_config *config, struct ha_err *err)
{
    int at = ha_service_member_at(old, holder);
    const struct ha_member_config *before, *after;

    if (at < 0)
        return HA_OK;
    before = &old->config.members[at];
    after = find_member(config, before->name);
    if (after == NULL)
        return ha_err_set(err, HA_EDENIED,
                          "service %s: %s is the primary and cannot be removed; switch over first",
                          config->name, before->name);
    if (strcmp(before->agent, after->agent) != 0 || strcmp(before->host, after->host) != 0 ||
        before->port != after->port)
        return ha_err_set(err, HA_EDENIED,
                          "service %s: %s is the primary and cannot get another address or agent; "
                          "switch over first",
                          config->name, before->name);
    if (after->priority == HA_PRIORITY_NEVER && before->priority != HA_PRIORITY_NEVER)
        return ha_err_set(err, HA_EDENIED,
                          "service %s: %s is the primary and cannot be banned; switch over first",
                          config->name, before->name);
    return HA_OK;
}

/* The id of a member that is configured already. A last primary that gets another agent is another
 * machine: it must not speak for what the old one had. */
static uint32_t kept_id(const struct ha_service *service, const struct ha_member_config *after)
{
    uint32_t id = ha_service_member_named(service, after->name);
    int at = ha_service_member_at(service, id);

    if (at >= 0 && id == service->open_member &&
        strcmp(service->config.members[at].agent, after->agent) != 0)
        return HA_MEMBER_NONE;
    return id;
}

/* A new member must not be taken for one that left: the last primary, which proves itself what it
 * acknowledged, or one whose promises may still keep a lease. */
static uint32_t reserved_ids(const struct ha_service *service)
{
    uint32_t last = service->open_member == HA_MEMBER_NONE ? 0 : 1u << service->open_member;

    return ha_cluster_hold_members(service) | last;
}

static int check_ids(const struct ha_service *old, const struct ha_service_config *config,
                     struct ha_err *err)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < config->member_count; i++)
        kept |= 1u << kept_id(old, &config->members[i]);
    kept &= ~(1u << HA_MEMBER_NONE);
    if (config->member_count - (uint32_t)__builtin_popcount(kept) <=
        HA_MEMBERS_MAX - (uint32_t)__builtin_popcount(kept | reserved_ids(old)))
        return HA_OK;
    return ha_err_set(err, HA_EBUSY,
                      "service %s: too many new members while members that leave are remembered, "
                      "the last primary and those that may keep a lease: bring in some later",
                      config->name);
}

static int check_service(const struct ha_service *old, const struct ha_service_config *config,
                         struct ha_err *err)
{
    int rv;

    if (old->deleting)
        return ha_err_set(err, HA_EBUSY, "service %s is still being removed: try again",
                          config->name);
    if (old->config.engine != config->engine)
        return ha_err_set(err, HA_EDENIED, "service %s: the engine cannot change; use a new name",
                          config->name);
    /* What was promised for the epoch that ended binds whoever succeeds it. */
    if (old->config.durability != config->durability && old->open_epoch != HA_EPOCH_NONE &&
        !ha_state_is_open(old->state))
        return ha_err_set(err, HA_EBUSY,
                          "service %s: durability cannot change while a failover is under way: try "
                          "again, or `hafailoverctl failover --accept-loss`",
                          config->name);
    for (uint32_t i = 0; i < old->config.member_count; i++)
        if ((ha_cluster_sync_members(old) >> old->members[i].id & 1u) != 0 &&
            find_member(config, old->config.members[i].name) == NULL)
            return ha_err_set(err, HA_EDENIED,
                              "service %s: the primary waits for %s before it acknowledges; stop "
                              "that database first, so that it leaves the set",
                              config->name, old->config.members[i].name);
    rv = ha_cluster_hold_check(old, config, err);
    if (rv == HA_OK)
        rv = check_ids(old, config, err);
    if (rv == HA_OK)
        rv = check_holder(old, old->primary, config, err);
    if (rv == HA_OK && old->open_epoch != HA_EPOCH_NONE && old->fence == HA_FENCE_NONE)
        rv = check_holder(old, old->open_member, config, err);
    return rv;
}

static uint32_t free_member_id(const struct ha_member_state *members, uint32_t count,
                               uint32_t taken)
{
    for (uint32_t id = 1; id <= HA_MEMBERS_MAX; id++) {
        bool used = (taken >> id & 1u) != 0;

        for (uint32_t i = 0; i < count; i++)
            used = used || members[i].id == id;
        if (!used)
            return id;
    }
    HA_UNREACHABLE(); /* check_ids has counted */
}

/* Members keep what is known of them by name; new ones get ids that mean nobody else. */
static void merge_members(struct ha_service *service, const struct ha_service_config *config)
{
    struct ha_member_state merged[HA_MEMBERS_MAX];
    uint32_t kept = 0, taken;

    memset(merged, 0, sizeof(merged));
    for (uint32_t i = 0; i < config->member_count; i++) {
        uint32_t id = kept_id(service, &config->members[i]);

        if (id == HA_MEMBER_NONE)
            continue;
        merged[i] = service->members[ha_service_member_at(service, id)];
        kept |= 1u << id;
    }
    taken = kept | reserved_ids(service);
    for (uint32_t i = 0; i < config->member_count; i++)
        if (merged[i].id == HA_MEMBER_NONE)
            merged[i].id = free_member_id(merged, config->member_count, taken);
    /* What was said of a member that is gone must not stick to the next one with its id. */
    service->failed_members &= kept;
    if ((kept >> service->target & 1u) == 0)
        service->target = HA_MEMBER_NONE;
    memcpy(service->members, merged, sizeof(merged));
    service->config = *config;
    /* A shorter lease does not shorten what was promised before. */
    if (service->open_epoch != HA_EPOCH_NONE && service->open_lease_ms < config->lease_ms)
        service->open_lease_ms = config->lease_ms;
}

static struct ha_service *new_service(struct ha_cluster *cluster,
                                      const struct ha_service_config *config)
{
    for (uint32_t slot = 0; slot < HA_SERVICES_MAX; slot++) {
        struct ha_service *service = &cluster->services[slot];

        if (service->used)
            continue;
        memset(service, 0, sizeof(*service));
        service->used = true;
        /* Above every id there was, and its slot can be told from it. */
        service->id = (cluster->id_last / HA_SERVICES_MAX + 1) * HA_SERVICES_MAX + slot;
        cluster->id_last = service->id;
        merge_members(service, config);
        cluster->service_count++;
        ha_cluster_found(cluster, service);
        return service;
    }
    HA_UNREACHABLE(); /* check_all has counted */
}

static void set_webhooks(struct ha_cluster *cluster, const struct ha_config *config)
{
    uint32_t map[HA_WEBHOOKS_MAX] = {0}; /* old place to new bit */

    for (uint32_t i = 0; i < cluster->webhook_count; i++)
        for (uint32_t k = 0; k < config->webhook_count; k++)
            if (strcmp(cluster->webhooks[i].name, config->webhooks[k].name) == 0)
                map[i] = 1u << k;
    for (uint32_t n = 0, kept = 0, count = cluster->notice_count; n < count; n++) {
        struct ha_notice notice = cluster->notices[n];
        uint32_t owed = 0;

        for (uint32_t i = 0; i < HA_WEBHOOKS_MAX; i++)
            if ((notice.owed >> i & 1u) != 0)
                owed |= map[i];
        notice.owed = owed;
        memset(&cluster->notices[n], 0, sizeof(notice));
        cluster->notice_count = kept;
        if (owed != 0) {
            cluster->notices[kept++] = notice;
            cluster->notice_count = kept;
        }
    }
    cluster->webhook_count = config->webhook_count;
    memcpy(cluster->webhooks, config->webhooks, sizeof(cluster->webhooks));
}

static void archive_drop_oldest(struct ha_cluster *cluster)
{
    uint32_t size = cluster->archived[0].size;

    cluster->archive_size -= size;
    memmove(cluster->archive, cluster->archive + size, cluster->archive_size);
    memset(cluster->archive + cluster->archive_size, 0, size);
    cluster->archive_count--;
    memmove(&cluster->archived[0], &cluster->archived[1],
            cluster->archive_count * sizeof(cluster->archived[0]));
    memset(&cluster->archived[cluster->archive_count], 0, sizeof(cluster->archived[0]));
    for (uint32_t i = 0; i < cluster->archive_count; i++)
        cluster->archived[i].at -= size;
}

static void archive_add(struct ha_cluster *cluster, const char *author, const char *text)
{
    uint32_t size = (uint32_t)strlen(text);
    struct ha_archived *entry;

    while (cluster->archive_count == HA_ARCHIVE_MAX ||
           cluster->archive_size + size > HA_ARCHIVE_SIZE)
        archive_drop_oldest(cluster);
    entry = &cluster->archived[cluster->archive_count++];
    *entry = (struct ha_archived){.version = cluster->config_version,
                                  .wall_ms = cluster->wall_ms,
                                  .at = cluster->archive_size,
                                  .size = size};
    (void)ha_text_copy(entry->author, sizeof(entry->author), author);
    memcpy(cluster->archive + cluster->archive_size, text, size);
    cluster->archive_size += size;
}

int ha_cluster_archived(const struct ha_cluster *cluster, uint64_t version, const char **ret_text,
                        uint32_t *ret_size)
{
    for (uint32_t i = 0; i < cluster->archive_count; i++) {
        if (cluster->archived[i].version != version)
            continue;
        *ret_text = cluster->archive + cluster->archived[i].at;
        *ret_size = cluster->archived[i].size;
        return HA_OK;
    }
    return HA_ENOENT;
}

static int check_all(const struct ha_cluster *cluster, const struct ha_command_config *command,
                     struct ha_err *err)
{
    uint32_t needed = 0;
    int rv;

    if (command->base_version != cluster->config_version)
        return ha_err_set(err, HA_ESTALE,
                          "made from version %" PRIu64 ", but version %" PRIu64
                          " is in force: look at the difference and apply again",
                          command->base_version, cluster->config_version);
    if (cluster->set_id == 0)
        return ha_err_set(err, HA_EBUSY, "the set of watchers is not in the log yet: try again");
    if (strlen(command->text) > HA_CONFIG_TEXT_MAX)
        return ha_err_set(err, HA_EFULL, "the text is longer than %u bytes", HA_CONFIG_TEXT_MAX);
    rv = ha_config_check(command->config, cluster->watcher_count, err);
    if (rv != HA_OK)
        return rv;
    for (uint32_t i = 0; i < command->config->service_count; i++) {
        const struct ha_service_config *config = &command->config->services[i];

        if (config->durability == HA_DURABILITY_STRICT && config->member_count < 2)
            return ha_err_set(err, HA_EDENIED,
                              "service %s: strict needs a replica, and there is no other member",
                              config->name);
        const struct ha_service *old = ha_cluster_service_named(cluster, config->name);

        if (old == NULL) {
            needed++;
            continue;
        }
        rv = check_service(old, config, err);
        if (rv != HA_OK)
            return rv;
    }
    if (cluster->service_count + needed > HA_SERVICES_MAX)
        return ha_err_set(err, HA_EFULL, "more than %d services", HA_SERVICES_MAX);
    return HA_OK;
}

int ha_cluster_apply_config(struct ha_cluster *cluster, const struct ha_command_config *command,
                            struct ha_err *err)
{
    const struct ha_config *config = command->config;
    char text[HA_TEXT_SIZE];
    int rv = check_all(cluster, command, err);

    if (rv != HA_OK)
        return rv;
    cluster->config_version++;
    set_webhooks(cluster, config);
    for (uint32_t slot = 0; slot < HA_SERVICES_MAX; slot++) {
        struct ha_service *service = &cluster->services[slot];

        if (service->used && !service->deleting && find_new(config, service->config.name) == NULL)
            ha_cluster_retire(cluster, service);
    }
    for (uint32_t i = 0; i < config->service_count; i++) {
        const struct ha_service *old = ha_cluster_service_named(cluster, config->services[i].name);

        if (old != NULL)
            merge_members(ha_cluster_service(cluster, old->id), &config->services[i]);
        else
            (void)new_service(cluster, &config->services[i]);
    }
    archive_add(cluster, command->author, command->text);
    (void)ha_text_format(text, sizeof(text), "version %" PRIu64 " by %s, %" PRIu32 " services",
                         cluster->config_version, command->author, config->service_count);
    ha_cluster_notify(cluster, NULL, HA_NOTICE_CONFIG, text);
    return HA_OK;
}
