#include "tests/component/postgresql/server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/postgresql/parse.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "tests/support/cmocka_ha.h"
#include "tests/support/port.h"

#define BIN SERVER_BIN
#define AS "setpriv --reuid postgres --regid postgres --clear-groups -- "
#define SERVERS_MAX 16

const enum ha_engine client_engine = HA_ENGINE_POSTGRESQL;

static char template[SERVER_PATH_SIZE];
static const struct server *servers[SERVERS_MAX]; /* made and not freed; NULL: free */
static char folders[SERVERS_MAX][SERVER_PATH_SIZE];

/* What deploy/lib/postgresql.sh gives the roles of a lab. */
static const char roles[] =
    "CREATE ROLE watcher LOGIN PASSWORD '" SERVER_PASSWORD "' IN ROLE pg_monitor;"
    "CREATE ROLE stranger LOGIN PASSWORD '" SERVER_PASSWORD "';"
    "CREATE ROLE agent LOGIN REPLICATION IN ROLE pg_monitor, pg_checkpoint, pg_signal_backend;"
    "GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO agent;"
    "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name,"
    " synchronous_standby_names, synchronous_commit, wal_retrieve_retry_interval TO agent;"
    "CREATE ROLE replica LOGIN REPLICATION PASSWORD '" SERVER_PASSWORD "' IN ROLE pg_checkpoint;"
    "GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean),"
    " pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO replica;"
    "CREATE TABLE t (n bigint)";

int shell(const char *format, ...)
{
    char *command = NULL;
    va_list args;
    int status;

    va_start(args, format);
    status = vasprintf(&command, format, args);
    va_end(args);
    assert_true(status > 0);
    (void)fflush(stdout);
    status = system(command);
    free(command);
    return status;
}

static void make_template(void)
{
    if (template[0] != '\0')
        return;
    (void)snprintf(template, sizeof(template), "/tmp/ha-pgt-%d-XXXXXX", (int)getpid());
    assert_non_null(mkdtemp(template));
    assert_int_equal(shell("chown postgres:postgres %s; cd %s; " AS BIN
                           "/initdb -D %s/data -U postgres -A trust -k -N --locale=C"
                           " --encoding=UTF8 --wal-segsize=1 >%s/log 2>&1",
                           template, template, template, template),
                     0);
    assert_int_equal(shell("cat >>%s/data/postgresql.conf <<'E'\n"
                           "include_if_exists 'test.conf'\nfsync = off\nshared_buffers = 16MB\n"
                           "max_wal_senders = 8\nmax_replication_slots = 8\n"
                           "wal_keep_size = 8MB\nlog_line_prefix = '%%m [%%p] '\nE\n"
                           "cat >%s/data/pg_hba.conf <<'E'\nlocal all all trust\n"
                           "host all all 127.0.0.1/32 scram-sha-256\n"
                           "host replication all 127.0.0.1/32 scram-sha-256\nE\n",
                           template, template),
                     0);
    assert_int_equal(shell("cd %s && (echo \"%s\" | " AS BIN "/postgres --single -j -D %s/data"
                           " postgres) >>%s/log 2>&1 && ! grep -q ERROR %s/log",
                           template, roles, template, template, template),
                     0);
}

void server_make(struct server *server, const char *more)
{
    size_t at = 0;

    make_template();
    memset(server, 0, sizeof(*server));
    for (; servers[at] != NULL; at++)
        assert_true(at + 1 < SERVERS_MAX);
    (void)snprintf(server->dir, sizeof(server->dir), "/tmp/ha-pg-%d-XXXXXX", (int)getpid());
    assert_non_null(mkdtemp(server->dir));
    servers[at] = server;
    (void)snprintf(folders[at], sizeof(folders[at]), "%s", server->dir);
    assert_int_equal(ha_text_format(server->data, sizeof(server->data), "%s/data", server->dir), 0);
    assert_int_equal(
        ha_text_format(server->config, sizeof(server->config), "%s/test.conf", server->data), 0);
    server->port = free_port();
    assert_int_equal(shell("chown postgres:postgres %s && cp -a %s/data %s && cat >%s <<'E'\n"
                           "listen_addresses = '127.0.0.1'\nport = %u\n"
                           "unix_socket_directories = '%s'\n%s\nE\nchown postgres %s",
                           server->dir, template, server->data, server->config,
                           (unsigned)server->port, server->dir, more != NULL ? more : "",
                           server->config),
                     0);
}

void server_wal_elsewhere(const struct server *server)
{
    assert_int_equal(shell("cd %s && mkdir wal && mount -t tmpfs -o size=128m none wal &&"
                           " cp -a data/pg_wal wal && rm -r data/pg_wal &&"
                           " ln -s ../wal/pg_wal data/pg_wal",
                           server->dir),
                     0);
}

