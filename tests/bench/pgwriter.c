/* tests/bench/pgwriter.c - write unique rows to a PostgreSQL and note each acknowledgement.
 *
 * The twin of tests/support/writer.c, with the same log. It tries its hosts in turn, as libpq does
 * with several of them and target_session_attrs=read-write, but gives each only --connect ms, where
 * libpq's shortest is 2 s: what is measured is the failover, not a client's patience. Blocking with
 * deadlines, one thread. The table is `writes (prefix text, number bigint)`. */
#include <argp.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

#define NS_PER_MS 1000000ull
#define HOSTS_MAX 8
#define HOST_SIZE 64

struct options {
    char hosts[HOSTS_MAX][HOST_SIZE];
    unsigned host_count;
    const char *prefix;
    const char *log;
    const char *extra; /* more of a connection string: user, database */
    uint64_t port;
    uint64_t interval_us;
    uint64_t connect_ms;
    uint64_t timeout_ms;
    bool any;  /* take a connection to a read-only server too */
    bool stay; /* keep a connection that refused a write */
};

struct writer {
    const struct options *options;
    FILE *log;
    PGconn *link; /* NULL: not connected */
    unsigned at;  /* the host to try next */
    uint64_t number;
    char last_error[160]; /* told once while it repeats */
};

static volatile sig_atomic_t stop_asked;

static void on_signal(int signal)
{
    (void)signal;
    stop_asked = 1;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_BOOTTIME, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void sleep_until(uint64_t at_ns)
{
    const struct timespec ts = {(time_t)(at_ns / 1000000000ull), (long)(at_ns % 1000000000ull)};

    /* A signal other than ours to stop only shortens one wait. */
    if (!stop_asked)
        (void)clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &ts, NULL);
}

static void tell_error(struct writer *writer, const char *text)
{
    size_t size = strcspn(text, "\n");

    if (size >= sizeof(writer->last_error))
        size = sizeof(writer->last_error) - 1;
    if (strlen(writer->last_error) == size && memcmp(writer->last_error, text, size) == 0)
        return;
    memcpy(writer->last_error, text, size);
    writer->last_error[size] = '\0';
    (void)fprintf(writer->log, "E %" PRIu64 " %s\n", now_ns(), writer->last_error);
}

static void drop_link(struct writer *writer)
{
    PQfinish(writer->link);
    writer->link = NULL;
}

/* True when the socket is ready before the deadline. */
static bool wait_socket(PGconn *link, short events, uint64_t end_ns)
{
    uint64_t now = now_ns();
    struct pollfd poll_fd = {.fd = PQsocket(link), .events = events};

    if (now >= end_ns || stop_asked)
        return false;
    return poll(&poll_fd, 1, (int)((end_ns - now) / NS_PER_MS) + 1) > 0;
}

static bool connect_one(struct writer *writer, const char *host)
{
    const struct options *options = writer->options;
    const uint64_t end_ns = now_ns() + options->connect_ms * NS_PER_MS;
    char text[512];
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;

    (void)snprintf(text, sizeof(text),
                   "hostaddr=%s port=%" PRIu64 " application_name=%s target_session_attrs=%s "
                   "sslmode=disable gssencmode=disable %s",
                   host, options->port, options->prefix, options->any ? "any" : "read-write",
                   options->extra);
    writer->link = PQconnectStart(text);
    if (writer->link == NULL)
        return false;
    while (PQstatus(writer->link) != CONNECTION_BAD &&
           wait_socket(writer->link, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, end_ns)) {
        state = PQconnectPoll(writer->link);
        if (state == PGRES_POLLING_OK)
            return true;
        if (state == PGRES_POLLING_FAILED)
            break;
    }
    tell_error(writer, PQstatus(writer->link) == CONNECTION_BAD ? PQerrorMessage(writer->link)
                                                                : "no connection in time");
    drop_link(writer);
    return false;
}

/* Gives the result (PQclear) of one statement, or NULL after a broken or silent link. */
static PGresult *ask(struct writer *writer, const char *statement)
{
    const uint64_t end_ns = now_ns() + writer->options->timeout_ms * NS_PER_MS;
    PGresult *first = NULL, *result;

    if (PQsendQuery(writer->link, statement) != 1) {
        tell_error(writer, PQerrorMessage(writer->link));
        drop_link(writer);
        return NULL;
    }
    while (true) {
        while (PQisBusy(writer->link) != 0) {
            if (wait_socket(writer->link, POLLIN, end_ns) && PQconsumeInput(writer->link) == 1)
                continue;
            tell_error(writer, PQstatus(writer->link) == CONNECTION_BAD
                                   ? PQerrorMessage(writer->link)
                                   : "no answer in time");
            PQclear(first);
            drop_link(writer);
            return NULL;
        }
        result = PQgetResult(writer->link);
        if (result == NULL)
            return first;
        if (first == NULL)
            first = result;
        else
            PQclear(result);
    }
}

