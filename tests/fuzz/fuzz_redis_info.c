/* The text of INFO: whatever is accepted gives a sound sample, and sections may come in pieces. */
#include <string.h>

#include "agents/redis/info.h"
#include "lib/base/err.h"
#include "tests/fuzz/fuzz.h"

static void check_sample(const struct ha_sample *sample)
{
    const struct ha_lineage *lineage = &sample->position.lineage;

    FUZZ_CHECK(sample->answer == HA_ANSWER_OK || sample->answer == HA_ANSWER_STARTING);
    FUZZ_CHECK(sample->role == HA_ROLE_PRIMARY || sample->role == HA_ROLE_REPLICA);
    FUZZ_CHECK(memchr(sample->upstream_host, '\0', sizeof(sample->upstream_host)) != NULL);
    FUZZ_CHECK(memchr(sample->text, '\0', sizeof(sample->text)) != NULL);
    FUZZ_CHECK(sample->position.offset <= INT64_MAX);
    FUZZ_CHECK(lineage->count <= 2);
    for (uint32_t i = 1; i < lineage->count; i++)
        FUZZ_CHECK(lineage->steps[i].id != 0 && lineage->steps[i].end < INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *cut = size == 0 ? NULL : memchr(text + size / 2, '\n', size - size / 2);
    struct ha_redis_info whole = {0}, parts = {0};
    struct ha_sample sample = {0};
    struct ha_err err = {0};
    int rc = ha_redis_info_parse(&whole, text, size, &err);

    if (rc != HA_OK) {
        FUZZ_CHECK(rc == HA_EPROTO && err.code == rc && err.text[0] != '\0');
        return 0;
    }
    if (ha_redis_info_sample(&whole, &sample, &err) == HA_OK)
        check_sample(&sample);
    if (cut != NULL) {
        size_t first = (size_t)(cut - text) + 1;

        FUZZ_CHECK(ha_redis_info_parse(&parts, text, first, NULL) == HA_OK);
        FUZZ_CHECK(ha_redis_info_parse(&parts, text + first, size - first, NULL) == HA_OK);
        FUZZ_CHECK(memcmp(&whole, &parts, sizeof(whole)) == 0);
    }
    return 0;
}
