/* Log entries: what is accepted encodes to the bytes it came from. */
#include <string.h>

#include "lib/base/err.h"
#include "lib/wire/command.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ha_config config;
    static uint8_t again[HA_COMMAND_SIZE_MAX];
    struct ha_command command;
    size_t again_size = 0;

    if (ha_command_decode(data, size, &command, &config, NULL) != HA_OK)
        return 0;
    FUZZ_CHECK(ha_command_encode(&command, again, sizeof(again), &again_size, NULL) == HA_OK);
    FUZZ_CHECK(again_size == size && memcmp(again, data, size) == 0);
    if (command.kind == HA_COMMAND_CONFIG)
        (void)ha_config_check(&config, 3, NULL);
    return 0;
}
