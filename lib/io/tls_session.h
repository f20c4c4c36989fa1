/* lib/io/tls_session.h - one TLS handshake and what it proved; for stream and http_client only.
 *
 * Loop thread only. The session's address is kept by OpenSSL from attach until the SSL (or SSL_CTX)
 * is freed. */
#ifndef HA_IO_TLS_SESSION_H
#define HA_IO_TLS_SESSION_H

#include <openssl/ssl.h>

#include "lib/io/tls.h"

#define HA_TLS_SERVER_NAME_SIZE 256
#define HA_TLS_IDENTITY_SIZE ((size_t)2 * HA_TLS_NAME_SIZE) /* "CLIENT>SERVER" */

enum ha_tls_kind {
    HA_TLS_KIND_PSK,
    HA_TLS_KIND_CERT,
    HA_TLS_KIND_FOREIGN,
};

struct ha_tls {
    unsigned refs;
    enum ha_tls_kind kind;
    char name[HA_TLS_NAME_SIZE];
    uint8_t key[HA_TLS_KEY_SIZE];
    bool key_is_secret;
    struct ha_tls_client *clients; /* of a derived key; NULL: none are served */
    uint32_t client_count;
    char *ca_file; /* NULL where not given */
    char *cert_file;
    char *key_file;
    SSL_CTX *ctx; /* replaced by ha_tls_reload */
};

struct ha_tls_session {
    const struct ha_tls *tls; /* borrowed; the owner holds a reference */
    bool is_server;
    enum ha_alpn alpn_wanted;
    char server_name[HA_TLS_SERVER_NAME_SIZE]; /* client: whom we mean */
    char identity[HA_TLS_IDENTITY_SIZE];       /* client, PSK: what we send */
    char peer_name[HA_TLS_NAME_SIZE];          /* proven, once the handshake is done */
    char refusal[HA_ERR_TEXT_SIZE];            /* not empty: we refused the peer, and why */
};

/* Fill in @session. HA_EINVAL: @server_name is missing or not of the kind's form. */
int ha_tls_session_init(struct ha_tls_session *session, const struct ha_tls *tls, bool is_server,
                        const char *server_name, enum ha_alpn alpn);

/* Give an SSL for @session with memory BIOs. HA_ENOMEM, HA_EIO. */
int ha_tls_session_ssl(struct ha_tls_session *session, SSL **ret);

/* Make an SSL_CTX of someone else (libcurl) behave as @session says. HA_EIO. */
int ha_tls_session_attach(struct ha_tls_session *session, SSL_CTX *ctx);

/* The handshake returned success: is it who we meant? HA_EAUTH, HA_EPROTO. */
int ha_tls_session_check(struct ha_tls_session *session, SSL *ssl, struct ha_err *err);

/* Why SSL_do_handshake or SSL_read failed: HA_EAUTH, HA_EPROTO, with text. Empties OpenSSL's error
 * queue. */
int ha_tls_session_error(const struct ha_tls_session *session, struct ha_err *err);

enum ha_alpn ha_tls_alpn_of(SSL *ssl);

/* The session of @ssl, wherever it was attached. */
struct ha_tls_session *ha_tls_session_of(const SSL *ssl);

/* OpenSSL takes a PSK for a resumption and wants both sides of it to carry one label. */
#define HA_TLS_PSK_LABEL_SIZE 10u
extern const unsigned char ha_tls_psk_label[HA_TLS_PSK_LABEL_SIZE];
/* Set the PSK callbacks on @ctx (tls_psk.c). */
void ha_tls_psk_setup(SSL_CTX *ctx);
/* True when the pattern "ROLE/NAME" or "ROLE/" and a star covers @name. */
bool ha_tls_name_matches(const char *pattern, const char *name);
/* True for such a pattern. */
bool ha_tls_is_pattern(const char *pattern);

/* Everything that is not per connection: versions, ciphers, callbacks, certificates. */
int ha_tls_setup(const struct ha_tls *tls, SSL_CTX *ctx, struct ha_err *err);

#endif /* HA_IO_TLS_SESSION_H */
