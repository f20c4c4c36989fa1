#include "tests/fuzz/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static char dir[64];

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_all(void)
{
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(const char *name)
{
    static char path[256];

    if (dir[0] == '\0') {
        (void)snprintf(dir, sizeof(dir), "/tmp/ha-fuzz-XXXXXX");
        FUZZ_CHECK(mkdtemp(dir) != NULL);
        FUZZ_CHECK(atexit(remove_all) == 0);
    }
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

void scratch_make_dir(const char *name)
{
    FUZZ_CHECK(mkdir(scratch_path(name), 0700) == 0 || errno == EEXIST);
}

void scratch_write(const char *name, const void *data, size_t size)
{
    int fd = open(scratch_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    FUZZ_CHECK(fd >= 0);
    FUZZ_CHECK(write(fd, data, size) == (ssize_t)size);
    FUZZ_CHECK(close(fd) == 0);
}

void scratch_remove(const char *name)
{
    FUZZ_CHECK(unlink(scratch_path(name)) == 0 || errno == ENOENT);
}
