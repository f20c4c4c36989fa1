#include "tests/component/cmd/lab.h"

#include "tests/support/cmocka_ha.h"
#include "tests/support/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 256
#define WORDS_MAX 16

uint64_t lab_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void nap(unsigned ms)
{
    (void)poll(NULL, 0, (int)ms);
}

void lab_write(const char *path, const char *format, ...)
{
    FILE *file = fopen(path, "w");
    va_list args;

    assert_non_null(file);
    va_start(args, format);
    (void)vfprintf(file, format, args);
    va_end(args);
    assert_int_equal(fclose(file), 0);
}

static const char *program(const char *name)
{
    static char path[PATH_SIZE];
    const char *build = getenv("HA_BUILD");

    (void)snprintf(path, sizeof(path), "%s/cmd/%s/%s", build != NULL ? build : ".", name, name);
    return path;
}

/* In a child: become @argv. execvp promises not to change its words, its type does not. */
static void become(const char *const argv[])
{
    char *words[WORDS_MAX] = {NULL};

    for (size_t i = 0; i < WORDS_MAX - 1 && argv[i] != NULL; i++)
        words[i] = strdup(argv[i]);
    (void)execvp(words[0], words);
    _exit(127);
}

/* Output appended to @log; the child ends with this process. */
static pid_t start(const char *const argv[], const char *log)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
            _exit(126);
        become(argv);
    }
    return pid;
}

