/* One seed: a cluster is set up, faults are drawn while true time runs, and then it must be well.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"
#include "tests/sim/sim.h"

void sim_story(struct sim *sim, const char *format, ...)
{
    va_list args;

    if (!sim->verbose)
        return;
    (void)printf("%9.3f  ", (double)sim->now_us / 1e6);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)putchar('\n');
}

void sim_fail(struct sim *sim, enum sim_exit verdict, const char *format, ...)
{
    va_list args;

    if (sim->verdict != SIM_PASS)
        return;
    sim->verdict = verdict;
    va_start(args, format);
    (void)vsnprintf(sim->why, sizeof(sim->why), format, args);
    va_end(args);
    sim_story(sim, "VIOLATION: %s", sim->why);
}

/* Drawn */

static void draw_gates(struct sim *sim)
{
    static const enum ha_gate classes[] = {HA_GATE_BPF, HA_GATE_NFT, HA_GATE_BOTH, HA_GATE_NFT};
    struct sim_profile *p = &sim->profile;
    bool mixed = ha_prng_chance(&sim->prng, 500000);

    p->has_fence = ha_prng_chance(&sim->prng, 150000);
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        p->gates[h] = mixed ? classes[ha_prng_below(&sim->prng, 4)] : HA_GATE_BPF;
        if (p->has_fence && ha_prng_chance(&sim->prng, 500000))
            p->gates[h] = HA_GATE_PROCESS;
    }
}

static void draw_profile(struct sim *sim)
{
    static const uint32_t leases[] = {1500, 1500, 1500, 1500, 1500, 1500, 800, 3000, 6000, 20000};
    struct sim_profile *p = &sim->profile;

    p->watchers = ha_prng_chance(&sim->prng, 250000) ? 5 : 3;
    p->loss_ppm = (uint32_t)ha_prng_below(&sim->prng, 3) * 20000;
    p->twice_ppm = (uint32_t)ha_prng_below(&sim->prng, 3) * 10000;
    p->delay_max_ms =
        ha_prng_chance(&sim->prng, 300000) ? 1 : (uint32_t)ha_prng_between(&sim->prng, 1, 40);
    p->fault_every_ms = (uint32_t)ha_prng_between(&sim->prng, 200, 3000);
    p->promote_fail_ppm = (uint32_t)ha_prng_below(&sim->prng, 3) * 100000;
    p->slow_ppm = (uint32_t)ha_prng_below(&sim->prng, 3) * 20000;
    p->drift = ha_prng_chance(&sim->prng, 700000);
    p->wide_faults = ha_prng_chance(&sim->prng, 400000);
    p->lease_ms = leases[ha_prng_below(&sim->prng, 10)];
    p->changes = ha_prng_chance(&sim->prng, 400000);
    p->bursts = ha_prng_chance(&sim->prng, 500000);
    p->budget = UINT64_MAX;
    draw_gates(sim);
    if (ha_prng_chance(&sim->prng, 400000)) {
        if (ha_prng_chance(&sim->prng, 400000))
            p->budget = ha_prng_below(&sim->prng, 4) * 100;
        return;
    }
    p->engine = HA_ENGINE_POSTGRESQL;
    p->durability = ha_prng_chance(&sim->prng, 600000) ? HA_DURABILITY_STRICT : HA_DURABILITY_SYNC;
    p->gates_fail = p->durability == HA_DURABILITY_STRICT && ha_prng_chance(&sim->prng, 600000);
}

static bool is_again(const struct sim_profile *p, uint64_t seed)
{
    return p->gates_fail && seed % 16 == 11;
}

bool sim_seed_has(uint64_t seed, uint32_t only)
{
    static struct sim sim; /* only what is drawn first is used of it */
    const struct sim_profile *p = &sim.profile;
    uint32_t has;

    sim.profile = (struct sim_profile){0};
    ha_prng_seed(&sim.prng, seed);
    draw_profile(&sim);
    has = (p->engine == HA_ENGINE_REDIS ? SIM_ONLY_REDIS : SIM_ONLY_SYNC) |
          (p->durability == HA_DURABILITY_STRICT ? SIM_ONLY_STRICT : 0) |
          (sim_hold_drawn(seed) ? SIM_ONLY_HOLD : 0) | (p->changes ? SIM_ONLY_CHANGES : 0) |
          (p->has_fence ? SIM_ONLY_FENCE : 0) | (p->budget != UINT64_MAX ? SIM_ONLY_BUDGET : 0) |
          (is_again(p, seed) ? SIM_ONLY_AGAIN : 0);
    return (only & ~has) == 0;
}

