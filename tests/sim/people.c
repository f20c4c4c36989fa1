/* What people do in the middle of everything, and the webhook that is told of it. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/sim/sim.h"

static const struct ha_service *first_service(const struct sim *sim, uint32_t node)
{
    const struct ha_cluster *cluster = &sim->watchers[node].brain->cluster;

    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++)
        if (cluster->services[i].used)
            return &cluster->services[i];
    return NULL;
}

/* apply may still refuse it: that is for the log to say. */
static void ask(struct sim *sim, uint32_t node, const struct ha_command *command)
{
    struct ha_event event = sim_event_of(sim, node, HA_EVENT_REQUEST);

    event.u.request = (struct ha_event_request){.request = 1, .command = command};
    (void)sim_watcher_step(sim, node, &event);
}

static bool leads(const struct sim *sim)
{
    return sim->log.leader != SIM_NODES && sim_runs(sim, sim->log.leader) &&
           sim->watchers[sim->log.leader].leads;
}

/* Configuration */

void sim_operator_first(struct sim *sim)
{
    struct ha_command command = {.kind = HA_COMMAND_CONFIG, .wall_ms = 100000000};
    const struct ha_cluster *cluster;

    if (!leads(sim))
        return;
    cluster = &sim->watchers[sim->log.leader].brain->cluster;
    if (cluster->set_id == 0 || cluster->config_version > 0)
        return;
    command.u.config.config = sim->configs[0];
    command.u.config.text = "";
    sim->log.kind->propose(sim, sim->log.leader, &command);
}

/* c leaves and comes back; where standbys have names that stay, it stays. */
static void change_members(struct sim *sim, const struct ha_service *service,
                           struct ha_service_config *config)
{
    if (sim->profile.durability != HA_DURABILITY_ASYNC)
        return;
    if (config->member_count == SIM_HOSTS - 1) {
        config->members[config->member_count++] = sim->configs[0]->services[0].members[2];
        return;
    }
    if ((service != NULL && service->primary == service->members[2].id) ||
        (sim->profile.hold && sim->hosts[SIM_HOSTS].exists))
        return;
    memset(&config->members[2], 0, sizeof(config->members[2]));
    config->member_count = SIM_HOSTS - 1;
}

static void change(struct sim *sim, const struct ha_service *service, struct ha_config *config)
{
    static const uint32_t leases[] = {500, 800, 1500, 3000, 6000};
    struct ha_service_config *first = &config->services[0];

    if (config->service_count == 0) {
        *config = *sim->configs[0];
        return;
    }
    switch (ha_prng_below(&sim->prng, sim->profile.hold ? 8 : 6)) {
    case 6:
    case 7:
        first->on_quorum_loss = first->on_quorum_loss == HA_QUORUM_LOSS_HOLD ? HA_QUORUM_LOSS_FENCE
                                                                             : HA_QUORUM_LOSS_HOLD;
        break;
    case 0:
    case 1:
        first->lease_ms = leases[ha_prng_below(&sim->prng, 5)];
        break;
    case 2:
        first->members[ha_prng_below(&sim->prng, first->member_count)].priority =
            (uint16_t)ha_prng_between(&sim->prng, 1, 200);
        break;
    case 3:
        first->quorum = ha_prng_chance(&sim->prng, 300000) ? (uint8_t)sim->profile.watchers : 0;
        break;
    case 4:
        change_members(sim, service, first);
        break;
    default:
        if (sim->profile.durability == HA_DURABILITY_ASYNC && !sim->profile.has_fence) {
            config->service_count = 0;
            memset(first, 0, sizeof(*first));
        }
    }
}

static void configure(struct sim *sim, bool whole)
{
    struct ha_command command = {.kind = HA_COMMAND_CONFIG};
    uint32_t node = sim->log.leader;
    const struct ha_cluster *cluster;
    struct ha_config *config;

    if (!leads(sim))
        return;
    cluster = &sim->watchers[node].brain->cluster;
    if (cluster->config_version == 0)
        return;
    config = sim_config_new(sim);
    if (whole)
        *config = *sim->configs[0];
    else
        change(sim, first_service(sim, node), config);
    command.u.config = (struct ha_command_config){
        .base_version = cluster->config_version, .config = config, .text = ""};
    sim_story(sim, "the operator changes the configuration: %u services, lease %u ms, %u members",
              config->service_count, config->services[0].lease_ms,
              config->services[0].member_count);
    ask(sim, node, &command);
}

static void pause(struct sim *sim, bool on)
{
    struct ha_command command = {.kind = on ? HA_COMMAND_PAUSE : HA_COMMAND_RESUME};
    uint32_t node = sim->log.leader;
    const struct ha_service *service;

    if (!leads(sim))
        return;
    service = first_service(sim, node);
    if (service == NULL || service->paused == on)
        return;
    command.u.pause.service = service->id;
    if (ha_prng_chance(&sim->prng, 800000))
        command.u.pause.until_ms =
            sim_event_of(sim, node, HA_EVENT_TICK).wall_ms + ha_prng_between(&sim->prng, 500, 8000);
    (void)ha_text_copy(command.u.pause.author, sizeof(command.u.pause.author), "operator");
    sim_story(sim, "the operator %s the service", on ? "pauses" : "resumes");
    ask(sim, node, &command);
}

/* The set of watchers */

