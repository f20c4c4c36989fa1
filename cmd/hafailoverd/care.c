#include "cmd/hafailoverd/care.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/hafailoverd/note.h"
#include "cmd/hafailoverd/settings.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/cluster.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"
#include "lib/wire/command.h"
#include "lib/wire/snapshot.h"
#include "raft/care.h"

#define EXIT_REFUSED 1
#define EXIT_UNSURE 2
#define NAMES_SIZE (HA_WATCHERS_MAX * (HA_NAME_SIZE + 2))

/* What all three work on. */
struct care {
    const struct ha_daemon_settings *settings;
    struct ha_raft_seed seed;
    struct ha_cluster *cluster; /* the seed's state */
    struct ha_config *config;   /* where an entry's configuration is decoded */
    struct ha_err err;
};

static int refuse(const struct care *care)
{
    fprintf(stderr, "hafailoverd: %s\n",
            care->err.text[0] != '\0' ? care->err.text : ha_code_text(care->err.code));
    return EXIT_REFUSED;
}

static int open_care(struct care *care, const struct ha_daemon_settings *settings)
{
    *care = (struct care){.settings = settings};
    care->cluster = calloc(1, sizeof(*care->cluster));
    care->config = calloc(1, sizeof(*care->config));
    return care->cluster != NULL && care->config != NULL
               ? HA_OK
               : ha_err_set(&care->err, HA_ENOMEM, "no memory for the state");
}

static void close_care(struct care *care)
{
    ha_raft_seed_fini(&care->seed);
    free(care->cluster);
    free(care->config);
}

static uint64_t cluster_id(const struct care *care)
{
    return ha_hash(HA_HASH_START, care->settings->cluster, strlen(care->settings->cluster));
}

static const char *bare(const char *name)
{
    const char *slash = strchr(name, '/');

    return slash == NULL ? name : slash + 1;
}

/* One more of "w1, w2"; it fits: NAMES_SIZE is made for all. */
static void add_name(char names[NAMES_SIZE], const char *between, const char *name)
{
    size_t size = strlen(names);

    (void)ha_text_format(names + size, NAMES_SIZE - size, "%s%s", size == 0 ? "" : between, name);
}

static void join_peers(const struct ha_raft_set *set, char names[NAMES_SIZE])
{
    names[0] = '\0';
    for (uint32_t i = 0; i < set->count; i++)
        add_name(names, ", ", bare(set->peers[i].name));
}

static int read_backup(struct care *care, const char *path)
{
    struct ha_err *err = &care->err;
    const void *state;
    uint8_t *data;
    size_t size;
    int code = ha_file_read(path, HA_RAFT_SEED_SIZE_MAX, &data, &size, err);

    if (code != HA_OK)
        return code;
    code = ha_raft_seed_decode(data, size, &care->seed, err);
    free(data);
    if (code != HA_OK)
        return ha_err_prefix(err, code, "%s", path);
    if (care->seed.cluster_id != cluster_id(care))
        return ha_err_set(err, HA_EDENIED,
                          "%s is of another cluster than [watcher] cluster = %s: take the right "
                          "file, or the right settings",
                          path, care->settings->cluster);
    code = ha_raft_seed_state(&care->seed, &state, &size, err);
    if (code == HA_OK)
        code = ha_snapshot_decode(state, size, care->cluster, err);
    if (code == HA_ENOTSUP)
        return ha_err_prefix(err, code, "%s: use the version of hafailover that wrote it", path);
    if (code == HA_OK && care->cluster->set_id != care->seed.set.set_id)
        code = ha_err_set(err, HA_ECORRUPT, "its state is of another set of watchers");
    return code == HA_OK ? code : ha_err_prefix(err, code, "%s", path);
}

