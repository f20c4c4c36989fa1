/* cmd/hafailover-agent/settings.h - an agent's own file: its host, its keys, its databases.
 *
 * Blocking, for start-up only. Plain data; passwords are file names here. */
#ifndef HA_CMD_HAFAILOVER_AGENT_SETTINGS_H
#define HA_CMD_HAFAILOVER_AGENT_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/common/ini.h"
#include "cmd/common/security.h"
#include "cmd/common/watchers.h"
#include "lib/core/limits.h"
#include "lib/io/log.h"

struct ha_err;

#define HA_DATABASES_MAX 1024u /* of one host */

struct ha_database_settings {   /* [database SERVICE] */
    char service[HA_NAME_SIZE]; /* first: see ha_ini_section */
    uint32_t seen;
    char socket[HA_PATH_SIZE]; /* UNIX socket, or ... */
    char host[HA_HOST_SIZE];   /* ... a local address */
    uint16_t port;             /* the one clients use: guarded by the gate */
    char user[64];
    char password_file[HA_PATH_SIZE];
    char config_file[HA_PATH_SIZE];
    char data_dir[HA_PATH_SIZE];
    /* PostgreSQL */
    char bin_dir[HA_PATH_SIZE];
    char os_user[64];
    char replication_user[64];
    char replication_password_file[HA_PATH_SIZE];
    char start_command[HA_PATH_SIZE];
    char stop_command[HA_PATH_SIZE];
};

struct ha_agent_settings {
    uint32_t seen_agent, seen_gate, seen_vip, seen_log;
    char name[HA_NAME_SIZE];
    char state_dir[HA_PATH_SIZE];
    char api_socket[HA_PATH_SIZE];
    char api_listen[HA_ADDRESS_SIZE]; /* a loopback address, or "none" */
    uint32_t watcher_count;           /* sorted by name: the index is that of the set */
    struct ha_watcher_setting watchers[HA_WATCHERS_MAX];
    struct ha_security security;
    char gate_class[16]; /* auto, bpf+nft, bpf, nft, process */
    char pin_dir[HA_PATH_SIZE];
    char cgroup[HA_PATH_SIZE];
    char vip_interface[HA_NAME_SIZE];
    char log_level_text[8];
    enum ha_log_level log_level;
    uint32_t database_count;
    struct ha_database_settings databases[HA_DATABASES_MAX];
};

/* Read and check @path. HA_ENOENT, HA_EINVAL with file, line and reason. */
int ha_agent_settings_read(struct ha_agent_settings *settings, const char *path,
                           struct ha_err *err);

#endif /* HA_CMD_HAFAILOVER_AGENT_SETTINGS_H */