static void say_profile(const struct sim *sim, uint64_t seed)
{
    const struct sim_profile *p = &sim->profile;
    char budget[32] = "any";

    if (p->budget != UINT64_MAX)
        (void)ha_text_format(budget, sizeof(budget), "%" PRIu64, p->budget);
    (void)printf(
        "seed %" PRIu64 ": %u watchers, %s %s, lease %u ms, loss budget %s, gates %s %s %s%s,"
        " promotions fail %u ppm, slow notes and acts %u ppm, messages: %u ppm lost,"
        " %u ppm twice, delay to %u ms; a fault each %u ms%s; clocks drift: %s; people"
        " change settings and watchers: %s; clients write%s%s%s%s\n",
        seed, p->watchers, ha_engine_text(p->engine), ha_durability_text(p->durability),
        p->lease_ms, budget, ha_gate_text(p->gates[0]), ha_gate_text(p->gates[1]),
        ha_gate_text(p->gates[2]), p->gates_fail ? " that fail" : "", p->promote_fail_ppm,
        p->slow_ppm, p->loss_ppm, p->twice_ppm, p->delay_max_ms, p->fault_every_ms,
        p->wide_faults ? " or several" : "", p->drift ? "yes" : "no", p->changes ? "yes" : "no",
        p->bursts ? " now and then" : "", p->has_fence ? "; a command can end hosts" : "",
        p->hold ? "; agents may keep a lease" : "",
        p->again ? "; a primary whose gate fails is made to succeed itself" : "");
}

/* Set up */

static void make_config(const struct sim_profile *profile, struct ha_config *config)
{
    struct ha_service_config *service = &config->services[0];

    memset(config, 0, sizeof(*config));
    config->service_count = 1;
    ha_service_config_defaults(service);
    (void)ha_text_copy(service->name, sizeof(service->name), SIM_SERVICE_NAME);
    (void)ha_text_copy(service->vip, sizeof(service->vip), "10.0.0.100");
    service->vip_prefix = 24;
    service->loss_budget_bytes = profile->budget;
    service->lease_ms = profile->lease_ms;
    service->rate_count = 0;
    service->engine = profile->engine;
    service->durability = profile->durability;
    service->on_quorum_loss = profile->hold ? HA_QUORUM_LOSS_HOLD : HA_QUORUM_LOSS_FENCE;
    if (profile->has_fence)
        (void)ha_text_copy(service->fence, sizeof(service->fence), "power");
    service->member_count = SIM_HOSTS;
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        struct ha_member_config *member = &service->members[h];

        (void)ha_text_format(member->name, sizeof(member->name), "%c", (char)('a' + h));
        (void)ha_text_format(member->agent, sizeof(member->agent), "db%u", h + 1);
        (void)ha_text_format(member->host, sizeof(member->host), "10.0.0.%u", h + 1);
        member->port = 6379;
        member->priority = HA_PRIORITY_DEFAULT;
        member->agent_port = HA_AGENT_PORT_DEFAULT;
    }
    config->webhook_count = 1;
    (void)ha_text_copy(config->webhooks[0].name, sizeof(config->webhooks[0].name), "ops");
    (void)ha_text_copy(config->webhooks[0].url, sizeof(config->webhooks[0].url), "https://ops/");
}

struct ha_config *sim_config_new(struct sim *sim)
{
    struct ha_config *config = malloc(sizeof(*config));
    size_t size = (sim->config_count + 1) *
                  sizeof(*sim->configs); // NOLINT(bugprone-sizeof-expression): pointers are meant
    struct ha_config **more = realloc(sim->configs, size);

    assert(config != NULL && more != NULL);
    sim->configs = more;
    sim->configs[sim->config_count++] = config;
    if (sim->config_count == 1)
        make_config(&sim->profile, config);
    else
        *config = *sim->configs[sim->config_count - 2];
    return config;
}

/* Half of the clocks that drift do so as much as is allowed. */
static int32_t draw_rate(struct sim *sim)
{
    uint64_t any = ha_prng_below(&sim->prng, 4001);

    if (!sim->profile.drift)
        return 0;
    return ha_prng_chance(&sim->prng, 500000) ? (any < 2000 ? -2000 : 2000) : (int32_t)any - 2000;
}

