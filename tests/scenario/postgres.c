/* PostgreSQL on the stage: standbys with names, commits that wait for them, the seal. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/sync.h"
#include "tests/scenario/stage.h"

static const char names[HA_MEMBERS_MAX + 1][HA_NAME_SIZE] = {"", "a", "b", "c"};

uint64_t stage_pg_names(const struct stage *stage, uint32_t host)
{
    const struct stage_db *db = &stage->hosts[host].db;
    char text[HA_SYNC_NAMES_SIZE];

    if (db->role == HA_ROLE_REPLICA)
        ha_sync_name(text, names[host + 1], db->name_epoch);
    else if (db->names.need > 0 && db->names.members == 0)
        return 1; /* a name nobody has */
    else
        ha_sync_names(text, &db->names, names, db->names_epoch);
    return ha_sync_id(text);
}

void stage_pg_act(struct stage *stage, uint32_t host, const struct ha_act *act)
{
    struct stage_db *db = &stage->hosts[host].db;

    if (act->kind == HA_ORDER_PROMOTE && act->sync_managed)
        db->names = (struct ha_sync_set){.need = 1};
    else if (act->kind == HA_ORDER_SERVE && act->sync_managed) {
        db->names = act->sync;
        db->names_epoch = act->epoch;
    } else if (act->kind == HA_ORDER_FOLLOW)
        db->name_epoch = act->epoch;
    else if (act->kind == HA_ORDER_SEAL)
        db->upstream = STAGE_HOSTS;
}

/* How many of the standbys that count have what it wrote; they are at once where it is. */
static uint32_t having(const struct stage *stage, uint32_t host)
{
    const struct stage_db *db = &stage->hosts[host].db;
    uint32_t count = 0;

    for (uint32_t h = 0; h < STAGE_HOSTS; h++)
        if ((db->names.members >> (h + 1) & 1u) != 0 &&
            stage->hosts[h].db.name_epoch == db->names_epoch && stage_db_is_fed(stage, h, host))
            count++;
    return count;
}

static bool holds_acked(const struct stage *stage, const struct stage_db *db)
{
    const struct ha_lineage *lineage = &db->position.lineage;

    for (uint32_t i = 0; i < lineage->count; i++)
        if (lineage->steps[i].id == stage->acked_lineage)
            return (i == 0 ? db->position.offset : lineage->steps[i].end) >= stage->acked_offset;
    return stage->acked_lineage == 0;
}

/* Whoever begins to serve holds all that clients were told, unless that was not promised. */
static void look_at_new(struct stage *stage, uint32_t host)
{
    struct stage_db *db = &stage->hosts[host].db;
    bool lost = !holds_acked(stage, db);

    if (db->served_epoch == db->names_epoch)
        return;
    db->served_epoch = db->names_epoch;
    if (!lost)
        return;
    stage_say(stage, "writes that were acknowledged are lost, %s",
              stage->loss_accepted ? "as the operator accepted"
              : stage->acked_alone ? "those of a primary alone"
                                   : "AND NOBODY SAID SO");
    stage->broken = stage->broken || !(stage->loss_accepted || stage->acked_alone);
    stage->loss_accepted = false;
}

void stage_pg_look(struct stage *stage)
{
    uint32_t acknowledging = 0;

    for (uint32_t h = 0; h < STAGE_HOSTS; h++) {
        const struct stage_db *db = &stage->hosts[h].db;
        bool open = stage_takes_writes(stage, h);
        bool alone = db->names.need == 0, enough = having(stage, h) >= db->names.need;
        const char *how = !open     ? NULL
                          : alone   ? "acknowledges writes ALONE"
                          : !enough ? "lets writes wait"
                                    : "acknowledges writes";

        if (how != NULL && (stage->was_acked[h] == NULL || strcmp(how, stage->was_acked[h]) != 0))
            stage_say(stage, "%c %s", (char)('a' + h), how);
        stage->was_acked[h] = how;
        if (!open || !enough)
            continue;
        acknowledging++;
        look_at_new(stage, h);
        stage->acked_lineage = db->position.lineage.steps[0].id;
        stage->acked_offset = db->position.offset;
        stage->acked_alone = alone;
    }
    if (acknowledging <= 1)
        return;
    stage->broken = true;
    stage_say(stage, "TWO ACKNOWLEDGE WRITES");
}
