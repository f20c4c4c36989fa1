#include "lib/wire/codec.h"

#include <assert.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

void ha_codec_read(struct ha_codec *c, const void *data, size_t size)
{
    *c = (struct ha_codec){.mode = HA_CODEC_READ};
    ha_reader_init(&c->reader, data, size);
}

void ha_codec_write(struct ha_codec *c, void *data, size_t size_max)
{
    *c = (struct ha_codec){.mode = HA_CODEC_WRITE};
    ha_writer_init(&c->writer, data, size_max);
}

void ha_codec_count(struct ha_codec *c)
{
    *c = (struct ha_codec){.mode = HA_CODEC_COUNT};
}

void ha_codec_hash(struct ha_codec *c)
{
    *c = (struct ha_codec){.mode = HA_CODEC_HASH, .hash = HA_HASH_START};
}

bool ha_codec_reading(const struct ha_codec *c)
{
    return c->mode == HA_CODEC_READ;
}

void *ha_codec_borrow(const void *data)
{
    union {
        const void *from;
        void *to;
    } cast = {.from = data};

    return cast.to;
}

void ha_codec_fail(struct ha_codec *c, const char *why)
{
    if (c->why == NULL)
        c->why = why;
}

int ha_codec_end(const struct ha_codec *c, int code, const char *what, struct ha_err *err)
{
    assert(code != HA_OK);
    if (c->why == NULL)
        return HA_OK;
    if (c->mode == HA_CODEC_WRITE && c->writer.failed)
        code = HA_EFULL;
    return ha_err_set(err, code, "%s: byte %zu: %s", what, c->size, c->why);
}

void ha_codec_raw(struct ha_codec *c, void *data, size_t size)
{
    if (c->why != NULL) {
        if (c->mode == HA_CODEC_READ)
            memset(data, 0, size);
        return;
    }
    switch (c->mode) {
    case HA_CODEC_READ:
        ha_get_bytes(&c->reader, data, size);
        if (c->reader.failed)
            ha_codec_fail(c, "truncated");
        break;
    case HA_CODEC_WRITE:
        ha_put_bytes(&c->writer, data, size);
        if (c->writer.failed)
            ha_codec_fail(c, "no room left");
        break;
    case HA_CODEC_HASH:
        c->hash = ha_hash(c->hash, data, size);
        break;
    case HA_CODEC_COUNT:
        break;
    }
    if (c->why == NULL)
        c->size += size;
}

/* @size bytes, little-endian; returns what was read, or @v. */
static uint64_t walk_number(struct ha_codec *c, uint64_t v, size_t size)
{
    uint8_t raw[8];

    for (size_t i = 0; i < size; i++)
        raw[i] = (uint8_t)(v >> (8 * i));
    ha_codec_raw(c, raw, size);
    v = 0;
    for (size_t i = 0; i < size; i++)
        v |= (uint64_t)raw[i] << (8 * i);
    return v;
}

/* Only a reader may store: what the others walk can be read-only memory. */
void ha_codec_u8(struct ha_codec *c, uint8_t *v)
{
    uint64_t number = walk_number(c, *v, sizeof(*v));

    if (ha_codec_reading(c))
        *v = (uint8_t)number;
}

void ha_codec_u16(struct ha_codec *c, uint16_t *v)
{
    uint64_t number = walk_number(c, *v, sizeof(*v));

    if (ha_codec_reading(c))
        *v = (uint16_t)number;
}

void ha_codec_u32(struct ha_codec *c, uint32_t *v)
{
    uint64_t number = walk_number(c, *v, sizeof(*v));

    if (ha_codec_reading(c))
        *v = (uint32_t)number;
}

void ha_codec_u64(struct ha_codec *c, uint64_t *v)
{
    uint64_t number = walk_number(c, *v, sizeof(*v));

    if (ha_codec_reading(c))
        *v = number;
}

void ha_codec_bool(struct ha_codec *c, bool *v)
{
    uint64_t number = walk_number(c, *v ? 1 : 0, 1);

    if (number > 1)
        ha_codec_fail(c, "neither true nor false");
    if (ha_codec_reading(c))
        *v = number == 1;
}

void ha_codec_u8_max(struct ha_codec *c, uint8_t *v, uint8_t max)
{
    ha_codec_u8(c, v);
    if (c->why != NULL || *v <= max)
        return;
    ha_codec_fail(c, "a number or count over its limit");
    /* Never leave a count behind that a caller could loop over. */
    if (ha_codec_reading(c))
        *v = 0;
}

void ha_codec_u32_max(struct ha_codec *c, uint32_t *v, uint32_t max)
{
    ha_codec_u32(c, v);
    if (c->why != NULL || *v <= max)
        return;
    ha_codec_fail(c, "a number or count over its limit");
    if (ha_codec_reading(c))
        *v = 0;
}

void ha_codec_text(struct ha_codec *c, char *text, size_t size)
{
    size_t length = ha_codec_reading(c) ? 0 : strnlen(text, size);

    assert(size > 0 && size <= UINT16_MAX);
    length = (size_t)walk_number(c, length, 2);
    if (c->why == NULL && length >= size)
        ha_codec_fail(c, "a text over its limit");
    if (!ha_codec_reading(c)) {
        ha_codec_raw(c, text, length);
        return;
    }
    memset(text, 0, size);
    if (c->why != NULL)
        return;
    ha_codec_raw(c, text, length);
    if (memchr(text, '\0', length) == NULL)
        return;
    ha_codec_fail(c, "a text with a zero byte");
    memset(text, 0, size);
}

void ha_codec_name(struct ha_codec *c, char *text, size_t size)
{
    ha_codec_text(c, text, size);
    if (c->why != NULL || text[0] == '\0' || ha_text_is_name(text, size))
        return;
    ha_codec_fail(c, "not a name");
    if (ha_codec_reading(c))
        memset(text, 0, size);
}

const void *ha_codec_view(struct ha_codec *c, size_t size)
{
    const uint8_t *at;

    assert(c->mode == HA_CODEC_READ);
    if (c->why == NULL && size > ha_reader_left(&c->reader))
        ha_codec_fail(c, "truncated");
    if (c->why != NULL)
        return NULL;
    at = c->reader.data + c->reader.at;
    c->reader.at += size;
    c->size += size;
    return at;
}

void ha_codec_finish(struct ha_codec *c, size_t unit)
{
    while (c->why == NULL && c->size % unit != 0)
        ha_codec_expect_u8(c, 0, "padding that is not zero");
    if (ha_codec_reading(c) && c->why == NULL && !ha_reader_done(&c->reader))
        ha_codec_fail(c, "bytes after the end");
}

void ha_codec_expect_u8(struct ha_codec *c, uint8_t want, const char *why)
{
    if (walk_number(c, want, 1) != want)
        ha_codec_fail(c, why);
}

void ha_codec_enum(struct ha_codec *c, uint32_t *v, bool (*is_valid)(uint32_t), const char *why)
{
    if (!is_valid(*v) && !ha_codec_reading(c)) {
        ha_codec_fail(c, why);
        return;
    }
    *v = (uint32_t)walk_number(c, *v, 1);
    if (c->why == NULL && is_valid(*v))
        return;
    ha_codec_fail(c, why);
    *v = 0;
}
