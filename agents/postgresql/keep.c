#include "agents/postgresql/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/postgresql/files_parts.h"
#include "agents/postgresql/parse.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#define PATH_SIZE HA_PG_FILE_PATH_SIZE
#define SEGMENT_NAME 24
#define SEGMENTS_MAX 65536

static void path_of(const struct ha_pg_server *server, const char *name, char path[PATH_SIZE])
{
    (void)snprintf(path, PATH_SIZE, "%s/rewind%s", server->work_dir, name);
}

#define WAL "/wal"
#define GLOBAL "/global" /* the control file */
#define FILES "/files"   /* the data files as they were */
#define MARK "/pending"  /* written last: all of that is there */
#define SOURCE "/source" /* who is fetched from; not there: nobody yet */

bool ha_pg_keep_pending(const struct ha_pg_server *server)
{
    char path[PATH_SIZE];

    path_of(server, MARK, path);
    return server->work_dir[0] != '\0' && ha_pg_file_exists(path);
}

void ha_pg_keep_control_dir(const struct ha_pg_server *server, char *to, size_t size)
{
    (void)snprintf(to, size, ha_pg_keep_pending(server) ? "%s/rewind" : "%.0s%s", server->work_dir,
                   server->data_dir);
}

/* --- directories ------------------------------------------------------------------------------ */

struct pair {
    int from, to;
};

static void pair_close(struct pair *pair)
{
    if (pair->from >= 0)
        (void)close(pair->from); /* only read */
    if (pair->to >= 0)
        (void)close(pair->to);
}

static int pair_open(const char *from, const char *to, struct pair *ret, struct ha_err *err)
{
    ret->from = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ret->to = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ret->from >= 0 && ret->to >= 0)
        return HA_OK;
    (void)ha_pg_file_fail(err, "open", ret->from < 0 ? from : to);
    pair_close(ret);
    return err->code;
}

static int copy_one(const struct ha_pg_server *server, const struct pair *pair, const char *name,
                    struct ha_err *err)
{
    uint64_t bytes = 0;

    if (ha_pg_file_copy(server, pair->from, pair->to, name, &bytes) == HA_OK)
        return HA_OK;
    return ha_pg_file_fail(err, "copy", name);
}

/* The control file is the last of what is put back: with it the data is told to be ours. */
static int copy_control(const struct ha_pg_server *server, const char *from, const char *to,
                        struct ha_err *err)
{
    struct pair pair;
    int rc = pair_open(from, to, &pair, err);

    if (rc != HA_OK)
        return rc;
    rc = copy_one(server, &pair, "pg_control", err);
    if (rc == HA_OK && fsync(pair.to) != 0)
        rc = ha_pg_file_fail(err, "write", to);
    pair_close(&pair);
    return rc;
}

/* --- WAL -------------------------------------------------------------------------------------- */

struct wal {
    const struct ha_pg_server *server;
    struct pair dirs;
    uint64_t first, last; /* by segments, whatever their timeline */
    uint64_t segment, bytes_max;
    char (*names)[SEGMENT_NAME + 1];
    size_t count;
};

static bool is_segment(const char *name)
{
    return strlen(name) == SEGMENT_NAME && strspn(name, "0123456789ABCDEF") == SEGMENT_NAME;
}

static bool is_history(const char *name)
{
    return strlen(name) == 16 && strcmp(name + 8, ".history") == 0;
}

/* All segments are of one size, which a power of two between 1 MiB and 1 GiB is. */
static uint64_t segment_size(int dir, const char *name)
{
    struct stat status;

    if (fstatat(dir, name, &status, 0) != 0 || status.st_size < (1 << 20) ||
        status.st_size > (1 << 30))
        return 0;
    return (uint64_t)status.st_size;
}

static uint64_t number_of(const struct wal *wal, const char *name)
{
    return ha_pg_hex(name + 8, 8, NULL) * ((UINT64_C(1) << 32) / wal->segment) +
           ha_pg_hex(name + 16, 8, NULL);
}

/* The newest first. */
static int compare(const void *left, const void *right)
{
    return strcmp((const char *)right + 8, (const char *)left + 8);
}

