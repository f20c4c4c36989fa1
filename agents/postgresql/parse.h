/* agents/postgresql/parse.h - numbers at the beginning of a text, as PostgreSQL and /proc write
 * them.
 *
 * Pure. What follows the number is not looked at. */
#ifndef HA_AGENTS_POSTGRESQL_PARSE_H
#define HA_AGENTS_POSTGRESQL_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal digits; 0 where there are none or they are too many. */
uint64_t ha_pg_number(const char *text);

/* At most @digits hexadecimal ones; *ret_end (may be NULL) is behind the last. */
uint64_t ha_pg_hex(const char *text, size_t digits, const char **ret_end);

/* "X/X". */
bool ha_pg_lsn(const char *text, uint64_t *ret);

/* What a server says next while it has not let us in: whether it asks for the password in clear, or
 * may be about to, by a request that is not all here. */
bool ha_pg_asks_in_clear(const unsigned char *bytes, size_t size);

#endif /* HA_AGENTS_POSTGRESQL_PARSE_H */
