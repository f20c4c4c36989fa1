#include "lib/io/tls_session.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/io/addr.h"

/* Our own places in OpenSSL's objects: "app data" is libcurl's where the SSL is. Taken once, kept
 * for ever; below 0: OpenSSL has no memory, and nothing that needs TLS can start. */
static int ssl_place = -1;
static int ctx_place = -1;

static int take_places(void)
{
    if (ssl_place < 0)
        ssl_place = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    if (ctx_place < 0)
        ctx_place = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    return ssl_place < 0 || ctx_place < 0 ? HA_ENOMEM : HA_OK;
}

struct ha_tls_session *ha_tls_session_of(const SSL *ssl)
{
    struct ha_tls_session *session = SSL_get_ex_data(ssl, ssl_place);

    if (session == NULL)
        session = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_place);
    assert(session != NULL);
    return session;
}

int ha_tls_session_init(struct ha_tls_session *session, const struct ha_tls *tls, bool is_server,
                        const char *server_name, enum ha_alpn alpn)
{
    bool is_own = tls->kind != HA_TLS_KIND_FOREIGN;

    *session = (struct ha_tls_session){.tls = tls, .is_server = is_server, .alpn_wanted = alpn};
    if (is_server)
        return is_own ? HA_OK : HA_EINVAL;
    if (server_name == NULL || server_name[0] == '\0' ||
        ha_text_copy(session->server_name, sizeof(session->server_name), server_name) != HA_OK)
        return HA_EINVAL;
    if (is_own && !ha_tls_is_pattern(server_name))
        return HA_EINVAL;
    if (tls->kind == HA_TLS_KIND_PSK && ha_text_format(session->identity, sizeof(session->identity),
                                                       "%s>%s", tls->name, server_name) != HA_OK)
        return HA_EINVAL;
    return HA_OK;
}

/* A foreign server is known by its host name, or by its address when that is all we have. */
static int expect_host(SSL *ssl, char *host)
{
    struct ha_addr addr;

    if (ha_addr_from_ip(host, 0, &addr) == HA_OK)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1 ? HA_OK : HA_EIO;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1)
        return HA_EIO;
    return HA_OK;
}

static int offer_alpn(SSL *ssl, enum ha_alpn alpn)
{
    static const unsigned char frames[] = "\x0chafailover/1";
    static const unsigned char http[] = "\x08http/1.1";

    if (alpn == HA_ALPN_NONE)
        return HA_OK;
    /* This one function of OpenSSL returns 0 for success. */
    if (alpn == HA_ALPN_FRAMES)
        return SSL_set_alpn_protos(ssl, frames, sizeof(frames) - 1) == 0 ? HA_OK : HA_EIO;
    return SSL_set_alpn_protos(ssl, http, sizeof(http) - 1) == 0 ? HA_OK : HA_EIO;
}

static int prepare(struct ha_tls_session *session, SSL *ssl)
{
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    int rv = HA_OK;

    if (in == NULL || out == NULL) {
        BIO_free(in);
        BIO_free(out);
        return HA_ENOMEM;
    }
    SSL_set_bio(ssl, in, out); /* takes both */
    if (take_places() != HA_OK || SSL_set_ex_data(ssl, ssl_place, session) != 1)
        return HA_ENOMEM;
    if (session->is_server) {
        SSL_set_accept_state(ssl);
        return HA_OK;
    }
    SSL_set_connect_state(ssl);
    rv = offer_alpn(ssl, session->alpn_wanted);
    if (rv == HA_OK && session->tls->kind == HA_TLS_KIND_FOREIGN)
        rv = expect_host(ssl, session->server_name);
    return rv;
}

int ha_tls_session_ssl(struct ha_tls_session *session, SSL **ret)
{
    SSL *ssl = SSL_new(session->tls->ctx);
    int rv;

    if (ssl == NULL)
        return HA_ENOMEM;
    rv = prepare(session, ssl);
    if (rv != HA_OK) {
        SSL_free(ssl);
        ERR_clear_error();
        return rv;
    }
    *ret = ssl;
    return HA_OK;
}

int ha_tls_session_attach(struct ha_tls_session *session, SSL_CTX *ctx)
{
    assert(!session->is_server);
    if (take_places() != HA_OK || SSL_CTX_set_ex_data(ctx, ctx_place, session) != 1)
        return HA_EIO;
    return ha_tls_setup(session->tls, ctx, NULL);
}

enum ha_alpn ha_tls_alpn_of(SSL *ssl)
{
    const unsigned char *name = NULL;
    unsigned size = 0;

    SSL_get0_alpn_selected(ssl, &name, &size);
    if (size == 12 && memcmp(name, "hafailover/1", 12) == 0)
        return HA_ALPN_FRAMES;
    if (size == 8 && memcmp(name, "http/1.1", 8) == 0)
        return HA_ALPN_HTTP;
    return HA_ALPN_NONE;
}

int ha_tls_session_check(struct ha_tls_session *session, SSL *ssl, struct ha_err *err)
{
    bool is_own = session->tls->kind != HA_TLS_KIND_FOREIGN;

    /* An external PSK counts as a resumption: without it a certificate was used. */
    if (session->tls->kind == HA_TLS_KIND_PSK && !SSL_session_reused(ssl))
        return ha_err_set(err, HA_EAUTH, "the peer did not prove the key");
    if (session->tls->kind == HA_TLS_KIND_CERT && session->peer_name[0] == '\0')
        return ha_err_set(err, HA_EAUTH, "the peer has no name");
    if (session->tls->kind == HA_TLS_KIND_PSK && !session->is_server)
        (void)ha_text_copy(session->peer_name, sizeof(session->peer_name), session->server_name);
    if (is_own && !session->is_server && ha_tls_alpn_of(ssl) != session->alpn_wanted)
        return ha_err_set(err, HA_EPROTO, "the server does not speak the protocol asked for");
    return HA_OK;
}

/* Reasons that mean "you are not who you should be", said by us or, as an alert, by the peer. */
static bool is_auth(int reason)
{
    switch (reason) {
    case SSL_R_BINDER_DOES_NOT_VERIFY:
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM: /* no PSK, and we have no certificate */
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_BAD_PSK:
    case SSL_R_BAD_SIGNATURE:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
        return true;
    default:
        return false;
    }
}

int ha_tls_session_error(const struct ha_tls_session *session, struct ha_err *err)
{
    unsigned long error = ERR_peek_last_error();
    const char *text = error == 0 ? NULL : ERR_reason_error_string(error);
    bool auth = ERR_GET_LIB(error) == ERR_LIB_SSL && is_auth(ERR_GET_REASON(error));
    /* How OpenSSL tells a client that its key is wrong. */
    bool wrong_key = session->tls->kind == HA_TLS_KIND_PSK && !session->is_server &&
                     ERR_GET_LIB(error) == ERR_LIB_SSL &&
                     ERR_GET_REASON(error) == SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER;

    ERR_clear_error();
    if (session->refusal[0] != '\0')
        return ha_err_set(err, HA_EAUTH, "%s", session->refusal);
    if (wrong_key)
        return ha_err_set(err, HA_EAUTH, "the server refused our key");
    return ha_err_set(err, auth ? HA_EAUTH : HA_EPROTO, "TLS: %s",
                      text == NULL ? "malformed data" : text);
}
