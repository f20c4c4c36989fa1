/* agents/postgresql/segments.h - a new timeline's first segment that does not reach it.
 *
 * A standby receives that segment from its first byte on, and most of it may be of the timeline
 * before. Where the stream breaks before the fork, its file has nothing that the older timeline's
 * lacks; but recovery prefers the newest timeline's. It then ends in there: a start fails, each
 * time anew, and so does a promotion, by a PANIC. */
#ifndef HA_AGENTS_POSTGRESQL_SEGMENTS_H
#define HA_AGENTS_POSTGRESQL_SEGMENTS_H

#include "agents/postgresql/server.h"
#include "lib/base/err.h"

/* Blocking, for worker threads, while no WAL receiver runs: such files go; what one of them has
 * more than the older timeline's is that one's then. It may be received again from whoever has
 * begun the new timeline. HA_EIO; HA_ECANCELED: it would come too late. */
int ha_pg_segments_mend(const struct ha_pg_server *server, struct ha_err *err);

#endif /* HA_AGENTS_POSTGRESQL_SEGMENTS_H */
