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

/* Folders of servers, for tests that fail half-way; the processes die with this one. */
#define FOLDERS_MAX 256
static char folders[FOLDERS_MAX][SERVER_PATH_SIZE];
static unsigned folder_count;

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
    for (;;) {
        redisContext *c = dial(server);

        if (c != NULL) {
            redisFree(c);
            return;
        }
        assert_true(ha_clock_mono_ms() < end_ms);
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
    if (signal == SIGKILL || signal == SIGTERM) {
        (void)kill(server->pid, SIGCONT); /* a stopped one could not obey SIGTERM */
        assert_int_equal(waitpid(server->pid, NULL, 0), server->pid);
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
    if (reply == NULL)
        fail_msg("%s: %s", command, c->errstr);
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
    struct client *client = data;

    assert_true(client->probing);
    client->probing = false;
    client->probes++;
    client->probed = *probed;
}

static void on_acted(void *data, const struct ha_acted *acted)
{
    struct client *client = data;

    client->acting = false;
    client->acts++;
    client->acted = *acted;
}

static void on_lost(void *data, enum ha_answer how, const char *text)
{
    struct client *client = data;

    client->losses++;
    client->lost_how = how;
    client->lost_ns = ha_clock_boot_ns();
    print_message("# lost: %s\n", text);
}

static void on_closed(void *data)
{
    struct client *client = data;

    client->closing = false;
}

void client_open(struct client *client, uv_loop_t *loop, struct ha_link_spec spec)
{
    struct ha_err err = {0};

    memset(client, 0, sizeof(*client));
    engine = ha_engine_find(HA_ENGINE_REDIS);
    assert_non_null(engine);
    client->loop = loop;
    spec.loop = loop;
    spec.data = client;
    spec.lost_cb = on_lost;
    if (engine->open(&spec, &client->link, &err) != 0)
        fail_msg("open: %s", err.text);
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

static void on_patience(uv_timer_t *timer)
{
    bool *over = timer->data;

    *over = true;
}

static void run(uv_loop_t *loop, const bool *flag, const unsigned *count, unsigned want,
                unsigned ms, bool must)
{
    uv_timer_t timer;
    bool over = false;

    assert_int_equal(uv_timer_init(loop, &timer), 0);
    timer.data = &over;
    uv_update_time(loop);
    assert_int_equal(uv_timer_start(&timer, on_patience, ms, 0), 0);
    while (!over && !(flag != NULL && !*flag) && !(count != NULL && *count >= want))
        (void)uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(loop, UV_RUN_NOWAIT);
    if (must && over)
        fail_msg("nothing happened within %u ms", ms);
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
    assert_int_equal(engine->act(client->link, &act, on_acted), 0);
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

void client_close(struct client *client)
{
    if (client->link == NULL)
        return;
    client->closing = true;
    engine->close(client->link, on_closed);
    assert_true(client->closing);
    run_while(client->loop, &client->closing, 5000);
    client->link = NULL;
}

int loop_setup(void **state)
{
    uv_loop_t *loop = calloc(1, sizeof(*loop));

    (void)signal(SIGPIPE, SIG_IGN);
    if (loop == NULL || uv_loop_init(loop) != 0)
        return -1;
    *state = loop;
    return 0;
}

int loop_teardown(void **state)
{
    uv_loop_t *loop = *state;
    int rc;

    /* A test that failed half-way leaves links open: say so instead of waiting for them. */
    for (int i = 0; i < 500 && uv_run(loop, UV_RUN_NOWAIT) != 0; i++)
        (void)usleep(1000);
    rc = uv_loop_close(loop);
    free(loop);
    return rc;
}
