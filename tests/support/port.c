#include "tests/support/port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/cmocka_ha.h"

/* Below what the kernel takes for connections (ip_local_port_range): one of those, made between the
 * choice and the listening, would be in the way. */
enum { FIRST = 20000, COUNT = 12000 };

/* A name that ends with the process, whatever its end. */
static bool claim(uint16_t port)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "hafailover-test-port-%u",
                          (unsigned)port);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (bind(fd, (const struct sockaddr *)&name,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) == 0)
        return true; /* kept open */
    (void)close(fd);
    return false;
}

static bool is_free(uint16_t port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound;

    assert_true(fd >= 0);
    bound = bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0;
    (void)close(fd);
    return bound;
}

uint16_t free_port(void)
{
    static unsigned tried;

    if (tried == 0)
        tried = (unsigned)getpid() * 7; /* processes begin apart */
    for (unsigned i = 0; i < COUNT; i++) {
        uint16_t port = (uint16_t)(FIRST + tried++ % COUNT);

        if (claim(port) && is_free(port))
            return port;
    }
    fail_msg("no port is free");
    return 0;
}
