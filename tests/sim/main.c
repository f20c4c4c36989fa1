/* Seeds in, verdicts out: exit 0 pass, 1 crash, 2 safety, 3 liveness. See README.md. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/raft/simguard.h"
#include "tests/sim/sim.h"

enum { BATCH = 20, USAGE = 64 };

static const char usage[] =
    "usage: sim [--seed N | --seeds N | --minutes N] [--first N] [--limit N]\n"
    "           [--seconds N] [--faults N] [--only TRAIT] [--raft [--guard-off RULES]]\n"
    "  --seed N     the story of one run and its digest\n"
    "  --seeds N    that many seeds from --first (1) on; stops at the first that fails\n"
    "  --minutes N  explore from --first on, until one fails or the time is over\n"
    "  --limit N    minutes, after which --seeds is content with those that were good\n"
    "  --seconds N  of faults in each run (60)\n"
    "  --faults N   only the first N faults of each run\n"
    "  --only TRAIT pass over the seeds whose run is not of this kind (may be given again):\n"
    "               redis, sync, strict, hold, changes, fence, budget, again\n"
    "  --raft       the log is libraft itself over simulated disks, not a model\n"
    "  --guard-off RULES  without these rules around libraft: G1 to G10, nudge, timeoutnow\n"
    "exit: 0 pass, 1 crash, 2 safety, 3 liveness, 64 usage\n";

/* A batch of seeds in a child, so that a crash costs one batch and names it. */
static enum sim_exit run_batch(uint64_t first, uint64_t last, const struct sim_options *options,
                               struct sim_totals *totals)
{
    int fds[2], status;
    pid_t pid;

    if (pipe(fds) != 0)
        return SIM_CRASH;
    (void)fflush(stdout);
    pid = fork();
    if (pid == 0) {
        enum sim_exit worst = SIM_PASS;

        for (uint64_t seed = first; seed <= last && worst == SIM_PASS; seed++) {
            totals->seed = seed;
            if (!sim_seed_has(seed, options->only)) {
                totals->passed_over++;
                totals->done++;
                continue;
            }
            worst = sim_run_seed(seed, options, totals);
            if (worst == SIM_PASS)
                totals->done++;
        }
        if (write(fds[1], totals, sizeof(*totals)) < 0)
            _exit(SIM_CRASH);
        _exit((int)worst);
    }
    (void)close(fds[1]);
    if (pid < 0 || read(fds[0], totals, sizeof(*totals)) < 0)
        memset(totals, 0, sizeof(*totals));
    (void)close(fds[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return SIM_CRASH;
    if (WIFEXITED(status))
        return (enum sim_exit)WEXITSTATUS(status);
    return SIM_CRASH;
}

static enum sim_exit run_quietly(uint64_t seed, const struct sim_options *options, uint32_t faults)
{
    struct sim_options few = *options;
    struct sim_totals none = {0};

    few.faults_max = faults;
    few.silent = true;
    return run_batch(seed, seed, &few, &none);
}

/* The fewest of its first faults with which this seed still fails in this way. */
static void tell_prefix(uint64_t seed, const struct sim_options *options, enum sim_exit verdict)
{
    uint32_t low = 0, high = options->faults_max < 4096 ? options->faults_max : 4096;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (run_quietly(seed, options, middle) == verdict)
            high = middle;
        else
            low = middle + 1;
    }
    (void)printf("the shortest prefix that fails: %s--seed %" PRIu64 " --faults %u\n",
                 options->raft ? "--raft " : "", seed, high);
}

/* A crash left no word: which of the batch was it? */
static uint64_t find_crash(uint64_t first, uint64_t last, const struct sim_options *options)
{
    while (first < last && run_quietly(first, options, options->faults_max) != SIM_CRASH)
        first++;
    return first;
}

static void say_probabilities(void)
{
    (void)printf(
        "each run: 3 watchers or (25 %%) 5; 40 %% Redis, else PostgreSQL, of that 60 %% strict, of"
        " that 60 %% with gates that fail; messages lost 0, 2 or 4 %%, twice 0, 1 or 2 %%,"
        " delayed to 1..40 ms; promotions fail 0, 10 or 20 %%; notes and acts slow 0, 2 or"
        " 4 %%; clocks drift 70 %%, half of them by all that is allowed; gates of mixed"
        " kinds 50 %%; a finite loss budget 40 %% of Redis; settings, watchers and services"
        " change 40 %%; a fencing command 15 %%; a fault each 0.2 to 3 s, several at once"
        " 40 %%; agents may keep a lease in each third; in one of 16 with gates that fail a"
        " primary is made to succeed itself; a wiped or restored host of strict is off until"
        " no lease of an epoch that is over runs\n");
}

/* Seeds until @count are done (0: any number) or @minutes are over (0: never). */
static int explore(uint64_t first, uint64_t count, uint64_t minutes,
                   const struct sim_options *options)
{
    time_t start = time(NULL);
    struct sim_totals all = {0};
    enum sim_exit worst = SIM_PASS;

    say_probabilities();
    for (uint64_t seed = first; worst == SIM_PASS && (count == 0 || all.done < count);
         seed += BATCH) {
        struct sim_totals part = {0};
        uint64_t last = seed + BATCH - 1;

        if (minutes > 0 && time(NULL) - start >= (time_t)(60 * minutes))
            break;
        if (count > 0 && last >= first + count)
            last = first + count - 1;
        worst = run_batch(seed, last, options, &part);
        all.failovers += part.failovers;
        all.repeats += part.repeats;
        all.writes += part.writes;
        all.acks += part.acks;
        all.losses += part.losses;
        all.kept += part.kept;
        all.faults += part.faults;
        all.done += part.done;
        all.passed_over += part.passed_over;
        if (worst == SIM_CRASH) {
            part.seed = find_crash(seed, last, options);
            (void)printf("seed %" PRIu64 ": CRASH\n", part.seed);
        }
        if (worst != SIM_PASS && !options->silent)
            tell_prefix(part.seed, options, worst);
    }
    (void)printf("%" PRIu64 " seeds good, %" PRIu64 " epochs opened, %" PRIu64 " faults, %" PRIu64
                 " writes, %" PRIu64 " replicated acknowledgements, %" PRIu64
                 " losses of such accepted, %" PRIu64 " leases kept by agents, %" PRIu64
                 " statuses said in a word, in %ld s\n",
                 all.done - all.passed_over, all.failovers, all.faults, all.writes, all.acks,
                 all.losses, all.kept, all.repeats, (long)(time(NULL) - start));
    return (int)worst;
}

static bool parse_plant(const char *text, enum sim_plant *ret)
{
    static const char *const names[] = {"none", "crash", "safety", "liveness"};

    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) != 0)
            continue;
        *ret = (enum sim_plant)i;
        return true;
    }
    return false;
}

