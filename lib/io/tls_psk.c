/* lib/io/tls_psk.c - keys from the cluster secret, and the two callbacks that use them. */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"
#include "lib/io/file.h"
#include "lib/io/tls_session.h"

#define INFO_SIZE (HA_TLS_IDENTITY_SIZE + 32)

const unsigned char ha_tls_psk_label[HA_TLS_PSK_LABEL_SIZE] = "hafailover";

/* RFC 5869 with SHA-256, no salt: the input is already a uniform key. */
static int hkdf(const uint8_t *key, const char *label, const char *name, uint8_t *ret)
{
    char digest[] = "SHA256";
    char info[INFO_SIZE];
    uint8_t key_copy[HA_TLS_KEY_SIZE];
    OSSL_PARAM params[4];
    EVP_KDF *kdf;
    EVP_KDF_CTX *ctx;
    int rv;

    if (ha_text_format(info, sizeof(info), "%s %s", label, name) != HA_OK)
        return HA_EINVAL;
    kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);
    if (ctx == NULL)
        return HA_EIO;
    memcpy(key_copy, key, sizeof(key_copy));
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key_copy, sizeof(key_copy));
    params[2] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, strlen(info));
    params[3] = OSSL_PARAM_construct_end();
    rv = EVP_KDF_derive(ctx, ret, HA_TLS_KEY_SIZE, params) == 1 ? HA_OK : HA_EIO;
    EVP_KDF_CTX_free(ctx);
    ha_file_wipe(key_copy, sizeof(key_copy));
    return rv;
}

int ha_tls_derive_key(const uint8_t secret[HA_TLS_KEY_SIZE], const char *name,
                      uint8_t ret_key[HA_TLS_KEY_SIZE])
{
    if (!ha_tls_is_name(name))
        return HA_EINVAL;
    return hkdf(secret, "hafailover psk v1", name, ret_key);
}

int ha_tls_read_key(const char *path, uint8_t ret_key[HA_TLS_KEY_SIZE], struct ha_err *err)
{
    uint8_t *data;
    size_t size;
    int rv = ha_file_read_secret(path, (size_t)2 * HA_TLS_KEY_SIZE + 2, &data, &size, err);

    if (rv != HA_OK)
        return rv;
    if (size > 0 && data[size - 1] == '\n')
        data[size - 1] = '\0';
    rv = ha_text_unhex((const char *)data, ret_key, HA_TLS_KEY_SIZE);
    ha_file_wipe(data, size);
    free(data);
    if (rv != HA_OK)
        return ha_err_set(err, HA_EINVAL, "%s is not a key of %d hexadecimal digits", path,
                          2 * HA_TLS_KEY_SIZE);
    return HA_OK;
}

/* The key of the direction @identity names, for whom @client is the first half. */
static int pair_key(const struct ha_tls *tls, const char *client, const char *identity,
                    uint8_t *ret)
{
    uint8_t own[HA_TLS_KEY_SIZE];
    int rv = HA_OK;

    if (tls->key_is_secret)
        rv = ha_tls_derive_key(tls->key, client, own);
    else
        memcpy(own, tls->key, sizeof(own));
    if (rv == HA_OK)
        rv = hkdf(own, "hafailover pair v1", identity, ret);
    ha_file_wipe(own, sizeof(own));
    return rv;
}

int ha_tls_pair_key(const struct ha_tls *tls, const char *client, const char *server,
                    uint8_t ret_key[HA_TLS_KEY_SIZE])
{
    char identity[HA_TLS_IDENTITY_SIZE];

    if (tls->kind != HA_TLS_KIND_PSK || !tls->key_is_secret || !ha_tls_is_name(client) ||
        !ha_tls_is_name(server) ||
        ha_text_format(identity, sizeof(identity), "%s>%s", client, server) != HA_OK)
        return HA_EINVAL;
    return pair_key(tls, client, identity, ret_key);
}

int ha_tls_serve(struct ha_tls *tls, const struct ha_tls_client *clients, uint32_t count)
{
    struct ha_tls_client *twin = NULL;

    if (tls->kind != HA_TLS_KIND_PSK || tls->key_is_secret)
        return HA_OK;
    if (count > 0) {
        twin = calloc(count, sizeof(*twin));
        if (twin == NULL)
            return HA_ENOMEM;
        memcpy(twin, clients, count * sizeof(*twin));
    }
    if (tls->clients != NULL)
        ha_file_wipe(tls->clients, tls->client_count * sizeof(*tls->clients));
    free(tls->clients);
    tls->clients = twin;
    tls->client_count = count;
    return HA_OK;
}

