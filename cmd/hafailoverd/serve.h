/* cmd/hafailoverd/serve.h - the HTTP API: bytes to lib/api and back.
 *
 * Shell, loop thread. The local UNIX socket needs no key: its file mode says who may. Over TLS the
 * proven name decides. A write is answered when its entry has been applied here, or when its
 * deadline has passed. */
#ifndef HA_CMD_HAFAILOVERD_SERVE_H
#define HA_CMD_HAFAILOVERD_SERVE_H

#include <stdint.h>

struct ha_daemon;
struct ha_err;
struct ha_prepared;
struct ha_serve; /* opaque */
struct ha_stream;

/* HA_ENOMEM, or what listening on the socket says. */
int ha_serve_open(struct ha_daemon *daemon, struct ha_serve **ret, struct ha_err *err);

/* Take an accepted stream that speaks HTTP. */
void ha_serve_adopt(struct ha_serve *serve, struct ha_stream *stream);

/* What became of the proposal made for @request: it is at @index of the log, or it failed. */
void ha_serve_committed(struct ha_serve *serve, uint64_t request, uint64_t index);
void ha_serve_failed(struct ha_serve *serve, uint64_t request, int code, const char *text);
/* The entry at @index was applied here, and this is what apply said. */
void ha_serve_applied(struct ha_serve *serve, uint64_t index, int code, const char *text);

/* What an agent says to the PREPARE that a switchover waits for. */
void ha_serve_prepared(struct ha_serve *serve, const char *agent,
                       const struct ha_prepared *prepared);
void ha_serve_agent_gone(struct ha_serve *serve, const char *agent);

/* @cb after the last connection has closed; the last touch. */
void ha_serve_close(struct ha_serve *serve, void (*cb)(struct ha_daemon *daemon));

#endif /* HA_CMD_HAFAILOVERD_SERVE_H */
