/* lib/core/detect.h - what one watcher saw of one member, to its verdict (design, section 5).
 *
 * Pure: no clock; `now_ms` is the watcher's monotonic clock. */
#ifndef HA_CORE_DETECT_H
#define HA_CORE_DETECT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/core/watcher.h"

/* What the replicated state says of the member that is judged. */
struct ha_suspect {
    bool has_agent;
    bool is_primary; /* of an open epoch: only the instance in the log speaks for it */
    uint64_t instance;
    bool lease_ran_out; /* this watcher's own promise to it has run out: answers of the
                         * database prove nothing, its gate is closed */
    bool replicas_hear; /* a replica's agent told lately that data still comes from it */
    bool unread;        /* this watcher stood still until a moment ago: what was said meanwhile may
                         * still wait for it to be read */
};

enum ha_verdict ha_detect(const struct ha_watch *watch, const struct ha_suspect *suspect,
                          const struct ha_service_config *config, uint64_t now_ms);

/* True while the agent's word about this member counts. */
bool ha_watch_agent_counts(const struct ha_watch *watch, const struct ha_suspect *suspect,
                           const struct ha_service_config *config, uint64_t now_ms);

/* The facts behind the verdict, as a sentence. */
void ha_detect_explain(const struct ha_watch *watch, enum ha_verdict verdict, uint64_t now_ms,
                       char text[HA_TEXT_SIZE]);

/* Take in an answer of the watcher's own probe. */
void ha_watch_probed(struct ha_watch *watch, const struct ha_sample *sample, uint64_t now_ms);

/* Take in the agent's word. */
void ha_watch_heard(struct ha_watch *watch, const struct ha_heartbeat *heartbeat, uint64_t now_ms);
/* The same status again: its database answered within two periods of its probe. */
void ha_watch_repeated(struct ha_watch *watch, const struct ha_service_config *config,
                       uint64_t now_ms);

#endif /* HA_CORE_DETECT_H */
