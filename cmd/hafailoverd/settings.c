#include "cmd/hafailoverd/settings.h"

#include <stddef.h>
#include <stdlib.h>
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
    HA_INI_FIELD(HA_INI_NAME, ha_daemon_settings, log_level, "level"),
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

static int add_peer(struct ha_daemon_settings *settings, const struct ha_ini_line *line,
                    struct ha_err *err)
{
    struct ha_peer_setting *peer;
    char host[HA_ADDRESS_SIZE];
    uint16_t port;

    if (settings->peer_count == HA_WATCHERS_MAX)
        return ha_err_set(err, HA_EFULL, "more than %d watchers", HA_WATCHERS_MAX);
    if (!ha_text_is_name(line->key, HA_NAME_SIZE))
        return ha_err_set(err, HA_EINVAL, "not a name");
    if (ha_text_host_port(line->value, host, sizeof(host), &port, 0) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "\"%s\" is not host:port", line->value);
    for (uint32_t i = 0; i < settings->peer_count; i++) {
        if (strcmp(settings->peers[i].name, line->key) == 0)
            return ha_err_set(err, HA_EEXIST, "said twice");
    }
    peer = &settings->peers[settings->peer_count++];
    (void)ha_text_copy(peer->name, sizeof(peer->name), line->key);
    return ha_text_copy(peer->address, sizeof(peer->address), line->value);
}

static int set_credentials(struct ha_daemon_settings *settings, const struct ha_ini_line *line,
                           struct ha_err *err)
{
    struct ha_credentials *one = NULL;

    if (!ha_text_is_name(line->name, HA_NAME_SIZE))
        return ha_err_set(err, HA_EINVAL, "the section wants a name: [credentials NAME]");
    for (uint32_t i = 0; i < settings->credentials_count; i++) {
        if (strcmp(settings->credentials[i].name, line->name) == 0)
            one = &settings->credentials[i];
    }
    if (one == NULL) {
        if (settings->credentials_count == HA_CREDENTIALS_MAX)
            return ha_err_set(err, HA_EFULL, "too many [credentials]");
        one = &settings->credentials[settings->credentials_count++];
        (void)ha_text_copy(one->name, sizeof(one->name), line->name);
    }
    return ha_ini_set(&(struct ha_ini_section){credentials_fields, HA_ARRAY_LEN(credentials_fields),
                                               one, &one->seen},
                      line, err);
}

static int set_secret(struct ha_daemon_settings *settings, const struct ha_ini_line *line,
                      struct ha_err *err)
{
    struct ha_secret *one = NULL;

    if (!ha_text_is_name(line->name, HA_NAME_SIZE))
        return ha_err_set(err, HA_EINVAL, "the section wants a name: [secret NAME]");
    for (uint32_t i = 0; i < settings->secret_count; i++) {
        if (strcmp(settings->secrets[i].name, line->name) == 0)
            one = &settings->secrets[i];
    }
    if (one == NULL) {
        if (settings->secret_count == HA_SECRETS_MAX)
            return ha_err_set(err, HA_EFULL, "too many [secret]");
        one = &settings->secrets[settings->secret_count++];
        (void)ha_text_copy(one->name, sizeof(one->name), line->name);
    }
    return ha_ini_set(
        &(struct ha_ini_section){secret_fields, HA_ARRAY_LEN(secret_fields), one, &one->seen}, line,
        err);
}

static int set_fence(struct ha_daemon_settings *settings, const struct ha_ini_line *line,
                     struct ha_err *err)
{
    struct ha_fence_setting *one = NULL;

    if (!ha_text_is_name(line->name, HA_NAME_SIZE))
        return ha_err_set(err, HA_EINVAL, "the section wants a name: [fence NAME]");
    for (uint32_t i = 0; i < settings->fence_count; i++) {
        if (strcmp(settings->fences[i].name, line->name) == 0)
            one = &settings->fences[i];
    }
    if (one == NULL) {
        if (settings->fence_count == HA_FENCES_MAX)
            return ha_err_set(err, HA_EFULL, "too many [fence]");
        one = &settings->fences[settings->fence_count++];
        (void)ha_text_copy(one->name, sizeof(one->name), line->name);
        one->deadline_ms = FENCE_DEADLINE_MS;
    }
    return ha_ini_set(
        &(struct ha_ini_section){fence_fields, HA_ARRAY_LEN(fence_fields), one, &one->seen}, line,
        err);
}

static int on_line(void *arg, const struct ha_ini_line *line, struct ha_err *err)
{
    struct ha_daemon_settings *settings = arg;

    if (strcmp(line->kind, "watcher") == 0) {
        if (strcmp(line->key, "listen") == 0)
            return add_listen(settings, line->value, err);
        return ha_ini_set(&(struct ha_ini_section){watcher_fields, HA_ARRAY_LEN(watcher_fields),
                                                   settings, &settings->seen_watcher},
                          line, err);
    }
    if (strcmp(line->kind, "peers") == 0)
        return add_peer(settings, line, err);
    if (strcmp(line->kind, "tls") == 0)
        return ha_security_set(&settings->security, line, err);
    if (strcmp(line->kind, "raft") == 0)
        return ha_ini_set(&(struct ha_ini_section){raft_fields, HA_ARRAY_LEN(raft_fields), settings,
                                                   &settings->seen_raft},
                          line, err);
    if (strcmp(line->kind, "log") == 0)
        return ha_ini_set(&(struct ha_ini_section){log_fields, HA_ARRAY_LEN(log_fields), settings,
                                                   &settings->seen_log},
                          line, err);
    if (strcmp(line->kind, "credentials") == 0)
        return set_credentials(settings, line, err);
    if (strcmp(line->kind, "secret") == 0)
        return set_secret(settings, line, err);
    if (strcmp(line->kind, "fence") == 0)
        return set_fence(settings, line, err);
    return ha_err_set(err, HA_ENOENT, "unknown section");
}

static int by_name(const void *a, const void *b)
{
    const struct ha_peer_setting *left = a, *right = b;

    return strcmp(left->name, right->name); /* total: names are unique */
}

/* Plain text is for tests on one host: nothing of it may be reachable from another. */
static int check_plain(const struct ha_daemon_settings *settings, struct ha_err *err)
{
    for (uint32_t i = 0; i < settings->listen_count; i++) {
        if (!ha_security_is_local(settings->listen[i]))
            return ha_err_set(err, HA_EINVAL, "[tls] mode = plain: %s is not a loopback address",
                              settings->listen[i]);
    }
    for (uint32_t i = 0; i < settings->peer_count; i++) {
        if (!ha_security_is_local(settings->peers[i].address))
            return ha_err_set(err, HA_EINVAL, "[tls] mode = plain: %s is not a loopback address",
                              settings->peers[i].address);
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
    qsort(settings->peers, settings->peer_count, sizeof(settings->peers[0]), by_name);
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
    if (code == HA_OK && settings->security.mode == HA_SECURITY_PLAIN)
        code = check_plain(settings, err);
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
        .log_level = "info",
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
