/* Clock, addresses, files, log and loop: the small ones that everything stands on. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/io/addr.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"
#include "lib/io/log.h"
#include "lib/io/loop.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

static void test_clock(void **state)
{
    char text[HA_CLOCK_TEXT_SIZE];
    uint64_t a = ha_clock_mono_ns();
    uint64_t b = ha_clock_boot_ns();

    (void)state;
    assert_true(ha_clock_mono_ns() >= a);
    assert_true(ha_clock_boot_ns() >= b);
    assert_true(ha_clock_mono_ms() - a / 1000000 < 1000);
    assert_string_equal(ha_clock_text(1767323045678u, text), "2026-01-02T03:04:05.678Z");
    assert_true(ha_random_u64() != ha_random_u64());
}

static const struct {
    const char *text;
    int want;
    const char *back; /* NULL: the same */
    bool local;
} addrs[] = {
    {"127.0.0.1:80", HA_OK, NULL, true},
    {"127.8.9.1:80", HA_OK, NULL, true},
    {"10.0.0.1:80", HA_OK, NULL, false},
    {"10.0.0.1", HA_OK, "10.0.0.1:7000", false},
    {"[::1]:80", HA_OK, NULL, true},
    {"[::ffff:127.0.0.1]:80", HA_OK, NULL, true},
    {"[2001:db8::1]:80", HA_OK, NULL, false},
    {"[fe80::1%lo]:80", HA_OK, NULL, false},
    {"[fe80::1%nosuch]:80", HA_EINVAL, NULL, false},
    {"unix:/run/x", HA_OK, NULL, true},
    {"unix:run/x", HA_EINVAL, NULL, false},
    {"db1:80", HA_EINVAL, NULL, false},
    {"1.2.3:80", HA_EINVAL, NULL, false},
    {"1.2.3.4:70000", HA_EINVAL, NULL, false},
};

static void test_addr(void **state)
{
    struct ha_addr a;
    struct ha_addr b;

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(addrs); i++) {
        char text[HA_ADDR_TEXT_SIZE];

        print_message("# %s\n", addrs[i].text);
        assert_int_equal(ha_addr_parse(addrs[i].text, 7000, &a), addrs[i].want);
        if (addrs[i].want != HA_OK)
            continue;
        assert_string_equal(ha_addr_text(&a, text),
                            addrs[i].back != NULL ? addrs[i].back : addrs[i].text);
        assert_int_equal(ha_addr_is_local(&a), addrs[i].local);
    }
    assert_int_equal(ha_addr_parse("[2001:db8:0:1::5]:1", 0, &a), HA_OK);
    assert_int_equal(ha_addr_parse("[2001:db8:0:1::9]:2", 0, &b), HA_OK);
    assert_true(ha_addr_same_source(&a, &b));
    assert_int_equal(ha_addr_parse("[2001:db8:0:2::5]:1", 0, &b), HA_OK);
    assert_false(ha_addr_same_source(&a, &b));
    assert_int_equal(ha_addr_parse("10.0.0.1:1", 0, &a), HA_OK);
    assert_int_equal(ha_addr_parse("[::ffff:10.0.0.1]:9", 0, &b), HA_OK);
    assert_true(ha_addr_same_source(&a, &b));
}

