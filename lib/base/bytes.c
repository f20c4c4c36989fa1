#include "lib/base/bytes.h"

#include <assert.h>
#include <string.h>

void ha_writer_init(struct ha_writer *w, void *data, size_t size_max)
{
    assert(data != NULL || size_max == 0);
    *w = (struct ha_writer){.data = data, .size_max = size_max};
}

void ha_put_bytes(struct ha_writer *w, const void *data, size_t size)
{
    if (w->failed || size > w->size_max - w->size) {
        w->failed = true;
        return;
    }
    if (size > 0)
        memcpy(w->data + w->size, data, size);
    w->size += size;
}

static void put_le(struct ha_writer *w, uint64_t v, size_t size)
{
    uint8_t raw[8];

    for (size_t i = 0; i < size; i++)
        raw[i] = (uint8_t)(v >> (8 * i));
    ha_put_bytes(w, raw, size);
}

void ha_put_u8(struct ha_writer *w, uint8_t v)
{
    put_le(w, v, 1);
}

void ha_put_u16(struct ha_writer *w, uint16_t v)
{
    put_le(w, v, 2);
}

void ha_put_u32(struct ha_writer *w, uint32_t v)
{
    put_le(w, v, 4);
}

void ha_put_u64(struct ha_writer *w, uint64_t v)
{
    put_le(w, v, 8);
}

void ha_put_string(struct ha_writer *w, const char *text)
{
    size_t size = strlen(text);

    if (size > UINT16_MAX) {
        w->failed = true;
        return;
    }
    ha_put_u16(w, (uint16_t)size);
    ha_put_bytes(w, text, size);
}

void ha_reader_init(struct ha_reader *r, const void *data, size_t size)
{
    assert(data != NULL || size == 0);
    *r = (struct ha_reader){.data = data, .size = size};
}

void ha_get_bytes(struct ha_reader *r, void *data, size_t size)
{
    if (r->failed || size > r->size - r->at) {
        r->failed = true;
        memset(data, 0, size);
        return;
    }
    if (size > 0)
        memcpy(data, r->data + r->at, size);
    r->at += size;
}

static uint64_t get_le(struct ha_reader *r, size_t size)
{
    uint8_t raw[8] = {0};
    uint64_t v = 0;

    ha_get_bytes(r, raw, size);
    for (size_t i = 0; i < size; i++)
        v |= (uint64_t)raw[i] << (8 * i);
    return v;
}

uint8_t ha_get_u8(struct ha_reader *r)
{
    return (uint8_t)get_le(r, 1);
}

uint16_t ha_get_u16(struct ha_reader *r)
{
    return (uint16_t)get_le(r, 2);
}

uint32_t ha_get_u32(struct ha_reader *r)
{
    return (uint32_t)get_le(r, 4);
}

uint64_t ha_get_u64(struct ha_reader *r)
{
    return get_le(r, 8);
}

bool ha_get_bool(struct ha_reader *r)
{
    uint8_t v = ha_get_u8(r);

    if (v > 1)
        r->failed = true;
    return v == 1;
}

void ha_get_string(struct ha_reader *r, char *text, size_t size_max)
{
    size_t size = ha_get_u16(r);

    assert(size_max > 0);
    memset(text, 0, size_max);
    if (r->failed || size >= size_max || size > r->size - r->at) {
        r->failed = true;
        return;
    }
    if (memchr(r->data + r->at, '\0', size) != NULL) {
        r->failed = true;
        return;
    }
    ha_get_bytes(r, text, size);
}

size_t ha_reader_left(const struct ha_reader *r)
{
    return r->size - r->at;
}

bool ha_reader_done(const struct ha_reader *r)
{
    return !r->failed && r->at == r->size;
}

/* On any machine. */
static uint32_t crc_by_bits(uint32_t crc, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
    }
    return crc;
}

#ifdef __x86_64__
/* The machine's own: a snapshot of a thousand services holds up the loop for 0.2 ms, by bits
 * for 18. */
__attribute__((target("sse4.2"))) static uint32_t crc_by_words(uint32_t crc, const uint8_t *bytes,
                                                               size_t size)
{
    uint64_t word;

    for (; size >= sizeof(word); bytes += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        crc = (uint32_t)__builtin_ia32_crc32di(crc, word);
    }
    for (; size > 0; bytes++, size--)
        crc = __builtin_ia32_crc32qi(crc, *bytes);
    return crc;
}
#endif

uint32_t ha_crc32c(uint32_t crc, const void *data, size_t size)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_by_words(~crc, data, size);
#endif
    return ~crc_by_bits(~crc, data, size);
}

uint64_t ha_hash(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}
