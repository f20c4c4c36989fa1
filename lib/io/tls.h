/* lib/io/tls.h - who may speak on a stream: pre-shared keys, certificates, or a foreign server's
 * CA.
 *
 * Loop thread only, not blocking but for reading files in _new and _reload. Daemons are named
 * "ROLE/NAME", such as "watcher/w1", "agent/db1", "ctl/admin". TLS 1.3 only (1.2 too for foreign
 * servers), no session tickets, no early data.
 *
 * PSK. The cluster secret is 32 bytes that watchers hold. A daemon's own key is
 * HKDF-SHA256(secret, "hafailover psk v1 NAME"), and the key of one direction of one pair is
 * HKDF-SHA256(own key of the client, "hafailover pair v1 CLIENT>SERVER"). The identity that the
 * client sends is "CLIENT>SERVER" (SERVER may be "ROLE/" with a star: any of that role). A server
 * answers only for its own name. With an ephemeral key exchange on top, so old traffic stays
 * secret.
 *   - The server learns the client's name, proven by the client's own key: an agent can neither
 *     speak as a watcher nor as another agent.
 *   - A daemon without the secret serves only whom it was given the key of the pair for, which
 *     somebody with the secret derives (agents, each other). The client then learns that much.
 *   - The client learns that the server holds the secret, and that it is the named one as far as
 *     daemons are honest: w3 refuses what is meant for w2. Who stole the secret is every watcher.
 *
 * Certificates. Mutual; both chains end at the given CA, and the leaf holds exactly one URI subject
 * alternative name "hafailover:ROLE/NAME", compared byte for byte. Common names, DNS names and
 * wildcards mean nothing here. A stolen key is that one daemon and nobody else. */
#ifndef HA_IO_TLS_H
#define HA_IO_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

#define HA_TLS_NAME_SIZE 128 /* "ROLE/NAME", terminated */
#define HA_TLS_KEY_SIZE 32

struct ha_tls; /* opaque, counted */

enum ha_alpn {
    HA_ALPN_NONE,
    HA_ALPN_FRAMES, /* "hafailover/1" */
    HA_ALPN_HTTP,   /* "http/1.1" */
};

struct ha_tls_psk {
    const char *name;   /* our own "ROLE/NAME" */
    const uint8_t *key; /* HA_TLS_KEY_SIZE bytes */
    bool key_is_secret; /* @key is the cluster secret (watchers); else our own derived key */
};

struct ha_tls_cert {
    const char *name; /* our own "ROLE/NAME"; must be the one in @cert_file */
    const char *ca_file;
    const char *cert_file; /* PEM, chain allowed */
    const char *key_file;  /* PEM; refused when group or others may read it */
};

struct ha_tls_foreign {
    const char *ca_file;   /* NULL: the system's */
    const char *cert_file; /* NULL: no client certificate; else with key_file */
    const char *key_file;
};

/* "ROLE/NAME", both parts names by ha_text_is_name, fitting HA_TLS_NAME_SIZE. */
bool ha_tls_is_name(const char *name);

/* The own key of the daemon @name under the cluster @secret. HA_EINVAL: not a name; HA_EIO. */
int ha_tls_derive_key(const uint8_t secret[HA_TLS_KEY_SIZE], const char *name,
                      uint8_t ret_key[HA_TLS_KEY_SIZE]);

/* Read a key file: 64 hexadecimal digits and a newline, mode 0600. HA_ENOENT, HA_EDENIED,
 * HA_EINVAL, HA_EIO. */
int ha_tls_read_key(const char *path, uint8_t ret_key[HA_TLS_KEY_SIZE], struct ha_err *err);

/* Contexts for both sides of a connection (of a derived key for clients only, but see
 * ha_tls_serve).
 * All strings and keys are borrowed. HA_EINVAL, HA_ENOENT, HA_EDENIED, HA_EIO, HA_ENOMEM. */
int ha_tls_psk_new(struct ha_tls **ret, const struct ha_tls_psk *psk, struct ha_err *err);
int ha_tls_cert_new(struct ha_tls **ret, const struct ha_tls_cert *cert, struct ha_err *err);

/* A context for clients of servers that are not ours (Redis, webhooks): the server's certificate
 * must be valid for the host name or address given when connecting. */
int ha_tls_foreign_new(struct ha_tls **ret, const struct ha_tls_foreign *foreign,
                       struct ha_err *err);

/* The key of the direction from @client to @server, both names, for a holder of the cluster secret
 * to give to @server. HA_EINVAL: not names, or no context of a holder; HA_EIO. */
int ha_tls_pair_key(const struct ha_tls *tls, const char *client, const char *server,
                    uint8_t ret_key[HA_TLS_KEY_SIZE]);

struct ha_tls_client {
    char name[HA_TLS_NAME_SIZE];
    uint8_t key[HA_TLS_KEY_SIZE]; /* of the direction from it to us */
};
/* Of a context with a derived key: serve exactly these clients from now on; living connections
 * stay. No-op for others. HA_ENOMEM. */
int ha_tls_serve(struct ha_tls *tls, const struct ha_tls_client *clients, uint32_t count);

/* Read the certificate files again. New connections use them, living ones stay. On an error the old
 * ones go on being used. A no-op for PSK. Errors as from _new. */
int ha_tls_reload(struct ha_tls *tls, struct ha_err *err);

struct ha_tls *ha_tls_ref(struct ha_tls *tls);
/* Freed, and keys wiped, with the last reference; accepts NULL. Streams hold their own. */
void ha_tls_unref(struct ha_tls *tls);

/* Our own name; "" for a foreign context. */
const char *ha_tls_name(const struct ha_tls *tls);

#endif /* HA_IO_TLS_H */
