#include "agents/postgresql/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agents/engine.h"
#include "agents/postgresql/files_parts.h"
#include "agents/postgresql/parse.h"
#include "lib/base/text.h"
#include "lib/io/pidwatch.h"

#define CHILDREN_MAX 4096
#define CHECK_FILE "hafailover.check"

static int take(char *to, size_t size, const char *from, const char *what, struct ha_err *err)
{
    if (ha_text_copy(to, size, from != NULL ? from : "") != HA_OK)
        return ha_err_set(err, HA_EINVAL, "%s is too long", what);
    return HA_OK;
}

static int find_user(struct ha_pg_server *server, const char *name, struct ha_err *err)
{
    const struct passwd *user;

    server->uid = getuid();
    server->gid = getgid();
    if (name == NULL || name[0] == '\0')
        return HA_OK;
    user = getpwnam(name); // NOLINT(concurrency-mt-unsafe): at start, on the loop thread
    if (user == NULL)
        return ha_err_set(err, HA_EINVAL, "os_user = %s: there is no such user", name);
    if (user->pw_uid == server->uid)
        return HA_OK;
    if (server->uid != 0)
        return ha_err_set(err, HA_EINVAL, "os_user = %s: only root can act as another user", name);
    server->set_ids = true;
    server->uid = user->pw_uid;
    server->gid = user->pw_gid;
    return HA_OK;
}

int ha_pg_server_init(struct ha_pg_server *server, const struct ha_link_spec *spec,
                      struct ha_err *err)
{
    int rc = take(server->data_dir, sizeof(server->data_dir), spec->data_dir, "data_dir", err);
    size_t size;

    if (rc == HA_OK)
        rc = take(server->bin_dir, sizeof(server->bin_dir), spec->bin_dir, "bin_dir", err);
    if (rc == HA_OK)
        rc = take(server->config_file, sizeof(server->config_file), spec->config_file,
                  "config_file", err);
    if (rc == HA_OK)
        rc = take(server->start_command, sizeof(server->start_command), spec->start_command,
                  "start_command", err);
    if (rc == HA_OK)
        rc = take(server->stop_command, sizeof(server->stop_command), spec->stop_command,
                  "stop_command", err);
    if (rc == HA_OK)
        rc = take(server->replication_user, sizeof(server->replication_user),
                  spec->replication_user, "replication_user", err);
    if (rc == HA_OK)
        rc = take(server->replication_password, sizeof(server->replication_password),
                  spec->replication_password, "the replication password", err);
    if (rc != HA_OK)
        return rc;
    if (server->bin_dir[0] == '\0')
        (void)ha_text_copy(server->bin_dir, sizeof(server->bin_dir), "/usr/lib/postgresql/15/bin");
    size = strlen(server->data_dir);
    while (size > 1 && server->data_dir[size - 1] == '/')
        server->data_dir[--size] = '\0';
    if (size > 0 &&
        (server->data_dir[0] != '/' || ha_text_format(server->work_dir, sizeof(server->work_dir),
                                                      "%s-hafailover", server->data_dir) != HA_OK))
        return ha_err_set(err, HA_EINVAL, "data_dir is not an absolute path, or too long");
    server->resolved = size == 0;
    return find_user(server, spec->os_user, err);
}

void ha_pg_server_find(const char *data_dir, char ret[HA_PG_PATH_SIZE])
{
    char real[PATH_MAX];

    /* Where there is no data yet it will be where the agent's file says. */
    if (realpath(data_dir, real) == NULL || strlen(real) + sizeof("-hafailover") > HA_PG_PATH_SIZE)
        (void)ha_text_copy(real, sizeof(real), data_dir);
    (void)ha_text_copy(ret, HA_PG_PATH_SIZE, real);
}

void ha_pg_server_found(struct ha_pg_server *server, const char *real)
{
    if (server->resolved)
        return;
    server->resolved = true;
    (void)ha_text_copy(server->data_dir, sizeof(server->data_dir), real);
    (void)ha_text_format(server->work_dir, sizeof(server->work_dir), "%s-hafailover", real);
}

/* --- processes -------------------------------------------------------------------------------- */

/* From the state on; NULL: no such process. */
static const char *stat_of(const char *pid, char text[256])
{
    char path[64];
    ssize_t size;
    const char *at;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    size = read(fd, text, 255);
    (void)close(fd); /* only read */
    if (size <= 0)
        return NULL;
    text[size] = '\0';
    at = strrchr(text, ')'); /* the name before it may hold anything */
    return at != NULL && strlen(at) > 4 ? at + 2 : NULL;
}

