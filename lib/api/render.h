/* lib/api/render.h - the state as JSON and as metrics text; what control.c answers reads with.
 *
 * Pure; allocates. Functions that return json_t give a new reference, NULL when out of memory. */
#ifndef HA_API_RENDER_H
#define HA_API_RENDER_H

#include <jansson.h>
#include <stdint.h>

struct ha_api_view;
struct ha_decision;
struct ha_plan;
struct ha_service;

/* The whole, as malloced text; @service: only the one of that name, or NULL. */
char *ha_render_status(const struct ha_api_view *view, const char *service);
json_t *ha_render_watchers(const struct ha_api_view *view);
/* Newest first, at most @count, of one service or of all (NULL). */
json_t *ha_render_history(const struct ha_api_view *view, const char *service, uint32_t count);
json_t *ha_render_decision(const struct ha_api_view *view, const struct ha_decision *decision);
/* The same with the notices that tell of it. */
json_t *ha_render_explanation(const struct ha_api_view *view, const struct ha_decision *decision);
/* Notices after @after, oldest first, at most @count; of one service or of all (NULL). */
json_t *ha_render_events(const struct ha_api_view *view, const char *service, uint64_t after,
                         uint64_t count);
json_t *ha_render_webhooks(const struct ha_api_view *view);
/* Why no failover is made now, and who would be promoted. */
json_t *ha_render_why_not(const struct ha_api_view *view, const struct ha_service *service);
json_t *ha_render_plan(const struct ha_api_view *view, const struct ha_service *service,
                       const struct ha_plan *plan);
json_t *ha_render_archive(const struct ha_api_view *view);
/* metrics.c: Prometheus text; gives a malloced string. */
char *ha_render_metrics(const struct ha_api_view *view);

#endif /* HA_API_RENDER_H */