static bool parse_trait(const char *text, uint32_t *ret)
{
    static const char *const names[] = {"redis",   "sync",  "strict", "hold",
                                        "changes", "fence", "budget", "again"};

    for (unsigned i = 0; i < 8; i++)
        if (strcmp(text, names[i]) == 0) {
            *ret |= 1u << i;
            return true;
        }
    return false;
}

int main(int argc, char *argv[])
{
    uint64_t seed = 0, first = 1, count = 0, minutes = 0, limit = 0, seconds = 60,
             faults = UINT32_MAX;
    struct sim_options options = {0};
    const struct rlimit no_core = {0, 0};
    bool one = false;

    for (int i = 1; i < argc; i += 2) {
        uint64_t *to = strcmp(argv[i], "--seed") == 0      ? &seed
                       : strcmp(argv[i], "--first") == 0   ? &first
                       : strcmp(argv[i], "--seeds") == 0   ? &count
                       : strcmp(argv[i], "--minutes") == 0 ? &minutes
                       : strcmp(argv[i], "--limit") == 0   ? &limit
                       : strcmp(argv[i], "--seconds") == 0 ? &seconds
                       : strcmp(argv[i], "--faults") == 0  ? &faults
                                                           : NULL;

        /* For the tests of this program: a bug of each kind, which must be told as what it is. */
        if (i + 1 < argc && strcmp(argv[i], "--plant") == 0 &&
            parse_plant(argv[i + 1], &options.plant))
            continue;
        if (i + 1 < argc && strcmp(argv[i], "--only") == 0 &&
            parse_trait(argv[i + 1], &options.only))
            continue;
        if (strcmp(argv[i], "--raft") == 0) {
            options.raft = true;
            i--; /* it has no value */
            continue;
        }
        if (i + 1 < argc && strcmp(argv[i], "--guard-off") == 0 &&
            sim_guard_parse(argv[i + 1], &options.guard_off))
            continue;
        if (to == NULL || i + 1 == argc || ha_text_u64(argv[i + 1], UINT32_MAX, to) != HA_OK) {
            (void)fputs(usage, stderr);
            return USAGE;
        }
        one = one || to == &seed;
    }
    if (options.guard_off != 0 && !options.raft) {
        (void)fputs(usage, stderr);
        return USAGE;
    }
    if ((one ? 1 : 0) + (count > 0 ? 1 : 0) + (minutes > 0 ? 1 : 0) > 1 || seconds > 100000) {
        (void)fputs(usage, stderr);
        return USAGE;
    }
    (void)setrlimit(RLIMIT_CORE, &no_core);
    /* What one run gives back the next one takes, and the kernel is not asked. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    options.seconds = (uint32_t)seconds;
    options.faults_max = (uint32_t)faults;
    options.verbose = one;
    if (one) {
        struct sim_totals totals = {0};
        enum sim_exit verdict = run_batch(seed, seed, &options, &totals);

        if (verdict == SIM_CRASH)
            (void)printf("seed %" PRIu64 ": CRASH\n", seed);
        return (int)verdict;
    }
    if (count == 0 && minutes == 0)
        count = 200;
    return explore(first, count, minutes == 0 ? limit : minutes, &options);
}
