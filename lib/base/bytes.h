/* lib/base/bytes.h - bounded little-endian cursor over caller's memory.
 *
 * Pure, no allocation. A cursor remembers its first failure: puts after it do nothing, gets return
 * zero, so a codec may run to its end and ask once with ha_bytes_ok(). */
#ifndef HA_BASE_BYTES_H
#define HA_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ha_writer {
    uint8_t *data; /* borrowed */
    size_t size_max;
    size_t size; /* bytes written */
    bool failed; /* something did not fit */
};

struct ha_reader {
    const uint8_t *data; /* borrowed */
    size_t size;
    size_t at;   /* bytes read */
    bool failed; /* ran past the end, or a length was over its limit */
};

void ha_writer_init(struct ha_writer *w, void *data, size_t size_max);
void ha_put_u8(struct ha_writer *w, uint8_t v);
void ha_put_u16(struct ha_writer *w, uint16_t v);
void ha_put_u32(struct ha_writer *w, uint32_t v);
void ha_put_u64(struct ha_writer *w, uint64_t v);
void ha_put_bytes(struct ha_writer *w, const void *data, size_t size);
/* u16 length, then the bytes without the terminator. */
void ha_put_string(struct ha_writer *w, const char *text);

void ha_reader_init(struct ha_reader *r, const void *data, size_t size);
uint8_t ha_get_u8(struct ha_reader *r);
uint16_t ha_get_u16(struct ha_reader *r);
uint32_t ha_get_u32(struct ha_reader *r);
uint64_t ha_get_u64(struct ha_reader *r);
bool ha_get_bool(struct ha_reader *r); /* fails on anything but 0 and 1 */
void ha_get_bytes(struct ha_reader *r, void *data, size_t size);
/* Reads what ha_put_string wrote into @text, always terminated and zero-filled to @size_max.
 * Fails when it does not fit or holds a NUL. */
void ha_get_string(struct ha_reader *r, char *text, size_t size_max);
size_t ha_reader_left(const struct ha_reader *r);
/* True when nothing failed and everything was read. */
bool ha_reader_done(const struct ha_reader *r);

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) of @data, continuing from @crc (0 to start). */
uint32_t ha_crc32c(uint32_t crc, const void *data, size_t size);

/* 64-bit FNV-1a of @data, continuing from @hash (HA_HASH_START to start). Not for keys. */
#define HA_HASH_START 14695981039346656037u
uint64_t ha_hash(uint64_t hash, const void *data, size_t size);

#endif /* HA_BASE_BYTES_H */
