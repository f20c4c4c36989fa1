#include "cmd/hafailoverd/settings.h"

#include <stddef.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

#define SOCKET_PATH_MAX 107u /* of sockaddr_un */
#define FENCE_DEADLINE_MS 30000u
#define FENCE_DEADLINE_MAX_MS 600000u

static const struct ha_ini_field watcher_fields[] = {
    HA_INI_FIELD(HA_INI_NAME, ha_daemon_settings, name, "name"),
    HA_INI_FIELD(HA_INI_NAME, ha_daemon_settings, cluster, "cluster"),
    HA_INI_FIELD(HA_INI_TEXT, ha_daemon_settings, api_socket, "api_socket"),
    HA_INI_FIELD(HA_INI_TEXT, ha_daemon_settings, data_dir, "data_dir"),
};

static const struct ha_ini_field raft_fields[] = {
    HA_INI_FIELD(HA_INI_DURATION, ha_daemon_settings, election_ms, "election"),
    HA_INI_FIELD(HA_INI_DURATION, ha_daemon_settings, heartbeat_ms, "heartbeat"),
};

static const struct ha_ini_field log_fields[] = {
    HA_INI_FIELD(HA_INI_NAME, ha_daemon_settings, log_level_text, "level"),
};

static const struct ha_ini_field credentials_fields[] = {
    HA_INI_FIELD(HA_INI_TEXT, ha_credentials, user, "user"),
    HA_INI_FIELD(HA_INI_TEXT, ha_credentials, password_file, "password_file"),
    HA_INI_FIELD(HA_INI_BOOL, ha_credentials, tls, "tls"),
    HA_INI_FIELD(HA_INI_TEXT, ha_credentials, ca_file, "ca_file"),
};

static const struct ha_ini_field secret_fields[] = {
    HA_INI_FIELD(HA_INI_TEXT, ha_secret, key_file, "key_file"),
};

static const struct ha_ini_field fence_fields[] = {
    HA_INI_FIELD(HA_INI_TEXT, ha_fence_setting, command, "command"),
    HA_INI_FIELD(HA_INI_DURATION, ha_fence_setting, deadline_ms, "deadline"),
};

static int add_listen(struct ha_daemon_settings *settings, const char *value, struct ha_err *err)
{
    char host[HA_ADDRESS_SIZE];
    uint16_t port;

    if (settings->listen_count == HA_LISTEN_MAX)
        return ha_err_set(err, HA_EFULL, "more than %u addresses", HA_LISTEN_MAX);
    if (ha_text_host_port(value, host, sizeof(host), &port, 0) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "\"%s\" is not address:port", value);
    return ha_text_copy(settings->listen[settings->listen_count++], HA_ADDRESS_SIZE, value);
}

static const struct ha_fence_setting fresh_fence = {.deadline_ms = FENCE_DEADLINE_MS};

static const struct ha_ini_section sections[] = {
    {"watcher", watcher_fields, HA_ARRAY_LEN(watcher_fields),
     .seen = offsetof(struct ha_daemon_settings, seen_watcher)},
    {"raft", raft_fields, HA_ARRAY_LEN(raft_fields),
     .seen = offsetof(struct ha_daemon_settings, seen_raft)},
    {"log", log_fields, HA_ARRAY_LEN(log_fields),
     .seen = offsetof(struct ha_daemon_settings, seen_log)},
    {"credentials", credentials_fields, HA_ARRAY_LEN(credentials_fields),
     .seen = offsetof(struct ha_credentials, seen),
     HA_INI_LIST(ha_daemon_settings, credentials, credentials_count, NULL)},
    {"secret", secret_fields, HA_ARRAY_LEN(secret_fields), .seen = offsetof(struct ha_secret, seen),
     HA_INI_LIST(ha_daemon_settings, secrets, secret_count, NULL)},
    {"fence", fence_fields, HA_ARRAY_LEN(fence_fields),
     .seen = offsetof(struct ha_fence_setting, seen),
     HA_INI_LIST(ha_daemon_settings, fences, fence_count, &fresh_fence)},
};

static int on_line(void *arg, const struct ha_ini_line *line, struct ha_err *err)
{
    struct ha_daemon_settings *settings = arg;

    if (strcmp(line->kind, "watcher") == 0 && strcmp(line->key, "listen") == 0)
        return add_listen(settings, line->value, err);
    if (strcmp(line->kind, "peers") == 0)
        return ha_watchers_add(settings->peers, &settings->peer_count, line, err);
    if (strcmp(line->kind, "tls") == 0)
        return ha_security_set(&settings->security, line, err);
    return ha_ini_take(sections, HA_ARRAY_LEN(sections), settings, line, err);
}

/* Plain text is for tests on one host: nothing of it may be reachable from another. */
static int check_listen(const struct ha_daemon_settings *settings, struct ha_err *err)
{
    bool is_plain = settings->security.mode == HA_SECURITY_PLAIN;

    for (uint32_t i = 0; is_plain && i < settings->listen_count; i++) {
        if (!ha_security_is_local(settings->listen[i]))
            return ha_err_set(err, HA_EINVAL, "[tls] mode = plain: %s is not a loopback address",
                              settings->listen[i]);
    }
    return HA_OK;
}