/* The history files go at once, the segments are listed. */
static int list_wal(struct wal *wal, DIR *dir, struct ha_err *err)
{
    const struct dirent *entry;
    int rc = HA_OK;

    while (rc == HA_OK && (entry = readdir(dir)) != NULL) {
        if (is_history(entry->d_name))
            rc = copy_one(wal->server, &wal->dirs, entry->d_name, err);
        if (!is_segment(entry->d_name) || wal->count == SEGMENTS_MAX)
            continue;
        if (wal->segment == 0)
            wal->segment = segment_size(wal->dirs.from, entry->d_name);
        memcpy(wal->names[wal->count++], entry->d_name, SEGMENT_NAME + 1);
    }
    return rc;
}

static int keep_segments(struct wal *wal, uint64_t since, uint64_t until, struct ha_err *err)
{
    uint64_t bytes = 0;
    int rc = HA_OK;

    if (wal->segment == 0)
        return ha_err_set(err, HA_ENOENT, "there is no WAL");
    wal->first = since / wal->segment;
    wal->last = until / wal->segment + 1; /* a record may end in the next one */
    qsort(wal->names, wal->count, sizeof(wal->names[0]), compare);
    for (size_t i = 0; rc == HA_OK && i < wal->count; i++) {
        uint64_t number = number_of(wal, wal->names[i]);

        if (number < wal->first || number > wal->last)
            continue;
        if (bytes + wal->segment > wal->bytes_max) {
            HA_LOG(HA_LOG_WARN, "postgresql-rewind-kept-in-part", "bytes=%" PRIu64 " why=%s", bytes,
                   HA_QUOTE("the WAL it may need again is longer than keep_tail"));
            break;
        }
        bytes += wal->segment;
        rc = copy_one(wal->server, &wal->dirs, wal->names[i], err);
    }
    return rc;
}

static int keep_wal(const struct ha_pg_server *server, uint64_t since, uint64_t until,
                    uint64_t bytes_max, struct ha_err *err)
{
    struct wal wal = {.server = server, .bytes_max = bytes_max};
    char from[PATH_SIZE], to[PATH_SIZE];
    DIR *dir;
    int rc;

    (void)snprintf(from, sizeof(from), "%s/pg_wal", server->data_dir);
    path_of(server, WAL, to);
    rc = pair_open(from, to, &wal.dirs, err);
    if (rc != HA_OK)
        return rc;
    dir = opendir(from);
    wal.names = calloc(SEGMENTS_MAX, sizeof(wal.names[0]));
    if (dir == NULL || wal.names == NULL)
        rc = ha_pg_file_fail(err, "read", from);
    if (rc == HA_OK)
        rc = list_wal(&wal, dir, err);
    if (rc == HA_OK)
        rc = keep_segments(&wal, since, until, err);
    if (rc == HA_OK && fsync(wal.dirs.to) != 0)
        rc = ha_pg_file_fail(err, "write", to);
    free(wal.names);
    if (dir != NULL)
        (void)closedir(dir); /* only read */
    pair_close(&wal.dirs);
    return rc;
}

/* Every kept file; others of the same directory do no harm. */
static int restore_wal(const struct ha_pg_server *server, struct ha_err *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    const struct dirent *entry;
    struct pair pair;
    DIR *dir;
    int rc;

    path_of(server, WAL, from);
    (void)snprintf(to, sizeof(to), "%s/pg_wal", server->data_dir);
    rc = pair_open(from, to, &pair, err);
    if (rc != HA_OK)
        return rc;
    dir = opendir(from);
    if (dir == NULL)
        rc = ha_pg_file_fail(err, "read", from);
    while (rc == HA_OK && (entry = readdir(dir)) != NULL)
        if (is_segment(entry->d_name) || is_history(entry->d_name))
            rc = copy_one(server, &pair, entry->d_name, err);
    if (rc == HA_OK && fsync(pair.to) != 0)
        rc = ha_pg_file_fail(err, "write", to);
    if (dir != NULL)
        (void)closedir(dir); /* only read */
    pair_close(&pair);
    return rc;
}

/* --- the data files --------------------------------------------------------------------------- */

/* What tells a file that was written since: the kernel's time of its last change, which nobody can
 * set. False: not one of those that are compared. */
static bool line_of(const FTSENT *entry, size_t root, char *line, size_t size)
{
    const struct stat *status = entry->fts_statp;

    if (entry->fts_info != FTS_F || strcmp(entry->fts_path + root, "global/pg_control") == 0)
        return false;
    return ha_text_format(line, size, "%" PRIu64 " %" PRId64 ".%09ld %s", (uint64_t)status->st_ino,
                          (int64_t)status->st_ctim.tv_sec, status->st_ctim.tv_nsec,
                          entry->fts_path + root) == HA_OK;
}

