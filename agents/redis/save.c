#include "agents/redis/save.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/text.h"

#define DIR_SIZE 512
#define FILE_SIZE 256
#define SUFFIX ".rdb"

struct ha_redis_save {
    uv_work_t work;
    ha_redis_save_cb cb; /* NULL: given up */
    void *data;
    char dir[DIR_SIZE];
    char file[FILE_SIZE];
    char saved[FILE_SIZE];
    struct ha_err err;
};

/* The epoch of one of our files, 0 for any other. */
static uint64_t saved_epoch(const char *name)
{
    size_t prefix = strlen(HA_REDIS_SAVED_PREFIX), size = strlen(name);
    char digits[24];
    uint64_t epoch = 0;

    if (strncmp(name, HA_REDIS_SAVED_PREFIX, prefix) != 0 || size <= prefix + strlen(SUFFIX) ||
        strcmp(name + size - strlen(SUFFIX), SUFFIX) != 0)
        return 0;
    size -= prefix + strlen(SUFFIX);
    if (size >= sizeof(digits))
        return 0;
    memcpy(digits, name + prefix, size);
    digits[size] = '\0';
    return ha_text_u64(digits, UINT64_MAX, &epoch) == HA_OK ? epoch : 0;
}

/* Remove the file of the lowest epoch while there are more than we keep. */
static bool prune_one(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    char oldest[FILE_SIZE] = "";
    uint64_t lowest = UINT64_MAX;
    const struct dirent *entry;
    uint32_t count = 0;

    if (dir == NULL) {
        if (fd >= 0)
            (void)close(fd); /* only read */
        return false;
    }
    while ((entry = readdir(dir)) != NULL) {
        uint64_t epoch = saved_epoch(entry->d_name);

        if (epoch == 0)
            continue;
        count++;
        if (epoch < lowest && ha_text_copy(oldest, sizeof(oldest), entry->d_name) == HA_OK)
            lowest = epoch;
    }
    (void)closedir(dir); /* only read */
    return count > HA_REDIS_SAVED_KEPT && oldest[0] != '\0' && unlinkat(dir_fd, oldest, 0) == 0;
}

static void on_work(uv_work_t *work)
{
    struct ha_redis_save *save = work->data;
    int dir_fd = open(save->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir_fd < 0) {
        (void)ha_err_set(&save->err, HA_EIO, "cannot open %s: %s", save->dir, strerror(errno));
        return;
    }
    if (linkat(dir_fd, save->file, dir_fd, save->saved, 0) != 0 && errno != EEXIST)
        (void)ha_err_set(&save->err, errno == ENOENT ? HA_ENOENT : HA_EIO, "cannot link %s/%s: %s",
                         save->dir, save->file, strerror(errno));
    else
        (void)ha_err_set(&save->err, HA_OK, "%s/%s", save->dir, save->saved);
    for (int i = 0; i < 64 && prune_one(dir_fd); i++)
        ;
    (void)close(dir_fd); /* only read */
}

static void on_done(uv_work_t *work, int status)
{
    struct ha_redis_save *save = work->data;

    if (status != 0)
        (void)ha_err_set(&save->err, HA_ECANCELED, "saving was canceled");
    if (save->cb != NULL)
        save->cb(save->data, &save->err);
    free(save);
}

int ha_redis_save_start(struct ha_redis_save **ret, uv_loop_t *loop,
                        const struct ha_redis_save_ask *ask, ha_redis_save_cb cb, void *data)
{
    struct ha_redis_save *save;
    int rc;

    assert(ret != NULL);
    assert(cb != NULL);

    if (ask->dir[0] != '/' || ask->file[0] == '\0' || strchr(ask->file, '/') != NULL)
        return HA_EINVAL;
    save = calloc(1, sizeof(*save));
    if (save == NULL)
        return HA_ENOMEM;
    rc = ha_text_copy(save->dir, sizeof(save->dir), ask->dir);
    if (rc == HA_OK)
        rc = ha_text_copy(save->file, sizeof(save->file), ask->file);
    if (rc == HA_OK)
        rc = ha_text_format(save->saved, sizeof(save->saved),
                            HA_REDIS_SAVED_PREFIX "%" PRIu64 SUFFIX, ask->epoch);
    if (rc == HA_OK) {
        save->cb = cb;
        save->data = data;
        save->work.data = save;
        rc = uv_queue_work(loop, &save->work, on_work, on_done) == 0 ? HA_OK : HA_EIO;
    }
    if (rc != HA_OK) {
        free(save);
        return rc == HA_EFULL ? HA_EINVAL : rc;
    }
    *ret = save;
    return HA_OK;
}

void ha_redis_save_give_up(struct ha_redis_save *save)
{
    save->cb = NULL;
}