/* A server is known by its data directory: every host of a lab has one of its own. */
static bool dial(struct writer *writer)
{
    const struct options *options = writer->options;
    PGresult *result;

    for (unsigned tries = 0; tries < options->host_count && writer->link == NULL; tries++) {
        if (!connect_one(writer, options->hosts[writer->at]))
            writer->at = (writer->at + 1) % options->host_count;
    }
    if (writer->link == NULL)
        return false;
    result = ask(writer, "SELECT current_setting('data_directory')");
    if (result == NULL)
        return false;
    (void)fprintf(writer->log, "C %" PRIu64 " %s\n", now_ns(),
                  PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "?");
    PQclear(result);
    return true;
}

static void write_one(struct writer *writer)
{
    const uint64_t number = ++writer->number;
    uint64_t sent_ns;
    char statement[256];
    PGresult *result;

    if (writer->link == NULL && !dial(writer))
        return;
    (void)snprintf(statement, sizeof(statement), "INSERT INTO writes VALUES ('%s', %" PRIu64 ")",
                   writer->options->prefix, number);
    sent_ns = now_ns();
    result = ask(writer, statement);
    if (result == NULL)
        return;
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        (void)fprintf(writer->log, "A %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", sent_ns, now_ns(),
                      number);
        writer->last_error[0] = '\0';
    } else {
        tell_error(writer, PQresultErrorMessage(result));
        if (!writer->options->stay || PQstatus(writer->link) == CONNECTION_BAD)
            drop_link(writer);
    }
    PQclear(result);
}

static void run(struct writer *writer)
{
    const uint64_t interval_ns = writer->options->interval_us * 1000;
    uint64_t next_ns = now_ns();

    while (!stop_asked) {
        write_one(writer);
        next_ns += interval_ns;
        /* After a stall go on at the asked pace; do not catch up. */
        if (next_ns < now_ns())
            next_ns = writer->link != NULL ? now_ns() : now_ns() + NS_PER_MS;
        sleep_until(next_ns);
    }
    if (writer->link != NULL)
        drop_link(writer);
}

static bool parse_hosts(struct options *options, const char *list)
{
    while (*list != '\0') {
        size_t size = strcspn(list, ",");

        if (size == 0 || size >= HOST_SIZE || options->host_count == HOSTS_MAX)
            return false;
        memcpy(options->hosts[options->host_count], list, size);
        options->hosts[options->host_count++][size] = '\0';
        list += size + (list[size] == ',' ? 1 : 0);
    }
    return options->host_count > 0;
}

static error_t parse_number(struct argp_state *state, const char *text, uint64_t max, uint64_t *ret)
{
    if (ha_text_u64(text, max, ret) != HA_OK)
        argp_error(state, "not a number up to %" PRIu64 ": %s", max, text);
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'h':
        if (!parse_hosts(options, arg))
            argp_error(state, "not a list of addresses: %s", arg);
        return 0;
    case 'p':
        return parse_number(state, arg, UINT16_MAX, &options->port);
    case 'i':
        return parse_number(state, arg, 60000000, &options->interval_us);
    case 'c':
        return parse_number(state, arg, 60000, &options->connect_ms);
    case 't':
        return parse_number(state, arg, 60000, &options->timeout_ms);
    case 'k':
        options->prefix = arg;
        return 0;
    case 'l':
        options->log = arg;
        return 0;
    case 'x':
        options->extra = arg;
        return 0;
    case 'a':
        options->any = true;
        return 0;
    case 's':
        options->stay = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char *argv[])
{
    static const struct argp_option table[] = {
        {"host", 'h', "LIST", 0, "numeric addresses, tried in turn", 0},
        {"port", 'p', "PORT", 0, "their port (5432)", 0},
        {"interval", 'i', "US", 0, "microseconds between writes (1000)", 0},
        {"connect", 'c', "MS", 0, "longest wait for a connection (250)", 0},
        {"timeout", 't', "MS", 0, "longest wait for an answer (250)", 0},
        {"prefix", 'k', "TEXT", 0, "of the rows (writer)", 0},
        {"log", 'l', "FILE", 0, "where to note (standard output)", 0},
        {"extra", 'x', "TEXT", 0, "more of the connection string: user, dbname", 0},
        {"any", 'a', NULL, 0, "connect to read-only servers too", 0},
        {"stay", 's', NULL, 0, "keep the connection after an error", 0},
        {0},
    };
    static const struct argp argp = {
        table, parse, NULL, "Write unique rows, note who acknowledged.", NULL, NULL, NULL};
    struct options options = {.prefix = "writer",
                              .extra = "user=postgres dbname=postgres",
                              .port = 5432,
                              .interval_us = 1000,
                              .connect_ms = 250,
                              .timeout_ms = 250};
    struct writer writer = {.options = &options, .log = stdout};
    struct sigaction action = {.sa_handler = on_signal};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (options.host_count == 0) {
        (void)fprintf(stderr, "no host\n");
        return EXIT_FAILURE;
    }
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    if (options.log != NULL)
        writer.log = fopen(options.log, "ae");
    if (writer.log == NULL) {
        perror(options.log);
        return EXIT_FAILURE;
    }
    /* A line is complete or absent, also for who reads along. */
    (void)setvbuf(writer.log, NULL, _IOLBF, 1 << 16);
    run(&writer);
    return fclose(writer.log) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
