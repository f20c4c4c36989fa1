/* tests/support/writer.c - write unique keys to a database as fast as asked and note each
 * acknowledgement.
 *
 * A client that never gives up: short timeouts, reconnects at once. Every connection is asked once
 * who answers, so each acknowledged write can be laid at one server's door. Blocking, one thread.
 *
 * The log, one line each, times in nanoseconds of CLOCK_BOOTTIME:
 *   C <time> <server>            a connection was made; <server> is the directory of its data
 *   A <sent> <answered> <number> write <number> was acknowledged
 *   E <time> <text>              a write was not acknowledged, or no connection was made
 * Keys are "<prefix>:<number>"; numbers only grow and are never used twice. */
#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/support/writer.h"

#define NS_PER_MS 1000000ull

struct writer {
    const struct writer_options *options;
    const struct writer_engine *engine;
    FILE *log;
    void *link; /* NULL: not connected */
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
    writer->engine->close(writer->link);
    writer->link = NULL;
}

static void write_one(struct writer *writer)
{
    const uint64_t sent_ns = now_ns();
    const uint64_t number = ++writer->number;
    const char *server = NULL, *why = "";
    enum writer_end end;

    if (writer->link == NULL)
        writer->link = writer->engine->dial(writer->options, &why);
    if (writer->link == NULL) {
        tell_error(writer, why);
        return;
    }
    end = writer->engine->write(writer->link, writer->options, number, &server, &why);
    if (server != NULL)
        (void)fprintf(writer->log, "C %" PRIu64 " %s\n", now_ns(), server);
    if (end == WRITER_OK) {
        (void)fprintf(writer->log, "A %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", sent_ns, now_ns(),
                      number);
        writer->last_error[0] = '\0';
        return;
    }
    /* The address may have moved on while this server still answers: ask anew. */
    tell_error(writer, why);
    if (end == WRITER_BROKEN || !writer->options->stay)
        drop_link(writer);
}

static void run(struct writer *writer)
{
    const uint64_t began_ns = now_ns();
    const uint64_t interval_ns = writer->options->interval_us * 1000;
    const uint64_t end_ns = began_ns + writer->options->duration_ms * NS_PER_MS;
    uint64_t next_ns = began_ns;

    while (!stop_asked && (writer->options->duration_ms == 0 || now_ns() < end_ns)) {
        if (writer->link != NULL && writer->engine->moved != NULL &&
            writer->engine->moved(now_ns()))
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
}

static error_t parse_number(struct argp_state *state, const char *text, uint64_t max, uint64_t *ret)
{
    if (ha_text_u64(text, max, ret) != HA_OK)
        argp_error(state, "not a number up to %" PRIu64 ": %s", max, text);
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct writer_options *options = state->input;

    switch (key) {
    case 'e':
        options->engine = arg;
        return 0;
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
        {"engine", 'e', "NAME", 0, "redis or postgresql (redis)", 0},
        {"host", 'h', "ADDRESS", 0, "numeric address (127.0.0.1)", 0},
        {"port", 'p', "PORT", 0, "its port (the engine's)", 0},
        {"interval", 'i', "US", 0, "microseconds between writes (1000)", 0},
        {"connect", 'c', "MS", 0, "longest wait for a connection (10; 20)", 0},
        {"timeout", 't', "MS", 0, "longest wait for an answer (50; 100)", 0},
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
    struct writer_options options = {.engine = "redis",
                                     .host = "127.0.0.1",
                                     .prefix = "writer",
                                     .service = "cache",
                                     .interval_us = 1000};
    struct writer writer = {.options = &options, .log = stdout};
    struct sigaction action = {.sa_handler = on_signal};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &options);
    writer.engine =
        strcmp(options.engine, writer_postgresql.name) == 0 ? &writer_postgresql : &writer_redis;
    options.port = options.port != 0 ? options.port : writer.engine->port;
    options.connect_ms = options.connect_ms != 0 ? options.connect_ms : writer.engine->connect_ms;
    options.timeout_ms = options.timeout_ms != 0 ? options.timeout_ms : writer.engine->timeout_ms;
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
