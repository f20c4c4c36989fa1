/* A primary whose host stands still, without a gate in the kernel: only the fencing command of the
 * watchers' own files can end it. Real processes; the "host" is the database and its agent. The
 * cases share one cluster and build on each other. */
#include "tests/support/cmocka_ha.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/component/cmd/lab.h"

#define SETTLE_MS 20000u
#define AGAIN_MS 15000u /* a failed command is tried again after 10 s */

static struct lab lab;
static int old;    /* the primary that stands still */
static int living; /* a watcher that is not ended */

static int open_lab(void **state)
{
    (void)state;
    lab_open(&lab);
    return 0;
}

static int close_lab(void **state)
{
    (void)state;
    lab_close(&lab);
    return 0;
}

static int apply(const char *fence)
{
    char path[128], members[512] = "";

    for (int i = 0; i < LAB_HOSTS; i++)
        (void)snprintf(members + strlen(members), sizeof(members) - strlen(members),
                       "[member cache/%c]\nagent = db%d\nhost = 127.0.0.1\nport = %u\n", 'a' + i,
                       i + 1, lab.redis_ports[i]);
    (void)snprintf(path, sizeof(path), "%s/services.conf", lab.dir);
    lab_write(path, "[service cache]\nengine = redis\nfence = %s\n%s", fence, members);
    return lab_ctl(&lab, 0, NULL, (const char *const[]){"apply", "-f", path, NULL});
}

/* The command of all watchers: notes what it was told and its process, then does @what. It is
 * replaced as a whole: an open script cannot be run. */
static void write_command(const char *what)
{
    char path[128], next[160];

    (void)snprintf(path, sizeof(path), "%s/fence", lab.dir);
    (void)snprintf(next, sizeof(next), "%s.next", path);
    lab_write(next,
              "#!/bin/sh\necho $$ $1 $HAFAILOVER_SERVICE $HAFAILOVER_MEMBER $HAFAILOVER_AGENT "
              "$HAFAILOVER_ADDRESS $HAFAILOVER_EPOCH >>%s/fenced\n%s\n",
              lab.dir, what);
    assert_int_equal(chmod(next, 0700), 0);
    assert_int_equal(rename(next, path), 0);
}

/* Runs of the command so far; the last one's process and words. */
static int runs(int *ret_pid, char words[128])
{
    char path[128], line[160];
    int count = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/fenced", lab.dir);
    file = fopen(path, "r");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        count++;
        line[strcspn(line, "\n")] = '\0';
        *ret_pid = 0;
        for (const char *digit = line; *digit >= '0' && *digit <= '9'; digit++)
            *ret_pid = 10 * *ret_pid + (*digit - '0');
        (void)snprintf(words, 128, "%.127s", line + strcspn(line, " "));
    }
    (void)fclose(file);
    return count;
}

static void wait_runs(int wanted, uint32_t deadline_ms, int *ret_pid, char words[128])
{
    uint64_t until_ms = lab_now_ms() + deadline_ms;

    while (runs(ret_pid, words) < wanted) {
        assert_true(lab_now_ms() < until_ms);
        (void)poll(NULL, 0, 10);
    }
}

static void wait_why(const char *text, uint32_t deadline_ms)
{
    uint64_t until_ms = lab_now_ms() + deadline_ms;
    bool told = false;

    while (!told) {
        char *status;

        assert_true(lab_now_ms() < until_ms);
        (void)lab_ctl(&lab, lab_leader(&lab, 0), &status, (const char *const[]){"status", NULL});
        told = strstr(status, text) != NULL;
        free(status);
        (void)poll(NULL, 0, 10);
    }
}

/* Watcher @at said so in its log. */
static bool has_logged(int at, const char *text)
{
    char path[128], line[512];
    bool found = false;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/w%d/log", lab.dir, at + 1);
    file = fopen(path, "r");
    assert_non_null(file);
    while (!found && fgets(line, sizeof(line), file) != NULL)
        found = strstr(line, text) != NULL;
    (void)fclose(file);
    return found;
}

static void test_unknown_command_is_told(void **state)
{
    uint64_t until_ms = lab_now_ms() + SETTLE_MS;

    (void)state;
    write_command("echo the chassis does not answer\nexit 3");
    while (apply("nowhere") != 0) {
        assert_true(lab_now_ms() < until_ms);
        (void)lab_leader(&lab, 0);
    }
    for (int i = 0; i < LAB_HOSTS; i++)
        old = lab_wait_primary(&lab, i, 3, -1, SETTLE_MS);
    for (int i = 0; i < LAB_HOSTS; i++)
        assert_true(has_logged(i, "fence-command-missing service=cache command=nowhere"));
    assert_int_equal(kill(lab.agents[old], SIGSTOP), 0);
    assert_int_equal(kill(lab.databases[old], SIGSTOP), 0);
    wait_why("has no [fence nowhere]", 10000);
}

static void test_failed_command_is_told(void **state)
{
    char words[128], wanted[128];
    int pid;

    (void)state;
    assert_int_equal(apply("power"), 0);
    wait_runs(1, AGAIN_MS, &pid, words);
    (void)snprintf(wanted, sizeof(wanted), " off cache %c db%d 127.0.0.1 2", 'a' + old, old + 1);
    assert_string_equal(words, wanted);
    wait_why("exit code 3: the chassis does not answer", 5000);
}

/* The leader ends, and its command with it; the next leader runs it anew. */
static void test_next_leader_runs_it_again(void **state)
{
    char words[128], answer[128], script[128];
    int leader, pid, now;
    uint64_t since_ms;

    (void)state;
    write_command("exec sleep 600");
    wait_runs(2, AGAIN_MS, &pid, words);
    leader = lab_leader(&lab, 0);
    (void)snprintf(script, sizeof(script), "kill -9 %d %d", (int)lab.agents[old],
                   (int)lab.databases[old]);
    write_command(script);
    since_ms = lab_now_ms();
    assert_int_equal(lab_end(&lab.watchers[leader], SIGTERM), 0);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    living = (leader + 1) % LAB_HOSTS;
    now = lab_wait_primary(&lab, living, 2, old, SETTLE_MS);
    print_message("# steady %u ms after the leader was told to end\n",
                  (unsigned)(lab_now_ms() - since_ms));
    assert_int_equal(runs(&pid, words), 3);
    assert_true(lab_redis(&lab, now, answer, (const char *const[]){"set", "k", "v", NULL}));
    assert_string_equal(answer, "OK");
    (void)lab_end(&lab.agents[old], SIGKILL);
    (void)lab_end(&lab.databases[old], SIGKILL);
}

static void test_history_tells_the_fence(void **state)
{
    char *text;

    (void)state;
    assert_int_equal(lab_ctl(&lab, living, &text, (const char *const[]){"explain", "2", NULL}), 0);
    print_message("# %.*s\n", (int)strcspn(text, "\n"), text);
    assert_non_null(strstr(text, "command"));
    free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_unknown_command_is_told),
    cmocka_unit_test(test_failed_command_is_told),
    cmocka_unit_test(test_next_leader_runs_it_again),
    cmocka_unit_test(test_history_tells_the_fence),
};

int main(int argc, char *argv[])
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("cmd/fence", tests, open_lab, close_lab);
}
