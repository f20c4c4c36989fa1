#include "lib/io/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

#define HOST_SIZE 80 /* an IPv6 literal with a scope */

static int parse_unix(const char *path, struct ha_addr *ret)
{
    struct ha_addr addr = {.un = {.sun_family = AF_UNIX}};
    size_t length = strlen(path);

    if (path[0] != '/')
        return HA_EINVAL;
    if (length >= sizeof(addr.un.sun_path))
        return HA_EFULL;
    memcpy(addr.un.sun_path, path, length + 1);
    addr.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    *ret = addr;
    return HA_OK;
}

int ha_addr_from_ip(const char *host, uint16_t port, struct ha_addr *ret)
{
    struct ha_addr addr = {.size = 0};
    char plain[HOST_SIZE];
    char *scope;

    if (ha_text_copy(plain, sizeof(plain), host) != HA_OK)
        return HA_EINVAL;
    if (inet_pton(AF_INET, plain, &addr.in.sin_addr) == 1) {
        addr.in.sin_family = AF_INET;
        addr.in.sin_port = htons(port);
        addr.size = sizeof(addr.in);
        *ret = addr;
        return HA_OK;
    }
    memset(&addr, 0, sizeof(addr));
    scope = strchr(plain, '%');
    if (scope != NULL) {
        *scope++ = '\0';
        addr.in6.sin6_scope_id = if_nametoindex(scope);
        if (addr.in6.sin6_scope_id == 0)
            return HA_EINVAL;
    }
    if (inet_pton(AF_INET6, plain, &addr.in6.sin6_addr) != 1)
        return HA_EINVAL;
    addr.in6.sin6_family = AF_INET6;
    addr.in6.sin6_port = htons(port);
    addr.size = sizeof(addr.in6);
    *ret = addr;
    return HA_OK;
}

int ha_addr_parse(const char *text, uint16_t port_default, struct ha_addr *ret)
{
    char host[HOST_SIZE];
    uint16_t port;

    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, ret);
    if (ha_text_host_port(text, host, sizeof(host), &port, port_default) != HA_OK)
        return HA_EINVAL;
    return ha_addr_from_ip(host, port, ret);
}

const char *ha_addr_text(const struct ha_addr *addr, char *text)
{
    char host[INET6_ADDRSTRLEN] = "?";
    char scope[IF_NAMESIZE] = "";

    assert(text != NULL);
    switch (addr->size == 0 ? AF_UNSPEC : addr->sa.sa_family) {
    case AF_UNIX:
        (void)ha_text_format(text, HA_ADDR_TEXT_SIZE, "unix:%s", addr->un.sun_path);
        break;
    case AF_INET:
        (void)inet_ntop(AF_INET, &addr->in.sin_addr, host, sizeof(host));
        (void)ha_text_format(text, HA_ADDR_TEXT_SIZE, "%s:%u", host, ntohs(addr->in.sin_port));
        break;
    case AF_INET6:
        (void)inet_ntop(AF_INET6, &addr->in6.sin6_addr, host, sizeof(host));
        if (addr->in6.sin6_scope_id != 0)
            (void)if_indextoname(addr->in6.sin6_scope_id, scope);
        (void)ha_text_format(text, HA_ADDR_TEXT_SIZE, "[%s%s%s]:%u", host,
                             scope[0] != '\0' ? "%" : "", scope, ntohs(addr->in6.sin6_port));
        break;
    default:
        (void)ha_text_copy(text, HA_ADDR_TEXT_SIZE, "none");
    }
    return text;
}

uint16_t ha_addr_port(const struct ha_addr *addr)
{
    if (addr->sa.sa_family == AF_INET)
        return ntohs(addr->in.sin_port);
    if (addr->sa.sa_family == AF_INET6)
        return ntohs(addr->in6.sin6_port);
    return 0;
}

bool ha_addr_is_unix(const struct ha_addr *addr)
{
    return addr->sa.sa_family == AF_UNIX;
}

/* The IPv4 address in host order, also one mapped into IPv6; false: it has none. */
static bool ipv4_of(const struct ha_addr *addr, uint32_t *ret)
{
    uint32_t raw;

    if (addr->sa.sa_family == AF_INET) {
        *ret = ntohl(addr->in.sin_addr.s_addr);
        return true;
    }
    if (addr->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr))
        return false;
    memcpy(&raw, &addr->in6.sin6_addr.s6_addr[12], sizeof(raw));
    *ret = ntohl(raw);
    return true;
}

bool ha_addr_is_local(const struct ha_addr *addr)
{
    uint32_t v4;

    if (ipv4_of(addr, &v4))
        return v4 >> 24 == 127;
    if (addr->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
    return ha_addr_is_unix(addr);
}

bool ha_addr_same_source(const struct ha_addr *a, const struct ha_addr *b)
{
    uint32_t a4 = 0;
    uint32_t b4 = 0;
    bool a_is4 = ipv4_of(a, &a4);
    bool b_is4 = ipv4_of(b, &b4);

    if (a_is4 || b_is4)
        return a_is4 && b_is4 && a4 == b4;
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET6)
        return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 8) == 0;
    return true;
}
