/* Who may speak: the right key and name get in, everybody else is told apart and kept out. */
#include "lib/io/tls.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "lib/io/file.h"
#include "lib/io/tls_session.h"
#include "tests/component/io/harness.h"
#include "tests/support/cmocka_ha.h"

/* What @client gets who asks @server for @server_name; the server must not show it to its owner
 * unless the result is HA_OK. */
static int attempt(struct ha_tls *server, struct ha_tls *client, const char *server_name,
                   struct ha_err *ret_err)
{
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    struct ha_listener_stats stats;
    int code = HA_OK;

    host_listen(host, server, NULL);
    dial(host, &end, client, server_name);
    while (!end.ended && host->count == 0)
        (void)uv_run(&host->loop.uv, UV_RUN_ONCE);
    run_for(&host->loop.uv, 20); /* a refusal may follow the client's on_open */
    ha_listener_stats(host->listener, &stats);
    if (end.ended) {
        code = end.err.code;
        *ret_err = end.err;
        assert_int_equal(host->count, 0);
        assert_int_equal(stats.failed, 1);
        print_message("# %s as %s: %s\n", server_name, ha_tls_name(client), end.err.text);
    } else {
        assert_true(end.opened);
        assert_int_equal(host->count, 1);
        assert_string_equal(host->ends[0].peer_name, ha_tls_name(client));
        assert_int_equal(stats.open, 1);
    }
    end_close(&end, 0);
    host_free(host);
    return code;
}

static const struct {
    const char *what;
    const char *client;
    bool client_is_watcher;
    uint8_t client_secret;
    const char *server_name;
    int want;
} psk_cases[] = {
    {"a watcher", "watcher/w2", true, 1, "watcher/w1", HA_OK},
    {"an agent", "agent/db1", false, 1, "watcher/w1", HA_OK},
    {"an operator who takes any watcher", "ctl/admin", false, 1, "watcher/*", HA_OK},
    {"the secret of another cluster", "watcher/w2", true, 2, "watcher/w1", HA_EAUTH},
    {"a key of another cluster", "agent/db1", false, 2, "watcher/w1", HA_EAUTH},
    {"meant for another watcher", "watcher/w2", true, 1, "watcher/w3", HA_EAUTH},
    {"an agent meant for another watcher", "agent/db1", false, 1, "watcher/w3", HA_EAUTH},
    {"meant for any agent", "ctl/admin", false, 1, "agent/*", HA_EAUTH},
};

static void test_psk(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(psk_cases); i++) {
        struct ha_tls *client = psk_cases[i].client_is_watcher
                                    ? tls_secret(psk_cases[i].client, psk_cases[i].client_secret)
                                    : tls_derived(psk_cases[i].client, psk_cases[i].client_secret);
        struct ha_err err;

        print_message("# %s\n", psk_cases[i].what);
        assert_int_equal(attempt(server, client, psk_cases[i].server_name, &err),
                         psk_cases[i].want);
        ha_tls_unref(client);
    }
    ha_tls_unref(server);
}

/* db1's own key under the name of another daemon. */
static void test_psk_stolen_name(void **state)
{
    static const char *const names[] = {"agent/db2", "watcher/w2", "ctl/admin"};
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    uint8_t secret[HA_TLS_KEY_SIZE];
    uint8_t key[HA_TLS_KEY_SIZE];

    (void)state;
    memset(secret, 1, sizeof(secret));
    assert_int_equal(ha_tls_derive_key(secret, "agent/db1", key), HA_OK);
    for (size_t i = 0; i < HA_ARRAY_LEN(names); i++) {
        struct ha_tls_psk psk = {.name = names[i], .key = key};
        struct ha_tls *client;
        struct ha_err err;

        assert_int_equal(ha_tls_psk_new(&client, &psk, &err), HA_OK);
        assert_int_equal(attempt(server, client, "watcher/w1", &err), HA_EAUTH);
        ha_tls_unref(client);
    }
    ha_tls_unref(server);
}

/* Who holds only a derived key can answer nobody, not even under a watcher's name. */
static void test_psk_server_without_secret(void **state)
{
    struct ha_tls *server = tls_derived("watcher/w1", 1);
    struct ha_tls *client = tls_derived("agent/db1", 1);
    struct ha_err err;

    (void)state;
    assert_int_equal(attempt(server, client, "watcher/w1", &err), HA_EAUTH);
    ha_tls_unref(server);
    ha_tls_unref(client);
}

/* Agents, of which none has the secret: each serves those whose pair's key a holder of it derived,
 * under their own names and for itself. */
