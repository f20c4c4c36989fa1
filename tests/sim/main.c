/* Seeds in, verdicts out: exit 0 pass, 1 crash, 2 safety, 3 liveness. See README.md. */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/sim/sim.h"

void sim_heal(struct sim *sim, uint32_t arg);

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

static void draw_profile(struct sim *sim)
{
    struct sim_profile *p = &sim->profile;

    p->watchers = ha_prng_chance(&sim->prng, 250000) ? 5 : 3;
    p->loss_ppm = (uint32_t)ha_prng_below(&sim->prng, 3) * 20000;
    p->delay_max_ms = (uint32_t)ha_prng_between(&sim->prng, 1, 40);
    p->fault_every_ms = (uint32_t)ha_prng_between(&sim->prng, 200, 3000);
    p->promote_fail_ppm = (uint32_t)ha_prng_below(&sim->prng, 3) * 100000;
    p->slow_ppm = (uint32_t)ha_prng_below(&sim->prng, 3) * 20000;
    p->drift = ha_prng_chance(&sim->prng, 700000);
    p->wide_faults = ha_prng_chance(&sim->prng, 400000);
    if (ha_prng_chance(&sim->prng, 400000))
        return;
    p->engine = HA_ENGINE_POSTGRESQL;
    p->durability = ha_prng_chance(&sim->prng, 600000) ? HA_DURABILITY_STRICT : HA_DURABILITY_SYNC;
    p->gates_fail = p->durability == HA_DURABILITY_STRICT && ha_prng_chance(&sim->prng, 600000);
}

static void make_config(const struct sim_profile *profile, struct ha_config *config)
{
    struct ha_service_config *service = &config->services[0];

    memset(config, 0, sizeof(*config));
    config->service_count = 1;
    ha_service_config_defaults(service);
    (void)ha_text_copy(service->name, sizeof(service->name), SIM_SERVICE_NAME);
    (void)ha_text_copy(service->vip, sizeof(service->vip), "10.0.0.100");
    service->vip_prefix = 24;
    service->loss_budget_bytes = UINT64_MAX;
    service->rate_count = 0;
    service->engine = profile->engine;
    service->durability = profile->durability;
    service->member_count = SIM_HOSTS;
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        struct ha_member_config *member = &service->members[h];

        (void)ha_text_format(member->name, sizeof(member->name), "%c", (char)('a' + h));
        (void)ha_text_format(member->agent, sizeof(member->agent), "db%u", h + 1);
        (void)ha_text_format(member->host, sizeof(member->host), "10.0.0.%u", h + 1);
        member->port = 6379;
        member->priority = HA_PRIORITY_DEFAULT;
    }
}

static void set_up(struct sim *sim, uint64_t seed, bool verbose)
{
    memset(sim, 0, sizeof(*sim));
    sim->verbose = verbose;
    sim->digest = HA_HASH_START;
    ha_prng_seed(&sim->prng, seed);
    draw_profile(sim);
    sim->config = malloc(sizeof(*sim->config));
    sim->effects = malloc(sizeof(*sim->effects));
    assert(sim->config != NULL && sim->effects != NULL);
    make_config(&sim->profile, sim->config);
    sim->log.leader = SIM_NODES;
    for (uint32_t i = 0; i < SIM_NODES; i++) {
        sim->nodes[i].watcher = i < SIM_WATCHERS_MAX;
        sim->nodes[i].offset_ms = 100000 + ha_prng_below(&sim->prng, 1000000);
        if (sim->profile.drift)
            sim->nodes[i].rate_ppm = (int32_t)ha_prng_below(&sim->prng, 4001) - 2000;
        for (uint32_t k = 0; k < SIM_NODES; k++)
            sim->reach[i][k] = true;
    }
    for (uint32_t h = 0; h < SIM_HOSTS; h++) {
        sim_host_boot(sim, h);
        sim->hosts[h].db.role = h == 0 ? HA_ROLE_PRIMARY : HA_ROLE_REPLICA;
        sim->hosts[h].db.upstream = h == 0 ? SIM_HOSTS : 0;
        sim_db_start(sim, h, true);
        sim->hosts[h].db.position = sim->hosts[0].db.position;
        sim_agent_start(sim, SIM_WATCHERS_MAX + h);
    }
    for (uint32_t i = 0; i < sim->profile.watchers; i++)
        sim_watcher_start(sim, i);
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
    for (uint32_t i = 0; i < SIM_WATCHERS_MAX; i++)
        free(sim->watchers[i].brain);
    for (uint32_t h = 0; h < SIM_HOSTS; h++)
        free(sim->hosts[h].brain);
    free(sim->heap);
    free(sim->log.entries);
    free(sim->config);
    free(sim->effects);
}

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
    sim_story(sim, "%s%u goes on", at < SIM_WATCHERS_MAX ? "w" : "db",
              at < SIM_WATCHERS_MAX ? at + 1 : at - SIM_WATCHERS_MAX + 1);
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
        return;
    }
    if (event->what == SIM_TICK && watcher)
        sim_watcher_tick(sim, event->node);
    else if (event->what == SIM_TICK)
        sim_agent_tick(sim, event->node);
    else if (event->what == SIM_APPLY)
        sim_watcher_apply(sim, event->node);
    else if (watcher)
        sim_watcher_event(sim, event->node, event->message);
    else
        sim_agent_event(sim, event->node, event->message);
    free(event->message);
}

