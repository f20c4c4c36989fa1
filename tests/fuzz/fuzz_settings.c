/* The daemons' own files: taken whole, or refused with file, line and reason. The first byte says
 * whose file it is. */
#include <string.h>

#include "cmd/hafailover-agent/settings.h"
#include "cmd/hafailoverd/settings.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

static void check_refused(int code, const struct ha_err *err)
{
    FUZZ_CHECK(code == HA_EINVAL && err->code == code);
    FUZZ_CHECK(strstr(err->text, "settings") != NULL); /* names the file */
}

static void read_watcher(const char *path)
{
    static struct ha_daemon_settings settings;
    struct ha_err err = {0};
    int code;

    memset(&settings, 0, sizeof(settings));
    code = ha_daemon_settings_read(&settings, path, &err);
    if (code != HA_OK) {
        check_refused(code, &err);
        return;
    }
    FUZZ_CHECK(ha_text_is_name(settings.name, HA_NAME_SIZE));
    FUZZ_CHECK(settings.peer_count >= 1 && settings.peer_count <= HA_WATCHERS_MAX);
    FUZZ_CHECK(settings.listen_count >= 1 && settings.listen_count <= HA_LISTEN_MAX);
    for (uint32_t i = 1; i < settings.peer_count; i++)
        FUZZ_CHECK(strcmp(settings.peers[i - 1].name, settings.peers[i].name) < 0);
}

static void read_agent(const char *path)
{
    static struct ha_agent_settings settings;
    struct ha_err err = {0};
    int code;

    memset(&settings, 0, sizeof(settings));
    code = ha_agent_settings_read(&settings, path, &err);
    if (code != HA_OK) {
        check_refused(code, &err);
        return;
    }
    FUZZ_CHECK(ha_text_is_name(settings.name, HA_NAME_SIZE));
    FUZZ_CHECK(settings.watcher_count >= 1 && settings.watcher_count <= HA_WATCHERS_MAX);
    FUZZ_CHECK(settings.database_count <= HA_DATABASES_MAX);
    for (uint32_t i = 1; i < settings.watcher_count; i++)
        FUZZ_CHECK(strcmp(settings.watchers[i - 1].name, settings.watchers[i].name) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    scratch_write("settings", data + 1, size - 1);
    if ((data[0] & 1) != 0)
        read_agent(scratch_path("settings"));
    else
        read_watcher(scratch_path("settings"));
    return 0;
}
