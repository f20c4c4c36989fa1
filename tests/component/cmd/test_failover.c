/* The programs together: three watchers, three agents, three Redis, real processes on loopback.
 * The cases share one cluster and build on each other. */
#include "tests/support/cmocka_ha.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/component/cmd/lab.h"

#define SETTLE_MS 20000u
#define FAILOVER_MS 5000u

static struct lab lab;

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

static void write_services(const char *extra)
{
    char path[128], members[512] = "";

    for (int i = 0; i < LAB_HOSTS; i++)
        (void)snprintf(members + strlen(members), sizeof(members) - strlen(members),
                       "[member cache/%c]\nagent = db%d\nhost = 127.0.0.1\nport = %u\n", 'a' + i,
                       i + 1, lab.redis_ports[i]);
    (void)snprintf(path, sizeof(path), "%s/services.conf", lab.dir);
    lab_write(path, "[service cache]\nengine = redis\naccept_process_fence = yes\nrate = any\n%s%s",
              extra, members);
}

static int apply(char **ret)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/services.conf", lab.dir);
    return lab_ctl(&lab, 0, ret, (const char *const[]){"apply", "-f", path, NULL});
}

static json_int_t config_version(int at)
{
    json_t *status = lab_status(&lab, at);
    json_int_t version = json_integer_value(json_object_get(status, "config_version"));

    json_decref(status);
    return version;
}

static json_int_t service_epoch(int at)
{
    json_t *status = lab_status(&lab, at);
    json_t *service = json_array_get(json_object_get(status, "services"), 0);
    json_int_t epoch = json_integer_value(json_object_get(service, "epoch"));

    json_decref(status);
    return epoch;
}

static void test_apply_gives_a_primary(void **state)
{
    uint64_t until_ms = lab_now_ms() + SETTLE_MS;

    (void)state;
    write_services("");
    /* Until there is a leader, and it has named the set of watchers: exit code 5, "not now". */
    while (apply(NULL) != 0) {
        assert_true(lab_now_ms() < until_ms);
        (void)lab_leader(&lab, 0);
    }
    /* The one that was primary already keeps its place. */
    assert_int_equal(lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS), 0);
    for (int i = 0; i < LAB_HOSTS; i++)
        assert_int_equal(lab_wait_primary(&lab, i, 3, -1, SETTLE_MS), 0);
}

static void test_bad_configuration_changes_nothing(void **state)
{
    json_int_t before = config_version(0);
    char *text;

    (void)state;
    write_services("down_aftr = 800ms\n");
    assert_int_equal(apply(&text), 1);
    assert_non_null(strstr(text, "line 5"));
    assert_non_null(strstr(text, "down_aftr"));
    free(text);
    assert_int_equal(config_version(0), before);
}

static void test_kill_promotes_another_at_once(void **state)
{
    int old = lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS), now;
    uint64_t killed_ms, until_ms = lab_now_ms() + FAILOVER_MS;
    char answer[128];

    (void)state;
    assert_true(lab_redis(&lab, old, answer, (const char *const[]){"set", "k", "before", NULL}));
    assert_string_equal(answer, "OK");
    /* WAIT speaks of writes of its own connection only. */
    for (int i = 0; i < LAB_HOSTS; i++)
        while (!lab_redis(&lab, i, answer, (const char *const[]){"get", "k", NULL}) ||
               strcmp(answer, "before") != 0)
            assert_true(lab_now_ms() < until_ms);
    killed_ms = lab_now_ms();
    (void)lab_end(&lab.databases[old], SIGKILL);
    now = lab_wait_primary(&lab, 0, 2, old, FAILOVER_MS);
    print_message("# steady again %u ms after the kill\n", (unsigned)(lab_now_ms() - killed_ms));
    assert_true(lab_redis(&lab, now, answer, (const char *const[]){"get", "k", NULL}));
    assert_string_equal(answer, "before");
}

static void test_old_primary_returns_as_replica(void **state)
{
    int primary = lab_wait_primary(&lab, 0, 2, -1, SETTLE_MS), old = 0;
    char answer[128];

    (void)state;
    while (old < LAB_HOSTS && lab.databases[old] != 0)
        old++;
    assert_true(old < LAB_HOSTS);
    lab_start_database(&lab, old);
    /* It starts as an empty primary, and must not be taken for one. */
    assert_int_equal(lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS), primary);
    assert_true(lab_redis(&lab, old, answer, (const char *const[]){"get", "k", NULL}));
    assert_string_equal(answer, "before");
}