static void apply_config(struct sim *sim)
{
    struct ha_command command = {.kind = HA_COMMAND_CONFIG, .wall_ms = 1000000};
    const struct ha_cluster *cluster;

    if (sim->log.leader == SIM_NODES)
        return;
    cluster = &sim->watchers[sim->log.leader].brain->cluster;
    if (cluster->set_id == 0 || cluster->config_version > 0)
        return;
    command.u.config.config = sim->config;
    command.u.config.text = "";
    sim_propose(sim, sim->log.leader, &command);
}

/* Where all data is gone, only a person may say that the loss is accepted. */
static void operator_helps(struct sim *sim)
{
    struct ha_command command = {.kind = HA_COMMAND_BEGIN};
    const struct ha_service *service;

    if (sim->log.leader == SIM_NODES || sim->now_us % 4000000 >= 10000)
        return;
    /* Where a loss is never to happen, the operator waits until nobody else can help. */
    if (sim->profile.durability != HA_DURABILITY_ASYNC &&
        (!sim->quiet || sim->now_us < sim->quiet_us + 15000000))
        return;
    service =
        ha_cluster_service_named(&sim->watchers[sim->log.leader].brain->cluster, SIM_SERVICE_NAME);
    if (service == NULL || service->state != HA_STATE_NO_CANDIDATE)
        return;
    command.wall_ms = 1000000 + sim->now_us / 1000;
    command.u.begin.ref = (struct ha_ref){service->id, service->epoch};
    command.u.begin.reason = HA_REASON_OPERATOR;
    command.u.begin.accept_loss = true;
    sim_story(sim, "the operator accepts the loss");
    sim->loss_accepted = true;
    sim->losses_accepted++;
    sim_propose(sim, sim->log.leader, &command);
}

static void world(struct sim *sim)
{
    operator_helps(sim);
    sim_db_step(sim);
    sim_log_step(sim);
    if (sim->now_us < 5000000 && sim->now_us % 500000 < 10000)
        apply_config(sim);
    sim_push(sim, sim->now_us + 10000, SIM_WORLD, SIM_NODES, 0, NULL);
}

static void run_until(struct sim *sim, uint64_t end_us, bool until_well)
{
    struct sim_event event;
    char why[256];

    while (sim->verdict == SIM_PASS && sim->now_us < end_us && sim_pop(sim, &event)) {
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
        case SIM_FAULT:
            sim_fault(sim);
            break;
        case SIM_HEAL:
            sim_heal(sim, event.arg);
            break;
        case SIM_RESUME:
            resume(sim, event.node);
            break;
        }
        sim_check(sim);
    }
}

static enum sim_exit run_seed(uint64_t seed, uint32_t seconds, bool verbose, uint64_t totals[4])
{
    struct sim *sim = malloc(sizeof(*sim));
    enum sim_exit verdict;
    char why[256] = "";