static void test_file(void **state)
{
    struct folder folder;
    struct ha_err err;
    uint8_t *data = NULL;
    size_t size = 0;
    struct stat st;
    char path[128];

    (void)state;
    folder_make(&folder);
    (void)folder_file(&folder, "f", path, sizeof(path));
    assert_int_equal(ha_file_read(path, 100, &data, &size, &err), HA_ENOENT);
    assert_int_equal(ha_file_write(path, "one", 3, 0640, &err), HA_OK);
    assert_int_equal(ha_file_write(path, "three", 5, 0640, &err), HA_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777u, 0640);
    assert_int_equal(ha_file_read(path, 5, &data, &size, &err), HA_OK);
    assert_int_equal(size, 5);
    assert_string_equal((char *)data, "three");
    free(data);
    data = NULL;
    assert_int_equal(ha_file_read(path, 4, &data, &size, &err), HA_EFULL);
    assert_int_equal(ha_file_read_secret(path, 100, &data, &size, &err), HA_EDENIED);
    print_message("# %s\n", err.text);
    assert_int_equal(ha_file_check_secret(path, &err), HA_EDENIED);
    assert_int_equal(ha_file_read(folder.path, 100, &data, &size, &err), HA_EINVAL);
    assert_null(data);
    assert_int_equal(ha_file_write("/nonexistent/f", "x", 1, 0600, &err), HA_ENOENT);
    (void)folder_file(&folder, "fifo", path, sizeof(path));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(ha_file_read(path, 100, &data, &size, &err), HA_EINVAL);
    folder_free(&folder);
}

static unsigned count_entries(const char *path)
{
    DIR *folder = opendir(path);
    unsigned count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count - 2; /* "." and ".." */
}

/* A full disk leaves the old content and no litter. */
static void test_file_on_full_disk(void **state)
{
    static uint8_t big[300000];
    struct folder folder;
    struct ha_err err;
    uint8_t *data = NULL;
    size_t size = 0;
    char path[128];

    (void)state;
    folder_make(&folder);
    if (mount("none", folder.path, "tmpfs", 0, "size=128k") != 0) {
        folder_free(&folder);
        skip();
    }
    (void)folder_file(&folder, "f", path, sizeof(path));
    assert_int_equal(ha_file_write(path, "old", 3, 0600, &err), HA_OK);
    assert_int_equal(ha_file_write(path, big, sizeof(big), 0600, &err), HA_EFULL);
    print_message("# %s\n", err.text);
    assert_int_equal(ha_file_read_secret(path, 100, &data, &size, &err), HA_OK);
    assert_string_equal((char *)data, "old");
    free(data);
    assert_int_equal(count_entries(folder.path), 1);
    assert_int_equal(umount(folder.path), 0);
    folder_free(&folder);
}

/* What a child writes to standard error, and how it ended. */
static int capture(void (*body)(void), char *ret, size_t size)
{
    int ends[2];
    int status;
    size_t have = 0;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        body();
        _exit(0);
    }
    (void)close(ends[1]);
    while ((n = read(ends[0], ret + have, size - 1 - have)) > 0)
        have += (size_t)n;
    ret[have] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void forge(void)
{
    (void)unsetenv("JOURNAL_STREAM");
    ha_log_init("test", HA_LOG_INFO);
    HA_LOG(HA_LOG_INFO, "peer-said", "text=%s name=%s", "a\nfake\x1b[2J",
           HA_QUOTE("x\" admin=\"yes\\\n"));
    HA_LOG(HA_LOG_DEBUG, "not-shown", "x=%d", 1);
}

static void journal(void)
{
    char text[48];
    struct stat st;

    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    (void)setenv("JOURNAL_STREAM", text, 1);
    ha_log_init("test", HA_LOG_INFO);
    HA_LOG(HA_LOG_WARN, "hello", "x=%d", 1);
}

static void flood(void)
{
    (void)unsetenv("JOURNAL_STREAM");
    ha_log_init("test", HA_LOG_INFO);
    for (int i = 0; i < 1000; i++)
        HA_LOG(HA_LOG_WARN, "flood", "i=%d", i);
    HA_LOG(HA_LOG_WARN, "other", "i=%d", 1);
}

static void die(void)
{
    (void)unsetenv("JOURNAL_STREAM");
    ha_log_init("test", HA_LOG_ERROR);
    for (int i = 0; i < 300; i++)
        HA_LOG(HA_LOG_DEBUG, "step", "i=%d", i);
    abort();
}

static void too_long(void)
{
    static char text[3000];

    memset(text, 'x', sizeof(text) - 1);
    ha_log_init("test", HA_LOG_INFO);
    HA_LOG(HA_LOG_INFO, "long", "text=%s", text);
}

