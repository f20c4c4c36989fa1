#include "tests/component/io/harness.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"

/* Ticks, because one turn of the loop may do what we wait for and then sleep. */
#define TICK_MS 2

static void on_tick(uv_timer_t *timer)
{
    unsigned *ticks = timer->data;

    (*ticks)++;
}

static void free_timer(uv_handle_t *timer)
{
    free(timer);
}

static bool run_while(uv_loop_t *loop, const bool *flag, const unsigned *count, unsigned want,
                      unsigned ms)
{
    uv_timer_t *timer = calloc(1, sizeof(*timer));
    unsigned ticks = 0;
    bool reached = false;

    assert_non_null(timer);
    assert_int_equal(uv_timer_init(loop, timer), 0);
    timer->data = &ticks;
    assert_int_equal(uv_timer_start(timer, on_tick, TICK_MS, TICK_MS), 0);
    while (ticks * TICK_MS < ms) {
        reached = flag != NULL ? *flag : count != NULL && *count >= want;
        if (reached)
            break;
        (void)uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)timer, free_timer);
    (void)uv_run(loop, UV_RUN_NOWAIT);
    return reached;
}

void run_until(uv_loop_t *loop, const bool *flag, unsigned ms)
{
    assert_true(run_while(loop, flag, NULL, 0, ms));
}

void run_until_count(uv_loop_t *loop, const unsigned *count, unsigned want, unsigned ms)
{
    bool reached = run_while(loop, NULL, count, want, ms);

    if (!reached)
        print_message("# reached %u of %u\n", *count, want);
    assert_true(reached);
}

void run_for(uv_loop_t *loop, unsigned ms)
{
    (void)run_while(loop, NULL, NULL, 0, ms);
}

static void on_closed(void *ctx)
{
    struct end *end = ctx;

    end->closed = true;
}

void end_close(struct end *end, uint32_t linger_ms)
{
    if (end->stream == NULL)
        return;
    ha_stream_close(end->stream, linger_ms, on_closed, end);
    end->stream = NULL;
}

static void on_open(void *ctx, struct ha_stream *stream)
{
    struct end *end = ctx;

    assert_false(end->opened);
    end->opened = true;
    end->alpn = ha_stream_alpn(stream);
    (void)ha_text_copy(end->peer_name, sizeof(end->peer_name), ha_stream_peer_name(stream));
    if (end->close_on_open)
        end_close(end, 0);
}

static void on_data(void *ctx, struct ha_stream *stream, const uint8_t *data, size_t size)
{
    struct end *end = ctx;

    assert_true(end->opened);
    assert_false(end->ended);
    if (end->received < sizeof(end->first) - 1) {
        size_t room = sizeof(end->first) - 1 - end->received;

        memcpy(end->first + end->received, data, size < room ? size : room);
    }
    end->received += size;
    end->hash = ha_hash(end->hash, data, size);
    if (end->echo)
        (void)ha_stream_write(stream, data, size);
    if (end->close_on_data)
        end_close(end, 0);
}

static void on_drain(void *ctx, struct ha_stream *stream)
{
    struct end *end = ctx;

    (void)stream;
    end->drained = true;
}

static void on_end(void *ctx, struct ha_stream *stream, const struct ha_err *err)
{
    struct end *end = ctx;

    assert_ptr_equal(end->stream, stream);
    assert_false(end->ended);
    end->ended = true;
    end->err = *err;
    end_close(end, 0);
}

const struct ha_stream_hooks end_hooks = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_end = on_end};

static void on_accepted(void *ctx, struct ha_stream *stream)
{
    struct host *host = ctx;
    struct end *end = &host->ends[host->count];

    assert_true(host->count < HOST_ENDS_MAX);
    host->count++;
    end->stream = stream;
    end->echo = host->echo;
    end->hash = HA_HASH_START;
    ha_stream_set_hooks(stream, &end_hooks, end);
    on_open(end, stream);
}

struct host *host_new(void)
{
    struct host *host = calloc(1, sizeof(*host));

    assert_non_null(host);
    assert_int_equal(ha_loop_init(&host->loop), HA_OK);
    return host;
}