static int32_t parent_of(const char *pid)
{
    char text[256];
    const char *at = stat_of(pid, text);

    return at != NULL ? (int32_t)ha_pg_number(at + 2) : 0;
}

/* As in /proc; 0: no such process. */
static char state_of(long pid)
{
    char name[24], text[256];
    const char *at;

    (void)snprintf(name, sizeof(name), "%ld", pid);
    at = pid > 1 ? stat_of(name, text) : NULL;
    if (at == NULL)
        return '\0';
    return *at;
}

static bool is_zombie(long pid)
{
    char state = state_of(pid);

    return state == 'Z' || state == 'X';
}

bool ha_pg_server_lives(int32_t pid, uint64_t start)
{
    uint64_t now = 0;

    return ha_pid_start_time(pid, &now) == HA_OK && now == start && !is_zombie(pid);
}

bool ha_pg_server_is_stopped(int32_t pid, uint64_t start)
{
    uint64_t now = 0;
    char state = state_of(pid);

    return (state == 'T' || state == 't') && ha_pid_start_time(pid, &now) == HA_OK && now == start;
}

/* The process a lock file names; 0: none. */
static long locked_by(const char *path)
{
    char text[32] = "";
    ssize_t size;
    int fd;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    size = read(fd, text, sizeof(text) - 1);
    (void)close(fd); /* only read */
    return size > 0 ? (long)ha_pg_number(text) : 0;
}

/* A zombie has no directory any more, and counts as gone. */
static bool works_in(const char *pid, const char *real)
{
    char path[64], where[PATH_MAX];
    ssize_t length;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/cwd", pid);
    length = readlink(path, where, sizeof(where) - 1);
    if (length <= 0)
        return false;
    where[length] = '\0';
    return strcmp(where, real) == 0;
}

static bool runs(const struct ha_pg_server *server, const char *pid, const char *name)
{
    char path[HA_PG_PATH_SIZE + 16], program[PATH_MAX], want[PATH_MAX];
    ssize_t length;

    (void)snprintf(path, sizeof(path), "%s/%s", server->bin_dir, name);
    if (realpath(path, want) == NULL)
        return false;
    (void)snprintf(path, sizeof(path), "/proc/%.20s/exe", pid);
    length = readlink(path, program, sizeof(program) - 1);
    if (length <= 0)
        return false;
    program[length] = '\0';
    return strcmp(program, want) == 0;
}

/* Whether a process was given this argument. */
static bool was_given(const char *pid, const char *argument)
{
    char path[64], text[4096];
    ssize_t size;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size = read(fd, text, sizeof(text) - 1);
    (void)close(fd); /* only read */
    if (size <= 0)
        return false;
    text[size] = '\0';
    for (const char *at = text; at < text + size; at += strlen(at) + 1)
        if (strcmp(at, argument) == 0)
            return true;
    return false;
}

/* A tool of an agent that was killed goes on by itself, in the files of the next one's. */
static bool is_orphan(const struct ha_pg_server *server, const char *pid)
{
    char copy[HA_PG_PATH_SIZE + 8];

    (void)snprintf(copy, sizeof(copy), "%s/copy", server->work_dir);
    return (was_given(pid, server->data_dir) || was_given(pid, copy)) &&
           (runs(server, pid, "pg_rewind") || runs(server, pid, "pg_basebackup")) &&
           parent_of(pid) != getpid();
}

/* Not somebody's shell that happens to stand there. */
static bool is_server(const struct ha_pg_server *server, const char *pid, const char *real)
{
    return works_in(pid, real) && runs(server, pid, "postgres");
}

int32_t ha_pg_server_pid(const struct ha_pg_server *server)
{
    char path[HA_PG_PATH_SIZE + 32], text[32], real[PATH_MAX];
    long pid;

    (void)snprintf(path, sizeof(path), "%s/postmaster.pid", server->data_dir);
    pid = locked_by(path);
    if (pid <= 1 || pid > INT32_MAX || realpath(server->data_dir, real) == NULL)
        return 0;
    /* A number left over from before a reboot may be anybody's: it must live in this directory. */
    (void)snprintf(text, sizeof(text), "%ld", pid);
    return works_in(text, real) ? (int32_t)pid : 0;
}

bool ha_pg_server_is_ending(const struct ha_pg_server *server)
{
    enum { LINE_STATUS = 8 };
    char path[HA_PG_PATH_SIZE + 32], line[1024];
    bool ending = false;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/postmaster.pid", server->data_dir);
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    for (unsigned i = 1; i <= LINE_STATUS && fgets(line, sizeof(line), file) != NULL; i++)
        ending = i == LINE_STATUS && strncmp(line, "stopping", 8) == 0;
    (void)fclose(file); /* only read */
    return ending;
}

