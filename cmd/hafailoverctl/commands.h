/* cmd/hafailoverctl/commands.h - the subcommands.
 *
 * Blocking. Answers go to standard output, refusals to standard error. */
#ifndef HA_CMD_HAFAILOVERCTL_COMMANDS_H
#define HA_CMD_HAFAILOVERCTL_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/hafailoverctl/call.h"

#define HA_CTL_WORDS_MAX 4
#define HA_CTL_GIVEN_MAX 32

/* The command line, taken apart. NULL: not given. */
struct ha_ctl {
    struct ha_target target;
    int word_count; /* behind the command's name */
    const char *words[HA_CTL_WORDS_MAX];
    const char *config; /* the file that says which watchers */
    const char *file, *base, *to, *why, *during, *secret, *out, *count, *after, *wait, *with,
        *checkpoint;
    bool json;       /* JSON instead of tables: said so, or standard output is no terminal */
    bool json_asked; /* said so */
    bool accept_loss, dry_run, watch, follow;
    int given_count, given[HA_CTL_GIVEN_MAX]; /* the options that were given */
};

struct ha_ctl_command {
    const char *name;
    int words_min, words_max;
    const char *usage; /* behind the name */
    const char *help;
    enum ha_exit (*run)(const struct ha_ctl *ctl);
};

/* Ends with a NULL name. */
extern const struct ha_ctl_command ha_ctl_commands[];

#endif /* HA_CMD_HAFAILOVERCTL_COMMANDS_H */
