#include "agents/host/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

int ha_ip_parse(const char *text, struct ha_ip *ret)
{
    struct ha_ip addr = {.family = AF_INET};

    if (inet_pton(AF_INET, text, addr.bytes) != 1) {
        addr.family = AF_INET6;
        if (inet_pton(AF_INET6, text, addr.bytes) != 1)
            return HA_EINVAL;
    }
    *ret = addr;
    return HA_OK;
}

void ha_ip_format(const struct ha_ip *addr, char *text)
{
    if (inet_ntop(addr->family, addr->bytes, text, HA_IP_TEXT_SIZE) == NULL)
        memcpy(text, "none", sizeof("none"));
}

int ha_ip_from_sockaddr(const struct sockaddr *from, struct ha_ip *ret, uint16_t *ret_port)
{
    struct ha_ip addr = {.family = AF_INET};
    uint16_t port;

    if (from->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, from, sizeof(in));
        memcpy(addr.bytes, &in.sin_addr, 4);
        port = ntohs(in.sin_port);
    } else if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, from, sizeof(in6));
        if (memcmp(&in6.sin6_addr, mapped_prefix, sizeof(mapped_prefix)) == 0) {
            memcpy(addr.bytes, in6.sin6_addr.s6_addr + 12, 4);
        } else {
            addr.family = AF_INET6;
            memcpy(addr.bytes, &in6.sin6_addr, 16);
        }
        port = ntohs(in6.sin6_port);
    } else {
        return HA_EINVAL;
    }
    *ret = addr;
    *ret_port = port;
    return HA_OK;
}

bool ha_ip_equal(const struct ha_ip *a, const struct ha_ip *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

size_t ha_ip_size(const struct ha_ip *addr)
{
    return addr->family == AF_INET ? 4 : 16;
}

void ha_ip_mapped(const struct ha_ip *addr, uint8_t ret[16])
{
    if (addr->family == AF_INET6) {
        memcpy(ret, addr->bytes, 16);
        return;
    }
    memcpy(ret, mapped_prefix, sizeof(mapped_prefix));
    memcpy(ret + 12, addr->bytes, 4);
}
