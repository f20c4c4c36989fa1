/* cmd/hafailoverd/main.c - the watcher: arguments, settings, exit code. */
#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/settings.h"
#include "lib/base/err.h"
#include "lib/io/log.h"

#define EXIT_SETTINGS 2 /* the service manager should not restart: a person must look */

enum { OPTION_BOOTSTRAP = 256, OPTION_CHECK, OPTION_VERSION };

struct arguments {
    const char *path;
    bool bootstrap, check;
};

static error_t on_argument(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 'c':
        arguments->path = value;
        return 0;
    case OPTION_BOOTSTRAP:
        arguments->bootstrap = true;
        return 0;
    case OPTION_CHECK:
        arguments->check = true;
        return 0;
    case OPTION_VERSION:
        printf("hafailoverd %s\n", HA_VERSION);
        exit(0);
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument \"%s\"", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "Settings (default /etc/hafailover/hafailoverd.conf)", 0},
    {"bootstrap", OPTION_BOOTSTRAP, NULL, 0, "Let an empty data directory become a new voter, once",
     0},
    {"check", OPTION_CHECK, NULL, 0, "Read the settings, say whether they are right, and end", 0},
    {"version", OPTION_VERSION, NULL, 0, "Print the version", 0},
    {0},
};

int main(int argc, char *argv[])
{
    static const struct argp argp = {
        options, on_argument, NULL, "Watch databases and fail them over, as one of a quorum.",
        NULL,    NULL,        NULL};
    static struct ha_daemon_settings settings;
    struct arguments arguments = {.path = "/etc/hafailover/hafailoverd.conf"};
    enum ha_log_level level;
    struct ha_err err = {0};

    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (ha_daemon_settings_read(&settings, arguments.path, &err) != HA_OK) {
        fprintf(stderr, "hafailoverd: %s\n", err.text);
        return EXIT_SETTINGS;
    }
    if (ha_log_level_parse(settings.log_level, &level) != HA_OK) {
        fprintf(stderr, "hafailoverd: %s: [log] level = %s is unknown\n", arguments.path,
                settings.log_level);
        return EXIT_SETTINGS;
    }
    if (arguments.check) {
        printf("%s: ok\n", arguments.path);
        return 0;
    }
    ha_log_init("hafailoverd", level);
    return ha_daemon_run(&settings, arguments.bootstrap);
}
