/* The files of a data directory that tell which history its WAL belongs to: damaged ones are "not
 * known". An input is 16 bytes, the header of a WAL page, and behind it the text of a history. */
#include <string.h>

#include "agents/postgresql/lineage.h"
#include "lib/base/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

#define SEGMENT (1u << 20)
#define HEADER 16u
#define LSN 8000u /* in the first page of segment 2 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ha_pg_lineage_ask ask = {
        .system = 77, .lsn = 2 * (uint64_t)SEGMENT + LSN, .segment_size = SEGMENT};
    size_t header = size < HEADER ? size : HEADER;
    uint32_t timeline = 1;
    struct ha_lineage lineage;

    scratch_make_dir("pg_wal");
    scratch_write("pg_wal/000000030000000000000002", data, header);
    scratch_write("pg_wal/00000003.history", data + header, size - header);
    (void)snprintf(ask.data_dir, sizeof(ask.data_dir), "%s", scratch_path(""));
    ha_pg_lineage_read(&ask, &lineage, &timeline);
    FUZZ_CHECK(lineage.count <= HA_LINEAGE_MAX);
    FUZZ_CHECK((lineage.count > 0) == (timeline != 0));
    FUZZ_CHECK(header == HEADER || timeline == 0);
    ask.timeline = 3;
    ha_pg_lineage_read(&ask, &lineage, &timeline);
    FUZZ_CHECK((lineage.count > 0) == (timeline == 3));
    return 0;
}
