/* lib/core/limits.h - every maximum of the system in one place.
 *
 * Those under #ifndef size the big tables; the simulator compiles the core with small ones. */
#ifndef HA_CORE_LIMITS_H
#define HA_CORE_LIMITS_H

#define HA_WATCHERS_MAX 7
#ifndef HA_SERVICES_MAX
#define HA_SERVICES_MAX 1024
#endif
#define HA_MEMBERS_MAX 7                                      /* of one service */
#define HA_MEMBER_BITS_MAX ((1u << (HA_MEMBERS_MAX + 1)) - 1) /* a bit per member id, from 1 */
#define HA_WEBHOOKS_MAX 8                                     /* of one cluster */
#define HA_NAME_SIZE 32  /* names of services, members, daemons, with terminator */
#define HA_HOST_SIZE 128 /* host names and numeric addresses */
#define HA_URL_SIZE 256
#define HA_TEXT_SIZE 192 /* reasons and evidence, as sentences */
#define HA_LINEAGE_MAX 8 /* remembered forks of one history */
#ifndef HA_HISTORY_MAX
#define HA_HISTORY_MAX 256 /* decisions kept in the replicated state */
#endif
#ifndef HA_OUTBOX_MAX
#define HA_OUTBOX_MAX 1024 /* notices waiting for a webhook */
#endif
#ifndef HA_EVENTS_MAX
#define HA_EVENTS_MAX 256 /* last notices kept to be read, whoever was owed them */
#endif
#ifndef HA_ARCHIVE_SIZE
#define HA_ARCHIVE_SIZE (2u << 20) /* bytes of configuration texts kept for rollback */
#endif
#define HA_ARCHIVE_MAX 16 /* versions kept, while they fit */
#define HA_CONFIG_TEXT_MAX (768u << 10)
#define HA_OBSERVE_MAX 64   /* verdicts in one log entry */
#define HA_POSITIONS_MAX 32 /* positions in one log entry */
#define HA_EFFECTS_MAX 256  /* effects of one step */
#define HA_RECENT_MAX 8     /* successful failovers remembered for the rate limit */

#define HA_DURATION_MAX_MS 86400000u /* any configured time: one day */
#define HA_LEASE_MIN_MS 200u
#define HA_LEASE_MAX_MS 60000u

#endif /* HA_CORE_LIMITS_H */
