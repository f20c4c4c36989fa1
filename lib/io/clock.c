#include "lib/io/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "lib/base/text.h"

static uint64_t read_ns(clockid_t id)
{
    struct timespec now;
    int rv = clock_gettime(id, &now);

    assert(rv == 0);
    (void)rv;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t ha_clock_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t ha_clock_mono_ms(void)
{
    return ha_clock_mono_ns() / 1000000u;
}

uint64_t ha_clock_boot_ns(void)
{
    return read_ns(CLOCK_BOOTTIME);
}

uint64_t ha_clock_boot_ms(void)
{
    return ha_clock_boot_ns() / 1000000u;
}

uint64_t ha_clock_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000u;
}

const char *ha_clock_text(uint64_t wall_ms, char *text)
{
    time_t seconds = (time_t)(wall_ms / 1000u);
    struct tm tm;

    text[0] = '\0';
    if (gmtime_r(&seconds, &tm) == NULL)
        return text;
    (void)ha_text_format(text, HA_CLOCK_TEXT_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ",
                         tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                         tm.tm_sec, (unsigned)(wall_ms % 1000u));
    return text;
}

void ha_random_bytes(void *data, size_t size)
{
    uint8_t *at = data;

    while (size > 0) {
        ssize_t n = getrandom(at, size, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort(); /* UNTESTED: no kernel since 3.17 refuses this */
        at += n;
        size -= (size_t)n;
    }
}

uint64_t ha_random_u64(void)
{
    uint64_t value;

    ha_random_bytes(&value, sizeof(value));
    return value;
}
