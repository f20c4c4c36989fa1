/* Whatever listens where a Redis server should, and whatever it says, costs one probe: no crash, no
 * memory, no wait beyond the deadline, and never the answer of a healthy database. TLS as well. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/io/tls.h"
#include "tests/component/redis/server.h"
#include "tests/support/cmocka_ha.h"
#include "tests/support/port.h"

#define X16(x) x x x x x x x x x x x x x x x x
#define RUN "run_id:e30f835824bed54779b7bdd9c8c7d15223e0f9fb\r\n"
#define REPLID "master_replid:39f5a9f7bf352fa06fceb6bfb83249f68a93e0af\r\n"

struct hostile {
    const char *name;
    const char *say;   /* once, when a connection comes */
    size_t repeat_kib; /* then so much of `fill` */
    char fill;
    bool early; /* before it was asked anything */
    bool hang_up;
    enum ha_answer want;
};

static const struct hostile rows[] = {
    {"an array of a hundred million", "*100000000\r\n", 0, 0, false, false, HA_ANSWER_NONE},
    {"an array of two thousand million", "*2147483647\r\n", 0, 0, false, false, HA_ANSWER_NONE},
    {"a negative array", "*-7\r\n", 0, 0, false, false, HA_ANSWER_NONE},
    {"arrays in arrays", X16("*1024\r\n"), 0, 0, false, false, HA_ANSWER_NONE},
    {"a string without end", "$2147483647\r\n", 2048, 'x', false, false, HA_ANSWER_NONE},
    {"a line without end", "+", 2048, 'x', false, false, HA_ANSWER_NONE},
    {"no Redis at all", "HTTP/1.1 200 OK\r\n\r\n", 0, 0, false, false, HA_ANSWER_NONE},
    {"zeros", "", 64, '\0', false, false, HA_ANSWER_NONE},
    {"half an answer", "+PONG\r\n$100\r\nrole:mas", 0, 0, false, false, HA_ANSWER_NONE},
    {"half an answer and an end", "+PONG\r\n$100\r\nrole:mas", 0, 0, false, true, HA_ANSWER_CLOSED},
    {"nothing and an end", "", 0, 0, false, true, HA_ANSWER_CLOSED},
    {"numbers for texts", "+PONG\r\n:1\r\n:2\r\n:3\r\n:4\r\n", 0, 0, false, false, HA_ANSWER_NONE},
    {"nothing for texts", "+PONG\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n", 0, 0, false, false,
     HA_ANSWER_NONE},
    {"empty texts", "+PONG\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n", 0, 0, false, false,
     HA_ANSWER_NONE},
    {"errors only", "-ERR a\r\n-ERR b\r\n-ERR c\r\n-ERR d\r\n-ERR e\r\n", 0, 0, false, false,
     HA_ANSWER_DENIED},
    {"protected mode", "-DENIED Redis is running in protected mode\r\n", 0, 0, false, true,
     HA_ANSWER_DENIED},
    {"full, said before it was asked", "-ERR max number of clients reached\r\n", 0, 0, true, true,
     HA_ANSWER_FULL},
    {"facts, said before they were asked for", "+PONG\r\n$1\r\na\r\n", 0, 0, true, false,
     HA_ANSWER_NONE},
    {"an empty error", "-\r\n-\r\n-\r\n-\r\n-\r\n", 0, 0, false, false, HA_ANSWER_DENIED},
};

static uint16_t hostile_listen(int *ret_fd)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &size), 0);
    *ret_fd = fd;
    return ntohs(addr.sin_port);
}

static void hostile_serve(int listen_fd, const struct hostile *row)
{
    static char fill[1024];

    memset(fill, row->fill, sizeof(fill));
    for (;;) {
        int fd = accept(listen_fd, NULL, NULL);
        char asked[512];

        if (!row->early)
            (void)!read(fd, asked, sizeof(asked));
        (void)!write(fd, row->say, strlen(row->say));
        for (size_t i = 0; i < row->repeat_kib; i++) {
            if (send(fd, fill, sizeof(fill), MSG_NOSIGNAL) < 0)
                break;
        }
        if (row->hang_up) {
            (void)shutdown(fd, SHUT_WR);
            (void)!read(fd, asked, sizeof(asked));
            (void)close(fd);
        }
    }
}

static pid_t hostile_start(const struct hostile *row, uint16_t *ret_port)
{
    int fd;
    pid_t pid, parent = getpid();

    *ret_port = hostile_listen(&fd);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            hostile_serve(fd, row);
        _exit(0);
    }
    (void)close(fd); /* the child's now */
    return pid;
}

