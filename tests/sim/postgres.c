/* A model of PostgreSQL beside that of Redis: timelines, standbys that replicate under a name, and
 * commits that are acknowledged when enough of the named ones have flushed them. What was
 * acknowledged is remembered, and held against whoever is promoted. */
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/sync.h"
#include "tests/sim/sim.h"

static const char names[HA_MEMBERS_MAX + 1][HA_NAME_SIZE] = {"", "a", "b", "c"};

static uint32_t node_of(uint32_t host)
{
    return SIM_WATCHERS_MAX + host;
}

uint64_t sim_pg_names_id(const struct sim_db *db, uint32_t member)
{
    char text[HA_SYNC_NAMES_SIZE];

    if (db->role == HA_ROLE_REPLICA) {
        ha_sync_name(text, names[member], db->name_epoch);
        return ha_sync_id(text);
    }
    if (db->names.need > 0 && db->names.members == 0)
        return 1; /* a name nobody has */
    ha_sync_names(text, &db->names, names, db->names_epoch);
    return ha_sync_id(text);
}

void sim_pg_start(struct sim *sim, uint32_t host, bool empty)
{
    struct sim_db *db = &sim->hosts[host].db;

    db->misrouted_us = 0;
    if (!empty)
        return;
    db->upstream = SIM_HOSTS;
    db->names = (struct ha_sync_set){.need = 1};
    db->names_epoch = 0;
    db->name_epoch = 0;
}

/* Whom it is connected to. */
static uint32_t upstream_of(const struct sim *sim, uint32_t replica)
{
    const struct sim_db *db = &sim->hosts[replica].db;

    return db->upstream < SIM_HOSTS && sim->now_us < db->misrouted_us ? db->misrouted
                                                                      : db->upstream;
}

static bool knows(const struct sim_db *db, uint64_t history)
{
    for (uint32_t i = 0; i < db->position.lineage.count; i++)
        if (db->position.lineage.steps[i].id == history)
            return true;
    return false;
}

/* Safety.md leaves it to people that a disk of the last primary which went back does not catch up
 * with a standby of it: it would pass for the one that acknowledged. */
static bool would_pass_for_itself(const struct sim *sim, uint32_t replica, uint32_t up)
{
    const struct sim_host *host = &sim->hosts[replica];

    return replica == sim->holder && host->acked_in != 0 && !knows(&host->db, host->acked_in) &&
           knows(&sim->hosts[up].db, host->acked_in);
}

static bool feeds(const struct sim *sim, uint32_t replica)
{
    uint32_t up = upstream_of(sim, replica);

    return up < SIM_HOSTS && up != replica && sim->hosts[up].db.alive && !sim->hosts[up].db.hung &&
           sim_gate_open(sim, up) && sim_both_reach(sim, node_of(replica), node_of(up)) &&
           !would_pass_for_itself(sim, replica, up);
}

/* The history up to step @at alone. */
static void keep_from(struct ha_lineage *to, const struct ha_lineage *from, uint32_t at)
{
    struct ha_lineage cut = {.count = from->count - at};

    memcpy(cut.steps, &from->steps[at], cut.count * sizeof(cut.steps[0]));
    cut.steps[0].end = UINT64_MAX;
    *to = cut;
}

/* Streams a part of what is missing. False: its data is no prefix of the upstream's. */
static bool stream(struct sim *sim, struct sim_db *db, const struct sim_db *up)
{
    const struct ha_lineage *theirs = &up->position.lineage;
    uint64_t most = db->position.offset + ha_prng_below(&sim->prng, 60);

    if (db->position.lineage.count == 0)
        return false;
    for (uint32_t k = 0; k < theirs->count; k++) {
        uint64_t end = k == 0 ? up->position.offset : theirs->steps[k].end;

        if (theirs->steps[k].id != db->position.lineage.steps[0].id)
            continue;
        if (db->position.offset > end)
            return false;
        if (most < end || k == 0) {
            db->position.offset = most < end ? most : end;
            keep_from(&db->position.lineage, theirs, k);
            return true;
        }
        db->position.offset = end;
        keep_from(&db->position.lineage, theirs, k - 1);
        return true;
    }
    return false;
}

