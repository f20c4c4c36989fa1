/* What a Redis server says on our connection to it: every batch ends once, and a hostile server
 * costs the connection, not memory. An input is pieces, each a length byte and so many bytes; the
 * rest, after a zero or at the end, is one more. */
#include <string.h>

#include "agents/engine.h"
#include "agents/redis/facts.h"
#include "agents/redis/link.h"
#include "lib/base/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/stub_stream.h"

static unsigned asked, ended;

static void on_facts(void *data, const struct ha_redis_outcome *outcome)
{
    struct ha_redis_facts facts;

    (void)data;
    ended++;
    FUZZ_CHECK(outcome->code != HA_OK || outcome->count == HA_REDIS_FACTS_COMMANDS);
    FUZZ_CHECK(outcome->code == HA_OK || outcome->text[0] != '\0');
    ha_redis_facts_read(outcome, 0, &facts);
    FUZZ_CHECK(ha_answer_valid(facts.sample.answer) && ha_role_valid(facts.sample.role));
    FUZZ_CHECK(memchr(facts.sample.text, '\0', sizeof(facts.sample.text)) != NULL);
    FUZZ_CHECK(outcome->code == HA_OK || facts.sample.answer != HA_ANSWER_OK);
}

static void ask(struct ha_redis_link *link)
{
    struct ha_redis_batch *batch = ha_redis_batch_new(on_facts, NULL);

    FUZZ_CHECK(batch != NULL);
    ha_redis_facts_ask(batch);
    if (ha_redis_link_send(link, batch, 1000) == HA_OK)
        asked++;
}

static void on_closed(struct ha_redis_link *link)
{
    *(bool *)link->data = true;
}

static void feed(uv_loop_t *loop, const uint8_t *data, size_t size)
{
    stub_stream_feed(data, size);
    (void)uv_run(loop, UV_RUN_NOWAIT);
}

static void talk(uv_loop_t *loop, struct ha_redis_link *link, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t piece = *data++;

        size--;
        if (piece == 0 || piece > size)
            piece = size;
        feed(loop, data, piece);
        data += piece;
        size -= piece;
        if (link->state == HA_REDIS_LINK_OPEN && link->batch_count == 0)
            ask(link);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uv_loop_t loop;
    static bool is_made;
    bool closed = false;
    struct ha_redis_link link;
    struct ha_link_spec spec = {
        .loop = &loop, .host = "127.0.0.1", .password = "p", .user = "u", .port = 1};

    if (!is_made)
        FUZZ_CHECK(uv_loop_init(&loop) == 0);
    is_made = true;
    asked = ended = 0;
    if (size > 0 && (data[0] & 1) != 0)
        spec.password = NULL;
    memset(&link, 0, sizeof(link));
    FUZZ_CHECK(ha_redis_link_init(&link, &spec, 6379, NULL) == HA_OK);
    link.data = &closed;
    ask(&link);
    stub_stream_opened();
    /* The first write waits a moment for what the server may say unasked. */
    for (int i = 0; i < 100 && link.state == HA_REDIS_LINK_LISTENING; i++)
        (void)uv_run(&loop, UV_RUN_ONCE);
    if (size > 0)
        talk(&loop, &link, data + 1, size - 1);
    stub_stream_end(HA_ECLOSED);
    for (int i = 0; i < 4; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    FUZZ_CHECK(asked == ended);
    ha_redis_link_close(&link, on_closed);
    for (int i = 0; i < 4 && !closed; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    FUZZ_CHECK(closed);
    return 0;
}
