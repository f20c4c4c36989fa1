#include "lib/core/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "lib/base/bytes.h"

#define NAME_MAX_LENGTH 253u
#define LABEL_MAX_LENGTH 63u

struct numeric {
    uint32_t bits; /* 0: not numeric */
    uint8_t bytes[16];
};

static struct numeric parse_numeric(const char *host)
{
    struct numeric numeric = {0};

    if (inet_pton(AF_INET, host, numeric.bytes) == 1)
        numeric.bits = 32;
    else if (inet_pton(AF_INET6, host, numeric.bytes) == 1)
        numeric.bits = 128;
    return numeric;
}

uint32_t ha_address_bits(const char *host)
{
    return parse_numeric(host).bits;
}

bool ha_address_is_unicast(const char *host)
{
    static const uint8_t unspecified[16], loopback[16] = {[15] = 1};
    struct numeric numeric = parse_numeric(host);

    if (numeric.bits == 32)
        return numeric.bytes[0] != 0 && numeric.bytes[0] != 127 && numeric.bytes[0] < 224;
    return numeric.bits == 128 && numeric.bytes[0] != 0xff &&
           memcmp(numeric.bytes, unspecified, sizeof(unspecified)) != 0 &&
           memcmp(numeric.bytes, loopback, sizeof(loopback)) != 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_label_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static bool is_name(const char *host)
{
    size_t label = 0, digits = 0, at;

    for (at = 0; host[at] != '\0'; at++) {
        if (host[at] == '.') {
            if (label == 0)
                return false;
            label = digits = 0;
            continue;
        }
        if (!is_label_char(host[at]) || (label == 0 && host[at] == '-'))
            return false;
        label++;
        digits += is_digit(host[at]) ? 1 : 0;
        if (label > LABEL_MAX_LENGTH)
            return false;
    }
    /* A last label of digits alone is a mistyped address, not a name. */
    return at <= NAME_MAX_LENGTH && label > 0 && digits < label;
}

bool ha_address_is_host(const char *host)
{
    return parse_numeric(host).bits != 0 || is_name(host);
}

bool ha_address_equal(const char *a, const char *b)
{
    struct numeric left = parse_numeric(a), right = parse_numeric(b);

    if (left.bits != 0 || right.bits != 0)
        return left.bits == right.bits && memcmp(left.bytes, right.bytes, sizeof(left.bytes)) == 0;
    return strcasecmp(a, b) == 0;
}

uint64_t ha_address_hash(const char *host)
{
    struct numeric numeric = parse_numeric(host);
    uint64_t hash = HA_HASH_START;

    if (numeric.bits != 0)
        return ha_hash(hash, numeric.bytes, sizeof(numeric.bytes));
    for (; *host != '\0'; host++) {
        uint8_t lower = (uint8_t)*host;

        if (lower >= 'A' && lower <= 'Z')
            lower = (uint8_t)(lower + 'a' - 'A');
        hash = ha_hash(hash, &lower, 1);
    }
    return hash;
}
