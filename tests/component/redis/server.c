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
#include "tests/support/port.h"

/* What a test that fails half-way leaves behind: its variables are gone by then, so processes and
 * are kept here too, and put away after each test. */
#define FOLDERS_MAX 256
#define PIDS_MAX 16
static char folders[FOLDERS_MAX][SERVER_PATH_SIZE];
static unsigned folder_count;
static pid_t pids[PIDS_MAX]; /* 0: free */
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

const enum ha_engine client_engine = HA_ENGINE_REDIS;

void client_kill_servers(void)
{
    for (unsigned i = 0; i < PIDS_MAX; i++) {
        if (pids[i] > 0 && kill(pids[i], SIGKILL) == 0)
            (void)waitpid(pids[i], NULL, 0);
        pids[i] = 0;
    }
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

struct ha_act act_follow(const struct server *upstream)
{
    struct ha_act act = act_of(HA_ORDER_FOLLOW);

    act.upstream_port = upstream->port;
    (void)snprintf(act.upstream_host, sizeof(act.upstream_host), "127.0.0.1");
    return act;
}
