#include "agents/host/forward.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

#define PATH_SIZE 320

/* An interface that is gone meanwhile forwards nothing. */
static bool does(const char *directory, const char *interface)
{
    char path[PATH_SIZE], value = '1';
    int fd;

    if (ha_text_format(path, sizeof(path), "%s/%s/forwarding", directory, interface) != HA_OK)
        return true;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno != ENOENT;
    if (read(fd, &value, 1) != 1)
        value = '1';
    (void)close(fd);
    return value != '0';
}

static bool any_does(const char *directory)
{
    DIR *entries = opendir(directory);
    const struct dirent *entry;
    bool found = false;

    if (entries == NULL)
        return errno != ENOENT; /* a kernel without IPv6 has none */
    while (!found && (entry = readdir(entries)) != NULL)
        found = entry->d_name[0] != '.' && does(directory, entry->d_name);
    (void)closedir(entries);
    return found;
}

bool ha_host_forwards(void)
{
    static const char *const directories[] = {"/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"};

    for (size_t i = 0; i < HA_ARRAY_LEN(directories); i++)
        if (any_does(directories[i]))
            return true;
    return false;
}
