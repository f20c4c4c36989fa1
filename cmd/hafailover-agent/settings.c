#include "cmd/hafailover-agent/settings.h"

#include <stddef.h>
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
    HA_INI_FIELD(HA_INI_NAME, ha_agent_settings, log_level_text, "level"),
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

static const struct ha_ini_section sections[] = {
    {"agent", agent_fields, HA_ARRAY_LEN(agent_fields),
     .seen = offsetof(struct ha_agent_settings, seen_agent)},
    {"gate", gate_fields, HA_ARRAY_LEN(gate_fields),
     .seen = offsetof(struct ha_agent_settings, seen_gate)},
    {"vip", vip_fields, HA_ARRAY_LEN(vip_fields),
     .seen = offsetof(struct ha_agent_settings, seen_vip)},
    {"log", log_fields, HA_ARRAY_LEN(log_fields),
     .seen = offsetof(struct ha_agent_settings, seen_log)},
    {"database", database_fields, HA_ARRAY_LEN(database_fields),
     .seen = offsetof(struct ha_database_settings, seen),
     HA_INI_LIST(ha_agent_settings, databases, database_count, NULL)},
};

static int on_line(void *arg, const struct ha_ini_line *line, struct ha_err *err)
{
    struct ha_agent_settings *settings = arg;

    if (strcmp(line->kind, "watchers") == 0)
        return ha_watchers_add(settings->watchers, &settings->watcher_count, line, err);
    if (strcmp(line->kind, "tls") == 0)
        return ha_security_set(&settings->security, line, err);
    return ha_ini_take(sections, HA_ARRAY_LEN(sections), settings, line, err);
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
    if (code == HA_OK)
        code = ha_watchers_check(settings->watchers, settings->watcher_count,
                                 settings->security.mode == HA_SECURITY_PLAIN, err);
    if (code == HA_OK &&
        ha_log_level_parse(settings->log_level_text, &settings->log_level) != HA_OK)
        code = ha_err_set(err, HA_EINVAL, "[log] level = %s is unknown", settings->log_level_text);
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
        .log_level_text = "info",
    };
    code = ha_ini_read(path, on_line, settings, err);
    if (code != HA_OK)
        return code;
    code = check(settings, err);
    return code != HA_OK ? ha_err_prefix(err, code, "%s", path) : HA_OK;
}