/* A zombie has ended. */
static bool lives(pid_t pid)
{
    char path[32], text[256] = "";
    const char *state;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (file == NULL)
        return false;
    if (fread(text, 1, sizeof(text) - 1, file) == 0)
        text[0] = '\0'; /* it has gone */
    (void)fclose(file);
    state = strrchr(text, ')');
    return state != NULL && state[1] == ' ' && state[2] != 'Z' && state[2] != 'X';
}

static pid_t pid_in(const char *data)
{
    char path[SERVER_PATH_SIZE + 32];
    FILE *file;
    uint64_t pid = 0;

    (void)snprintf(path, sizeof(path), "%s/postmaster.pid", data);
    file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fgets(path, sizeof(path), file) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        (void)ha_text_u64(path, INT32_MAX, &pid);
    }
    (void)fclose(file);
    return pid > 1 && lives((pid_t)pid) ? (pid_t)pid : 0;
}

pid_t server_pid(const struct server *server)
{
    return pid_in(server->data);
}

void server_start(const struct server *server)
{
    /* One that was killed and that nobody has waited for counts as running for pg_ctl. */
    if (server_pid(server) == 0)
        (void)shell("rm -f %s/postmaster.pid %s/.s.PGSQL.*", server->data, server->dir);
    if (shell("cd /; " AS BIN "/pg_ctl start -w -s -t 30 -D %s -l %s/log >/dev/null 2>&1",
              server->data, server->dir) == 0)
        return;
    (void)shell("tail -n 5 %s/log | sed 's/^/# /'", server->dir);
    fail_msg("the server does not start");
}

static void signal_all(pid_t pid, int signal)
{
    char path[64], text[4096] = "";
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
    file = fopen(path, "r");
    if (file != NULL) {
        if (fgets(text, sizeof(text), file) == NULL)
            text[0] = '\0'; /* it has none */
        (void)fclose(file);
    }
    (void)kill(pid, signal);
    for (const char *at = text; ha_pg_number(at) != 0; at += strspn(at, "0123456789"), at++)
        (void)kill((pid_t)ha_pg_number(at), signal);
}

void server_signal(const struct server *server, int signal)
{
    const uint64_t end_ms = ha_clock_mono_ms() + 5000;
    pid_t pid = server_pid(server);

    assert_true(pid > 0);
    signal_all(pid, signal);
    while (signal == SIGKILL && lives(pid) && ha_clock_mono_ms() < end_ms)
        (void)usleep(1000);
}

void server_stop(const struct server *server)
{
    const uint64_t end_ms = ha_clock_mono_ms() + 10000;
    pid_t pid = server_pid(server);

    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGINT), 0);
    while (server_pid(server) != 0) {
        assert_true(ha_clock_mono_ms() < end_ms);
        (void)usleep(20000);
    }
}

static void remove_all(const char *dir)
{
    char data[SERVER_PATH_SIZE * 20];
    pid_t pid;

    (void)snprintf(data, sizeof(data), "%s/data", dir);
    pid = pid_in(data);
    if (pid != 0)
        signal_all(pid, SIGKILL);
    (void)shell("awk -v at=%s/ 'index($2, at) == 1 {print $2}' /proc/mounts | xargs -r umount -l",
                dir);
    (void)shell("for i in 1 2 3 4 5; do rm -rf %s 2>/dev/null && break; sleep 0.1; done", dir);
}

void server_free(struct server *server)
{
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        if (servers[i] == server) {
            servers[i] = NULL;
            remove_all(server->dir);
        }
    }
}

void client_kill_servers(void)
{
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        if (servers[i] != NULL) {
            (void)shell("tail -n 8 %s/log %s/data-hafailover/server.log 2>/dev/null |"
                        " sed 's/^/# /'",
                        folders[i], folders[i]);
            remove_all(folders[i]); /* its variable has gone with a test that failed */
        }
        servers[i] = NULL;
    }
}

static void __attribute__((destructor)) on_end(void)
{
    if (template[0] != '\0')
        (void)shell("rm -rf %s", template);
}

static int ask(const struct server *server, const char *sql, char **ret)
{
    char *command = NULL, text[8192];
    size_t size;
    FILE *file;

    assert_true(asprintf(&command,
                         "PGCONNECT_TIMEOUT=5 psql -X -A -t -q -h %s -p %u -U postgres -d postgres"
                         " -v ON_ERROR_STOP=1 2>&1 <<'E'\n%s\nE\n",
                         server->dir, (unsigned)server->port, sql) > 0);
    (void)fflush(stdout);
    file = popen(command, "r");
    free(command);
    assert_non_null(file);
    size = fread(text, 1, sizeof(text) - 1, file);
    text[size] = '\0';
    if (size > 0 && text[size - 1] == '\n')
        text[size - 1] = '\0';
    *ret = strdup(text);
    assert_non_null(*ret);
    return pclose(file);
}