static void set_up(struct sim *sim, const struct sim_options *options, uint64_t seed)
{
    memset(sim, 0, sizeof(*sim));
    sim->verbose = options->verbose;
    sim->plant = options->plant;
    sim->faults_max = options->faults_max;
    sim->digest = HA_HASH_START;
    ha_prng_seed(&sim->prng, seed);
    draw_profile(sim);
    sim->profile.hold = sim_hold_drawn(seed);
    sim->profile.again = is_again(&sim->profile, seed);
    if (options->verbose)
        say_profile(sim, seed);
    sim->effects = malloc(sizeof(*sim->effects));
    assert(sim->effects != NULL);
    (void)sim_config_new(sim);
    sim->log.kind = options->raft ? &sim_log_raft : &sim_log_model;
    sim->log.guard_off = options->guard_off;
    sim->log.leader = SIM_NODES;
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        sim->nodes[i].watcher = i < SIM_WATCHERS_MAX;
        sim->nodes[i].offset_ms = 100000 + ha_prng_below(&sim->prng, 1000000);
        sim->nodes[i].rate_ppm = draw_rate(sim);
        for (uint32_t k = 0; k < SIM_NODES; k++)
            sim->reach[i][k] = true;
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        sim->hosts[h].exists = true;
        sim->hosts[h].member = h;
        sim->hosts[h].gate.class = sim->profile.gates[h];
        sim_host_boot(sim, h);
        sim->hosts[h].db.role = h == 0 ? HA_ROLE_PRIMARY : HA_ROLE_REPLICA;
        sim->hosts[h].db.upstream = h == 0 ? SIM_HOSTS : 0;
        sim_db_start(sim, h, true);
        sim->hosts[h].db.position = sim->hosts[0].db.position;
        sim_agent_start(sim, SIM_WATCHERS_MAX + h);
    }
    for (uint32_t i = 0; i < sim->profile.watchers; i++)
        sim_watcher_name(sim, i);
    sim->log.kind->open(sim);
    for (uint32_t i = 0; i < sim->profile.watchers; i++) {
        sim->watchers[i].voter = true;
        sim_watcher_start(sim, i);
    }
    sim_push(sim, 1000, SIM_WORLD, SIM_NODES, 0, NULL);
    sim_push(sim, 8000000, SIM_FAULT, SIM_NODES, 0, NULL);
}

static void tear_down(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->heap_count; i++)
        free(sim->heap[i].message);
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        for (uint32_t k = 0; k < sim->nodes[i].backlog_count; k++)
            free(sim->nodes[i].backlog[k].message);
        free(sim->nodes[i].backlog);
    }
    sim->log.kind->close(sim);
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        free(sim->watchers[i].brain);
    for (uint32_t h = 0; h < SIM_MACHINES; h++)
        free(sim->hosts[h].brain);
    for (uint32_t i = 0; i < sim->config_count; i++)
        free(sim->configs[i]);
    free(sim->configs);
    free(sim->forks);
    free(sim->heap);
    free(sim->effects);
}

/* Events */

/* A process that is stopped gets all of it when it goes on. */
static void keep(struct sim_node *node, const struct sim_event *event)
{
    if (node->backlog_count == node->backlog_size) {
        node->backlog_size = node->backlog_size == 0 ? 64 : 2 * node->backlog_size;
        node->backlog = realloc(node->backlog, node->backlog_size * sizeof(*node->backlog));
        assert(node->backlog != NULL);
    }
    node->backlog[node->backlog_count++] = *event;
}

static void resume(struct sim *sim, uint32_t at)
{
    struct sim_node *node = &sim->nodes[at];

    if (!node->paused)
        return;
    node->paused = false;
    sim_story(sim, "%s goes on", sim_node_name(sim, at));
    if (at >= SIM_WATCHERS_MAX && sim_gate_resume(sim, at - SIM_WATCHERS_MAX))
        return; /* stopped again at once */
    for (uint32_t i = 0; i < node->backlog_count; i++) {
        const struct sim_event *event = &node->backlog[i];

        sim_push(sim, sim->now_us, event->what, at, event->arg, event->message);
        /* The push stamped today's incarnation: those of a dead process stay dead. */
        if (event->incarnation != node->incarnation) {
            for (uint32_t k = 0; k < sim->heap_count; k++)
                if (sim->heap[k].seq == sim->seq)
                    sim->heap[k].incarnation = event->incarnation;
        }
    }
    node->backlog_count = 0;
    if (at < SIM_WATCHERS_MAX)
        sim->log.kind->resume(sim, at);
}

