/* cmd/hafailoverctl/main.c - operate a cluster: arguments, exit code. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/hafailoverctl/commands.h"
#include "cmd/hafailoverctl/own.h"
#include "lib/base/err.h"
#include "lib/base/text.h"

#define SOCKET_DEFAULT "/run/hafailover/hafailoverd.sock"
#define DEADLINE_DEFAULT_MS 10000u

enum {
    OPTION_SOCKET = 256,
    OPTION_URL,
    OPTION_KEY_FILE,
    OPTION_CA_FILE,
    OPTION_CERT_FILE,
    OPTION_NAME,
    OPTION_TIMEOUT,
    OPTION_CONFIG,
    OPTION_JSON,
    OPTION_BASE,
    OPTION_TO,
    OPTION_ACCEPT_LOSS,
    OPTION_WHY,
    OPTION_FOR,
    OPTION_SECRET,
    OPTION_OUT,
    OPTION_WITH,
    OPTION_TABLE,
    OPTION_WATCH,
    OPTION_FOLLOW,
    OPTION_AFTER,
    OPTION_DRY_RUN,
    OPTION_WAIT,
    OPTION_CHECKPOINT,
};

static const struct option options[] = {
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"url", required_argument, NULL, OPTION_URL},
    {"key-file", required_argument, NULL, OPTION_KEY_FILE},
    {"ca-file", required_argument, NULL, OPTION_CA_FILE},
    {"cert-file", required_argument, NULL, OPTION_CERT_FILE},
    {"name", required_argument, NULL, OPTION_NAME},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"json", no_argument, NULL, OPTION_JSON},
    {"table", no_argument, NULL, OPTION_TABLE},
    {"watch", no_argument, NULL, OPTION_WATCH},
    {"follow", no_argument, NULL, OPTION_FOLLOW},
    {"after", required_argument, NULL, OPTION_AFTER},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"checkpoint-timeout", required_argument, NULL, OPTION_CHECKPOINT},
    {"file", required_argument, NULL, 'f'},
    {"base", required_argument, NULL, OPTION_BASE},
    {"to", required_argument, NULL, OPTION_TO},
    {"accept-loss", no_argument, NULL, OPTION_ACCEPT_LOSS},
    {"why", required_argument, NULL, OPTION_WHY},
    {"for", required_argument, NULL, OPTION_FOR},
    {"secret", required_argument, NULL, OPTION_SECRET},
    {"out", required_argument, NULL, OPTION_OUT},
    {"with", required_argument, NULL, OPTION_WITH},
    {"count", required_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {0},
};

static void print_usage(FILE *to)
{
    fprintf(to,
            "Usage: hafailoverctl [--socket PATH | --url https://HOST:PORT[,...] --key-file FILE "
            "--name NAME [--ca-file FILE --cert-file FILE]] [--timeout DURATION] [--config FILE] "
            "COMMAND\n\n");
    for (const struct ha_ctl_command *command = ha_ctl_commands; command->name != NULL; command++)
        fprintf(to, "  %-12s %s\n", command->name, command->help);
    fprintf(to,
            "\nhafailoverctl COMMAND --help tells more. The socket is %s unless said.\n"
            "Exit codes: 0 done, 1 refused by the cluster, 2 usage, 3 no watcher reached,\n"
            "4 timed out (a write may have happened), 5 no quorum, 6 it ended otherwise than "
            "asked.\n",
            SOCKET_DEFAULT);
}

static const struct ha_ctl_command *command_named(const char *name)
{
    for (const struct ha_ctl_command *command = ha_ctl_commands; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0)
            return command;
    }
    return NULL;
}

/* False: the value makes no sense, told already. One case for each option.
 * NOLINTNEXTLINE(readability-function-size) */
static bool take_option(struct ha_ctl *ctl, int option, const char *value)
{
    uint64_t ms;

    switch (option) {
    case OPTION_SOCKET:
        ctl->target.socket = value;
        return true;
    case OPTION_URL:
        return ha_own_add_urls(&ctl->target, value);
    case OPTION_CONFIG:
        ctl->config = value;
        return true;
    case OPTION_KEY_FILE:
        ctl->target.key_file = value;
        return true;
    case OPTION_CA_FILE:
        ctl->target.ca_file = value;
        return true;
    case OPTION_CERT_FILE:
        ctl->target.cert_file = value;
        return true;
    case OPTION_NAME:
        ctl->target.name = value;
        return true;
    case OPTION_TIMEOUT:
        if (ha_text_duration(value, 3600000, &ms) != HA_OK || ms == 0) {
            fprintf(stderr, "hafailoverctl: --timeout %s is not a duration such as 10s\n", value);
            return false;
        }
        ctl->target.deadline_ms = (uint32_t)ms;
        return true;
    case OPTION_JSON:
        ctl->json_asked = true;
        ctl->json = true;
        return true;
    case OPTION_TABLE:
        ctl->json_asked = false;
        ctl->json = false;
        return true;
    case OPTION_WATCH:
        ctl->watch = true;
        return true;
    case OPTION_FOLLOW:
        ctl->follow = true;
        return true;
    case OPTION_DRY_RUN:
        ctl->dry_run = true;
        return true;
    case 'f':
        ctl->file = value;
        return true;
    case OPTION_BASE:
        ctl->base = value;
        return true;
    case OPTION_TO:
        ctl->to = value;
        return true;
    case OPTION_ACCEPT_LOSS:
        ctl->accept_loss = true;
        return true;
    case OPTION_WHY:
        ctl->why = value;
        return true;
    case OPTION_FOR:
        ctl->during = value;
        return true;
    case OPTION_SECRET:
        ctl->secret = value;
        return true;
    case OPTION_OUT:
        ctl->out = value;
        return true;
    case OPTION_WITH:
        ctl->with = value;
        return true;
    case OPTION_AFTER:
        ctl->after = value;
        return true;
    case OPTION_WAIT:
        ctl->wait = value;
        return true;
    case OPTION_CHECKPOINT:
        ctl->checkpoint = value;
        return true;
    case 'n':
        ctl->count = value;
        return true;
    default:
        return false; /* getopt has told */
    }
}