static int check_fences(const struct ha_daemon_settings *settings, struct ha_err *err)
{
    for (uint32_t i = 0; i < settings->fence_count; i++) {
        const struct ha_fence_setting *fence = &settings->fences[i];
        const char *words[HA_FENCE_WORDS_MAX + 1];
        char copy[HA_FENCE_COMMAND_SIZE];
        int code = ha_daemon_fence_words(fence->command, copy, words);

        if (code == HA_EFULL)
            return ha_err_set(err, HA_EINVAL, "[fence %s] command has more than %u words",
                              fence->name, HA_FENCE_WORDS_MAX);
        if (code != HA_OK)
            return ha_err_set(err, HA_EINVAL, "[fence %s] command is no absolute path",
                              fence->name);
        if (fence->deadline_ms == 0 || fence->deadline_ms > FENCE_DEADLINE_MAX_MS)
            return ha_err_set(err, HA_EINVAL, "[fence %s] deadline is not within 10min",
                              fence->name);
    }
    return HA_OK;
}

static int check(struct ha_daemon_settings *settings, struct ha_err *err)
{
    int code;

    if (settings->name[0] == '\0')
        return ha_err_set(err, HA_EINVAL, "[watcher] name is missing");
    if (settings->listen_count == 0)
        return ha_err_set(err, HA_EINVAL, "[watcher] listen is missing");
    if (strlen(settings->api_socket) > SOCKET_PATH_MAX)
        return ha_err_set(err, HA_EINVAL, "[watcher] api_socket is longer than %u characters",
                          SOCKET_PATH_MAX);
    if (settings->peer_count == 0)
        return ha_err_set(err, HA_EINVAL, "[peers] is missing: all watchers, this one too");
    code = check_listen(settings, err);
    if (code == HA_OK)
        code = ha_watchers_check(settings->peers, settings->peer_count,
                                 settings->security.mode == HA_SECURITY_PLAIN, err);
    if (code != HA_OK)
        return code;
    for (settings->self = 0; settings->self < settings->peer_count; settings->self++) {
        if (strcmp(settings->peers[settings->self].name, settings->name) == 0)
            break;
    }
    if (settings->self == settings->peer_count)
        return ha_err_set(err, HA_EINVAL, "[peers] does not name %s itself", settings->name);
    if (settings->election_ms < 3 * settings->heartbeat_ms || settings->heartbeat_ms == 0)
        return ha_err_set(err, HA_EINVAL, "[raft] election is not at least 3 heartbeats");
    for (uint32_t i = 0; i < settings->secret_count; i++) {
        if (settings->secrets[i].key_file[0] == '\0')
            return ha_err_set(err, HA_EINVAL, "[secret %s] key_file is missing",
                              settings->secrets[i].name);
    }
    code = check_fences(settings, err);
    if (code == HA_OK)
        code = ha_security_check(&settings->security, "secret_file", err);
    if (code == HA_OK &&
        ha_log_level_parse(settings->log_level_text, &settings->log_level) != HA_OK)
        code = ha_err_set(err, HA_EINVAL, "[log] level = %s is unknown", settings->log_level_text);
    return code;
}

int ha_daemon_settings_read(struct ha_daemon_settings *settings, const char *path,
                            struct ha_err *err)
{
    int code;

    *settings = (struct ha_daemon_settings){
        .cluster = "hafailover",
        .api_socket = "/run/hafailover/hafailoverd.sock",
        .data_dir = "/var/lib/hafailover",
        .election_ms = 300,
        .heartbeat_ms = 50,
        .log_level_text = "info",
    };
    code = ha_ini_read(path, on_line, settings, err);
    if (code != HA_OK)
        return code;
    code = check(settings, err);
    return code != HA_OK ? ha_err_prefix(err, code, "%s", path) : HA_OK;
}

const struct ha_credentials *ha_daemon_credentials(const struct ha_daemon_settings *settings,
                                                   const char *name)
{
    for (uint32_t i = 0; i < settings->credentials_count; i++) {
        if (strcmp(settings->credentials[i].name, name) == 0)
            return &settings->credentials[i];
    }
    return NULL;
}

const struct ha_secret *ha_daemon_secret(const struct ha_daemon_settings *settings,
                                         const char *name)
{
    for (uint32_t i = 0; i < settings->secret_count; i++) {
        if (strcmp(settings->secrets[i].name, name) == 0)
            return &settings->secrets[i];
    }
    return NULL;
}

const struct ha_fence_setting *ha_daemon_fence(const struct ha_daemon_settings *settings,
                                               const char *name)
{
    for (uint32_t i = 0; i < settings->fence_count; i++) {
        if (strcmp(settings->fences[i].name, name) == 0)
            return &settings->fences[i];
    }
    return NULL;
}

int ha_daemon_fence_words(const char *command, char copy[HA_FENCE_COMMAND_SIZE],
                          const char *words[HA_FENCE_WORDS_MAX + 1])
{
    size_t count = 0;
    char *rest = copy, *word;

    if (ha_text_copy(copy, HA_FENCE_COMMAND_SIZE, command) != HA_OK)
        return HA_EFULL;
    while ((word = strsep(&rest, " \t")) != NULL) {
        if (word[0] == '\0')
            continue;
        if (count == HA_FENCE_WORDS_MAX)
            return HA_EFULL;
        words[count++] = word;
    }
    words[count] = NULL;
    return count > 0 && words[0][0] == '/' ? HA_OK : HA_EINVAL;
}
