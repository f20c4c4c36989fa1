/* cmd/common/secret.h - passwords and keys out of files that nobody else may read.
 *
 * Blocking, for start-up only. */
#ifndef HA_CMD_COMMON_SECRET_H
#define HA_CMD_COMMON_SECRET_H

#include <stddef.h>

#include "cmd/common/security.h"

struct ha_err;
struct ha_tls;

#define HA_SECRET_TEXT_SIZE 256

/* The first line of @path, without its end. HA_EINVAL: empty or too long; codes of
 * ha_file_read_secret. Wipe it after use. */
int ha_secret_text_read(const char *path, char ret_text[HA_SECRET_TEXT_SIZE], struct ha_err *err);

/* The context that @security asks for, of the daemon @name ("watcher/w1"); *ret is NULL with mode
 * plain. @key_is_secret: the PSK file holds the cluster's secret (watchers). Codes of lib/io/tls.
 */
int ha_security_tls_new(const struct ha_security *security, const char *name, bool key_is_secret,
                        struct ha_tls **ret, struct ha_err *err);

/* Read the certificates again and tell the log; @tls may be NULL. What cannot be read changes
 * nothing.
 */
void ha_security_reload(struct ha_tls *tls);

/* A context for clients of databases; @ca_file may be empty: the system's. */
int ha_login_tls_new(const char *ca_file, struct ha_tls **ret, struct ha_err *err);

/* The size of a key without the ends of lines behind it, which an editor may have put there. Any
 * other byte may be part of it. */
size_t ha_secret_size(const void *data, size_t size);

#endif /* HA_CMD_COMMON_SECRET_H */