/* Options that belong to a command: its usage names them. */
static bool is_for(const struct ha_ctl_command *command, int option)
{
    const struct option *one = options;
    char text[32];

    if (option < OPTION_BASE && option != 'f' && option != 'n' && option != OPTION_JSON)
        return true; /* where to ask, and as whom */
    if (option == OPTION_TABLE)
        return true;
    if (option == 'f')
        return strstr(command->usage, "-f FILE") != NULL;
    while (one->name != NULL && one->val != option)
        one++;
    (void)ha_text_format(text, sizeof(text), "--%s", one->name != NULL ? one->name : "");
    return strstr(command->usage, text) != NULL;
}

/* An option that a command would not look at is a slip of the hand, and may mean harm. */
static bool all_are_for(const struct ha_ctl_command *command, const int *given, int given_count)
{
    for (int i = 0; i < given_count; i++) {
        if (is_for(command, given[i]))
            continue;
        fprintf(stderr,
                "hafailoverctl: %s does not take all of these options\nUsage: hafailoverctl %s "
                "%s\n",
                command->name, command->name, command->usage);
        return false;
    }
    return true;
}

/* What the command line left open is in the file, or the default. False: told already. */
static bool find_watchers(struct ha_ctl *ctl)
{
    struct ha_target *target = &ctl->target;

    if ((target->socket == NULL || ctl->config != NULL) && !ha_own_read(target, ctl->config))
        return false;
    if (target->socket == NULL)
        target->socket = SOCKET_DEFAULT;
    if (target->deadline_ms == 0)
        target->deadline_ms = DEADLINE_DEFAULT_MS;
    return true;
}

static int run(struct ha_ctl *ctl, int count, char *const words[], bool help)
{
    const struct ha_ctl_command *command;
    enum ha_exit result;

    if (count == 0) {
        print_usage(help ? stdout : stderr);
        return help ? HA_EXIT_OK : HA_EXIT_USAGE;
    }
    command = command_named(words[0]);
    if (command == NULL) {
        fprintf(stderr, "hafailoverctl: unknown command \"%s\"; see --help\n", words[0]);
        return HA_EXIT_USAGE;
    }
    if (help) {
        printf("Usage: hafailoverctl %s %s\n\n%s\n\nhafailoverctl(1) tells all.\n", command->name,
               command->usage, command->help);
        return HA_EXIT_OK;
    }
    if (!all_are_for(command, ctl->given, ctl->given_count) || !find_watchers(ctl))
        return HA_EXIT_USAGE;
    if (count - 1 < command->words_min || count - 1 > command->words_max) {
        fprintf(stderr, "Usage: hafailoverctl %s %s\n", command->name, command->usage);
        return HA_EXIT_USAGE;
    }
    ctl->word_count = count - 1;
    for (int i = 1; i < count; i++)
        ctl->words[i - 1] = words[i];
    result = command->run(ctl);
    return (int)result;
}

/* Half an answer on a full disk is none. */
static int finish(int result)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0)
        return result;
    fprintf(stderr,
            "hafailoverctl: standard output: what was asked for could not all be written\n");
    return result == HA_EXIT_OK ? HA_EXIT_USAGE : result;
}

int main(int argc, char *argv[])
{
    struct ha_ctl ctl = {0};
    bool help = false;
    int option;

    /* Tables are for people, who look at terminals. */
    ctl.json = isatty(STDOUT_FILENO) == 0;

    while ((option = getopt_long(argc, argv, "f:n:hV", options, NULL)) != -1) {
        if (option == 'h') {
            help = true;
        } else if (option == 'V') {
            printf("hafailoverctl %s\n", HA_VERSION);
            return finish(HA_EXIT_OK);
        } else if (!take_option(&ctl, option, optarg)) {
            return HA_EXIT_USAGE;
        } else if (ctl.given_count < HA_CTL_GIVEN_MAX) {
            ctl.given[ctl.given_count++] = option;
        }
    }
    return finish(run(&ctl, argc - optind, argv + optind, help));
}
