#include "tests/component/redis/server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "agents/engines.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "tests/support/cmocka_ha.h"

const struct ha_engine_ops *engine;

/* What a test that fails half-way leaves behind: its variables are gone by then, so processes and
 * links are kept here too, and put away after each test. */
#define FOLDERS_MAX 256
#define PIDS_MAX 16
static char folders[FOLDERS_MAX][SERVER_PATH_SIZE];
static unsigned folder_count;
static pid_t pids[PIDS_MAX]; /* 0: free */
static struct ear *ears;     /* of open links */

/* What a link calls. */
struct ear {
    struct ear *next;
    struct client *client; /* NULL: its test has failed */
    struct ha_link *link;
    bool closed;
};

/* A callback of a timer may come at the start of a turn, which then waits for the next event: the
 * tick keeps that short. */
#define TICK_MS 5
static uv_timer_t tick;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void remove_folders(void)
{
    for (unsigned i = 0; i < folder_count; i++)
        (void)nftw(folders[i], remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void remember_folder(const char *dir)
{
    if (folder_count == 0)
        (void)atexit(remove_folders);
    assert_true(folder_count < FOLDERS_MAX);
    (void)snprintf(folders[folder_count++], SERVER_PATH_SIZE, "%s", dir);
}

static void swap_pid(pid_t from, pid_t to)
{
    for (unsigned i = 0; i < PIDS_MAX; i++) {
        if (pids[i] == from) {
            pids[i] = to;
            return;
        }
    }
    fail_msg("too many servers in one test");
}

uint16_t free_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &size), 0);
    (void)close(fd); /* the server takes it next */
    return ntohs(addr.sin_port);
}

static redisContext *dial(const struct server *server)
{
    const struct timeval patience = {.tv_sec = 5};
    redisContext *c = redisConnectUnixWithTimeout(server->socket, patience);

    if (c != NULL && c->err == 0) {
        (void)redisSetTimeout(c, patience);
        return c;
    }
    if (c != NULL)
        redisFree(c);
    return NULL;
}

/* So that a failure tells its cause. */
static void print_log(const char *path)
{
    char line[300];
    FILE *file = fopen(path, "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        print_message("# %s", line);
    if (file != NULL)
        (void)fclose(file);
}

void server_again(struct server *server)
{
    const uint64_t end_ms = ha_clock_mono_ms() + 10000;
    char log[SERVER_PATH_SIZE + 16];
    pid_t parent = getpid();

    assert_int_equal(server->pid, 0);
    (void)unlink(server->socket);
    (void)snprintf(log, sizeof(log), "%s/log", server->dir);
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || freopen(log, "a", stdout) == NULL ||
            freopen(log, "a", stderr) == NULL)
            _exit(126);
        (void)execlp("redis-server", "redis-server", server->config, (char *)NULL);
        _exit(127);
    }
    swap_pid(0, server->pid);
    for (;;) {
        redisContext *c = dial(server);

        if (c != NULL) {
            redisFree(c);
            return;
        }
        if (waitpid(server->pid, NULL, WNOHANG) != 0) {
            swap_pid(server->pid, 0);
            server->pid = 0;
        }
        if (server->pid == 0 || ha_clock_mono_ms() >= end_ms) {
            print_log(log);
            fail_msg("the server %s", server->pid == 0 ? "ended" : "does not listen");
        }
        (void)usleep(2000);
    }
}

void server_start(struct server *server, const char *more)
{
    FILE *file;

    memset(server, 0, sizeof(*server));
    (void)snprintf(server->dir, sizeof(server->dir), "/tmp/ha-redis-%d-XXXXXX", (int)getpid());
    assert_non_null(mkdtemp(server->dir));
    remember_folder(server->dir);
    assert_int_equal(ha_text_format(server->socket, sizeof(server->socket), "%s/s", server->dir),
                     0);
    assert_int_equal(ha_text_format(server->config, sizeof(server->config), "%s/c", server->dir),
                     0);
    server->port = free_port();
    file = fopen(server->config, "w");
    assert_non_null(file);
    (void)fprintf(file,
                  "port %u\nbind 127.0.0.1\nunixsocket %s\ndir %s\nsave \"\"\n"
                  "repl-diskless-sync-delay 0\nenable-debug-command yes\n%s\n",
                  server->port, server->socket, server->dir, more != NULL ? more : "");
    assert_int_equal(fclose(file), 0);
    server_again(server);
}

