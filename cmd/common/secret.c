#include "cmd/common/secret.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/file.h"
#include "lib/io/log.h"
#include "lib/io/tls.h"

int ha_secret_text_read(const char *path, char ret_text[HA_SECRET_TEXT_SIZE], struct ha_err *err)
{
    uint8_t *data;
    size_t size, line;
    int code = ha_file_read_secret(path, 4096, &data, &size, err);

    if (code != HA_OK)
        return code;
    line = strcspn((const char *)data, "\r\n");
    if (line == 0 || line >= HA_SECRET_TEXT_SIZE) {
        code = ha_err_set(err, HA_EINVAL, "%s: its first line is empty or too long", path);
    } else {
        memset(ret_text, 0, HA_SECRET_TEXT_SIZE);
        memcpy(ret_text, data, line);
    }
    ha_file_wipe(data, size);
    free(data);
    return code;
}

size_t ha_secret_size(const void *data, size_t size)
{
    const uint8_t *bytes = data;

    while (size > 0 && (bytes[size - 1] == '\n' || bytes[size - 1] == '\r'))
        size--;
    return size;
}

static int psk_new(const char *path, const char *name, bool key_is_secret, struct ha_tls **ret,
                   struct ha_err *err)
{
    uint8_t key[HA_TLS_KEY_SIZE];
    struct ha_tls_psk psk = {.name = name, .key = key, .key_is_secret = key_is_secret};
    int code = ha_tls_read_key(path, key, err);

    if (code == HA_OK)
        code = ha_tls_psk_new(ret, &psk, err);
    ha_file_wipe(key, sizeof(key));
    return code;
}

int ha_security_tls_new(const struct ha_security *security, const char *name, bool key_is_secret,
                        struct ha_tls **ret, struct ha_err *err)
{
    struct ha_tls_cert cert = {.name = name,
                               .ca_file = security->ca_file,
                               .cert_file = security->cert_file,
                               .key_file = security->key_file};

    switch (security->mode) {
    case HA_SECURITY_PSK:
        return psk_new(key_is_secret ? security->secret_file : security->key_file, name,
                       key_is_secret, ret, err);
    case HA_SECURITY_CERTIFICATES:
        return ha_tls_cert_new(ret, &cert, err);
    case HA_SECURITY_PLAIN:
        *ret = NULL;
        return HA_OK;
    case HA_SECURITY_UNSET:
        break; /* ha_security_check refused it */
    }
    HA_UNREACHABLE();
}

void ha_security_reload(struct ha_tls *tls)
{
    struct ha_err err = {0};

    if (tls != NULL && ha_tls_reload(tls, &err) != HA_OK)
        HA_LOG(HA_LOG_ERROR, "certificates-not-reloaded", "why=%s", HA_QUOTE(err.text));
    else
        HA_LOG(HA_LOG_INFO, "reloaded", "what=certificates");
}

int ha_login_tls_new(const char *ca_file, struct ha_tls **ret, struct ha_err *err)
{
    struct ha_tls_foreign foreign = {.ca_file = ca_file[0] != '\0' ? ca_file : NULL};

    return ha_tls_foreign_new(ret, &foreign, err);
}
