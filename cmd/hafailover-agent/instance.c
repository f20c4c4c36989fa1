#include "cmd/hafailover-agent/instance.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/host/gate_bpf.h"
#include "cmd/common/ini.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/file.h"

#define BOOT_ID_SIZE 37u /* a UUID with its terminator */
#define NOTE_SIZE 128u
#define HEX 16u

/* One line: "INSTANCE BOOT_ID NETNS_COOKIE". */
static int make_note(char note[NOTE_SIZE], uint64_t instance, struct ha_err *err)
{
    char boot_id[BOOT_ID_SIZE] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, boot_id, sizeof(boot_id) - 1);

    if (fd >= 0)
        (void)close(fd); /* read only */
    if (got != (ssize_t)sizeof(boot_id) - 1)
        return ha_err_set(err, HA_EIO, "the kernel does not name its boot");
    return ha_text_format(note, NOTE_SIZE, "%016" PRIx64 " %s %" PRIu64 "\n", instance, boot_id,
                          ha_netns_cookie());
}

/* The id at the start of a note; 0 where there is none. */
static uint64_t parse_id(const char *note)
{
    char hex[HEX + 1] = "";
    uint8_t bytes[HEX / 2];
    uint64_t id = 0;

    memcpy(hex, note, HEX);
    if (ha_text_unhex(hex, bytes, sizeof(bytes)) != HA_OK)
        return 0;
    for (size_t i = 0; i < sizeof(bytes); i++)
        id = id << 8 | bytes[i];
    return id;
}

int ha_instance_keep(const char *state_dir, uint64_t *instance, struct ha_err *err)
{
    char path[HA_PATH_SIZE + 16], note[NOTE_SIZE];
    uint8_t *kept;
    size_t size;
    int code = make_note(note, *instance, err);

    if (code == HA_OK)
        code = ha_text_format(path, sizeof(path), "%s/instance", state_dir);
    if (code != HA_OK)
        return code;
    if (ha_file_read(path, NOTE_SIZE, &kept, &size, NULL) == HA_OK) {
        bool is_ours = size == strlen(note) && memcmp(kept + HEX, note + HEX, size - HEX) == 0;
        uint64_t id = is_ours ? parse_id((const char *)kept) : 0;

        free(kept);
        if (id != 0) {
            *instance = id;
            return HA_OK;
        }
    }
    return ha_file_write(path, note, strlen(note), 0600, err);
}
