/* tests/bench/model.c - many model Redis servers of one host, to see what watching thousands costs.
 *
 * Small: it speaks enough for hafailover's watchers and agents and for Sentinel, and holds no data.
 * The first OWN servers have a process each, so that one can be killed like a real one; the others
 * share one, so that a machine has room for thousands. With AGAIN, one that was killed runs anew
 * after so many milliseconds, in the role it had, like one with a service manager. What replication
 * would bring is read from a table in shared memory that the hosts' models map: a replica has what
 * its primary has, while that one's process lives. Each write is a step of the offset. Blocking
 * epoll, one thread.
 *
 * Server K of host H listens on port FIRST+K and on DIR/K.sock; its primary at the start is the one
 * on host K modulo the number of hosts. */
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

#define HOSTS_MAX 7
#define IN_SIZE 4096
#define OUT_SIZE 16384
#define WORDS_MAX 16
#define PING_MS 10000 /* a primary's stream grows by a ping each ten seconds */
#define PING_BYTES 14

struct server { /* in shared memory */
    _Atomic int32_t pid;
    _Atomic uint32_t upstream; /* index of its host; HOSTS_MAX: it is a primary */
    _Atomic uint64_t offset, id, older_id, older_end;
};

struct options {
    const char *dir, *shared;
    uint64_t host, count, own, again, first_port;
    unsigned host_count;
    char hosts[HOSTS_MAX][INET_ADDRSTRLEN];
};

struct source { /* what is polled: the start of a connection, or a listener */
    int fd;
    bool listens;
    uint64_t service;
};

struct conn {
    struct source source;
    struct conn *next; /* of the same server */
    bool subscribed, queuing;
    unsigned queued;
    size_t in_size;
    char in[IN_SIZE];
};

struct out {
    size_t size;
    char data[OUT_SIZE];
};

static const struct options *options;
static struct server *servers; /* [service][host] */
static uint64_t self;          /* the service that is spoken for */
static struct conn **conns;    /* [service] */
static uint64_t *run_ids;      /* [service] */
static int epoll_fd;

static struct server *server_on(unsigned host)
{
    return &servers[self * HOSTS_MAX + host];
}

static struct server *me(void)
{
    return server_on((unsigned)options->host);
}

__attribute__((format(printf, 2, 3))) static void say(struct out *out, const char *format, ...)
{
    va_list args;
    int size;

    va_start(args, format);
    size = vsnprintf(out->data + out->size, sizeof(out->data) - out->size, format, args);
    va_end(args);
    if (size > 0 && (size_t)size < sizeof(out->data) - out->size)
        out->size += (size_t)size;
}

static uint64_t random_id(void)
{
    uint64_t id = 0;

    while (id == 0)
        if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
            abort();
    return id;
}

static bool lives(const struct server *server)
{
    int32_t pid = server->pid;

    return pid > 0 && kill(pid, 0) == 0;
}

static bool is_primary(const struct server *server)
{
    return server->upstream >= HOSTS_MAX;
}

static bool follows_me(unsigned host)
{
    return host != options->host && server_on(host)->upstream == options->host &&
           lives(server_on(host));
}

/* What a real one would get from its primary. */
static bool linked(void)
{
    struct server *upstream = is_primary(me()) ? NULL : server_on(me()->upstream);

    if (upstream == NULL || !lives(upstream))
        return false;
    me()->offset = upstream->offset;
    me()->id = upstream->id;
    me()->older_id = upstream->older_id;
    me()->older_end = upstream->older_end;
    return true;
}

static void advance(uint64_t bytes)
{
    me()->offset += bytes;
    for (unsigned host = 0; host < options->host_count; host++)
        if (follows_me(host))
            server_on(host)->offset = (uint64_t)me()->offset;
}

/* INFO */

