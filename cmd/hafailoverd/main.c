/* cmd/hafailoverd/main.c - the watcher: arguments, settings, exit code. */
#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailoverd/care.h"
#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/settings.h"
#include "lib/base/err.h"
#include "lib/io/heap.h"
#include "lib/io/log.h"

#define EXIT_SETTINGS 2 /* the service manager should not restart: a person must look */

enum { OPTION_BOOTSTRAP = 256, OPTION_CHECK, OPTION_GONE, OPTION_LOST, OPTION_VERSION };

struct arguments {
    const char *path;
    const char *words[2]; /* join FILE, restore FILE, recover */
    unsigned word_count;
    const char *lost;
    bool bootstrap, check, all_gone;
};

static bool are_words_good(const struct arguments *arguments)
{
    const char *word = arguments->words[0];

    if (arguments->word_count == 0)
        return true;
    if (strcmp(word, "recover") == 0)
        return arguments->word_count == 1;
    return (strcmp(word, "join") == 0 || strcmp(word, "restore") == 0) &&
           arguments->word_count == 2;
}

static int care(const struct arguments *arguments, const struct ha_daemon_settings *settings)
{
    if (strcmp(arguments->words[0], "join") == 0)
        return ha_care_join(settings, arguments->words[1]);
    if (strcmp(arguments->words[0], "restore") == 0)
        return ha_care_restore(settings, arguments->words[1], arguments->all_gone);
    return ha_care_recover(settings, arguments->lost);
}

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
        if (arguments->word_count == 2)
            argp_error(state, "unexpected argument \"%s\"", value);
        else
            arguments->words[arguments->word_count++] = value;
        return 0;
    case ARGP_KEY_END:
        if (!are_words_good(arguments))
            argp_usage(state);
        return 0;
    case OPTION_GONE:
        arguments->all_gone = true;
        return 0;
    case OPTION_LOST:
        arguments->lost = value;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "Settings (default /etc/hafailover/hafailoverd.conf)", 0},
    {"bootstrap", OPTION_BOOTSTRAP, NULL, 0, "Let an empty data directory become a new voter, once",
     0},
    {"yes-all-watchers-are-gone", OPTION_GONE, NULL, 0,
     "restore: no watcher of the backup's cluster runs, or ever will again", 0},
    {"yes-i-have-lost", OPTION_LOST, "NAMES", 0,
     "recover: all other watchers of the set, comma-separated, are gone for good", 0},
    {"check", OPTION_CHECK, NULL, 0, "Read the settings, say whether they are right, and end", 0},
    {"version", OPTION_VERSION, NULL, 0, "Print the version", 0},
    {0},
};

int main(int argc, char *argv[])
{
    static const struct argp argp = {
        options,
        on_argument,
        "\njoin FILE\nrestore FILE --yes-all-watchers-are-gone\nrecover --yes-i-have-lost NAMES",
        "Watch databases and fail them over, as one of a quorum. With a word: make the data "
        "directory from a backup, or go on alone, and end.",
        NULL,
        NULL,
        NULL};
    static struct ha_daemon_settings settings;
    struct arguments arguments = {.path = "/etc/hafailover/hafailoverd.conf"};
    struct ha_err err = {0};

    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (ha_daemon_settings_read(&settings, arguments.path, &err) != HA_OK) {
        fprintf(stderr, "hafailoverd: %s\n", err.text);
        return EXIT_SETTINGS;
    }
    if (arguments.check) {
        printf("%s: ok\n", arguments.path);
        return 0;
    }
    if (arguments.word_count > 0)
        return care(&arguments, &settings);
    ha_heap_init();
    ha_log_init("hafailoverd", settings.log_level);
    return ha_daemon_run(&settings, arguments.bootstrap);
}
