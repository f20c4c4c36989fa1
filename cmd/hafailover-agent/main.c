/* cmd/hafailover-agent/main.c - the agent: arguments, settings, exit code. */
#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hafailover-agent/ask.h"
#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/gate.h"
#include "cmd/hafailover-agent/settings.h"
#include "lib/base/err.h"
#include "lib/io/heap.h"
#include "lib/io/log.h"

#define EXIT_SETTINGS 2 /* the service manager should not restart: a person must look */

enum { OPTION_CHECK = 256, OPTION_JSON, OPTION_VERSION };

struct arguments {
    const char *path;
    const char *gate; /* load, unload, show; NULL: run */
    bool status;      /* ask the one that runs */
    bool check, json;
};

static error_t on_word(struct arguments *arguments, const char *word, struct argp_state *state)
{
    if (state->arg_num == 0 && strcmp(word, "gate") == 0)
        return 0;
    if (state->arg_num == 0 && strcmp(word, "status") == 0) {
        arguments->status = true;
        return 0;
    }
    if (state->arg_num == 1 && !arguments->status &&
        (strcmp(word, "load") == 0 || strcmp(word, "unload") == 0 || strcmp(word, "show") == 0)) {
        arguments->gate = word;
        return 0;
    }
    argp_error(state, "unexpected argument \"%s\"", word);
    return 0;
}

static error_t on_argument(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;

    switch (key) {
    case 'c':
        arguments->path = value;
        return 0;
    case OPTION_CHECK:
        arguments->check = true;
        return 0;
    case OPTION_JSON:
        arguments->json = true;
        return 0;
    case OPTION_VERSION:
        printf("hafailover-agent %s\n", HA_VERSION);
        exit(0);
    case ARGP_KEY_ARG:
        return on_word(arguments, value, state);
    case ARGP_KEY_END:
        if (state->arg_num == 1 && !arguments->status)
            argp_error(state, "gate: load, unload or show?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "Settings (default /etc/hafailover/hafailover-agent.conf)", 0},
    {"check", OPTION_CHECK, NULL, 0, "Read the settings, say whether they are right, and end", 0},
    {"json", OPTION_JSON, NULL, 0, "status: print the whole answer as JSON", 0},
    {"version", OPTION_VERSION, NULL, 0, "Print the version", 0},
    {0},
};

int main(int argc, char *argv[])
{
    static const struct argp argp = {
        options,
        on_argument,
        "[status | gate load|unload|show]",
        "Hold the lease, the gate and the virtual IP of this host's databases; or, as a "
        "privileged one-shot, load or unload the gate; or ask the one that runs.",
        NULL,
        NULL,
        NULL};
    static struct ha_agent_settings settings;
    struct arguments arguments = {.path = "/etc/hafailover/hafailover-agent.conf"};
    struct ha_err err = {0};

    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (ha_agent_settings_read(&settings, arguments.path, &err) != HA_OK) {
        fprintf(stderr, "hafailover-agent: %s\n", err.text);
        return EXIT_SETTINGS;
    }
    if (arguments.check) {
        printf("%s: ok\n", arguments.path);
        return 0;
    }
    if (arguments.status)
        return ha_agent_ask(&settings, arguments.json || isatty(STDOUT_FILENO) == 0);
    if (arguments.gate != NULL)
        return ha_gate_command(&settings, arguments.gate);
    ha_heap_init();
    ha_log_init("hafailover-agent", settings.log_level);
    return ha_host_run(&settings);
}
