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
