#include "agents/postgresql/files_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE HA_PG_FILE_PATH_SIZE
#define FDS_MAX 16
#define BLOCK (1u << 16)

static _Thread_local const struct ha_pg_turn *turn_here;

void ha_pg_file_turn(const struct ha_pg_turn *turn)
{
    turn_here = turn;
}

bool ha_pg_file_is_late(void)
{
    return turn_here != NULL && atomic_load(turn_here->now) != turn_here->mine;
}

int ha_pg_file_fail(struct ha_err *err, const char *verb, const char *path)
{
    int code = errno == ENOENT ? HA_ENOENT : errno == ENOSPC || errno == EDQUOT ? HA_EFULL : HA_EIO;

    return ha_err_set(err, code, "%s %s: %s", verb, path,
                      strerror(errno)); // NOLINT(concurrency-mt-unsafe): glibc's is
}

static int own(const struct ha_pg_server *server, int fd)
{
    return server->set_ids ? fchown(fd, server->uid, server->gid) : 0;
}

int ha_pg_file_make_dir(const struct ha_pg_server *server, const char *path, struct ha_err *err)
{
    int fd;

    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return ha_pg_file_fail(err, "make", path);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return ha_pg_file_fail(err, "open", path);
    if (own(server, fd) != 0) {
        (void)close(fd); /* only read */
        return ha_pg_file_fail(err, "own", path);
    }
    (void)close(fd); /* only read */
    return HA_OK;
}

void ha_pg_file_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)fsync(fd); /* what could not be synced is written again by the next try */
    (void)close(fd); /* only read */
}

int ha_pg_file_write(const struct ha_pg_server *server, const char *path, const char *text,
                     struct ha_err *err)
{
    char tmp[PATH_SIZE + 24];
    size_t size = strlen(text);
    ssize_t done;
    int fd, rc = HA_OK;
    bool ok, late;

    /* Whoever is late has its own, and neither removes nor puts in place another one's. */
    if (turn_here != NULL)
        (void)snprintf(tmp, sizeof(tmp), "%s.hatmp%" PRIu32, path, turn_here->mine);
    else
        (void)snprintf(tmp, sizeof(tmp), "%s.hatmp", path);
    (void)unlink(tmp); /* an interrupted run's */
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return ha_pg_file_fail(err, "write", tmp);
    done = write(fd, text, size);
    if (done >= 0 && (size_t)done < size)
        errno = ENOSPC; /* which is told of the next write only */
    ok = done == (ssize_t)size && own(server, fd) == 0 && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    late = ok && ha_pg_file_is_late();
    if (late)
        rc = ha_err_set(err, HA_ECANCELED, "write %s: it is too late for that", path);
    else if (!ok || rename(tmp, path) != 0)
        rc = ha_pg_file_fail(err, "write", path);
    if (rc != HA_OK)
        (void)unlink(tmp); /* the next one may have another name */
    return rc;
}

bool ha_pg_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static int put(int to, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(to, bytes, size);

        if (done < 0)
            return -1;
        bytes += done;
        size -= (size_t)done;
    }
    return 0;
}

/* Where the kernel does not: from one file system to another, as where WAL has a disk of its own.
 */
static int copy_by_hand(int from, int to, uint64_t *ret_size)
{
    char *bytes = malloc(BLOCK);
    ssize_t size = bytes != NULL ? 1 : -1;

    while (size > 0) {
        size = read(from, bytes, BLOCK);
        if (size > 0 && put(to, bytes, (size_t)size) != 0)
            size = -1;
        if (size > 0)
            *ret_size += (uint64_t)size;
    }
    free(bytes);
    return size == 0 ? 0 : -1;
}

static int copy_content(int from, int to, uint64_t *ret_size)
{
    ssize_t size;

    while ((size = copy_file_range(from, NULL, to, NULL, 1u << 26, 0)) > 0)
        *ret_size += (uint64_t)size;
    if (size == 0)
        return 0;
    if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
        return -1;
    return copy_by_hand(from, to, ret_size); /* both stand where it left them */
}

int ha_pg_file_copy(const struct ha_pg_server *server, int from_dir, int to_dir, const char *name,
                    uint64_t *ret_size)
{
    char tmp[NAME_MAX + 8];
    int from, to, number = 0;

    (void)snprintf(tmp, sizeof(tmp), "%.200s.hatmp", name);
    from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0)
        return HA_EIO;
    to = openat(to_dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0 || own(server, to) != 0 || copy_content(from, to, ret_size) != 0 || fsync(to) != 0)
        number = errno;
    if (to >= 0 && close(to) != 0 && number == 0)
        number = errno;
    if (number == 0 && renameat(to_dir, tmp, to_dir, name) != 0)
        number = errno;
    if (number != 0 && to >= 0)
        (void)unlinkat(to_dir, tmp, 0); /* of a full disk, this much is free again */
    (void)close(from);                  /* only read */
    if (number == 0)
        return HA_OK;
    errno = number;
    return HA_EIO;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

void ha_pg_file_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, FDS_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
