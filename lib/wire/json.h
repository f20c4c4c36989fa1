/* lib/wire/json.h - what every writer of JSON needs beside jansson.
 *
 * Pure but for jansson's allocations. */
#ifndef HA_WIRE_JSON_H
#define HA_WIRE_JSON_H

#include <jansson.h>
#include <stdbool.h>

/* A JSON string of any bytes: what is not UTF-8 (an error text of a database, cut in the middle of
 * a character) becomes '?'. A new reference, NULL when out of memory. */
json_t *ha_json_text(const char *text);

/* @json as terminated text, with jansson's @flags. NULL: @json is NULL, or out of memory; jansson's
 * own functions (2.14) then leave out what did not fit and go on. */
char *ha_json_dump(const json_t *json, size_t flags);

/* *ret: the next one, a new reference. False: there is no more. */
typedef bool (*ha_json_next_cb)(void *ctx, json_t **ret);

/* The object @head with an array @name behind its members, compact. The items are in memory one
 * after another, which is a tenth of what a thousand of them take together. NULL as above. */
char *ha_json_dump_list(const json_t *head, const char *name, ha_json_next_cb next, void *ctx);

#endif /* HA_WIRE_JSON_H */