/* The journal of whoever started us, which is not our standard error. */
static void other_journal(void)
{
    (void)setenv("JOURNAL_STREAM", "8:1", 1);
    ha_log_init("test", HA_LOG_INFO);
    HA_LOG(HA_LOG_WARN, "hello", "x=%d", 1);
}

/* Nobody reads: the pipe or socket fills, and logging goes on without waiting. Exit code 0: it did;
 * what was lost is told once there is room. */
static int log_to_a_hanging_reader(bool is_socket)
{
    static char text[1 << 20];
    char event[16];
    int ends[2], status = 0;
    ssize_t got;
    pid_t pid;

    assert_int_equal(is_socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(20);
        (void)dup2(ends[1], STDERR_FILENO);
        ha_log_init("test", HA_LOG_INFO);
        for (int i = 0; i < 1000; i++) { /* few enough for each to be within its limit */
            (void)snprintf(event, sizeof(event), "event-%d", i);
            HA_LOG(HA_LOG_INFO, event, "text=%0200d", i);
        }
        got = read(ends[0], text, sizeof(text));
        for (int i = 0; i < 128; i++) { /* one of them is not held back for its number */
            (void)snprintf(event, sizeof(event), "after-%d", i);
            HA_LOG(HA_LOG_INFO, event, "read=%zd", got);
        }
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
        while ((got = read(ends[0], text, sizeof(text) - 1)) > 0) {
            text[got] = '\0';
            if (strstr(text, " lost=") != NULL)
                _exit(0);
        }
        _exit(1);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_log_waits_for_nobody(void **state)
{
    (void)state;
    assert_int_equal(log_to_a_hanging_reader(false), 0);
    assert_int_equal(log_to_a_hanging_reader(true), 0);
}

static unsigned count_lines(const char *text)
{
    unsigned count = 0;

    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static void test_log(void **state)
{
    static char text[200000];

    (void)state;
    assert_int_equal(capture(forge, text, sizeof(text)), 0);
    print_message("# %s", text);
    assert_int_equal(count_lines(text), 1);
    assert_non_null(strstr(text, " info test peer-said text=a\\x0afake\\x1b[2J "
                                 "name=\"x\\\" admin=\\\"yes\\\\\\x0a\"\n"));
    assert_int_equal(capture(journal, text, sizeof(text)), 0);
    assert_string_equal(text, "<4>hello x=1\n");
    assert_int_equal(capture(other_journal, text, sizeof(text)), 0);
    assert_non_null(strstr(text, " warn test hello x=1\n"));
    assert_int_equal(capture(flood, text, sizeof(text)), 0);
    assert_int_equal(count_lines(text), HA_LOG_BURST + 1);
    assert_int_equal(capture(too_long, text, sizeof(text)), 0);
    assert_int_equal(count_lines(text), 1);
    assert_true(strlen(text) < HA_LOG_LINE_SIZE);
    assert_non_null(strstr(text, "...\n"));
}

static void test_log_ring(void **state)
{
    static char text[200000];
    int status;

    (void)state;
    status = capture(die, text, sizeof(text));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_int_equal(count_lines(text), HA_LOG_RING_LINES + 1);
    assert_non_null(strstr(text, "step i=299\n"));
    assert_non_null(strstr(text, "step i=44\n"));
    assert_null(strstr(text, "step i=43\n"));
}

struct drained {
    struct ha_loop loop;
    unsigned queued; /* work for the first hook, made by the second or by a timer */
    unsigned done;
    unsigned chain;
    uint64_t queued_ns;
    uint64_t done_ns;
};

static void on_drain_work(void *ctx)
{
    struct drained *d = ctx;

    if (d->queued == 0)
        return;
    d->done += d->queued;
    d->queued = 0;
    d->done_ns = ha_clock_mono_ns();
}

static void on_drain_chain(void *ctx)
{
    struct drained *d = ctx;

    if (d->chain == 0)
        return;
    d->chain--;
    d->queued++;
    ha_loop_wake(&d->loop);
}

static void on_work_timer(uv_timer_t *timer)
{
    struct drained *d = timer->data;

    d->queued++;
    d->queued_ns = ha_clock_mono_ns();
    uv_close((uv_handle_t *)timer, NULL);
}

/* Long after everything should be done: the only other thing that could have woken the loop. */
static void on_last_timer(uv_timer_t *timer)
{
    struct drained *d = timer->data;

    assert_int_equal(d->chain, 0);
    assert_int_equal(d->done, 1001);
    uv_close((uv_handle_t *)timer, NULL);
}

/* Work queued by a timer, with nothing else to wake the loop, is done at once; hooks that wake each
 * other more often than one drain allows go on in the next turn, without sleeping. */
static void test_loop_drains(void **state)
{
    struct drained d = {.chain = 1000};
    struct ha_loop_hook hooks[2] = {{.cb = on_drain_work, .ctx = &d},
                                    {.cb = on_drain_chain, .ctx = &d}};
    uv_timer_t work;
    uv_timer_t last;

    (void)state;
    assert_int_equal(ha_loop_init(&d.loop), HA_OK);
    ha_loop_on_drain(&d.loop, &hooks[0]);
    ha_loop_on_drain(&d.loop, &hooks[1]);
    (void)uv_timer_init(&d.loop.uv, &work);
    (void)uv_timer_init(&d.loop.uv, &last);
    work.data = last.data = &d;
    (void)uv_timer_start(&work, on_work_timer, 20, 0);
    (void)uv_timer_start(&last, on_last_timer, 2000, 0); /* not in one turn with the other */
    ha_loop_run(&d.loop);
    print_message("# drained %u us after the timer\n",
                  (unsigned)((d.done_ns - d.queued_ns) / 1000));
    assert_true(d.done_ns - d.queued_ns < 20000000);
    assert_int_equal(ha_loop_fini(&d.loop), HA_OK);
}

static void on_stop(void *ctx, int number)
{
    unsigned *count = ctx;

    assert_int_equal(number, SIGTERM);
    (*count)++;
}

static void on_reload(void *ctx)
{
    (*(unsigned *)ctx)++;
}

static void test_loop_reload(void **state)
{
    struct ha_loop loop;
    unsigned count = 0;

    (void)state;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_loop_on_reload(&loop, on_reload, &count), HA_OK);
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(raise(SIGHUP), 0);
        run_for(&loop.uv, 20);
        assert_int_equal(count, i);
    }
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
}

static unsigned count_datagrams(int fd, const char *wanted)
{
    char text[64];
    unsigned count = 0;
    ssize_t got;

    while ((got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT)) > 0) {
        text[got] = '\0';
        assert_string_equal(text, wanted);
        count++;
    }
    return count;
}