void server_signal(struct server *server, int signal)
{
    assert_true(server->pid > 0);
    assert_int_equal(kill(server->pid, signal), 0);
    if (signal == SIGSTOP) {
        /* A signal is only on its way when kill() returns: a thread of the server that has not seen
         * it yet may still answer. */
        int status = 0;

        assert_int_equal(waitpid(server->pid, &status, WUNTRACED), server->pid);
        assert_true(WIFSTOPPED(status));
    }
    if (signal == SIGKILL || signal == SIGTERM) {
        (void)kill(server->pid, SIGCONT); /* a stopped one could not obey SIGTERM */
        assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
        swap_pid(server->pid, 0);
        server->pid = 0;
    }
}

void server_free(struct server *server)
{
    if (server->pid > 0)
        server_signal(server, SIGKILL);
    if (server->dir[0] != '\0')
        (void)nftw(server->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    server->dir[0] = '\0';
}

static char *reply_text(const redisReply *reply)
{
    char *text = NULL;

    if (reply->type == REDIS_REPLY_INTEGER) {
        assert_true(asprintf(&text, "%lld", reply->integer) > 0);
    } else if (reply->type == REDIS_REPLY_ARRAY) {
        text = strdup("");
        for (size_t i = 0; i < reply->elements; i++) {
            char *part = reply_text(reply->element[i]);
            char *both = NULL;

            assert_true(asprintf(&both, "%s%s\n", text, part) > 0);
            free(text);
            free(part);
            text = both;
        }
    } else {
        text = strdup(reply->str != NULL ? reply->str : "(nil)");
    }
    assert_non_null(text);
    return text;
}

char *server_ask(const struct server *server, const char *command)
{
    redisContext *c = dial(server);
    redisReply *reply;
    char *text;

    assert_non_null(c);
    reply = redisCommand(c, command);
    if (reply == NULL) {
        print_message("# %s: %s\n", command, c->errstr);
        redisFree(c);
        fail_msg("%s was not answered", command);
    }
    text = reply_text(reply);
    freeReplyObject(reply);
    redisFree(c);
    return text;
}

void server_wait(const struct server *server, const char *command, const char *want, unsigned ms)
{
    const uint64_t end_ms = ha_clock_mono_ms() + ms;

    for (;;) {
        char *text = server_ask(server, command);
        bool found = strstr(text, want) != NULL;

        if (!found && ha_clock_mono_ms() >= end_ms)
            fail_msg("%s never said %s, but:\n%s", command, want, text);
        free(text);
        if (found)
            return;
        (void)usleep(2000);
    }
}

/* --- links --- */

static void on_probed(void *data, const struct ha_probed *probed)
{
    struct client *client = ((struct ear *)data)->client;

    if (client == NULL)
        return;
    assert_true(client->probing);
    client->probing = false;
    client->probes++;
    client->probed = *probed;
}

void client_on_acted(void *data, const struct ha_acted *acted)
{
    struct client *client = ((struct ear *)data)->client;

    if (client == NULL)
        return;
    client->acting = false;
    client->acts++;
    client->acted = *acted;
}

static void on_lost(void *data, enum ha_answer how, const char *text)
{
    struct client *client = ((struct ear *)data)->client;

    if (client == NULL)
        return;
    client->losses++;
    client->lost_how = how;
    client->lost_ns = ha_clock_boot_ns();
    print_message("# lost: %s\n", text);
}

static void on_closed(void *data)
{
    ((struct ear *)data)->closed = true;
}

void client_open(struct client *client, uv_loop_t *loop, struct ha_link_spec spec)
{
    struct ha_err err = {0};
    struct ear *ear = calloc(1, sizeof(*ear));

    memset(client, 0, sizeof(*client));
    engine = ha_engine_find(HA_ENGINE_REDIS);
    assert_non_null(engine);
    assert_non_null(ear);
    client->loop = loop;
    spec.loop = loop;
    spec.data = ear;
    spec.lost_cb = on_lost;
    if (engine->open(&spec, &client->link, &err) != 0) {
        free(ear);
        fail_msg("open: %s", err.text);
    }
    *ear = (struct ear){.next = ears, .client = client, .link = client->link};
    ears = ear;
}

void client_open_local(struct client *client, uv_loop_t *loop, const struct server *server)
{
    client_open(client, loop,
                (struct ha_link_spec){.socket_path = server->socket, .is_local = true});
}

void client_open_remote(struct client *client, uv_loop_t *loop, const struct server *server)
{
    client_open(client, loop, (struct ha_link_spec){.host = "127.0.0.1", .port = server->port});
}

static void run(uv_loop_t *loop, const bool *flag, const unsigned *count, unsigned want,
                unsigned ms, bool must)
{
    const uint64_t end_ms = ha_clock_mono_ms() + ms;

    while (!(flag != NULL && !*flag) && !(count != NULL && *count >= want)) {
        if (ha_clock_mono_ms() >= end_ms) {
            if (must)
                fail_msg("nothing happened within %u ms", ms);
            return;
        }
        (void)uv_run(loop, UV_RUN_ONCE);
    }
}

void run_while(uv_loop_t *loop, const bool *flag, unsigned ms)
{
    run(loop, flag, NULL, 0, ms, true);
}

void run_until_count(uv_loop_t *loop, const unsigned *count, unsigned want, unsigned ms)
{
    run(loop, NULL, count, want, ms, true);
}

void run_for(uv_loop_t *loop, unsigned ms)
{
    run(loop, NULL, NULL, 0, ms, false);
}

void client_probe_begin(struct client *client, uint32_t timeout_ms)
{
    client->probing = true;
    assert_int_equal(engine->probe(client->link, timeout_ms, on_probed), 0);
    assert_true(client->probing); /* never from inside */
}

enum ha_answer client_probe(struct client *client, uint32_t timeout_ms)
{
    const unsigned before = client->probes;

    client_probe_begin(client, timeout_ms);
    run_until_count(client->loop, &client->probes, before + 1, timeout_ms + 5000);
    assert_int_equal(client->probed.code, 0);
    return client->probed.sample.answer;
}

int client_act(struct client *client, struct ha_act act)
{
    const unsigned before = client->acts;

    client->acting = true;
    assert_int_equal(engine->act(client->link, &act, client_on_acted), 0);
    assert_true(client->acting); /* never from inside */
    run_until_count(client->loop, &client->acts, before + 1, act.deadline_ms + 5000);
    assert_int_equal(client->acted.ticket, act.ticket);
    assert_int_equal(client->acted.service, act.service);
    if (client->acted.text[0] != '\0')
        print_message("# %s: %s\n", ha_order_kind_text(act.kind), client->acted.text);
    return client->acted.code;
}

struct ha_act act_of(enum ha_order_kind kind)
{
    static uint32_t ticket;

    return (struct ha_act){.service = 7,
                           .ticket = ++ticket,
                           .kind = kind,
                           .epoch = 1,
                           .deadline_ms = 5000,
                           .full_copy = true,
                           .min_replicas = UINT32_MAX};
}

struct ha_act act_follow(const struct server *upstream)
{
    struct ha_act act = act_of(HA_ORDER_FOLLOW);

    act.upstream_port = upstream->port;
    (void)snprintf(act.upstream_host, sizeof(act.upstream_host), "127.0.0.1");
    return act;
}

static void ear_close(uv_loop_t *loop, struct ear **at)
{
    struct ear *ear = *at;
    const uint64_t end_ms = ha_clock_mono_ms() + 5000;

    engine->close(ear->link, on_closed);
    assert_false(ear->closed); /* never from inside */
    while (!ear->closed) {
        assert_true(ha_clock_mono_ms() < end_ms);
        (void)uv_run(loop, UV_RUN_ONCE);
    }
    *at = ear->next;
    free(ear);
}

void client_close(struct client *client)
{
    struct ear **at = &ears;

    if (client->link == NULL)
        return;
    while ((*at)->client != client)
        at = &(*at)->next;
    ear_close(client->loop, at);
    client->link = NULL;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

int loop_setup(void **state)
{
    uv_loop_t *loop = calloc(1, sizeof(*loop));

    (void)signal(SIGPIPE, SIG_IGN);
    if (loop == NULL || uv_loop_init(loop) != 0 || uv_timer_init(loop, &tick) != 0 ||
        uv_timer_start(&tick, on_tick, TICK_MS, TICK_MS) != 0)
        return -1;
    *state = loop;
    return 0;
}

/* Of a test that failed half-way; of one that did not, there is nothing. */
static void put_away(uv_loop_t *loop)
{
    for (struct ear *ear = ears; ear != NULL; ear = ear->next)
        ear->client = NULL;
    while (ears != NULL)
        ear_close(loop, &ears);
    for (unsigned i = 0; i < PIDS_MAX; i++) {
        if (pids[i] > 0 && kill(pids[i], SIGKILL) == 0)
            (void)waitpid(pids[i], NULL, 0);
        pids[i] = 0;
    }
}

int loop_teardown(void **state)
{
    uv_loop_t *loop = *state;
    int rc;

    put_away(loop);
    uv_close((uv_handle_t *)&tick, NULL);
    for (int i = 0; i < 500 && uv_run(loop, UV_RUN_NOWAIT) != 0; i++)
        (void)usleep(1000);
    rc = uv_loop_close(loop);
    free(loop);
    return rc;
}
