#include "agents/postgresql/diverged.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/postgresql/files_parts.h"
#include "agents/postgresql/lineage.h"
#include "agents/postgresql/parse.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#define SEGMENT_HEAD 40u
#define REDONE "redo done at "

/* --- where WAL ends --------------------------------------------------------------------------- */

/* All segments are of one size; 0: there are none. */
static uint32_t segment_size_of(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    struct stat status;
    uint32_t size = 0;

    while (dir != NULL && size == 0 && (entry = readdir(dir)) != NULL)
        if (strlen(entry->d_name) == 24 && fstatat(dirfd(dir), entry->d_name, &status, 0) == 0 &&
            status.st_size >= (1 << 20) && status.st_size <= (1 << 30))
            size = (uint32_t)status.st_size;
    if (dir != NULL)
        (void)closedir(dir); /* only read */
    return size;
}

/* Behind a record of @left bytes: each page it goes on in has a header. */
static uint64_t end_of(uint64_t at, uint32_t left, uint32_t segment)
{
    for (;;) {
        uint64_t room = HA_PG_WAL_PAGE - at % HA_PG_WAL_PAGE;

        if (left <= room)
            return (at + left + 7) / 8 * 8;
        left -= (uint32_t)room;
        at += room;
        at += at % segment == 0 ? SEGMENT_HEAD : HA_PG_WAL_PAGE_HEADER;
    }
}

uint64_t ha_pg_record_end(const struct ha_pg_server *server, uint32_t timeline, uint64_t lsn)
{
    char dir[HA_PG_PATH_SIZE + 8], path[HA_PG_PATH_SIZE + 40];
    uint32_t segment, size = 0;
    uint64_t number, per_id;
    ssize_t got;
    int fd;

    (void)snprintf(dir, sizeof(dir), "%s/pg_wal", server->data_dir);
    segment = segment_size_of(dir);
    if (segment == 0)
        return 0;
    number = lsn / segment;
    per_id = (UINT64_C(1) << 32) / segment;
    (void)snprintf(path, sizeof(path), "%s/%08X%08X%08X", dir, (unsigned)timeline,
                   (unsigned)(number / per_id), (unsigned)(number % per_id));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    /* It says itself how long it is. */
    got = pread(fd, &size, sizeof(size), (off_t)(lsn % segment));
    (void)close(fd); /* only read */
    return got == (ssize_t)sizeof(size) && size > 0 ? end_of(lsn, size, segment) : 0;
}

uint64_t ha_pg_redone(const char *output, uint64_t checkpoint)
{
    const char *at = output != NULL ? strstr(output, REDONE) : NULL;
    uint64_t last = checkpoint;

    if (at != NULL && !ha_pg_lsn(at + strlen(REDONE), &last))
        return checkpoint;
    return last;
}

/* --- the note --------------------------------------------------------------------------------- */

static void path_of(const char *work_dir, char path[HA_PG_FILE_PATH_SIZE])
{
    (void)snprintf(path, HA_PG_FILE_PATH_SIZE, "%s/diverged", work_dir);
}

struct note {
    struct ha_diverged found;
    uint64_t timeline, fork;
};

static bool read_note(const char *work_dir, struct note *ret)
{
    char path[HA_PG_FILE_PATH_SIZE];
    uint64_t numbers[5] = {0};
    char text[160] = "";
    const char *at = text;
    ssize_t size;
    int fd;

    path_of(work_dir, path);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    size = read(fd, text, sizeof(text) - 1);
    (void)close(fd); /* only read */
    for (size_t i = 0; i < HA_ARRAY_LEN(numbers); i++) {
        if (size <= 0 || *at < '0' || *at > '9')
            return false;
        numbers[i] = ha_pg_number(at);
        at += strspn(at, "0123456789");
        at += strspn(at, " ");
    }
    if (numbers[2] > HA_KEPT_WHOLE)
        return false;
    *ret = (struct note){
        .found = {.epoch = numbers[0], .bytes = numbers[1], .kept = (enum ha_kept)numbers[2]},
        .timeline = numbers[3],
        .fork = numbers[4]};
    return true;
}

int ha_pg_diverged_note(const struct ha_pg_server *server, const struct ha_pg_left *left,
                        struct ha_err *err)
{
    uint64_t bytes = left->end > left->fork ? left->end - left->fork : 0;
    char path[HA_PG_FILE_PATH_SIZE], text[160];
    struct note before;
    int rc = ha_pg_file_make_dir(server, server->work_dir, err);

    if (read_note(server->work_dir, &before) && before.timeline == left->timeline &&
        before.fork == left->fork)
        bytes = before.found.bytes;
    HA_LOG(bytes > 0 ? HA_LOG_WARN : HA_LOG_INFO, "postgresql-diverged",
           "epoch=%" PRIu64 " bytes=%" PRIu64 " timeline=%" PRIu32 " fork=%" PRIX64 "/%" PRIX64
           " kept=%s",
           left->epoch, bytes, left->timeline, left->fork >> 32, left->fork & UINT32_MAX,
           HA_QUOTE(ha_kept_text(left->kept)));
    path_of(server->work_dir, path);
    (void)snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 " %u %" PRIu32 " %" PRIu64 "\n",
                   left->epoch, bytes, (unsigned)left->kept, left->timeline, left->fork);
    return rc == HA_OK ? ha_pg_file_write(server, path, text, err) : rc;
}

void ha_pg_diverged_read(const char *work_dir, struct ha_diverged *ret)
{
    struct note note = {0};

    (void)read_note(work_dir, &note); /* none: nothing to tell */
    *ret = note.found;
}
