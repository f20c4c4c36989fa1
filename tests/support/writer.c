/* tests/support/writer.c - write unique keys to a Redis as fast as asked and note each
 * acknowledgement.
 *
 * A client that never gives up: short timeouts, reconnects at once. Every connection is asked once
 * who answers, so each acknowledged write can be laid at one server's door. Blocking, one thread.
 *
 * The log, one line each, times in nanoseconds of CLOCK_BOOTTIME:
 *   C <time> <server>            a connection was made; <server> is the directory of its data
 *   A <sent> <answered> <number> write <number> was acknowledged
 *   E <time> <text>              a write was not acknowledged, or no connection was made
 * Keys are "<prefix>:<number>"; numbers only grow and are never used twice.
 *
 * With --sentinels the address is asked for before each connection (tests/support/sentinel.h). */
#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hiredis/hiredis.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/support/sentinel.h"

#define NS_PER_MS 1000000ull

struct options {
    const char *host;
    const char *prefix;
    const char *log;
    uint64_t port;
    uint64_t interval_us;
    uint64_t connect_ms; /* a lost SYN is sent again after a second: better to try anew */
    uint64_t timeout_ms;
    uint64_t duration_ms;  /* 0: until SIGTERM */
    bool read_only;        /* GET in place of SET: who answers reads? */
    bool stay;             /* keep a connection that refused a write */
    const char *sentinels; /* NULL: host and port are fixed */
    const char *service;
};

struct writer {
    const struct options *options;
    FILE *log;
    redisContext *link; /* NULL: not connected */
    struct ha_sentinels sentinels;
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
    if (strncmp(writer->last_error, text, sizeof(writer->last_error) - 1) == 0)
        return;
    (void)snprintf(writer->last_error, sizeof(writer->last_error), "%s", text);
    (void)fprintf(writer->log, "E %" PRIu64 " %s\n", now_ns(), writer->last_error);
}

static void drop_link(struct writer *writer)
{
    redisFree(writer->link);
    writer->link = NULL;
}

/* Takes the next reply of a pipeline; gives it (freeReplyObject), or NULL after a broken link. */
static redisReply *take_reply(struct writer *writer)
{
    void *reply = NULL;

    if (redisGetReply(writer->link, &reply) == REDIS_OK)
        return reply;
    tell_error(writer, writer->link->errstr);
    drop_link(writer);
    return NULL;
}

/* A server is known by its data directory: every host of a lab has one of its own. */
static bool identify(struct writer *writer)
{
    redisReply *reply = take_reply(writer);
    const char *name = "?";

    if (reply == NULL)
        return false;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING)
        name = reply->element[1]->str;
    (void)fprintf(writer->log, "C %" PRIu64 " %s\n", now_ns(), name);
    freeReplyObject(reply);
    return true;
}