static void info_replication(struct out *text)
{
    bool up = linked();
    unsigned count = 0;

    say(text, "# Replication\r\nrole:%s\r\n", is_primary(me()) ? "master" : "slave");
    if (!is_primary(me()))
        say(text,
            "master_host:%s\r\nmaster_port:%" PRIu64 "\r\nmaster_link_status:%s\r\n"
            "master_last_io_seconds_ago:%d\r\nmaster_sync_in_progress:0\r\n"
            "slave_read_repl_offset:%" PRIu64 "\r\nslave_repl_offset:%" PRIu64 "\r\n%s"
            "slave_priority:100\r\nslave_read_only:1\r\nreplica_announced:1\r\n",
            options->hosts[me()->upstream], options->first_port + self, up ? "up" : "down",
            up ? 1 : -1, me()->offset, me()->offset,
            up ? "" : "master_link_down_since_seconds:1\r\n");
    for (unsigned host = 0; host < options->host_count; host++)
        count += follows_me(host);
    say(text, "connected_slaves:%u\r\n", count);
    count = 0;
    for (unsigned host = 0; host < options->host_count; host++)
        if (follows_me(host))
            say(text, "slave%u:ip=%s,port=%" PRIu64 ",state=online,offset=%" PRIu64 ",lag=0\r\n",
                count++, options->hosts[host], options->first_port + self, me()->offset);
    say(text,
        "master_failover_state:no-failover\r\nmaster_replid:%040" PRIx64
        "\r\nmaster_replid2:%040" PRIx64 "\r\nmaster_repl_offset:%" PRIu64
        "\r\nsecond_repl_offset:%" PRId64 "\r\nrepl_backlog_active:1\r\n\r\n",
        me()->id, me()->older_id, me()->offset,
        me()->older_id == 0 ? (int64_t)-1 : (int64_t)me()->older_end);
}

static bool wants(const char *section, const char *asked)
{
    return asked == NULL || strcasecmp(section, asked) == 0;
}

static void info(struct out *out, const char *asked)
{
    static struct out text;

    text.size = 0;
    if (wants("server", asked))
        say(&text,
            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nprocess_id:%d\r\n"
            "run_id:%040" PRIx64 "\r\ntcp_port:%" PRIu64 "\r\nuptime_in_seconds:1000\r\n"
            "config_file:%s\r\n\r\n",
            (int)getpid(), run_ids[self], options->first_port + self, "");
    if (wants("persistence", asked))
        say(&text, "# Persistence\r\nloading:0\r\nasync_loading:0\r\n"
                   "rdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0\r\n"
                   "rdb_last_save_time:1000\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\n"
                   "aof_last_write_status:ok\r\n\r\n");
    if (wants("replication", asked))
        info_replication(&text);
    if (wants("keyspace", asked))
        say(&text, "# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n");
    /* A real server says some 5 KB when it is asked for everything. */
    for (unsigned line = 0; asked == NULL && text.size < 5000; line++)
        say(&text, "model_filler_%u:000000000000000000000000000000\r\n", line);
    say(out, "$%zu\r\n%.*s\r\n", text.size, (int)text.size, text.data);
}

/* Commands */

static void replicaof(struct out *out, const char *host)
{
    if (strcasecmp(host, "no") == 0) {
        if (!is_primary(me())) {
            (void)linked();
            me()->older_id = (uint64_t)me()->id;
            me()->older_end = me()->offset + 1;
            me()->id = random_id();
            me()->upstream = HOSTS_MAX;
        }
        say(out, "+OK\r\n");
        return;
    }
    for (unsigned i = 0; i < options->host_count; i++) {
        if (strcmp(options->hosts[i], host) != 0 || i == options->host)
            continue;
        me()->upstream = i;
        (void)linked();
        say(out, "+OK\r\n");
        return;
    }
    say(out, "-ERR no such model host\r\n");
}

static void role(struct out *out)
{
    if (is_primary(me()))
        say(out, "*3\r\n$6\r\nmaster\r\n:%" PRIu64 "\r\n*0\r\n", me()->offset);
    else
        say(out,
            "*5\r\n$5\r\nslave\r\n$%zu\r\n%s\r\n:%" PRIu64 "\r\n$9\r\nconnected\r\n:%" PRIu64
            "\r\n",
            strlen(options->hosts[me()->upstream]), options->hosts[me()->upstream],
            options->first_port + self, me()->offset);
}

