/* tests/support/clock.c - another clock for one process (LD_PRELOAD), as no test may set the
 * machine's.
 *
 * HAFO_CLOCK names a file: an int64 of nanoseconds that are added to the wall clock, read at each
 * call, so that a test can step it; then an int64 of parts per million by which the monotonic and
 * the boot clock run faster, read once at the start. A process that sleeps still sleeps by the
 * machine's clock. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000

struct settings {
    int64_t wall_ns, rate_ppm;
};

static const volatile struct settings *settings;
static int64_t rate_ppm, anchor_ns[2]; /* monotonic, boot */

static int64_t read_ns(clockid_t id)
{
    struct timespec now = {0};

    (void)syscall(SYS_clock_gettime, id, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("HAFO_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = MAP_FAILED;

    if (fd >= 0) {
        at = mmap(NULL, sizeof(struct settings), PROT_READ, MAP_SHARED, fd, 0);
        (void)close(fd);
    }
    if (at == MAP_FAILED)
        return;
    anchor_ns[0] = read_ns(CLOCK_MONOTONIC);
    anchor_ns[1] = read_ns(CLOCK_BOOTTIME);
    settings = at;
    rate_ppm = settings->rate_ppm;
}

static int64_t told_ns(clockid_t id)
{
    int64_t now_ns = read_ns(id);

    if (settings == NULL)
        return now_ns;
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
        return now_ns + settings->wall_ns;
    if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE || id == CLOCK_BOOTTIME) {
        int64_t since_ns = now_ns - anchor_ns[id == CLOCK_BOOTTIME];

        return now_ns + since_ns / 1000000 * rate_ppm;
    }
    return now_ns;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *ret)
{
    int64_t ns = told_ns(id);

    ret->tv_sec = (time_t)(ns / NS_PER_S);
    ret->tv_nsec = (long)(ns % NS_PER_S);
    return 0;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict ret,
                                                        void *restrict zone)
{
    int64_t ns = told_ns(CLOCK_REALTIME);

    (void)zone;
    ret->tv_sec = (time_t)(ns / NS_PER_S);
    ret->tv_usec = (suseconds_t)(ns % NS_PER_S / 1000);
    return 0;
}

__attribute__((visibility("default"))) time_t time(time_t *ret)
{
    time_t now = (time_t)(told_ns(CLOCK_REALTIME) / NS_PER_S);

    if (ret != NULL)
        *ret = now;
    return now;
}
