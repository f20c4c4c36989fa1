/* The set of watchers as the log has it: found, changed by one, settled, built anew. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"

/* Above every epoch that the forgotten end of a log can have given. */
#define EPOCHS_FORGOTTEN 1000000u
#define VERSIONS_FORGOTTEN 1000u

static uint32_t count_bits(uint32_t mask)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < HA_WATCHERS_MAX; i++)
        count += mask >> i & 1u;
    return count;
}

bool ha_cluster_old_stops_suffice(const struct ha_cluster *cluster, uint32_t mask)
{
    return count_bits(mask & cluster->old_seats) >= cluster->old_majority;
}

bool ha_cluster_is_settling(const struct ha_cluster *cluster)
{
    return cluster->old_majority != 0;
}

bool ha_cluster_was_before(const struct ha_cluster *cluster, uint32_t watcher)
{
    return watcher < HA_WATCHERS_MAX && (cluster->old_seats >> watcher & 1u) != 0;
}

bool ha_cluster_has_spoken(const struct ha_cluster *cluster, uint32_t watcher)
{
    return watcher < HA_WATCHERS_MAX && (cluster->spoke >> watcher & 1u) != 0;
}

bool ha_cluster_stops_suffice(const struct ha_cluster *cluster, uint32_t mask)
{
    uint32_t all = (1u << cluster->watcher_count) - 1;

    return count_bits(mask & all) >= ha_cluster_majority(cluster) &&
           ha_cluster_old_stops_suffice(cluster, mask);
}

static void take_set(struct ha_cluster *cluster, const struct ha_command_watchers *set)
{
    cluster->set_id = set->set_id;
    cluster->watcher_count = set->count;
    memcpy(cluster->watchers, set->names, sizeof(cluster->watchers));
    cluster->spoke = 0;
    cluster->old_seats = 0;
    cluster->old_majority = 0;
    cluster->watchers_down = 0;
    /* Opinions are kept by place in the set: those of another set mean nothing. */
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
        for (uint32_t m = 0; m < HA_MEMBERS_MAX; m++)
            memset(cluster->services[i].members[m].verdicts, 0,
                   sizeof(cluster->services[i].members[m].verdicts));
}

int ha_cluster_apply_watchers(struct ha_cluster *cluster, const struct ha_command_watchers *set,
                              struct ha_err *err)
{
    if (cluster->set_id == set->set_id)
        return ha_err_set(err, HA_EEXIST, "this set of watchers is in force already");
    if (set->set_id == 0 || set->count == 0 || set->count > HA_WATCHERS_MAX)
        return ha_err_set(err, HA_EINVAL, "a set of watchers needs an id and 1 to %d names",
                          HA_WATCHERS_MAX);
    take_set(cluster, set);
    return HA_OK;
}

static int seat_of(const struct ha_cluster *cluster, const char *name)
{
    for (uint32_t i = 0; i < cluster->watcher_count; i++)
        if (strcmp(cluster->watchers[i], name) == 0)
            return (int)i;
    return -1;
}

/* Never the same twice: one entry ends a set, and has one place in one log. */
static uint64_t next_set_id(const struct ha_cluster *cluster)
{
    uint8_t bytes[16];
    struct ha_writer w;
    uint64_t id;

    ha_writer_init(&w, bytes, sizeof(bytes));
    ha_put_u64(&w, cluster->set_id);
    ha_put_u64(&w, cluster->index);
    id = ha_hash(HA_HASH_START, bytes, w.size);
    return id != 0 ? id : 1;
}

/* Sorted by name, as the settings are: a watcher's index is its rank. */
static void add_sorted(struct ha_command_watchers *set, const char *name)
{
    uint32_t at = set->count;

    for (; at > 0 && strcmp(set->names[at - 1], name) > 0; at--)
        memcpy(set->names[at], set->names[at - 1], HA_NAME_SIZE);
    memset(set->names[at], 0, HA_NAME_SIZE);
    (void)ha_text_copy(set->names[at], HA_NAME_SIZE, name);
    set->count++;
}

