/* Messages: what is accepted can be read to its end and encodes to the bytes it came from. */
#include <string.h>

#include "lib/base/err.h"
#include "lib/wire/message.h"
#include "tests/fuzz/fuzz.h"

static size_t encode_batch(struct ha_message *m, uint8_t *to)
{
    struct ha_batch_writer batch;
    struct ha_heartbeat heartbeat;
    struct ha_promise promise;

    if (m->type == HA_MESSAGE_HEARTBEATS) {
        ha_batch_begin_heartbeats(&batch, to, m->u.heartbeats.instance, m->u.heartbeats.stamp);
        while (ha_batch_next_heartbeat(&m->u.heartbeats, &heartbeat))
            FUZZ_CHECK(ha_batch_add_status(&batch, &heartbeat.status) == HA_OK);
    } else {
        ha_batch_begin_promises(&batch, to);
        while (ha_batch_next_promise(&m->u.promises, &promise))
            FUZZ_CHECK(ha_batch_add_promise(&batch, &promise) == HA_OK);
    }
    return ha_batch_end(&batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[HA_MESSAGE_SIZE_MAX];
    struct ha_message message;
    size_t again_size = 0;

    if (ha_message_decode(data, size, &message, NULL) != HA_OK)
        return 0;
    if (message.type == HA_MESSAGE_HEARTBEATS || message.type == HA_MESSAGE_PROMISES)
        again_size = encode_batch(&message, again);
    else
        FUZZ_CHECK(ha_message_encode(&message, again, sizeof(again), &again_size, NULL) == HA_OK);
    FUZZ_CHECK(again_size == size && memcmp(again, data, size) == 0);
    return 0;
}
