/* tests/support/halt.c - preloaded into a program that is to end, or stop, half-way.
 *
 * HAFO_HALT="CALL PART COUNT SIGNAL": the process sends itself the signal instead of its COUNT-th
 * CALL (open: one that may write; unlink) of a path that has PART in it. Whoever stopped goes on
 * with the call when it is continued. */
#undef _FILE_OFFSET_BITS /* open() and open64() are two functions here */
#undef _FORTIFY_SOURCE

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int number_of(const char *text)
{
    int number = 0;

    for (; text != NULL && *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (*text - '0');
    return number;
}

static void count(const char *call, const char *path)
{
    static int left = -1, number;
    static char *wanted, *part;
    char *said, *rest = NULL;

    if (left < 0) {
        said = getenv("HAFO_HALT"); // NOLINT(concurrency-mt-unsafe): one thread
        wanted = said != NULL ? strtok_r(strdup(said), " ", &rest) : NULL;
        part = wanted != NULL ? strtok_r(NULL, " ", &rest) : NULL;
        left = part != NULL ? number_of(strtok_r(NULL, " ", &rest)) : 0;
        number = part != NULL ? number_of(strtok_r(NULL, " ", &rest)) : 0;
    }
    if (left > 0 && strcmp(call, wanted) == 0 && strstr(path, part) != NULL && --left == 0)
        (void)raise(number);
}

static int open_it(const char *name, const char *path, int flags, mode_t mode)
{
    int (*next)(const char *, int, ...);
    void *found = dlsym(RTLD_NEXT, name);

    memcpy(&next, &found, sizeof(next)); /* as POSIX has it */
    if ((flags & O_ACCMODE) != O_RDONLY)
        count("open", path);
    return next(path, flags, mode);
}

__attribute__((visibility("default"))) int open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_it("open", path, flags, mode);
}

__attribute__((visibility("default"))) int open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_it("open64", path, flags, mode);
}

__attribute__((visibility("default"))) int unlink(const char *path)
{
    int (*next)(const char *);
    void *found = dlsym(RTLD_NEXT, "unlink");

    memcpy(&next, &found, sizeof(next));
    count("unlink", path);
    return next(path);
}