static void test_psk_between_derived_keys(void **state)
{
    struct ha_tls *watcher = tls_secret("watcher/w1", 1);
    struct ha_tls *server = tls_derived("agent/db2", 1);
    struct ha_tls *db1 = tls_derived("agent/db1", 1), *db3 = tls_derived("agent/db3", 1);
    struct ha_tls_client clients[2] = {{.name = "agent/db1"}, {.name = "agent/db3"}};
    struct ha_err err;

    (void)state;
    assert_int_equal(attempt(server, db1, "agent/db2", &err), HA_EAUTH);
    assert_int_equal(ha_tls_pair_key(db1, "agent/db1", "agent/db2", clients[0].key), HA_EINVAL);
    assert_int_equal(ha_tls_pair_key(watcher, "agent/db1", "agent/db2", clients[0].key), HA_OK);
    /* db3's is that of another direction: it proves nothing here. */
    assert_int_equal(ha_tls_pair_key(watcher, "agent/db2", "agent/db3", clients[1].key), HA_OK);
    assert_int_equal(ha_tls_serve(server, clients, 2), HA_OK);
    assert_int_equal(attempt(server, db1, "agent/db2", &err), HA_OK);
    assert_int_equal(attempt(server, db1, "agent/*", &err), HA_EAUTH);
    assert_int_equal(attempt(server, db1, "agent/db3", &err), HA_EAUTH);
    assert_int_equal(attempt(server, db3, "agent/db2", &err), HA_EAUTH);
    /* And not any more. */
    assert_int_equal(ha_tls_serve(server, NULL, 0), HA_OK);
    assert_int_equal(attempt(server, db1, "agent/db2", &err), HA_EAUTH);
    ha_tls_unref(watcher);
    ha_tls_unref(server);
    ha_tls_unref(db1);
    ha_tls_unref(db3);
}

static struct ha_tls *cert_tls(struct folder *folder, const char *name)
{
    char files[3][128];
    char file[128];
    struct ha_tls_cert cert = {.name = name};
    struct ha_tls *tls = NULL;
    struct ha_err err = {.code = HA_OK};

    cert.ca_file = folder_file(folder, "ca.pem", files[0], sizeof(files[0]));
    assert_int_equal(ha_text_format(file, sizeof(file), "%s.pem", name), HA_OK);
    cert.cert_file = folder_file(folder, file, files[1], sizeof(files[1]));
    assert_int_equal(ha_text_format(file, sizeof(file), "%s.key", name), HA_OK);
    cert.key_file = folder_file(folder, file, files[2], sizeof(files[2]));
    if (ha_tls_cert_new(&tls, &cert, &err) != HA_OK)
        print_message("# %s\n", err.text);
    return tls;
}

static void test_certificates(void **state)
{
    static const char *const names[] = {"URI:hafailover:watcher/w1", "URI:hafailover:watcher/w2",
                                        "URI:hafailover:agent/db1"};
    struct folder ours;
    struct folder theirs;
    struct ha_tls *w1;
    struct ha_tls *w2;
    struct ha_tls *db1;
    struct ha_tls *stranger;
    struct ha_tls *psk = tls_secret("watcher/w2", 1);
    struct ha_err err;

    (void)state;
    folder_make(&ours);
    folder_make(&theirs);
    folder_certs(&ours, names, HA_ARRAY_LEN(names));
    folder_certs(&theirs, names, HA_ARRAY_LEN(names));
    w1 = cert_tls(&ours, "hafailover:watcher/w1");
    assert_null(w1); /* not a daemon name */
    w1 = cert_tls(&ours, "watcher/w1");
    w2 = cert_tls(&ours, "watcher/w2");
    db1 = cert_tls(&ours, "agent/db1");
    stranger = cert_tls(&theirs, "agent/db1");
    assert_non_null(w1);
    assert_int_equal(attempt(w1, w2, "watcher/w1", &err), HA_OK);
    assert_int_equal(attempt(w1, db1, "watcher/*", &err), HA_OK);
    assert_int_equal(attempt(w1, db1, "watcher/w2", &err), HA_EAUTH);
    assert_int_equal(attempt(db1, w1, "watcher/*", &err), HA_EAUTH);
    assert_int_equal(attempt(w1, stranger, "watcher/w1", &err), HA_EAUTH);
    assert_int_equal(attempt(w1, psk, "watcher/w1", &err), HA_EAUTH);
    assert_int_equal(attempt(psk, w1, "watcher/w2", &err), HA_EAUTH);
    ha_tls_unref(w1);
    ha_tls_unref(w2);
    ha_tls_unref(db1);
    ha_tls_unref(stranger);
    ha_tls_unref(psk);
    folder_free(&ours);
    folder_free(&theirs);
}

