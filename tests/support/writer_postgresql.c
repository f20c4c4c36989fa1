/* PostgreSQL: a row (prefix, number) in the table "writes" of the database "postgres". */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#include "tests/support/writer.h"

struct link {
    PGconn *pg;
    bool fresh;
    bool warned; /* by the server, since the last write was sent */
    char server[256];
};

static char reason[160];

static bool fail(const char **why, const char *text)
{
    (void)snprintf(reason, sizeof(reason), "%.*s", (int)strcspn(text, "\n"), text);
    *why = reason;
    return false;
}

static uint64_t now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* False: the moment passed first. */
static bool wait_for(PGconn *pg, short events, uint64_t until_ms)
{
    uint64_t now = now_ms();
    struct pollfd poll_fd = {.fd = PQsocket(pg), .events = events};

    return now < until_ms && poll(&poll_fd, 1, (int)(until_ms - now)) > 0;
}

static bool finish_dial(PGconn *pg, const struct writer_options *options, const char **why)
{
    uint64_t began = now_ms();
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;

    while (step != PGRES_POLLING_OK) {
        /* The way there first, then a backend that is made for us. */
        uint64_t limit_ms =
            PQstatus(pg) == CONNECTION_STARTED ? options->connect_ms : 8 * options->timeout_ms;

        if (step == PGRES_POLLING_FAILED || PQstatus(pg) == CONNECTION_BAD)
            return fail(why, PQerrorMessage(pg));
        if (!wait_for(pg, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, began + limit_ms))
            return fail(why, "no connection in time");
        step = PQconnectPoll(pg);
    }
    return true;
}

static void on_notice(void *arg, const PGresult *result)
{
    struct link *link = arg;

    (void)result;
    link->warned = true;
}

static void *dial(const struct writer_options *options, const char **why)
{
    char port[8];
    const char *keys[] = {"hostaddr", "port", "user", "dbname", "sslmode", "gssencmode", NULL};
    const char *values[] = {options->host, port, "app", "postgres", "disable", "disable", NULL};
    struct link *link = calloc(1, sizeof(*link));

    (void)snprintf(port, sizeof(port), "%" PRIu64, options->port);
    if (link == NULL) {
        *why = "no memory";
        return NULL;
    }
    link->pg = PQconnectStartParams(keys, values, 0);
    if (!finish_dial(link->pg, options, why)) {
        PQfinish(link->pg);
        free(link);
        return NULL;
    }
    link->fresh = true;
    (void)PQsetNoticeReceiver(link->pg, on_notice, link);
    return link;
}

/* The last result of a query, or NULL. */
static PGresult *ask(struct link *link, const char *sql, uint64_t until_ms, const char **why)
{
    PGresult *last = NULL, *next;

    if (PQsendQuery(link->pg, sql) != 1) {
        (void)fail(why, PQerrorMessage(link->pg));
        return NULL;
    }
    for (;;) {
        while (PQisBusy(link->pg) != 0) {
            if (!wait_for(link->pg, POLLIN, until_ms)) {
                (void)fail(why, "no answer in time");
                PQclear(last);
                return NULL;
            }
            if (PQconsumeInput(link->pg) != 1)
                break;
        }
        next = PQgetResult(link->pg);
        if (next == NULL)
            break;
        PQclear(last);
        last = next;
    }
    if (last == NULL || PQresultStatus(last) == PGRES_FATAL_ERROR) {
        (void)fail(why, PQerrorMessage(link->pg));
        PQclear(last);
        return NULL;
    }
    return last;
}

static enum writer_end write_one(void *arg, const struct writer_options *options, uint64_t number,
                                 const char **server, const char **why)
{
    struct link *link = arg;
    uint64_t until_ms = now_ms() + options->timeout_ms;
    PGresult *result;
    char sql[256];

    if (link->fresh) {
        result = ask(link, "SELECT current_setting('data_directory')", until_ms, why);
        if (result == NULL)
            return WRITER_BROKEN;
        (void)snprintf(link->server, sizeof(link->server), "%s", PQgetvalue(result, 0, 0));
        PQclear(result);
        *server = link->server;
        link->fresh = false;
    }
    if (options->read_only)
        (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM writes WHERE number = 0");
    else
        (void)snprintf(sql, sizeof(sql), "INSERT INTO writes VALUES ('%s', %" PRIu64 ")",
                       options->prefix, number);
    link->warned = false;
    result = ask(link, sql, until_ms, why);
    PQclear(result);
    /* A commit that gave up waiting for its standbys says so in a warning, and is not counted on.
     */
    if (result != NULL && link->warned) {
        *why = "committed, and not known to be replicated";
        return WRITER_REFUSED;
    }
    return result != NULL                        ? WRITER_OK
           : PQstatus(link->pg) == CONNECTION_OK ? WRITER_REFUSED
                                                 : WRITER_BROKEN;
}

static void close_link(void *arg)
{
    struct link *link = arg;

    PQfinish(link->pg);
    free(link);
}

const struct writer_engine writer_postgresql = {
    .name = "postgresql",
    .port = 5432,
    .connect_ms = 20,
    .timeout_ms = 100,
    .dial = dial,
    .write = write_one,
    .close = close_link,
};