    assert(sim != NULL);
    set_up(sim, seed, verbose);
    if (verbose)
        (void)printf(
            "seed %" PRIu64 ": %u watchers, loss %u ppm, delay to %u ms, a fault each %u ms%s,"
            " promotions fail %u ppm, slow %u ppm, drift %s, %s %s%s\n",
            seed, sim->profile.watchers, sim->profile.loss_ppm, sim->profile.delay_max_ms,
            sim->profile.fault_every_ms, sim->profile.wide_faults ? " or several" : "",
            sim->profile.promote_fail_ppm, sim->profile.slow_ppm, sim->profile.drift ? "yes" : "no",
            ha_engine_text(sim->profile.engine), ha_durability_text(sim->profile.durability),
            sim->profile.gates_fail ? ", gates fail" : "");
    run_until(sim, (uint64_t)seconds * 1000000, false);
    sim_heal_all(sim);
    run_until(sim, sim->now_us + 60000000, true);
    if (sim->verdict == SIM_PASS && !sim_is_well(sim, why))
        sim_fail(sim, SIM_LIVENESS, "a minute after the last fault: %s", why);
    verdict = sim->verdict;
    totals[0] += sim->epoch_seen;
    totals[1] += sim->writes;
    totals[2] += sim->acks;
    if (sim->profile.durability != HA_DURABILITY_ASYNC)
        totals[3] += sim->losses_accepted;
    if (verdict != SIM_PASS || verbose)
        (void)printf(
            "seed %" PRIu64 ": %s at %.3f s, %" PRIu64 " epochs, digest %016" PRIx64 "%s%s\n", seed,
            verdict == SIM_PASS     ? "pass"
            : verdict == SIM_SAFETY ? "SAFETY"
                                    : "LIVENESS",
            (double)sim->now_us / 1e6, sim->epoch_seen, sim->digest,
            sim->why[0] == '\0' ? "" : ": ", sim->why);
    (void)fflush(stdout);
    tear_down(sim);
    free(sim);
    return verdict;
}

/* A batch of seeds in a child, so that a crash costs one batch and names it. */
static enum sim_exit run_batch(uint64_t first, uint64_t last, uint32_t seconds, uint64_t totals[4])
{
    int fds[2], status;
    pid_t pid;

    if (pipe(fds) != 0)
        return SIM_CRASH;
    pid = fork();
    if (pid == 0) {
        enum sim_exit worst = SIM_PASS;

        for (uint64_t seed = first; seed <= last && worst == SIM_PASS; seed++)
            worst = run_seed(seed, seconds, false, totals);
        if (write(fds[1], totals, 4 * sizeof(totals[0])) < 0)
            _exit(SIM_CRASH);
        _exit((int)worst);
    }
    (void)close(fds[1]);
    if (read(fds[0], totals, 4 * sizeof(totals[0])) < 0)
        totals[0] = 0;
    (void)close(fds[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return SIM_CRASH;
    if (WIFEXITED(status))
        return (enum sim_exit)WEXITSTATUS(status);
    (void)printf("CRASH with signal %d in seeds %" PRIu64 " to %" PRIu64 "\n", WTERMSIG(status),
                 first, last);
    return SIM_CRASH;
}

static int explore(uint64_t first, uint64_t count, uint32_t seconds, uint64_t minutes)
{
    time_t start = time(NULL);
    uint64_t totals[4] = {0}, done = 0;
    enum sim_exit worst = SIM_PASS;

    for (uint64_t seed = first; worst == SIM_PASS && (minutes > 0 || done < count); seed += 20) {
        uint64_t part[4] = {0}, last = seed + 19;

        if (minutes > 0 && time(NULL) - start >= (time_t)(60 * minutes))
            break;
        if (minutes == 0 && last >= first + count)
            last = first + count - 1;
        worst = run_batch(seed, last, seconds, part);
        for (unsigned i = 0; i < 4; i++)
            totals[i] += part[i];
        done += last - seed + 1;
    }
    (void)printf("%" PRIu64 " seeds, %" PRIu64 " epochs, %" PRIu64 " writes, %" PRIu64
                 " replicated acknowledgements, %" PRIu64 " losses of such accepted in %ld s\n",
                 done, totals[0], totals[1], totals[2], totals[3], (long)(time(NULL) - start));
    return (int)worst;
}

int main(int argc, char *argv[])
{
    uint64_t seed = 0, first = 1, count = 0, minutes = 0, seconds = 60, totals[4] = {0};
    bool one = false;

    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t *to = strcmp(argv[i], "--seed") == 0      ? &seed
                       : strcmp(argv[i], "--first") == 0   ? &first
                       : strcmp(argv[i], "--seeds") == 0   ? &count
                       : strcmp(argv[i], "--minutes") == 0 ? &minutes
                       : strcmp(argv[i], "--seconds") == 0 ? &seconds
                                                           : NULL;

        if (to == NULL || ha_text_u64(argv[i + 1], 1u << 30, to) != HA_OK) {
            (void)fprintf(stderr, "usage: sim [--seed N | --first N --seeds N | --minutes N]"
                                  " [--seconds N]\n");
            return 64;
        }
        one = one || to == &seed;
    }
    if (one) {
        enum sim_exit verdict = run_seed(seed, (uint32_t)seconds, true, totals);

        return (int)verdict;
    }
    if (count == 0 && minutes == 0)
        count = 200;
    return explore(first, count, (uint32_t)seconds, minutes);
}