/* What root makes here must be the daemon's own. */
static int become_owner(struct care *care)
{
    const char *dir = care->settings->data_dir;
    struct stat info;

    if (stat(dir, &info) != 0)
        return ha_err_set(&care->err, HA_ENOENT,
                          "the data directory %s is not there: make it, and "
                          "give it to the user that hafailoverd runs as",
                          dir);
    if (geteuid() == 0 && (setegid(info.st_gid) != 0 || seteuid(info.st_uid) != 0))
        return ha_err_set(&care->err, HA_EDENIED, "cannot act as the owner of %s", dir);
    return HA_OK;
}

/* A voter that was made just now has promised nothing; its absence would say the longest. */
static int note_nothing_promised(struct care *care)
{
    return ha_promise_note_make(care->settings->data_dir, &care->err);
}

/* --- join ------------------------------------------------------------------------------------- */

static int check_join(struct care *care, const char *path, uint32_t *ret_id)
{
    const struct ha_daemon_settings *settings = care->settings;
    const struct ha_raft_set *set = &care->seed.set;
    char names[NAMES_SIZE];
    bool is_same = set->count == settings->peer_count;

    *ret_id = 0;
    join_peers(set, names);
    for (uint32_t i = 0; i < set->count; i++) {
        const char *name = bare(set->peers[i].name);

        if (strcmp(name, settings->name) == 0)
            *ret_id = i + 1;
        is_same = is_same && strcmp(name, settings->peers[i].name) == 0; /* both are sorted */
    }
    if (*ret_id == 0)
        return ha_err_set(&care->err, HA_EDENIED,
                          "%s was taken when the watchers were %s: give %s a place first "
                          "(hafailoverctl watchers replace OLD --with %s=HOST:PORT), then take "
                          "another backup",
                          path, names, settings->name, settings->name);
    if (!is_same)
        return ha_err_set(&care->err, HA_EDENIED, "[peers] must name exactly %s", names);
    if (ha_cluster_has_spoken(care->cluster, *ret_id - 1))
        return ha_err_set(&care->err, HA_EDENIED,
                          "%s has taken part in this set before, and may have given votes that a "
                          "new directory forgets: replace it by a watcher with a new name",
                          settings->name);
    return HA_OK;
}

int ha_care_join(const struct ha_daemon_settings *settings, const char *path)
{
    struct care care;
    uint32_t own_id = 0;
    int code = open_care(&care, settings);
    bool is_old = false;
    int result;

    if (code == HA_OK)
        code = read_backup(&care, path);
    if (code == HA_OK)
        code = check_join(&care, path, &own_id);
    if (code == HA_OK)
        code = become_owner(&care);
    if (code == HA_OK)
        code = ha_raft_sow(settings->data_dir, own_id, &care.seed, &care.err);
    if (code == HA_OK)
        is_old = ha_cluster_was_before(care.cluster, own_id - 1);
    if (code == HA_OK && !is_old)
        code = note_nothing_promised(&care);
    if (code == HA_OK)
        printf("%s is watcher %s now, with everything up to index %" PRIu64
               ". Start hafailoverd, and never use this backup for another machine.\n",
               settings->data_dir, settings->name, care.seed.index);
    if (code == HA_OK && is_old)
        printf("It was a watcher before, and has forgotten what it promised: it promises nothing "
               "for %u s.\n",
               HA_LEASE_MAX_MS / 1000);
    result = code == HA_OK ? 0 : refuse(&care);
    close_care(&care);
    return result;
}

/* --- a new set -------------------------------------------------------------------------------- */

