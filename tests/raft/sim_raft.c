/* tests/raft/sim_raft.c - many seeds of the simulated cluster; a crash of one
 * does not end the run.
 *
 *   sim_raft --seeds A..B [--nodes N] [--profile P] [--guard-off MASK] [--ms M]
 * [--jobs J]
 *            [--max-bad K] [--expect-bad] [--verbose]
 *
 * MASK: "G2" or "G2,G3", also "nudge" and "timeoutnow". Exit 0: all seeds good
 * (with --expect-bad: one bad was found), 1: a seed crashed, 2: an invariant
 * broke, 64: usage. */
#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "raft/node.h"
#include "tests/raft/simguard.h"
#include "tests/raft/simrun.h"

#define JOBS_MAX 64

static const struct {
    const char *name;
    uint32_t faults;
} profiles[] = {
    {"calm", 0},
    {"chaos", SIM_CRASH | SIM_CUT | SIM_PAUSE | SIM_SLOW_DISK},
    {"slow", SIM_CRASH | SIM_CUT | SIM_PAUSE | SIM_SLOW_DISK | SIM_SLOW_SEND | SIM_BURST},
    {"disk", SIM_CRASH | SIM_CUT | SIM_PAUSE | SIM_SLOW_DISK | SIM_BAD_DISK | SIM_TORN},
    {"novote", SIM_CRASH | SIM_CUT | SIM_PAUSE | SIM_SLOW_DISK | SIM_NO_PRE_VOTE},
    {"transfer",
     SIM_CRASH | SIM_CUT | SIM_PAUSE | SIM_SLOW_DISK | SIM_BAD_DISK | SIM_TRANSFER | SIM_SLOW_SEND},
    {"long", SIM_CRASH | SIM_CUT | SIM_LARGE_SNAPSHOTS},
    {"all", SIM_CRASH | SIM_CUT | SIM_PAUSE | SIM_SLOW_DISK | SIM_BAD_DISK | SIM_TORN |
                SIM_SLOW_SEND | SIM_BURST | SIM_TRANSFER},
};

/* Shared between the parent and its workers. */
struct tally {
    uint64_t next_seed;
    uint64_t seed_of[JOBS_MAX]; /* under way in a worker */
    uint64_t good;
    uint64_t bad;
    uint64_t crashed;
    uint64_t first_bad;
    struct simrun_result sum;
};

struct settings {
    struct simrun_options run;
    uint64_t first;
    uint64_t last;
    uint64_t max_bad;
    unsigned jobs;
    bool expect_bad;
};

static void note_bad(struct tally *tally, uint64_t seed)
{
    uint64_t before = __atomic_load_n(&tally->first_bad, __ATOMIC_SEQ_CST);

    if (before == 0 || seed < before)
        __atomic_store_n(&tally->first_bad, seed, __ATOMIC_SEQ_CST);
}

#define ADD(field) __atomic_add_fetch(&tally->sum.field, result->field, __ATOMIC_RELAXED)

static void add(struct tally *tally, const struct simrun_result *result)
{
    ADD(elections);
    ADD(acked);
    ADD(forwarded);
    ADD(reads);
    ADD(crashes);
    ADD(disk_deaths);
    ADD(snapshots);
    ADD(installs);
    ADD(hashes);
    ADD(nudge_ms_sum);
    ADD(nudge_count);
}

static void one_seed(const struct settings *settings, struct tally *tally, uint64_t seed)
{
    struct simrun_options options = settings->run;
    struct simrun_result result;

    options.seed = seed;
    simrun(&options, &result);
    add(tally, &result);
    if (options.is_verbose)
        printf("# seed %" PRIu64 " digest %016" PRIx64 " elections %" PRIu64 " acked %" PRIu64 "\n",
               seed, result.digest, result.elections, result.acked);
    if (!result.is_bad) {
        __atomic_add_fetch(&tally->good, 1, __ATOMIC_SEQ_CST);
        return;
    }
    __atomic_add_fetch(&tally->bad, 1, __ATOMIC_SEQ_CST);
    note_bad(tally, seed);
    printf("# seed %" PRIu64 " BAD at %" PRIu64 " us: %s\n", seed, result.at_us, result.what);
    fflush(stdout);
}

static void work(const struct settings *settings, struct tally *tally, unsigned job)
{
    for (;;) {
        uint64_t seed = __atomic_fetch_add(&tally->next_seed, 1, __ATOMIC_SEQ_CST);

        if (seed > settings->last || tally->bad + tally->crashed >= settings->max_bad)
            break;
        tally->seed_of[job] = seed;
        one_seed(settings, tally, seed);
        tally->seed_of[job] = 0;
    }
    fflush(stdout);
    _exit(0);
}

static pid_t spawn(const struct settings *settings, struct tally *tally, unsigned job)
{
    pid_t pid;

    fflush(stdout);
    pid = fork();
    assert(pid >= 0);
    if (pid == 0)
        work(settings, tally, job);
    return pid;
}

static void supervise(const struct settings *settings, struct tally *tally)
{
    pid_t pids[JOBS_MAX];
    unsigned running = settings->jobs;

    for (unsigned i = 0; i < settings->jobs; i++)
        pids[i] = spawn(settings, tally, i);
    while (running > 0) {
        int status;
        pid_t pid = wait(&status);

        for (unsigned i = 0; i < settings->jobs; i++) {
            if (pids[i] != pid)
                continue;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                running--;
                continue;
            }
            tally->crashed++;
            note_bad(tally, tally->seed_of[i]);
            printf("# seed %" PRIu64 " CRASHED: status %#x\n", tally->seed_of[i], (unsigned)status);
            pids[i] = spawn(settings, tally, i);
        }
    }
}