static void test_leader_and_primary_die_together(void **state)
{
    int leader = lab_leader(&lab, 0), other = (leader + 1) % LAB_HOSTS;
    int old = lab_wait_primary(&lab, other, 3, -1, SETTLE_MS);
    uint64_t killed_ms = lab_now_ms();

    (void)state;
    (void)kill(lab.watchers[leader], SIGKILL);
    (void)kill(lab.databases[old], SIGKILL);
    (void)lab_end(&lab.watchers[leader], SIGKILL);
    (void)lab_end(&lab.databases[old], SIGKILL);
    (void)lab_wait_primary(&lab, other, 2, old, FAILOVER_MS);
    print_message("# leader and primary lost: steady after %u ms\n",
                  (unsigned)(lab_now_ms() - killed_ms));
    lab_start_watcher(&lab, leader, false);
    lab_start_database(&lab, old);
    (void)lab_wait_primary(&lab, leader, 3, -1, SETTLE_MS);
}

static void test_operator_moves_the_primary(void **state)
{
    int old = lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS), to = (old + 1) % LAB_HOSTS;
    char name[2] = {(char)('a' + to), '\0'};
    char *text;
    int result;

    (void)state;
    /* Asked of a follower: it forwards. */
    result = lab_ctl(&lab, (lab_leader(&lab, 0) + 1) % LAB_HOSTS, &text,
                     (const char *const[]){"failover", "cache", "--to", name, NULL});
    if (result != 0)
        print_message("# %s\n", text);
    free(text);
    assert_int_equal(result, 0);
    assert_int_equal(lab_wait_primary(&lab, 0, 2, old, FAILOVER_MS), to);
    assert_int_equal(lab_ctl(&lab, 0, &text, (const char *const[]){"history", NULL}), 0);
    assert_non_null(strstr(text, "operator"));
    free(text);
    assert_int_equal(
        lab_ctl(&lab, 0, &text, (const char *const[]){"explain", "1", "--table", NULL}), 0);
    assert_non_null(strstr(text, "decision 1"));
    free(text);
    /* Without a gate in the kernel the old primary's process was its fence. */
    (void)lab_end(&lab.databases[old], SIGKILL);
    lab_start_database(&lab, old);
    assert_int_equal(lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS), to);
}

/* A write at watcher @at that nobody will confirm, and that changes nothing if somebody does, once
 * the watcher has it; the client's pid. */
static pid_t start_write(int at)
{
    uint64_t until_ms = lab_now_ms() + 5000;
    char command[160];
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)lab_ctl(&lab, at, NULL, (const char *const[]){"resume", "cache", NULL});
        _exit(0);
    }
    (void)snprintf(command, sizeof(command), "tail -n 20 %s/w%d/log | grep -q api-write", lab.dir,
                   at + 1);
    while (system(command) != 0)
        assert_true(lab_now_ms() < until_ms);
    return pid;
}

static void test_watchers_restart_with_equal_state(void **state)
{
    int primary = lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS);
    json_int_t before = config_version(0);
    pid_t client;

    (void)state;
    (void)lab_end(&lab.watchers[2], SIGKILL);
    (void)lab_end(&lab.watchers[1], SIGTERM);
    client = start_write(0);
    assert_int_equal(lab_end(&lab.watchers[0], SIGTERM), 0);
    (void)lab_wait(&client);
    /* Without a gate in the kernel the end of the lease is the end of the process. */
    assert_int_equal(lab_wait(&lab.databases[primary]), -1);
    for (int i = 0; i < LAB_HOSTS; i++)
        lab_start_watcher(&lab, i, false);
    (void)lab_wait_primary(&lab, 0, 2, primary, SETTLE_MS);
    lab_start_database(&lab, primary);
    for (int i = 0; i < LAB_HOSTS; i++) {
        (void)lab_wait_primary(&lab, i, 3, -1, SETTLE_MS);
        assert_int_equal(config_version(i), before);
    }
    print_message("# primary before %d, after %d\n", primary, lab_primary(&lab, 0, 3));
}

/* One port for all: the key says who asks, and only operators may write. */
static void test_api_over_tls(void **state)
{
    static const struct {
        const char *name;
        int status, pause;
    } cases[] = {{"ctl/admin", 0, 0}, {"view/board", 0, 1}, {"agent/db1", 1, 1}};
    char secret[128], key[128], url[64];
    char *text;

    (void)state;
    (void)snprintf(secret, sizeof(secret), "%s/secret", lab.dir);
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u", lab.watcher_ports[0]);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *name = cases[i].name;

        (void)snprintf(key, sizeof(key), "%s/key%u", lab.dir, (unsigned)i);
        assert_int_equal(lab_ctl_plain(NULL, (const char *const[]){"keygen", name, "--secret",
                                                                   secret, "--out", key, NULL}),
                         0);
        assert_int_equal(
            lab_ctl_plain(&text, (const char *const[]){"--url", url, "--key-file", key, "--name",
                                                       name, "status", NULL}),
            cases[i].status);
        free(text);
        assert_int_equal(
            lab_ctl_plain(NULL, (const char *const[]){"--url", url, "--key-file", key, "--name",
                                                      name, "pause", "cache", NULL}),
            cases[i].pause);
    }
    /* The key of another name opens nothing. */
    assert_int_equal(
        lab_ctl_plain(NULL, (const char *const[]){"--url", url, "--key-file", key, "--name",
                                                  "ctl/admin", "status", NULL}),
        3);
    assert_int_equal(lab_ctl(&lab, 0, NULL, (const char *const[]){"resume", "cache", NULL}), 0);
}

