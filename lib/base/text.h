/* lib/base/text.h - bounded strings and strict parsing of what people and peers write.
 *
 * Pure, no allocation, locale-independent. Parsers take the whole string or nothing. */
#ifndef HA_BASE_TEXT_H
#define HA_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/check.h"

/* Copy @from into @to[@size], always terminated, the rest zeroed.
 * HA_EFULL: it did not fit; *to is untouched. */
int ha_text_copy(char *to, size_t size, const char *from);

/* snprintf that reports a cut: HA_EFULL with *to holding the cut text. */
int ha_text_format(char *to, size_t size, const char *format, ...) HA_PRINTF(3, 4);

/* Append to the terminated text in @to; HA_EFULL as above. */
int ha_text_append(char *to, size_t size, const char *format, ...) HA_PRINTF(3, 4);

/* Decimal digits only, no sign, no space. HA_EINVAL, or HA_EFULL when over @max. */
int ha_text_u64(const char *text, uint64_t max, uint64_t *ret);

/* "250ms", "2s", "5min", "1h", "7d"; a bare number is refused, except 0. Result in milliseconds.
 * HA_EINVAL, or HA_EFULL when over @max_ms. */
int ha_text_duration(const char *text, uint64_t max_ms, uint64_t *ret_ms);

/* "4096", "64KiB", "1MiB", "2GiB" (also K, M, G). HA_EINVAL, or HA_EFULL when over @max. */
int ha_text_bytes(const char *text, uint64_t max, uint64_t *ret);

/* yes/no/true/false/on/off. HA_EINVAL. */
int ha_text_bool(const char *text, bool *ret);

/* A name: 1 to @size-1 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit. */
bool ha_text_is_name(const char *text, size_t size);

/* Length of the well-formed UTF-8 sequence that @text begins with; 0: there is none, or no byte. */
size_t ha_text_utf8(const char *text, size_t size);

/* Split "host:port", "[v6]:port" or "host" (then @port_default, 0 meaning a port is required).
 * HA_EINVAL, or HA_EFULL when the host does not fit. */
int ha_text_host_port(const char *text, char *host, size_t host_size, uint16_t *ret_port,
                      uint16_t port_default);

/* Lower-case hexadecimal of @size bytes; @to holds 2 * size + 1. */
void ha_text_hex(char *to, const void *data, size_t size);
/* The reverse; HA_EINVAL unless exactly 2 * size hexadecimal digits. */
int ha_text_unhex(const char *text, void *data, size_t size);

#endif /* HA_BASE_TEXT_H */
