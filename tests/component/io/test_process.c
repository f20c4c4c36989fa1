/* A program runs, fails, hangs or talks too much: one callback each time. A foreign death is seen.
 */
#include "lib/io/process.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/notify.h"
#include "lib/io/pidwatch.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

struct outcome {
    bool called;
    struct ha_process_result result;
    char output[256];
};

static void on_process(void *ctx, const struct ha_process_result *result)
{
    struct outcome *outcome = ctx;

    assert_false(outcome->called);
    outcome->called = true;
    outcome->result = *result;
    (void)ha_text_format(outcome->output, sizeof(outcome->output), "%s", result->output);
}

static void run(const char *script, struct ha_process_options options, struct outcome *outcome)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct ha_loop loop;

    *outcome = (struct outcome){.called = false};
    if (options.argv == NULL)
        options.argv = argv;
    if (options.deadline_ms == 0)
        options.deadline_ms = 5000;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_process_start(NULL, &loop.uv, &options, on_process, outcome), HA_OK);
    assert_false(outcome->called);
    run_until(&loop.uv, &outcome->called, 8000);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
    print_message("# code %d status %d signal %d %s\n", outcome->result.code,
                  outcome->result.exit_status, outcome->result.signal, outcome->result.err.text);
}

static void test_output_and_status(void **state)
{
    struct outcome outcome;

    (void)state;
    run("echo out; echo err >&2; exit 3", (struct ha_process_options){.cwd = "/"}, &outcome);
    assert_int_equal(outcome.result.code, HA_OK);
    assert_int_equal(outcome.result.exit_status, 3);
    assert_string_equal(outcome.output, "out\nerr\n");
}

static void test_input(void **state)
{
    struct outcome outcome;

    (void)state;
    run("cat; echo end", (struct ha_process_options){.input = "hello ", .input_size = 6}, &outcome);
    assert_string_equal(outcome.output, "hello end\n");
}

static void test_input_unread(void **state)
{
    static char much[300000];
    struct outcome outcome;

    (void)state;
    run("exit 0", (struct ha_process_options){.input = much, .input_size = sizeof(much)}, &outcome);
    assert_int_equal(outcome.result.code, HA_OK);
}

static void test_too_much_output(void **state)
{
    struct outcome outcome;

    (void)state;
    run("head -c 1000000 /dev/zero | tr '\\0' x", (struct ha_process_options){.output_max = 100},
        &outcome);
    assert_int_equal(outcome.result.code, HA_OK);
    assert_true(outcome.result.output_cut);
    assert_int_equal(outcome.result.output_size, 100);
}