static void config_get(struct out *out, const char *name)
{
    const char *value = strcasecmp(name, "dir") == 0          ? options->dir
                        : strcasecmp(name, "dbfilename") == 0 ? "dump.rdb"
                        : strncasecmp(name, "min-", 4) == 0   ? "0"
                                                              : NULL;

    if (value == NULL)
        say(out, "*0\r\n");
    else
        say(out, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(name), name, strlen(value), value);
}

/* What one sentinel publishes reaches all that listen here, the speaker too. */
static void publish(struct out *out, const char *channel, const char *text)
{
    static struct out message;
    unsigned count = 0;

    message.size = 0;
    say(&message, "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(channel), channel,
        strlen(text), text);
    for (const struct conn *conn = conns[self]; conn != NULL; conn = conn->next)
        if (conn->subscribed &&
            send(conn->source.fd, message.data, message.size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            count++;
    say(out, ":%u\r\n", count);
}

static void client(struct out *out, const char *verb)
{
    if (strcasecmp(verb, "list") == 0)
        say(out, "$0\r\n\r\n");
    else if (strcasecmp(verb, "kill") == 0 || strcasecmp(verb, "id") == 0)
        say(out, ":1\r\n");
    else
        say(out, "+OK\r\n");
}

static void answer(struct conn *conn, struct out *out, char *words[], unsigned count)
{
    const char *verb = words[0];
    const char *first = count > 1 ? words[1] : "";

    if (strcasecmp(verb, "exec") == 0) {
        say(out, "*%u\r\n", conn->queued);
        while (conn->queued > 0 && conn->queued--)
            say(out, "+OK\r\n");
        conn->queuing = false;
        return;
    }
    if (conn->queuing) { /* done at once; only its answer waits */
        static struct out unsaid;

        unsaid.size = 0;
        conn->queuing = false;
        answer(conn, &unsaid, words, count);
        conn->queuing = true;
        conn->queued++;
        say(out, "+QUEUED\r\n");
    } else if (strcasecmp(verb, "ping") == 0) {
        say(out, "+PONG\r\n");
    } else if (strcasecmp(verb, "info") == 0) {
        info(out, count > 1 ? first : NULL);
    } else if (strcasecmp(verb, "set") == 0) {
        if (is_primary(me()))
            advance(32);
        say(out, is_primary(me()) ? "+OK\r\n" : "-READONLY You can't write against a replica.\r\n");
    } else if (strcasecmp(verb, "role") == 0) {
        role(out);
    } else if (strcasecmp(verb, "replicaof") == 0 || strcasecmp(verb, "slaveof") == 0) {
        replicaof(out, first);
    } else if (strcasecmp(verb, "config") == 0 && strcasecmp(first, "get") == 0 && count > 2) {
        config_get(out, words[2]);
    } else if (strcasecmp(verb, "client") == 0) {
        client(out, first);
    } else if (strcasecmp(verb, "publish") == 0 && count > 2) {
        publish(out, first, words[2]);
    } else if (strcasecmp(verb, "subscribe") == 0) {
        conn->subscribed = true;
        say(out, "*3\r\n$9\r\nsubscribe\r\n$%zu\r\n%s\r\n:1\r\n", strlen(first), first);
    } else if (strcasecmp(verb, "wait") == 0) {
        say(out, ":2\r\n");
    } else if (strcasecmp(verb, "multi") == 0) {
        conn->queuing = true;
        conn->queued = 0;
        say(out, "+OK\r\n");
    } else {
        say(out, "+OK\r\n"); /* AUTH, CONFIG SET and REWRITE, BGSAVE: nothing to do */
    }
}

/* Connections */

/* One "<mark><number>\r\n"; NULL: not whole yet, or malformed. */
static char *take_number(char *at, const char *end, char mark, uint64_t *ret)
{
    char *line_end = memchr(at, '\r', (size_t)(end - at));

    if (line_end == NULL || line_end + 1 >= end || *at != mark)
        return NULL;
    *line_end = '\0';
    return ha_text_u64(at + 1, IN_SIZE, ret) == HA_OK ? line_end + 2 : NULL;
}

/* Whether a whole command begins at @at; words end in the buffer itself. */
static char *take_command(char *at, char *end, char *words[], unsigned *ret_count)
{
    char copy[IN_SIZE + 1];
    uint64_t count, size;
    char *from = copy;
    const char *copy_end = copy + (end - at);

    /* On a copy first: numbers are ended by a zero, and what is not whole must stay as it is. */
    memcpy(copy, at, (size_t)(end - at));
    from = take_number(from, copy_end, '*', &count);
    for (uint64_t i = 0; from != NULL && i < count; i++) {
        from = take_number(from, copy_end, '$', &size);
        if (from == NULL || (size_t)(copy_end - from) < size + 2)
            return NULL;
        from += size + 2;
    }
    if (from == NULL || count == 0 || count > WORDS_MAX)
        return NULL;
    at = take_number(at, end, '*', &count);
    for (uint64_t i = 0; i < count; i++) {
        at = take_number(at, end, '$', &size);
        words[i] = at;
        at[size] = '\0';
        at += size + 2;
    }
    *ret_count = (unsigned)count;
    return at;
}

static void drop(struct conn *conn)
{
    struct conn **at = &conns[conn->source.service];

    while (*at != conn)
        at = &(*at)->next;
    *at = conn->next;
    (void)close(conn->source.fd);
    free(conn);
}

static void serve(struct conn *conn)
{
    static struct out out;
    ssize_t got =
        recv(conn->source.fd, conn->in + conn->in_size, IN_SIZE - conn->in_size, MSG_DONTWAIT);
    char *at = conn->in, *end, *next;
    char *words[WORDS_MAX];
    unsigned count;

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        drop(conn);
        return;
    }
    conn->in_size += (size_t)got;
    end = conn->in + conn->in_size;
    out.size = 0;
    while (at < end && (next = take_command(at, end, words, &count)) != NULL) {
        answer(conn, &out, words, count);
        at = next;
    }
    conn->in_size = (size_t)(end - at);
    memmove(conn->in, at, conn->in_size);
    if (conn->in_size == IN_SIZE || (out.size > 0 && send(conn->source.fd, out.data, out.size,
                                                          MSG_NOSIGNAL) != (ssize_t)out.size))
        drop(conn);
}

static void watch(struct source *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, source->fd, &event) != 0)
        abort();
}