static void hostile_stop(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static long max_rss_kib(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

static void test_bytes(void **state)
{
    const long before_kib = max_rss_kib();

    for (size_t i = 0; i < HA_ARRAY_LEN(rows); i++) {
        /* Only what may still become an answer is waited for. What is said early may come late, on
         * a busy machine, and is half an answer then. */
        const bool waits = rows[i].want == HA_ANSWER_NONE &&
                           (rows[i].early || strstr(rows[i].name, "half") != NULL);
        const uint32_t deadline_ms = waits ? 300 : 10000;
        uint16_t port;
        pid_t pid = hostile_start(&rows[i], &port);
        struct client client;

        client_open(&client, *state, (struct ha_link_spec){.host = "127.0.0.1", .port = port});
        assert_int_equal(client_probe(&client, deadline_ms), rows[i].want);
        assert_true(waits || client.probed.took_ms < deadline_ms);
        print_message("# %s: %s\n", rows[i].name, client.probed.sample.text);
        client_close(&client);
        hostile_stop(pid);
    }
    print_message("# memory grew by %ld KiB\n", max_rss_kib() - before_kib);
    assert_true(max_rss_kib() - before_kib < 64 * 1024);
}

/* Facts with a tail: the probe is answered, and then the connection is not trusted any more. */
static void test_unasked(void **state)
{
    static const char body[] = "role:master\r\n" RUN REPLID;
    char say[512];
    struct hostile row = {.say = say};
    struct client client;
    uint16_t port;
    pid_t pid;

    (void)snprintf(say, sizeof(say),
                   "+PONG\r\n$%zu\r\n%s\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n+more\r\n+and more\r\n",
                   sizeof(body) - 1, body);
    pid = hostile_start(&row, &port);
    client_open(&client, *state, (struct ha_link_spec){.host = "127.0.0.1", .port = port});
    assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
    run_until_count(*state, &client.losses, 1, 1000);
    assert_int_equal(client.lost_how, HA_ANSWER_NONE);
    client_close(&client);
    hostile_stop(pid);
}

/* This process was stopped past the deadline while the answer lay there: that is not silence. */
static void test_own_pause(void **state)
{
    struct server server;
    struct client client;

    server_start(&server, NULL);
    client_open_remote(&client, *state, &server);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
        client.probes = 0;
        client_probe_begin(&client, 20);
        for (int turns = 0; turns < 2; turns++) /* of the server: by the second it has answered */
            free(server_ask(&server, "PING"));
        (void)usleep(20000); /* past the deadline */
        run_until_count(*state, &client.probes, 1, 1000);
        assert_int_equal(client.probed.sample.answer, HA_ANSWER_OK);
    }
    client_close(&client);
    server_free(&server);
}

/* --- TLS --- */

static const char make_keys[] =
    "cd %s && exec 2>/dev/null && for n in ca other; do openssl req -x509 -newkey ec -pkeyopt "
    "ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=$n -keyout $n.key -out $n.pem; done && "
    "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=redis "
    "-keyout server.key -out server.csr && printf 'subjectAltName=IP:127.0.0.1' >ext && "
    "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
    "-extfile ext -out server.pem";

static void test_tls(void **state)
{
    static const struct {
        const char *name, *ca;
        bool to_tls_port;
        enum ha_answer want;
    } cases[] = {
        {"right authority", "ca", true, HA_ANSWER_OK},
        {"wrong authority", "other", true, HA_ANSWER_DENIED},
        {"TLS to the plain port", "ca", false, HA_ANSWER_NONE},
        {"plain to the TLS port", NULL, true, HA_ANSWER_CLOSED},
    };
    char dir[] = "/tmp/ha-redis-keys-XXXXXX", more[512], command[1024], path[128];
    const uint16_t tls_port = free_port();
    struct server server;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(command, sizeof(command), make_keys, dir);
    assert_int_equal(system(command), 0);
    (void)snprintf(more, sizeof(more),
                   "tls-port %u\ntls-cert-file %s/server.pem\ntls-key-file %s/server.key\n"
                   "tls-ca-cert-file %s/ca.pem\ntls-auth-clients no",
                   tls_port, dir, dir, dir);
    server_start(&server, more);
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct ha_tls *tls = NULL;
        struct client client;
        struct ha_err err = {0};

        if (cases[i].ca != NULL) {
            (void)snprintf(path, sizeof(path), "%s/%s.pem", dir, cases[i].ca);
            if (ha_tls_foreign_new(&tls, &(struct ha_tls_foreign){.ca_file = path}, &err) != HA_OK)
                fail_msg("%s", err.text);
        }
        client_open(&client, *state,
                    (struct ha_link_spec){.host = "127.0.0.1",
                                          .port = cases[i].to_tls_port ? tls_port : server.port,
                                          .tls = tls});
        for (int again = 0; again < 2; again++)
            assert_int_equal(client_probe(&client, 1000), cases[i].want);
        print_message("# %s: %s\n", cases[i].name, client.probed.sample.text);
        if (cases[i].want == HA_ANSWER_OK) {
            server_signal(&server, SIGSTOP);
            assert_int_equal(client_probe(&client, 100), HA_ANSWER_NONE);
            server_signal(&server, SIGCONT);
            assert_int_equal(client_probe(&client, 10000), HA_ANSWER_OK);
        }
        client_close(&client);
        ha_tls_unref(tls);
    }
    server_free(&server);
    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_bytes, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_unasked, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_own_pause, loop_setup, loop_teardown),
    cmocka_unit_test_setup_teardown(test_tls, loop_setup, loop_teardown),
};

HA_TEST_MAIN("redis/hostile", tests)
