#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/text.h"

static int code_of(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return HA_ENOENT;
    case EACCES:
    case EPERM:
    case EROFS:
        return HA_EDENIED;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return HA_EFULL;
    case ENOMEM:
        return HA_ENOMEM;
    default:
        return HA_EIO;
    }
}

static int fail(struct ha_err *err, const char *what, const char *path)
{
    int error = errno;

    return ha_err_set(err, code_of(error), "%s %s: %s", what, path, strerror(error));
}

static int check_mode(int fd, const char *path, struct ha_err *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return fail(err, "stat", path);
    /* Root reads what it likes; what counts then is who else can. */
    if (st.st_uid != geteuid() && st.st_uid != 0 && geteuid() != 0)
        return ha_err_set(err, HA_EDENIED, "%s belongs to uid %u, not to this user or root", path,
                          (unsigned)st.st_uid);
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return ha_err_set(err, HA_EDENIED, "%s is open to group or others (mode %04o): chmod 0600",
                          path, (unsigned)(st.st_mode & 07777u));
    return HA_OK;
}

/* O_NONBLOCK: a FIFO in the file's place must not hang us. */
static int open_regular(const char *path, int *ret_fd, struct ha_err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return fail(err, "open", path);
    if (fstat(fd, &st) != 0) {
        int rv = fail(err, "stat", path);

        (void)close(fd);
        return rv;
    }
    if (!S_ISREG(st.st_mode)) {
        (void)close(fd);
        return ha_err_set(err, HA_EINVAL, "%s is not a regular file", path);
    }
    *ret_fd = fd;
    return HA_OK;
}

/* One byte more than allowed tells a file that is too large, also one that grows meanwhile. */
static int read_fd(int fd, const char *path, size_t size_max, uint8_t **ret_data, size_t *ret_size,
                   struct ha_err *err)
{
    struct stat st;
    size_t room;
    size_t size = 0;
    uint8_t *data;

    if (fstat(fd, &st) != 0)
        return fail(err, "stat", path);
    if (st.st_size < 0 || (uint64_t)st.st_size > size_max)
        return ha_err_set(err, HA_EFULL, "%s is larger than %zu bytes", path, size_max);
    room = (size_t)st.st_size + 1;
    data = malloc(room + 1);
    if (data == NULL)
        return ha_err_set(err, HA_ENOMEM, "read %s: out of memory", path);
    while (size < room) {
        ssize_t n = read(fd, data + size, room - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int rv = fail(err, "read", path);

            ha_file_wipe(data, size);
            free(data);
            return rv;
        }
        if (n == 0)
            break;
        size += (size_t)n;
    }
    if (size == room) {
        ha_file_wipe(data, size);
        free(data);
        return ha_err_set(err, HA_EBUSY, "%s changed while it was read", path);
    }
    data[size] = '\0';
    *ret_data = data;
    *ret_size = size;
    return HA_OK;
}

static int read_file(const char *path, size_t size_max, bool secret, uint8_t **ret_data,
                     size_t *ret_size, struct ha_err *err)
{
    int fd;
    int rv = open_regular(path, &fd, err);

    if (rv != HA_OK)
        return rv;
    if (secret)
        rv = check_mode(fd, path, err);
    if (rv == HA_OK)
        rv = read_fd(fd, path, size_max, ret_data, ret_size, err);
    (void)close(fd);
    return rv;
}

int ha_file_read(const char *path, size_t size_max, uint8_t **ret_data, size_t *ret_size,
                 struct ha_err *err)
{
    return read_file(path, size_max, false, ret_data, ret_size, err);
}

int ha_file_read_secret(const char *path, size_t size_max, uint8_t **ret_data, size_t *ret_size,
                        struct ha_err *err)
{
    return read_file(path, size_max, true, ret_data, ret_size, err);
}

int ha_file_check_secret(const char *path, struct ha_err *err)
{
    int fd;
    int rv = open_regular(path, &fd, err);

    if (rv != HA_OK)
        return rv;
    rv = check_mode(fd, path, err);
    (void)close(fd);
    return rv;
}

static int write_fd(int fd, const void *data, size_t size)
{
    const uint8_t *at = data;

    while (size > 0) {
        ssize_t n = write(fd, at, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += n;
        size -= (size_t)n;
    }
    return fsync(fd);
}

static int sync_folder_of(const char *path, struct ha_err *err)
{
    char folder[PATH_MAX];
    char *slash;
    int fd;
    int rv = HA_OK;

    if (ha_text_copy(folder, sizeof(folder), path) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "path too long");
    slash = strrchr(folder, '/');
    if (slash == NULL)
        (void)ha_text_copy(folder, sizeof(folder), ".");
    else
        slash[slash == folder ? 1 : 0] = '\0';
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(err, "open folder", folder);
    if (fsync(fd) != 0)
        rv = fail(err, "sync folder", folder);
    (void)close(fd);
    return rv;
}

int ha_file_write(const char *path, const void *data, size_t size, mode_t mode, struct ha_err *err)
{
    char tmp[PATH_MAX];
    int fd;
    int rv = HA_OK;

    if (ha_text_format(tmp, sizeof(tmp), "%s.tmpXXXXXX", path) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "path too long");
    fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return fail(err, "create a file beside", path);
    if (fchmod(fd, mode) != 0 || write_fd(fd, data, size) != 0)
        rv = fail(err, "write", path);
    if (close(fd) != 0 && rv == HA_OK)
        rv = fail(err, "write", path);
    if (rv == HA_OK && rename(tmp, path) != 0)
        rv = fail(err, "replace", path);
    if (rv != HA_OK) {
        (void)unlink(tmp);
        return rv;
    }
    return sync_folder_of(path, err);
}

void ha_file_wipe(void *data, size_t size)
{
    explicit_bzero(data, size);
}
