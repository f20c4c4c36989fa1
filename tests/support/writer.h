/* tests/support/writer.h - the connection of a writing client, for each kind of database. */
#ifndef HA_TESTS_SUPPORT_WRITER_H
#define HA_TESTS_SUPPORT_WRITER_H

#include <stdbool.h>
#include <stdint.h>

struct writer_options {
    const char *engine;
    const char *host;
    const char *prefix;
    const char *log;
    uint64_t port;
    uint64_t interval_us;
    uint64_t connect_ms; /* a lost SYN is sent again after a second: better to try anew */
    uint64_t timeout_ms;
    uint64_t duration_ms;  /* 0: until SIGTERM */
    bool read_only;        /* who answers reads? */
    bool stay;             /* keep a connection that refused a write */
    const char *sentinels; /* Redis; NULL: host and port are fixed */
    const char *service;
};

enum writer_end { WRITER_OK, WRITER_REFUSED, WRITER_BROKEN };

struct writer_engine {
    const char *name;
    uint16_t port;
    uint64_t connect_ms, timeout_ms; /* where the command line says nothing */
    /* A connection, or NULL with *why (borrowed until the next call). */
    void *(*dial)(const struct writer_options *options, const char **why);
    /* Write @number, and on a fresh connection ask who answers (*server, borrowed). Where it is not
     * acknowledged, *why says so. */
    enum writer_end (*write)(void *link, const struct writer_options *options, uint64_t number,
                             const char **server, const char **why);
    void (*close)(void *link);
    bool (*moved)(uint64_t now_ns); /* NULL: nobody tells where the primary is */
};

extern const struct writer_engine writer_redis, writer_postgresql;

#endif /* HA_TESTS_SUPPORT_WRITER_H */
