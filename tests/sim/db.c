/* A model of Redis: replication ids, partial and full synchronizations, empty restarts; and what
 * both engines share. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

static uint32_t node_of(uint32_t host)
{
    return SIM_WATCHERS_MAX + host;
}

bool sim_takes_writes(const struct sim *sim, uint32_t host)
{
    const struct sim_db *db = &sim->hosts[host].db;

    return db->alive && db->role == HA_ROLE_PRIMARY && sim_gate_open(sim, host);
}

bool sim_clients_write(const struct sim *sim)
{
    return !sim->profile.bursts || sim->now_us / 2500000 % 2 == 0;
}

uint64_t sim_new_id(struct sim *sim)
{
    return ++sim->ids * 1000 + 7;
}

/* Histories, as they truly are */

uint64_t sim_new_history(struct sim *sim, uint64_t parent, uint64_t at)
{
    uint64_t id = sim_new_id(sim), index = id / 1000;

    if (index >= sim->fork_size) {
        uint64_t size = 2 * index + 64;

        sim->forks = realloc(sim->forks, size * sizeof(*sim->forks));
        assert(sim->forks != NULL);
        memset(&sim->forks[sim->fork_size], 0, (size - sim->fork_size) * sizeof(*sim->forks));
        sim->fork_size = size;
    }
    sim->forks[index] = (struct sim_fork){parent, at};
    return id;
}

static void step_back(const struct sim *sim, uint64_t *id, uint64_t *reach)
{
    const struct sim_fork *fork = &sim->forks[*id / 1000];

    if (fork->at < *reach)
        *reach = fork->at;
    *id = fork->parent;
}

uint64_t sim_shared(const struct sim *sim, const struct ha_position *a, const struct ha_position *b)
{
    uint64_t id_a = a->lineage.count == 0 ? 0 : a->lineage.steps[0].id, reach_a = a->offset;

    while (id_a != 0) {
        uint64_t id_b = b->lineage.count == 0 ? 0 : b->lineage.steps[0].id, reach_b = b->offset;

        while (id_b != 0 && id_b != id_a)
            step_back(sim, &id_b, &reach_b);
        if (id_b == id_a)
            return reach_a < reach_b ? reach_a : reach_b;
        step_back(sim, &id_a, &reach_a);
    }
    return 0;
}

/* Processes */

void sim_db_start(struct sim *sim, uint32_t host, bool empty)
{
    struct sim_db *db = &sim->hosts[host].db;
    struct ha_lineage *lineage = &db->position.lineage;

    if (sim->plant == SIM_PLANT_LIVENESS && sim->faults >= 3)
        return;
    db->alive = true;
    db->hung = false;
    db->link_up = db->copying = false;
    db->fresh = db->fresh || empty;
    db->run_id = sim_new_id(sim);
    db->pid_start = sim_new_id(sim);
    if (empty) {
        db->position.offset = 0;
        *lineage =
            (struct ha_lineage){.count = 1, .steps = {{sim_new_history(sim, 0, 0), UINT64_MAX}}};
    } else if (sim->profile.engine == HA_ENGINE_REDIS && db->role == HA_ROLE_PRIMARY &&
               lineage->count > 0) {
        /* A restarted primary loads its data under a new replication id, and knows the old one. */
        lineage->steps[1] = (struct ha_lineage_step){lineage->steps[0].id, db->position.offset};
        lineage->steps[0] = (struct ha_lineage_step){
            sim_new_history(sim, lineage->steps[1].id, db->position.offset), UINT64_MAX};
        lineage->count = 2;
    }
    /* Where no kernel holds it back nobody else starts it, and its agent does so as a replica. */
    if (sim->hosts[host].gate.class == HA_GATE_PROCESS && sim->now_us > 0) {
        db->role = HA_ROLE_REPLICA;
        db->upstream = SIM_HOSTS;
    }
    if (sim->profile.engine == HA_ENGINE_POSTGRESQL)
        sim_pg_start(sim, host, empty);
    sim_story(sim, "database on %s starts%s as %s", sim_node_name(sim, node_of(host)),
              empty ? " empty" : "", ha_role_text(db->role));
}

void sim_db_kill(struct sim *sim, uint32_t host)
{
    struct sim_host *h = &sim->hosts[host];
    struct sim_message *message;

    if (!h->db.alive)
        return;
    h->db.alive = false;
    h->db.link_up = h->db.copying = false;
    sim_story(sim, "database on %s dies", sim_node_name(sim, node_of(host)));
    message = sim_message_new(SIM_DEV_PROCESS, node_of(host));
    message->a = HA_PROCESS_GONE;
    message->x = h->db.pid_start;
    sim_answer(sim, node_of(host), 300, message);
}