int ha_pg_server_sweep(const struct ha_pg_server *server)
{
    char path[HA_PG_PATH_SIZE + 32], real[PATH_MAX];
    /* Without data a copy that an earlier agent began may still be under way. */
    bool has_data = realpath(server->data_dir, real) != NULL, any = false;
    const struct dirent *entry;
    DIR *dir;

    if (ha_pg_server_pid(server) != 0)
        return HA_EEXIST;
    if (ha_pg_file_is_late()) /* what would be found may be somebody else's start or job by now */
        return HA_ECANCELED;
    dir = opendir("/proc");
    if (dir == NULL)
        return HA_EIO;
    while ((entry = readdir(dir)) != NULL) {
        pid_t pid = (pid_t)ha_pg_number(entry->d_name);

        if (pid <= 1 || pid == getpid() ||
            (!(has_data && is_server(server, entry->d_name, real)) &&
             !is_orphan(server, entry->d_name)))
            continue;
        if (ha_pg_file_is_late()) {
            (void)closedir(dir); /* only read */
            return HA_ECANCELED;
        }
        any = true;
        (void)kill(pid, SIGKILL);
    }
    (void)closedir(dir); /* only read */
    if (any)
        return HA_EBUSY;
    if (ha_pg_server_pid(server) != 0) /* started meanwhile: the lock file is its own */
        return HA_EEXIST;
    /* The server would take a process that nobody has waited for yet for a living one. */
    if (server->socket_lock[0] != '\0' && is_zombie(locked_by(server->socket_lock)))
        (void)unlink(server->socket_lock); /* the start tells, if it is still in the way */
    if (ha_pg_file_is_late())
        return HA_ECANCELED;
    (void)snprintf(path, sizeof(path), "%s/postmaster.pid", server->data_dir);
    return unlink(path) == 0 || errno == ENOENT ? HA_OK : HA_EIO;
}

bool ha_pg_server_signal(int32_t pid, enum ha_pg_stop how)
{
    return pid > 1 && kill(pid, how == HA_PG_STOP_FAST ? SIGINT : SIGQUIT) == 0;
}

void ha_pg_server_end(int32_t pid)
{
    const struct dirent *entry;
    uint32_t count = 0;
    DIR *dir;

    if (pid <= 1 || kill(pid, SIGSTOP) != 0) /* it makes no more children */
        return;
    dir = opendir("/proc");
    while (dir != NULL && count < CHILDREN_MAX && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || parent_of(entry->d_name) != pid)
            continue;
        (void)kill((pid_t)ha_pg_number(entry->d_name), SIGKILL);
        count++;
    }
    if (dir != NULL)
        (void)closedir(dir); /* only read */
    (void)kill(pid, SIGKILL);
}

int ha_pg_server_run(const struct ha_pg_server *server, struct ha_process_run **ret,
                     uv_loop_t *loop, const char *const *argv, uint32_t deadline_ms,
                     ha_process_cb cb, void *data)
{
    /* libpq from version 16 on: whoever asks gets no password in clear; a server that is started
     * with it goes by it as well. */
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                                      "PGREQUIREAUTH=!password", NULL};
    const char *args[24];
    char program[HA_PG_PATH_SIZE * 2];
    struct ha_process_options options = {
        .argv = args,
        .env = env,
        .cwd = "/",
        .deadline_ms = deadline_ms,
        .set_ids = server->set_ids,
        .uid = server->uid,
        .gid = server->gid,
    };
    size_t count = 0;

    if (argv[0][0] == '/')
        (void)snprintf(program, sizeof(program), "%s", argv[0]);
    else
        (void)snprintf(program, sizeof(program), "%s/%s", server->bin_dir, argv[0]);
    args[count++] = program;
    for (size_t i = 1; argv[i] != NULL && count + 1 < HA_ARRAY_LEN(args); i++)
        args[count++] = argv[i];
    args[count] = NULL;
    return ha_process_start(ret, loop, &options, cb, data);
}

/* --- its disk --------------------------------------------------------------------------------- */

static int cannot_write(struct ha_err *err, int number)
{
    return ha_err_set(err, HA_EIO, "its data directory takes no write: %s",
                      strerrorname_np(number));
}