void host_listen_on(struct host *host, const char *addr, struct ha_tls *tls,
                    const struct ha_listener_options *more)
{
    struct ha_listener_options options = {.connections_max = 0};
    struct ha_addr parsed;
    struct ha_err err;

    if (more != NULL)
        options = *more;
    options.tls = tls;
    options.on_stream = on_accepted;
    options.ctx = host;
    assert_int_equal(ha_listener_open(&host->listener, &host->loop.uv, &options), HA_OK);
    assert_int_equal(ha_addr_parse(addr, 1, &parsed), HA_OK);
    if (!ha_addr_is_unix(&parsed) && parsed.sa.sa_family == AF_INET)
        parsed.in.sin_port = 0;
    if (parsed.sa.sa_family == AF_INET6)
        parsed.in6.sin6_port = 0;
    assert_int_equal(ha_listener_bind(host->listener, &parsed, 0600, &host->addr, &err), HA_OK);
}

void host_listen(struct host *host, struct ha_tls *tls, const struct ha_listener_options *more)
{
    host_listen_on(host, "127.0.0.1:1", tls, more);
}

static void on_host_closed(void *ctx)
{
    struct host *host = ctx;

    host->closed = true;
}

void host_free(struct host *host)
{
    for (unsigned i = 0; i < host->count; i++)
        end_close(&host->ends[i], 0);
    if (host->listener != NULL) {
        ha_listener_close(host->listener, on_host_closed, host);
        run_until(&host->loop.uv, &host->closed, 2000);
    }
    ha_loop_run(&host->loop);
    assert_int_equal(ha_loop_fini(&host->loop), HA_OK);
    free(host);
}

void dial_with(struct host *host, struct end *end, const struct ha_stream_connect_options *options)
{
    end->hash = HA_HASH_START;
    assert_int_equal(ha_stream_connect(&end->stream, &host->loop.uv, options, &end_hooks, end),
                     HA_OK);
}

void dial(struct host *host, struct end *end, struct ha_tls *tls, const char *server_name)
{
    struct ha_stream_connect_options options = {
        .addr = host->addr,
        .tls = tls,
        .server_name = server_name,
        .alpn = tls != NULL ? HA_ALPN_FRAMES : HA_ALPN_NONE,
        .deadline_ms = 2000,
    };

    dial_with(host, end, &options);
}

struct ha_tls *tls_secret(const char *name, uint8_t fill)
{
    uint8_t key[HA_TLS_KEY_SIZE];
    struct ha_tls_psk psk = {.name = name, .key = key, .key_is_secret = true};
    struct ha_tls *tls = NULL;
    struct ha_err err;

    memset(key, fill, sizeof(key));
    assert_int_equal(ha_tls_psk_new(&tls, &psk, &err), HA_OK);
    return tls;
}

struct ha_tls *tls_derived(const char *name, uint8_t secret_fill)
{
    uint8_t secret[HA_TLS_KEY_SIZE];
    uint8_t key[HA_TLS_KEY_SIZE];
    struct ha_tls_psk psk = {.name = name, .key = key};
    struct ha_tls *tls = NULL;

    memset(secret, secret_fill, sizeof(secret));
    assert_int_equal(ha_tls_derive_key(secret, name, key), HA_OK);
    assert_int_equal(ha_tls_psk_new(&tls, &psk, NULL), HA_OK);
    return tls;
}

int raw_connect(const struct ha_addr *addr)
{
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &addr->sa, addr->size), 0);
    return fd;
}

void folder_make(struct folder *folder)
{
    (void)ha_text_copy(folder->path, sizeof(folder->path), "/tmp/ha-io-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void folder_free(struct folder *folder)
{
    assert_int_equal(nftw(folder->path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

const char *folder_file(struct folder *folder, const char *name, char *buffer, size_t size)
{
    assert_int_equal(ha_text_format(buffer, size, "%s/%s", folder->path, name), HA_OK);
    for (char *at = buffer + strlen(folder->path) + 1; *at != '\0'; at++) {
        if (*at == '/')
            *at = '-';
    }
    return buffer;
}

void run_script(const char *folder, const char *script, const char *name)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (chdir(folder) != 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
            _exit(126);
        (void)umask(077);
        (void)execl("/bin/sh", "sh", "-ec", script, "sh", name, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

void folder_certs(struct folder *folder, const char *const *names, size_t count)
{
    static const char ca[] =
        "test -e ca.pem || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        " -keyout ca.key -out ca.pem -days 2 -subj /CN=ca";
    static const char leaf[] =
        "f=$(echo \"${1##*:}\" | tr / -);"
        " openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout \"$f.key\""
        " -out \"$f.csr\" -subj /CN=x;"
        " printf 'subjectAltName=%s\\n' \"$1\" >\"$f.ext\";"
        " openssl x509 -req -in \"$f.csr\" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
        " -extfile \"$f.ext\" -out \"$f.pem\"";

    run_script(folder->path, ca, "");
    for (size_t i = 0; i < count; i++)
        run_script(folder->path, leaf, names[i]);
}