/* The service manager hears of a loop that turns, and nothing of one that does not. */
static void test_loop_watchdog(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const uint64_t begun_ms = ha_clock_mono_ms();
    struct folder folder;
    struct ha_loop loop;

    (void)state;
    folder_make(&folder);
    (void)folder_file(&folder, "n", addr.sun_path, sizeof(addr.sun_path));
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", addr.sun_path, 1), 0);
    assert_int_equal(setenv("WATCHDOG_USEC", "40000", 1), 0);
    assert_int_equal(unsetenv("WATCHDOG_PID"), 0);
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    run_for(&loop.uv, 300);
    assert_in_range(count_datagrams(fd, "WATCHDOG=1"), 2, (ha_clock_mono_ms() - begun_ms) / 20 + 2);
    (void)usleep(100000);
    assert_int_equal(count_datagrams(fd, "WATCHDOG=1"), 0);
    run_for(&loop.uv, 20);
    assert_true(count_datagrams(fd, "WATCHDOG=1") > 0);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
    assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    (void)close(fd);
    folder_free(&folder);
}

static void test_loop_signals(void **state)
{
    struct ha_loop loop;
    unsigned count = 0;

    (void)state;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    assert_int_equal(ha_loop_on_stop(&loop, on_stop, &count), HA_OK);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    run_until_count(&loop.uv, &count, 1, 1000);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(kill(getpid(), SIGPIPE), 0);
    run_for(&loop.uv, 20);
    assert_int_equal(count, 1);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
}

