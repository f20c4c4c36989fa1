/* cmd/hafailoverctl/print.h - answers for people: tables and timelines on standard output. */
#ifndef HA_CMD_HAFAILOVERCTL_PRINT_H
#define HA_CMD_HAFAILOVERCTL_PRINT_H

#include <jansson.h>

void ha_print_status(const json_t *status);
void ha_print_watchers(const json_t *watchers);
void ha_print_history(const json_t *history);
void ha_print_decision(const json_t *decision);
void ha_print_plan(const json_t *plan);
void ha_print_why_not(const json_t *answer);
void ha_print_event(const json_t *event);
void ha_print_webhooks(const json_t *answer);
void ha_print_archive(const json_t *archive);

#endif /* HA_CMD_HAFAILOVERCTL_PRINT_H */
