/* cmd/hafailoverctl/parts.h - what the subcommands are made of; only this folder includes it.
 *
 * Blocking. Answers go to standard output, refusals to standard error. */
#ifndef HA_CMD_HAFAILOVERCTL_PARTS_H
#define HA_CMD_HAFAILOVERCTL_PARTS_H

#include <jansson.h>
#include <stdbool.h>

#include "cmd/hafailoverctl/commands.h"

#define HA_CTL_PATH_SIZE 256

/* Words become parts of a path only when they are names: nothing needs escaping then. False: told
 * already. */
bool ha_ctl_is_name(const char *word);
bool ha_ctl_is_number(const char *what, const char *word, uint64_t max, uint64_t *ret);

/* The whole answer as JSON. */
void ha_ctl_show_json(const json_t *json);
/* Ask for @path and show it: as JSON where that is wanted, else by @print. */
enum ha_exit ha_ctl_get(const struct ha_ctl *ctl, const char *path, void (*print)(const json_t *));
/* POST @body (taken). The answer in *ret (json_decref). */
enum ha_exit ha_ctl_post(const struct ha_ctl *ctl, const char *path, json_t *body, json_t **ret);
/* POST @body (taken) to /v1/services/SERVICE/@what, the service being the first word. */
enum ha_exit ha_ctl_post_service(const struct ha_ctl *ctl, const char *what, json_t *body,
                                 json_t **ret);

/* act.c */
enum ha_exit ha_ctl_failover(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_switchover(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_pause(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_resume(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_lift(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_webhook(const struct ha_ctl *ctl);

/* look.c */
enum ha_exit ha_ctl_status(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_watchers(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_history(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_explain(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_why_not(const struct ha_ctl *ctl);
enum ha_exit ha_ctl_events(const struct ha_ctl *ctl);

#endif /* HA_CMD_HAFAILOVERCTL_PARTS_H */