typedef int (*file_fn)(void *data, const char *path, const char *line);

/* Tables and indexes, also in table spaces. */
static int each_file(const struct ha_pg_server *server, file_fn fn, void *data, struct ha_err *err)
{
    static const char *const roots[] = {"base", "global", "pg_tblspc"};
    char paths[3][PATH_SIZE], line[PATH_SIZE * 2];
    char *const argv[] = {paths[0], paths[1], paths[2], NULL};
    size_t root = strlen(server->data_dir) + 1;
    int rc = HA_OK;
    FTSENT *entry;
    FTS *tree;

    for (size_t i = 0; i < HA_ARRAY_LEN(roots); i++)
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/%s", server->data_dir, roots[i]);
    tree = fts_open(argv, FTS_LOGICAL | FTS_NOCHDIR, NULL);
    if (tree == NULL)
        return ha_pg_file_fail(err, "read", server->data_dir);
    errno = 0;
    while (rc == HA_OK && (entry = fts_read(tree)) != NULL) {
        if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS) {
            errno = entry->fts_errno;
            rc = HA_EIO;
            break;
        }
        if (line_of(entry, root, line, sizeof(line)))
            rc = fn(data, entry->fts_accpath, line);
        errno = 0;
    }
    if (rc != HA_OK || errno != 0)
        rc = ha_pg_file_fail(err, "read", server->data_dir);
    (void)fts_close(tree); /* only read */
    return rc;
}

static int write_line(void *data, const char *path, const char *line)
{
    (void)path;
    return fprintf((FILE *)data, "%s\n", line) > 0 ? HA_OK : HA_EIO;
}

static int note_files(const struct ha_pg_server *server, struct ha_err *err)
{
    char path[PATH_SIZE];
    FILE *file;
    int rc;

    path_of(server, FILES, path);
    file = fopen(path, "we");
    if (file == NULL)
        return ha_pg_file_fail(err, "write", path);
    rc = each_file(server, write_line, file, err);
    if (rc == HA_OK && (fflush(file) != 0 || fsync(fileno(file)) != 0))
        rc = ha_pg_file_fail(err, "write", path);
    if (fclose(file) != 0 && rc == HA_OK)
        rc = ha_pg_file_fail(err, "write", path);
    return rc;
}

/* The whole of a file of ours, to be freed; NULL with errno. */
static char *read_all(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = NULL;
    struct stat status;
    size_t size;

    if (file == NULL)
        return NULL;
    if (fstat(fileno(file), &status) == 0)
        text = calloc(1, (size_t)status.st_size + 1);
    size = text != NULL ? (size_t)status.st_size : 0;
    if (size > 0 && fread(text, 1, size, file) != size) {
        free(text);
        text = NULL;
        errno = EIO;
    }
    (void)fclose(file); /* only read */
    return text;
}

struct noted {
    char *text;
    const char **lines; /* sorted */
    size_t count;
    uint64_t removed;
};