static struct timeval to_timeval(uint64_t ms)
{
    return (struct timeval){(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
}

static bool dial(struct writer *writer)
{
    const struct options *options = writer->options;
    const struct timeval timeout = to_timeval(options->timeout_ms);
    char host[HA_SENTINEL_HOST_SIZE];
    uint64_t port = options->port;

    if (options->sentinels == NULL) {
        (void)snprintf(host, sizeof(host), "%s", options->host);
    } else if (!ha_sentinels_where(&writer->sentinels, host, &port)) {
        tell_error(writer, "no sentinel answers");
        return false;
    }
    writer->link = redisConnectWithTimeout(host, (int)port, to_timeval(options->connect_ms));
    if (writer->link == NULL)
        return false;
    if (writer->link->err != 0 || redisSetTimeout(writer->link, timeout) != REDIS_OK) {
        tell_error(writer, writer->link->errstr);
        drop_link(writer);
        return false;
    }
    /* Sent together with the first write, so that asking costs that write nothing. */
    return redisAppendCommand(writer->link, "CONFIG GET dir") == REDIS_OK;
}

static void write_one(struct writer *writer)
{
    const bool fresh = writer->link == NULL;
    const uint64_t sent_ns = now_ns();
    const uint64_t number = ++writer->number;
    redisReply *reply;

    if (fresh && !dial(writer))
        return;
    if (writer->options->read_only)
        (void)redisAppendCommand(writer->link, "GET %s:0", writer->options->prefix);
    else
        (void)redisAppendCommand(writer->link, "SET %s:%" PRIu64 " %" PRIu64,
                                 writer->options->prefix, number, number);
    if (fresh && !identify(writer))
        return;
    reply = take_reply(writer);
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        /* The address may have moved on while this server still answers: ask anew. */
        tell_error(writer, reply->str);
        if (!writer->options->stay)
            drop_link(writer);
    } else {
        (void)fprintf(writer->log, "A %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", sent_ns, now_ns(),
                      number);
        writer->last_error[0] = '\0';
    }
    freeReplyObject(reply);
}

static void run(struct writer *writer)
{
    const uint64_t began_ns = now_ns();
    const uint64_t interval_ns = writer->options->interval_us * 1000;
    const uint64_t end_ns = began_ns + writer->options->duration_ms * NS_PER_MS;
    uint64_t next_ns = began_ns;

    while (!stop_asked && (writer->options->duration_ms == 0 || now_ns() < end_ns)) {
        if (writer->options->sentinels != NULL && writer->link != NULL &&
            ha_sentinels_switched(&writer->sentinels, now_ns()))
            drop_link(writer);
        write_one(writer);
        next_ns += interval_ns;
        /* After a stall go on at the asked pace; do not catch up. */
        if (next_ns < now_ns())
            next_ns = writer->link != NULL ? now_ns() : now_ns() + NS_PER_MS;
        sleep_until(next_ns);
    }
    if (writer->link != NULL)
        drop_link(writer);
    ha_sentinels_fini(&writer->sentinels);
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
        options->host = arg;
        return 0;
    case 'p':
        return parse_number(state, arg, UINT16_MAX, &options->port);
    case 'i':
        return parse_number(state, arg, 60000000, &options->interval_us);
    case 'c':
        return parse_number(state, arg, 60000, &options->connect_ms);
    case 't':
        return parse_number(state, arg, 60000, &options->timeout_ms);
    case 'd':
        return parse_number(state, arg, 86400000, &options->duration_ms);
    case 'k':
        options->prefix = arg;
        return 0;
    case 'l':
        options->log = arg;
        return 0;
    case 'r':
        options->read_only = true;
        return 0;
    case 's':
        options->stay = true;
        return 0;
    case 'S':
        options->sentinels = arg;
        return 0;
    case 'n':
        options->service = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char *argv[])
{
    static const struct argp_option table[] = {
        {"host", 'h', "ADDRESS", 0, "numeric address (127.0.0.1)", 0},
        {"port", 'p', "PORT", 0, "its port (6379)", 0},
        {"interval", 'i', "US", 0, "microseconds between writes (1000)", 0},
        {"connect", 'c', "MS", 0, "longest wait for a connection (10)", 0},
        {"timeout", 't', "MS", 0, "longest wait for an answer (50)", 0},
        {"duration", 'd', "MS", 0, "end after this long (0: at SIGTERM)", 0},
        {"prefix", 'k', "TEXT", 0, "of the keys (writer)", 0},
        {"log", 'l', "FILE", 0, "where to note (standard output)", 0},
        {"read", 'r', NULL, 0, "read in place of writing", 0},
        {"stay", 's', NULL, 0, "keep the connection after an error reply", 0},
        {"sentinels", 'S', "LIST", 0, "ask these for the address (ADDRESS:PORT,...)", 0},
        {"name", 'n', "NAME", 0, "of the service the sentinels are asked for (cache)", 0},
        {0},
    };
    static const struct argp argp = {
        table, parse, NULL, "Write unique keys, note who acknowledged.", NULL, NULL, NULL};
    struct options options = {.host = "127.0.0.1",
                              .prefix = "writer",
                              .service = "cache",
                              .port = 6379,
                              .interval_us = 1000,
                              .connect_ms = 10,
                              .timeout_ms = 50};
    struct writer writer = {.options = &options, .log = stdout};
    struct sigaction action = {.sa_handler = on_signal};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &options);
    if (options.sentinels != NULL &&
        !ha_sentinels_init(&writer.sentinels, options.sentinels, options.service)) {
        (void)fprintf(stderr, "not a list of addresses: %s\n", options.sentinels);
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
