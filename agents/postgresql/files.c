#include "agents/postgresql/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agents/postgresql/facts.h"
#include "agents/postgresql/files_parts.h"
#include "agents/postgresql/parse.h"
#include "lib/base/text.h"

#define PATH_SIZE HA_PG_FILE_PATH_SIZE
#define SETTINGS_MAX (1u << 20) /* of one file */

/* The settings that are ours in postgresql.auto.conf. */
static const char *const own_keys[] = {"primary_conninfo", "primary_slot_name",
                                       "recovery_target_timeline", "wal_retrieve_retry_interval",
                                       "synchronous_standby_names"};

/* Root reads nothing for the database's user that this one could not: a name may lead anywhere. */
static bool may_read(const struct ha_pg_server *server, const struct stat *status)
{
    return !server->set_ids || status->st_uid == server->uid ||
           (status->st_gid == server->gid && (status->st_mode & S_IRGRP) != 0) ||
           (status->st_mode & S_IROTH) != 0;
}

/* To be freed; NULL with errno. */
static char *read_file(const struct ha_pg_server *server, const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* no wait for a pipe */
    char *text = NULL;
    struct stat status = {0};
    ssize_t size;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) != 0 || !may_read(server, &status))
        errno = EACCES;
    else if (status.st_size < SETTINGS_MAX)
        text = calloc(1, (size_t)status.st_size + 1);
    else
        errno = EFBIG;
    if (text != NULL) {
        size = read(fd, text, (size_t)status.st_size);
        if (size != status.st_size) {
            free(text);
            text = NULL;
            errno = EIO;
        }
    }
    (void)close(fd); /* only read */
    return text;
}

static int copy_text(const struct ha_pg_server *server, const char *from, const char *to,
                     struct ha_err *err)
{
    char *text = read_file(server, from);
    int rc;

    if (text == NULL)
        return errno == ENOENT ? HA_OK : ha_pg_file_fail(err, "read", from);
    rc = ha_pg_file_write(server, to, text, err);
    free(text);
    return rc;
}

int ha_pg_files_prepare(const struct ha_pg_server *server, struct ha_err *err)
{
    char path[PATH_SIZE], line[HA_PG_SECRET_SIZE * 2 + 128] = "*:*:*:";
    int rc = ha_pg_file_make_dir(server, server->work_dir, err);

    if (rc != HA_OK || server->replication_password[0] == '\0')
        return rc;
    (void)ha_text_append(line, sizeof(line), "%s:", server->replication_user);
    for (const char *at = server->replication_password; *at != '\0'; at++)
        (void)ha_text_append(line, sizeof(line), "%s%c", *at == ':' || *at == '\\' ? "\\" : "",
                             *at);
    (void)ha_text_append(line, sizeof(line), "\n");
    (void)snprintf(path, sizeof(path), "%s/pgpass", server->work_dir);
    rc = ha_pg_file_write(server, path, line, err);
    explicit_bzero(line, sizeof(line));
    return rc;
}

/* --- own settings ----------------------------------------------------------------------------- */

static bool is_settings(const char *name)
{
    size_t size = strlen(name);

    return name[0] != '.' && size > 5 && strcmp(name + size - 5, ".conf") == 0;
}

/* Every *.conf from directory @from to @to: included files too, whatever they are called. */
static int copy_settings(const struct ha_pg_server *server, const char *from, const char *to,
                         struct ha_err *err)
{
    DIR *dir = opendir(from);
    char source[PATH_SIZE + NAME_MAX], target[PATH_SIZE + NAME_MAX];
    const struct dirent *entry;
    int rc = HA_OK;

    if (dir == NULL)
        return errno == ENOENT ? HA_OK : ha_pg_file_fail(err, "read", from);
    while (rc == HA_OK && (entry = readdir(dir)) != NULL) {
        if (!is_settings(entry->d_name))
            continue;
        (void)snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
        (void)snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
        rc = copy_text(server, source, target, err);
    }
    (void)closedir(dir); /* only read */
    return rc;
}