int lab_wait(pid_t *pid)
{
    uint64_t until_ms = lab_now_ms() + 10000;
    int status = 0;

    while (waitpid(*pid, &status, WNOHANG) == 0) {
        if (lab_now_ms() > until_ms) {
            (void)kill(*pid, SIGKILL);
            (void)waitpid(*pid, NULL, 0);
            *pid = 0;
            fail_msg("a process did not end");
        }
        nap(2);
    }
    *pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int lab_end(pid_t *pid, int signal)
{
    if (*pid == 0)
        return 0;
    (void)kill(*pid, signal);
    return lab_wait(pid);
}

/* Run to the end; what it wrote to standard output, cut, in *ret (free). */
static int run(const char *const argv[], char **ret)
{
    size_t size = 0, size_max = 1 << 20;
    char *text = calloc(1, size_max + 1);
    int fds[2], status = 0;
    ssize_t got;
    pid_t pid;

    assert_non_null(text);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (dup2(fds[1], 1) >= 0 && dup2(fds[1], 2) >= 0)
            become(argv);
    }
    (void)close(fds[1]);
    while (size < size_max && (got = read(fds[0], text + size, size_max - size)) > 0)
        size += (size_t)got;
    (void)close(fds[0]);
    (void)waitpid(pid, &status, 0);
    if (ret != NULL)
        *ret = text;
    else
        free(text);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int lab_ctl(struct lab *lab, int at, char **ret, const char *const words[])
{
    const char *argv[WORDS_MAX] = {program("hafailoverctl"), "--socket"};
    char socket_path[PATH_SIZE];
    size_t count = 3;

    (void)snprintf(socket_path, sizeof(socket_path), "%s/w%d/api.sock", lab->dir, at + 1);
    argv[2] = socket_path;
    while (*words != NULL && count < WORDS_MAX - 1)
        argv[count++] = *words++;
    return run(argv, ret);
}

int lab_ctl_plain(char **ret, const char *const words[])
{
    const char *argv[WORDS_MAX] = {program("hafailoverctl")};
    size_t count = 1;

    while (*words != NULL && count < WORDS_MAX - 1)
        argv[count++] = *words++;
    return run(argv, ret);
}

json_t *lab_status(struct lab *lab, int at)
{
    char *text;
    json_t *json = NULL;

    if (lab_ctl(lab, at, &text, (const char *const[]){"status", "--json", NULL}) == 0)
        json = json_loads(text, 0, NULL);
    free(text);
    return json;
}

static int host_of(const char *name)
{
    return name != NULL && strlen(name) == 1 && name[0] >= 'a' && name[0] < 'a' + LAB_HOSTS
               ? name[0] - 'a'
               : -1;
}

int lab_primary(struct lab *lab, int at, int members)
{
    json_t *status = lab_status(lab, at);
    const json_t *service = json_array_get(json_object_get(status, "services"), 0);
    const char *state = json_string_value(json_object_get(service, "state"));
    const char *primary = json_string_value(json_object_get(service, "primary"));
    int host = -1, up = 0;
    const json_t *member;
    size_t i;

    json_array_foreach(json_object_get(service, "members"), i, member)
    {
        const char *verdict = json_string_value(json_object_get(member, "verdict"));
        const char *role = json_string_value(json_object_get(member, "role"));
        bool is_primary = primary != NULL &&
                          strcmp(json_string_value(json_object_get(member, "name")), primary) == 0;

        up += verdict != NULL && strcmp(verdict, "up") == 0 && role != NULL &&
              strcmp(role, is_primary ? "primary" : "replica") == 0;
    }
    if (state != NULL && strcmp(state, "STEADY") == 0 && primary != NULL && up >= members)
        host = host_of(primary);
    json_decref(status);
    return host;
}

int lab_wait_primary(struct lab *lab, int at, int members, int not_this, uint32_t deadline_ms)
{
    uint64_t until_ms = lab_now_ms() + deadline_ms;
    int host;

    while ((host = lab_primary(lab, at, members)) < 0 || host == not_this) {
        if (lab_now_ms() > until_ms) {
            char *text;

            (void)lab_ctl(lab, at, &text, (const char *const[]){"status", NULL});
            for (char *line = text, *end; *line != '\0'; line = end + (*end != '\0')) {
                end = line + strcspn(line, "\n");
                print_message("# %.*s\n", (int)(end - line), line);
            }
            free(text);
            fail_msg("no primary within %u ms", deadline_ms);
        }
        nap(10);
    }
    return host;
}

int lab_leader(struct lab *lab, int at)
{
    uint64_t until_ms = lab_now_ms() + 10000;

    for (;;) {
        json_t *status = lab_status(lab, at);
        const char *name = json_string_value(json_object_get(status, "leader"));
        int leader = name != NULL && name[0] == 'w' ? name[1] - '1' : -1;

        json_decref(status);
        if (leader >= 0)
            return leader;
        if (lab_now_ms() > until_ms)
            fail_msg("no leader");
        nap(10);
    }
}

void lab_wait_promises(struct lab *lab, int at)
{
    uint64_t until_ms = lab_now_ms() + 20000;

    for (;;) {
        json_t *status = lab_status(lab, at);
        bool promises = json_is_true(json_object_get(status, "promises"));

        json_decref(status);
        if (promises)
            return;
        if (lab_now_ms() > until_ms)
            fail_msg("a watcher does not promise");
        nap(10);
    }
}

bool lab_redis(struct lab *lab, int at, char answer[128], const char *const words[])
{
    const char *argv[WORDS_MAX] = {"redis-cli", "-s"};
    char socket_path[PATH_SIZE];
    size_t count = 3;
    char *text;
    int code;

    (void)snprintf(socket_path, sizeof(socket_path), "%s/r%d/redis.sock", lab->dir, at + 1);
    argv[2] = socket_path;
    while (*words != NULL && count < WORDS_MAX - 1)
        argv[count++] = *words++;
    code = run(argv, &text);
    text[strcspn(text, "\r\n")] = '\0';
    (void)snprintf(answer, 128, "%s", text);
    free(text);
    return code == 0;
}

void lab_start_database(struct lab *lab, int at)
{
    char config[PATH_SIZE], log[PATH_SIZE];

    (void)snprintf(config, sizeof(config), "%s/r%d/redis.conf", lab->dir, at + 1);
    (void)snprintf(log, sizeof(log), "%s/r%d/log", lab->dir, at + 1);
    lab->databases[at] = start((const char *const[]){"redis-server", config, NULL}, log);
}

void lab_start_agent(struct lab *lab, int at)
{
    char config[PATH_SIZE], log[PATH_SIZE];

    (void)snprintf(config, sizeof(config), "%s/a%d/agent.conf", lab->dir, at + 1);
    (void)snprintf(log, sizeof(log), "%s/a%d/log", lab->dir, at + 1);
    lab->agents[at] =
        start((const char *const[]){program("hafailover-agent"), "-c", config, NULL}, log);
}

void lab_start_watcher(struct lab *lab, int at, bool bootstrap)
{
    char config[PATH_SIZE], log[PATH_SIZE];

    (void)snprintf(config, sizeof(config), "%s/w%d/watcher.conf", lab->dir, at + 1);
    (void)snprintf(log, sizeof(log), "%s/w%d/log", lab->dir, at + 1);
    lab->watchers[at] = start((const char *const[]){program("hafailoverd"), "-c", config,
                                                    bootstrap ? "--bootstrap" : NULL, NULL},
                              log);
}

static void configure_database(struct lab *lab, int at)
{
    char path[PATH_SIZE], follow[64] = "";

    if (at > 0)
        (void)snprintf(follow, sizeof(follow), "replicaof 127.0.0.1 %u\n", lab->redis_ports[0]);
    (void)snprintf(path, sizeof(path), "%s/r%d/redis.conf", lab->dir, at + 1);
    lab_write(path,
              "port %u\nbind 127.0.0.1\nunixsocket %s/r%d/redis.sock\ndir %s/r%d\nsave \"\"\n"
              "repl-diskless-sync-delay 0\nrepl-backlog-size 16mb\n%s",
              lab->redis_ports[at], lab->dir, at + 1, lab->dir, at + 1, follow);
}

static void configure(struct lab *lab, int at)
{
    char path[PATH_SIZE], peers[PATH_SIZE] = "", name[16], secret[PATH_SIZE], key[PATH_SIZE];

    for (int i = 0; i < LAB_HOSTS; i++)
        (void)snprintf(peers + strlen(peers), sizeof(peers) - strlen(peers), "w%d = 127.0.0.1:%u\n",
                       i + 1, lab->watcher_ports[i]);
    for (const char *kind = "war"; *kind != '\0'; kind++) {
        (void)snprintf(path, sizeof(path), "%s/%c%d", lab->dir, *kind, at + 1);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    (void)snprintf(path, sizeof(path), "%s/w%d/data", lab->dir, at + 1);
    assert_int_equal(mkdir(path, 0700), 0);
    configure_database(lab, at);
    (void)snprintf(path, sizeof(path), "%s/w%d/watcher.conf", lab->dir, at + 1);
    lab_write(path,
              "[watcher]\nname = w%d\nlisten = 127.0.0.1:%u\napi_socket = %s/w%d/api.sock\n"
              "data_dir = %s/w%d/data\n[peers]\n%s[tls]\nmode = psk\nsecret_file = %s/secret\n"
              "[log]\nlevel = debug\n[fence power]\ncommand = %s/fence off\n",
              at + 1, lab->watcher_ports[at], lab->dir, at + 1, lab->dir, at + 1, peers, lab->dir,
              lab->dir);
    (void)snprintf(path, sizeof(path), "%s/a%d/agent.conf", lab->dir, at + 1);
    lab_write(path,
              "[agent]\nname = db%d\nstate_dir = %s/a%d\napi_socket = %s/a%d/api.sock\n"
              "api_listen = none\n[watchers]\n%s[tls]\nmode = psk\n"
              "key_file = %s/a%d/key\n[gate]\nclass = process\n[log]\nlevel = debug\n"
              "[database cache]\nsocket = %s/r%d/redis.sock\nport = %u\n"
              "config_file = %s/r%d/redis.conf\ndata_dir = %s/r%d\n",
              at + 1, lab->dir, at + 1, lab->dir, at + 1, peers, lab->dir, at + 1, lab->dir, at + 1,
              lab->redis_ports[at], lab->dir, at + 1, lab->dir, at + 1);
    (void)snprintf(name, sizeof(name), "agent/db%d", at + 1);
    (void)snprintf(secret, sizeof(secret), "%s/secret", lab->dir);
    (void)snprintf(key, sizeof(key), "%s/a%d/key", lab->dir, at + 1);
    assert_int_equal(run((const char *const[]){program("hafailoverctl"), "keygen", name, "--secret",
                                               secret, "--out", key, NULL},
                         NULL),
                     0);
}

void lab_open(struct lab *lab)
{
    char secret[PATH_SIZE];

    *lab = (struct lab){.dir = "/tmp/hafailover-lab-XXXXXX"};
    assert_non_null(mkdtemp(lab->dir));
    (void)snprintf(secret, sizeof(secret), "%s/secret", lab->dir);
    assert_int_equal(
        run((const char *const[]){program("hafailoverctl"), "keygen", "secret", secret, NULL},
            NULL),
        0);
    for (int i = 0; i < LAB_HOSTS; i++) {
        lab->watcher_ports[i] = free_port();
        lab->redis_ports[i] = free_port();
    }
    for (int i = 0; i < LAB_HOSTS; i++)
        configure(lab, i);
    for (int i = 0; i < LAB_HOSTS; i++) {
        lab_start_database(lab, i);
        lab_start_watcher(lab, i, true);
        lab_start_agent(lab, i);
    }
}

/* Did the daemon of this letter end as it should? If not, its last words. */
static bool ended_well(const struct lab *lab, char kind, int at, int result)
{
    char command[PATH_SIZE];

    if (result == 0)
        return true;
    (void)snprintf(command, sizeof(command), "tail -n 60 %s/%c%d/log >&2", lab->dir, kind, at + 1);
    print_error("%c%d ended with %d\n", kind, at + 1, result);
    (void)fflush(NULL);
    (void)!system(command);
    return false;
}

void lab_close(struct lab *lab)
{
    bool clean = true;

    for (int i = 0; i < LAB_HOSTS; i++) {
        clean = ended_well(lab, 'a', i, lab_end(&lab->agents[i], SIGTERM)) && clean;
        clean = ended_well(lab, 'w', i, lab_end(&lab->watchers[i], SIGTERM)) && clean;
        (void)lab_end(&lab->databases[i], SIGKILL);
    }
    if (getenv("HA_KEEP") != NULL)
        print_message("# kept: %s\n", lab->dir);
    else
        (void)run((const char *const[]){"rm", "-rf", lab->dir, NULL}, NULL);
    assert_true(clean);
}
