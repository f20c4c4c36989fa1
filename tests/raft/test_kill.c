/* Real processes, real disks: killed at random instants, starved of space, they
 * come back equal, and nothing that was acknowledged is lost.
 *
 * HA_KILL_MS: how long the killing goes on (default 6000). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/support/port.h"

#define INDEXES_MAX 4000000u /* more than a quick disk takes in the time given */
#define REST_POLL_MS 250u
#define REST_POLLS 6u /* together more than the second that a proposal may be open */

struct process {
    pid_t pid; /* 0: down */
    char dir[128];
    char records[128];
    char address[32];
    bool is_old; /* was bootstrapped */
    unsigned starts;
    unsigned fatals;
};

static struct process processes[4];
static char base[64];
static struct ha_prng prng;
static uint64_t agreed[INDEXES_MAX]; /* request by index */

static void pause_ms(uint64_t ms)
{
    const struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

    (void)nanosleep(&time, NULL);
}

static uint64_t now_ms(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void start(unsigned i, const char *free_min)
{
    struct process *p = &processes[i];
    char id[4];
    pid_t pid;

    (void)snprintf(id, sizeof(id), "%u", i);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(p->records, O_WRONLY | O_CREAT | O_APPEND, 0600);

        (void)dup2(fd, STDOUT_FILENO);
        (void)execl(HA_RAFT_NODE, HA_RAFT_NODE, p->dir, p->records, id, free_min,
                    p->is_old ? "start" : "bootstrap", processes[1].address, processes[2].address,
                    processes[3].address, (char *)NULL);
        _exit(127);
    }
    p->pid = pid;
    p->is_old = true;
    p->starts++;
}

