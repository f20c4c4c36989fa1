#include "lib/base/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/err.h"

int ha_text_copy(char *to, size_t size, const char *from)
{
    size_t length = strlen(from);

    assert(size > 0);
    if (length >= size)
        return HA_EFULL;
    memmove(to, from, length);
    memset(to + length, 0, size - length);
    return HA_OK;
}

HA_PRINTF(4, 0)
static int format_at(char *to, size_t size, size_t used, const char *format, va_list args)
{
    int n = vsnprintf(to + used, size - used, format, args);

    if (n < 0) {
        to[used] = '\0';
        return HA_EINVAL;
    }
    return (size_t)n >= size - used ? HA_EFULL : HA_OK;
}

int ha_text_format(char *to, size_t size, const char *format, ...)
{
    va_list args;
    int rv;

    assert(size > 0);
    va_start(args, format);
    rv = format_at(to, size, 0, format, args);
    va_end(args);
    return rv;
}

int ha_text_append(char *to, size_t size, const char *format, ...)
{
    size_t used = strnlen(to, size);
    va_list args;
    int rv;

    assert(used < size);
    va_start(args, format);
    rv = format_at(to, size, used, format, args);
    va_end(args);
    return rv;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Reads leading digits; *ret_end is the first other character. */
static int parse_digits(const char *text, uint64_t max, uint64_t *ret, const char **ret_end)
{
    uint64_t v = 0;
    const char *at = text;

    for (; is_digit(*at); at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (v > (max - digit) / 10)
            return HA_EFULL;
        v = v * 10 + digit;
    }
    if (at == text)
        return HA_EINVAL;
    *ret = v;
    *ret_end = at;
    return HA_OK;
}

int ha_text_u64(const char *text, uint64_t max, uint64_t *ret)
{
    const char *end;
    uint64_t v;
    int rv;

    /* The bound below needs room for one digit. */
    rv = parse_digits(text, max < 9 ? 9 : max, &v, &end);
    if (rv != HA_OK)
        return rv;
    if (*end != '\0')
        return HA_EINVAL;
    if (v > max)
        return HA_EFULL;
    *ret = v;
    return HA_OK;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static int parse_with_unit(const char *text, const struct unit *units, size_t count, uint64_t max,
                           uint64_t *ret)
{
    const char *end;
    uint64_t v;
    int rv = parse_digits(text, UINT64_MAX, &v, &end);

    if (rv != HA_OK)
        return rv;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        if (v > max / units[i].factor)
            return HA_EFULL;
        *ret = v * units[i].factor;
        return HA_OK;
    }
    if (*end == '\0' && v == 0) {
        *ret = 0;
        return HA_OK;
    }
    return HA_EINVAL;
}

int ha_text_duration(const char *text, uint64_t max_ms, uint64_t *ret_ms)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000},
    };

    return parse_with_unit(text, units, HA_ARRAY_LEN(units), max_ms, ret_ms);
}

int ha_text_bytes(const char *text, uint64_t max, uint64_t *ret)
{
    static const struct unit units[] = {
        {"", 1},         {"B", 1},          {"K", 1u << 10}, {"KiB", 1u << 10},
        {"M", 1u << 20}, {"MiB", 1u << 20}, {"G", 1u << 30}, {"GiB", 1u << 30},
    };

    return parse_with_unit(text, units, HA_ARRAY_LEN(units), max, ret);
}

int ha_text_bool(const char *text, bool *ret)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};

    for (size_t i = 0; i < HA_ARRAY_LEN(words); i++) {
        if (strcmp(text, words[i]) != 0)
            continue;
        *ret = i % 2 == 1;
        return HA_OK;
    }
    return HA_EINVAL;
}

bool ha_text_is_name(const char *text, size_t size)
{
    size_t length = strlen(text);

    if (length == 0 || length >= size || !is_alnum(text[0]))
        return false;
    for (size_t i = 1; i < length; i++)
        if (!is_alnum(text[i]) && strchr("._-", text[i]) == NULL)
            return false;
    return true;
}

/* Unicode 15, table 3-7: what may follow a first byte. */
size_t ha_text_utf8(const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *)text;
    uint8_t low = 0x80, high = 0xbf;
    size_t length;

    if (size == 0)
        return 0;
    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf)
        length = 2;
    else if (at[0] >= 0xe0 && at[0] <= 0xef)
        length = 3;
    else if (at[0] >= 0xf0 && at[0] <= 0xf4)
        length = 4;
    else
        return 0;
    /* No overlong forms, surrogates or code points past the last. */
    if (at[0] == 0xe0)
        low = 0xa0;
    else if (at[0] == 0xed)
        high = 0x9f;
    else if (at[0] == 0xf0)
        low = 0x90;
    else if (at[0] == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++) {
        if (i == size || at[i] < low || at[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

int ha_text_host_port(const char *text, char *host, size_t host_size, uint16_t *ret_port,
                      uint16_t port_default)
{
    const char *end, *port = NULL;
    uint64_t number = port_default;
    size_t length;
    int rv;

    if (text[0] == '[') {
        text++;
        end = strchr(text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return HA_EINVAL;
        port = end[1] == ':' ? end + 2 : NULL;
    } else {
        end = strchr(text, ':');
        if (end == NULL)
            end = text + strlen(text);
        else if (strchr(end + 1, ':') != NULL)
            return HA_EINVAL; /* a bare IPv6 address is ambiguous: brackets are required */
        else
            port = end + 1;
    }
    length = (size_t)(end - text);
    if (port != NULL) {
        rv = ha_text_u64(port, UINT16_MAX, &number);
        if (rv != HA_OK)
            return HA_EINVAL;
    }
    if (length == 0 || number == 0)
        return HA_EINVAL;
    if (length >= host_size)
        return HA_EFULL;
    memmove(host, text, length);
    memset(host + length, 0, host_size - length);
    *ret_port = (uint16_t)number;
    return HA_OK;
}

void ha_text_hex(char *to, const void *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++) {
        to[2 * i] = digits[bytes[i] >> 4];
        to[2 * i + 1] = digits[bytes[i] & 15];
    }
    to[2 * size] = '\0';
}

static int nibble(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int ha_text_unhex(const char *text, void *data, size_t size)
{
    uint8_t *bytes = data;

    if (strlen(text) != 2 * size)
        return HA_EINVAL;
    for (size_t i = 0; i < size; i++) {
        int high = nibble(text[2 * i]);
        int low = nibble(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return HA_EINVAL;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return HA_OK;
}
