/* A backup, as restore and join read it: damaged ones are refused. The checksum is put right, so
 * that what lies behind it is reached. */
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/wire/snapshot.h"
#include "raft/care.h"
#include "tests/fuzz/fuzz.h"

static void check_state(const struct ha_raft_seed *seed)
{
    static struct ha_cluster cluster;
    struct ha_raft_seed other = *seed;
    struct ha_err err = {0};
    const void *state, *again;
    size_t size = 0, again_size = 0;

    if (ha_raft_seed_state(seed, &state, &size, &err) != HA_OK) {
        FUZZ_CHECK(err.code == HA_ECORRUPT && err.text[0] != '\0');
        return;
    }
    (void)ha_snapshot_decode(state, size, &cluster, NULL);
    other.data = malloc(seed->size);
    FUZZ_CHECK(other.data != NULL);
    memcpy(other.data, seed->data, seed->size);
    FUZZ_CHECK(ha_raft_seed_replace(&other, state, size, 77, NULL) == HA_OK);
    FUZZ_CHECK(ha_raft_seed_state(&other, &again, &again_size, NULL) == HA_OK);
    FUZZ_CHECK(other.index == 77 && again_size == size && memcmp(again, state, size) == 0);
    ha_raft_seed_fini(&other);
}

static void read_seed(const uint8_t *data, size_t size)
{
    struct ha_raft_seed seed = {0};
    struct ha_err err = {0};
    void *again = NULL;
    size_t again_size = 0;

    if (ha_raft_seed_decode(data, size, &seed, &err) != HA_OK) {
        FUZZ_CHECK(seed.data == NULL && err.code != HA_OK && err.text[0] != '\0');
        return;
    }
    FUZZ_CHECK(ha_raft_seed_encode(&seed, &again, &again_size, NULL) == HA_OK);
    FUZZ_CHECK(again_size == size && memcmp(again, data, size) == 0);
    check_state(&seed);
    free(again);
    ha_raft_seed_fini(&seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *sealed = malloc(size + 4);
    struct ha_writer w;

    FUZZ_CHECK(sealed != NULL);
    memcpy(sealed, data, size);
    read_seed(sealed, size);
    ha_writer_init(&w, sealed + size, 4);
    ha_put_u32(&w, ha_crc32c(0, data, size));
    read_seed(sealed, size + 4);
    free(sealed);
    return 0;
}
