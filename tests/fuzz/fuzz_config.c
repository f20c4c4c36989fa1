/* services.conf: what is accepted is sound, and its rendering reads back as the same. */
#include <string.h>

#include "lib/base/err.h"
#include "lib/wire/config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ha_config config, again;
    struct ha_err err = {0};
    char *text = NULL;
    size_t text_size = 0;

    memset(&config, 0, sizeof(config));
    if (ha_config_parse((const char *)data, size, 3, &config, &err) != HA_OK) {
        FUZZ_CHECK(err.code != HA_OK && err.text[0] != '\0');
        FUZZ_CHECK(config.service_count == 0 && config.webhook_count == 0);
        return 0;
    }
    FUZZ_CHECK(ha_config_check(&config, 3, NULL) == HA_OK);
    FUZZ_CHECK(ha_config_render(&config, &text, &text_size) == HA_OK);
    if (text_size <= HA_CONFIG_TEXT_MAX) {
        FUZZ_CHECK(ha_config_parse(text, text_size, 3, &again, &err) == HA_OK);
        FUZZ_CHECK(memcmp(&config, &again, sizeof(config)) == 0);
    }
    free(text);
    return 0;
}
