#include "cmd/common/security.h"

#include <arpa/inet.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

static const struct ha_ini_field fields[] = {
    HA_INI_FIELD(HA_INI_TEXT, ha_security, mode_text, "mode"),
    HA_INI_FIELD(HA_INI_TEXT, ha_security, secret_file, "secret_file"),
    HA_INI_FIELD(HA_INI_TEXT, ha_security, key_file, "key_file"),
    HA_INI_FIELD(HA_INI_TEXT, ha_security, ca_file, "ca_file"),
    HA_INI_FIELD(HA_INI_TEXT, ha_security, cert_file, "cert_file"),
};

static const struct ha_ini_section section = {.kind = "tls",
                                              .fields = fields,
                                              .field_count = HA_ARRAY_LEN(fields),
                                              .seen = offsetof(struct ha_security, seen)};

int ha_security_set(struct ha_security *security, const struct ha_ini_line *line,
                    struct ha_err *err)
{
    int code = ha_ini_take(&section, 1, security, line, err);

    if (code != HA_OK || strcmp(line->key, "mode") != 0)
        return code;
    if (strcmp(line->value, "psk") == 0)
        security->mode = HA_SECURITY_PSK;
    else if (strcmp(line->value, "certificates") == 0)
        security->mode = HA_SECURITY_CERTIFICATES;
    else if (strcmp(line->value, "plain") == 0)
        security->mode = HA_SECURITY_PLAIN;
    else
        return ha_err_set(err, HA_EINVAL, "\"%s\" is not psk, certificates or plain", line->value);
    return HA_OK;
}

int ha_security_check(struct ha_security *security, const char *psk_file, struct ha_err *err)
{
    const char *given =
        strcmp(psk_file, "secret_file") == 0 ? security->secret_file : security->key_file;

    switch (security->mode) {
    case HA_SECURITY_UNSET:
        return ha_err_set(err, HA_EINVAL, "[tls] mode is missing: psk, certificates or plain");
    case HA_SECURITY_PSK:
        if (given[0] == '\0')
            return ha_err_set(err, HA_EINVAL, "[tls] mode = psk needs %s", psk_file);
        return HA_OK;
    case HA_SECURITY_CERTIFICATES:
        if (security->ca_file[0] == '\0' || security->cert_file[0] == '\0' ||
            security->key_file[0] == '\0')
            return ha_err_set(err, HA_EINVAL,
                              "[tls] mode = certificates needs ca_file, cert_file and key_file");
        return HA_OK;
    case HA_SECURITY_PLAIN:
        return HA_OK;
    }
    HA_UNREACHABLE();
}

bool ha_security_is_local(const char *address)
{
    char host[256];
    uint16_t port;
    struct in_addr v4;
    struct in6_addr v6;

    if (strncmp(address, "unix:", 5) == 0)
        return true;
    if (ha_text_host_port(address, host, sizeof(host), &port, 0) != HA_OK)
        return false;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return false;
}
