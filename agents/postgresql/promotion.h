/* agents/postgresql/promotion.h - notes of promotions that have begun, beside the data.
 *
 * Blocking: for worker threads. A server that was promoted under an epoch which never opened has a
 * timeline that another one may have, too. A file for each epoch, so that whoever comes late - a
 * note or its end may have hung with its disk while others went on - touches no later one's. */
#ifndef HA_AGENTS_POSTGRESQL_PROMOTION_H
#define HA_AGENTS_POSTGRESQL_PROMOTION_H

#include <stdbool.h>
#include <stdint.h>

#include "agents/postgresql/server.h"
#include "lib/base/err.h"

/* A promotion under @epoch begins. */
int ha_pg_promotion_note(const struct ha_pg_server *server, uint64_t epoch, struct ha_err *err);
/* What was promoted up to @epoch has opened, or is there no more. */
int ha_pg_promotion_over(const struct ha_pg_server *server, uint64_t epoch, struct ha_err *err);

struct ha_pg_promotion {
    bool unopened; /* one has begun that is not over */
    bool may_come; /* ... and the server that was asked for it runs: it may come at any time,
                      whatever became of who asked, until that has been stopped */
};
/* Where they cannot be read both are true, and it fails: not known is not no. */
int ha_pg_promotion_read(const char *work_dir, struct ha_pg_promotion *ret, struct ha_err *err);

#endif /* HA_AGENTS_POSTGRESQL_PROMOTION_H */