static void to_process(struct sim *sim, const struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    bool watcher = event->node < SIM_WATCHERS_MAX;

    if (!node->alive || event->incarnation != node->incarnation) {
        free(event->message);
        return;
    }
    if (node->paused) {
        keep(node, event);
        if (event->what == SIM_DELIVER && event->message->kind == SIM_MSG_ORDER)
            sim_fault_serving(sim, event->node - SIM_WATCHERS_MAX, &event->message->u.order);
        return;
    }
    if (event->what == SIM_TICK && watcher)
        sim_watcher_tick(sim, event->node);
    else if (event->what == SIM_TICK)
        sim_agent_tick(sim, event->node);
    else if (event->what == SIM_APPLY)
        sim->log.kind->apply(sim, event->node);
    else if (watcher)
        sim_watcher_event(sim, event->node, event->message);
    else
        sim_agent_event(sim, event->node, event->message);
    free(event->message);
}

static void world(struct sim *sim)
{
    sim_operator_helps(sim);
    sim_db_step(sim);
    sim->log.kind->step(sim);
    if (sim->now_us < 5000000 && sim->now_us % 500000 < 10000)
        sim_operator_first(sim);
    if (sim->now_us % 100000 < 10000)
        sim_notify_step(sim);
    sim_push(sim, sim->now_us + 10000, SIM_WORLD, SIM_NODES, 0, NULL);
}

static void run_until(struct sim *sim, uint64_t end_us, bool until_well)
{
    struct sim_event event;
    char why[256];

    while (sim->verdict == SIM_PASS && sim->now_us < end_us && sim_pop(sim, &event)) {
        sim->events++;
        switch (event.what) {
        case SIM_TICK:
        case SIM_DELIVER:
        case SIM_APPLY:
            to_process(sim, &event);
            break;
        case SIM_WORLD:
            world(sim);
            if (until_well && sim_is_well(sim, why))
                return;
            break;
        case SIM_LOG:
            sim->log.kind->wake(sim);
            break;
        case SIM_FAULT:
            sim_fault(sim);
            break;
        case SIM_HEAL:
            sim_mend(sim, event.arg);
            break;
        case SIM_RESUME:
            resume(sim, event.node);
            break;
        case SIM_ACT:
            sim_act(sim, event.node, event.message);
            break;
        case SIM_JOIN:
            sim->log.kind->join(sim, event.node);
            break;
        }
        sim_check(sim);
    }
}

static void say_end(const struct sim *sim, uint64_t seed)
{
    (void)printf("seed %" PRIu64 ": %s at %.3f s, event %" PRIu64 " after %u faults, %" PRIu64
                 " epochs, digest %016" PRIx64 "%s%s\n",
                 seed,
                 sim->verdict == SIM_PASS     ? "pass"
                 : sim->verdict == SIM_SAFETY ? "SAFETY"
                                              : "LIVENESS",
                 (double)sim->now_us / 1e6, sim->events, sim->faults, sim->epoch_seen, sim->digest,
                 sim->why[0] == '\0' ? "" : ": ", sim->why);
    (void)fflush(stdout);
}

enum sim_exit sim_run_seed(uint64_t seed, const struct sim_options *options,
                           struct sim_totals *totals)
{
    struct sim *sim = malloc(sizeof(*sim));
    enum sim_exit verdict;
    char why[256] = "";

    assert(sim != NULL);
    set_up(sim, options, seed);
    run_until(sim, (uint64_t)options->seconds * 1000000, false);
    sim_heal_all(sim);
    run_until(sim,
              sim->now_us + 60000000 + 3000 * (uint64_t)sim->profile.lease_ms +
                  1000 * (uint64_t)sim->log.kind->patience_ms,
              true);
    if (sim->verdict == SIM_PASS && !sim_is_well(sim, why))
        sim_fail(sim, SIM_LIVENESS, "a minute after the last fault: %s", why);
    verdict = sim->verdict;
    totals->failovers += sim->failovers;
    totals->repeats += sim->repeats;
    totals->writes += sim->writes;
    totals->acks += sim->acks;
    totals->faults += sim->faults;
    totals->kept += sim->kept;
    if (sim->profile.durability != HA_DURABILITY_ASYNC)
        totals->losses += sim->losses_accepted;
    if (!options->silent && (verdict != SIM_PASS || options->verbose))
        say_end(sim, seed);
    tear_down(sim);
    free(sim);
    return verdict;
}
