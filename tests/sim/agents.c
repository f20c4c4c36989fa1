/* The connections that a watcher has with agents: one of each name is served at a time. */
#include <string.h>

#include "lib/wire/settings.h"
#include "tests/sim/sim.h"

enum { SUSPECT_US = 1000000 };

static uint32_t node_of(uint32_t machine)
{
    return SIM_WATCHERS_MAX + machine;
}

/* Whether the connection has been closed at the other end, and that has got here. */
static bool has_ended(const struct sim *sim, uint32_t node, const struct sim_seat *seat)
{
    const struct sim_host *host = &sim->hosts[seat->machine];

    return host->exists && host->boot == seat->boot && !sim->nodes[node_of(seat->machine)].alive &&
           sim_both_reach(sim, node, node_of(seat->machine));
}

static bool is_promised(const struct sim *sim, uint32_t node, uint64_t instance)
{
    const struct ha_watcher *brain = sim->watchers[node].brain;

    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
        if (brain->services[i].promise_instance == instance &&
            sim_clock_ms(sim, node) < brain->services[i].promise_until_ms)
            return true;
    return false;
}

bool sim_seat_hears(struct sim *sim, uint32_t node, uint32_t machine)
{
    const struct sim_host *host = &sim->hosts[machine];
    struct sim_seat *seat = &sim->watchers[node].seats[host->member];
    bool same = seat->taken && seat->machine == machine && seat->boot == host->boot;
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_AGENT);
    char agent[8] = "db1";

    if (same) {
        seat->heard_us = sim->now_us;
        return true;
    }
    /* Another machine, or the same one after a reboot that left the old connection behind. */
    if (seat->taken && !has_ended(sim, node, seat) &&
        (sim->now_us - seat->heard_us < SUSPECT_US || is_promised(sim, node, seat->instance)))
        return false;
    *seat = (struct sim_seat){.taken = true,
                              .machine = machine,
                              .boot = host->boot,
                              .instance = host->instance,
                              .heard_us = sim->now_us};
    agent[2] = (char)('1' + host->member);
    event.u.agent = (struct ha_event_agent){agent, host->instance, true};
    (void)sim_watcher_step(sim, node, &event);
    return true;
}

uint32_t sim_seat_of(const struct sim *sim, uint32_t node, uint32_t member)
{
    const struct sim_seat *seat = &sim->watchers[node].seats[member];

    return seat->taken && sim->hosts[seat->machine].exists ? seat->machine : SIM_MACHINES;
}

static uint32_t member_of(const struct ha_member_config *config)
{
    return (uint32_t)(config->agent[2] - '1'); /* agents are named db1, db2, db3 */
}

static void remember(struct sim *sim, uint32_t service)
{
    if (sim->services_seen[0] == service)
        return;
    memmove(&sim->services_seen[1], &sim->services_seen[0],
            sizeof(sim->services_seen) - sizeof(sim->services_seen[0]));
    sim->services_seen[0] = service;
}

static void push(struct sim *sim, uint32_t node, uint32_t machine,
                 const struct ha_settings *settings)
{
    struct sim_message *message = sim_message_new(SIM_MSG_SETTINGS, node);

    message->u.settings = *settings;
    sim_send(sim, node, node_of(machine), message);
}

/* Services that were, and are not any more. */
static void push_gone(struct sim *sim, uint32_t node, uint32_t machine)
{
    const struct ha_cluster *cluster = &sim->watchers[node].brain->cluster;

    for (uint32_t i = 0; i < 8; i++) {
        uint32_t id = (uint32_t)sim->services_seen[i];

        if (id != 0 && id <= cluster->id_last && ha_cluster_service_const(cluster, id) == NULL)
            push(sim, node, machine,
                 &(struct ha_settings){
                     .service = id, .config_version = cluster->config_version, .gone = true});
    }
}

void sim_seat_settings(struct sim *sim, uint32_t node)
{
    const struct ha_cluster *cluster = &sim->watchers[node].brain->cluster;
    const struct ha_service *service = ha_cluster_service_named(cluster, SIM_SERVICE_NAME);
    struct ha_settings settings;

    if (service != NULL && !service->deleting)
        remember(sim, service->id);
    for (uint32_t k = 0; k < SIM_HOSTS; k++) {
        uint32_t machine = sim_seat_of(sim, node, k);

        if (machine == SIM_MACHINES)
            continue;
        push_gone(sim, node, machine);
        for (uint32_t i = 0; service != NULL && i < service->config.member_count; i++) {
            if (member_of(&service->config.members[i]) != k)
                continue;
            ha_settings_make(&settings, service, service->members[i].id, cluster->config_version);
            push(sim, node, machine, &settings);
        }
    }
}

/* The address of a member is that of its own host, whoever else speaks under its name. */
void sim_seat_probe(struct sim *sim, uint32_t node)
{
    const struct ha_cluster *cluster = &sim->watchers[node].brain->cluster;
    const struct ha_service *service = ha_cluster_service_named(cluster, SIM_SERVICE_NAME);

    for (uint32_t i = 0; service != NULL && i < service->config.member_count; i++) {
        uint32_t host = member_of(&service->config.members[i]);
        struct sim_message *message = sim_message_new(SIM_DEV_PROBED, node);

        message->a = service->id;
        message->b = service->members[i].id;
        if (!sim_both_reach(sim, node, node_of(host)))
            message->u.sample.answer = HA_ANSWER_NONE;
        else if (!sim->hosts[host].db.alive || !sim_gate_open(sim, host))
            message->u.sample.answer = HA_ANSWER_REFUSED;
        else
            sim_db_sample(sim, host, &message->u.sample);
        sim_answer(sim, node, message->u.sample.answer == HA_ANSWER_NONE ? 150000 : 1000, message);
    }
}