static bool parse_seeds(const char *text, struct settings *settings)
{
    char copy[64];
    char *dots;

    if (ha_text_copy(copy, sizeof(copy), text) != 0)
        return false;
    dots = strstr(copy, "..");
    if (dots == NULL)
        return ha_text_u64(copy, UINT64_MAX - 1, &settings->first) == 0 &&
               ha_text_u64(copy, UINT64_MAX - 1, &settings->last) == 0;
    *dots = '\0';
    return ha_text_u64(copy, UINT64_MAX - 1, &settings->first) == 0 &&
           ha_text_u64(dots + 2, UINT64_MAX - 1, &settings->last) == 0;
}

static bool parse_profile(const char *text, uint32_t *ret)
{
    for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
        if (strcmp(profiles[i].name, text) != 0)
            continue;
        *ret = profiles[i].faults;
        return true;
    }
    return false;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *ret)
{
    return ha_text_u64(text, max, ret) == 0;
}

static bool parse_option(int option, struct settings *settings)
{
    uint64_t n = 0;

    switch (option) {
    case 's':
        return parse_seeds(optarg, settings);
    case 'n':
        if (!parse_number(optarg, HA_RAFT_PEERS_MAX, &n) || n == 0)
            return false;
        settings->run.nodes = (uint32_t)n;
        return true;
    case 'p':
        return parse_profile(optarg, &settings->run.faults);
    case 'g':
        return sim_guard_parse(optarg, &settings->run.guard_off);
    case 'm':
        if (!parse_number(optarg, 10000000, &n))
            return false;
        settings->run.fault_ms = (uint32_t)n;
        return true;
    case 'j':
        if (!parse_number(optarg, JOBS_MAX, &n) || n == 0)
            return false;
        settings->jobs = (unsigned)n;
        return true;
    case 'k':
        return parse_number(optarg, UINT64_MAX, &settings->max_bad);
    case 'e':
        settings->expect_bad = true;
        return true;
    case 'v':
        settings->run.is_verbose = true;
        return true;
    default:
        return false;
    }
}

static bool parse(int argc, char *argv[], struct settings *settings)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 's'},   {"nodes", required_argument, NULL, 'n'},
        {"profile", required_argument, NULL, 'p'}, {"guard-off", required_argument, NULL, 'g'},
        {"ms", required_argument, NULL, 'm'},      {"jobs", required_argument, NULL, 'j'},
        {"max-bad", required_argument, NULL, 'k'}, {"expect-bad", no_argument, NULL, 'e'},
        {"verbose", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!parse_option(option, settings))
            return false;
    return optind == argc && settings->first > 0 && settings->last >= settings->first;
}

static double seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void summarise(const struct settings *settings, const struct tally *tally, double took)
{
    const struct simrun_result *sum = &tally->sum;
    uint64_t seeds = tally->good + tally->bad + tally->crashed;

    printf("# seeds %" PRIu64 " good %" PRIu64 " bad %" PRIu64 " crashed %" PRIu64
           " in %.1f s, %.1f seeds/s, %u nodes, guard off %#x\n",
           seeds, tally->good, tally->bad, tally->crashed, took, (double)seeds / took,
           settings->run.nodes, settings->run.guard_off);
    printf("# elections %" PRIu64 " acked %" PRIu64 " (forwarded %" PRIu64 ") reads %" PRIu64
           " crashes %" PRIu64 " disk deaths %" PRIu64 " snapshots %" PRIu64 " restores %" PRIu64
           " hashes compared %" PRIu64 "\n",
           sum->elections, sum->acked, sum->forwarded, sum->reads, sum->crashes, sum->disk_deaths,
           sum->snapshots, sum->installs, sum->hashes);
    printf("# second node applied %.2f ms after the first, on average\n",
           sum->nudge_count == 0 ? 0.0
                                 : (double)sum->nudge_ms_sum / 1000.0 / (double)sum->nudge_count);
    if (tally->first_bad != 0)
        printf("# first bad seed %" PRIu64 "\n", tally->first_bad);
}

static int verdict(const struct settings *settings, const struct tally *tally)
{
    if (settings->expect_bad)
        return tally->bad + tally->crashed > 0 ? 0 : 2;
    if (tally->crashed > 0)
        return 1;
    return tally->bad > 0 ? 2 : 0;
}

int main(int argc, char *argv[])
{
    struct settings settings = {
        .run = {.nodes = 3,
                .faults = SIM_CRASH | SIM_CUT | SIM_PAUSE | SIM_SLOW_DISK,
                .fault_ms = 15000},
        .first = 1,
        .last = 100,
        .max_bad = 20,
        .jobs = 2,
    };
    const struct rlimit no_core = {0, 0};
    struct tally *tally;
    double start = seconds();
    int code;

    if (!parse(argc, argv, &settings)) {
        fprintf(stderr, "usage: sim_raft --seeds A..B [--nodes N] [--profile P] "
                        "[--guard-off G2]\n"
                        "       [--ms M] [--jobs J] [--max-bad K] [--expect-bad] "
                        "[--verbose]\n");
        return 64;
    }
    (void)setrlimit(RLIMIT_CORE, &no_core);
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(tally != MAP_FAILED);
    tally->next_seed = settings.first;
    supervise(&settings, tally);
    code = verdict(&settings, tally);
    summarise(&settings, tally, seconds() - start);
    printf("%s - sim_raft\n1..1\n", code == 0 ? "ok 1" : "not ok 1");
    return code;
}
