/* An agent's durable note of what it gave up: understood whole, or refused so that nothing is done.
 * The checksum is put right, so that what lies behind it is reached. */
#include <string.h>

#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/epochs.h"
#include "cmd/hafailover-agent/settings.h"
#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/core/agent.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

static struct ha_agent core;
static struct ha_agent_settings settings;
static uv_loop_t loop;

/* What epochs.c calls when a write has ended; nothing is written here. */
void ha_host_step(struct ha_host *host, struct ha_event *event)
{
    (void)host;
    (void)event;
    FUZZ_CHECK(false);
}

static void on_closed(struct ha_host *host)
{
    (void)host;
}

static void open_note(void)
{
    struct ha_host host = {.uv = &loop, .settings = &settings, .core = &core};
    struct ha_epochs *epochs = NULL;
    struct ha_err err = {0};
    uint32_t held = core.held_count;

    for (uint32_t i = 0; i < held; i++)
        memset(&core.held[i], 0, sizeof(core.held[i]));
    core.held_count = 0;
    if (ha_epochs_open(&host, &epochs, &err) != HA_OK) {
        FUZZ_CHECK(epochs == NULL && err.code != HA_OK && err.text[0] != '\0');
        return;
    }
    for (uint32_t i = 0; i < core.held_count; i++)
        FUZZ_CHECK(core.held[i].given_up_durable == core.held[i].given_up);
    ha_epochs_close(epochs, on_closed);
    FUZZ_CHECK(uv_run(&loop, UV_RUN_DEFAULT) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 16);

    FUZZ_CHECK(text != NULL);
    if (settings.state_dir[0] == '\0') {
        FUZZ_CHECK(uv_loop_init(&loop) == 0);
        (void)snprintf(settings.state_dir, sizeof(settings.state_dir), "%s", scratch_path(""));
        ha_agent_init(&core, 7, HA_GATE_BPF);
    }
    if (size > 0)
        memcpy(text, data, size);
    scratch_write("epochs", text, size);
    open_note();
    (void)snprintf(text + size, 16, "end %08x\n", ha_crc32c(0, data, size));
    scratch_write("epochs", text, size + 13);
    open_note();
    free(text);
    return 0;
}
