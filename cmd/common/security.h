/* cmd/common/security.h - the [tls] section both daemons have, and the check that goes with it.
 *
 * Blocking, for start-up only. */
#ifndef HA_CMD_COMMON_SECURITY_H
#define HA_CMD_COMMON_SECURITY_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/common/ini.h"

struct ha_err;

enum ha_security_mode {
    HA_SECURITY_UNSET,
    HA_SECURITY_PSK,
    HA_SECURITY_CERTIFICATES,
    HA_SECURITY_PLAIN, /* loopback only */
};

struct ha_security {
    enum ha_security_mode mode;
    uint32_t seen;
    char mode_text[16];
    char secret_file[HA_PATH_SIZE]; /* watcher: the cluster's secret */
    char key_file[HA_PATH_SIZE];    /* agent: its derived key; certificates: the private key */
    char ca_file[HA_PATH_SIZE];
    char cert_file[HA_PATH_SIZE];
};

/* One line of the section. */
int ha_security_set(struct ha_security *security, const struct ha_ini_line *line,
                    struct ha_err *err);

/* After the last line: mode known, the files it needs named. @psk_file: the key the mode psk needs
 * ("secret_file" or "key_file"). HA_EINVAL. */
int ha_security_check(struct ha_security *security, const char *psk_file, struct ha_err *err);

/* Whether "host:port" or "unix:/path" never leaves this host: only then may it be plain. */
bool ha_security_is_local(const char *address);

#endif /* HA_CMD_COMMON_SECURITY_H */