static bool feeds(const struct sim *sim, uint32_t replica)
{
    const struct sim_db *db = &sim->hosts[replica].db;
    uint32_t up = db->upstream;

    return up < SIM_HOSTS && up != replica && sim->hosts[up].db.alive && !sim->hosts[up].db.hung &&
           sim_gate_open(sim, up) && sim_both_reach(sim, node_of(replica), node_of(up));
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
    up = &sim->hosts[db->upstream].db;
    if (db->copying) {
        if (sim->now_us < db->copy_done_us)
            return;
        db->copying = false;
        db->position = up->position;
    }
    if (db->position.lineage.count == 0 ||
        db->position.lineage.steps[0].id != up->position.lineage.steps[0].id) {
        /* A partial synchronization where the upstream's history contains ours. */
        bool partial = up->position.lineage.count > 1 && db->position.lineage.count > 0 &&
                       up->position.lineage.steps[1].id == db->position.lineage.steps[0].id &&
                       db->position.offset <= up->position.lineage.steps[1].end;

        if (!partial) {
            db->copying = true;
            db->link_up = false;
            db->copy_done_us = sim->now_us + ha_prng_between(&sim->prng, 20000, 300000);
            return;
        }
    }
    db->link_up = true;
    db->position = up->position;
}

/* Which of the databases serves under an epoch. */
static void note_served(struct sim *sim)
{
    for (uint32_t h = 0; h < SIM_MACHINES; h++) {
        const struct ha_agent *brain = sim->hosts[h].brain;

        for (uint32_t i = 0; brain != NULL && i < brain->held_count; i++)
            if (brain->held[i].serving && sim->nodes[node_of(h)].alive) {
                sim->hosts[h].served_run = sim->hosts[h].db.run_id;
                if (sim->hosts[h].gate.class == HA_GATE_PROCESS)
                    sim->hosts[h].gate_epoch = brain->held[i].epoch;
                if (brain->held[i].epoch >= sim->holder_epoch) {
                    sim->holder_epoch = brain->held[i].epoch;
                    sim->holder = h;
                }
            }
    }
}

void sim_db_step(struct sim *sim)
{
    note_served(sim);
    if (sim->profile.engine == HA_ENGINE_POSTGRESQL) {
        sim_pg_step(sim);
        return;
    }
    for (uint32_t h = 0; h < SIM_MACHINES; h++) {
        struct sim_db *db = &sim->hosts[h].db;

        if (sim_takes_writes(sim, h) && !db->hung && sim_clients_write(sim)) {
            db->position.offset += 10;
            sim->writes++;
        }
    }
    for (uint32_t h = 0; h < SIM_MACHINES; h++)
        replicate(sim, h);
}

void sim_db_sample(const struct sim *sim, uint32_t host, struct ha_sample *ret)
{
    const struct sim_db *db = &sim->hosts[host].db;

    memset(ret, 0, sizeof(*ret));
    if (!db->alive)
        ret->answer = HA_ANSWER_REFUSED;
    else if (!db->hung)
        ret->answer = HA_ANSWER_OK;
    if (ret->answer != HA_ANSWER_OK)
        return;
    ret->role = db->role;
    ret->writable = true;
    ret->link_up = db->link_up;
    ret->copying = db->copying;
    ret->read_only = db->role == HA_ROLE_REPLICA;
    ret->run_id = db->run_id;
    ret->position = db->position;
    if (sim->profile.engine == HA_ENGINE_POSTGRESQL)
        ret->sync_id = sim_pg_names_id(db, host + 1);
    if (db->role == HA_ROLE_REPLICA && db->upstream < SIM_HOSTS) {
        memcpy(ret->upstream_host, "10.0.0.1", sizeof("10.0.0.1"));
        ret->upstream_host[7] = (char)('1' + db->upstream);
        ret->upstream_port = 6379;
    }
}

/* Acts */

static void promote(struct sim *sim, struct sim_host *host)
{
    struct sim_db *db = &host->db;
    struct ha_lineage *lineage = &db->position.lineage;

    if (db->role == HA_ROLE_PRIMARY)
        return;
    db->role = HA_ROLE_PRIMARY;
    db->upstream = SIM_HOSTS;
    db->link_up = db->copying = false;
    host->served_run = 0; /* it has not served as this */
    memmove(&lineage->steps[1], &lineage->steps[0],
            (HA_LINEAGE_MAX - 1) * sizeof(lineage->steps[0]));
    lineage->steps[1].end = db->position.offset;
    lineage->steps[0] = (struct ha_lineage_step){
        sim_new_history(sim, lineage->steps[1].id, db->position.offset), UINT64_MAX};
    lineage->count = 2; /* Redis remembers one older replication id */
}

void sim_db_act(struct sim *sim, uint32_t host, const struct ha_order *order)
{
    struct sim_db *db = &sim->hosts[host].db;
    uint32_t up;

    if (sim->profile.engine == HA_ENGINE_POSTGRESQL) {
        sim_pg_act(sim, host, order);
        return;
    }
    if (order->kind == HA_ORDER_PROMOTE)
        promote(sim, &sim->hosts[host]);
    if (order->kind != HA_ORDER_FOLLOW || order->upstream_host[0] == '\0')
        return;
    up = (uint32_t)(order->upstream_host[7] - '1');
    db->role = HA_ROLE_REPLICA;
    if (db->upstream != up)
        db->link_up = db->copying = false;
    db->upstream = up;
}