int ha_pg_files_save_settings(const struct ha_pg_server *server, struct ha_err *err)
{
    char dir[PATH_SIZE], mark[PATH_SIZE];
    int rc;

    (void)snprintf(dir, sizeof(dir), "%s/settings", server->work_dir);
    (void)snprintf(mark, sizeof(mark), "%s/settings.saved", server->work_dir);
    if (ha_pg_file_exists(mark))
        return HA_OK; /* of a run that was interrupted: what is there now may be the other's */
    ha_pg_file_remove_tree(dir); /* an earlier job's */
    rc = ha_pg_file_make_dir(server, dir, err);
    if (rc == HA_OK)
        rc = copy_settings(server, server->data_dir, dir, err);
    if (rc == HA_OK) {
        ha_pg_file_sync_dir(dir);
        rc = ha_pg_file_write(server, mark, "", err);
    }
    return rc;
}

int ha_pg_files_restore_settings(const struct ha_pg_server *server, struct ha_err *err)
{
    char mark[PATH_SIZE], from[PATH_SIZE];
    int rc;

    (void)snprintf(mark, sizeof(mark), "%s/settings.saved", server->work_dir);
    if (!ha_pg_file_exists(mark))
        return HA_OK;
    (void)snprintf(from, sizeof(from), "%s/settings", server->work_dir);
    rc = copy_settings(server, from, server->data_dir, err);
    if (rc == HA_OK && unlink(mark) != 0)
        return ha_pg_file_fail(err, "remove", mark);
    return rc;
}

static bool is_own(const char *line)
{
    line += strspn(line, " \t");
    for (size_t i = 0; i < HA_ARRAY_LEN(own_keys); i++) {
        size_t size = strlen(own_keys[i]);

        if (strncmp(line, own_keys[i], size) == 0 && strchr(" \t=", line[size]) != NULL)
            return true;
    }
    return false;
}

static int add_setting(char *to, size_t size, const char *key, const char *value)
{
    char quoted[1200];
    int rc = ha_pg_quote(value, quoted, sizeof(quoted));

    return rc == HA_OK ? ha_text_append(to, size, "%s = '%s'\n", key, quoted) : rc;
}

int ha_pg_files_standby(const struct ha_pg_server *server, const char *conninfo, const char *slot,
                        const char *sync_names, struct ha_err *err)
{
    char path[PATH_SIZE];
    size_t room;
    char *old, *text;
    int rc = HA_OK;

    (void)snprintf(path, sizeof(path), "%s/standby.signal", server->data_dir);
    if (!ha_pg_file_exists(path))
        rc = ha_pg_file_write(server, path, "", err);
    if (rc != HA_OK)
        return rc;
    (void)snprintf(path, sizeof(path), "%s/postgresql.auto.conf", server->data_dir);
    old = read_file(server, path);
    if (old == NULL && errno != ENOENT)
        return ha_pg_file_fail(err, "read", path);
    room = (old != NULL ? strlen(old) : 0) + 4096;
    text = calloc(1, room);
    if (text == NULL) {
        free(old);
        return ha_err_set(err, HA_ENOMEM, "no memory for %s", path);
    }
    for (const char *at = old != NULL ? old : ""; *at != '\0';) {
        size_t size = strcspn(at, "\n");

        if (!is_own(at))
            (void)ha_text_append(text, room, "%.*s\n", (int)size, at); /* room for all of it */
        at += size + (at[size] == '\n' ? 1 : 0);
    }
    rc = add_setting(text, room, "primary_conninfo", conninfo);
    if (rc == HA_OK)
        rc = add_setting(text, room, "synchronous_standby_names", sync_names);
    if (rc == HA_OK && slot[0] != '\0' && conninfo[0] != '\0')
        rc = add_setting(text, room, "primary_slot_name", slot);
    if (rc == HA_OK)
        rc = ha_text_append(text, room,
                            "recovery_target_timeline = 'latest'\n"
                            "wal_retrieve_retry_interval = '" HA_PG_RETRY "'\n");
    rc = rc == HA_OK ? ha_pg_file_write(server, path, text, err)
                     : ha_err_set(err, rc, "the settings of a standby are too long");
    free(old);
    free(text);
    ha_pg_file_sync_dir(server->data_dir);
    return rc;
}

void ha_pg_files_not_standby(const struct ha_pg_server *server)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/standby.signal", server->data_dir);
    (void)unlink(path); /* it need not be there */
    (void)snprintf(path, sizeof(path), "%s/recovery.signal", server->data_dir);
    (void)unlink(path);
}

