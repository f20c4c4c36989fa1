#include "lib/io/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

int ha_notify(const char *state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length = path == NULL ? 0 : strlen(path);
    size_t size = strlen(state);
    ssize_t n;
    int fd;

    if (path == NULL)
        return HA_OK;
    if ((path[0] != '/' && path[0] != '@') || length >= sizeof(addr.sun_path))
        return HA_EINVAL;
    memcpy(addr.sun_path, path, length);
    if (path[0] == '@')
        addr.sun_path[0] = '\0'; /* the abstract name space */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return HA_EIO;
    n = sendto(fd, state, size, MSG_NOSIGNAL, (const struct sockaddr *)&addr,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    (void)close(fd);
    return n == (ssize_t)size ? HA_OK : HA_EIO;
}

uint32_t ha_notify_watchdog_ms(void)
{
    const char *usec_text = getenv("WATCHDOG_USEC");
    const char *pid_text = getenv("WATCHDOG_PID");
    uint64_t usec;
    uint64_t pid;

    if (usec_text == NULL || ha_text_u64(usec_text, (uint64_t)UINT32_MAX * 1000, &usec) != HA_OK)
        return 0;
    if (pid_text != NULL &&
        (ha_text_u64(pid_text, INT32_MAX, &pid) != HA_OK || (pid_t)pid != getpid()))
        return 0;
    return (uint32_t)(usec / 2000);
}