static void replicate(struct sim *sim, uint32_t replica)
{
    struct sim_db *db = &sim->hosts[replica].db;
    const struct sim_db *up;

    if (!db->alive || db->hung || db->role != HA_ROLE_REPLICA)
        return;
    if (!feeds(sim, replica)) {
        db->link_up = db->copying = false;
        return;
    }
    up = &sim->hosts[upstream_of(sim, replica)].db;
    if (db->copying) {
        if (sim->now_us < db->copy_done_us)
            return;
        db->copying = false;
        if (up->fresh && !db->fresh)
            return;
        db->fresh = false;
        db->position = up->position; /* rewound, or copied whole */
    }
    db->link_up = stream(sim, db, up);
    if (db->link_up)
        db->fresh = false;
    /* Nobody rewinds to the data of a standby, or leaves its own for another cluster's. */
    if (db->link_up || upstream_of(sim, replica) != db->upstream || up->role != HA_ROLE_PRIMARY ||
        (up->fresh && !db->fresh))
        return;
    db->copying = true;
    db->copy_done_us = sim->now_us + ha_prng_between(&sim->prng, 20000, 300000);
}

/* Acknowledgements */

bool sim_pg_holds(const struct sim_db *db, const struct sim_acked *acked)
{
    const struct ha_lineage *lineage = &db->position.lineage;

    for (uint32_t i = 0; i < lineage->count; i++)
        if (lineage->steps[i].id == acked->lineage)
            return (i == 0 ? db->position.offset : lineage->steps[i].end) >= acked->offset;
    return lineage->count == HA_LINEAGE_MAX; /* older than what is remembered */
}

static bool is_named(const struct sim_db *db, const struct sim_db *standby, uint32_t member)
{
    char theirs[HA_SYNC_NAME_SIZE], ours[HA_SYNC_NAME_SIZE];

    ha_sync_name(theirs, names[member], standby->name_epoch);
    ha_sync_name(ours, names[member], db->names_epoch);
    return strcmp(theirs, ours) == 0;
}

/* The offset up to which enough of the named standbys have flushed. */
static uint64_t acknowledged(const struct sim *sim, uint32_t host)
{
    const struct sim_db *db = &sim->hosts[host].db;
    uint64_t offsets[SIM_HOSTS];
    uint32_t count = 0;

    if (db->names.need == 0)
        return 0; /* acknowledged alone: nothing is promised of it */
    for (uint32_t r = 0; r < SIM_HOSTS; r++) {
        const struct sim_db *standby = &sim->hosts[r].db;
        uint32_t at = count;

        if (r == host || !standby->alive || standby->hung || standby->role != HA_ROLE_REPLICA ||
            !standby->link_up || upstream_of(sim, r) != host || !feeds(sim, r) ||
            (db->names.members >> (r + 1) & 1u) == 0 || !is_named(db, standby, r + 1) ||
            standby->position.lineage.steps[0].id != db->position.lineage.steps[0].id)
            continue;
        for (; at > 0 && offsets[at - 1] < standby->position.offset; at--)
            offsets[at] = offsets[at - 1];
        offsets[at] = standby->position.offset;
        count++;
    }
    return count < db->names.need ? 0 : offsets[db->names.need - 1];
}

static void remember(struct sim *sim, uint32_t host, uint64_t offset)
{
    const struct ha_lineage *own = &sim->hosts[host].db.position.lineage;
    uint64_t lineage = own->steps[0].id;

    /* At the fork nothing of this timeline was written yet. */
    if (own->count > 1 && offset <= own->steps[1].end)
        return;
    for (uint32_t i = 0; i < sim->acked_count; i++) {
        if (sim->acked[i].lineage != lineage)
            continue;
        if (offset > sim->acked[i].offset)
            sim->acked[i].offset = offset;
        return;
    }
    if (sim->acked_count == SIM_ACKED_MAX) {
        memmove(&sim->acked[0], &sim->acked[1], (SIM_ACKED_MAX - 1) * sizeof(sim->acked[0]));
        sim->acked_count--;
    }
    sim->acked[sim->acked_count++] = (struct sim_acked){lineage, offset};
}

static void acknowledge(struct sim *sim, uint32_t host)
{
    struct sim_db *db = &sim->hosts[host].db;
    uint64_t offset = acknowledged(sim, host);

    if (offset <= db->acked && db->acked_lineage == db->position.lineage.steps[0].id)
        return;
    if (offset == 0)
        return;
    sim_check_acked(sim, host, db->acked_lineage != db->position.lineage.steps[0].id);
    db->acked = offset;
    db->acked_lineage = db->position.lineage.steps[0].id;
    sim->hosts[host].acked_in = db->acked_lineage;
    sim->acks++;
    sim->acked_us = sim->now_us;
    if (db->names_epoch < sim->open_seen)
        sim_fail(sim, SIM_SAFETY, "db%u acknowledges for epoch %lu after %lu opened", host + 1,
                 (unsigned long)db->names_epoch, (unsigned long)sim->open_seen);
    remember(sim, host, offset);
}