/* The set of [peers], and the state as its first. */
static int rebuild(struct care *care, const char *why)
{
    const struct ha_daemon_settings *settings = care->settings;
    struct ha_command_watchers named = {.count = settings->peer_count};
    struct ha_raft_set *set = &care->seed.set;
    size_t size;
    void *data;
    int code;

    do
        named.set_id = ha_random_u64();
    while (named.set_id == 0 || named.set_id == care->cluster->set_id);
    *set = (struct ha_raft_set){
        .set_id = named.set_id, .must_wait = true, .count = settings->peer_count};
    for (uint32_t i = 0; i < settings->peer_count; i++) {
        struct ha_raft_peer *peer = &set->peers[i];

        (void)ha_text_copy(named.names[i], HA_NAME_SIZE, settings->peers[i].name);
        peer->id = i + 1;
        (void)ha_text_format(peer->name, sizeof(peer->name), "watcher/%s", named.names[i]);
        (void)ha_text_copy(peer->address, sizeof(peer->address), settings->peers[i].address);
    }
    ha_cluster_rebuild(care->cluster, &named, why);
    size = ha_snapshot_size(care->cluster);
    data = size > 0 ? malloc(size) : NULL;
    if (data == NULL)
        return ha_err_set(&care->err, HA_ENOMEM, "no memory for the state");
    code = ha_snapshot_encode(care->cluster, data, size, &size, &care->err);
    if (code == HA_OK)
        code = ha_raft_seed_replace(&care->seed, data, size,
                                    care->seed.index + HA_INDEXES_FORGOTTEN, &care->err);
    care->seed.term++;
    free(data);
    return code;
}

static void tell_rebuilt(const struct care *care)
{
    const struct ha_daemon_settings *settings = care->settings;
    char names[NAMES_SIZE];

    join_peers(&care->seed.set, names);
    printf("%s is the first of a new set of watchers: %s.\n"
           "Start hafailoverd. It waits %u s, until every promise of the watchers before has run "
           "out;\nthen each service gets a new epoch, above %" PRIu64 ".\n",
           settings->data_dir, names, HA_LEASE_MAX_MS / 1000, care->cluster->epoch_floor);
    if (care->seed.set.count > 1)
        printf("After that wait: hafailoverctl backup FILE here, and on each other one, with FILE "
               "and an empty\ndata directory: hafailoverd join FILE, then start it.\n");
}

int ha_care_restore(const struct ha_daemon_settings *settings, const char *path, bool is_sure)
{
    struct care care;
    int code = open_care(&care, settings);
    int result;

    if (code == HA_OK)
        code = read_backup(&care, path);
    if (code == HA_OK && !is_sure) {
        fprintf(stderr,
                "hafailoverd: %s ends at index %" PRIu64
                ". What was decided after it is forgotten: a failover, a configuration.\n"
                "All watchers must be gone for good: one that still runs would make two clusters, "
                "and two primaries.\nWhere one of them is left, use recover there instead. To go "
                "on: --yes-all-watchers-are-gone\n",
                path, care.seed.index);
        close_care(&care);
        return EXIT_UNSURE;
    }
    if (code == HA_OK)
        code = become_owner(&care);
    if (code == HA_OK)
        code = rebuild(&care, "the watchers were restored from a backup: what came after it is "
                              "forgotten");
    if (code == HA_OK)
        code = ha_raft_sow(settings->data_dir, settings->self + 1, &care.seed, &care.err);
    if (code == HA_OK)
        code = note_nothing_promised(&care);
    if (code == HA_OK)
        tell_rebuilt(&care);
    result = code == HA_OK ? 0 : refuse(&care);
    close_care(&care);
    return result;
}

/* --- recover ---------------------------------------------------------------------------------- */

static void on_apply(void *ctx, const struct ha_raft_entry *entry)
{
    struct care *care = ctx;
    struct ha_command command = {.kind = HA_COMMAND_NOTHING};

    if (ha_command_decode(entry->data, entry->size, &command, care->config, NULL) != HA_OK)
        command = (struct ha_command){.kind = HA_COMMAND_NOTHING};
    (void)ha_cluster_apply(care->cluster, entry->index, &command, NULL); /* as on every watcher */
}

static int on_restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    struct care *care = ctx;

    (void)index;
    return ha_snapshot_decode(data, size, care->cluster, &care->err);
}

static int on_snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    struct care *care = ctx;
    size_t size = ha_snapshot_size(care->cluster);

    *ret_data = size > 0 ? malloc(size) : NULL;
    if (*ret_data == NULL)
        return HA_ENOMEM;
    return ha_snapshot_encode(care->cluster, *ret_data, size, ret_size, &care->err);
}

