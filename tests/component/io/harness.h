/* tests/component/io/harness.h - a loop that runs until something is true, keys, certificates, and
 * a stream owner that notes what it was told. */
#ifndef HA_TESTS_COMPONENT_IO_HARNESS_H
#define HA_TESTS_COMPONENT_IO_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/io/listener.h"
#include "lib/io/loop.h"
#include "lib/io/stream.h"
#include "lib/io/tls.h"

/* Fails the test when *@flag is not true within @ms. */
void run_until(uv_loop_t *loop, const bool *flag, unsigned ms);
/* The same for a counter reaching @want. */
void run_until_count(uv_loop_t *loop, const unsigned *count, unsigned want, unsigned ms);
void run_for(uv_loop_t *loop, unsigned ms);

/* One end of a connection, and everything it was told. */
struct end {
    struct ha_stream *stream;
    bool opened;
    bool ended;
    bool closed;
    bool drained;
    bool echo;
    bool close_on_open;
    bool close_on_data;
    struct ha_err err;
    size_t received;
    uint64_t hash; /* of all bytes received */
    char first[64];
    char peer_name[HA_TLS_NAME_SIZE];
    enum ha_alpn alpn;
};

extern const struct ha_stream_hooks end_hooks;
void end_close(struct end *end, uint32_t linger_ms);

/* A listener on 127.0.0.1 (or a UNIX socket) whose newest streams are kept. */
#define HOST_ENDS_MAX 1100
struct host {
    struct ha_loop loop;
    struct ha_listener *listener;
    struct ha_addr addr;
    struct end ends[HOST_ENDS_MAX];
    unsigned count;
    bool echo; /* what new ends do */
    bool closed;
};

struct host *host_new(void);
void host_listen(struct host *host, struct ha_tls *tls, const struct ha_listener_options *more);
void host_listen_on(struct host *host, const char *addr, struct ha_tls *tls,
                    const struct ha_listener_options *more);
/* Close all, run the loop dry, prove that it closes clean, free. */
void host_free(struct host *host);

/* Dial the host's address. */
void dial(struct host *host, struct end *end, struct ha_tls *tls, const char *server_name);
void dial_with(struct host *host, struct end *end, const struct ha_stream_connect_options *options);

struct ha_tls *tls_secret(const char *name, uint8_t fill);
struct ha_tls *tls_derived(const char *name, uint8_t secret_fill);

/* Run @script with sh -e in @folder, @name as $1; fails the test when it fails. */
void run_script(const char *folder, const char *script, const char *name);

/* A blocking client socket for hostile bytes. */
int raw_connect(const struct ha_addr *addr);

/* A temporary folder, removed with all in it by folder_free. */
struct folder {
    char path[64];
};
void folder_make(struct folder *folder);
void folder_free(struct folder *folder);
/* Make ca.pem and, for each of the names, NAME.pem and NAME.key ('/' becomes '-') with that SAN. */
void folder_certs(struct folder *folder, const char *const *names, size_t count);
const char *folder_file(struct folder *folder, const char *name, char *buffer, size_t size);

#endif /* HA_TESTS_COMPONENT_IO_HARNESS_H */
