#include "lib/io/tls.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/io/file.h"
#include "lib/io/tls_session.h"

/* OpenSSL's newest complaint as a reason; empties its queue. */
static int fail_ssl(struct ha_err *err, int code, const char *what)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = error == 0 ? NULL : ERR_reason_error_string(error);

    ERR_clear_error();
    return ha_err_set(err, code, "%s: %s", what, reason == NULL ? "failed" : reason);
}

bool ha_tls_is_name(const char *name)
{
    char role[HA_TLS_NAME_SIZE];
    char *slash;

    if (ha_text_copy(role, sizeof(role), name) != HA_OK)
        return false;
    slash = strchr(role, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return ha_text_is_name(role, sizeof(role)) && ha_text_is_name(slash + 1, sizeof(role));
}

bool ha_tls_is_pattern(const char *pattern)
{
    char role[HA_TLS_NAME_SIZE];
    size_t length = strlen(pattern);

    if (ha_tls_is_name(pattern))
        return true;
    if (length < 3 || strcmp(pattern + length - 2, "/*") != 0 ||
        ha_text_copy(role, sizeof(role), pattern) != HA_OK)
        return false;
    role[length - 2] = '\0';
    return ha_text_is_name(role, sizeof(role));
}

bool ha_tls_name_matches(const char *pattern, const char *name)
{
    size_t length = strlen(pattern);

    assert(length > 0);
    if (pattern[length - 1] == '*')
        return strncmp(pattern, name, length - 1) == 0;
    return strcmp(pattern, name) == 0;
}

static int choose_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_size,
                       const unsigned char *offered, unsigned offered_size, void *ctx)
{
    static const unsigned char ours[] = "\x0chafailover/1\x08http/1.1";
    unsigned char *chosen;

    (void)ssl;
    (void)ctx;
    if (SSL_select_next_proto(&chosen, ret_size, ours, sizeof(ours) - 1, offered, offered_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* The one "hafailover:ROLE/NAME" of a certificate. HA_EAUTH: none, several, or malformed. */
static int name_of_cert(const X509 *cert, char *ret)
{
    static const char scheme[] = "hafailover:";
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    unsigned found = 0;
    int rv = HA_EAUTH;

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        const char *text;
        size_t size;

        if (name->type != GEN_URI)
            continue;
        text = (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
        size = (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier);
        if (size < sizeof(scheme) || memcmp(text, scheme, sizeof(scheme) - 1) != 0)
            continue;
        found++;
        text += sizeof(scheme) - 1;
        size -= sizeof(scheme) - 1;
        if (size >= HA_TLS_NAME_SIZE || memchr(text, '\0', size) != NULL)
            continue;
        memcpy(ret, text, size);
        ret[size] = '\0';
        rv = ha_tls_is_name(ret) ? HA_OK : HA_EAUTH;
    }
    GENERAL_NAMES_free(names);
    return found == 1 ? rv : HA_EAUTH;
}

/* Called from the root down to the leaf, which is where names are. */
static int verify_name(int chain_ok, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct ha_tls_session *own = ha_tls_session_of(ssl);

    if (!chain_ok) {
        (void)ha_text_format(own->refusal, sizeof(own->refusal), "certificate refused: %s",
                             X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
        return 0;
    }
    if (X509_STORE_CTX_get_error_depth(store) > 0)
        return 1;
    if (name_of_cert(X509_STORE_CTX_get_current_cert(store), own->peer_name) != HA_OK) {
        own->peer_name[0] = '\0';
        (void)ha_text_copy(own->refusal, sizeof(own->refusal),
                           "certificate without exactly one hafailover:ROLE/NAME");
    } else if (!own->is_server && !ha_tls_name_matches(own->server_name, own->peer_name)) {
        (void)ha_text_format(own->refusal, sizeof(own->refusal),
                             "certificate names %s, expected %s", own->peer_name, own->server_name);
    } else {
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static int load_certs(const struct ha_tls *tls, SSL_CTX *ctx, struct ha_err *err)
{
    int rv;

    if (tls->ca_file != NULL && SSL_CTX_load_verify_file(ctx, tls->ca_file) != 1)
        return fail_ssl(err, HA_EIO, tls->ca_file);
    if (tls->ca_file == NULL && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return fail_ssl(err, HA_EIO, "system CA certificates");
    if (tls->cert_file == NULL)
        return HA_OK;
    if (SSL_CTX_use_certificate_chain_file(ctx, tls->cert_file) != 1)
        return fail_ssl(err, HA_EIO, tls->cert_file);
    rv = ha_file_check_secret(tls->key_file, err);
    if (rv != HA_OK)
        return rv;
    if (SSL_CTX_use_PrivateKey_file(ctx, tls->key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1)
        return fail_ssl(err, HA_EIO, tls->key_file);
    return HA_OK;
}

/* The store of a foreign context (libcurl) may hold every public CA: ours starts empty. */
static int setup_own(const struct ha_tls *tls, SSL_CTX *ctx, struct ha_err *err)
{
    X509_STORE *store = X509_STORE_new();
    char name[HA_TLS_NAME_SIZE];
    int rv;

    if (store == NULL)
        return HA_ENOMEM;
    SSL_CTX_set_cert_store(ctx, store); /* takes */
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1)
        return fail_ssl(err, HA_EIO, "TLS 1.3");
    if (tls->kind == HA_TLS_KIND_PSK) {
        if (SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1)
            return fail_ssl(err, HA_EIO, "TLS_AES_128_GCM_SHA256");
        /* OpenSSL wants a label on what it takes for a resumption. */
        (void)SSL_CTX_set_session_id_context(ctx, ha_tls_psk_label, HA_TLS_PSK_LABEL_SIZE);
        /* With an empty store: whoever answers with a certificate instead of the key is refused. */
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        ha_tls_psk_setup(ctx);
        return HA_OK;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_name);
    rv = load_certs(tls, ctx, err);
    if (rv != HA_OK)
        return rv;
    if (name_of_cert(SSL_CTX_get0_certificate(ctx), name) != HA_OK || strcmp(name, tls->name) != 0)
        return ha_err_set(err, HA_EINVAL, "%s does not name hafailover:%s", tls->cert_file,
                          tls->name);
    return HA_OK;
}

int ha_tls_setup(const struct ha_tls *tls, SSL_CTX *ctx, struct ha_err *err)
{
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    (void)SSL_CTX_set_num_tickets(ctx, 0);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (tls->kind != HA_TLS_KIND_FOREIGN)
        return setup_own(tls, ctx, err);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
        return fail_ssl(err, HA_EIO, "TLS 1.2");
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return load_certs(tls, ctx, err);
}

int ha_tls_reload(struct ha_tls *tls, struct ha_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    int rv;

    if (ctx == NULL)
        return fail_ssl(err, HA_ENOMEM, "TLS context");
    rv = ha_tls_setup(tls, ctx, err);
    if (rv != HA_OK) {
        SSL_CTX_free(ctx);
        return rv;
    }
    SSL_CTX_free(tls->ctx);
    tls->ctx = ctx;
    return HA_OK;
}

/* NULL in, NULL out; *failed only ever becomes true. */
static char *copy(const char *text, bool *failed)
{
    char *twin = text == NULL ? NULL : strdup(text);

    if (text != NULL && twin == NULL)
        *failed = true;
    return twin;
}

/* What is kept of the options; @files is borrowed. */
static int make(struct ha_tls **ret, const struct ha_tls *from, const struct ha_tls_foreign *files,
                struct ha_err *err)
{
    struct ha_tls *tls = malloc(sizeof(*tls));
    bool failed = false;
    int rv;

    if (tls == NULL)
        return ha_err_set(err, HA_ENOMEM, "TLS context: out of memory");
    *tls = *from;
    tls->refs = 1;
    tls->ca_file = copy(files->ca_file, &failed);
    tls->cert_file = copy(files->cert_file, &failed);
    tls->key_file = copy(files->key_file, &failed);
    rv =
        failed ? ha_err_set(err, HA_ENOMEM, "TLS context: out of memory") : ha_tls_reload(tls, err);
    if (rv != HA_OK) {
        ha_tls_unref(tls);
        return rv;
    }
    *ret = tls;
    return HA_OK;
}

int ha_tls_psk_new(struct ha_tls **ret, const struct ha_tls_psk *psk, struct ha_err *err)
{
    struct ha_tls tls = {.kind = HA_TLS_KIND_PSK, .key_is_secret = psk->key_is_secret};
    struct ha_tls_foreign files = {.ca_file = NULL};
    int rv;

    if (!ha_tls_is_name(psk->name) || ha_text_copy(tls.name, sizeof(tls.name), psk->name) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "not a daemon name of the form ROLE/NAME");
    memcpy(tls.key, psk->key, sizeof(tls.key));
    rv = make(ret, &tls, &files, err);
    ha_file_wipe(tls.key, sizeof(tls.key));
    return rv;
}

int ha_tls_cert_new(struct ha_tls **ret, const struct ha_tls_cert *cert, struct ha_err *err)
{
    struct ha_tls tls = {.kind = HA_TLS_KIND_CERT};
    struct ha_tls_foreign files = {cert->ca_file, cert->cert_file, cert->key_file};

    if (!ha_tls_is_name(cert->name) ||
        ha_text_copy(tls.name, sizeof(tls.name), cert->name) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "not a daemon name of the form ROLE/NAME");
    if (cert->ca_file == NULL || cert->cert_file == NULL || cert->key_file == NULL)
        return ha_err_set(err, HA_EINVAL, "certificates need a CA, a certificate and a key");
    return make(ret, &tls, &files, err);
}

int ha_tls_foreign_new(struct ha_tls **ret, const struct ha_tls_foreign *foreign,
                       struct ha_err *err)
{
    struct ha_tls tls = {.kind = HA_TLS_KIND_FOREIGN};

    if ((foreign->cert_file == NULL) != (foreign->key_file == NULL))
        return ha_err_set(err, HA_EINVAL, "a client certificate needs its key, and the reverse");
    return make(ret, &tls, foreign, err);
}

struct ha_tls *ha_tls_ref(struct ha_tls *tls)
{
    assert(tls->refs > 0);
    tls->refs++;
    return tls;
}

void ha_tls_unref(struct ha_tls *tls)
{
    if (tls == NULL)
        return;
    assert(tls->refs > 0);
    tls->refs--;
    if (tls->refs > 0)
        return;
    SSL_CTX_free(tls->ctx);
    ha_file_wipe(tls->key, sizeof(tls->key));
    (void)ha_tls_serve(tls, NULL, 0); /* nothing to allocate */
    free(tls->ca_file);
    free(tls->cert_file);
    free(tls->key_file);
    free(tls);
}

const char *ha_tls_name(const struct ha_tls *tls)
{
    return tls->name;
}