static void on_fatal(void *ctx, int code, const char *why)
{
    (void)ctx;
    (void)code;
    fprintf(stderr, "hafailoverd: %s\n", why);
    exit(EXIT_REFUSED);
}

static bool is_listed(const char *list, const char *name)
{
    size_t size = strlen(name);

    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',' ? 1 : 0;
        if (strncmp(at, name, size) == 0 && (at[size] == ',' || at[size] == '\0'))
            return true;
    }
    return false;
}

/* The list names all others of the old set and nobody else; none of them is in the new one. */
static int check_lost(struct care *care, const char *lost, const char *wanted)
{
    const struct ha_daemon_settings *settings = care->settings;

    if (lost == NULL || strlen(lost) != strlen(wanted))
        return HA_EINVAL;
    if (care->cluster->watcher_count == 1 && strcmp(lost, wanted) != 0)
        return HA_EINVAL;
    for (uint32_t i = 0; i < care->cluster->watcher_count; i++) {
        const char *name = care->cluster->watchers[i];

        if (strcmp(name, settings->name) != 0 && !is_listed(lost, name))
            return HA_EINVAL;
    }
    for (uint32_t i = 0; i < settings->peer_count; i++)
        if (strcmp(settings->peers[i].name, settings->name) != 0 &&
            is_listed(lost, settings->peers[i].name))
            return ha_err_set(&care->err, HA_EDENIED,
                              "[peers] still names %s, which is lost: name this watcher alone, or "
                              "with new ones under new names",
                              settings->peers[i].name);
    return HA_OK;
}

/* "w2,w3"; "none" for a set of one. */
static int list_others(struct care *care, char others[NAMES_SIZE])
{
    bool has_self = false;

    others[0] = '\0';
    for (uint32_t i = 0; i < care->cluster->watcher_count; i++) {
        const char *name = care->cluster->watchers[i];

        if (strcmp(name, care->settings->name) == 0) {
            has_self = true;
            continue;
        }
        add_name(others, ",", name);
    }
    if (others[0] == '\0')
        (void)ha_text_copy(others, NAMES_SIZE, "none");
    return has_self ? HA_OK
                    : ha_err_set(&care->err, HA_EDENIED,
                                 "%s is not the directory of %s, or its log has not begun: there "
                                 "is nothing to recover",
                                 care->settings->data_dir, care->settings->name);
}

static int recover(struct care *care, const char *lost)
{
    const struct ha_daemon_settings *settings = care->settings;
    const struct ha_raft_hooks hooks = {.ctx = care,
                                        .apply = on_apply,
                                        .restore = on_restore,
                                        .snapshot = on_snapshot,
                                        .fatal = on_fatal};
    char others[NAMES_SIZE];
    int code = become_owner(care);

    if (code == HA_OK)
        code =
            ha_raft_replay(settings->data_dir, cluster_id(care), &hooks, &care->seed, &care->err);
    if (code == HA_OK)
        code = list_others(care, others);
    if (code == HA_OK)
        code = check_lost(care, lost, others);
    if (code == HA_EINVAL) {
        fprintf(stderr,
                "hafailoverd: the log of %s ends at index %" PRIu64
                ". What only the others had is forgotten.\nThey must be gone for good: two of them "
                "that still run would make another cluster, and a second primary.\nA dead machine "
                "whose disk is whole is not lost: start it instead. To go on: "
                "--yes-i-have-lost %s\n",
                settings->name, care->seed.index, others);
        return EXIT_UNSURE;
    }
    if (code == HA_OK)
        code = rebuild(care, "one watcher of a lost set goes on: what only the others had is "
                             "forgotten");
    if (code == HA_OK)
        code = ha_raft_transplant(settings->data_dir, settings->self + 1, &care->seed, &care->err);
    if (code != HA_OK)
        return refuse(care);
    tell_rebuilt(care);
    return 0;
}

int ha_care_recover(const struct ha_daemon_settings *settings, const char *lost)
{
    struct care care;
    int result = open_care(&care, settings) == HA_OK ? recover(&care, lost) : refuse(&care);

    close_care(&care);
    return result;
}