static void on_never(uv_timer_t *timer)
{
    (void)timer;
}

/* Something never closes: the process ends all the same. */
static void test_loop_ends_in_time(void **state)
{
    struct ha_loop loop;
    unsigned count = 0;
    uv_timer_t open;
    int status = 0;
    pid_t pid;

    (void)state;
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(20);
        if (ha_loop_init(&loop) != HA_OK || ha_loop_on_stop(&loop, on_stop, &count) != HA_OK ||
            uv_timer_init(&loop.uv, &open) != 0 || uv_timer_start(&open, on_never, 60000, 0) != 0)
            _exit(2);
        loop.stop_max_ms = 50;
        (void)raise(SIGTERM);
        ha_loop_run(&loop);
        _exit(3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

struct busy {
    uv_timer_t every, after;
    uv_async_t word;
    unsigned turns;
    uint64_t began_ms, ended_ms;
};

static void on_after(uv_timer_t *timer)
{
    ((struct busy *)timer->data)->ended_ms = ha_clock_mono_ms();
}

/* More to do than fits between two of its turns. */
static void on_every(uv_timer_t *timer)
{
    struct busy *busy = timer->data;

    busy->turns++;
    assert_true(busy->turns < 100); /* or nobody looks at what has come meanwhile */
    if (busy->turns == 1)
        (void)uv_async_send(&busy->word);
    (void)usleep(5000);
    busy->began_ms = ha_clock_mono_ms();
    ha_loop_after(&busy->after, on_after, 50);
}

static void on_word(uv_async_t *word)
{
    struct busy *busy = word->data;

    (void)uv_timer_stop(&busy->every);
    uv_close((uv_handle_t *)&busy->every, NULL);
    uv_close((uv_handle_t *)word, NULL);
}

/* Starting timers does not let timers overtake the sockets, and they take as long as was said. */
static void test_a_busy_loop_still_listens(void **state)
{
    struct ha_loop loop;
    struct busy busy = {.turns = 0};

    (void)state;
    assert_int_equal(ha_loop_init(&loop), HA_OK);
    (void)uv_timer_init(&loop.uv, &busy.every);
    (void)uv_timer_init(&loop.uv, &busy.after);
    (void)uv_async_init(&loop.uv, &busy.word, on_word);
    busy.every.data = busy.after.data = busy.word.data = &busy;
    (void)uv_timer_start(&busy.every, on_every, 1, 1);
    ha_loop_run(&loop);
    assert_in_range(busy.turns, 1, 3);
    assert_in_range(busy.ended_ms - busy.began_ms, 50 - 5, 5000); /* the loop's clock is coarse */
    uv_close((uv_handle_t *)&busy.after, NULL);
    assert_int_equal(ha_loop_fini(&loop), HA_OK);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_busy_loop_still_listens),
    cmocka_unit_test(test_clock),
    cmocka_unit_test(test_addr),
    cmocka_unit_test(test_file),
    cmocka_unit_test(test_file_on_full_disk),
    cmocka_unit_test(test_log),
    cmocka_unit_test(test_log_ring),
    cmocka_unit_test(test_log_waits_for_nobody),
    cmocka_unit_test(test_loop_drains),
    cmocka_unit_test(test_loop_signals),
    cmocka_unit_test(test_loop_watchdog),
    cmocka_unit_test(test_loop_ends_in_time),
    cmocka_unit_test(test_loop_reload),
};

HA_TEST_MAIN("io/basics", tests)