int ha_pg_files_new_timeline(const struct ha_pg_server *server, struct ha_err *err)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/recovery.signal", server->data_dir);
    return ha_pg_file_write(server, path, "", err);
}

int ha_pg_files_write_history(const struct ha_pg_server *server, uint32_t timeline,
                              const char *text, struct ha_err *err)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/pg_wal/%08X.history", server->data_dir, timeline);
    return ha_pg_file_write(server, path, text, err);
}

void ha_pg_files_drop_strays(const struct ha_pg_server *server)
{
    char wal[PATH_SIZE], name[32];
    const struct dirent *entry;
    DIR *dir;

    (void)snprintf(wal, sizeof(wal), "%s/pg_wal", server->data_dir);
    dir = opendir(wal);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        uint64_t timeline = ha_pg_hex(entry->d_name, 8, NULL);

        if (strlen(entry->d_name) != 24 || timeline <= 1)
            continue;
        (void)snprintf(name, sizeof(name), "%.8s.history", entry->d_name);
        if (faccessat(dirfd(dir), name, F_OK, 0) != 0 && errno == ENOENT)
            (void)unlinkat(dirfd(dir), entry->d_name, 0); /* else it is not looked at */
    }
    if (dir != NULL)
        (void)closedir(dir); /* only read */
}

bool ha_pg_files_is_standby(const struct ha_pg_server *server)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/standby.signal", server->data_dir);
    return ha_pg_file_exists(path);
}

bool ha_pg_files_is_backup(const struct ha_pg_server *server)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/backup_label", server->data_dir);
    return ha_pg_file_exists(path);
}

/* --- the diverged tail ------------------------------------------------------------------------ */

static void prune_tails(const struct ha_pg_server *server)
{
    for (int round = 0; round < 8; round++) {
        DIR *dir = opendir(server->work_dir);
        uint64_t lowest = UINT64_MAX;
        const struct dirent *entry;
        uint32_t count = 0;
        char path[PATH_SIZE];

        while (dir != NULL && (entry = readdir(dir)) != NULL) {
            uint64_t epoch;

            if (strncmp(entry->d_name, "tail-", 5) != 0 ||
                ha_text_u64(entry->d_name + 5, UINT64_MAX - 1, &epoch) != HA_OK)
                continue;
            count++;
            if (epoch < lowest)
                lowest = epoch;
        }
        if (dir != NULL)
            (void)closedir(dir); /* only read */
        if (count <= HA_PG_TAIL_KEPT)
            return;
        (void)snprintf(path, sizeof(path), "%s/tail-%" PRIu64, server->work_dir, lowest);
        ha_pg_file_remove_tree(path);
    }
}

/* What is kept as a courtesy must not take the room of what a rewind cannot do without. */
static bool leaves_room(int dir, uint64_t bytes)
{
    struct statvfs disk;

    return fstatvfs(dir, &disk) != 0 || disk.f_bavail * disk.f_frsize >= bytes;
}

/* Segments of @timeline and later ones from the one that holds @fork on, in no order. */
enum ha_kept ha_pg_files_save_tail(const struct ha_pg_server *server, uint64_t epoch,
                                   uint32_t timeline, uint64_t fork, uint64_t bytes_max,
                                   struct ha_err *err)
{
    char path[PATH_SIZE], wal[PATH_SIZE], first[32];
    const struct dirent *entry;
    int from = -1, to = -1;
    uint64_t bytes = 0, segment = UINT64_C(16) << 20;
    bool cut = false, full = false, ok = true;
    struct stat status;
    DIR *dir;