/* Orphans come to us, so that we see how they ended. */
static void test_deadline_kills_the_group(void **state)
{
    struct outcome outcome;
    uint64_t start_ms = ha_clock_mono_ms();
    uint64_t pid;
    int status;

    (void)state;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    run("sleep 60 & echo -n $!; wait", (struct ha_process_options){.deadline_ms = 2000}, &outcome);
    assert_int_equal(outcome.result.code, HA_ETIMEDOUT);
    assert_int_equal(outcome.result.signal, SIGKILL);
    assert_true(ha_clock_mono_ms() - start_ms < 30000);
    assert_int_equal(ha_text_u64(outcome.output, INT32_MAX, &pid), HA_OK);
    assert_int_equal(waitpid((pid_t)pid, &status, 0), (pid_t)pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_cannot_start(void **state)
{
    static const char *const none[] = {"/nonexistent/program", NULL};
    static const char *const folder[] = {"/tmp", NULL};
    struct outcome outcome;

    (void)state;
    run("", (struct ha_process_options){.argv = none}, &outcome);
    assert_int_equal(outcome.result.code, HA_ENOENT);
    run("", (struct ha_process_options){.argv = folder}, &outcome);
    assert_int_equal(outcome.result.code, HA_EDENIED);
}

static void test_other_user(void **state)
{
    struct outcome outcome;

    (void)state;
    if (getuid() != 0)
        skip();
    run("id -u; id -g; id -G",
        (struct ha_process_options){.set_ids = true, .uid = 65534, .gid = 65534}, &outcome);
    assert_string_equal(outcome.output, "65534\n65534\n65534\n");
}

static void test_cancel(void **state)
{
    static const char *const argv[] = {"/bin/sleep", "60", NULL};
    struct ha_process_options options = {.argv = argv, .deadline_ms = 60000};
    struct outcome outcome = {.called = false};
    struct ha_process_run *process;
    struct ha_loop loop;

    (void)state;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_process_start(&process, &loop.uv, &options, on_process, &outcome), HA_OK);
    ha_process_cancel(process);
    ha_process_cancel(process);
    assert_false(outcome.called);
    run_until(&loop.uv, &outcome.called, 3000);
    assert_int_equal(outcome.result.code, HA_ECANCELED);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
}

struct seen {
    bool exited;
    uint64_t at_ns;
};

static void on_exited(void *ctx, pid_t pid)
{
    struct seen *seen = ctx;

    assert_true(pid > 0);
    assert_false(seen->exited);
    seen->exited = true;
    seen->at_ns = ha_clock_mono_ns();
}

static void test_pidwatch(void **state)
{
    struct seen seen = {.exited = false};
    struct ha_pidwatch *watch;
    struct ha_loop loop;
    uint64_t start;
    uint64_t again;
    uint64_t killed_ns;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        for (;;)
            (void)pause();
    }
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_pid_start_time(pid, &start), HA_OK);
    assert_int_equal(ha_pid_start_time(pid, &again), HA_OK);
    assert_true(start > 0 && start == again);
    assert_int_equal(ha_pidwatch_open(&watch, &loop.uv, pid, on_exited, &seen), HA_OK);
    run_for(&loop.uv, 20);
    assert_false(seen.exited);
    killed_ns = ha_clock_mono_ns();
    assert_int_equal(kill(pid, SIGKILL), 0);
    run_until(&loop.uv, &seen.exited, 2000);
    print_message("# seen %.3f ms after the kill\n", (double)(seen.at_ns - killed_ns) / 1e6);
    ha_pidwatch_close(watch, NULL, NULL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(ha_pidwatch_open(&watch, &loop.uv, pid, on_exited, &seen), HA_ENOENT);
    assert_int_equal(ha_pid_start_time(pid, &start), HA_ENOENT);
    ha_loop_run(&loop);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
}

static void test_notify(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct folder folder;
    char text[64] = "";
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)state;
    folder_make(&folder);
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    assert_int_equal(ha_notify("READY=1"), HA_OK);
    (void)folder_file(&folder, "n", addr.sun_path, sizeof(addr.sun_path));
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", addr.sun_path, 1), 0);
    assert_int_equal(ha_notify("READY=1"), HA_OK);
    assert_int_equal(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT), 7);
    assert_string_equal(text, "READY=1");
    assert_int_equal(setenv("WATCHDOG_USEC", "3000000", 1), 0);
    assert_int_equal(ha_notify_watchdog_ms(), 1500);
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0);
    assert_int_equal(ha_notify_watchdog_ms(), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", "relative", 1), 0);
    assert_int_equal(ha_notify("READY=1"), HA_EINVAL);
    (void)close(fd);
    folder_free(&folder);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_output_and_status),
    cmocka_unit_test(test_input),
    cmocka_unit_test(test_input_unread),
    cmocka_unit_test(test_too_much_output),
    cmocka_unit_test(test_deadline_kills_the_group),
    cmocka_unit_test(test_cannot_start),
    cmocka_unit_test(test_other_user),
    cmocka_unit_test(test_cancel),
    cmocka_unit_test(test_pidwatch),
    cmocka_unit_test(test_notify),
};

HA_TEST_MAIN("io/process", tests)
