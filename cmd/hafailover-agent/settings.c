#include "cmd/hafailover-agent/settings.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agents/host/gate.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

static const struct ha_ini_field agent_fields[] = {
    HA_INI_FIELD(HA_INI_NAME, ha_agent_settings, name, "name"),
    HA_INI_FIELD(HA_INI_TEXT, ha_agent_settings, state_dir, "state_dir"),
    HA_INI_FIELD(HA_INI_TEXT, ha_agent_settings, api_socket, "api_socket"),
    HA_INI_FIELD(HA_INI_TEXT, ha_agent_settings, api_listen, "api_listen"),
};

static const struct ha_ini_field gate_fields[] = {
    HA_INI_FIELD(HA_INI_TEXT, ha_agent_settings, gate_class, "class"),
    HA_INI_FIELD(HA_INI_TEXT, ha_agent_settings, pin_dir, "pin_dir"),
    HA_INI_FIELD(HA_INI_TEXT, ha_agent_settings, cgroup, "cgroup"),
};

static const struct ha_ini_field vip_fields[] = {
    HA_INI_FIELD(HA_INI_NAME, ha_agent_settings, vip_interface, "interface"),
};

static const struct ha_ini_field log_fields[] = {
    HA_INI_FIELD(HA_INI_NAME, ha_agent_settings, log_level, "level"),
};

static const struct ha_ini_field database_fields[] = {
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, socket, "socket"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, host, "host"),
    HA_INI_FIELD(HA_INI_PORT, ha_database_settings, port, "port"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, user, "user"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, password_file, "password_file"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, config_file, "config_file"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, data_dir, "data_dir"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, bin_dir, "bin_dir"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, os_user, "os_user"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, replication_user, "replication_user"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, replication_password_file,
                 "replication_password_file"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, start_command, "start_command"),
    HA_INI_FIELD(HA_INI_TEXT, ha_database_settings, stop_command, "stop_command"),
};

static int add_watcher(struct ha_agent_settings *settings, const struct ha_ini_line *line,
                       struct ha_err *err)
{
    struct ha_watcher_setting *watcher;
    char host[HA_ADDRESS_SIZE];
    uint16_t port;

    if (settings->watcher_count == HA_WATCHERS_MAX)
        return ha_err_set(err, HA_EFULL, "more than %d watchers", HA_WATCHERS_MAX);
    if (!ha_text_is_name(line->key, HA_NAME_SIZE))
        return ha_err_set(err, HA_EINVAL, "not a name");
    if (ha_text_host_port(line->value, host, sizeof(host), &port, 0) != HA_OK)
        return ha_err_set(err, HA_EINVAL, "\"%s\" is not host:port", line->value);
    for (uint32_t i = 0; i < settings->watcher_count; i++) {
        if (strcmp(settings->watchers[i].name, line->key) == 0)
            return ha_err_set(err, HA_EEXIST, "said twice");
    }
    watcher = &settings->watchers[settings->watcher_count++];
    (void)ha_text_copy(watcher->name, sizeof(watcher->name), line->key);
    return ha_text_copy(watcher->address, sizeof(watcher->address), line->value);
}

static int set_database(struct ha_agent_settings *settings, const struct ha_ini_line *line,
                        struct ha_err *err)
{
    struct ha_database_settings *one = NULL;

    if (!ha_text_is_name(line->name, HA_NAME_SIZE))
        return ha_err_set(err, HA_EINVAL, "the section wants a name: [database SERVICE]");
    for (uint32_t i = 0; i < settings->database_count; i++) {
        if (strcmp(settings->databases[i].service, line->name) == 0)
            one = &settings->databases[i];
    }
    if (one == NULL) {
        if (settings->database_count == HA_DATABASES_MAX)
            return ha_err_set(err, HA_EFULL, "too many [database]");
        one = &settings->databases[settings->database_count++];
        (void)ha_text_copy(one->service, sizeof(one->service), line->name);
    }
    return ha_ini_set(
        &(struct ha_ini_section){database_fields, HA_ARRAY_LEN(database_fields), one, &one->seen},
        line, err);
}