void sim_operator_replaces(struct sim *sim, uint32_t old)
{
    struct ha_command command = {.kind = HA_COMMAND_REPLACE};
    struct ha_command_replace *replace = &command.u.replace;
    uint32_t place = SIM_NODES;

    if (!leads(sim) || sim->log.kind->is_ending(sim) || !sim->watchers[old].voter)
        return;
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++) {
        /* The daemon refuses it: two that never came would leave no majority of those that are. */
        if (sim->watchers[i].voter && sim->watchers[i].awaited && i != old)
            return;
        if (sim->watchers[i].voter || sim->now_us < sim->watchers[i].named_us + 1000000)
            continue;
        /* One that was replaced before is switched off when its place is needed. */
        if (place == SIM_NODES || !sim->nodes[i].alive)
            place = i;
    }
    if (place == SIM_NODES)
        return;
    sim_stop(sim, place);
    sim_watcher_name(sim, place);
    (void)ha_text_copy(replace->old_name, sizeof(replace->old_name), sim->watchers[old].name);
    (void)ha_text_copy(replace->new_name, sizeof(replace->new_name), sim->watchers[place].name);
    (void)ha_text_copy(replace->address, sizeof(replace->address), "10.0.1.1:7420");
    sim_story(sim, "the operator replaces %s by %s", replace->old_name, replace->new_name);
    sim->replaced_us = sim->now_us;
    ask(sim, sim->log.leader, &command);
}

void sim_operator_changes(struct sim *sim)
{
    uint64_t what = ha_prng_below(&sim->prng, 8);
    uint32_t node = (uint32_t)ha_prng_below(&sim->prng, SIM_WATCHERS_MAX);

    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->watchers[i].voter && sim->watchers[i].lost)
            node = i; /* what is broken goes first */
    if (what < 4)
        configure(sim, false);
    else if (what < 6)
        pause(sim, what == 4);
    else
        sim_operator_replaces(sim, node);
}

/* After the faults: what people had set aside is put in order again. */
void sim_operator_calms(struct sim *sim)
{
    const struct ha_config *newest = sim->configs[sim->config_count - 1];
    const struct ha_service *service;

    if (!sim->quiet || !leads(sim) || sim->now_us % 1000000 >= 10000)
        return;
    pause(sim, false);
    service = first_service(sim, sim->log.leader);
    if (newest->service_count == 0 || newest->services[0].member_count < SIM_HOSTS ||
        newest->services[0].quorum != 0 || service == NULL ||
        service->config.member_count < SIM_HOSTS || service->config.quorum != 0)
        configure(sim, true);
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        if (sim->watchers[i].voter && sim->watchers[i].lost)
            sim_operator_replaces(sim, i);
}

/* Failovers */

/* Where all data is gone, only a person may say that the loss is accepted. */
void sim_operator_helps(struct sim *sim)
{
    struct ha_command command = {.kind = HA_COMMAND_BEGIN};
    bool careful =
        sim->profile.durability != HA_DURABILITY_ASYNC || sim->profile.budget != UINT64_MAX;
    const struct ha_service *service;

    sim_operator_calms(sim);
    if (sim->log.leader == SIM_NODES || sim->now_us % 4000000 >= 10000)
        return;
    /* Where a loss is not to happen, the operator waits until nobody else can help. */
    if (careful && (!sim->quiet || sim->now_us < sim->quiet_us + 15000000))
        return;
    service =
        ha_cluster_service_named(&sim->watchers[sim->log.leader].brain->cluster, SIM_SERVICE_NAME);
    if (service == NULL)
        return;
    /* A switchover does not end hosts: where its primary's host has started anew and no kernel ends
     * the lease, somebody must ask for a failover. */
    if (sim->quiet && sim->now_us > sim->quiet_us + 15000000 && sim->profile.has_fence &&
        service->state == HA_STATE_FENCING && service->reason == HA_REASON_SWITCHOVER) {
        sim_operator(sim, sim->log.leader, 0, false);
        return;
    }
    if (service->state != HA_STATE_NO_CANDIDATE)
        return;
    command.wall_ms = sim_event_of(sim, sim->log.leader, HA_EVENT_TICK).wall_ms;
    command.u.begin.ref = (struct ha_ref){service->id, service->epoch};
    command.u.begin.reason = HA_REASON_OPERATOR;
    command.u.begin.accept_loss = true;
    sim_story(sim, "the operator accepts the loss");
    sim->loss_accepted = true;
    sim->losses_accepted++;
    sim->log.kind->propose(sim, sim->log.leader, &command);
}

void sim_operator(struct sim *sim, uint32_t node, uint32_t member, bool switchover)
{
    struct ha_command command = {.kind = HA_COMMAND_BEGIN};
    const struct ha_service *service;

    if (!sim_runs(sim, node))
        return;
    service = first_service(sim, node);
    if (service == NULL || member > service->config.member_count)
        return;
    command.u.begin = (struct ha_command_begin){
        .ref = {.service = service->id, .epoch = service->epoch},
        .reason = switchover ? HA_REASON_SWITCHOVER : HA_REASON_OPERATOR,
        .target = member == 0 ? HA_MEMBER_NONE : service->members[member - 1].id};
    ask(sim, node, &command);
}

/* The webhook: at least once, in order */

void sim_notify_step(struct sim *sim)
{
    struct ha_command command = {.kind = HA_COMMAND_NOTICE_DONE};
    const struct ha_notice *notice;
    const struct ha_cluster *cluster;

    if (!leads(sim))
        return;
    cluster = &sim->watchers[sim->log.leader].brain->cluster;
    if (cluster->notice_count == 0 || (!sim->quiet && ha_prng_chance(&sim->prng, 300000)))
        return;
    notice = &cluster->notices[0];
    sim_check_notice(sim, notice->seq, cluster->notices_dropped);
    command.u.notice.seq = notice->seq;
    (void)ha_text_copy(command.u.notice.webhook, sizeof(command.u.notice.webhook), "ops");
    ask(sim, sim->log.leader, &command);
}