/* Also where no gate in the kernel keeps its instance: nothing moves, nothing is lost. */
static void test_restarted_agent_goes_on(void **state)
{
    int primary = lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS);
    json_int_t epoch = service_epoch(0);
    uint64_t until_ms;

    (void)state;
    assert_true(epoch > 0);
    assert_int_equal(lab_end(&lab.agents[primary], SIGTERM), 0);
    lab_start_agent(&lab, primary);
    until_ms = lab_now_ms() + 4000; /* a lease and what follows its end, twice */
    while (lab_now_ms() < until_ms)
        assert_int_equal(lab_wait_primary(&lab, 0, 2, -1, SETTLE_MS), primary);
    assert_int_equal(service_epoch(0), epoch);
}

/* Two would write over what each other noted. */
static void test_second_agent_of_a_host_refuses_to_start(void **state)
{
    struct lab second = lab;

    (void)state;
    lab_start_agent(&second, 1);
    assert_int_equal(lab_wait(&second.agents[1]), 1);
    (void)lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS);
}

/* What must not be forgotten is refused when it cannot be read. */
static void test_damaged_state_refuses_to_start(void **state)
{
    /* Not of the primary's host: it would be fenced meanwhile. */
    int at = (lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS) + 1) % LAB_HOSTS;
    char path[128];

    (void)state;
    (void)lab_end(&lab.agents[at], SIGTERM);
    (void)snprintf(path, sizeof(path), "%s/a%d/epochs", lab.dir, at + 1);
    lab_write(path, "1024 7 6 0 0 0 cache\nend 00000000\n");
    lab_start_agent(&lab, at);
    assert_int_equal(lab_wait(&lab.agents[at]), 1);
    lab_write(path, "epochs 2\n"); /* of a version to come */
    lab_start_agent(&lab, at);
    assert_int_equal(lab_wait(&lab.agents[at]), 1);
    assert_int_equal(remove(path), 0);
    lab_start_agent(&lab, at);
    (void)lab_wait_primary(&lab, 0, 3, -1, SETTLE_MS);

    (void)lab_end(&lab.watchers[2], SIGTERM);
    (void)snprintf(path, sizeof(path), "%s/w3/data/promise", lab.dir);
    lab_write(path, "soon\n");
    lab_start_watcher(&lab, 2, false);
    assert_int_equal(lab_wait(&lab.watchers[2]), 1);
    lab_write(path, "1500\n");
    lab_start_watcher(&lab, 2, false);
    (void)lab_wait_primary(&lab, 2, 3, -1, SETTLE_MS);
}

static void test_bootstrap_works_once(void **state)
{
    (void)state;
    /* The one that has just been restarted: without two that promise the lease would end. */
    lab_wait_promises(&lab, 2);
    (void)lab_end(&lab.watchers[1], SIGTERM);
    lab_start_watcher(&lab, 1, true);
    assert_int_equal(lab_wait(&lab.watchers[1]), 1);
    lab_start_watcher(&lab, 1, false);
    (void)lab_wait_primary(&lab, 1, 3, -1, SETTLE_MS);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_apply_gives_a_primary),
    cmocka_unit_test(test_bad_configuration_changes_nothing),
    cmocka_unit_test(test_kill_promotes_another_at_once),
    cmocka_unit_test(test_old_primary_returns_as_replica),
    cmocka_unit_test(test_leader_and_primary_die_together),
    cmocka_unit_test(test_operator_moves_the_primary),
    cmocka_unit_test(test_watchers_restart_with_equal_state),
    cmocka_unit_test(test_api_over_tls),
    cmocka_unit_test(test_restarted_agent_goes_on),
    cmocka_unit_test(test_second_agent_of_a_host_refuses_to_start),
    cmocka_unit_test(test_damaged_state_refuses_to_start),
    cmocka_unit_test(test_bootstrap_works_once),
};

int main(int argc, char *argv[])
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("cmd/failover", tests, open_lab, close_lab);
}