static int on_line(void *arg, const struct ha_ini_line *line, struct ha_err *err)
{
    struct ha_agent_settings *settings = arg;

    if (strcmp(line->kind, "agent") == 0)
        return ha_ini_set(&(struct ha_ini_section){agent_fields, HA_ARRAY_LEN(agent_fields),
                                                   settings, &settings->seen_agent},
                          line, err);
    if (strcmp(line->kind, "watchers") == 0)
        return add_watcher(settings, line, err);
    if (strcmp(line->kind, "tls") == 0)
        return ha_security_set(&settings->security, line, err);
    if (strcmp(line->kind, "gate") == 0)
        return ha_ini_set(&(struct ha_ini_section){gate_fields, HA_ARRAY_LEN(gate_fields), settings,
                                                   &settings->seen_gate},
                          line, err);
    if (strcmp(line->kind, "vip") == 0)
        return ha_ini_set(&(struct ha_ini_section){vip_fields, HA_ARRAY_LEN(vip_fields), settings,
                                                   &settings->seen_vip},
                          line, err);
    if (strcmp(line->kind, "log") == 0)
        return ha_ini_set(&(struct ha_ini_section){log_fields, HA_ARRAY_LEN(log_fields), settings,
                                                   &settings->seen_log},
                          line, err);
    if (strcmp(line->kind, "database") == 0)
        return set_database(settings, line, err);
    return ha_err_set(err, HA_ENOENT, "unknown section");
}

static int by_name(const void *a, const void *b)
{
    const struct ha_watcher_setting *left = a, *right = b;

    return strcmp(left->name, right->name); /* total: names are unique */
}

static int check_databases(const struct ha_agent_settings *settings, struct ha_err *err)
{
    for (uint32_t i = 0; i < settings->database_count; i++) {
        const struct ha_database_settings *one = &settings->databases[i];

        if (one->port == 0)
            return ha_err_set(err, HA_EINVAL, "[database %s] port is missing", one->service);
        if (one->socket[0] == '\0' && one->host[0] == '\0')
            return ha_err_set(err, HA_EINVAL, "[database %s] socket is missing", one->service);
        for (uint32_t j = 0; j < i; j++) {
            if (settings->databases[j].port == one->port)
                return ha_err_set(err, HA_EINVAL, "[database %s] port %u is also that of %s",
                                  one->service, one->port, settings->databases[j].service);
        }
    }
    return HA_OK;
}

static int check(struct ha_agent_settings *settings, struct ha_err *err)
{
    static const char *const classes[] = {"auto", "bpf+nft", "bpf", "nft", "process"};
    bool known = false;
    int code;

    if (settings->name[0] == '\0')
        return ha_err_set(err, HA_EINVAL, "[agent] name is missing");
    if (settings->watcher_count == 0)
        return ha_err_set(err, HA_EINVAL, "[watchers] is missing");
    qsort(settings->watchers, settings->watcher_count, sizeof(settings->watchers[0]), by_name);
    if (strcmp(settings->api_listen, "none") != 0 && !ha_security_is_local(settings->api_listen))
        return ha_err_set(err, HA_EINVAL,
                          "[agent] api_listen = %s is not a loopback address with a port, or none",
                          settings->api_listen);
    for (size_t i = 0; i < HA_ARRAY_LEN(classes); i++)
        known = known || strcmp(classes[i], settings->gate_class) == 0;
    if (!known)
        return ha_err_set(err, HA_EINVAL, "[gate] class = %s is unknown", settings->gate_class);
    code = check_databases(settings, err);
    if (code == HA_OK)
        code = ha_security_check(&settings->security, "key_file", err);
    for (uint32_t i = 0; code == HA_OK && i < settings->watcher_count; i++) {
        if (settings->security.mode == HA_SECURITY_PLAIN &&
            !ha_security_is_local(settings->watchers[i].address))
            code = ha_err_set(err, HA_EINVAL, "[tls] mode = plain: %s is not a loopback address",
                              settings->watchers[i].address);
    }
    return code;
}

int ha_agent_settings_read(struct ha_agent_settings *settings, const char *path, struct ha_err *err)
{
    int code;

    *settings = (struct ha_agent_settings){
        .state_dir = "/var/lib/hafailover-agent",
        .api_socket = "/run/hafailover-agent/hafailover-agent.sock",
        .api_listen = "127.0.0.1:7401",
        .gate_class = "auto",
        .pin_dir = HA_GATE_PIN_DIR,
        .log_level = "info",
    };
    code = ha_ini_read(path, on_line, settings, err);
    if (code != HA_OK)
        return code;
    code = check(settings, err);
    return code != HA_OK ? ha_err_prefix(err, code, "%s", path) : HA_OK;
}
