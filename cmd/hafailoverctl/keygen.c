#include "cmd/hafailoverctl/keygen.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/file.h"
#include "lib/io/tls.h"

static enum ha_exit write_key(const char *path, const uint8_t key[HA_TLS_KEY_SIZE])
{
    char text[2 * HA_TLS_KEY_SIZE + 2];
    struct ha_err err = {0};
    int code;

    /* A key in use must not vanish by a slip of the hand. */
    if (access(path, F_OK) == 0) {
        fprintf(stderr, "hafailoverctl: %s exists\n", path);
        return HA_EXIT_REFUSED;
    }
    ha_text_hex(text, key, HA_TLS_KEY_SIZE);
    text[2 * HA_TLS_KEY_SIZE] = '\n';
    code = ha_file_write(path, text, 2 * HA_TLS_KEY_SIZE + 1, 0600, &err);
    ha_file_wipe(text, sizeof(text));
    if (code != HA_OK) {
        fprintf(stderr, "hafailoverctl: %s\n", err.text);
        return HA_EXIT_REFUSED;
    }
    return HA_EXIT_OK;
}

enum ha_exit ha_keygen_secret(const char *path)
{
    uint8_t key[HA_TLS_KEY_SIZE];
    enum ha_exit result;

    ha_random_bytes(key, sizeof(key));
    result = write_key(path, key);
    ha_file_wipe(key, sizeof(key));
    return result;
}

enum ha_exit ha_keygen_derived(const char *name, const char *secret_path, const char *path)
{
    uint8_t secret[HA_TLS_KEY_SIZE], key[HA_TLS_KEY_SIZE];
    enum ha_exit result = HA_EXIT_REFUSED;
    struct ha_err err = {0};

    if (!ha_tls_is_name(name)) {
        fprintf(stderr, "hafailoverctl: %s is not ROLE/NAME, such as agent/db1\n", name);
        return HA_EXIT_USAGE;
    }
    if (ha_tls_read_key(secret_path, secret, &err) != HA_OK)
        fprintf(stderr, "hafailoverctl: %s\n", err.text);
    else if (ha_tls_derive_key(secret, name, key) != HA_OK)
        fprintf(stderr, "hafailoverctl: no key can be derived\n");
    else
        result = write_key(path, key);
    ha_file_wipe(secret, sizeof(secret));
    ha_file_wipe(key, sizeof(key));
    return result;
}