static int check_replace(const struct ha_cluster *cluster, const struct ha_command_replace *c,
                         struct ha_err *err)
{
    if (cluster->set_id == 0)
        return ha_err_set(err, HA_EBUSY, "the set of watchers is not in the log yet: try again");
    if (ha_cluster_is_settling(cluster))
        return ha_err_set(err, HA_EBUSY,
                          "the last replacement has not settled: try again when the promises given "
                          "before it have run out");
    if (seat_of(cluster, c->old_name) < 0)
        return ha_err_set(err, HA_ENOENT, "no watcher is named %s", c->old_name);
    if (!ha_text_is_name(c->new_name, HA_NAME_SIZE) || c->address[0] == '\0')
        return ha_err_set(err, HA_EINVAL, "the new watcher needs a name and an address");
    if (seat_of(cluster, c->new_name) >= 0)
        return ha_err_set(err, HA_EEXIST,
                          "%s is in the set: a new machine needs a name of its own, or the old one "
                          "could speak for it",
                          c->new_name);
    return HA_OK;
}

int ha_cluster_apply_replace(struct ha_cluster *cluster, const struct ha_command_replace *c,
                             struct ha_err *err)
{
    struct ha_command_watchers set = {.set_id = next_set_id(cluster)};
    uint32_t old_majority = ha_cluster_majority(cluster);
    char text[HA_TEXT_SIZE];
    int rv = check_replace(cluster, c, err);

    if (rv != HA_OK)
        return rv;
    for (uint32_t i = 0; i < cluster->watcher_count; i++)
        if (strcmp(cluster->watchers[i], c->old_name) != 0)
            add_sorted(&set, cluster->watchers[i]);
    add_sorted(&set, c->new_name);
    take_set(cluster, &set);
    cluster->old_majority = old_majority;
    cluster->old_seats = (1u << set.count) - 1;
    cluster->old_seats &= ~(1u << (uint32_t)seat_of(cluster, c->new_name));
    (void)ha_text_format(text, sizeof(text), "watcher %s takes the place of %s, by %s", c->new_name,
                         c->old_name, c->author);
    ha_cluster_notify(cluster, NULL, HA_NOTICE_REPLACED, text);
    return HA_OK;
}

int ha_cluster_apply_settled(struct ha_cluster *cluster, const struct ha_command_settled *c,
                             struct ha_err *err)
{
    if (c->set_id != cluster->set_id || !ha_cluster_is_settling(cluster))
        return ha_err_set(err, HA_ESTALE, "no set of watchers waits for its end");
    if (!ha_cluster_old_stops_suffice(cluster, c->moved))
        return ha_err_set(err, HA_EDENIED, "%" PRIu32 " watchers of the set before must have moved",
                          cluster->old_majority);
    cluster->old_majority = 0;
    return HA_OK;
}

/* Agents refuse settings of an older version than they know, and versions are forgotten too. */
static void number_config_above(struct ha_cluster *cluster)
{
    if (cluster->config_version == 0)
        return;
    cluster->config_version += VERSIONS_FORGOTTEN;
    if (cluster->archive_count > 0)
        cluster->archived[cluster->archive_count - 1].version = cluster->config_version;
}

void ha_cluster_rebuild(struct ha_cluster *cluster, const struct ha_command_watchers *set,
                        const char *why)
{
    assert(set->set_id != cluster->set_id && set->count > 0);
    take_set(cluster, set);
    number_config_above(cluster);
    cluster->index += HA_INDEXES_FORGOTTEN;
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
        if (cluster->services[i].used && cluster->services[i].epoch > cluster->epoch_floor)
            cluster->epoch_floor = cluster->services[i].epoch;
    cluster->epoch_floor += EPOCHS_FORGOTTEN;
    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
        if (cluster->services[i].used) {
            ha_cluster_hold_rebuild(&cluster->services[i]);
            ha_cluster_claim_above(cluster, &cluster->services[i], cluster->epoch_floor, why);
        }
}