static void take_in(const struct source *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    struct conn *conn = fd < 0 ? NULL : calloc(1, sizeof(*conn));
    int on = 1;

    if (conn == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    conn->source = (struct source){.fd = fd, .service = listener->service};
    conn->next = conns[listener->service];
    conns[listener->service] = conn;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* not of UNIX sockets */
    watch(&conn->source);
}

static void listen_on(const struct sockaddr *address, socklen_t size)
{
    struct source *source = calloc(1, sizeof(*source));
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (source == NULL || fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, address, size) != 0 || listen(fd, 64) != 0) {
        perror("listen");
        exit(EXIT_FAILURE);
    }
    *source = (struct source){.fd = fd, .listens = true, .service = self};
    watch(source);
}

static void write_pid(void)
{
    char path[512];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%" PRIu64 ".pid", options->dir, self);
    file = fopen(path, "we");
    if (file == NULL || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file) != 0)
        abort();
}

/* Server `self` of this process. */
static void open_server(void)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)(options->first_port + self))};
    struct sockaddr_un local = {.sun_family = AF_UNIX};

    run_ids[self] = random_id();
    (void)snprintf(local.sun_path, sizeof(local.sun_path), "%s/%" PRIu64 ".sock", options->dir,
                   self);
    (void)unlink(local.sun_path);
    listen_on((const struct sockaddr *)&tcp, sizeof(tcp));
    listen_on((const struct sockaddr *)&local, sizeof(local));
    me()->pid = (int32_t)getpid();
    write_pid();
}

static void be_servers(uint64_t from, uint64_t to)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (self = from; self < to; self++)
        open_server();
    while (true) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll_fd, events, 64, -1);

        for (int i = 0; i < count; i++) {
            struct source *source = events[i].data.ptr;

            self = source->service;
            if (source->listens)
                take_in(source);
            else
                serve((struct conn *)source);
        }
    }
}

