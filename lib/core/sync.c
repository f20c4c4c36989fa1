/* Standby names; see sync.h. */
#include "lib/core/sync.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"

bool ha_sync_is_managed(enum ha_engine engine, enum ha_durability durability)
{
    return engine == HA_ENGINE_POSTGRESQL && durability != HA_DURABILITY_ASYNC;
}

void ha_sync_name(char ret[HA_SYNC_NAME_SIZE], const char *member, uint64_t epoch)
{
    (void)ha_text_format(ret, HA_SYNC_NAME_SIZE, "%s_e%" PRIu64, member, epoch);
}

void ha_sync_names(char ret[HA_SYNC_NAMES_SIZE], const struct ha_sync_set *set,
                   const char (*names)[HA_NAME_SIZE], uint64_t epoch)
{
    char name[HA_SYNC_NAME_SIZE];
    const char *between = "";

    ret[0] = '\0';
    if (set->need == 0)
        return;
    (void)ha_text_format(ret, HA_SYNC_NAMES_SIZE, "ANY %" PRIu32 " (", set->need);
    for (uint32_t id = 1; id <= HA_MEMBERS_MAX; id++) {
        if ((set->members >> id & 1u) == 0)
            continue;
        ha_sync_name(name, names[id], epoch);
        (void)ha_text_append(ret, HA_SYNC_NAMES_SIZE, "%s\"%s\"", between, name);
        between = ", ";
    }
    (void)ha_text_append(ret, HA_SYNC_NAMES_SIZE, ")");
}

uint64_t ha_sync_id(const char *names)
{
    uint64_t id = names[0] == '\0' ? 0 : ha_hash(HA_HASH_START, names, strlen(names));

    return id == 0 && names[0] != '\0' ? 1 : id;
}
