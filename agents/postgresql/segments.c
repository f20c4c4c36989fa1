#include "agents/postgresql/segments.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/postgresql/files_parts.h"
#include "agents/postgresql/lineage.h"
#include "agents/postgresql/parse.h"
#include "lib/io/log.h"

#define NAME_SIZE 25

/* One that does not reach its timeline. */
struct short_segment {
    uint32_t timeline;
    uint64_t fork, size;
    char name[NAME_SIZE], older[NAME_SIZE];
};

/* Whether the first record after @fork is in the segment @fd of @size; what was received is there
 * up to some byte, and nothing behind it. */
static bool reaches(int fd, uint64_t fork, uint64_t size)
{
    struct ha_pg_wal_page page;
    uint64_t start = fork / HA_PG_WAL_PAGE * HA_PG_WAL_PAGE;
    uint64_t at = fork == start ? fork + HA_PG_WAL_PAGE_HEADER : fork;
    uint32_t length;

    return ha_pg_wal_page_read(fd, start, size, &page) &&
           pread(fd, &length, sizeof(length), (off_t)(at % size)) == sizeof(length) && length != 0;
}

/* Whether @name is the segment in which its timeline begins, and ends before that. */
static bool is_short(const char *data_dir, int wal, const char *name, char *history,
                     struct short_segment *ret)
{
    uint32_t timeline = (uint32_t)ha_pg_hex(name, 8, NULL), parent;
    uint64_t fork, per_id;
    struct stat status;
    bool found;
    int fd;

    if (!ha_pg_history_read(data_dir, timeline, history) ||
        ha_pg_history_parent(history, &parent, &fork) != HA_OK)
        return false;
    fd = openat(wal, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    found = fstat(fd, &status) == 0 && status.st_size >= (1 << 20) && status.st_size <= (1 << 30);
    if (found) {
        *ret = (struct short_segment){
            .timeline = timeline, .fork = fork, .size = (uint64_t)status.st_size};
        per_id = (UINT64_C(1) << 32) / ret->size;
        (void)snprintf(ret->name, NAME_SIZE, "%08X%08X%08X", (unsigned)timeline,
                       (unsigned)(fork / ret->size / per_id),
                       (unsigned)(fork / ret->size % per_id));
        (void)snprintf(ret->older, NAME_SIZE, "%08X%s", (unsigned)parent, ret->name + 8);
        /* One that begins with its timeline is looked for by nobody who needs what was before. */
        found =
            strcmp(ret->name, name) == 0 && fork % ret->size != 0 && !reaches(fd, fork, ret->size);
    }
    (void)close(fd); /* only read */
    return found;
}

/* Of the timelines below @below the highest one with such a segment. */
static bool find_short(const char *data_dir, int wal, uint32_t below, struct short_segment *ret)
{
    int fd = openat(wal, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    char *history = malloc(HA_PG_HISTORY_SIZE);
    const struct dirent *entry;
    struct short_segment found;

    ret->timeline = 0;
    while (dir != NULL && history != NULL && (entry = readdir(dir)) != NULL) {
        uint64_t timeline = ha_pg_hex(entry->d_name, 8, NULL);

        if (strlen(entry->d_name) == NAME_SIZE - 1 && timeline > 1 && timeline < below &&
            timeline > ret->timeline && is_short(data_dir, wal, entry->d_name, history, &found))
            *ret = found;
    }
    free(history);
    if (dir != NULL)
        (void)closedir(dir); /* only read */
    else if (fd >= 0)
        (void)close(fd); /* only read */
    return ret->timeline != 0;
}

/* How many bytes before the fork are there. */
static uint64_t bytes_of(int wal, const char *name, const struct short_segment *segment)
{
    int fd = openat(wal, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    uint64_t first = segment->fork / segment->size * segment->size, found = 0;
    struct ha_pg_wal_page header;
    char page[HA_PG_WAL_PAGE];

    for (uint64_t at = 0; fd >= 0 && first + at < segment->fork; at += HA_PG_WAL_PAGE) {
        uint64_t size = segment->fork - first - at;

        if (size > HA_PG_WAL_PAGE)
            size = HA_PG_WAL_PAGE;
        if (!ha_pg_wal_page_read(fd, first + at, segment->size, &header) ||
            pread(fd, page, size, (off_t)at) != (ssize_t)size)
            break;
        while (size > 0 && page[size - 1] == '\0')
            size--;
        found = at + size;
    }
    if (fd >= 0)
        (void)close(fd); /* only read */
    return found;
}

static int sync_file(int wal, const char *name)
{
    int fd = openat(wal, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), rc;

    if (fd < 0)
        return -1;
    rc = fsync(fd);
    (void)close(fd); /* only read */
    return rc;
}

static int mend(int wal, const struct short_segment *segment)
{
    uint64_t has = bytes_of(wal, segment->name, segment);
    uint64_t older = bytes_of(wal, segment->older, segment);
    int rc;

    if (ha_pg_file_is_late())
        return HA_ECANCELED;
    if (has <= older)
        rc = unlinkat(wal, segment->name, 0);
    else
        rc = sync_file(wal, segment->name) == 0 ? renameat(wal, segment->name, wal, segment->older)
                                                : -1;
    if (rc != 0 || fsync(wal) != 0)
        return HA_EIO;
    HA_LOG(HA_LOG_WARN, "postgresql-segment-mended",
           "file=%s fork=%" PRIX64 " bytes=%" PRIu64 " older=%s older_bytes=%" PRIu64,
           segment->name, segment->fork, has, segment->older, older);
    return HA_OK;
}

int ha_pg_segments_mend(const struct ha_pg_server *server, struct ha_err *err)
{
    char path[HA_PG_FILE_PATH_SIZE];
    struct short_segment segment = {.timeline = UINT32_MAX};
    int wal, rc = HA_OK;

    (void)snprintf(path, sizeof(path), "%s/pg_wal", server->data_dir);
    wal = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (wal < 0)
        return errno == ENOENT ? HA_OK : ha_pg_file_fail(err, "read", path);
    /* What one leaves to the timeline before may end before that one's fork, too. */
    while (rc == HA_OK && find_short(server->data_dir, wal, segment.timeline, &segment)) {
        rc = mend(wal, &segment);
        if (rc == HA_EIO)
            rc = ha_pg_file_fail(err, "mend", segment.name);
        else if (rc != HA_OK)
            (void)ha_err_set(err, rc, "mend %s: it is too late for that", segment.name);
    }
    (void)close(wal); /* only read */
    return rc;
}
