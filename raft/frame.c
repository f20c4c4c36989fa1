#include "raft/frame.h"

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define HELLO_MAGIC 0x46414861u /* "aHAF" */

static size_t written(const struct ha_writer *w)
{
    return w->failed ? 0 : w->size;
}

size_t ha_frame_put_hello(void *to, size_t size_max, const struct ha_frame_hello *hello)
{
    struct ha_writer w;

    ha_writer_init(&w, to, size_max);
    ha_put_u32(&w, HELLO_MAGIC);
    ha_put_u16(&w, hello->protocol);
    ha_put_u16(&w, hello->from_id);
    ha_put_u16(&w, hello->to_id);
    ha_put_u16(&w, 0);
    ha_put_u64(&w, hello->cluster_id);
    ha_put_u64(&w, hello->set_id);
    return written(&w);
}

bool ha_frame_get_hello(const void *data, size_t size, struct ha_frame_hello *ret)
{
    struct ha_reader r;
    uint32_t magic;
    uint16_t zero;

    ha_reader_init(&r, data, size);
    magic = ha_get_u32(&r);
    ret->protocol = ha_get_u16(&r);
    ret->from_id = ha_get_u16(&r);
    ret->to_id = ha_get_u16(&r);
    zero = ha_get_u16(&r);
    ret->cluster_id = ha_get_u64(&r);
    ret->set_id = ha_get_u64(&r);
    return ha_reader_done(&r) && magic == HELLO_MAGIC && zero == 0;
}

size_t ha_frame_put_forward(void *to, size_t size_max, const struct ha_frame_forward *forward)
{
    struct ha_writer w;

    ha_writer_init(&w, to, size_max);
    ha_put_u64(&w, forward->seq);
    ha_put_bytes(&w, forward->data, forward->size);
    return written(&w);
}

bool ha_frame_get_forward(const void *data, size_t size, struct ha_frame_forward *ret)
{
    struct ha_reader r;

    ha_reader_init(&r, data, size);
    ret->seq = ha_get_u64(&r);
    ret->size = ha_reader_left(&r);
    ret->data = r.data + r.at;
    return !r.failed && ret->size > 0 && ret->size <= HA_RAFT_ENTRY_MAX;
}

size_t ha_frame_put_answer(void *to, size_t size_max, const struct ha_frame_answer *answer)
{
    struct ha_writer w;

    ha_writer_init(&w, to, size_max);
    ha_put_u64(&w, answer->seq);
    ha_put_u8(&w, (uint8_t)answer->result);
    ha_put_u8(&w, (uint8_t)-answer->code);
    ha_put_u64(&w, answer->index);
    return written(&w);
}

bool ha_frame_get_answer(const void *data, size_t size, struct ha_frame_answer *ret)
{
    struct ha_reader r;
    uint8_t result;

    ha_reader_init(&r, data, size);
    ret->seq = ha_get_u64(&r);
    result = ha_get_u8(&r);
    ret->code = -(int)ha_get_u8(&r);
    ret->index = ha_get_u64(&r);
    ret->result = (enum ha_raft_result)result;
    return ha_reader_done(&r) && result <= HA_RAFT_UNKNOWN &&
           (result == HA_RAFT_COMMITTED) == (ret->code == HA_OK);
}

size_t ha_frame_put_read(void *to, size_t size_max, const struct ha_frame_read *read)
{
    struct ha_writer w;

    ha_writer_init(&w, to, size_max);
    ha_put_u64(&w, read->seq);
    ha_put_u8(&w, read->is_known ? 1 : 0);
    ha_put_u64(&w, read->index);
    return written(&w);
}

bool ha_frame_get_read(const void *data, size_t size, struct ha_frame_read *ret)
{
    struct ha_reader r;

    ha_reader_init(&r, data, size);
    ret->seq = ha_get_u64(&r);
    ret->is_known = ha_get_bool(&r);
    ret->index = ha_get_u64(&r);
    return ha_reader_done(&r);
}