/* Wait for the end of a process; its exit status, or 1000 + the signal. */
static int reap(unsigned i)
{
    struct process *p = &processes[i];
    int status;

    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    p->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void kill_one(unsigned i)
{
    if (processes[i].pid == 0)
        return;
    (void)kill(processes[i].pid, SIGKILL);
    assert_int_equal(reap(i), 1000 + SIGKILL);
}

/* Nodes that ended by themselves: only for a fatal error that the test has
 * caused. */
static void collect(bool may_die)
{
    for (unsigned i = 1; i <= 3; i++) {
        struct process *p = &processes[i];
        int status;

        if (p->pid == 0 || waitpid(p->pid, &status, WNOHANG) != p->pid)
            continue;
        p->pid = 0;
        p->fatals++;
        if (!may_die || !WIFEXITED(status) ||
            (WEXITSTATUS(status) != 3 && WEXITSTATUS(status) != 4))
            fail_msg("node %u ended with status %#x", i, (unsigned)status);
    }
}

static void set_up_files(const char *where)
{
    (void)snprintf(base, sizeof(base), "%s/ha-kill-XXXXXX", where);
    assert_non_null(mkdtemp(base));
    memset(processes, 0, sizeof(processes));
    memset(agreed, 0, sizeof(agreed));
    ha_prng_seed(&prng, (uint64_t)time(NULL));
    for (unsigned i = 1; i <= 3; i++) {
        struct process *p = &processes[i];

        (void)snprintf(p->dir, sizeof(p->dir), "%s/w%u", base, i);
        (void)snprintf(p->records, sizeof(p->records), "%s/records%u", base, i);
        (void)snprintf(p->address, sizeof(p->address), "127.0.0.1:%u", (unsigned)free_port());
        assert_int_equal(mkdir(p->dir, 0700), 0);
    }
}

static void remove_files(void)
{
    char command[100];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", base);
    assert_int_equal(system(command), 0);
}

struct tally {
    uint64_t acknowledged;
    uint64_t applied;
    uint64_t hash[4];
    uint64_t index[4];
};

static void judge_applied(uint64_t request, uint64_t index)
{
    assert_true(index < INDEXES_MAX);
    if (agreed[index] == 0)
        agreed[index] = request;
    else
        assert_int_equal(agreed[index], request); /* R2 */
}

static void read_records(unsigned i, struct tally *tally, uint64_t kind)
{
    FILE *file = fopen(processes[i].records, "rb");
    uint64_t words[3];

    assert_non_null(file);
    while (fread(words, sizeof(words), 1, file) == 1) {
        if (words[0] != kind)
            continue;
        if (kind == 2) {
            judge_applied(words[1], words[2]);
            tally->applied++;
        } else if (kind == 1) {
            assert_true(words[2] < INDEXES_MAX);
            assert_int_equal(agreed[words[2]], words[1]); /* R3 */
            tally->acknowledged++;
        } else {
            tally->hash[i] = words[1];
            tally->index[i] = words[2];
        }
    }
    (void)fclose(file);
}

/* How much of what @i itself proposed it was told to be in the log. */
static uint64_t acknowledged_to(unsigned i)
{
    FILE *file = fopen(processes[i].records, "rb");
    uint64_t words[3], count = 0;

    assert_non_null(file);
    while (fread(words, sizeof(words), 1, file) == 1)
        count += words[0] == 1;
    (void)fclose(file);
    return count;
}

static void await_more(unsigned i)
{
    const uint64_t before = acknowledged_to(i), end_ms = now_ms() + 30000;

    while (acknowledged_to(i) <= before + 8) { /* what was on its way may still come */
        assert_true(now_ms() < end_ms);
        pause_ms(20);
    }
}

/* All have said the same for longer than a proposal may be open. */
static void await_rest(void)
{
    const uint64_t end_ms = now_ms() + 60000;
    struct tally last = {0}, tally = {0};

    for (unsigned same = 0; same < REST_POLLS; last = tally) {
        assert_true(now_ms() < end_ms);
        pause_ms(REST_POLL_MS);
        for (unsigned i = 1; i <= 3; i++)
            read_records(i, &tally, 3);
        if (tally.index[1] != 0 && tally.index[1] == last.index[1] &&
            tally.index[1] == tally.index[2] && tally.index[1] == tally.index[3])
            same++;
        else
            same = 0;
    }
}

/* Let all come to rest, end them, and compare everything they said. */
static void settle_and_judge(struct tally *tally)
{
    memset(tally, 0, sizeof(*tally));
    for (unsigned i = 1; i <= 3; i++)
        if (processes[i].pid == 0)
            start(i, "1");
    pause_ms(3000);
    for (unsigned i = 1; i <= 3; i++)
        (void)kill(processes[i].pid, SIGUSR1);
    await_rest();
    for (unsigned i = 1; i <= 3; i++) {
        (void)kill(processes[i].pid, SIGTERM);
        assert_int_equal(reap(i), 0);
    }
    for (unsigned i = 1; i <= 3; i++)
        read_records(i, tally, 2);
    for (unsigned i = 1; i <= 3; i++) {
        read_records(i, tally, 1);
        read_records(i, tally, 3);
    }
    for (unsigned i = 2; i <= 3; i++) {
        assert_int_equal(tally->index[i], tally->index[1]);
        assert_true(tally->hash[i] == tally->hash[1]);
    }
    assert_true(tally->acknowledged > 0);
}

static void test_killed_at_any_instant(void **state)
{
    const char *wish = getenv("HA_KILL_MS");
    uint64_t wanted_ms = 6000;
    struct tally tally;
    unsigned kills = 0;
    uint64_t end_ms;

    (void)state;
    if (wish != NULL)
        (void)ha_text_u64(wish, 100000000, &wanted_ms);
    set_up_files("/tmp");
    for (unsigned i = 1; i <= 3; i++)
        start(i, "1");
    end_ms = now_ms() + wanted_ms;
    pause_ms(1000);
    while (now_ms() < end_ms) {
        uint64_t how = ha_prng_below(&prng, 5);
        unsigned victim = 1 + (unsigned)ha_prng_below(&prng, 3);

        for (unsigned i = 1; i <= 3; i++) {
            if (i == victim || how == 0 || (how == 1 && ha_prng_chance(&prng, 500000))) {
                kill_one(i);
                kills++;
            }
        }
        pause_ms(ha_prng_below(&prng, 200));
        for (unsigned i = 1; i <= 3; i++)
            if (processes[i].pid == 0)
                start(i, "1");
        pause_ms(ha_prng_below(&prng, 900));
        collect(false);
    }
    settle_and_judge(&tally);
    print_message("# %u kills, %" PRIu64 " acknowledged, %" PRIu64 " applied records, last index"
                  " %" PRIu64 "\n",
                  kills, tally.acknowledged, tally.applied, tally.index[1]);
    remove_files();
}

/* Its host's kernel keeps the links of a stopped leader alive: what was forwarded to it is given up
 * when another leads, not when its time is over. */
static void test_a_stopped_leader_is_not_waited_for(void **state)
{
    struct tally tally;

    (void)state;
    set_up_files("/tmp");
    assert_int_equal(setenv("HA_PROPOSE_MS", "600000", 1), 0);
    for (unsigned i = 1; i <= 3; i++)
        start(i, "1");
    assert_int_equal(unsetenv("HA_PROPOSE_MS"), 0);
    for (unsigned i = 1; i <= 3; i++)
        await_more(i);
    for (unsigned stopped = 1; stopped <= 3; stopped++) { /* one of them leads */
        assert_int_equal(kill(processes[stopped].pid, SIGSTOP), 0);
        for (unsigned i = 1; i <= 3; i++)
            if (i != stopped)
                await_more(i);
        assert_int_equal(kill(processes[stopped].pid, SIGCONT), 0);
        await_more(stopped);
    }
    settle_and_judge(&tally);
    remove_files();
}

/* Fill the file system of node @i until not a byte is left. */
static void fill(unsigned i)
{
    char path[200];
    static char block[4096];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/filler", processes[i].dir);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0)
        continue;
    (void)close(fd);
}

static void unfill(unsigned i)
{
    char path[200];

    (void)snprintf(path, sizeof(path), "%s/filler", processes[i].dir);
    (void)unlink(path);
}

static void test_disks_that_fill_and_are_freed(void **state)
{
    struct tally tally;
    unsigned fatals = 0;

    (void)state;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        print_message("# no mount namespace here: %s\n", strerror(errno));
        skip();
    }
    set_up_files("/tmp");
    for (unsigned i = 1; i <= 3; i++)
        if (mount("tmpfs", processes[i].dir, "tmpfs", 0, "size=8m") != 0)
            fail_msg("mount: %s", strerror(errno));
    for (unsigned i = 1; i <= 3; i++)
        start(i, "0");
    pause_ms(1500);
    for (unsigned round = 0; round < 6; round++) {
        unsigned first = 1 + (unsigned)ha_prng_below(&prng, 3);

        fill(first);
        if (round >= 4) /* a majority of disks */
            fill(first % 3 + 1);
        for (unsigned wait = 0; wait < 10; wait++) {
            pause_ms(100);
            collect(true);
        }
        unfill(first);
        unfill(first % 3 + 1);
        for (unsigned i = 1; i <= 3; i++)
            if (processes[i].pid == 0)
                start(i, "0");
        pause_ms(700);
        collect(true);
    }
    settle_and_judge(&tally);
    for (unsigned i = 1; i <= 3; i++)
        fatals += processes[i].fatals;
    print_message("# %u deaths of a full disk, %" PRIu64 " acknowledged, last index %" PRIu64 "\n",
                  fatals, tally.acknowledged, tally.index[1]);
    assert_true(fatals > 0);
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(umount(processes[i].dir), 0);
    remove_files();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_killed_at_any_instant),
    cmocka_unit_test(test_a_stopped_leader_is_not_waited_for),
    cmocka_unit_test(test_disks_that_fill_and_are_freed),
};

HA_TEST_MAIN("raft/kill", tests)
