/* lib/api/call.h - what the handlers of the control API share; only lib/api includes this.
 *
 * Pure; allocates. A handler fills in `reply`: an answer, a refusal, or a command. */
#ifndef HA_API_CALL_H
#define HA_API_CALL_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/api/control.h"
#include "lib/base/err.h"
#include "lib/core/cluster.h"

/* Everything one handler needs. */
struct ha_call {
    const struct ha_api_request *request;
    const struct ha_api_view *view;
    struct ha_api_reply *reply;
    char name[HA_NAME_SIZE]; /* the variable part of the path */
};

/* Takes @json; NULL: out of memory. */
void ha_reply_json(struct ha_api_reply *reply, int status, json_t *json);
/* Takes @text (malloced); NULL: out of memory. */
void ha_reply_text(struct ha_api_reply *reply, int status, char *text);
/* With the status that belongs to @code; an empty @text: the code's own. */
void ha_refuse(struct ha_api_reply *reply, int code, const char *text);

/* A parameter of the query; NULL when it is not given. */
const char *ha_call_arg(const struct ha_call *call, const char *key);
/* The operator's name for the log: what TLS proved, or who says so on the local socket. */
void ha_call_author(const struct ha_call *call, char author[HA_NAME_SIZE]);
/* The JSON object in the body; an empty body is an empty object. NULL: refused already. */
json_t *ha_call_body(const struct ha_call *call);
/* The service that the path names; NULL: refused already. */
const struct ha_service *ha_call_service(const struct ha_call *call);
/* The answer is the outcome of this command, which is to be filled in. */
struct ha_command *ha_call_write(const struct ha_call *call, enum ha_command_kind kind);

/* Unpack @json by the format; unknown keys are refused. False: refused already. */
#define HA_UNPACK(call, json, ...)                                             \
    (json_unpack_ex((json), &(json_error_t){0}, JSON_STRICT, __VA_ARGS__) == 0 \
         ? true                                                                \
         : (ha_refuse((call)->reply, HA_EINVAL, "unknown or badly typed key in the body"), false))

/* operate.c */
void ha_post_failover(const struct ha_call *call);
void ha_post_switchover(const struct ha_call *call);
void ha_post_pause(const struct ha_call *call);
void ha_post_resume(const struct ha_call *call);
void ha_post_lift(const struct ha_call *call);
void ha_post_webhook_test(const struct ha_call *call);
void ha_post_replace(const struct ha_call *call);
void ha_get_why_not(const struct ha_call *call);

#endif /* HA_API_CALL_H */