    (void)snprintf(wal, sizeof(wal), "%s/pg_wal", server->data_dir);
    (void)snprintf(path, sizeof(path), "%s/tail-%" PRIu64, server->work_dir, epoch);
    dir = opendir(wal);
    if (dir == NULL || ha_pg_file_make_dir(server, path, err) != HA_OK) {
        if (dir != NULL)
            (void)closedir(dir); /* only read */
        (void)ha_err_set(err, HA_EIO, "its own WAL could not be kept in %s", path);
        return HA_KEPT_NOT;
    }
    from = open(wal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    to = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while ((entry = readdir(dir)) != NULL) { /* all segments are of one size */
        if (strlen(entry->d_name) == 24 && fstatat(from, entry->d_name, &status, 0) == 0 &&
            status.st_size >= (1 << 20) && status.st_size <= (1 << 30)) {
            segment = (uint64_t)status.st_size;
            break;
        }
    }
    rewinddir(dir);
    (void)snprintf(first, sizeof(first), "%08X%08X%08X", (unsigned)timeline,
                   (unsigned)(fork / segment / ((UINT64_C(1) << 32) / segment)),
                   (unsigned)(fork / segment % ((UINT64_C(1) << 32) / segment)));
    while ((entry = readdir(dir)) != NULL) {
        if (strlen(entry->d_name) != 24 || strncmp(entry->d_name, first, 8) < 0 ||
            strcmp(entry->d_name + 8, first + 8) < 0)
            continue;
        if (bytes + segment > bytes_max)
            cut = true;
        else if (!leaves_room(to, segment + bytes_max))
            full = true;
        else
            ok = ha_pg_file_copy(server, from, to, entry->d_name, &bytes) == HA_OK && ok;
    }
    (void)closedir(dir); /* only read */
    if (from >= 0)
        (void)close(from); /* only read */
    if (to >= 0) {
        (void)fsync(to); /* a courtesy, as all of this */
        (void)close(to);
    }
    prune_tails(server);
    (void)ha_err_set(err, ok ? HA_OK : HA_EIO, "its own WAL is kept in %s%s", path,
                     !ok    ? ", in part: it could not all be read or written"
                     : full ? ", in part: the disk is nearly full"
                     : cut  ? ", in part: it is longer than the limit"
                            : "");
    return bytes == 0 ? HA_KEPT_NOT : ok && !full && !cut ? HA_KEPT_WHOLE : HA_KEPT_PART;
}

/* --- a full copy ------------------------------------------------------------------------------ */

/* A directory of another name cannot take the place of a mount point. */
static bool is_mount_point(const char *path)
{
    char above[PATH_SIZE];
    struct stat at = {0}, up = {0};

    (void)snprintf(above, sizeof(above), "%s/..", path);
    return stat(path, &at) == 0 && stat(above, &up) == 0 && at.st_dev != up.st_dev;
}

int ha_pg_files_begin_copy(const struct ha_pg_server *server, char *to, size_t size,
                           struct ha_err *err)
{
    if (is_mount_point(server->data_dir))
        return ha_err_set(err, HA_ENOTSUP,
                          "%.150s is a mount point: a copy cannot take its place, only that of a "
                          "folder below it",
                          server->data_dir);
    if (ha_text_format(to, size, "%s/copy", server->work_dir) != HA_OK)
        return ha_err_set(err, HA_EFULL, "the path of a copy is too long");
    if (ha_pg_file_exists(to)) /* of a run that was interrupted: a base backup cannot go on */
        ha_pg_file_remove_tree(to);
    return HA_OK;
}

void ha_pg_files_drop_copy(const struct ha_pg_server *server)
{
    char copy[PATH_SIZE];

    (void)snprintf(copy, sizeof(copy), "%s/copy", server->work_dir);
    if (ha_pg_file_exists(copy))
        ha_pg_file_remove_tree(copy);
}

int ha_pg_files_take_copy(const struct ha_pg_server *server, struct ha_err *err)
{
    char copy[PATH_SIZE], old[PATH_SIZE];

    (void)snprintf(copy, sizeof(copy), "%s/copy", server->work_dir);
    (void)snprintf(old, sizeof(old), "%s/old", server->work_dir);
    if (ha_pg_file_exists(old))
        ha_pg_file_remove_tree(old);
    /* Between the two there is no data directory: the next try finds that and copies again. */
    if (rename(server->data_dir, old) != 0 && errno != ENOENT)
        return ha_pg_file_fail(err, "put away", server->data_dir);
    if (rename(copy, server->data_dir) != 0)
        return ha_pg_file_fail(err, "put in place", copy);
    ha_pg_file_sync_dir(server->work_dir);
    ha_pg_file_remove_tree(old);
    return HA_OK;
}