static int compare_lines(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static int read_noted(const struct ha_pg_server *server, struct noted *ret, struct ha_err *err)
{
    char path[PATH_SIZE], *rest = NULL;
    size_t room = 1;

    path_of(server, FILES, path);
    ret->text = read_all(path);
    for (const char *at = ret->text; at != NULL && *at != '\0'; at++)
        room += *at == '\n';
    ret->lines = ret->text != NULL ? calloc(room, sizeof(ret->lines[0])) : NULL;
    if (ret->lines == NULL)
        return ha_pg_file_fail(err, "read", path);
    for (char *line = strtok_r(ret->text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest))
        ret->lines[ret->count++] = line;
    qsort(ret->lines, ret->count, sizeof(ret->lines[0]), compare_lines);
    return HA_OK;
}

static int remove_changed(void *data, const char *path, const char *line)
{
    struct noted *noted = data;

    if (bsearch(&line, noted->lines, noted->count, sizeof(noted->lines[0]), compare_lines) != NULL)
        return HA_OK;
    noted->removed++;
    return unlink(path) == 0 ? HA_OK : HA_EIO;
}

static int forget_fetched(const struct ha_pg_server *server, struct ha_err *err)
{
    struct noted noted = {0};
    int rc = read_noted(server, &noted, err);

    if (rc == HA_OK)
        rc = each_file(server, remove_changed, &noted, err);
    if (rc == HA_OK)
        HA_LOG(HA_LOG_WARN, "postgresql-rewind-other-source",
               "files=%" PRIu64 " removed=%" PRIu64 " why=%s", (uint64_t)noted.count, noted.removed,
               HA_QUOTE("what was fetched from another source is fetched again, whole"));
    free(noted.lines);
    free(noted.text);
    return rc;
}

/* --- the whole -------------------------------------------------------------------------------- */

int ha_pg_keep_begin(const struct ha_pg_server *server, uint64_t since, uint64_t until,
                     uint64_t bytes_max, struct ha_err *err)
{
    static const char *const dirs[] = {"", WAL, GLOBAL};
    char path[PATH_SIZE], global[PATH_SIZE];
    int rc = HA_OK;

    if (ha_pg_keep_pending(server))
        return HA_OK;
    path_of(server, "", path);
    ha_pg_file_remove_tree(path); /* of a run that was interrupted before it changed anything */
    for (size_t i = 0; rc == HA_OK && i < HA_ARRAY_LEN(dirs); i++) {
        path_of(server, dirs[i], path);
        rc = ha_pg_file_make_dir(server, path, err);
    }
    if (rc == HA_OK)
        rc = keep_wal(server, since, until, bytes_max, err);
    (void)snprintf(global, sizeof(global), "%s/global", server->data_dir);
    path_of(server, GLOBAL, path);
    if (rc == HA_OK)
        rc = copy_control(server, global, path, err);
    if (rc == HA_OK)
        rc = note_files(server, err);
    path_of(server, "", path);
    ha_pg_file_sync_dir(path);
    ha_pg_file_sync_dir(server->work_dir);
    path_of(server, MARK, path);
    if (rc == HA_OK)
        rc = ha_pg_file_write(server, path, "", err);
    path_of(server, "", path);
    if (rc == HA_OK)
        ha_pg_file_sync_dir(path);
    else
        ha_pg_file_remove_tree(path); /* a full disk needs the room */
    return rc;
}

int ha_pg_keep_restore(const struct ha_pg_server *server, struct ha_err *err)
{
    char path[PATH_SIZE], global[PATH_SIZE];
    int rc;

    if (!ha_pg_keep_pending(server))
        return HA_OK;
    rc = restore_wal(server, err);
    /* The source's; with our control file it would be of no checkpoint. */
    (void)snprintf(path, sizeof(path), "%s/backup_label", server->data_dir);
    if (rc == HA_OK && unlink(path) != 0 && errno != ENOENT)
        rc = ha_pg_file_fail(err, "remove", path);
    path_of(server, GLOBAL, path);
    (void)snprintf(global, sizeof(global), "%s/global", server->data_dir);
    if (rc == HA_OK)
        rc = copy_control(server, path, global, err);
    return rc;
}

int ha_pg_keep_aim(const struct ha_pg_server *server, const char *source, struct ha_err *err)
{
    char path[PATH_SIZE], dir[PATH_SIZE];
    char *noted;
    bool is_same;
    int rc = HA_OK;

    if (!ha_pg_keep_pending(server))
        return HA_OK;
    path_of(server, SOURCE, path);
    noted = read_all(path);
    if (noted == NULL && errno != ENOENT)
        return ha_pg_file_fail(err, "read", path);
    is_same = noted != NULL && strcmp(noted, source) == 0;
    if (noted != NULL && !is_same)
        rc = forget_fetched(server, err);
    free(noted);
    if (rc == HA_OK && !is_same)
        rc = ha_pg_file_write(server, path, source, err);
    path_of(server, "", dir);
    ha_pg_file_sync_dir(dir);
    return rc;
}

int ha_pg_keep_end(const struct ha_pg_server *server, struct ha_err *err)
{
    char path[PATH_SIZE];

    path_of(server, MARK, path);
    if (unlink(path) != 0 && errno != ENOENT)
        return ha_pg_file_fail(err, "remove", path);
    path_of(server, "", path);
    ha_pg_file_sync_dir(path);
    ha_pg_file_remove_tree(path);
    return HA_OK;
}
