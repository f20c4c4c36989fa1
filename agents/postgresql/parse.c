#include "agents/postgresql/parse.h"

uint64_t ha_pg_number(const char *text)
{
    uint64_t number = 0;

    for (; *text >= '0' && *text <= '9'; text++) {
        if (number > (UINT64_MAX - 9) / 10)
            return 0;
        number = number * 10 + (uint64_t)(*text - '0');
    }
    return number;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

uint64_t ha_pg_hex(const char *text, size_t digits, const char **ret_end)
{
    uint64_t number = 0;

    for (; digits > 0 && digit_of(*text) >= 0; digits--, text++)
        number = number << 4 | (uint64_t)digit_of(*text);
    if (ret_end != NULL)
        *ret_end = text;
    return number;
}

bool ha_pg_lsn(const char *text, uint64_t *ret)
{
    const char *slash, *end;
    uint64_t high = ha_pg_hex(text, 8, &slash), low;

    if (slash == text || *slash != '/')
        return false;
    low = ha_pg_hex(slash + 1, 8, &end);
    if (end == slash + 1)
        return false;
    *ret = high << 32 | low;
    return true;
}

static uint32_t big_endian(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

bool ha_pg_asks_in_clear(const unsigned char *bytes, size_t size)
{
    enum { HEADER = 5, CLEARTEXT = 3 };

    while (size > 0) {
        bool is_request = bytes[0] == 'R';
        uint32_t length;

        if (size < HEADER + (is_request ? 4 : 0))
            return is_request;
        if (is_request && big_endian(bytes + HEADER) == CLEARTEXT)
            return true;
        length = big_endian(bytes + 1);
        if (length >= size) /* it counts itself, and not the first byte */
            return is_request;
        bytes += length + 1;
        size -= length + 1;
    }
    return false;
}
