#include "agents/postgresql/promotion.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agents/postgresql/files_parts.h"
#include "agents/postgresql/parse.h"
#include "lib/base/text.h"
#include "lib/io/pidwatch.h"

#define NOTED "promotion-"
#define OVER "promoted-" /* up to that epoch all are over */

/* The epoch in a name; 0: it is another file's. */
static uint64_t epoch_of(const char *name, const char *prefix)
{
    uint64_t epoch = 0;

    if (strncmp(name, prefix, strlen(prefix)) != 0 ||
        ha_text_u64(name + strlen(prefix), UINT64_MAX, &epoch) != HA_OK)
        return 0;
    return epoch;
}

/* Remove those of @from to @to. */
static void remove_some(const char *work_dir, const char *prefix, uint64_t from, uint64_t to)
{
    DIR *dir = opendir(work_dir);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        uint64_t epoch = epoch_of(entry->d_name, prefix);

        if (epoch != 0 && epoch >= from && epoch <= to && !ha_pg_file_is_late())
            (void)unlinkat(dirfd(dir), entry->d_name, 0); /* what stays counts, and is safe */
    }
    if (dir != NULL)
        (void)closedir(dir); /* only read */
}

static int write_note(const struct ha_pg_server *server, const char *prefix, uint64_t epoch,
                      const char *text, struct ha_err *err)
{
    char path[HA_PG_FILE_PATH_SIZE];
    int rc;

    (void)snprintf(path, sizeof(path), "%s/%s%" PRIu64, server->work_dir, prefix, epoch);
    rc = ha_pg_file_write(server, path, text, err);
    if (rc == HA_OK)
        ha_pg_file_sync_dir(server->work_dir);
    return rc;
}

int ha_pg_promotion_note(const struct ha_pg_server *server, uint64_t epoch, struct ha_err *err)
{
    int32_t pid = ha_pg_server_pid(server);
    uint64_t start = 0;
    struct ha_pg_promotion now;
    char text[64];
    int rc = ha_pg_file_make_dir(server, server->work_dir, err);

    if (rc != HA_OK || epoch == 0)
        return rc;
    /* Epochs begin anew where all watchers were lost and somebody began without a backup. */
    remove_some(server->work_dir, OVER, epoch, UINT64_MAX);
    if (ha_pid_start_time(pid, &start) != HA_OK)
        pid = 0;
    (void)snprintf(text, sizeof(text), "%" PRId32 " %" PRIu64 "\n", pid, start);
    rc = write_note(server, NOTED, epoch, text, err);
    if (rc == HA_OK)
        rc = ha_pg_promotion_read(server->work_dir, &now, err);
    if (rc == HA_OK && !now.unopened) /* one that is over and could not be removed hides it */
        rc = ha_err_set(err, HA_EIO, "notes of earlier promotions stay in %s", server->work_dir);
    return rc;
}

int ha_pg_promotion_over(const struct ha_pg_server *server, uint64_t epoch, struct ha_err *err)
{
    struct ha_pg_promotion now;
    int rc = ha_pg_promotion_read(server->work_dir, &now, err);

    if (rc != HA_OK || epoch == 0 || !now.unopened)
        return rc;
    rc = write_note(server, OVER, epoch, "", err);
    if (rc != HA_OK)
        return rc;
    remove_some(server->work_dir, NOTED, 1, epoch);
    remove_some(server->work_dir, OVER, 1, epoch - 1);
    return HA_OK;
}

/* Whether the server that a note names still runs. */
static bool is_asked(int dir, const char *name)
{
    char text[64] = "";
    const char *start;
    ssize_t size;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return errno != ENOENT; /* not known is not no */
    size = read(fd, text, sizeof(text) - 1);
    (void)close(fd); /* only read */
    start = size > 0 ? strchr(text, ' ') : NULL;
    return start != NULL &&
           ha_pg_server_lives((int32_t)ha_pg_number(text), ha_pg_number(start + 1));
}

int ha_pg_promotion_read(const char *work_dir, struct ha_pg_promotion *ret, struct ha_err *err)
{
    DIR *dir = opendir(work_dir);
    const struct dirent *entry;
    uint64_t over = 0;

    *ret = (struct ha_pg_promotion){0};
    if (dir == NULL && errno == ENOENT)
        return HA_OK; /* none was ever noted */
    if (dir == NULL) {
        *ret = (struct ha_pg_promotion){.unopened = true, .may_come = true};
        return ha_pg_file_fail(err, "read", work_dir);
    }
    while ((entry = readdir(dir)) != NULL) {
        uint64_t epoch = epoch_of(entry->d_name, OVER);

        over = epoch > over ? epoch : over;
    }
    rewinddir(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (epoch_of(entry->d_name, NOTED) <= over)
            continue;
        ret->unopened = true;
        ret->may_come = ret->may_come || is_asked(dirfd(dir), entry->d_name);
    }
    (void)closedir(dir); /* only read */
    return HA_OK;
}
