/* cmd/hafailoverd/settings.h - a watcher's own file: only what is local to this host.
 *
 * Blocking, for start-up only. Plain data; secrets are file names here and are read by whoever uses
 * them. */
#ifndef HA_CMD_HAFAILOVERD_SETTINGS_H
#define HA_CMD_HAFAILOVERD_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/common/ini.h"
#include "cmd/common/security.h"
#include "cmd/common/watchers.h"
#include "lib/core/limits.h"
#include "lib/io/log.h"

struct ha_err;

#define HA_LISTEN_MAX 8u
#define HA_CREDENTIALS_MAX 64u
#define HA_SECRETS_MAX 16u
#define HA_FENCES_MAX 64u
#define HA_FENCE_COMMAND_SIZE 1024u
#define HA_FENCE_WORDS_MAX 32u

/* The named ones begin with their name: see ha_ini_section. */
struct ha_credentials { /* [credentials NAME]: the monitoring role of databases */
    char name[HA_NAME_SIZE];
    uint32_t seen;
    char user[64];
    char password_file[HA_PATH_SIZE];
    bool tls;
    char ca_file[HA_PATH_SIZE];
};

struct ha_secret { /* [secret NAME]: the HMAC key of a webhook */
    char name[HA_NAME_SIZE];
    uint32_t seen;
    char key_file[HA_PATH_SIZE];
};

struct ha_fence_setting { /* [fence NAME]: ends the host of a primary */
    char name[HA_NAME_SIZE];
    uint32_t seen;
    char command[HA_FENCE_COMMAND_SIZE]; /* an absolute path and words, split on blanks */
    uint32_t deadline_ms;
};

struct ha_daemon_settings {
    uint32_t seen_watcher, seen_raft, seen_log;
    char name[HA_NAME_SIZE];
    char cluster[HA_NAME_SIZE]; /* of this installation; default "hafailover" */
    uint32_t listen_count;
    char listen[HA_LISTEN_MAX][HA_ADDRESS_SIZE];
    char api_socket[HA_PATH_SIZE]; /* at most 107 characters */
    char data_dir[HA_PATH_SIZE];
    uint32_t peer_count; /* sorted by name: the index is that of the set */
    struct ha_watcher_setting peers[HA_WATCHERS_MAX];
    uint32_t self; /* index of `name` */
    struct ha_security security;
    uint32_t election_ms, heartbeat_ms;
    char log_level_text[8];
    enum ha_log_level log_level;
    uint32_t credentials_count;
    struct ha_credentials credentials[HA_CREDENTIALS_MAX];
    uint32_t secret_count;
    struct ha_secret secrets[HA_SECRETS_MAX];
    uint32_t fence_count;
    struct ha_fence_setting fences[HA_FENCES_MAX];
};

/* Read and check @path. HA_ENOENT, HA_EINVAL with file, line and reason. */
int ha_daemon_settings_read(struct ha_daemon_settings *settings, const char *path,
                            struct ha_err *err);

/* NULL when there is none of that name. */
const struct ha_credentials *ha_daemon_credentials(const struct ha_daemon_settings *settings,
                                                   const char *name);
const struct ha_secret *ha_daemon_secret(const struct ha_daemon_settings *settings,
                                         const char *name);
const struct ha_fence_setting *ha_daemon_fence(const struct ha_daemon_settings *settings,
                                               const char *name);

/* The words of @command, copied into @copy; NULL after the last of them. HA_EINVAL: none, or the
 * first is no absolute path. HA_EFULL: too many. */
int ha_daemon_fence_words(const char *command, char copy[HA_FENCE_COMMAND_SIZE],
                          const char *words[HA_FENCE_WORDS_MAX + 1]);

#endif /* HA_CMD_HAFAILOVERD_SETTINGS_H */
