/* Snapshots: what is accepted encodes to the bytes it came from, and the digest is theirs. */
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/wire/snapshot.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ha_cluster cluster;
    static uint8_t again[HA_SNAPSHOT_SIZE_MAX];
    size_t again_size = 0;

    if (ha_snapshot_decode(data, size, &cluster, NULL) != HA_OK)
        return 0;
    FUZZ_CHECK(ha_snapshot_encode(&cluster, again, sizeof(again), &again_size, NULL) == HA_OK);
    FUZZ_CHECK(again_size == size && memcmp(again, data, size) == 0);
    FUZZ_CHECK(ha_snapshot_digest(&cluster) == ha_hash(HA_HASH_START, data, size));
    return 0;
}