static const struct ha_tls_client *client_of(const struct ha_tls *tls, const char *name)
{
    for (uint32_t i = 0; i < tls->client_count; i++)
        if (strcmp(tls->clients[i].name, name) == 0)
            return &tls->clients[i];
    return NULL;
}

/* OpenSSL takes an external PSK as the "session" it would have given. */
static SSL_SESSION *session_of_key(SSL *ssl, const uint8_t *key)
{
    static const unsigned char aes128gcm_sha256[] = {0x13, 0x01};
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes128gcm_sha256);
    SSL_SESSION *session = SSL_SESSION_new();

    if (cipher == NULL || session == NULL ||
        SSL_SESSION_set1_master_key(session, key, HA_TLS_KEY_SIZE) != 1 ||
        SSL_SESSION_set1_id_context(session, ha_tls_psk_label, HA_TLS_PSK_LABEL_SIZE) != 1 ||
        SSL_SESSION_set_cipher(session, cipher) != 1 ||
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1) {
        SSL_SESSION_free(session);
        return NULL;
    }
    return session;
}

static int use_psk(SSL *ssl, const EVP_MD *md, const unsigned char **ret_id, size_t *ret_size,
                   SSL_SESSION **ret_session)
{
    const struct ha_tls_session *own = ha_tls_session_of(ssl);
    uint8_t key[HA_TLS_KEY_SIZE];

    *ret_session = NULL;
    if (md != NULL && EVP_MD_get_type(md) != NID_sha256)
        return 0;
    if (pair_key(own->tls, own->tls->name, own->identity, key) == HA_OK)
        *ret_session = session_of_key(ssl, key);
    ha_file_wipe(key, sizeof(key));
    if (*ret_session == NULL)
        return 0;
    *ret_id = (const unsigned char *)own->identity;
    *ret_size = strlen(own->identity);
    return 1;
}

/* Split "CLIENT>SERVER" and say what is wrong with it for us; NULL: nothing. */
static const char *split_identity(const struct ha_tls_session *own, const unsigned char *identity,
                                  size_t size, char *ret_whole, char *ret_client)
{
    const char *mark;

    if (!own->tls->key_is_secret && own->tls->client_count == 0)
        return "we hold no cluster secret and serve nobody";
    if (size == 0 || size >= HA_TLS_IDENTITY_SIZE || memchr(identity, '\0', size) != NULL)
        return "malformed identity";
    memcpy(ret_whole, identity, size);
    ret_whole[size] = '\0';
    mark = strchr(ret_whole, '>');
    if (mark == NULL || (size_t)(mark - ret_whole) >= HA_TLS_NAME_SIZE)
        return "malformed identity";
    memcpy(ret_client, ret_whole, (size_t)(mark - ret_whole));
    ret_client[mark - ret_whole] = '\0';
    if (!ha_tls_is_name(ret_client) || !ha_tls_is_pattern(mark + 1))
        return "malformed identity";
    if (!ha_tls_name_matches(mark + 1, own->tls->name))
        return "meant for another daemon";
    /* The key was derived for this name, not for any of the role. */
    if (!own->tls->key_is_secret &&
        (client_of(own->tls, ret_client) == NULL || strcmp(mark + 1, own->tls->name) != 0))
        return "we hold no key of that pair";
    return NULL;
}

/* Without a session the handshake goes on and fails for want of a certificate. */
static int find_psk(SSL *ssl, const unsigned char *identity, size_t size, SSL_SESSION **ret_session)
{
    struct ha_tls_session *own = ha_tls_session_of(ssl);
    char whole[HA_TLS_IDENTITY_SIZE] = "";
    char client[HA_TLS_NAME_SIZE] = "";
    const char *wrong = split_identity(own, identity, size, whole, client);
    uint8_t key[HA_TLS_KEY_SIZE];

    *ret_session = NULL;
    if (wrong != NULL) {
        (void)ha_text_format(own->refusal, sizeof(own->refusal), "%s (it sent \"%s\")", wrong,
                             whole);
        return 1;
    }
    if (!own->tls->key_is_secret)
        *ret_session = session_of_key(ssl, client_of(own->tls, client)->key);
    else if (pair_key(own->tls, client, whole, key) == HA_OK)
        *ret_session = session_of_key(ssl, key);
    ha_file_wipe(key, sizeof(key));
    (void)ha_text_copy(own->peer_name, sizeof(own->peer_name), client);
    return 1;
}

void ha_tls_psk_setup(SSL_CTX *ctx)
{
    SSL_CTX_set_psk_use_session_callback(ctx, use_psk);
    SSL_CTX_set_psk_find_session_callback(ctx, find_psk);
}
