/* lib/wire/codec.h - one walk over a struct that writes it, reads it, counts it or hashes it.
 *
 * Pure, no allocation. A struct's fields are listed once, in one function that calls the primitives
 * below in order; the codec's mode decides the direction, so writer and reader cannot drift apart.
 * In every mode the same limits hold: an enumerator, count or string that the reader would refuse
 * is refused by the writer too. The first failure sticks and names itself; later calls do nothing
 * (reading: leave zeros). Numbers are little-endian.
 *
 * Used inside lib/wire only; other rooms call the encode and decode functions. */
#ifndef HA_WIRE_CODEC_H
#define HA_WIRE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/bytes.h"

struct ha_err;

enum ha_codec_mode {
    HA_CODEC_READ,
    HA_CODEC_WRITE,
    HA_CODEC_COUNT, /* only `size` */
    HA_CODEC_HASH,  /* `size` and `hash` of what WRITE would write */
};

struct ha_codec {
    enum ha_codec_mode mode;
    struct ha_reader reader; /* READ */
    struct ha_writer writer; /* WRITE */
    uint64_t hash;           /* HASH */
    size_t size;             /* bytes walked so far, in every mode */
    const char *why;         /* first failure; NULL: none */
};

void ha_codec_read(struct ha_codec *c, const void *data, size_t size);
void ha_codec_write(struct ha_codec *c, void *data, size_t size_max);
void ha_codec_count(struct ha_codec *c);
void ha_codec_hash(struct ha_codec *c);

bool ha_codec_reading(const struct ha_codec *c);

/* Note a failure, unless one is noted already. @why is a literal. */
void ha_codec_fail(struct ha_codec *c, const char *why);

/* HA_OK, or @code with "@what: byte 17: truncated". A writer out of room gives HA_EFULL instead. */
int ha_codec_end(const struct ha_codec *c, int code, const char *what, struct ha_err *err);

void ha_codec_u8(struct ha_codec *c, uint8_t *v);
void ha_codec_u16(struct ha_codec *c, uint16_t *v);
void ha_codec_u32(struct ha_codec *c, uint32_t *v);
void ha_codec_u64(struct ha_codec *c, uint64_t *v);
void ha_codec_bool(struct ha_codec *c, bool *v);
/* A number that may not be over @max. */
void ha_codec_u8_max(struct ha_codec *c, uint8_t *v, uint8_t max);
void ha_codec_u32_max(struct ha_codec *c, uint32_t *v, uint32_t max);
/* u16 length and bytes; reading fills all of @size. */
void ha_codec_text(struct ha_codec *c, char *text, size_t size);
/* The same, and it is empty or a name (ha_text_is_name). */
void ha_codec_name(struct ha_codec *c, char *text, size_t size);
void ha_codec_raw(struct ha_codec *c, void *data, size_t size);
/* READ only: the next @size bytes where they lie, or NULL (failed). */
const void *ha_codec_view(struct ha_codec *c, size_t size);
/* Zeros up to a multiple of @unit, and nothing after them. */
void ha_codec_finish(struct ha_codec *c, size_t unit);
/* What must stand here: a fixed number, said otherwise in @why. */
void ha_codec_expect_u8(struct ha_codec *c, uint8_t want, const char *why);

/* An enumeration of HA_ENUM, as one byte. */
#define HA_CODEC_ENUM(codec, field, name)                                         \
    do {                                                                          \
        uint32_t enum_value = (uint32_t) * (field);                               \
        ha_codec_enum((codec), &enum_value, ha_##name##_valid, "unknown " #name); \
        if (ha_codec_reading(codec))                                              \
            *(field) = (enum ha_##name)enum_value;                                \
    } while (0)
void ha_codec_enum(struct ha_codec *c, uint32_t *v, bool (*is_valid)(uint32_t), const char *why);

/* The walk functions take what they may write to; every mode but READ only reads through it. This
 * is the one place where const is laid aside for them. */
void *ha_codec_borrow(const void *data);

#endif /* HA_WIRE_CODEC_H */