static void test_certificate_names(void **state)
{
    static const char *const sans[] = {
        "URI:hafailover:watcher/two,URI:hafailover:watcher/three",
        "DNS:watcher/dns",
        "URI:hafailover:watcher/good,DNS:w.example.org",
    };
    static const struct {
        const char *file;
        const char *name;
        bool want;
    } cases[] = {
        {"watcher-three", "watcher/two", false},   {"watcher-three", "watcher/three", false},
        {"watcher-dns", "watcher/dns", false},     {"w.example.org", "watcher/good", true},
        {"w.example.org", "watcher/other", false},
    };
    struct folder folder;

    (void)state;
    folder_make(&folder);
    folder_certs(&folder, sans, HA_ARRAY_LEN(sans));
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        char paths[3][160];
        struct ha_tls_cert cert = {.name = cases[i].name};
        struct ha_tls *tls = NULL;
        struct ha_err err = {.code = HA_OK};
        int rv;

        cert.ca_file = folder_file(&folder, "ca.pem", paths[0], sizeof(paths[0]));
        (void)ha_text_format(paths[1], sizeof(paths[1]), "%s/%s.pem", folder.path, cases[i].file);
        (void)ha_text_format(paths[2], sizeof(paths[2]), "%s/%s.key", folder.path, cases[i].file);
        cert.cert_file = paths[1];
        cert.key_file = paths[2];
        rv = ha_tls_cert_new(&tls, &cert, &err);
        print_message("# %s: %s\n", cases[i].name, err.text);
        assert_int_equal(rv, cases[i].want ? HA_OK : HA_EINVAL);
        ha_tls_unref(tls);
    }
    folder_free(&folder);
}

static void test_reload_and_secret_mode(void **state)
{
    static const char *const names[] = {"URI:hafailover:watcher/w1", "URI:hafailover:watcher/w2"};
    struct folder folder;
    char key[160];
    struct ha_tls *w1;
    struct ha_tls *w2;
    struct ha_err err;

    (void)state;
    folder_make(&folder);
    folder_certs(&folder, names, HA_ARRAY_LEN(names));
    w1 = cert_tls(&folder, "watcher/w1");
    w2 = cert_tls(&folder, "watcher/w2");
    (void)folder_file(&folder, "watcher/w1.key", key, sizeof(key));
    assert_int_equal(chmod(key, 0644), 0);
    assert_int_equal(ha_tls_reload(w1, &err), HA_EDENIED);
    print_message("# %s\n", err.text);
    assert_int_equal(attempt(w1, w2, "watcher/w1", &err), HA_OK);
    assert_int_equal(chmod(key, 0600), 0);
    folder_certs(&folder, names, 1); /* new certificate and key */
    assert_int_equal(ha_tls_reload(w1, &err), HA_OK);
    assert_int_equal(attempt(w1, w2, "watcher/w1", &err), HA_OK);
    ha_tls_unref(w1);
    ha_tls_unref(w2);
    folder_free(&folder);
}

static void test_keys(void **state)
{
    struct folder folder;
    char path[128];
    uint8_t key[HA_TLS_KEY_SIZE];
    uint8_t other[HA_TLS_KEY_SIZE];
    char text[2 * HA_TLS_KEY_SIZE + 2];
    struct ha_err err;

    (void)state;
    folder_make(&folder);
    (void)folder_file(&folder, "key", path, sizeof(path));
    assert_int_equal(ha_tls_read_key(path, key, &err), HA_ENOENT);
    memset(key, 0xa5, sizeof(key));
    ha_text_hex(text, key, sizeof(key));
    assert_int_equal(ha_text_append(text, sizeof(text), "\n"), HA_OK);
    assert_int_equal(ha_file_write(path, text, strlen(text), 0600, &err), HA_OK);
    assert_int_equal(ha_tls_read_key(path, other, &err), HA_OK);
    assert_memory_equal(key, other, sizeof(key));
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(ha_tls_read_key(path, other, &err), HA_EDENIED);
    assert_int_equal(ha_file_write(path, "abc\n", 4, 0600, &err), HA_OK);
    assert_int_equal(ha_tls_read_key(path, other, &err), HA_EINVAL);
    assert_int_equal(ha_tls_derive_key(key, "agent/db1", other), HA_OK);
    assert_int_equal(ha_tls_derive_key(key, "agent", other), HA_EINVAL);
    assert_int_equal(ha_tls_derive_key(key, "agent/", other), HA_EINVAL);
    assert_int_equal(ha_tls_derive_key(key, "agent/a>watcher/b", other), HA_EINVAL);
    folder_free(&folder);
}

