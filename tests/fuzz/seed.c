/* Writes the first corpus of the targets of our own encodings: one input of each kind. To be run
 * again when an encoding changes. Usage: fuzz-seed CORPUS_ROOT */
#include <string.h>

#include "lib/base/err.h"
#include "lib/wire/command.h"
#include "lib/wire/config.h"
#include "lib/wire/message.h"
#include "lib/wire/snapshot.h"
#include "raft/care.h"
#include "raft/fsm.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/wire/generate.h"

static uint8_t data[HA_SNAPSHOT_SIZE_MAX];
static struct ha_config config;
static struct ha_cluster cluster;
static char text[HA_CONFIG_TEXT_MAX + 1];
static struct gen g;

static void save(const char *root, const char *target, const char *name, size_t size)
{
    char path[4096];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s/%s", root, target, name);
    file = fopen(path, "wb");
    FUZZ_CHECK(file != NULL);
    FUZZ_CHECK(fwrite(data, 1, size, file) == size);
    FUZZ_CHECK(fclose(file) == 0);
}

static void seed_commands(const char *root)
{
    for (uint32_t kind = 0; ha_command_kind_valid(kind); kind++) {
        struct ha_command command;
        size_t size = 0;

        gen_seed(&g, kind, false);
        gen_command(&g, (enum ha_command_kind)kind, &command, &config, text);
        FUZZ_CHECK(ha_command_encode(&command, data, sizeof(data), &size, NULL) == HA_OK);
        save(root, "command", ha_command_kind_text(command.kind), size);
    }
}

static void seed_messages(const char *root)
{
    struct ha_batch_writer batch;
    struct ha_promise promise;
    struct ha_status status;

    for (uint32_t type = 1; ha_message_type_valid(type); type++) {
        struct ha_message message;
        size_t size = 0;

        gen_seed(&g, type, false);
        gen_message(&g, (enum ha_message_type)type, &message);
        gen_status(&g, &status);
        gen_promise(&g, &promise);
        if (type == HA_MESSAGE_HEARTBEATS) {
            ha_batch_begin_heartbeats(&batch, data, 1, 2);
            FUZZ_CHECK(ha_batch_add_status(&batch, &status) == HA_OK);
            FUZZ_CHECK(ha_batch_add_status(&batch, &status) == HA_OK);
            size = ha_batch_end(&batch);
        } else if (type == HA_MESSAGE_PROMISES) {
            ha_batch_begin_promises(&batch, data);
            FUZZ_CHECK(ha_batch_add_promise(&batch, &promise) == HA_OK);
            size = ha_batch_end(&batch);
        } else {
            FUZZ_CHECK(ha_message_encode(&message, data, sizeof(data), &size, NULL) == HA_OK);
        }
        save(root, "message", ha_message_type_text((enum ha_message_type)type), size);
    }
}

static void seed_snapshots(const char *root)
{
    for (uint32_t services = 0; services < 3; services++) {
        char name[16];
        size_t size = 0;

        gen_seed(&g, services, false);
        gen_cluster(&g, &cluster, services);
        FUZZ_CHECK(ha_snapshot_encode(&cluster, data, sizeof(data), &size, NULL) == HA_OK);
        (void)snprintf(name, sizeof(name), "services-%u", services);
        save(root, "snapshot", name, size);
    }
}

/* Without the checksum at its end: the target puts it right. */
static void seed_backups(const char *root)
{
    struct ha_fsm *fsm = calloc(1, sizeof(*fsm));
    struct raft_buffer wrapped;
    struct ha_raft_seed seed = {.cluster_id = 7,
                                .set = {.set_id = 9,
                                        .from_set = 8,
                                        .from_index = 5,
                                        .from_term = 4,
                                        .gone = "w3",
                                        .count = 2,
                                        .peers = {{.id = 1, .name = "w1", .address = "h1:1"},
                                                  {.id = 2, .name = "w4", .address = "h4:1"}}},
                                .index = 5,
                                .term = 4,
                                .wall_ms = 6};
    void *bytes = NULL;
    size_t size = 0;

    FUZZ_CHECK(fsm != NULL);
    gen_seed(&g, 1, false);
    gen_cluster(&g, &cluster, 1);
    FUZZ_CHECK(ha_snapshot_encode(&cluster, data, sizeof(data), &size, NULL) == HA_OK);
    FUZZ_CHECK(ha_fsm_pack(fsm, data, size, &wrapped));
    seed.data = wrapped.base;
    seed.size = wrapped.len;
    FUZZ_CHECK(ha_raft_seed_encode(&seed, &bytes, &size, NULL) == HA_OK);
    memcpy(data, bytes, size);
    save(root, "backup", "one-service", size - 4);
    raft_free(wrapped.base);
    free(bytes);
    free(fsm);
}

static void seed_configs(const char *root)
{
    for (uint32_t services = 0; services < 4; services++) {
        char name[16], *rendered = NULL;
        size_t size = 0;

        gen_seed(&g, services, services == 3);
        gen_sound_config(&g, &config, services);
        FUZZ_CHECK(ha_config_render(&config, &rendered, &size) == HA_OK);
        FUZZ_CHECK(size <= sizeof(data));
        memcpy(data, rendered, size);
        free(rendered);
        (void)snprintf(name, sizeof(name), "services-%u", services);
        save(root, "config", name, size);
    }
}

int main(int argc, char *argv[])
{
    if (argc != 2)
        return 2;
    seed_commands(argv[1]);
    seed_messages(argv[1]);
    seed_snapshots(argv[1]);
    seed_backups(argv[1]);
    seed_configs(argv[1]);
    return 0;
}