/* What failed; 0: nothing. */
static int try_block(const struct ha_pg_server *server, int fd)
{
    static const char block[8192];
    struct statvfs room;
    ssize_t size;

    if (server->set_ids && fchown(fd, server->uid, server->gid) != 0)
        return errno;
    size = write(fd, block, sizeof(block));
    if (size < 0 || fdatasync(fd) != 0)
        return errno;
    if (size < (ssize_t)sizeof(block))
        return ENOSPC; /* which is told of the next write only */
    if (fstatvfs(fd, &room) == 0 && room.f_bavail * room.f_frsize < sizeof(block))
        return ENOSPC; /* what is left is kept for root */
    return 0;
}

int ha_pg_server_try_write(const struct ha_pg_server *server, struct ha_err *err)
{
    int dir = open(server->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, number;
    char state;

    if (dir < 0)
        return cannot_write(err, errno);
    /* Whoever is connected goes on being served, and nobody else is let in. */
    state = state_of(ha_pg_server_pid(server));
    if (state == 'T' || state == 't') {
        (void)close(dir); /* only read */
        return ha_err_set(err, HA_EIO, "its postmaster is stopped: nobody can connect");
    }
    /* Emptied first: a block that the disk has set aside already shows nothing. */
    fd = openat(dir, CHECK_FILE, O_CREAT | O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    number = fd < 0 ? errno : try_block(server, fd);
    if (fd >= 0)
        (void)close(fd); /* synced, or failed already */
    (void)close(dir);    /* only read */
    return number == 0 ? HA_OK : cannot_write(err, number);
}

/* --- what its tools say ----------------------------------------------------------------------- */

static const char *line_of(const char *text, const char *key)
{
    for (const char *at = text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n' ? 1 : 0) {
        if (strncmp(at, key, strlen(key)) == 0)
            return at + strlen(key) + strspn(at + strlen(key), " ");
    }
    return NULL;
}

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

int ha_pg_control_parse(const char *text, struct ha_pg_control *ret)
{
    const char *state = line_of(text, "Database cluster state:");
    const char *system = line_of(text, "Database system identifier:");
    const char *location = line_of(text, "Latest checkpoint location:");
    const char *timeline = line_of(text, "Latest checkpoint's TimeLineID:");

    if (state == NULL || system == NULL || location == NULL || timeline == NULL ||
        !ha_pg_lsn(location, &ret->checkpoint))
        return HA_EPROTO;
    ret->exists = true;
    ret->system = ha_pg_number(system);
    ret->timeline = (uint32_t)ha_pg_number(timeline);
    ret->clean = starts(state, "shut down\n");
    ret->at_rest = starts(state, "shut down");
    ret->was_primary = ret->clean || starts(state, "in production") ||
                       starts(state, "shutting down") || starts(state, "in crash recovery");
    return HA_OK;
}

/* A value of a conninfo string, quoted. */
static int append_value(char *to, size_t size, const char *key, const char *value)
{
    int rc = ha_text_append(to, size, "%s%s='", to[0] != '\0' ? " " : "", key);

    for (; rc == HA_OK && *value != '\0'; value++)
        rc = ha_text_append(to, size, "%s%c", *value == '\'' || *value == '\\' ? "\\" : "", *value);
    return rc == HA_OK ? ha_text_append(to, size, "'") : rc;
}

int ha_pg_server_conninfo(const struct ha_pg_server *server, const char *host, uint16_t port,
                          const char *name, const char *more, char *to, size_t size)
{
    char text[HA_PG_PATH_SIZE + 16];
    int rc;

    to[0] = '\0';
    rc = append_value(to, size, "host", host);
    (void)snprintf(text, sizeof(text), "%u", (unsigned)port);
    if (rc == HA_OK)
        rc = append_value(to, size, "port", text);
    if (rc == HA_OK && server->replication_user[0] != '\0')
        rc = append_value(to, size, "user", server->replication_user);
    (void)snprintf(text, sizeof(text), "%s/pgpass", server->work_dir);
    if (rc == HA_OK && server->replication_password[0] != '\0')
        rc = append_value(to, size, "passfile", text);
    if (rc == HA_OK && name[0] != '\0')
        rc = append_value(to, size, "application_name", name);
    if (rc == HA_OK && more[0] != '\0')
        rc = ha_text_append(to, size, " %s", more);
    return rc;
}

void ha_pg_slot_name(const char *name, char *to, size_t size)
{
    size_t at;

    (void)ha_text_format(to, size, "ha_%s", name);
    for (at = 0; to[at] != '\0'; at++) {
        if (to[at] >= 'A' && to[at] <= 'Z')
            to[at] = (char)(to[at] - 'A' + 'a');
        else if ((to[at] < 'a' || to[at] > 'z') && (to[at] < '0' || to[at] > '9'))
            to[at] = '_';
    }
}