/* Bytes that are not TLS, and TLS that stops in the middle. */
static void test_hostile_bytes(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_listener_options more = {.handshake_ms = 2000};
    static const char plain[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const uint8_t half_hello[] = {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00};
    struct host *host = host_new();
    struct ha_listener_stats stats;
    int fds[4];

    (void)state;
    host_listen(host, server, &more);
    for (size_t i = 0; i < HA_ARRAY_LEN(fds); i++)
        fds[i] = raw_connect(&host->addr);
    assert_true(write(fds[0], plain, sizeof(plain) - 1) > 0);
    assert_true(write(fds[1], half_hello, sizeof(half_hello)) > 0);
    assert_true(write(fds[2], half_hello, sizeof(half_hello)) > 0);
    (void)close(fds[2]);
    for (int i = 0; i < 1000 && (i == 0 || stats.failed < 2); i++) {
        run_for(&host->loop.uv, 2);
        ha_listener_stats(host->listener, &stats);
    }
    assert_int_equal(stats.accepted, 4);
    assert_int_equal(stats.failed, 2); /* plain, and gone in the middle */
    for (int i = 0; i < 1000 && stats.pending > 0; i++) {
        run_for(&host->loop.uv, 10);
        ha_listener_stats(host->listener, &stats);
    }
    assert_int_equal(stats.failed, 4); /* half a hello and silence, at the deadline */
    assert_int_equal(stats.pending, 0);
    assert_int_equal(host->count, 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)close(fds[3]);
    host_free(host);
    ha_tls_unref(server);
}

/* A server that does not know the secret but has a certificate any public CA would give. */
static void test_psk_client_takes_no_certificate(void **state)
{
    static const char *const names[] = {"URI:hafailover:watcher/w1"};
    struct ha_tls *client = tls_secret("watcher/w2", 1);
    struct folder folder;
    struct ha_tls *server;
    struct ha_err err;

    (void)state;
    folder_make(&folder);
    folder_certs(&folder, names, 1);
    server = cert_tls(&folder, "watcher/w1");
    assert_int_equal(attempt(server, client, "watcher/w1", &err), HA_EAUTH);
    ha_tls_unref(server);
    ha_tls_unref(client);
    folder_free(&folder);
}

/* libcurl's context trusts every public CA; ours must not, once it has our key. */
static void test_attach_forgets_public_cas(void **state)
{
    struct ha_tls *client = tls_derived("ctl/admin", 1);
    struct ha_tls_session session;
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    struct folder folder;
    char path[128];

    (void)state;
    folder_make(&folder);
    folder_certs(&folder, NULL, 0);
    (void)folder_file(&folder, "ca.pem", path, sizeof(path));
    assert_int_equal(SSL_CTX_load_verify_file(ctx, path), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    assert_int_equal(ha_tls_session_init(&session, client, false, "watcher/w1", HA_ALPN_HTTP),
                     HA_OK);
    assert_int_equal(ha_tls_session_attach(&session, ctx), HA_OK);
    assert_int_equal(sk_X509_OBJECT_num(X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx))), 0);
    assert_true((SSL_CTX_get_verify_mode(ctx) & SSL_VERIFY_PEER) != 0);
    SSL_CTX_free(ctx);
    ha_tls_unref(client);
    folder_free(&folder);
}

static void test_alpn(void **state)
{
    struct ha_tls *server = tls_secret("watcher/w1", 1);
    struct ha_tls *client = tls_derived("ctl/admin", 1);
    struct host *host = host_new();
    struct end end = {.stream = NULL};
    struct ha_stream_connect_options options = {
        .tls = client, .server_name = "watcher/w1", .alpn = HA_ALPN_HTTP, .deadline_ms = 1000};

    (void)state;
    host_listen(host, server, NULL);
    options.addr = host->addr;
    dial_with(host, &end, &options);
    run_until_count(&host->loop.uv, &host->count, 1, 1000);
    assert_int_equal(host->ends[0].alpn, HA_ALPN_HTTP);
    end_close(&end, 0);
    host_free(host);
    ha_tls_unref(server);
    ha_tls_unref(client);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_psk),
    cmocka_unit_test(test_psk_stolen_name),
    cmocka_unit_test(test_psk_server_without_secret),
    cmocka_unit_test(test_psk_between_derived_keys),
    cmocka_unit_test(test_psk_client_takes_no_certificate),
    cmocka_unit_test(test_certificates),
    cmocka_unit_test(test_certificate_names),
    cmocka_unit_test(test_reload_and_secret_mode),
    cmocka_unit_test(test_keys),
    cmocka_unit_test(test_hostile_bytes),
    cmocka_unit_test(test_attach_forgets_public_cas),
    cmocka_unit_test(test_alpn),
};

HA_TEST_MAIN("io/tls", tests)