/* A primary writes a ping into its stream each ten seconds; the parent does so for all. */
static void ping_all(void)
{
    for (self = 0; self < options->count; self++)
        if (is_primary(me()) && lives(me()))
            advance(PING_BYTES);
}

static void start(uint64_t from, uint64_t to)
{
    const pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        be_servers(from, to);
    }
    for (self = from; pid > 0 && self < to; self++)
        me()->pid = (int32_t)pid; /* before it says so itself: it is not started twice */
}

static void start_the_dead(void)
{
    for (uint64_t at = 0; at < options->own && at < options->count; at++) {
        self = at;
        if (!lives(me()))
            start(at, at + 1);
    }
}

static bool open_table(void)
{
    const size_t size = options->count * HOSTS_MAX * sizeof(*servers);
    int fd = open(options->shared, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        return false;
    servers = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    return servers != MAP_FAILED;
}

/* One server of the table as it is before it first starts; one that starts again keeps its place.
 */
static void prepare(void)
{
    const unsigned first = (unsigned)(self % options->host_count);

    if (me()->pid != 0)
        return;
    me()->upstream = options->host == first ? HOSTS_MAX : first;
    me()->offset = 1000;
    me()->id = self + 1;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    static const char keys[] = "ncpoa";
    struct options *o = state->input;
    uint64_t *numbers[] = {&o->host, &o->count, &o->first_port, &o->own, &o->again};

    switch (key) {
    case 'd':
        o->dir = arg;
        return 0;
    case 's':
        o->shared = arg;
        return 0;
    case 'n':
    case 'c':
    case 'p':
    case 'o':
    case 'a':
        if (ha_text_u64(arg, 60000, numbers[strchr(keys, key) - keys]) != HA_OK)
            argp_error(state, "not a number: %s", arg);
        return 0;
    case ARGP_KEY_ARG:
        if (o->host_count == HOSTS_MAX ||
            ha_text_copy(o->hosts[o->host_count++], INET_ADDRSTRLEN, arg) != HA_OK)
            argp_error(state, "too many hosts");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char *argv[])
{
    static const struct argp_option table[] = {
        {"dir", 'd', "DIR", 0, "where sockets and process ids are", 0},
        {"shared", 's', "FILE", 0, "what all hosts' models map", 0},
        {"host", 'n', "N", 0, "which of the addresses is this host's, from 0", 0},
        {"count", 'c', "N", 0, "how many servers", 0},
        {"own", 'o', "N", 0, "how many of them have a process each, the first ones", 0},
        {"again", 'a', "MS", 0, "start one anew so long after it was killed; 0: never", 0},
        {"port", 'p', "PORT", 0, "of the first", 0},
        {0},
    };
    static const struct argp argp = {table, parse, "ADDRESS...", "Model Redis servers.",
                                     NULL,  NULL,  NULL};
    static struct options o = {.first_port = 10000, .count = 1};
    uint64_t slept_ms = 0;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &o);
    options = &o;
    if (o.dir == NULL || o.shared == NULL || o.host >= o.host_count || !open_table()) {
        (void)fprintf(stderr, "needs a folder, a file, and the addresses of all hosts\n");
        return EXIT_FAILURE;
    }
    (void)signal(SIGCHLD, SIG_IGN); /* who is killed leaves no zombie: it would seem to live */
    conns = calloc(o.count, sizeof(struct conn *));
    run_ids = calloc(o.count, sizeof(*run_ids));
    if (conns == NULL || run_ids == NULL)
        return EXIT_FAILURE;
    for (self = 0; self < o.count; self++)
        prepare();
    for (uint64_t from = 0, to; from < o.count; from = to) {
        to = from < o.own ? from + 1 : o.count;
        start(from, to);
    }
    while (true) {
        const uint64_t wait_ms = o.again > 0 ? o.again : PING_MS;

        (void)usleep((useconds_t)wait_ms * 1000);
        slept_ms += wait_ms;
        if (o.again > 0)
            start_the_dead();
        if (slept_ms >= PING_MS) {
            ping_all();
            slept_ms = 0;
        }
    }
}