static void misroute(struct sim *sim, uint32_t replica, uint32_t chance_ppm)
{
    struct sim_db *db = &sim->hosts[replica].db;

    /* An address that still leads elsewhere: a connection ends at another primary. */
    if (sim->quiet || !sim->profile.gates_fail || !ha_prng_chance(&sim->prng, chance_ppm))
        return;
    db->misrouted = (uint32_t)ha_prng_below(&sim->prng, SIM_HOSTS);
    if (sim->hosts[db->misrouted].db.role == HA_ROLE_PRIMARY && db->misrouted != replica)
        db->misrouted_us = sim->now_us + ha_prng_between(&sim->prng, 10000, 3000000);
}

void sim_pg_step(struct sim *sim)
{
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        struct sim_db *db = &sim->hosts[h].db;

        if (!sim_takes_writes(sim, h) || db->hung)
            continue;
        if (!sim->profile.gates_fail)
            sim_check_acked(sim, h, false);
        if (!sim_clients_write(sim))
            continue;
        db->position.offset += 10;
        sim->writes++;
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        misroute(sim, h, 2000);
        replicate(sim, h);
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        if (sim_takes_writes(sim, h) && !sim->hosts[h].db.hung)
            acknowledge(sim, h);
}

/* Acts */

static void drop_standbys(struct sim *sim, uint32_t host)
{
    for (uint32_t r = 0; r < SIM_HOSTS; r++)
        if (upstream_of(sim, r) == host)
            sim->hosts[r].db.link_up = false;
}

/* A reload is not atomic: names may be in effect before it is said that they are, or although it is
 * said that they are not. */
void sim_pg_early(struct sim *sim, uint32_t host, const struct ha_order *order, bool is_meant)
{
    if (sim->hosts[host].db.alive && order->kind == HA_ORDER_SERVE && order->sync_managed &&
        ha_prng_chance(&sim->prng, 400000) && is_meant)
        sim_pg_act(sim, host, order);
}

void sim_pg_act(struct sim *sim, uint32_t host, const struct ha_order *order)
{
    struct sim_db *db = &sim->hosts[host].db;
    struct ha_lineage *lineage = &db->position.lineage;
    uint32_t keep = lineage->count < HA_LINEAGE_MAX ? lineage->count : HA_LINEAGE_MAX - 1;

    switch (order->kind) {
    case HA_ORDER_PROMOTE:
        if (order->sync_managed)
            db->names = (struct ha_sync_set){.need = 1};
        db->fresh = false;
        if (db->role == HA_ROLE_PRIMARY)
            return;
        db->role = HA_ROLE_PRIMARY;
        db->upstream = SIM_HOSTS;
        db->link_up = db->copying = false;
        sim->hosts[host].served_run = 0;
        memmove(&lineage->steps[1], &lineage->steps[0], keep * sizeof(lineage->steps[0]));
        lineage->steps[1].end = db->position.offset;
        lineage->steps[0] = (struct ha_lineage_step){
            sim_new_history(sim, lineage->steps[1].id, db->position.offset), UINT64_MAX};
        lineage->count = keep + 1;
        return;
    case HA_ORDER_SERVE:
        if (!order->sync_managed || db->role != HA_ROLE_PRIMARY)
            return;
        db->names = order->sync;
        db->names_epoch = order->epoch;
        drop_standbys(sim, host);
        return;
    case HA_ORDER_FOLLOW:
        db->role = HA_ROLE_REPLICA;
        db->upstream = (uint32_t)(order->upstream_host[7] - '1');
        db->name_epoch = order->epoch;
        db->link_up = db->copying = false;
        db->misrouted_us = 0;
        misroute(sim, host, 200000);
        return;
    case HA_ORDER_SEAL:
        db->upstream = SIM_HOSTS;
        db->link_up = db->copying = false;
        return;
    case HA_ORDER_NONE:
    case HA_ORDER_REPORT:
    case HA_ORDER_FENCE:
    case HA_ORDER_DRAIN:
    case HA_ORDER_HOLD:
    case HA_ORDER_RELEASE:
        return;
    }
}