char *server_ask(const struct server *server, const char *sql)
{
    char *text = NULL;

    if (ask(server, sql, &text) != 0)
        fail_msg("%s: %s", sql, text);
    return text;
}

void server_do(const struct server *server, const char *sql)
{
    free(server_ask(server, sql));
}

void server_wait(const struct server *server, const char *sql, const char *want, unsigned ms)
{
    const uint64_t end_ms = ha_clock_mono_ms() + ms;

    for (;;) {
        char *text = NULL;
        bool found = ask(server, sql, &text) == 0 && strcmp(text, want) == 0;

        if (!found && ha_clock_mono_ms() >= end_ms)
            fail_msg("%s never said %s, but: %s", sql, want, text);
        free(text);
        if (found)
            return;
        (void)usleep(20000);
    }
}

struct ha_link_spec server_local_spec(const struct server *server)
{
    return (struct ha_link_spec){.socket_path = server->dir,
                                 .port = server->port,
                                 .user = "agent",
                                 .is_local = true,
                                 .data_dir = server->data,
                                 .bin_dir = BIN,
                                 .os_user = "postgres",
                                 .replication_user = "replica",
                                 .replication_password = SERVER_PASSWORD};
}

void client_open_local(struct client *client, uv_loop_t *loop, const struct server *server)
{
    client_open(client, loop, server_local_spec(server));
}

void client_open_remote(struct client *client, uv_loop_t *loop, const struct server *server,
                        const char *user, const char *password)
{
    client_open(client, loop,
                (struct ha_link_spec){.host = "127.0.0.1",
                                      .port = server->port,
                                      .user = user != NULL ? user : "watcher",
                                      .password = password != NULL ? password : SERVER_PASSWORD});
}

struct ha_act act_follow(const struct server *upstream, const char *name)
{
    struct ha_act act = act_of(HA_ORDER_FOLLOW);

    act.deadline_ms = 20000;
    act.rewind_max_ms = act.copy_max_ms = 60000;
    act.keep_tail_bytes = UINT64_C(1) << 30;
    (void)snprintf(act.member_name, sizeof(act.member_name), "%s", name);
    if (upstream == NULL)
        return act;
    act.upstream_port = upstream->port;
    (void)snprintf(act.upstream_host, sizeof(act.upstream_host), "127.0.0.1");
    return act;
}

/* --- a, b and c --- */

static void add_peers(struct ha_act *act, const char *name)
{
    static const char *const names[] = {"a", "b", "c"};

    for (size_t i = 0; i < 3; i++)
        if (strcmp(names[i], name) != 0)
            (void)snprintf(act->peer_names[act->peer_count++], HA_NAME_SIZE, "%s", names[i]);
}

struct ha_act trio_act(enum ha_order_kind kind, const char *name, uint64_t epoch)
{
    struct ha_act act = act_of(kind);

    act.deadline_ms = 20000;
    act.epoch = epoch;
    (void)snprintf(act.member_name, sizeof(act.member_name), "%s", name);
    add_peers(&act, name);
    return act;
}

struct ha_act trio_follow(const struct server *upstream, const char *name, uint64_t epoch)
{
    struct ha_act act = act_follow(upstream, name);

    act.epoch = epoch;
    act.keep_tail_bytes = UINT64_C(64) << 20;
    add_peers(&act, name);
    return act;
}

int trio_code(struct client *client, struct ha_act act)
{
    const uint64_t end_ms = ha_clock_mono_ms() + 60000;
    int code = client_act(client, act);

    while (code == HA_EBUSY && ha_clock_mono_ms() < end_ms) {
        run_for(client->loop, 50);
        code = client_act(client, act);
    }
    return code;
}

void trio_expect(struct client *client, struct ha_act act, int want)
{
    int code = trio_code(client, act);

    if (code != want)
        print_message("# %s\n", client->acted.text);
    assert_int_equal(code, want);
}

void trio_serve(struct client *client, const char *name, uint64_t epoch)
{
    trio_expect(client, trio_follow(NULL, name, epoch), HA_OK);
    trio_expect(client, trio_act(HA_ORDER_PROMOTE, name, epoch), HA_OK);
    trio_expect(client, trio_act(HA_ORDER_SERVE, name, epoch), HA_OK);
}
